//! What holds of every made crawl.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, Read as _};
use std::path::{Path, PathBuf};

use arrow::array::{Array as _, ArrayRef, Int16Array, Int32Array, StringArray, TimestampMillisecondArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weft_bigcrawl::{CRAWL, FetchTime, Shape, inflate, make};
use weft_core::limits::Limits;
use weft_stages::formats::cdx::{CaptureLine, ClusterIndex, block_lines};
use weft_stages::formats::surt::urlkey;

const SHAPE: Shape = Shape { lines: 20_000, shards: 3, documents: 2_000, seed: 7, columnar: None };

fn index_folder(folder: &Path) -> PathBuf {
    folder.join(format!("crawl/cc-index/collections/{CRAWL}/indexes"))
}

fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// The index's lines, block by block.
fn blocks(folder: &Path) -> Vec<Vec<Vec<u8>>> {
    let index = index_folder(folder);
    let summary = read(&index.join("cluster.idx"));
    let cluster = ClusterIndex::parse(&summary[..], &Limits::default()).unwrap();
    let numbers = summary.lines().map(|line| line.unwrap().rsplit('\t').next().unwrap().parse::<usize>().unwrap());
    assert!(numbers.eq(1..=cluster.blocks().len()), "the running numbers run");
    let block = |block: &weft_stages::formats::cdx::BlockRef| {
        let shard = read(&index.join(&*block.shard));
        let begin = usize::try_from(block.offset).unwrap();
        let lines = block_lines(&shard[begin..begin + usize::try_from(block.length).unwrap()], &Limits::default());
        assert!(lines.damage.is_none());
        let lines: Vec<Vec<u8>> = lines.iter().map(<[u8]>::to_vec).collect();
        assert!(lines[0].starts_with(format!("{} {} ", block.urlkey, block.timestamp).as_bytes()));
        lines
    };
    cluster.blocks().iter().map(block).collect()
}

/// Bytes of every file below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(current) = open.pop() {
        for entry in std::fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), read(&path));
            }
        }
    }
    files
}

#[test]
fn one_shape_gives_one_crawl_and_another_seed_another() {
    let made = |seed| {
        let folder = tempfile::tempdir().unwrap();
        make(&Shape { seed, columnar: Some(FetchTime::Millis), ..SHAPE }, folder.path()).unwrap();
        files(folder.path())
    };
    let first = made(7);
    assert!(first == made(7));
    let other = made(8);
    assert!(first.iter().filter(|(name, bytes)| other.get(*name) == Some(*bytes)).count() <= 3, "but the manifests");
}

#[test]
fn lines_ascend_in_blocks_and_have_the_keys_of_their_urls() {
    let folder = tempfile::tempdir().unwrap();
    let made = make(&SHAPE, folder.path()).unwrap();
    let blocks = blocks(folder.path());
    assert_eq!(u64::try_from(blocks.len()).unwrap(), made.blocks);
    let lines = blocks.concat();
    assert_eq!(lines.len(), 20_000);
    assert!(lines.is_sorted());
    let mut statuses = BTreeSet::new();
    for line in &lines {
        let capture = CaptureLine::parse(line).unwrap();
        assert_eq!(urlkey(&capture.url).as_deref(), Some(&*capture.urlkey), "{}", capture.url);
        statuses.insert(capture.status);
    }
    assert_eq!(statuses, [200, 301, 304, 404, 500].map(Some).into());
    // A shard's last block is shorter: each has 6,666 lines or one more.
    let sizes: Vec<usize> = blocks.iter().map(Vec::len).collect();
    assert_eq!(sizes, [3_000, 3_000, 666, 3_000, 3_000, 667, 3_000, 3_000, 667]);
    let key = |line: &Vec<u8>| line.split(|byte| *byte == b' ').next().unwrap().to_vec();
    let spans = |count: usize| blocks.windows(count).any(|run| key(run[0].last().unwrap()) == key(&run[count - 1][0]));
    assert!(spans(2) && spans(3), "keys lie in two blocks, and one fills a block");
    let inflated = inflate(&index_folder(folder.path())).unwrap();
    assert_eq!((inflated.blocks, inflated.lines), (made.blocks, 20_000));
}

#[test]
fn documents_are_of_c4s_form_and_in_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let made = make(&SHAPE, folder.path()).unwrap();
    assert_eq!(made.documents.values().sum::<u64>(), 2_000);
    let mut urls = Vec::new();
    for entry in std::fs::read_dir(folder.path().join("documents")).unwrap() {
        let bytes = read(&entry.unwrap().path());
        let lines = block_lines(&bytes, &Limits::default());
        assert!(lines.damage.is_none());
        for line in lines.iter() {
            let document: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), ["text", "timestamp", "url"]);
            urls.push(document["url"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(urls.len(), 2_000);
    let keys: Vec<String> = urls.iter().map(|url| urlkey(url).unwrap()).collect();
    let descents = keys.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!((800..1_200).contains(&descents), "{descents} of 1,999 steps go down: about half do in a random order");
}

/// `urlkey timestamp url status filename offset length digest` of each row, sorted.
fn columnar_rows(folder: &Path) -> Vec<String> {
    let mut rows = Vec::new();
    let root = folder.join(format!("crawl/cc-index/table/cc-main/warc/crawl={CRAWL}"));
    for (name, _) in files(&root) {
        assert!(name.to_str().unwrap().ends_with(".gz.parquet"));
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(root.join(name)).unwrap()).unwrap();
        assert_eq!(builder.schema().fields().len(), 30);
        let mut last = String::new();
        for batch in builder.build().unwrap() {
            let batch = batch.unwrap();
            let column = |name: &str| -> ArrayRef { batch.column_by_name(name).unwrap().clone() };
            let text = |name: &str| column(name).as_any().downcast_ref::<StringArray>().unwrap().clone();
            let int = |name: &str| column(name).as_any().downcast_ref::<Int32Array>().unwrap().clone();
            let (keys, urls) = (text("url_surtkey"), text("url"));
            let (filenames, digests) = (text("warc_filename"), text("content_digest"));
            let (offsets, lengths) = (int("warc_record_offset"), int("warc_record_length"));
            let status = column("fetch_status").as_any().downcast_ref::<Int16Array>().unwrap().clone();
            let millis = arrow::compute::cast(
                &column("fetch_time"),
                &arrow::datatypes::DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None),
            );
            let millis = millis.unwrap();
            let millis = millis.as_any().downcast_ref::<TimestampMillisecondArray>().unwrap();
            for row in 0..batch.num_rows() {
                assert!(keys.value(row) >= last.as_str());
                keys.value(row).clone_into(&mut last);
                let seconds = millis.value(row) / 1_000;
                // All times are of April 2019, whose first day began at this second.
                let of_month = seconds - 1_554_076_800;
                let (day, second) = (of_month / 86_400 + 1, of_month % 86_400);
                let time = format!("201904{day:02}{:02}{:02}{:02}", second / 3_600, second / 60 % 60, second % 60);
                rows.push(format!(
                    "{} {time} {} {} {} {} {} {}",
                    keys.value(row),
                    urls.value(row),
                    status.value(row),
                    filenames.value(row),
                    offsets.value(row),
                    lengths.value(row),
                    digests.value(row)
                ));
            }
        }
    }
    rows.sort();
    rows
}

#[test]
fn both_forms_of_the_index_say_the_same() {
    for time in [FetchTime::Millis, FetchTime::Int96] {
        let folder = tempfile::tempdir().unwrap();
        make(&Shape { columnar: Some(time), ..SHAPE }, folder.path()).unwrap();
        let lines = blocks(folder.path()).concat();
        let mut rows: Vec<String> = lines
            .iter()
            .map(|line| {
                let line = CaptureLine::parse(line).unwrap();
                format!(
                    "{} {} {} {} {} {} {} {}",
                    line.urlkey,
                    line.timestamp,
                    line.url,
                    line.status.unwrap(),
                    line.filename,
                    line.offset,
                    line.length,
                    line.digest.unwrap()
                )
            })
            .collect();
        rows.sort();
        assert!(columnar_rows(folder.path()) == rows, "{time:?}");
    }
}
