//! What the reader promises, on archives made here.

use std::io::Write;

use weft_core::limits::Limits;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A record with the given fields after the mandatory ones, its length stated as `stated`.
fn record_stating(stated: &str, kind: &str, fields: &str, block: &[u8]) -> Vec<u8> {
    let head = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Date: 2020-01-02T03:04:05Z\r\nWARC-Record-ID: <urn:x:1>\r\n\
         {fields}Content-Length: {stated}\r\n\r\n"
    );
    [head.as_bytes(), block, b"\r\n\r\n"].concat()
}

fn record(kind: &str, fields: &str, block: &[u8]) -> Vec<u8> {
    record_stating(&block.len().to_string(), kind, fields, block)
}

const RESPONSE_FIELDS: &str =
    "WARC-Target-URI: http://example.com/\r\nContent-Type: application/http; msgtype=response\r\n";

fn three_records() -> [Vec<u8>; 3] {
    [
        record("warcinfo", "", b"software: none\r\n"),
        record("response", RESPONSE_FIELDS, b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>one</p>"),
        record("metadata", "WARC-Target-URI: <http://example.com/a b>\r\n", b"a: b"),
    ]
}

fn read_with(bytes: &[u8], limits: &Limits) -> (Vec<Record>, Vec<WarcError>) {
    let mut records = Vec::new();
    let mut errors = Vec::new();
    for record in WarcReader::open(bytes, limits.clone()).unwrap() {
        match record {
            Ok(record) => records.push(record),
            Err(error) => errors.push(error),
        }
        assert!(records.len() + errors.len() < 10_000, "the reader loops");
    }
    (records, errors)
}

fn read_all(bytes: &[u8]) -> (Vec<Record>, Vec<WarcError>) {
    read_with(bytes, &Limits::default())
}

fn problems(records: &[Record]) -> Vec<Problem> {
    records.iter().flat_map(|record| record.problems.clone()).collect()
}

#[test]
fn records_are_the_same_plain_and_in_members_and_each_lies_where_it_says() {
    let records = three_records();
    let plain: Vec<u8> = records.concat();
    let members: Vec<Vec<u8>> = records.iter().map(|record| gzip(record)).collect();
    let packed = members.concat();
    for (file, parts) in [(&plain, &records[..]), (&packed, &members[..])] {
        let (read, errors) = read_all(file);
        assert!(errors.is_empty());
        let mut offset = 0;
        for (record, part) in read.iter().zip(parts) {
            assert_eq!((record.offset, record.length), (offset, Some(part.len() as u64)));
            let alone = parse_record(part, &Limits::default()).unwrap();
            assert_eq!((&alone.block, &alone.fields), (&record.block, &record.fields));
            offset += part.len() as u64;
        }
        let kinds: Vec<&str> = read.iter().map(|record| record.kind.as_str()).collect();
        assert_eq!(kinds, ["warcinfo", "response", "metadata"]);
        assert_eq!(read[1].http(&Limits::default()).unwrap().unwrap().status, Some(200));
        assert_eq!(&*read[1].payload(&Limits::default()).unwrap().bytes, b"<p>one</p>");
        assert_eq!(read[2].uri().unwrap(), "http://example.com/a%20b");
        assert!(matches!(problems(&read)[..], [Problem::BadUri { .. }]));
    }
}

#[test]
fn what_the_warc_crate_writes_is_read() {
    let mut body = warc::Record::<warc::BufferedBody>::with_body("a body");
    body.set_warc_type(warc::RecordType::Resource);
    body.set_header(warc::WarcHeader::TargetURI, "http://example.com/x").unwrap();
    let mut writer = warc::WarcWriter::new(std::io::BufWriter::new(Vec::new()));
    writer.write(&body).unwrap();
    writer.write(&body).unwrap();
    let file = writer.into_inner().unwrap();
    let (records, errors) = read_all(&file);
    assert!(errors.is_empty());
    assert_eq!(records.len(), 2);
    assert_eq!(problems(&records), []);
    assert_eq!((&records[1].block[..], records[1].uri().unwrap()), (&b"a body"[..], "http://example.com/x".to_owned()));
    assert_eq!(records[0].length, Some(records[1].offset));
}

#[test]
fn a_file_cut_off_anywhere_gives_a_prefix_and_says_so() {
    let records = three_records();
    let members: Vec<Vec<u8>> = records.iter().map(|record| gzip(record)).collect();
    let whole = read_all(&records.concat()).0;
    for (parts, closing) in [(&records[..], 4), (&members[..], 0)] {
        let file = parts.concat();
        let ends: Vec<usize> = (0..=3).map(|count| parts[..count].iter().map(Vec::len).sum()).collect();
        for cut in 0..file.len() {
            let (read, errors) = read_all(&file[..cut]);
            let expected = ends.iter().filter(|&&end| end > 0 && end <= cut + closing).count();
            // A record whose block is cut off is given too, marked.
            let marked = |record: &Record| {
                record
                    .problems
                    .iter()
                    .any(|problem| matches!(problem, Problem::BlockCutOff { .. } | Problem::Damaged { .. }))
            };
            let sound = read.iter().filter(|record| !marked(record)).count();
            assert_eq!(sound, expected, "cut at {cut}");
            for (record, original) in read.iter().zip(&whole) {
                assert_eq!((&record.fields, record.kind.as_str()), (&original.fields, original.kind.as_str()));
                assert!(original.block.starts_with(&record.block));
            }
            let at_a_boundary = ends.iter().any(|&end| (cut..=cut + closing).contains(&end) || end == cut);
            assert_eq!(errors.is_empty(), at_a_boundary || cut == 0, "cut at {cut}: {errors:?}");
            assert!(errors.len() <= 1);
            if closing == 0 && cut > 0 && cut < members[0].len() {
                assert!(parse_record(&file[..cut], &Limits::default()).is_err());
            }
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_ends_in_records_or_errors_and_nothing_else() {
    for file in [three_records().concat(), three_records().iter().flat_map(|record| gzip(record)).collect()] {
        for at in 0..file.len() {
            for bit in [1, 0x20, 0x80] {
                let mut damaged = file.clone();
                damaged[at] ^= bit;
                let (records, errors) = read_all(&damaged);
                for record in &records {
                    let _check = record.check_digests();
                    let _payload = record.payload(&Limits::default());
                }
                assert!(!records.is_empty() || !errors.is_empty());
            }
        }
    }
}

#[test]
fn random_bytes_are_no_records() {
    let mut state = 1u64;
    for length in 0..2_000 {
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        let (records, errors) = read_all(&bytes);
        assert!(records.is_empty());
        assert_eq!(errors.is_empty(), bytes.trim_ascii().is_empty());
        if length > 20 {
            bytes[..10].copy_from_slice(b"\x1f\x8b\x08\0\0\0\0\0\0\x03");
            assert_eq!(read_all(&bytes).1.len(), 1);
            bytes[..10].copy_from_slice(b"WARC/1.0\r\n");
            read_all(&bytes);
        }
    }
}

#[test]
fn several_records_in_one_member_are_read_and_cannot_be_cut_out() {
    let file = gzip(&three_records().concat());
    let (records, errors) = read_all(&file);
    assert!(errors.is_empty());
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| record.length.is_none() && record.problems.contains(&Problem::SharedMember)));
    assert!(records.iter().all(|record| record.offset == 0));
}

#[test]
fn a_record_over_two_members_is_read_whole() {
    let one = three_records()[1].clone();
    let (before, after) = one.split_at(one.len() - 12);
    let file = [gzip(before), gzip(after), gzip(&three_records()[0])].concat();
    let (records, errors) = read_all(&file);
    assert!(errors.is_empty());
    assert_eq!(records[0].problems, [Problem::SeveralMembers { members: 2 }]);
    assert_eq!(&*records[0].payload(&Limits::default()).unwrap().bytes, b"<p>one</p>");
    assert_eq!(records[0].length, Some(records[1].offset));
    assert_eq!(records[1].kind, RecordKind::Warcinfo);
}

#[test]
fn a_length_that_lies_is_reported_and_the_next_record_is_found() {
    let next = record("metadata", "", b"next");
    for (stated, block) in [("4", &b""[..]), ("2", b"su"), ("-3", b""), ("many", b""), ("0", b"")] {
        let odd = record_stating(stated, "resource", "", if stated == "4" { b"" } else { b"sure" });
        for file in [[&odd[..], &next].concat(), [gzip(&odd), gzip(&next)].concat()] {
            let (records, errors) = read_all(&file);
            assert!(errors.is_empty(), "{stated}: {errors:?}");
            assert!(!records[0].problems.is_empty() || stated == "4", "{stated}");
            // A length of 4 takes the closing line ends for the block.
            if stated != "4" {
                assert_eq!(records[0].block, block, "{stated}");
            }
            assert_eq!(records[1].block, b"next");
        }
    }
}

#[test]
fn a_length_beyond_the_member_ends_where_the_next_record_begins() {
    let odd = record_stating("1000", "resource", "", b"short");
    let file = [gzip(&odd), gzip(&record("metadata", "", b"next"))].concat();
    let (records, errors) = read_all(&file);
    assert!(errors.is_empty());
    assert_eq!(records[0].problems, [Problem::BlockCutOff { stated: 1000, present: 9 }]);
    assert_eq!(records[0].length, Some(records[1].offset));
    assert_eq!(records[1].block, b"next");
    let (records, errors) = read_all(&odd);
    assert_eq!(records.len(), 1);
    assert!(matches!(errors[..], [WarcError::CutOff { offset: 0 }]));
}

#[test]
fn a_record_without_length_goes_to_its_members_end() {
    let odd = b"WARC/1.0\r\nWARC-Type: resource\r\n\r\nall of it\r\n\r\n";
    let (records, errors) = read_all(&[gzip(odd), gzip(&record("metadata", "", b"next"))].concat());
    assert!(errors.is_empty());
    assert_eq!((&records[0].block[..], &records[0].problems[..]), (&b"all of it"[..], &[Problem::NoLength][..]));
    assert_eq!(records[1].block, b"next");
}

#[test]
fn a_record_over_the_limit_is_left_out_and_the_next_one_read() {
    let limits = Limits { record_bytes: 100, header_bytes: 1_000, ..Limits::default() };
    let large = record("resource", "", &[b'x'; 101]);
    let exact = record("resource", "", &[b'x'; 100]);
    let endless = [b"WARC/1.0\r\nWARC-Type: ", &vec![b'x'; 5_000][..]].concat();
    for pack in [|bytes: &[u8]| bytes.to_vec(), gzip as fn(&[u8]) -> Vec<u8>] {
        let (records, errors) = read_with(&[pack(&large), pack(&exact)].concat(), &limits);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].block.len(), 100);
        assert!(matches!(&errors[..], [WarcError::TooLarge { offset: 0, source }] if source.what == "record_bytes"));
        let (_, errors) = read_with(&pack(&endless), &limits);
        assert!(matches!(&errors[..], [WarcError::TooLarge { source, .. }] if source.what == "header_bytes"));
    }
    let without_length = gzip(&[b"WARC/1.0\r\nWARC-Type: x\r\n\r\n", &[b'x'; 200][..]].concat());
    let (records, errors) = read_with(&[without_length, gzip(&exact)].concat(), &limits);
    assert_eq!((records.len(), errors.len()), (1, 1));
}

#[test]
fn a_length_without_bound_allocates_nothing() {
    let limits = Limits { record_bytes: u64::MAX, ..Limits::default() };
    let odd = record_stating("18446744073709551615", "resource", "", b"short");
    let (records, errors) = read_with(&odd, &limits);
    assert_eq!((records[0].block.len(), errors.len()), (9, 1));
    let (_, errors) = read_all(&odd);
    assert!(matches!(&errors[..], [WarcError::TooLarge { .. }]));
}

#[test]
fn a_bomb_ends_at_a_limit() {
    let zeros = vec![0; 8 << 20];
    let bomb = gzip(&record("resource", "", &zeros));
    let limits = Limits { inflate_ratio: 20, ..Limits::default() };
    let (records, errors) = read_with(&bomb, &limits);
    assert_eq!((records.len(), errors.len()), (1, 1));
    assert!(records[0].block.len() < 2 << 20);
    let limits = Limits { record_bytes: 1 << 20, ..Limits::default() };
    let (records, errors) = read_with(&bomb, &limits);
    assert_eq!((records.len(), errors.len()), (0, 1));
}

#[test]
fn an_arc_file_is_read_with_the_names_of_warc() {
    let declaration = b"1 0 Crawler\nURL IP-address Archive-date Content-type Archive-length\n";
    let header =
        [format!("filedesc://a.arc 0.0.0.0 20140216050221 text/plain {}\n", declaration.len()).as_bytes(), declaration]
            .concat();
    let block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>arc</p>";
    let page =
        [format!("http://example.com/a b 1.2.3.4 20140216050221 text/html {}\n", block.len()).as_bytes(), block, b"\n"]
            .concat();
    for file in [[&header[..], b"\n", &page, &page].concat(), [gzip(&header), gzip(&page), gzip(&page)].concat()] {
        let (records, errors) = read_all(&file);
        assert!(errors.is_empty(), "{errors:?}");
        let kinds: Vec<&str> = records.iter().map(|record| record.kind.as_str()).collect();
        assert_eq!(kinds, ["arc_header", "response", "response"]);
        assert_eq!(records[0].block, b"");
        assert_eq!(
            problems(&records),
            [
                Problem::ArcFile,
                Problem::BadUri { stated: "http://example.com/a b".to_owned() },
                Problem::BadUri { stated: "http://example.com/a b".to_owned() }
            ]
        );
        assert_eq!(records[2].uri().unwrap(), "http://example.com/a%20b");
        assert_eq!(records[2].date(), Some("2014-02-16T05:02:21Z"));
        assert_eq!(&*records[2].payload(&Limits::default()).unwrap().bytes, b"<p>arc</p>");
        assert_eq!(records[1].offset + records[1].length.unwrap(), records[2].offset);
    }
}

#[test]
fn digests_are_judged_and_a_wrong_one_is_the_records_problem() {
    let block = b"HTTP/1.1 200 OK\r\n\r\nbody";
    let cases = [
        ("", None, 0),
        ("WARC-Payload-Digest: sha1:GAF3QZ6YVO4MOGRFUT6HUZX2KUASDYRA\r\n", Some(false), 1),
        ("WARC-Payload-Digest: sha1:02083f4579e08a612425c0c1a17ee47add783b94\r\n", Some(true), 0),
        (
            "WARC-Block-Digest: none\r\nWARC-Payload-Digest: sha1:02083f4579e08a612425c0c1a17ee47add783b94\r\n",
            Some(false),
            1,
        ),
        ("WARC-Segment-Number: 1\r\nWARC-Payload-Digest: sha1:02083f45\r\n", None, 0),
    ];
    for (fields, ok, problem_count) in cases {
        let file = record("response", &format!("{RESPONSE_FIELDS}{fields}"), block);
        let check = parse_record(&file, &Limits::default()).unwrap().check_digests();
        assert_eq!((check.ok, check.problems.len()), (ok, problem_count), "{fields}");
    }
    let revisit = record("revisit", "WARC-Payload-Digest: sha1:x\r\nWARC-Truncated: length\r\n", b"");
    let record = parse_record(&revisit, &Limits::default()).unwrap();
    assert_eq!(record.check_digests().ok, None);
    assert_eq!(record.problems, [Problem::Truncated { reason: "length".to_owned() }]);
}
