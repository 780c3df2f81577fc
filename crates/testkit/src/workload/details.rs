//! Random owners and updates. There are few names and external ids, so that they collide.

use tributary_ledger::{
    Body, CreateOwner, ExternalId, OwnerId, OwnerKind, OwnerName, OwnerProfile, OwnerStatus,
    ProfileChange, Update, Updated,
};

use super::Workload;
use crate::model::Model;

impl Workload {
    pub(super) fn create_owner(&mut self) -> Body {
        let name = format!("company-{}", self.rng.below(30));
        let profile = OwnerProfile {
            kind: OwnerKind::from_number(self.rng.below(3) as u8),
            status: self.owner_status(),
            external_id: self.rng.chance(50).then(|| self.owner_external_id()),
        };
        Body::CreateOwner(Box::new(CreateOwner {
            name: OwnerName::new(&name).expect("it is plain"),
            profile,
        }))
    }

    pub(super) fn update(&mut self, model: &Model) -> Body {
        let object = match self.rng.below(3) {
            0 => Updated::Account(self.account(model)),
            1 => Updated::Payment(self.payment(model, |_| true)),
            _ => {
                let owners: Vec<u64> = model.owners().values().copied().collect();
                let known = self.rng.pick(&owners).copied().unwrap_or(0);
                let stray = self.rng.chance(3);
                let id = if stray { self.rng.any() } else { known };
                Updated::Owner(OwnerId(id), self.profile_change())
            }
        };
        Body::Update(Box::new(Update {
            object,
            description: self.rng.chance(60),
            metadata: self.rng.chance(60),
        }))
    }

    fn profile_change(&mut self) -> ProfileChange {
        if self.rng.chance(30) {
            return ProfileChange::default();
        }
        ProfileChange {
            kind: OwnerKind::from_number(self.rng.below(5) as u8),
            status: self.rng.chance(40).then(|| self.owner_status()),
            external_id: self
                .rng
                .chance(50)
                .then(|| self.rng.chance(70).then(|| self.owner_external_id())),
        }
    }

    /// Most owners are active: the others get no accounts.
    fn owner_status(&mut self) -> OwnerStatus {
        match self.rng.chance(15) {
            true => OwnerStatus::Inactive,
            false => OwnerStatus::Active,
        }
    }

    fn owner_external_id(&mut self) -> ExternalId {
        let name = format!("crm-{}", self.rng.below(12));
        ExternalId::new(&name).expect("it is short")
    }
}
