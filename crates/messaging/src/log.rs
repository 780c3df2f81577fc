//! The delivery log: one file of the journal's frames, which begins with a snapshot and goes on with changes.
//!
//! ```text
//! delivery/<generation>.log       frames: a snapshot up to `Whole`, then changes
//! delivery/<generation>.new       a snapshot on its way
//! delivery/<generation>.damaged   set aside
//! ```
//!
//! When the changes have outgrown the snapshot, and at every start, a new generation is written, synced and given its name;
//! only then the one before it goes. Frame n + 1 is written only after frame n is synced, so whatever stands before a whole
//! frame was durable once: where it can't be read, the log is damaged. Then what came before still counts, which delivers
//! events again, and of what comes after only the settings do. A bad end, where nothing whole follows, is the rest of a write
//! that nobody was told of.

use std::io;
use std::sync::Arc;

use tributary_journal::{Builder, Disk, FRAME_HEADER_BYTES, File, FrameRef, Head, Header};

use crate::codec;
use crate::image::{Change, Images};

const DIR: &str = "delivery";
/// Bytes of changes that are never worth a new snapshot.
const CHANGES_BYTES_MIN: u64 = 16 << 20;
/// Beyond that, how many times the size of the snapshot they may have.
const CHANGES_PER_SNAPSHOT: u64 = 4;
/// Version of what is in the records; frames carry it.
const VERSION: u16 = 1;

/// The log, open for writing.
pub struct Log {
    disk: Arc<dyn Disk>,
    generation: u64,
    /// None while nothing can be appended: a write or sync failed, and only a new generation helps.
    file: Option<Arc<dyn File>>,
    end: u64,
    head: Head,
    /// A new generation is due when the file is larger than this, bytes.
    compact_above: u64,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Found {
    /// What was kept.
    pub images: Images,
    /// What could not be read, for an alarm.
    pub damage: Vec<String>,
    /// Files that hold damage.
    damaged: Vec<String>,
    /// The newest generation, whole or not.
    generation: u64,
}

fn path(generation: u64, extension: &str) -> String {
    format!("{DIR}/{generation:012}.{extension}")
}

fn generation_of(name: &str, extension: &str) -> Option<u64> {
    name.strip_suffix(extension)?
        .strip_suffix('.')?
        .parse()
        .ok()
}

/// Reads what is kept for the journal `cluster`, whose last position is `head`.
///
/// # Errors
/// Whatever the storage reports; damage is not an error.
pub fn read(disk: &dyn Disk, cluster: [u8; 16], head: u64) -> io::Result<Found> {
    let mut found = Found::default();
    let names = disk.list(DIR)?;
    let numbers = ["log", "damaged"]
        .iter()
        .flat_map(|kind| names.iter().filter_map(|name| generation_of(name, kind)));
    found.generation = numbers.max().unwrap_or(0);
    let mut logs: Vec<u64> = names
        .iter()
        .filter_map(|name| generation_of(name, "log"))
        .collect();
    logs.sort_unstable();
    while let Some(generation) = logs.pop() {
        let file = path(generation, "log");
        match read_one(disk, &file)? {
            Some((images, damage)) if images.cluster == cluster => {
                found.images = images;
                if let Some(damage) = damage {
                    found.damage.push(format!("{file}: {damage}"));
                    found.damaged.push(file);
                }
                break;
            }
            Some(_) => found
                .damage
                .push(format!("{file} belongs to another journal")),
            None => found.damage.push(format!("{file} has no whole snapshot")),
        }
        found.damaged.push(file);
    }
    found.images.cluster = cluster;
    found
        .images
        .images
        .values_mut()
        .for_each(|image| image.cut(head));
    Ok(found)
}

/// The images in one file, and what is wrong with it; none if its snapshot is not whole.
fn read_one(disk: &dyn Disk, file: &str) -> io::Result<Option<(Images, Option<String>)>> {
    let file = disk.open_read(file)?;
    let len = file.len()?;
    let (mut images, mut whole) = (Images::default(), false);
    let (mut at, mut head) = (0, Head::default());
    let mut bytes = Vec::new();
    while read_frame(&*file, at, &mut bytes)? {
        let Ok(frame) = FrameRef::parse(&bytes) else {
            break;
        };
        if frame.verify(&head).is_err() {
            break;
        }
        let changes: Result<Vec<Change>, _> = frame
            .records()
            .map(|record| codec::decode(record.payload()))
            .collect();
        let Ok(changes) = changes else {
            break;
        };
        for change in changes {
            whole |= change == Change::Whole;
            images.apply(change);
        }
        head = frame.head();
        at += bytes.len() as u64;
    }
    if !whole {
        return Ok(None);
    }
    let damage = match at < len {
        true => salvage(&*file, at, len, &head, &mut images)?,
        false => None,
    };
    Ok(Some((images, damage)))
}

/// Puts the frame at `at` into `bytes`; false if none begins there.
fn read_frame(file: &dyn File, at: u64, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.resize(FRAME_HEADER_BYTES, 0);
    if file.read_at(bytes, at)? < FRAME_HEADER_BYTES {
        return Ok(false);
    }
    let Ok(header) = Header::parse(bytes) else {
        return Ok(false);
    };
    bytes.resize(header.frame_len(), 0);
    Ok(file.read_at(bytes, at)? == header.frame_len())
}

/// Looks behind a place that can't be read. If a frame follows, the place is damaged: settings in what follows still count.
fn salvage(
    file: &dyn File,
    bad: u64,
    len: u64,
    head: &Head,
    images: &mut Images,
) -> io::Result<Option<String>> {
    let mut rest = vec![0; usize::try_from(len - bad).map_err(io::Error::other)?];
    let read = file.read_at(&mut rest, bad)?;
    rest.truncate(read);
    let mut later = 0;
    let mut at = 1;
    while at < rest.len() {
        let frame = FrameRef::parse(&rest[at..]).ok();
        let frame = frame.filter(|frame| {
            frame.header().first_position > head.position + 1 && frame.verify_content().is_ok()
        });
        let Some(frame) = frame else {
            at += 1;
            continue;
        };
        later += 1;
        for record in frame.records() {
            let change = codec::decode(record.payload());
            if let Ok(change @ (Change::Put(..) | Change::Delete(_))) = change {
                images.apply(change);
            }
        }
        at += frame.bytes().len();
    }
    Ok((later > 0).then(|| format!("damaged at byte {bad}, {later} whole frames follow")))
}

impl Log {
    /// Begins a generation that follows what was found, with this snapshot. What was found and is whole goes; what is damaged
    /// is set aside.
    ///
    /// # Errors
    /// Whatever the storage reports. What was found is still there then.
    pub fn begin(
        disk: Arc<dyn Disk>,
        found: &Found,
        snapshot: &[Change],
        now: u64,
    ) -> io::Result<Log> {
        disk.create_dir(DIR)?;
        disk.sync_dir("")?;
        let mut log = Log {
            disk,
            generation: found.generation,
            file: None,
            end: 0,
            head: Head::default(),
            compact_above: 0,
        };
        log.rewrite(snapshot, now)?;
        for file in &found.damaged {
            let aside = file.replace(".log", ".damaged");
            // What can't be set aside stays where it is: a newer generation is there.
            if let Err(error) = log.disk.rename(file, &aside) {
                tracing::warn!(%error, file, "a damaged delivery log could not be set aside");
            }
        }
        log.clear(&found.damaged);
        Ok(log)
    }

    /// Whether appending has become of no use, until [`Log::rewrite`] went well.
    pub fn is_broken(&self) -> bool {
        self.file.is_none()
    }

    /// Whether the changes have outgrown the snapshot.
    pub fn is_large(&self) -> bool {
        self.end > self.compact_above
    }

    /// Makes changes durable.
    ///
    /// # Errors
    /// Whatever the storage reports: nothing can be appended any more then, and what is durable of `changes` is unknown.
    pub fn append(&mut self, changes: &[Change], now: u64) -> io::Result<()> {
        let Some(file) = self.file.take() else {
            return Err(io::Error::other("the delivery log has failed"));
        };
        write(&*file, &mut self.end, &mut self.head, changes, now)?;
        self.file = Some(file);
        Ok(())
    }

    /// Writes a new generation that begins with `snapshot`, and lets the one before go.
    ///
    /// # Errors
    /// Whatever the storage reports. Nothing can be appended then until this went well.
    pub fn rewrite(&mut self, snapshot: &[Change], now: u64) -> io::Result<()> {
        // What was taken into the snapshot is in no change any more.
        self.file = None;
        let before = (self.end > 0).then(|| path(self.generation, "log"));
        self.generation += 1;
        let (new, name) = (path(self.generation, "new"), path(self.generation, "log"));
        let (mut end, mut head) = (0, Head::default());
        let written = self.disk.create(&new).and_then(|file| {
            write(&*file, &mut end, &mut head, snapshot, now)?;
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
        self.disk.sync_dir(DIR)?;
        self.file = Some(file);
        self.end = end;
        self.head = head;
        self.compact_above = CHANGES_BYTES_MIN.max(end.saturating_mul(CHANGES_PER_SNAPSHOT)) + end;
        let _gone_or_left = before.map(|before| self.disk.remove(&before));
        Ok(())
    }

    /// Removes what other processes left. A file that stays costs space and nothing else: a newer generation is there.
    fn clear(&self, damaged: &[String]) {
        for name in self.disk.list(DIR).unwrap_or_default() {
            let older = generation_of(&name, "log").is_some_and(|number| number < self.generation);
            let file = format!("{DIR}/{name}");
            if (older && !damaged.contains(&file)) || name.ends_with(".new") {
                let _left = self.disk.remove(&file);
            }
        }
        if let Err(error) = self.disk.sync_dir(DIR) {
            tracing::warn!(%error, "files of the delivery log could not be removed");
        }
    }
}

/// Writes changes as frames, each synced before the next.
fn write(
    file: &dyn File,
    end: &mut u64,
    head: &mut Head,
    changes: &[Change],
    now: u64,
) -> io::Result<()> {
    let mut rest = changes.iter().peekable();
    let mut bytes = Vec::new();
    while rest.peek().is_some() {
        let mut frame = Builder::new(head.position + 1, now.max(head.timestamp), VERSION);
        while let Some(change) = rest.peek() {
            bytes.clear();
            codec::encode(change, &mut bytes);
            if !frame.has_room(bytes.len()) {
                break;
            }
            frame
                .push(|into| into.extend_from_slice(&bytes))
                .map_err(io::Error::other)?;
            rest.next();
        }
        let sealed = frame.seal(head);
        file.write_at(sealed.bytes(), *end)?;
        file.sync_data()?;
        *end += sealed.bytes().len() as u64;
        *head = sealed.head();
    }
    Ok(())
}
