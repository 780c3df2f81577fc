//! What a source shares with its thread: messages that have come, messages that are held, and what is decided.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::offsets::Offsets;
use crate::port::{Message, Trouble};

/// Between the source, which hands messages out, and its thread, which takes them in.
pub(super) struct Shared {
    prefetch: usize,
    state: Mutex<State>,
    /// Notified when messages have come, or the source has ended.
    arrived: Notify,
    /// Notified when there is room, or the source stops.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What has come and was not handed out.
    waiting: VecDeque<Arrived>,
    /// Where what was handed out and not acknowledged came from, by token.
    held: HashMap<u64, Spot>,
    tokens: u64,
    /// Number of the assignment of partitions. What belongs to an earlier one is others' now.
    assignment: u64,
    offsets: Offsets,
    is_stopping: bool,
    ended: Option<Trouble>,
    /// Who wants to know how many messages wait at the broker.
    asking: Option<oneshot::Sender<Option<u64>>>,
    /// The thread waits until no more than so many messages are on hand.
    wakes_at: Option<usize>,
}

/// A message that has come.
pub(super) struct Arrived {
    pub(super) spot: Spot,
    pub(super) message: Message,
}

/// Where a message came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) assignment: u64,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// What the thread may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Take in so many messages, maybe 0.
    For(usize),
    /// End.
    Stop,
}

impl State {
    fn on_hand(&self) -> usize {
        self.waiting.len() + self.held.len()
    }
}

impl Shared {
    pub(super) fn new(prefetch: usize) -> Arc<Shared> {
        Arc::new(Shared {
            prefetch,
            state: Mutex::default(),
            arrived: Notify::new(),
            changed: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- of the source ----

    /// Returns the next message, as soon as there is one and fewer than the prefetch are held.
    pub(super) async fn next(&self) -> Result<Message, Trouble> {
        loop {
            // Asked for before looking, so that nothing is missed.
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(message) = self.hand_out()? {
                return Ok(message);
            }
            arrived.await;
        }
    }

    fn hand_out(&self) -> Result<Option<Message>, Trouble> {
        let mut state = self.state();
        if let Some(trouble) = &state.ended {
            return Err(trouble.clone());
        }
        if state.held.len() >= self.prefetch {
            return Ok(None);
        }
        let Some(arrived) = state.waiting.pop_front() else {
            return Ok(None);
        };
        state.tokens += 1;
        let token = state.tokens;
        state.held.insert(token, arrived.spot);
        Ok(Some(Message {
            token,
            ..arrived.message
        }))
    }

    /// Notes that messages are decided. Those of a partition that went to another member are his.
    pub(super) fn decide(&self, tokens: &[u64]) -> Result<(), Trouble> {
        let mut state = self.state();
        if let Some(trouble) = &state.ended {
            return Err(trouble.clone());
        }
        for token in tokens {
            if let Some(spot) = state.held.remove(token)
                && spot.assignment == state.assignment
            {
                state.offsets.decide(spot.partition, spot.offset);
            }
        }
        let on_hand = state.on_hand();
        if state.wakes_at.is_some_and(|count| on_hand <= count) {
            state.wakes_at = None;
            drop(state);
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Asks the thread how many messages wait at the broker. The answer is dropped if the source has ended.
    pub(super) fn ask_backlog(&self) -> oneshot::Receiver<Option<u64>> {
        let (asking, answer) = oneshot::channel();
        let mut state = self.state();
        if state.ended.is_none() {
            state.asking = Some(asking);
        }
        answer
    }

    /// Lets the thread end.
    pub(super) fn stop(&self) {
        self.state().is_stopping = true;
        self.changed.notify_all();
    }

    // ---- of the thread ----

    /// Waits until there is room for a good part of the prefetch, or some time has gone by. Returns what room there is.
    pub(super) fn wait_for_room(&self, time: Duration) -> Room {
        let good = (self.prefetch / 4).max(1);
        self.wait_until(self.prefetch - good, time);
        let state = self.state();
        match state.is_stopping {
            true => Room::Stop,
            false => Room::For(self.prefetch.saturating_sub(state.on_hand())),
        }
    }

    /// Waits until no more than so many messages are on hand, the source stops, or some time has gone by.
    fn wait_until(&self, count: usize, time: Duration) {
        let begun = Instant::now();
        let mut state = self.state();
        while state.on_hand() > count && !state.is_stopping {
            let Some(left) = time.checked_sub(begun.elapsed()) else {
                break;
            };
            state.wakes_at = Some(count);
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.wakes_at = None;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state().is_stopping
    }

    /// Number of the assignment that messages belong to which are taken in now.
    pub(super) fn assignment(&self) -> u64 {
        self.state().assignment
    }

    /// Adds messages that have come. Those of an earlier assignment are left out.
    pub(super) fn add(&self, messages: Vec<Arrived>) {
        if messages.is_empty() {
            return;
        }
        let mut state = self.state();
        for arrived in messages {
            let spot = arrived.spot;
            if spot.assignment == state.assignment {
                state.offsets.take(spot.partition, spot.offset);
                state.waiting.push_back(arrived);
            }
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    /// Returns who wants to know how many messages wait at the broker.
    pub(super) fn asking(&self) -> Option<oneshot::Sender<Option<u64>>> {
        self.state().asking.take()
    }

    /// Returns, of each partition from which messages were taken in, the offset of the next one.
    pub(super) fn next_offsets(&self) -> BTreeMap<i32, i64> {
        self.state().offsets.next()
    }

    /// Returns the offsets that Kafka is to be told.
    pub(super) fn offsets_to_tell(&self) -> Vec<(i32, i64)> {
        self.state().offsets.tell()
    }

    /// Notes that Kafka may not have taken what it was told.
    pub(super) fn tell_again(&self) {
        self.state().offsets.forget_told();
    }

    /// Prepares for the partitions to be taken away: what was not handed out is dropped, and what was handed out may be decided for so
    /// long.
    pub(super) fn let_go(&self, time: Duration) {
        self.state().waiting.clear();
        self.wait_until(0, time);
    }

    /// Notes that the partitions were taken away, or that others came in.
    pub(super) fn change_partitions(&self) {
        let mut state = self.state();
        state.assignment += 1;
        state.waiting.clear();
        state.offsets.clear();
    }

    /// Ends the source. Only the first reason counts.
    pub(super) fn end(&self, trouble: Trouble) {
        let mut state = self.state();
        state.ended.get_or_insert(trouble);
        state.is_stopping = true;
        state.waiting.clear();
        state.asking = None;
        drop(state);
        self.arrived.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::port::TroubleKind;

    fn arrived(assignment: u64, partition: i32, offset: i64) -> Arrived {
        Arrived {
            spot: Spot {
                assignment,
                partition,
                offset,
            },
            message: Message {
                token: 0,
                body: Bytes::from(format!("{partition}/{offset}")),
                content_type: None,
                headers: Vec::new(),
                message_id: None,
                broker_id: None,
                key: None,
                reply_to: None,
                correlation_id: None,
                api_key: None,
                redelivered: false,
            },
        }
    }

    fn take(shared: &Shared) -> Option<(u64, String)> {
        let message = shared.hand_out().expect("it has not ended")?;
        let body = String::from_utf8(message.body.to_vec()).expect("a text");
        Some((message.token, body))
    }

    #[test]
    fn no_more_than_the_prefetch_is_on_hand() {
        let shared = Shared::new(2);
        let moment = Duration::from_millis(1);
        assert_eq!(shared.wait_for_room(moment), Room::For(2));
        shared.add((0..4).map(|offset| arrived(0, 0, offset)).collect());
        assert_eq!(shared.wait_for_room(moment), Room::For(0));
        let (first, _) = take(&shared).expect("it has come");
        take(&shared).expect("it has come");
        assert_eq!(take(&shared), None, "two are held");
        shared.decide(&[first]).expect("it has not ended");
        assert_eq!(take(&shared).expect("there is room").1, "0/2");
        assert_eq!(shared.offsets_to_tell(), [(0, 1)]);
    }

    #[test]
    fn what_was_decided_after_a_rebalance_is_not_told() {
        let shared = Shared::new(8);
        shared.add(vec![arrived(0, 0, 4), arrived(0, 0, 5)]);
        let (token, _) = take(&shared).expect("it has come");
        shared.let_go(Duration::ZERO);
        assert_eq!(take(&shared), None, "it is others' now");
        shared.change_partitions();
        // What was read before, and what comes to the new assignment.
        shared.add(vec![arrived(0, 0, 6), arrived(1, 0, 4)]);
        shared.decide(&[token]).expect("it has not ended");
        assert_eq!(shared.offsets_to_tell(), [(0, 4)]);
        let (token, body) = take(&shared).expect("it comes again");
        assert_eq!(body, "0/4");
        assert_eq!(take(&shared), None);
        shared.decide(&[token]).expect("it has not ended");
        assert_eq!(shared.offsets_to_tell(), [(0, 5)]);
    }

    #[test]
    fn a_source_that_has_ended_says_why() {
        let shared = Shared::new(8);
        shared.add(vec![arrived(0, 0, 4), arrived(0, 0, 5)]);
        let (token, _) = take(&shared).expect("it has come");
        shared.end(Trouble::new(TroubleKind::Unreachable, "first"));
        shared.end(Trouble::new(TroubleKind::Refused, "second"));
        assert_eq!(shared.hand_out().expect_err("it has ended").text, "first");
        assert_eq!(
            shared.decide(&[token]).expect_err("it has ended").text,
            "first"
        );
        assert_eq!(shared.wait_for_room(Duration::ZERO), Room::Stop);
    }
}
