//! A cache in this process: bounded in bytes, and with one load at a time for each key.
//!
//! It has no way to invalidate an entry, on purpose: a value must never change under its key. What changes has its version in the
//! key, taken from the published view, so that the step that shows a batch also makes older entries unreachable.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

/// Approximate memory that an entry takes besides its key and its value, in bytes.
const ENTRY_BYTES: usize = 200;

/// Which entries leave a full cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// Those read least often, by estimated frequency. A scan does not displace what is read often.
    #[default]
    TinyLfu,
    /// Those read least recently.
    Lru,
}

/// What a cache did since the start, and how large it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheFigures {
    /// Number of values found in the cache.
    pub hits: u64,
    /// Number of values that were not in the cache.
    pub misses: u64,
    /// Number of entries that left because the cache was full.
    pub evictions: u64,
    /// Approximate size, in bytes.
    pub bytes: u64,
}

/// A cache of values that never change under their keys.
pub struct ByteCache<K, V> {
    entries: Cache<K, V>,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: Arc<AtomicU64>,
}

impl<K, V> ByteCache<K, V>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Makes an empty cache of about `bytes_max` bytes. `value_bytes` returns the size of a value on the heap.
    pub fn new(
        bytes_max: u64,
        policy: CachePolicy,
        value_bytes: impl Fn(&V) -> usize + Send + Sync + 'static,
    ) -> ByteCache<K, V> {
        let evictions = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&evictions);
        let entries = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(move |_, value| {
                let bytes = value_bytes(value) + size_of::<K>() + ENTRY_BYTES;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .eviction_policy(match policy {
                CachePolicy::TinyLfu => EvictionPolicy::tiny_lfu(),
                CachePolicy::Lru => EvictionPolicy::lru(),
            })
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        ByteCache {
            entries,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            evictions,
        }
    }

    /// Returns the value of `key`, if it is cached.
    pub fn get(&self, key: &K) -> Option<V> {
        let found = self.entries.get(key);
        let counter = match found {
            Some(_) => &self.hits,
            None => &self.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Returns the value of `key`, which [`ByteCache::get`] did not find. Of several threads that ask for it, one calls its `load`, and
    /// the others wait.
    ///
    /// # Errors
    /// The error of `load`, after which nothing is cached; none if another thread called its own and failed.
    pub fn get_or_load<E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, Option<E>> {
        let mut own = None;
        let loaded = self.entries.try_get_with(key, || {
            load().map_err(|error| {
                own = Some(error);
            })
        });
        loaded.map_err(|_| own)
    }

    /// Returns what the cache did since the start, and how large it is.
    pub fn figures(&self) -> CacheFigures {
        CacheFigures {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
            bytes: self.entries.weighted_size(),
        }
    }

    /// Does the work that the cache puts off, so that its size is what it says.
    #[cfg(test)]
    fn settle(&self) {
        self.entries.run_pending_tasks();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn cache(bytes_max: u64, policy: CachePolicy) -> ByteCache<u64, Arc<[u8]>> {
        ByteCache::new(bytes_max, policy, |value: &Arc<[u8]>| value.len())
    }

    #[test]
    fn the_size_is_bounded_and_what_leaves_is_counted() {
        for policy in [CachePolicy::TinyLfu, CachePolicy::Lru] {
            let cache = cache(100_000, policy);
            for key in 0..2_000 {
                let value = || Ok::<_, ()>(Arc::from([7; 300]));
                cache.get_or_load(key, value).expect("it is loaded");
            }
            cache.settle();
            let figures = cache.figures();
            assert!(figures.bytes <= 100_000, "{figures:?}");
            assert!(figures.evictions > 1_500, "{figures:?}");
        }
    }

    #[test]
    fn the_policies_differ_in_what_they_keep() {
        let kept_through_a_scan = |policy| {
            let cache = cache(100_000, policy);
            let load = |key| cache.get_or_load(key, || Ok::<_, ()>(Arc::from([7; 300])));
            for _ in 0..20 {
                for key in 0..150 {
                    if cache.get(&key).is_none() {
                        load(key).expect("it is loaded");
                    }
                }
                cache.settle();
            }
            for key in 1_000..3_000 {
                load(key).expect("it is loaded");
            }
            cache.settle();
            (0..150).filter(|key| cache.get(key).is_some()).count()
        };
        assert!(kept_through_a_scan(CachePolicy::TinyLfu) > 75);
        assert_eq!(kept_through_a_scan(CachePolicy::Lru), 0);
    }

    #[test]
    fn one_thread_loads_and_the_others_wait() {
        let (cache, barrier) = (cache(100_000, CachePolicy::Lru), Barrier::new(8));
        let loads = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    let loaded = cache.get_or_load(1, || {
                        loads.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        Ok::<_, ()>(Arc::from([7; 3]))
                    });
                    assert_eq!(&*loaded.expect("it is loaded"), [7; 3]);
                });
            }
        });
        assert_eq!(loads.into_inner(), 1);
    }

    #[test]
    fn a_load_that_fails_leaves_nothing() {
        let cache = cache(100_000, CachePolicy::TinyLfu);
        assert_eq!(cache.get_or_load(1, || Err("down")), Err(Some("down")));
        assert_eq!(cache.get(&1), None);
        let loaded = cache.get_or_load(1, || Ok::<_, ()>(Arc::from([1])));
        assert_eq!(loaded.as_deref(), Ok(&[1_u8][..]));
    }
}
