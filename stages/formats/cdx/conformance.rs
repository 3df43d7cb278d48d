//! Look-ups in real indexes; needs the conformance data.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::Sha256;
use sha2::digest::Digest;

use super::*;
use crate::formats::surt::urlkey;

fn topic(name: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("WEFT_CONFORMANCE") else {
        println!("SKIPPED: WEFT_CONFORMANCE is not set");
        return None;
    };
    Some(Path::new(&root).join(name))
}

#[expect(clippy::disallowed_methods, reason = "a test reads its data from where they lie")]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn range(shard: &[u8], block: &BlockRef) -> Vec<u8> {
    let begin = usize::try_from(block.offset).unwrap();
    shard[begin..begin + usize::try_from(block.length).unwrap()].to_vec()
}

fn key_of(line: &[u8]) -> &[u8] {
    line.split(|&byte| byte == b' ').next().unwrap_or_default()
}

#[test]
fn pywbs_sample_is_looked_up_as_expected() {
    let Some(topic) = topic("cdx") else { return };
    let expected: Value = serde_json::from_slice(&read(&topic.join("expected.json"))).unwrap();
    let zipnum = &expected["zipnum"];
    let summary = read(&topic.join("zipnum/zipnum-sample.idx"));
    let index = ClusterIndex::parse(&summary[..], &Limits::default()).unwrap();
    let locations = read(&topic.join("zipnum/zipnum-sample.loc"));
    let locations = ShardLocations::parse(std::str::from_utf8(&locations).unwrap()).unwrap();
    assert_eq!(locations.paths_of("zipnum").last().unwrap(), "zipnum-sample.cdx.gz");
    let shard = read(&topic.join("zipnum/zipnum-sample.cdx.gz"));

    let mut keys = Vec::new();
    let blocks = zipnum["blocks"].as_array().unwrap();
    assert_eq!(index.blocks().len(), blocks.len());
    for (block, reference) in index.blocks().iter().zip(blocks) {
        assert_eq!(format!("{} {}", block.urlkey, block.timestamp), reference["key"].as_str().unwrap());
        assert_eq!(
            (block.offset, block.length),
            (reference["offset"].as_u64().unwrap(), reference["length"].as_u64().unwrap())
        );
        let lines = block_lines(&range(&shard, block), &Limits::default());
        assert!(lines.damage.is_none());
        assert_eq!(lines.len() as u64, reference["lines"].as_u64().unwrap());
        let inflated: String = Sha256::digest(&lines.text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(inflated, reference["inflated_sha256"].as_str().unwrap());
        keys.extend(lines.iter().map(|line| String::from_utf8(key_of(line).to_vec()).unwrap()));
    }
    assert_eq!(keys.len() as u64, zipnum["total_lines"].as_u64().unwrap());

    let lookups = zipnum["exact_lookups"].as_array().unwrap();
    let mut walk = IndexWalk::new(&index, Limits::default(), |block: &BlockRef| Ok(range(&shard, block)));
    let mut asked: Vec<&Value> = lookups.iter().collect();
    asked.sort_by_key(|lookup| lookup["urlkey"].as_str().unwrap());
    for lookup in asked {
        let key = lookup["urlkey"].as_str().unwrap();
        let captures = index.lookup(key, &Limits::default(), |block| Ok(range(&shard, block))).unwrap();
        assert_eq!(walk.captures_of(key).unwrap(), captures);
        let references = lookup["captures"].as_array().unwrap();
        assert_eq!(captures.len() as u64, lookup["count"].as_u64().unwrap(), "{key}");
        for (capture, reference) in captures.iter().zip(references) {
            let status = capture.status.map_or("-".to_owned(), |status| status.to_string());
            assert_eq!(capture.timestamp, reference["timestamp"].as_str().unwrap());
            assert_eq!(capture.url, reference["url"].as_str().unwrap());
            assert_eq!(capture.mime.as_deref().unwrap_or("-"), reference["mime"].as_str().unwrap());
            assert_eq!(status, reference["status"].as_str().unwrap());
            assert_eq!(capture.length.to_string(), reference["length"].as_str().unwrap());
            assert_eq!(capture.offset.to_string(), reference["offset"].as_str().unwrap());
            assert_eq!(capture.filename, reference["filename"].as_str().unwrap());
        }
    }
    for prefix in zipnum["prefix_counts"].as_array().unwrap() {
        let from = prefix["prefix"].as_str().unwrap();
        let to = format!("{from}\u{7f}");
        let mut count = 0;
        for block in index.blocks_for(from, Bound::Excluded(&to)) {
            let lines = block_lines(&range(&shard, block), &Limits::default());
            count += lines.iter().filter(|line| key_of(line).starts_with(from.as_bytes())).count() as u64;
        }
        assert_eq!(count, prefix["count"].as_u64().unwrap(), "{from}");
    }
    println!("{} blocks, {} lines, {} look-ups agree", blocks.len(), keys.len(), lookups.len());
}

#[test]
fn urls_have_the_keys_of_the_index() {
    let Some(topic) = topic("cdx") else { return };
    let expected: Value = serde_json::from_slice(&read(&topic.join("expected.json"))).unwrap();
    let pairs = expected["url_to_urlkey"].as_array().unwrap();
    for pair in pairs {
        assert_eq!(urlkey(pair["url"].as_str().unwrap()).as_deref(), pair["urlkey"].as_str());
    }
    println!("{} pairs agree", pairs.len());
}

#[test]
fn every_line_of_a_whole_crawls_index_is_found_again() {
    let Some(topic) = topic("archive-org") else { return };
    let folder = topic.join("cc-index/collections/AO-MAIN-2008-18/indexes");
    let summary = read(&folder.join("cluster.idx"));
    let index = ClusterIndex::parse(&summary[..], &Limits::default()).unwrap();
    let read_block = |block: &BlockRef| Ok(range(&read(&folder.join(&*block.shard)), block));
    let mut lines = Vec::new();
    for block in index.blocks() {
        let stored = read_block(block).unwrap();
        lines.extend(block_lines(&stored, &Limits::default()).iter().map(|line| CaptureLine::parse(line).unwrap()));
    }
    let mut walk = IndexWalk::new(&index, Limits::default(), read_block);
    for line in &lines {
        assert_eq!(urlkey(&line.url).as_deref(), Some(line.urlkey.as_str()));
        assert!(walk.captures_of(&line.urlkey).unwrap().contains(line));
        let direct = index.lookup(&line.urlkey, &Limits::default(), read_block).unwrap();
        assert_eq!(walk.captures_of(&line.urlkey).unwrap(), direct);
    }
    assert_eq!(walk.blocks_read(), index.blocks().len() as u64);
    println!("{} blocks, {} lines, each found again", index.blocks().len(), lines.len());

    let expected: Value = serde_json::from_slice(&read(&topic.join("expected.json"))).unwrap();
    let documents = expected["documents"].as_array().unwrap();
    for document in documents {
        let key = urlkey(document["url"].as_str().unwrap()).unwrap();
        assert_eq!(key, document["urlkey"].as_str().unwrap());
        let time: String = document["timestamp"].as_str().unwrap().chars().filter(char::is_ascii_digit).collect();
        let captures = index.lookup(&key, &Limits::default(), read_block).unwrap();
        let found = captures.iter().find(|capture| capture.url == document["url"] && capture.timestamp == time);
        match document["miss"].as_str() {
            None => {
                let (found, reference) = (found.unwrap(), &document["capture"]);
                assert_eq!(
                    (found.offset, found.length),
                    (reference["offset"].as_u64().unwrap(), reference["length"].as_u64().unwrap())
                );
                assert_eq!(found.status, Some(200));
                assert_eq!(found.digest.as_deref(), reference["digest"].as_str());
            }
            Some(miss) if miss.starts_with("status_") => {
                assert_eq!(format!("status_{}", found.unwrap().status.unwrap()), miss);
            }
            Some(miss) => assert!(found.is_none(), "{miss}"),
        }
    }
    println!("{} documents located or missed as expected", documents.len());
}
