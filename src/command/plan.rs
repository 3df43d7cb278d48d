//! `weft plan`: what a run would do, and why.

use std::fmt::Write;
use std::process::ExitCode;

use crate::cli::RecipeArgs;
use crate::command::{open, print};

pub(crate) fn run(args: &RecipeArgs) -> anyhow::Result<ExitCode> {
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
