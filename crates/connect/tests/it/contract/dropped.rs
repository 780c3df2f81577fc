//! What is left of sources and sinks that are dropped at work: client libraries wait for a broker as long as it takes.

use std::time::Duration;

use tokio::net::TcpListener;
use tributary_connect::port::Binder;

use super::{Rig, binding, in_time, outgoing, receive, sink, source};

/// Checks that no more than `most` of what `count` counts are left of so many sources and sinks, some of which were still connecting.
/// `scheme` is that of a url without TLS.
pub(super) async fn nothing_is_left(
    rig: &dyn Rig,
    scheme: &str,
    rounds: usize,
    most: usize,
    count: impl Fn() -> usize,
) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &["x".to_owned()]).await;
    let terms = binding(&queue, 10);
    let silent = TcpListener::bind("127.0.0.1:0").await;
    let silent = silent.expect("a port is free");
    let silent = Binder {
        url: format!("{scheme}://{}", silent.local_addr().expect("it is bound")),
        ..rig.binder()
    };
    for _ in 0..rounds {
        let mut source = source(rig, &terms).await;
        receive(source.as_mut()).await;
        drop(source);
        // Artemis counts a delivery for each, and moves a message away after ten.
        let sink = sink(rig).await;
        let sent = sink.send(&outgoing(rig, &queue, "x")).await;
        sent.expect("it is confirmed");
        drop(sink);
        let given_up = Duration::from_millis(20);
        let (sink, source) = tokio::join!(
            tokio::time::timeout(given_up, rig.adapter().open_sink(&silent)),
            tokio::time::timeout(given_up, rig.adapter().open_source(&silent, &terms)),
        );
        assert!(sink.is_err() && source.is_err(), "nobody answers there");
    }
    in_time("ending what was dropped", async {
        while count() > most {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Returns the number of threads of this process whose names begin like one of these.
pub(super) fn count_threads(names: &[&str]) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("it is Linux");
    let found =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    found
        .filter(|found| names.iter().any(|name| found.starts_with(name)))
        .count()
}
