//! The journal in PostgreSQL. **Experimental**: one node, correctness only.
//!
//! A turn is one transaction: it locks the head row, loads what the batch needs, and ends with one row for the frame,
//! `unnest` inserts of what is new or changed, and the head moved on. Tables beside the frames are derived; each row
//! carries the ledger's own bytes of the object, and a few plain columns for people.
//!
//! A session-level advisory lock keeps a second node out, and the head is compared with what this node knows at the start
//! of each turn, so a database that was taken back to an older state is noticed before anything is written on top of it.

mod objects;
mod reader;
mod schema;
mod session;
mod turn;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tributary_engine::{
    Backend, Batch, Clock, Failure, Fate, Head, JournalMeta, JournalReader, KeyQueries, KeyUse,
    Recovered, Ticket,
};
use tributary_ledger::{self as ledger, Key, Keys, OwnerId, WorkingSet, codec::RecordRef};

use objects::{Changes, Wanted};
use reader::Stored;
use session::Sessions;
use turn::Written;

/// The oldest server that is accepted, as `server_version_num` has it.
pub const SERVER_VERSION_MIN: i32 = 130_000;
/// How far this node's clock and the server's may be apart before nothing is written any more.
pub const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(5);
/// How long a batch whose COMMIT was not answered is asked after before the engine stops.
pub const UNKNOWN_ASKED_FOR_MAX: Duration = Duration::from_secs(30);

/// Pause between two tries to reach the server while a commit is in doubt.
const UNKNOWN_ASKED_EVERY: Duration = Duration::from_millis(200);

/// Where the journal is.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host:port/database`. TLS is not spoken yet.
    pub url: String,
    /// The schema that holds the tables: 1 to 48 of `a-z 0-9 _`, not beginning with a digit.
    pub schema: String,
}

impl Options {
    /// The journal in schema `tributary` of the database at `url`.
    pub fn new(url: impl Into<String>) -> Options {
        Options {
            url: url.into(),
            schema: "tributary".into(),
        }
    }
}

// The URL holds a password.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL or the schema's name can't be used.
    #[error("the PostgreSQL settings can't be used: {0}")]
    Config(String),
    /// The server can't be reached, or refused a statement.
    #[error("PostgreSQL is unavailable: {0}")]
    Unavailable(String),
    /// The server is too old, or set up so that acknowledged payments could be lost.
    #[error("this PostgreSQL can't keep payments: {0}")]
    Unsafe(String),
    /// Another node holds the journal.
    #[error("another node has the journal in schema {schema} open")]
    Locked {
        /// Which schema.
        schema: String,
    },
    /// The tables were made by a newer program.
    #[error("the tables are of version {found}, and this program knows up to {known}")]
    Newer {
        /// Of the tables.
        found: i32,
        /// The newest that this program knows.
        known: i32,
    },
    /// What is stored contradicts itself.
    #[error("the stored journal is damaged: {0}")]
    Damaged(String),
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        match error {
            OpenError::Damaged(_) => Failure::Fatal(error.to_string()),
            other => Failure::Unavailable(other.to_string()),
        }
    }
}

/// The PostgreSQL backend.
pub struct Postgres {
    writer: Sessions,
    stored: Arc<Stored>,
    clock: Arc<dyn Clock>,
    /// The locked head while a turn is open.
    turn: Option<Head>,
    /// The head that a commit of unknown fate would have led to.
    doubt: Option<Head>,
    closed: bool,
}

impl Postgres {
    /// Opens the journal, and creates it with `fresh` as its identity if the schema holds none. Tables of an older version
    /// are brought up to date.
    pub fn open(
        options: &Options,
        clock: Arc<dyn Clock>,
        fresh: &JournalMeta,
    ) -> Result<Postgres, OpenError> {
        tracing::warn!(
            schema = options.schema,
            "the PostgreSQL backend is experimental: one node, and no promise of speed"
        );
        let config = session::config(options)?;
        let schema = options.schema.clone();
        schema::prepare(&config, &schema, fresh.clone())?;
        let writer = Sessions::start("postgres-writer", 1, session::writing(&config, &schema))
            .map_err(|error| OpenError::Unavailable(error.to_string()))?;
        let (head, meta) = writer.run(turn::opened)?;
        let pool = Sessions::start(
            "postgres-reader",
            reader::CONNECTIONS,
            session::reading(&config, &schema),
        )
        .map_err(|error| OpenError::Unavailable(error.to_string()))?;
        Ok(Postgres {
            writer,
            stored: Arc::new(Stored::new(pool, head, meta)),
            clock,
            turn: None,
            doubt: None,
            closed: false,
        })
    }

    /// Locks the head; patiently if a commit is in doubt, because only the head can tell.
    fn lock_head(&mut self, check_clock: bool) -> Result<Head, Failure> {
        if self.closed {
            return Err(Failure::Stopping);
        }
        let give_up = Instant::now() + UNKNOWN_ASKED_FOR_MAX;
        loop {
            let clock = check_clock.then(|| self.clock.clone());
            match self
                .writer
                .run(move |link| turn::begin(link, clock.as_deref()))
            {
                Ok(head) => return Ok(head),
                Err(Failure::Unavailable(why))
                    if self.doubt.is_some() && Instant::now() < give_up =>
                {
                    tracing::warn!(why, "the fate of a batch can't be asked for yet");
                    std::thread::sleep(UNKNOWN_ASKED_EVERY);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Takes note of where the locked head stands. It may only be where this node left it, or where a commit in doubt would
    /// have led.
    fn meet_head(&mut self, head: Head) -> Result<(), Failure> {
        let known = self.stored.head();
        if head == known || self.doubt == Some(head) {
            self.stored.set_head(head);
            self.doubt = None;
            return Ok(());
        }
        self.end_turn();
        Err(Failure::Fatal(format!(
            "the head in the database is at position {}, but this node left it at {}: the database was taken back to an \
             older state, or something else wrote to it",
            head.position, known.position
        )))
    }

    fn open_turn(&mut self, check_clock: bool) -> Result<Head, Failure> {
        self.end_turn();
        let head = self.lock_head(check_clock)?;
        self.turn = Some(head);
        self.meet_head(head)?;
        Ok(head)
    }

    fn end_turn(&mut self) {
        if self.turn.take().is_some() {
            // If this fails the connection is gone, and the transaction with it.
            let _gone = self.writer.run(|link| {
                link.rollback();
                Ok::<_, Failure>(())
            });
        }
    }

    /// Runs `step` inside the open turn. A failed statement ends the turn: what follows in it is refused.
    fn in_turn<R: Send + 'static>(
        &mut self,
        step: impl FnOnce(&mut session::Link) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Failure> {
        if self.turn.is_none() {
            return Err(Failure::Unavailable(
                "the transaction of this batch was lost".into(),
            ));
        }
        let result = self.writer.run(step);
        if result.is_err() {
            self.end_turn();
        }
        result
    }
}

impl Backend for Postgres {
    fn recover(&mut self) -> Result<Recovered, Failure> {
        self.open_turn(false)?;
        let set = self.in_turn(objects::recover)?;
        self.end_turn();
        Ok(Recovered { set, replayed: 0 })
    }

    fn begin(&mut self) -> Result<Head, Failure> {
        self.open_turn(true)
    }

    fn load(&mut self, keys: &Keys, set: &mut WorkingSet) -> Result<(), Failure> {
        let wanted = Wanted::new(keys);
        let found = self.in_turn(move |link| wanted.select(link))?;
        if let Err(failure) = found.put_into(set) {
            self.end_turn();
            return Err(failure);
        }
        set.mark_absent(keys);
        Ok(())
    }

    fn find_keys(&mut self, keys: KeyQueries<'_>) -> Result<Vec<(usize, KeyUse)>, Failure> {
        let asked = keys.hashes().to_vec();
        let mut candidates: HashMap<u64, Vec<u64>> = HashMap::new();
        for (hash, position) in self.in_turn(move |link| turn::find(link, &asked))? {
            candidates.entry(hash).or_default().push(position);
        }
        let mut uses = Vec::new();
        for (index, hash) in keys.hashes().iter().enumerate() {
            let Some(positions) = candidates.get(hash) else {
                continue;
            };
            let query = keys.get(index);
            match key_use(&self.stored, query.owner, query.key, positions) {
                Ok(used) => uses.extend(used.map(|used| (index, used))),
                Err(failure) => {
                    self.end_turn();
                    return Err(failure);
                }
            }
        }
        Ok(uses)
    }

    fn submit(&mut self, batch: &Arc<Batch>, set: &WorkingSet) -> Ticket {
        let Some(prev) = self.turn.take() else {
            return Ticket::ready(Fate::Refused(Failure::Unavailable(
                "the transaction of this batch was lost".into(),
            )));
        };
        assert_eq!(
            batch.first_position(),
            prev.position + 1,
            "a batch follows the locked head"
        );
        let changes = Changes::new(batch, set);
        let (bytes, head) = {
            let mut frame = batch.frame_mut();
            let sealed = frame.seal(&prev);
            (sealed.bytes().to_vec(), sealed.head())
        };
        let written = self
            .writer
            .run(move |link| Ok::<_, Failure>(turn::write(link, &prev, &head, &bytes, &changes)));
        Ticket::ready(match written {
            Ok(Written::Durable) => {
                self.stored.set_head(head);
                Fate::Durable(head)
            }
            Ok(Written::Refused(failure)) => Fate::Refused(failure),
            Ok(Written::Unknown(why)) => {
                self.doubt = Some(head);
                Fate::Unknown(why)
            }
            Err(failure) => {
                self.doubt = Some(head);
                Fate::Unknown(failure.to_string())
            }
        })
    }

    fn abandon(&mut self) {
        self.end_turn();
    }

    fn depth(&self) -> usize {
        1
    }

    fn forgets(&self) -> bool {
        true
    }

    fn close(&mut self) {
        self.end_turn();
        self.closed = true;
        self.writer.stop();
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        self.stored.clone()
    }
}

/// The use of a key among the records that its hash leads to.
fn key_use(
    stored: &Stored,
    owner: OwnerId,
    key: &Key,
    positions: &[u64],
) -> Result<Option<KeyUse>, Failure> {
    let mut payload = Vec::new();
    for &position in positions {
        if !stored.read(position, &mut payload)? {
            continue;
        }
        let record = RecordRef::parse(&payload, ledger::FORMAT_VERSION).map_err(|error| {
            Failure::RecordDamaged {
                position,
                what: error.to_string(),
            }
        })?;
        if record.actor().owner == owner && record.key() == key.as_bytes() {
            return Ok(Some(KeyUse {
                position,
                digest: record.digest(),
            }));
        }
    }
    Ok(None)
}
