//! The file `meta`: identity of the journal and its epochs, as a short text that a person can read.
//!
//! ```text
//! tributary-journal 1
//! cluster_id <32 hex digits>
//! id_key <32 hex digits>
//! sandbox                                only in a sandbox
//! mirror_of <32 hex digits>              only in a mirror of a shared log; moving_to while it is being made one
//! epoch <number> <first position>        one line per epoch, ascending
//! crc32c <8 hex digits of the lines above>
//! ```
//!
//! The file is replaced whole: written under another name, synced and renamed, after which the directory is synced.

use std::fmt::Write as _;
use std::io;

use hex::FromHex as _;

use crate::disk::Disk;
use crate::files::replace_file;
use crate::head::{Damage, SharedLog};
use crate::options::OpenError;

pub(crate) const META_FILE: &str = "meta";
const META_BYTES_MAX: u64 = 1024 * 1024;
const MIRROR: &str = "mirror_of ";
const MOVING: &str = "moving_to ";

/// An epoch and its first position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Number of the epoch: 1 for the first, ascending.
    pub number: u32,
    /// First position that belongs to the epoch.
    pub first_position: u64,
}

/// Identity of a journal and its epochs. Part of every backup.
#[derive(Clone, PartialEq, Eq)]
pub struct Meta {
    /// Random identifier of the journal.
    pub cluster_id: [u8; 16],
    /// Secret key of the permutation behind the ids that the server issues.
    pub id_key: [u8; 16],
    /// Whether the journal is a sandbox, whose clock can be moved: no real money is in it.
    pub sandbox: bool,
    /// Epochs, ascending in number and position. The first is (1, 1).
    pub epochs: Vec<Epoch>,
    /// Log that decides what is in this journal; none for a journal of its own.
    pub shared_log: Option<SharedLog>,
}

impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meta")
            .field("cluster_id", &hex::encode(self.cluster_id))
            .field("sandbox", &self.sandbox)
            .field("epochs", &self.epochs)
            .field("shared_log", &self.shared_log)
            .finish_non_exhaustive()
    }
}

impl Meta {
    /// Creates the identity of a new journal, in its first epoch.
    #[must_use]
    pub fn new(cluster_id: [u8; 16], id_key: [u8; 16]) -> Self {
        Meta {
            cluster_id,
            id_key,
            sandbox: false,
            epochs: vec![Epoch {
                number: 1,
                first_position: 1,
            }],
            shared_log: None,
        }
    }

    /// Returns the epoch of a position; of a future position, the newest epoch.
    #[must_use]
    pub fn epoch_of(&self, position: u64) -> u32 {
        let after = self
            .epochs
            .partition_point(|epoch| epoch.first_position <= position);
        self.epochs[after.saturating_sub(1)].number
    }

    /// Whether the epochs begin at (1, 1) and ascend.
    pub(crate) fn is_sound(&self) -> bool {
        self.epochs.first()
            == Some(&Epoch {
                number: 1,
                first_position: 1,
            })
            && self.epochs.windows(2).all(|pair| {
                pair[0].number < pair[1].number && pair[0].first_position <= pair[1].first_position
            })
    }

    /// Returns the highest number of an epoch.
    pub(crate) fn newest_epoch(&self) -> u32 {
        self.epochs.last().map_or(1, |epoch| epoch.number)
    }

    /// Begins a new epoch at `first_position`, with a number above all others. Removes epochs that would have begun later, in records
    /// that this journal does not have.
    pub(crate) fn begin_epoch(&mut self, number: u32, first_position: u64) {
        assert!(number > self.newest_epoch(), "epochs ascend");
        self.epochs
            .retain(|epoch| epoch.first_position <= first_position);
        self.epochs.push(Epoch {
            number,
            first_position,
        });
        assert!(self.is_sound(), "epochs ascend");
    }

    fn to_text(&self) -> String {
        let mut text = format!(
            "tributary-journal 1\ncluster_id {}\nid_key {}\n",
            hex::encode(self.cluster_id),
            hex::encode(self.id_key)
        );
        if self.sandbox {
            text.push_str("sandbox\n");
        }
        if let Some(log) = self.shared_log {
            let word = if log.is_moving { MOVING } else { MIRROR };
            let _ = writeln!(text, "{word}{}", hex::encode(log.id));
        }
        for epoch in &self.epochs {
            let _ = writeln!(text, "epoch {} {}", epoch.number, epoch.first_position);
        }
        let crc = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "crc32c {crc:08x}");
        text
    }

    fn from_text(text: &str) -> Option<Meta> {
        let body = text.strip_suffix('\n')?;
        let (body, crc_line) = body.rsplit_once('\n')?;
        let body = &text[..body.len() + 1];
        let crc = u32::from_str_radix(crc_line.strip_prefix("crc32c ")?, 16).ok()?;
        if crc32c::crc32c(body.as_bytes()) != crc {
            return None;
        }
        let mut lines = body.lines();
        if lines.next()? != "tributary-journal 1" {
            return None;
        }
        let cluster_id = <[u8; 16]>::from_hex(lines.next()?.strip_prefix("cluster_id ")?).ok()?;
        let id_key = <[u8; 16]>::from_hex(lines.next()?.strip_prefix("id_key ")?).ok()?;
        let mut lines = lines.peekable();
        let sandbox = lines.next_if_eq(&"sandbox").is_some();
        let mut shared_log = None;
        for (word, is_moving) in [(MIRROR, false), (MOVING, true)] {
            if let Some(line) = lines.next_if(|line| line.starts_with(word)) {
                let id = <[u8; 16]>::from_hex(line.strip_prefix(word)?).ok()?;
                shared_log = Some(SharedLog { id, is_moving });
            }
        }
        let mut epochs = Vec::new();
        for line in lines {
            let (number, first_position) = line.strip_prefix("epoch ")?.split_once(' ')?;
            epochs.push(Epoch {
                number: number.parse().ok()?,
                first_position: first_position.parse().ok()?,
            });
        }
        let meta = Meta {
            cluster_id,
            id_key,
            sandbox,
            epochs,
            shared_log,
        };
        meta.is_sound().then_some(meta)
    }

    /// Reads the meta file. Returns `Ok(None)` if there is none, and `Ok(Some(Err))` if it is damaged.
    pub(crate) fn load(disk: &dyn Disk) -> io::Result<Option<Result<Meta, Damage>>> {
        let file = match disk.open_read(META_FILE) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.len()?;
        let mut bytes = vec![0; len.min(META_BYTES_MAX) as usize];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        let meta = std::str::from_utf8(&bytes).ok().and_then(Meta::from_text);
        Ok(Some(meta.ok_or_else(|| {
            Damage::new(META_FILE, 0, 0, "the meta file does not match its checksum")
        })))
    }

    /// Replaces the meta file durably.
    pub(crate) fn store(&self, disk: &dyn Disk) -> io::Result<()> {
        assert!(self.is_sound(), "epochs ascend");
        replace_file(disk, "", META_FILE, self.to_text().as_bytes())
    }
}

/// Reads the identity of the journal in `disk` without opening the journal, which may be in use or on a read-only disk.
///
/// # Errors
/// [`OpenError::NotFound`], [`OpenError::Damaged`] and [`OpenError::Io`].
pub fn read_meta(disk: &dyn Disk) -> Result<Meta, OpenError> {
    Ok(Meta::load(disk)?.ok_or(OpenError::NotFound)??)
}
