//! `weft verify`: checks every file and every count of a run.
//!
//! For each task: its files are there, of the size and digest that its report says; `read = kept + rejected`; each
//! reject is named. Over the run: what stage n keeps is what stage n+1 reads. And the shards are those that the
//! dataset manifest lists, and a published mapping's files those of its manifest.

use std::io::Read;
use std::process::ExitCode;

use weft_core::store::Store;
use weft_core::task::Report;
use weft_core::write::Output;

use crate::cli::RecipeArgs;
use crate::command::inspect::each_row;
use crate::command::locate;
use crate::command::run::DatasetManifest;
use crate::command::{open, print};
use crate::runner::RowCounts;

pub(crate) fn run(args: &RecipeArgs) -> anyhow::Result<ExitCode> {
    let opened = open(args)?;
    let mut problems: Vec<String> = Vec::new();
    let mut counts = RowCounts::default();
    let (mut tasks, mut files, mut rows) = (0_usize, 0_usize, 0_u64);
    let mut all_reports = Vec::new();
    for phase in &opened.plan.phases {
        let reports = phase.reports(&opened.store)?;
        for report in reports.values() {
            tasks += 1;
            if report.fingerprint != phase.fingerprint {
                problems.push(format!("{} of shard {}: its report has another fingerprint", phase.name, report.shard));
            }
            for output in &report.outputs {
                files += 1;
                rows += output.rows;
                check_file(&opened.store, output, &mut problems);
            }
            check_rejects(&opened.store, report, &mut problems)?;
            counts.add(phase, report);
        }
        if reports.len() < phase.tasks as usize {
            let missing = phase.tasks as usize - reports.len();
            problems.push(format!("{}: {missing} of {} tasks are not done", phase.name, phase.tasks));
        }
        all_reports.push(reports);
    }
    for (phase, reports) in opened.plan.phases.iter().zip(&all_reports) {
        for report in reports.values() {
            if let Err(cause) = counts.check(phase, report) {
                problems.push(cause.to_string());
            }
        }
    }
    check_chain(&opened.plan, &all_reports, &mut problems);
    if let Some((_, path)) = opened.plan.dataset() {
        match opened.store.get_if_there(&path)? {
            None => problems.push(format!("there is no dataset manifest {path}; run the recipe to its end")),
            Some(bytes) => match serde_json::from_slice::<DatasetManifest>(&bytes) {
                Err(cause) => problems.push(format!("dataset manifest {path} is damaged: {cause}")),
                Ok(manifest) => {
                    for output in &manifest.files {
                        check_file(&opened.store, output, &mut problems);
                    }
                }
            },
        }
    }
    if let Some(folder) = locate::folder_of(&opened.plan)
        && let Some((_, outputs)) = locate::read_manifest(&opened.store, &folder)?
    {
        files += outputs.len();
        outputs.iter().for_each(|output| check_file(&opened.store, output, &mut problems));
    }
    if problems.is_empty() {
        print(&format!("ok: {tasks} tasks, {files} files, {rows} rows; every count and digest agrees\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for problem in &problems {
        text.push_str(problem);
        text.push('\n');
    }
    text.push_str(&format!("{} problems\n", problems.len()));
    print(&text)?;
    Ok(ExitCode::FAILURE)
}

fn check_file(store: &Store, output: &Output, problems: &mut Vec<String>) {
    let file = match store.open(&output.path) {
        Ok(file) => file,
        Err(cause) => return problems.push(format!("{}: {cause}", output.path)),
    };
    if file.len_bytes() != output.bytes {
        return problems.push(format!(
            "{}: it has {} bytes, its report says {}",
            output.path,
            file.len_bytes(),
            output.bytes
        ));
    }
    let mut hasher = blake3::Hasher::new();
    let mut reader = file.reader(0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(buffer.get(..read).unwrap_or_default());
            }
            Err(cause) => return problems.push(format!("{}: {cause}", output.path)),
        }
    }
    if hasher.finalize().to_hex().as_str() != output.blake3 {
        problems.push(format!("{}: its bytes changed since it was written", output.path));
    }
}

/// The rejects table has a row for each reject that the tally counts, reason by reason.
fn check_rejects(store: &Store, report: &Report, problems: &mut Vec<String>) -> anyhow::Result<()> {
    let mut named: std::collections::BTreeMap<(String, String), u64> = std::collections::BTreeMap::new();
    for output in report.outputs.iter().filter(|output| output.table == "rejects") {
        if store.open(&output.path).is_err() {
            // Told already.
            return Ok(());
        }
        let read = each_row(store, &output.path, |row| {
            let text = |column: &str| row.get(column).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
            *named.entry((text("unit"), text("reason"))).or_default() += 1;
            Ok(true)
        });
        if let Err(cause) = read {
            problems.push(format!("{}: {cause}", output.path));
            return Ok(());
        }
    }
    let counted = report.tally.counts.iter().flat_map(|(unit, count)| {
        count.rejected.iter().map(|(reason, rows)| ((unit.as_str().to_owned(), reason.clone()), *rows))
    });
    if named != counted.collect() {
        problems.push(format!(
            "{} of shard {}: the rejects table and the tally differ",
            weft_core::task::task_name(&report.stage, &report.phase),
            report.shard
        ));
    }
    Ok(())
}

/// Over the whole run: the rows that a flow reads are the rows that its writer kept.
fn check_chain(
    plan: &crate::plan::Plan,
    reports: &[std::collections::BTreeMap<weft_core::id::ShardId, Report>],
    problems: &mut Vec<String>,
) {
    for (reader, reader_reports) in plan.phases.iter().zip(reports) {
        for flow in &reader.flows {
            let Some(table) = flow.reads else { continue };
            let writer = plan.phases.iter().position(|phase| phase.writes.contains(&table.name));
            let Some(writer) = writer else { continue };
            let kept_as =
                plan.phases[writer].flows.iter().find(|kept| kept.keeps.is_some_and(|t| t.name == table.name));
            let Some(kept_as) = kept_as else { continue };
            let kept = crate::report::total(&reports[writer]).counts.get(&kept_as.unit).map_or(0, |count| count.kept);
            let read = crate::report::total(reader_reports).counts.get(&flow.unit).map_or(0, |count| count.read);
            if kept != read {
                problems.push(format!(
                    "{} kept {kept} {}, but {} read {read} {}",
                    plan.phases[writer].name,
                    kept_as.unit.as_str(),
                    reader.name,
                    flow.unit.as_str()
                ));
            }
        }
    }
}
