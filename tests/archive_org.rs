//! A small real crawl runs through the same stages, and its funnel equals the reference's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use weft_tinyweb::server::Server;

use crate::fronts::MISHAPS;
use crate::support::{Funnel, Said, funnel, read, repository, weft, write};

/// The folder of real data, or nothing: then the test says so loudly.
pub(crate) fn conformance() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("WEFT_CONFORMANCE").map(PathBuf::from) else {
        eprintln!("SKIPPED: WEFT_CONFORMANCE is not set; the real crawl of archive.org was not run");
        return None;
    };
    let topic = folder.join("archive-org");
    assert!(topic.exists(), "WEFT_CONFORMANCE is set, but {} does not exist", topic.display());
    Some(topic)
}

/// A recipe over the crawl at `root`, by the index that `form` names; thresholds of `profile`, and none that the tiny
/// graphs would decide.
fn recipe(folder: &Path, topic: &Path, root: &str, form: &str, profile: &Value) -> PathBuf {
    let source = format!(
        "kind = \"c4\"\nname = \"archive-org\"\nroot = \"{}\"\n[[files]]\nname = \"docs.json.gz\"\n",
        topic.display()
    );
    write(&folder.join("source.toml"), source.as_bytes());
    let front = crate::fronts::front_section(2000, "2ms");
    let crawl = format!("kind = \"crawl\"\nname = \"AO-MAIN-2008-18\"\nroot = \"{root}\"\n{form}{front}");
    write(&folder.join("crawl.toml"), crawl.as_bytes());
    let (side, low, high) = (&profile["min_side_px"], &profile["aspect_min"], &profile["aspect_max"]);
    let models = repository().join("models");
    let text = format!(
        "name = \"archive-org\"\n\
         [source]\nmanifest = \"source.toml\"\n[crawl]\nmanifest = \"crawl.toml\"\n\
         [shards]\ncorpus = 2\ncrawl = 2\nkey = 2\n[numerics]\nengine = \"{engine}\"\n\
         [graphs]\nclip = {{ card = \"{models}/cards/tiny-clip.toml\", folder = \"{models}/tiny\" }}\n\
         [stages.measure.floor]\nmin_side_px = 1\nmax_aspect = 1000.0\n\
         [stages.select]\nmin_side_px = {side}\naspect_min = {low}\naspect_max = {high}\nduplicate_bits = 5\n\
         order = [\"size\", \"aspect\", \"duplicate\"]\n",
        models = models.display(),
        engine = if crate::support::runtime_library().is_some() { "onnxruntime" } else { "tract" },
    );
    let path = folder.join(format!("recipe-{side}.toml"));
    write(&path, text.as_bytes());
    path
}

/// What makes the command to run: a bucket wants its own environment.
type Weft<'a> = &'a dyn Fn() -> Command;

fn said(weft: Weft<'_>, args: &[&str]) -> Said {
    weft().args(args).output().unwrap().into()
}

#[test]
fn the_funnel_of_a_real_crawl_equals_the_reference() {
    let Some(topic) = conformance() else { return };
    compare(&topic, &topic.display().to_string(), &weft);
}

#[test]
fn the_same_crawl_behind_a_server_with_mishaps_gives_the_same() {
    let Some(topic) = conformance() else { return };
    let server = Server::start(&topic);
    server.fail_share(2008, 150, &MISHAPS);
    compare(&topic, &server.root(), &weft);
    assert!(server.served().len() > 1, "{:?}", server.served());
}

/// Runs the crawl at `root` by both indexes, and compares with the reference.
pub(crate) fn compare(topic: &Path, root: &str, weft: Weft<'_>) {
    let expected: Value = serde_json::from_slice(&read(&topic.join("expected.json"))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out").display().to_string();
    let zipnum = "index = \"cc-index/collections/AO-MAIN-2008-18/indexes\"\n";
    let table = "cc-index/table/cc-main/warc/crawl=AO-MAIN-2008-18";
    let mut columnar = format!("form = \"columnar\"\ntable = \"{table}\"\n");
    // The parts of a table behind a URL cannot be listed.
    if root.contains("://") {
        let parts = ["warc", "crawldiagnostics", "robotstxt"]
            .map(|subset| format!("{table}/subset={subset}/part-00000.gz.parquet"));
        columnar.push_str(&format!("parts = {parts:?}\n"));
    }
    let profiles = [
        (zipnum, "mmc4", serde_json::json!({"min_side_px": 150, "aspect_min": 0.5, "aspect_max": 2.0})),
        (zipnum, "relaxed", serde_json::json!({"min_side_px": 50, "aspect_min": 0.25, "aspect_max": 4.0})),
        // All of it again, pages and images, by the other index.
        (columnar.as_str(), "relaxed", serde_json::json!({"min_side_px": 50, "aspect_min": 0.25, "aspect_max": 4.0})),
    ];
    for (form, profile, thresholds) in profiles {
        let recipe = recipe(folder.path(), topic, root, form, &thresholds).display().to_string();
        let run = said(weft, &["run", &recipe, "--output", &output, "--json", "--quiet"]);
        assert_eq!(run.code, Some(0), "{}", run.err);
        check(&expected, profile, &funnel(&run.out));
        check_survivors(&expected, profile, weft, &recipe, &output);
    }
}

fn check(expected: &Value, profile: &str, funnel: &Funnel) {
    let of = |stage: &str, unit: &str| funnel[&(stage.to_owned(), unit.to_owned())].clone();
    let documents = expected["documents"].as_array().unwrap();
    let count = |test: &dyn Fn(&Value) -> bool| u64::try_from(documents.iter().filter(|d| test(d)).count()).unwrap();

    let (read_documents, located, misses) = of("locate", "documents");
    assert_eq!(read_documents, count(&|_| true));
    assert_eq!(located, count(&|document| document["miss"].is_null()));
    let mut expected_misses: BTreeMap<String, u64> = BTreeMap::new();
    for miss in documents.iter().filter_map(|document| document["miss"].as_str()) {
        *expected_misses.entry(miss.to_owned()).or_default() += 1;
    }
    assert_eq!(misses, expected_misses);

    let candidates_of = |document: &Value| document["mmc4_candidates"].as_array().map_or(0, Vec::len);
    let (_, with_candidates, _) = of("extract", "pages");
    assert_eq!(with_candidates, count(&|document| candidates_of(document) > 0));
    let (_, candidates, _) = of("extract", "references");
    let total: usize = documents.iter().map(candidates_of).sum();
    assert_eq!(candidates, u64::try_from(total).unwrap());

    // What becomes of each candidate, by the reference's names.
    let mut verdicts: BTreeMap<String, u64> = BTreeMap::new();
    for document in documents {
        let Some(images) = document["image_verdicts"][profile].as_object() else { continue };
        for verdict in images.values() {
            *verdicts.entry(verdict.as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let mut ours: BTreeMap<String, u64> = BTreeMap::new();
    for stage in ["download", "measure", "select"] {
        let unit = if stage == "download" { "candidates" } else { "images" };
        for (reason, rows) in of(stage, unit).2 {
            *ours.entry(reason).or_default() += rows;
        }
    }
    let (_, selected, _) = of("select", "images");
    if selected > 0 {
        ours.insert("ok".to_owned(), selected);
    }
    // The reference does not tell apart why a redirected picture is missing.
    assert_eq!(ours, verdicts, "{profile}");
}

/// The very images that survive, not only their number.
fn check_survivors(expected: &Value, profile: &str, weft: Weft<'_>, recipe: &str, output: &str) {
    let told = said(weft, &["inspect", "images", "--recipe", recipe, "--output", output, "--json"]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let rows: Vec<Value> = told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let urls: BTreeMap<(String, u64), String> = rows
        .iter()
        .map(|row| {
            let id = row["document_id"].as_str().unwrap().to_owned();
            ((id, row["image_index"].as_u64().unwrap()), row["image_url"].as_str().unwrap().to_owned())
        })
        .collect();
    let told = said(weft, &["inspect", "selections", "--recipe", recipe, "--output", output, "--json"]);
    let mut ours: Vec<String> = told
        .out
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            urls[&(row["document_id"].as_str().unwrap().to_owned(), row["image_index"].as_u64().unwrap())].clone()
        })
        .collect();
    let mut theirs: Vec<String> = expected["documents"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|document| document["surviving"][profile].as_array())
        .flatten()
        .map(|url| url.as_str().unwrap().to_owned())
        .collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs, "{profile}");
    assert!(!BTreeSet::from_iter(ours).is_empty());
}
