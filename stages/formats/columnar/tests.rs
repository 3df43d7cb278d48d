use parquet::basic::{Compression, GzipLevel, ZstdLevel};

use super::testing::{Shape, Time, save, summary_of, table_file};
use super::*;
use crate::formats::cdx::CaptureLine;
use crate::formats::outside::OutsideRoot;

fn capture(number: u64, urlkey: &str) -> CaptureLine {
    let is_plain = !number.is_multiple_of(3);
    CaptureLine {
        urlkey: urlkey.to_owned(),
        timestamp: format!("201904181257{:02}", number % 60),
        url: format!("http://x.example/{number}"),
        mime: Some("text/html".to_owned()),
        mime_detected: is_plain.then(|| "text/html".to_owned()),
        status: (!number.is_multiple_of(5)).then_some(200),
        digest: is_plain.then(|| format!("DIGEST{number}")),
        length: number + 100,
        offset: number * 1000,
        filename: format!("warc/{}.warc.gz", number % 2),
        charset: None,
        languages: None,
        redirect: (!is_plain).then(|| "http://y.example/".to_owned()),
        truncated: None,
    }
}

/// `count` captures of ascending keys, of which every third has three captures.
fn captures(count: u64) -> Vec<CaptureLine> {
    let key = |number: u64| format!("example,x)/{:04}", if number % 9 < 3 { number - number % 9 } else { number });
    let mut captures: Vec<CaptureLine> = (0..count).map(|number| capture(number, &key(number))).collect();
    captures.sort_by_key(|capture| (capture.urlkey.clone(), capture.timestamp.clone()));
    captures
}

fn expected(captures: &[CaptureLine], urlkey: &str) -> Vec<CaptureLine> {
    let mut found: Vec<CaptureLine> = captures.iter().filter(|line| line.urlkey == urlkey).cloned().collect();
    found.sort_by_key(|line| (line.timestamp.clone(), line.url.clone()));
    found
}

fn root(folder: &tempfile::TempDir) -> Arc<OutsideRoot> {
    Arc::new(OutsideRoot::open(folder.path().to_str().unwrap(), "").unwrap())
}

fn walk<'t>(table: &'t TableSummary, folder: &tempfile::TempDir, request_bytes: u64) -> TableWalk<'t> {
    TableWalk::new(table, 0..table.groups().len(), root(folder), Limits::default(), request_bytes)
}

/// Every key, and some that no capture has.
fn keys(captures: &[CaptureLine]) -> Vec<String> {
    let there = captures.iter().map(|capture| capture.urlkey.clone());
    let beside = captures.iter().map(|capture| format!("{}x", capture.urlkey));
    let mut keys: Vec<String> = there.chain(beside).chain(["".to_owned(), "zz".to_owned()]).collect();
    keys.sort();
    keys
}

fn shapes() -> Vec<Shape> {
    let plain = Shape::default();
    vec![
        plain.clone(),
        Shape { time: Time::Millis, compression: Compression::UNCOMPRESSED, ..plain.clone() },
        Shape { time: Time::Micros, is_nested: true, compression: Compression::SNAPPY, ..plain.clone() },
        Shape { time: Time::Nanos, has_wide_offsets: true, has_statistics: false, ..plain.clone() },
        Shape { is_nested: true, has_v2_pages: true, has_dictionaries: false, ..plain.clone() },
        Shape { has_v2_pages: true, compression: Compression::ZSTD(ZstdLevel::default()), ..plain.clone() },
        Shape { rows_per_group: 1000, rows_per_page: 1000, ..plain },
    ]
}

#[test]
fn every_capture_is_found_whatever_the_shape_of_the_table() {
    let all = captures(50);
    for shape in shapes() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), "t/part-00000.parquet", &table_file(&all, &shape));
        let (text, table) = summary_of(folder.path(), &["t/part-00000.parquet"]);
        assert_eq!(table.groups().len(), 50_usize.div_ceil(shape.rows_per_group), "{text}");
        assert_eq!(table.groups().iter().all(|group| group.keys.is_some()), shape.has_statistics);
        // So small a request cuts every column into windows.
        for request_bytes in [1 << 20, 1] {
            let mut walk = walk(&table, &folder, request_bytes);
            for key in keys(&all) {
                assert_eq!(walk.captures_of(&key).unwrap(), expected(&all, &key), "{key} {shape:?}");
            }
            assert_eq!(walk.groups_read(), table.groups().len() as u64);
            assert!(walk.traffic().bytes() <= table.parts()[0].bytes, "{shape:?}");
        }
    }
}

#[test]
fn parts_may_overlap_and_lie_in_any_order() {
    let all = captures(60);
    let folder = tempfile::tempdir().unwrap();
    let mut deal: [Vec<CaptureLine>; 3] = Default::default();
    for (number, capture) in all.iter().enumerate() {
        deal[number * 7 % 3].push(capture.clone());
    }
    for (name, part) in ["c", "a", "b"].iter().zip(&deal) {
        let shape = Shape { rows_per_group: 6, is_nested: *name == "a", ..Shape::default() };
        save(folder.path(), name, &table_file(part, &shape));
    }
    let (text, table) = summary_of(folder.path(), &["c", "a", "b"]);
    assert_eq!(text, summary_of(folder.path(), &["b", "c", "a"]).0);
    let mut walk = walk(&table, &folder, 1 << 20);
    for key in keys(&all) {
        assert_eq!(walk.captures_of(&key).unwrap(), expected(&all, &key), "{key}");
    }
}

#[test]
fn a_row_group_without_a_key_asked_is_never_fetched() {
    let all = captures(64);
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "t", &table_file(&all, &Shape::default()));
    let (_, table) = summary_of(folder.path(), &["t"]);
    let key = all[20].urlkey.clone();
    let mut walk = walk(&table, &folder, 1 << 20);
    assert_eq!(walk.captures_of(&key).unwrap(), expected(&all, &key));
    let holding = table.groups().iter().filter(|group| group.may_hold(&key)).count();
    assert_eq!(walk.groups_read(), holding as u64);
    assert!(holding <= 2);
}

#[test]
fn rows_out_of_order_and_statistics_that_lie_are_damage() {
    let mut all = captures(8);
    all.swap(2, 6);
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "t", &table_file(&all, &Shape::default()));
    let (text, table) = summary_of(folder.path(), &["t"]);
    let mut of_unsorted = walk(&table, &folder, 1 << 20);
    let fault = of_unsorted.captures_of("example,x)/0003").unwrap_err();
    assert!(fault.cause.to_string().contains("out of order"), "{}", fault.cause);
    // Every key that the group may hold gives the fault again; one behind it does not.
    assert!(of_unsorted.captures_of("example,x)/0004").is_err());
    assert_eq!(of_unsorted.captures_of("example,x)/9").unwrap(), []);

    let sorted = captures(8);
    save(folder.path(), "t", &table_file(&sorted, &Shape::default()));
    let (true_text, _) = summary_of(folder.path(), &["t"]);
    assert_ne!(text, true_text);
    let lie = true_text.replace("\"example,x)/0000\"", "\"example,x)/0001\"");
    assert_ne!(lie, true_text);
    let table = TableSummary::parse(lie.as_bytes(), &Limits::default()).unwrap();
    let fault = walk(&table, &folder, 1 << 20).captures_of("example,x)/0003").unwrap_err();
    assert!(fault.cause.to_string().contains("outside of the group's statistics"), "{}", fault.cause);
}

#[test]
fn a_part_that_changed_since_its_summary_was_made_is_told() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "t", &table_file(&captures(20), &Shape::default()));
    let (_, table) = summary_of(folder.path(), &["t"]);
    save(folder.path(), "t", &table_file(&captures(21), &Shape::default()));
    let fault = walk(&table, &folder, 1 << 20).captures_of("example,x)/0003").unwrap_err();
    assert!(fault.cause.to_string().contains("not the file that the table's summary was made of"), "{}", fault.cause);
}

#[test]
fn what_is_no_table_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let root = OutsideRoot::open(folder.path().to_str().unwrap(), "").unwrap();
    let whole = table_file(&captures(8), &Shape::default());
    let end = whole.len();
    let mut long_footer = whole.clone();
    long_footer[end - 8..end - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    for (bytes, cause) in [
        (&b"PAR1"[..], "too short"),
        (&b"PAR1 and nothing of the kind"[..], "does not end as Parquet does"),
        (&whole[..end - 1], "does not end as Parquet does"),
        (&long_footer, "is longer than the file"),
    ] {
        save(folder.path(), "t", bytes);
        let (place, error) = summarise(&root, &["t".to_owned()], &Limits::default()).unwrap_err();
        assert!(place.ends_with("/t") && error.to_string().contains(cause), "{place} {error}");
    }
    save(folder.path(), "t", &whole);
    let limits = Limits { record_bytes: 100, ..Limits::default() };
    let (_, error) = summarise(&root, &["t".to_owned()], &limits).unwrap_err();
    assert!(error.to_string().contains("record_bytes exceeds the limit of 100"), "{error}");
    let (_, error) = summarise(&root, &["u".to_owned()], &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("is not there"), "{error}");
}

#[test]
fn a_page_that_is_larger_than_a_record_may_be_is_refused_before_it_is_inflated() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = captures(1);
    all[0].url = format!("http://x.example/{}", "a".repeat(1 << 20));
    save(folder.path(), "t", &table_file(&all, &Shape { has_statistics: false, ..Shape::default() }));
    let (_, table) = summary_of(folder.path(), &["t"]);
    let limits = Limits { record_bytes: 100_000, ..Limits::default() };
    let mut walk = TableWalk::new(&table, 0..1, root(&folder), limits, 1 << 20);
    let fault = walk.captures_of(&all[0].urlkey).unwrap_err();
    assert!(fault.cause.to_string().contains("record_bytes exceeds the limit of 100000"), "{}", fault.cause);
}

/// Walks all of a table; whatever happens, it is told.
fn walk_all(table: &TableSummary, folder: &tempfile::TempDir, keys: &[String]) -> (usize, usize) {
    let mut walk = walk(table, folder, 1 << 20);
    let answered = keys.iter().filter(|key| walk.captures_of(key).is_ok()).count();
    (answered, keys.len() - answered)
}

#[test]
fn flipped_bytes_and_cut_files_give_errors_and_never_a_panic() {
    let all = captures(24);
    let keys = keys(&all);
    let folder = tempfile::tempdir().unwrap();
    let mut faults = 0;
    for shape in [
        Shape { compression: Compression::UNCOMPRESSED, ..Shape::default() },
        Shape { compression: Compression::UNCOMPRESSED, has_v2_pages: true, is_nested: true, ..Shape::default() },
        Shape { compression: Compression::GZIP(GzipLevel::default()), ..Shape::default() },
        Shape { compression: Compression::SNAPPY, has_dictionaries: false, ..Shape::default() },
    ] {
        let whole = table_file(&all, &shape);
        save(folder.path(), "t", &whole);
        let (_, table) = summary_of(folder.path(), &["t"]);
        let data_end = usize::try_from(table.parts()[0].bytes - table.parts()[0].footer_bytes).unwrap();
        assert_eq!(walk_all(&table, &folder, &keys), (keys.len(), 0));
        let mut state = 7_u64;
        for _ in 0..250 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut bytes = whole.clone();
            // One byte, or a run of them.
            let at = usize::try_from(state >> 33).unwrap() % data_end;
            let run = 1 + usize::try_from(state >> 60).unwrap() % 4;
            for byte in bytes.iter_mut().skip(at).take(run) {
                *byte ^= u8::try_from((state >> 20) & 0xff).unwrap() | 1;
            }
            save(folder.path(), "t", &bytes);
            faults += walk_all(&table, &folder, &keys).1;
        }
        for cut in (0..data_end).step_by(37) {
            save(folder.path(), "t", &whole[..cut]);
            assert!(walk_all(&table, &folder, &keys).1 > 0);
        }
        // Footers: whatever they say now, the summary of it is made or refused, and can be walked.
        let root = OutsideRoot::open(folder.path().to_str().unwrap(), "").unwrap();
        for at in (data_end..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            save(folder.path(), "t", &bytes);
            match summarise(&root, &["t".to_owned()], &Limits::default()) {
                Ok(text) => {
                    let table = TableSummary::parse(text.as_bytes(), &Limits::default()).unwrap();
                    faults += walk_all(&table, &folder, &keys).1;
                }
                Err(_) => faults += 1,
            }
        }
    }
    assert!(faults > 300, "{faults}");
}

#[test]
fn a_summary_that_breaks_its_format_is_an_error_that_names_the_line() {
    let first = "{\"columnar\":{\"version\":1}}\n";
    let part = "{\"part\":{\"path\":\"t\",\"bytes\":9,\"footer_bytes\":9,\"footer_sha256\":\"\"}}\n";
    for (text, cause) in [
        ("{\"columnar\":{\"version\":2}}\n".to_owned(), "bad line 1: a summary of another version"),
        (part.to_owned(), "bad line 1: not a table's summary"),
        (format!("{first}{{\"group\":{{\"rows\":1,\"keys\":null}}}}\n"), "bad line 2: a row group without a part"),
        (format!("{first}{part}{part}"), "bad line 3: the part stands there twice"),
        (format!("{first}{part}{{\"group\":{{\"rows\":1,\"keys\":[\"b\",\"a\"]}}}}\n"), "bad line 3: the last key"),
        (format!("{first}nonsense\n"), "bad line 2: expected"),
    ] {
        let error = TableSummary::parse(text.as_bytes(), &Limits::default()).unwrap_err().to_string();
        assert!(error.starts_with(cause), "{error}");
    }
}
