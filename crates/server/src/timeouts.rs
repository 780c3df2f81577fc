//! Time-outs of what one thread waits for.
//!
//! Nearly every wait ends long before its time-out. A timer of the runtime for each would be set and taken back for nothing; here
//! a wait leaves its deadline and its waker, and the thread looks now and then for those that are overdue.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// The longest pause between two looks for waits that are overdue. A time-out that is shorter ends by up to so much late.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// The shortest such pause: by so much any time-out may end late.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Time-outs of one thread. [`Timeouts::run`] must run on that thread.
#[derive(Default)]
pub(crate) struct Timeouts(Mutex<Places>);

#[derive(Default)]
struct Places {
    /// One place for each wait that ran at the same time.
    all: Vec<Place>,
    free: Vec<usize>,
}

enum Place {
    Free,
    Waiting(Instant, Waker),
    Overdue,
}

impl Timeouts {
    /// Returns the output of `future`; none if `future` takes longer than `limit`.
    pub(crate) async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut wait = None;
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            let wait = wait.get_or_insert_with(|| Wait::new(self, Instant::now() + limit));
            wait.poll(context).map(|()| None)
        })
        .await
    }

    /// Wakes what is overdue, for ever.
    pub(crate) async fn run(&self) {
        loop {
            tokio::time::sleep(self.look(Instant::now())).await;
        }
    }

    /// Wakes what is overdue at `now`. Gives the time until the next look.
    fn look(&self, now: Instant) -> Duration {
        let mut pause = PAUSE_MAX;
        let mut overdue = Vec::new();
        for place in &mut self.places().all {
            let Place::Waiting(deadline, _) = place else {
                continue;
            };
            let left = deadline.saturating_duration_since(now);
            if !left.is_zero() {
                pause = pause.min(left);
            } else if let Place::Waiting(_, waker) = std::mem::replace(place, Place::Overdue) {
                overdue.push(waker);
            }
        }
        overdue.into_iter().for_each(Waker::wake);
        pause.max(PAUSE_MIN)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One wait until a deadline.
struct Wait<W: Deref<Target = Timeouts>> {
    waits: W,
    deadline: Instant,
    /// Its place among the thread's waits, once it was polled.
    place: Option<usize>,
}

impl<W: Deref<Target = Timeouts>> Wait<W> {
    fn new(waits: W, deadline: Instant) -> Wait<W> {
        Wait {
            waits,
            deadline,
            place: None,
        }
    }

    /// Ready once the deadline is past.
    fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        let places = &mut *self.waits.places();
        let Some(at) = self.place else {
            let place = Place::Waiting(self.deadline, context.waker().clone());
            self.place = Some(places.put(place));
            return Poll::Pending;
        };
        match &mut places.all[at] {
            Place::Waiting(_, waker) => {
                waker.clone_from(context.waker());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl<W: Deref<Target = Timeouts>> Drop for Wait<W> {
    fn drop(&mut self) {
        if let Some(at) = self.place {
            let places = &mut *self.waits.places();
            places.all[at] = Place::Free;
            places.free.push(at);
        }
    }
}

impl Places {
    fn put(&mut self, place: Place) -> usize {
        if let Some(at) = self.free.pop() {
            self.all[at] = place;
            return at;
        }
        self.all.push(place);
        self.all.len() - 1
    }
}

/// The waits of a thread as the HTTP library asks for them.
pub(crate) struct TimeoutTimer(pub(crate) Arc<Timeouts>);

impl Timer for TimeoutTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait::new(self.0.clone(), deadline))
    }
}

impl Sleep for Wait<Arc<Timeouts>> {}

impl Future for Wait<Arc<Timeouts>> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Wait::poll(&mut self, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn what_takes_too_long_ends_and_nothing_else_does() {
        let waits = Arc::new(Timeouts::default());
        let running = waits.clone();
        let _running = tokio::spawn(async move { running.run().await });
        let started = Instant::now();
        assert_eq!(waits.within(60 * SECOND, ready(1)).await, Some(1));
        assert_eq!(waits.within(SECOND, pending::<()>()).await, None);
        assert!(started.elapsed() >= SECOND);
        let short = tokio::time::sleep(SECOND / 2);
        assert_eq!(waits.within(60 * SECOND, short).await, Some(()));
        TimeoutTimer(waits.clone()).sleep(SECOND / 10).await;
        let places = waits.places();
        assert_eq!(places.free.len(), places.all.len(), "all have ended");
        assert_eq!(places.all.len(), 1, "a place is used again");
    }

    #[test]
    fn the_next_look_is_at_the_next_deadline_within_bounds() {
        let waits = Timeouts::default();
        let now = Instant::now();
        let mut kept = Vec::new();
        for (left, pause) in [
            (20 * SECOND, PAUSE_MAX),
            (SECOND / 5, SECOND / 5),
            (SECOND / 10_000, PAUSE_MIN),
        ] {
            let mut wait = Wait::new(&waits, now + left);
            assert!(wait.poll(&Context::from_waker(Waker::noop())).is_pending());
            kept.push(wait);
            assert_eq!(waits.look(now), pause, "{left:?}");
        }
        assert_eq!(waits.look(now + SECOND), PAUSE_MAX);
        let overdue = |wait: &mut Wait<_>| wait.poll(&Context::from_waker(Waker::noop()));
        let overdue: Vec<_> = kept
            .iter_mut()
            .map(|wait| overdue(wait).is_ready())
            .collect();
        assert_eq!(overdue, [false, true, true]);
    }
}
