//! Scrubbing: an incremental check of everything stored, in rounds.

use std::io;

use crate::head::Damage;
use crate::index::run::PAGE_BYTES;
use crate::options::ReadError;
use crate::reader::{FrameIter, Reader};

/// Checks everything stored, a few bytes per step. The caller sets the rate by how often it calls [`Scrubber::step`].
#[derive(Debug)]
pub struct Scrubber {
    reader: Reader,
    frames: FrameIter,
    // The next run and page, once all frames are checked.
    page: Option<(usize, usize)>,
}

/// Result of a scrub step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubStep {
    /// Bytes read and checked.
    pub bytes: u64,
    /// Damage found; the next step goes on behind the damage. Maintenance rebuilds a damaged index file.
    pub damage: Vec<Damage>,
    /// Whether this step completed a round.
    pub round_complete: bool,
}

impl Scrubber {
    /// Begins a background check of everything that `reader` can read.
    #[must_use]
    pub fn new(reader: Reader) -> Scrubber {
        Scrubber {
            frames: reader.frames(1),
            reader,
            page: None,
        }
    }

    /// Checks at least one frame or page, and about `max_bytes`. Stops at the end of a round.
    ///
    /// # Errors
    /// Whatever the storage reports. Damage is reported in the result.
    pub fn step(&mut self, max_bytes: u64) -> io::Result<ScrubStep> {
        let mut step = ScrubStep::default();
        while !step.round_complete && step.bytes < max_bytes.max(1) {
            match self.page {
                None => self.frame(&mut step)?,
                Some((run, page)) => self.run_page(run, page, &mut step)?,
            }
        }
        Ok(step)
    }

    fn frame(&mut self, step: &mut ScrubStep) -> io::Result<()> {
        match self.frames.next() {
            Ok(Some(frame)) => step.bytes += frame.bytes().len() as u64,
            Ok(None) => self.page = Some((0, 0)),
            Err(ReadError::Damaged(damage)) => {
                step.damage.push(damage);
                step.bytes += 1;
                self.frames.skip_damage();
            }
            Err(ReadError::Io(error)) => return Err(error),
        }
        Ok(())
    }

    fn run_page(&mut self, run: usize, page: usize, step: &mut ScrubStep) -> io::Result<()> {
        let view = self.reader.shared().index();
        let Some(file) = view.runs.get(run) else {
            self.frames = self.reader.frames(1);
            self.page = None;
            step.round_complete = true;
            return Ok(());
        };
        if page >= file.pages() {
            self.page = Some((run + 1, 0));
            return Ok(());
        }
        step.bytes += PAGE_BYTES as u64;
        self.page = Some((run, page + 1));
        match file.page(page, &mut [0; PAGE_BYTES]) {
            Ok(_) => Ok(()),
            Err(ReadError::Damaged(damage)) => {
                step.damage.push(damage);
                Ok(())
            }
            Err(ReadError::Io(error)) => Err(error),
        }
    }
}
