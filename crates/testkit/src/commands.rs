//! Short constructors of commands, for hand-written tests.

use tributary_ledger::{
    AccountId, AccountKind, Actor, Body, Command, Currency, Destination, Fees, Hold, Key,
    OpenAccount, Overdraft, OwnerName, Pay, PaymentKind, Reference,
};

/// Some time in 2026, nanoseconds since the Unix epoch.
pub const BEGIN: u64 = 1_780_000_000_000_000_000;
/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// Returns a command of the platform with this idempotency key.
pub fn command(key: &str, body: Body) -> Command {
    Command {
        key: Key::from_bytes(key.as_bytes()).expect("a short key"),
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        origin: None,
        assessment: None,
        body,
    }
}

/// Returns a command that opens an external account in EUR with an unlimited overdraft.
pub fn open(key: &str, owner: &str) -> Command {
    let body = OpenAccount {
        owner: OwnerName::new(owner).expect("a plain name"),
        currency: Currency::from_code("EUR").expect("a currency"),
        kind: AccountKind::External,
        overdraft: Overdraft::UNLIMITED,
        external_id: None,
    };
    command(key, Body::OpenAccount(body))
}

/// Returns a payment in EUR.
pub fn pay(source: u64, destination: u64, amount: u64) -> Pay {
    Pay {
        kind: PaymentKind::Pay,
        source: AccountId(source),
        destination: Destination::One(AccountId(destination)),
        fees: Fees::default(),
        amount,
        currency: Currency::from_code("EUR").expect("a currency"),
        hold: None,
        reference: None,
        reference_scope: None,
        reason: None,
        queue: None,
    }
}

/// Returns a payment in EUR with a reference.
pub fn pay_with_reference(source: u64, destination: u64, reference: &str) -> Body {
    Body::Pay(Pay {
        reference: Some(Reference::new(reference).expect("a short reference")),
        ..pay(source, destination, 100)
    })
}

/// Returns a payment in EUR that is held until `expires_at`.
pub fn hold(source: u64, destination: u64, amount: u64, expires_at: u64) -> Body {
    Body::Pay(Pay {
        hold: Some(Hold { expires_at }),
        ..pay(source, destination, amount)
    })
}
