//! Requests: commands that are decided and answered together, and what became of them.

use std::sync::Arc;

use tributary_journal::{FRAME_BODY_BYTES_MAX, FRAME_RECORDS_MAX, RECORD_HEADER_BYTES};
use tributary_ledger::codec::{LIMIT_USES_BYTES_MAX, Record};
use tributary_ledger::{
    self as ledger, Body, Command, Destination, Origin, OwnerId, Pay, Queue, Rejection,
    SettingKind, WorkingSet,
};

use crate::backend::KeyQueries;
use crate::batch::Batch;
use crate::failure::Failure;

/// Commands in one request, and records in one batch.
pub const COMMANDS_PER_BATCH_MAX: usize = FRAME_RECORDS_MAX as usize;
/// Maximum number of bytes that the records of one request may need in the worst case ([`record_bytes_max`]). They are divided
/// between frames.
pub const RECORD_BYTES_PER_REQUEST_MAX: usize = 24 * 1024 * 1024;
/// Maximum number of bytes that the records of one all-or-nothing group may need in the worst case: they stand in one frame.
pub const RECORD_BYTES_PER_GROUP_MAX: usize = FRAME_BODY_BYTES_MAX;

/// Bytes of a record's fixed parts of a payment of at most two accounts.
const PLAIN_PAYMENT_BYTES: usize = 256;
/// Bytes of a record's fixed parts, and its names, where no account is involved.
const PLAIN_RECORD_BYTES: usize = 512;
/// Bytes of a record's fixed parts with as many accounts, shares and fees as there can be.
const FULL_RECORD_BYTES: usize = 2_560;

/// Answers one request: once, with what became of its commands.
pub type Respond = Box<dyn FnOnce(Result<Resolved, Failure>) + Send>;

/// Commands that arrived together and are answered together.
pub struct Request {
    /// At least one, at most [`COMMANDS_PER_BATCH_MAX`].
    pub(crate) commands: Vec<Command>,
    /// For each command, the hash of its key, and its digest: computed where the request is made, not by the writer.
    pub(crate) hashes: Vec<u64>,
    pub(crate) digests: Vec<[u8; 16]>,
    /// Bytes that the records may take.
    pub(crate) bytes_max: usize,
    /// Called once, from whichever thread learns the fate of the batch.
    pub(crate) respond: Respond,
}

impl Request {
    /// A request of these commands.
    pub fn new(mut commands: Vec<Command>, respond: Respond) -> Request {
        if let Some(last) = commands.last_mut() {
            // Records say themselves where a group ends: nothing follows the last command.
            last.linked = false;
        }
        let hash = |command: &Command| ledger::hash::hash_key(command.actor.owner, &command.key);
        let mut scratch = Vec::with_capacity(PLAIN_RECORD_BYTES);
        let digest = |command: &Command| command.digest_with(&mut scratch);
        Request {
            hashes: commands.iter().map(hash).collect(),
            digests: commands.iter().map(digest).collect(),
            bytes_max: bytes_max(&commands),
            commands,
            respond,
        }
    }

    /// Bytes that its records may take, at most.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether the records of each all-or-nothing group certainly fit into one frame.
    pub fn groups_fit(&self) -> bool {
        let mut groups = self.commands.chunk_by(|command, _next| command.linked);
        self.bytes_max <= RECORD_BYTES_PER_GROUP_MAX
            || groups.all(|group| bytes_max(group) <= RECORD_BYTES_PER_GROUP_MAX)
    }

    /// The owner whose keys ask for it: that of the first command.
    pub fn owner(&self) -> OwnerId {
        let first = self.commands.first();
        first.map_or(OwnerId::PLATFORM, |command| command.actor.owner)
    }

    /// Commands in it.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Answers it without deciding anything.
    pub fn refuse(self, failure: Failure) {
        (self.respond)(Err(failure));
    }

    pub(crate) fn queries(&self) -> KeyQueries<'_> {
        KeyQueries::new(&self.hashes, &self.commands)
    }
}

/// A request that could not be decided, or not to its end, and why.
pub struct TurnedAway {
    /// Still to be answered.
    pub request: Request,
    /// Why.
    pub failure: Failure,
    /// Batches that hold earlier records of the request.
    pub(crate) earlier: Vec<Arc<Batch>>,
}

impl TurnedAway {
    /// Answers it.
    pub fn refuse(self) {
        self.request
            .refuse(failure_of_rest(&self.earlier, self.failure));
    }
}

/// What the caller learns of a request that failed: one that was divided may have been done in part.
pub(crate) fn failure_of_rest(earlier: &[Arc<Batch>], failure: Failure) -> Failure {
    match failure {
        failure if earlier.is_empty() => failure,
        Failure::Fatal(why) => Failure::Fatal(why),
        failure => Failure::Unavailable(format!("{failure}; the request may be done in part")),
    }
}

/// What became of a request's commands, in their order.
pub struct Resolved {
    /// The batch in which new ones were decided; of a divided request, the last one.
    pub batch: Arc<Batch>,
    /// The batches before, of a request that was divided between frames.
    pub earlier: Vec<Arc<Batch>>,
    /// One for each command.
    pub verdicts: Vec<Verdict>,
}

impl Resolved {
    /// The record of a command that was decided now, by its position.
    ///
    /// # Panics
    /// If no batch of the request holds the position.
    pub fn record(&self, position: u64) -> Record {
        let mut batches = std::iter::once(&self.batch).chain(&self.earlier);
        let holder = batches.find(|batch| batch.holds(position));
        let batch = holder.expect("a batch of the request holds what was decided for it");
        batch.record((position - batch.first_position()) as usize)
    }
}

/// What became of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Decided now: the position of its record, and whether it was refused.
    Decided(u64, Option<Rejection>),
    /// Decided before under the same key: the position of that record.
    Replayed(u64),
    /// The key was used for a different command.
    KeyConflict(u64),
    /// Some keys of the all-or-nothing group were used before and others were not.
    GroupConflict,
    /// It was to queue a payment, or (false) stands in a group with one that was: no record, and the key stays free.
    NotQueued(NotQueued, bool),
}

/// Why payments were not taken into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotQueued {
    /// It holds as many as it may.
    Full,
    /// Keys of one owner have asked for as many of those in it as they may: a quarter of what it may hold.
    ShareFull,
    /// It takes no new ones until it is resumed.
    Draining,
    /// They stand in an all-or-nothing group whose records, with their uses of limits, no frame certainly holds. Also of payments that
    /// were not to be queued, and of the other commands of the group.
    GroupTooLarge,
}

/// An upper bound of the bytes that a command's record takes, without what limits add: see [`limit_bytes_max`].
pub(crate) fn record_bytes_max(command: &Command) -> usize {
    let text = command
        .text
        .as_ref()
        .map_or(0, |text| text.as_bytes().len());
    let queue = match &command.body {
        Body::Pay(pay) => pay.queue.as_ref().map_or(0, |queue| queue_bytes(queue)),
        _ => 0,
    };
    let fixed = match &command.body {
        Body::Pay(pay) if pay.fees.is_empty() && matches!(pay.destination, Destination::One(_)) => {
            PLAIN_PAYMENT_BYTES + name_bytes(pay)
        }
        Body::Publish(publish) => PLAIN_RECORD_BYTES + publish.data.as_bytes().len(),
        Body::PutSetting(put) => PLAIN_RECORD_BYTES + put.body.as_bytes().len(),
        _ => FULL_RECORD_BYTES,
    };
    let origin = command.origin.as_deref().map_or(0, origin_bytes);
    let assessment = command.assessment.as_deref();
    let assessment = assessment.map_or(0, |found| 8 + found.report().len());
    let given = command.key.as_bytes().len() + text;
    RECORD_HEADER_BYTES + fixed + queue + given + origin + assessment
}

/// Bytes of the names that a payment has.
fn name_bytes(pay: &Pay) -> usize {
    let reference = pay.reference.as_ref();
    let reason = pay.reason.as_ref();
    let scope = if pay.reference_scope.is_some() { 8 } else { 0 };
    scope
        + reference.map_or(0, |reference| reference.as_bytes().len())
        + reason.map_or(0, |reason| reason.as_bytes().len())
}

/// What being queued adds to the record of a payment.
fn queue_bytes(queue: &Queue) -> usize {
    let correlation_id = queue.correlation_id.as_ref();
    26 + correlation_id.map_or(0, |word| word.as_bytes().len())
}

/// Bytes that the origin adds to the record of a command.
fn origin_bytes(origin: &Origin) -> usize {
    let reply = origin.reply().map_or(0, |reply| {
        reply.to().len() + reply.correlation_id().map_or(0, str::len)
    });
    53 + reply
}

/// An upper bound of the bytes that limits add to the records of these commands, which are decided with `set`. What admits a request
/// cannot know them.
pub(crate) fn limit_bytes_max(commands: &[Command], set: &WorkingSet) -> usize {
    let makes_limit = |command: &Command| matches!(&command.body, Body::PutSetting(put) if put.kind == SettingKind::LIMIT);
    if !set.has_limits() && !commands.iter().any(makes_limit) {
        return 0;
    }
    let is_counted = |command: &&Command| matches!(command.body, Body::Pay(_) | Body::Run(_));
    commands.iter().filter(is_counted).count() * LIMIT_USES_BYTES_MAX
}

/// An upper bound of the bytes that the commands' records take, without what limits add.
pub(crate) fn bytes_max(commands: &[Command]) -> usize {
    commands.iter().map(record_bytes_max).sum()
}
