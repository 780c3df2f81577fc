//! Entries of API keys or addresses, in bounded number: the one that was quiet for longest gives way to a new one, before any that is
//! blocked.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::guard::entry::{Block, Entry};

/// Parts of a table, each with its own lock.
const SHARDS: usize = 64;

/// Entries by subject. No lock is held for longer than it takes to look through one part.
pub(super) struct Table<K> {
    shards: [Mutex<HashMap<K, Entry>>; SHARDS],
    hasher: RandomState,
    /// Maximum number of entries of one part.
    shard_max: usize,
    tracked: AtomicUsize,
    /// No block ends later, running time in nanoseconds; 0 if there is no block.
    blocked_until: AtomicU64,
}

impl<K: Copy + Eq + Hash> Table<K> {
    /// Returns a table of at most so many entries.
    pub(super) fn new(entries_max: usize) -> Table<K> {
        Table {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            shard_max: entries_max.div_ceil(SHARDS),
            tracked: AtomicUsize::new(0),
            blocked_until: AtomicU64::new(0),
        }
    }

    /// Whether there is no entry at all. Takes no lock.
    pub(super) fn is_empty(&self) -> bool {
        self.tracked.load(Ordering::Relaxed) == 0
    }

    /// Whether nothing is blocked for certain. Takes no lock.
    pub(super) fn blocks_nothing(&self) -> bool {
        self.blocked_until.load(Ordering::Relaxed) == 0
    }

    /// Returns the block of a subject that is in force.
    pub(super) fn block(&self, key: K, now: u64) -> Option<Block> {
        self.shard(key).get(&key)?.block(now)
    }

    /// Changes the entry of a subject, a new one if there is none.
    pub(super) fn change<T>(&self, key: K, now: u64, change: impl FnOnce(&mut Entry) -> T) -> T {
        let mut shard = self.shard(key);
        if !shard.contains_key(&key) {
            if shard.len() >= self.shard_max {
                self.evict(&mut shard, now);
            }
            shard.insert(key, Entry::new(now));
            self.tracked.fetch_add(1, Ordering::Relaxed);
        }
        let entry = shard.get_mut(&key).expect("it is there");
        let made = change(entry);
        if let Some(block) = entry.block(now) {
            self.blocked_until.fetch_max(block.until, Ordering::Relaxed);
        }
        made
    }

    /// Changes the entry of a subject, if there is one. It must not begin a block.
    pub(super) fn change_known<T>(
        &self,
        key: K,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        self.shard(key).get_mut(&key).map(change)
    }

    /// Returns all blocks that are in force.
    pub(super) fn blocks(&self, now: u64) -> Vec<(K, Block)> {
        let mut blocks = Vec::new();
        for shard in &self.shards {
            let shard = locked(shard);
            blocks.extend(
                shard
                    .iter()
                    .filter_map(|(key, entry)| Some((*key, entry.block(now)?))),
            );
        }
        blocks
    }

    /// Forgets what does not count any more.
    pub(super) fn sweep(&self, now: u64) {
        if self.is_empty() {
            return;
        }
        let mut removed = 0;
        for shard in &self.shards {
            let mut shard = locked(shard);
            let before = shard.len();
            shard.retain(|_, entry| !entry.is_over(now));
            removed += before - shard.len();
        }
        self.tracked.fetch_sub(removed, Ordering::Relaxed);
        let until = self.blocked_until.load(Ordering::Relaxed);
        if until <= now {
            let relaxed = Ordering::Relaxed;
            let _blocked_meanwhile = self
                .blocked_until
                .compare_exchange(until, 0, relaxed, relaxed);
        }
    }

    /// Makes room for one entry.
    fn evict(&self, shard: &mut HashMap<K, Entry>, now: u64) {
        let coldest = shard.iter().min_by_key(|(_, entry)| entry.rank(now));
        if let Some(key) = coldest.map(|(key, _)| *key) {
            shard.remove(&key);
            self.tracked.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn shard(&self, key: K) -> MutexGuard<'_, HashMap<K, Entry>> {
        let place = self.hasher.hash_one(key) as usize % SHARDS;
        locked(&self.shards[place])
    }
}

fn locked<K>(shard: &Mutex<HashMap<K, Entry>>) -> MutexGuard<'_, HashMap<K, Entry>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    use crate::admission::Network;
    use crate::guard::declines::Declined;
    use crate::guard::entry::Terms;
    use crate::guard::signal::{SIGNALS, Signal};

    const SECOND: u64 = 1_000_000_000;

    fn terms() -> Terms {
        Terms {
            maxima: [3; SIGNALS],
            block: Some(60 * SECOND),
        }
    }

    fn network(number: u32) -> Network {
        Network::of_address(IpAddr::from(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn a_million_addresses_take_bounded_memory_and_do_not_free_a_blocked_one() {
        let (table, terms) = (Table::new(1_000), terms());
        let attacker = network(0);
        table.change(attacker, 0, |entry| entry.add(0, Signal::BadKey, 4, &terms));
        for number in 1..1_000_000 {
            let now = u64::from(number) * 1_000;
            let told = table.change(network(number), now, |entry| {
                entry.add(now, Signal::BadKey, 1, &terms)
            });
            assert_eq!(told, None);
        }
        let entries: usize = table.shards.iter().map(|shard| locked(shard).len()).sum();
        assert_eq!(entries, 1_000_usize.div_ceil(SHARDS) * SHARDS);
        assert_eq!(table.tracked.load(Ordering::Relaxed), entries);
        assert!(table.block(attacker, 2 * SECOND).is_some());
        assert_eq!(table.blocks(2 * SECOND).len(), 1);
        // The ones that were seen last are still counted.
        let last = table.change_known(network(999_999), |entry| {
            entry.add(SECOND, Signal::BadKey, 3, &terms)
        });
        assert!(last.flatten().is_some(), "the fourth signal");
    }

    #[test]
    fn an_entry_is_small() {
        assert!(
            size_of::<(Network, Entry)>() <= 192,
            "{}",
            size_of::<Entry>()
        );
        assert!(size_of::<crate::guard::declines::Declines>() <= 1_600);
    }

    #[test]
    fn what_counts_no_more_is_forgotten() {
        let (table, terms) = (Table::new(1_000), terms());
        assert!(table.is_empty() && table.blocks_nothing());
        table.change(1, 0, |entry| entry.add(0, Signal::BadKey, 1, &terms));
        table.change(2, 0, |entry| entry.add(0, Signal::BadKey, 4, &terms));
        let declined = [Declined {
            payer: 1,
            amount: 1,
        }];
        table.change(3, 0, |entry| entry.decide(0, 0, &declined, &terms));
        assert!(!table.is_empty() && !table.blocks_nothing());
        let known = |key| table.change_known(key, |_| ()).is_some();
        table.sweep(60 * SECOND);
        assert!(table.blocks_nothing(), "the block is over");
        assert_eq!([known(1), known(2), known(3)], [false, true, true]);
        table.sweep(3_600 * SECOND);
        assert_eq!(
            [known(2), known(3)],
            [true, false],
            "the length of the next block"
        );
        table.sweep(3_660 * SECOND);
        assert!(table.is_empty());
    }
}
