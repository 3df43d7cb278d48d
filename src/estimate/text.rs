//! An estimate as a terminal shows it.

use std::fmt::Write;

use super::value::{Basis, Input, Value};
use super::{Estimate, SlowestHost, StageEstimate, Way};
use crate::report::rate_text;

/// The tables of an estimate, and the words to read them by.
pub(crate) fn text(estimate: &Estimate) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    let until = estimate.until.as_ref().map(|stage| format!(", until {stage}")).unwrap_or_default();
    line(format!("recipe {}: {} in {}{until}", estimate.recipe, estimate.source, estimate.crawl));
    line(match &estimate.measured_by {
        Some(place) => format!("unit costs: the run in {place}"),
        None => "unit costs: no run has measured any; name one with --from, of a sample of the same sources".to_owned(),
    });
    let settings = &estimate.settings;
    line(format!(
        "settings: {} workers, {} requests/s to the crawl, {}/s over the line, {} requests/s to a domain",
        settings.workers,
        settings.front_rate,
        rate_text(settings.line_bytes_per_second),
        settings.ceiling
    ));
    line(String::new());
    for input in &estimate.inputs {
        line(input_line(input));
    }
    line(String::new());
    line(format!(
        "{:<13} {:>12} {:<10} {:>12} {:>12} {:>11} {:>11} {:<9} {:>11}",
        "stage", "rows", "", "requests", "bytes", "task time", "time", "bound by", "storage"
    ));
    for stage in &estimate.stages {
        line(stage_line(stage));
    }
    let totals = &estimate.totals;
    line(format!(
        "{:<13} {:>12} {:<10} {:>12} {:>12} {:>11} {:>11} {:<9} {:>11}",
        "all planned",
        "",
        "",
        count(totals.requests),
        bytes(totals.bytes),
        time(totals.task_seconds),
        "",
        "",
        bytes(totals.storage_bytes)
    ));
    if estimate.stages.iter().any(|stage| !stage.is_planned) {
        line("(stage): beyond what the recipe runs".to_owned());
    }
    line(String::new());
    line(format!("{:<24} {:>12} {:>12} {:>11}", "ways to get the records", "requests", "bytes", "time"));
    for way in &estimate.fetch {
        line(way_line(way));
    }
    if let Some(slowest) = &estimate.slowest_host {
        line(String::new());
        line(host_line(slowest));
        line("  set with --ceiling RATE, or --ceiling DOMAIN=RATE".to_owned());
    }
    line(String::new());
    let bases = [Basis::Manifest, Basis::Measured, Basis::Published, Basis::Assumed];
    let legend: Vec<String> = bases.iter().map(|basis| format!("{} {}", basis.mark(), basis.word())).collect();
    line(format!("a number is known as well as the worst of what it is made of: {}; ? unknown", legend.join(", ")));
    out
}

fn input_line(input: &Input) -> String {
    let value = match (input.value, input.unit) {
        (None, _) => "unknown".to_owned(),
        (Some(value), "B") => rate_text(value.amount),
        (Some(value), _) => plain(value.amount),
    };
    let basis = input.value.map_or("", |value| value.basis.word());
    format!("{:<38} {value:>16}  {basis:<9}  {}", input.name, input.from)
}

fn stage_line(stage: &StageEstimate) -> String {
    let name = if stage.is_planned { stage.stage.clone() } else { format!("({})", stage.stage) };
    format!(
        "{name:<13} {:>12} {:<10} {:>12} {:>12} {:>11} {:>11} {:<9} {:>11}",
        count(stage.units),
        stage.unit,
        if stage.is_remote { count(stage.requests) } else { String::new() },
        if stage.is_remote { bytes(stage.bytes) } else { String::new() },
        time(stage.task_seconds),
        time(stage.seconds),
        stage.bound.unwrap_or_default(),
        bytes(stage.storage_bytes)
    )
}

fn way_line(way: &Way) -> String {
    let name = if way.is_chosen { format!("{} (taken)", way.name) } else { way.name.to_owned() };
    format!("{name:<24} {:>12} {:>12} {:>11}", count(way.requests), bytes(way.bytes), time(way.seconds))
}

fn host_line(slowest: &SlowestHost) -> String {
    let mut text = String::new();
    let SlowestHost { domain, share, requests, rate, from, is_asked, .. } = slowest;
    let whose = domain.as_ref().map_or("a domain".to_owned(), Clone::clone);
    let asked = if *is_asked { "slowest host" } else { "slowest host, were the images got from the web" };
    let written = write!(
        text,
        "{asked}: {whose} with {:.1} % of the images, {} requests at {rate} requests/s: {}\n  from {from}",
        share.amount * 100.0,
        count(Some(*requests)),
        time(Some(slowest.time()))
    );
    written.expect("a String takes any text");
    text
}

/// `1.4 G a`: three or four digits, and the mark of the basis.
fn count(value: Option<Value>) -> String {
    marked(value, |amount| {
        let units = ["", " k", " M", " G", " T"];
        let (mut amount, mut unit) = (amount, 0);
        while amount >= 9_999.5 && unit + 1 < units.len() {
            amount /= 1_000.0;
            unit += 1;
        }
        if unit == 0 { format!("{amount:.0}") } else { format!("{amount:.1}{}", units[unit]) }
    })
}

fn bytes(value: Option<Value>) -> String {
    marked(value, rate_text)
}

/// The largest unit of which there are two or more.
fn time(value: Option<Value>) -> String {
    marked(value, |seconds| {
        for (unit, of) in [("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)] {
            if seconds >= 2.0 * of {
                let amount = seconds / of;
                return if amount >= 10.0 { format!("{amount:.0} {unit}") } else { format!("{amount:.1} {unit}") };
            }
        }
        if seconds >= 10.0 { format!("{seconds:.0} s") } else { format!("{seconds:.2} s") }
    })
}

fn marked(value: Option<Value>, text: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "?".to_owned(), |value| format!("{} {}", text(value.amount), value.basis.mark()))
}

/// A count in full with groups of three digits, a ratio with four digits behind the point.
fn plain(amount: f64) -> String {
    if amount < 1_000.0 && amount.fract() != 0.0 {
        return format!("{amount:.4}");
    }
    let digits = format!("{amount:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_marked() {
        let value = |amount| Some(Value::new(amount, Basis::Published));
        assert_eq!(count(value(1.37e9)), "1370.0 M p");
        assert_eq!(count(value(9_999.0)), "9999 p");
        assert_eq!(time(value(6.85e6)), "79 d p");
        assert_eq!(time(value(7_200.0)), "2.0 h p");
        assert_eq!(time(value(0.5)), "0.50 s p");
        assert_eq!(count(None), "?");
        assert_eq!(plain(365_233_500.0), "365,233,500");
        assert_eq!(plain(0.55), "0.5500");
        assert_eq!(plain(1.0), "1");
    }
}
