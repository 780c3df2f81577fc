//! A list that holds a few items in place and moves to the heap beyond: a plain payment then allocates nothing.

use arrayvec::ArrayVec;
use std::ops::{Deref, DerefMut};

/// A list whose first `N` items need no allocation. Reads as a slice.
#[derive(Clone)]
pub struct Small<T, const N: usize>(Repr<T, N>);

#[derive(Clone)]
enum Repr<T, const N: usize> {
    Inline(ArrayVec<T, N>),
    Heap(Vec<T>),
}

impl<T, const N: usize> Small<T, N> {
    /// An empty list.
    pub fn new() -> Self {
        Small(Repr::Inline(ArrayVec::new_const()))
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        match &mut self.0 {
            Repr::Inline(items) => items.clear(),
            Repr::Heap(_) => *self = Small::new(),
        }
    }

    /// Appends an item.
    #[inline]
    pub fn push(&mut self, item: T) {
        match &mut self.0 {
            Repr::Inline(items) if !items.is_full() => items.push(item),
            _ => self.push_to_heap(item),
        }
    }

    #[cold]
    fn push_to_heap(&mut self, item: T) {
        if let Repr::Inline(items) = &mut self.0 {
            let mut moved = Vec::with_capacity(N * 4 + 4);
            moved.extend(items.drain(..));
            self.0 = Repr::Heap(moved);
        }
        if let Repr::Heap(items) = &mut self.0 {
            items.push(item);
        }
    }
}

impl<T, const N: usize> Default for Small<T, N> {
    fn default() -> Self {
        Small::new()
    }
}

impl<T, const N: usize> Deref for Small<T, N> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.0 {
            Repr::Inline(items) => items,
            Repr::Heap(items) => items,
        }
    }
}

impl<T, const N: usize> DerefMut for Small<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Repr::Inline(items) => items,
            Repr::Heap(items) => items,
        }
    }
}

impl<T, const N: usize> FromIterator<T> for Small<T, N> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut list = Small::new();
        items.into_iter().for_each(|item| list.push(item));
        list
    }
}

impl<'a, T, const N: usize> IntoIterator for &'a Small<T, N> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: PartialEq, const N: usize> PartialEq for Small<T, N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, const N: usize> Eq for Small<T, N> {}

impl<T: std::fmt::Debug, const N: usize> std::fmt::Debug for Small<T, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
