//! Runs ingest, locate and fetch over a real small crawl and compares every document with the reference's outcome.
//!
//! The crawl is no part of the repository: `WEFT_CONFORMANCE` names the folder that holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use weft_core::context::Context;
use weft_core::id::{ShardCounts, ShardId, document_id};
use weft_core::limits::Limits;
use weft_core::reject::Unit;
use weft_core::rows::{Part, Rows};
use weft_core::stage::{Crawl, OutsideFile, Resources, Stage};
use weft_core::store::Store;
use weft_core::table::Table;
use weft_core::tables::{Captures, Documents, Pages, Rejects};
use weft_core::tally::Tally;
use weft_core::testing;
use weft_core::write::Output;

use crate::fetch::{self, Fetch};
use crate::formats::columnar::summarise;
use crate::formats::columnar::testing::save;
use crate::formats::outside::OutsideRoot;
use crate::formats::outside::server::Server;
use crate::ingest::{self, Ingest};
use crate::locate::{self, Locate};

const SHARDS: ShardCounts = ShardCounts { source: 1, corpus: 3, crawl: 2, key: 1 };

/// A document of `expected.json`, as far as these stages go.
#[derive(Deserialize)]
struct Expected {
    url: String,
    timestamp: String,
    urlkey: String,
    miss: Option<String>,
    capture: Option<ExpectedCapture>,
    payload: Option<ExpectedPayload>,
    sentences: Option<Vec<String>>,
    n_sentences: usize,
}

#[derive(Deserialize)]
struct ExpectedCapture {
    filename: String,
    offset: u64,
    length: u64,
    digest: String,
}

#[derive(Deserialize)]
struct ExpectedPayload {
    decoded_bytes: usize,
    decoded_sha256: String,
}

#[derive(Deserialize)]
struct ExpectedFile {
    documents: Vec<Expected>,
}

/// The folder of the crawl, or none with a loud word.
fn topic() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("WEFT_CONFORMANCE") else {
        eprintln!("SKIPPED: WEFT_CONFORMANCE is not set");
        return None;
    };
    Some(Path::new(&folder).join("archive-org"))
}

fn resources(topic: &Path, root: String) -> Resources {
    let index = "cc-index/collections/AO-MAIN-2008-18/indexes".to_owned();
    let outside = |path: PathBuf| OutsideFile { name: String::new(), location: path, digest: String::new(), bytes: 0 };
    Resources {
        documents: vec![outside(topic.join("docs.json.gz"))],
        crawl: Some(Crawl {
            name: "AO-MAIN-2008-18".to_owned(),
            root,
            cluster: outside(topic.join(&index).join("cluster.idx")),
            index,
        }),
        user_agent: "weft-test/0 (test)".to_owned(),
        ..Resources::default()
    }
}

/// A stage's run of one shard over what earlier runs wrote.
struct Done {
    tally: Tally,
    outputs: Vec<Output>,
}

fn run<S: Stage>(stage: &S, store: &Store, shard: u32, inputs: BTreeMap<String, Vec<Vec<Part>>>) -> Done {
    let mut context = Context { store: store.clone(), shards: SHARDS, inputs, ..testing::context() };
    (context.folder, context.shard) = (S::NAME.to_owned(), ShardId(shard));
    let tally = stage.run(ShardId(shard), &context).unwrap();
    let outputs = context.outputs.lock().unwrap().clone();
    Done { tally, outputs }
}

/// The rows of table `T` that exchanges wrote for `shard`.
fn gathered<T: Table>(done: &[Done], shard: u32) -> BTreeMap<String, Vec<Vec<Part>>> {
    let outputs = done.iter().flat_map(|done| &done.outputs).filter(|output| output.table == T::NAME);
    let parts = outputs.flat_map(|output| {
        let entries = output.directory.iter().flatten().filter(move |entry| entry.shard.0 == shard);
        entries.map(|entry| {
            let row_groups = Some((entry.first_row_group, entry.row_groups));
            vec![Part { path: output.path.clone(), row_groups }]
        })
    });
    BTreeMap::from([(T::NAME.to_owned(), parts.collect())])
}

fn all<T: Table, V>(store: &Store, done: &[Done], mut of: impl FnMut(T::Row<'_>) -> V) -> Vec<V> {
    let mut values = Vec::new();
    for output in done.iter().flat_map(|done| &done.outputs).filter(|output| output.table == T::NAME) {
        let part = Part { path: output.path.clone(), row_groups: None };
        let mut rows = Rows::<T>::open(store, &[part]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            values.push(of(row));
        }
    }
    values
}

fn total(done: &[Done]) -> Tally {
    let mut total = Tally::default();
    done.iter().for_each(|done| total.add(&done.tally));
    total
}

/// The same with the columnar index, whose summary is made in `folder`.
fn table_resources(topic: &Path, root: String, folder: &Path) -> Resources {
    let table = "cc-index/table/cc-main/warc/crawl=AO-MAIN-2008-18";
    let subsets = ["crawldiagnostics", "robotstxt", "warc"];
    let parts = subsets.map(|subset| format!("{table}/subset={subset}/part-00000.gz.parquet"));
    let from = OutsideRoot::open(&root, "weft-test/0 (test)").unwrap();
    let summary = summarise(&from, &parts, &Limits::default()).unwrap();
    save(folder, "table-summary.jsonl", summary.as_bytes());
    let mut resources = resources(topic, root);
    let crawl = resources.crawl.as_mut().unwrap();
    crawl.cluster.location = folder.join("table-summary.jsonl");
    crawl.index = String::new();
    resources
}

/// Compares every document with the reference; gives the totals of locate and fetch.
fn compare(topic: &Path, resources: &Resources) -> (Tally, Tally) {
    let expected = std::fs::File::open(topic.join("expected.json")).unwrap();
    let expected: ExpectedFile = serde_json::from_reader(BufReader::new(expected)).unwrap();
    let store = Store::memory();

    let stage = Ingest::open(ingest::Config::default(), resources).unwrap();
    let ingested = [run(&stage, &store, 0, BTreeMap::new())];
    let stage = Locate::open(locate::Config::default(), resources).unwrap();
    let located: Vec<Done> =
        (0..SHARDS.corpus).map(|shard| run(&stage, &store, shard, gathered::<Documents>(&ingested, shard))).collect();
    let stage = Fetch::open(fetch::Config::default(), resources).unwrap();
    let fetched: Vec<Done> =
        (0..SHARDS.crawl).map(|shard| run(&stage, &store, shard, gathered::<Captures>(&located, shard))).collect();

    let documents: BTreeMap<String, (String, Vec<String>)> = all::<Documents, _>(&store, &ingested, |row| {
        let sentences = row.sentences.iter().map(|sentence| (*sentence).to_owned()).collect();
        (row.document_id.to_owned(), (row.urlkey.to_owned(), sentences))
    })
    .into_iter()
    .collect();
    let captures: BTreeMap<_, _> = all::<Captures, _>(&store, &located, |row| {
        let digest = row.digest.map(str::to_owned);
        (row.document_id.to_owned(), (row.filename.to_owned(), row.offset, row.length, digest))
    })
    .into_iter()
    .collect();
    let misses: BTreeMap<_, _> =
        all::<Rejects, _>(&store, &located, |row| (row.document_id.to_owned(), row.reason.to_owned()))
            .into_iter()
            .collect();
    let pages: BTreeMap<_, _> = all::<Pages, _>(&store, &fetched, |row| {
        let sha256: String = Sha256::digest(row.body).iter().map(|byte| format!("{byte:02x}")).collect();
        (row.document_id.to_owned(), (row.body.len(), sha256))
    })
    .into_iter()
    .collect();

    assert_eq!(documents.len(), expected.documents.len());
    assert!(!expected.documents.is_empty());
    for document in &expected.documents {
        let digits: String = document.timestamp.chars().filter(char::is_ascii_digit).collect();
        let id = document_id(&document.url, &digits);
        let (urlkey, sentences) = &documents[&id];
        assert_eq!(*urlkey, document.urlkey);
        assert_eq!(sentences.len(), document.n_sentences, "{}", document.url);
        if let Some(expected) = &document.sentences {
            assert_eq!(sentences, expected);
        }
        assert_eq!(misses.get(&id), document.miss.as_ref(), "{}", document.url);
        let capture = document.capture.as_ref();
        let expected_capture = capture
            .map(|capture| (capture.filename.clone(), capture.offset, capture.length, Some(capture.digest.clone())));
        assert_eq!(captures.get(&id), expected_capture.as_ref(), "{}", document.url);
        let payload = document.payload.as_ref().map(|payload| (payload.decoded_bytes, payload.decoded_sha256.clone()));
        assert_eq!(pages.get(&id), payload.as_ref(), "{}", document.url);
    }
    (total(&located), total(&fetched))
}

/// Blocks of the index that may hold a key of the documents, found the plain way.
fn blocks_needed(topic: &Path, keys: &BTreeSet<String>) -> usize {
    let summary = topic.join("cc-index/collections/AO-MAIN-2008-18/indexes/cluster.idx");
    let summary = BufReader::new(std::fs::File::open(summary).unwrap());
    let firsts: Vec<String> = summary.lines().map(|line| line.unwrap().split(' ').next().unwrap().to_owned()).collect();
    let may_hold =
        |block: usize, key: &String| firsts[block] <= *key && firsts.get(block + 1).is_none_or(|next| key <= next);
    (0..firsts.len()).filter(|&block| keys.iter().any(|key| may_hold(block, key))).count()
}

#[test]
fn every_document_of_a_real_crawl_is_located_and_fetched_as_the_reference_says() {
    let Some(topic) = topic() else { return };
    let (located, fetched) = compare(&topic, &resources(&topic, topic.display().to_string()));
    assert_eq!(fetched.counts[&Unit::Captures].read, located.counts[&Unit::Documents].kept);
    assert_eq!(fetched.counts[&Unit::Captures].rejected_total(), 0);
    assert_eq!(fetched.facts["requests"], 1);

    let expected = std::fs::File::open(topic.join("expected.json")).unwrap();
    let expected: ExpectedFile = serde_json::from_reader(BufReader::new(expected)).unwrap();
    let keys = expected.documents.into_iter().map(|document| document.urlkey).collect();
    let blocks = u64::try_from(blocks_needed(&topic, &keys)).unwrap();
    // A block that a border of two shards lies in is read by both.
    assert!(located.facts["index_blocks_read"] < blocks + u64::from(SHARDS.corpus));
}

#[test]
fn the_same_crawl_over_http_gives_the_same() {
    let Some(topic) = topic() else { return };
    let server = Server::start(&topic);
    let (located, fetched) = compare(&topic, &resources(&topic, server.root()));
    let requests = located.facts["index_requests"] + fetched.facts["requests"];
    assert_eq!(u64::try_from(server.seen().len()).unwrap(), requests);
    assert!(located.facts["index_requests"] < located.facts["index_blocks_read"]);
}

#[test]
fn the_columnar_index_of_the_same_crawl_gives_the_same() {
    let Some(topic) = topic() else { return };
    let folder = tempfile::tempdir().unwrap();
    compare(&topic, &table_resources(&topic, topic.display().to_string(), folder.path()));
    let server = Server::start(&topic);
    let resources = table_resources(&topic, server.root(), folder.path());
    let before = server.seen().len();
    let (located, fetched) = compare(&topic, &resources);
    let requests = located.facts["index_requests"] + fetched.facts["requests"];
    assert_eq!(u64::try_from(server.seen().len() - before).unwrap(), requests);
}

#[test]
fn fallbacks_find_the_documents_that_the_reference_says_they_may() {
    let Some(topic) = topic() else { return };
    let expected = std::fs::File::open(topic.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_reader(BufReader::new(expected)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = topic.display().to_string();
    let config = locate::Config {
        fallbacks: vec![
            locate::Fallback::WithinASecond,
            locate::Fallback::SameUrlkey,
            locate::Fallback::Revisit,
            locate::Fallback::SameDigest,
        ],
        ..locate::Config::default()
    };
    for resources in [resources(&topic, root.clone()), table_resources(&topic, root, folder.path())] {
        let store = Store::memory();
        let stage = Ingest::open(ingest::Config::default(), &resources).unwrap();
        let ingested = [run(&stage, &store, 0, BTreeMap::new())];
        let stage = Locate::open(config.clone(), &resources).unwrap();
        let located: Vec<Done> = (0..SHARDS.corpus)
            .map(|shard| run(&stage, &store, shard, gathered::<Documents>(&ingested, shard)))
            .collect();
        let stand_ins: BTreeMap<String, (u64, String)> =
            all::<Captures, _>(&store, &located, |row| (row.url.to_owned(), (row.offset, row.matched_by.to_owned())))
                .into_iter()
                .filter(|(_, (_, matched_by))| matched_by != "exact")
                .collect();
        let may: BTreeMap<String, (u64, String)> = expected["documents"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|document| document["kind"] == "fallback_possible")
            .map(|document| {
                let by = if document["miss"] == "timestamp_not_in_index" { "within_a_second" } else { "same_urlkey" };
                let offset = document["other_captures"][0]["offset"].as_u64().unwrap();
                (document["url"].as_str().unwrap().to_owned(), (offset, by.to_owned()))
            })
            .collect();
        assert_eq!(stand_ins, may);
        assert_eq!(total(&located).facts["within_a_second"], 1);
        assert_eq!(total(&located).facts["same_urlkey"], 1);
        // The pages are theirs: fetch checks url and digest of the capture that was taken.
        let stage = Fetch::open(fetch::Config::default(), &resources).unwrap();
        for shard in 0..SHARDS.crawl {
            let done = run(&stage, &store, shard, gathered::<Captures>(&located, shard));
            assert!(done.tally.counts.values().all(|count| count.read == count.kept), "{:?}", done.tally);
        }
    }
}
