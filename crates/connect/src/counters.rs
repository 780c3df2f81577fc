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
    /// How the sources stand, of a binding that takes messages in.
    receiving: Option<Standing>,
    /// How the way out stands: of events, or of replies.
    sending: Option<Standing>,
    received: u64,
    redelivered: u64,
    decided: u64,
    sent: u64,
    repeated: u64,
    left_out: u64,
    dead_letters: u64,
    reconnects: u64,
    /// Messages of batches in hand, by the time and number of the batch.
    in_hand: BTreeMap<(u64, u64), u64>,
    batches: u64,
    /// Messages that wait at the broker, as it told last.
    lag: Option<u64>,
    meter: Meter,
}

/// The two parts of a binding that takes messages in; one that sends has the second one only.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// Its sources.
    Receiving,
    /// Events or replies that go out.
    Sending,
}

impl State {
    fn part(&mut self, part: Part) -> &mut Option<Standing> {
        match part {
            Part::Receiving => &mut self.receiving,
            Part::Sending => &mut self.sending,
        }
    }

    /// How the binding stands as a whole: as the part does that does not work.
    fn standing(&self) -> Standing {
        let mut parts = [&self.receiving, &self.sending].into_iter().flatten();
        let in_trouble = parts.clone().find(|part| **part != Standing::Running);
        let standing = in_trouble.or_else(|| parts.next());
        standing.cloned().unwrap_or(Standing::Connecting)
    }
}

/// A batch in hand, until it is dropped.
pub(crate) struct InHand {
    counters: Arc<Counters>,
    taken: u64,
    number: u64,
}

impl InHand {
    /// Counts what became of the messages.
    pub(crate) fn settle(self, tally: Tally, clock: &dyn Clock) {
        let now = clock.now();
        let mut state = self.counters.state();
        state.decided += tally.decided;
        state.repeated += tally.repeated;
        state.dead_letters += tally.dead_letters;
        state.left_out += tally.left_out;
        let done = tally.decided + tally.repeated + tally.left_out + tally.dead_letters;
        let took = now.saturating_sub(self.taken);
        state.meter.done(now, done, took.saturating_mul(done));
        if done > 0 {
            state.meter.took(now, took);
        }
    }
}

impl Drop for InHand {
    /// The batch is done, or its connection is lost and the broker has it again.
    fn drop(&mut self) {
        let mut state = self.counters.state();
        state.in_hand.remove(&(self.taken, self.number));
    }
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
                receiving: None,
                sending: None,
                received: 0,
                redelivered: 0,
                decided: 0,
                sent: 0,
                repeated: 0,
                left_out: 0,
                dead_letters: 0,
                reconnects: 0,
                in_hand: BTreeMap::new(),
                batches: 0,
                lag: None,
                meter: Meter::default(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stand(&self, part: Part, standing: Standing) {
        *self.state().part(part) = Some(standing);
    }

    /// Notes that the binding does nothing, and why.
    pub(crate) fn stop(&self, why: String) {
        let mut state = self.state();
        state.receiving = Some(Standing::Stopped { why });
        state.sending = None;
    }

    /// Notes that the binding, which takes nothing in, sends.
    pub(crate) fn send_only(&self) {
        self.state().receiving = None;
    }

    /// Notes a trouble at the broker.
    pub(crate) fn trouble(&self, part: Part, trouble: &Trouble, was_connected: bool) {
        let mut state = self.state();
        state.reconnects += u64::from(was_connected);
        *state.part(part) = Some(Standing::Waiting {
            kind: Some(trouble.kind.as_str()),
            why: trouble.text.clone(),
        });
    }

    /// Notes how many messages wait at the broker; none if nobody knows.
    pub(crate) fn set_lag(&self, lag: Option<u64>) {
        self.state().lag = lag;
    }

    /// Counts messages received; `redelivered` of them are so by the word of the broker.
    pub(crate) fn take(
        self: &Arc<Self>,
        messages: usize,
        redelivered: usize,
        clock: &dyn Clock,
    ) -> InHand {
        let (taken, messages) = (clock.now(), messages as u64);
        let mut state = self.state();
        state.received += messages;
        state.redelivered += redelivered as u64;
        state.batches += 1;
        state.meter.arrived(taken, messages);
        let number = state.batches;
        state.in_hand.insert((taken, number), messages);
        InHand {
            counters: self.clone(),
            taken,
            number,
        }
    }

    /// Counts a message that was sent and confirmed.
    pub(crate) fn count_sent(&self) {
        self.state().sent += 1;
    }

    /// Counts an event that was sent and confirmed, which took so many nanoseconds.
    pub(crate) fn count_event(&self, worked: u64, clock: &dyn Clock) {
        let now = clock.now();
        let mut state = self.state();
        state.sent += 1;
        state.meter.done(now, 1, worked);
        state.meter.took(now, worked);
    }

    pub(crate) fn read(&self, now: u64) -> BindingFigures {
        let state = self.state();
        BindingFigures {
            standing: state.standing(),
            received: state.received,
            redelivered: state.redelivered,
            decided: state.decided,
            sent: state.sent,
            repeated: state.repeated,
            left_out: state.left_out,
            dead_letters: state.dead_letters,
            reconnects: state.reconnects,
            in_hand: state.in_hand.values().sum(),
            lag: state.lag,
            oldest_in_hand: state.in_hand.keys().next().map(|(taken, _)| *taken),
            rates: state.meter.rates(now),
        }
    }
}
