//! Over a made crawl of known truth every planted pair is found, and none is invented.

use std::path::Path;

use weft_bigcrawl::{FetchTime, Shape, check, make};

use crate::support::{Said, read, weft, write};

fn locate(folder: &Path, output: &Path) {
    let mut command = weft();
    command.arg("run").arg(folder.join("recipe.toml")).args(["--quiet", "--output"]).arg(output);
    let said: Said = command.output().unwrap().into();
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}

#[test]
fn every_planted_pair_is_found_and_none_is_invented() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape { lines: 60_000, shards: 3, documents: 9_000, seed: 2019, columnar: Some(FetchTime::Millis) };
    let made = make(&shape, folder.path()).unwrap();
    let output = folder.path().join("out");
    locate(folder.path(), &output);
    let truth = folder.path().join("truth.tsv");
    let checked = check(&output, &truth).unwrap();
    assert_eq!((checked.right, checked.wrong), (9_000, 0), "{:#?}", checked.told);
    assert_eq!(checked.documents, made.documents);
    for (case, outcome) in [
        ("single", "located"),
        ("several", "located"),
        ("several", "ambiguous_capture"),
        ("spanning", "located"),
        ("single", "status_301"),
        ("single", "status_404"),
        ("absent", "url_not_in_index"),
        ("before_first", "url_not_in_index"),
        ("after_last", "url_not_in_index"),
        ("other_time", "timestamp_not_in_index"),
        ("other_url", "same_urlkey_other_url"),
        ("repeated", "duplicate_document"),
    ] {
        let planted = made.documents.get(&(case.to_owned(), outcome.to_owned()));
        assert!(planted.is_some_and(|count| *count > 0), "no document is planted as {case} to be {outcome}");
    }
    a_changed_truth_is_noticed(&output, &truth);
}

/// The check can fail: an offset, a reason, a document more and one less are four differences.
fn a_changed_truth_is_noticed(output: &Path, truth: &Path) {
    let text = String::from_utf8(read(truth)).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let located = lines.iter().position(|line| line.contains("\tsingle\tlocated\t")).unwrap();
    let mut columns: Vec<&str> = lines[located].split('\t').collect();
    columns[4] = "1";
    lines[located] = columns.join("\t");
    let missed = lines.iter().position(|line| line.ends_with("\turl_not_in_index")).unwrap();
    lines[missed] = lines[missed].replace("url_not_in_index", "timestamp_not_in_index");
    let dropped = lines.iter().rposition(|line| line.contains("\tsingle\tlocated\t")).unwrap();
    lines.remove(dropped);
    lines.push(format!("{}\tabsent\turl_not_in_index", "f".repeat(32)));
    let changed = truth.with_extension("changed");
    write(&changed, format!("{}\n", lines.join("\n")).as_bytes());
    let checked = check(output, &changed).unwrap();
    assert_eq!(checked.wrong, 4, "{:#?}", checked.told);
    for difference in ["but Located", "but Missed", "no such document was planted", "but in no table"] {
        assert!(checked.told.iter().any(|told| told.contains(difference)), "{difference}: {:#?}", checked.told);
    }
}
