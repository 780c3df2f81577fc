//! What a node's store promises to its engine.

use std::sync::Arc;
use std::time::Duration;

use tributary_cluster::backend::{Calls, prepare};
use tributary_cluster::fold::Fold;
use tributary_cluster::memory::MemoryStore;
use tributary_cluster::node::{Identity, Node};
use tributary_engine::{Embedded, FileLog, Refused, Reply, Stepped, Stepper};
use tributary_journal::create;
use tributary_testkit::backends::{cluster_meta, small_segments};
use tributary_testkit::clock::TestClock;
use tributary_testkit::commands::{BEGIN, open};
use tributary_testkit::disk::SimDisk;

use crate::members::{Gate, Gated, begin_log, claim, in_time};

/// The leadership ends while one batch is on its way to the log, and others wait behind it.
#[test]
fn batches_in_flight_are_refused_when_the_leadership_ends_and_can_be_repeated() {
    let store = MemoryStore::default();
    begin_log(&mut store.connect());
    let disk = SimDisk::new(1).disk();
    create(&disk, &small_segments(), &cluster_meta()).expect("there is room");
    let mirror = Embedded::open(disk.clone(), small_segments()).expect("it is new");
    let (backend, prepared) = prepare(mirror, FileLog::new(disk, "beside", 1));
    let clock = Arc::new(TestClock::starting_at(BEGIN));
    let mut stepper = Stepper::start(Box::new(backend), clock).expect("it starts");
    let identity = Identity {
        name: "node".into(),
        url: String::new(),
        rank: 0,
        run: 1,
        is_moving: false,
    };
    let calls = Calls {
        follow: Box::new(|_, _| panic!("there is nobody to follow")),
        lead: Box::new(|_| {}),
    };
    let node = Node::new(identity, Fold::default(), Duration::ZERO);
    let gate = Arc::new(Gate::default());
    let log = Gated::new(store.connect(), gate.clone());
    let member = prepared.start(node, Box::new(log), calls);
    let member = member.expect("a thread can be started");
    in_time("it leads", || member.leads());

    gate.shut();
    let requests = || ["first", "second", "third"].map(|key| vec![open(key, "ann")]);
    let stepped = requests().map(|request| {
        let stepped = stepper.accept(request);
        stepper.submit();
        stepped
    });
    in_time("the first is on its way", || gate.is_waited_for());
    let term = member.standing().term + 1;
    claim(&mut store.connect(), term);
    gate.open();
    while stepper.land() {}
    for stepped in &stepped {
        let refused = stepper.answer(stepped).expect("it is answered");
        assert!(
            matches!(refused, Err(Refused::Unavailable(_))),
            "{refused:?}"
        );
    }
    assert_eq!(stepper.failed(), None);

    in_time("it leads again", || {
        let standing = member.standing();
        standing.leads && standing.term > term
    });
    let stepped: [Stepped; 3] = requests().map(|request| stepper.accept(request));
    stepper.settle();
    for (stepped, position) in stepped.iter().zip(1..) {
        match &stepper
            .answer(stepped)
            .expect("it is settled")
            .expect("taken")[..]
        {
            [Reply::Done { record, replayed }] => {
                assert_eq!((record.ctx.position, *replayed), (position, false));
            }
            other => panic!("{other:?}"),
        }
    }
}
