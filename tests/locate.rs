//! The mapping from documents to a crawl's records stands alone, and is what the run's tables say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, StringArray, UInt64Array};
use serde_json::Value;
use weft_core::rows::record_batches;
use weft_core::store::Store;

use crate::support::{digests, engine_args, funnel, read, repository, said, write};

/// The one folder below `mapping/`.
fn mapping_folder(output: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(output.join("mapping")).unwrap();
    let folder = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    folder
}

fn locate(recipe: &Path, output: &Path, extra: &[&str]) -> String {
    let (recipe, output) = (recipe.display().to_string(), output.display().to_string());
    let args: Vec<&str> =
        ["locate", &recipe, "--output", &output, "--quiet"].into_iter().chain(extra.iter().copied()).collect();
    let said = said(&args);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    said.out
}

/// The rows of a Parquet file, each by the texts and numbers of these columns.
fn rows(output: &Path, file: &Path, columns: &[&str]) -> Vec<Vec<String>> {
    let store = Store::local(output).unwrap();
    let path = file.strip_prefix(output).unwrap().display().to_string();
    let mut rows = Vec::new();
    for batch in record_batches(&store, &path).unwrap() {
        let batch = batch.unwrap();
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|column| {
                let array = batch.column_by_name(column).unwrap_or_else(|| panic!("no column {column}"));
                if array.is_null(row) {
                    return "null".to_owned();
                }
                match array.as_any().downcast_ref::<StringArray>() {
                    Some(texts) => texts.value(row).to_owned(),
                    None => array.as_any().downcast_ref::<UInt64Array>().unwrap().value(row).to_string(),
                }
            });
            rows.push(values.collect());
        }
    }
    rows
}

/// All files of a mapping whose name begins so, by the manifest.
fn files(folder: &Path, begin: &str) -> Vec<PathBuf> {
    let manifest: Value = serde_json::from_slice(&read(&folder.join("manifest.json"))).unwrap();
    let names = manifest["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap().to_owned());
    names.filter(|name| name.starts_with(begin)).map(|name| folder.join(name)).collect()
}

#[test]
fn weft_locate_publishes_the_mapping_and_its_manifest() {
    let recipe = repository().join("manifests/recipes/tiny.toml");
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().canonicalize().unwrap().join("out");
    let said_first = locate(&recipe, &output, &[]);
    let mapping = mapping_folder(&output);
    assert!(said_first.contains(&format!("mapping: {}", mapping.display())), "{said_first}");

    let manifest: Value = serde_json::from_slice(&read(&mapping.join("manifest.json"))).unwrap();
    let told = funnel(&manifest.to_string());
    let (_, kept, rejected) = told[&("locate".to_owned(), "documents".to_owned())].clone();
    assert!(kept > 0 && !rejected.is_empty());
    let mapped: Vec<PathBuf> = files(&mapping, "mapping-");
    assert_eq!(mapped.len(), 3);
    let located: Vec<Vec<String>> = mapped
        .iter()
        .flat_map(|file| {
            rows(&output, file, &["url", "warc_filename", "warc_record_offset", "matched_by", "capture_url"])
        })
        .collect();
    assert_eq!(u64::try_from(located.len()).unwrap(), kept);
    assert!(located.iter().all(|row| row[3] == "exact" && row[4] == "null"));
    assert_eq!(manifest["located"]["exact"].as_u64(), Some(kept));
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    let missed = rows(&output, &mapping.join("misses.parquet"), &["url", "timestamp", "reason", "evidence"]);
    for row in &missed {
        assert!(row.iter().all(|value| !value.is_empty()), "{row:?}");
        *reasons.entry(row[2].clone()).or_default() += 1;
    }
    assert_eq!(reasons, rejected);
    for file in manifest["files"].as_array().unwrap() {
        let bytes = read(&mapping.join(file["name"].as_str().unwrap()));
        assert_eq!(file["bytes"].as_u64(), Some(u64::try_from(bytes.len()).unwrap()));
        assert_eq!(file["blake3"].as_str().unwrap(), blake3::hash(&bytes).to_hex().as_str());
        let sha256: String =
            <sha2::Sha256 as sha2::Digest>::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(file["sha256"].as_str().unwrap(), sha256);
    }

    // Again: nothing to do. Elsewhere: the same bytes. A file that is gone: it is made again.
    let first = digests(&mapping);
    assert!(locate(&recipe, &output, &[]).contains("nothing to do"));
    assert_eq!(digests(&mapping), first);
    let other = folder.path().canonicalize().unwrap().join("other");
    locate(&recipe, &other, &["--workers", "1"]);
    assert_eq!(digests(&mapping_folder(&other)), first);
    write(&mapping.join("misses.parquet"), b"");
    locate(&recipe, &output, &[]);
    assert_eq!(digests(&mapping), first);

    let (recipe, output) = (recipe.display().to_string(), output.display().to_string());
    let set = engine_args();
    let mut args = vec!["verify", &recipe, "--output", &output, "--set", "until=locate"];
    args.extend(set.iter().map(String::as_str));
    assert_eq!(said(&args).code, Some(0));
    let mut bytes = read(&mapped[0]);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write(&mapped[0], &bytes);
    let found = said(&args);
    assert_eq!(found.code, Some(1));
    assert!(found.out.contains("mapping-00000-of-00003.parquet: its bytes changed"), "{}", found.out);
}

/// A recipe over the real crawl that stops at `locate`, or nothing and a loud word.
fn archive_org(folder: &Path, form: &str) -> Option<(PathBuf, Value)> {
    let Some(data) = std::env::var_os("WEFT_CONFORMANCE").map(PathBuf::from) else {
        eprintln!("SKIPPED: WEFT_CONFORMANCE is not set; the real crawl of archive.org was not mapped");
        return None;
    };
    let topic = data.join("archive-org");
    let place = topic.display();
    let source =
        format!("kind = \"c4\"\nname = \"archive-org\"\nroot = \"{place}\"\n[[files]]\nname = \"docs.json.gz\"\n");
    write(&folder.join("source.toml"), source.as_bytes());
    let crawl = format!("kind = \"crawl\"\nname = \"AO-MAIN-2008-18\"\nroot = \"{place}\"\n{form}");
    write(&folder.join("crawl.toml"), crawl.as_bytes());
    let recipe = "name = \"archive-org\"\n[source]\nmanifest = \"source.toml\"\n[crawl]\nmanifest = \"crawl.toml\"\n\
                  [shards]\ncorpus = 3\ncrawl = 2\nkey = 1\n";
    write(&folder.join("recipe.toml"), recipe.as_bytes());
    let expected = serde_json::from_slice(&read(&topic.join("expected.json"))).unwrap();
    Some((folder.join("recipe.toml"), expected))
}

#[test]
fn a_real_crawl_is_mapped_one_to_one_by_either_index() {
    let table = "form = \"columnar\"\ntable = \"cc-index/table/cc-main/warc/crawl=AO-MAIN-2008-18\"\n";
    for form in ["index = \"cc-index/collections/AO-MAIN-2008-18/indexes\"\n", table] {
        let folder = tempfile::tempdir().unwrap();
        let Some((recipe, expected)) = archive_org(folder.path(), form) else { return };
        let output = folder.path().canonicalize().unwrap().join("out");
        locate(&recipe, &output, &[]);
        let mapping = mapping_folder(&output);
        let columns = [
            "url",
            "timestamp",
            "urlkey",
            "warc_filename",
            "warc_record_offset",
            "warc_record_length",
            "content_digest",
        ];
        let mut located: Vec<Vec<String>> =
            files(&mapping, "mapping-").iter().flat_map(|file| rows(&output, file, &columns)).collect();
        let mut missed = rows(&output, &mapping.join("misses.parquet"), &["url", "timestamp", "urlkey", "reason"]);
        let (mut expected_located, mut expected_missed) = (Vec::new(), Vec::new());
        for document in expected["documents"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let mut row: Vec<String> =
                ["url", "timestamp", "urlkey"].iter().map(|name| text(&document[name])).collect();
            if document["miss"].is_null() {
                let capture = &document["capture"];
                row.extend(["filename", "offset", "length", "digest"].iter().map(|name| text(&capture[name])));
                expected_located.push(row);
            } else {
                row.push(text(&document["miss"]));
                expected_missed.push(row);
            }
        }
        for list in [&mut located, &mut missed, &mut expected_located, &mut expected_missed] {
            list.sort();
        }
        assert_eq!(located, expected_located);
        assert_eq!(missed, expected_missed);
    }
}

#[test]
fn the_subset_warc_alone_locates_the_same_and_names_fewer_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let form =
        "form = \"columnar\"\ntable = \"cc-index/table/cc-main/warc/crawl=AO-MAIN-2008-18\"\nsubsets = [\"warc\"]\n";
    let Some((recipe, expected)) = archive_org(folder.path(), form) else { return };
    let output = folder.path().canonicalize().unwrap().join("out");
    locate(&recipe, &output, &[]);
    let mapping = mapping_folder(&output);
    let located: usize = files(&mapping, "mapping-").iter().map(|file| rows(&output, file, &["url"]).len()).sum();
    let misses = expected["documents"].as_array().unwrap().iter().filter(|document| document["miss"].is_string());
    assert_eq!(located, expected["documents"].as_array().unwrap().len() - misses.count());
    let reasons = rows(&output, &mapping.join("misses.parquet"), &["reason"]);
    assert!(reasons.iter().all(|row| !row[0].starts_with("status_")), "{reasons:?}");
}

#[test]
fn a_crawl_manifest_that_mixes_the_forms_is_refused_by_the_key() {
    let tiny = repository().join("manifests");
    for (form, word) in [
        ("table = \"x\"\nindex = \"y\"\n", "`table` is of a columnar index"),
        ("form = \"columnar\"\ntable = \"x\"\nindex = \"y\"\n", "`index` and `cluster_sha256` are of a ZipNum index"),
        ("form = \"columnar\"\n", "it names no `table`"),
        ("", "it names no `index`"),
        ("form = \"columnar\"\ntable = \"no/such\"\n", "failed to list"),
        ("form = \"columnar\"\ntable = \"t\"\nparts = [\"no/such.parquet\"]\n", "no/such.parquet"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let crawl = format!("kind = \"crawl\"\nname = \"X\"\nroot = \"{}\"\n{form}", tiny.join("tiny/crawl").display());
        write(&folder.path().join("crawl.toml"), crawl.as_bytes());
        let recipe = format!(
            "name = \"x\"\n[source]\nmanifest = \"{}\"\n[crawl]\nmanifest = \"crawl.toml\"\n\
             [shards]\ncorpus = 1\ncrawl = 1\nkey = 1\n",
            tiny.join("sources/c4-tiny.toml").display()
        );
        write(&folder.path().join("recipe.toml"), recipe.as_bytes());
        let (recipe, output) = (folder.path().join("recipe.toml"), folder.path().join("out"));
        let said = said(&["locate", &recipe.display().to_string(), "--output", &output.display().to_string()]);
        assert_eq!(said.code, Some(1), "{}", said.out);
        assert!(said.err.contains(word), "{form}: {}", said.err);
    }
}
