//! State that the writer, the readers and the maintainers of one open journal share.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use crate::disk::{Disk, File};
use crate::files::SEGMENT_DIR;
use crate::head::Head;
use crate::index::IndexView;
use crate::index::active::ActiveTable;
use crate::index::merge::MergeWork;
use crate::locks::{read, write};
use crate::meta::Meta;
use crate::options::{KeyExtractor, Options, ReadError};
use crate::segment::{FrameReader, SEGMENT_HEADER_BYTES, Segment};

pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) extract_keys: KeyExtractor,
    pub(crate) meta: RwLock<Arc<Meta>>,
    head: RwLock<Head>,
    durable: AtomicU64,
    /// Moving average of the size of frames, bytes.
    pub(crate) frame_bytes: AtomicU64,
    pub(crate) segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    pub(crate) index: RwLock<Arc<IndexView>>,
    pub(crate) spares: Mutex<Spares>,
    /// Held during maintenance; the merge under way.
    pub(crate) maintenance: Mutex<MergeWork>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}

/// Segments reserved ahead, and an index table for the next segment.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    pub(crate) files: Vec<Spare>,
    /// Number of spare segments that were taken out of `files` to be written to.
    pub(crate) being_written: usize,
    pub(crate) table: Option<ActiveTable>,
    next_number: u64,
}

#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) path: String,
    pub(crate) file: Arc<dyn File>,
    pub(crate) bytes: u64,
    /// Bytes from the start to which zeros were written. A file system records whether reserved space was written to, so the first
    /// write to a block costs a second write, of that record, at the next sync.
    pub(crate) written: u64,
}

pub(crate) fn spare_name(name: &str) -> bool {
    name.starts_with("spare-") && name.ends_with(".seg")
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        options: Options,
        extract_keys: KeyExtractor,
        meta: Meta,
        head: Head,
        segments: Vec<Arc<Segment>>,
        index: IndexView,
    ) -> Shared {
        Shared {
            disk,
            options,
            extract_keys,
            meta: RwLock::new(Arc::new(meta)),
            head: RwLock::new(head),
            durable: AtomicU64::new(head.position),
            frame_bytes: AtomicU64::new(0),
            segments: RwLock::new(Arc::new(segments)),
            index: RwLock::new(Arc::new(index)),
            spares: Mutex::default(),
            maintenance: Mutex::default(),
        }
    }

    pub(crate) fn head(&self) -> Head {
        *read(&self.head)
    }

    /// Returns the last published position.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Takes a frame of `bytes` bytes into the average. Only the writer calls it.
    pub(crate) fn record_frame_size(&self, bytes: usize) {
        let before = self.frame_bytes.load(Ordering::Relaxed);
        let now = before - before / 8 + bytes as u64 / 8;
        self.frame_bytes.store(now, Ordering::Relaxed);
    }

    /// Shows readers a new head. Everything up to `head` is durable, indexed and in the position tables.
    pub(crate) fn publish(&self, head: Head) {
        // In this order: a thread that sees the head can read everything up to it.
        self.durable.store(head.position, Ordering::Release);
        *write(&self.head) = head;
    }

    pub(crate) fn index(&self) -> Arc<IndexView> {
        read(&self.index).clone()
    }

    pub(crate) fn change_index(&self, change: impl FnOnce(&mut IndexView)) {
        let mut slot = write(&self.index);
        let mut view = IndexView::clone(&slot);
        change(&mut view);
        *slot = Arc::new(view);
    }

    pub(crate) fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        read(&self.segments).clone()
    }

    /// Returns the segment of a published position, and the first position of the next segment.
    pub(crate) fn segment_of(&self, position: u64) -> Option<(Arc<Segment>, Option<u64>)> {
        let segments = read(&self.segments);
        let after = segments.partition_point(|segment| segment.first_position() <= position);
        let segment = segments.get(after.checked_sub(1)?)?.clone();
        Some((
            segment,
            segments.get(after).map(|next| next.first_position()),
        ))
    }

    /// Reserves a segment ahead and adds it to `spares`.
    pub(crate) fn add_spare(&self, spares: &mut Spares) -> io::Result<()> {
        let bytes = self.options.segment_bytes;
        if self.disk.free_bytes()? < self.options.bytes_to_grow() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let path = format!("{SEGMENT_DIR}/spare-{}.seg", spares.next_number);
        let file = self.disk.create(&path)?;
        if let Err(error) = file.allocate(bytes).and_then(|()| file.sync_data()) {
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        spares.next_number += 1;
        spares.files.push(Spare {
            path,
            file,
            bytes,
            written: 0,
        });
        Ok(())
    }

    /// Builds the index table of a whole segment by reading the segment.
    pub(crate) fn index_segment(&self, segment: &Segment) -> Result<ActiveTable, ReadError> {
        let table = ActiveTable::new(segment.first_position(), 0);
        let mut reader = FrameReader::default();
        let (mut offset, mut pairs) = (SEGMENT_HEADER_BYTES, Vec::new());
        let mut position = segment.first_position();
        while offset < segment.end() {
            let frame = match reader.frame(&*segment.file, offset, segment.end())? {
                Ok(frame) => frame,
                Err(bad) => return Err(segment.damage(offset, position, bad.0).into()),
            };
            if let Err(bad) = frame.verify_content() {
                return Err(segment.damage(offset, position, bad.0).into());
            }
            pairs.clear();
            for record in frame.records() {
                (self.extract_keys)(record.payload(), &mut |hash| {
                    pairs.push((hash, record.position()))
                });
            }
            table.insert_all(&pairs);
            position = frame.header().last_position() + 1;
            offset = segment.next_frame_offset(offset, frame.bytes().len());
        }
        Ok(table)
    }
}
