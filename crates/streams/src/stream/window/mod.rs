//! Windows over events that come in the order of time, and then of record.
//!
//! Each kind gets `advance(time)`, after which no event before that time comes, and `add` at a time that was advanced to.

mod aligned;
mod figures;
mod session;
mod trailing;
mod waits;

use super::aggregate::{Plans, Values};
use super::codec::{Reader, Writer};
use super::definition::Window;
use super::errors::StopReason;

pub use self::figures::Usage;
pub(super) use self::figures::{Ahead, Figures, Item, Sink};

use self::aligned::Aligned;
use self::session::Sessions;
use self::trailing::Trailing;
use self::waits::Waits;

/// The open windows of a stream.
pub(super) enum Windows {
    Aligned(Aligned),
    Session(Sessions),
    Trailing(Trailing),
    Await(Waits),
}

impl Windows {
    pub(super) fn new(window: Window) -> Windows {
        match window {
            Window::Tumbling { size } => Windows::Aligned(Aligned::new(size, size)),
            Window::Hopping { size, step } => Windows::Aligned(Aligned::new(size, step)),
            Window::Session { gap } => Windows::Session(Sessions::new(gap)),
            Window::Trailing { size, delay } => Windows::Trailing(Trailing::new(size, delay)),
            Window::Await { within, give } => Windows::Await(Waits::new(within, give)),
        }
    }

    /// Ends every window whose end is not after this time.
    pub(super) fn advance(
        &mut self,
        plans: &Plans,
        time: i64,
        sink: &mut Sink<'_>,
    ) -> Result<(), StopReason> {
        match self {
            Windows::Aligned(windows) => windows.advance(time, sink),
            Windows::Session(windows) => windows.advance(time, sink),
            Windows::Trailing(windows) => {
                windows.advance(plans, time);
                Ok(())
            }
            Windows::Await(waits) => waits.advance(time, sink),
        }
    }

    pub(super) fn add(
        &mut self,
        plans: &Plans,
        item: &Item<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), StopReason> {
        match self {
            Windows::Aligned(windows) => windows.add(plans, item),
            Windows::Session(windows) => windows.add(plans, item),
            Windows::Trailing(windows) => windows.add(plans, item, sink),
            Windows::Await(waits) => waits.add(plans, item),
        }
    }

    /// Takes an answer of a key at a time that was advanced to. Only waits have answers.
    pub(super) fn answer(
        &mut self,
        time: i64,
        key: &[u8],
        sink: &mut Sink<'_>,
    ) -> Result<(), StopReason> {
        match self {
            Windows::Await(waits) => waits.answer(time, key, sink),
            Windows::Aligned(_) | Windows::Session(_) | Windows::Trailing(_) => Ok(()),
        }
    }

    /// Returns the figures of a key at a time: over the window that an event at this time would be in, without it. `ahead`: events of the
    /// key up to this time that were not added yet.
    pub(super) fn look(
        &self,
        plans: &Plans,
        key: &[u8],
        time: i64,
        ahead: &Ahead<'_>,
    ) -> Result<Values, StopReason> {
        match self {
            Windows::Aligned(windows) => windows.look(plans, key, time, ahead),
            Windows::Session(windows) => windows.look(plans, key, time, ahead),
            Windows::Trailing(windows) => windows.look(plans, key, time, ahead),
            Windows::Await(waits) => Ok(waits.look(plans, key, time)),
        }
    }

    /// Returns the earliest time at which a window has a result by itself; none if no window is open or if none has.
    pub(super) fn next_end(&self) -> Option<i64> {
        match self {
            Windows::Aligned(windows) => windows.next_end(),
            Windows::Session(windows) => windows.next_end(),
            Windows::Trailing(_) => None,
            Windows::Await(waits) => waits.next_result(),
        }
    }

    /// Returns the interval from the first beginning to the last end of the windows that an event at this time is in.
    /// For a session or a wait: of that which the event alone would be.
    pub(super) fn interval_at(&self, time: i64) -> (i64, i64) {
        match self {
            Windows::Aligned(windows) => windows.interval_at(time),
            Windows::Session(windows) => (time, time + windows.gap()),
            Windows::Trailing(windows) => windows.interval_at(time),
            Windows::Await(waits) => (time, time + waits.within()),
        }
    }

    /// Gives the figures of the open windows as they are, in the order of keys and then of ends.
    pub(super) fn rows(&self, plans: &Plans, sink: &mut Sink<'_>) -> Result<(), StopReason> {
        match self {
            Windows::Aligned(windows) => windows.rows(sink),
            Windows::Session(windows) => windows.rows(sink),
            Windows::Trailing(windows) => windows.rows(plans, sink),
            Windows::Await(waits) => waits.rows(sink),
        }
    }

    pub(super) fn usage(&self) -> Usage {
        match self {
            Windows::Aligned(windows) => windows.usage(),
            Windows::Session(windows) => windows.usage(),
            Windows::Trailing(windows) => windows.usage(),
            Windows::Await(waits) => waits.usage(),
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        match self {
            Windows::Aligned(windows) => windows.encode(writer),
            Windows::Session(windows) => windows.encode(writer),
            Windows::Trailing(windows) => windows.encode(writer),
            Windows::Await(waits) => waits.encode(writer),
        }
    }

    /// Reads the windows into an empty state.
    pub(super) fn decode(&mut self, plans: &Plans, reader: &mut Reader<'_>) -> Option<()> {
        match self {
            Windows::Aligned(windows) => windows.decode(plans, reader),
            Windows::Session(windows) => windows.decode(plans, reader),
            Windows::Trailing(windows) => windows.decode(plans, reader),
            Windows::Await(waits) => waits.decode(plans, reader),
        }
    }
}
