//! Line 12: destinations that are missing or unfit, and those that are made.

use tributary_connect::port::{Binding, Declare, TroubleKind};

use super::{Rig, binding, refused_source, source};

/// A binding that makes its destination.
pub(super) fn creating(queue: &str) -> Binding {
    Binding {
        declare: Declare::Create,
        ..binding(queue, 10)
    }
}

/// Checks that `queue` is fit, or that a text with `why` and the name of what is unfit tells that it is not.
pub(super) async fn check_fitness(rig: &dyn Rig, queue: &str, unfit: &str, why: Option<&str>) {
    let terms = binding(queue, 1);
    let Some(why) = why else {
        let opened = rig.adapter().open_source(&rig.binder(), &terms).await;
        return opened.expect("it is fit").close().await;
    };
    let trouble = refused_source(rig, &terms, TroubleKind::DestinationUnfit).await;
    assert!(trouble.text.contains(why), "{why}: {trouble}");
    assert!(trouble.text.contains(unfit), "{trouble}");
}

/// Checks that it is told that `queue` is there without its dead letters.
pub(super) async fn missing_dead_letters_are_told(rig: &dyn Rig, queue: &str) {
    let terms = binding(queue, 1);
    let dead_letters = rig.adapter().dead_letters(&terms);
    let trouble = refused_source(rig, &terms, TroubleKind::DestinationMissing).await;
    assert!(trouble.text.contains(&dead_letters), "{trouble}");
}

/// Makes `queue` by two sources at once, as a binding with a concurrency of 2 does.
pub(super) async fn create(rig: &dyn Rig, queue: &str) {
    let (binder, terms) = (rig.binder(), creating(queue));
    let open = || rig.adapter().open_source(&binder, &terms);
    let (first, second) = tokio::join!(open(), open());
    for opened in [first, second] {
        match opened {
            Ok(source) => source.close().await,
            // A broker may stumble over that, and then it is tried again.
            Err(trouble) => {
                assert_eq!(trouble.kind, TroubleKind::Unreachable, "{trouble}");
                source(rig, &terms).await.close().await;
            }
        }
    }
}

/// Checks that what exists is left as it is by who may make it.
pub(super) async fn what_exists_is_kept(rig: &dyn Rig, queue: &str) {
    source(rig, &creating(queue)).await.close().await;
}

/// Checks that a binding that looks at nothing reads `queue`, whatever else is missing.
pub(super) async fn nobody_looks(rig: &dyn Rig, queue: &str) {
    let blind = Binding {
        declare: Declare::None,
        ..binding(queue, 1)
    };
    source(rig, &blind).await.close().await;
}
