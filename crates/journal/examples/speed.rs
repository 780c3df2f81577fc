//! Measures the journal on this machine: appends, look-ups, reads and reopening.
//!
//! `cargo run --release -p tributary-journal --example speed -- DIR [MILLIONS] [RECORDS PER FRAME]`
#![allow(clippy::print_stdout, reason = "printing is all it does")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tributary_journal::{
    DirDisk, Disk, FrameBuilder, KeyExtractor, Meta, Options, Versions, create, open,
};

const VERSIONS: Versions = Versions {
    format: 1,
    rules: 1,
};

const PAYLOAD_BYTES: usize = 220;

fn key(position: u64) -> u64 {
    position.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn fill(frame: &mut FrameBuilder, per_frame: u64) {
    let payload = [7; PAYLOAD_BYTES - 8];
    for _ in 0..per_frame {
        let hash = key(frame.next_position());
        let pushed = frame.push(|buf| {
            buf.extend_from_slice(&hash.to_le_bytes());
            buf.extend_from_slice(&payload);
        });
        pushed.expect("a frame has room");
        frame.add_key(hash);
    }
}

fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64() / 1e6
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .expect("a directory that does not exist yet");
    let mut number = |default| {
        arguments
            .next()
            .map_or(default, |text| text.parse().expect("a number"))
    };
    let (millions, per_frame) = (number(10), number(8189));
    let records = millions * 1_000_000;
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(dir));
    let keys_of: KeyExtractor = Arc::new(|payload, sink| {
        sink(u64::from_le_bytes(
            payload[..8].try_into().expect("eight bytes"),
        ));
    });
    create(&disk, &Options::default(), &Meta::new([1; 16], [2; 16])).expect("a new journal");
    let (mut writer, reader, _) =
        open(disk.clone(), Options::default(), keys_of.clone()).expect("an open journal");

    let mut maintainer = writer.maintainer();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let maintenance = std::thread::spawn({
        let done = done.clone();
        move || loop {
            let worked = maintainer.step().expect("maintenance");
            if !worked && done.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }
            if !worked {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    let (mut filling, mut sealing) = (Duration::ZERO, Duration::ZERO);
    let (mut appending, mut longest) = (Duration::ZERO, Duration::ZERO);
    let mut frame = FrameBuilder::new(1, 1, VERSIONS);
    let started = Instant::now();
    while writer.head().position < records {
        let before = Instant::now();
        frame.reset(writer.head().position + 1, 1, VERSIONS);
        fill(&mut frame, per_frame);
        let filled = Instant::now();
        filling += filled - before;
        frame.seal(&writer.head());
        let sealed = Instant::now();
        sealing += sealed - filled;
        writer.append(&mut frame).expect("an append");
        let took = sealed.elapsed();
        longest = longest.max(took);
        appending += took;
    }
    let took = started.elapsed();
    let records = writer.head().position;
    println!(
        "append: {records} records, {:.2} M/s, {:.2} M/s with filling and sealing; longest {longest:?}",
        per_second(records, appending),
        per_second(records, took)
    );
    println!("filling frames: {:.2} M/s", per_second(records, filling));
    let settling = Instant::now();
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    maintenance.join().expect("maintenance ends");
    println!(
        "index settled in {:?}: {:?}",
        settling.elapsed(),
        reader.stats()
    );

    let mut newest = Vec::new();
    for (name, offset) in [("present", 0), ("missing", records)] {
        let looked = Instant::now();
        let batches = 20;
        for batch in 0..batches {
            let hashes: Vec<u64> = (0..8189)
                .map(|n| key(offset + 1 + (key(batch * 8189 + n) >> 8) % records))
                .collect();
            reader.find_newest(&hashes, &mut newest).expect("a look-up");
            assert!(
                newest
                    .iter()
                    .all(|position| (*position != 0) == (offset == 0))
            );
        }
        println!(
            "find_newest, {name}: {:?} per key",
            looked.elapsed() / (batches * 8189) as u32
        );
    }
    let mut buf = Vec::new();
    let read = Instant::now();
    for n in 0..100_000 {
        assert!(
            reader
                .read(1 + (key(n) >> 8) % records, &mut buf)
                .expect("a read")
        );
    }
    println!("read by position: {:?} each", read.elapsed() / 100_000);
    writer.close().expect("a clean close");
    drop(reader);
    let reopened = Instant::now();
    let (_, _, recovery) = open(disk, Options::default(), keys_of).expect("an open journal");
    println!(
        "reopened in {:?}, {} records verified",
        reopened.elapsed(),
        recovery.records_verified
    );
}
