use std::ops::ControlFlow;

use tributary_testkit::disk::SimDisk;
use tributary_testkit::random::Random;

use crate::support::{Model, fresh, reopen, settle, versions};

#[test]
fn merges_keep_every_entry_and_bound_the_number_of_runs() {
    let disk = SimDisk::new(1);
    let (mut writer, reader) = fresh(&disk);
    let mut model = Model::new(2);
    let mut random = Random::new(1);
    for round in 0..12 {
        while reader.stats().segments < 8 * (round + 1) {
            model.append(&mut writer, 300).unwrap();
            if random.one_in(3) {
                writer.maintainer().step().unwrap();
            }
        }
        settle(&writer);
        assert!(reader.stats().runs <= 16, "{:?}", reader.stats());
        assert_eq!(reader.stats().runs_pending, 0);
    }
    model.check_index(&reader);
    let stats = reader.stats();
    assert!(
        stats.segments > 90 && stats.run_entries > 20_000,
        "{stats:?}"
    );
    drop(writer);
    let (_, reader, recovery) = reopen(&disk).unwrap();
    assert_eq!(recovery.rebuilt, Vec::<String>::new());
    assert_eq!(reader.stats().runs, stats.runs);
    model.check_index(&reader);
}

#[test]
fn a_key_used_by_every_record_is_found_newest_first_through_all_runs() {
    let disk = SimDisk::new(1);
    tributary_journal::create(
        &disk.disk(),
        &crate::support::options(),
        &crate::support::meta(),
    )
    .unwrap();
    let key_extractor: tributary_journal::KeyExtractor =
        std::sync::Arc::new(|_, sink| (0..3).for_each(|_| sink(42)));
    let (mut writer, reader, _) =
        tributary_journal::open(disk.disk(), crate::support::options(), key_extractor).unwrap();
    for _ in 0..12 {
        let mut builder =
            tributary_journal::FrameBuilder::new(writer.head().position + 1, 1, versions(1));
        for _ in 0..1000 {
            builder.push(|buf| buf.push(1)).unwrap();
            builder.add_key(42);
        }
        writer.append(&mut builder).unwrap();
        writer.maintainer().step().unwrap();
    }
    settle(&writer);
    assert!(reader.stats().runs > 0);
    let expected: Vec<u64> = (1..=12_000).rev().collect();
    assert_eq!(crate::support::found(&reader, 42), expected);
}

#[test]
fn readers_see_whole_frames_while_the_writer_goes_on() {
    let disk = SimDisk::new(1);
    let (mut writer, reader) = fresh(&disk);
    let mut model = Model::new(100);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (reader, done, longest) = (reader.clone(), &done, model.longest);
            scope.spawn(move || {
                let (mut random, mut buf, mut newest) = (Random::new(seed), Vec::new(), Vec::new());
                let mut near = tributary_journal::ReadCache::default();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let head = reader.head().position;
                    if head == 0 {
                        continue;
                    }
                    let position = 1 + random.below(head);
                    assert!(reader.read(position, &mut buf).unwrap());
                    assert_eq!(buf, crate::support::payload(position, longest));
                    let newest_payload = reader.read_cached(head, &mut near).unwrap();
                    let expected = crate::support::payload(head, longest);
                    assert_eq!(newest_payload, Some(&expected[..]));
                    reader
                        .find_newest(&[1_000_000 + position, 1_000_000 + head], &mut newest)
                        .unwrap();
                    assert_eq!(newest, [position, head]);
                }
            });
        }
        for count in 0..300 {
            model.append(&mut writer, 1 + count % 20).unwrap();
            writer.maintainer().step().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    model.check_index(&reader);
}

#[test]
fn an_index_file_is_shortened_only_when_nobody_looks_in_it() {
    let disk = SimDisk::new(3);
    let (mut writer, reader) = fresh(&disk);
    let mut model = Model::new(200);
    let runs = || {
        let files = disk.files().into_keys();
        let of_index = files.filter(|path| path.starts_with("index/"));
        of_index.partition::<Vec<String>, _>(|path| path.ends_with(".run"))
    };
    // Several runs, which more would be merged with.
    while runs().0.len() < 3 {
        model.append(&mut writer, 5).unwrap();
        settle(&writer);
    }
    let before: Vec<String> = runs().0;
    let last = model.head().position;
    let expected: Vec<u64> = (1..=last).rev().filter(|one| one % 13 == 4).collect();
    let mut came = Vec::new();
    let found = reader.find(4, &mut |position| {
        came.push(position);
        if came.len() == 1 {
            // All that it still has to look in is merged away meanwhile.
            while before.iter().any(|path| runs().0.contains(path)) {
                model.append(&mut writer, 5).unwrap();
                settle(&writer);
            }
        }
        ControlFlow::Continue(())
    });
    found.unwrap();
    assert_eq!(came, expected);
    let waiting = |(_, others): (Vec<String>, Vec<String>)| {
        others.iter().filter(|path| path.ends_with(".tmp")).count()
    };
    assert!(waiting(runs()) >= before.len(), "their names were taken");
    // A crash leaves them to the next open.
    let crashed = disk.crash(7);
    drop(reopen(&crashed).unwrap());
    let left = crashed
        .files()
        .into_keys()
        .filter(|path| path.ends_with(".tmp"));
    assert_eq!(left.count(), 0);
    settle(&writer);
    assert_eq!(waiting(runs()), 0, "now they are removed");
    model.check_index(&reader);
}
