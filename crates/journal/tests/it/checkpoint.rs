use tributary_journal::{
    CheckpointItem, CheckpointLoaded, CheckpointWriter, Head, load_latest_checkpoint,
};
use tributary_testkit::disk::SimDisk;
use tributary_testkit::random::Random;

use crate::support::{grown, reopen};

fn record(through: u64, number: u64) -> Vec<u8> {
    let mut random = Random::new(through * 1000 + number);
    let len = if number == 7 {
        700_000
    } else {
        1 + random.below(3000)
    };
    (0..len).map(|_| random.any() as u8).collect()
}

fn head(position: u64) -> Head {
    Head {
        position,
        hash: [position as u8; 32],
        ..Head::default()
    }
}

fn write(disk: &SimDisk, through: u64, records: u64) {
    let mut writer = CheckpointWriter::begin(disk.disk(), &head(through)).unwrap();
    for number in 0..records {
        writer.push(&record(through, number)).unwrap();
    }
    writer.finish().unwrap();
}

/// Loads, and checks that what is left at the end is one whole checkpoint.
fn load(disk: &SimDisk, last: u64, records: u64) -> CheckpointLoaded {
    let (mut begun, mut number) = (0, 0);
    let mut is_ours = |through: u64, hash: [u8; 32]| through <= last && hash == head(through).hash;
    let loaded = load_latest_checkpoint(&*disk.disk(), &mut is_ours, &mut |item| match item {
        CheckpointItem::Begin { through } => (begun, number) = (through, 0),
        CheckpointItem::Block(block) => {
            for bytes in block.records() {
                assert_eq!(bytes, record(begun, number));
                number += 1;
            }
        }
    })
    .unwrap();
    if let Some(through) = loaded.through {
        assert_eq!((begun, number), (through, records));
    }
    loaded
}

#[test]
fn the_newest_two_checkpoints_are_kept_and_the_newest_is_loaded() {
    let disk = SimDisk::new(1);
    assert_eq!(load(&disk, 100, 0), CheckpointLoaded::default());
    for through in [0, 10, 20, 30] {
        write(&disk, through, 12);
    }
    assert_eq!(disk.files().len(), 2);
    assert_eq!(load(&disk, 100, 12).through, Some(30));
    let beyond = load(&disk, 25, 12);
    assert_eq!((beyond.through, beyond.damaged.len()), (Some(20), 1));
    // Whoever is at 15 knows that 20 and 30 are of another history.
    write(&disk, 15, 12);
    assert_eq!(disk.files().len(), 1);
    assert_eq!(load(&disk, 100, 12).through, Some(15));
}

#[test]
fn a_checkpoint_of_another_history_is_never_loaded() {
    let (disk, model) = grown(20, 60);
    let (_, reader, _) = reopen(&disk).unwrap();
    let heads: Vec<Head> = model.heads.values().copied().collect();
    let (older, newer) = (heads[heads.len() - 9], heads[heads.len() - 2]);
    let other = Head {
        hash: [1; 32],
        ..newer
    };
    for (newest, expected) in [(newer, newer), (other, older)] {
        for head in [older, newest] {
            CheckpointWriter::begin(disk.disk(), &head)
                .and_then(CheckpointWriter::finish)
                .unwrap();
        }
        let mut is_ours = |through, hash| {
            let head = reader.head_at(through).unwrap();
            head.is_some_and(|head| head.hash == hash)
        };
        let loaded = load_latest_checkpoint(&*disk.disk(), &mut is_ours, &mut |_| ()).unwrap();
        assert_eq!(loaded.through, Some(expected.position));
    }
    for head in heads {
        let at = reader.head_at(head.position).unwrap();
        assert_eq!(at.map(|at| at.hash), Some(head.hash));
    }
    assert_eq!(reader.head_at(model.head().position + 1).unwrap(), None);
}

#[test]
fn a_checkpoint_that_a_crash_cut_short_takes_no_space_for_ever() {
    let (disk, _) = grown(3, 60);
    let mut writer = CheckpointWriter::begin(disk.disk(), &head(5)).unwrap();
    writer.push(&[1]).unwrap();
    std::mem::forget(writer);
    let leftover = |disk: &SimDisk| disk.files().keys().any(|name| name.ends_with(".tmp"));
    assert!(leftover(&disk));
    drop(reopen(&disk).unwrap());
    assert!(!leftover(&disk));
}

#[test]
fn an_empty_checkpoint_is_one() {
    let disk = SimDisk::new(1);
    write(&disk, 5, 0);
    assert_eq!(load(&disk, 5, 0).through, Some(5));
}

#[test]
fn a_damaged_checkpoint_is_reported_and_the_older_one_loaded() {
    let disk = SimDisk::new(1);
    write(&disk, 10, 3);
    write(&disk, 20, 3);
    let newest = disk.files().into_keys().next_back().unwrap();
    let len = disk.files()[&newest].len();
    for offset in 0..len {
        let copy = disk.copy();
        copy.flip(&newest, offset, 1 << (offset % 8));
        let loaded = load(&copy, 100, 3);
        assert_eq!(
            (loaded.through, loaded.damaged.len()),
            (Some(10), 1),
            "a flip at {offset}"
        );
        assert_eq!(loaded.damaged[0].file, newest);
    }
    for cut in (0..len).step_by(7) {
        let copy = disk.copy();
        copy.damage(&newest, |bytes| bytes.truncate(cut));
        assert_eq!(load(&copy, 100, 3).through, Some(10), "cut to {cut} bytes");
    }
    let older = disk.files().into_keys().next().unwrap();
    disk.flip(&newest, 80, 1);
    disk.flip(&older, 80, 1);
    let loaded = load(&disk, 100, 3);
    assert_eq!((loaded.through, loaded.damaged.len()), (None, 2));
}

#[test]
fn an_abandoned_checkpoint_leaves_nothing() {
    let disk = SimDisk::new(1);
    let mut writer = CheckpointWriter::begin(disk.disk(), &head(5)).unwrap();
    writer.push(&[1]).unwrap();
    drop(writer);
    assert!(disk.files().is_empty());
}
