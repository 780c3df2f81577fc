//! A small journal on a simulated disk, and a model of what it must hold.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use tributary_journal::{
    Disk, FrameBuilder, Head, KeyExtractor, Meta, OpenError, Options, ReadCache, Reader,
    RecoveryReport, ScanOptions, Versions, Writer, create, open, scan,
};
use tributary_testkit::disk::SimDisk;
use tributary_testkit::random::Random;

/// Versions with these rules.
pub(crate) fn versions(rules: u16) -> Versions {
    Versions { format: 1, rules }
}

pub(crate) const SEGMENT_BYTES: u64 = 16 * 1024;

pub(crate) fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        reserve_bytes: 0,
        shared_log: None,
    }
}

pub(crate) fn meta() -> Meta {
    Meta::new([7; 16], [9; 16])
}

/// Test payloads begin with their two keys.
pub(crate) fn key_extractor() -> KeyExtractor {
    Arc::new(|payload, sink| {
        for key in payload.chunks_exact(8).take(2) {
            sink(u64::from_le_bytes(key.try_into().unwrap()));
        }
    })
}

/// The payload that position `position` has in every test: 16 bytes of keys, then noise of some length.
pub(crate) fn payload(position: u64, longest: u64) -> Vec<u8> {
    let mut random = Random::new(position);
    let mut payload = Vec::new();
    for key in keys(position) {
        payload.extend(key.to_le_bytes());
    }
    let noise = random.below(longest);
    payload.extend((0..noise).map(|_| random.any() as u8));
    payload
}

pub(crate) fn keys(position: u64) -> [u64; 2] {
    [position % 13, 1_000_000 + position]
}

pub(crate) fn fresh(disk: &SimDisk) -> (Writer, Reader) {
    create(&disk.disk(), &options(), &meta()).unwrap();
    let (writer, reader, recovery) = reopen(disk).unwrap();
    assert_eq!(recovery, RecoveryReport::default());
    (writer, reader)
}

pub(crate) fn reopen(disk: &SimDisk) -> Result<(Writer, Reader, RecoveryReport), OpenError> {
    open(disk.disk(), options(), key_extractor())
}

/// A frame of `count` test records that follows `head`.
pub(crate) fn frame(head: &Head, count: u64, longest: u64) -> FrameBuilder {
    let mut builder = FrameBuilder::new(head.position + 1, 1_000 + head.position, versions(3));
    for position in head.position + 1..=head.position + count {
        let pushed = builder.push(|buf| buf.extend(payload(position, longest)));
        assert_eq!(pushed, Ok(position));
    }
    builder
}

/// What a journal must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) heads: BTreeMap<u64, Head>,
    pub(crate) longest: u64,
}

impl Model {
    pub(crate) fn new(longest: u64) -> Model {
        Model {
            heads: BTreeMap::from([(
                0,
                Head {
                    epoch: 1,
                    ..Head::default()
                },
            )]),
            longest,
        }
    }

    pub(crate) fn head(&self) -> Head {
        *self.heads.last_key_value().unwrap().1
    }

    pub(crate) fn append(
        &mut self,
        writer: &mut Writer,
        count: u64,
    ) -> Result<(), tributary_journal::AppendError> {
        let mut builder = frame(&writer.head(), count, self.longest);
        let head = writer.append(&mut builder)?;
        self.heads.insert(head.position, head);
        Ok(())
    }

    /// Everything up to the reader's head reads, indexes and chains as it was written.
    pub(crate) fn check(&self, disk: &SimDisk, reader: &Reader) {
        let head = reader.head();
        let mut buf = Vec::new();
        for position in 1..=head.position {
            assert!(
                reader.read(position, &mut buf).unwrap(),
                "position {position} is there"
            );
            assert_eq!(buf, payload(position, self.longest), "position {position}");
        }
        // In both directions, by steps within what was read before and past it.
        let mut near = ReadCache::default();
        for step in [1, 5, 70] {
            let up = (1..=head.position).step_by(step);
            let down = (1..=head.position).rev().step_by(step);
            for position in up.chain(down) {
                let found = reader.read_cached(position, &mut near).unwrap();
                let expected = payload(position, self.longest);
                assert_eq!(found, Some(&expected[..]), "position {position}");
            }
        }
        for position in [0, head.position + 1, u64::MAX] {
            assert!(!reader.read(position, &mut buf).unwrap());
            assert_eq!(reader.read_cached(position, &mut near).unwrap(), None);
        }
        self.check_index(reader);
        let mut seen = 0;
        let report = scan(&*disk.disk(), &ScanOptions::default(), &mut |record| {
            seen += 1;
            assert_eq!(
                (record.position, record.payload),
                (seen, &payload(seen, self.longest)[..])
            );
            ControlFlow::Continue(())
        });
        let report = report.unwrap();
        assert_eq!(
            (seen, report.head, report.tail_bytes),
            (head.position, head, 0)
        );
    }

    pub(crate) fn check_index(&self, reader: &Reader) {
        let last = reader.head().position;
        for key in 0..13 {
            let expected: Vec<u64> = (1..=last)
                .rev()
                .filter(|position| position % 13 == key)
                .collect();
            assert_eq!(found(reader, key), expected, "key {key}");
        }
        let hashes: Vec<u64> = (0..=last + 1)
            .map(|position| 1_000_000 + position)
            .collect();
        let mut newest = Vec::new();
        reader.find_newest(&hashes, &mut newest).unwrap();
        let expected: Vec<u64> = (0..=last + 1)
            .map(|position| if position > last { 0 } else { position })
            .collect();
        assert_eq!(newest, expected);
        for position in 1..=last {
            assert_eq!(found(reader, 1_000_000 + position), [position]);
        }
        assert_eq!(found(reader, 999), Vec::<u64>::new());
    }
}

pub(crate) fn found(reader: &Reader, key: u64) -> Vec<u64> {
    let mut positions = Vec::new();
    let found = reader.find(key, &mut |position| {
        positions.push(position);
        ControlFlow::Continue(())
    });
    found.unwrap();
    positions
}

/// A journal of several segments with all kinds of files, cleanly closed.
pub(crate) fn grown(frames: u64, longest: u64) -> (SimDisk, Model) {
    let disk = SimDisk::new(1);
    let (mut writer, _) = fresh(&disk);
    let mut model = Model::new(longest);
    for index in 0..frames {
        model.append(&mut writer, 1 + index % 7).unwrap();
        if index == frames / 2 {
            checkpoint(&disk, &writer.head());
            settle(&writer);
        }
    }
    settle(&writer);
    model.append(&mut writer, 3).unwrap();
    writer.close().unwrap();
    (disk, model)
}

pub(crate) fn settle(writer: &Writer) {
    let mut maintainer = writer.maintainer();
    while maintainer.step().unwrap() {}
}

pub(crate) fn checkpoint(disk: &SimDisk, head: &Head) {
    let mut writer =
        tributary_journal::CheckpointWriter::begin(disk.disk() as Arc<dyn Disk>, head).unwrap();
    for position in 1..=head.position {
        writer.push(&position.to_le_bytes()).unwrap();
    }
    writer.finish().unwrap();
}
