//! A log in a topic of Kafka, of which it is the only partition.
//!
//! An entry is a message, and its offset is the one that the broker reports when it acknowledges the message. Whatever arrives is the
//! next entry, so [`Appended::Lost`] is said only of what was never sent.
//!
//! # Why the contract holds
//! A session is a producer and a consumer. The first connection that either of them loses ends it, unless nothing was on its way there
//! for a minute.
//!
//! A broker gives a consumer only messages below its *high watermark*: those that every copy in sync has. It can neither move the
//! watermark nor count fewer copies as in sync without the copies and the controller, so that this is also true of a broker that was
//! replaced as the leader and does not know it yet. The next leader is one of the copies in sync: without unclean elections there is
//! no other. With `min.insync.replicas` of 2 and eligible leader replicas the watermark stands still while fewer than two copies are
//! in sync, and a copy whose broker fell without notice leads only after it has caught up. So what was read stays, and so does
//! what was acknowledged with `acks=all`, which a broker says when the watermark has passed it: line 2 of the contract, even if
//! another broker leads in the middle of a session. Against what breaks these rules, as two disks that fail at once, the marks of
//! entries help: a node stops if the log lacks what was settled ([`crate::node`]).
//!
//! A message has one offset for ever. The producer is idempotent and has one message on its way: librdkafka sends the same message
//! again when a broker did not answer, and the broker keeps one of them. There are no transactions, whose marks would take offsets:
//! offsets are 0, 1, 2 …, and a reader that finds a gap says so ([`LogError::Unfit`]). Messages are read whether a transaction has
//! committed them or not, so that a transaction of somebody else is found and does not hold back entries without a word.
//!
//! # What is unknown
//! After a time-out, an error or a lost connection the message may be on its way. The session ends with its producer, which is purged,
//! so that only what a broker has received already can still be written. An acknowledgement without an offset, which a broker gives
//! for a message that it has had for long, is unknown too.

//!
//! # What brokers must allow and be set to
//! The user needs `Describe`, `DescribeConfigs`, `Read` and `Write` on the topic, and `Create` for [`KafkaLog::create`]. No group is
//! joined. [`Log::check_settings`] says what is wrong with the settings of the topic. A broker that falls without notice holds up
//! acknowledgements until the controller misses it: for `broker.session.timeout.ms`, 9 s if it is not set. A node waits for less, so
//! that a shorter time saves it a claim.

mod client;
mod clock;
mod features;
mod options;
mod session;
mod settings;

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

pub use options::{Mechanism, Options, User};

use client::ANSWER_TIMEOUT;
use clock::LogClock;
use session::Session;
use settings::Admin;

use crate::log::{Appended, Log, LogError};

/// How long to wait before brokers are asked again for a topic that was made.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A log in Kafka.
pub struct KafkaLog {
    options: Options,
    runtime: Runtime,
    link: Option<Link>,
    sessions: u64,
    clock: LogClock,
}

struct Link {
    session: Session,
    admin: Admin,
}

impl KafkaLog {
    /// Returns a log that connects when it is first used.
    ///
    /// # Errors
    /// [`LogError::Unfit`] if this build can't do what `options` ask for.
    pub fn new(options: Options) -> Result<KafkaLog, LogError> {
        client::config(&options)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(client::disconnected)?;
        Ok(KafkaLog {
            options,
            runtime,
            link: None,
            sessions: 0,
            clock: LogClock::default(),
        })
    }

    /// Makes the topic, with settings that are fit, if there is none.
    ///
    /// # Errors
    /// If no broker can be reached, there are too few of them, or the user may not do that.
    pub fn create(&mut self) -> Result<(), LogError> {
        let admin = settings::connect(&self.options)?;
        let creating = settings::create(&self.options, &admin);
        self.runtime.block_on(creating)?;
        // Other brokers may know of the topic a moment later.
        let begun = Instant::now();
        loop {
            let (client, topic) = (admin.inner(), &self.options.topic);
            match session::find_topic(client, &client.context().0, topic) {
                Err(LogError::Unfit(_)) if begun.elapsed() < ANSWER_TIMEOUT => {
                    std::thread::sleep(ASK_AGAIN_AFTER);
                }
                found => return found.map(drop),
            }
        }
    }

    /// Does something with the session, which ends if that fails.
    fn with_session<T>(
        &mut self,
        work: impl FnOnce(&mut Session, &mut LogClock) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let Some(link) = &mut self.link else {
            return Err(LogError::Disconnected("there is no session".to_owned()));
        };
        let done = work(&mut link.session, &mut self.clock);
        if matches!(done, Err(LogError::Disconnected(_))) {
            self.link = None;
        }
        done
    }

    fn check(&self, link: &Link) -> Result<(), LogError> {
        let metadata = link.session.describe_topic()?;
        let checking = settings::check(&self.options, &link.admin, &metadata);
        self.runtime.block_on(checking)
    }
}

impl Log for KafkaLog {
    fn session(&mut self) -> Result<u64, LogError> {
        let is_lost = |link: &Link| link.session.check().is_err();
        if self.link.as_ref().is_none_or(is_lost) {
            self.link = None;
            let link = Link {
                session: Session::open(&self.options)?,
                admin: settings::connect(&self.options)?,
            };
            self.check(&link)?;
            self.link = Some(link);
            self.sessions += 1;
        }
        Ok(self.sessions)
    }

    fn read(
        &mut self,
        offset: u64,
        bytes_max: usize,
        wait: Duration,
        entries: &mut Vec<Vec<u8>>,
    ) -> Result<(), LogError> {
        self.with_session(|session, clock| session.read(offset, bytes_max, wait, entries, clock))
    }

    fn append(&mut self, _read: u64, entry: &[u8], patience: Duration) -> Appended {
        let Some(link) = &mut self.link else {
            // Nothing was sent.
            return Appended::Lost;
        };
        let appended = link.session.append(entry, patience, &mut self.clock);
        if !matches!(appended, Appended::At(_)) {
            self.link = None;
        }
        appended
    }

    fn clock(&mut self) -> Result<Option<u64>, LogError> {
        self.with_session(|session, clock| {
            session.check()?;
            Ok(clock.now())
        })
    }

    fn check_settings(&mut self) -> Result<(), LogError> {
        let link = self.link.take();
        let checked = link.as_ref().map(|link| self.check(link));
        self.link = link;
        self.with_session(|_, _| checked.unwrap_or(Ok(())))
    }
}
