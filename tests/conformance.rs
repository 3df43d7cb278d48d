//! `weft probe` agrees with the field's own tools over their own files, and with goldens of ours.
//!
//! The tools' files are no part of the repository: `WEFT_CONFORMANCE` names the folder that holds them. Goldens
//! in `tests/fixtures/probe` are checked always.

mod archives;
mod crawl;
mod goldens;
mod images;
mod index;
mod pages;
mod rows;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{read, weft};

/// A topic's folder and its `expected.json`, or nothing: then the test says so past libtest's capture.
fn topic(name: &str) -> Option<(PathBuf, Value)> {
    let Some(folder) = std::env::var_os("WEFT_CONFORMANCE").map(PathBuf::from) else {
        loud(&format!("SKIPPED: WEFT_CONFORMANCE is not set; `weft probe` was not compared over {name}"));
        return None;
    };
    let topic = folder.join(name);
    assert!(topic.exists(), "WEFT_CONFORMANCE is set, but {} does not exist", topic.display());
    let expected = serde_json::from_slice(&read(&topic.join("expected.json"))).unwrap();
    Some((topic, expected))
}

/// Standard error itself: libtest captures what the macros print.
fn loud(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// What `weft probe` found.
struct Probed {
    code: Option<i32>,
    /// Objects on standard output that tell no error.
    found: Vec<Value>,
    /// Those that do.
    troubles: Vec<Value>,
    err: String,
}

/// Runs `weft probe --json` in `folder`.
fn probe(folder: &Path, args: &[&str], stdin: &str) -> Probed {
    let mut command = weft();
    command.arg("probe").arg("--json").args(args).current_dir(folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_owned();
    // A probe that reads no input may end first.
    let feeder = std::thread::spawn(move || drop(input.write_all(stdin.as_bytes())));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let objects = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (troubles, found) = objects.partition(|object| object.get("error").is_some());
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Probed { code: output.status.code(), found, troubles, err }
}

/// How many of each sort of thing agree, and those that do not.
struct Agreement {
    topic: &'static str,
    counts: BTreeMap<&'static str, (u32, u32)>,
    wrong: Vec<String>,
}

impl Agreement {
    fn new(topic: &'static str) -> Self {
        Self { topic, counts: BTreeMap::new(), wrong: Vec::new() }
    }

    /// Counts one `thing`, which is right if `differences` is empty.
    fn count(&mut self, thing: &'static str, place: &str, differences: &[String]) {
        let (agree, all) = self.counts.entry(thing).or_default();
        *all += 1;
        if differences.is_empty() {
            *agree += 1;
        } else {
            self.wrong.push(format!("{thing} of {place}: {}", differences.join("; ")));
        }
    }

    /// Counts one `thing`, which is right if ours is theirs.
    fn compare(&mut self, thing: &'static str, place: &str, ours: &Value, theirs: &Value) {
        let differences = if ours == theirs { vec![] } else { vec![format!("{ours}, not {theirs}")] };
        self.count(thing, place, &differences);
    }

    /// Prints the figures; fails where anything differs, or nothing was compared.
    fn finish(self) {
        let figures = self.counts.iter().map(|(thing, (agree, all))| format!("{agree} of {all} {thing}"));
        let figures: Vec<String> = figures.collect();
        loud(&format!("weft probe over {}: {} agree", self.topic, figures.join(", ")));
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert!(self.counts.values().any(|(agree, _)| *agree > 0), "nothing was compared");
    }
}

/// The fields in which two objects differ.
fn differences(ours: &Value, theirs: &Value, fields: &[(&str, &str)]) -> Vec<String> {
    let differ = fields.iter().filter(|(our, their)| ours[*our] != theirs[*their]);
    differ.map(|(our, their)| format!("{our}: {}, not {}", ours[*our], theirs[*their])).collect()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a Vec<Value> {
    value[field].as_array().unwrap_or_else(|| panic!("no list `{field}` in {value}"))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {value}"))
}
