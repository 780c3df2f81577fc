//! Lines 12 to 17: what is told when something is wrong.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tributary_connect::port::{Binder, TroubleKind};

use super::{Rig, binding, failed, in_time};

pub(super) async fn pass(rig: &dyn Rig) {
    troubles_are_told_apart(rig).await;
    a_broker_that_is_down_is_told(rig).await;
}

async fn troubles_are_told_apart(rig: &dyn Rig) {
    let missing = binding("there-is-no-such-queue", 10);
    let adapter = rig.adapter();
    let opened = in_time("missing", adapter.open_source(&rig.binder(), &missing)).await;
    let trouble = failed(opened, TroubleKind::DestinationMissing);
    assert!(trouble.text.contains("there-is-no-such-queue"), "{trouble}");
    let Some(wrong) = rig.wrong_binder() else {
        return;
    };
    let queue = rig.make_queue().await;
    let opened = in_time("refused", adapter.open_source(&wrong, &binding(&queue, 10))).await;
    let trouble = failed(opened, TroubleKind::CredentialsRefused);
    let password = wrong.password.as_ref().expect("it is wrong").expose();
    assert!(!trouble.text.contains(password), "{trouble}");
    assert!(!format!("{wrong:?}").contains(password));
    let opened = in_time("refused", adapter.open_sink(&wrong)).await;
    failed(opened, TroubleKind::CredentialsRefused);
}

async fn a_broker_that_is_down_is_told(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    rig.kill().await;
    let (binder, binding) = (rig.binder(), binding(&queue, 10));
    let opened = in_time("down", rig.adapter().open_source(&binder, &binding)).await;
    failed(opened, TroubleKind::Unreachable);
    rig.restart().await;
}

/// Checks that what answers with each of these is told not to be the broker, in a text with `what`. `scheme` is that of a url without TLS.
pub(super) async fn something_else_is_told(
    rig: &dyn Rig,
    scheme: &str,
    answers: &[&[u8]],
    what: &str,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let binder = Binder {
        url: format!("{scheme}://{address}"),
        ..rig.binder()
    };
    for answer in answers {
        let answering = async {
            let (mut stream, _) = listener.accept().await.expect("it is bound");
            // It may have been closed before all is written.
            let _ = stream.write_all(answer).await;
            stream
        };
        let opening = rig.adapter().open_sink(&binder);
        let (opened, _stream) =
            in_time("opening", async { tokio::join!(opening, answering) }).await;
        let trouble = opened.err().expect("it is something else");
        assert!(trouble.text.contains(what), "{trouble}");
        assert!(trouble.text.contains(&address.to_string()), "{trouble}");
    }
}
