//! A store over a log gives the same records, answers and states as the independent model, whatever is asked of it.

use std::sync::Arc;
use std::time::Duration;

use tributary_cluster::backend::{Calls, Member, prepare};
use tributary_cluster::log::Log;
use tributary_cluster::memory::MemoryStore;
use tributary_cluster::node::{Identity, Node};
use tributary_cluster::resume;
use tributary_engine::{Backend, Embedded, FileLog};
use tributary_journal::{Disk, OpenError, create};
use tributary_testkit::backends::{BackendFactory, MemoryFactory, cluster_meta, small_segments};
use tributary_testkit::disk::SimDisk;
use tributary_testkit::lockstep::Lockstep;

use crate::members::{begin_log, in_time};

/// One node, which is started again and again on its mirror.
struct OneNode {
    connect: Box<dyn Fn() -> Box<dyn Log>>,
    disk: Arc<dyn Disk>,
    member: Option<Member>,
    runs: u32,
}

impl BackendFactory for OneNode {
    fn name(&self) -> String {
        "a node over a log".into()
    }

    fn open(&mut self) -> Box<dyn Backend> {
        if let Some(member) = self.member.take() {
            member.stop();
        }
        match create(&self.disk, &small_segments(), &cluster_meta()) {
            Ok(()) | Err(OpenError::AlreadyExists) => {}
            Err(error) => panic!("{error}"),
        }
        let mirror = Embedded::open(self.disk.clone(), small_segments());
        let (store, prepared) = prepare(
            mirror.expect("the mirror is whole"),
            FileLog::new(self.disk.clone(), "beside", 1),
        );
        self.runs += 1;
        let identity = Identity {
            name: "node".into(),
            url: String::new(),
            rank: 0,
            run: self.runs,
            is_moving: false,
        };
        let fold = resume::load(&*self.disk).expect("it can be read");
        let node = Node::new(identity, fold.unwrap_or_default(), Duration::ZERO);
        let calls = Calls {
            follow: Box::new(|_, _| panic!("there is nobody to follow")),
            lead: Box::new(|_| {}),
        };
        let member = prepared.start(node, (self.connect)(), calls);
        let member = member.expect("a thread can be started");
        in_time("it leads", || member.leads());
        self.member = Some(member);
        Box::new(store)
    }

    fn checkpoint_disk(&self) -> Option<Arc<dyn Disk>> {
        Some(self.disk.clone())
    }
}

/// Compares a node over the log with the model and with the store in memory.
pub(crate) fn check(connect: impl Fn() -> Box<dyn Log> + 'static, seed: u64, steps: u64) {
    begin_log(&mut *connect());
    let node = OneNode {
        connect: Box::new(connect),
        disk: SimDisk::new(seed).disk(),
        member: None,
        runs: 0,
    };
    Lockstep::new(vec![MemoryFactory::boxed(), Box::new(node)], seed).run(steps);
}

#[test]
fn a_node_over_a_log_in_memory_agrees_with_the_model() {
    for seed in 0..2 {
        let store = MemoryStore::default();
        check(move || Box::new(store.connect()), seed, 300);
    }
}
