//! Goldens of our own: files made by hand, and what independent tools (warcio, surt, Pillow, imagehash) say of them.

use std::io::Read;
use std::process::Stdio;

use serde_json::Value;

use super::{list, probe, text};
use crate::support::{Said, read, repository, said, weft, write};

const FIXTURES: &str = "tests/fixtures/probe";
const INDEX: &str = "manifests/tiny/crawl/cc-index/collections/WEFT-TINY-2019-18/indexes";

fn fixture(name: &str) -> String {
    format!("{FIXTURES}/{name}")
}

fn fixture_bytes(name: &str) -> Vec<u8> {
    read(&repository().join(FIXTURES).join(name))
}

/// The probe's output is the golden, byte for byte, and so the names and the order of all fields.
fn assert_golden(args: &[&str], golden: &str, code: i32) {
    let told = said(&[&["probe", "--json"], args].concat());
    let expected = String::from_utf8(fixture_bytes(golden)).unwrap();
    assert_eq!(told.out, expected, "{golden}");
    assert_eq!((told.code, told.err.as_str()), (Some(code), ""));
}

#[test]
fn the_records_of_a_plain_and_a_gzip_archive_are_those_of_the_golden() {
    // A wrong digest is a problem of its record, no damage.
    assert_golden(&["warc", &fixture("records.warc"), &fixture("records.warc.gz")], "records.expected.jsonl", 0);
}

#[test]
fn keys_and_captures_are_those_of_the_golden() {
    assert_golden(&["urlkey", &fixture("urls.txt")], "urls.expected.jsonl", 1);
    let summary = format!("{INDEX}/cluster.idx");
    assert_golden(&["index", &summary, &fixture("keys.txt")], "keys.expected.jsonl", 0);
}

#[test]
fn the_references_of_a_page_are_those_of_the_golden_gzip_or_not() {
    for file in ["page.html", "page.html.gz"] {
        let args = ["page", &fixture(file), "--url", "http://harbor.example/a.html"];
        assert_golden(&args, "page.expected.jsonl", 0);
    }
    let utf_8 =
        ["page", &fixture("page.html"), "--url", "http://a.example/", "--content-type", "text/html; charset=utf-8"];
    let probed = probe(repository(), &utf_8, "");
    assert_eq!(probed.found[0]["encoding"], "utf-8");
}

#[test]
fn images_are_hashed_or_refused_as_in_the_golden_and_a_refusal_is_no_failure() {
    let files = ["disc.png", "disc.jpg", "cut.png", "bomb.png", "text.txt"].map(fixture);
    let args: Vec<&str> = ["image"].into_iter().chain(files.iter().map(String::as_str)).collect();
    assert_golden(&args, "images.expected.jsonl", 0);
}

#[test]
fn json_lines_are_matched_and_split_as_in_the_golden_and_bad_ones_are_told_by_their_number() {
    assert_golden(&["match", &fixture("matrices.jsonl")], "matrices.linear.expected.jsonl", 1);
    assert_golden(&["match", "--method", "max", &fixture("matrices.jsonl")], "matrices.max.expected.jsonl", 1);
    assert_golden(&["sentences", &fixture("texts.jsonl")], "texts.expected.jsonl", 1);
}

#[test]
fn a_missing_file_is_told_and_the_rest_goes_on() {
    for (args, found) in [
        (vec!["warc", "no-such-file", &fixture("records.warc")], 4),
        (vec!["image", "no-such-file", &fixture("disc.png")], 1),
        (vec!["sentences", "no-such-file", &fixture("texts.jsonl")], 3),
        (vec!["page", "no-such-file", "--url", "http://a.example/"], 0),
        (vec!["index", "no-such-file", &fixture("keys.txt")], 0),
    ] {
        let probed = probe(repository(), &args, "");
        assert_eq!((probed.code, probed.found.len()), (Some(1), found), "{args:?}");
        assert_eq!(probed.troubles[0]["file"], "no-such-file");
        // For people the same, on standard error.
        let told = said(&[&["probe"], &args[..]].concat());
        assert_eq!(told.code, Some(1));
        assert!(told.err.contains("error: no-such-file: "), "{}", told.err);
    }
}

#[test]
fn no_file_and_a_dash_are_standard_input() {
    let urls = String::from_utf8(fixture_bytes("urls.txt")).unwrap();
    for args in [vec!["urlkey"], vec!["urlkey", "-"]] {
        let probed = probe(repository(), &args, &urls);
        assert_eq!((probed.found.len(), probed.troubles.len()), (4, 1));
        assert_eq!((&probed.troubles[0]["file"], &probed.troubles[0]["line"]), (&"-".into(), &5.into()));
    }
    let archive = String::from_utf8(fixture_bytes("records.warc")).unwrap();
    assert_eq!(probe(repository(), &["warc"], &archive).found.len(), 4);
    let page = probe(repository(), &["page", "--url", "http://a.example/"], "<img src=/b.png>");
    assert_eq!(list(&page.found[0], "images")[0]["url"], "http://a.example/b.png");
}

#[test]
fn an_archive_cut_anywhere_gives_what_can_be_read_then_its_damage() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fixture_bytes("records.warc.gz");
    let records = probe(repository(), &["warc", &fixture("records.warc.gz")], "").found;
    for cut in (1..whole.len()).step_by(37) {
        write(&folder.path().join("cut.warc.gz"), &whole[..cut]);
        write(&folder.path().join("whole.warc.gz"), &whole);
        let probed = probe(folder.path(), &["warc", "cut.warc.gz", "whole.warc.gz"], "");
        let of_file = |file: &str| probed.found.iter().filter(|record| record["file"] == file).count();
        // The file behind the damaged one is read as if nothing were wrong.
        assert_eq!(of_file("whole.warc.gz"), records.len(), "cut at {cut}: {}", probed.err);
        let ends: Vec<u64> = records.iter().map(|record| number(record, "offset") + number(record, "length")).collect();
        let cut = u64::try_from(cut).unwrap();
        let complete = ends.iter().filter(|end| **end <= cut).count();
        assert!(of_file("cut.warc.gz") >= complete, "cut at {cut}");
        let at_border = ends.contains(&cut);
        assert_eq!(probed.code, Some(if at_border { 0 } else { 1 }), "cut at {cut}");
        assert_eq!(probed.troubles.len(), usize::from(!at_border), "cut at {cut}: {:?}", probed.troubles);
    }
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap()
}

#[test]
fn blocks_lie_where_the_loc_file_says_and_their_damage_is_told_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let indexes = repository().join(INDEX);
    write(&place("summary.idx"), &read(&indexes.join("cluster.idx")));
    write(&place("summary.loc"), b"cdx-00000.gz\tno/such/place\tblocks/first\ncdx-00001.gz\tblocks/second\n");
    write(&place("blocks/first"), &read(&indexes.join("cdx-00000.gz")));
    let keys = String::from_utf8(fixture_bytes("keys.txt")).unwrap();
    let probed = probe(folder.path(), &["index", "summary.idx"], &keys);
    let golden = String::from_utf8(fixture_bytes("keys.expected.jsonl")).unwrap();
    let golden: Vec<Value> = golden.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // The second shard is not there: the two keys in it are told, the third is found.
    assert_eq!(probed.code, Some(1));
    assert_eq!(probed.found, golden[2..]);
    let lines: Vec<u64> = probed.troubles.iter().map(|trouble| number(trouble, "line")).collect();
    assert_eq!(lines, [1, 2]);
    assert!(text(&probed.troubles[0], "error").contains("blocks/second"), "{:?}", probed.troubles);

    write(&place("blocks/second"), &read(&indexes.join("cdx-00001.gz")));
    assert_eq!(probe(folder.path(), &["index", "summary.idx"], &keys).found, golden);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    // More than a pipe holds.
    let urls = "http://meadow.example/a/rather/long/path/to/fill/the/pipe\n".repeat(20_000);
    write(&folder.path().join("urls.txt"), urls.as_bytes());
    for json in [&["--json"][..], &[]] {
        let mut command = weft();
        command.args(["probe", "urlkey", "urls.txt"]).args(json).current_dir(folder.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut seen = [0; 100];
        child.stdout.take().unwrap().read_exact(&mut seen).unwrap();
        let told: Said = child.wait_with_output().unwrap().into();
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    }
}

#[test]
fn people_get_short_lines_without_control_characters() {
    let told = said(&["probe", "match", &fixture("matrices.jsonl")]);
    assert!(told.out.starts_with("2 images: 0 -> 0 (0.2500), 1 -> 1 (0.7500)\n"), "{}", told.out);
    assert!(told.err.contains("matrices.jsonl, line 5: row 1 of the similarity_matrix"), "{}", told.err);

    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("page.html"), b"<img src=a.png alt='\x1b[31mred\x1b[0m'>");
    let page = folder.path().join("page.html").display().to_string();
    let told = said(&["probe", "page", &page, "--url", "http://a.example/"]);
    assert!(told.out.contains("http://a.example/a.png") && !told.out.contains('\x1b'), "{}", told.out);
    assert_eq!(said(&["probe", "page", &page, "--url", "no url"]).code, Some(2));
}
