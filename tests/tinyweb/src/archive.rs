//! Writes captures as Common Crawl does: WARC files of one gzip member a record, and a ZipNum index of them.

use sha1::{Digest as _, Sha1};

use crate::broken::gzip;
use crate::rng::Rng;
use crate::web::{CRAWL, Served};

/// Index lines in one gzip member (Common Crawl: 3,000).
const BLOCK_LINES: usize = 20;
const INDEX_SHARDS: usize = 2;

/// A second of April 2019, counted from the 18th, midnight, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Second(u32);

impl Second {
    /// Wraps after twelve days, so that the month needs no calendar.
    pub(crate) fn new(seconds: u32) -> Self {
        Self(seconds % (12 * 86_400))
    }

    pub(crate) fn later(self, seconds: u32) -> Self {
        Self::new(self.0 + seconds)
    }

    fn parts(self) -> (u32, u32, u32, u32) {
        (18 + self.0 / 86_400, self.0 / 3_600 % 24, self.0 / 60 % 60, self.0 % 60)
    }

    /// `2019-04-18T00:00:00Z`.
    pub(crate) fn iso(self) -> String {
        let (day, hour, minute, second) = self.parts();
        format!("2019-04-{day}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// `20190418000000`.
    fn compact(self) -> String {
        let (day, hour, minute, second) = self.parts();
        format!("201904{day}{hour:02}{minute:02}{second:02}")
    }

    /// `Thu, 18 Apr 2019 00:00:00 GMT`.
    pub(crate) fn http(self) -> String {
        let (day, hour, minute, second) = self.parts();
        // The 14th of April 2019 was a Sunday.
        let weekday =
            ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][usize::try_from((day - 14) % 7).expect("below seven")];
        format!("{weekday}, {day} Apr 2019 {hour:02}:{minute:02}:{second:02} GMT")
    }
}

/// One answer of a site, at one second.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) url: String,
    pub(crate) at: Second,
    pub(crate) served: Served,
    /// What a look at the body would say; None: as the head says.
    pub(crate) detected: Option<&'static str>,
    /// Record and index name another payload's digest.
    pub(crate) wrong_digest: bool,
    /// False for what the site answers though the crawl missed it.
    pub(crate) archived: bool,
}

impl Capture {
    /// An archived answer with nothing wrong.
    pub(crate) fn new(url: String, at: Second, served: Served) -> Self {
        Self { url, at, served, detected: None, wrong_digest: false, archived: true }
    }
}

/// The archive being written.
#[derive(Debug)]
pub(crate) struct Archive {
    warcs: Vec<Warc>,
    lines: Vec<String>,
    ids: Rng,
}

#[derive(Debug)]
struct Warc {
    path: String,
    info_id: String,
    bytes: Vec<u8>,
}

impl Archive {
    /// `warcs` files, each with its warcinfo record; `ids` names the records.
    pub(crate) fn new(warcs: u32, mut ids: Rng) -> Self {
        let open = |number: u32| {
            let name = format!("WEFT-TINY-{number:05}.warc.gz");
            let info_id = record_id(&mut ids);
            let fields = format!(
                "software: weft-tinyweb\r\nformat: WARC File Format 1.0\r\nisPartOf: {CRAWL}\r\n\
                 description: a made web; nothing in it was crawled\r\n"
            );
            let head = format!(
                "WARC/1.0\r\nWARC-Type: warcinfo\r\nWARC-Date: {}\r\nWARC-Record-ID: <{info_id}>\r\n\
                 WARC-Filename: {name}\r\nContent-Type: application/warc-fields\r\nContent-Length: {}\r\n\r\n",
                Second::new(0).iso(),
                fields.len()
            );
            let record = format!("{head}{fields}\r\n\r\n");
            let path = format!("crawl-data/{CRAWL}/segments/1/warc/{name}");
            Warc { path, info_id, bytes: gzip(record.as_bytes()) }
        };
        let warcs = (0..warcs.max(1)).map(open).collect();
        Self { warcs, lines: Vec::new(), ids }
    }

    /// Appends a response record to the WARC files in turn, and its line to the index.
    ///
    /// What is not archived changes nothing.
    pub(crate) fn add(&mut self, capture: &Capture) {
        let Capture { url, at, served, detected, wrong_digest, archived } = capture;
        if !archived {
            return;
        }
        let turn = self.lines.len() % self.warcs.len();
        let warc = &mut self.warcs[turn];
        let mut block = format!("HTTP/1.1 {} {}\r\n", served.status, reason(served.status)).into_bytes();
        for (name, value) in &served.headers {
            block.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        block.extend(b"\r\n");
        block.extend(&served.body);
        // Of the body as it was transferred, as the writers of real archives do it.
        let digest = if *wrong_digest { sha1_base32(b"another payload") } else { sha1_base32(&served.body) };
        let content_type = served.header("Content-Type").unwrap_or("application/octet-stream");
        let mime = content_type.split(';').next().unwrap_or(content_type);
        let detected = detected.unwrap_or(mime);
        let record_id = record_id(&mut self.ids);
        let mut record = format!(
            "WARC/1.0\r\nWARC-Type: response\r\nWARC-Date: {date}\r\nWARC-Record-ID: <{record_id}>\r\n\
             Content-Length: {length}\r\nContent-Type: application/http; msgtype=response\r\n\
             WARC-Warcinfo-ID: <{info_id}>\r\nWARC-IP-Address: 192.0.2.7\r\nWARC-Target-URI: {url}\r\n\
             WARC-Payload-Digest: sha1:{digest}\r\nWARC-Block-Digest: sha1:{block_digest}\r\n\
             WARC-Identified-Payload-Type: {detected}\r\n\r\n",
            date = at.iso(),
            length = block.len(),
            info_id = warc.info_id,
            block_digest = sha1_base32(&block),
        )
        .into_bytes();
        record.extend(block);
        record.extend(b"\r\n\r\n");
        let member = gzip(&record);
        let mut line = format!(
            "{key} {time} {{\"url\": {url}, \"mime\": {mime}, \"mime-detected\": {detected}, \"status\": \"{status}\", \
             \"digest\": \"{digest}\", \"length\": \"{length}\", \"offset\": \"{offset}\", \"filename\": {path}",
            key = surt_key(url),
            time = at.compact(),
            url = json(url),
            mime = json(mime),
            detected = json(detected),
            status = served.status,
            length = member.len(),
            offset = warc.bytes.len(),
            path = json(&warc.path),
        );
        if let Some(target) = served.header("Location") {
            line.push_str(&format!(", \"redirect\": {}", json(target)));
        } else if detected == "text/html" {
            let charset = content_type.split_once("charset=").map_or("UTF-8", |(_, charset)| charset);
            line.push_str(&format!(", \"charset\": {}, \"languages\": \"eng\"", json(charset)));
        }
        line.push_str("}\n");
        warc.bytes.extend(member);
        self.lines.push(line);
    }

    /// The files by their paths below the archive's root.
    pub(crate) fn finish(mut self) -> Vec<(String, Vec<u8>)> {
        self.lines.sort_unstable();
        let blocks: Vec<&[String]> = self.lines.chunks(BLOCK_LINES).collect();
        let indexes = format!("cc-index/collections/{CRAWL}/indexes");
        let mut files = Vec::new();
        let mut cluster = String::new();
        let mut number = 0;
        for (shard, blocks) in blocks.chunks(blocks.len().div_ceil(INDEX_SHARDS)).enumerate() {
            let name = format!("cdx-{shard:05}.gz");
            let mut bytes = Vec::new();
            for block in blocks {
                let member = gzip(block.concat().as_bytes());
                number += 1;
                let head: Vec<&str> = block[0].splitn(3, ' ').take(2).collect();
                let (offset, length) = (bytes.len(), member.len());
                cluster.push_str(&format!("{}\t{name}\t{offset}\t{length}\t{number}\n", head.join(" ")));
                bytes.extend(member);
            }
            files.push((format!("{indexes}/{name}"), bytes));
        }
        files.push((format!("{indexes}/cluster.idx"), cluster.into_bytes()));
        files.extend(self.warcs.into_iter().map(|warc| (warc.path, warc.bytes)));
        files
    }
}

/// The sort key of a simple absolute URL, as in Common Crawl's index: host labels reversed (those of an IP
/// address too), `www.` and default ports dropped, all in lower case, query parameters sorted.
///
/// Enough for the URLs made here; no escapes, no session ids, no user names.
#[must_use]
pub fn surt_key(url: &str) -> String {
    let url = url.to_ascii_lowercase();
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url.as_str()));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let host = host.strip_prefix("www.").unwrap_or(host);
    let labels: Vec<&str> = host.rsplit('.').collect();
    let port = match (scheme, port) {
        (_, "") | ("http", "80") | ("https", "443") => String::new(),
        _ => format!(":{port}"),
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut parameters: Vec<&str> = query.split('&').filter(|parameter| !parameter.is_empty()).collect();
    parameters.sort_unstable();
    let mark = if parameters.is_empty() { "" } else { "?" };
    format!("{}{port})/{path}{mark}{}", labels.join(","), parameters.join("&"))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        404 => "Not Found",
        _ => "Unknown",
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn record_id(ids: &mut Rng) -> String {
    let (high, low) = (ids.bits(), ids.bits());
    // Version 4, variant 1 (RFC 9562, section 5.4).
    let high = high & !0xF000 | 0x4000;
    let low = low & !(0b11 << 62) | (0b10 << 62);
    format!(
        "urn:uuid:{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}

/// SHA-1 in base 32 (RFC 4648, section 6): 160 bits are 32 letters, with no padding.
fn sha1_base32(bytes: &[u8]) -> String {
    let digest = Sha1::digest(bytes);
    let mut letters = String::with_capacity(32);
    for five in digest.chunks(5) {
        let bits = five.iter().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
        for letter in (0..8).rev() {
            let index = usize::try_from(bits >> (5 * letter) & 31).expect("five bits");
            letters.push(char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[index]));
        }
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_crawls_index() {
        for (url, key) in [
            ("http://www.Harbor.example/Notes/", "example,harbor)/notes"),
            ("https://a.b.example:443/x.jpg?w=2&h=1", "example,b,a)/x.jpg?h=1&w=2"),
            ("http://meadow.example:8080", "example,meadow:8080)/"),
            ("http://192.0.2.7/a", "7,2,0,192)/a"),
        ] {
            assert_eq!(surt_key(url), key);
        }
    }

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(sha1_base32(b""), "3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ");
    }

    #[test]
    fn times_agree_in_all_three_forms() {
        let second = Second::new(86_400 + 3_661);
        assert_eq!(second.iso(), "2019-04-19T01:01:01Z");
        assert_eq!(second.compact(), "20190419010101");
        assert_eq!(second.http(), "Fri, 19 Apr 2019 01:01:01 GMT");
    }
}
