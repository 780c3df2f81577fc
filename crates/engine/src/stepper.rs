//! The engine without threads: the same core, view and timers, one step at a time on the caller's thread.
//!
//! For simulators, which must be able to stop anywhere, and for work on a journal that nobody else serves.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tributary_journal::{Disk, lock};
use tributary_ledger::{Command, WorkingSet};

use crate::backend::{Backend, Fate, Recovered};
use crate::checkpoint::{Checkpointer, Slices};
use crate::clock::Clock;
use crate::core::{Core, InFlight};
use crate::failure::Failure;
use crate::ports::Ports;
use crate::read::Reader;
use crate::reply::{Refused, Reply};
use crate::request::{Request, Resolved};
use crate::shared::{Options, Shared};
use crate::timers::Timers;
use crate::writer;

type Slot = Arc<Mutex<Option<Result<Resolved, Failure>>>>;

/// The pending answer to one [`Stepper::accept`].
pub struct Stepped(Slot);

/// An engine that is driven by hand.
pub struct Stepper {
    core: Core,
    shared: Shared,
    clock: Arc<dyn Clock>,
    timers: Timers,
    in_flight: VecDeque<InFlight>,
    checkpoint: Option<Slices>,
}

impl Stepper {
    /// Rebuilds the state from the backend's journal.
    pub fn start(mut backend: Box<dyn Backend>, clock: Arc<dyn Clock>) -> Result<Stepper, Failure> {
        let Recovered { set, .. } = backend.recover()?;
        let shared = Shared::new(&*backend, set.clone(), Options::default(), clock.clone());
        Ok(Stepper {
            core: Core::new(backend, clock.clone(), set),
            timers: Timers::new(&shared),
            shared,
            clock,
            in_flight: VecDeque::new(),
            checkpoint: None,
        })
    }

    /// Sets the maximum length of the queue of payments, instead of [`crate::QUEUE_LENGTH_MAX`].
    #[must_use]
    pub fn with_queue_length_max(mut self, payments: usize) -> Stepper {
        self.core = self.core.with_queue_length_max(payments);
        self
    }

    /// Decides commands into the open batch, which is handed over first if they don't fit.
    pub fn accept(&mut self, mut commands: Vec<Command>) -> Stepped {
        let slot: Slot = Arc::default();
        let stepped = Stepped(slot.clone());
        let respond = Box::new(move |resolved| {
            let before = lock(&slot).replace(resolved);
            assert!(before.is_none(), "a request is answered once");
        });
        self.shared.assess(&mut commands);
        self.take(Request::new(commands, respond));
        stepped
    }

    /// Submits the expiry of holds that are due. False if there are none.
    pub fn expire(&mut self) -> bool {
        let now = self.clock.now();
        let at = self.core.decided_at(now);
        let request = self.timers.expire(&self.shared, now, at);
        request.map(|request| self.take(request)).is_some()
    }

    /// Submits queued payments whose turn has come. False if there are none.
    pub fn run_queue(&mut self) -> bool {
        let now = self.clock.now();
        let at = self.core.decided_at(now);
        let selected = loop {
            let joined = self.core.published_before(self.shared.view.position());
            let selected = self.timers.select(&self.shared, now, at.min(joined));
            if !self.shared.view.look_again() {
                break selected;
            }
        };
        let request = selected.map(|selected| selected.judge(&self.shared));
        request.map(|request| self.take(request)).is_some()
    }

    fn take(&mut self, request: Request) {
        if self.shared.why_failed().is_some() {
            return request.refuse(Failure::Fatal("the engine stopped".into()));
        }
        if !self.core.has_room(&request) {
            self.submit();
        }
        let turned_away = self.core.accept(request);
        writer::turn_away(&self.core, &self.shared, turned_away);
        while self.core.is_divided() {
            self.submit();
            if self.core.can_resume() {
                let turned_away = self.core.resume();
                writer::turn_away(&self.core, &self.shared, turned_away);
            }
        }
    }

    /// Hands the open batch over, if there is one. What is in flight lands first where there is no room for more.
    pub fn submit(&mut self) {
        let waits = |core: &Core| core.open_len() != (0, 0) && !core.can_submit();
        while waits(&self.core) && self.land() {}
        // If what was in flight is lost, the open batch is lost with it.
        if self.core.can_submit() {
            self.in_flight.push_back(self.core.submit());
        }
    }

    /// Learns the fate of the batch that was handed over first, publishes it if it is durable, and answers. False if nothing
    /// is in flight.
    pub fn land(&mut self) -> bool {
        let Some(in_flight) = self.in_flight.pop_front() else {
            return false;
        };
        let (fate, in_flight) = in_flight.wait();
        if let Fate::Durable(_) = fate {
            if !in_flight.batch.is_empty() {
                self.core.landed();
            }
            writer::publish(&self.shared, &in_flight.batch);
            in_flight.respond(None);
            return true;
        }
        let rest = self.in_flight.drain(..).map(InFlight::wait);
        let lost = std::iter::once((fate, in_flight)).chain(rest).collect();
        writer::settle_lost(&mut self.core, &self.shared, lost);
        true
    }

    /// Submits, and lands all that is in flight.
    pub fn settle(&mut self) {
        self.submit();
        while self.land() {}
    }

    /// Does one piece of the work that can wait. False if there is none now.
    pub fn idle(&mut self) -> bool {
        self.core.idle()
    }

    /// Begins a checkpoint of what is published now, unless one is under way.
    pub fn begin_checkpoint(&mut self, disk: Arc<dyn Disk>) -> io::Result<()> {
        if self.checkpoint.is_none() {
            let slices = Checkpointer::new(disk).begin(&self.shared)?;
            self.checkpoint = Some(slices);
        }
        Ok(())
    }

    /// Writes out some more objects of the checkpoint under way, and ends it with the last. True when it is whole.
    pub fn step_checkpoint(&mut self, objects: usize) -> io::Result<bool> {
        let Some(mut slices) = self.checkpoint.take() else {
            return Ok(false);
        };
        if slices.step(&self.shared.view, objects)? {
            self.checkpoint = Some(slices);
            return Ok(false);
        }
        slices.finish().map(|_bytes| true)
    }

    /// Returns the answer, if there is one yet. Replayed records are read back.
    pub fn answer(&self, stepped: &Stepped) -> Option<Result<Vec<Reply>, Refused>> {
        let resolved = lock(&stepped.0).take()?;
        Some(match resolved {
            Ok(resolved) => self.shared.replies(resolved),
            Err(failure) => Err(failure.into()),
        })
    }

    /// Sets the ports. The judge is called on the caller's thread.
    pub fn set_ports(&mut self, ports: Ports) {
        self.shared.ports = ports;
    }

    /// Returns the read side.
    pub fn reader(&self) -> Reader {
        self.shared.reader.clone()
    }

    /// Returns the writer's own state, with what is not durable yet.
    pub fn set(&self) -> &WorkingSet {
        self.core.set()
    }

    /// Returns a copy of the published state.
    pub fn published(&self) -> WorkingSet {
        self.shared.view.read().set.clone()
    }

    /// Whether the last request was refused for lack of space.
    pub fn storage_full(&self) -> bool {
        self.shared.storage_full.load(Ordering::Acquire)
    }

    /// Returns why the engine stopped for good, if it did.
    pub fn failed(&self) -> Option<String> {
        self.shared.why_failed()
    }

    /// Settles, and closes the backend.
    pub fn close(mut self) {
        self.settle();
        self.core.close();
    }
}
