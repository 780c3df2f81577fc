//! Promises of the submit queues by which serving threads reach the writer.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::Builder;
use tributary_engine::{Engine, Options, Refused, Reply, SubmitQueue, SystemClock};
use tributary_ledger::Body;
use tributary_testkit::store::{TestStore, Tested};

use crate::support::{codes, command, open, pay};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(300);
const THREADS: u64 = 2;
const CALLERS: u64 = 32;
const PAYMENTS: u64 = 100;

fn start() -> Tested<Engine> {
    TestStore::in_memory().start(Arc::new(SystemClock), Options::default())
}

/// One payment after the other.
async fn caller(queue: Arc<SubmitQueue>, name: String) {
    for number in 0..PAYMENTS {
        let payment = command(&format!("{name}-{number}"), Body::Pay(pay(1, 2, 1)));
        let replies = queue.execute(vec![payment]).await.expect("it is decided");
        assert!(
            matches!(
                &replies[..],
                [Reply::Done {
                    replayed: false,
                    ..
                }]
            ),
            "{replies:?}"
        );
    }
}

/// A serving thread: its runtime has no timer, so nothing but the queue wakes it.
fn serve(engine: Engine, thread: u64) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let queue = Arc::new(SubmitQueue::new(engine));
        let carrying = queue.clone();
        let carrying = tokio::spawn(async move { carrying.run().await });
        let callers: Vec<_> = (0..CALLERS)
            .map(|number| tokio::spawn(caller(queue.clone(), format!("{thread}-{number}"))))
            .collect();
        for caller in callers {
            caller.await.expect("every caller is answered");
        }
        carrying.abort();
    });
}

#[test]
fn every_request_is_answered_once_without_anything_else_to_wake_its_thread() {
    let engine = start();
    let opened = engine.execute_blocking(vec![open("a", "platform"), open("b", "shop")]);
    assert_eq!(codes(&opened.expect("nothing is in the way")), [None, None]);
    let (ended, ends) = mpsc::channel();
    for thread in 0..THREADS {
        let (engine, ended) = (engine.clone(), ended.clone());
        std::thread::spawn(move || {
            serve(engine, thread);
            ended.send(()).expect("the test waits");
        });
    }
    for _ in 0..THREADS {
        ends.recv_timeout(PATIENCE).expect("nobody waits for ever");
    }
    let records = engine.reader().head().position;
    assert_eq!(records, 2 + THREADS * CALLERS * PAYMENTS);
}

#[test]
fn a_submit_queue_refuses_when_the_engine_has_stopped() {
    let engine = start();
    let queue = SubmitQueue::new(engine.clone());
    engine.shutdown();
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let late = command("late", Body::Pay(pay(1, 2, 1)));
    let refused = runtime.block_on(queue.execute(vec![late]));
    assert!(matches!(refused, Err(Refused::Stopping)), "{refused:?}");
}
