//! Time as fronts see it, so that a test of an hour's outage takes no hour.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that can be waited by.
pub(super) trait Clock: std::fmt::Debug + Send + Sync {
    /// Time since some moment before the first call; it never goes back.
    fn now(&self) -> Duration;
    /// Milliseconds of Unix time, to tell people and other processes.
    fn unix_ms(&self) -> u64;
    /// Waits.
    fn sleep(&self, time: Duration);
}

/// The machine's clock.
#[derive(Debug)]
pub(super) struct MachineClock {
    begun: Instant,
}

impl MachineClock {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now() }
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A clock that runs by being waited for.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct TestClock {
    now: std::sync::Mutex<Duration>,
}

#[cfg(test)]
impl Clock for TestClock {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn unix_ms(&self) -> u64 {
        1_000_000_000_000 + u64::try_from(self.now().as_millis()).unwrap()
    }

    fn sleep(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }
}
