//! Counts what bindings do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tributary_api::brokers::{BindingFigures, Standing};
use tributary_engine::{Clock, Meter};
use tributary_ledger::SettingId;

use crate::port::Trouble;

/// The counters of all bindings.
#[derive(Default)]
pub(crate) struct Registry(Mutex<BTreeMap<SettingId, Arc<Counters>>>);

impl Registry {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SettingId, Arc<Counters>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the counters of a binding, if it has some.
    pub(crate) fn get(&self, binding: SettingId) -> Option<Arc<Counters>> {
        self.lock().get(&binding).cloned()
    }

    /// Returns the counters of a binding, which has new ones if it had none.
    pub(crate) fn of(&self, binding: SettingId) -> Arc<Counters> {
        let mut counters = self.lock();
        let made = || Arc::new(Counters::new());
        counters.entry(binding).or_insert_with(made).clone()
    }

    /// Begins to count anew.
    pub(crate) fn reset(&self, binding: SettingId) -> Arc<Counters> {
        let made = Arc::new(Counters::new());
        self.lock().insert(binding, made.clone());
        made
    }

    /// Forgets the bindings that are not kept.
    pub(crate) fn retain(&self, keep: impl Fn(SettingId) -> bool) {
        self.lock().retain(|binding, _| keep(*binding));
    }
}

/// Counts the work of one binding.
pub(crate) struct Counters {
    state: Mutex<State>,
}

struct State {
    standing: Standing,
    received: u64,
    decided: u64,
    sent: u64,
    repeated: u64,
    left_out: u64,
    dead_letters: u64,
    reconnects: u64,
    /// Messages of batches in hand, by the time and number of the batch.
    in_hand: BTreeMap<(u64, u64), u64>,
    batches: u64,
    meter: Meter,
}

/// A batch in hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InHand {
    taken: u64,
    number: u64,
}

/// What became of the messages of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) decided: u64,
    pub(crate) repeated: u64,
    pub(crate) left_out: u64,
    pub(crate) dead_letters: u64,
}

impl Counters {
    pub(crate) fn new() -> Counters {
        Counters {
            state: Mutex::new(State {
                standing: Standing::Connecting,
                received: 0,
                decided: 0,
                sent: 0,
                repeated: 0,
                left_out: 0,
                dead_letters: 0,
                reconnects: 0,
                in_hand: BTreeMap::new(),
                batches: 0,
                meter: Meter::default(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stand(&self, standing: Standing) {
        self.state().standing = standing;
    }

    /// Notes a trouble at the broker.
    pub(crate) fn trouble(&self, trouble: &Trouble, was_connected: bool) {
        let mut state = self.state();
        state.reconnects += u64::from(was_connected);
        state.standing = Standing::Waiting {
            kind: Some(trouble.kind.as_str()),
            why: trouble.text.clone(),
        };
    }

    pub(crate) fn take(&self, messages: usize, clock: &dyn Clock) -> InHand {
        let (taken, messages) = (clock.now(), messages as u64);
        let mut state = self.state();
        state.received += messages;
        state.batches += 1;
        state.meter.arrived(taken, messages);
        let number = state.batches;
        state.in_hand.insert((taken, number), messages);
        InHand { taken, number }
    }

    pub(crate) fn settle(&self, batch: InHand, tally: Tally, clock: &dyn Clock) {
        let now = clock.now();
        let mut state = self.state();
        state.in_hand.remove(&(batch.taken, batch.number));
        state.decided += tally.decided;
        state.repeated += tally.repeated;
        state.dead_letters += tally.dead_letters;
        state.left_out += tally.left_out;
        let done = tally.decided + tally.repeated + tally.left_out + tally.dead_letters;
        let worked = now.saturating_sub(batch.taken).saturating_mul(done);
        state.meter.done(now, done, worked);
    }

    /// Counts a message that was sent and confirmed.
    pub(crate) fn count_sent(&self) {
        self.state().sent += 1;
    }

    /// Counts an event that was sent and confirmed, which took so many nanoseconds.
    pub(crate) fn count_event(&self, worked: u64, clock: &dyn Clock) {
        let mut state = self.state();
        state.sent += 1;
        state.meter.done(clock.now(), 1, worked);
    }

    pub(crate) fn read(&self, now: u64) -> BindingFigures {
        let state = self.state();
        BindingFigures {
            standing: state.standing.clone(),
            received: state.received,
            decided: state.decided,
            sent: state.sent,
            repeated: state.repeated,
            left_out: state.left_out,
            dead_letters: state.dead_letters,
            reconnects: state.reconnects,
            in_hand: state.in_hand.values().sum(),
            oldest_in_hand: state.in_hand.keys().next().map(|(taken, _)| *taken),
            rates: state.meter.rates(now),
        }
    }
}
