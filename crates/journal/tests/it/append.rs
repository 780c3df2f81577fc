use tributary_journal::{
    AppendError, FRAME_BODY_BYTES_MAX, FRAME_RECORDS_MAX, FrameBuilder, FrameRef, Head, Meta,
    OpenError, Options, PushError, RECORD_BYTES_MAX, create, open, read_meta,
};
use tributary_testkit::disk::{Fault, SimDisk};

use crate::support::{
    Model, SEGMENT_BYTES, frame, fresh, grown, key_extractor, meta, options, reopen, settle,
    versions,
};

#[test]
fn what_was_appended_is_read_again_before_and_after_reopening() {
    for (frames, longest) in [(1, 10), (40, 100), (200, 40), (30, 1500)] {
        let (disk, model) = grown(frames, longest);
        let (writer, reader, recovery) = reopen(&disk).unwrap();
        assert_eq!(
            (recovery.cut_bytes, recovery.rebuilt.len()),
            (0, 0),
            "a clean stop needs no repair"
        );
        assert_eq!(writer.head(), model.head());
        model.check(&disk, &reader);
    }
}

#[test]
fn a_second_opener_is_refused() {
    let disk = SimDisk::new(1);
    let (writer, reader) = fresh(&disk);
    let maintainer = writer.maintainer();
    assert!(matches!(reopen(&disk), Err(OpenError::Locked)));
    assert!(matches!(
        create(&disk.disk(), &options(), &meta()),
        Err(OpenError::Locked)
    ));
    drop(writer);
    assert!(
        matches!(reopen(&disk), Err(OpenError::Locked)),
        "the maintainer still may write"
    );
    drop(maintainer);
    assert!(reopen(&disk).is_ok());
    assert!(matches!(
        create(&disk.disk(), &options(), &meta()),
        Err(OpenError::AlreadyExists)
    ));
    assert!(matches!(reopen(&SimDisk::new(1)), Err(OpenError::NotFound)));
    drop(reader);
}

#[test]
fn a_frame_and_a_record_are_bounded() {
    let mut builder = FrameBuilder::new(1, 1, versions(1));
    assert_eq!(builder.push(|_| ()), Err(PushError::RecordSize));
    assert_eq!(
        builder.push(|buf| buf.extend([0; RECORD_BYTES_MAX + 1])),
        Err(PushError::RecordSize)
    );
    assert_eq!(builder.count(), 0);
    for _ in 0..FRAME_RECORDS_MAX {
        assert!(builder.has_room(1));
        builder.push(|buf| buf.push(1)).unwrap();
    }
    assert!(!builder.has_room(1));
    assert_eq!(builder.push(|buf| buf.push(1)), Err(PushError::FrameFull));
    builder.reset(1, 1, versions(1));
    while builder.has_room(RECORD_BYTES_MAX) {
        builder
            .push(|buf| buf.extend([1; RECORD_BYTES_MAX]))
            .unwrap();
    }
    assert_eq!(
        builder.push(|buf| buf.extend([1; RECORD_BYTES_MAX])),
        Err(PushError::FrameFull)
    );
    let body = builder.body_bytes();
    assert!(body <= FRAME_BODY_BYTES_MAX);
    let sealed = builder.seal(&Head::default());
    assert_eq!(sealed.verify(&Head::default()), Ok(()));
    assert_eq!(sealed.records().count(), body / (RECORD_BYTES_MAX + 8));
}

#[test]
fn the_same_records_on_the_same_head_are_the_same_frame() {
    let head = Head {
        position: 41,
        hash: [5; 32],
        timestamp: 7,
        epoch: 2,
    };
    let mut first = frame(&head, 9, 100);
    let mut second = frame(&head, 9, 100);
    second.seal(&Head {
        hash: [6; 32],
        ..head
    });
    let bytes = first.seal(&head).bytes().to_vec();
    assert_eq!(bytes, second.seal(&head).bytes());
    let parsed = FrameRef::parse(&bytes).unwrap();
    assert_eq!(parsed.verify(&head), Ok(()));
    assert_eq!(
        (parsed.header().epoch, parsed.header().rules_version),
        (2, 3)
    );
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        let verified = FrameRef::parse(&bad).and_then(|frame| frame.verify(&head));
        assert!(verified.is_err(), "a flipped bit at byte {at} is found");
    }
}

#[test]
fn frames_that_do_not_follow_are_refused_and_change_nothing() {
    let disk = SimDisk::new(1);
    let (mut writer, reader) = fresh(&disk);
    let mut model = Model::new(50);
    model.append(&mut writer, 4).unwrap();
    let head = writer.head();
    let stale = frame(
        &Head {
            position: 3,
            ..head
        },
        1,
        50,
    );
    let gap = frame(
        &Head {
            position: 5,
            ..head
        },
        1,
        50,
    );
    let mut old = FrameBuilder::new(5, head.timestamp - 1, versions(3));
    old.push(|buf| buf.push(1)).unwrap();
    for mut refused in [stale, gap, old, FrameBuilder::new(5, 5_000, versions(3))] {
        assert!(matches!(
            writer.append(&mut refused),
            Err(AppendError::Refused(_))
        ));
    }
    let mut large = FrameBuilder::new(5, 5_000, versions(3));
    large
        .push(|buf| buf.extend([1; SEGMENT_BYTES as usize]))
        .unwrap();
    assert!(matches!(
        writer.append(&mut large),
        Err(AppendError::TooLarge)
    ));
    assert_eq!(writer.head(), head);
    model.append(&mut writer, 4).unwrap();
    model.check(&disk, &reader);
}

#[test]
fn a_sandbox_is_one_for_life_and_nothing_else_is() {
    for sandbox in [true, false] {
        let disk = SimDisk::new(5);
        let made = Meta { sandbox, ..meta() };
        create(&disk.disk(), &options(), &made).unwrap();
        assert_eq!(read_meta(&*disk.disk()).unwrap(), made);
        let (mut writer, ..) = reopen(&disk).unwrap();
        writer.new_epoch(0).unwrap();
        assert_eq!(read_meta(&*disk.disk()).unwrap().sandbox, sandbox);
    }
}

#[test]
fn a_journal_whose_meta_file_is_gone_is_never_made_anew() {
    for frames in [1, 60] {
        let (disk, _) = grown(frames, 200);
        disk.delete("meta");
        let before = disk.files();
        for _ in 0..2 {
            assert!(matches!(
                create(&disk.disk(), &options(), &meta()),
                Err(OpenError::Damaged(damage)) if damage.file == "meta"
            ));
        }
        assert_eq!(disk.files(), before, "nothing was changed");
    }
}

#[test]
fn a_copy_by_frames_has_the_same_chain_and_epochs() {
    let (disk, model) = grown(60, 200);
    let (mut writer, reader, _) = reopen(&disk).unwrap();
    assert_eq!(writer.new_epoch(0).unwrap(), 2);
    let mut model = model;
    model.append(&mut writer, 5).unwrap();
    let copy = SimDisk::new(2);
    let (mut to, copied) = fresh(&copy);
    let mut frames = reader.frames(0);
    while let Some(frame) = frames.next().unwrap() {
        assert_eq!(
            to.append_sealed(frame.bytes()).unwrap().hash,
            frame.header().hash
        );
    }
    assert_eq!(to.head(), writer.head());
    assert_eq!(
        (copied.epoch_of(1), copied.epoch_of(to.head().position)),
        (1, 2)
    );
    assert_eq!(to.meta(), writer.meta());
    model.check(&copy, &copied);
    let mut bad = frame(
        &Head {
            hash: [1; 32],
            ..to.head()
        },
        1,
        20,
    );
    let unchained = bad
        .seal(&Head {
            hash: [1; 32],
            ..to.head()
        })
        .bytes()
        .to_vec();
    assert!(matches!(
        to.append_sealed(&unchained),
        Err(AppendError::Refused(_))
    ));
    assert!(matches!(
        to.append_sealed(&unchained[..100]),
        Err(AppendError::Refused(_))
    ));
    // Followed from the middle, the frame that holds the position comes first, and new ones come when they are there.
    let mut tail = reader.frames(writer.head().position);
    assert!(tail.next().unwrap().unwrap().header().last_position() == writer.head().position);
    assert!(tail.next().unwrap().is_none());
    model.append(&mut writer, 2).unwrap();
    assert_eq!(
        tail.next().unwrap().unwrap().header().last_position(),
        writer.head().position
    );
}

#[test]
fn frames_start_at_any_position() {
    let (disk, model) = grown(120, 60);
    let (_, reader, _) = reopen(&disk).unwrap();
    for position in 1..=model.head().position {
        let mut frames = reader.frames(position);
        let frame = frames.next().unwrap().unwrap();
        let first = *frame.header();
        assert!((first.first_position..=first.last_position()).contains(&position));
        let alone = reader.frame(position).unwrap();
        assert_eq!(alone.as_deref(), Some(frame.bytes()), "at {position}");
    }
    let head = model.head().position;
    for position in [0, head + 1, u64::MAX] {
        assert_eq!(reader.frame(position).unwrap(), None);
    }
}

#[test]
fn a_frame_with_a_changed_byte_is_not_given_out() {
    for longest in [40, 300] {
        let (disk, model) = grown(60, longest);
        let (_, reader, _) = reopen(&disk).unwrap();
        let position = model.head().position / 2;
        let frame = reader.frame(position).unwrap().unwrap();
        let files = disk.files();
        let place = files.iter().find_map(|(path, bytes)| {
            let at = bytes.windows(frame.len()).position(|part| part == frame)?;
            path.ends_with(".seg").then_some((path, at))
        });
        let (path, at) = place.unwrap();
        for offset in [0, 20, frame.len() / 2, frame.len() - 1] {
            disk.flip(path, at + offset, 0x04);
            assert!(reader.frame(position).is_err(), "byte {offset}");
            disk.flip(path, at + offset, 0x04);
        }
        assert_eq!(reader.frame(position).unwrap(), Some(frame));
    }
}

#[test]
fn a_copy_that_knows_the_epochs_ahead_takes_the_frames_and_may_begin_one_of_its_own() {
    let (disk, mut model) = grown(20, 200);
    let (mut writer, reader, _) = reopen(&disk).unwrap();
    let before = writer.head().position;
    assert_eq!(writer.new_epoch(0).unwrap(), 2);
    model.append(&mut writer, 5).unwrap();
    assert_eq!(writer.new_epoch(700).unwrap(), 700);
    model.append(&mut writer, 5).unwrap();
    for through in [before, before + 5, before + 10] {
        let copy = SimDisk::new(2);
        create(&copy.disk(), &options(), &writer.meta()).unwrap();
        let (mut to, ..) = reopen(&copy).unwrap();
        let mut frames = reader.frames(0);
        while let Some(frame) = frames.next().unwrap() {
            if frame.header().last_position() <= through {
                to.append_sealed(frame.bytes()).unwrap();
            }
        }
        // Wherever it ends, its own epoch is one that nobody had.
        assert_eq!(to.new_epoch(0).unwrap(), 701);
        drop(to);
        let (to, copied, _) = reopen(&copy).unwrap();
        assert_eq!((to.head().position, to.head().epoch), (through, 701));
        assert_eq!(copied.epoch_of(through + 1), 701);
        assert_eq!(copied.epoch_of(before), 1);
    }
}

#[test]
fn epochs_last() {
    let disk = SimDisk::new(1);
    let (mut writer, _) = fresh(&disk);
    let mut model = Model::new(50);
    model.append(&mut writer, 4).unwrap();
    assert_eq!(writer.new_epoch(0).unwrap(), 2);
    assert_eq!(writer.new_epoch(0).unwrap(), 3);
    model.append(&mut writer, 4).unwrap();
    drop(writer);
    let (writer, reader, _) = reopen(&disk).unwrap();
    assert_eq!(
        (reader.epoch_of(4), reader.epoch_of(5), writer.head().epoch),
        (1, 3, 3)
    );
    assert_eq!(reader.frames(5).next().unwrap().unwrap().header().epoch, 3);
    model.check(&disk, &reader);
}

#[test]
fn a_full_disk_is_known_before_deciding_and_left_behind_when_space_returns() {
    let disk = SimDisk::new(1);
    let (mut writer, reader) = fresh(&disk);
    let mut model = Model::new(200);
    settle(&writer);
    disk.set_capacity(disk.used());
    let mut appended = 0;
    loop {
        match writer.reserve(1) {
            Ok(()) => model
                .append(&mut writer, 5)
                .expect("what was reserved is there"),
            Err(AppendError::StorageFull) => break,
            Err(error) => panic!("{error}"),
        }
        appended += 1;
    }
    assert!(appended > 3, "the reserved segments were used");
    model.check(&disk, &reader);
    // Unreserved, the very frame is refused and nothing of it remains.
    while model.append(&mut writer, 5).is_ok() {}
    let head = writer.head();
    assert!(matches!(
        model.append(&mut writer, 5),
        Err(AppendError::StorageFull)
    ));
    assert_eq!(writer.head(), head);
    model.check(&disk, &reader);
    let survivor = disk.crash(1);
    model.check(&survivor, &reopen(&survivor).unwrap().1);
    disk.set_capacity(u64::MAX);
    writer.reserve(3).unwrap();
    for _ in 0..40 {
        model.append(&mut writer, 5).unwrap();
    }
    settle(&writer);
    model.check(&disk, &reader);
    drop(writer);
    model.check(&disk, &reopen(&disk).unwrap().1);
}

#[test]
fn a_write_refused_for_space_leaves_nothing_of_the_frame() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let (mut writer, reader) = fresh(&disk);
        let mut model = Model::new(900);
        model.append(&mut writer, 3).unwrap();
        disk.inject(disk.operations(), Fault::StorageFull);
        assert!(matches!(
            model.append(&mut writer, 9),
            Err(AppendError::StorageFull)
        ));
        let survivor = disk.crash(seed);
        let (again, survived, _) = reopen(&survivor).unwrap();
        assert_eq!(again.head(), model.head());
        model.check(&survivor, &survived);
        model.append(&mut writer, 1).unwrap();
        model.append(&mut writer, 9).unwrap();
        model.check(&disk, &reader);
        let survivor = disk.crash(seed);
        assert_eq!(reopen(&survivor).unwrap().0.head(), model.head());
    }
}

/// Fills the disk, which copies on write from now on: nothing can be written although space is reserved.
fn fill_up(disk: &SimDisk) {
    disk.set_copy_on_write(true);
    disk.set_capacity(disk.used());
}

#[test]
fn a_full_disk_that_copies_on_write_ends_nothing_however_long_it_lasts() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let (mut writer, reader) = fresh(&disk);
        let mut model = Model::new(900);
        model.append(&mut writer, 3).unwrap();
        fill_up(&disk);
        for _ in 0..5 {
            let refused = model.append(&mut writer, 9);
            assert!(
                matches!(refused, Err(AppendError::StorageFull)),
                "{refused:?}"
            );
            let refused = writer.reserve(1);
            assert!(
                matches!(refused, Err(AppendError::StorageFull)),
                "{refused:?}"
            );
            let marked = writer.mark();
            assert!(
                matches!(marked, Err(AppendError::StorageFull)),
                "{marked:?}"
            );
            // A part of the frame may lie behind the end, where nobody reads.
            model.check_index(&reader);
            let survivor = disk.crash(seed);
            let (again, survived, _) = reopen(&survivor).unwrap();
            assert_eq!(again.head(), model.head(), "what was refused is not there");
            model.check(&survivor, &survived);
        }
        disk.set_capacity(u64::MAX);
        writer.reserve(1).unwrap();
        writer.mark().unwrap();
        model.append(&mut writer, 1).unwrap();
        model.append(&mut writer, 9).unwrap();
        model.check(&disk, &reader);
        let survivor = disk.crash(seed);
        let (again, survived, _) = reopen(&survivor).unwrap();
        assert_eq!(again.head(), model.head());
        model.check(&survivor, &survived);
    }
}

#[test]
fn a_segment_that_cannot_begin_for_lack_of_space_begins_later() {
    for seed in 0..10 {
        let disk = SimDisk::new(seed);
        let (mut writer, reader) = fresh(&disk);
        let mut model = Model::new(900);
        for _ in 0..60 {
            writer.reserve(1).unwrap();
            fill_up(&disk);
            let refused = model.append(&mut writer, 4);
            assert!(
                matches!(refused, Err(AppendError::StorageFull)),
                "{refused:?}"
            );
            disk.set_capacity(u64::MAX);
            model.append(&mut writer, 4).unwrap();
        }
        assert!(reader.stats().segments > 3, "segments began");
        model.check(&disk, &reader);
        let survivor = disk.crash(seed);
        model.check(&survivor, &reopen(&survivor).unwrap().1);
    }
}

#[test]
fn a_failed_write_or_sync_is_final() {
    for operation in 0..2 {
        let disk = SimDisk::new(1);
        let (mut writer, reader) = fresh(&disk);
        let mut model = Model::new(50);
        model.append(&mut writer, 3).unwrap();
        disk.inject(disk.operations() + operation, Fault::Broken);
        assert!(matches!(
            model.append(&mut writer, 3),
            Err(AppendError::Fatal(_))
        ));
        assert!(
            matches!(model.append(&mut writer, 3), Err(AppendError::Fatal(_))),
            "never tried again"
        );
        assert!(matches!(writer.mark(), Err(AppendError::Fatal(_))));
        assert!(matches!(writer.reserve(1), Err(AppendError::Fatal(_))));
        assert_eq!(
            reader.head(),
            model.head(),
            "nothing unacknowledged is shown"
        );
        model.check_index(&reader);
    }
}

#[test]
fn space_is_written_ahead_of_small_frames_and_not_of_large_ones() {
    const RECORD_BYTES: usize = 16 << 10;
    let options = Options {
        segment_bytes: 16 << 20,
        reserve_bytes: 0,
        shared_log: None,
    };
    let maintained = |records: usize| {
        let disk = SimDisk::new(1);
        create(&disk.disk(), &options, &meta()).unwrap();
        let (mut writer, ..) = open(disk.disk(), options.clone(), key_extractor()).unwrap();
        for _ in 0..640 / records {
            let mut builder = FrameBuilder::new(writer.head().position + 1, 1, versions(1));
            for _ in 0..records {
                builder
                    .push(|buf| buf.extend([7; RECORD_BYTES]))
                    .expect("it fits");
            }
            writer.append(&mut builder).unwrap();
        }
        let mut maintainer = writer.maintainer();
        std::iter::from_fn(|| maintainer.step().unwrap().then_some(())).count()
    };
    assert!(maintained(1) > 10, "the next segment, and pieces of it");
    assert_eq!(maintained(64), 1, "the next segment alone");
}
