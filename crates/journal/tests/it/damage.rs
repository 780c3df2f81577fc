//! Damage is found and located, and never cut silently.

use std::ops::ControlFlow;

use tributary_journal::{
    Damage, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameBuilder, FrameHeader, FrameRef, Head,
    OpenError, ReadError, ScanError, ScanOptions, Scrubber, scan,
};
use tributary_testkit::disk::{Fault, SimDisk};

use crate::support::{Model, fresh, grown, reopen, settle, versions};

fn scan_damage(disk: &SimDisk) -> Option<Damage> {
    match scan(&*disk.disk(), &ScanOptions::default(), &mut |_| {
        ControlFlow::Continue(())
    }) {
        Ok(_) => None,
        Err(ScanError::Damaged(damage)) => Some(damage),
        Err(error) => panic!("{error}"),
    }
}

/// Opens a damaged copy: either it is refused as damage, or everything that was acknowledged is still there or
/// reported when it is read.
fn check_open(disk: &SimDisk, model: &Model, truth_damaged: bool, case: &str) {
    match reopen(disk) {
        Err(OpenError::Damaged(damage)) => {
            assert!(!damage.file.is_empty() && !damage.what.is_empty())
        }
        Err(error) => panic!("{case}: {error}"),
        Ok((writer, reader, _)) => {
            assert_eq!(
                writer.head(),
                model.head(),
                "{case}: nothing acknowledged was cut"
            );
            let mut buf = Vec::new();
            let mut damaged = 0;
            for position in 1..=model.head().position {
                match reader.read(position, &mut buf) {
                    Ok(there) => assert!(
                        there && buf == crate::support::payload(position, model.longest),
                        "{case}: position {position} is as it was written"
                    ),
                    Err(ReadError::Damaged(_)) => damaged += 1,
                    Err(error) => panic!("{case}: {error}"),
                }
            }
            assert!(truth_damaged || damaged == 0, "{case}");
            if damaged == 0 {
                // A damaged page of the index is reported by the first look at it, and then mended.
                for position in 1..=model.head().position {
                    for key in crate::support::keys(position) {
                        let looked = reader.find(key, &mut |_| ControlFlow::Continue(()));
                        assert!(
                            matches!(looked, Ok(()) | Err(ReadError::Damaged(_))),
                            "{case}"
                        );
                    }
                }
                settle(&writer);
                model.check_index(&reader);
            }
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_is_found_or_harmless() {
    let (disk, model) = grown(26, 300);
    let files = disk.files();
    assert!(
        files.len() > 8,
        "all kinds of files are there: {:?}",
        files.keys()
    );
    let mut found_in_segments = 0;
    for (path, bytes) in &files {
        // Every byte where it matters, samples in what is zero.
        let step = if bytes.len() > 8192 { 3 } else { 1 };
        for offset in (0..bytes.len())
            .step_by(step)
            .filter(|at| bytes[*at] != 0 || at % 97 == 0)
        {
            let copy = disk.copy();
            copy.flip(path, offset, 1 << (offset % 8));
            let case = format!("{path} at {offset}");
            let scanned = scan_damage(&copy);
            let truth = path.ends_with(".seg") && !path.contains("spare");
            if let (true, Some(damage)) = (truth, &scanned) {
                found_in_segments += 1;
                assert_eq!(
                    (&damage.file, damage.offset <= offset as u64),
                    (path, true),
                    "{case}: {damage}"
                );
            }
            let used = truth && bytes[offset..].iter().any(|byte| *byte != 0);
            assert!(
                !used || scanned.is_some(),
                "{case}: damage in a segment is found by a scan"
            );
            // Opening is slow in comparison: every position, but not for every byte.
            if offset % 13 == 0 || bytes.len() < 5000 && offset % 5 == 0 {
                check_open(&copy, &model, truth, &case);
            }
        }
    }
    assert!(found_in_segments > 1000, "{found_in_segments}");
}

#[test]
fn a_missing_file_is_found_or_made_anew() {
    let (disk, model) = grown(60, 300);
    for path in disk.files().keys() {
        let copy = disk.copy();
        copy.delete(path);
        let opened = reopen(&copy);
        let view = path.starts_with("index/") || path.starts_with("checkpoint/");
        if view || path == "lock" || path.contains("spare") {
            let (writer, reader, recovery) = opened.unwrap();
            let rebuilt = !recovery.rebuilt.is_empty();
            assert_eq!(
                rebuilt,
                path.starts_with("index/"),
                "{path}: {:?}",
                recovery.rebuilt
            );
            model.check(&copy, &reader);
            settle(&writer);
            drop(writer);
            let again = reopen(&copy).unwrap().2;
            assert!(
                again.rebuilt.is_empty(),
                "it was made durable: {:?}",
                again.rebuilt
            );
        } else if path == "meta" {
            assert!(matches!(opened, Err(OpenError::NotFound)));
        } else {
            assert!(matches!(opened, Err(OpenError::Damaged(_))), "{path}");
            let damage = scan_damage(&copy).expect("a scan finds it too");
            assert!(!damage.what.is_empty());
        }
    }
}

#[test]
fn a_damaged_last_frame_is_told_from_an_unfinished_write_by_the_mark() {
    let (disk, model) = grown(5, 200);
    let file = "journal/00000000000000000001.seg";
    let last = disk.files()[file]
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap();
    for offset in [last, last - 60] {
        let copy = disk.copy();
        copy.flip(file, offset, 0x10);
        let Err(OpenError::Damaged(damage)) = reopen(&copy) else {
            panic!("cut silently")
        };
        assert_eq!(
            (damage.file.as_str(), damage.position),
            (file, model.head().position - 2)
        );
    }
    // Everything behind the middle gone: the mark knows of more.
    let copy = disk.copy();
    copy.damage(file, |bytes| bytes[4096 + 1024..].fill(0));
    assert!(matches!(reopen(&copy), Err(OpenError::Damaged(_))));
    let copy = disk.copy();
    copy.damage(file, |bytes| bytes.truncate(4096 + 1024));
    assert!(matches!(reopen(&copy), Err(OpenError::Damaged(_))));
}

#[test]
fn another_history_of_the_same_length_is_refused() {
    let (disk, model) = grown(5, 200);
    let other = SimDisk::new(5);
    let (mut writer, _) = crate::support::fresh(&other);
    while writer.head().position < model.head().position {
        let mut builder =
            tributary_journal::FrameBuilder::new(writer.head().position + 1, 1, versions(1));
        builder.push(|buf| buf.push(1)).unwrap();
        writer.append(&mut builder).unwrap();
    }
    writer.close().unwrap();
    let file = "journal/00000000000000000001.seg";
    let foreign = other.files()[file].clone();
    disk.damage(file, |bytes| *bytes = foreign);
    assert!(matches!(reopen(&disk), Err(OpenError::Damaged(_))));
    assert!(scan_damage(&disk).is_some());
}

#[test]
fn a_newer_format_is_refused_and_never_cut() {
    let (disk, _) = grown(5, 200);
    let file = "journal/00000000000000000001.seg";
    let (header, block) = (4096, 512);
    for (start, crc_at) in [(header, 124), (0, 4092)] {
        let copy = disk.copy();
        copy.damage(file, |bytes| {
            bytes[start + 4] = 9;
            let crc = crc_of(&bytes[start..start + crc_at]);
            bytes[start + crc_at..start + crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        });
        let before = copy.files();
        let Err(OpenError::Unsupported { version, .. }) = reopen(&copy) else {
            panic!("not refused")
        };
        assert_eq!(version, 9);
        assert!(block > 0 && copy.files() == before, "nothing was changed");
    }
}

/// CRC-32C, bit by bit.
fn crc_of(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn a_scrub_finds_all_damage_and_goes_on_behind_it() {
    let (disk, model) = grown(120, 300);
    let (writer, reader, _) = reopen(&disk).unwrap();
    let mut scrubber = Scrubber::new(reader.clone());
    let (mut rounds, mut steps) = (0, 0);
    while rounds < 2 {
        let step = scrubber.step(3000).unwrap();
        assert!(step.damage.is_empty() && (step.bytes > 0 || step.round_complete));
        rounds += u32::from(step.round_complete);
        steps += 1;
    }
    assert!(steps > 20);
    let segments: Vec<String> = disk
        .files()
        .into_keys()
        .filter(|path| path.ends_with(".seg") && !path.contains("spare"))
        .collect();
    let run = disk
        .files()
        .into_keys()
        .find(|path| path.ends_with(".run"))
        .unwrap();
    for path in [&segments[0], &segments[2], &run] {
        disk.flip(path, 4096 + 150, 0xff);
    }
    let mut damage = Vec::new();
    loop {
        let step = scrubber.step(3000).unwrap();
        damage.extend(step.damage);
        if step.round_complete {
            break;
        }
    }
    let files: Vec<&String> = damage.iter().map(|damage| &damage.file).collect();
    assert!(
        [&segments[0], &segments[2], &run]
            .iter()
            .all(|path| files.contains(path)),
        "{files:?}"
    );
    assert!(
        files
            .iter()
            .all(|path| [&segments[0], &segments[2], &run].contains(path)),
        "{files:?}"
    );
    // The truth cannot be mended, a run can, once its segments are whole.
    for path in [&segments[0], &segments[2]] {
        disk.flip(path, 4096 + 150, 0xff);
    }
    settle(&writer);
    model.check(&disk, &reader);
}

#[test]
fn a_later_frame_proves_damage_even_when_nothing_was_marked() {
    let disk = SimDisk::new(1);
    let (mut writer, _) = crate::support::fresh(&disk);
    let mut model = Model::new(200);
    let mut begins = Vec::new();
    for _ in 0..6 {
        begins.push((
            writer.reader().stats().segment_bytes as usize,
            writer.head().position + 1,
        ));
        model.append(&mut writer, 4).unwrap();
    }
    drop(writer);
    let file = "journal/00000000000000000001.seg";
    for (begin, position) in &begins[..5] {
        // In the header, in the first record's length, in its payload.
        for offset in [20, 40, 130, 140] {
            let copy = disk.copy();
            copy.flip(file, begin + offset, 0x40);
            let before = copy.files();
            let Err(OpenError::Damaged(damage)) = reopen(&copy) else {
                panic!("cut silently")
            };
            assert_eq!((damage.offset, damage.position), (*begin as u64, *position));
            assert_eq!(copy.files(), before, "nothing was changed");
            assert_eq!(scan_damage(&copy), Some(damage));
        }
        let copy = disk.copy();
        copy.damage(file, |bytes| bytes[*begin..begin + 512].fill(0));
        assert!(matches!(reopen(&copy), Err(OpenError::Damaged(_))));
    }
    // Of the very last frame nothing but the caller's idle mark could tell; the cut is reported.
    let (begin, position) = begins[5];
    disk.flip(file, begin + 140, 0x40);
    let (writer, _, recovery) = reopen(&disk).unwrap();
    assert_eq!(writer.head().position, position - 1);
    assert_eq!(recovery.cut_at, Some((file.to_owned(), begin as u64)));
}

#[test]
fn a_payload_that_looks_like_a_later_frame_is_not_taken_for_one() {
    // A whole frame with a higher position, hidden in a record on every alignment boundary.
    let later = Head {
        position: 100,
        ..Head::default()
    };
    let forged = crate::support::frame(&later, 1, 20)
        .seal(&Head {
            timestamp: 0,
            ..later
        })
        .bytes()
        .to_vec();
    let disk = SimDisk::new(1);
    let (mut writer, _) = crate::support::fresh(&disk);
    let mut builder = FrameBuilder::new(1, 1, versions(1));
    let record = |buf: &mut Vec<u8>| {
        let payload = buf.len();
        buf.resize(payload + 512 * 8, 1);
        for boundary in 1..8 {
            buf[boundary * 512..][..forged.len()].copy_from_slice(&forged);
        }
    };
    builder.push(record).unwrap();
    // Written, and torn at its end.
    disk.inject(disk.operations() + 1, Fault::PowerOff);
    assert!(writer.append(&mut builder).is_err());
    let torn = disk.copy();
    torn.flip("journal/00000000000000000001.seg", 4096 + 200, 1);
    let (writer, _, recovery) = reopen(&torn).unwrap();
    assert_eq!(
        (writer.head().position, recovery.cut_bytes > 4096),
        (0, true)
    );
}

/// Makes the frame at `offset` say that its body has `body_len` bytes, with a checksum that matches.
fn set_body_len(frame: &mut [u8], body_len: usize) {
    frame[32..36].copy_from_slice(&(body_len as u32).to_le_bytes());
    let crc = crc32c::crc32c(&frame[..124]);
    frame[124..128].copy_from_slice(&crc.to_le_bytes());
}

/// No torn write leaves such a header behind: a program that allowed longer frames may have written it, and answered.
#[test]
fn a_frame_longer_than_4_mib_is_damage_and_is_never_cut() {
    let disk = SimDisk::new(4);
    let (mut writer, _) = fresh(&disk);
    let mut model = Model::new(100);
    for _ in 0..3 {
        model.append(&mut writer, 2).unwrap();
    }
    drop(writer);
    let path = "journal/00000000000000000001.seg";
    let segment = &disk.files()[path];
    let mut offset = 4096;
    for _ in 0..2 {
        let frame = FrameRef::parse(&segment[offset..]).unwrap();
        offset = (offset + frame.bytes().len()).next_multiple_of(512);
    }

    let mut longest = segment[offset..offset + FRAME_HEADER_BYTES].to_vec();
    set_body_len(&mut longest, FRAME_BYTES_MAX - FRAME_HEADER_BYTES);
    let header = FrameHeader::parse(&longest).unwrap();
    assert_eq!(header.frame_len(), FRAME_BYTES_MAX);
    set_body_len(&mut longest, FRAME_BYTES_MAX - FRAME_HEADER_BYTES + 1);
    let refused = FrameHeader::parse(&longest).unwrap_err();
    assert_eq!(refused.0, "the frame header is out of bounds");

    disk.damage(path, |bytes| {
        bytes[offset..offset + FRAME_HEADER_BYTES].copy_from_slice(&longest);
    });
    let damage = scan_damage(&disk).unwrap();
    let place = |damage: &Damage| (damage.offset, damage.position, damage.what);
    let expected = (offset as u64, 5, "the frame header is out of bounds");
    assert_eq!((damage.file.as_str(), place(&damage)), (path, expected));
    let before = disk.files();
    match reopen(&disk) {
        Err(OpenError::Damaged(damage)) => assert_eq!(place(&damage), expected),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("the journal was opened"),
    }
    assert!(disk.files() == before, "nothing was cut");
}
