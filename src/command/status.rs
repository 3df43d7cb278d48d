//! `weft status`: how far a recipe's run is, which front does not serve, and what failed last. Safe to call while the run goes on.

use std::fmt::Write;
use std::process::ExitCode;

use crate::cli::RecipeArgs;
use crate::command::{open, print};
use crate::ledger::FrontNote;

pub(crate) fn run(args: &RecipeArgs) -> anyhow::Result<ExitCode> {
    let opened = open(args)?;
    let mut text = String::new();
    let (mut done_tasks, mut all_tasks) = (0, 0);
    for phase in &opened.plan.phases {
        let reports = phase.reports(&opened.store)?;
        let tally = crate::report::total(&reports);
        let (done, tasks) = (reports.len(), phase.tasks as usize);
        done_tasks += done;
        all_tasks += tasks;
        let counts: Vec<String> = phase
            .flows
            .iter()
            .filter_map(|flow| tally.counts.get(&flow.unit).map(|count| (flow.unit, count)))
            .map(|(unit, count)| format!("{} of {} {} kept", count.kept, count.read, unit.as_str()))
            .collect();
        writeln!(text, "{:<14} {done:>5} of {tasks} tasks  {}", phase.name, counts.join(", "))?;
    }
    let running = crate::ledger::lock(&opened.output).is_err();
    let state = match (done_tasks == all_tasks, running) {
        (true, _) => "finished",
        (false, true) => "running",
        (false, false) => "stopped; weft run goes on from here",
    };
    writeln!(text, "{done_tasks} of {all_tasks} tasks done: {state}")?;
    for note in crate::ledger::fronts(&opened.output)? {
        writeln!(text, "front {}", front_text(&note, running))?;
    }
    for failure in crate::ledger::recent_failures(&opened.output, 5)? {
        let crate::ledger::Failure { folder, shard, attempt, outcome, message } = failure;
        writeln!(text, "{outcome}: {folder} shard {shard:05}, attempt {attempt}: {message}")?;
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// How a front stands: since when it fails, with what, and when it is asked again.
fn front_text(note: &FrontNote, running: bool) -> String {
    let usage = crate::report::usage_text(&note.usage);
    let Some((cause, since)) = &note.outage else { return format!("{}: serves; {usage}", note.front) };
    let next = match &note.next {
        Some(next) if running => format!("next try {next}"),
        Some(_) => "next try with the next run".to_owned(),
        None => "not asked again in that run".to_owned(),
    };
    format!("{}: does not serve since {since}: {cause}; {next}; {usage}", note.front)
}
