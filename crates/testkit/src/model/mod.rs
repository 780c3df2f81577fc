//! An independent ledger to hold the real one against: plain maps, `i128`, no cleverness.
//!
//! It shares the data types of commands with the ledger crate and none of its rules. Every rule is written a second
//! time, from the documents: all reasons against a command are collected, and the one with the lowest number counts.

mod compare;
mod history;
mod money;
mod perform;
mod rejections;

use std::collections::{BTreeMap, BTreeSet};

use tributary_ledger::{
    Access, AccountKind, AccountStatus, Actor, Body, Command, CreateApiKey, PaymentKind,
    PaymentStatus, QueueMode, Rejection,
};

pub use compare::{check_payment, check_record, check_set, check_setting};
pub use history::{PaymentQuery, Window};
pub use money::divide;

/// The platform's number among owners.
const PLATFORM: u64 = 0;

/// An account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Whose.
    pub owner: u64,
    /// Numeric code.
    pub currency: u16,
    /// What for.
    pub kind: AccountKind,
    /// Whether it takes part.
    pub status: AccountStatus,
    /// How far below zero, minor units; none = without limit.
    pub overdraft: Option<i128>,
    /// Sum of the postings.
    pub posted: i128,
    /// Sum of the holds.
    pub held: i128,
    /// When it was opened, nanoseconds.
    pub opened_at: u64,
    /// How many records touch it.
    pub touches: u64,
    /// Position of the last of them.
    pub touched_at: u64,
}

/// What a record did to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Of the record.
    pub position: u64,
    /// Of the record.
    pub timestamp: u64,
    /// Signed posting.
    pub amount: i128,
    /// Balance after.
    pub posted_after: i128,
}

/// One part of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Who receives.
    pub account: u64,
    /// Whether it is a fee.
    pub is_fee: bool,
    /// Of the authorized amount.
    pub amount: i128,
    /// Of what was captured.
    pub captured: i128,
    /// Given back.
    pub refunded: i128,
}

/// A payment.
#[derive(Clone, Debug)]
pub struct Payment {
    /// Which kind.
    pub kind: PaymentKind,
    /// Where it stands.
    pub status: PaymentStatus,
    /// Whose.
    pub owner: u64,
    /// Numeric code.
    pub currency: u16,
    /// Who pays.
    pub source: u64,
    /// In all.
    pub amount: i128,
    /// Still held.
    pub held: i128,
    /// Captured so far.
    pub captured: i128,
    /// Refunded so far.
    pub refunded: i128,
    /// By fee accounts.
    pub fee_refunded: i128,
    /// Payees, then fees.
    pub parts: Vec<Part>,
    /// When the hold comes due; 0 = it never was held.
    pub expires_at: u64,
    /// When it was asked for.
    pub created_at: u64,
    /// Days since 1970-01-01.
    pub effective_at: i32,
    /// The record that changed it last.
    pub changed_at: u64,
    /// Who asked for it.
    pub actor: Actor,
    /// When it may run, if it is queued.
    pub queue: Option<Queued>,
}

/// The terms of a queued payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// 0 to 9.
    pub priority: u8,
    /// Not before, nanoseconds.
    pub not_before: u64,
    /// Too late from then on, nanoseconds.
    pub expires_at: Option<u64>,
    /// Who is told the result.
    pub reply_to: Option<u64>,
}

impl Queued {
    /// Whether something is to become of it.
    pub fn due(&self, now: u64) -> bool {
        now >= self.not_before || self.expired(now)
    }

    fn expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| now >= at)
    }
}

impl Payment {
    /// Whether something is still to become of it.
    pub fn open(&self) -> bool {
        self.held > 0 || self.status == PaymentStatus::Queued
    }
}

/// An API key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// In whose name.
    pub owner: u64,
    /// Read or write.
    pub access: Access,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Keyed hash.
    pub secret_hash: [u8; 32],
}

/// A living setting.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Number of its kind.
    pub kind: u16,
    /// Owner.
    pub owner: u64,
    /// Name.
    pub slug: String,
    /// Name of the file or tool that manages it.
    pub managed_by: Option<String>,
    /// Content.
    pub body: Vec<u8>,
    /// Positions of the records of its revisions, oldest first.
    pub revisions: Vec<u64>,
}

/// A decision.
#[derive(Clone, Debug)]
pub struct Entry {
    /// From 1.
    pub position: u64,
    /// Nanoseconds.
    pub timestamp: u64,
    /// What was asked.
    pub command: Command,
    /// Why not.
    pub rejection: Option<Rejection>,
    /// The accounts touched and their postings, in the order of the legs.
    pub touched: Vec<(u64, i128)>,
    /// Who is reply_to: a payment left the queue by it.
    pub reply_to: Option<u64>,
}

/// What a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Decided now, at this position.
    Decided(u64),
    /// Decided before.
    Replayed(u64),
    /// The key was used for something else.
    KeyConflict(u64),
    /// Some keys of the group were used and others not, or one stands in it twice.
    GroupConflict,
    /// Payments were to be queued, and the queue is full or takes no new ones: nothing was decided.
    NotQueued,
}

impl Answer {
    /// The record that it leads to.
    pub fn position(self) -> Option<u64> {
        match self {
            Answer::Decided(at) | Answer::Replayed(at) | Answer::KeyConflict(at) => Some(at),
            Answer::GroupConflict | Answer::NotQueued => None,
        }
    }
}

/// What can be asked about.
#[derive(Clone, Debug, Default)]
struct State {
    accounts: BTreeMap<u64, Account>,
    owners: BTreeMap<String, u64>,
    payments: BTreeMap<u64, Payment>,
    api_keys: BTreeMap<u64, ApiKey>,
    references: BTreeMap<(u64, String), u64>,
    externals: BTreeMap<(u64, String), u64>,
    settings: BTreeMap<u64, Setting>,
    /// How the queue stands, and since which record.
    queue: (QueueMode, u64),
}

/// The model ledger.
#[derive(Clone, Debug)]
pub struct Model {
    state: State,
    entries: Vec<Entry>,
    touches: BTreeMap<u64, Vec<Touch>>,
    keys: BTreeMap<(u64, Vec<u8>), u64>,
    queue_length_max: usize,
}

impl Default for Model {
    fn default() -> Self {
        let mut state = State::default();
        state.owners.insert("platform".into(), PLATFORM);
        Model {
            state,
            entries: Vec::new(),
            touches: BTreeMap::new(),
            keys: BTreeMap::new(),
            queue_length_max: usize::MAX,
        }
    }
}

impl Model {
    /// The same with this bound of the queue; there is none if nothing is said.
    pub fn with_queue_length_max(mut self, payments: usize) -> Model {
        self.queue_length_max = payments;
        self
    }

    /// How the queue stands, and since which record.
    pub fn queue(&self) -> (QueueMode, u64) {
        self.state.queue
    }

    /// How many payments are queued.
    pub fn queued(&self) -> usize {
        let payments = self.state.payments.values();
        payments.filter(|payment| payment.queue.is_some()).count()
    }

    /// Of them, those that keys of this owner asked for.
    pub fn queued_by(&self, owner: u64) -> usize {
        let payments = self.state.payments.values();
        let theirs = |payment: &&Payment| payment.queue.is_some() && payment.actor.owner.0 == owner;
        payments.filter(theirs).count()
    }

    /// How many records there are.
    pub fn position(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The decisions, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The accounts by number.
    pub fn accounts(&self) -> &BTreeMap<u64, Account> {
        &self.state.accounts
    }

    /// The payments by number, failed ones too.
    pub fn payments(&self) -> &BTreeMap<u64, Payment> {
        &self.state.payments
    }

    /// The API keys by number.
    pub fn api_keys(&self) -> &BTreeMap<u64, ApiKey> {
        &self.state.api_keys
    }

    /// The living settings by number.
    pub fn settings(&self) -> &BTreeMap<u64, Setting> {
        &self.state.settings
    }

    /// The owners by name.
    pub fn owners(&self) -> &BTreeMap<String, u64> {
        &self.state.owners
    }

    /// Which payment has (owner, reference).
    pub fn references(&self) -> &BTreeMap<(u64, String), u64> {
        &self.state.references
    }

    /// Which account has (owner, external id).
    pub fn externals(&self) -> &BTreeMap<(u64, String), u64> {
        &self.state.externals
    }

    /// Sum of all postings of each currency: zero, or the model itself is wrong.
    pub fn sums(&self) -> BTreeMap<u16, i128> {
        let mut sums = BTreeMap::new();
        for account in self.state.accounts.values() {
            *sums.entry(account.currency).or_default() += account.posted;
        }
        sums
    }

    /// Answers the commands of one request at this time.
    pub fn request(&mut self, commands: &[Command], timestamp: u64) -> Vec<Answer> {
        let mut answers = Vec::new();
        // Nothing follows the last command, so it cannot be linked to what follows.
        let mut commands = commands.to_vec();
        if let Some(last) = commands.last_mut() {
            last.linked = false;
        }
        let mut rest = &commands[..];
        while !rest.is_empty() {
            let linked = rest.iter().take_while(|command| command.linked).count();
            let (unit, after) = rest.split_at((linked + 1).min(rest.len()));
            answers.extend(self.unit(unit, timestamp));
            rest = after;
        }
        answers
    }

    /// Takes a command that is known to have been decided at the next position: how a recovered journal is replayed.
    pub fn replay(&mut self, commands: &[Command], timestamp: u64) {
        for answer in self.request(commands, timestamp) {
            assert!(
                matches!(answer, Answer::Decided(_)),
                "a journal holds a key twice: {answer:?}"
            );
        }
    }

    /// The record that took the key.
    pub fn key_use(&self, command: &Command) -> Option<u64> {
        let key = (command.actor.owner.0, command.key.as_bytes().to_vec());
        self.keys.get(&key).copied()
    }

    fn unit(&mut self, unit: &[Command], timestamp: u64) -> Vec<Answer> {
        let uses: Vec<Option<u64>> = unit.iter().map(|command| self.key_use(command)).collect();
        if uses.iter().all(Option::is_some) {
            let answers = unit.iter().zip(uses).map(|(command, used)| {
                let position = used.expect("all are used");
                match same_request(command, &self.entries[position as usize - 1].command) {
                    true => Answer::Replayed(position),
                    false => Answer::KeyConflict(position),
                }
            });
            return answers.collect();
        }
        let twice = (1..unit.len()).any(|at| {
            unit[..at].iter().any(|before| {
                before.key == unit[at].key && before.actor.owner == unit[at].actor.owner
            })
        });
        if uses.iter().any(Option::is_some) || twice {
            return vec![Answer::GroupConflict; unit.len()];
        }
        let queues =
            |command: &&Command| matches!(&command.body, Body::Pay(pay) if pay.queue.is_some());
        let wanted = unit.iter().filter(queues).count();
        let drains = self.state.queue.0 == QueueMode::Draining;
        let too_many = |owner: &u64| {
            let theirs = |command: &&Command| queues(command) && command.actor.owner.0 == *owner;
            let wanted = unit.iter().filter(theirs).count();
            let share = (self.queue_length_max / 4).max(1);
            *owner != PLATFORM && wanted > 0 && self.queued_by(*owner) + wanted > share
        };
        let full = self.queued() + wanted > self.queue_length_max;
        let owners: BTreeSet<u64> = unit.iter().map(|command| command.actor.owner.0).collect();
        if wanted > 0 && (drains || full || owners.iter().any(too_many)) {
            return vec![Answer::NotQueued; unit.len()];
        }
        let before = (unit.len() > 1).then(|| self.save_state(unit));
        let len = self.entries.len();
        let mut failed = None;
        for (at, command) in unit.iter().enumerate() {
            let rejection = self.find_rejection(command, timestamp);
            self.record(command, rejection, timestamp, unit.len() == 1);
            if rejection.is_some() {
                failed = Some(at);
                break;
            }
        }
        if let (Some(failed), Some(before)) = (failed, before) {
            let reason = self.entries[len + failed].rejection;
            self.restore(before);
            self.entries.truncate(len);
            for (at, command) in unit.iter().enumerate() {
                let why = if at == failed {
                    reason
                } else {
                    Some(Rejection::GroupAborted)
                };
                self.record(command, why, timestamp, false);
            }
        }
        let first = self.position() + 1 - unit.len() as u64;
        for (position, command) in (first..).zip(unit) {
            let key = (command.actor.owner.0, command.key.as_bytes().to_vec());
            self.keys.insert(key, position);
        }
        (first..=self.position()).map(Answer::Decided).collect()
    }
}

/// What a group may change of what was there before it.
struct Before {
    position: u64,
    accounts: BTreeMap<u64, Account>,
    api_keys: BTreeMap<u64, ApiKey>,
    payments: Vec<(u64, Payment)>,
    settings: BTreeMap<u64, Setting>,
    queue: (QueueMode, u64),
}

impl Model {
    fn save_state(&self, unit: &[Command]) -> Before {
        let named = unit.iter().filter_map(|command| match &command.body {
            Body::Capture(capture) => Some(capture.payment.0),
            Body::Refund(refund) => Some(refund.payment.0),
            Body::Void(payment) | Body::Expire(payment) | Body::Run(payment) => Some(payment.0),
            _ => None,
        });
        let known = |id| Some((id, self.state.payments.get(&id)?.clone()));
        Before {
            position: self.position(),
            accounts: self.state.accounts.clone(),
            api_keys: self.state.api_keys.clone(),
            payments: named.filter_map(known).collect(),
            settings: self.state.settings.clone(),
            queue: self.state.queue,
        }
    }

    fn restore(&mut self, before: Before) {
        let state = &mut self.state;
        let old = |id: u64| id <= before.position;
        state.accounts = before.accounts;
        state.api_keys = before.api_keys;
        state.settings = before.settings;
        state.queue = before.queue;
        state.owners.retain(|_, id| old(*id));
        state.references.retain(|_, id| old(*id));
        state.externals.retain(|_, id| old(*id));
        state.payments.retain(|id, _| old(*id));
        state.payments.extend(before.payments);
        for touches in self.touches.values_mut() {
            touches.retain(|touch| old(touch.position));
        }
    }
}

/// Whether a key that comes again comes with the same request. The API key may have changed, and the secret of an API key
/// is drawn anew for each try; of a put setting only the digest of the request is compared.
fn same_request(one: &Command, other: &Command) -> bool {
    let put = |command: &Command| match &command.body {
        Body::PutSetting(put) => Some(put.request),
        _ => None,
    };
    if let (Some(one), Some(other)) = (put(one), put(other)) {
        return one == other;
    }
    let body = |command: &Command| {
        let mut body = command.body.clone();
        if let Body::CreateApiKey(CreateApiKey { secret_hash, .. })
        | Body::RotateApiKey { secret_hash, .. } = &mut body
        {
            *secret_hash = [0; 32];
        }
        body
    };
    one.actor.owner == other.actor.owner
        && one.linked == other.linked
        && one.effective_at == other.effective_at
        && one.text == other.text
        && body(one) == body(other)
}
