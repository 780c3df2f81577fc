//! The same on a real directory.

use std::sync::Arc;

use tributary_journal::{AppendError, DirDisk, Disk, OpenError, Options, create, open};

use crate::support::{Model, key_extractor, meta, options, payload};

fn temporary() -> (tempfile::TempDir, Arc<dyn Disk>) {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(dir.path().join("new/data")));
    (dir, disk)
}

#[test]
fn a_real_directory_holds_a_journal() {
    let (_dir, disk) = temporary();
    create(&disk, &options(), &meta()).unwrap();
    let (mut writer, reader, _) = open(disk.clone(), options(), key_extractor()).unwrap();
    assert!(matches!(
        open(disk.clone(), options(), key_extractor()),
        Err(OpenError::Locked)
    ));
    let mut model = Model::new(300);
    for count in 0..80 {
        model.append(&mut writer, 1 + count % 9).unwrap();
        writer.maintainer().step().unwrap();
    }
    model.check_index(&reader);
    while writer.maintainer().step().unwrap() {}
    writer.close().unwrap();
    let (writer, reader, recovery) = open(disk.clone(), options(), key_extractor()).unwrap();
    assert_eq!(
        (writer.head(), recovery.cut_bytes, &recovery.rebuilt),
        (model.head(), 0, &vec![])
    );
    let mut buf = Vec::new();
    for position in 1..=model.head().position {
        assert!(reader.read(position, &mut buf).unwrap());
        assert_eq!(buf, payload(position, 300));
    }
    model.check_index(&reader);
}

#[test]
fn a_disk_without_room_refuses_before_it_writes() {
    let (_dir, disk) = temporary();
    create(&disk, &options(), &meta()).unwrap();
    let reserve_bytes = disk.free_bytes().unwrap().saturating_mul(2);
    let full = Options {
        reserve_bytes,
        ..options()
    };
    let (mut writer, reader, _) = open(disk.clone(), full, key_extractor()).unwrap();
    let mut model = Model::new(300);
    while writer.reserve(1).is_ok() {
        model.append(&mut writer, 5).unwrap();
    }
    assert!(matches!(writer.reserve(1), Err(AppendError::StorageFull)));
    assert!(
        writer
            .maintainer()
            .step()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
    );
    model.check_index(&reader);
}
