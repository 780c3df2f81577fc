//! The head of a journal, and damage found in a journal.

/// The end of a journal, to which the next frame links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Position of the last record; 0 when there is none.
    pub position: u64,
    /// Hash of the last frame; zeros when there is none.
    pub hash: [u8; 32],
    /// Timestamp of the last frame, nanoseconds since the Unix epoch; 0 when there is none.
    pub timestamp: u64,
    /// Epoch that the next frame belongs to. 0 only for [`Head::default`], whose next frame is of epoch 1.
    pub epoch: u32,
}

/// Damage: stored bytes are not the bytes that were written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is damaged at byte {offset} (position {position}): {what}")]
pub struct Damage {
    /// Path of the file, relative to the journal's directory.
    pub file: String,
    /// Offset in the file of the damaged frame, record, page or header, bytes.
    pub offset: u64,
    /// First position that is affected; 0 if none is.
    pub position: u64,
    /// Description of the damage.
    pub what: &'static str,
}

impl Damage {
    pub(crate) fn new(file: &str, offset: u64, position: u64, what: &'static str) -> Self {
        Damage {
            file: file.to_owned(),
            offset,
            position,
            what,
        }
    }
}

/// The shared log that a journal is a mirror of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedLog {
    /// Random id of the log.
    pub id: [u8; 16],
    /// Whether the journal is still on its way onto the log: the log may lack records of it.
    pub is_moving: bool,
}
