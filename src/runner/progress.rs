//! Shows how far a run is: bars on a terminal, plain lines otherwise.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use weft_core::id::ShardId;
use weft_core::task::Report;

/// The bars of this process, so that log lines can pass above them.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// A writer of log lines that leaves the bars in place.
#[derive(Debug)]
pub(crate) struct Lines;

impl Lines {
    /// One for each log line.
    pub(crate) fn new() -> Self {
        Self
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match BARS.get() {
            Some(bars) => bars.suspend(|| std::io::stderr().write(bytes)),
            None => std::io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Progress of one run.
#[derive(Debug)]
pub(crate) struct Display {
    bars: Option<MultiProgress>,
    phases: Mutex<Vec<PhaseDisplay>>,
    started: Instant,
    quiet: bool,
}

#[derive(Debug)]
struct PhaseDisplay {
    name: String,
    bar: Option<ProgressBar>,
}

impl Display {
    /// Bars where standard error is a terminal, plain lines where it is not.
    pub(crate) fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !quiet;
        let bars = terminal.then(|| {
            BARS.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))).clone()
        });
        Self { bars, phases: Mutex::default(), started: Instant::now(), quiet }
    }

    /// Takes the phases: name, tasks done, tasks.
    pub(crate) fn begin(&self, phases: &[(String, usize, usize)]) {
        let width = phases.iter().map(|(name, _, _)| name.len()).max().unwrap_or(0);
        let any_left = phases.iter().any(|(_, done, tasks)| done < tasks);
        let style = ProgressStyle::with_template(&format!("{{prefix:<{width}}} {{bar:30}} {{pos}}/{{len}} {{msg}}"))
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let displays = phases.iter().map(|(name, done, tasks)| {
            let bar = self.bars.as_ref().filter(|_| any_left).map(|bars| {
                let bar = bars.add(ProgressBar::new(*tasks as u64).with_style(style.clone()));
                bar.set_prefix(name.clone());
                bar.set_position(*done as u64);
                bar
            });
            PhaseDisplay { name: name.clone(), bar }
        });
        *self.phases.lock().unwrap_or_else(PoisonError::into_inner) = displays.collect();
    }

    /// Keeps the bars alive.
    pub(crate) fn tick(&self) {
        for phase in self.phases.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(bar) = &phase.bar {
                bar.tick();
            }
        }
    }

    /// A task is on its way.
    pub(crate) fn progress(&self, phase: usize, shard: ShardId, rows: u64, bytes: u64) {
        if let Some(bar) =
            self.phases.lock().unwrap_or_else(PoisonError::into_inner).get(phase).and_then(|p| p.bar.as_ref())
        {
            bar.set_message(format!("shard {shard}: {rows} rows, {}", crate::report::bytes_text(bytes)));
        }
    }

    /// A task is done.
    pub(crate) fn done(&self, phase: usize, shard: ShardId, done: usize, tasks: usize, report: &Report) {
        let phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(display) = phases.get(phase) else { return };
        if let Some(bar) = &display.bar {
            bar.set_position(done as u64);
            bar.set_message(String::new());
            if done == tasks {
                bar.finish();
            }
        } else if !self.quiet {
            let line = format!(
                "{:>7.1}s  {} shard {shard} done ({done} of {tasks}) in {} ms\n",
                self.started.elapsed().as_secs_f64(),
                display.name,
                report.elapsed_ms
            );
            drop(std::io::stderr().write_all(line.as_bytes()));
        }
    }

    /// A try of a task failed.
    pub(crate) fn failed(&self, phase: usize, shard: ShardId) {
        if let Some(bar) =
            self.phases.lock().unwrap_or_else(PoisonError::into_inner).get(phase).and_then(|p| p.bar.as_ref())
        {
            bar.set_message(format!("shard {shard} failed"));
        }
    }

    /// Removes the bars.
    pub(crate) fn end(&self) {
        if let Some(bars) = &self.bars {
            drop(bars.clear());
        }
    }
}
