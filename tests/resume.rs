//! A task that was killed goes on behind its last closed segment, to the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use weft_tinyweb::{Shape, make, write as write_web};

use crate::crash::{KILLED, Seeded};
use crate::support::{Said, digests, read, reports, weft, write};
use crate::tiny::recipe_for;

/// Captures of a segment in these tests: a dozen segments a shard.
const SEGMENT: &str = "stages.fetch.segment_captures=8";

/// A web of `pages` pages on six archives, and its recipe's path.
fn web(pages: u32) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    write_web(&make(&Shape { pages, warcs: 6, ..Shape::default() }), folder.path()).unwrap();
    let path = folder.path().join("recipe.toml");
    write(&path, recipe_for(folder.path()).as_bytes());
    (folder, path.display().to_string())
}

fn command(recipe: &str, output: &Path, extra: &[&str]) -> Command {
    let mut command = weft();
    command.args(["run", recipe, "--quiet", "--workers", "1", "--set", SEGMENT, "--output"]).arg(output).args(extra);
    command
}

fn finish(recipe: &str, output: &Path, extra: &[&str]) {
    let said: Said = command(recipe, output, extra).output().unwrap().into();
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}

/// The reports of closed segments, by path.
fn segments(output: &Path) -> BTreeMap<String, Vec<u8>> {
    let tables = output.join("tables");
    if !tables.exists() {
        return BTreeMap::new();
    }
    let names = digests(&tables).into_keys().filter(|name| name.contains("/segment-"));
    names.map(|name| (name.clone(), read(&tables.join(&name)))).collect()
}

/// The reports of one stage.
fn reports_of(output: &Path, stage: &str) -> Vec<Value> {
    reports(output).into_values().filter(|report| report["stage"] == stage).collect()
}

/// What the tasks of locate and fetch wrote and counted: shard, table, rows and digest of each file, in order.
fn located_and_fetched(output: &Path) -> Vec<String> {
    let reports = ["locate", "fetch"].iter().flat_map(|stage| reports_of(output, stage));
    let lines = reports.flat_map(|report| {
        let files = report["outputs"].as_array().unwrap().iter();
        let files =
            files.map(|file| format!("{} {} {} {}", report["shard"], file["table"], file["rows"], file["blake3"]));
        let counts = std::iter::once(format!("{} {}", report["shard"], report["tally"]["counts"]));
        files.chain(counts).collect::<Vec<_>>()
    });
    lines.collect()
}

/// The attempts whose files a report lists.
fn attempts(report: &Value) -> BTreeSet<String> {
    let files = report["outputs"].as_array().unwrap().iter();
    let attempt = |file: &Value| {
        let (_, attempt) = file["path"].as_str().unwrap().rsplit_once("-a").unwrap();
        attempt.to_owned()
    };
    files.map(attempt).collect()
}

#[test]
fn kill_at_twenty_seeded_moments_of_locate_and_fetch_leaves_the_same_shards() {
    let (_web, recipe) = web(192);
    let undisturbed = tempfile::tempdir().unwrap();
    finish(&recipe, undisturbed.path(), &[]);
    let mut seeded = Seeded(1202);
    let mut points: Vec<(&str, u64, u64)> = Vec::new();
    for (stage, unit) in [("locate", "documents"), ("fetch", "captures")] {
        // A shard may be empty.
        let tasks: Vec<(u64, u64)> = reports_of(undisturbed.path(), stage)
            .iter()
            .filter_map(|report| {
                let rows = report["tally"]["counts"][unit]["read"].as_u64()?;
                Some((report["shard"].as_u64().unwrap(), rows))
            })
            .collect();
        for _ in 0..10 {
            let (shard, rows) = tasks[usize::try_from(seeded.below(tasks.len() as u64)).unwrap()];
            points.push((stage, shard, 1 + seeded.below(rows)));
        }
    }
    // In the order in which one worker comes by: locate before fetch, shard by shard, row by row.
    points.sort_by_key(|&(stage, shard, row)| (stage == "fetch", shard, row));

    let output = tempfile::tempdir().unwrap();
    let mut closed = BTreeMap::new();
    for (stage, shard, row) in points {
        let (until, point) = (format!("until={stage}"), format!("{stage}:{shard}:{row}"));
        let ended = command(&recipe, output.path(), &["--set", &until, "--crash-at", &point]).output().unwrap();
        assert_eq!(ended.status.signal(), Some(KILLED), "{point}: {}", String::from_utf8_lossy(&ended.stderr));
        // What was closed stays as it was.
        let now = segments(output.path());
        for (name, report) in &closed {
            assert_eq!(now.get(name), Some(report), "{name} was closed again after {point}");
        }
        closed = now;
    }
    finish(&recipe, output.path(), &[]);
    assert_eq!(digests(&output.path().join("shards")), digests(&undisturbed.path().join("shards")));
    assert_eq!(located_and_fetched(output.path()), located_and_fetched(undisturbed.path()));

    // Files of several attempts stand in one report, each attempt's behind those of the ones before it.
    let fetched = reports_of(output.path(), "fetch");
    assert!(fetched.iter().any(|report| attempts(report).len() > 2), "no attempt went on behind another's segments");
    assert!(reports_of(undisturbed.path(), "fetch").iter().all(|report| attempts(report).len() == 1));
    let mut most_segments = 0;
    for report in &fetched {
        let pages = report["outputs"].as_array().unwrap().iter().filter(|file| file["table"] == "pages");
        most_segments = most_segments.max(pages.clone().count());
        let order: Vec<&str> = pages.map(|file| file["path"].as_str().unwrap().rsplit_once("-a").unwrap().1).collect();
        assert!(order.is_sorted(), "{order:?}");
    }
    assert!(most_segments > 5, "{most_segments} segments in the largest shard");

    // Other commands see one table.
    let folder = output.path().display().to_string();
    let args = [&recipe, "--output", &folder, "--set", SEGMENT];
    let verified: Said = weft().arg("verify").args(args).output().unwrap().into();
    assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);
    let shown = weft().args(["inspect", "pages", "--json", "--recipe"]).args(args).output().unwrap();
    let kept: u64 = fetched.iter().filter_map(|report| report["tally"]["counts"]["captures"]["kept"].as_u64()).sum();
    assert_eq!(String::from_utf8_lossy(&shown.stdout).lines().count() as u64, kept);
}

#[test]
fn kill_from_outside_at_any_moment_of_fetch_leaves_the_same_tables() {
    let (_web, recipe) = web(128);
    let undisturbed = tempfile::tempdir().unwrap();
    finish(&recipe, undisturbed.path(), &["--set", "until=locate"]);
    let located = digests(undisturbed.path());
    let output = tempfile::tempdir().unwrap();
    for name in located.keys().filter(|name| name.starts_with("tables/")) {
        write(&output.path().join(name), &read(&undisturbed.path().join(name)));
    }
    let started = Instant::now();
    finish(&recipe, undisturbed.path(), &["--set", "until=fetch"]);
    let whole = started.elapsed();
    let mut seeded = Seeded(7);
    let mut killed = 0;
    for _ in 0..6 {
        let mut child = command(&recipe, output.path(), &["--set", "until=fetch"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moment = whole.mul_f64(0.001 * f64::from(u32::try_from(100 + seeded.below(700)).unwrap()));
        let started = Instant::now();
        while child.try_wait().unwrap().is_none() && started.elapsed() < moment {
            std::thread::sleep(Duration::from_millis(1));
        }
        // One that has ended is not there to be killed.
        child.kill().ok();
        killed += usize::from(child.wait().unwrap().signal() == Some(KILLED));
    }
    assert!(killed > 0, "every run ended before its moment");
    finish(&recipe, output.path(), &["--set", "until=fetch"]);
    assert_eq!(located_and_fetched(output.path()), located_and_fetched(undisturbed.path()));
}
