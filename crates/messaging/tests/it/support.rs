//! Settings that define subscriptions, and a messaging that is driven by hand.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tributary_engine::{AlwaysGranted, Clock, Embedded, Permit, Ports, Reader, Stepper};
use tributary_journal::{self as journal, Disk, OpenError};
use tributary_ledger::{Body, Command, DeleteSetting, PutSetting, SettingId, SettingKind, Slug};
use tributary_messaging::{
    HISTORY_BYTES_MAX, Messaging, Storage, Subscription, SubscriptionContent, SubscriptionId,
};
use tributary_testkit::backends::cluster_meta;
use tributary_testkit::backends::small_segments;
use tributary_testkit::commands::command;

/// Creates a subscription, or changes the revision `replaces` of its setting. `start` is none for now.
pub(crate) fn put(
    key: &str,
    subscription: &Subscription,
    start: Option<u64>,
    replaces: u64,
) -> Command {
    let content = SubscriptionContent {
        terms: subscription.terms.clone(),
        start,
    };
    let id = subscription.id.0;
    let body = content.encode().expect("it is within its bounds");
    let mut request = [0; 16];
    request.copy_from_slice(&blake3::hash(body.as_bytes()).as_bytes()[..16]);
    let put = PutSetting {
        id: SettingId(id),
        kind: SettingKind::SUBSCRIPTION,
        slug: Slug::new(&format!("subscription-{id}")).expect("a slug"),
        managed_by: None,
        replaces,
        body,
        request,
    };
    let mut command = command(key, Body::PutSetting(Box::new(put)));
    command.actor.owner = subscription.scope;
    command
}

/// Deletes a subscription.
pub(crate) fn delete(key: &str, id: SubscriptionId) -> Command {
    let delete = DeleteSetting {
        id: SettingId(id.0),
        kind: SettingKind::SUBSCRIPTION,
        replaces: 0,
    };
    command(key, Body::DeleteSetting(delete))
}

/// The newest revision of a subscription's setting; 0 if there is none.
pub(crate) fn revision(reader: &Reader, id: SubscriptionId) -> u64 {
    let setting = reader.setting(SettingId(id.0));
    setting.map_or(0, |setting| setting.revision)
}

/// An engine and its subscriptions, both driven by hand.
pub(crate) struct Life {
    pub(crate) stepper: Stepper,
    pub(crate) messaging: Arc<Messaging>,
}

impl Deref for Life {
    type Target = Stepper;

    fn deref(&self) -> &Stepper {
        &self.stepper
    }
}

impl DerefMut for Life {
    fn deref_mut(&mut self) -> &mut Stepper {
        &mut self.stepper
    }
}

impl Life {
    /// Starts on this disk; none if the disk fails.
    pub(crate) fn start(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Option<Life> {
        Life::start_with(disk, clock, Arc::new(AlwaysGranted), 0)
    }

    /// The same with this permit and this random number of the process.
    pub(crate) fn start_with(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        permit: Arc<dyn Permit>,
        process_number: u64,
    ) -> Option<Life> {
        match journal::create(&disk, &small_segments(), &cluster_meta()) {
            Ok(()) | Err(OpenError::AlreadyExists) => {}
            Err(OpenError::Io(_)) => return None,
            Err(error) => panic!("create: {error}"),
        }
        let backend = match Embedded::open_inline(disk.clone(), small_segments()) {
            Ok(backend) => backend,
            Err(OpenError::Io(_)) => return None,
            Err(error) => panic!("open: {error}"),
        };
        let mut stepper = Stepper::start(Box::new(backend), clock.clone()).ok()?;
        let storage = Storage::local(disk, HISTORY_BYTES_MAX, process_number);
        let messaging = Messaging::open(storage, stepper.reader(), clock, permit).ok()?;
        let messaging = Arc::new(messaging);
        stepper.set_ports(Ports {
            commit_hook: Some(messaging.clone()),
            ..Ports::default()
        });
        Some(Life { stepper, messaging })
    }

    /// Has the command decided and made durable.
    pub(crate) fn settle_one(&mut self, command: Command) {
        let stepped = self.accept(vec![command]);
        self.settle();
        let answer = self.answer(&stepped).expect("it is settled");
        let replies = answer.expect("nothing is in the way");
        assert!(
            matches!(&replies[..], [tributary_engine::Reply::Done { record, .. }]
                if record.outcome.rejection.is_none()),
            "{replies:?}"
        );
    }
}
