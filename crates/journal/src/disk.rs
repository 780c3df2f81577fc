//! The interface to storage that the journal needs, and the real implementation.
//!
//! All file access of this crate goes through [`Disk`], so that a simulator can lose, tear and refuse writes.
//! Paths are relative to the journal's directory, with `/` between the parts.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open file. All methods take `&self`, since one writer and many readers share the file.
pub trait File: Send + Sync + Debug {
    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, extending the file when needed. The bytes are durable after [`File::sync_data`].
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is no room; part may have been written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far, and the file's length, durable.
    ///
    /// # Errors
    /// After an error it is unknown what is durable: the caller must not retry.
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves space: the file is at least `len` bytes long afterwards, new bytes are zero, and writes below `len` do not
    /// fail for lack of space.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is no room.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts the file off after its first `len` bytes. The new length is durable after [`File::sync_data`].
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Returns the length of the file in bytes.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    /// As [`File::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The lock of a directory in use. Dropping the value releases the lock.
pub trait DirLock: Send + Sync + Debug {}

/// A directory tree that holds one journal.
pub trait Disk: Send + Sync + Debug {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] and others.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading only.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] and others.
    fn open_read(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Creates an empty file, replacing what was there. The name is durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Removes a file. Readers that have the file open can go on reading.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] and others.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Renames a file within its directory, replacing the target in one step.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Returns the sorted names of the files directly in `dir`; none if the directory does not exist.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Creates a directory and its parents. Succeeds if the directory exists.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Makes creations, removals and renames in `dir` durable (`""` is the journal's directory itself).
    ///
    /// # Errors
    /// As for [`File::sync_data`], the caller must not retry.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Takes the exclusive lock on `path`, and creates the file if it does not exist.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when someone else holds it.
    fn lock(&self, path: &str) -> io::Result<Box<dyn DirLock>>;

    /// Returns the number of bytes that can still be allocated.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// A [`Disk`] in a directory of the file system. Files are readable by their owner only.
#[derive(Debug)]
pub struct DirDisk {
    root: PathBuf,
}

impl DirDisk {
    /// Creates a disk in the directory `root`, which [`Disk::create_dir`] creates if needed.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        DirDisk { root: root.into() }
    }

    fn path(&self, relative: &str) -> PathBuf {
        if relative.is_empty() {
            self.root.clone()
        } else {
            self.root.join(relative)
        }
    }

    fn options() -> fs::OpenOptions {
        let mut options = fs::OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
    }
}

#[derive(Debug)]
struct DirFile(fs::File);

#[derive(Debug)]
struct HeldLock(#[expect(dead_code, reason = "held for its lock, which closing lets go")] fs::File);

impl DirLock for HeldLock {}

impl File for DirFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            let at = offset + filled as u64;
            match std::os::unix::fs::FileExt::read_at(&self.0, &mut buf[filled..], at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
            .map_err(quota_as_storage_full)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data().map_err(quota_as_storage_full)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        reserve(&self.0, len).map_err(quota_as_storage_full)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        if len < self.len()? {
            self.0.set_len(len)?;
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Reports an exhausted quota as a full disk.
fn quota_as_storage_full(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::QuotaExceeded => io::Error::new(io::ErrorKind::StorageFull, error),
        _ => error,
    }
}

#[expect(
    unsafe_code,
    reason = "the standard library reserves no space and tells no free space"
)]
fn reserve(file: &fs::File, len: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let len = libc::off_t::try_from(len).map_err(io::Error::other)?;
    loop {
        // SAFETY: the descriptor is open for the duration of the call, which touches no memory of ours.
        let code = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) };
        match code {
            0 => return Ok(()),
            libc::EINTR => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the standard library reserves no space and tells no free space"
)]
fn free_space(path: &Path) -> io::Result<u64> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `path` ends in a zero byte and `stat` is as large as the call needs.
    if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros is a valid `statvfs`, and the call succeeded.
    let stat = unsafe { stat.assume_init() };
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

impl Disk for DirDisk {
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(DirFile(
            Self::options()
                .read(true)
                .write(true)
                .open(self.path(path))?,
        )))
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(DirFile(
            Self::options().read(true).open(self.path(path))?,
        )))
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = Self::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path(path))
            .map_err(quota_as_storage_full)?;
        Ok(Arc::new(DirFile(file)))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to)).map_err(quota_as_storage_full)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(dir)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        fs::create_dir_all(self.path(dir))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        fs::File::open(self.path(dir))?.sync_all()
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn DirLock>> {
        let file = Self::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path(path))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(HeldLock(file))),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        free_space(&self.root)
    }
}
