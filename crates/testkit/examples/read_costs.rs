//! What single reads cost, without sockets, and with a cache of records:
//! `cargo run --release -p tributary-testkit --example read_costs [PAYMENTS [CACHE_MIB]]`. A cache of 1 MiB shows what misses cost.
//! docs/cache.md has its figures.

#![expect(clippy::print_stdout, reason = "it shows figures to a person")]

use std::fs::File;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tributary_api::caller::{Caller, authenticate, internal_token};
use tributary_api::render::entry::entry;
use tributary_api::render::payment::payment;
use tributary_api::risk::NoRisk;
use tributary_api::streaming::NoStreaming;
use tributary_api::token::Secret;
use tributary_connect::adapters::Adapters;
use tributary_connect::webhooks::Keyring;
use tributary_engine::{
    Embedded, Engine, IdKind, Options, Page, Reader, RecordCacheOptions, Reply, SteeredClock,
};
use tributary_journal::{self as journal, DirDisk, Disk, Meta};
use tributary_ledger::{
    Access, AccountId, AccountKind, Actor, Body, Command, CreateApiKey, Currency, Destination,
    Fees, Key, OpenAccount, Overdraft, OwnerId, OwnerName, Pay, PaymentId, PaymentKind, Reference,
    ReferenceSpace,
};
use tributary_server::{Server, ServerConfig, Services};

const ACCOUNTS: u64 = 1_000;
const BATCH: u64 = 1_000;
/// Payments that are read again and again, anywhere in the journal.
const HOT: u64 = 20_000;
const COLD_READS: u64 = 200;

fn main() {
    let argument = |number, default| {
        let text = std::env::args().nth(number);
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let (payments, cache_mib) = (argument(1, 300_000), argument(2, 64));
    let folder = tempfile::tempdir().expect("a directory");
    let secret = Secret::random();
    let engine = start(folder.path(), cache_mib << 20);
    fill(&engine, payments, &secret);
    let cached = engine.reader();
    let uncached = cached.without_record_cache();
    let bytes = cached.store_stats().bytes;
    println!(
        "{payments} payments among {ACCOUNTS} accounts, {bytes} bytes; cache of {cache_mib} MiB"
    );
    let first = ACCOUNTS + 2;
    let any = |step: u64| first + spread(step % HOT) % payments;
    for (name, reader) in [("without a cache", &uncached), ("with a cache", &cached)] {
        println!("\n{name}");
        costs(reader, &secret, any);
        cold_costs(reader, folder.path(), any);
    }
    println!("\n{:?}", cached.record_cache_figures());
    for (name, bytes_max) in [("without a cache", 0), ("with a cache", cache_mib << 20)] {
        println!("\nover HTTP, {name}");
        http_costs(&engine, &secret, bytes_max);
    }
    engine.shutdown();
}

/// Times whole requests over one connection of the loopback interface.
fn http_costs(engine: &Engine, secret: &Secret, bytes_max: u64) {
    let config = ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        threads: 1,
        statement_cache_bytes_max: bytes_max,
        internal: Some(secret.clone()),
        ..ServerConfig::default()
    };
    let reader = engine.reader();
    let keyring = Keyring::unusable("a measurement needs no secrets");
    let brokers = Adapters::new(Vec::new(), keyring, reader.ids().clone(), engine.clock());
    let services = Services {
        messaging: None,
        transport: None,
        brokers: Arc::new(brokers),
        streaming: Arc::new(NoStreaming),
        risk: Arc::new(NoRisk),
        leadership: None,
    };
    let server = Server::start(config, engine.clone(), services).expect("it starts");
    let mut stream = TcpStream::connect(server.addr()).expect("it listens");
    stream.set_nodelay(true).expect("it is a socket");
    let token = internal_token(reader.ids(), secret);
    let mut get = |path: &str| {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("it is open");
        read_answer(&mut stream);
    };
    let accounts = (1..=100).map(|account| reader.ids().encode(IdKind::Account, account));
    let accounts: Vec<String> = accounts.collect();
    for lines in [10, 100] {
        measure(&format!("statement of {lines} lines"), 5_000, |step| {
            let account = &accounts[(step % 100) as usize];
            get(&format!("/v1/accounts/{account}/entries?limit={lines}"));
        });
    }
    let first = ACCOUNTS + 2;
    let payments = (0..100).map(|at| reader.ids().encode(IdKind::Payment, first + at));
    let payments: Vec<String> = payments.collect();
    measure("closed payment", 5_000, |step| {
        get(&format!("/v1/payments/{}", payments[(step % 100) as usize]));
    });
}

/// Reads an answer that says how long it is.
fn read_answer(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    let mut part = [0; 65_536];
    loop {
        let read = stream.read(&mut part).expect("it answers");
        assert!(read > 0, "the connection ended");
        answer.extend_from_slice(&part[..read]);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|text| text.parse().ok()).expect("a length");
        if answer.len() == end + 4 + length {
            return;
        }
    }
}

/// Times reads, for each of which the system reads the files anew.
fn cold_costs(reader: &Reader, folder: &Path, any: impl Fn(u64) -> u64) {
    let cold = |what, read: &dyn Fn(u64)| {
        let mut nanos = 0;
        for step in 0..COLD_READS {
            drop_pages(folder);
            let begun = Instant::now();
            read(step);
            nanos += begun.elapsed().as_nanos();
        }
        println!("{what:46} {:>9} ns", nanos / u128::from(COLD_READS));
    };
    cold("record by position, pages not in memory", &|step| {
        black_box(reader.record(any(step)).expect("it reads"));
    });
    cold("closed payment rendered, pages not in memory", &|step| {
        black_box(read_payment(reader, any(step)));
    });
    cold("statement of 10 lines, pages not in memory", &|step| {
        black_box(read_statement(reader, step, 10));
    });
}

fn costs(reader: &Reader, secret: &Secret, any: impl Fn(u64) -> u64) {
    measure("record by position", 100_000, |step| {
        black_box(reader.record(any(step)).expect("it reads"));
    });
    measure("closed payment: found", 100_000, |step| {
        black_box(find_payment(reader, any(step)));
    });
    measure("closed payment: found and rendered", 100_000, |step| {
        black_box(read_payment(reader, any(step)));
    });
    for lines in [10, 100] {
        measure(
            &format!("statement of {lines} lines: found"),
            2_000,
            |step| {
                let account = AccountId(1 + spread(step) % ACCOUNTS);
                black_box(
                    reader
                        .statement(account, Page::newest(lines))
                        .expect("it reads"),
                );
            },
        );
        measure(
            &format!("statement of {lines} lines: found and rendered"),
            2_000,
            |step| {
                black_box(read_statement(reader, step, lines));
            },
        );
    }
    let token = secret.token(reader.ids(), tributary_ledger::ApiKeyId(ACCOUNTS + 1));
    let header = format!("Bearer {token}");
    measure("API key: checked", 100_000, |_| {
        black_box(authenticate(reader, None, Some(&header), || 0).expect("it is valid"));
    });
    let made_up = reader.ids().encode(IdKind::Payment, 1 << 40);
    let forged = format!("{}0", &made_up[..made_up.len() - 1]);
    measure("id that was made up: refused", 100_000, |_| {
        black_box(reader.ids().decode(IdKind::Payment, black_box(&forged)));
    });
    measure("reference that does not exist: refused", 100_000, |step| {
        let name = Reference::new(&format!("none-{step}")).expect("a reference");
        let found =
            reader.payment_by_reference(ReferenceSpace::new(OwnerId::PLATFORM, None), &name);
        assert!(found.expect("it reads").is_none());
    });
}

fn measure(what: &str, steps: u64, mut read: impl FnMut(u64)) {
    (0..steps / 10).for_each(&mut read);
    // The best of five: what else the machine does is no cost of a read.
    let best = (0..5).map(|_| {
        let begun = Instant::now();
        (0..steps).for_each(&mut read);
        begun.elapsed().as_nanos() / u128::from(steps)
    });
    println!("{what:46} {:>9} ns", best.min().unwrap_or_default());
}

fn find_payment(
    reader: &Reader,
    position: u64,
) -> (tributary_ledger::Payment, tributary_ledger::codec::Record) {
    let asked = reader
        .record(position)
        .expect("it reads")
        .expect("it is there");
    let now = reader.payment(PaymentId(position)).expect("it reads");
    (now.expect("it is there"), asked)
}

fn read_payment(reader: &Reader, position: u64) -> Vec<u8> {
    let (now, asked) = find_payment(reader, position);
    let object = payment(reader, &now, &asked).unwrap_or_else(|_| panic!("it renders"));
    serde_json::to_vec(&object).expect("it is JSON")
}

fn read_statement(reader: &Reader, step: u64, lines: usize) -> Vec<u8> {
    let account = AccountId(1 + spread(step) % ACCOUNTS);
    let found = reader
        .statement(account, Page::newest(lines))
        .expect("it reads");
    assert_eq!(found.items.len(), lines);
    let caller = Caller::system();
    let objects = found.items.iter().map(|line| entry(reader, &caller, line));
    let objects: Vec<_> = objects
        .map(|object| object.unwrap_or_else(|_| panic!("it renders")))
        .collect();
    serde_json::to_vec(&objects).expect("it is JSON")
}

/// Asks the system to forget what it holds of the files in memory.
fn drop_pages(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            drop_pages(&path);
        } else if let Ok(file) = File::open(path) {
            let advice = rustix::fs::Advice::DontNeed;
            rustix::fs::fadvise(&file, 0, None, advice).expect("it is a file");
        }
    }
}

fn start(folder: &Path, cache_bytes: u64) -> Engine {
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(folder));
    let options = journal::Options::default();
    journal::create(&disk, &options, &Meta::new([1; 16], [2; 16])).expect("a new journal");
    let backend = Embedded::open(disk, options).expect("it opens");
    let clock = Arc::new(SteeredClock::system());
    let options = Options {
        record_cache: RecordCacheOptions {
            bytes_max: cache_bytes,
            ..RecordCacheOptions::default()
        },
        ..Options::default()
    };
    Engine::start(Box::new(backend), clock, options).expect("it starts")
}

fn fill(engine: &Engine, payments: u64, secret: &Secret) {
    let execute = |commands: Vec<Command>| {
        for reply in engine.execute_blocking(commands).expect("it is taken") {
            assert!(matches!(&reply, Reply::Done { record, .. } if record.outcome.is_accepted()));
        }
    };
    execute(
        (1..=ACCOUNTS)
            .map(|number| command(number, opening(number)))
            .collect(),
    );
    let key = CreateApiKey {
        owner: OwnerName::new("owner-1").expect("a name"),
        access: Access::Write,
        secret_hash: secret.hash(),
        label: None,
    };
    execute(vec![command(ACCOUNTS + 1, Body::CreateApiKey(key))]);
    for batch in 0..payments.div_ceil(BATCH) {
        let numbers = ACCOUNTS + 2 + batch * BATCH..ACCOUNTS + 2 + (batch + 1) * BATCH;
        execute(
            numbers
                .map(|number| command(number, paying(number)))
                .collect(),
        );
    }
}

fn command(number: u64, body: Body) -> Command {
    Command {
        key: Key::from_bytes(&number.to_le_bytes()).expect("eight bytes"),
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        origin: None,
        assessment: None,
        body,
    }
}

fn opening(number: u64) -> Body {
    Body::OpenAccount(OpenAccount {
        owner: OwnerName::new(&format!("owner-{}", number % 100)).expect("a name"),
        currency: Currency::from_code("EUR").expect("a currency"),
        kind: AccountKind::External,
        overdraft: Overdraft::UNLIMITED,
        external_id: None,
    })
}

fn paying(number: u64) -> Body {
    let source = spread(number) % ACCOUNTS;
    Body::Pay(Pay {
        kind: PaymentKind::Pay,
        source: AccountId(1 + source),
        destination: Destination::One(AccountId(1 + (source + 1 + number % 7) % ACCOUNTS)),
        fees: Fees::default(),
        amount: 1 + number % 1_000,
        currency: Currency::from_code("EUR").expect("a currency"),
        hold: None,
        reference: Some(Reference::new(&format!("order-{number}")).expect("a reference")),
        reference_scope: None,
        reason: None,
        queue: None,
    })
}

fn spread(number: u64) -> u64 {
    let mixed = (number ^ number >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}
