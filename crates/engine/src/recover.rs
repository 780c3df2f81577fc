//! The state at the journal's head: the newest whole checkpoint, and what was recorded since.
//!
//! One thread reads and checks what is on the disk, others fill sets with it: no result depends on which is faster.

use std::sync::{Arc, mpsc};
use std::thread::{Scope, ScopedJoinHandle};

use tributary_journal::{self as journal, CheckpointBlock, CheckpointItem, Disk, FrameRef};
use tributary_ledger::codec::{self, Corrupt};
use tributary_ledger::{Residency, WorkingSet};

use crate::backend::Recovered;
use crate::checkpoint::{
    ACCOUNT, ACCOUNTS, API_KEY, COUNTS, DETAILS, LIMIT_COUNTS, OWNER, OWNERS, PAYMENT, QUEUE,
    SETTING, TIME_OFFSET,
};
use crate::failure::Failure;
use crate::replay::{apply_frame, require_known};

/// Blocks of a checkpoint, or frames, that are read ahead of what is done with them.
const READ_AHEAD: usize = 4;

/// Rebuilds the state.
pub(crate) fn recover(disk: &dyn Disk, reader: &journal::Reader) -> Result<Recovered, Failure> {
    let head = reader.head();
    // Perhaps a checkpoint of a newer program has all records.
    if let Some(last) = reader.frame(head.position)? {
        let last = *FrameRef::parse(&last).expect("it was verified").header();
        require_known(last.versions(), last.first_position)?;
    }
    let (mut set, through) = load(disk, &mut |through, hash| {
        let there = reader.head_at(through);
        there.is_ok_and(|there| there.is_some_and(|head| head.hash == hash))
    })?;
    replay(reader, through + 1, &mut set)?;
    Ok(Recovered {
        set,
        replayed: head.position - through,
    })
}

/// The newest whole checkpoint of a frame that is ours, and its position; or an empty set.
fn load(
    disk: &dyn Disk,
    is_ours: &mut dyn FnMut(u64, [u8; 32]) -> bool,
) -> Result<(WorkingSet, u64), Failure> {
    let (loaded, filled) = std::thread::scope(|scope| {
        let mut filling = None;
        let mut item = |item| match item {
            CheckpointItem::Begin { .. } => filling = Some(Filling::begin(scope)),
            CheckpointItem::Block(block) => {
                if let Some(Ok(filling)) = &filling {
                    filling.put(block);
                }
            }
        };
        let loaded = journal::load_latest_checkpoint(disk, is_ours, &mut item);
        (loaded, filling.map(|filling| filling?.finish()))
    });
    let loaded = loaded.map_err(|error| Failure::Unavailable(error.to_string()))?;
    for damage in &loaded.damaged {
        tracing::warn!(%damage, "a checkpoint is damaged; an older one is used");
    }
    match (loaded.through, filled) {
        (Some(through), Some(Ok(set))) => return Ok((set, through)),
        (Some(_), Some(Err(why))) => tracing::warn!(
            why,
            "the checkpoint can't be read; the whole journal is replayed"
        ),
        _ => {}
    }
    Ok((WorkingSet::new(Residency::Accounts), 0))
}

/// A checkpoint on its way into memory: accounts, owners and all else into sets of their own, at the same time.
struct Filling<'scope>([Part<'scope>; 3]);

struct Part<'scope> {
    blocks: mpsc::SyncSender<Arc<CheckpointBlock>>,
    set: ScopedJoinHandle<'scope, Result<WorkingSet, String>>,
}

type Blocks = mpsc::Receiver<Arc<CheckpointBlock>>;
/// Puts of some blocks what belongs to a part.
type Fill = fn(&mut WorkingSet, Blocks) -> Result<(), Corrupt>;

impl<'scope> Filling<'scope> {
    fn begin(scope: &'scope Scope<'scope, '_>) -> Result<Self, String> {
        let begin = |fill: Fill| {
            let (blocks, inbox) = mpsc::sync_channel(READ_AHEAD);
            let fill = move || {
                let mut set = WorkingSet::new(Residency::Accounts);
                fill(&mut set, inbox).map_err(|why| why.to_string())?;
                Ok(set)
            };
            let thread = std::thread::Builder::new().name("load".into());
            match thread.spawn_scoped(scope, fill) {
                Ok(set) => Ok(Part { blocks, set }),
                Err(error) => Err(error.to_string()),
            }
        };
        let parts = [
            begin(fill_accounts)?,
            begin(fill_owners)?,
            begin(fill_rest)?,
        ];
        Ok(Filling(parts))
    }

    fn put(&self, block: CheckpointBlock) {
        let block = Arc::new(block);
        for part in &self.0 {
            // It ended early if it found something wrong, which is learned at the end.
            let _ended = part.blocks.send(block.clone());
        }
    }

    fn finish(self) -> Result<WorkingSet, String> {
        let [accounts, owners, rest] = self.0.map(|part| {
            drop(part.blocks);
            part.set.join().expect("filling a set does not panic")
        });
        Ok(rest?.with_accounts_and_owners(accounts?, owners?))
    }
}

/// A record of a checkpoint: its tag, its version and the object.
fn split(record: &[u8]) -> Result<(u8, u16, &[u8]), Corrupt> {
    let (&[tag, low, high], object) = record
        .split_first_chunk()
        .ok_or(Corrupt("an object is too short"))?;
    Ok((tag, u16::from_le_bytes([low, high]), object))
}

fn fill_accounts(set: &mut WorkingSet, blocks: Blocks) -> Result<(), Corrupt> {
    for block in blocks {
        for record in block.records() {
            match split(record)? {
                (ACCOUNT, version, account) => {
                    set.load_account(codec::decode_account(account, version)?);
                }
                (ACCOUNTS, version, run) => {
                    codec::decode_accounts(run, version, |account| set.load_account(account))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn fill_owners(set: &mut WorkingSet, blocks: Blocks) -> Result<(), Corrupt> {
    let first = blocks.recv().ok();
    set.reserve_owners(owner_count(first.as_deref()));
    set.load_owners(|put| {
        for block in first.into_iter().chain(blocks) {
            for record in block.records() {
                match split(record)? {
                    (OWNER, version, owner) => put(codec::decode_owner_ref(owner, version)?),
                    (OWNERS, version, run) => codec::decode_owners(run, version, &mut *put)?,
                    _ => {}
                }
            }
        }
        Ok(())
    })
}

fn fill_rest(set: &mut WorkingSet, blocks: Blocks) -> Result<(), Corrupt> {
    for block in blocks {
        for record in block.records() {
            let (tag, version, object) = split(record)?;
            match tag {
                COUNTS | OWNER | OWNERS | ACCOUNT | ACCOUNTS => {}
                API_KEY => set.load_api_key(codec::decode_api_key(object, version)?),
                PAYMENT => set.load_payment(codec::decode_payment(object, version)?),
                DETAILS => set.load_details(codec::decode_details(object, version)?),
                SETTING => set.load_setting(codec::decode_setting(object, version)?),
                LIMIT_COUNTS => set.load_limit(&codec::decode_limit_counts(object, version)?),
                QUEUE => set.load_queue(codec::decode_queue(object, version)?),
                TIME_OFFSET => {
                    set.load_time_offset(codec::decode_time_offset(object, version)?);
                }
                _ => return Err(Corrupt("an object is of an unknown kind")),
            }
        }
    }
    Ok(())
}

/// How many owners a checkpoint that begins with this block says to hold; 0 if it doesn't.
fn owner_count(first: Option<&CheckpointBlock>) -> usize {
    let record = first.and_then(|block| block.records().next());
    let count = match record.map(split) {
        Some(Ok((COUNTS, _, counts))) => {
            counts.first_chunk().map(|count| u64::from_le_bytes(*count))
        }
        _ => None,
    };
    // A wrong count costs memory or time: it says nothing about what is there.
    usize::try_from(count.unwrap_or(0)).map_or(0, |count| count.min(1 << 26))
}

/// Applies every record from `first` on to `set`.
fn replay(reader: &journal::Reader, first: u64, set: &mut WorkingSet) -> Result<(), Failure> {
    if first > reader.head().position {
        return Ok(());
    }
    std::thread::scope(|scope| {
        let (to_apply, frames) = mpsc::sync_channel::<Vec<u8>>(READ_AHEAD);
        let apply = move || {
            frames.iter().try_for_each(|frame| {
                let frame = FrameRef::parse(&frame).expect("it was verified");
                apply_frame(&frame, first, set)
            })
        };
        let thread = std::thread::Builder::new().name("replay".into());
        let applied = thread
            .spawn_scoped(scope, apply)
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        let read = read_frames(reader, first, &to_apply);
        drop(to_apply);
        applied.join().expect("records can be applied")?;
        read
    })
}

fn read_frames(
    reader: &journal::Reader,
    first: u64,
    to_apply: &mpsc::SyncSender<Vec<u8>>,
) -> Result<(), Failure> {
    let mut frames = reader.frames(first);
    while let Some(frame) = frames.next().map_err(Failure::from)? {
        if to_apply.send(frame.bytes().to_vec()).is_err() {
            // A record could not be applied, which is what is told.
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tributary_journal::{CheckpointWriter, DirDisk, Head};
    use tributary_ledger::chain::Chain;
    use tributary_ledger::{
        Account, AccountId, AccountKind, AccountStatus, Currency, Overdraft, Owner, OwnerId,
        OwnerName,
    };

    use super::*;

    fn owner(id: u64) -> Owner {
        Owner {
            id: OwnerId(id),
            name: OwnerName::new(&format!("owner-{id}")).expect("a name"),
            last_account: Some(AccountId(id)),
            changed_at: id,
        }
    }

    fn account(id: u64) -> Account {
        Account {
            id: AccountId(id),
            owner: OwnerId(id),
            owner_prev: None.into(),
            posted: -5,
            held: 2,
            overdraft: Overdraft::UNLIMITED,
            opened_at: id,
            chain: Chain::from_parts(id, 1, [0; 4]),
            currency: Currency::from_code("EUR").expect("a currency"),
            kind: AccountKind::External,
            status: AccountStatus::Open,
        }
    }

    fn record(tag: u8, encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut record = vec![tag];
        record.extend_from_slice(&tributary_ledger::FORMAT_VERSION.to_le_bytes());
        encode(&mut record);
        record
    }

    fn check(records: &[Vec<u8>], expected: Option<&WorkingSet>) {
        let directory = tempfile::tempdir().expect("a directory");
        let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(directory.path()));
        let head = Head {
            position: 77,
            ..Head::default()
        };
        let mut writer = CheckpointWriter::begin(disk.clone(), &head).expect("it begins");
        for record in records {
            writer.push(record).expect("there is room");
        }
        writer.finish().expect("there is room");
        let (set, through) = load(&*disk, &mut |_, _| true).expect("the disk works");
        let empty = WorkingSet::new(Residency::Accounts);
        assert_eq!(through, expected.map_or(0, |_| 77));
        assert_eq!(set.digest(), expected.unwrap_or(&empty).digest());
    }

    /// Those of earlier versions have a record for each account and owner.
    #[test]
    fn checkpoints_are_read_however_their_accounts_and_owners_were_written_and_no_others() {
        let ids = [3, 9, 10, 70_000];
        let mut expected = WorkingSet::new(Residency::Accounts);
        for id in ids {
            expected.load_owner(&owner(id));
            expected.load_account(account(id));
        }
        let counts = record(COUNTS, |into| {
            [5_u64, 4, 0]
                .iter()
                .for_each(|count| into.extend(count.to_le_bytes()));
        });
        let one_by_one: Vec<Vec<u8>> = ids
            .iter()
            .flat_map(|&id| {
                [
                    record(OWNER, |into| codec::encode_owner(&owner(id), into)),
                    record(ACCOUNT, |into| codec::encode_account(&account(id), into)),
                ]
            })
            .collect();
        let owners = record(OWNERS, |into| {
            let owners =
                (0..expected.owner_slots()).filter_map(|slot| expected.owner_in_slot(slot));
            codec::encode_owners(owners, into);
        });
        let accounts = record(ACCOUNTS, |into| {
            codec::encode_accounts(expected.accounts(), into)
        });
        let old = [vec![counts.clone()], one_by_one].concat();
        let new = vec![counts, owners, accounts];
        check(&old, Some(&expected));
        check(&new, Some(&expected));
        check(&new[1..], Some(&expected));
        let unknown = record(ACCOUNTS + 1, |into| into.push(0));
        check(&[new.clone(), vec![unknown]].concat(), None);
        let mut cut = new;
        _ = cut[2].pop();
        check(&cut, None);
    }
}
