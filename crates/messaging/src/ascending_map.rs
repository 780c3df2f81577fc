//! An ordered map for keys that are mostly inserted and removed in ascending order: then each step costs a few nanoseconds.
//!
//! A key above all others is put into a queue. A key removed from the middle of the queue leaves a hole until everything before it is
//! removed too, or holes are half of the queue. All other keys are in a tree.

use std::collections::{BTreeMap, VecDeque};

/// Number of holes below which the queue is not compacted.
const HOLES_MIN: usize = 1_024;

/// A key of an [`AscendingMap`].
pub(crate) trait RunKey: Ord + Copy {
    /// Maximum number of places between a key and a later one.
    fn places_to(&self, later: &Self) -> usize;
}

impl RunKey for u64 {
    #[inline]
    fn places_to(&self, later: &u64) -> usize {
        usize::try_from(later - self).unwrap_or(usize::MAX)
    }
}

impl RunKey for (u64, u64) {
    #[inline]
    fn places_to(&self, _: &(u64, u64)) -> usize {
        usize::MAX
    }
}

/// An ordered map.
#[derive(Clone, Debug)]
pub(crate) struct AscendingMap<K, V> {
    queue: VecDeque<(K, Option<V>)>,
    /// Number of holes in the queue. The first place is none.
    holes: usize,
    rest: BTreeMap<K, V>,
}

impl<K: RunKey, V> AscendingMap<K, V> {
    pub(crate) fn new() -> AscendingMap<K, V> {
        AscendingMap {
            queue: VecDeque::new(),
            holes: 0,
            rest: BTreeMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len() - self.holes + self.rest.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the index of the key, or of its hole, in the queue.
    #[inline]
    fn place(&self, key: &K) -> Option<usize> {
        let (first, last) = (&self.queue.front()?.0, &self.queue.back()?.0);
        if key == first {
            return Some(0);
        }
        if key < first || key > last {
            return None;
        }
        // Where keys follow one another without gaps it is just there.
        let guess = first.places_to(key).min(self.queue.len() - 1);
        if self.queue[guess].0 == *key {
            return Some(guess);
        }
        self.queue
            .binary_search_by(|(other, _)| other.cmp(key))
            .ok()
    }

    /// Inserts a key that is not there.
    #[inline]
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.queue.back() {
            Some((last, _)) if key <= *last => {
                // Its own hole, or beside the queue.
                match self.place(&key) {
                    Some(at) => {
                        let before = self.queue[at].1.replace(value);
                        self.holes -= usize::from(before.is_none());
                    }
                    None => drop(self.rest.insert(key, value)),
                }
            }
            _ => self.queue.push_back((key, Some(value))),
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match self.place(key) {
            Some(at) => self.queue[at].1.as_ref(),
            None => self.rest.get(key),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self.place(key) {
            Some(at) => self.queue[at].1.as_mut(),
            None => self.rest.get_mut(key),
        }
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let Some(at) = self.place(key) else {
            return self.rest.remove(key);
        };
        let value = self.queue[at].1.take()?;
        self.holes += 1;
        self.tidy();
        Some(value)
    }

    fn tidy(&mut self) {
        while self.queue.front().is_some_and(|(_, value)| value.is_none()) {
            self.queue.pop_front();
            self.holes -= 1;
        }
        if self.holes > HOLES_MIN && self.holes * 2 > self.queue.len() {
            self.queue.retain(|(_, value)| value.is_some());
            self.holes = 0;
        }
    }

    /// Returns the smallest key.
    #[inline]
    pub(crate) fn first(&self) -> Option<&K> {
        let queue = self.queue.front().map(|(key, _)| key);
        let rest = self.rest.first_key_value().map(|(key, _)| key);
        match (queue, rest) {
            (Some(queue), Some(rest)) => Some(queue.min(rest)),
            (queue, rest) => queue.or(rest),
        }
    }

    #[inline]
    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        let key = *self.first()?;
        self.remove(&key).map(|value| (key, value))
    }

    /// Returns all entries, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut queue = self
            .queue
            .iter()
            .filter_map(|(key, value)| Some((key, value.as_ref()?)))
            .peekable();
        let mut rest = self.rest.iter().peekable();
        std::iter::from_fn(move || match (queue.peek(), rest.peek()) {
            (Some((a, _)), Some((b, _))) if a > b => rest.next(),
            (None, _) => rest.next(),
            _ => queue.next(),
        })
    }

    /// Returns all entries, ascending.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        let mut queue = self
            .queue
            .iter_mut()
            .filter_map(|(key, value)| Some((&*key, value.as_mut()?)))
            .peekable();
        let mut rest = self.rest.iter_mut().peekable();
        std::iter::from_fn(move || match (queue.peek(), rest.peek()) {
            (Some((a, _)), Some((b, _))) if a > b => rest.next(),
            (None, _) => rest.next(),
            _ => queue.next(),
        })
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Returns the number of places in memory, with the holes.
    pub(crate) fn places(&self) -> usize {
        self.queue.len() + self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random steps, mostly ascending, beside a tree.
    #[test]
    fn it_is_a_map_in_order_whatever_comes_and_goes() {
        for seed in 1..40u64 {
            let mut state = seed;
            let mut random = |below: u64| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            let (mut run, mut tree) = (AscendingMap::new(), BTreeMap::new());
            let mut next = 0;
            for step in 0..6_000u64 {
                match random(10) {
                    0..4 => {
                        next += 1 + random(3);
                        run.insert(next, step);
                        tree.insert(next, step);
                    }
                    4 => {
                        let key = random(next + 5);
                        if let std::collections::btree_map::Entry::Vacant(place) = tree.entry(key) {
                            run.insert(key, step);
                            place.insert(step);
                            next = next.max(key);
                        }
                    }
                    5 | 6 => assert_eq!(run.pop_first(), tree.pop_first()),
                    7 => {
                        let key = random(next + 5);
                        assert_eq!(run.remove(&key), tree.remove(&key));
                    }
                    8 => {
                        let key = random(next + 5);
                        assert_eq!(run.get(&key), tree.get(&key));
                        if let Some(value) = run.get_mut(&key) {
                            *value += 1;
                            *tree.get_mut(&key).expect("it is there") += 1;
                        }
                    }
                    _ => {
                        // From the middle, so that holes come about.
                        if let Some(key) = tree.keys().nth(tree.len() / 2).copied() {
                            assert_eq!(run.remove(&key), tree.remove(&key));
                        }
                    }
                }
                assert_eq!((run.len(), run.first()), (tree.len(), tree.keys().next()));
                assert!(run.places() <= 2 * run.len() + 2 * HOLES_MIN);
            }
            assert!(run.iter().eq(tree.iter()));
            assert!(
                run.iter_mut()
                    .map(|(key, value)| (*key, *value))
                    .eq(tree.into_iter())
            );
        }
    }
}
