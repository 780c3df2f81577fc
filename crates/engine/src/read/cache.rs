//! A cache of what never changes once it is durable: the name of an owner, which most answers hold, and the account of an external id,
//! which most messages of brokers name.

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;

/// Number of parts, so that threads seldom wait for each other.
const PARTS: usize = 16;
/// Maximum number of values in a part, which is then emptied.
const PART_VALUES_MAX: usize = 4_096;

pub(super) struct Cache<K, V>([Mutex<HashMap<K, V>>; PARTS]);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Cache<K, V> {
        Cache(std::array::from_fn(|_| Mutex::default()))
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// Returns the value of `key`, which is in the part of this number. Calls `find` if the value is not cached.
    pub(super) fn get<E>(
        &self,
        part: u64,
        key: K,
        find: impl FnOnce(&K) -> Result<Option<V>, E>,
    ) -> Result<Option<V>, E> {
        let part = &self.0[part as usize % PARTS];
        let lock = || part.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = lock().get(&key) {
            return Ok(Some(value.clone()));
        }
        let Some(value) = find(&key)? else {
            return Ok(None);
        };
        let mut values = lock();
        if values.len() >= PART_VALUES_MAX {
            values.clear();
        }
        values.insert(key, value.clone());
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_looked_for_again_and_the_memory_is_bounded() {
        let cache = Cache::default();
        let never = |_: &u64| -> Result<Option<u64>, ()> { panic!("it is cached") };
        assert_eq!(cache.get(0, 7, |_| Ok::<_, ()>(None)), Ok(None));
        assert_eq!(cache.get(0, 7, |_| Err(())), Err(()));
        assert_eq!(
            cache.get(0, 7, |key| Ok::<_, ()>(Some(key + 1))),
            Ok(Some(8))
        );
        assert_eq!(cache.get(0, 7, never), Ok(Some(8)));
        for key in 0..3 * PART_VALUES_MAX as u64 {
            assert_eq!(
                cache.get(0, key, |key| Ok::<_, ()>(Some(key + 1))),
                Ok(Some(key + 1))
            );
            let part = cache.0[0].lock().expect("nobody panicked");
            assert!(part.len() <= PART_VALUES_MAX);
        }
    }
}
