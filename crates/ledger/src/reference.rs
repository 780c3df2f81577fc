//! Name spaces of references.

use crate::{Actor, OwnerId, Pay};

/// Name space of references. Within a name space, payments that were not refused have different references. The name space
/// depends only on who asks for the payment and on the scope of the request, never on the accounts or their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReferenceSpace {
    /// Owner of the API key that asks for the payment.
    pub owner: OwnerId,
    /// Owner for whom the reference is unique: `owner` itself, unless the platform names another owner.
    pub scope: OwnerId,
}

impl ReferenceSpace {
    /// Returns the name space of a request: without a scope, the requester's own.
    pub fn new(owner: OwnerId, scope: Option<OwnerId>) -> Self {
        ReferenceSpace {
            owner,
            scope: scope.unwrap_or(owner),
        }
    }

    /// Returns the name spaces in which an owner looks a reference up: its own, and the platform's for this owner.
    pub fn searched_by(owner: OwnerId) -> impl Iterator<Item = ReferenceSpace> {
        let own = ReferenceSpace::new(owner, None);
        let from_platform = ReferenceSpace::new(OwnerId::PLATFORM, Some(owner));
        std::iter::once(own).chain((own != from_platform).then_some(from_platform))
    }
}

impl Pay {
    /// Returns the name space of the payment's reference, if this actor asks for the payment.
    pub fn reference_space(&self, actor: Actor) -> ReferenceSpace {
        ReferenceSpace::new(actor.owner, self.reference_scope)
    }
}
