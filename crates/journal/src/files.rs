//! Whole files: the names of directories, replacing a file in one step, and removing a file in pieces.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, File};

/// Directory of the segments.
pub(crate) const SEGMENT_DIR: &str = "journal";
/// Directory of the index files.
pub(crate) const INDEX_DIR: &str = "index";
/// Directory of the checkpoints.
pub(crate) const CHECKPOINT_DIR: &str = "checkpoint";

/// Writes the small file `name` in `dir` durably, and replaces an old file of this name in one step.
///
/// # Errors
/// Whatever the storage reports. The old file is there then, or the new one.
pub fn replace_file(disk: &dyn Disk, dir: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = match dir {
        "" => name.to_owned(),
        dir => format!("{dir}/{name}"),
    };
    let tmp = format!("{path}.tmp");
    let file = disk.create(&tmp)?;
    if let Err(error) = file.write_at(bytes, 0) {
        // The next open removes or replaces a leftover, too.
        let _ = disk.remove(&tmp);
        return Err(error);
    }
    file.sync_data()?;
    disk.rename(&tmp, &path)?;
    disk.sync_dir(dir)
}

/// Bytes of a file that are removed per step.
const REMOVED_AT_ONCE: u64 = 1 << 20;

/// Removes a file that nobody reads any more, piece by piece from its end. Some file systems tell the device at once which blocks
/// became free, and every sync waits for that: a sixth of a second for 128 MB, a few milliseconds for a piece.
#[derive(Debug)]
pub(crate) struct Removal {
    file: Arc<dyn File>,
    path: String,
    left: u64,
}

impl Removal {
    pub(crate) fn begin(disk: &dyn Disk, path: String) -> io::Result<Removal> {
        let file = disk.open(&path)?;
        let left = file.len()?;
        Ok(Removal { file, path, left })
    }

    /// Removes the next piece. Returns true if this was the last piece, which goes with the name.
    pub(crate) fn advance(&mut self, disk: &dyn Disk) -> io::Result<bool> {
        if self.left <= REMOVED_AT_ONCE {
            return disk.remove(&self.path).map(|()| true);
        }
        let left = self.left - REMOVED_AT_ONCE;
        self.file.truncate(left)?;
        self.file.sync_data()?;
        self.left = left;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DirDisk;

    #[test]
    fn a_file_is_removed_piece_by_piece() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = DirDisk::new(directory.path());
        let mib = |count: f64| (count * REMOVED_AT_ONCE as f64) as usize;
        for (pieces, steps, left) in [(3.5, 4, 0.5), (2.0, 2, 1.0), (0.5, 1, 0.5), (0.0, 1, 0.0)] {
            let file = disk.create("old").expect("a file");
            file.write_at(&vec![7; mib(pieces)], 0)
                .expect("it is written");
            let mut removal = Removal::begin(&disk, "old".to_owned()).expect("it is open");
            for step in 1..=steps {
                let last = removal.advance(&disk).expect("a piece is removed");
                assert_eq!(last, step == steps, "{pieces} in {steps}");
            }
            assert!(disk.list("").expect("a list").is_empty());
            // The file is still open here: the last piece went with the name.
            assert_eq!(file.len().expect("a length"), mib(left) as u64);
        }
    }
}
