//! The plug pulled at every single step.

use std::ops::ControlFlow;

use tributary_journal::{
    AppendError, CheckpointItem, CheckpointWriter, Head, OpenError, ScanOptions, create,
    load_latest_checkpoint, scan,
};
use tributary_testkit::disk::{Fault, SimDisk};
use tributary_testkit::random::Random;

use crate::support::{Model, frame, meta, options, reopen};

const LONGEST: u64 = 700;

/// What was acknowledged, and what was being done when the power failed.
#[derive(Default)]
struct Acknowledged {
    created: bool,
    model: Model,
    in_flight: Option<Head>,
    epochs: usize,
    checkpoint: u64,
}

/// A seeded life of a journal; ends early when the power fails.
fn live(disk: &SimDisk, seed: u64) -> Acknowledged {
    let mut acknowledged = Acknowledged {
        model: Model::new(LONGEST),
        ..Acknowledged::default()
    };
    let _ = live_until_failure(disk, seed, &mut acknowledged);
    acknowledged
}

fn live_until_failure(disk: &SimDisk, seed: u64, acknowledged: &mut Acknowledged) -> Option<()> {
    let mut random = Random::new(seed);
    create(&disk.disk(), &options(), &meta()).ok()?;
    acknowledged.created = true;
    acknowledged.epochs = 1;
    let (mut writer, _, _) = reopen(disk).ok()?;
    for _ in 0..24 {
        let mut builder = frame(&writer.head(), 1 + random.below(8), LONGEST);
        acknowledged.in_flight = Some(builder.seal(&writer.head()).head());
        match writer.append(&mut builder) {
            Ok(head) => acknowledged.model.heads.insert(head.position, head),
            Err(AppendError::Fatal(_)) => return None,
            Err(error) => panic!("{error}"),
        };
        acknowledged.in_flight = None;
        match random.below(8) {
            0 => writer.mark().ok()?,
            1 | 2 => drop(writer.maintainer().step().ok()?),
            3 => {
                let head = writer.head();
                let mut checkpoint = CheckpointWriter::begin(disk.disk(), &head).ok()?;
                for number in 0..20u64 {
                    checkpoint.push(&number.to_le_bytes()).ok()?;
                }
                checkpoint.finish().ok()?;
                acknowledged.checkpoint = head.position;
            }
            4 => {
                writer.new_epoch(0).ok()?;
                acknowledged.epochs += 1;
            }
            5 => {
                drop(writer);
                writer = reopen(disk).ok()?.0;
            }
            _ => {}
        }
    }
    while writer.maintainer().step().ok()? {}
    writer.close().ok()
}

fn check_survivor(survivor: &SimDisk, acknowledged: &Acknowledged) {
    let model = &acknowledged.model;
    let tail = scan(&*survivor.disk(), &ScanOptions::default(), &mut |_| {
        ControlFlow::Continue(())
    });
    let (mut writer, reader, recovery) = match reopen(survivor) {
        Err(OpenError::NotFound) if !acknowledged.created => {
            create(&survivor.disk(), &options(), &meta()).unwrap();
            reopen(survivor).unwrap()
        }
        opened => {
            let opened = opened.unwrap();
            assert_eq!(
                tail.unwrap().tail_bytes,
                opened.2.cut_bytes,
                "a scan and recovery agree"
            );
            opened
        }
    };
    let head = writer.head();
    let plain = |head: Head| Head { epoch: 0, ..head };
    let expected = [Some(model.head()), acknowledged.in_flight];
    assert!(
        expected
            .iter()
            .flatten()
            .any(|expected| plain(*expected) == plain(head)),
        "the head is the last acknowledged one or the one in flight"
    );
    assert_eq!(recovery.cut_bytes > 0, recovery.cut_at.is_some());
    model.check(survivor, &reader);
    assert!(reader.meta().epochs.len() >= acknowledged.epochs);
    let mut loaded_records = 0u64;
    let mut is_ours = |through, hash| {
        let head = reader.head_at(through).unwrap();
        head.is_some_and(|head| head.hash == hash)
    };
    let loaded = load_latest_checkpoint(&*survivor.disk(), &mut is_ours, &mut |item| match item {
        CheckpointItem::Begin { .. } => loaded_records = 0,
        CheckpointItem::Block(block) => {
            for record in block.records() {
                assert_eq!(record, loaded_records.to_le_bytes());
                loaded_records += 1;
            }
        }
    })
    .unwrap();
    assert!(
        loaded.through.unwrap_or(0) >= acknowledged.checkpoint,
        "a finished checkpoint survives"
    );
    assert_eq!(
        loaded_records,
        if loaded.through.is_some() { 20 } else { 0 }
    );
    // And on it goes.
    let mut model = Model {
        heads: model.heads.clone(),
        longest: LONGEST,
    };
    for _ in 0..4 {
        model.append(&mut writer, 6).unwrap();
    }
    while writer.maintainer().step().unwrap() {}
    writer.close().unwrap();
    let (writer, reader, recovery) = reopen(survivor).unwrap();
    assert_eq!(
        (writer.head(), recovery.cut_bytes, recovery.rebuilt.len()),
        (model.head(), 0, 0)
    );
    model.check_index(&reader);
}

#[test]
fn every_acknowledged_frame_survives_a_crash_at_any_step() {
    for seed in 0..3 {
        let whole = SimDisk::new(seed);
        let acknowledged = live(&whole, seed);
        assert!(
            acknowledged.model.heads.len() > 20,
            "without faults everything is acknowledged"
        );
        for operation in 0..whole.operations() {
            let disk = SimDisk::new(seed);
            disk.inject(operation, Fault::PowerOff);
            let acknowledged = live(&disk, seed);
            assert!(disk.is_off(), "the fault was reached");
            check_survivor(&disk.crash(operation), &acknowledged);
        }
    }
}

#[test]
fn a_crash_during_recovery_loses_nothing_either() {
    for seed in 10..30 {
        let whole = SimDisk::new(seed);
        live(&whole, seed);
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        disk.inject(random.below(whole.operations()), Fault::PowerOff);
        let acknowledged = live(&disk, seed);
        let survivor = disk.crash(seed);
        let before = survivor.operations();
        let _ = reopen(&survivor.copy());
        for operation in before..before + 14 {
            let again = survivor.copy();
            again.inject(again.operations() + operation - before, Fault::PowerOff);
            // A `create` that the power cut short may still have made a journal, or not.
            let reopened = reopen(&again);
            assert!(!acknowledged.created || reopened.is_ok() || again.is_off());
            drop(reopened);
            let twice = again.crash(operation);
            check_survivor(
                &twice,
                &Acknowledged {
                    model: acknowledged.model.clone(),
                    ..acknowledged
                },
            );
        }
    }
}

#[test]
fn an_unfinished_write_is_cut_zeroed_and_reported() {
    let mut cuts = 0;
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let (mut writer, _) = crate::support::fresh(&disk);
        let mut model = Model::new(LONGEST);
        model.append(&mut writer, 5).unwrap();
        let end = writer.reader().stats().segment_bytes;
        // The write is begun, the sync never is.
        disk.inject(disk.operations() + 1, Fault::PowerOff);
        assert!(model.append(&mut writer, 9).is_err());
        let survivor = disk.crash(seed);
        let (writer, reader, recovery) = reopen(&survivor).unwrap();
        if writer.head() != model.head() {
            // All of it happened to reach the medium.
            assert_eq!((writer.head().position, recovery.cut_bytes), (14, 0));
            continue;
        }
        model.check(&survivor, &reader);
        if recovery.cut_bytes > 0 {
            cuts += 1;
            let (file, offset) = recovery.cut_at.unwrap();
            assert_eq!((offset, file.ends_with("00001.seg")), (end, true));
            let bytes = &survivor.files()[&file][offset as usize..];
            assert!(bytes.iter().all(|byte| *byte == 0), "nothing of it remains");
        }
    }
    assert!(cuts > 10, "the simulator tears writes: {cuts}");
}

/// The process stops after the failed sync; the next one finds what the first wrote, as the system shows it. What that one
/// acknowledges must not rest on bytes that never reached the medium.
#[test]
fn what_follows_a_failed_sync_rests_on_nothing_that_only_seemed_written() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        create(&disk.disk(), &options(), &meta()).unwrap();
        let (mut writer, _, _) = reopen(&disk).unwrap();
        writer
            .append(&mut frame(&writer.head(), 3, LONGEST))
            .unwrap();
        // The write succeeds, its sync does not.
        disk.inject(disk.operations() + 1, Fault::Broken);
        let failed = writer.append(&mut frame(&writer.head(), 3, LONGEST));
        assert!(matches!(failed, Err(AppendError::Fatal(_))), "{failed:?}");
        drop(writer);

        let (mut writer, _, _) = reopen(&disk).unwrap();
        let acknowledged = writer
            .append(&mut frame(&writer.head(), 3, LONGEST))
            .unwrap();
        drop(writer);
        let survivor = disk.crash(seed);
        let (writer, _, _) = reopen(&survivor).unwrap();
        assert_eq!(writer.head(), acknowledged, "seed {seed}");
    }
}

/// Files that an ended process made are seen by the next one, whether or not their names are durable yet.
#[test]
fn what_is_acknowledged_in_a_file_made_by_an_ended_process_survives() {
    for seed in 0..8 {
        let whole = SimDisk::new(seed);
        fill(&whole);
        for operation in 0..whole.operations() {
            let disk = SimDisk::new(seed);
            // An error that nobody outlives: the process ends at this operation, the machine goes on.
            disk.inject(operation, Fault::StorageFull);
            fill(&disk);
            let created = create(&disk.disk(), &options(), &meta());
            assert!(
                matches!(created, Ok(()) | Err(OpenError::AlreadyExists)),
                "seed {seed}, operation {operation}: {created:?}"
            );
            let (mut writer, _, _) = reopen(&disk).unwrap();
            let acknowledged = writer
                .append(&mut frame(&writer.head(), 2, LONGEST))
                .unwrap();
            drop(writer);
            let survivor = disk.crash(operation);
            let (writer, _, _) = reopen(&survivor)
                .unwrap_or_else(|error| panic!("seed {seed}, operation {operation}: {error}"));
            assert_eq!(
                writer.head(),
                acknowledged,
                "seed {seed}, operation {operation}"
            );
        }
    }
}

/// Makes a journal and rotates a few times; ends with the first error.
fn fill(disk: &SimDisk) {
    let _ended = (|| {
        create(&disk.disk(), &options(), &meta()).ok()?;
        let (mut writer, _, _) = reopen(disk).ok()?;
        for _ in 0..12 {
            let mut builder = frame(&writer.head(), 8, LONGEST);
            writer.append(&mut builder).ok()?;
        }
        Some(())
    })();
}
