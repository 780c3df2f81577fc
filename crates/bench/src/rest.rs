//! Modes `http` and `mixed`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, ensure};

use crate::books::{AMOUNT_MAX, Books};
use crate::error::usage_error;
use crate::http_client::{HttpClient, HttpResponse, RequestTag, Workload};
use crate::meter::{Latencies, Progress};
use crate::options;
use crate::payload::idempotency_key;
use crate::report::{Conditions, Measurement, StorageSnapshot, finish_run};
use crate::requests::{Head, Template, put_batch_head, put_get, put_post};
use crate::rules::Rules;
use crate::server::Server;
use crate::skew::{AccountChooser, Random};

/// Maximum number of payment ids that are kept for reads, captures and refunds.
const REMEMBERED_MAX: usize = 10_000;
/// Number of characters of a payment's id.
const PAYMENT_CHARS: usize = 30;

/// Runs the mode `http`.
pub(crate) fn http(options: &options::HttpOptions) -> anyhow::Result<()> {
    if options.payments == 0 {
        return Err(usage_error("--payments must be at least 1"));
    }
    if options.minimal && options.per_request == 1 {
        return Err(usage_error(
            "--minimal is about batches: give --per-request more than 1",
        ));
    }
    let server = Server::start(&options.load)?;
    let books = Books::prepare(&server, options.load.accounts)?;
    let create = |()| Rules::create(&mut server.client()?, books.run);
    let rules = options.rules.then_some(()).map(create).transpose()?;
    let before = StorageSnapshot::read(&server)?;
    let mut http = HttpClient::open(server.addr, options.connections)?;
    let mut work = PaymentLoad::new(&server, &books, &options.load, options.per_request);
    work.minimal = options.minimal;
    let go = AtomicBool::new(false);
    work.begin_part(options.warmup, "warm-up");
    http.run(&mut work, None, &go)?;
    work.begin_part(options.payments, "http");
    let per_request = f64::from(options.per_request);
    let rate = options.load.rate.map(|rate| rate / per_request);
    http.run(&mut work, rate, &go)?;
    let measured = work.take_measurement()?;
    let records = options.warmup + options.payments;
    let balances = (measured.rejected == 0).then_some(&*work.balances);
    let mut added = records;
    if let Some(rules) = &rules {
        rules.check(&mut server.client()?, records)?;
        added += Rules::RECORDS;
    }
    books.check(&server, Some(added), balances)?;
    let conditions = Conditions {
        mode: match (options.minimal, options.rules) {
            (true, _) => "http-minimal",
            (false, true) => "http-rules",
            (false, false) => "http",
        },
        load: &options.load,
        connections: options.connections,
        batch_size: options.per_request,
        in_flight: 1,
        warmup: options.warmup,
        records,
    };
    finish_run(&conditions, server, &before, measured)?;
    Ok(())
}

/// Runs the mode `mixed`.
pub(crate) fn mixed(options: &options::MixedOptions) -> anyhow::Result<()> {
    if options.requests == 0 {
        return Err(usage_error("--requests must be at least 1"));
    }
    let server = Server::start(&options.load)?;
    let books = Books::prepare(&server, options.load.accounts)?;
    let before = StorageSnapshot::read(&server)?;
    let mut http = HttpClient::open(server.addr, options.connections)?;
    let mut work = MixedLoad::new(&server, &books, &options.load);
    let go = AtomicBool::new(false);
    work.begin_part(options.warmup, "warm-up");
    http.run(&mut work, None, &go)?;
    work.begin_part(options.requests, "mixed");
    http.run(&mut work, options.load.rate, &go)?;
    let (payments, measured) = work.take_measurement()?;
    books.check(&server, Some(work.records), None)?;
    let conditions = Conditions {
        mode: "mixed",
        load: &options.load,
        connections: options.connections,
        batch_size: 1,
        in_flight: 1,
        warmup: options.warmup,
        records: work.records,
    };
    let measured = Measurement {
        count: payments,
        ..measured
    };
    finish_run(&conditions, server, &before, measured)?;
    Ok(())
}

pub(crate) fn request_head(server: &Server) -> Head {
    Head {
        host: server.addr.to_string(),
        token: server.token.clone(),
    }
}

/// A load of plain payments, one or many per request.
pub(crate) struct PaymentLoad {
    head: Head,
    template: Template,
    accounts: Vec<String>,
    chooser: AccountChooser,
    random: Random,
    run: u64,
    per_request: u64,
    /// Whether batches are answered with ids instead of objects.
    pub(crate) minimal: bool,
    next: u64,
    end: u64,
    balances: Vec<i64>,
    latencies: Latencies,
    rejected: u64,
    progress: Option<Progress>,
}

impl PaymentLoad {
    pub(crate) fn new(
        server: &Server,
        books: &Books,
        load: &options::Load,
        per_request: u32,
    ) -> PaymentLoad {
        let head = request_head(server);
        PaymentLoad {
            template: match per_request {
                1 => Template::payment(&head, false),
                _ => Template::in_batch(),
            },
            head,
            accounts: books.account_ids(),
            chooser: AccountChooser::new(load),
            random: Random::new(load.seed),
            run: books.run,
            per_request: per_request.into(),
            minimal: false,
            next: 0,
            end: 0,
            balances: vec![0; books.accounts.len()],
            latencies: Latencies::new(),
            rejected: 0,
            progress: None,
        }
    }

    /// Begins a part of `payments` payments.
    pub(crate) fn begin_part(&mut self, payments: u64, what: &'static str) {
        self.end = self.next + payments;
        self.latencies = Latencies::new();
        self.progress = Some(Progress::new(what, "payments", payments));
    }

    fn put(&mut self, into: &mut Vec<u8>) {
        let (source, destination) = self.chooser.choose_pair(&mut self.random);
        let amount = 1 + self.random.below(AMOUNT_MAX);
        let (source, destination) = (source as usize, destination as usize);
        self.balances[source] -= i64::from(amount);
        self.balances[destination] += i64::from(amount);
        let key = idempotency_key(self.run, self.next);
        let (source, destination) = (&self.accounts[source], &self.accounts[destination]);
        self.template.put(into, &key, source, destination, amount);
        self.next += 1;
    }

    pub(crate) fn take_measurement(&mut self) -> anyhow::Result<Measurement> {
        let progress = self.progress.take().context("no part was begun")?;
        Ok(Measurement::new(progress, &self.latencies, self.rejected))
    }

    /// Returns the change of each account's balance.
    pub(crate) fn balances(&self) -> &[i64] {
        &self.balances
    }
}

impl Workload for PaymentLoad {
    fn next_request(&mut self, into: &mut Vec<u8>) -> Option<RequestTag> {
        let count = self.per_request.min(self.end - self.next);
        if count == 0 {
            return None;
        }
        if self.per_request == 1 {
            self.put(into);
        } else {
            let items = count as usize;
            put_batch_head(
                into,
                &self.head,
                self.minimal,
                1 + items * (self.template.len() + 1),
            );
            for at in 0..count {
                into.push(if at == 0 { b'[' } else { b',' });
                self.put(into);
            }
            into.push(b']');
        }
        Some(RequestTag {
            kind: 0,
            number: count,
        })
    }

    fn take_response(&mut self, tag: RequestTag, response: HttpResponse<'_>) -> anyhow::Result<()> {
        let rejected = match (self.per_request, response.status) {
            (1, 201) => 0,
            (1, 402) => 1,
            (2.., 200) => {
                let done =
                    memchr::memmem::find_iter(response.body, b"\"status\":201").count() as u64;
                ensure!(
                    done <= tag.number,
                    "the response has more results than the request has payments"
                );
                tag.number - done
            }
            _ => return Err(unexpected_response(&response)),
        };
        self.rejected += rejected;
        self.latencies.record(response.latency);
        if let Some(progress) = &mut self.progress {
            progress.add(tag.number, response.now);
        }
        Ok(())
    }
}

pub(crate) fn unexpected_response(response: &HttpResponse<'_>) -> anyhow::Error {
    let body = &response.body[..response.body.len().min(500)];
    anyhow::anyhow!(
        "the server answered {}: {}",
        response.status,
        String::from_utf8_lossy(body)
    )
}

/// Kinds of requests in a mixed load, and their share in percent.
const KINDS: [(&str, u32); 7] = [
    ("payment", 45),
    ("authorize", 10),
    ("capture", 10),
    ("refund", 5),
    ("statement", 10),
    ("get_payment", 10),
    ("get_account", 10),
];
/// The first kinds are writes: so many.
const WRITES: usize = 4;

/// A load of payments, authorizations and captures, refunds, statements and look-ups.
struct MixedLoad {
    head: Head,
    paying: Template,
    holding: Template,
    accounts: Vec<String>,
    chooser: AccountChooser,
    random: Random,
    run: u64,
    /// Number of used idempotency keys.
    keys: u64,
    left: u64,
    /// Ids of authorized payments, of captured ones, and of any.
    held: VecDeque<String>,
    captured: VecDeque<String>,
    known: Vec<String>,
    latencies: [Latencies; KINDS.len()],
    rejected: u64,
    /// Number of answered writes, over all parts.
    records: u64,
    payments: u64,
    progress: Option<Progress>,
}

impl MixedLoad {
    fn new(server: &Server, books: &Books, load: &options::Load) -> MixedLoad {
        let head = request_head(server);
        MixedLoad {
            paying: Template::payment(&head, false),
            holding: Template::payment(&head, true),
            head,
            accounts: books.account_ids(),
            chooser: AccountChooser::new(load),
            random: Random::new(load.seed),
            run: books.run,
            keys: 0,
            left: 0,
            held: VecDeque::new(),
            captured: VecDeque::new(),
            known: Vec::new(),
            latencies: std::array::from_fn(|_| Latencies::new()),
            rejected: 0,
            records: 0,
            payments: 0,
            progress: None,
        }
    }

    fn begin_part(&mut self, requests: u64, what: &'static str) {
        self.left = requests;
        self.payments = 0;
        self.latencies = std::array::from_fn(|_| Latencies::new());
        self.progress = Some(Progress::new(what, "requests", requests));
    }

    /// Draws a kind of request. Chooses a payment if the drawn kind needs an object that does not exist yet.
    fn choose(&mut self) -> usize {
        let mut chance = self.random.below(100);
        let kind = KINDS.iter().position(|(_, share)| {
            let here = chance < *share;
            chance = chance.wrapping_sub(*share);
            here
        });
        match kind.unwrap_or(0) {
            2 if self.held.is_empty() => 0,
            3 if self.captured.is_empty() => 0,
            5 if self.known.is_empty() => 0,
            kind => kind,
        }
    }

    fn put(&mut self, kind: usize, into: &mut Vec<u8>) {
        let (source, destination) = self.chooser.choose_pair(&mut self.random);
        let key = idempotency_key(self.run, self.keys);
        self.keys += 1;
        let of = |number: u32| &self.accounts[number as usize];
        match kind {
            0 | 1 => {
                let template = if kind == 0 {
                    &self.paying
                } else {
                    &self.holding
                };
                let amount = 1 + self.random.below(AMOUNT_MAX);
                template.put(into, &key, of(source), of(destination), amount);
            }
            2 => {
                let payment = self.held.pop_front().unwrap_or_default();
                let path = format!("/v1/payments/{payment}/capture");
                put_post(into, &self.head, &path, &key, "{}");
            }
            3 => {
                let payment = self.captured.pop_front().unwrap_or_default();
                let body = format!(r#"{{"payment":"{payment}"}}"#);
                put_post(into, &self.head, "/v1/refunds", &key, &body);
            }
            4 => {
                let account = of(destination);
                let path = format_args!("/v1/accounts/{account}/entries?limit=100");
                put_get(into, &self.head, path);
            }
            5 => {
                let payment = &self.known[self.random.below(self.known.len() as u32) as usize];
                put_get(into, &self.head, format_args!("/v1/payments/{payment}"));
            }
            _ => put_get(
                into,
                &self.head,
                format_args!("/v1/accounts/{}", of(destination)),
            ),
        }
    }

    /// Keeps the payment id of a response for later requests.
    fn remember(&mut self, kind: usize, body: &[u8]) -> anyhow::Result<()> {
        let at = memchr::memmem::find(body, b"\"id\":\"pay_").context("a response has no id")?;
        let id = body.get(at + 6..at + 6 + PAYMENT_CHARS);
        let id = std::str::from_utf8(id.context("a response is too short")?)?.to_owned();
        let queue = if kind == 1 {
            &mut self.held
        } else {
            &mut self.captured
        };
        if queue.len() < REMEMBERED_MAX {
            queue.push_back(id.clone());
        }
        if self.known.len() < REMEMBERED_MAX {
            self.known.push(id);
        } else {
            let at = self.random.below(REMEMBERED_MAX as u32) as usize;
            self.known[at] = id;
        }
        Ok(())
    }

    fn take_measurement(&mut self) -> anyhow::Result<(u64, Measurement)> {
        let progress = self.progress.take().context("no part was begun")?;
        let mut all = Latencies::new();
        let mut operations = BTreeMap::new();
        for ((name, _), latencies) in KINDS.iter().zip(&self.latencies) {
            all.add(latencies);
            operations.insert(*name, latencies.summary());
        }
        let measured = Measurement {
            operations,
            ..Measurement::new(progress, &all, self.rejected)
        };
        Ok((self.payments, measured))
    }
}

impl Workload for MixedLoad {
    fn next_request(&mut self, into: &mut Vec<u8>) -> Option<RequestTag> {
        self.left = self.left.checked_sub(1)?;
        let kind = self.choose();
        self.put(kind, into);
        Some(RequestTag { kind, number: 1 })
    }

    fn take_response(&mut self, tag: RequestTag, response: HttpResponse<'_>) -> anyhow::Result<()> {
        let kind = tag.kind;
        self.records += u64::from(kind < WRITES);
        match (kind, response.status) {
            (0 | 1, 201) => {
                self.payments += 1;
                self.remember(kind, response.body)?;
            }
            (3, 201) | (2 | 4.., 200) => {}
            (0..WRITES, 402) => self.rejected += 1,
            _ => return Err(unexpected_response(&response)),
        }
        self.latencies[kind].record(response.latency);
        if let Some(progress) = &mut self.progress {
            progress.add(1, response.now);
        }
        Ok(())
    }
}
