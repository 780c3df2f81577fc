//! The parts of which a payment's cost is made, each by itself: `cargo bench -p tributary-engine`.
//!
//! A figure is of one frame of 8,192 plain payments among 10,000 accounts, but for `recovery`. For what a user gets,
//! with sockets and disk, see `tributary-bench`.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use tributary_engine::{Backend as _, Embedded, NEWEST, key_extractor};
use tributary_journal::{self as journal, DirDisk, Disk, FrameBuilder, Head, Meta};
use tributary_ledger::{
    self as ledger, AccountId, AccountKind, Actor, Body, Command, Context, Currency, Destination,
    Fees, Key, OpenAccount, Outcome, Overdraft, OwnerName, Pay, PaymentKind, Residency, WorkingSet,
};

const ACCOUNTS: u64 = 10_000;
const FRAME: u64 = journal::FRAME_RECORDS_MAX as u64;
/// Frames in the journal that `recovery` opens and `lookup` asks.
const FRAMES: u64 = 64;

fn main() {
    divan::main();
}

fn euro() -> Currency {
    Currency::from_code("EUR").expect("a currency")
}

fn command(number: u64, body: Body) -> Command {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&spread(number).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    Command {
        key: Key::from_bytes(&key).expect("sixteen bytes"),
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        origin: None,
        assessment: None,
        body,
    }
}

fn spread(number: u64) -> u64 {
    let mixed = (number ^ number >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

fn opening(number: u64) -> Command {
    let owner = OwnerName::new(&format!("owner-{}", number % 100)).expect("a name");
    let open = OpenAccount {
        owner,
        currency: euro(),
        kind: AccountKind::External,
        overdraft: Overdraft::UNLIMITED,
        external_id: None,
    };
    command(number, Body::OpenAccount(open))
}

fn payment(number: u64) -> Command {
    let source = spread(number) % ACCOUNTS;
    let pay = Pay {
        kind: PaymentKind::Pay,
        source: AccountId(1 + source),
        destination: Destination::One(AccountId(1 + (source + 1 + number % 7) % ACCOUNTS)),
        fees: Fees::default(),
        amount: 1 + number % 1_000,
        currency: euro(),
        hold: None,
        reference: None,
        reference_scope: None,
        reason: None,
        queue: None,
    };
    command(number, Body::Pay(pay))
}

fn payments(first: u64) -> Vec<Command> {
    (first..first + FRAME).map(payment).collect()
}

/// Decides and applies, as the engine does.
fn decide(
    set: &mut WorkingSet,
    commands: &[Command],
    first: u64,
    mut each: impl FnMut(&Command, &Outcome, Context),
) {
    let mut outcome = Outcome::default();
    for (command, position) in commands.iter().zip(first..) {
        let ctx = Context {
            position,
            timestamp: position,
        };
        ledger::decide_into(set, command, ctx, &mut outcome);
        ledger::apply_sparse(set, command, &outcome, ctx);
        each(command, &outcome, ctx);
    }
}

fn accounts() -> WorkingSet {
    let mut set = WorkingSet::new(Residency::Accounts);
    let openings: Vec<Command> = (1..=ACCOUNTS).map(opening).collect();
    decide(&mut set, &openings, 1, |_, outcome, _| {
        assert!(outcome.is_accepted())
    });
    set
}

/// A frame with the records of these commands.
fn encode(set: &mut WorkingSet, commands: &[Command], first: u64) -> FrameBuilder {
    let mut frame = FrameBuilder::new(first, first, NEWEST);
    decide(set, commands, first, |command, outcome, ctx| {
        let digest = command.digest();
        let pushed = frame.push(|payload| {
            ledger::codec::encode(command, &digest, outcome, ctx, NEWEST.format, payload);
        });
        pushed.expect("there is room");
        let hash = ledger::hash::hash_key(command.actor.owner, &command.key);
        ledger::index_command_keys(command, hash, outcome, &mut |hash| frame.add_key(hash));
    });
    frame
}

/// What a caller's thread does for each command.
#[divan::bench]
fn hash_and_digest(bencher: Bencher) {
    let commands = payments(ACCOUNTS + 1);
    let mut scratch = Vec::new();
    bencher.counter(ItemsCount::new(FRAME)).bench_local(|| {
        for command in &commands {
            black_box(ledger::hash::hash_key(command.actor.owner, &command.key));
            black_box(command.digest_with(&mut scratch));
        }
    });
}

#[divan::bench]
fn decide_and_apply(bencher: Bencher) {
    let (mut set, mut next) = (accounts(), ACCOUNTS + 1);
    let commands = payments(next);
    bencher.counter(ItemsCount::new(FRAME)).bench_local(|| {
        decide(&mut set, &commands, next, |_, outcome, _| {
            assert!(outcome.is_accepted())
        });
        next += FRAME;
    });
}

#[divan::bench]
fn seal_frame(bencher: Bencher) {
    let frame = || encode(&mut accounts(), &payments(ACCOUNTS + 1), ACCOUNTS + 1);
    let prev = Head {
        position: ACCOUNTS,
        epoch: 1,
        ..Head::default()
    };
    bencher
        .counter(ItemsCount::new(FRAME))
        .with_inputs(frame)
        .bench_local_refs(|frame| black_box(frame.seal(&prev).header().hash));
}

/// Fills a journal in `dir`: accounts, then frames of payments.
fn fill(dir: &Path) -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(dir));
    journal::create(
        &disk,
        &journal::Options::default(),
        &Meta::new([1; 16], [2; 16]),
    )
    .expect("a new journal");
    let (mut writer, _, _) =
        journal::open(disk.clone(), journal::Options::default(), key_extractor())
            .expect("it opens");
    let mut set = WorkingSet::new(Residency::Accounts);
    let openings: Vec<Command> = (1..=ACCOUNTS).map(opening).collect();
    let mut next = 1;
    for commands in openings.chunks(FRAME as usize) {
        writer
            .append(&mut encode(&mut set, commands, next))
            .expect("appended");
        next += commands.len() as u64;
    }
    for _ in 0..FRAMES {
        writer
            .append(&mut encode(&mut set, &payments(next), next))
            .expect("appended");
        next += FRAME;
    }
    disk
}

/// Seals, writes, syncs and indexes: the disk's share is in it.
#[divan::bench(sample_count = 30, sample_size = 1)]
fn append_frame(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = fill(dir.path());
    let (mut writer, _, _) =
        journal::open(disk, journal::Options::default(), key_extractor()).expect("it opens");
    let mut set = accounts();
    let mut next = writer.head().position + 1;
    bencher
        .counter(ItemsCount::new(FRAME))
        .with_inputs(|| {
            let frame = encode(&mut set, &payments(next), next);
            next += FRAME;
            frame
        })
        .bench_local_refs(|frame| writer.append(frame).expect("appended"));
}

/// Keys that were never used, as nearly all are.
#[divan::bench]
fn look_keys_up(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("a directory");
    let (_writer, reader, _) = journal::open(
        fill(dir.path()),
        journal::Options::default(),
        key_extractor(),
    )
    .expect("it opens");
    let (hashes, mut newest) = ((0..FRAME).map(spread).collect::<Vec<u64>>(), Vec::new());
    bencher.counter(ItemsCount::new(FRAME)).bench_local(|| {
        reader.find_newest(&hashes, &mut newest).expect("it reads");
    });
}

/// Opens a journal without a checkpoint and replays half a million records.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn recovery(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = fill(dir.path());
    bencher
        .counter(ItemsCount::new(FRAME * FRAMES))
        .bench_local(|| {
            let mut embedded =
                Embedded::open_inline(disk.clone(), journal::Options::default()).expect("it opens");
            embedded.recover().expect("it recovers").replayed
        });
}
