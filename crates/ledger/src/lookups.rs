//! Finds the objects that a batch must load before it is decided.

use crate::set::{Absent, Lookups};
use crate::{
    Body, Command, ExternalId, ObjectId, OwnerId, PaymentId, Reference, ReferenceSpace, Residency,
    WorkingSet,
};

/// Maximum number of stages in which the objects of a batch are loaded: payments and references, then the payments that have
/// those references.
pub const LOADING_STAGES_MAX: usize = 2;

/// Returns what the set lacks to decide a batch. Call it again after loading and [`WorkingSet::mark_absent`]: a stage needs
/// what the stage before found. The result is empty after at most [`LOADING_STAGES_MAX`] stages.
pub fn missing_lookups(commands: &[Command], set: &WorkingSet) -> Lookups {
    let mut wanted = Wanted {
        set,
        lookups: Lookups::default(),
    };
    if set.residency() != Residency::Everything {
        commands.iter().for_each(|command| wanted.command(command));
        wanted.lookups.tidy();
    }
    wanted.lookups
}

struct Wanted<'a> {
    set: &'a WorkingSet,
    lookups: Lookups,
}

impl Wanted<'_> {
    fn command(&mut self, command: &Command) {
        match &command.body {
            Body::OpenAccount(open) => {
                let owner = self.set.owner_by_name(&open.owner).map(|owner| owner.id);
                if let (Some(external), Some(owner)) = (&open.external_id, owner) {
                    self.external(owner, external);
                }
            }
            Body::Pay(pay) => {
                if let Some(reference) = &pay.reference {
                    self.reference(pay.reference_space(command.actor), reference);
                }
            }
            Body::Capture(capture) => self.payment(capture.payment),
            Body::Void(id) | Body::Expire(id) | Body::Run(id) => self.payment(*id),
            Body::Approve(approve) => self.payment(approve.payment),
            Body::Investigate(investigate) => self.payment(investigate.payment),
            Body::Refund(refund) => self.payment(refund.payment),
            Body::Update(update) => {
                if let ObjectId::Payment(id) = update.object.object() {
                    self.payment(id);
                }
            }
            Body::SettlePayout(settle) => self.payment(settle.payout),
            Body::ReturnPayout(give) => self.payment(give.payout),
            // All other objects are always in the set.
            Body::FreezeAccount(_)
            | Body::UnfreezeAccount(_)
            | Body::CloseAccount(_)
            | Body::CreateApiKey(_)
            | Body::RotateApiKey { .. }
            | Body::RevokeApiKey(_)
            | Body::Publish(_)
            | Body::SetQueue(_)
            | Body::AdvanceTime(_)
            | Body::PutSetting(_)
            | Body::DeleteSetting(_)
            | Body::CreateOwner(_) => {}
        }
    }

    fn payment(&mut self, id: PaymentId) {
        if self.set.payment(id).is_none() && !self.set.is_absent(&Absent::Payment(id)) {
            self.lookups.payments.push(id);
        }
    }

    /// Needs the payment of a used reference too: if that payment has failed since, the reference is free.
    fn reference(&mut self, space: ReferenceSpace, reference: &Reference) {
        match self.set.reference(space, reference) {
            Some(payment) => self.payment(payment),
            None => {
                let absent = Absent::Reference(space, reference.clone());
                if !self.set.is_absent(&absent) {
                    self.lookups.references.push((space, reference.clone()));
                }
            }
        }
    }

    fn external(&mut self, owner: OwnerId, external: &ExternalId) {
        let unknown = self.set.external(owner, external).is_none();
        if unknown
            && !self
                .set
                .is_absent(&Absent::External(owner, external.clone()))
        {
            self.lookups.externals.push((owner, external.clone()));
        }
    }
}
