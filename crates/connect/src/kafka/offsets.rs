//! Which messages of the partitions at hand are undecided: Kafka is told one offset per partition, below which all are decided.

use std::collections::BTreeMap;

/// The offsets of one assignment. Only undecided ones are kept, so that it is as small as the prefetch.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    partitions: BTreeMap<i32, Partition>,
}

#[derive(Debug, Default)]
struct Partition {
    /// Offset after the highest one that was taken.
    next: i64,
    /// Number of messages with each offset that are undecided: more than one, if a message came again meanwhile.
    undecided: BTreeMap<i64, u32>,
    /// Offset that Kafka was told, 0 if none.
    told: i64,
}

impl Partition {
    /// Lowest offset that is not decided.
    fn position(&self) -> i64 {
        let first = self.undecided.first_key_value();
        first.map_or(self.next, |(offset, _)| *offset)
    }
}

impl Offsets {
    /// Notes that a message was taken in. It may have been before: a partition that lost its end fills these offsets anew.
    pub(super) fn take(&mut self, partition: i32, offset: i64) {
        let partition = self.partitions.entry(partition).or_default();
        partition.next = partition.next.max(offset + 1);
        *partition.undecided.entry(offset).or_default() += 1;
    }

    /// Notes that a message is decided.
    pub(super) fn decide(&mut self, partition: i32, offset: i64) {
        let Some(partition) = self.partitions.get_mut(&partition) else {
            return;
        };
        if let Some(count) = partition.undecided.get_mut(&offset) {
            *count -= 1;
            if *count == 0 {
                partition.undecided.remove(&offset);
            }
        }
    }

    /// Returns the partitions whose position has moved, each with its position, and notes that Kafka is told.
    pub(super) fn tell(&mut self) -> Vec<(i32, i64)> {
        let mut moved = Vec::new();
        for (number, partition) in &mut self.partitions {
            let position = partition.position();
            if position > partition.told {
                partition.told = position;
                moved.push((*number, position));
            }
        }
        moved
    }

    /// Returns, of each partition from which messages were taken in, the offset of the next one.
    pub(super) fn next(&self) -> BTreeMap<i32, i64> {
        let partitions = self.partitions.iter();
        partitions
            .map(|(number, partition)| (*number, partition.next))
            .collect()
    }

    /// Notes that it is not known what Kafka was told: all is told again.
    pub(super) fn forget_told(&mut self) {
        for partition in self.partitions.values_mut() {
            partition.told = 0;
        }
    }

    /// Forgets everything: the partitions belong to others.
    pub(super) fn clear(&mut self) {
        self.partitions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Offsets;

    fn taken(offsets: &mut Offsets, partition: i32, range: std::ops::Range<i64>) {
        for offset in range {
            offsets.take(partition, offset);
        }
    }

    #[test]
    fn the_lowest_undecided_offset_is_told() {
        let mut offsets = Offsets::default();
        taken(&mut offsets, 0, 10..15);
        taken(&mut offsets, 3, 0..2);
        // Nothing is decided, but everything before what was taken is.
        assert_eq!(offsets.tell(), [(0, 10)]);
        offsets.decide(0, 12);
        offsets.decide(3, 1);
        assert_eq!(offsets.tell(), []);
        offsets.decide(0, 10);
        offsets.decide(3, 0);
        assert_eq!(offsets.tell(), [(0, 11), (3, 2)]);
        offsets.decide(0, 11);
        assert_eq!(offsets.tell(), [(0, 13)]);
        offsets.decide(0, 14);
        offsets.decide(0, 13);
        assert_eq!(offsets.tell(), [(0, 15)]);
        assert_eq!(offsets.tell(), []);
        offsets.forget_told();
        assert_eq!(offsets.tell(), [(0, 15), (3, 2)]);
    }

    #[test]
    fn offsets_may_have_gaps() {
        let mut offsets = Offsets::default();
        for offset in [4, 7, 100] {
            offsets.take(0, offset);
        }
        offsets.decide(0, 4);
        assert_eq!(offsets.tell(), [(0, 7)]);
        offsets.decide(0, 100);
        offsets.decide(0, 7);
        assert_eq!(offsets.tell(), [(0, 101)]);
    }

    #[test]
    fn what_comes_again_is_undecided_again() {
        let mut offsets = Offsets::default();
        taken(&mut offsets, 0, 5..8);
        offsets.take(0, 6);
        for offset in [5, 6, 7] {
            offsets.decide(0, offset);
        }
        assert_eq!(offsets.tell(), [(0, 6)], "the second one");
        offsets.decide(0, 6);
        assert_eq!(offsets.tell(), [(0, 8)]);
        // What was told is not taken back: a source that begins anew begins there.
        offsets.take(0, 6);
        assert_eq!(offsets.tell(), []);
        offsets.decide(0, 6);
        assert_eq!(offsets.tell(), []);
    }

    #[test]
    fn what_belongs_to_others_is_forgotten() {
        let mut offsets = Offsets::default();
        taken(&mut offsets, 0, 5..8);
        offsets.clear();
        offsets.decide(0, 5);
        assert_eq!(offsets.tell(), []);
        offsets.take(0, 5);
        assert_eq!(offsets.tell(), [(0, 5)]);
    }
}
