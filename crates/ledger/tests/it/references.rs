//! Name spaces of references.

use crate::world::{World, by, plain_pay, split};
use tributary_ledger::*;

struct Scene {
    world: World,
    buyer: AccountId,
    shop: AccountId,
    other: AccountId,
}

fn scene() -> Scene {
    let mut world = World::new();
    let buyer = world.funded("buyer", 1_000);
    let (shop, other) = (world.wallet("shop"), world.wallet("other"));
    Scene {
        world,
        buyer,
        shop,
        other,
    }
}

impl Scene {
    fn order(&self, amount: u64, scope: Option<OwnerId>) -> Pay {
        Pay {
            reference: Reference::new("order-1").ok(),
            reference_scope: scope,
            ..plain_pay(self.buyer, self.shop, amount)
        }
    }

    fn by(&mut self, actor: Actor, pay: Pay) -> Option<Rejection> {
        let outcome = self.world.submit(actor, Body::Pay(pay));
        self.world.check();
        self.world.check_mirror();
        outcome.rejection
    }

    fn holder(&self, owner: OwnerId, scope: OwnerId) -> Option<PaymentId> {
        let reference = Reference::new("order-1").unwrap();
        let space = ReferenceSpace::new(owner, Some(scope));
        self.world.set.reference(space, &reference)
    }
}

#[test]
fn the_same_order_with_its_payees_in_another_order_pays_once() {
    let mut s = scene();
    let half = |account| (account, Part::BasisPoints(5_000));
    let (shop, other) = (s.world.owner_of(s.shop), s.world.owner_of(s.other));
    for scope in [None, Some(shop), Some(other)] {
        let order = |first, second| Pay {
            destination: split(&[half(first), half(second)]),
            ..s.order(100, scope)
        };
        let (order, again) = (order(s.shop, s.other), order(s.other, s.shop));
        assert_eq!(s.by(Actor::SYSTEM, order), None);
        let refused = Some(Rejection::ReferenceInUse);
        assert_eq!(s.by(Actor::SYSTEM, again), refused, "scope {scope:?}");
    }
    assert_eq!(s.world.posted(s.buyer), 700);
}

#[test]
fn a_payer_cannot_take_the_reference_of_a_merchant() {
    let mut s = scene();
    let (buyer, shop) = (s.world.owner_of(s.buyer), s.world.owner_of(s.shop));
    let small = s.order(1, None);
    assert_eq!(s.by(by(buyer), small), None);
    let forbidden = s.order(1, Some(shop));
    let refused = Some(Rejection::Forbidden);
    assert_eq!(s.by(by(buyer), forbidden), refused);
    let own = s.order(1, Some(buyer));
    assert_eq!(s.by(by(buyer), own), refused);
    // The merchant's order, which the platform submits, is not disturbed, nor is a payment of the merchant itself.
    let order = s.order(100, Some(shop));
    assert_eq!(s.by(Actor::SYSTEM, order.clone()), None);
    let back = Pay {
        kind: PaymentKind::Transfer,
        source: s.shop,
        destination: Destination::One(s.buyer),
        ..s.order(2, None)
    };
    assert_eq!(s.by(by(shop), back), None);
    let again = Some(Rejection::ReferenceInUse);
    assert_eq!(s.by(Actor::SYSTEM, order), again);
    let found: Vec<_> = ReferenceSpace::searched_by(shop)
        .map(|space| {
            s.world
                .set
                .reference(space, &Reference::new("order-1").unwrap())
        })
        .collect();
    let platforms = s.holder(OwnerId::PLATFORM, shop);
    assert_eq!(found, [s.holder(shop, shop), platforms]);
    assert!(found.iter().all(Option::is_some) && platforms != s.holder(buyer, buyer));
}

#[test]
fn only_a_payer_or_payee_can_be_the_scope_of_a_reference() {
    let mut s = scene();
    let fee = s.world.wallet("earner");
    let owner_of = |s: &Scene, account| Some(s.world.owner_of(account));
    let cases = [
        (owner_of(&s, s.buyer), None),
        (owner_of(&s, s.shop), None),
        (None, None),
        (
            owner_of(&s, s.other),
            Some(Rejection::ReferenceScopeNotParty),
        ),
        (owner_of(&s, fee), Some(Rejection::ReferenceScopeNotParty)),
        (Some(OwnerId::PLATFORM), Some(Rejection::ReferenceInUse)),
        (
            Some(OwnerId(u64::MAX)),
            Some(Rejection::ReferenceScopeNotParty),
        ),
    ];
    for (scope, expected) in cases {
        let order = Pay {
            fees: crate::world::fees(&[(fee, 1, 0)]),
            ..s.order(10, scope)
        };
        assert_eq!(s.by(Actor::SYSTEM, order), expected, "{scope:?}");
    }
}
