//! The drive loop: ready tasks, permits, events, ledger.
//!
//! The coordinator owns all authoritative state and takes events one by one; workers share none of it. Today the
//! workers are threads of this process that speak the worker protocol's messages over channels; a worker process
//! will speak the same over a pipe. A task starts as soon as its own inputs exist. Tasks that a front of the outside
//! world does not serve wait for it ([`waiting`]) and hold up nothing else.

pub(crate) mod progress;
mod waiting;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{bail, ensure};
use weft_core::context::Progress;
use weft_core::front::{FrontReport, Unavailable};
use weft_core::id::ShardId;
use weft_core::store::Store;
use weft_core::task::{Event, Fault, Order, Report};
use weft_stages::formats::outside::fronts;

use crate::ledger::Ledger;
use crate::plan::{Plan, PlannedPhase};
use crate::worker::Worker;
use progress::Display;
use waiting::Waiting;

/// Tries of a task whose failure says that a later one can succeed.
const MOST_TRIES: u32 = 3;
/// How often progress is shown while nothing else happens.
const TICK: Duration = Duration::from_millis(100);

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All tasks are done.
    Finished(Finished),
    /// Stopped by the user; the same command goes on.
    Interrupted,
}

/// What a finished run did.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Tasks that this run did.
    pub(crate) ran: usize,
    /// Tasks that were done before.
    pub(crate) found: usize,
    /// The reports of all tasks, by phase and shard.
    pub(crate) reports: Vec<BTreeMap<ShardId, Report>>,
    /// What was asked of the outside world.
    pub(crate) fronts: Vec<FrontReport>,
}

/// The rows of every table by the shard that reads them: what checks of a task's input compare with.
#[derive(Debug, Default)]
pub(crate) struct RowCounts {
    rows: HashMap<(&'static str, ShardId), u64>,
}

impl RowCounts {
    /// Adds what one task wrote.
    pub(crate) fn add(&mut self, phase: &PlannedPhase, report: &Report) {
        for table in &phase.writes {
            for output in report.outputs.iter().filter(|output| output.table == *table) {
                match &output.directory {
                    Some(directory) => {
                        for entry in directory {
                            *self.rows.entry((table, entry.shard)).or_default() += entry.rows;
                        }
                    }
                    None => *self.rows.entry((table, report.shard)).or_default() += output.rows,
                }
            }
        }
    }

    /// The rows of `table` for `shard`.
    pub(crate) fn of(&self, table: &'static str, shard: ShardId) -> u64 {
        self.rows.get(&(table, shard)).copied().unwrap_or(0)
    }

    /// Checks that a task read what was written for it, wrote what it says it kept, and named each reject.
    pub(crate) fn check(&self, phase: &PlannedPhase, report: &Report) -> anyhow::Result<()> {
        let place = || format!("{} of shard {}", phase.name, report.shard);
        report.tally.check().map_err(|cause| anyhow::anyhow!("{}: {cause}", place()))?;
        for flow in &phase.flows {
            let count = report.tally.counts.get(&flow.unit).cloned().unwrap_or_default();
            if let Some(table) = flow.reads {
                let written = self.of(table.name, report.shard);
                ensure!(
                    count.read == written,
                    "{}: {written} rows of `{}` were written for it, but it read {} {}",
                    place(),
                    table.name,
                    count.read,
                    flow.unit.as_str()
                );
            }
            if let Some(table) = flow.keeps {
                let rows = report.rows(table.name);
                ensure!(
                    count.kept == rows,
                    "{}: it kept {} {}, but wrote {rows} rows of `{}`",
                    place(),
                    count.kept,
                    flow.unit.as_str(),
                    table.name
                );
            }
        }
        let rejected: u64 = report.tally.counts.values().map(weft_core::tally::Count::rejected_total).sum();
        let named = report.rows("rejects");
        ensure!(rejected == named, "{}: it rejected {rejected} rows, but named {named}", place());
        Ok(())
    }
}

/// One task as the coordinator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Done,
}

struct Coordinator<'a> {
    plan: &'a Plan,
    ledger: &'a Ledger,
    states: Vec<Vec<State>>,
    reports: Vec<BTreeMap<ShardId, Report>>,
    counts: RowCounts,
    /// Tries of this run.
    tries: HashMap<(usize, ShardId), u32>,
    /// Tasks that a front did not serve.
    waiting: Waiting,
    fronts: Vec<FrontReport>,
    running: HashMap<u64, (usize, ShardId, u32)>,
    next_id: u64,
    ran: usize,
    found: usize,
    /// The first failure; nothing new starts after it.
    failure: Option<anyhow::Error>,
}

/// Runs what is left of `plan` on `threads` workers.
pub(crate) fn run(
    plan: &Plan,
    store: &Store,
    ledger: &Ledger,
    worker: Worker,
    threads: usize,
    cancelled: &Arc<AtomicBool>,
    display: &Display,
) -> anyhow::Result<Outcome> {
    let mut coordinator = Coordinator::new(plan, store, ledger)?;
    display.begin(&coordinator.overview());
    if coordinator.left() == 0 {
        return coordinator.finished();
    }
    let worker = Arc::new(worker);
    let (orders, order_queue) = channel::<Order>();
    let order_queue = Arc::new(Mutex::new(order_queue));
    let (events, event_queue) = channel::<Event>();
    let handles: Vec<_> = (0..threads.max(1))
        .map(|number| {
            let (worker, queue, events) = (Arc::clone(&worker), Arc::clone(&order_queue), events.clone());
            std::thread::Builder::new()
                .name(format!("weft-worker-{number}"))
                .spawn(move || serve(&worker, &queue, &events))
        })
        .collect::<Result<_, _>>()?;
    drop(events);
    let outcome = coordinator.drive(&orders, &event_queue, threads.max(1), cancelled, display);
    drop(orders);
    for handle in handles {
        if handle.join().is_err() {
            bail!("a worker thread died");
        }
    }
    outcome?;
    if let Some(failure) = coordinator.failure.take() {
        return Err(failure);
    }
    if cancelled.load(Ordering::Relaxed) && coordinator.left() > 0 {
        return Ok(Outcome::Interrupted);
    }
    if let Some(why) = coordinator.waiting.given_up() {
        bail!(why);
    }
    coordinator.finished()
}

/// A worker thread: takes orders until there are none, answers with events.
fn serve(worker: &Worker, orders: &Mutex<Receiver<Order>>, events: &Sender<Event>) {
    loop {
        let order = orders.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let task = match order {
            Ok(Order::Task(task)) => task,
            Ok(Order::Hello(_)) => continue,
            Ok(Order::Drain) | Err(_) => return,
        };
        let (id, attempt) = (task.id, task.attempt);
        if events.send(Event::Started { id, attempt }).is_err() {
            return;
        }
        let progress = Arc::new(Progress::default());
        let stop = AtomicBool::new(false);
        let event = std::thread::scope(|scope| {
            scope.spawn(|| beat(&progress, &stop, events, id, attempt));
            let event = worker.run(&task, &progress);
            stop.store(true, Ordering::Relaxed);
            event
        });
        let fronts = fronts();
        if !fronts.is_empty() && events.send(Event::Fronts { fronts }).is_err() {
            return;
        }
        if events.send(event).is_err() {
            return;
        }
    }
}

/// Sends a task's progress while it runs, and how fronts stand when that changes.
fn beat(progress: &Progress, stop: &AtomicBool, events: &Sender<Event>, id: u64, attempt: u32) {
    let (mut waited, last) = (Duration::ZERO, AtomicU64::new(0));
    let mut standing = standing_of(&fronts());
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(5));
        waited += Duration::from_millis(5);
        if waited < Duration::from_millis(250) {
            continue;
        }
        waited = Duration::ZERO;
        let fronts = fronts();
        let now_standing = standing_of(&fronts);
        if now_standing != standing {
            standing = now_standing;
            if events.send(Event::Fronts { fronts }).is_err() {
                return;
            }
        }
        let rows = progress.rows.load(Ordering::Relaxed);
        if last.swap(rows, Ordering::Relaxed) == rows {
            continue;
        }
        let bytes = progress.bytes.load(Ordering::Relaxed);
        if events.send(Event::Progress { id, attempt, rows, bytes }).is_err() {
            return;
        }
    }
}

/// What makes how fronts stand worth telling: outages that begin or end, not their times and counters.
fn standing_of(fronts: &[FrontReport]) -> Vec<(String, Option<u64>)> {
    let since = |front: &FrontReport| front.unavailable.as_ref().map(|unavailable| unavailable.since_ms);
    fronts.iter().map(|front| (front.front.clone(), since(front))).collect()
}

impl<'a> Coordinator<'a> {
    fn new(plan: &'a Plan, store: &Store, ledger: &'a Ledger) -> anyhow::Result<Self> {
        let mut coordinator = Self {
            plan,
            ledger,
            states: plan.phases.iter().map(|phase| vec![State::Waiting; phase.tasks as usize]).collect(),
            reports: Vec::new(),
            counts: RowCounts::default(),
            tries: HashMap::new(),
            waiting: Waiting::default(),
            fronts: Vec::new(),
            running: HashMap::new(),
            next_id: 1,
            ran: 0,
            found: 0,
            failure: None,
        };
        for (position, phase) in plan.phases.iter().enumerate() {
            let reports = phase.reports(store)?;
            for (shard, report) in &reports {
                if let Some(state) = coordinator.states[position].get_mut(shard.0 as usize) {
                    *state = State::Done;
                    coordinator.found += 1;
                    coordinator.counts.add(phase, report);
                }
            }
            coordinator.reports.push(reports);
        }
        Ok(coordinator)
    }

    fn overview(&self) -> Vec<(String, usize, usize)> {
        let phases = self.plan.phases.iter().zip(&self.states);
        phases
            .map(|(phase, states)| {
                let done = states.iter().filter(|state| **state == State::Done).count();
                (phase.name.clone(), done, states.len())
            })
            .collect()
    }

    fn left(&self) -> usize {
        self.states.iter().flatten().filter(|state| **state != State::Done).count()
    }

    fn finished(&mut self) -> anyhow::Result<Outcome> {
        let reports = std::mem::take(&mut self.reports);
        let fronts = std::mem::take(&mut self.fronts);
        Ok(Outcome::Finished(Finished { ran: self.ran, found: self.found, reports, fronts }))
    }

    fn drive(
        &mut self,
        orders: &Sender<Order>,
        events: &Receiver<Event>,
        permits: usize,
        cancelled: &AtomicBool,
        display: &Display,
    ) -> anyhow::Result<()> {
        loop {
            let goes_on = self.failure.is_none() && !cancelled.load(Ordering::Relaxed);
            if goes_on {
                self.start_ready(orders, permits)?;
            }
            if self.running.is_empty() {
                if !goes_on || !self.waiting.has_next() {
                    return Ok(());
                }
                if let Some(word) = self.waiting.idle_word(Instant::now()) {
                    tracing::warn!("{word}");
                }
            }
            match events.recv_timeout(TICK) {
                Ok(event) => self.take(event, display)?,
                Err(RecvTimeoutError::Timeout) => display.tick(),
                Err(RecvTimeoutError::Disconnected) => bail!("all workers are gone"),
            }
        }
    }

    /// Hands ready tasks to workers: later phases first, so that what was begun is finished.
    fn start_ready(&mut self, orders: &Sender<Order>, permits: usize) -> anyhow::Result<()> {
        let now = Instant::now();
        for phase in (0..self.plan.phases.len()).rev() {
            for number in 0..self.plan.phases[phase].tasks {
                if self.running.len() >= permits {
                    return Ok(());
                }
                let shard = ShardId(number);
                let is_free = !self.waiting.holds((phase, shard), now);
                if self.states[phase][number as usize] == State::Waiting && is_free && self.is_ready(phase, shard) {
                    self.start(orders, phase, shard)?;
                }
            }
        }
        Ok(())
    }

    fn is_ready(&self, phase: usize, shard: ShardId) -> bool {
        self.plan.phases[phase].inputs.iter().all(|input| {
            let states = &self.states[input.writer];
            if input.gathered {
                states.iter().all(|state| *state == State::Done)
            } else {
                states.get(shard.0 as usize) == Some(&State::Done)
            }
        })
    }

    fn start(&mut self, orders: &Sender<Order>, phase: usize, shard: ShardId) -> anyhow::Result<()> {
        let folder = &self.plan.phases[phase].folder;
        let attempt = self.ledger.next_attempt(folder, shard.0)?;
        self.ledger.started(folder, shard.0, attempt)?;
        let id = self.next_id;
        self.next_id += 1;
        let task = self.plan.task(phase, shard, id, attempt);
        *self.tries.entry((phase, shard)).or_default() += 1;
        self.waiting.leave((phase, shard));
        self.running.insert(id, (phase, shard, attempt));
        self.states[phase][shard.0 as usize] = State::Running;
        orders.send(Order::Task(Box::new(task))).map_err(|_| anyhow::anyhow!("all workers are gone"))
    }

    fn take(&mut self, event: Event, display: &Display) -> anyhow::Result<()> {
        match event {
            Event::Started { .. } => {}
            Event::Fronts { fronts } => {
                self.ledger.fronts(&fronts)?;
                self.fronts = fronts;
            }
            Event::Progress { id, rows, bytes, .. } => {
                if let Some((phase, shard, _)) = self.running.get(&id) {
                    display.progress(*phase, *shard, rows, bytes);
                }
            }
            Event::Done { id, attempt, report } => {
                // An answer of a lost attempt is ignored.
                let Some((phase, shard, _)) = self.running.remove(&id).filter(|(_, _, current)| *current == attempt)
                else {
                    return Ok(());
                };
                self.done(phase, shard, *report, display)?;
            }
            Event::Failed { id, attempt, fault, message } => {
                let Some((phase, shard, _)) = self.running.remove(&id).filter(|(_, _, current)| *current == attempt)
                else {
                    return Ok(());
                };
                self.failed(phase, shard, attempt, &fault, &message, display)?;
            }
        }
        Ok(())
    }

    fn done(&mut self, phase: usize, shard: ShardId, report: Report, display: &Display) -> anyhow::Result<()> {
        let planned = &self.plan.phases[phase];
        self.ledger.done(&planned.folder, &report)?;
        self.counts.add(planned, &report);
        if let Err(cause) = self.counts.check(planned, &report) {
            self.failure.get_or_insert(cause.context("a stage's accounts do not balance: this is a bug in weft"));
        }
        self.states[phase][shard.0 as usize] = State::Done;
        self.ran += 1;
        let done = self.states[phase].iter().filter(|state| **state == State::Done).count();
        display.done(phase, shard, done, planned.tasks as usize, &report);
        self.reports[phase].insert(shard, report);
        Ok(())
    }

    fn failed(
        &mut self,
        phase: usize,
        shard: ShardId,
        attempt: u32,
        fault: &Fault,
        message: &str,
        display: &Display,
    ) -> anyhow::Result<()> {
        let planned = &self.plan.phases[phase];
        self.ledger.failed(&planned.folder, shard.0, attempt, fault, message)?;
        self.states[phase][shard.0 as usize] = State::Waiting;
        display.failed(phase, shard);
        if let Fault::Unavailable(unavailable) = fault {
            self.wait(phase, shard, unavailable);
            return Ok(());
        }
        if *fault == Fault::Cancelled {
            return Ok(());
        }
        let tries = self.tries.get(&(phase, shard)).copied().unwrap_or(0);
        if *fault == Fault::Retryable && tries < MOST_TRIES {
            tracing::warn!(task = planned.name, %shard, attempt, message, "{} of shard {shard} failed; trying again", planned.name);
            return Ok(());
        }
        self.failure.get_or_insert_with(|| anyhow::anyhow!("{} of shard {shard} failed: {message}", planned.name));
        Ok(())
    }

    /// A front did not serve a task: it waits, and the try is not held against it.
    fn wait(&mut self, phase: usize, shard: ShardId, unavailable: &Unavailable) {
        if let Some(tries) = self.tries.get_mut(&(phase, shard)) {
            *tries = tries.saturating_sub(1);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        if self.waiting.note((phase, shard), unavailable, Instant::now(), now_ms) {
            let task = &self.plan.phases[phase].name;
            tracing::warn!(task, %shard, "{unavailable}; its tasks wait, and the run goes on elsewhere");
        }
    }
}
