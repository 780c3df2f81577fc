use std::ops::ControlFlow;

use tributary_journal::{ScanError, ScanOptions, scan};
use tributary_testkit::disk::SimDisk;

use crate::support::{Model, fresh, grown, settle};

#[test]
fn an_anchor_must_occur() {
    let (disk, model) = grown(40, 200);
    let all = |anchor| {
        scan(
            &*disk.disk(),
            &ScanOptions {
                anchor: Some(anchor),
            },
            &mut |_| ControlFlow::Continue(()),
        )
    };
    for head in model.heads.values() {
        assert_eq!(all(head.hash).unwrap().head.hash, model.head().hash);
    }
    assert!(matches!(all([3; 32]), Err(ScanError::AnchorMissing)));
}

#[test]
fn a_scan_stops_when_told_and_finds_no_journal_where_none_is() {
    let (disk, _) = grown(40, 200);
    let mut seen = 0;
    let stopped = scan(&*disk.disk(), &ScanOptions::default(), &mut |_| {
        seen += 1;
        if seen == 5 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(stopped, Err(ScanError::Stopped)) && seen == 5);
    let nothing = scan(
        &*SimDisk::new(1).disk(),
        &ScanOptions::default(),
        &mut |_| ControlFlow::Continue(()),
    );
    assert!(matches!(nothing, Err(ScanError::NotFound)));
}

#[test]
fn a_scan_beside_a_writer_sees_whole_frames_and_no_damage() {
    let disk = SimDisk::new(1);
    let (mut writer, _) = fresh(&disk);
    let mut model = Model::new(300);
    let done = std::sync::atomic::AtomicBool::new(false);
    let both_run = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = 0;
            both_run.wait();
            loop {
                let is_last = done.load(std::sync::atomic::Ordering::Relaxed);
                let mut seen = 0;
                let report = scan(&*disk.disk(), &ScanOptions::default(), &mut |record| {
                    seen += 1;
                    assert_eq!(
                        (record.position, record.versions.rules, record.epoch),
                        (seen, 3, 1)
                    );
                    ControlFlow::Continue(())
                });
                assert_eq!(report.unwrap().head.position, seen);
                assert!(seen >= last);
                last = seen;
                if is_last {
                    return;
                }
            }
        });
        both_run.wait();
        for count in 0..150 {
            model.append(&mut writer, 1 + count % 15).unwrap();
            settle(&writer);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
