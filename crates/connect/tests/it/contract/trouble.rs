//! Lines 12 to 17: what is told when something is wrong.

use tributary_connect::port::TroubleKind;

use super::{Rig, binding, in_time};

pub(super) async fn pass(rig: &dyn Rig) {
    troubles_are_told_apart(rig).await;
    a_broker_that_is_down_is_told(rig).await;
}

async fn troubles_are_told_apart(rig: &dyn Rig) {
    let missing = binding("there-is-no-such-queue", 10);
    let adapter = rig.adapter();
    let found = in_time("missing", adapter.open_source(&rig.binder(), &missing)).await;
    let trouble = found.err().expect("there is no such queue");
    assert_eq!(trouble.kind, TroubleKind::DestinationMissing, "{trouble}");
    assert!(trouble.text.contains("there-is-no-such-queue"), "{trouble}");
    let Some(wrong) = rig.wrong_binder() else {
        return;
    };
    let queue = rig.make_queue().await;
    let found = in_time("refused", adapter.open_source(&wrong, &binding(&queue, 10))).await;
    let trouble = found.err().expect("the password is wrong");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    let password = wrong.password.as_ref().expect("it is wrong").expose();
    assert!(!trouble.text.contains(password), "{trouble}");
    assert!(!format!("{wrong:?}").contains(password));
    let found = in_time("refused", adapter.open_sink(&wrong)).await;
    let trouble = found.err().expect("the password is wrong");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
}

async fn a_broker_that_is_down_is_told(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    rig.kill().await;
    let (binder, binding) = (rig.binder(), binding(&queue, 10));
    let found = in_time("down", rig.adapter().open_source(&binder, &binding)).await;
    let trouble = found.err().expect("the broker is down");
    assert_eq!(trouble.kind, TroubleKind::Unreachable, "{trouble}");
    rig.restart().await;
}
