//! What is on its way to one peer.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, OwnedSemaphorePermit};

/// Bytes that wait for one peer before the next reply waits for room.
const REPLIES_BYTES_MAX: usize = 256 * 1024;
/// Bytes that are written at once.
const WRITTEN_BYTES_MAX: usize = 64 * 1024;

/// Messages to one peer, in order.
///
/// Answers are bounded by the places of the requests that they answer, which they keep until they are written. Replies are bounded
/// by their bytes.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Bytes, Option<OwnedSemaphorePermit>)>,
    bytes: usize,
    /// Only the newest: a peer that asks without reading costs no more.
    pong: Option<Bytes>,
    /// No more is added: the rest is written.
    is_ending: bool,
    /// Nothing is written any more.
    is_closed: bool,
}

/// What is written at once, and the places that are given back when it is.
pub(super) type Written = (Bytes, Vec<OwnedSemaphorePermit>);

/// The peer has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an answer, which gives back the place of its request when it is written. A peer that has gone is not told.
    pub(super) fn answer(&self, bytes: Bytes, place: OwnedSemaphorePermit) {
        let mut state = self.state();
        if !state.is_closed {
            state.bytes += bytes.len();
            state.waiting.push_back((bytes, Some(place)));
            self.filled.notify_one();
        }
    }

    /// Adds a heartbeat, unless there is something to be written anyway.
    pub(super) fn beat(&self, bytes: Bytes) {
        let mut state = self.state();
        if !state.is_closed && state.waiting.is_empty() {
            state.bytes += bytes.len();
            state.waiting.push_back((bytes, None));
            self.filled.notify_one();
        }
    }

    /// Adds the answer to a heartbeat.
    pub(super) fn pong(&self, bytes: Bytes) {
        self.state().pong = Some(bytes);
        self.filled.notify_one();
    }

    /// Adds a reply as soon as there is room.
    ///
    /// # Errors
    /// If the peer has gone.
    pub(super) async fn reply(&self, bytes: Bytes) -> Result<(), Gone> {
        loop {
            // Asked for before looking, so that nothing is missed.
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            {
                let mut state = self.state();
                if state.is_closed {
                    return Err(Gone);
                }
                if state.bytes < REPLIES_BYTES_MAX {
                    state.bytes += bytes.len();
                    state.waiting.push_back((bytes, None));
                    self.filled.notify_one();
                    return Ok(());
                }
            }
            emptied.await;
        }
    }

    /// Takes what is to be written next; waits until there is something. None if there will be nothing.
    pub(super) async fn next(&self) -> Option<Written> {
        loop {
            if let Some(next) = self.take() {
                return Some(next);
            }
            if self.state().is_ending {
                return None;
            }
            self.filled.notified().await;
        }
    }

    /// Says that nothing will be added.
    pub(super) fn end(&self) {
        self.state().is_ending = true;
        self.filled.notify_one();
    }

    /// Takes what is to be written next, if there is something.
    pub(super) fn take(&self) -> Option<Written> {
        let mut state = self.state();
        let (mut bytes, mut places) = (BytesMut::new(), Vec::new());
        if let Some(pong) = state.pong.take() {
            bytes.extend_from_slice(&pong);
        }
        while bytes.len() < WRITTEN_BYTES_MAX
            && let Some((message, place)) = state.waiting.pop_front()
        {
            state.bytes -= message.len();
            bytes.extend_from_slice(&message);
            places.extend(place);
        }
        drop(state);
        if bytes.is_empty() {
            return None;
        }
        self.emptied.notify_waiters();
        Some((bytes.freeze(), places))
    }

    /// Drops what waits, and takes nothing more.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        (state.bytes, state.pong) = (0, None);
        state.waiting.clear();
        drop(state);
        self.emptied.notify_waiters();
    }
}
