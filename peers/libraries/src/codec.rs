//! The codec of records: a plain accepted payment, as our bytes and through `serde` and `postcard`.

use std::hint::black_box;

use serde::{Deserialize, Serialize};
use tributary_ledger::{
    self as ledger, AccountId, AccountKind, Actor, Body, Command, Context, Currency, Destination,
    Fees, Key, OpenAccount, Outcome, Overdraft, OwnerName, Pay, PaymentKind, Residency, WorkingSet,
};

use crate::{BATCH, ROUNDS, nanoseconds, print_line, random};

const MEASURED: usize = 32;
const ACCOUNTS: u64 = 1_000;

/// The fields that the record of a plain payment keeps.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    operation: u8,
    flags: u8,
    rejection: u16,
    position: u64,
    timestamp: u64,
    actor: (u64, u64),
    digest: [u8; 16],
    effective_at: i32,
    key: &'a [u8],
    kind: u8,
    amount: u64,
    currency: u16,
    legs: Vec<Leg>,
    payment_owner: u64,
}

#[derive(Serialize, Deserialize)]
struct Leg {
    account: u64,
    amount: i64,
    posted_after: i64,
    held_after: u64,
    previous: u64,
    skip: u64,
    sequence: u64,
    currency: u16,
}

fn command(number: u64, body: Body) -> Command {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&random(number).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    Command {
        key: Key::from_bytes(&key).expect("sixteen bytes"),
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        origin: None,
        body,
    }
}

/// Decided payments in the order of their positions.
fn decided() -> Vec<(Command, [u8; 16], Outcome, Context)> {
    let currency = Currency::from_code("EUR").expect("a currency");
    let mut set = WorkingSet::new(Residency::Accounts);
    let mut all = Vec::new();
    for position in 1..=ACCOUNTS + (MEASURED * BATCH) as u64 {
        let body = if position <= ACCOUNTS {
            Body::OpenAccount(OpenAccount {
                owner: OwnerName::new("owner").expect("a name"),
                currency,
                kind: AccountKind::External,
                overdraft: Overdraft::UNLIMITED,
                external_id: None,
            })
        } else {
            let source = random(position) % ACCOUNTS;
            Body::Pay(Pay {
                kind: PaymentKind::Pay,
                source: AccountId(1 + source),
                destination: Destination::One(AccountId(1 + (source + 1) % ACCOUNTS)),
                fees: Fees::default(),
                amount: 1 + position % 1_000,
                currency,
                hold: None,
                reference: None,
                reason: None,
                queue: None,
            })
        };
        let command = command(position, body);
        // A time of these years: small numbers would flatter an encoding of variable length.
        let ctx = Context {
            position,
            timestamp: 1_700_000_000_000_000_000 + position,
        };
        let mut outcome = Outcome::default();
        ledger::decide_into(&mut set, &command, ctx, &mut outcome);
        assert!(outcome.is_accepted());
        ledger::apply_sparse(&mut set, &command, &outcome, ctx);
        if position > ACCOUNTS {
            all.push((command.clone(), command.digest(), outcome, ctx));
        }
    }
    all
}

/// What a library has to be given: our types know no `serde`.
fn mirror<'a>(
    (command, digest, outcome, ctx): &'a (Command, [u8; 16], Outcome, Context),
) -> Record<'a> {
    let Body::Pay(pay) = &command.body else {
        unreachable!("only payments are here")
    };
    let legs = outcome.legs.iter().map(|leg| Leg {
        account: leg.account.0,
        amount: leg.amount,
        posted_after: leg.posted_after,
        held_after: leg.held_after,
        previous: leg.prev,
        skip: leg.skip,
        sequence: leg.seq,
        currency: leg.currency.numeric(),
    });
    Record {
        operation: 5,
        flags: 0,
        rejection: 0,
        position: ctx.position,
        timestamp: ctx.timestamp,
        actor: (command.actor.owner.0, 0),
        digest: *digest,
        effective_at: 0,
        key: command.key.as_bytes(),
        kind: 1,
        amount: pay.amount,
        currency: pay.currency.numeric(),
        legs: legs.collect(),
        payment_owner: 1,
    }
}

pub(crate) fn compare() {
    let all = decided();
    let [mut encode, mut read, mut bytes] = [const { [Vec::new(), Vec::new()] }; 3];
    for _ in 0..ROUNDS {
        let (mut buffer, mut ends) = (
            Vec::with_capacity(all.len() * 400),
            Vec::with_capacity(all.len()),
        );
        encode[0].push(nanoseconds(all.len(), || {
            for (command, digest, outcome, ctx) in &all {
                ledger::codec::encode(command, digest, outcome, *ctx, &mut buffer);
                ends.push(buffer.len());
            }
        }));
        read[0].push(nanoseconds(all.len(), || {
            let mut start = 0;
            for end in &ends {
                let record =
                    ledger::codec::RecordRef::parse(&buffer[start..*end], ledger::FORMAT_VERSION);
                let record = record.expect("sound");
                black_box((
                    record.context(),
                    record.key(),
                    record.accounts().map(|account| account.0).sum::<u64>(),
                ));
                start = *end;
            }
        }));
        bytes[0].push(buffer.len() as f64 / all.len() as f64);

        buffer.clear();
        ends.clear();
        encode[1].push(nanoseconds(all.len(), || {
            for decided in &all {
                buffer = postcard::to_extend(&mirror(decided), std::mem::take(&mut buffer))
                    .expect("it fits");
                ends.push(buffer.len());
            }
        }));
        read[1].push(nanoseconds(all.len(), || {
            let mut start = 0;
            for end in &ends {
                let record: Record<'_> = postcard::from_bytes(&buffer[start..*end]).expect("sound");
                let legs = record.legs.iter().map(|leg| leg.account).sum::<u64>();
                black_box((record.position, record.timestamp, record.key, legs));
                start = *end;
            }
        }));
        bytes[1].push(buffer.len() as f64 / all.len() as f64);
    }
    for (what, [ours, library], unit) in [
        ("codec, encode a payment", encode, "ns"),
        ("codec, read a payment's key, time and accounts", read, "ns"),
        ("codec, bytes of a payment's record", bytes, "B "),
    ] {
        print_line(what, ours, &[("postcard", library)], unit);
    }
}
