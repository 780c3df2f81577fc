//! The delivery log: the durable state of deliveries, as changes in a [`FrameLog`].

use std::io;

use tributary_engine::{
    Basis, Failure, Fate, FileLog, FrameLog, LogVisitor, Standing, Ticket, Visited,
};
use tributary_journal::Disk;

use crate::codec;
use crate::image::{Change, Images};

/// Directory of the delivery log.
pub const DELIVERY_DIRECTORY: &str = "delivery";
/// Version of the encoded changes.
pub const DELIVERY_LOG_VERSION: u16 = 1;

/// The delivery log, open for writing once it was read.
pub struct Log {
    frames: Box<dyn FrameLog>,
    /// Whether a snapshot of this process is durable, and all that was appended to it.
    begun: bool,
}

/// Takes the changes of one snapshot and of what follows it.
struct Reading {
    cluster: [u8; 16],
    images: Images,
    whole: bool,
}

impl LogVisitor for Reading {
    fn begin(&mut self) {
        self.images = Images::default();
        self.whole = false;
    }

    fn record(&mut self, payload: &[u8]) -> Visited {
        match codec::decode(payload) {
            Ok(Change::Begin { cluster, .. }) if cluster != self.cluster => Visited::Foreign,
            Ok(change) => {
                self.whole |= change == Change::Whole;
                self.images.apply(change);
                Visited::Taken
            }
            Err(codec::Unreadable) => Visited::Unreadable,
        }
    }

    fn end(&mut self) -> bool {
        self.whole
    }
}

impl Log {
    /// Reads what `frames` holds for the journal `cluster`, by `standing`. Returns the images, and what is set aside, in words.
    ///
    /// # Errors
    /// If the log or the journal can't be read. Damage is no error.
    pub fn read(
        mut frames: Box<dyn FrameLog>,
        cluster: [u8; 16],
        standing: &mut dyn FnMut(&Basis) -> Result<Standing, Failure>,
    ) -> io::Result<(Log, Images, Vec<String>)> {
        let (images, set_aside) = read(&mut *frames, cluster, standing)?;
        let log = Log {
            frames,
            begun: false,
        };
        Ok((log, images, set_aside))
    }

    /// [`Log::read`] once more: another process may have written the log.
    ///
    /// # Errors
    /// If the log or the journal can't be read.
    pub fn read_again(
        &mut self,
        cluster: [u8; 16],
        standing: &mut dyn FnMut(&Basis) -> Result<Standing, Failure>,
    ) -> io::Result<(Images, Vec<String>)> {
        self.begun = false;
        read(&mut *self.frames, cluster, standing)
    }

    /// Whether nothing can be appended before the next [`Log::begin`].
    pub fn needs_snapshot(&self) -> bool {
        !self.begun
    }

    /// Whether the changes have outgrown the snapshot.
    pub fn is_large(&self) -> bool {
        self.frames.wants_snapshot()
    }

    /// Appends changes that rest on `basis`, and makes them durable.
    ///
    /// # Errors
    /// If they did not become durable, or perhaps not: nothing can be appended then before the next [`Log::begin`].
    pub fn append(&mut self, changes: &[Change], basis: Basis, now: u64) -> io::Result<()> {
        assert!(self.begun, "changes follow a snapshot");
        let ticket = self.frames.append(&encode(changes), basis, now);
        self.settle(ticket)
    }

    /// Begins anew with a snapshot that rests on `basis`, and makes the snapshot durable.
    ///
    /// # Errors
    /// If it did not become durable, or perhaps not: nothing can be appended then before this went well.
    pub fn begin(&mut self, snapshot: &[Change], basis: Basis, now: u64) -> io::Result<()> {
        let ticket = self.frames.begin(&encode(snapshot), basis, now);
        self.settle(ticket)
    }

    fn settle(&mut self, ticket: Ticket) -> io::Result<()> {
        let fate = ticket.wait();
        self.begun = matches!(fate, Fate::Durable(_));
        match fate {
            Fate::Durable(_) => Ok(()),
            Fate::Refused(failure) => Err(io::Error::other(failure)),
            Fate::Unknown(why) | Fate::Fatal(why) => Err(io::Error::other(why)),
        }
    }
}

fn read(
    frames: &mut dyn FrameLog,
    cluster: [u8; 16],
    standing: &mut dyn FnMut(&Basis) -> Result<Standing, Failure>,
) -> io::Result<(Images, Vec<String>)> {
    let mut reading = Reading {
        cluster,
        images: Images::default(),
        whole: false,
    };
    let set_aside = frames.read(standing, &mut reading)?;
    let mut images = reading.images;
    images.cluster = cluster;
    Ok((images, set_aside))
}

/// Returns the bytes of a delivery log that holds this snapshot and nothing else.
pub(crate) fn encode_snapshot(snapshot: &[Change], basis: Basis, now: u64) -> Vec<u8> {
    FileLog::encode_snapshot(&encode(snapshot), basis, now, DELIVERY_LOG_VERSION)
}

/// Writes a delivery log with the bytes of [`crate::Messaging::snapshot`] to `disk`, which must have none. The log is used if the
/// journal beside it reaches as far as the snapshot.
///
/// # Errors
/// If there is a delivery log already, or whatever the storage reports.
pub fn restore_snapshot(disk: &dyn Disk, snapshot: &[u8]) -> io::Result<()> {
    FileLog::restore(disk, DELIVERY_DIRECTORY, snapshot)
}

fn encode(changes: &[Change]) -> Vec<Vec<u8>> {
    let encode = |change| {
        let mut bytes = Vec::new();
        codec::encode(change, &mut bytes);
        bytes
    };
    changes.iter().map(encode).collect()
}
