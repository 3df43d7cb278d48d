//! What look-ups and walks promise, on indexes made here.

use std::cell::RefCell;
use std::io::Write;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn line(urlkey: &str, second: usize) -> String {
    format!(
        r#"{urlkey} 202001020304{second:02} {{"url": "http://x/", "status": "200", "length": "10", "offset": "{second}", "filename": "a.warc.gz"}}"#
    )
}

/// An index of one shard: its summary and its stored bytes, from the lines of each block. The last line of a
/// block has no line end, as in pywb's sample.
fn index_of(blocks: &[Vec<String>]) -> (ClusterIndex, Vec<u8>) {
    let mut summary = String::new();
    let mut shard = Vec::new();
    for (number, lines) in blocks.iter().enumerate() {
        let stored = gzip(lines.join("\n").as_bytes());
        let first: Vec<&str> = lines[0].splitn(3, ' ').take(2).collect();
        summary += &format!("{}\tshard\t{}\t{}\t{}\n", first.join(" "), shard.len(), stored.len(), number + 1);
        shard.extend_from_slice(&stored);
    }
    (ClusterIndex::parse(summary.as_bytes(), &Limits::default()).unwrap(), shard)
}

fn range(shard: &[u8], block: &BlockRef) -> Vec<u8> {
    let begin = usize::try_from(block.offset).unwrap();
    shard[begin..begin + usize::try_from(block.length).unwrap()].to_vec()
}

/// Two lines a block: `c)/` begins at the end of the first one and ends at the beginning of the fourth.
fn spanning() -> (ClusterIndex, Vec<u8>) {
    index_of(&[
        vec![line("a)/", 0), line("c)/", 1)],
        vec![line("c)/", 2), line("c)/", 3)],
        vec![line("c)/", 4), line("c)/", 5)],
        vec![line("c)/", 6), line("d)/", 7)],
        vec![line("f)/", 8), line("f)/", 9)],
        vec![line("h)/", 10)],
    ])
}

#[test]
fn a_line_is_read_in_both_forms() {
    let json = br#"com,example)/ 20200102030405 {"url": "http://example.com/", "mime": "text/html", "mime-detected": "text/html", "status": "301", "digest": "D", "length": 7, "offset": "8", "filename": "f", "charset": "UTF-8", "languages": "eng", "redirect": "http://r/", "truncated": "length", "more": 1}"#;
    let capture = CaptureLine::parse(json).unwrap();
    assert_eq!((capture.length, capture.offset, capture.status), (7, 8, Some(301)));
    assert_eq!(capture.redirect.as_deref(), Some("http://r/"));
    assert_eq!(capture.truncated.as_deref(), Some("length"));
    let columns =
        CaptureLine::parse(b"com,example)/ 20200102030405 http://example.com/ warc/revisit - D - - 7 8 f").unwrap();
    assert_eq!((columns.urlkey.as_str(), columns.status, columns.redirect), ("com,example)/", None, None));
    assert_eq!((columns.length, columns.offset, columns.filename.as_str()), (7, 8, "f"));
}

#[test]
fn a_bad_line_says_what_is_wrong() {
    for (line, cause) in [
        (&b"key"[..], "fewer than three parts"),
        (b"key 2020 {}", "the timestamp is not 14 digits"),
        (b" 20200102030405 {}", "the urlkey is empty"),
        (b"key 20200102030405 a b c", "neither json nor eleven columns"),
        (b"key 20200102030405 u m 200 d - - x 8 f", "the length is no number"),
        (b"key 20200102030405 \xff", "not utf-8"),
        (
            br#"key 20200102030405 {"url": "u", "length": "-1", "offset": "0", "filename": "f"}"#,
            "the length is no number",
        ),
    ] {
        assert_eq!(CaptureLine::parse(line).unwrap_err().to_string(), format!("bad capture line: {cause}"));
    }
    assert!(CaptureLine::parse(br#"key 20200102030405 {"url": "u""#).is_err());
}

#[test]
fn a_summary_is_refused_by_line_number() {
    let parse = |text: &str| ClusterIndex::parse(text.as_bytes(), &Limits::default()).unwrap_err().to_string();
    assert_eq!(parse("b)/ 1\ts\t0\t1\na)/ 1\ts\t1\t1\n"), "line 2 is out of order");
    assert_eq!(parse("b)/ 2\ts\t0\t1\nb)/ 1\ts\t1\t1\n"), "line 2 is out of order");
    assert_eq!(parse("b)/ 1\ts\t0\t1\nc)/ 1\ts\t1\n"), "bad line 2: fewer than four columns");
    assert_eq!(parse("b)/ 1\ts\tx\t1\n"), "bad line 1: the offset is no number");
    assert_eq!(parse("b)/\ts\t0\t1\n"), "bad line 1: no timestamp after the urlkey");
    let limits = Limits { line_bytes: 10, ..Limits::default() };
    let error = ClusterIndex::parse(&b"b)/ 1\tshard\t0\t1"[..], &limits).unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "line_bytes exceeds the limit of 10");
}

#[test]
fn a_key_is_found_from_the_block_before_to_the_last_that_begins_with_it() {
    let (index, shard) = spanning();
    let mut offsets = Vec::new();
    let captures = index
        .lookup("c)/", &Limits::default(), |block| {
            offsets.push(block.offset);
            Ok(range(&shard, block))
        })
        .unwrap();
    let seconds: Vec<u64> = captures.iter().map(|capture| capture.offset).collect();
    assert_eq!(seconds, [1, 2, 3, 4, 5, 6]);
    assert_eq!(offsets, index.blocks()[..4].iter().map(|block| block.offset).collect::<Vec<_>>());
    for (urlkey, blocks) in [("a)/", 1), ("", 0), ("b)/", 1), ("d)/", 1), ("e)/", 1), ("f)/", 2), ("z)/", 1)] {
        let mut read = 0;
        let captures = index
            .lookup(urlkey, &Limits::default(), |block| {
                read += 1;
                Ok(range(&shard, block))
            })
            .unwrap();
        assert!(captures.iter().all(|capture| capture.urlkey == urlkey));
        assert_eq!(read, blocks, "{urlkey}");
    }
}

#[test]
fn the_blocks_of_a_range_hold_every_key_in_it() {
    let (index, _) = spanning();
    let offsets = |from: &str, to: Bound<&str>| {
        let blocks = index.blocks_for(from, to);
        blocks.iter().map(|block| index.blocks().iter().position(|known| known == block).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(offsets("c)/", Bound::Included("c)/")), [0, 1, 2, 3]);
    assert_eq!(offsets("d)/", Bound::Excluded("f)/")), [3]);
    assert_eq!(offsets("d)/", Bound::Included("f)/")), [3, 4]);
    assert_eq!(offsets("", Bound::Excluded("a)/")), [] as [usize; 0]);
    assert_eq!(offsets("z", Bound::Unbounded), [5]);
}

#[test]
fn a_walk_agrees_with_look_ups_and_reads_no_block_twice() {
    let (index, shard) = spanning();
    let keys = ["", "a)/", "a)/", "b)/", "c)/", "d)/", "e)/", "f)/", "g)/", "h)/", "i)/"];
    // Every subset of the keys, in order.
    for subset in 0..1u32 << keys.len() {
        let read = RefCell::new(Vec::new());
        let mut walk = IndexWalk::new(&index, Limits::default(), |block: &BlockRef| {
            read.borrow_mut().push(block.offset);
            Ok(range(&shard, block))
        });
        for (_, urlkey) in keys.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1) {
            let direct = index.lookup(urlkey, &Limits::default(), |block| Ok(range(&shard, block))).unwrap();
            assert_eq!(walk.captures_of(urlkey).unwrap(), direct);
        }
        assert_eq!(walk.blocks_read(), read.borrow().len() as u64);
        drop(walk);
        assert!(read.borrow().is_sorted_by(|before, after| before < after), "{subset:b}");
    }
    let mut walk = IndexWalk::new(&index, Limits::default(), |block: &BlockRef| Ok(range(&shard, block)));
    walk.captures_of("h)/").unwrap();
    assert_eq!((walk.blocks_read(), walk.bytes_read()), (2, index.blocks()[4].length + index.blocks()[5].length));
    assert!(matches!(walk.captures_of("a)/"), Err(CdxError::KeysDescend { .. })));
}

#[test]
fn a_block_that_is_not_what_the_summary_says_is_an_error() {
    let (index, shard) = spanning();
    let lookup = |stored: Vec<u8>| {
        index.lookup("h)/", &Limits::default(), |block| {
            Ok(if block.offset == index.blocks()[5].offset { stored.clone() } else { range(&shard, block) })
        })
    };
    let right = gzip(line("h)/", 10).as_bytes());
    assert_eq!(lookup(right.clone()).unwrap().len(), 1);
    assert!(matches!(lookup(right[..right.len() - 3].to_vec()), Err(CdxError::DamagedBlock { .. })));
    assert!(matches!(
        lookup([&right[..], b"x"].concat()),
        Err(CdxError::DamagedBlock { source: BlockDamage::BytesAfter { bytes: 1 }, .. })
    ));
    assert!(matches!(lookup(gzip(line("i)/", 10).as_bytes())), Err(CdxError::BadBlockLine { line_number: 1, .. })));
    let unsorted = [line("h)/", 10), line("a)/", 1)].join("\n");
    assert!(matches!(lookup(gzip(unsorted.as_bytes())), Err(CdxError::BadBlockLine { line_number: 2, .. })));
    assert!(matches!(lookup(gzip(b"h)/ 20200102030410 junk")), Err(CdxError::BadBlockLine { line_number: 1, .. })));
    assert!(matches!(lookup(b"no gzip".to_vec()), Err(CdxError::DamagedBlock { lines: 0, .. })));
}

#[test]
fn a_walk_goes_on_after_a_block_that_failed() {
    let (index, shard) = spanning();
    let mut failed = false;
    let mut walk = IndexWalk::new(&index, Limits::default(), |block: &BlockRef| {
        if block.offset > 0 && !failed {
            failed = true;
            return Err("busy".into());
        }
        Ok(range(&shard, block))
    });
    let error = walk.captures_of("c)/").unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "busy");
    assert_eq!(walk.captures_of("c)/").unwrap().len(), 6);
    assert_eq!(walk.captures_of("d)/").unwrap().len(), 1);
}

#[test]
fn a_damaged_block_gives_its_whole_lines() {
    let text: Vec<String> = (0..60).map(|second| line("a)/", second)).collect();
    let stored = gzip(text.join("\n").as_bytes());
    assert_eq!(block_lines(&stored, &Limits::default()).len(), 60);
    for cut in 0..stored.len() {
        let lines = block_lines(&stored[..cut], &Limits::default());
        assert!(lines.damage.is_some());
        assert!(lines.iter().zip(&text).all(|(line, whole)| line == whole.as_bytes()));
    }
    let limits = Limits { line_bytes: 20, ..Limits::default() };
    assert!(matches!(block_lines(&stored, &limits).damage, Some(BlockDamage::Limit(_))));
    let bomb = gzip(&vec![b'\n'; 4 << 20]);
    let limits = Limits { inflate_ratio: 10, ..Limits::default() };
    assert!(matches!(block_lines(&bomb, &limits).damage, Some(BlockDamage::Inflate(_))));
}

#[test]
fn locations_list_the_paths_to_try() {
    let locations = ShardLocations::parse("one\tfirst\tsecond\ntwo\tthird\n").unwrap();
    assert_eq!(locations.paths_of("one"), ["first", "second"]);
    assert_eq!(locations.paths_of("three"), [] as [&str; 0]);
    assert_eq!(ShardLocations::parse("one\tpath\ntwo\n").unwrap_err().to_string(), "bad line 2: no shard with a path");
}

#[test]
fn the_first_block_of_a_key_is_the_one_that_a_plain_search_finds() {
    let lines: Vec<String> = (0..40).map(|number| format!("{:02})/ 1\ts\t{number}\t1\n", number / 3 * 2)).collect();
    let index = ClusterIndex::parse(lines.concat().as_bytes(), &Limits::default()).unwrap();
    for key in 0..30 {
        let key = format!("{key:02})/");
        for after in 0..=index.blocks().len() {
            let rest = &index.blocks()[after..];
            let plain = after + rest.iter().filter(|block| *block.urlkey < *key).count().saturating_sub(1);
            assert_eq!(index.first_block_for(&key, after), plain, "{key} after {after}");
        }
    }
}
