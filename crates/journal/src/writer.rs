//! The one writer.

use std::io;
use std::sync::Arc;

use crate::bytes::align_up;
use crate::disk::DirLock;
use crate::files::SEGMENT_DIR;
use crate::frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameBuilder, FrameRef};
use crate::head::Head;
use crate::index::PendingRun;
use crate::index::active::ActiveTable;
use crate::locks::{lock, read, write};
use crate::maintain::Maintainer;
use crate::meta::Meta;
use crate::options::AppendError;
use crate::reader::Reader;
use crate::segment::{FRAME_ALIGNMENT, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, segment_path};
use crate::shared::{Shared, Spare};
use crate::synced::Marker;

/// The one that appends. Dropped without [`Writer::close`], everything acknowledged is still safe.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    lock: Arc<dyn DirLock>,
    segment: Arc<Segment>,
    // Where the next frame goes.
    offset: u64,
    head: Head,
    marker: Marker,
    failed: Option<String>,
    pairs: Vec<(u64, u64)>,
    scratch: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, lock: Arc<dyn DirLock>, marker: Marker) -> Writer {
        let segment = shared
            .segments()
            .last()
            .expect("a journal has a segment")
            .clone();
        Writer {
            offset: segment.end(),
            head: shared.head(),
            segment,
            shared,
            lock,
            marker,
            failed: None,
            pairs: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The durable head.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Seals (unless sealed on this head already), writes, syncs, indexes and then publishes a frame. The builder
    /// is left as it is, to be retried after [`AppendError::StorageFull`] or reset.
    ///
    /// # Errors
    /// After [`AppendError::Fatal`] every later call fails too; after the others nothing has changed.
    pub fn append(&mut self, frame: &mut FrameBuilder) -> Result<Head, AppendError> {
        self.check_alive()?;
        if frame.is_empty() {
            return Err(AppendError::Refused("the frame is empty"));
        }
        if frame.first_position() != self.head.position + 1 {
            return Err(AppendError::Refused(
                "the frame's position does not follow the head",
            ));
        }
        if frame.timestamp() < self.head.timestamp {
            return Err(AppendError::Refused("the frame is older than the head"));
        }
        let padded = self.make_room(FRAME_HEADER_BYTES + frame.body_bytes())?;
        frame.seal(&self.head);
        frame.padded(padded, |bytes| self.write_synced(bytes))?;
        let first = frame.first_position();
        self.pairs.clear();
        self.pairs.extend(
            frame
                .keys()
                .iter()
                .map(|(hash, index)| (*hash, first + u64::from(*index))),
        );
        self.segment
            .positions
            .note_starts(first, self.offset, frame.starts());
        let sealed = frame.seal(&self.head);
        if self.pairs.is_empty() {
            self.extract_keys(&sealed);
        }
        Ok(self.publish(&sealed))
    }

    /// Appends a frame of another journal verbatim: it must follow this head and be whole. An epoch that it
    /// begins is begun here.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn append_sealed(&mut self, bytes: &[u8]) -> Result<Head, AppendError> {
        self.check_alive()?;
        let frame = FrameRef::parse(bytes).map_err(|bad| AppendError::Refused(bad.0))?;
        frame
            .verify(&self.head)
            .map_err(|bad| AppendError::Refused(bad.0))?;
        let epoch = frame.header().epoch;
        let meta = read(&self.shared.meta).clone();
        // The epochs of the other journal may be known already, also those that begin further on.
        let known = meta.epoch_of(frame.header().first_position);
        if epoch < known || (epoch > known && epoch <= meta.newest_epoch()) {
            return Err(AppendError::Refused(
                "the frame is of another epoch than its position",
            ));
        }
        let padded = self.make_room(frame.bytes().len())?;
        if epoch > known {
            self.begin_epoch(epoch)?;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend_from_slice(frame.bytes());
        scratch.resize(padded, 0);
        let written = self.write_synced(&scratch);
        self.scratch = scratch;
        written?;
        self.pairs.clear();
        self.extract_keys(&frame);
        self.segment.positions.note(&frame, self.offset);
        Ok(self.publish(&frame))
    }

    /// Makes sure that the next `frames` frames, however large, find room; call it before deciding anything.
    ///
    /// # Errors
    /// [`AppendError::StorageFull`]: refuse commands and try again later.
    pub fn reserve(&mut self, frames: u32) -> Result<(), AppendError> {
        self.check_alive()?;
        let largest = frame_bytes_max(self.shared.options.segment_bytes);
        let in_active = self
            .segment
            .header
            .segment_bytes
            .saturating_sub(self.offset)
            / largest;
        let in_spare = (self.shared.options.segment_bytes - SEGMENT_HEADER_BYTES) / largest;
        let missing = u64::from(frames)
            .saturating_sub(in_active)
            .div_ceil(in_spare) as usize;
        let added = {
            let mut spares = lock(&self.shared.spares);
            let mut added = Ok(());
            while added.is_ok() && spares.files.len() + spares.being_written < missing {
                added = self.shared.add_spare(&mut spares);
            }
            added
        };
        self.or_fatal(added)
    }

    /// Notes durably that everything up to the head is durable, so that even damage to the last frame is
    /// known from an unfinished write. Call when idle. Cheap when the head has not moved.
    ///
    /// # Errors
    /// [`AppendError::Fatal`].
    pub fn mark(&mut self) -> Result<(), AppendError> {
        self.check_alive()?;
        let marked = self.marker.mark(&self.head);
        marked.map_err(|error| self.fatal(error))
    }

    /// Begins a new epoch at the next position: after restoring a backup. Gives its number, which is above all known ones
    /// and at least `least`.
    ///
    /// # Errors
    /// [`AppendError::StorageFull`] (nothing changed) or [`AppendError::Fatal`].
    pub fn new_epoch(&mut self, least: u32) -> Result<u32, AppendError> {
        self.check_alive()?;
        let number = (read(&self.shared.meta).newest_epoch() + 1).max(least);
        self.begin_epoch(number)?;
        self.shared.publish(self.head);
        Ok(number)
    }

    /// Who this journal is.
    #[must_use]
    pub fn meta(&self) -> Meta {
        Meta::clone(&read(&self.shared.meta))
    }

    /// A handle for reading.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// The background work: give it a thread of its own, or call it between appends.
    #[must_use]
    pub fn maintainer(&self) -> Maintainer {
        Maintainer::new(self.shared.clone(), self.lock.clone())
    }

    /// Marks the head and lets go of the directory; its lock goes with the last maintainer.
    ///
    /// # Errors
    /// [`AppendError::Fatal`].
    pub fn close(mut self) -> Result<(), AppendError> {
        self.mark()
    }

    fn check_alive(&self) -> Result<(), AppendError> {
        match &self.failed {
            None => Ok(()),
            Some(why) => Err(AppendError::Fatal(io::Error::other(format!(
                "failed before: {why}"
            )))),
        }
    }

    fn fatal(&mut self, error: io::Error) -> AppendError {
        self.failed = Some(error.to_string());
        AppendError::Fatal(error)
    }

    fn or_fatal<T>(&mut self, result: io::Result<T>) -> Result<T, AppendError> {
        result.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => AppendError::StorageFull,
            _ => self.fatal(error),
        })
    }

    fn begin_epoch(&mut self, number: u32) -> Result<(), AppendError> {
        let mut meta = self.meta();
        meta.begin_epoch(number, self.head.position + 1);
        let stored = meta.store(&*self.shared.disk);
        self.or_fatal(stored)?;
        self.head.epoch = number;
        *write(&self.shared.meta) = Arc::new(meta);
        Ok(())
    }

    /// Makes room for a frame, in the next segment if need be; gives its length with padding.
    fn make_room(&mut self, frame_len: usize) -> Result<usize, AppendError> {
        let padded = align_up(frame_len as u64, self.segment.header.alignment);
        if self.offset + padded <= self.segment.header.segment_bytes {
            return Ok(padded as usize);
        }
        let padded = align_up(frame_len as u64, FRAME_ALIGNMENT);
        if SEGMENT_HEADER_BYTES + padded > self.shared.options.segment_bytes {
            return Err(AppendError::TooLarge);
        }
        let spare = {
            let mut spares = lock(&self.shared.spares);
            let added = if spares.files.is_empty() {
                self.shared.add_spare(&mut spares)
            } else {
                Ok(())
            };
            added.map(|()| spares.files.remove(0))
        };
        let spare = self.or_fatal(spare)?;
        self.rotate(spare).map_err(|error| self.fatal(error))?;
        Ok(padded as usize)
    }

    /// Goes on in the next segment. The header is durable before the name, and the name before any frame.
    fn rotate(&mut self, spare: Spare) -> io::Result<()> {
        let header = SegmentHeader {
            alignment: FRAME_ALIGNMENT,
            first_position: self.head.position + 1,
            segment_bytes: spare.bytes,
            cluster_id: read(&self.shared.meta).cluster_id,
            prev: Head {
                epoch: 0,
                ..self.head
            },
            prev_end: self.offset,
        };
        spare.file.write_at(&header.to_block(), 0)?;
        spare.file.sync_data()?;
        let path = segment_path(header.first_position);
        self.shared.disk.rename(&spare.path, &path)?;
        self.shared.disk.sync_dir(SEGMENT_DIR)?;
        self.marker.mark(&self.head)?;
        let sealed = std::mem::replace(
            &mut self.segment,
            Arc::new(Segment::new(path, header, spare.file)),
        );
        self.offset = SEGMENT_HEADER_BYTES;
        self.publish_segment(sealed);
        Ok(())
    }

    fn publish_segment(&mut self, sealed: Arc<Segment>) {
        let base = self.segment.first_position();
        let prepared = lock(&self.shared.spares).table.take();
        self.shared.change_index(|view| {
            let table = match prepared {
                Some(mut table) => {
                    table.rebase(base);
                    table
                }
                None => ActiveTable::new(base, view.active.keys() as usize),
            };
            let table = std::mem::replace(&mut view.active, Arc::new(table));
            let (last_position, last_hash) = (self.head.position, self.head.hash);
            view.pending.push(PendingRun {
                table,
                segment: sealed,
                last_position,
                last_hash,
            });
        });
        let mut segments = write(&self.shared.segments);
        let mut grown = Vec::clone(&segments);
        grown.push(self.segment.clone());
        *segments = Arc::new(grown);
    }

    /// Writes a padded frame at the end of the active segment and syncs it.
    fn write_synced(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let file = self.segment.file.clone();
        match file.write_at(bytes, self.offset) {
            Ok(()) => {}
            // Space is reserved, so this is a file system that copies on write. A frame without its first sector
            // is none; the rest is overwritten by what comes next, or zeroed by the next recovery.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let zeros = [0; FRAME_ALIGNMENT as usize];
                let undone = file
                    .write_at(&zeros, self.offset)
                    .and_then(|()| file.sync_data());
                return Err(match undone {
                    Ok(()) => AppendError::StorageFull,
                    Err(error) => self.fatal(error),
                });
            }
            Err(error) => return Err(self.fatal(error)),
        }
        self.shared.note_frame(bytes.len());
        file.sync_data().map_err(|error| self.fatal(error))
    }

    fn extract_keys(&mut self, frame: &FrameRef<'_>) {
        let pairs = &mut self.pairs;
        for record in frame.records() {
            (self.shared.extract_keys)(record.payload(), &mut |hash| {
                pairs.push((hash, record.position()))
            });
        }
    }

    /// The frame at the offset is durable and its places are noted: index it, then show it.
    fn publish(&mut self, frame: &FrameRef<'_>) -> Head {
        let active = self.shared.index().active.clone();
        active.insert_all(&self.pairs);
        self.offset = self.segment.after(self.offset, frame.bytes().len());
        self.segment.set_end(self.offset);
        self.head = frame.head();
        self.shared.publish(self.head);
        self.head
    }
}

/// Largest frame that fits a segment, bytes, padding included.
fn frame_bytes_max(segment_bytes: u64) -> u64 {
    align_up(FRAME_BYTES_MAX as u64, FRAME_ALIGNMENT).min(segment_bytes - SEGMENT_HEADER_BYTES)
}
