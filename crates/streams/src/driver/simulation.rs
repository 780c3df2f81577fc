//! Streams, rules and reviews over one journal that loses its power again and again. After every end the next server goes on with what is
//! left, and with checkpoints that are older, or gone. At the end everything is computed once more from the journal alone, and must be the
//! same: rows, published results, assessments. What was published is there once, and no window ended before its time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tributary_engine::{BriefReply, Clock as _, Ports, Reader, Reply, Stepper, lock};
use tributary_ledger::{
    Access, Approve, Body, Command, CreateApiKey, Hold, Investigate, OwnerName, PaymentId,
    PaymentStatus, PutSetting, Queue, RiskLabel, SettingBody, SettingId, SettingKind, Slug,
};
use tributary_testkit::backends::EmbeddedFactory;
use tributary_testkit::clock::TestClock;
use tributary_testkit::commands::{command, open, pay};
use tributary_testkit::disk::{Fault, SimDisk};
use tributary_testkit::random::Random;
use tributary_testkit::seeds::{ReplayHint, Seeds};

use super::checkpoint::Checkpoints;
use super::fields::OwnerNames;
use super::follow::Follower;
use super::risk::Rules;
use super::slot::{Slot, Slots};
use super::{outwards, publish};

/// Time at which the simulation begins, nanoseconds since the Unix epoch.
const BEGIN: u64 = 1_780_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;
const PAYERS: u64 = 4;
/// Servers one after the other.
const LIVES: u64 = 6;
/// Steps of a server, at most.
const STEPS_MAX: u64 = 150;
/// Operations of the disk before the power fails, at most.
const OPERATIONS_MAX: u64 = 60;
/// Rounds in which everything must have come to rest.
const ROUNDS_MAX: usize = 1_000;

const HOURLY: SettingId = SettingId(1);
const VELOCITY: SettingId = SettingId(2);
const SESSIONS: SettingId = SettingId(3);
const WAITS: SettingId = SettingId(4);
const FRAUDS: SettingId = SettingId(5);
const WATCHED: SettingId = SettingId(6);
const ACTIVE: SettingId = SettingId(7);
const SHADOW: SettingId = SettingId(8);

/// Counts of what happened: a simulation in which nothing happens proves nothing.
#[derive(Debug, Default)]
struct Report {
    power_off: u64,
    killed: u64,
    reviewed: u64,
    approved: u64,
    published: u64,
    barriers: u64,
    assessed: u64,
}

struct World {
    random: Random,
    disk: SimDisk,
    clock: TestClock,
    folder: tempfile::TempDir,
    keys: u64,
    report: Report,
}

/// A server: an engine, and what follows its journal.
struct Server {
    stepper: Stepper,
    follower: Follower,
    rules: Arc<Rules>,
    owners: OwnerNames,
}

/// What a server goes on with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Step,
    End,
}

fn stream(version: u64, from: &[&str], more: serde_json::Value) -> serde_json::Value {
    let from: Vec<_> = from.iter().map(|event| json!({"event": event})).collect();
    let mut terms = json!({
        "version": version, "from": from, "data": {}, "time": null, "having": null, "publish": null,
        "start": "beginning", "bounds": {}, "paused": null,
    });
    let fields = more.as_object().expect("fields").clone();
    terms.as_object_mut().expect("an object").extend(fields);
    terms
}

fn hourly(version: u64, acts_as: u64) -> serde_json::Value {
    let emit = match version % 2 {
        1 => json!({"payments": "count()", "amount": "sum(amount)"}),
        _ => json!({"payments": "count()", "largest": "max(amount)"}),
    };
    let more = json!({
        "key": ["payer"], "window": {"type": "tumbling", "size_seconds": 60}, "emit": emit,
        "publish": {"event": "app.hourly", "acts_as": acts_as},
    });
    stream(version, &["payment.captured"], more)
}

/// What is set up first, as the key of the API that publishes.
fn definitions(acts_as: u64) -> Vec<(SettingId, SettingKind, serde_json::Value)> {
    let trailing = json!({"type": "trailing", "size_seconds": 30});
    let count = json!({"payments": "count()"});
    let velocity = json!({"key": ["payer"], "window": trailing, "emit": count});
    let sessions = json!({
        "key": ["payee"], "window": {"type": "session", "gap_seconds": 20},
        "emit": {"amount": "sum(amount)", "payers": "distinct(payer)"},
        "publish": {"event": "app.session", "acts_as": acts_as},
    });
    let until = ["payment.captured", "payment.voided", "payment.expired"];
    let until: Vec<_> = until.iter().map(|event| json!({"event": event})).collect();
    let waits = json!({
        "key": ["payment"], "window": {"type": "await", "within_seconds": 40, "until": until},
        "emit": {"amount": "sum(amount)"}, "publish": {"event": "app.waited", "acts_as": acts_as},
    });
    let frauds = json!({
        "key": ["payer"], "window": {"type": "trailing", "size_seconds": 100},
        "emit": {"frauds": "count()"},
    });
    let features = json!({
        "payments": {"stream": "s2", "value": "payments", "key": ["payer"]},
        "frauds": {"stream": "s5", "value": "frauds", "key": ["payer"]},
        "watched": {"list": "s6", "key": ["payer"]},
    });
    let rules = |effect: &str| {
        json!([
            {"name": "often", "when": "payments >= 3", "effect": "review"},
            {"name": "frauds", "when": "frauds >= 1", "effect": "challenge"},
            {"name": "watched", "when": "watched", "effect": effect},
            {"name": "large", "when": "amount > 900", "points": 600},
        ])
    };
    let set = |state: &str, effect: &str| {
        json!({
            "state": state, "where": "kind == \"pay\"", "features": features, "rules": rules(effect),
            "thresholds": {"review": 500}, "on_error": "review", "review_seconds": 30,
            "challenge_seconds": 20,
        })
    };
    let made = ["payment.captured", "payment.in_review"];
    let labelled = stream(1, &["payment.labelled"], frauds);
    vec![
        (HOURLY, SettingKind::STREAM, hourly(1, acts_as)),
        (VELOCITY, SettingKind::STREAM, stream(1, &made, velocity)),
        (
            SESSIONS,
            SettingKind::STREAM,
            stream(1, &["payment.captured"], sessions),
        ),
        (
            WAITS,
            SettingKind::STREAM,
            stream(1, &["payment.in_review", "payment.authorized"], waits),
        ),
        (FRAUDS, SettingKind::STREAM, labelled),
        (WATCHED, SettingKind::LIST, json!({"entries": []})),
        (ACTIVE, SettingKind::RULE_SET, set("active", "block")),
        (SHADOW, SettingKind::RULE_SET, set("shadow", "challenge")),
    ]
}

fn put(id: SettingId, kind: SettingKind, replaces: u64, terms: &serde_json::Value) -> Body {
    let body = serde_json::to_vec(terms).expect("terms are JSON");
    Body::PutSetting(Box::new(PutSetting {
        id,
        kind,
        slug: Slug::new(&format!("s{}", id.0)).expect("a slug"),
        managed_by: None,
        replaces,
        body: SettingBody::new(&body).expect("it is short"),
        request: *blake3::hash(&body)
            .as_bytes()
            .first_chunk()
            .expect("16 of 32 bytes"),
    }))
}

impl World {
    fn new(seed: u64) -> World {
        World {
            random: Random::new(seed),
            disk: SimDisk::new(seed),
            clock: TestClock::starting_at(BEGIN),
            folder: tempfile::tempdir().expect("a folder"),
            keys: 0,
            report: Report::default(),
        }
    }

    fn start(&self) -> Server {
        let backend = EmbeddedFactory::on_disk(self.disk.disk()).open();
        let mut stepper = Stepper::start(backend, Arc::new(self.clock.clone())).expect("it starts");
        let reader = stepper.reader();
        let slots: Arc<Slots> = Arc::default();
        let rules = Rules::new(reader.clone(), slots.clone());
        stepper.set_ports(Ports {
            judge: Some(rules.clone()),
            ..Ports::default()
        });
        let follower = Follower {
            reader: reader.clone(),
            slots,
            checkpoints: Some(Checkpoints::open(self.folder.path()).expect("a folder")),
        };
        follower.define(true);
        Server {
            stepper,
            follower,
            rules,
            owners: OwnerNames::new(&reader),
        }
    }

    fn command(&mut self, body: Body) -> Command {
        self.keys += 1;
        command(&format!("key-{}", self.keys), body)
    }

    /// Makes the accounts, the key, and the settings. Nothing fails here.
    fn set_up(&mut self) {
        let mut server = self.start();
        let owners = (0..PAYERS).map(|at| format!("payer-{at}"));
        let accounts: Vec<Command> = owners
            .chain(["shop".to_owned()])
            .map(|owner| open(&format!("open-{owner}"), &owner))
            .collect();
        let key = CreateApiKey {
            owner: OwnerName::platform(),
            access: Access::Write,
            secret_hash: [1; 32],
            label: None,
        };
        let key = self.command(Body::CreateApiKey(key));
        server.stepper.accept(accounts);
        server.stepper.accept(vec![key]);
        let acts_as = PAYERS + 2;
        for (id, kind, terms) in definitions(acts_as) {
            let made = self.command(put(id, kind, 0, &terms));
            server.stepper.accept(vec![made]);
        }
        server.stepper.settle();
        assert!(
            server
                .stepper
                .reader()
                .api_key(tributary_ledger::ApiKeyId(acts_as))
                .is_some()
        );
        server.stepper.close();
    }

    fn run_server(&mut self) {
        let mut server = self.start();
        let fails = self.random.chance(50);
        if fails {
            let at = self.disk.operations() + self.random.below(OPERATIONS_MAX);
            self.disk.inject(at, Fault::PowerOff);
        }
        for _ in 0..1 + self.random.below(STEPS_MAX) {
            let is_dead = || self.disk.is_off() || server.stepper.failed().is_some();
            if is_dead() || self.step(&mut server) == Next::End {
                break;
            }
        }
        drop(server);
        match self.disk.is_off() {
            true => self.report.power_off += 1,
            false => self.report.killed += 1,
        }
        // Only the process may have ended: then what it wrote is there to be read.
        if fails || self.random.chance(50) {
            self.disk = self.disk.crash(self.random.any());
        }
        if self.random.chance(20) {
            let files = std::fs::read_dir(self.folder.path()).expect("a folder");
            for file in files {
                std::fs::remove_file(file.expect("a file").path()).expect("it goes");
            }
        }
    }

    fn step(&mut self, server: &mut Server) -> Next {
        match self.random.below(100) {
            0..=39 => {
                let payments = 1 + self.random.below(3);
                let commands = (0..payments).map(|_| self.payment()).collect();
                server.stepper.accept(commands);
            }
            40..=54 => server.stepper.settle(),
            55..=58 => {
                server.stepper.expire();
                server.stepper.run_queue();
            }
            59..=78 => {
                if server.follow().is_err() {
                    return Next::End;
                }
            }
            79..=86 => return self.work_outwards(server),
            87..=92 => {
                let by = self.random.below(15) * SECOND;
                match self.random.chance(15) {
                    true => self.clock.set(self.clock.now() - by),
                    false => self.clock.advance(by),
                }
            }
            93..=96 => (0..3).for_each(|_| self.look_into_payments(server)),
            97 => server.follower.keep(&server.follower.slots.all(), true),
            98 => self.change(server, WATCHED, |random, _| {
                let payer = format!("payer-{}", random.below(PAYERS));
                let entries = match random.chance(50) {
                    true => json!([{"value": payer}]),
                    false => json!([]),
                };
                json!({"entries": entries})
            }),
            _ => self.change(server, HOURLY, |_, revision| {
                hourly(revision + 1, PAYERS + 2)
            }),
        }
        Next::Step
    }

    fn payment(&mut self) -> Command {
        let payer = 1 + self.random.below(PAYERS);
        let amount = 1 + self.random.below(1_000);
        let mut pay = pay(payer, PAYERS + 1, amount);
        if self.random.chance(20) {
            let seconds = 10 + self.random.below(60);
            pay.hold = Some(Hold {
                expires_at: self.clock.now() + seconds * SECOND,
            });
        }
        if self.random.chance(15) {
            pay.queue = Some(Box::<Queue>::default());
        }
        self.command(Body::Pay(pay))
    }

    /// Replaces a setting by another revision.
    fn change(
        &mut self,
        server: &mut Server,
        id: SettingId,
        terms: impl FnOnce(&mut Random, u64) -> serde_json::Value,
    ) {
        let reader = server.stepper.reader();
        let setting = reader.setting(id).expect("it was made");
        let terms = terms(&mut self.random, setting.revision);
        let body = put(id, setting.kind, setting.revision, &terms);
        let changed = self.command(body);
        server.stepper.accept(vec![changed]);
        server.stepper.settle();
    }

    /// Approves, declines or labels payments.
    fn look_into_payments(&mut self, server: &mut Server) {
        let reader = server.stepper.reader();
        let held = reader.in_review(0, 10, |_| true).items;
        let mut commands = Vec::new();
        if let Some(payment) = self.random.pick(&held).map(|payment| payment.id) {
            let body = match self.random.below(3) {
                0 => Body::Void(payment),
                _ => Body::Approve(Approve {
                    payment,
                    by_payer: self.random.chance(50),
                }),
            };
            commands.push(self.command(body));
        }
        let any = PaymentId(1 + self.random.below(reader.published()));
        let label = RiskLabel::ALL[self.random.index(RiskLabel::ALL.len())];
        let found = Investigate {
            payment: any,
            investigating: None,
            assignee: None,
            label: Some(label),
        };
        commands.push(self.command(Body::Investigate(Box::new(found))));
        server.stepper.accept(commands);
    }

    /// Submits what streams have to submit. The server may end before it learns what became of it.
    fn work_outwards(&mut self, server: &mut Server) -> Next {
        let slots = server.follower.slots.all();
        let reader = &server.follower.reader;
        let now = self.clock.now();
        let asked = outwards::due(reader, &slots, now, None);
        let commands: Vec<Command> = asked.iter().map(|asked| asked.command.clone()).collect();
        let deadline = server.follower.next_deadline(&slots);
        let barrier = deadline.filter(|deadline| u64::try_from(*deadline).unwrap_or(0) <= now);
        let stepped = (!commands.is_empty()).then(|| server.stepper.accept(commands));
        if let Some(deadline) = barrier {
            self.report.barriers += 1;
            server.stepper.accept(vec![publish::barrier(deadline, now)]);
        }
        if self.random.chance(5) {
            return Next::End;
        }
        server.stepper.settle();
        let Some(stepped) = stepped else {
            return Next::Step;
        };
        let Some(Ok(replies)) = server.stepper.answer(&stepped) else {
            return Next::End;
        };
        for (asked, reply) in asked.into_iter().zip(replies) {
            asked.settle(brief(reply), now);
        }
        Next::Step
    }

    /// Lets a server without faults come to rest, and compares everything with what the journal says.
    fn end(mut self) -> Report {
        self.disk = self.disk.crash(self.random.any());
        let mut server = self.start();
        for _ in 0..20 {
            server.stepper.expire();
            server.stepper.run_queue();
            server.stepper.settle();
            self.clock.advance(10 * SECOND);
        }
        let mut is_at_rest = false;
        for _ in 0..ROUNDS_MAX {
            while !server.follow().expect("a whole journal") {}
            let before = server.stepper.reader().published();
            while self.work_outwards(&mut server) == Next::End {}
            self.clock.advance(SECOND);
            let slots = server.follower.slots.all();
            let waits = |slot: &Arc<Mutex<Slot>>| {
                let slot = lock(slot);
                slot.versions
                    .iter()
                    .any(|version| !version.runner.waiting().is_empty())
            };
            let is_quiet = server.stepper.reader().published() == before;
            is_at_rest = is_quiet
                && !slots.iter().any(waits)
                && server.follower.next_deadline(&slots).is_none();
            if is_at_rest {
                break;
            }
        }
        assert!(
            is_at_rest,
            "everything is published, and every window has ended"
        );
        self.check(&server);
        server.stepper.close();
        self.report
    }

    fn check(&mut self, server: &Server) {
        let reader = &server.follower.reader;
        let again = Follower {
            reader: reader.clone(),
            slots: Arc::default(),
            checkpoints: None,
        };
        again.define(true);
        while !again
            .step(&server.owners, &again.slots.all())
            .expect("a whole journal")
        {}
        let last = reader
            .record(reader.published())
            .expect("it is read")
            .expect("it is there");
        let last_time = i64::try_from(last.ctx.timestamp).expect("it is small");
        let published = published_by(reader);
        for id in [HOURLY, VELOCITY, SESSIONS, WAITS, FRAUDS] {
            let (live, again) = (server.follower.slots.get(id), again.slots.get(id));
            let (live, again) = (live.expect("it is there"), again.expect("it is there"));
            let (live, again) = (lock(&live), lock(&again));
            let newest = |slot: &Slot| {
                let runner = &slot.versions.last().expect("it runs").runner;
                assert_eq!(runner.why_stopped(), None);
                let shown = |row: &tributary_api::streaming::StreamRow| {
                    (
                        row.key.clone(),
                        row.window_start,
                        row.window_end,
                        row.revision,
                        row.values.clone(),
                    )
                };
                let rows: Vec<_> = runner
                    .final_rows(None, usize::MAX)
                    .iter()
                    .map(shown)
                    .collect();
                let open = runner.open_rows(0, usize::MAX).expect("it goes on");
                let open: Vec<_> = open.iter().map(shown).collect();
                (runner.terms.version, runner.position, rows, open)
            };
            let (found, expected) = (newest(&live), newest(&again));
            assert_eq!(
                found, expected,
                "{id:?}: as computed from the journal alone"
            );
            for (_, _, end, ..) in &found.2 {
                assert!(*end <= last_time, "no window ends before its time");
            }
            let runner = &again.versions.last().expect("it runs").runner;
            assert!(
                runner.waiting().is_empty(),
                "{id:?}: all results are on record"
            );
            let of_stream = published.get(&id).copied().unwrap_or(0);
            self.report.published += of_stream;
            // One that was never changed published each of its results.
            if [SESSIONS, WAITS].contains(&id) {
                assert_eq!(of_stream, runner.results, "{id:?}: each result once");
            }
        }
        let verified = server.rules.verify(&mut |_| ()).expect("a whole journal");
        assert_eq!(verified.differences, [], "assessments are the same again");
        assert_eq!((verified.different, verified.not_comparable), (0, 0));
        self.report.assessed += verified.same;
        self.count_reviews(reader);
    }

    fn count_reviews(&mut self, reader: &Reader) {
        let mut open: BTreeSet<u64> = BTreeSet::new();
        for position in 1..=reader.published() {
            let record = reader
                .record(position)
                .expect("it is read")
                .expect("it is there");
            let Some(payment) = &record.outcome.payment else {
                continue;
            };
            match payment.status == PaymentStatus::InReview {
                true => self.report.reviewed += u64::from(open.insert(payment.id.0)),
                false => {
                    open.remove(&payment.id.0);
                }
            }
            let is_approval = matches!(record.command.body, Body::Approve(_));
            self.report.approved += u64::from(is_approval && record.outcome.is_accepted());
        }
        let held = reader.in_review(0, usize::MAX, |_| true).items;
        let held: BTreeSet<u64> = held.iter().map(|payment| payment.id.0).collect();
        assert_eq!(held, open, "cases are open that the journal leaves open");
    }
}

impl Server {
    /// Gives a frame to the streams. Returns whether everything was taken.
    fn follow(&self) -> Result<bool, tributary_engine::Failure> {
        self.follower.define(false);
        self.follower.step(&self.owners, &self.follower.slots.all())
    }
}

/// The number of results on record, by stream.
fn published_by(reader: &Reader) -> BTreeMap<SettingId, u64> {
    let mut found = BTreeMap::new();
    for position in 1..=reader.published() {
        let record = reader
            .record(position)
            .expect("it is read")
            .expect("it is there");
        let is_result = matches!(record.command.body, Body::Publish(_));
        if let (Some(origin), true) = (&record.command.origin, is_result) {
            *found.entry(origin.setting()).or_default() += 1;
        }
    }
    found
}

fn brief(reply: Reply) -> BriefReply {
    match reply {
        Reply::Done { record, replayed } => BriefReply::Done {
            position: record.ctx.position,
            rejection: record.outcome.rejection,
            replayed,
        },
        Reply::KeyConflict { position } => BriefReply::KeyConflict { position },
        Reply::GroupKeyConflict => BriefReply::GroupKeyConflict,
        Reply::NotQueued(why) => BriefReply::NotQueued(why),
    }
}

#[test]
fn simulated_streams_and_rules_lose_nothing_and_repeat_nothing() {
    const NAME: &str = "streams";
    let mut reports = Vec::new();
    for seed in Seeds::for_test(NAME, 20) {
        let _hint = ReplayHint { test: NAME, seed };
        let mut world = World::new(seed);
        world.set_up();
        for _ in 0..LIVES {
            world.run_server();
        }
        reports.push(world.end());
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let counts = [
        ("power failures", sum(|one| one.power_off)),
        ("kills", sum(|one| one.killed)),
        ("reviews", sum(|one| one.reviewed)),
        ("approvals", sum(|one| one.approved)),
        ("results", sum(|one| one.published)),
        ("barriers", sum(|one| one.barriers)),
        ("assessments", sum(|one| one.assessed)),
    ];
    println!("{counts:?}");
    if reports.len() >= 20 {
        assert!(counts.iter().all(|(_, count)| *count > 0), "{counts:?}");
    }
}
