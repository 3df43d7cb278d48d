//! Bad input: every error names the place and the way out; what is a row's fault is a reject with a reason.

use std::path::Path;

use weft_tinyweb::{Shape, make, write as write_web};

use crate::support::{Said, funnel, read, repository, run_tiny, said, tiny_args, weft, write};
use crate::tiny::recipe_for;

/// A small web of a test's own, its recipe, and the recipe's path.
fn own_web() -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    write_web(&make(&Shape::default()), folder.path()).unwrap();
    let recipe = recipe_for(folder.path());
    let path = folder.path().join("recipe.toml").display().to_string();
    write(Path::new(&path), recipe.as_bytes());
    (folder, recipe, path)
}

fn run(recipe: &str, output: &Path, extra: &[&str]) -> Said {
    let output = output.display().to_string();
    weft().args(["run", recipe, "--quiet", "--output", &output]).args(extra).output().unwrap().into()
}

/// The run fails, with exit code 1 and every one of `words` in what it says.
fn assert_refused(said: &Said, words: &[&str]) {
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    for word in words {
        assert!(said.err.contains(word), "`{word}` is not in: {}", said.err);
    }
    assert!(!said.err.contains("a bug in weft"), "{}", said.err);
}

#[test]
fn an_unknown_key_is_refused_with_the_known_ones() {
    let (folder, recipe, path) = own_web();
    let output = folder.path().join("out");
    let typo = run(&path, &output, &["--set", "stages.select.min_side=150"]);
    assert_refused(&typo, &["stages.select", "unknown field `min_side`", "min_side_px"]);
    let stage = run(&path, &output, &["--set", "stages.selekt.min_side_px=150"]);
    assert_refused(&stage, &["no stage `selekt`", "select"]);
    write(Path::new(&path), format!("{recipe}\n[sources]\n").as_bytes());
    let section = run(&path, &output, &[]);
    assert_refused(&section, &["recipe.toml", "unknown field `sources`", "line"]);
}

#[test]
fn a_wrong_flag_is_a_usage_error() {
    let wrong = said(&["run", "manifests/recipes/tiny.toml", "--ouput", "x"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("--ouput") && wrong.err.contains("--output"), "{}", wrong.err);
}

#[test]
fn a_missing_file_is_named_with_the_manifest_that_names_it() {
    let (folder, _, path) = own_web();
    let output = folder.path().join("out");
    assert_refused(&run("no-such-recipe.toml", &output, &[]), &["no-such-recipe.toml", "No such file"]);
    let name = "docs/c4-tiny.00001-of-00002.json.gz";
    std::fs::File::options().write(true).open(folder.path().join(name)).unwrap();
    move_away(&folder.path().join(name));
    assert_refused(&run(&path, &output, &[]), &[name, "No such file"]);
}

#[expect(clippy::disallowed_methods, reason = "tests break their own inputs")]
fn move_away(path: &Path) {
    std::fs::rename(path, path.with_extension("away")).unwrap();
}

#[test]
fn a_wrong_digest_is_refused_by_name() {
    let (folder, _, path) = own_web();
    let name = "docs/c4-tiny.00000-of-00002.json.gz";
    let manifest = format!(
        "kind = \"c4\"\nname = \"c4-tiny\"\nroot = \".\"\n[[files]]\nname = \"{name}\"\nsha256 = \"{}\"\n",
        "0".repeat(64)
    );
    write(&folder.path().join("source.toml"), manifest.as_bytes());
    let refused = run(&path, &folder.path().join("out"), &[]);
    assert_refused(&refused, &[name, "source.toml", "sha256", &"0".repeat(64), "fetch it again"]);
}

#[test]
fn an_index_of_another_crawl_stops_the_run_with_its_cause() {
    let (folder, _, path) = own_web();
    // The index stays; the archives are another crawl's: none of its files is there.
    let warcs = folder.path().join("crawl/crawl-data/WEFT-TINY-2019-18/segments/1/warc");
    for entry in std::fs::read_dir(&warcs).unwrap() {
        move_away(&entry.unwrap().path());
    }
    let refused = run(&path, &folder.path().join("out"), &[]);
    assert_refused(&refused, &["fetch", "WEFT-TINY-0000", "index"]);
}

#[test]
fn a_truncated_source_file_names_the_file_and_the_place() {
    let (folder, _, path) = own_web();
    let name = "docs/c4-tiny.00000-of-00002.json.gz";
    let bytes = read(&folder.path().join(name));
    write(&folder.path().join(name), &bytes[..bytes.len() / 2]);
    let refused = run(&path, &folder.path().join("out"), &[]);
    assert_refused(&refused, &["ingest", "c4-tiny.00000-of-00002.json.gz", "byte"]);
}

#[test]
fn a_truncated_archive_costs_its_rows_only() {
    let (folder, _, path) = own_web();
    let warc = folder.path().join("crawl/crawl-data/WEFT-TINY-2019-18/segments/1/warc/WEFT-TINY-00001.warc.gz");
    let bytes = read(&warc);
    write(&warc, &bytes[..bytes.len() - 2_000]);
    let ran = run(&path, &folder.path().join("out"), &["--json", "--set", "stages.fetch.max_failed_share=1.0"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let funnel = funnel(&ran.out);
    let damaged: u64 = [("fetch", "captures"), ("download", "candidates")]
        .iter()
        .map(|(stage, unit)| {
            let reasons = &funnel[&((*stage).to_owned(), (*unit).to_owned())].2;
            reasons.get("record_damaged").copied().unwrap_or(0)
        })
        .sum();
    assert!(damaged > 0, "{}", ran.out);
    assert!(funnel[&("interleave".to_owned(), "documents".to_owned())].1 > 0);
}

#[test]
fn hostile_rows_are_rejected_with_their_reason_and_the_rest_goes_on() {
    let output = tempfile::tempdir().unwrap();
    let ran = run_tiny(output.path(), &["--json"]);
    let funnel = funnel(&ran.out);
    for (stage, unit, reason) in [
        ("ingest", "documents", "bad_line"),
        ("ingest", "documents", "not_utf8"),
        ("ingest", "documents", "no_text"),
        ("locate", "documents", "duplicate_document"),
        ("locate", "documents", "url_not_in_index"),
        ("fetch", "captures", "digest_mismatch"),
        // The gzip bomb.
        ("fetch", "captures", "page_too_large"),
        // The PNG header of 100,000 x 100,000 px.
        ("download", "candidates", "too_many_pixels"),
        ("download", "candidates", "not_decodable"),
        ("download", "candidates", "empty_body"),
        ("download", "candidates", "too_many_redirects"),
        ("download", "candidates", "status_404"),
    ] {
        let reasons = &funnel[&(stage.to_owned(), unit.to_owned())].2;
        assert!(reasons.get(reason).is_some_and(|rows| *rows > 0), "{stage} has no {reason}: {reasons:?}");
    }
}

#[test]
fn a_damaged_index_block_names_the_file_and_the_block() {
    let (folder, _, path) = own_web();
    let shard = folder.path().join("crawl/cc-index/collections/WEFT-TINY-2019-18/indexes/cdx-00000.gz");
    let mut bytes = read(&shard);
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 40] {
        *byte = !*byte;
    }
    write(&shard, &bytes);
    let refused = run(&path, &folder.path().join("out"), &[]);
    assert_refused(&refused, &["locate", "cdx-00000.gz"]);
}

#[test]
fn a_file_where_the_output_folder_should_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("out");
    write(&blocked, b"a file");
    let refused: Said = weft().args(tiny_args(&blocked)).output().unwrap().into();
    assert_refused(&refused, &[&blocked.display().to_string()]);
}

#[test]
fn a_threshold_looser_than_what_was_measured_is_refused_by_name() {
    let output = tempfile::tempdir().unwrap();
    for (set, words) in [
        ("stages.select.min_side_px=50", ["stages.select.min_side_px", "stages.measure.floor.min_side_px"]),
        ("stages.select.duplicate_bits=17", ["stages.select.duplicate_bits", "stages.dedup.max_distance_bits"]),
    ] {
        let refused: Said = weft().args(tiny_args(output.path())).args(["--set", set]).output().unwrap().into();
        assert_refused(&refused, &words);
    }
}

/// A disk that fills: a small file system of our own, where the machine lets us make one.
#[test]
fn a_disk_that_fills_stops_the_run_and_loses_nothing() {
    let output = tempfile::tempdir().unwrap();
    let undisturbed = tempfile::tempdir().unwrap();
    run_tiny(undisturbed.path(), &[]);
    let script = "mount -t tmpfs -o size=1500k weft \"$1\" || exit 77; shift; \
                  \"$@\"; code=$?; [ $code = 0 ] && exit 78; \
                  mount -o remount,size=64m \"$OUT\" || exit 79; \
                  \"$@\" >/dev/null || exit 80; cp -r \"$OUT/shards\" \"$COPY\"; exit $code";
    let copy = tempfile::tempdir().unwrap();
    let ended = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(output.path())
        .arg(env!("CARGO_BIN_EXE_weft"))
        .args(tiny_args(output.path()))
        .env("OUT", output.path())
        .env("COPY", copy.path())
        .env("WEFT_LOG", "warn")
        .current_dir(repository())
        .output();
    let Ok(ended) = ended else {
        eprintln!("SKIPPED: there is no `unshare`; the full disk was not tried");
        return;
    };
    let said = Said::from(ended);
    if said.code == Some(77) || said.err.contains("unshare failed") || said.err.contains("Operation not permitted") {
        eprintln!("SKIPPED: this machine lets us mount nothing; the full disk was not tried: {}", said.err);
        return;
    }
    assert_refused(&said, &["no space left", "run the same command again"]);
    let expected = crate::support::digests(&undisturbed.path().join("shards"));
    assert_eq!(crate::support::digests(&copy.path().join("shards")), expected);
}
