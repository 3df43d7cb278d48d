//! Parses the head of a record: WARC fields, or the one line of an ARC record.

use super::Problem;
use crate::formats::http::{decode_text, push_header, trim_end};

/// Versions that archives are known to have (ISO 28500 and its drafts).
const VERSIONS: [&str; 4] = ["1.0", "1.1", "0.17", "0.18"];
/// `URL IP-address Archive-date Content-type Archive-length` (ARC version 1).
pub(super) const ARC_V1_FIELDS: usize = 5;
/// With result code, checksum, location, offset and file name before the length (ARC version 2).
pub(super) const ARC_V2_FIELDS: usize = 10;

/// A record's head, whichever format it has.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) fields: Vec<(String, String)>,
    pub(super) problems: Vec<Problem>,
}

/// Reads the lines of a WARC head, from `WARC/` to the empty line.
///
/// The `warc` crate parses it where it can. It knows no continuation lines, no spaces in names and no value
/// that is not what it should be; what it refuses is read by the lenient parser and marked so.
pub(super) fn parse_warc(head: &[u8]) -> Head {
    let mut problems = Vec::new();
    let (version, fields) = match parse_strictly(head) {
        Some(parsed) => parsed,
        None => {
            problems.push(Problem::OddHead);
            parse_leniently(head)
        }
    };
    if !VERSIONS.contains(&version.as_str()) {
        problems.push(Problem::UnknownVersion { version });
    }
    if head.iter().zip(head.iter().skip(1)).any(|(&before, &byte)| byte == b'\n' && before != b'\r') {
        problems.push(Problem::BareLineFeeds);
    }
    Head { fields, problems }
}

type Fields = Vec<(String, String)>;

fn parse_strictly(head: &[u8]) -> Option<(String, Fields)> {
    let (rest, (version, fields, _length)) = warc::parser::headers(head).ok()?;
    if rest != b"\r\n" && rest != b"\n" {
        return None;
    }
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), decode_text(trim_end(value)))).collect();
    Some((version.to_owned(), fields))
}

fn parse_leniently(head: &[u8]) -> (String, Fields) {
    let mut lines = head.split(|&byte| byte == b'\n').map(trim_end);
    let version = lines.next().and_then(|line| line.strip_prefix(b"WARC/")).map(decode_text).unwrap_or_default();
    let mut fields = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        // Whether the line is a field does not matter: that the head is odd is noted already.
        push_header(&mut fields, line);
    }
    (version, fields)
}

/// Reads an ARC record's line as WARC fields, so that one kind of record serves both formats; none where the
/// line is no such line. The URL may hold spaces: the columns are counted from the line's end.
pub(super) fn parse_arc(line: &[u8], columns: usize) -> Option<Head> {
    let line = decode_text(trim_end(line));
    let mut from_end: Vec<&str> = line.rsplitn(columns, ' ').collect();
    from_end.reverse();
    let (&[url, ip_address, date, content_type], length) = (from_end.get(..4)?, from_end.last()?) else {
        return None;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if from_end.len() != columns || !url.contains(':') || date.len() < 8 || !is_number(date) || !is_number(length) {
        return None;
    }
    let fields = [
        ("WARC-Target-URI", url.to_owned()),
        ("WARC-IP-Address", ip_address.to_owned()),
        ("WARC-Date", iso_date(date)),
        ("Content-Type", content_type.to_owned()),
        ("Content-Length", (*length).to_owned()),
    ];
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Some(Head { fields, problems: Vec::new() })
}

/// The number of columns that the third line of an ARC file's first record declares.
pub(super) fn arc_columns(declaration: &[u8]) -> usize {
    let count = trim_end(declaration).split(|&byte| byte == b' ').count();
    if count == ARC_V2_FIELDS { ARC_V2_FIELDS } else { ARC_V1_FIELDS }
}

/// `20140216050221` as `2014-02-16T05:02:21Z`; fewer digits leave the rest at its beginning.
fn iso_date(digits: &str) -> String {
    let mut padded = "00000101000000".to_owned();
    padded = digits.chars().chain(padded.chars().skip(digits.len())).take(14).collect();
    let mut date = String::with_capacity(20);
    for (at, digit) in padded.chars().enumerate() {
        match at {
            4 | 6 => date.push('-'),
            8 => date.push('T'),
            10 | 12 => date.push(':'),
            _ => {}
        }
        date.push(digit);
    }
    date.push('Z');
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_by_the_rules_is_read_without_a_problem() {
        let head = parse_warc(b"WARC/1.1\r\nWARC-Type: response\r\nContent-Length:  7\r\n\r\n");
        assert_eq!(head.fields[1], ("Content-Length".to_owned(), "7".to_owned()));
        assert_eq!(head.problems, []);
    }

    #[test]
    fn what_the_strict_parser_refuses_is_read_leniently_and_marked() {
        let head =
            parse_warc(b"WARC/1.0\r\nWARC-Type : response\r\nno colon\r\nX: a\r\n b\r\nContent-Length: \xff\r\n\r\n");
        let names: Vec<&str> = head.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["WARC-Type", "X", "Content-Length"]);
        assert_eq!(head.fields[1].1, "a b");
        assert_eq!(head.problems, [Problem::OddHead]);
    }

    #[test]
    fn a_foreign_version_and_bare_line_feeds_are_reported() {
        let head = parse_warc(b"WARC/9\nWARC-Type: x\n\n");
        assert_eq!(head.fields.len(), 1);
        assert_eq!(head.problems, [Problem::UnknownVersion { version: "9".to_owned() }, Problem::BareLineFeeds]);
    }

    #[test]
    fn an_arc_line_is_counted_from_its_end() {
        let head = parse_arc(b"http://a.example/a b 1.2.3.4 20140216050221 text/html 15\n", ARC_V1_FIELDS).unwrap();
        assert_eq!(head.fields[0].1, "http://a.example/a b");
        assert_eq!(head.fields[2].1, "2014-02-16T05:02:21Z");
        assert!(parse_arc(b"http://a.example/ 1.2.3.4 text/html 15\n", ARC_V1_FIELDS).is_none());
        let v2 = b"http://a.example/ 1.2.3.4 20140216 text/html 200 sum - 0 file.arc 15\n";
        let head = parse_arc(v2, ARC_V2_FIELDS).unwrap();
        assert_eq!((head.fields[2].1.as_str(), head.fields[4].1.as_str()), ("2014-02-16T00:00:00Z", "15"));
    }
}
