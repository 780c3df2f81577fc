//! An independent ledger to hold the real one against: plain maps, `i128`, no cleverness.
//!
//! It shares the data types of commands with the ledger crate and none of its rules. Every rule is written a second
//! time, from the documents: all reasons against a command are collected, and the one with the lowest number counts.

mod compare;
mod details;
mod history;
mod limits;
mod money;
mod parts;
mod perform;
mod rejections;
mod review;

use std::collections::{BTreeMap, BTreeSet};

use tributary_ledger::{
    Access, AccountKind, AccountStatus, Actor, Body, Command, CreateApiKey, ObjectId, PaymentKind,
    PaymentStatus, QueueMode, Rejection,
};

pub use compare::{check_payment, check_record, check_set, check_setting};
pub use details::{Details, Profile, Text};
pub use history::{PaymentQuery, Window};
pub use limits::LimitUse;
pub use money::divide;
pub use review::{Review, Risk};

/// Number of the platform among owners.
const PLATFORM: u64 = 0;

/// An account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Owner.
    pub owner: u64,
    /// Numeric code of the currency.
    pub currency: u16,
    /// Kind.
    pub kind: AccountKind,
    /// Status.
    pub status: AccountStatus,
    /// Overdraft limit, minor units; none = unlimited.
    pub overdraft: Option<i128>,
    /// Sum of the postings, minor units.
    pub posted: i128,
    /// Sum of the open holds, minor units.
    pub held: i128,
    /// Time of opening, nanoseconds since the Unix epoch.
    pub opened_at: u64,
    /// Number of records that touch the account.
    pub touches: u64,
    /// Position of the last record that touched the account.
    pub touched_at: u64,
}

/// Effect of a record on an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Position of the record.
    pub position: u64,
    /// Time of the record, nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// Signed posting, minor units.
    pub amount: i128,
    /// Balance after the record, minor units.
    pub posted_after: i128,
    /// Sum of the open holds after the record, minor units.
    pub held_after: i128,
}

/// One part of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Account that receives the part.
    pub account: u64,
    /// Whether the part is a fee.
    pub is_fee: bool,
    /// Part of the authorized amount.
    pub amount: i128,
    /// Part of the captured amount.
    pub captured: i128,
    /// Refunded amount.
    pub refunded: i128,
    /// Of that, what a payee refunded together with the fees.
    pub with_fee: i128,
    /// Of a payee, what it had after the last step with amounts per payee: captured, refunded, and of that with the fees.
    pub base: Option<[i128; 3]>,
}

/// A payment.
#[derive(Clone, Debug)]
pub struct Payment {
    /// Kind.
    pub kind: PaymentKind,
    /// Status.
    pub status: PaymentStatus,
    /// Owner.
    pub owner: u64,
    /// Numeric code of the currency.
    pub currency: u16,
    /// Account that pays.
    pub source: u64,
    /// Authorized amount, minor units.
    pub amount: i128,
    /// Amount still held, minor units.
    pub held: i128,
    /// Captured amount, minor units.
    pub captured: i128,
    /// Refunded amount, minor units.
    pub refunded: i128,
    /// Amount that fee accounts refunded, minor units.
    pub fee_refunded: i128,
    /// Payees, then fees.
    pub parts: Vec<Part>,
    /// Expiry of the hold, nanoseconds since the Unix epoch; 0 = no hold.
    pub expires_at: u64,
    /// Time of the request, nanoseconds since the Unix epoch.
    pub created_at: u64,
    /// Business date, days since 1970-01-01.
    pub effective_at: i32,
    /// Position of the last record that changed the payment.
    pub changed_at: u64,
    /// Actor who requested the payment.
    pub actor: Actor,
    /// Terms of the queue, if the payment is queued.
    pub queue: Option<Queued>,
    /// Where the text is, if the payment was updated.
    pub text: Option<Text>,
    /// What is known of it by a review.
    pub risk: Risk,
    /// Whether the payees' owners see it.
    pub reached: bool,
}

/// The terms of a queued payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Priority, 0 to 9.
    pub priority: u8,
    /// Earliest time to run, nanoseconds since the Unix epoch.
    pub not_before: u64,
    /// Time from which the payment fails, nanoseconds since the Unix epoch.
    pub expires_at: Option<u64>,
    /// Receiver of the result.
    pub reply_to: Option<u64>,
}

impl Queued {
    /// Returns whether the payment can be decided: it can run, or it has expired.
    pub fn due(&self, now: u64) -> bool {
        now >= self.not_before || self.expired(now)
    }

    fn expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| now >= at)
    }
}

impl Payment {
    /// Returns whether the payment is held or queued.
    pub fn open(&self) -> bool {
        self.held > 0 || self.status == PaymentStatus::Queued
    }
}

/// An API key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Owner for whom the key acts.
    pub owner: u64,
    /// Access that the key grants.
    pub access: Access,
    /// Whether the key was revoked.
    pub revoked: bool,
    /// Keyed hash of the secret.
    pub secret_hash: [u8; 32],
    /// Hash of the secret before the last rotation and the time until which it is valid, nanoseconds since the Unix epoch.
    pub previous: Option<([u8; 32], u64)>,
}

/// A living setting.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Number of the kind.
    pub kind: u16,
    /// Owner.
    pub owner: u64,
    /// Name.
    pub slug: String,
    /// Name of the file or tool that manages the setting.
    pub managed_by: Option<String>,
    /// Content.
    pub body: Vec<u8>,
    /// Positions of the records of its revisions, oldest first.
    pub revisions: Vec<u64>,
    /// Of a limit: position of the record that began to count what it counts.
    pub counted_since: u64,
}

/// A decision.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Position, from 1.
    pub position: u64,
    /// Time, nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// Command.
    pub command: Command,
    /// Reason of the refusal.
    pub rejection: Option<Rejection>,
    /// The accounts touched and their postings, in the order of the legs.
    pub touched: Vec<(u64, i128)>,
    /// Receiver of the result, if the record took a payment out of the queue.
    pub reply_to: Option<u64>,
    /// Owners of whom the record is an event although it touches no account.
    pub about: Vec<u64>,
    /// First account that could not pay its part of a refused refund or return.
    pub short_of_funds: Option<u64>,
    /// How the record uses limits; of one that a limit refused, that limit.
    pub limits: Vec<LimitUse>,
}

/// Answer to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The command was decided now, at this position.
    Decided(u64),
    /// The command was decided before, at this position.
    Replayed(u64),
    /// The key was used for another command, at this position.
    KeyConflict(u64),
    /// Some keys of the group were used and others were not, or the group contains a key twice.
    GroupConflict,
    /// A payment could not be queued, because the queue is full or accepts no payments. Nothing was decided.
    NotQueued,
}

impl Answer {
    /// Returns the position of the record, if there is one.
    pub fn position(self) -> Option<u64> {
        match self {
            Answer::Decided(at) | Answer::Replayed(at) | Answer::KeyConflict(at) => Some(at),
            Answer::GroupConflict | Answer::NotQueued => None,
        }
    }
}

/// State of the model.
#[derive(Clone, Debug, Default)]
struct State {
    accounts: BTreeMap<u64, Account>,
    owners: BTreeMap<String, u64>,
    payments: BTreeMap<u64, Payment>,
    api_keys: BTreeMap<u64, ApiKey>,
    references: BTreeMap<(u64, u64, String), u64>,
    externals: BTreeMap<(u64, String), u64>,
    settings: BTreeMap<u64, Setting>,
    /// Details of accounts and owners.
    details: BTreeMap<ObjectId, Details>,
    /// Mode of the queue, and the position of the record that set the mode.
    queue: (QueueMode, u64),
    /// Time that was added to the clock, nanoseconds, and the position of the record that last did so.
    time_offset: (u64, u64),
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
    /// Sets the maximum number of queued payments. The default is no limit.
    pub fn with_queue_length_max(mut self, payments: usize) -> Model {
        self.queue_length_max = payments;
        self
    }

    /// Mode of the queue, and the position of the record that set the mode.
    pub fn queue(&self) -> (QueueMode, u64) {
        self.state.queue
    }

    /// Returns the time that was added to the clock, nanoseconds, and the position of the record that last did so.
    pub fn time_offset(&self) -> (u64, u64) {
        self.state.time_offset
    }

    /// Returns the number of queued payments.
    pub fn queued(&self) -> usize {
        let payments = self.state.payments.values();
        payments.filter(|payment| payment.queue.is_some()).count()
    }

    /// Returns the number of queued payments that API keys of this owner requested.
    pub fn queued_by(&self, owner: u64) -> usize {
        let payments = self.state.payments.values();
        let theirs = |payment: &&Payment| payment.queue.is_some() && payment.actor.owner.0 == owner;
        payments.filter(theirs).count()
    }

    /// Returns the number of records.
    pub fn position(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Returns the decisions, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the accounts by number.
    pub fn accounts(&self) -> &BTreeMap<u64, Account> {
        &self.state.accounts
    }

    /// Returns the payments by number, including failed ones.
    pub fn payments(&self) -> &BTreeMap<u64, Payment> {
        &self.state.payments
    }

    /// Returns the API keys by number.
    pub fn api_keys(&self) -> &BTreeMap<u64, ApiKey> {
        &self.state.api_keys
    }

    /// Returns the living settings by number.
    pub fn settings(&self) -> &BTreeMap<u64, Setting> {
        &self.state.settings
    }

    /// Returns the owners by name.
    pub fn owners(&self) -> &BTreeMap<String, u64> {
        &self.state.owners
    }

    /// Returns the payments by (owner of the requester, owner of the scope, reference).
    pub fn references(&self) -> &BTreeMap<(u64, u64, String), u64> {
        &self.state.references
    }

    /// Returns the accounts by (owner, external id).
    pub fn externals(&self) -> &BTreeMap<(u64, String), u64> {
        &self.state.externals
    }

    /// Returns the sum of all postings of each currency. Every sum is zero, or the model itself is wrong.
    pub fn sums(&self) -> BTreeMap<u16, i128> {
        let mut sums = BTreeMap::new();
        for account in self.state.accounts.values() {
            *sums.entry(account.currency).or_default() += account.posted;
        }
        sums
    }

    /// Decides the commands of a request at this time and returns the answers.
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

    /// Replays commands of a recovered journal, which were decided at the next positions.
    pub fn replay(&mut self, commands: &[Command], timestamp: u64) {
        for answer in self.request(commands, timestamp) {
            assert!(
                matches!(answer, Answer::Decided(_)),
                "a journal holds a key twice: {answer:?}"
            );
        }
    }

    /// Returns the position of the record that used the key.
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
        // The platform keeps a quarter.
        let by_owners = unit.iter().filter(queues);
        let by_owners = by_owners.filter(|command| command.actor.owner.0 != PLATFORM);
        let by_owners = by_owners.count();
        let before = self.queued() - self.queued_by(PLATFORM);
        let reserved = self.queue_length_max / 4;
        let too_many_owners =
            by_owners > 0 && before + by_owners > self.queue_length_max - reserved;
        let full = self.queued() + wanted > self.queue_length_max;
        let owners: BTreeSet<u64> = unit.iter().map(|command| command.actor.owner.0).collect();
        if wanted > 0 && (drains || full || too_many_owners || owners.iter().any(too_many)) {
            return vec![Answer::NotQueued; unit.len()];
        }
        let before = (unit.len() > 1).then(|| self.save_state(unit));
        let len = self.entries.len();
        let mut failed = None;
        for (at, command) in unit.iter().enumerate() {
            let rejection = self.find_rejection(command, unit.len() > 1, timestamp);
            let short = self.find_short_of_funds(command, rejection);
            let limits = match rejection {
                None => self.count_limits(command, timestamp).expect("checked"),
                Some(Rejection::LimitExceeded) => {
                    vec![self.count_limits(command, timestamp).expect_err("checked")]
                }
                Some(_) => Vec::new(),
            };
            self.record(command, rejection, timestamp, unit.len() == 1);
            let entry = self.entries.last_mut().expect("just recorded");
            entry.short_of_funds = short;
            entry.limits = limits;
            if rejection.is_some() {
                failed = Some(at);
                break;
            }
        }
        if let (Some(failed), Some(before)) = (failed, before) {
            let entry = &self.entries[len + failed];
            let (reason, short) = (entry.rejection, entry.short_of_funds);
            let limits = entry.limits.clone();
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
            self.entries[len + failed].short_of_funds = short;
            self.entries[len + failed].limits = limits;
        }
        let first = self.position() + 1 - unit.len() as u64;
        for (position, command) in (first..).zip(unit) {
            let key = (command.actor.owner.0, command.key.as_bytes().to_vec());
            self.keys.insert(key, position);
        }
        (first..=self.position()).map(Answer::Decided).collect()
    }
}

/// State that a group may change, as before the group.
struct Before {
    position: u64,
    accounts: BTreeMap<u64, Account>,
    api_keys: BTreeMap<u64, ApiKey>,
    payments: Vec<(u64, Payment)>,
    settings: BTreeMap<u64, Setting>,
    details: BTreeMap<ObjectId, Details>,
    references: BTreeMap<(u64, u64, String), u64>,
    queue: (QueueMode, u64),
    time_offset: (u64, u64),
}

impl Model {
    fn save_state(&self, unit: &[Command]) -> Before {
        let named = unit.iter().filter_map(|command| match &command.body {
            Body::Capture(capture) => Some(capture.payment.0),
            Body::Refund(refund) => Some(refund.payment.0),
            Body::Approve(approve) => Some(approve.payment.0),
            Body::Investigate(found) => Some(found.payment.0),
            Body::Void(payment) | Body::Expire(payment) | Body::Run(payment) => Some(payment.0),
            Body::Update(update) => Some(update.object.object().number()),
            Body::SettlePayout(settle) => Some(settle.payout.0),
            Body::ReturnPayout(give) => Some(give.payout.0),
            _ => None,
        });
        let known = |id| Some((id, self.state.payments.get(&id)?.clone()));
        Before {
            position: self.position(),
            accounts: self.state.accounts.clone(),
            api_keys: self.state.api_keys.clone(),
            payments: named.filter_map(known).collect(),
            settings: self.state.settings.clone(),
            details: self.state.details.clone(),
            references: self.state.references.clone(),
            queue: self.state.queue,
            time_offset: self.state.time_offset,
        }
    }

    fn restore(&mut self, before: Before) {
        let state = &mut self.state;
        let old = |id: u64| id <= before.position;
        state.accounts = before.accounts;
        state.api_keys = before.api_keys;
        state.settings = before.settings;
        state.details = before.details;
        state.queue = before.queue;
        state.time_offset = before.time_offset;
        state.owners.retain(|_, id| old(*id));
        state.references = before.references;
        state.externals.retain(|_, id| old(*id));
        state.payments.retain(|id, _| old(*id));
        state.payments.extend(before.payments);
        for touches in self.touches.values_mut() {
            touches.retain(|touch| old(touch.position));
        }
    }
}

/// Returns whether a repeated key has the same request. The API key may have changed, and the secret of an API key
/// is new in each attempt; for a put of a setting, only the digest of the request is compared. The origin is no part of the request.
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
