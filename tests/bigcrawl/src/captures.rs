//! Draws the captures of one urlkey, and writes them as lines of the index.

use std::io::Write as _;

use weft_tinyweb::Rng;

use crate::make::CRAWL;
use crate::sites::{Host, Page, drawn};

/// Captures of the one key that fills whole blocks.
pub(crate) const LONG_CAPTURES: usize = 3_500;
/// WARC files: fewer than a real crawl's 56,000, but too many for a block of the index to name one twice.
const FILES: u64 = 4_000;
/// WARC files of one segment.
const SEGMENT_FILES: u64 = 40;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A second of April 2019, from the 18th on.
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

    /// `20190418000000`.
    pub(crate) fn digits(self) -> String {
        let (day, hour, minute, second) = self.parts();
        format!("201904{day}{hour:02}{minute:02}{second:02}")
    }

    /// `2019-04-18T00:00:00Z`.
    pub(crate) fn rfc3339(self) -> String {
        let (day, hour, minute, second) = self.parts();
        format!("2019-04-{day}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// Days since 1970, and seconds of the day.
    pub(crate) fn days_and_seconds(self) -> (u32, u32) {
        // The 18th of April 2019.
        (18_004 + self.0 / 86_400, self.0 % 86_400)
    }
}

/// Which of a segment's folders a record is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subset {
    Warc,
    Diagnostics,
    Robots,
}

impl Subset {
    pub(crate) const ALL: [Self; 3] = [Self::Warc, Self::Diagnostics, Self::Robots];

    /// The folder's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Warc => "warc",
            Self::Diagnostics => "crawldiagnostics",
            Self::Robots => "robotstxt",
        }
    }
}

/// One capture.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    pub(crate) url: String,
    pub(crate) at: Second,
    pub(crate) status: u16,
    pub(crate) mime: &'static str,
    pub(crate) digest: [u8; 32],
    pub(crate) length: u64,
    pub(crate) offset: u64,
    pub(crate) file: u64,
    /// Of pages alone.
    pub(crate) language: Option<&'static str>,
    pub(crate) redirect: Option<String>,
    pub(crate) subset: Subset,
}

impl Capture {
    pub(crate) fn segment(&self) -> String {
        let segment = self.file / SEGMENT_FILES;
        format!("1555578{:06}.{}", 517_557 + segment * 733, segment * 37 % 90)
    }

    pub(crate) fn filename(&self) -> String {
        let (file, segment, subset) = (self.file, self.segment(), self.subset.name());
        let hours = u32::try_from(file / SEGMENT_FILES).expect("100 segments") * 2;
        let begin = Second::new(hours * 3_600 + 763);
        let (begin, end) = (begin.digits(), begin.later(7_200).digits());
        format!("crawl-data/{CRAWL}/segments/{segment}/{subset}/{CRAWL}-{begin}-{end}-{file:05}.warc.gz")
    }

    pub(crate) fn digest(&self) -> &str {
        std::str::from_utf8(&self.digest).expect("base 32 is ASCII")
    }

    /// `urlkey timestamp {json}` and a line end, as Common Crawl writes it.
    pub(crate) fn line(&self, urlkey: &str, filename: &str) -> Vec<u8> {
        let mut line = Vec::with_capacity(512);
        let Self { url, mime, status, length, offset, .. } = self;
        let mut write = |text: std::fmt::Arguments<'_>| line.write_fmt(text).expect("a Vec takes any bytes");
        write(format_args!(
            "{urlkey} {} {{\"url\": \"{url}\", \"mime\": \"{mime}\", \"mime-detected\": \"{mime}\", ",
            self.at.digits()
        ));
        write(format_args!(
            "\"status\": \"{status}\", \"digest\": \"{}\", \"length\": \"{length}\", \"offset\": \"{offset}\", \"filename\": \"{filename}\"",
            self.digest()
        ));
        if let Some(language) = self.language {
            write(format_args!(", \"charset\": \"UTF-8\", \"languages\": \"{language}\""));
        }
        if let Some(target) = &self.redirect {
            write(format_args!(", \"redirect\": \"{target}\""));
        }
        line.extend_from_slice(b"}\n");
        line
    }
}

/// What the captures of one key are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    One,
    /// The same page under http, which redirects, and https.
    Twins,
    /// At several times.
    Several,
    /// One payload at one time, twice.
    Identical,
    /// Two payloads at one time.
    Ambiguous,
}

/// The captures of a page, the first of which is the `line`th of the index, in the order of their lines; at most
/// `room` of them. `left` lines fit into the block. `long` asks for the key that fills whole blocks.
pub(crate) fn captures(
    seed: u64,
    host: &Host,
    page: &Page,
    line: u64,
    left: u64,
    room: u64,
    long: bool,
) -> Vec<(Capture, Vec<u8>)> {
    let mut rng = drawn(seed, 3, line);
    let mut captures = Vec::new();
    let straddles = left < 4 && rng.chance(50);
    let kind = match rng.below(1_000) {
        _ if long || straddles => Kind::Several,
        0..40 => Kind::Twins,
        40..80 => Kind::Several,
        80..84 => Kind::Identical,
        84..87 => Kind::Ambiguous,
        _ => Kind::One,
    };
    let url = host.url(&page.path, host.is_https, host.is_www);
    let first = capture(url, page.is_robots, &mut rng);
    let again = |rng: &mut Rng| {
        let Capture { at, digest, length, offset, file, .. } = capture(first.url.clone(), page.is_robots, rng);
        Capture { at, digest, length, offset, file, ..first.clone() }
    };
    match kind {
        Kind::One => captures.push(first),
        Kind::Twins => {
            let other = host.url(&page.path, !host.is_https, host.is_www);
            let mut twin = capture(other, page.is_robots, &mut rng);
            if !page.is_robots {
                twin.status = 301;
                twin.redirect = Some(first.url.clone());
                (twin.subset, twin.language) = (Subset::Diagnostics, None);
            }
            captures.extend([first, twin]);
        }
        Kind::Several => {
            let count = if long {
                LONG_CAPTURES
            } else if straddles {
                usize::try_from(left).expect("below 4") + 2
            } else {
                usize::try_from(rng.between(2, 5)).expect("u32 fits usize")
            };
            captures.extend((0..count).map(|_| capture(first.url.clone(), page.is_robots, &mut rng)));
        }
        Kind::Identical => {
            let copy = Capture { at: first.at, digest: first.digest, ..again(&mut rng) };
            captures.extend([first, copy]);
        }
        Kind::Ambiguous => {
            let other = Capture { at: first.at, ..again(&mut rng) };
            captures.extend([first, other]);
        }
    }
    let mut captures: Vec<(Capture, Vec<u8>)> = captures
        .into_iter()
        .map(|capture| {
            let line = capture.line(&page.urlkey, &capture.filename());
            (capture, line)
        })
        .collect();
    captures.sort_by(|one, other| one.1.cmp(&other.1));
    captures.truncate(usize::try_from(room).unwrap_or(usize::MAX));
    captures
}

fn capture(url: String, is_robots: bool, rng: &mut Rng) -> Capture {
    let status = match rng.below(1_000) {
        0..50 => 404,
        50..90 => 301,
        90..95 => 500,
        95..97 => 304,
        _ => 200,
    };
    let subset = match status {
        _ if is_robots => Subset::Robots,
        200 => Subset::Warc,
        _ => Subset::Diagnostics,
    };
    let mime = match (status, is_robots) {
        (304, _) => "warc/revisit",
        (_, true) => "text/plain",
        _ => "text/html",
    };
    let is_page = status == 200 && !is_robots;
    let languages = ["eng", "eng", "eng", "deu,eng", "fra", "por", "rus"];
    let redirect = (status == 301).then(|| format!("{url}/"));
    Capture {
        at: Second::new(rng.below(12 * 86_400)),
        status,
        mime,
        digest: digest(rng),
        length: u64::from(rng.between(900, 60_000)),
        offset: u64::from(rng.below(1_100_000_000)),
        file: rng.bits() % FILES,
        language: is_page.then(|| *rng.pick(&languages)),
        redirect,
        subset,
        url,
    }
}

/// 160 bits in base 32 (RFC 4648, section 6).
fn digest(rng: &mut Rng) -> [u8; 32] {
    let mut letters = [0; 32];
    for part in letters.chunks_mut(12) {
        let mut bits = rng.bits();
        for letter in part {
            *letter = BASE32[usize::try_from(bits & 31).expect("five bits")];
            bits >>= 5;
        }
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_agree_in_all_forms() {
        let second = Second::new(86_400 + 3_661);
        assert_eq!(second.digits(), "20190419010101");
        assert_eq!(second.rfc3339(), "2019-04-19T01:01:01Z");
        assert_eq!(second.days_and_seconds(), (18_005, 3_661));
        assert_eq!(18_005 * 86_400 + 3_661, 1_555_635_661);
    }
}
