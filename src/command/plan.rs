//! `weft plan`: what a run would do, and why; with `--estimate`, what it would cost.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{bail, ensure};
use clap::Args;

use crate::cli::RecipeArgs;
use crate::command::{open, print};
use crate::estimate::{self, Measured, Settings};
use crate::recipe::survey::Survey;

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Show requests, bytes, time and storage of every stage; asks nobody
    #[arg(long)]
    estimate: bool,
    /// Take shares and unit costs from another run's output, such as one of a sample of the same sources
    #[arg(long, value_name = "DIR", requires = "estimate")]
    from: Option<PathBuf>,
    /// Print the estimate as JSON
    #[arg(long, requires = "estimate")]
    json: bool,
    /// Tasks at a time [default: one per processor]
    #[arg(long, value_name = "N", requires = "estimate")]
    workers: Option<u32>,
    /// Requests a second to the crawl's server [default: the crawl manifest's]
    #[arg(long, value_name = "RATE", requires = "estimate")]
    front_rate: Option<f64>,
    /// Bytes a second over the line; 125 MB are a gigabit
    #[arg(long, value_name = "BYTES", default_value_t = 125e6, requires = "estimate")]
    line_rate: f64,
    /// Requests a second to one registered domain, or to the one named, as `example.org=2` [default: 10]
    #[arg(long, value_name = "[DOMAIN=]RATE", requires = "estimate")]
    ceiling: Vec<String>,
}

pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    if args.estimate { show_estimate(args) } else { show_plan(&args.recipe) }
}

fn show_estimate(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let (_, output) = crate::recipe::output_folder(&args.recipe)?;
    let survey = Survey::read(&args.recipe, &output, args.from.as_deref())?;
    let measured = match &args.from {
        None => Measured::read(&output)?,
        Some(from) => {
            let measured = Measured::read(from)?;
            ensure!(measured.is_some(), "--from {}: no task of a run is done there", from.display());
            measured
        }
    };
    let estimate = estimate::estimate(&survey, measured.as_ref(), &settings(args, survey.front_rate)?)?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&estimate)?))?;
    } else {
        print(&estimate::text::text(&estimate))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &PlanArgs, front_rate: f64) -> anyhow::Result<Settings> {
    let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = args.workers.map_or_else(|| u32::try_from(processors()), Ok)?;
    let mut settings = Settings {
        workers,
        front_rate: args.front_rate.unwrap_or(front_rate),
        line_bytes_per_second: args.line_rate,
        // A patient person with a few tabs; most sites allow a crawler less.
        ceiling: 10.0,
        ceilings: BTreeMap::new(),
    };
    for ceiling in &args.ceiling {
        let (domain, rate) =
            ceiling.split_once('=').map_or((None, ceiling.as_str()), |(name, rate)| (Some(name), rate));
        let Ok(rate) = rate.parse::<f64>() else {
            bail!("--ceiling {ceiling}: write it as a number of requests a second, or as DOMAIN=NUMBER");
        };
        match domain {
            Some(domain) => drop(settings.ceilings.insert(domain.to_ascii_lowercase(), rate)),
            None => settings.ceiling = rate,
        }
    }
    let rates = [("--front-rate", settings.front_rate), ("--line-rate", settings.line_bytes_per_second)];
    let ceilings = settings.ceilings.values().chain([&settings.ceiling]).map(|rate| ("--ceiling", *rate));
    for (flag, rate) in rates.into_iter().chain(ceilings) {
        ensure!(rate.is_finite() && rate > 0.0, "{flag} {rate}: a rate is above 0");
    }
    ensure!(workers > 0, "--workers 0: at least one is needed");
    Ok(settings)
}

fn show_plan(args: &RecipeArgs) -> anyhow::Result<ExitCode> {
    let opened = open(args)?;
    let mut text = String::new();
    writeln!(text, "recipe {}, output {}", opened.recipe.name, opened.output.display())?;
    writeln!(
        text,
        "{} source files, {} corpus, {} crawl and {} key shards",
        opened.recipe.shards.source, opened.recipe.shards.corpus, opened.recipe.shards.crawl, opened.recipe.shards.key
    )?;
    writeln!(text)?;
    writeln!(text, "{:<14} {:>6} {:>6} {:>6}  {:<16}  why", "stage", "tasks", "done", "to do", "fingerprint")?;
    let mut left = 0;
    for phase in &opened.plan.phases {
        let done = phase.reports(&opened.store)?.len();
        let tasks = phase.tasks as usize;
        left += tasks.saturating_sub(done);
        let why = if done >= tasks {
            "done under this fingerprint".to_owned()
        } else if done > 0 {
            "begun under this fingerprint".to_owned()
        } else {
            why_new(&opened, phase)?
        };
        writeln!(
            text,
            "{:<14} {:>6} {:>6} {:>6}  {:<16}  {why}",
            phase.name,
            tasks,
            done,
            tasks.saturating_sub(done),
            phase.fingerprint.short()
        )?;
    }
    writeln!(text)?;
    writeln!(text, "{}", if left == 0 { "nothing to do".to_owned() } else { format!("{left} tasks to do") })?;
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Why a phase has no finished task: never run here, or run under other circumstances.
fn why_new(opened: &crate::command::Opened, phase: &crate::plan::PlannedPhase) -> anyhow::Result<String> {
    let family = phase.folder.rsplit_once('/').map_or("", |(family, _)| family);
    if opened.store.list(family)?.is_empty() {
        return Ok("not run yet".to_owned());
    }
    let changed: Vec<&str> = phase
        .inputs
        .iter()
        .map(|input| &opened.plan.phases[input.writer])
        .filter(|writer| writer.reports(&opened.store).is_ok_and(|reports| reports.is_empty()))
        .map(|writer| writer.name.as_str())
        .collect();
    Ok(if changed.is_empty() {
        "its own settings, graphs or inputs changed".to_owned()
    } else {
        format!("it reads what {} will write anew", changed.join(", "))
    })
}
