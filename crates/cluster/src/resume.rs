//! Where a node goes on at its next start: the fold of what its mirror has, in a file of the mirror's directory.
//!
//! ```text
//! magic "TRBR", version 1 (2 bytes), 2 zero bytes
//! mark: entries 8, chain 32;  chain before the last entry 32;  head: position 8, hash 32, epoch 4, timestamp 8;  beside 8;
//! whether the leader has yielded 1;  versions 2 + 2
//! the genesis and the claim that counts, as entries, each preceded by its length in four bytes; no claim: length 0
//! crc32c of all bytes before, 4 bytes
//! ```
//!
//! Losing the file costs a longer start: the node reads the log from its first entry on.

use std::io;

use tributary_engine::NEWEST;
use tributary_journal::{Disk, Head, Versions, replace_file};

use crate::entry::{Body, Entry, HeadMark, Header, Mark};
use crate::fold::{Fold, Leader};

/// Name of the file.
pub const RESUME_FILE: &str = "log-place";
const MAGIC: [u8; 8] = *b"TRBR\x01\0\0\0";
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Writes the file durably. The mirror must have everything up to the fold's head.
pub(crate) fn store(disk: &dyn Disk, fold: &Fold) -> io::Result<()> {
    replace_file(disk, "", RESUME_FILE, &encode(fold))
}

/// Reads the file. None if there is none that can be used.
///
/// # Errors
/// If it is there and can't be read.
pub fn load(disk: &dyn Disk) -> io::Result<Option<Fold>> {
    let file = match disk.open_read(RESUME_FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.len()?.min(FILE_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(length).expect("it is bounded")];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    let fold = decode(&bytes);
    if fold.is_none() {
        tracing::warn!(
            file = RESUME_FILE,
            "the place in the log can't be read: the log is read from its first entry on"
        );
    }
    Ok(fold)
}

/// Removes the file, if there is one.
///
/// # Errors
/// Whatever the storage reports.
pub fn remove(disk: &dyn Disk) -> io::Result<()> {
    match disk.remove(RESUME_FILE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => disk.sync_dir(""),
    }
}

fn encode(fold: &Fold) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let (mark, head) = (fold.mark(), fold.head());
    bytes.extend_from_slice(&mark.entries.to_le_bytes());
    bytes.extend_from_slice(&mark.chain);
    bytes.extend_from_slice(&fold.chain_before());
    bytes.extend_from_slice(&head.position.to_le_bytes());
    bytes.extend_from_slice(&head.hash);
    bytes.extend_from_slice(&head.epoch.to_le_bytes());
    bytes.extend_from_slice(&head.timestamp.to_le_bytes());
    bytes.extend_from_slice(&fold.beside().to_le_bytes());
    let leader = fold.leader();
    bytes.push(u8::from(leader.is_some_and(|leader| leader.has_yielded)));
    bytes.extend_from_slice(&fold.versions().to_bytes());
    let header = |term, nonce| Header {
        log_id: fold.log_id(),
        term,
        nonce,
        settled: Mark::default(),
    };
    let genesis = fold.genesis().map(|genesis| {
        let body = Body::Genesis(genesis.clone());
        Entry::encode(&header(0, 0), &body)
    });
    let claim = leader.map(|leader| {
        let body = Body::Claim {
            head: HeadMark::default(),
            node: &leader.node,
            url: &leader.url,
        };
        Entry::encode(&header(fold.term(), leader.nonce), &body)
    });
    for entry in [genesis, claim] {
        let entry = entry.unwrap_or_default();
        let length = u32::try_from(entry.len()).expect("an entry is bounded");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&entry);
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Fold> {
    let (bytes, crc) = bytes.split_last_chunk()?;
    if crc32c::crc32c(bytes).to_le_bytes() != *crc {
        return None;
    }
    let mut rest = bytes.strip_prefix(&MAGIC)?;
    fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
        let (taken, others) = rest.split_first_chunk()?;
        *rest = others;
        Some(*taken)
    }
    let mark = Mark {
        entries: u64::from_le_bytes(take(&mut rest)?),
        chain: take(&mut rest)?,
    };
    let chain_before = take(&mut rest)?;
    let head = Head {
        position: u64::from_le_bytes(take(&mut rest)?),
        hash: take(&mut rest)?,
        epoch: u32::from_le_bytes(take(&mut rest)?),
        timestamp: u64::from_le_bytes(take(&mut rest)?),
    };
    let beside = u64::from_le_bytes(take(&mut rest)?);
    let has_yielded = take::<1>(&mut rest)? != [0];
    let versions = Versions::from_bytes(take(&mut rest)?);
    if !versions.are_known_to(NEWEST) {
        // The fold says at which entry a newer program is needed.
        return None;
    }
    let mut entry = || {
        let length = u32::from_le_bytes(take(&mut rest)?) as usize;
        let (entry, others) = rest.split_at_checked(length)?;
        rest = others;
        Some(entry)
    };
    let (genesis, claim) = (entry()?, entry()?);
    let genesis = Entry::parse(genesis).ok()?;
    let log_id = genesis.header.log_id;
    let Body::Genesis(genesis) = genesis.body else {
        return None;
    };
    let claim = match claim {
        [] => None,
        claim => Some(Entry::parse(claim).ok()?),
    };
    let term = claim.as_ref().map_or(0, |claim| claim.header.term);
    let leader = match claim {
        None => None,
        Some(Entry {
            header,
            body: Body::Claim { node, url, .. },
        }) => Some(Leader {
            node: node.to_owned(),
            url: url.to_owned(),
            nonce: header.nonce,
            has_yielded,
        }),
        Some(_) => return None,
    };
    Some(Fold::resume(
        (mark, chain_before),
        (log_id, genesis),
        (term, leader),
        head,
        beside,
        versions,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Genesis;
    use tributary_journal::Meta;

    const OLD: Versions = Versions {
        format: 1,
        rules: 0,
    };

    fn fold(claims: bool) -> Fold {
        let header = |term| Header {
            log_id: [6; 16],
            term,
            nonce: 9,
            settled: Mark::default(),
        };
        let meta = Meta::new([1; 16], [2; 16]);
        let genesis = Genesis::new(&meta, 1, vec![3; 40], HeadMark::default(), OLD);
        let mut fold = Fold::default();
        let genesis = Entry::encode(&header(0), &Body::Genesis(genesis));
        fold.step(&genesis).expect("it is the first entry");
        if claims {
            let claim = Body::Claim {
                head: HeadMark::default(),
                node: "a",
                url: "http://a",
            };
            let beside = Body::Beside {
                number: 1,
                bytes: &[1, 2, 3],
            };
            for body in [
                claim,
                beside,
                Body::Upgrade(NEWEST),
                Body::Yield { to: "b" },
            ] {
                fold.step(&Entry::encode(&header(1), &body))
                    .expect("it counts");
            }
        }
        fold
    }

    #[test]
    fn what_was_written_is_read_and_what_is_damaged_is_not() {
        for claims in [false, true] {
            let fold = fold(claims);
            let bytes = encode(&fold);
            assert_eq!(decode(&bytes), Some(fold));
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 1;
                assert_eq!(decode(&other), None, "changed at {at}");
                assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
            }
        }
    }
}
