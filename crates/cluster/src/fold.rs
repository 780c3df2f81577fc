//! The fold: what the entries of a log mean. A pure function of the entries, in their order, so that every node that has read as
//! many entries has the same leader and the same journal.

use tributary_engine::NEWEST;
use tributary_journal::{BadFrame, FrameRef, Head, Versions};

use crate::entry::{Body, Entry, Genesis, HeadMark, Header, Mark};

/// Why a node must stop before an entry: going on would be a guess.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The first entry of the log is not that of a Tributary log.
    #[error(
        "the log does not begin as a log of Tributary does: is it the right one, and was it made by `cluster init`?"
    )]
    NoGenesis,
    /// An entry can't be read.
    #[error("the log can't be read at offset {offset}: {what}")]
    Unreadable {
        /// Offset of the entry.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The log does not have what it had: it was set back, or this is another one.
    #[error(
        "the log has lost entries that were acknowledged: at offset {offset} it does not continue what was read before; nothing \
         was changed"
    )]
    WentBack {
        /// Offset at which entries are missing or are others.
        offset: u64,
    },
    /// Another node has another journal.
    #[error("the node {node:?} has another journal: at position {position} the hashes differ")]
    Diverged {
        /// The other node; empty if it is the leader.
        node: String,
        /// Position at which the hashes differ.
        position: u64,
    },
    /// The log goes on in versions that this program does not know.
    #[error(
        "from offset {offset} on the log is of newer versions ({versions}) than this program knows ({NEWEST}): the upgrade was \
         finalized; start this node with the newer program, on the same directory"
    )]
    Newer {
        /// Offset of the entry.
        offset: u64,
        /// What a node must know.
        versions: Versions,
    },
    /// A frame in this node's term that this node did not write.
    #[error(
        "another process writes under this node's claim at position {position}: is it running twice?"
    )]
    Impostor {
        /// First position of the frame.
        position: u64,
    },
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Name of the node.
    pub node: String,
    /// Where other nodes reach the node.
    pub url: String,
    /// Nonce of the claim.
    pub nonce: u64,
    /// Whether the leader has yielded: nobody decides until the next claim.
    pub has_yielded: bool,
}

/// Who goes on alone after the log has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Name of the node.
    pub node: String,
    /// Nonce of the closing entry.
    pub nonce: u64,
}

/// Why an entry does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It is of another log.
    AnotherLog,
    /// The log has ended.
    AfterEnd,
    /// It is of an earlier term, or of a claim that did not count.
    OldTerm,
    /// A frame that does not follow the head, a closing entry of another head, or the same entry of the log beside the journal again.
    AnotherHead,
    /// A second genesis.
    SecondGenesis,
    /// A frame of newer versions than the log says, or an upgrade to older ones.
    OtherVersions,
}

/// What an entry did.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// The log began.
    Genesis,
    /// Another node leads, or the same one anew.
    Claim,
    /// The journal grew.
    Frame(FrameRef<'a>),
    /// The leader is there.
    Beat,
    /// The leader leads no longer.
    Yield {
        /// Who claims next; empty for anyone.
        to: &'a str,
    },
    /// A barrier was passed.
    Barrier,
    /// The log ended.
    Closed,
    /// The log beside the journal grew by this.
    Beside(&'a [u8]),
    /// Frames may be of newer versions from here on.
    Upgrade,
    /// Nothing.
    Ignored(Ignored),
}

/// What is known of an entry's bytes, so that it is not computed again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Mark after the entry.
    pub(crate) after: Mark,
    /// Whether the checksum of the entry matches.
    pub(crate) is_checked: bool,
    /// Whether this node made and appended these bytes: a frame in them is whole.
    pub(crate) is_own: bool,
}

/// What the entries of a log meant so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    mark: Mark,
    /// Chain before the last entry.
    chain_before: [u8; 32],
    log_id: [u8; 16],
    genesis: Option<Genesis>,
    term: u64,
    leader: Option<Leader>,
    head: Head,
    /// Number of entries of the log beside the journal.
    beside: u64,
    /// Versions in which frames are decided and written; zeros before the first entry.
    versions: Versions,
    closed: Option<Closed>,
    #[cfg(test)]
    pub(crate) bug: Option<crate::bug::Bug>,
}

impl Fold {
    /// Returns a fold as it was before: see [`crate::resume`].
    pub(crate) fn resume(
        (mark, chain_before): (Mark, [u8; 32]),
        (log_id, genesis): ([u8; 16], Genesis),
        (term, leader): (u64, Option<Leader>),
        head: Head,
        beside: u64,
        versions: Versions,
    ) -> Fold {
        Fold {
            mark,
            chain_before,
            log_id,
            genesis: Some(genesis),
            term,
            leader,
            head,
            beside,
            versions,
            ..Fold::default()
        }
    }

    /// Returns the chain of all entries but the last.
    pub(crate) fn chain_before(&self) -> [u8; 32] {
        self.chain_before
    }

    /// Returns how far the log is folded.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Returns the id of the log; zeros before its first entry.
    #[must_use]
    pub fn log_id(&self) -> [u8; 16] {
        self.log_id
    }

    /// Returns the identity of the cluster; none before the first entry.
    #[must_use]
    pub fn genesis(&self) -> Option<&Genesis> {
        self.genesis.as_ref()
    }

    /// Returns the present term; 0 before the first claim.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Returns who leads; none before the first claim.
    #[must_use]
    pub fn leader(&self) -> Option<&Leader> {
        self.leader.as_ref()
    }

    /// Returns the head of the journal.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Returns the head as entries name it.
    #[must_use]
    pub fn head_mark(&self) -> HeadMark {
        HeadMark {
            position: self.head.position,
            hash: self.head.hash,
        }
    }

    /// Returns the number of entries of the log beside the journal.
    #[must_use]
    pub fn beside(&self) -> u64 {
        self.beside
    }

    /// Returns the versions in which frames are decided and written; zeros before the first entry.
    #[must_use]
    pub fn versions(&self) -> Versions {
        self.versions
    }

    /// Whether the journal that was moved onto the log is there.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        let moved = self.genesis.as_ref().map(|genesis| genesis.head.position);
        moved.is_some_and(|position| self.head.position >= position)
    }

    /// Returns who goes on alone, if the log has ended.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    /// Whether these are the bytes of the last entry that was taken in.
    ///
    /// # Panics
    /// Before the first entry.
    #[must_use]
    pub fn is_last_entry(&self, bytes: &[u8]) -> bool {
        let before = Mark {
            entries: self
                .mark
                .entries
                .checked_sub(1)
                .expect("there is a last entry"),
            chain: self.chain_before,
        };
        before.after(bytes) == self.mark
    }

    /// Takes in the next entry.
    ///
    /// # Errors
    /// [`Stop`] says why the node must stop. The fold is as it was.
    pub fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, Stop> {
        let known = Known {
            after: self.mark.after(bytes),
            is_checked: false,
            is_own: false,
        };
        self.step_known(bytes, known)
    }

    /// As [`Fold::step`], with what is known of the bytes.
    pub(crate) fn step_known<'a>(
        &mut self,
        bytes: &'a [u8],
        known: Known,
    ) -> Result<Step<'a>, Stop> {
        let offset = self.mark.entries;
        let entry = Entry::read(bytes, known.is_checked).map_err(|bad| match offset {
            0 => Stop::NoGenesis,
            _ => Stop::Unreadable {
                offset,
                what: bad.0,
            },
        })?;
        let step = self.take(entry, known.is_own)?;
        self.chain_before = self.mark.chain;
        self.mark = known.after;
        Ok(step)
    }

    fn take<'a>(&mut self, entry: Entry<'a>, is_own: bool) -> Result<Step<'a>, Stop> {
        let header = entry.header;
        let is_first = self.mark.entries == 0;
        if is_first {
            return match entry.body {
                Body::Genesis(genesis) => {
                    self.require_known(genesis.versions)?;
                    Ok(self.begin(header.log_id, genesis))
                }
                _ => Err(Stop::NoGenesis),
            };
        }
        if header.log_id != self.log_id {
            return Ok(Step::Ignored(Ignored::AnotherLog));
        }
        self.check_settled(&header)?;
        if self.closed.is_some() {
            return Ok(Step::Ignored(Ignored::AfterEnd));
        }
        match entry.body {
            Body::Genesis(_) => Ok(Step::Ignored(Ignored::SecondGenesis)),
            Body::Claim { head, node, url } => {
                if header.term <= self.term {
                    return Ok(Step::Ignored(Ignored::OldTerm));
                }
                self.check_head(head, node)?;
                self.term = header.term;
                self.leader = Some(Leader {
                    node: node.to_owned(),
                    url: url.to_owned(),
                    nonce: header.nonce,
                    has_yielded: false,
                });
                Ok(Step::Claim)
            }
            Body::Frame(_)
            | Body::Beside { .. }
            | Body::Beat { .. }
            | Body::Yield { .. }
            | Body::Upgrade(_)
                if !self.is_led(&header) =>
            {
                Ok(Step::Ignored(Ignored::OldTerm))
            }
            Body::Beside { number, bytes } => {
                if number != self.beside + 1 {
                    return Ok(Step::Ignored(Ignored::AnotherHead));
                }
                self.beside = number;
                Ok(Step::Beside(bytes))
            }
            Body::Upgrade(versions) => {
                if !self.versions.are_known_to(versions) {
                    return Ok(Step::Ignored(Ignored::OtherVersions));
                }
                self.require_known(versions)?;
                self.versions = versions;
                Ok(Step::Upgrade)
            }
            Body::Frame(bytes) => self.take_frame(bytes, is_own),
            Body::Beat { head } => {
                self.check_head(head, "")?;
                Ok(Step::Beat)
            }
            Body::Yield { to } => {
                let leader = self.leader.as_mut().expect("the entry is the leader's");
                leader.has_yielded = true;
                Ok(Step::Yield { to })
            }
            Body::Barrier => Ok(Step::Barrier),
            Body::Closed { head, node } => {
                if header.term != self.term {
                    return Ok(Step::Ignored(Ignored::OldTerm));
                }
                if head != self.head_mark() {
                    return Ok(Step::Ignored(Ignored::AnotherHead));
                }
                self.closed = Some(Closed {
                    node: node.to_owned(),
                    nonce: header.nonce,
                });
                Ok(Step::Closed)
            }
        }
    }

    fn begin(&mut self, log_id: [u8; 16], genesis: Genesis) -> Step<'static> {
        self.log_id = log_id;
        self.head.epoch = genesis.epochs.first().map_or(1, |epoch| epoch.number);
        self.versions = genesis.versions;
        self.genesis = Some(genesis);
        Step::Genesis
    }

    fn require_known(&self, versions: Versions) -> Result<(), Stop> {
        match versions.are_known_to(NEWEST) {
            true => Ok(()),
            false => Err(Stop::Newer {
                offset: self.mark.entries,
                versions,
            }),
        }
    }

    /// Whether an entry is of the claim that counts.
    fn is_led(&self, header: &Header) -> bool {
        let nonce = self.leader.as_ref().map(|leader| leader.nonce);
        #[cfg(test)]
        if self.bug == Some(crate::bug::Bug::CountsZombies) {
            return true;
        }
        header.term == self.term && nonce == Some(header.nonce)
    }

    fn take_frame<'a>(&mut self, bytes: &'a [u8], is_own: bool) -> Result<Step<'a>, Stop> {
        let unreadable = |bad: BadFrame| Stop::Unreadable {
            offset: self.mark.entries,
            what: bad.0,
        };
        let frame = FrameRef::parse(bytes).map_err(unreadable)?;
        let header = frame.header();
        let follows = header.first_position == self.head.position + 1
            && header.prev_hash == self.head.hash
            && header.timestamp >= self.head.timestamp;
        if !follows {
            return Ok(Step::Ignored(Ignored::AnotherHead));
        }
        if !is_own {
            frame.verify(&self.head).map_err(unreadable)?;
        }
        if !header.versions().are_known_to(self.versions) {
            return Ok(Step::Ignored(Ignored::OtherVersions));
        }
        self.head = frame.head();
        Ok(Step::Frame(frame))
    }

    /// What the writer of an entry knew to be settled is before the entry, and is what was read here.
    fn check_settled(&self, header: &Header) -> Result<(), Stop> {
        let settled = header.settled;
        let is_before = settled.entries <= self.mark.entries;
        match is_before && (settled.entries < self.mark.entries || settled == self.mark) {
            true => Ok(()),
            false => Err(Stop::WentBack {
                offset: self.mark.entries,
            }),
        }
    }

    /// A head that a node names can be behind, but not beside.
    fn check_head(&self, head: HeadMark, node: &str) -> Result<(), Stop> {
        match head.position < self.head.position || head == self.head_mark() {
            true => Ok(()),
            false => Err(Stop::Diverged {
                node: node.to_owned(),
                position: head.position.min(self.head.position),
            }),
        }
    }
}
