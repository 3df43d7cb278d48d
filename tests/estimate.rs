//! An estimate from a sample's run says what the whole run then asks for, and what nobody knows it does not say.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use weft_core::limits::Limits;
use weft_stages::formats::lines::{Line, Lines};
use weft_tinyweb::{PlainShape, Shape, make, make_plain, write as write_web};

use crate::support::server::{Answered, Server};
use crate::support::{Said, read, repository, weft, write};
use crate::tiny::recipe_for;

/// Source files that the documents are dealt out to, as C4's are: each a sample of all.
const FILES: usize = 12;
/// Of which the sample has so many.
const SAMPLED: usize = 4;

/// Runs weft in its own folder; panics with what it said when it fails.
fn done(args: &[&str]) -> Said {
    let said: Said = weft().args(args).output().unwrap().into();
    assert_eq!(said.code, Some(0), "{args:?}: {}{}", said.out, said.err);
    said
}

/// The lines of the web's documents, good and bad.
fn document_lines(folder: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for file in 0..2 {
        let bytes = read(&folder.join(format!("docs/c4-tiny.{file:05}-of-00002.json.gz")));
        let mut lines = Lines::open(bytes.as_slice(), &Limits::default()).unwrap();
        while let Some(Line::Whole(line)) = lines.next_line().unwrap() {
            all.push(line.to_vec());
        }
    }
    all
}

/// A large web without pictures behind a server, one in fifteen of whose pages is a document, and two recipes over it:
/// `full.toml` and `sample.toml`.
fn served_plain_web(folder: &Path) -> Server {
    let shape = PlainShape {
        seed: 2019,
        pages: 36_000,
        hosts: 60,
        warcs: 6,
        document_of_pages: 10,
        document_files: u32::try_from(FILES).unwrap(),
    };
    for (path, bytes) in make_plain(&shape) {
        write(&folder.join(path), &bytes);
    }
    let server = Server::start(folder);
    recipes(folder, &server, "docs", "plain.{}.json.gz");
    server
}

/// A web with pictures behind a server, of which a third of the pages are documents, and two recipes over it.
fn served_web(folder: &Path, pages: u32) -> Server {
    let shape = Shape { pages, hosts: 24, warcs: 6, ..Shape::default() };
    write_web(&make(&shape), folder).unwrap();
    let server = Server::start(folder);
    // One in three, dealt out in turn: the lines are in no order.
    let lines: Vec<Vec<u8>> = document_lines(folder).into_iter().step_by(3).collect();
    let mut files = vec![Vec::new(); FILES];
    for (number, line) in lines.into_iter().enumerate() {
        files[number % FILES].extend(line);
        files[number % FILES].push(b'\n');
    }
    for (number, bytes) in files.iter().enumerate() {
        write(&folder.join(format!("dealt/{number}.jsonl")), bytes);
    }
    recipes(folder, &server, "dealt", "{}.jsonl");
    server
}

/// Writes `full.toml` and `sample.toml`: all source files of `root`, and the first few.
fn recipes(folder: &Path, server: &Server, root: &str, pattern: &str) {
    let recipe = recipe_for(folder);
    let crawl = format!(
        "kind = \"crawl\"\nname = \"WEFT-TINY-2019-18\"\nroot = \"{}/crawl\"\n\
         index = \"cc-index/collections/WEFT-TINY-2019-18/indexes\"\n{}",
        server.root(),
        crate::fronts::front_section(2000, "2ms")
    );
    write(&folder.join("crawl.toml"), crawl.as_bytes());
    for (name, count) in [("full", FILES), ("sample", SAMPLED)] {
        let source = format!(
            "kind = \"c4\"\nname = \"dealt\"\nroot = \"{root}\"\n[[files]]\npattern = \"{pattern}\"\ncount = {count}\n"
        );
        write(&folder.join(format!("{name}-source.toml")), source.as_bytes());
        let mut recipe: toml::Table = recipe.parse().unwrap();
        let manifest = folder.join(format!("{name}-source.toml")).display().to_string();
        recipe["source"].as_table_mut().unwrap().insert("manifest".to_owned(), toml::Value::String(manifest));
        write(&folder.join(format!("{name}.toml")), recipe.to_string().as_bytes());
    }
}

/// Requests and bytes of what the server was asked for below a folder.
fn asked(answered: &[Answered], is_it: impl Fn(&str) -> bool) -> (f64, f64) {
    let asked: Vec<&Answered> = answered.iter().filter(|answered| is_it(&answered.path)).collect();
    let bytes: u64 = asked.iter().map(|answered| answered.bytes).sum();
    (number(u64::try_from(asked.len()).unwrap()), number(bytes))
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// The stages of an estimate by name.
fn stages(estimate: &Value) -> BTreeMap<String, Value> {
    let stages = estimate["stages"].as_array().unwrap().iter();
    stages.map(|stage| (stage["stage"].as_str().unwrap().to_owned(), stage.clone())).collect()
}

fn amount(value: &Value) -> f64 {
    value["amount"].as_f64().unwrap_or_else(|| panic!("{value} is not known"))
}

fn assert_near(what: &str, estimated: f64, actual: f64, tolerance: f64) {
    println!("{what}: {estimated:.0} estimated, {actual:.0} asked");
    assert!((estimated - actual).abs() <= tolerance * actual, "{what}: {estimated} estimated, {actual} asked");
}

#[test]
fn a_samples_estimate_gives_the_requests_and_bytes_of_the_whole_run_within_a_tenth() {
    let folder = tempfile::tempdir().unwrap();
    let server = served_plain_web(folder.path());
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (full, sample) = (place("full.toml"), place("sample.toml"));
    let (full_out, sample_out) = (place("full"), place("sampled"));
    // Small files have small gaps, and small blocks: a gap of four and a request of sixteen, as in a crawl's index.
    let set = [
        "--set",
        "until=fetch",
        "--set",
        "stages.fetch.coalesce_gap_bytes=10000",
        "--set",
        "stages.locate.coalesce_gap_bytes=5500",
        "--set",
        "stages.locate.request_bytes=22000",
    ];
    done(&[&["run", &sample, "--output", &sample_out, "--quiet"][..], &set].concat());
    let before = server.answered().len();
    let plan = ["plan", &full, "--output", &full_out, "--estimate", "--json", "--from", &sample_out];
    let said = done(&[&plan[..], &set].concat());
    assert_eq!(server.answered().len(), before, "an estimate asks nobody");
    let estimate: Value = serde_json::from_str(&said.out).unwrap();

    done(&[&["run", &full, "--output", &full_out, "--quiet"][..], &set].concat());
    let answered = server.answered().split_off(before);
    let stages = stages(&estimate);
    for (stage, is_it) in [
        ("locate", (|path| path.contains("/indexes/cdx-")) as fn(&str) -> bool),
        ("fetch", |path| path.ends_with(".warc.gz")),
    ] {
        let (requests, bytes) = asked(&answered, is_it);
        assert!(requests > 20.0, "{stage}: {requests} requests prove little");
        assert_near(&format!("{stage}, requests"), amount(&stages[stage]["requests"]), requests, 0.1);
        assert_near(&format!("{stage}, bytes"), amount(&stages[stage]["bytes"]), bytes, 0.1);
        assert_eq!(stages[stage]["requests"]["basis"], "measured", "{stage}");
    }
    // Of the three ways the taken one lies between the others.
    let ways = estimate["fetch"].as_array().unwrap();
    let of = |name: &str, what: &str| amount(&ways.iter().find(|way| way["name"] == name).unwrap()[what]);
    assert!(of("whole files", "requests") < of("ranges", "requests"));
    assert!(of("ranges", "requests") < of("one request a record", "requests"));
    assert!(of("one request a record", "bytes") < of("ranges", "bytes"));
    assert!(of("ranges", "bytes") < of("whole files", "bytes"));
}

/// The estimate of a shipped recipe in an empty output.
fn shipped(extra: &[&str]) -> Said {
    let output = tempfile::tempdir().unwrap();
    let recipe = repository().join("manifests/recipes/c4-en-locate.toml").display().to_string();
    let output = output.path().join("none").display().to_string();
    let said = done(&[&["plan", &recipe, "--output", &output, "--estimate"][..], extra].concat());
    assert!(!Path::new(&output).exists(), "an estimate leaves nothing behind");
    said
}

#[test]
fn full_c4_is_estimated_from_published_figures_that_are_marked_as_such() {
    let estimate: Value = serde_json::from_str(&shipped(&["--json", "--workers", "2"]).out).unwrap();
    let stages = stages(&estimate);
    let basis = |value: &Value| value["basis"].as_str().unwrap().to_owned();
    let is = |value: f64, expected: u32| (value - f64::from(expected)).abs() < 0.5;
    assert!(is(amount(&stages["ingest"]["units"]), 365_233_500));
    assert_eq!(basis(&stages["ingest"]["units"]), "published");
    assert_eq!(stages["locate"]["is_planned"], true);
    assert_eq!(stages["fetch"]["is_planned"], false);
    // What nobody has measured has no number.
    for (stage, what) in [("locate", "task_seconds"), ("extract", "task_seconds"), ("extract", "storage_bytes")] {
        assert!(stages[stage][what].is_null(), "{stage} {what}");
    }
    let ways: BTreeMap<&str, &Value> =
        estimate["fetch"].as_array().unwrap().iter().map(|way| (way["name"].as_str().unwrap(), way)).collect();
    let requests = |name: &str| amount(&ways[name]["requests"]);
    assert!(is(requests("whole files"), 56_000));
    assert!(is(requests("one request a record"), 365_233_500));
    // A gap of 1 MB between 6,500 records of a gigabyte is rare: ranges hold nearly all of a file, which is streamed.
    let a_file = requests("ranges") / 56_000.0;
    assert!((1.0..1.1).contains(&a_file), "{a_file} ranges a file");
    assert_eq!(basis(&ways["ranges"]["requests"]), "assumed");

    let slowest = &estimate["slowest_host"];
    let days = slowest["seconds"].as_f64().unwrap() / 86_400.0;
    assert!((79.0..80.0).contains(&days), "{days} days");
    for input in estimate["inputs"].as_array().unwrap() {
        assert!(!input["from"].as_str().unwrap().is_empty(), "{input}");
        assert!(input["value"].is_null() || input["value"]["basis"].is_string(), "{input}");
    }
}

#[test]
fn the_table_names_sources_ways_and_the_slowest_host_and_its_ceiling_can_be_set() {
    let text = shipped(&[]).out;
    for words in ["79 d", "at 10 requests/s", "whole files", "ranges (taken)", "one request a record", "(fetch)"] {
        assert!(text.contains(words), "`{words}` is not in:\n{text}");
    }
    for words in ["MMC4, section 3", "the data set's card", "assumed", "? unknown"] {
        assert!(text.contains(words), "`{words}` is not in:\n{text}");
    }
    let faster = shipped(&["--ceiling", "20"]).out;
    assert!(faster.contains("at 20 requests/s: 40 d"), "{faster}");
    let recipe = repository().join("manifests/recipes/c4-en-locate.toml").display().to_string();
    for (wrong, words) in [("--ceiling=fast", "a number of requests a second"), ("--ceiling=a.example=0", "above 0")] {
        let said: Said = weft().args(["plan", &recipe, "--estimate", wrong]).output().unwrap().into();
        assert!(said.code == Some(1) && said.err.contains(words), "{}", said.err);
    }
}

/// Prints what an estimate says of the whole run's seconds, requests and bytes, and what they then are.
#[test]
#[ignore = "a measurement of minutes, not a check: cargo test --test suite -- --ignored --nocapture estimate::"]
fn what_a_samples_estimate_says_of_the_seconds_of_the_whole_run() {
    let folder = tempfile::tempdir().unwrap();
    let server = served_web(folder.path(), 1_280);
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (full, sample) = (place("full.toml"), place("sample.toml"));
    let (full_out, sample_out) = (place("full"), place("sampled"));
    let set = ["--set", "stages.fetch.coalesce_gap_bytes=60000"];
    let workers = ["--workers", "2"];
    done(&[&["run", &sample, "--output", &sample_out, "--quiet"][..], &workers, &set].concat());
    let before = server.answered().len();
    let plan = ["plan", &full, "--output", &full_out, "--estimate", "--json", "--from", &sample_out];
    let estimate: Value = serde_json::from_str(&done(&[&plan[..], &workers, &set].concat()).out).unwrap();
    let started = std::time::Instant::now();
    let run = ["run", &full, "--output", &full_out, "--quiet", "--json"];
    let said: Value = serde_json::from_str(&done(&[&run[..], &workers, &set].concat()).out).unwrap();
    let wall = started.elapsed().as_secs_f64();
    let stages = stages(&estimate);
    println!("| stage | task seconds estimated | taken |\n|---|---:|---:|");
    for cost in said["costs"].as_array().unwrap() {
        let phase = cost["phase"].as_str().unwrap();
        let taken = cost["task_seconds"].as_f64().unwrap();
        println!("| {phase} | {:.2} | {taken:.2} |", amount(&stages[phase]["task_seconds"]));
    }
    let all = amount(&estimate["totals"]["task_seconds"]);
    println!("| all, over 2 workers, on the clock | {:.2} | {wall:.2} |", all / 2.0);
    println!("\n| stage | requests estimated | counted | bytes estimated | counted |\n|---|---:|---:|---:|---:|");
    let reports = crate::support::reports(Path::new(&full_out));
    for stage in ["locate", "fetch", "download"] {
        let of_stage = || reports.values().filter(|report| report["stage"] == stage);
        let fact = |name: &str| of_stage().filter_map(|report| report["tally"]["facts"][name].as_u64()).sum::<u64>();
        println!(
            "| {stage} | {:.0} | {} | {:.0} | {} |",
            amount(&stages[stage]["requests"]),
            fact("requests") + fact("index_requests"),
            amount(&stages[stage]["bytes"]),
            fact("range_bytes") + fact("index_bytes")
        );
    }
    let answered = server.answered().split_off(before);
    let (requests, bytes) = asked(&answered, |path| path.contains(".gz"));
    let totals = &estimate["totals"];
    let (all_requests, all_bytes) = (amount(&totals["requests"]), amount(&totals["bytes"]));
    println!("| all, by the server | {all_requests:.0} | {requests:.0} | {all_bytes:.0} | {bytes:.0} |");
    let written: u64 = reports
        .values()
        .flat_map(|report| report["outputs"].as_array().unwrap())
        .map(|output| output["bytes"].as_u64().unwrap())
        .sum();
    println!("\nstorage: {:.0} bytes estimated, {written} written", amount(&totals["storage_bytes"]));
}
