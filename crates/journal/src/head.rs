//! The end of a journal, and damage found in one.

/// Where a journal ends: what the next frame links to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Position of the last record; 0 when there is none.
    pub position: u64,
    /// Hash of the last frame; zeros when there is none.
    pub hash: [u8; 32],
    /// Timestamp of the last frame, nanoseconds since the Unix epoch; 0 when there is none.
    pub timestamp: u64,
    /// The epoch that the next frame belongs to; 0 only for [`Head::default`], whose frames are of epoch 1.
    pub epoch: u32,
}

/// Where stored bytes are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is damaged at byte {offset} (position {position}): {what}")]
pub struct Damage {
    /// The file, relative to the journal's directory.
    pub file: String,
    /// Byte offset in the file of the frame, record, page or header that is bad.
    pub offset: u64,
    /// The first position that is affected; 0 when no position is.
    pub position: u64,
    /// What is wrong with it.
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
