//! `weft run`: runs a recipe, or what is left of it, to finished shards.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use weft_core::store::Store;
use weft_core::write::Output;

use crate::cli::RecipeArgs;
use crate::command::{Opened, open, print};
use crate::ledger::{self, Ledger};
use crate::plan::Plan;
use crate::report::{self, FunnelRow};
use crate::runner::progress::Display;
use crate::runner::{self, Finished, Outcome};
use crate::worker::{CrashPoint, Worker};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    /// Tasks at a time [default: one per processor]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Print the funnel as JSON
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
    /// For tests: die at a point of a task, as by kill -9 (stage:shard:row or stage:shard:report)
    #[arg(long, hide = true, value_name = "POINT")]
    crash_at: Option<CrashPoint>,
}

/// What a run made: every shard with its digest, and the funnel that led to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DatasetManifest {
    /// The recipe.
    pub(crate) recipe: String,
    /// The version of weft.
    pub(crate) version: String,
    /// The fingerprint of the last stage.
    pub(crate) fingerprint: String,
    /// The crawl.
    pub(crate) crawl: String,
    /// The engine behind the measurements.
    pub(crate) engine: Option<String>,
    /// Digests of the graphs' cards, by role.
    pub(crate) cards: std::collections::BTreeMap<String, String>,
    /// The folder of the shards in the store.
    pub(crate) folder: String,
    /// Every shard file.
    pub(crate) files: Vec<Output>,
    /// Counts of every stage.
    pub(crate) funnel: Vec<serde_json::Value>,
}

pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    run_and(args, |_, _, _| Ok(String::new()))
}

/// Runs, and makes something more of what the run made; the text that `publish` gives is shown last.
pub(crate) fn run_and(
    args: &RunArgs,
    publish: impl FnOnce(&Opened, &Finished, &[FunnelRow]) -> anyhow::Result<String>,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let (_, output) = crate::recipe::output_folder(&args.recipe)?;
    let _lock = ledger::lock(&output)?;
    let mut opened = open(&args.recipe)?;
    check_free_space(&opened)?;
    let cancelled = stop_on_ctrl_c()?;
    let ledger = Ledger::begin(&opened.output, &opened.recipe.name)?;
    let threads =
        args.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    ensure!(threads > 0, "--workers 0: at least one is needed");
    let scratch = tempfile::Builder::new()
        .prefix("scratch-")
        .tempdir_in(&opened.output)
        .with_context(|| format!("failed to make a scratch folder in {}", opened.output.display()))?;
    remove_old_scratch(&opened.output, scratch.path());
    // The lock says that no other writer lives.
    opened.store.remove_unfinished()?;
    let worker = Worker::new(
        weft_stages::all(),
        opened.store.clone(),
        opened.plan.hello.clone(),
        scratch.path().to_owned(),
        Arc::clone(&cancelled),
        args.crash_at.clone(),
    );
    let display = Display::new(args.quiet);
    let outcome = runner::run(&opened.plan, &opened.store, &ledger, worker, threads, &cancelled, &display);
    display.end();
    let outcome = match pin_sources(&mut opened) {
        Ok(()) => outcome,
        Err(cause) => outcome.and(Err(cause)),
    };
    match outcome {
        Ok(Outcome::Finished(finished)) => {
            let funnel = report::funnel(&opened.plan, &finished.reports);
            write_manifest(&opened, &finished, &funnel)?;
            let published = publish(&opened, &finished, &funnel)?;
            ledger.finish("finished")?;
            show(args, &opened, &finished, &funnel, started)?;
            if !args.json {
                print(&published)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Ok(Outcome::Interrupted) => {
            ledger.finish("interrupted")?;
            tracing::warn!("stopped; finished tasks are kept, and the same command goes on from here");
            Ok(ExitCode::from(130))
        }
        Err(cause) => {
            // A full disk must not hide the cause behind a second failure.
            if let Err(second) = ledger.finish("failed") {
                tracing::warn!(%second, "the ledger could not take note of the failure");
            }
            let cause = if ledger::is_disk_full(&cause) {
                let output = opened.output.display();
                cause.context(format!(
                    "no space left for the ledger in {output}; free some and run the same command again"
                ))
            } else {
                cause
            };
            Err(cause.context("the run stopped; finished tasks are kept, and the same command goes on from here"))
        }
    }
}

fn show(
    args: &RunArgs,
    opened: &Opened,
    finished: &Finished,
    funnel: &[FunnelRow],
    started: Instant,
) -> anyhow::Result<()> {
    let costs = report::costs(&opened.plan, &finished.reports);
    if args.json {
        let value = serde_json::json!({
            "recipe": opened.recipe.name, "ran": finished.ran, "found": finished.found,
            "funnel": funnel, "costs": costs, "fronts": finished.fronts,
        });
        return print(&format!("{value}\n"));
    }
    let elapsed = started.elapsed().as_secs_f64();
    let mut text = String::new();
    if finished.ran == 0 {
        text.push_str(&format!("nothing to do: all {} tasks were done before ({elapsed:.2} s)\n\n", finished.found));
    } else {
        text.push_str(&format!(
            "{} tasks done in {elapsed:.1} s, {} were done before\n\n",
            finished.ran, finished.found
        ));
    }
    text.push_str(&report::text(funnel, &costs));
    for front in &finished.fronts {
        text.push_str(&format!("\nfront {}: {}\n", front.front, report::usage_text(&front.usage)));
    }
    if let Some(engine) = &opened.plan.hello.resources.engine {
        text.push_str(&format!("\nmeasured with {}\n", engine.identity));
    }
    if let Some((folder, _)) = opened.plan.dataset() {
        text.push_str(&format!("shards: {}\n", opened.output.join(folder).display()));
    }
    print(&text)
}

/// Pins the digests of source files that were read whole at an address; also after a run that stopped.
fn pin_sources(opened: &mut Opened) -> anyhow::Result<()> {
    if opened.recipe.source_lock.is_empty() {
        return Ok(());
    }
    for phase in opened.plan.phases.iter().filter(|phase| phase.stage == "ingest") {
        let reports = phase.reports(&opened.store)?;
        opened.recipe.source_lock.learn(reports.values().flat_map(|report| &report.digests))?;
    }
    opened.recipe.source_lock.save()
}

/// Writes the manifest that names the shards; the same bytes for the same shards.
fn write_manifest(opened: &Opened, finished: &Finished, funnel: &[FunnelRow]) -> anyhow::Result<()> {
    let Some((folder, path)) = opened.plan.dataset() else { return Ok(()) };
    let last = opened.plan.phases.iter().position(|phase| phase.stage == "interleave");
    let Some(last) = last else { return Ok(()) };
    let mut files: Vec<Output> = finished.reports[last]
        .values()
        .flat_map(|report| &report.outputs)
        .filter(|output| output.path.starts_with(&folder))
        .cloned()
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let resources = &opened.plan.hello.resources;
    let manifest = DatasetManifest {
        recipe: opened.recipe.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint: opened.plan.phases[last].fingerprint.as_str().to_owned(),
        crawl: resources.crawl.as_ref().map(|crawl| crawl.name.clone()).unwrap_or_default(),
        engine: resources.engine.as_ref().map(|engine| engine.identity.clone()),
        cards: resources.graphs.iter().map(|(role, graphs)| (role.clone(), graphs.card.digest.clone())).collect(),
        folder,
        files,
        funnel: funnel.iter().map(serde_json::to_value).collect::<Result<_, _>>()?,
    };
    let json = format!("{}\n", serde_json::to_string_pretty(&manifest)?);
    put_if_changed(&opened.store, &path, json.into_bytes())
}

fn put_if_changed(store: &Store, path: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
    if store.get_if_there(path)?.is_none_or(|current| current != bytes) {
        store.put(path, bytes)?;
    }
    Ok(())
}

/// The first Ctrl-C asks tasks to stop; the second ends the process.
fn stop_on_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let (flag, times) = (Arc::clone(&cancelled), AtomicU32::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::Builder::new().name("weft-signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let terminate = tokio::signal::unix::SignalKind::terminate();
            let Ok(mut terminate) = tokio::signal::unix::signal(terminate) else { return };
            loop {
                tokio::select! {
                    interrupted = tokio::signal::ctrl_c() => if interrupted.is_err() { return },
                    _ = terminate.recv() => {}
                }
                flag.store(true, Ordering::Relaxed);
                weft_stages::formats::outside::stop_waiting();
                if times.fetch_add(1, Ordering::Relaxed) > 0 {
                    std::process::exit(130);
                }
                tracing::warn!("stopping after the rows at hand; press Ctrl-C again to stop at once");
            }
        });
    })?;
    Ok(cancelled)
}

/// Removes the scratch folders of runs that were killed: the lock says that none of them lives.
fn remove_old_scratch(output: &std::path::Path, own: &std::path::Path) {
    let Ok(entries) = std::fs::read_dir(output) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        // By name: one folder may be spelled in two ways, and the one in use is absolute always.
        if name.to_string_lossy().starts_with("scratch-") && own.file_name() != Some(&name) {
            #[expect(clippy::disallowed_methods, reason = "scratch folders are the coordinator's, not the store's")]
            if let Err(cause) = std::fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %cause, "an old scratch folder could not be removed");
            }
        }
    }
}

/// Refuses to start where the output cannot hold what the plan will write.
///
/// The estimate is crude and low on purpose: what is left of the source files, once, plus a floor for the tables of
/// small runs. A run that outgrows it stops at a full disk and goes on later.
fn check_free_space(opened: &Opened) -> anyhow::Result<()> {
    let stat = rustix::fs::statvfs(&opened.output)
        .with_context(|| format!("failed to ask for the free space of {}", opened.output.display()))?;
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed_bytes = needed_bytes(&opened.plan, &opened.store)?;
    ensure!(
        free_bytes >= needed_bytes,
        "{} has {} free, and what is left of this run needs at least {}; free some, or give another --output",
        opened.output.display(),
        report::bytes_text(free_bytes),
        report::bytes_text(needed_bytes)
    );
    Ok(())
}

fn needed_bytes(plan: &Plan, store: &Store) -> anyhow::Result<u64> {
    let Some(first) = plan.phases.first() else { return Ok(0) };
    let done = first.reports(store)?;
    let documents = &plan.hello.resources.documents;
    let left = documents.iter().enumerate().filter(|(position, _)| {
        u32::try_from(*position).is_ok_and(|shard| !done.contains_key(&weft_core::id::ShardId(shard)))
    });
    Ok(left.map(|(_, file)| file.bytes).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_scratch_folders_go_and_the_one_in_use_stays_however_the_output_is_spelled() {
        let output = tempfile::tempdir().unwrap();
        for name in ["scratch-old", "scratch-own", "tables"] {
            std::fs::create_dir(output.path().join(name)).unwrap();
        }
        let spelled = output.path().join("tables").join("..");
        remove_old_scratch(&spelled, &output.path().join("scratch-own"));
        let left = |name: &str| output.path().join(name).exists();
        assert_eq!(["scratch-old", "scratch-own", "tables"].map(left), [false, true, true]);
    }
}
