use std::collections::BTreeSet;
use std::io::{Seek, SeekFrom, Write};

use super::*;
use crate::formats::cdx::BlockRef;
use crate::formats::columnar::testing::{Shape, Time, save, summary_of, table_file};
use crate::formats::outside::server::Server;

const READING: Reading = Reading { gap_bytes: 1 << 20, request_bytes: 4 << 20 };

/// A reproducible source of numbers.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Captures of `keys` keys, one to four each, in the order of an index.
fn captures(rng: &mut Rng, keys: u64) -> Vec<CaptureLine> {
    let mut captures = Vec::new();
    for key in 0..keys {
        let host = rng.below(3);
        for _ in 0..=rng.below(4) {
            let status = [200, 200, 200, 301, 404][usize::try_from(rng.below(5)).unwrap()];
            captures.push(CaptureLine {
                urlkey: format!("example,{})/{:05}", ["a", "b", "ü"][usize::try_from(host).unwrap()], key),
                timestamp: format!("2019041812{:02}{:02}", rng.below(60), rng.below(60)),
                url: format!("http://{}.example/{key}", rng.below(2)),
                mime: Some("text/html".to_owned()),
                mime_detected: (rng.below(4) > 0).then(|| "text/html".to_owned()),
                status: (rng.below(9) > 0).then_some(status),
                digest: (rng.below(9) > 0).then(|| format!("D{}", rng.below(3))),
                length: 1 + rng.below(1000),
                offset: rng.below(1 << 30),
                filename: format!("w{}.warc.gz", rng.below(4)),
                charset: None,
                languages: None,
                redirect: None,
                truncated: None,
            });
        }
    }
    captures.sort_by_key(sort_key);
    captures.dedup_by_key(|capture| sort_key(capture));
    captures
}

fn sort_key(line: &CaptureLine) -> (String, String, String, String, u64) {
    (line.urlkey.clone(), line.timestamp.clone(), line.url.clone(), line.filename.clone(), line.offset)
}

fn json_line(line: &CaptureLine) -> String {
    let mut json = serde_json::json!({
        "url": line.url, "length": line.length.to_string(), "offset": line.offset.to_string(),
        "filename": line.filename,
    });
    for (name, value) in [("mime", &line.mime), ("mime-detected", &line.mime_detected), ("digest", &line.digest)] {
        if let Some(value) = value {
            json[name] = value.clone().into();
        }
    }
    if let Some(status) = line.status {
        json["status"] = status.to_string().into();
    }
    format!("{} {} {json}", line.urlkey, line.timestamp)
}

/// Saves a ZipNum index of these captures, `lines` a block, in two shards.
fn save_zipnum(folder: &std::path::Path, captures: &[CaptureLine], lines: usize) -> CrawlIndex {
    let mut shards = [Vec::new(), Vec::new()];
    let mut summary = String::new();
    let blocks: Vec<&[CaptureLine]> = captures.chunks(lines).collect();
    for (number, block) in blocks.iter().enumerate() {
        let text: Vec<String> = block.iter().map(json_line).collect();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.join("\n").as_bytes()).unwrap();
        let member = encoder.finish().unwrap();
        let shard = usize::from(number >= blocks.len() / 2);
        let offset = shards[shard].len();
        let first = &block[0];
        summary += &format!("{} {}\tcdx-{shard}.gz\t{offset}\t{}\n", first.urlkey, first.timestamp, member.len());
        shards[shard].extend(member);
    }
    for (number, shard) in shards.iter().enumerate() {
        save(folder, &format!("index/cdx-{number}.gz"), shard);
    }
    CrawlIndex::parse(summary.as_bytes(), "index", &Limits::default()).unwrap()
}

/// Saves a columnar index of these captures: some parts, dealt out at random, each of its own shape.
fn save_table(folder: &std::path::Path, captures: &[CaptureLine], rng: &mut Rng) -> CrawlIndex {
    let mut deal: Vec<Vec<CaptureLine>> = vec![Vec::new(); 1 + usize::try_from(rng.below(4)).unwrap()];
    for capture in captures {
        let part = usize::try_from(rng.below(u64::try_from(deal.len()).unwrap())).unwrap();
        deal[part].push(capture.clone());
    }
    let mut names = Vec::new();
    for (number, part) in deal.iter().enumerate() {
        let shape = Shape {
            is_nested: rng.below(2) == 0,
            time: [Time::Millis, Time::Micros, Time::Nanos, Time::Int96][usize::try_from(rng.below(4)).unwrap()],
            has_wide_offsets: rng.below(2) == 0,
            rows_per_group: 1 + usize::try_from(rng.below(40)).unwrap(),
            rows_per_page: 1 + usize::try_from(rng.below(9)).unwrap(),
            has_statistics: rng.below(4) > 0,
            has_v2_pages: rng.below(2) == 0,
            ..Shape::default()
        };
        let name = format!("table/part-{number}.parquet");
        save(folder, &name, &table_file(part, &shape));
        names.push(name);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    CrawlIndex::Columnar(summary_of(folder, &names).1)
}

fn needed(index: &CrawlIndex, keys: &BTreeSet<String>) -> Vec<usize> {
    let mut needed = Needed::new(index);
    keys.iter().for_each(|key| needed.mark(key));
    needed.blocks()
}

/// What an index gives for each key, and what it cost.
fn ask(
    index: &CrawlIndex,
    keys: &BTreeSet<String>,
    root: &str,
    reading: Reading,
) -> (Vec<Result<Vec<CaptureLine>, String>>, Cost) {
    let root = Arc::new(OutsideRoot::open(root, "").unwrap());
    let blocks = needed(index, keys);
    std::thread::scope(|scope| {
        let mut walk = Walk::start(scope, index, &blocks, &root, reading, &Limits::default());
        let answers = keys.iter().map(|key| match walk.captures_of(key) {
            Ok(lines) => Ok(lines.to_vec()),
            Err(Fault::Block(fault)) => Err(fault.place),
            Err(Fault::Outside { cause, .. }) => panic!("{cause}"),
        });
        let answers = answers.collect();
        (answers, walk.cost())
    })
}

#[test]
fn both_forms_find_the_same_of_the_same_captures() {
    for seed in 0..40 {
        let mut rng = Rng(seed);
        let keys = 1 + rng.below(60);
        let captures = captures(&mut rng, keys);
        let folder = tempfile::tempdir().unwrap();
        let lines = 1 + usize::try_from(rng.below(12)).unwrap();
        let zipnum = save_zipnum(folder.path(), &captures, lines);
        let table = save_table(folder.path(), &captures, &mut rng);
        // Keys that are there, that lie between, and that lie before and behind all.
        let mut asked = BTreeSet::new();
        for _ in 0..rng.below(40) {
            let of = usize::try_from(rng.below(u64::try_from(captures.len()).unwrap())).unwrap();
            let suffix = ["", "", "x", "/"][usize::try_from(rng.below(4)).unwrap()];
            asked.insert(format!("{}{suffix}", captures[of].urlkey));
        }
        asked.insert(["0", "zz", "é"][usize::try_from(rng.below(3)).unwrap()].to_owned());
        let root = folder.path().to_str().unwrap();
        let reading = Reading { gap_bytes: rng.below(500), request_bytes: 1 + rng.below(3000) };
        let (of_zipnum, cost) = ask(&zipnum, &asked, root, reading);
        let (of_table, _) = ask(&table, &asked, root, reading);
        for ((key, one), other) in asked.iter().zip(&of_zipnum).zip(&of_table) {
            let expected: Vec<CaptureLine> = captures.iter().filter(|line| line.urlkey == *key).cloned().collect();
            let sorted = |lines: &Result<Vec<CaptureLine>, String>| {
                let mut lines = lines.clone().unwrap();
                lines.sort_by_key(sort_key);
                lines
            };
            assert_eq!(sorted(one), expected, "seed {seed} key {key}");
            assert_eq!(other.as_ref().unwrap(), &expected, "seed {seed} key {key}");
        }
        assert_eq!(cost.blocks, u64::try_from(needed(&zipnum, &asked).len()).unwrap(), "seed {seed}");
        if let CrawlIndex::Columnar(summary) = &table {
            for key in &asked {
                let expected: Vec<CaptureLine> = captures.iter().filter(|line| line.urlkey == *key).cloned().collect();
                let root = Arc::new(OutsideRoot::open(root, "").unwrap());
                assert_eq!(look_up(summary, &root, key, &Limits::default(), 100).unwrap(), expected);
            }
        }
    }
}

#[test]
fn neighbouring_blocks_are_one_request_within_gap_and_size() {
    let shard: Arc<str> = "cdx-0.gz".into();
    let block = |shard: &Arc<str>, offset, length| BlockRef {
        urlkey: "a".into(),
        timestamp: "2019".into(),
        shard: Arc::clone(shard),
        offset,
        length,
    };
    let other: Arc<str> = "cdx-1.gz".into();
    let blocks = [
        block(&shard, 0, 100),
        block(&shard, 100, 100),
        block(&shard, 250, 100), // a gap of 50
        block(&shard, 401, 99),  // a gap of 51
        block(&shard, 500, 300), // too large for the request
        block(&other, 800, 10),
        block(&other, 700, 10),           // backwards
        block(&other, u64::MAX, 10),      // beyond all numbers
        block(&other, 900, u64::MAX / 2), // larger than a record
    ];
    let reading = Reading { gap_bytes: 50, request_bytes: 390 };
    let fetches = ahead::plan(blocks.iter(), reading, &Limits::default());
    let ranges: Vec<String> = fetches.iter().map(|fetch| format!("{fetch:?}")).collect();
    let range = |shard, start, length| format!("Fetch {{ shard: \"{shard}\", start: {start}, length: {length} }}");
    assert_eq!(
        ranges,
        [
            range("cdx-0.gz", 0, 350),
            range("cdx-0.gz", 401, 99),
            range("cdx-0.gz", 500, 300),
            range("cdx-1.gz", 800, 10),
            range("cdx-1.gz", 700, 10)
        ]
    );
}

#[test]
fn over_http_the_needed_blocks_come_in_few_requests() {
    let mut rng = Rng(3);
    let captures = captures(&mut rng, 100);
    let folder = tempfile::tempdir().unwrap();
    let index = save_zipnum(folder.path(), &captures, 5);
    let all: BTreeSet<String> = captures.iter().map(|capture| capture.urlkey.clone()).collect();
    let server = Server::start(folder.path());
    let (answers, cost) = ask(&index, &all, &server.root(), READING);
    assert!(answers.iter().all(Result::is_ok));
    // A request for each of the two shards.
    assert_eq!((cost.requests, server.seen().len()), (2, 2));
    assert_eq!(cost.blocks, u64::try_from(index.blocks()).unwrap());

    let few: BTreeSet<String> = all.iter().take(1).cloned().collect();
    let before = server.seen().len();
    let narrow = Reading { gap_bytes: 0, request_bytes: 1 };
    let (_, cost) = ask(&index, &few, &server.root(), narrow);
    assert_eq!(cost.requests, u64::try_from(server.seen().len() - before).unwrap());
    assert!(cost.requests <= 2);
}

#[test]
fn a_damaged_block_is_blamed_for_its_own_keys_only() {
    let mut rng = Rng(5);
    let captures = captures(&mut rng, 80);
    let folder = tempfile::tempdir().unwrap();
    let index = save_zipnum(folder.path(), &captures, 6);
    let CrawlIndex::ZipNum { cluster, .. } = &index else { panic!("a ZipNum index") };
    let all: BTreeSet<String> = captures.iter().map(|capture| capture.urlkey.clone()).collect();
    let bad = &cluster.blocks()[3];
    let place = folder.path().join("index/cdx-0.gz");
    let mut file = std::fs::File::options().write(true).open(place).unwrap();
    file.seek(SeekFrom::Start(bad.offset + 12)).unwrap();
    file.write_all(&[0xff; 8]).unwrap();
    let (answers, _) = ask(&index, &all, folder.path().to_str().unwrap(), READING);
    for (key, answer) in all.iter().zip(answers) {
        let may_hold = blocks_of(cluster, key).contains(&3);
        assert_eq!(answer.is_err(), may_hold, "{key}");
        if let Err(place) = answer {
            assert!(place.ends_with(&format!("cdx-0.gz at byte {}", bad.offset)), "{place}");
        } else {
            let expected: Vec<&CaptureLine> = captures.iter().filter(|line| line.urlkey == *key).collect();
            assert_eq!(answer.unwrap().iter().collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn a_shard_that_is_cut_off_or_empty_is_the_fault_of_the_blocks_behind() {
    let mut rng = Rng(9);
    let captures = captures(&mut rng, 80);
    let folder = tempfile::tempdir().unwrap();
    let index = save_zipnum(folder.path(), &captures, 6);
    let CrawlIndex::ZipNum { cluster, .. } = &index else { panic!("a ZipNum index") };
    let all: BTreeSet<String> = captures.iter().map(|capture| capture.urlkey.clone()).collect();
    let cut = &cluster.blocks()[4];
    let place = folder.path().join("index/cdx-0.gz");
    std::fs::File::options().write(true).open(place).unwrap().set_len(cut.offset + 5).unwrap();
    drop(std::fs::File::options().write(true).truncate(true).open(folder.path().join("index/cdx-1.gz")).unwrap());
    let (answers, _) = ask(&index, &all, folder.path().to_str().unwrap(), READING);
    for (key, answer) in all.iter().zip(answers) {
        let may_hold = blocks_of(cluster, key).end > 4;
        assert_eq!(answer.is_err(), may_hold, "{key}");
    }
}
