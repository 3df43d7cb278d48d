//! The budget of one front: how often and how widely this process asks one server, and when it does not ask at all.
//!
//! A front is a scheme, a host and a port. [`fronts`] keeps one [`Front`] each for the whole process, so that every
//! root, stage and task below it shares the one budget. [`Front::admit`] gives a [`Permit`] for one request when
//! there is room: at most `connections` permits are out, and two are at least a gap apart. The caller tells how the
//! request ended, and the front learns from it:
//!
//! - An answer raises the rate by a [`STEPS`]th of the budget, up to the budget.
//! - A failure (429, 5xx, a broken connection) halves the rate, down to a [`STEPS`]th of the budget, and closes the
//!   front for a while that doubles from failure to failure, with jitter, up to [`LONGEST_WAIT`]; for longer where
//!   the server asks for it (`Retry-After`). Requests that were under way together fail once. After a failure one
//!   request goes out at a time until one is answered.
//! - After [`TRIES`] failures in a row, or where the wait would be longer than [`PATIENCE`], the front is down: nobody
//!   waits here for it, tasks are told when to come back.
//! - 403 stops the front for as long as the process lives.
//!
//! The numbers are of Common Crawl's notices: one budget per front, 503 as a sign to slow down, 403 as one to stop.
//! A thread that holds a permit must not ask for a second one: with all permits out, both would wait.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weft_core::front::{FrontBudget, FrontReport, Unavailable, Usage};

use super::OutsideError;
use super::clock::{Clock, MachineClock};

/// Failures in a row after which a front counts as down, and tries of a request.
pub(super) const TRIES: u32 = 5;
/// The longest that a request waits for a front that is closed.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest that a front stays closed after a failure, unless it asks for more itself.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// The longest that `Retry-After` is obeyed.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 3600);
/// Answers that it takes to get from the lowest rate to the budget, and how far below it the lowest rate is.
const STEPS: f64 = 50.0;
/// The longest wait for a free connection: bodies do not take so long, so somebody holds one for nothing.
const LONGEST_BUSY: Duration = Duration::from_secs(1800);
/// How often a waiting thread looks whether the process is being stopped.
const SLICE: Duration = Duration::from_millis(50);

/// One front of the process.
#[derive(Debug)]
pub(crate) struct Front {
    name: String,
    clock: Arc<dyn Clock>,
    stopping: Arc<AtomicBool>,
    state: Mutex<State>,
    freed: Condvar,
    usage: Counters,
}

#[derive(Debug)]
struct State {
    budget: FrontBudget,
    /// Requests a second now.
    rate: f64,
    /// The earliest time of the next request, by the rate.
    next: Duration,
    /// The earliest time of the next request, by failures.
    closed_until: Duration,
    in_flight: u32,
    /// Whether the one request is under way that finds out if a front that failed serves again.
    probing: bool,
    /// Failures since the last answer.
    failures: u32,
    /// The first of them, in milliseconds of Unix time.
    since_ms: u64,
    failed_at: Option<Duration>,
    cause: String,
    stopped: bool,
    random: u64,
}

/// What was asked, counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            requests: self.requests.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// The fronts of this process.
#[derive(Debug)]
struct Fronts {
    by_name: Mutex<BTreeMap<String, Arc<Front>>>,
    clock: Arc<MachineClock>,
    stopping: Arc<AtomicBool>,
}

static FRONTS: LazyLock<Fronts> = LazyLock::new(|| Fronts {
    by_name: Mutex::default(),
    clock: Arc::new(MachineClock::new()),
    stopping: Arc::default(),
});

/// The process's front of this name; the last budget given is in force, at first the default one.
pub(super) fn front(name: &str, budget: Option<&FrontBudget>) -> Arc<Front> {
    let mut by_name = FRONTS.by_name.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(front) = by_name.get(name) {
        if let Some(budget) = budget {
            front.set_budget(budget);
        }
        return Arc::clone(front);
    }
    let budget = budget.cloned().unwrap_or_default();
    let clock: Arc<dyn Clock> = Arc::clone(&FRONTS.clock) as _;
    // Differs from process to process: many that failed together shall not come back together.
    let seed = RandomState::new().build_hasher().finish();
    let front = Arc::new(Front::new(name, budget, clock, Arc::clone(&FRONTS.stopping), seed));
    by_name.insert(name.to_owned(), Arc::clone(&front));
    front
}

/// How the fronts of this process stand, by name.
#[must_use]
pub fn fronts() -> Vec<FrontReport> {
    let by_name = FRONTS.by_name.lock().unwrap_or_else(PoisonError::into_inner);
    by_name.values().map(|front| front.report()).collect()
}

/// Ends every wait for a front, now and from now on: the process is being stopped.
pub fn stop_waiting() {
    FRONTS.stopping.store(true, Ordering::Relaxed);
}

impl Front {
    fn new(name: &str, budget: FrontBudget, clock: Arc<dyn Clock>, stopping: Arc<AtomicBool>, seed: u64) -> Self {
        let state = State {
            rate: rate_of(&budget),
            budget,
            next: Duration::ZERO,
            closed_until: Duration::ZERO,
            in_flight: 0,
            probing: false,
            failures: 0,
            since_ms: 0,
            failed_at: None,
            cause: String::new(),
            stopped: false,
            random: seed,
        };
        let (freed, usage) = (Condvar::new(), Counters::default());
        Self { name: name.to_owned(), clock, stopping, state: Mutex::new(state), freed, usage }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_budget(&self, budget: &FrontBudget) {
        let mut state = self.lock();
        if state.budget != *budget {
            state.budget = budget.clone();
            state.rate = rate_of(budget);
        }
    }

    pub(super) fn usage(&self) -> &Counters {
        &self.usage
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// How it stands.
    fn report(&self) -> FrontReport {
        let state = self.lock();
        let is_bad = state.stopped || state.failures > 0;
        let unavailable = is_bad.then(|| self.unavailable(&state));
        FrontReport { front: self.name.clone(), unavailable, usage: self.usage.usage() }
    }

    /// Why it is down, if it is: too many failures in a row for a task to wait here.
    pub(super) fn down(&self) -> Option<Unavailable> {
        let state = self.lock();
        (state.stopped || state.failures >= TRIES).then(|| self.unavailable(&state))
    }

    fn unavailable(&self, state: &State) -> Unavailable {
        let wait = state.closed_until.saturating_sub(self.clock.now());
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Unavailable {
            front: self.name.clone(),
            cause: state.cause.clone(),
            since_ms: state.since_ms,
            until_ms: (!state.stopped).then(|| self.clock.unix_ms().saturating_add(wait_ms)),
        }
    }

    /// Waits for room for one request.
    ///
    /// # Errors
    /// [`OutsideError::Unavailable`] where that would take too long, [`OutsideError::Stopping`] where the process is
    /// being stopped.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Permit, OutsideError> {
        let asked_at = self.clock.now();
        let mut state = self.lock();
        loop {
            if self.is_stopping() {
                return Err(OutsideError::Stopping);
            }
            let now = self.clock.now();
            let closed = state.closed_until.saturating_sub(now);
            let is_down = state.failures >= TRIES && !closed.is_zero();
            if state.stopped || is_down || closed > PATIENCE {
                return Err(OutsideError::Unavailable(self.unavailable(&state)));
            }
            let has_room = state.in_flight < state.budget.connections.max(1) && !state.probing;
            if !has_room {
                if now.saturating_sub(asked_at) > LONGEST_BUSY {
                    let cause = "no connection of its budget has become free".to_owned();
                    return Err(OutsideError::Connection { place: self.name.clone(), cause });
                }
                let waited = self.freed.wait_timeout(state, SLICE);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let wait = closed.max(state.next.saturating_sub(now));
            if wait.is_zero() {
                state.in_flight += 1;
                state.probing = state.failures > 0;
                state.next = now + Duration::from_secs_f64(1.0 / state.rate);
                self.usage.request();
                return Ok(Permit { front: Arc::clone(self), admitted_at: now, is_probe: state.probing });
            }
            drop(state);
            self.clock.sleep(wait.min(SLICE));
            state = self.lock();
        }
    }
}

/// Room for one request, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    front: Arc<Front>,
    admitted_at: Duration,
    is_probe: bool,
}

impl Permit {
    /// The server has answered as it should.
    pub(super) fn answered(&mut self) {
        let front = Arc::clone(&self.front);
        let mut state = front.lock();
        let full = rate_of(&state.budget);
        state.rate = (state.rate + full / STEPS).min(full);
        state.failures = 0;
        self.end_probe(&mut state);
        drop(state);
        front.freed.notify_all();
    }

    /// The server has failed, or asks for less; `retry_after` is how long it wants to be left alone.
    pub(super) fn failed(&mut self, cause: &str, retry_after: Option<Duration>) {
        let front = Arc::clone(&self.front);
        let mut state = front.lock();
        self.end_probe(&mut state);
        let now = front.clock.now();
        // What was under way when the last failure came says nothing new.
        if state.failed_at.is_none_or(|failed_at| self.admitted_at > failed_at) {
            if state.failures == 0 {
                state.since_ms = front.clock.unix_ms();
            }
            let full = rate_of(&state.budget);
            state.rate = (state.rate / 2.0).max(full / STEPS);
            let doubled = state.budget.first_wait.saturating_mul(1 << state.failures.min(20)).min(LONGEST_WAIT);
            let wait = doubled.mul_f64(state.jitter());
            state.failures = state.failures.saturating_add(1);
            state.failed_at = Some(now);
            state.closed_until = state.closed_until.max(now + wait);
        }
        if let Some(asked) = retry_after {
            state.closed_until = state.closed_until.max(now + asked.min(LONGEST_ASKED));
        }
        cause.clone_into(&mut state.cause);
        drop(state);
        front.freed.notify_all();
    }

    /// The server has forbidden it: nothing is asked of it any more.
    pub(super) fn forbidden(&mut self, cause: &str) -> Unavailable {
        let front = Arc::clone(&self.front);
        let mut state = front.lock();
        if !state.stopped {
            state.stopped = true;
            state.since_ms = front.clock.unix_ms();
            cause.clone_into(&mut state.cause);
        }
        self.end_probe(&mut state);
        let unavailable = front.unavailable(&state);
        drop(state);
        front.freed.notify_all();
        unavailable
    }

    fn end_probe(&mut self, state: &mut State) {
        if self.is_probe {
            self.is_probe = false;
            state.probing = false;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let front = Arc::clone(&self.front);
        let mut state = front.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        self.end_probe(&mut state);
        drop(state);
        front.freed.notify_all();
    }
}

impl State {
    /// A factor from a half to one, so that many do not come back at once (`SplitMix64`; Steele, Lea and Flood, 2014).
    fn jitter(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let upper = u32::try_from((bits ^ (bits >> 31)) >> 32).expect("32 bits are left");
        0.5 + f64::from(upper) / f64::from(u32::MAX) / 2.0
    }
}

/// Requests a second that the budget allows.
fn rate_of(budget: &FrontBudget) -> f64 {
    1.0 / budget.gap.max(Duration::from_micros(10)).as_secs_f64()
}

#[cfg(test)]
mod tests;
