//! Requests that wait for a source: those of each peer in their order, and the peers in turn, so that none waits behind a flood of
//! another's. Pure.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A queue that is fair between owners.
#[derive(Debug)]
pub(super) struct FairQueue<K, T> {
    waiting: HashMap<K, VecDeque<T>>,
    /// Owners of what waits, each once, the next one first.
    turns: VecDeque<K>,
}

impl<K: Clone + Eq + Hash, T> FairQueue<K, T> {
    pub(super) fn new() -> FairQueue<K, T> {
        FairQueue {
            waiting: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    /// Adds an item behind the others of its owner.
    pub(super) fn push_back(&mut self, owner: K, item: T) {
        let items = self.waiting.entry(owner.clone()).or_default();
        if items.is_empty() {
            self.turns.push_back(owner);
        }
        items.push_back(item);
    }

    /// Adds an item before the others of its owner.
    pub(super) fn push_front(&mut self, owner: K, item: T) {
        let items = self.waiting.entry(owner.clone()).or_default();
        if items.is_empty() {
            self.turns.push_front(owner);
        }
        items.push_front(item);
    }

    /// Takes the next item.
    pub(super) fn pop(&mut self) -> Option<T> {
        let owner = self.turns.pop_front()?;
        let items = self.waiting.get_mut(&owner)?;
        let item = items.pop_front();
        match items.is_empty() {
            true => drop(self.waiting.remove(&owner)),
            false => self.turns.push_back(owner),
        }
        item
    }

    /// Forgets what an owner has here.
    pub(super) fn remove(&mut self, owner: &K) {
        if self.waiting.remove(owner).is_some() {
            self.turns.retain(|one| one != owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_take_turns_and_each_keeps_its_order() {
        let mut queue = FairQueue::new();
        for number in 1..=4 {
            queue.push_back("flood", number);
        }
        queue.push_back("modest", 10);
        assert_eq!(queue.pop(), Some(1));
        assert_eq!(queue.pop(), Some(10));
        queue.push_back("modest", 11);
        assert_eq!(queue.pop(), Some(2));
        // Given back, the last one first.
        queue.push_front("modest", 10);
        queue.push_front("flood", 2);
        queue.push_front("flood", 1);
        let mut rest = Vec::new();
        while let Some(item) = queue.pop() {
            rest.push(item);
        }
        assert_eq!(rest, [10, 1, 11, 2, 3, 4]);
        assert!(queue.waiting.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn an_owner_that_goes_leaves_nothing() {
        let mut queue = FairQueue::new();
        queue.push_back("gone", 1);
        queue.push_back("here", 2);
        queue.push_back("gone", 3);
        queue.remove(&"gone");
        queue.remove(&"never");
        assert_eq!(queue.pop(), Some(2));
        assert_eq!(queue.pop(), None);
    }
}
