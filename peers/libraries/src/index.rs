//! The key index: pairs of a 64-bit hash and a position, inserted by one thread while another looks keys up.

#[path = "../../../crates/journal/src/index/active.rs"]
#[allow(dead_code, missing_docs, unused_imports)]
mod active;
#[path = "../../../crates/journal/src/index/spread.rs"]
mod spread;

use std::hint::black_box;
use std::sync::RwLock;

use hashbrown::HashMap;
use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};

use crate::{BATCH, ROUNDS, allocated, nanoseconds, print_line, random};

/// Keys in the index when the last batches are measured.
const KEYS: usize = 4_000_000;
const MEASURED: usize = 64;

fn batch(number: usize) -> Vec<(u64, u64)> {
    let first = 1 + (number * BATCH) as u64;
    (first..first + BATCH as u64)
        .map(|position| (random(position), position))
        .collect()
}

/// What one index costs: nanoseconds per insertion and per look-up of a new key, bytes per key.
struct Cost {
    insert: Vec<f64>,
    look_up: Vec<f64>,
    bytes: Vec<f64>,
}

fn measure(
    cost: &mut Cost,
    mut insert: impl FnMut(&[(u64, u64)]),
    look_up: impl Fn(&[u64]) -> usize,
    bytes_before: usize,
) {
    let batches = KEYS / BATCH;
    for number in 0..batches - MEASURED {
        insert(&batch(number));
    }
    let measured: Vec<_> = (batches - MEASURED..batches).map(batch).collect();
    cost.insert.push(nanoseconds(MEASURED * BATCH, || {
        measured.iter().for_each(|pairs| insert(pairs));
    }));
    let absent: Vec<Vec<u64>> = (batches..batches + MEASURED)
        .map(|number| batch(number).into_iter().map(|(key, _)| key).collect())
        .collect();
    let mut found = 0;
    cost.look_up.push(nanoseconds(MEASURED * BATCH, || {
        found = absent.iter().map(|keys| look_up(keys)).sum();
    }));
    assert_eq!(black_box(found), 0, "these keys were never inserted");
    let known: Vec<u64> = batch(7).into_iter().map(|(key, _)| key).collect();
    assert_eq!(look_up(&known), BATCH, "these keys were inserted");
    cost.bytes
        .push((allocated() - bytes_before) as f64 / KEYS as f64);
}

pub(crate) fn compare() {
    let cost = || Cost {
        insert: Vec::new(),
        look_up: Vec::new(),
        bytes: Vec::new(),
    };
    let (mut ours, mut map, mut tree) = (cost(), cost(), cost());
    for _ in 0..ROUNDS {
        let before = allocated();
        let table = active::ActiveTable::new(1, 1 << 16);
        measure(
            &mut ours,
            |pairs| table.insert_all(pairs),
            |keys| {
                let mut newest = vec![0; keys.len()];
                table.find_newest(keys, u64::MAX, &mut newest);
                newest.iter().filter(|position| **position != 0).count()
            },
            before,
        );
        drop(table);

        let before = allocated();
        let shared: RwLock<HashMap<u64, u64>> = RwLock::default();
        measure(
            &mut map,
            |pairs| {
                shared
                    .write()
                    .expect("no panic")
                    .extend(pairs.iter().copied())
            },
            |keys| {
                let shared = shared.read().expect("no panic");
                keys.iter().filter(|key| shared.contains_key(*key)).count()
            },
            before,
        );
        drop(shared);
    }
    // A library that keeps its files itself; once is enough to see the distance.
    let table: TableDefinition<u64, u64> = TableDefinition::new("keys");
    let file = std::env::temp_dir().join(format!("libraries-{}.redb", std::process::id()));
    let database = Database::create(&file).expect("a database");
    let before = allocated();
    measure(
        &mut tree,
        |pairs| {
            let mut write = database.begin_write().expect("it begins");
            write
                .set_durability(Durability::None)
                .expect("before any change");
            let mut keys = write.open_table(table).expect("it opens");
            for (key, position) in pairs {
                keys.insert(key, position).expect("inserted");
            }
            drop(keys);
            write.commit().expect("committed");
        },
        |keys| {
            let read = database.begin_read().expect("it begins");
            let there = read.open_table(table).expect("it opens");
            keys.iter()
                .filter(|key| there.get(**key).expect("it reads").is_some())
                .count()
        },
        before,
    );
    drop(database);
    std::fs::remove_file(&file).expect("it was there");

    print_line(
        "index, insert",
        ours.insert,
        &[("hashbrown", map.insert), ("redb", tree.insert)],
        "ns",
    );
    print_line(
        "index, look a new key up",
        ours.look_up,
        &[("hashbrown", map.look_up), ("redb", tree.look_up)],
        "ns",
    );
    print_line(
        "index, memory of a key",
        ours.bytes,
        &[("hashbrown", map.bytes)],
        "B ",
    );
}
