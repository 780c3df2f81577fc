//! A timer that wakes a poll with microsecond precision: the time-out of a poll counts in milliseconds.

use std::time::{Duration, Instant};

use mio::{Registry, Token};

#[cfg(target_os = "linux")]
mod system {
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    /// A timer of the kernel.
    pub(crate) struct Timer(OwnedFd);

    impl Timer {
        pub(crate) fn new(registry: &Registry, token: Token) -> std::io::Result<Timer> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Timer(timer))
        }

        /// Fires once, after `wait`; not at all if that is zero.
        pub(crate) fn set(&self, wait: Duration) -> std::io::Result<()> {
            let timespec = |duration: Duration| Timespec {
                tv_sec: duration.as_secs() as i64,
                tv_nsec: duration.subsec_nanos().into(),
            };
            let once = Itimerspec {
                it_interval: timespec(Duration::ZERO),
                it_value: timespec(wait),
            };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    use mio::{Registry, Token};

    /// No timer: only Linux has one that a poll can wait for.
    pub(crate) struct Timer;

    impl Timer {
        pub(crate) fn new(_: &Registry, _: Token) -> std::io::Result<Timer> {
            Ok(Timer)
        }

        pub(crate) fn set(&self, _: Duration) -> std::io::Result<()> {
            Ok(())
        }
    }
}

/// A timer among the events of a poll.
pub(crate) struct Alarm {
    timer: system::Timer,
    is_set: bool,
}

/// Shortest wait of a timer: zero would switch the timer off.
const LEAST: Duration = Duration::from_nanos(1);

impl Alarm {
    pub(crate) fn new(registry: &Registry, token: Token) -> std::io::Result<Alarm> {
        Ok(Alarm {
            timer: system::Timer::new(registry, token)?,
            is_set: false,
        })
    }

    /// Sets the alarm to `at`, or switches the alarm off. Returns the time-out that the poll needs in addition.
    pub(crate) fn set(&mut self, at: Option<Instant>) -> std::io::Result<Option<Duration>> {
        let Some(at) = at else {
            if std::mem::take(&mut self.is_set) {
                self.timer.set(Duration::ZERO)?;
            }
            return Ok(None);
        };
        let wait = at.saturating_duration_since(Instant::now()).max(LEAST);
        self.timer.set(wait)?;
        self.is_set = true;
        // Without a timer, the time-out of the poll must do.
        Ok((!cfg!(target_os = "linux")).then_some(wait))
    }
}
