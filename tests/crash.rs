//! Kill -9 at any moment, then the same command again: byte-identical shards, no finished task repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Said, digests, reports, run_tiny, tiny_args, weft};

/// SIGKILL.
pub(crate) const KILLED: i32 = 9;

/// A small generator, so that the moments are the same every time.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The moments of an undisturbed run at which it can be killed: task, shard, and how many rows pass.
fn tasks(output: &Path) -> Vec<(String, u64, u64)> {
    let reports = reports(output);
    let tasks = reports.values().map(|report| {
        let (stage, phase) = (report["stage"].as_str().unwrap(), report["phase"].as_str().unwrap());
        let name = if phase.is_empty() { stage.to_owned() } else { format!("{stage}.{phase}") };
        let counts = report["tally"]["counts"].as_object().unwrap();
        let rows = counts.values().map(|count| count["read"].as_u64().unwrap()).sum();
        (name, report["shard"].as_u64().unwrap(), rows)
    });
    tasks.collect()
}

/// Kills a run at each point in turn in one output folder, then lets it finish; returns where it really died.
fn killed_at(output: &Path, points: &[String]) -> Vec<String> {
    let mut died = Vec::new();
    for point in points {
        let finished_before: BTreeMap<_, _> = reports_if_any(output);
        // Nothing after the point's own stage runs yet, so that later points are still ahead.
        let stage = point.split([':', '.']).next().unwrap();
        let until = format!("until={stage}");
        let ended = weft().args(tiny_args(output)).args(["--set", &until, "--crash-at", point]).output().unwrap();
        if ended.status.signal() == Some(KILLED) {
            died.push(point.clone());
        } else {
            let said = Said::from(ended);
            assert_eq!(said.code, Some(0), "{point}: {}{}", said.out, said.err);
        }
        // What was finished stays as it was: same attempt, same report.
        let finished_after = reports_if_any(output);
        for (name, report) in finished_before {
            assert_eq!(finished_after.get(&name), Some(&report), "{name} was done again after {point}");
        }
    }
    run_tiny(output, &[]);
    died
}

fn reports_if_any(output: &Path) -> BTreeMap<String, serde_json::Value> {
    if output.join("tables").exists() { reports(output) } else { BTreeMap::new() }
}

#[test]
fn kill_at_thirty_seeded_moments_leaves_the_same_shards() {
    let undisturbed = tempfile::tempdir().unwrap();
    run_tiny(undisturbed.path(), &[]);
    let expected = digests(&undisturbed.path().join("shards"));
    let tasks = tasks(undisturbed.path());
    let names: BTreeSet<&String> = tasks.iter().map(|(name, _, _)| name).collect();
    let mut seeded = Seeded(2019);

    // Inside every stage that counts rows, then between the tables and the report of some, then anywhere.
    let mut points = Vec::new();
    for name in &names {
        let of_stage: Vec<_> = tasks.iter().filter(|(task, _, rows)| task == *name && *rows > 1).collect();
        if of_stage.is_empty() {
            points.push(format!("{name}:0:report"));
            continue;
        }
        let (_, shard, rows) = of_stage[usize::try_from(seeded.below(of_stage.len() as u64)).unwrap()];
        points.push(format!("{name}:{shard}:{}", 1 + seeded.below(rows - 1)));
    }
    for name in ["ingest", "download", "measure", "interleave"] {
        points.push(format!("{name}:0:report"));
    }
    while points.len() < 30 {
        let (name, shard, rows) = &tasks[usize::try_from(seeded.below(tasks.len() as u64)).unwrap()];
        let point = if *rows == 0 { "report".to_owned() } else { (1 + seeded.below(*rows)).to_string() };
        points.push(format!("{name}:{shard}:{point}"));
    }

    // In pipeline order within a folder every point is reached: what is killed once is passed the next time.
    let order: BTreeMap<&str, usize> = [
        "ingest",
        "locate",
        "fetch",
        "extract",
        "download",
        "dedup.pairs",
        "dedup.count",
        "measure",
        "select",
        "assign",
        "interleave",
    ]
    .into_iter()
    .enumerate()
    .map(|(position, name)| (name, position))
    .collect();
    let mut died: BTreeSet<String> = BTreeSet::new();
    let mut reports_died = 0;
    for third in points.chunks(10) {
        let mut third = third.to_vec();
        third.sort_by_key(|point| order[point.split(':').next().unwrap()]);
        let output = tempfile::tempdir().unwrap();
        let died_here = killed_at(output.path(), &third);
        assert_eq!(digests(&output.path().join("shards")), expected, "after kills at {third:?}");
        reports_died += died_here.iter().filter(|point| point.ends_with(":report")).count();
        died.extend(died_here.iter().map(|point| point.split(':').next().unwrap().to_owned()));
    }
    assert_eq!(died.iter().collect::<BTreeSet<_>>(), names, "at least one kill inside every stage");
    assert!(reports_died > 0, "no kill fell between the tables and the report of a task");
}

#[test]
fn ctrl_c_stops_with_its_own_code_and_the_same_command_goes_on() {
    let undisturbed = tempfile::tempdir().unwrap();
    run_tiny(undisturbed.path(), &[]);
    let output = tempfile::tempdir().unwrap();
    let mut child = weft()
        .args(tiny_args(output.path()))
        .args(["--workers", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // As soon as the first task is done there is something to keep and something to stop.
    while child.try_wait().unwrap().is_none() && reports_if_any(output.path()).is_empty() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = child.wait().unwrap();
    let err = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(status.code(), Some(130), "{err}");
    assert!(err.contains("the same command goes on from here"), "{err}");
    let kept = reports(output.path());
    run_tiny(output.path(), &[]);
    let after = reports(output.path());
    assert!(kept.iter().all(|(name, report)| after.get(name) == Some(report)));
    assert_eq!(digests(&output.path().join("shards")), digests(&undisturbed.path().join("shards")));
}

#[test]
fn a_second_run_on_the_same_output_is_refused_with_its_reason() {
    let output = tempfile::tempdir().unwrap();
    let lock = std::fs::OpenOptions::new().create(true).write(true).truncate(false).open(output.path().join("lock"));
    let lock = lock.unwrap();
    lock.try_lock().unwrap();
    let said: Said = weft().args(tiny_args(output.path())).output().unwrap().into();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("another weft run holds"), "{}", said.err);
}
