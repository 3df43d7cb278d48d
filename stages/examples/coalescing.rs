//! Requests and bytes that `fetch` takes to a WARC file at C4's density, against one range a record and whole files.
//!
//! ```sh
//! cargo run --release -p weft-stages --example coalescing               # the simulation, as Markdown
//! cargo run --release -p weft-stages --example coalescing loopback      # what a request costs in bytes, at least
//! cargo run --release -p weft-stages --example coalescing fetch         # records and bytes a second of the stage
//! ```
//!
//! A made WARC file has 44,600 records of log-normal size, 20 kB on average (0.9 GB, as CC-MAIN-2019-18's); captures are
//! drawn from it at random with a fixed seed. Plans are those of `fetch::plan`, the code that the stage runs.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use sha1::{Digest, Sha1};
use weft_core::id::ShardId;
use weft_core::stage::{Crawl, OutsideFile, Resources, Stage};
use weft_core::tables::{Captures, CapturesRow};
use weft_core::testing;
use weft_stages::fetch::plan::{Settings, Span, plan};
use weft_stages::fetch::{Config, Fetch};
use weft_stages::formats::outside::OutsideRoot;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Records of one WARC file.
const RECORDS: u32 = 44_600;
/// Mean of a record's stored bytes.
const MEAN_BYTES: f64 = 20_000.0;
/// Spread of their logarithm: half of the records are below 9 kB.
const SIGMA: f64 = 1.25;
/// Common Crawl cuts payloads at 1 MB.
const MOST_BYTES: f64 = 1_000_000.0;
/// C4-en's share of the crawl's records.
const C4_DENSITY: f64 = 0.146;
/// Files of which a figure is the average.
const FILES: u32 = 10;

/// A small generator, so that the figures are the same every time.
struct Seeded(u64);

impl Seeded {
    /// Uniform in (0, 1).
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = u32::try_from(self.0 >> 32).expect("32 bits");
        (f64::from(high) + 0.5) / 4_294_967_296.0
    }

    /// Normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// The captures of one made file, and the file's size.
fn file(seeded: &mut Seeded, density: f64) -> (Vec<Span>, u64) {
    let mu = MEAN_BYTES.ln() - SIGMA * SIGMA / 2.0;
    let (mut captures, mut start) = (Vec::new(), 0);
    for _ in 0..RECORDS {
        let bytes = (mu + SIGMA * seeded.normal()).exp().clamp(400.0, MOST_BYTES);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let length = bytes as u64;
        if seeded.uniform() < density {
            captures.push(Span { start, length });
        }
        start += length;
    }
    (captures, start)
}

/// What a plan costs a file.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    requests: f64,
    bytes: f64,
}

/// The average file: how many captures and bytes of them it has, its size, and what each plan costs.
struct Average {
    captures: f64,
    wanted_bytes: f64,
    file_bytes: f64,
    plans: Vec<Figures>,
}

#[expect(clippy::cast_precision_loss, reason = "averages for people")]
fn simulate(density: f64, plans: &[Settings]) -> Average {
    let mut seeded = Seeded(2019);
    let files = f64::from(FILES);
    let mut average =
        Average { captures: 0.0, wanted_bytes: 0.0, file_bytes: 0.0, plans: vec![Figures::default(); plans.len()] };
    for _ in 0..FILES {
        let (captures, file_bytes) = file(&mut seeded, density);
        average.captures += captures.len() as f64 / files;
        average.wanted_bytes += captures.iter().map(|span| span.length).sum::<u64>() as f64 / files;
        average.file_bytes += file_bytes as f64 / files;
        for (figures, settings) in average.plans.iter_mut().zip(plans) {
            let reads = plan(&captures, settings);
            figures.requests += reads.len() as f64 / files;
            figures.bytes += reads.iter().map(|read| read.length).sum::<u64>() as f64 / files;
        }
    }
    average
}

/// The stage's own settings.
fn default_settings() -> Settings {
    let Config { coalesce_gap_bytes, whole_file_density, .. } = Config::default();
    Settings { gap_bytes: coalesce_gap_bytes, whole_file_density }
}

fn main() -> Outcome {
    match std::env::args().nth(1).as_deref() {
        None => print_simulation(),
        Some("loopback") => return loopback(),
        Some("fetch") => return fetch(),
        Some(other) => return Err(format!("`{other}` is none of: loopback, fetch").into()),
    }
    Ok(())
}

fn print_simulation() {
    let gaps = [0, 64 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];
    for density in [C4_DENSITY, 0.10, 0.05, 0.01] {
        let by_gap = gaps.map(|gap_bytes| Settings { gap_bytes, whole_file_density: 2.0 });
        let settings: Vec<Settings> = by_gap.into_iter().chain([default_settings()]).collect();
        let average = simulate(density, &settings);
        println!(
            "\n{:.1} % of the records: {:.0} captures, {:.1} MB of {:.1} MB a file\n",
            density * 100.0,
            average.captures,
            average.wanted_bytes / 1e6,
            average.file_bytes / 1e6
        );
        println!("| plan | requests | MB | of the file |\n|---|---|---|---|");
        let row = |name: &str, figures: Figures| {
            let share = 100.0 * figures.bytes / average.file_bytes;
            println!("| {name} | {:.1} | {:.1} | {share:.1} % |", figures.requests, figures.bytes / 1e6);
        };
        row("one range a record", Figures { requests: average.captures, bytes: average.wanted_bytes });
        for (gap_bytes, figures) in gaps.iter().zip(&average.plans) {
            row(&format!("gaps up to {} KiB", gap_bytes >> 10), *figures);
        }
        if let Some(ours) = average.plans.last() {
            row("the stage's defaults", *ours);
        }
        row("whole file", Figures { requests: 1.0, bytes: average.file_bytes });
    }
}

/// Serves `file_bytes` of zeros under every name, by range, on connections that are kept.
fn serve(stream: TcpStream, file_bytes: u64) -> std::io::Result<()> {
    // Else the head would wait for the acknowledgement of what was sent before.
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let zeros = vec![0; 256 << 10];
    loop {
        let mut range = None;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_lowercase().trim_end().strip_prefix("range: bytes=") {
                range = value.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        let (first, last): (u64, u64) = range.unwrap_or((0, file_bytes - 1));
        let last = last.min(file_bytes - 1);
        let mut left = last + 1 - first;
        write!(
            stream,
            "HTTP/1.1 206 x\r\nContent-Range: bytes {first}-{last}/{file_bytes}\r\nContent-Length: {left}\r\n\r\n"
        )?;
        while left > 0 {
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
            stream.write_all(zeros.get(..piece).unwrap_or_default())?;
            left -= u64::try_from(piece).expect("usize fits u64");
        }
        stream.flush()?;
    }
}

/// Times single ranges and one long stream from a server on this machine: the least that a request can cost.
fn loopback() -> Outcome {
    const FILE_BYTES: u64 = 1 << 30;
    const REQUESTS: u32 = 2_000;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let root = format!("http://{}/", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, FILE_BYTES));
        }
    });
    let root = OutsideRoot::open(&root, "weft-bench/0 (loopback)")?;
    let timed = |ranges: &[(u64, u64)]| -> Result<(Duration, u64), Box<dyn std::error::Error>> {
        let (started, mut bytes) = (Instant::now(), 0);
        for &(start, length) in ranges {
            bytes += std::io::copy(&mut root.stream("w.gz", start, length)?, &mut std::io::sink())?;
        }
        Ok((started.elapsed(), bytes))
    };
    timed(&[(0, 1 << 20)])?;
    let (streaming, streamed_bytes) = timed(&[(0, FILE_BYTES)])?;
    let singles: Vec<(u64, u64)> = (0..REQUESTS).map(|number| (u64::from(number) << 18, 20_000)).collect();
    let (single, _) = timed(&singles)?;
    let bytes_per_second = f64::from(u32::try_from(streamed_bytes >> 10)?) * 1024.0 / streaming.as_secs_f64();
    let per_request = single.as_secs_f64() / f64::from(REQUESTS);
    let worth_bytes = per_request * bytes_per_second - 20_000.0;
    println!("one stream: {:.0} MB/s", bytes_per_second / 1e6);
    println!(
        "a request of 20 kB: {:.0} us, as long as {:.0} kB more of a stream",
        per_request * 1e6,
        worth_bytes / 1e3
    );
    Ok(())
}

/// In base 32, as digests of records are written.
fn sha1(text: &str) -> String {
    const DIGITS: [char; 32] = [
        'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q', 'R', 'S', 'T', 'U', 'V',
        'W', 'X', 'Y', 'Z', '2', '3', '4', '5', '6', '7',
    ];
    let bits = Sha1::digest(text).iter().fold(String::new(), |bits, byte| format!("{bits}{byte:08b}"));
    let digits =
        bits.as_bytes().chunks(5).map(|five| five.iter().fold(0, |value, bit| 2 * value + usize::from(*bit == b'1')));
    digits.map(|value| DIGITS[value]).collect()
}

/// Runs the stage over a made archive on this disk.
fn fetch() -> Outcome {
    const KEPT_OF: u64 = 7;
    let folder = tempfile::tempdir()?;
    let mut archive = std::fs::File::options().write(true).create_new(true).open(folder.path().join("w.gz"))?;
    let mut context = testing::context();
    let mut captures = Vec::new();
    let (mut seeded, mut offset) = (Seeded(2019), 0_u64);
    for number in 0..6_000_u64 {
        let url = format!("http://{number}.example/");
        let mut page = String::from("<!doctype html><title>page</title>");
        while page.len() < 60_000 {
            // Words and numbers: about the ratio of real pages.
            page.push_str(&format!(
                "<p class=\"c{:.0}\">the weft of {:.6}</p>\n",
                seeded.uniform() * 9.0,
                seeded.uniform()
            ));
        }
        let http = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{page}");
        // As Common Crawl's records: both digests, the payload's in the index too.
        let (digest, block_digest) = (sha1(&page), sha1(&http));
        let head = format!(
            "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Payload-Digest: sha1:{digest}\r\n\
             WARC-Block-Digest: sha1:{block_digest}\r\nContent-Type: application/http; msgtype=response\r\n\
             Content-Length: {}\r\n\r\n",
            http.len()
        );
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(head.as_bytes())?;
        gzip.write_all(http.as_bytes())?;
        gzip.write_all(b"\r\n\r\n")?;
        let stored = gzip.finish()?;
        archive.write_all(&stored)?;
        let length = u64::try_from(stored.len())?;
        if number % KEPT_OF == 0 {
            captures.push((offset, length, url, digest));
        }
        offset += length;
    }
    let rows = captures.iter().map(|(offset, length, url, digest)| CapturesRow {
        filename: "w.gz",
        offset: *offset,
        document_id: url,
        length: *length,
        digest: Some(digest),
        mime_detected: None,
        matched_by: "exact",
        capture_url: None,
        capture_timestamp: None,
        url,
        timestamp: "20190418125754",
        source_timestamp: "",
        sentences: vec!["A sentence."],
    });
    testing::give::<Captures>(&mut context, rows);
    let cluster = OutsideFile { name: String::new(), location: folder.path().into(), digest: String::new(), bytes: 0 };
    let root = folder.path().display().to_string();
    let crawl = Crawl { name: "BENCH".to_owned(), root, index: String::new(), cluster };
    let stage = Fetch::open(Config::default(), &Resources { crawl: Some(crawl), ..Resources::default() })?;
    let started = Instant::now();
    let tally = stage.run(ShardId(0), &context)?;
    let seconds = started.elapsed().as_secs_f64();
    let fact = |name: &str| tally.facts.get(name).copied().unwrap_or(0);
    let megabytes = |bytes: u64| u32::try_from(bytes >> 10).map(|kibibytes| f64::from(kibibytes) / 976.5625);
    println!("{} captures of a file of {:.0} MB in {seconds:.2} s", captures.len(), megabytes(offset)?);
    println!("{:.0} records/s", f64::from(u32::try_from(captures.len())?) / seconds);
    println!("{:.0} MB/s of the file", megabytes(fact("bytes"))? / seconds);
    println!("{:.1} MB/s of records, {} requests", megabytes(fact("bytes_wanted"))? / seconds, fact("requests"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_c4s_density_the_defaults_take_a_hundredth_of_the_requests_and_no_more_than_the_file() {
        let average = simulate(C4_DENSITY, &[default_settings()]);
        let ours = average.plans[0];
        assert!(ours.requests <= 0.01 * average.captures, "{ours:?}");
        assert!(ours.bytes <= average.file_bytes, "{ours:?}");
        assert!((average.wanted_bytes / average.file_bytes - C4_DENSITY).abs() < 0.01);
    }

    #[test]
    fn where_captures_are_rare_most_of_the_file_is_left_out() {
        let average = simulate(0.002, &[default_settings()]);
        let ours = average.plans[0];
        assert!(ours.bytes < 0.1 * average.file_bytes && ours.requests <= average.captures, "{ours:?}");
    }

    #[test]
    fn a_wider_gap_takes_fewer_requests_and_more_bytes() {
        let by_gap = [0, 1 << 18, 1 << 20].map(|gap_bytes| Settings { gap_bytes, whole_file_density: 2.0 });
        let average = simulate(0.05, &by_gap);
        for pair in average.plans.windows(2) {
            assert!(pair[0].requests > pair[1].requests && pair[0].bytes < pair[1].bytes, "{pair:?}");
        }
    }

    #[test]
    fn the_made_file_is_as_large_as_a_real_one() {
        let (_, file_bytes) = file(&mut Seeded(1), C4_DENSITY);
        assert!((800_000_000..1_000_000_000).contains(&file_bytes), "{file_bytes}");
    }
}
