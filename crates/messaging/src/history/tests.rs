use std::collections::BTreeSet;

use super::pool::FREE_BYTES_MIN;
use super::slot::{HEADER_BYTES, path};
use super::*;
use crate::ended::{Group, NOTE_BYTES_MAX};
use crate::{AttemptEnd, SubscriptionId};
use tributary_testkit::disk::SimDisk;
use tributary_testkit::random::Random;

const CLUSTER: [u8; 16] = [3; 16];
const SECOND: u64 = 1_000_000_000;

fn open(disk: &SimDisk, head: u64, bytes_max: u64) -> History {
    History::new(disk.disk(), CLUSTER, head, bytes_max)
}

fn like(subscription: u64, end: AttemptEnd, at: u64) -> Group {
    Group {
        subscription: SubscriptionId(subscription),
        attempt: 1,
        end,
        began: at,
        ended: at + 5,
        events: 0,
        note: 0,
    }
}

fn put(history: &mut History, now: u64, fill: impl FnOnce(&mut EndedAttempts)) {
    put_of(history, OwnerId::PLATFORM, now, fill);
}

fn put_of(history: &mut History, owner: OwnerId, now: u64, fill: impl FnOnce(&mut EndedAttempts)) {
    let mut ended = EndedAttempts::default();
    fill(&mut ended);
    history.take_in(now, |all| all.append(owner, &mut ended));
    history.write_if_due(now);
}

fn all(history: &mut History, wanted: &AttemptQuery<'_>) -> Vec<EndedAttempt> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let wanted = AttemptQuery { before, ..*wanted };
        let page = history.reading(&wanted).find(&wanted);
        assert!(page.attempts.len() <= wanted.limit);
        found.extend(page.attempts);
        match page.next {
            Some(next) => before = Some(next),
            None => return found,
        }
    }
}

const ANY: AttemptQuery<'static> = AttemptQuery {
    is_visible: &|_| true,
    subscription: None,
    events: None,
    acknowledged: None,
    before: None,
    limit: 100,
};

/// Random attempts, asked for in every way, also after restarts, against a list of all of them.
#[test]
fn every_attempt_is_found_again_the_newest_first_also_after_a_restart() {
    for seed in 1..6 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        let mut history = open(&disk, u64::MAX, 1 << 30);
        let mut model: Vec<(u64, u64, AttemptEnd, u64, Vec<u8>)> = Vec::new();
        let mut now = SECOND;
        for _ in 0..120 {
            now += random.below(SECOND);
            put(&mut history, now, |past| {
                let end = [
                    AttemptEnd::Acknowledged,
                    AttemptEnd::Refused,
                    AttemptEnd::TimedOut,
                ][random.index(3)];
                let subscription = random.below(4);
                let bits = random.below(40);
                let first = random.below(1 << bits);
                for step in 0..random.below(2_000) {
                    // Up and down.
                    let position = 4 + ((first + step * 3) ^ random.below(4));
                    let note = match random.below(20) {
                        0 => vec![b'x'; random.index(3_000)],
                        _ => Vec::new(),
                    };
                    past.push(like(subscription, end, now), position, &note);
                    model.push((subscription, position, end, now, note));
                }
            });
            if random.one_in(20) {
                history.write(now);
                history = open(&disk, u64::MAX, 1 << 30);
            }
        }
        let of = |attempt: &EndedAttempt| {
            assert_eq!((attempt.attempt, attempt.ended), (1, attempt.began + 5));
            let (end, note) = (attempt.end, attempt.note.to_vec());
            (
                attempt.subscription.0,
                attempt.position,
                end,
                attempt.began,
                note,
            )
        };
        let check = |history: &mut History, wanted: &AttemptQuery<'_>| {
            let found: Vec<_> = all(history, wanted).iter().map(of).collect();
            let right = model.iter().rev().filter(|one| {
                wanted.subscription.is_none_or(|id| id.0 == one.0)
                    && wanted.events.is_none_or(|events| events.contains(&one.1))
                    && (wanted.acknowledged)
                        .is_none_or(|wanted| wanted == (one.2 == AttemptEnd::Acknowledged))
            });
            assert!(right.eq(found.iter()));
            found.len()
        };
        assert_eq!(check(&mut history, &ANY), model.len());
        for subscription in 0..5 {
            let subscription = Some(SubscriptionId(subscription));
            for acknowledged in [None, Some(true), Some(false)] {
                let limit = 1 + random.index(3_000);
                check(
                    &mut history,
                    &AttemptQuery {
                        subscription,
                        acknowledged,
                        limit,
                        ..ANY
                    },
                );
            }
        }
        for _ in 0..20 {
            let some: BTreeSet<u64> = (0..5).map(|_| model[random.index(model.len())].1).collect();
            let count = check(
                &mut history,
                &AttemptQuery {
                    events: Some(&some),
                    ..ANY
                },
            );
            assert!(count >= some.len());
            // Few slots are read for few events.
            let slots = history
                .reading(&AttemptQuery {
                    events: Some(&some),
                    ..ANY
                })
                .slots
                .len();
            assert!(slots <= 5 * 40, "{slots}");
        }
    }
}

/// A note that fills a slot quickly.
fn fill(history: &mut History, from: u64, count: u64) {
    fill_of(history, OwnerId::PLATFORM, from, count);
}

/// Failed attempts of the owner's subscription, which has the owner's number. Four fill a slot.
fn fill_of(history: &mut History, owner: OwnerId, from: u64, count: u64) {
    for position in from..from + count {
        put_of(history, owner, position * SECOND, |past| {
            let note = vec![b'n'; NOTE_BYTES_MAX - 200];
            let failed = like(owner.0, AttemptEnd::Refused, position);
            past.push(failed, position, &note);
        });
    }
}

/// Positions of the owner's attempts, the newest first.
fn positions_of(history: &mut History, owner: OwnerId) -> Vec<u64> {
    let wanted = AttemptQuery {
        subscription: Some(SubscriptionId(owner.0)),
        ..ANY
    };
    let found = all(history, &wanted);
    found.iter().map(|one| one.position).collect()
}

#[test]
fn an_owner_whose_receivers_fail_keeps_the_history_of_others() {
    const FILES: u64 = 4;
    let slots = FILES * SLOTS_PER_FILE;
    let disk = SimDisk::new(1);
    let mut history = open(&disk, u64::MAX, FILES * FILE_BYTES);
    let [quiet, first, second, third, fourth] = [7, 8, 9, 10, 11].map(OwnerId);
    fill_of(&mut history, quiet, 1, 50);
    fill(&mut history, 51, 50);
    let newest_first = |from: u64, count: u64| (from..from + count).rev().collect::<Vec<_>>();
    let mut position = 101;
    for noisy in [first, second, third, fourth] {
        fill_of(&mut history, noisy, position, 4 * slots);
        let newest = newest_first(position, 4 * slots);
        let found = positions_of(&mut history, noisy);
        assert_eq!(found, newest[..found.len()], "the newest, without a gap");
        let count = found.len() as u64;
        assert!(
            count <= slots && count > slots / 2,
            "{count} of {slots} at most"
        );
        position += 4 * slots;
    }
    assert_eq!(positions_of(&mut history, quiet), newest_first(1, 50));
    assert_eq!(
        positions_of(&mut history, OwnerId::PLATFORM),
        newest_first(51, 50)
    );
    // The platform's quarter is still free, and no more than that is.
    fill(&mut history, position, 4 * slots);
    let of_platform = positions_of(&mut history, OwnerId::PLATFORM).len() as u64;
    assert!(
        (slots - 4..=slots).contains(&of_platform),
        "{of_platform} of {slots}"
    );
    assert_eq!(positions_of(&mut history, quiet), newest_first(1, 50));
    history.write(u64::MAX / 2);
    assert!(disk.used() <= FILES * FILE_BYTES);
    // Also after a restart, and with less room for all.
    let mut again = open(&disk, u64::MAX, FILES * FILE_BYTES);
    for owner in [quiet, first, second, third, fourth, OwnerId::PLATFORM] {
        assert_eq!(
            positions_of(&mut again, owner),
            positions_of(&mut history, owner)
        );
    }
    fill_of(&mut again, first, position + 10_000, 4 * slots);
    assert_eq!(positions_of(&mut again, quiet), newest_first(1, 50));
}

#[test]
fn the_platform_gives_way_to_owners_once_it_has_more_than_its_quarter() {
    let disk = SimDisk::new(1);
    let mut history = open(&disk, u64::MAX, 4 * FILE_BYTES);
    let slots = 4 * SLOTS_PER_FILE;
    fill(&mut history, 1, 5 * slots);
    let of_platform = positions_of(&mut history, OwnerId::PLATFORM).len() as u64;
    assert!(of_platform > 4 * slots - 8 && of_platform <= 4 * slots);
    for owner in 7..12 {
        fill_of(&mut history, OwnerId(owner), 10_000 * owner, 2 * slots);
    }
    let of_platform = positions_of(&mut history, OwnerId::PLATFORM).len() as u64;
    assert!(
        (slots - 4..=slots + 4).contains(&of_platform),
        "{of_platform} of {slots}"
    );
    let newest = positions_of(&mut history, OwnerId(11));
    assert!(newest.len() as u64 > slots / 4);
}

#[test]
fn open_slots_of_many_owners_take_bounded_memory_and_are_filled_up() {
    const OWNERS: u64 = 600;
    let disk = SimDisk::new(1);
    let mut history = open(&disk, u64::MAX, 1 << 30);
    let (mut position, mut open_min) = (0, OWNERS as usize);
    for round in 0..8 {
        for owner in 1..=OWNERS {
            position += 1;
            put_of(&mut history, OwnerId(owner), round * SECOND, |past| {
                let failed = like(owner, AttemptEnd::Refused, position);
                past.push(failed, position, &[b'n'; 8_000]);
            });
            assert!(history.known().open_bytes <= OPEN_BYTES_MAX);
        }
        open_min = open_min.min(history.known().open.len());
    }
    let in_memory = |open: &OpenSlot| open.content.len();
    let sum: usize = history.known().open.values().map(in_memory).sum();
    assert_eq!(history.known().open_bytes, sum);
    assert!(open_min < OWNERS as usize, "none was closed");
    for owner in 1..=OWNERS {
        let expected: Vec<u64> = (0..8).rev().map(|round| round * OWNERS + owner).collect();
        assert_eq!(positions_of(&mut history, OwnerId(owner)), expected);
    }
    // A slot holds seven or eight of them: closed slots are opened again and filled.
    assert!(history.known().next <= 2 * OWNERS, "slots are not filled");
}

#[test]
fn the_oldest_goes_beyond_the_bound_and_nothing_is_kept_where_nothing_is_wanted() {
    let disk = SimDisk::new(1);
    let mut history = open(&disk, u64::MAX, 2 * FILE_BYTES);
    fill(&mut history, 1, 3_000);
    let used = disk.used();
    assert!(used > FILE_BYTES && used <= 2 * FILE_BYTES, "{used}");
    let kept = all(&mut history, &ANY);
    // Four in a slot; the newest without a gap.
    assert!((256..=512).contains(&kept.len()), "{}", kept.len());
    assert!(
        kept.iter()
            .map(|one| one.position)
            .eq((3_001 - kept.len() as u64..=3_000).rev())
    );
    history.write(u64::MAX / 2);
    let mut again = open(&disk, u64::MAX, 2 * FILE_BYTES);
    assert_eq!(all(&mut again, &ANY), kept);
    fill(&mut again, 3_001, 600);
    assert!(disk.used() <= 2 * FILE_BYTES);
    assert_eq!(all(&mut again, &ANY)[0].position, 3_600);
    assert!(!open(&disk, u64::MAX, 0).is_kept());
    assert_eq!(disk.used(), 0);
}

#[test]
fn damage_is_passed_over_and_what_a_restored_journal_does_not_have_is_forgotten() {
    let disk = SimDisk::new(1);
    let mut history = open(&disk, u64::MAX, 1 << 30);
    fill(&mut history, 1, 400);
    history.write(SECOND * 1_000);
    // As if it had been synced.
    let disk = disk.copy();
    let positions = |history: &mut History| -> Vec<u64> {
        all(history, &ANY).iter().map(|one| one.position).collect()
    };
    let whole = positions(&mut open(&disk, u64::MAX, 1 << 30));
    assert_eq!(whole.len(), 400);
    // Of one slot the content, of another the header, and the end of the last file.
    disk.flip(&path(0), 3 * SLOT_BYTES + HEADER_BYTES + 20_000, 1);
    disk.flip(&path(0), 7 * SLOT_BYTES + 100, 1);
    disk.damage(&path(1), |bytes| bytes.truncate(bytes.len() - 1));
    let mut history = open(&disk, u64::MAX, 1 << 30);
    let left = positions(&mut history);
    let lost: Vec<u64> = whole
        .iter()
        .filter(|one| !left.contains(one))
        .copied()
        .collect();
    assert_eq!(
        lost,
        [397..=400, 29..=32, 13..=16]
            .map(|range| range.rev())
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
    );
    fill(&mut history, 401, 4);
    history.write(SECOND * 2_000);
    assert_eq!(
        positions(&mut open(&disk, u64::MAX, 1 << 30)).len(),
        left.len() + 4
    );
    // Of a slot with later events nothing is left, now and later.
    let mut cut = open(&disk, 300, 1 << 30);
    let left = positions(&mut cut);
    assert!(
        left.iter().all(|one| *one <= 300) && left.len() == 292,
        "{left:?}"
    );
    fill(&mut cut, 301, 1);
    cut.write(SECOND * 3_000);
    let again = positions(&mut open(&disk, u64::MAX, 1 << 30));
    assert_eq!((again[0], again.len()), (301, 293));
    let other = &mut History::new(disk.disk(), [4; 16], u64::MAX, 1 << 30);
    assert_eq!(positions(other), Vec::<u64>::new());
}

#[test]
fn a_full_disk_stops_the_history_for_a_minute_and_the_rest_of_it_is_found() {
    let disk = SimDisk::new(1);
    disk.set_capacity(FREE_BYTES_MIN - 1);
    let mut history = open(&disk, u64::MAX, 1 << 30);
    fill(&mut history, 1, 50);
    assert_eq!((disk.used(), history.is_written()), (0, false));
    // The last ones are in memory.
    assert_eq!(all(&mut history, &ANY)[0].position, 50);
    disk.set_capacity(u64::MAX);
    fill(&mut history, 51, 100);
    let found = all(&mut history, &ANY);
    assert_eq!(found[0].position, 150);
    assert!((80..=150).contains(&found.len()), "{}", found.len());
    assert!(disk.used() > 0 && history.is_written());
}

#[test]
fn attempts_that_began_and_ended_alike_take_a_byte_or_two_each() {
    let disk = SimDisk::new(1);
    let mut history = open(&disk, u64::MAX, 1 << 30);
    put(&mut history, SECOND, |past| {
        for position in 1..=100_000u64 {
            let at = position / 1_000;
            past.push(like(1, AttemptEnd::Acknowledged, at), position, &[]);
        }
    });
    let slots = history.known().next;
    assert!(slots <= 3, "{slots}");
    assert_eq!(
        all(
            &mut history,
            &AttemptQuery {
                limit: 10_000,
                ..ANY
            }
        )
        .len(),
        100_000
    );
}
