//! The worker: runs one task after another and answers with events.
//!
//! [`Worker::run`] is the one function that does a task, whatever process it is called in: it resolves the task's
//! inputs from the reports of its writers, calls the stage, and commits the report, create-if-absent and last of
//! all. Stages are opened once and kept warm.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use weft_core::context::{Context, Progress, Tripwire};
use weft_core::id::ShardId;
use weft_core::rows::Part;
use weft_core::stage::{EngineUse, Entry, Opened, Resources, StageError};
use weft_core::store::{Created, Layout, Store};
use weft_core::task::{Event, Fault, Hello, Input, Report, Task};
use weft_models::engine::{Engine, EngineKind, EngineRequest, Provider};

use crate::recipe::EngineChoice;

/// Where a test makes the process die: `stage:shard:point`, the point a row's number or `report`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CrashPoint {
    task: String,
    shard: ShardId,
    row: Option<u64>,
}

impl std::str::FromStr for CrashPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not stage:shard:row or stage:shard:report");
        let mut fields = text.split(':');
        let (Some(task), Some(shard), Some(point), None) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(wrong());
        };
        let shard = ShardId(shard.parse().map_err(|_| wrong())?);
        let row = if point == "report" { None } else { Some(point.parse().map_err(|_| wrong())?) };
        Ok(Self { task: task.to_owned(), shard, row })
    }
}

/// Dies as `kill -9` does: nothing is flushed, nothing unwinds.
fn die() {
    if let Err(cause) = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL) {
        tracing::error!(%cause, "failed to kill this process");
    }
}

/// Finds the engine for `choice`, once for the process; none when the recipe has no graph.
pub(crate) fn find_engine(choice: EngineChoice, resources: &Resources) -> anyhow::Result<Option<EngineUse>> {
    if resources.graphs.is_empty() {
        return Ok(None);
    }
    let request = EngineRequest {
        choice: match choice {
            EngineChoice::Auto => weft_models::engine::EngineChoice::Auto,
            EngineChoice::OnnxRuntime => weft_models::engine::EngineChoice::OnnxRuntime { path: None },
            EngineChoice::Tract => weft_models::engine::EngineChoice::Tract,
        },
        named_library: std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from),
        roots: runtime_roots(),
    };
    let engine = Engine::find(&request)?;
    let kind = match engine.kind() {
        EngineKind::OnnxRuntime => "onnxruntime",
        EngineKind::Tract => "tract",
    };
    let provider = match engine.provider() {
        Provider::Cpu => "cpu",
        _ => "another provider",
    };
    // Where the library lies is no part of what it computes.
    let identity = format!("{kind} {}, {provider}", engine.version());
    Ok(Some(EngineUse { identity, library: engine.library().map(Path::to_owned) }))
}

/// Folders that may hold a `.ort`: where we are, and where the program is.
pub(crate) fn runtime_roots() -> Vec<PathBuf> {
    let program = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    std::env::current_dir().into_iter().chain(program).collect()
}

/// Does tasks; shared by the threads of one process.
pub(crate) struct Worker {
    registry: &'static [Entry],
    store: Store,
    hello: Hello,
    scratch: PathBuf,
    cancelled: Arc<AtomicBool>,
    crash: Option<CrashPoint>,
    opened: Mutex<HashMap<String, Arc<dyn Opened>>>,
}

impl Worker {
    /// A worker over `store`; files that nobody else sees go to `scratch`.
    pub(crate) fn new(
        registry: &'static [Entry],
        store: Store,
        hello: Hello,
        scratch: PathBuf,
        cancelled: Arc<AtomicBool>,
        crash: Option<CrashPoint>,
    ) -> Self {
        Self { registry, store, hello, scratch, cancelled, crash, opened: Mutex::default() }
    }

    /// Does one task and says how it went; never panics.
    pub(crate) fn run(&self, task: &Task, progress: &Arc<Progress>) -> Event {
        let (id, attempt) = (task.id, task.attempt);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.attempt(task, progress)));
        match outcome {
            Ok(Ok(report)) => Event::Done { id, attempt, report: Box::new(report) },
            Ok(Err(error)) => {
                let fault = fault_of(&error);
                let mut message = String::new();
                for cause in error.chain() {
                    let cause = cause.to_string();
                    if !message.ends_with(&cause) {
                        message.push_str(if message.is_empty() { "" } else { ": " });
                        message.push_str(&cause);
                    }
                }
                Event::Failed { id, attempt, fault, message }
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                let message = format!("a bug in weft: the task panicked: {text}");
                Event::Failed { id, attempt, fault: Fault::Bug, message }
            }
        }
    }

    fn attempt(&self, task: &Task, progress: &Arc<Progress>) -> anyhow::Result<Report> {
        let started = Instant::now();
        let stage = self.open(task)?;
        let context = self.context(task, progress)?;
        let tally = stage.run(task.shard, &context)?;
        // Ctrl-C in the last moment: an unreported task is simply done again.
        context.check_cancelled()?;
        let outputs = std::mem::take(&mut *context.outputs.lock().unwrap_or_else(PoisonError::into_inner));
        let report = Report {
            stage: task.stage.clone(),
            version: task.version,
            phase: task.phase.clone(),
            fingerprint: task.fingerprint.clone(),
            shard: task.shard,
            attempt: task.attempt,
            tally,
            outputs,
            digests: std::mem::take(&mut *context.digests.lock().unwrap_or_else(PoisonError::into_inner)),
            elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        if self
            .crash
            .as_ref()
            .is_some_and(|crash| crash.row.is_none() && crash.task == task.name() && crash.shard == task.shard)
        {
            die();
        }
        let path = Layout::report(&task.folder, task.shard);
        let json = serde_json::to_vec_pretty(&report)?;
        if self.store.put_new(&path, json).map_err(StageError::Store)? == Created::AlreadyThere {
            // Another attempt was faster; its files are the ones that count.
            return Ok(serde_json::from_slice(&self.store.get(&path)?)?);
        }
        Ok(report)
    }

    fn open(&self, task: &Task) -> anyhow::Result<Arc<dyn Opened>> {
        let key = format!("{} {}", task.stage, task.config);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = opened.get(&key) {
            return Ok(Arc::clone(stage));
        }
        let entry = self
            .registry
            .iter()
            .find(|entry| entry.name == task.stage && entry.version == task.version)
            .ok_or_else(|| anyhow!("this build has no stage `{}` of version {}", task.stage, task.version))?;
        let stage: Arc<dyn Opened> = Arc::from((entry.open)(&task.config, &self.hello.resources)?);
        opened.insert(key, Arc::clone(&stage));
        Ok(stage)
    }

    fn context(&self, task: &Task, progress: &Arc<Progress>) -> anyhow::Result<Context> {
        let mut inputs: BTreeMap<String, Vec<Vec<Part>>> = BTreeMap::new();
        for input in &task.inputs {
            let parts = self.parts(input, task.shard)?;
            inputs.entry(input.table.clone()).or_default().extend(parts);
        }
        Ok(Context {
            store: self.store.clone(),
            limits: self.hello.limits.clone(),
            shards: self.hello.shards,
            seed: self.hello.seed,
            recipe: self.hello.recipe.clone(),
            phase: task.phase.clone(),
            fingerprint: task.fingerprint.clone(),
            folder: task.folder.clone(),
            shard: task.shard,
            attempt: task.attempt,
            segment: 0,
            inputs,
            scratch: self.scratch.clone(),
            sort_bytes: self.hello.sort_bytes,
            cancelled: Arc::clone(&self.cancelled),
            progress: Arc::clone(progress),
            tripwire: self.tripwire(task),
            outputs: Arc::default(),
            digests: Arc::default(),
        })
    }

    /// The parts of one input that hold the shard's rows, by the reports of the tasks that wrote it.
    ///
    /// The files that one task wrote follow each other; parts of exchanges are each sorted by themselves.
    fn parts(&self, input: &Input, shard: ShardId) -> anyhow::Result<Vec<Vec<Part>>> {
        let writers = if input.gathered { (0..input.tasks).map(ShardId).collect() } else { vec![shard] };
        let mut parts = Vec::new();
        for writer in writers {
            let path = Layout::report(&input.folder, writer);
            let report: Report = serde_json::from_slice(&self.store.get(&path)?)
                .with_context(|| format!("report {path} is damaged; remove it and run again"))?;
            let mut files = Vec::new();
            for output in report.outputs.into_iter().filter(|output| output.table == input.table) {
                match output.directory {
                    Some(directory) => {
                        let of_shard = directory.into_iter().filter(|entry| entry.shard == shard);
                        parts.extend(of_shard.map(|entry| {
                            let row_groups = Some((entry.first_row_group, entry.row_groups));
                            vec![Part { path: output.path.clone(), row_groups }]
                        }));
                    }
                    None => files.push(Part { path: output.path, row_groups: None }),
                }
            }
            if !files.is_empty() {
                parts.push(files);
            }
        }
        Ok(parts)
    }

    fn tripwire(&self, task: &Task) -> Option<Tripwire> {
        let crash = self.crash.as_ref()?;
        let row = crash.row.filter(|_| crash.task == task.name() && crash.shard == task.shard)?;
        Some(Arc::new(move |passed| {
            if passed == row {
                die();
            }
        }))
    }
}

fn fault_of(error: &anyhow::Error) -> Fault {
    match error.downcast_ref::<StageError>() {
        Some(StageError::Cancelled) => Fault::Cancelled,
        Some(StageError::Unavailable(unavailable)) => Fault::Unavailable(unavailable.clone()),
        Some(cause) if cause.is_retryable() => Fault::Retryable,
        _ => Fault::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crash_points_name_task_shard_and_row() {
        let point: CrashPoint = "dedup.count:1:7".parse().unwrap();
        assert_eq!(point, CrashPoint { task: "dedup.count".to_owned(), shard: ShardId(1), row: Some(7) });
        assert_eq!("fetch:0:report".parse::<CrashPoint>().unwrap().row, None);
        assert!("fetch".parse::<CrashPoint>().is_err());
    }
}
