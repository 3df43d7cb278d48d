//! The funnel: what each stage read, kept and rejected, and how fast it went.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use weft_core::front::Usage;
use weft_core::id::ShardId;
use weft_core::reject::Unit;
use weft_core::tally::{Count, Tally};
use weft_core::task::Report;

use crate::plan::Plan;

/// One unit of one stage, summed over its tasks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FunnelRow {
    pub(crate) stage: String,
    pub(crate) unit: Unit,
    #[serde(flatten)]
    pub(crate) count: Count,
}

/// What one phase cost, summed over its tasks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Cost {
    pub(crate) phase: String,
    pub(crate) tasks: usize,
    /// Summed over tasks; with several workers more than the time on the wall.
    pub(crate) task_seconds: f64,
    pub(crate) rows_per_second: f64,
    pub(crate) bytes_per_second: f64,
}

/// The funnel of a run: stages in order, the units of each.
pub(crate) fn funnel(plan: &Plan, reports: &[BTreeMap<ShardId, Report>]) -> Vec<FunnelRow> {
    let mut rows: Vec<FunnelRow> = Vec::new();
    for (phase, reports) in plan.phases.iter().zip(reports) {
        let tally = total(reports);
        // In the order the stage declares its flows: documents before images.
        for flow in &phase.flows {
            let count = tally.counts.get(&flow.unit).cloned().unwrap_or_default();
            rows.push(FunnelRow { stage: phase.name.clone(), unit: flow.unit, count });
        }
    }
    rows
}

/// The tallies of a phase added up.
pub(crate) fn total(reports: &BTreeMap<ShardId, Report>) -> Tally {
    let mut tally = Tally::default();
    for report in reports.values() {
        tally.add(&report.tally);
    }
    tally
}

/// What each phase cost.
pub(crate) fn costs(plan: &Plan, reports: &[BTreeMap<ShardId, Report>]) -> Vec<Cost> {
    let phases = plan.phases.iter().zip(reports);
    phases
        .map(|(phase, reports)| {
            let tally = total(reports);
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let per_second = |amount: u64, seconds: f64| if seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
            let elapsed_ms: u64 = reports.values().map(|report| report.elapsed_ms).sum();
            let task_seconds = std::time::Duration::from_millis(elapsed_ms).as_secs_f64();
            let rows = tally.counts.values().map(|count| count.read).max().unwrap_or(0);
            let written: u64 = reports.values().flat_map(|report| &report.outputs).map(|output| output.bytes).sum();
            let bytes = tally.facts.get("bytes").copied().unwrap_or(written);
            Cost {
                phase: phase.name.clone(),
                tasks: reports.len(),
                task_seconds,
                rows_per_second: per_second(rows, task_seconds),
                bytes_per_second: per_second(bytes, task_seconds),
            }
        })
        .collect()
}

/// The funnel and the costs as a terminal shows them.
pub(crate) fn text(funnel: &[FunnelRow], costs: &[Cost]) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text).expect("a String takes any text");
        out.push('\n');
    };
    line(format_args!("{:<13} {:<11} {:>10} {:>10} {:>10}  reasons", "stage", "unit", "read", "kept", "rejected"));
    for row in funnel {
        let mut reasons: Vec<(&String, &u64)> = row.count.rejected.iter().collect();
        reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let reasons: Vec<String> = reasons.iter().map(|(reason, rows)| format!("{reason} {rows}")).collect();
        line(format_args!(
            "{:<13} {:<11} {:>10} {:>10} {:>10}  {}",
            row.stage,
            row.unit.as_str(),
            row.count.read,
            row.count.kept,
            row.count.rejected_total(),
            reasons.join(", ")
        ));
    }
    line(format_args!(""));
    line(format_args!("{:<13} {:>6} {:>10} {:>12} {:>12}", "stage", "tasks", "task time", "rows/s", "bytes/s"));
    for cost in costs {
        line(format_args!(
            "{:<13} {:>6} {:>8.2} s {:>12.0} {:>12}",
            cost.phase,
            cost.tasks,
            cost.task_seconds,
            cost.rows_per_second,
            rate_text(cost.bytes_per_second)
        ));
    }
    out
}

/// What was asked of a front, in words.
pub(crate) fn usage_text(usage: &Usage) -> String {
    let Usage { requests, retries, bytes } = usage;
    format!("{requests} requests ({retries} of them again), {} received", bytes_text(*bytes))
}

/// `3.4 MB`, in powers of 1,000.
pub(crate) fn bytes_text(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    rate_text(bytes as f64)
}

/// Bytes, or bytes a second, in powers of 1,000.
pub(crate) fn rate_text(bytes: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_powers_of_a_thousand() {
        assert_eq!(bytes_text(999), "999 B");
        assert_eq!(bytes_text(1_000), "1.0 kB");
        assert_eq!(bytes_text(3_400_000), "3.4 MB");
    }
}
