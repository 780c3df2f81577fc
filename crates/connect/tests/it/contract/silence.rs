//! Line 17: a broker's connections stay, and nothing comes.

use tributary_connect::port::{SendError, Trouble, TroubleKind};

use super::engine::Engine;
use super::{Rig, binding, failed, in_time, outgoing, receive, sink, source};

/// Checks that a broker that does not answer is told. Whoever reads `queue` after that gets the message `before`, unless the broker took
/// the acknowledgement whose outcome is returned; and maybe the message `x`.
pub(super) async fn is_told(rig: &dyn Rig, engine: &Engine, queue: &str) -> Result<(), Trouble> {
    let (binder, terms) = (rig.binder(), binding(queue, 10));
    let sink = sink(rig).await;
    let sent = sink.send(&outgoing(rig, queue, "before")).await;
    sent.expect("it is confirmed");
    let mut open = source(rig, &terms).await;
    let held = receive(open.as_mut()).await;
    engine.freeze(true);
    let message = outgoing(rig, queue, "x");
    let (opened, sent, received) = in_time("learning that nobody answers", async {
        tokio::join!(
            rig.adapter().open_source(&binder, &terms),
            sink.send(&message),
            open.receive(),
        )
    })
    .await;
    failed(opened, TroubleKind::Unreachable);
    failed(received, TroubleKind::Unreachable);
    assert!(matches!(sent, Err(SendError::Disconnected(_))), "{sent:?}");
    let late = in_time("acknowledging", open.acknowledge(held.token)).await;
    in_time("closing", open.close()).await;
    drop(sink);
    engine.freeze(false);
    late
}
