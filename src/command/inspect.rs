//! `weft inspect`: prints the rows of any table of a run, to the terminal or as JSON lines.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::{Map, Value};
use weft_core::id::ShardId;
use weft_core::store::Store;

use crate::cli::RecipeArgs;
use crate::command::{Opened, open};
use crate::view;

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The table: documents, captures, pages, candidates, images, …, or rejects
    table: String,
    /// The recipe, a TOML file
    #[arg(long, value_name = "RECIPE")]
    recipe: PathBuf,
    /// Where tables and shards lie [default: out/<recipe's name>]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Set a key of the recipe; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// One object a line
    #[arg(long)]
    json: bool,
    /// Only rows whose column has this value, as `reason=too_small`; may be repeated
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    filter: Vec<String>,
    /// At most this many rows
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Widest cell on a terminal, in characters.
const CELL_WIDTH: usize = 48;

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let opened = open(&RecipeArgs { recipe: args.recipe.clone(), output: args.output.clone(), set: args.set.clone() })?;
    let mut filters = Vec::new();
    for filter in &args.filter {
        let Some((column, value)) = filter.split_once('=') else {
            bail!("--where {filter}: write it as column=value, for instance reason=too_small");
        };
        filters.push((column, value));
    }
    let files = table_files(&opened, &args.table)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut shown = 0_u64;
    for path in files {
        let outcome = each_row(&opened.store, &path, |row| {
            let fits = |(column, value): &(&str, &str)| row.get(*column).is_some_and(|cell| plain(cell) == *value);
            if left == 0 || !filters.iter().all(fits) {
                return Ok(left > 0);
            }
            left -= 1;
            shown += 1;
            if args.json {
                serde_json::to_writer(&mut out, &row)?;
                out.write_all(b"\n")?;
            } else {
                let cells = row.iter().map(|(name, value)| format!("{name}={}", view::short(value, CELL_WIDTH)));
                writeln!(out, "{}", cells.collect::<Vec<_>>().join("  "))?;
            }
            Ok(true)
        })?;
        if !outcome {
            break;
        }
    }
    out.flush()?;
    if !args.json {
        writeln!(out, "{shown} rows")?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The finished files of a table, in plan and shard order.
pub(crate) fn table_files(opened: &Opened, table: &str) -> anyhow::Result<Vec<String>> {
    let writers: Vec<_> = if table == "rejects" {
        opened.plan.phases.iter().collect()
    } else {
        opened.plan.writer(table).into_iter().collect()
    };
    if writers.is_empty() {
        let mut tables: Vec<&str> = opened.plan.phases.iter().flat_map(|phase| phase.writes.iter().copied()).collect();
        tables.push("rejects");
        bail!("there is no table `{table}`; the tables of this recipe are {}", tables.join(", "));
    }
    let mut files = Vec::new();
    let mut missing = 0;
    for writer in writers {
        let reports = writer.reports(&opened.store)?;
        missing += (0..writer.tasks).filter(|shard| !reports.contains_key(&ShardId(*shard))).count();
        for report in reports.values() {
            files
                .extend(report.outputs.iter().filter(|output| output.table == table).map(|output| output.path.clone()));
        }
    }
    if missing > 0 {
        tracing::warn!(missing, "{missing} tasks that write `{table}` are not done yet; the rest is shown");
    }
    Ok(files)
}

/// Calls `of` with each row of a file until it answers `false`; returns whether it never did.
pub(crate) fn each_row(
    store: &Store,
    path: &str,
    mut of: impl FnMut(Map<String, Value>) -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    for batch in weft_core::rows::record_batches(store, path)? {
        let batch = batch?;
        for index in 0..batch.num_rows() {
            if !of(view::row(&batch, index))? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
