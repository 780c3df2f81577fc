//! A [`FrameLog`] in files of its own directory.
//!
//! ```text
//! <directory>/<generation>.log       frames: a snapshot, then what was appended
//! <directory>/<generation>.new       a snapshot on its way
//! <directory>/<generation>.ahead     set aside: the journal does not reach as far; used again once it does
//! <directory>/<generation>.foreign   set aside: of another history
//! <directory>/<generation>.damaged   set aside: damaged
//! ```
//!
//! The first record of each frame is its [`Basis`]. A snapshot is written to a file of its own, synced and given its name; only
//! then the generation before it goes. Frame n + 1 is written only after frame n is synced, so whatever stands before a whole frame
//! was durable once: where it can't be read, the log is damaged. A bad end, where nothing whole follows, is the rest of a write that
//! nobody was told of.

use std::io;
use std::sync::Arc;

use tributary_journal::{
    Disk, FRAME_HEADER_BYTES, File, FrameBuilder, FrameHeader, FrameRef, Head, Versions,
};

use crate::backend::{Fate, Ticket};
use crate::failure::Failure;
use crate::frame_log::{Basis, FrameLog, LogVisitor, Standing, Visited};

/// Bytes appended that are never worth a new snapshot.
const APPENDED_BYTES_MIN: u64 = 16 << 20;
/// Beyond that, how many times the size of the snapshot they may have.
const APPENDED_PER_SNAPSHOT: u64 = 4;

/// A log in a directory of a disk.
pub struct FileLog {
    disk: Arc<dyn Disk>,
    directory: &'static str,
    /// Version of what is in the records; frames carry it.
    version: u16,
    /// The newest generation, whole or not.
    generation: u64,
    /// Files that are to be set aside once there is a newer generation, and what their names end in then.
    aside: Vec<(String, &'static str)>,
    /// None while nothing can be appended.
    file: Option<Arc<dyn File>>,
    end: u64,
    head: Head,
    /// Whether this process has written a snapshot.
    begun: bool,
    /// A new snapshot is due when the file is larger than this, bytes.
    snapshot_above: u64,
}

/// Where reading a file ended.
enum End {
    /// With its last byte, or with the rest of an unfinished write.
    Whole,
    /// At a place that can't be read, though it was durable once.
    Damaged(String),
    Ahead(u64),
    Foreign(u64),
}

impl End {
    fn extension(&self) -> Option<&'static str> {
        match self {
            End::Whole => None,
            End::Damaged(_) => Some("damaged"),
            End::Ahead(_) => Some("ahead"),
            End::Foreign(_) => Some("foreign"),
        }
    }
}

impl FileLog {
    /// The log in `directory` of `disk`, which need not exist. `version` is that of what is in the records.
    pub fn new(disk: Arc<dyn Disk>, directory: &'static str, version: u16) -> FileLog {
        FileLog {
            disk,
            directory,
            version,
            generation: 0,
            aside: Vec::new(),
            file: None,
            end: 0,
            head: Head::default(),
            begun: false,
            snapshot_above: 0,
        }
    }

    fn path(&self, generation: u64, extension: &str) -> String {
        path(self.directory, generation, extension)
    }

    /// Reads one file; gives where that ended, and whether a whole snapshot was taken in.
    fn read_file(
        &self,
        path: &str,
        standing: &mut dyn FnMut(&Basis) -> Result<Standing, Failure>,
        visitor: &mut dyn LogVisitor,
    ) -> io::Result<(End, bool)> {
        let file = self.disk.open_read(path)?;
        let places = read_places(&*file)?;
        let mut journal = |basis: &Basis| standing(basis).map_err(io::Error::other);
        let known = count_known(&places.frames, &mut journal)?;
        visitor.begin();
        let mut bytes = Vec::new();
        let mut refused = None;
        'frames: for (at, basis) in &places.frames[..known] {
            let again = read_frame(&*file, *at, &mut bytes)?;
            let frame = FrameRef::parse(&bytes).ok().filter(|_| again);
            let frame = frame.ok_or_else(|| io::Error::other("a file of a log changed"))?;
            for record in frame.records().skip(1) {
                refused = match visitor.record(record.payload()) {
                    Visited::Taken => continue,
                    Visited::Unreadable => {
                        let what = format!("the frame at byte {at} can't be read");
                        Some(End::Damaged(what))
                    }
                    Visited::Foreign => Some(End::Foreign(basis.position)),
                };
                break 'frames;
            }
        }
        let end = match (refused, places.frames.get(known)) {
            (Some(refused), _) => refused,
            (None, Some((_, basis))) => match journal(basis)? {
                Standing::Ahead => End::Ahead(basis.position),
                _ => End::Foreign(basis.position),
            },
            (None, None) => match whole_frames_after(&*file, &places)? {
                0 => End::Whole,
                later => End::Damaged(format!(
                    "it is damaged at byte {}, and {later} whole frames follow",
                    places.end
                )),
            },
        };
        Ok((end, visitor.end()))
    }

    /// Opens the newest file that was read, if it was read to its end, so that its snapshot can be appended to: for whoever writes down
    /// what another process decided. Nothing changes if a file is open.
    ///
    /// # Errors
    /// Whatever the storage reports.
    pub fn reopen(&mut self) -> io::Result<()> {
        let path = self.path(self.generation, "log");
        let is_aside = self.aside.iter().any(|(file, _)| *file == path);
        if self.file.is_some() || self.generation == 0 || is_aside {
            return Ok(());
        }
        let file = self.disk.open(&path)?;
        let places = read_places(&*file)?;
        (self.end, self.head) = (places.end, places.head);
        file.truncate(self.end)?;
        self.snapshot_above = self.end + APPENDED_BYTES_MIN;
        self.file = Some(file);
        self.begun = true;
        Ok(())
    }

    fn write_snapshot(&mut self, snapshot: &[Vec<u8>], basis: Basis, now: u64) -> io::Result<()> {
        // Nothing is appended to the file before any more: what it would say is in the snapshot.
        self.file = None;
        if !self.begun {
            self.disk.create_dir(self.directory)?;
            self.disk.sync_dir("")?;
        }
        let before = self.begun.then(|| self.path(self.generation, "log"));
        self.generation += 1;
        let new = self.path(self.generation, "new");
        let name = self.path(self.generation, "log");
        (self.end, self.head) = (0, Head::default());
        let written = self.disk.create(&new).and_then(|file| {
            self.write(&*file, snapshot, basis, now)?;
            Ok(file)
        });
        let file = match written {
            Ok(file) => file,
            Err(error) => {
                let _left_for_the_next_start = self.disk.remove(&new);
                return Err(error);
            }
        };
        self.disk.rename(&new, &name)?;
        self.disk.sync_dir(self.directory)?;
        self.file = Some(file);
        let appended = APPENDED_BYTES_MIN.max(self.end.saturating_mul(APPENDED_PER_SNAPSHOT));
        self.snapshot_above = self.end + appended;
        if self.begun {
            let _gone_or_left = before.map(|before| self.disk.remove(&before));
        } else {
            self.begun = true;
            self.put_aside();
            self.remove_old();
        }
        Ok(())
    }

    /// Writes records as frames, each synced before the next.
    fn write(
        &mut self,
        file: &dyn File,
        records: &[Vec<u8>],
        basis: Basis,
        now: u64,
    ) -> io::Result<()> {
        let mut rest = records;
        while !rest.is_empty() {
            let mut frame = next_frame(&mut rest, basis, now, &self.head, self.version);
            let sealed = frame.seal(&self.head);
            file.write_at(sealed.bytes(), self.end)?;
            file.sync_data()?;
            self.end += sealed.bytes().len() as u64;
            self.head = sealed.head();
        }
        Ok(())
    }

    /// The bytes of a log that holds this snapshot and nothing else, for [`FileLog::restore`].
    pub fn encode_snapshot(snapshot: &[Vec<u8>], basis: Basis, now: u64, version: u16) -> Vec<u8> {
        let (mut rest, mut head, mut bytes) = (snapshot, Head::default(), Vec::new());
        while !rest.is_empty() {
            let mut frame = next_frame(&mut rest, basis, now, &head, version);
            let sealed = frame.seal(&head);
            bytes.extend_from_slice(sealed.bytes());
            head = sealed.head();
        }
        bytes
    }

    /// Puts a log with these bytes into `directory` of `disk`, where there must be none.
    ///
    /// # Errors
    /// If there is a log already, or whatever the storage reports.
    pub fn restore(disk: &dyn Disk, directory: &str, bytes: &[u8]) -> io::Result<()> {
        if !disk.list(directory)?.is_empty() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.create_dir(directory)?;
        disk.sync_dir("")?;
        let (new, name) = (path(directory, 1, "new"), path(directory, 1, "log"));
        let file = disk.create(&new)?;
        file.write_at(bytes, 0)?;
        file.sync_data()?;
        disk.rename(&new, &name)?;
        disk.sync_dir(directory)
    }

    fn put_aside(&mut self) {
        for (file, extension) in std::mem::take(&mut self.aside) {
            let stem = file.rsplit_once('.').map_or(&*file, |(stem, _)| stem);
            let aside = format!("{stem}.{extension}");
            // A file that can't be set aside stays where it is: a newer generation is there.
            if aside != file
                && let Err(error) = self.disk.rename(&file, &aside)
            {
                tracing::warn!(%error, file, "a log could not be set aside");
            }
        }
    }

    /// Removes what other processes left. A file that stays costs space and nothing else: a newer generation is there.
    fn remove_old(&self) {
        for name in self.disk.list(self.directory).unwrap_or_default() {
            let older = generation(&name, "log").is_some_and(|number| number < self.generation);
            if older || name.ends_with(".new") {
                let _left = self.disk.remove(&format!("{}/{name}", self.directory));
            }
        }
        if let Err(error) = self.disk.sync_dir(self.directory) {
            tracing::warn!(%error, directory = self.directory, "old files of a log could not be removed");
        }
    }
}

/// A frame that follows `head` with as many of the records as fit, which are taken off `rest`.
fn next_frame(
    rest: &mut &[Vec<u8>],
    basis: Basis,
    now: u64,
    head: &Head,
    version: u16,
) -> FrameBuilder {
    // The frame itself is of the first format; what is in the frame has a version of its own.
    let versions = Versions {
        format: 1,
        rules: version,
    };
    let mut frame = FrameBuilder::new(head.position + 1, now.max(head.timestamp), versions);
    frame
        .push(|into| basis.encode(into))
        .expect("a frame has room for its basis");
    while let Some((record, others)) = rest.split_first()
        && frame.has_room(record.len())
    {
        frame
            .push(|into| into.extend_from_slice(record))
            .expect("a record has 1 to 65,536 bytes");
        *rest = others;
    }
    frame
}

fn path(directory: &str, generation: u64, extension: &str) -> String {
    format!("{directory}/{generation:012}.{extension}")
}

fn generation(name: &str, extension: &str) -> Option<u64> {
    let number = name.strip_suffix(extension)?.strip_suffix('.')?;
    number.parse().ok()
}

impl FrameLog for FileLog {
    fn read(
        &mut self,
        standing: &mut dyn FnMut(&Basis) -> Result<Standing, Failure>,
        visitor: &mut dyn LogVisitor,
    ) -> io::Result<Vec<String>> {
        let names = self.disk.list(self.directory)?;
        let numbers = |extension| {
            names
                .iter()
                .filter_map(move |name| generation(name, extension))
        };
        self.generation = ["log", "ahead", "foreign", "damaged"]
            .into_iter()
            .filter_map(|extension| numbers(extension).max())
            .max()
            .unwrap_or(0);
        let mut files: Vec<(u64, &str)> = ["log", "ahead"]
            .into_iter()
            .flat_map(|extension| numbers(extension).map(move |number| (number, extension)))
            .collect();
        files.sort_unstable();
        let mut words = Vec::new();
        while let Some((number, extension)) = files.pop() {
            let path = self.path(number, extension);
            let (end, whole) = self.read_file(&path, standing, visitor)?;
            match &end {
                End::Whole if whole => break,
                End::Whole => words.push(format!("{path} holds no whole snapshot")),
                End::Damaged(what) => words.push(format!("{path}: {what}")),
                End::Ahead(position) => words.push(format!(
                    "{path} rests on position {position} of the journal, which the journal has not reached"
                )),
                End::Foreign(position) => words.push(format!(
                    "{path} rests on another journal than this one, or on another history of it, at position {position}"
                )),
            }
            let extension = end.extension().unwrap_or("damaged");
            self.aside.push((path, extension));
            if whole {
                return Ok(words);
            }
            visitor.begin();
        }
        Ok(words)
    }

    fn append(&mut self, records: &[Vec<u8>], basis: Basis, now: u64) -> Ticket {
        let Some(file) = self.file.take() else {
            let failure = Failure::Unavailable("the log waits for a new snapshot".into());
            return Ticket::ready(Fate::Refused(failure));
        };
        Ticket::ready(match self.write(&*file, records, basis, now) {
            Ok(()) => {
                self.file = Some(file);
                Fate::Durable(self.head)
            }
            Err(error) => Fate::Unknown(error.to_string()),
        })
    }

    fn begin(&mut self, snapshot: &[Vec<u8>], basis: Basis, now: u64) -> Ticket {
        Ticket::ready(match self.write_snapshot(snapshot, basis, now) {
            Ok(()) => Fate::Durable(self.head),
            Err(error) => Fate::Unknown(error.to_string()),
        })
    }

    fn wants_snapshot(&self) -> bool {
        self.file.is_none() || self.end > self.snapshot_above
    }
}

/// The whole frames of a file.
struct Places {
    /// Where each begins, and what it rests on.
    frames: Vec<(u64, Basis)>,
    /// Where the last of them ends.
    end: u64,
    /// The head after it.
    head: Head,
}

fn read_places(file: &dyn File) -> io::Result<Places> {
    let mut places = Places {
        frames: Vec::new(),
        end: 0,
        head: Head::default(),
    };
    let mut bytes = Vec::new();
    while read_frame(file, places.end, &mut bytes)? {
        let frame = FrameRef::parse(&bytes).ok();
        let Some(frame) = frame.filter(|frame| frame.verify(&places.head).is_ok()) else {
            break;
        };
        let first = frame.records().next();
        let Some(basis) = first.and_then(|record| Basis::decode(record.payload())) else {
            break;
        };
        places.frames.push((places.end, basis));
        places.end += bytes.len() as u64;
        places.head = frame.head();
    }
    Ok(places)
}

/// Puts the frame at `at` into `bytes`; false if none begins there.
fn read_frame(file: &dyn File, at: u64, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.resize(FRAME_HEADER_BYTES, 0);
    if file.read_at(bytes, at)? < FRAME_HEADER_BYTES {
        return Ok(false);
    }
    let Ok(header) = FrameHeader::parse(bytes) else {
        return Ok(false);
    };
    bytes.resize(header.frame_len(), 0);
    Ok(file.read_at(bytes, at)? == header.frame_len())
}

/// How many of the frames rest on what the journal has. Bases ascend, so all that come before a known one are known.
fn count_known(
    frames: &[(u64, Basis)],
    standing: &mut dyn FnMut(&Basis) -> io::Result<Standing>,
) -> io::Result<usize> {
    let (mut known, mut unknown) = (0, frames.len() + 1);
    // Nearly always all of them.
    let mut next = frames.len();
    while unknown - known > 1 {
        match standing(&frames[next - 1].1)? {
            Standing::Known => known = next,
            Standing::Ahead | Standing::Foreign => unknown = next,
        }
        next = known + (unknown - known) / 2;
    }
    Ok(known)
}

/// Counts the whole frames behind the place where reading ended. If there are any, the place was durable once.
fn whole_frames_after(file: &dyn File, places: &Places) -> io::Result<usize> {
    let len = file.len()?.saturating_sub(places.end);
    let mut rest = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let read = file.read_at(&mut rest, places.end)?;
    rest.truncate(read);
    let (mut later, mut at) = (0, 1);
    while at < rest.len() {
        let frame = FrameRef::parse(&rest[at..]).ok();
        let frame = frame.filter(|frame| {
            frame.header().first_position > places.head.position + 1
                && frame.verify_content().is_ok()
        });
        match frame {
            Some(frame) => {
                later += 1;
                at += frame.bytes().len();
            }
            None => at += 1,
        }
    }
    Ok(later)
}
