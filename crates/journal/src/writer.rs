//! Appending frames.

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
use crate::options::{AppendError, Space};
use crate::reader::Reader;
use crate::segment::{FRAME_ALIGNMENT, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, segment_path};
use crate::shared::{Shared, Spare};
use crate::synced::Marker;

/// Appends frames; a journal has one writer. Everything acknowledged is safe even if the writer is dropped without
/// [`Writer::close`].
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    lock: Arc<dyn DirLock>,
    segment: Arc<Segment>,
    // Offset of the next frame in the segment.
    offset: u64,
    head: Head,
    marker: Marker,
    failed: Option<String>,
    /// Bytes at the offset where a frame was to be written for which there was no space, although it had been reserved: the file
    /// system copies on write, or there is a quota. Nothing more is written before there is space for as much.
    refused_bytes: Option<usize>,
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
            refused_bytes: None,
            pairs: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Returns the durable head.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Seals the frame unless it is sealed on this head already, writes and syncs it, indexes its records, and publishes the new head.
    /// The builder keeps the frame, so that the caller can retry after [`AppendError::StorageFull`] or reset the builder.
    ///
    /// # Errors
    /// After [`AppendError::Fatal`] every later call fails too. After other errors nothing has changed.
    pub fn append(&mut self, frame: &mut FrameBuilder) -> Result<Head, AppendError> {
        self.require_space()?;
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
        frame.write_padded(padded, |bytes| self.write_synced(bytes))?;
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
            .add_record_starts(first, self.offset, frame.starts());
        let sealed = frame.seal(&self.head);
        if self.pairs.is_empty() {
            self.extract_keys(&sealed);
        }
        Ok(self.publish(&sealed))
    }

    /// Appends a frame of another journal verbatim. The frame must follow this head and be whole. If the frame begins an epoch, the
    /// epoch begins in this journal, too.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn append_sealed(&mut self, bytes: &[u8]) -> Result<Head, AppendError> {
        self.require_space()?;
        let frame = FrameRef::parse(bytes).map_err(|bad| AppendError::Refused(bad.0))?;
        frame
            .verify(&self.head)
            .map_err(|bad| AppendError::Refused(bad.0))?;
        let epoch = frame.header().epoch;
        let meta = read(&self.shared.meta).clone();
        // This journal may know the epochs of the other one already, also later ones.
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
        self.segment.positions.add_frame(&frame, self.offset);
        Ok(self.publish(&frame))
    }

    /// Reserves room for the next `frames` frames of any size. To be called before anything is decided.
    ///
    /// # Errors
    /// [`AppendError::StorageFull`]: the caller must refuse commands and may retry later.
    pub fn reserve(&mut self, frames: u32) -> Result<(), AppendError> {
        self.require_space()?;
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

    /// Records durably that everything up to the head is durable, so that damage to the last frame is not mistaken for an unfinished
    /// write. To be called when idle. Does nothing if the head has not moved.
    ///
    /// # Errors
    /// [`AppendError::StorageFull`] (the mark stays where it was) or [`AppendError::Fatal`].
    pub fn mark(&mut self) -> Result<(), AppendError> {
        self.check_alive()?;
        let marked = self.marker.mark(&self.head);
        self.or_fatal(marked)
    }

    /// Returns the space on the disk.
    ///
    /// # Errors
    /// Whatever the storage reports.
    pub fn space(&self) -> io::Result<Space> {
        Ok(Space {
            free_bytes: self.shared.disk.free_bytes()?,
            needed_bytes: self.shared.options.bytes_to_grow(),
        })
    }

    /// Begins a new epoch at the next position, as after restoring a backup. Returns the number of the epoch, which is above all known
    /// numbers and at least `least`.
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

    /// Returns the identity of the journal and its epochs.
    #[must_use]
    pub fn meta(&self) -> Meta {
        Meta::clone(&read(&self.shared.meta))
    }

    /// Returns a reader of this journal.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// Returns the background work of this journal, to be done on a thread of its own or between appends.
    #[must_use]
    pub fn maintainer(&self) -> Maintainer {
        Maintainer::new(self.shared.clone(), self.lock.clone())
    }

    /// Marks the head and closes the journal. The directory stays locked until the last maintainer is dropped.
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

    /// Checks that the writer is of use, and that there is space again if there was none for a frame.
    fn require_space(&mut self) -> Result<(), AppendError> {
        self.check_alive()?;
        let Some(bytes) = self.refused_bytes else {
            return Ok(());
        };
        // What was written of the frame goes, too.
        self.write_zeros(bytes)?;
        self.refused_bytes = None;
        Ok(())
    }

    /// Writes zeros at the offset, durably.
    fn write_zeros(&mut self, bytes: usize) -> Result<(), AppendError> {
        let file = self.segment.file.clone();
        let written = file.write_at(&vec![0; bytes], self.offset);
        self.or_fatal(written)?;
        file.sync_data().map_err(|error| self.fatal(error))
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

    /// Makes room for a frame, in the next segment if needed. Returns the length of the frame with padding.
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
        self.rotate(spare)?;
        Ok(padded as usize)
    }

    /// Switches to the next segment. Its header is durable before its name, and its name before any frame.
    fn rotate(&mut self, spare: Spare) -> Result<(), AppendError> {
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
        let path = segment_path(header.first_position);
        let begun = match spare.file.write_at(&header.to_block(), 0) {
            Ok(()) => {
                let synced = spare.file.sync_data();
                synced.map_err(|error| self.fatal(error))?;
                self.shared.disk.rename(&spare.path, &path)
            }
            full => full,
        };
        if let Err(error) = begun {
            // For lack of space nothing has changed, and the spare is as good as before.
            lock(&self.shared.spares).files.insert(0, spare);
            return self.or_fatal(Err(error));
        }
        let synced = self.shared.disk.sync_dir(SEGMENT_DIR);
        synced.map_err(|error| self.fatal(error))?;
        match self.mark() {
            // The mark of before is true, too.
            Ok(()) | Err(AppendError::StorageFull) => {}
            Err(error) => return Err(error),
        }
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
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.take_back(bytes)?;
            }
            Err(error) => return Err(self.fatal(error)),
        }
        self.shared.record_frame_size(bytes.len());
        file.sync_data().map_err(|error| self.fatal(error))
    }

    /// Takes back a frame for which there was no space when it was written. Returns only if all of it was written after all.
    fn take_back(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        self.refused_bytes = Some(bytes.len());
        // Without its first sector the frame is none; the next frame overwrites the rest, or the next recovery zeroes it.
        match self.write_zeros(FRAME_ALIGNMENT as usize) {
            Ok(()) => return Err(AppendError::StorageFull),
            Err(AppendError::StorageFull) => {}
            Err(error) => return Err(error),
        }
        // There is no space even for that. A frame of which a part is missing is none, either.
        let mut written = vec![0; bytes.len()];
        let read = self.segment.file.read_at(&mut written, self.offset);
        let read = read.map_err(|error| self.fatal(error))?;
        if written[..read] != *bytes {
            let parsed = FrameRef::parse(&written[..read]);
            return match parsed.is_ok_and(|frame| frame.verify_content().is_ok()) {
                false => Err(AppendError::StorageFull),
                true => Err(self.fatal(io::Error::other(
                    "a frame can't be taken back for which there was no space",
                ))),
            };
        }
        self.refused_bytes = None;
        Ok(())
    }

    fn extract_keys(&mut self, frame: &FrameRef<'_>) {
        let pairs = &mut self.pairs;
        for record in frame.records() {
            (self.shared.extract_keys)(record.payload(), &mut |hash| {
                pairs.push((hash, record.position()))
            });
        }
    }

    /// Indexes and publishes the frame at the offset, which is durable and in the position table.
    fn publish(&mut self, frame: &FrameRef<'_>) -> Head {
        let active = self.shared.index().active.clone();
        active.insert_all(&self.pairs);
        self.offset = self
            .segment
            .next_frame_offset(self.offset, frame.bytes().len());
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
