//! Which owners may capture or release what is held for a payment. The ledger and the interfaces apply the same rule.

use crate::{AccountId, Capture, OwnerId, Payment, PaymentKind, PaymentShare};

/// Why an owner may not capture or release what is held for a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldRefusal {
    /// Only the platform captures and voids payments of this kind: the platform alone knows the outside result.
    PlatformOnly,
    /// The owner has no account among the payees. Fee accounts are no payees.
    NotPayee,
    /// The split with this index names an account of another owner.
    OtherOwnersSplit(usize),
    /// Without splits, the capture would take what is held for payees of other owners.
    OtherOwnersPart,
    /// What is held for payees of other owners would be released.
    ReleasesOthers,
}

impl Payment {
    /// Checks that an owner's capture takes money only for accounts of this owner, with the fees that follow, and releases nothing that
    /// is held for payees of other owners. `owner_of` returns the owner of an account.
    ///
    /// # Errors
    /// If the owner may not make this capture. The order of the payees never matters.
    pub fn check_capture_by(
        &self,
        owner: OwnerId,
        capture: &Capture,
        owner_of: impl Fn(AccountId) -> Option<OwnerId>,
    ) -> Result<(), HoldRefusal> {
        let foreign = |account| owner_of(account) != Some(owner);
        self.check_payee(&foreign)?;
        if let Some(index) = capture.splits.iter().position(|part| foreign(part.account)) {
            return Err(HoldRefusal::OtherOwnersSplit(index));
        }
        let others = self.holds_for_others(&foreign);
        match (others, capture.splits.is_empty(), capture.is_final) {
            (true, true, _) => Err(HoldRefusal::OtherOwnersPart),
            (true, false, true) => Err(HoldRefusal::ReleasesOthers),
            _ => Ok(()),
        }
    }

    /// Checks that an owner who releases all that is held releases nothing that is held for payees of other owners. `owner_of` returns
    /// the owner of an account.
    ///
    /// # Errors
    /// If the owner may not release what is held. The order of the payees never matters.
    pub fn check_release_by(
        &self,
        owner: OwnerId,
        owner_of: impl Fn(AccountId) -> Option<OwnerId>,
    ) -> Result<(), HoldRefusal> {
        let foreign = |account| owner_of(account) != Some(owner);
        self.check_payee(&foreign)?;
        match self.holds_for_others(&foreign) {
            true => Err(HoldRefusal::ReleasesOthers),
            false => Ok(()),
        }
    }

    fn check_payee(&self, foreign: &impl Fn(AccountId) -> bool) -> Result<(), HoldRefusal> {
        if !matches!(self.kind, PaymentKind::Pay | PaymentKind::Transfer) {
            return Err(HoldRefusal::PlatformOnly);
        }
        // A queued payment has no payee until it runs.
        let none = self.payees().iter().all(|share| foreign(share.account));
        match !self.reached_payees || none {
            true => Err(HoldRefusal::NotPayee),
            false => Ok(()),
        }
    }

    /// Returns whether something is held, or queued, for a payee of another owner: an open payment holds for each payee what that payee
    /// has not captured.
    fn holds_for_others(&self, foreign: &impl Fn(AccountId) -> bool) -> bool {
        let waits = |share: &PaymentShare| share.captured < share.amount && foreign(share.account);
        self.is_open() && self.payees().iter().any(waits)
    }
}
