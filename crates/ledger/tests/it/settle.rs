//! Who may capture, and who may release what is held: an owner only for itself, the platform always.

use crate::parts::{Scene, held};
use crate::world::{by, fees, plain_pay, split};
use tributary_ledger::*;

const FORBIDDEN: Option<Rejection> = Some(Rejection::Forbidden);

impl Scene {
    fn actor(&self, account: AccountId) -> Actor {
        by(self.world.owner_of(account))
    }

    fn capture_by(&mut self, account: AccountId, capture: Capture) -> Option<Rejection> {
        let actor = self.actor(account);
        self.submit(actor, Body::Capture(capture))
    }

    fn void_by(&mut self, account: AccountId) -> Option<Rejection> {
        let actor = self.actor(account);
        self.submit(actor, Body::Void(self.payment))
    }

    fn by_amount(&self, amount: Option<u64>) -> Capture {
        Capture {
            amount,
            ..self.capture_of(&[])
        }
    }

    /// Asserts that the owner of the account can neither take anything but its own part, nor release anything.
    fn assert_takes_only_its_own(&mut self, own: AccountId, other: AccountId) {
        let before = self.world.payment(self.payment).clone();
        let is_final = |capture: Capture| Capture {
            is_final: true,
            ..capture
        };
        for capture in [
            self.capture_of(&[(other, 1)]),
            self.capture_of(&[(own, 1), (other, 1)]),
            self.capture_of(&[(other, 1), (own, 1)]),
            is_final(self.capture_of(&[(own, 1)])),
            is_final(self.capture_of(&[(other, 1)])),
            self.by_amount(None),
            self.by_amount(Some(1)),
            is_final(self.by_amount(Some(1))),
        ] {
            let refused = self.capture_by(own, capture.clone());
            assert_eq!(refused, FORBIDDEN, "{own:?} {capture:?}");
        }
        assert_eq!(self.void_by(own), FORBIDDEN);
        assert_eq!(*self.world.payment(self.payment), before);
    }
}

#[test]
fn an_owner_captures_its_own_part_wherever_it_stands_and_never_touches_the_others() {
    for first_is_a in [true, false] {
        let mut s = held();
        if !first_is_a {
            let turned = [(s.b, Part::Amount(36)), (s.a, Part::Amount(54))];
            s.payment = s.world.pay(Pay {
                destination: split(&turned),
                fees: fees(&[(s.fee, 10, 0)]),
                hold: Some(Hold {
                    expires_at: u64::MAX,
                }),
                ..plain_pay(s.buyer, s.a, 100)
            });
        }
        let (a, b) = (s.a, s.b);
        s.assert_takes_only_its_own(a, b);
        s.assert_takes_only_its_own(b, a);
        let part = s.capture_of(&[(b, 20)]);
        assert_eq!(s.capture_by(b, part), None);
        let part = s.capture_of(&[(a, 54)]);
        assert_eq!(s.capture_by(a, part), None);
        s.assert_takes_only_its_own(a, b);
        assert_eq!(s.world.posted(a), 1_054);
        assert_eq!(s.world.posted(b), 1_020);
        assert_eq!(s.world.posted(s.fee), 8, "floor(10 * 74 / 90)");
    }
}

#[test]
fn the_last_payee_with_something_held_may_release_it() {
    let ends: [fn(&mut Scene) -> Option<Rejection>; 3] = [
        |s| s.void_by(s.b),
        |s| {
            let last = Capture {
                is_final: true,
                ..s.capture_of(&[(s.b, 1)])
            };
            s.capture_by(s.b, last)
        },
        |s| s.capture_by(s.b, s.by_amount(None)),
    ];
    for (end, of_b) in ends.into_iter().zip([20, 21, 36]) {
        let mut s = held();
        let (a, b) = (s.a, s.b);
        assert_eq!(s.capture(&[(b, 20)]), None);
        assert_eq!(s.capture(&[(a, 53)]), None);
        assert_eq!(s.void_by(b), FORBIDDEN, "one unit is still held for a");
        assert_eq!(s.capture(&[(a, 1)]), None);
        let before = s.world.payment(s.payment).clone();
        assert_eq!(s.void_by(a), FORBIDDEN);
        assert_eq!(*s.world.payment(s.payment), before);
        assert_eq!(end(&mut s), None);
        let payment = s.world.payment(s.payment);
        assert_eq!((payment.held, payment.status), (0, PaymentStatus::Captured));
        assert_eq!(s.captured()[..2], [54, of_b]);
    }
}

#[test]
fn the_owner_of_all_payees_captures_and_voids_whatever_the_fees() {
    for ends_by_void in [true, false] {
        let mut s = held();
        let more = s.world.wallet("a");
        let parts = [(s.a, Part::Amount(54)), (more, Part::Amount(36))];
        s.payment = s.world.pay(Pay {
            destination: split(&parts),
            fees: fees(&[(s.fee, 10, 0)]),
            hold: Some(Hold {
                expires_at: u64::MAX,
            }),
            ..plain_pay(s.buyer, s.a, 100)
        });
        let a = s.a;
        assert_eq!(s.capture_by(a, s.by_amount(Some(10))), None);
        let exact = s.capture_of(&[(more, 1), (a, 1)]);
        assert_eq!(s.capture_by(a, exact), None);
        let last = Capture {
            is_final: true,
            ..s.capture_of(&[(a, 1)])
        };
        let end = match ends_by_void {
            true => s.void_by(a),
            false => s.capture_by(a, last),
        };
        assert_eq!(end, None);
        assert_eq!(s.world.payment(s.payment).held, 0);
    }
}

#[test]
fn payers_and_owners_of_fees_settle_nothing() {
    let mut s = held();
    let agent = s.world.open("agent", AccountKind::Fee, Overdraft::NONE);
    s.payment = s.world.pay(Pay {
        destination: split(&[(s.a, Part::Amount(20)), (s.b, Part::Amount(20))]),
        fees: fees(&[(agent, 60, 0)]),
        hold: Some(Hold {
            expires_at: u64::MAX,
        }),
        ..plain_pay(s.buyer, s.a, 100)
    });
    let (buyer, a, b) = (s.buyer, s.a, s.b);
    let refuse_both = |s: &mut Scene| {
        for account in [buyer, agent] {
            for capture in [
                s.by_amount(None),
                s.by_amount(Some(1)),
                s.capture_of(&[(a, 1)]),
                s.capture_of(&[(agent, 1)]),
            ] {
                let refused = s.capture_by(account, capture);
                assert!(matches!(
                    refused,
                    Some(Rejection::Forbidden | Rejection::PayeeNotFound)
                ));
            }
            assert_eq!(s.void_by(account), FORBIDDEN);
        }
    };
    refuse_both(&mut s);
    // Divisions by amount leave one unit for the agent alone.
    for _ in 0..99 {
        assert_eq!(s.world.capture(s.payment, Some(1)).rejection, None);
    }
    assert_eq!(s.captured(), [20, 20, 59]);
    refuse_both(&mut s);
    // Nothing is held for the other payee.
    assert_eq!(s.capture_by(b, s.by_amount(None)), None);
    assert_eq!(s.captured(), [20, 20, 60]);
}

#[test]
fn the_platform_captures_and_voids_for_everyone() {
    let mut s = held();
    let (a, b) = (s.a, s.b);
    assert_eq!(s.capture(&[(b, 1), (a, 1)]), None);
    assert_eq!(s.submit(Actor::SYSTEM, Body::Void(s.payment)), None);
}

#[test]
fn a_payment_that_is_over_is_refused_for_that_reason() {
    let mut s = held();
    let b = s.b;
    s.submit(Actor::SYSTEM, Body::Void(s.payment));
    let over = Some(Rejection::PaymentNotOpen);
    let own = s.capture_of(&[(b, 1)]);
    assert_eq!(s.capture_by(b, own), over);
    assert_eq!(s.capture_by(b, s.by_amount(None)), over);
    assert_eq!(s.void_by(b), over);
    let stranger = s.world.wallet("stranger");
    assert_eq!(s.void_by(stranger), FORBIDDEN);
    assert_eq!(s.capture_by(stranger, s.by_amount(None)), FORBIDDEN);
}

#[test]
fn one_of_two_payees_cannot_void_a_queued_payment() {
    let mut s = held();
    let buyer = s.actor(s.buyer);
    let queued = Pay {
        destination: split(&[(s.a, Part::Amount(60)), (s.b, Part::Amount(40))]),
        queue: Some(Box::default()),
        ..plain_pay(s.buyer, s.a, 100)
    };
    let asked = s.world.submit(buyer, Body::Pay(queued));
    s.payment = asked.payment.unwrap().id;
    let (a, b) = (s.a, s.b);
    assert_eq!(s.void_by(a), FORBIDDEN);
    assert_eq!(s.void_by(b), FORBIDDEN);
    assert_eq!(s.void_by(s.buyer), None);
}
