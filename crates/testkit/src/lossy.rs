//! A backend that loses answers: the engine submits a batch and does not learn whether the batch was written.
//!
//! So does every store behind a network: the connection breaks before the batch is written, or after it was written and
//! before the answer arrived.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tributary_engine::{
    Backend, Batch, Disk, Failure, Fate, Head, JournalReader, KeyQueries, KeyUse, Recovered,
    Ticket, Versions,
};
use tributary_ledger::{Lookups, WorkingSet};

use crate::random::Random;

/// What happens to one batch and to the answer about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The batch is written, and the answer arrives.
    Nothing,
    /// The batch is not written, and the answer says so.
    Refused,
    /// The batch is not written, and the answer is lost.
    BatchAndAnswer,
    /// The batch is written, and the answer is lost.
    Answer,
}

/// Decides what is lost. Clones share one state.
#[derive(Clone)]
pub struct Losses(Arc<Mutex<Plan>>);

struct Plan {
    random: Random,
    /// Share of batches with a loss, percent.
    percent: u64,
    /// Losses of the next batches, which come before random losses.
    next: VecDeque<Loss>,
    batches_are_kept: bool,
    /// The connection is broken, until the next turn begins.
    cut: bool,
    /// The store does not answer at all.
    unreachable: bool,
    batches_lost: u64,
    answers_lost: u64,
}

impl Losses {
    /// Returns losses for `percent` of the batches, at random from `seed`.
    pub fn new(seed: u64, percent: u64) -> Losses {
        Losses(Arc::new(Mutex::new(Plan {
            random: Random::new(seed),
            percent,
            next: VecDeque::new(),
            batches_are_kept: false,
            cut: false,
            unreachable: false,
            batches_lost: 0,
            answers_lost: 0,
        })))
    }

    /// Plans the loss of the next batch that has none planned yet.
    pub fn plan(&self, loss: Loss) {
        self.lock().next.push_back(loss);
    }

    /// Sets whether all batches are written. Then only answers are lost.
    pub fn keep_batches(&self, keep: bool) {
        self.lock().batches_are_kept = keep;
    }

    /// Breaks the connection: everything fails until the next turn begins.
    pub fn break_connection(&self) {
        self.lock().cut = true;
    }

    /// Makes the store unreachable or reachable again. While unreachable, no turn can begin.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.lock().unreachable = unreachable;
    }

    /// Returns the number of batches that were not written and about which the engine had to ask.
    pub fn batches_lost(&self) -> u64 {
        self.lock().batches_lost
    }

    /// Returns the number of batches that were written although the answer was lost.
    pub fn answers_lost(&self) -> u64 {
        self.lock().answers_lost
    }

    fn draw(&self) -> Loss {
        let mut plan = self.lock();
        let planned = plan.next.pop_front();
        let percent = plan.percent;
        let loss = match planned {
            Some(loss) => loss,
            None if !plan.random.chance(percent) => Loss::Nothing,
            None => match plan.random.below(3) {
                0 => Loss::Refused,
                1 => Loss::BatchAndAnswer,
                _ => Loss::Answer,
            },
        };
        match plan.batches_are_kept && loss != Loss::Nothing {
            true => Loss::Answer,
            false => loss,
        }
    }

    fn check_connection(&self) -> Result<(), Failure> {
        match self.lock().cut {
            true => Err(Failure::Unavailable("the connection was cut".into())),
            false => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A backend with losses. Two batches can be in flight.
pub struct Lossy {
    inner: Box<dyn Backend>,
    losses: Losses,
}

impl Lossy {
    /// Returns a backend over another one. `losses` decides what is lost.
    pub fn new(inner: Box<dyn Backend>, losses: Losses) -> Lossy {
        Lossy { inner, losses }
    }
}

impl Backend for Lossy {
    fn recover(&mut self) -> Result<Recovered, Failure> {
        self.inner.recover()
    }

    fn begin(&mut self) -> Result<Head, Failure> {
        let mut plan = self.losses.lock();
        if plan.unreachable {
            return Err(Failure::Unavailable("the store is unreachable".into()));
        }
        plan.cut = false;
        drop(plan);
        self.inner.begin()
    }

    fn versions(&self) -> Versions {
        self.inner.versions()
    }

    fn load(&mut self, lookups: &Lookups, set: &mut WorkingSet) -> Result<(), Failure> {
        self.losses.check_connection()?;
        self.inner.load(lookups, set)
    }

    fn find_keys(&mut self, keys: KeyQueries<'_>) -> Result<Vec<(usize, KeyUse)>, Failure> {
        self.losses.check_connection()?;
        self.inner.find_keys(keys)
    }

    fn submit(&mut self, batch: &Arc<Batch>, set: &WorkingSet) -> Ticket {
        let loss = match self.losses.check_connection() {
            Ok(()) => self.losses.draw(),
            Err(_) => Loss::Refused,
        };
        let written = match loss {
            Loss::Nothing | Loss::Answer => Some(self.inner.submit(batch, set)),
            Loss::Refused | Loss::BatchAndAnswer => None,
        };
        let losses = self.losses.clone();
        Ticket::pending(move || {
            // Learned only when the engine asks, as over a network.
            let fate = written.map(Ticket::wait);
            let mut plan = losses.lock();
            match (fate, loss) {
                (Some(Fate::Durable(_)), Loss::Answer) => {
                    plan.answers_lost += 1;
                    Fate::Unknown("the answer was lost".into())
                }
                (Some(Fate::Durable(head)), _) => Fate::Durable(head),
                // The batch before it was not written.
                (Some(other), _) => {
                    plan.batches_lost += 1;
                    other
                }
                (None, Loss::Refused) => {
                    plan.batches_lost += 1;
                    Fate::Refused(Failure::Unavailable("the connection was lost".into()))
                }
                (None, _) => {
                    plan.batches_lost += 1;
                    Fate::Unknown("the answer was lost".into())
                }
            }
        })
    }

    fn abandon(&mut self) {
        self.inner.abandon();
    }

    fn depth(&self) -> usize {
        2
    }

    fn idle(&mut self) -> bool {
        self.inner.idle()
    }

    fn disk(&self) -> Option<Arc<dyn Disk>> {
        self.inner.disk()
    }

    fn close(&mut self) {
        self.inner.close();
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        self.inner.reader()
    }
}
