//! Storage of objects that arrive in the order of their numbers, as nearly all do: an object is found by its rank among the numbers.

use crate::ranks::Ranks;
use crate::slab::{Numbered, Slab};

/// Maximum size of a chunk, bytes: just below a power of two, because allocators round larger sizes up.
const CHUNK_BYTES: usize = (1 << 17) - 64;

/// A list in chunks. Only the first chunk moves.
#[derive(Clone)]
pub(crate) struct Chunked<T>(Vec<Vec<T>>);

impl<T> Chunked<T> {
    /// Items per chunk.
    const CHUNK: usize = CHUNK_BYTES / size_of::<T>();

    pub(crate) fn new() -> Self {
        Chunked(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        let before = self.0.len().saturating_sub(1) * Self::CHUNK;
        before + self.0.last().map_or(0, Vec::len)
    }

    pub(crate) fn push(&mut self, item: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < Self::CHUNK => last.push(item),
            last => {
                // Whoever has filled one will fill another; most lists are short.
                let room = if last.is_some() { Self::CHUNK } else { 0 };
                let mut chunk = Vec::with_capacity(room);
                chunk.push(item);
                self.0.push(chunk);
            }
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.0.last_mut()?;
        let item = last.pop();
        if last.is_empty() {
            self.0.pop();
        }
        item
    }

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.0.get(at / Self::CHUNK)?.get(at % Self::CHUNK)
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.0.get_mut(at / Self::CHUNK)?.get_mut(at % Self::CHUNK)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }
}

/// Number of expected objects whose places are cached: a few times the objects of one [`Ordered::prefetch`] round.
const HINTS: usize = 1 << 9;

/// Objects by number.
#[derive(Clone)]
pub(crate) struct Ordered<T> {
    ranks: Ranks,
    /// Cache of the numbers and places of expected objects, indexed by number.
    hints: Box<[(u64, usize); HINTS]>,
    items: Chunked<T>,
    /// Objects that arrived after an object with a higher number.
    strays: Slab<T>,
}

impl<T: Numbered> Ordered<T> {
    pub(crate) fn new() -> Self {
        Ordered {
            ranks: Ranks::default(),
            hints: Box::new([(0, 0); HINTS]),
            items: Chunked::new(),
            strays: Slab::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len() + self.strays.len()
    }

    /// Caches the place of an object that will be read soon, and returns the object without reading it. None if the object is a stray.
    #[inline]
    pub(crate) fn prefetch(&mut self, number: u64) -> Option<&T> {
        let place = self.ranks.place(number)?;
        self.hints[number as usize % HINTS] = (number, place);
        self.items.get(place)
    }

    /// Returns the place of the object with this number, unless the object is a stray.
    #[inline]
    fn place(&self, number: u64) -> Option<usize> {
        let (known, place) = self.hints[number as usize % HINTS];
        let is_it = |item: &T| known == number && item.number() == number;
        match self.items.get(place).is_some_and(is_it) {
            true => Some(place),
            false => self.ranks.place(number),
        }
    }

    #[inline]
    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        match self.place(number) {
            Some(place) => self.items.get(place),
            None => self.strays.get(number),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        match self.place(number) {
            Some(place) => self.items.get_mut(place),
            None => self.strays.get_mut(number),
        }
    }

    /// Adds an object, or replaces and returns the object with the same number.
    pub(crate) fn put(&mut self, object: T) -> Option<T> {
        let number = object.number();
        if let Some(known) = self.get_mut(number) {
            return Some(std::mem::replace(known, object));
        }
        if !self.ranks.is_next(number) {
            return self.strays.put(object);
        }
        self.ranks.push(number);
        self.items.push(object);
        None
    }

    /// Removes the object that was added last, or the last stray.
    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        if self.ranks.place(number).is_none() {
            return self.strays.remove(number);
        }
        self.ranks.pop(number);
        self.items.pop()
    }

    /// Sorts the objects by number.
    pub(crate) fn sort(&mut self)
    where
        T: Clone,
    {
        if self.strays.len() == 0 {
            return;
        }
        let mut all: Vec<T> = self.iter().cloned().collect();
        all.sort_unstable_by_key(T::number);
        *self = Ordered::new();
        for object in all {
            self.put(object);
        }
    }

    /// Returns one past the last slot. The slots of objects that arrived in order ascend with their numbers.
    pub(crate) fn slots(&self) -> usize {
        assert!(self.strays.len() == 0, "objects in order have slots");
        self.items.len()
    }

    pub(crate) fn in_slot(&self, slot: usize) -> Option<&T> {
        self.items.get(slot)
    }

    /// Returns the slot of the first object whose number is at least this.
    pub(crate) fn slot_from(&self, number: u64) -> usize {
        self.ranks.below(number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().chain(self.strays.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Thing(u64, u8);

    impl Numbered for Thing {
        fn number(&self) -> u64 {
            self.0
        }
    }

    /// Numbers that share a hint, and places that others take.
    #[test]
    fn a_place_kept_in_mind_is_that_of_its_object_only() {
        let mut things = Ordered::new();
        let (first, second) = (7, 7 + HINTS as u64);
        things.put(Thing(first, 1));
        things.prefetch(first);
        assert_eq!(things.get(first), Some(&Thing(first, 1)));
        assert_eq!(things.get(second), None);
        assert_eq!(things.remove(first), Some(Thing(first, 1)));
        assert_eq!(things.get(first), None);
        things.put(Thing(second, 2));
        assert_eq!(things.get(first), None, "its place is another's");
        things.prefetch(second);
        things.put(Thing(first, 3));
        things.prefetch(first);
        assert_eq!(things.get(first), Some(&Thing(first, 3)), "a stray");
        things.sort();
        for number in [first, second] {
            things.prefetch(number);
            assert_eq!(things.get(number).map(Thing::number), Some(number));
        }
        things.get_mut(second).expect("it is there").1 = 4;
        assert_eq!(
            things.iter().collect::<Vec<_>>(),
            [&Thing(first, 3), &Thing(second, 4)]
        );
    }
}
