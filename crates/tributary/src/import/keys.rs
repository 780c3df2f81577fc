//! The keys of the rows of one file: counts rows that are equal, and finds keys that are used twice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Digest of a key. Two different keys have the same one with a probability that can be neglected.
type Digest = [u8; 16];

/// Keys that the rows of one file have used so far. Takes about 40 bytes for each row.
#[derive(Default)]
pub(crate) struct Keys {
    occurrences: HashMap<Digest, u64>,
    lines: HashMap<Digest, u64>,
}

impl Keys {
    /// Returns how many rows so far, with this one, have this key without their `{occurrence}`.
    pub(crate) fn count(&mut self, key: &str) -> u64 {
        let count = self.occurrences.entry(digest(key)).or_default();
        *count += 1;
        *count
    }

    /// Notes that the payment of a line has this key.
    ///
    /// # Errors
    /// The line that has the key already.
    pub(crate) fn claim(&mut self, key: &str, line: u64) -> Result<(), u64> {
        match self.lines.entry(digest(key)) {
            Entry::Vacant(free) => {
                free.insert(line);
                Ok(())
            }
            Entry::Occupied(taken) => Err(*taken.get()),
        }
    }
}

fn digest(key: &str) -> Digest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(key.as_bytes()).as_bytes()[..16]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_are_counted_and_a_key_belongs_to_one_line() {
        let mut keys = Keys::default();
        assert_eq!(
            [keys.count("a"), keys.count("b"), keys.count("a")],
            [1, 1, 2]
        );
        assert_eq!(keys.claim("a", 2), Ok(()));
        assert_eq!(keys.claim("b", 3), Ok(()));
        assert_eq!(keys.claim("a", 4), Err(2));
        assert_eq!(keys.claim("a", 5), Err(2));
    }
}
