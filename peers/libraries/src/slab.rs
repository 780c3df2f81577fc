//! The slab: objects of 96 bytes by their number, as accounts are.

#[path = "../../../crates/ledger/src/slab.rs"]
#[allow(dead_code)]
mod ours;

use std::hint::black_box;

use hashbrown::HashMap;

use crate::{BATCH, ROUNDS, allocated, nanoseconds, print_line, random};

const OBJECTS: u64 = 5_000_000;
const MEASURED: usize = 256;

#[derive(Clone)]
struct Object {
    number: u64,
    rest: [u64; 11],
}

impl ours::Numbered for Object {
    fn number(&self) -> u64 {
        self.number
    }
}

fn object(number: u64) -> Object {
    Object {
        number,
        rest: [number; 11],
    }
}

fn numbers() -> Vec<u64> {
    (0..(MEASURED * BATCH) as u64)
        .map(|at| 1 + random(at) % OBJECTS)
        .collect()
}

pub(crate) fn compare() {
    let numbers = numbers();
    let [mut fill, mut change, mut bytes] = [const { [Vec::new(), Vec::new()] }; 3];
    for _ in 0..ROUNDS {
        let before = allocated();
        let mut slab = ours::Slab::new();
        fill[0].push(nanoseconds(OBJECTS as usize, || {
            for number in 1..=OBJECTS {
                assert!(slab.put(object(number)).is_none());
            }
        }));
        change[0].push(nanoseconds(numbers.len(), || {
            for number in &numbers {
                slab.get_mut(*number).expect("it is there").rest[0] += 1;
            }
        }));
        bytes[0].push((allocated() - before) as f64 / OBJECTS as f64);
        drop(black_box(slab));

        let before = allocated();
        let mut map = HashMap::new();
        fill[1].push(nanoseconds(OBJECTS as usize, || {
            for number in 1..=OBJECTS {
                assert!(map.insert(number, object(number)).is_none());
            }
        }));
        change[1].push(nanoseconds(numbers.len(), || {
            for number in &numbers {
                map.get_mut(number).expect("it is there").rest[0] += 1;
            }
        }));
        bytes[1].push((allocated() - before) as f64 / OBJECTS as f64);
        drop(black_box(map));
    }
    for (what, [ours, map], unit) in [
        ("slab, add an object", fill, "ns"),
        ("slab, change an object", change, "ns"),
        ("slab, memory of an object of 96 bytes", bytes, "B "),
    ] {
        print_line(what, ours, &[("hashbrown", map)], unit);
    }
}
