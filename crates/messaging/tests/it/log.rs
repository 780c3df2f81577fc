//! The delivery log: what was synced is there after any crash, and of the rest a beginning.

use std::sync::Arc;

use tributary_engine::{Basis, FileLog, Standing};
use tributary_journal::Disk;
use tributary_messaging::{
    Attempt, Change, DELIVERY_DIRECTORY, DELIVERY_LOG_VERSION, Images, Letter, Log, SubscriptionId,
};
use tributary_testkit::disk::{Fault, SimDisk};
use tributary_testkit::random::Random;

const CLUSTER: [u8; 16] = [5; 16];
/// What all frames rest on, if nothing else is said.
const BASIS: Basis = Basis {
    position: 1_000,
    hash: [8; 32],
};
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
        0 => Change::Delete(id),
        1 => Change::Rewind {
            id,
            to: position,
            all: random.one_in(2),
            through: 1_001,
        },
        2 => Change::Rematch {
            id,
            through: position,
        },
        3 | 4 => Change::Progress {
            id,
            floor: position,
        },
        5 => Change::Done {
            id,
            positions: vec![position, position + 1],
        },
        6 | 7 => Change::Named {
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
        generation: images.generation,
        cluster: CLUSTER,
    }];
    images
        .images
        .iter()
        .for_each(|(id, image)| image.changes(*id, &mut changes));
    changes.push(Change::Whole);
    changes
}

/// What is read of a log.
struct Found {
    log: Log,
    images: Images,
    set_aside: Vec<String>,
}

fn found_by(
    disk: Arc<dyn Disk>,
    cluster: [u8; 16],
    mut standing: impl FnMut(&Basis) -> Standing,
) -> Found {
    let frames = FileLog::new(disk, DELIVERY_DIRECTORY, DELIVERY_LOG_VERSION);
    let read = Log::read(Box::new(frames), cluster, &mut |basis| Ok(standing(basis)));
    let (log, images, set_aside) = read.expect("the disk works");
    Found {
        log,
        images,
        set_aside,
    }
}

fn found(disk: Arc<dyn Disk>) -> Found {
    found_by(disk, CLUSTER, |_| Standing::Known)
}

/// Where nothing was damaged, nothing must be said to be.
fn check_found(disk: &SimDisk, certain: &Images, attempted: Option<&Images>) -> Found {
    let found = found(disk.disk());
    assert_eq!(found.set_aside, Vec::<String>::new());
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
        let Found {
            mut log, images, ..
        } = check_found(&disk, &certain, attempted.as_ref());
        certain.images = images.images;
        attempted = None;
        let fault = match random.below(4) {
            0..=1 => Fault::PowerOff,
            2 => Fault::Broken,
            _ => Fault::StorageFull,
        };
        disk.inject(disk.operations() + random.below(OPERATIONS_MAX), fault);
        if log.begin(&snapshot(&certain), BASIS, 1).is_ok() {
            for _ in 0..random.below(20) {
                let mut next = certain.clone();
                let changes: Vec<Change> =
                    (0..=random.below(5)).map(|_| change(&mut random)).collect();
                changes
                    .iter()
                    .cloned()
                    .for_each(|change| next.apply(change));
                let written = match random.one_in(6) {
                    true => log.begin(&snapshot(&next), BASIS, 2),
                    false => log.append(&changes, BASIS, 2),
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
                        assert!(log.needs_snapshot());
                        while !disk.is_off() && log.begin(&snapshot(&next), BASIS, 3).is_err() {}
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

/// A log with a snapshot and then these changes, one frame each, that rest on the positions from 1 on.
fn written(changes: &[Change]) -> SimDisk {
    let disk = SimDisk::new(1);
    let Found {
        mut log, images, ..
    } = found(disk.disk());
    log.begin(&snapshot(&images), Basis::default(), 1)
        .expect("the disk works");
    for (change, position) in changes.iter().zip(1..) {
        let basis = Basis { position, ..BASIS };
        log.append(std::slice::from_ref(change), basis, 1)
            .expect("the disk works");
    }
    disk
}

/// The first change of a subscription.
fn put(id: u64) -> Change {
    progress(id, 10 * id)
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
    let mut damaged = found(disk.disk());
    assert_eq!(damaged.set_aside.len(), 1);
    let floors: Vec<u64> = damaged
        .images
        .images
        .values()
        .map(|image| image.floor)
        .collect();
    assert_eq!(floors, [15], "what came before counts");
    begin(&mut damaged);
    assert_ne!(only_log(&disk), name);
    assert!(disk.files().contains_key(&name.replace(".log", ".damaged")));
    let after = found(disk.disk());
    assert!(after.set_aside.is_empty() && after.images.images == damaged.images.images);
}

/// Goes on from what was found.
fn begin(found: &mut Found) {
    let snapshot = snapshot(&found.images);
    let begun = found.log.begin(&snapshot, Basis::default(), 1);
    begun.expect("the disk works");
}

#[test]
fn the_rest_of_an_unfinished_write_is_no_damage() {
    let whole = written(&[put(1), progress(1, 15)]);
    let name = only_log(&whole);
    let len = whole.files()[&name].len();
    for cut in [1, 9, 100, 130] {
        let disk = whole.copy();
        disk.damage(&name, |bytes| bytes.truncate(len - cut));
        let found = found(disk.disk());
        assert!(found.set_aside.is_empty());
        assert_eq!(found.images.images[&SubscriptionId(1)].floor, 10);
    }
    let disk = whole.copy();
    disk.damage(&name, |bytes| bytes.extend_from_slice(&[7; 300]));
    assert!(found(disk.disk()).set_aside.is_empty());
}

#[test]
fn a_log_of_another_journal_or_another_history_is_set_aside() {
    let disk = written(&[put(1), progress(1, 15)]);
    let name = only_log(&disk);
    let check = |mut found: Found, images: usize| {
        assert_eq!(found.images.images.len(), images);
        assert_eq!(found.set_aside.len(), 1, "{:?}", found.set_aside);
        begin(&mut found);
        let foreign = name.replace(".log", ".foreign");
        assert!(disk.files().contains_key(&foreign));
        assert_ne!(only_log(&disk), name);
    };
    let before = disk.copy();
    check(found_by(disk.disk(), [6; 16], |_| Standing::Known), 0);
    disk.damage(&only_log(&disk), |bytes| bytes.clear());
    let disk = before;
    let foreign = found_by(disk.disk(), CLUSTER, |basis| match basis.position {
        0 => Standing::Known,
        _ => Standing::Foreign,
    });
    assert_eq!(foreign.images.images.len(), 0);
    assert_eq!(foreign.set_aside.len(), 1);
}

#[test]
fn what_is_ahead_of_the_journal_waits_until_the_journal_reaches_it() {
    let disk = written(&[put(1), progress(1, 15), progress(1, 20)]);
    let name = only_log(&disk);
    let at_head = |head: u64| {
        found_by(disk.disk(), CLUSTER, move |basis| match basis.position {
            position if position > head => Standing::Ahead,
            _ => Standing::Known,
        })
    };
    let floor = |found: &Found| {
        let image = found.images.images.get(&SubscriptionId(1));
        image.map(|image| image.floor)
    };
    for (head, expected) in [(0, None), (1, Some(10)), (2, Some(15))] {
        let found = at_head(head);
        assert_eq!(floor(&found), expected, "the journal ends at {head}");
        assert_eq!(found.set_aside.len(), 1);
    }
    // A journal that ends at 1 goes on in another way; what is ahead of it stays there.
    begin(&mut at_head(1));
    let ahead = name.replace(".log", ".ahead");
    assert!(disk.files().contains_key(&ahead));
    assert_eq!(floor(&at_head(1)), Some(10));
    // Back to the journal that the log was written beside: what was written meanwhile is foreign to it.
    let newer = only_log(&disk);
    disk.damage(&newer, |bytes| bytes.clear());
    let mut again = at_head(3);
    assert_eq!(floor(&again), Some(20));
    begin(&mut again);
    assert!(!disk.files().contains_key(&name));
}

#[test]
fn many_changes_take_many_frames_and_a_large_log_asks_for_a_new_one() {
    let disk: Arc<dyn Disk> = SimDisk::new(3).disk();
    let Found { mut log, .. } = found(disk.clone());
    log.begin(&snapshot(&Images::default()), BASIS, 1)
        .expect("the disk works");
    let keep = |position| Change::Named {
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
    log.append(&changes, BASIS, 1).expect("the disk works");
    assert!(log.is_large());
    assert_eq!(found(disk.clone()).images.images, images.images);
    log.begin(&snapshot(&images), BASIS, 1)
        .expect("the disk works");
    assert!(!log.is_large());
    assert_eq!(found(disk.clone()).images.images, images.images);
}
