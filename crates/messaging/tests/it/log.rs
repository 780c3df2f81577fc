//! The delivery log: what was synced is there after any crash, and of the rest a beginning.

use std::sync::Arc;

use tributary_journal::Disk;
use tributary_messaging::{
    Attempt, Change, Found, Images, Letter, Log, Policy, SubscriptionId, read,
};
use tributary_testkit::disk::{Fault, SimDisk};
use tributary_testkit::random::Random;

use crate::core::subscription;

const CLUSTER: [u8; 16] = [5; 16];
const HEAD: u64 = 1_000_000;
/// Lives on the disk of one seed.
const LIVES: usize = 12;
/// Operations of the disk before something goes wrong, at most.
const OPERATIONS_MAX: u64 = 40;

fn change(random: &mut Random) -> Change {
    let id = SubscriptionId(random.below(3));
    let position = random.below(1_000) + 1;
    let letter = Letter {
        time: random.any(),
        object: random.any(),
        attempt: 1,
        due: random.any(),
        history: vec![Attempt {
            at: random.any(),
            error: "x".repeat(random.index(200)).into(),
        }],
    };
    match random.below(10) {
        0..=2 => {
            let mut made = subscription(id, Policy::default());
            made.terms.metadata = "m".repeat(random.index(2_000));
            Change::Put(Box::new(made), position)
        }
        3 => Change::Delete(id),
        4 => Change::Progress {
            id,
            floor: position,
        },
        5 => Change::Done {
            id,
            positions: vec![position, position + 1],
        },
        6 | 7 => Change::Keep {
            id,
            position,
            letter,
        },
        8 => Change::Dead {
            id,
            position,
            letter,
        },
        _ => Change::Replays {
            id,
            ranges: vec![(1, position)],
        },
    }
}

fn snapshot(images: &Images) -> Vec<Change> {
    let mut changes = vec![Change::Begin {
        boot: images.boot,
        cluster: CLUSTER,
    }];
    images
        .images
        .values()
        .for_each(|image| image.changes(&mut changes));
    changes.push(Change::Whole);
    changes
}

fn found(disk: &dyn Disk) -> Found {
    read(disk, CLUSTER, HEAD).expect("the disk works")
}

/// Where nothing was damaged, nothing must be said to be.
fn check_found(disk: &SimDisk, certain: &Images, attempted: Option<&Images>) -> Found {
    let found = found(&*disk.disk());
    assert_eq!(found.damage, Vec::<String>::new());
    let same = |images: &Images| found.images.images == images.images;
    assert!(
        same(certain) || attempted.is_some_and(same),
        "neither what was synced nor what was on its way"
    );
    found
}

fn run(seed: u64) -> (u64, u64) {
    let mut random = Random::new(seed);
    let mut disk = SimDisk::new(seed);
    let mut certain = Images {
        cluster: CLUSTER,
        ..Images::default()
    };
    let mut attempted: Option<Images> = None;
    let (mut crashes, mut broken) = (0, 0);
    for _ in 0..LIVES {
        let here = check_found(&disk, &certain, attempted.as_ref());
        certain.images = here.images.images.clone();
        attempted = None;
        let fault = match random.below(4) {
            0..=1 => Fault::PowerOff,
            2 => Fault::Broken,
            _ => Fault::StorageFull,
        };
        disk.inject(disk.operations() + random.below(OPERATIONS_MAX), fault);
        let begun = Log::begin(disk.disk(), &here, &snapshot(&certain), 1);
        if let Ok(mut log) = begun {
            for _ in 0..random.below(20) {
                let mut next = certain.clone();
                let changes: Vec<Change> =
                    (0..=random.below(5)).map(|_| change(&mut random)).collect();
                changes
                    .iter()
                    .cloned()
                    .for_each(|change| next.apply(change));
                let written = match random.one_in(6) {
                    true => log.rewrite(&snapshot(&next), 2),
                    false => log.append(&changes, 2),
                };
                match written {
                    Ok(()) => certain = next,
                    Err(_) if disk.is_off() => {
                        attempted = Some(next);
                        break;
                    }
                    Err(_) => {
                        // The process goes on with what it has in memory.
                        broken += 1;
                        assert!(log.is_broken() && log.append(&changes, 2).is_err());
                        while !disk.is_off() && log.rewrite(&snapshot(&next), 3).is_err() {}
                        if disk.is_off() {
                            attempted = Some(next);
                            break;
                        }
                        certain = next;
                    }
                }
            }
        }
        if disk.is_off() || random.one_in(2) {
            crashes += 1;
            disk = disk.crash(random.any());
        }
    }
    (crashes, broken)
}

#[test]
fn after_any_crash_the_log_holds_what_was_synced() {
    let (mut crashes, mut broken) = (0, 0);
    for seed in 0..60 {
        let happened = run(seed);
        crashes += happened.0;
        broken += happened.1;
    }
    assert!(crashes > 100 && broken > 20, "{crashes} {broken}");
}

/// A log with a snapshot and then these changes, one frame each.
fn written(changes: &[Change]) -> SimDisk {
    let disk = SimDisk::new(1);
    let start = found(&*disk.disk());
    let begun = Log::begin(disk.disk(), &start, &snapshot(&start.images), 1);
    let mut log = begun.expect("the disk works");
    for change in changes {
        log.append(std::slice::from_ref(change), 1)
            .expect("the disk works");
    }
    disk
}

fn put(id: u64) -> Change {
    let made = subscription(SubscriptionId(id), Policy::default());
    Change::Put(Box::new(made), 10 * id)
}

fn progress(id: u64, floor: u64) -> Change {
    Change::Progress {
        id: SubscriptionId(id),
        floor,
    }
}

fn only_log(disk: &SimDisk) -> String {
    let files = disk.files();
    let logs: Vec<&String> = files.keys().filter(|name| name.ends_with(".log")).collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    logs[0].clone()
}

#[test]
fn damage_is_told_and_set_aside_and_costs_repetitions_only() {
    let disk = written(&[
        put(1),
        progress(1, 15),
        progress(1, 20),
        put(2),
        progress(2, 30),
    ]);
    let name = only_log(&disk);
    let bytes = disk.files()[&name].clone();
    let starts: Vec<usize> = (0..bytes.len() - 4)
        .filter(|at| &bytes[*at..at + 4] == b"TRBF")
        .collect();
    assert_eq!(starts.len(), 6);
    // In the frame that moves the first one to 20.
    disk.flip(&name, starts[3] + 140, 1);
    let found = found(&*disk.disk());
    assert_eq!(found.damage.len(), 1);
    let floors: Vec<u64> = found
        .images
        .images
        .values()
        .map(|image| image.floor)
        .collect();
    assert_eq!(floors, [15, 20], "what follows counts for settings only");
    let log = Log::begin(disk.disk(), &found, &snapshot(&found.images), 1);
    assert!(!log.expect("the disk works").is_broken());
    assert_ne!(only_log(&disk), name);
    assert!(disk.files().contains_key(&name.replace(".log", ".damaged")));
    let after = read(&*disk.disk(), CLUSTER, HEAD).expect("the disk works");
    assert!(after.damage.is_empty() && after.images.images == found.images.images);
}

#[test]
fn the_rest_of_an_unfinished_write_is_no_damage() {
    let whole = written(&[put(1), progress(1, 15)]);
    let name = only_log(&whole);
    let len = whole.files()[&name].len();
    for cut in [1, 9, 100, 130] {
        let disk = whole.copy();
        disk.damage(&name, |bytes| bytes.truncate(len - cut));
        let found = found(&*disk.disk());
        assert!(found.damage.is_empty());
        assert_eq!(found.images.images[&SubscriptionId(1)].floor, 10);
    }
    let disk = whole.copy();
    disk.damage(&name, |bytes| bytes.extend_from_slice(&[7; 300]));
    assert!(found(&*disk.disk()).damage.is_empty());
}

#[test]
fn a_log_of_another_journal_is_set_aside() {
    let disk = written(&[put(1)]);
    let other = read(&*disk.disk(), [6; 16], HEAD).expect("the disk works");
    assert!(other.images.images.is_empty() && other.damage.len() == 1);
}

#[test]
fn after_a_restore_to_an_earlier_position_nothing_is_ahead_of_the_journal() {
    let letter = Letter::default();
    let id = SubscriptionId(1);
    let disk = written(&[
        put(1),
        progress(1, 500),
        Change::Done {
            id,
            positions: vec![510, 520],
        },
        Change::Keep {
            id,
            position: 90,
            letter: letter.clone(),
        },
        Change::Keep {
            id,
            position: 400,
            letter: letter.clone(),
        },
        Change::Dead {
            id,
            position: 300,
            letter,
        },
        Change::Replays {
            id,
            ranges: vec![(50, 200), (150, 200)],
        },
    ]);
    let cut = read(&*disk.disk(), CLUSTER, 100).expect("the disk works");
    let image = &cut.images.images[&id];
    assert_eq!(image.floor, 100);
    assert!(image.done.is_empty() && image.dead.is_empty());
    assert!(image.kept.keys().eq(&[90]));
    assert_eq!(image.replays, [(50, 100)]);
}

#[test]
fn many_changes_take_many_frames_and_a_large_log_asks_for_a_new_one() {
    let disk: Arc<dyn Disk> = SimDisk::new(3).disk();
    let start = found(&*disk);
    let begun = Log::begin(disk.clone(), &start, &snapshot(&start.images), 1);
    let mut log = begun.expect("the disk works");
    let keep = |position| Change::Keep {
        id: SubscriptionId(1),
        position,
        letter: Letter {
            history: vec![
                Attempt {
                    at: 1,
                    error: "e".repeat(200).into(),
                };
                8
            ],
            ..Letter::default()
        },
    };
    let mut images = Images::default();
    images.apply(put(1));
    let changes: Vec<Change> = std::iter::once(put(1))
        .chain((1..10_000).map(keep))
        .collect();
    changes
        .iter()
        .cloned()
        .for_each(|change| images.apply(change));
    assert!(!log.is_large());
    log.append(&changes, 1).expect("the disk works");
    assert!(log.is_large());
    assert_eq!(found(&*disk).images.images, images.images);
    log.rewrite(&snapshot(&images), 1).expect("the disk works");
    assert!(!log.is_large());
    assert_eq!(found(&*disk).images.images, images.images);
}
