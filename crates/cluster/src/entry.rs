//! Entries: what nodes append to a shared log.
//!
//! All integers are little-endian.
//!
//! ```text
//! header, 88 bytes
//!   0   4  magic "TRBL"
//!   4   2  format version (1)
//!   6   1  kind
//!   7   1  zero
//!   8  16  log_id: random id of the log; entries with another id are ignored
//!  24   8  term of the writer
//!  32   8  nonce: of the writer's claim; of a genesis 0
//!  40   8  settled.entries  }  what the writer knows to be
//!  48  32  settled.chain    }  settled
//!  80   4  length of the body
//!  84   4  zero
//! body, by kind; texts are preceded by their length in two bytes
//!   1 genesis   cluster_id 16, sandbox 1, master key's id 8, count of epochs 4, each epoch 4 + 8, sealed id key (2 + n), head 8 + 32,
//!               versions 2 + 2
//!   2 claim     head 8 + 32, name of the node (2 + n), url of the node (2 + n)
//!   3 frame     the sealed frame of the journal, verbatim
//!   4 beat      head 8 + 32
//!   5 yield     name of the next leader (2 + n), empty for anyone
//!   6 barrier   nothing
//!   7 closed    head 8 + 32, name of the node (2 + n)
//!   8 beside    number 8, records of the log beside the journal
//!   9 upgrade   versions 2 + 2: of the format of records, and of the rules
//! trailer, 4 bytes
//!   crc32c of all bytes before
//! ```

use tributary_journal::{Epoch, FRAME_BYTES_MAX, Meta, Versions};

/// Maximum number of bytes of an entry: a frame of the maximum size, and what surrounds the frame.
pub const ENTRY_BYTES_MAX: usize = FRAME_BYTES_MAX + HEADER_BYTES + TRAILER_BYTES;
/// Maximum number of bytes of a node's name.
pub const NAME_BYTES_MAX: usize = 128;
/// Maximum number of bytes of a node's url.
pub const URL_BYTES_MAX: usize = 512;
/// Maximum number of bytes of a sealed key.
const SEALED_BYTES_MAX: usize = 1024;
/// Maximum number of epochs in a genesis.
const EPOCHS_MAX: usize = 65_536;

const MAGIC: [u8; 4] = *b"TRBL";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 88;
const TRAILER_BYTES: usize = 4;

/// A prefix of a log: the number of its entries, and a hash of all of them.
///
/// Two nodes with the same mark have read the same entries. The number alone does not say so: after a failover the log may
/// have other entries at numbers that one of the nodes has read before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Number of entries, from the first entry of the log on. The next entry has this offset.
    pub entries: u64,
    /// Hash of the entries: of the chain so far and the bytes of the last entry. Zeros for no entry.
    pub chain: [u8; 32],
}

impl Mark {
    /// Returns the mark after one more entry.
    #[must_use]
    pub fn after(&self, entry: &[u8]) -> Mark {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.chain);
        hasher.update(entry);
        Mark {
            entries: self.entries + 1,
            chain: *hasher.finalize().as_bytes(),
        }
    }
}

/// The head of a journal as an entry names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadMark {
    /// Position of the last record; 0 for none.
    pub position: u64,
    /// Hash of the last frame; zeros for none.
    pub hash: [u8; 32],
}

/// What all entries have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Id of the log.
    pub log_id: [u8; 16],
    /// Term of the writer: that of the claim which the writer makes, or had counted last.
    pub term: u64,
    /// Nonce of the writer's claim; of a barrier and a closing entry, the nonce by which the writer knows it again.
    pub nonce: u64,
    /// What the writer knew to be settled.
    pub settled: Mark,
}

/// The identity of a cluster, which its nodes take from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// Id of the journal for life.
    pub cluster_id: [u8; 16],
    /// Whether the journal is a sandbox.
    pub sandbox: bool,
    /// Id of the master key under which `sealed_id_key` is sealed.
    pub master_key_id: u64,
    /// Epochs of the journal when the log began.
    pub epochs: Vec<Epoch>,
    /// Key of the permutation behind public ids, sealed. At most 1,024 bytes.
    pub sealed_id_key: Vec<u8>,
    /// Head of the journal that was moved onto the log: until the log has it, nobody but the node that moves it may lead.
    pub head: HeadMark,
    /// Versions in which frames are decided and written until an upgrade is finalized.
    pub versions: Versions,
}

impl Genesis {
    /// Returns the identity of a journal, with its key sealed by the caller.
    #[must_use]
    pub fn new(
        meta: &Meta,
        master_key_id: u64,
        sealed_id_key: Vec<u8>,
        head: HeadMark,
        versions: Versions,
    ) -> Genesis {
        Genesis {
            cluster_id: meta.cluster_id,
            sandbox: meta.sandbox,
            master_key_id,
            epochs: meta.epochs.clone(),
            sealed_id_key,
            head,
            versions,
        }
    }
}

/// What one kind of entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The log begins.
    Genesis(Genesis),
    /// A node wants to lead from here on.
    Claim {
        /// Head of the node.
        head: HeadMark,
        /// Name of the node.
        node: &'a str,
        /// Where other nodes reach the node.
        url: &'a str,
    },
    /// Records.
    Frame(&'a [u8]),
    /// The leader is there.
    Beat {
        /// Head of the leader.
        head: HeadMark,
    },
    /// The leader leads no longer.
    Yield {
        /// Name of the node that claims next; empty for anyone.
        to: &'a str,
    },
    /// Whoever reads this entry has read everything that was settled before it was sent.
    Barrier,
    /// The log ends; the named node goes on alone.
    Closed {
        /// Head of the journal.
        head: HeadMark,
        /// Name of the node.
        node: &'a str,
    },
    /// What the leader keeps beside the journal: no money, and no setting.
    Beside {
        /// 1, 2, 3 …: an entry with another number than the next does not count.
        number: u64,
        /// What the leader wrote.
        bytes: &'a [u8],
    },
    /// From here on frames may be decided and written in these versions: all nodes know them.
    Upgrade(Versions),
}

impl Body<'_> {
    fn kind(&self) -> u8 {
        match self {
            Body::Genesis(_) => 1,
            Body::Claim { .. } => 2,
            Body::Frame(_) => 3,
            Body::Beat { .. } => 4,
            Body::Yield { .. } => 5,
            Body::Barrier => 6,
            Body::Closed { .. } => 7,
            Body::Beside { .. } => 8,
            Body::Upgrade(_) => 9,
        }
    }
}

/// Bytes that are no entry, or one of a newer format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadEntry(pub &'static str);

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What all entries have.
    pub header: Header,
    /// What this one says.
    pub body: Body<'a>,
}

impl<'a> Entry<'a> {
    /// Returns the bytes of an entry.
    ///
    /// # Panics
    /// If a text or a frame is longer than its maximum.
    #[must_use]
    pub fn encode(header: &Header, body: &Body<'_>) -> Vec<u8> {
        let room = match body {
            Body::Frame(frame) => frame.len(),
            Body::Beside { bytes, .. } => 8 + bytes.len(),
            _ => 256,
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + room + TRAILER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[body.kind(), 0]);
        bytes.extend_from_slice(&header.log_id);
        bytes.extend_from_slice(&header.term.to_le_bytes());
        bytes.extend_from_slice(&header.nonce.to_le_bytes());
        bytes.extend_from_slice(&header.settled.entries.to_le_bytes());
        bytes.extend_from_slice(&header.settled.chain);
        bytes.extend_from_slice(&[0; 8]);
        write_body(body, &mut bytes);
        let length = u32::try_from(bytes.len() - HEADER_BYTES).expect("a body is bounded");
        bytes[80..84].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        assert!(bytes.len() <= ENTRY_BYTES_MAX, "an entry is bounded");
        bytes
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// What is wrong with the bytes. A node that can't read an entry must stop before it.
    pub fn parse(bytes: &'a [u8]) -> Result<Entry<'a>, BadEntry> {
        Entry::read(bytes, false)
    }

    /// As [`Entry::parse`], without the checksum if it `is_checked`.
    pub(crate) fn read(bytes: &'a [u8], is_checked: bool) -> Result<Entry<'a>, BadEntry> {
        let mut rest = Rest(bytes);
        if rest.array()? != MAGIC {
            return Err(BadEntry("it does not begin as an entry does"));
        }
        if u16::from_le_bytes(rest.array()?) != VERSION {
            return Err(BadEntry(
                "it is of a newer format: this node needs a newer version of the program",
            ));
        }
        let [kind, _] = rest.array()?;
        let header = Header {
            log_id: rest.array()?,
            term: rest.u64()?,
            nonce: rest.u64()?,
            settled: Mark {
                entries: rest.u64()?,
                chain: rest.array()?,
            },
        };
        let length = u32::from_le_bytes(rest.array()?) as usize;
        let _zero: [u8; 4] = rest.array()?;
        if rest.0.len() != length + TRAILER_BYTES {
            return Err(BadEntry("it is cut short or too long"));
        }
        let (checked, crc) = bytes.split_at(bytes.len() - TRAILER_BYTES);
        if !is_checked && crc32c::crc32c(checked).to_le_bytes() != crc {
            return Err(BadEntry("its checksum does not match"));
        }
        let mut rest = Rest(&rest.0[..length]);
        let body = read_body(kind, &mut rest)?;
        match rest.0 {
            [] => Ok(Entry { header, body }),
            _ => Err(BadEntry("it says more than its kind has")),
        }
    }
}

fn write_body(body: &Body<'_>, into: &mut Vec<u8>) {
    match body {
        Body::Genesis(genesis) => {
            into.extend_from_slice(&genesis.cluster_id);
            into.push(u8::from(genesis.sandbox));
            into.extend_from_slice(&genesis.master_key_id.to_le_bytes());
            assert!(genesis.epochs.len() <= EPOCHS_MAX, "epochs are bounded");
            let count = u32::try_from(genesis.epochs.len()).expect("checked before");
            into.extend_from_slice(&count.to_le_bytes());
            for epoch in &genesis.epochs {
                into.extend_from_slice(&epoch.number.to_le_bytes());
                into.extend_from_slice(&epoch.first_position.to_le_bytes());
            }
            write_bytes(&genesis.sealed_id_key, SEALED_BYTES_MAX, into);
            write_head(&genesis.head, into);
            into.extend_from_slice(&genesis.versions.to_bytes());
        }
        Body::Claim { head, node, url } => {
            write_head(head, into);
            write_bytes(node.as_bytes(), NAME_BYTES_MAX, into);
            write_bytes(url.as_bytes(), URL_BYTES_MAX, into);
        }
        Body::Frame(frame) => into.extend_from_slice(frame),
        Body::Beat { head } => write_head(head, into),
        Body::Yield { to } => write_bytes(to.as_bytes(), NAME_BYTES_MAX, into),
        Body::Barrier => {}
        Body::Closed { head, node } => {
            write_head(head, into);
            write_bytes(node.as_bytes(), NAME_BYTES_MAX, into);
        }
        Body::Beside { number, bytes } => {
            into.extend_from_slice(&number.to_le_bytes());
            into.extend_from_slice(bytes);
        }
        Body::Upgrade(versions) => into.extend_from_slice(&versions.to_bytes()),
    }
}

fn write_head(head: &HeadMark, into: &mut Vec<u8>) {
    into.extend_from_slice(&head.position.to_le_bytes());
    into.extend_from_slice(&head.hash);
}

fn write_bytes(bytes: &[u8], bytes_max: usize, into: &mut Vec<u8>) {
    assert!(bytes.len() <= bytes_max, "a text of an entry is bounded");
    let length = u16::try_from(bytes.len()).expect("the bound is less");
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(bytes);
}

fn read_body<'a>(kind: u8, rest: &mut Rest<'a>) -> Result<Body<'a>, BadEntry> {
    Ok(match kind {
        1 => Body::Genesis(read_genesis(rest)?),
        2 => Body::Claim {
            head: rest.head()?,
            node: rest.text(NAME_BYTES_MAX)?,
            url: rest.text(URL_BYTES_MAX)?,
        },
        3 => Body::Frame(std::mem::take(&mut rest.0)),
        4 => Body::Beat { head: rest.head()? },
        5 => Body::Yield {
            to: rest.text(NAME_BYTES_MAX)?,
        },
        6 => Body::Barrier,
        7 => Body::Closed {
            head: rest.head()?,
            node: rest.text(NAME_BYTES_MAX)?,
        },
        8 => Body::Beside {
            number: rest.u64()?,
            bytes: std::mem::take(&mut rest.0),
        },
        9 => Body::Upgrade(rest.versions()?),
        _ => {
            return Err(BadEntry(
                "it is of an unknown kind: this node needs a newer version of the program",
            ));
        }
    })
}

fn read_genesis(rest: &mut Rest<'_>) -> Result<Genesis, BadEntry> {
    let cluster_id = rest.array()?;
    let sandbox = match rest.array()? {
        [0] => false,
        [1] => true,
        [_] => return Err(BadEntry("its mark of a sandbox is neither 0 nor 1")),
    };
    let master_key_id = rest.u64()?;
    let count = u32::from_le_bytes(rest.array()?) as usize;
    if count > EPOCHS_MAX {
        return Err(BadEntry("it has too many epochs"));
    }
    let epoch = |_| {
        Ok(Epoch {
            number: u32::from_le_bytes(rest.array()?),
            first_position: rest.u64()?,
        })
    };
    let epochs = (0..count).map(epoch).collect::<Result<_, BadEntry>>()?;
    Ok(Genesis {
        cluster_id,
        sandbox,
        master_key_id,
        epochs,
        sealed_id_key: rest.bytes(SEALED_BYTES_MAX)?.to_vec(),
        head: rest.head()?,
        versions: rest.versions()?,
    })
}

/// What is left to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BadEntry> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(BadEntry("it is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadEntry> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("as many were taken"))
    }

    fn u64(&mut self) -> Result<u64, BadEntry> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn head(&mut self) -> Result<HeadMark, BadEntry> {
        Ok(HeadMark {
            position: self.u64()?,
            hash: self.array()?,
        })
    }

    fn versions(&mut self) -> Result<Versions, BadEntry> {
        Ok(Versions::from_bytes(self.array()?))
    }

    fn bytes(&mut self, bytes_max: usize) -> Result<&'a [u8], BadEntry> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        if length > bytes_max {
            return Err(BadEntry("a text is too long"));
        }
        self.take(length)
    }

    fn text(&mut self, bytes_max: usize) -> Result<&'a str, BadEntry> {
        std::str::from_utf8(self.bytes(bytes_max)?).map_err(|_| BadEntry("a text is not UTF-8"))
    }
}
