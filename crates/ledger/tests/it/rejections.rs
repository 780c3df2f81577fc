//! Every rejection of a payment is provoked, and of two that apply the lower number is given.

use crate::world::{World, by, command, plain_pay, split};
use tributary_ledger::*;

/// A payment in the making, and the world around it.
pub(crate) struct Draft {
    world: World,
    actor: Actor,
    pay: Pay,
    fees: Vec<Fee>,
}

/// Two faults that use the same place cannot be combined.
pub(crate) struct Fault {
    pub(crate) rejection: Rejection,
    place: &'static str,
    make: fn(&mut Draft),
}

impl Draft {
    fn new() -> Self {
        let mut world = World::new();
        let source = world.funded("buyer", 1_000);
        let payee = world.wallet("shop");
        let actor = by(world.owner_of(source));
        Draft {
            world,
            actor,
            pay: plain_pay(source, payee, 100),
            fees: Vec::new(),
        }
    }

    fn fee(&mut self, account: AccountId, flat: u64) {
        self.fees.push(Fee {
            account,
            flat,
            basis_points: 0,
        });
    }

    fn run(mut self) -> Option<Rejection> {
        self.pay.fees = Fees::new(self.fees).unwrap();
        let outcome = self.world.run(&command(self.actor, Body::Pay(self.pay)));
        self.world.check_mirror();
        outcome.rejection
    }
}

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        rejection: Rejection::ActorKeyNotFound,
        place: "key",
        make: |draft| draft.actor.api_key = ApiKeyId(9_999),
    },
    Fault {
        rejection: Rejection::ActorKeyRevoked,
        place: "key",
        make: |draft| {
            let key = draft.world.api_key("buyer", Access::Write);
            draft.world.must(Body::RevokeApiKey(key));
            draft.actor.api_key = key;
        },
    },
    Fault {
        rejection: Rejection::ActorKeyMismatch,
        place: "key",
        make: |draft| draft.actor.api_key = draft.world.api_key("eve", Access::Write),
    },
    Fault {
        rejection: Rejection::ActorKeyReadOnly,
        place: "key",
        make: |draft| {
            let name = draft
                .world
                .set
                .owner(draft.actor.owner)
                .map(|owner| owner.name.as_str().to_owned());
            draft.actor.api_key = draft.world.api_key(&name.unwrap(), Access::Read);
        },
    },
    Fault {
        rejection: Rejection::AmountZero,
        place: "",
        make: |draft| draft.fee(AccountId(8_888), 0),
    },
    Fault {
        rejection: Rejection::AmountTooLarge,
        place: "",
        make: |draft| draft.fee(AccountId(8_887), AMOUNT_MAX + 1),
    },
    Fault {
        rejection: Rejection::PayeeMissing,
        place: "payee",
        make: |draft| draft.pay.destination = split(&[]),
    },
    Fault {
        rejection: Rejection::TooManyShares,
        place: "many",
        make: |draft| {
            let payees: Vec<_> = (0..16)
                .map(|at| (AccountId(7_000 + at), Part::Amount(1)))
                .collect();
            draft.pay.destination = split(&payees);
            (0..7).for_each(|at| draft.fee(AccountId(7_100 + at), 1));
        },
    },
    Fault {
        rejection: Rejection::DuplicateAccount,
        place: "",
        make: |draft| draft.fee(draft.pay.source, 1),
    },
    Fault {
        rejection: Rejection::ReasonRequired,
        place: "kind",
        make: |draft| draft.pay.kind = PaymentKind::Adjustment,
    },
    Fault {
        rejection: Rejection::HoldNotAllowed,
        place: "kind",
        make: |draft| {
            draft.pay.kind = PaymentKind::Adjustment;
            draft.pay.reason = Some(Reason::new("because").unwrap());
            draft.pay.hold = draft.pay.hold.or(Some(Hold {
                expires_at: u64::MAX,
            }));
        },
    },
    Fault {
        rejection: Rejection::HoldAlreadyDue,
        place: "hold",
        make: |draft| {
            draft.pay.hold = Some(Hold {
                expires_at: draft.world.timestamp,
            })
        },
    },
    Fault {
        rejection: Rejection::FeesExceedAmount,
        place: "",
        make: |draft| draft.fee(AccountId(8_886), 2_000),
    },
    Fault {
        rejection: Rejection::SplitMismatch,
        place: "payee",
        make: |draft| {
            let payee = draft.pay.first_payee().unwrap();
            draft.pay.destination = split(&[(payee, Part::Amount(1))]);
        },
    },
    Fault {
        rejection: Rejection::QueueExpired,
        place: "queue",
        make: |draft| {
            let terms = QueueTerms {
                expires_at: draft.world.timestamp,
                ..QueueTerms::default()
            };
            draft.pay.queue = Some(Box::new(Queue {
                terms,
                ..Queue::default()
            }));
        },
    },
    Fault {
        rejection: Rejection::AccountNotFound,
        place: "",
        make: |draft| draft.fee(AccountId(8_885), 1),
    },
    Fault {
        rejection: Rejection::Forbidden,
        place: "actor",
        make: |draft| draft.actor.owner = draft.world.owner_of(AccountId(4)),
    },
    Fault {
        rejection: Rejection::CurrencyMismatch,
        place: "",
        make: |draft| draft.pay.currency = Currency::from_code("JPY").unwrap(),
    },
    Fault {
        rejection: Rejection::AccountClosed,
        place: "",
        make: |draft| {
            let closed = draft.world.wallet("gone");
            draft.world.must(Body::CloseAccount(closed));
            draft.fee(closed, 1);
        },
    },
    Fault {
        rejection: Rejection::AccountFrozen,
        place: "",
        make: |draft| {
            let source = draft.pay.source;
            draft.world.must(Body::FreezeAccount(source));
        },
    },
    Fault {
        rejection: Rejection::ReferenceInUse,
        place: "reference",
        make: |draft| {
            let reference = Some(Reference::new("order-1").unwrap());
            let (second, other) = (draft.world.funded("buyer", 1), draft.world.wallet("other"));
            let earlier = Pay {
                reference: reference.clone(),
                ..plain_pay(second, other, 1)
            };
            let buyer = by(draft.world.owner_of(second));
            let outcome = draft.world.submit(buyer, Body::Pay(earlier));
            assert_eq!(outcome.rejection, None);
            draft.pay.reference = reference;
        },
    },
    Fault {
        rejection: Rejection::ReferenceScopeNotParty,
        place: "reference",
        make: |draft| {
            let stranger = draft.world.wallet("stranger");
            draft.actor.owner = OwnerId::PLATFORM;
            draft.pay.reference_scope = Some(draft.world.owner_of(stranger));
        },
    },
    Fault {
        rejection: Rejection::InsufficientFunds,
        place: "",
        make: |draft| draft.pay.amount = 1_001,
    },
    Fault {
        rejection: Rejection::BalanceOverflow,
        place: "",
        make: |draft| {
            let full = draft.world.funded("full", AMOUNT_MAX);
            draft.fee(full, 1);
        },
    },
];

#[test]
fn a_sound_payment_is_accepted() {
    assert_eq!(Draft::new().run(), None);
}

#[test]
fn every_fault_of_a_payment_is_refused_for_its_reason() {
    for fault in FAULTS {
        let mut draft = Draft::new();
        (fault.make)(&mut draft);
        assert_eq!(draft.run(), Some(fault.rejection));
    }
}

#[test]
fn of_two_faults_the_lower_number_is_given() {
    let mut pairs = 0;
    for (at, low) in FAULTS.iter().enumerate() {
        for high in &FAULTS[at + 1..] {
            let same_place = low.place == high.place && !low.place.is_empty();
            if same_place {
                continue;
            }
            let mut draft = Draft::new();
            // What needs the fixture as it was goes first; freezing must not stop another fault's preparation.
            let (first, second) = if high.rejection == Rejection::AccountFrozen {
                (low, high)
            } else {
                (high, low)
            };
            (first.make)(&mut draft);
            (second.make)(&mut draft);
            assert_eq!(
                draft.run(),
                Some(low.rejection),
                "{:?} and {:?}",
                low.rejection,
                high.rejection
            );
            pairs += 1;
        }
    }
    assert!(pairs > 150, "{pairs} pairs");
}
