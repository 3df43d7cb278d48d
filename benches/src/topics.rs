//! What is timed: one topic a promise about speed.

use std::fs::File;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, bail};
use libdeflater::Decompressor;
use sha2::{Digest, Sha256};
use url::Url;
use weft_core::limits::Limits;
use weft_models::decode::RgbImage;
use weft_models::phash::{Phash, phash, phash_portable};
use weft_stages::formats::cdx::block_lines;
use weft_stages::formats::encoding;
use weft_stages::formats::inflate::inflate_member;
use weft_stages::formats::page::{self, ExtensionRule, Source};
use weft_stages::formats::warc::WarcReader;
use weft_stages::matching::{SentenceIndex, Similarity, linear};

use crate::frames;

/// What a round took, and what came out.
pub(crate) struct Round {
    pub(crate) seconds: f64,
    /// Of those, on a processor.
    pub(crate) cpu_seconds: f64,
    pub(crate) check: String,
}

/// A topic with its input in memory.
pub(crate) enum Topic {
    /// Reads an archive, with the payload of every record; only its path, the file is read in the round.
    Warc(String),
    /// Inflates index blocks with [`inflate_member`].
    Member(Vec<Vec<u8>>),
    /// Inflates them and cuts them into lines.
    Lines(Vec<Vec<u8>>),
    /// Inflates them with libdeflate alone, into one buffer: the least that can be done.
    Bare { blocks: Vec<Vec<u8>>, buffer: Vec<u8> },
    /// Hashes pictures, with the vector registers found or with those that every processor has.
    Phash { pictures: Vec<RgbImage>, portable: bool },
    /// Assigns the images of each matrix.
    Assignment(Vec<(usize, usize, Vec<f32>)>),
    /// Decodes pages and lists their images.
    Images(Vec<(Url, Vec<u8>)>),
}

impl Topic {
    pub(crate) const NAMES: [&str; 8] =
        ["warc", "member", "lines", "bare", "phash", "phash-portable", "assignment", "images"];

    pub(crate) fn open(topic: &str, file: &str) -> anyhow::Result<Self> {
        let blocks = || anyhow::Ok(frames::read(file)?.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>());
        Ok(match topic {
            "warc" => Self::Warc(file.to_owned()),
            "member" => Self::Member(blocks()?),
            "lines" => Self::Lines(blocks()?),
            "bare" => {
                let blocks = blocks()?;
                let largest = blocks.iter().map(|block| stated_length(block)).max().unwrap_or_default();
                Self::Bare { blocks, buffer: vec![0; largest] }
            }
            "phash" | "phash-portable" => {
                let picture = |(head, pixels): (frames::Head, _)| {
                    RgbImage::new(head.columns, head.rows, pixels).context("a picture has three bytes a pixel")
                };
                let pictures = frames::read(file)?.into_iter().map(picture).collect::<anyhow::Result<_>>()?;
                Self::Phash { pictures, portable: topic == "phash-portable" }
            }
            "assignment" => {
                let matrix = |(head, bytes): (frames::Head, Vec<u8>)| {
                    let (values, _) = bytes.as_chunks::<4>();
                    let values = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
                    anyhow::Ok((usize::try_from(head.rows)?, usize::try_from(head.columns)?, values))
                };
                Self::Assignment(frames::read(file)?.into_iter().map(matrix).collect::<anyhow::Result<_>>()?)
            }
            "images" => {
                let page = |(head, bytes): (frames::Head, _)| anyhow::Ok((Url::parse(&head.url)?, bytes));
                Self::Images(frames::read(file)?.into_iter().map(page).collect::<anyhow::Result<_>>()?)
            }
            other => bail!("no topic `{other}`: one of {}", Self::NAMES.join(", ")),
        })
    }

    /// One round: the whole input, `repeats` times.
    pub(crate) fn run(&mut self, repeats: u32) -> anyhow::Result<Round> {
        let limits = Limits::default();
        let mut output = Output::default();
        let (cpu_begin, begin) = (cpu_seconds()?, Instant::now());
        for _ in 0..repeats {
            output = black_box(self.once(&limits)?);
        }
        let seconds = begin.elapsed().as_secs_f64();
        Ok(Round { seconds, cpu_seconds: cpu_seconds()? - cpu_begin, check: output.check() })
    }

    fn once(&mut self, limits: &Limits) -> anyhow::Result<Output> {
        let mut output = Output::default();
        match self {
            Self::Warc(path) => {
                let file = File::open(path.as_str()).with_context(|| format!("failed to open {path}"))?;
                for record in WarcReader::open(file, limits.clone())? {
                    let record = record?;
                    output.count += 1;
                    output.bytes += black_box(record.payload(limits)?.bytes).len();
                }
            }
            Self::Member(blocks) => {
                for block in blocks {
                    let inflated = inflate_member(block, "record_bytes", limits.record_bytes, limits);
                    inflated.end.context("a block is damaged")?;
                    output.bytes += black_box(inflated.bytes).len();
                }
            }
            Self::Lines(blocks) => {
                for block in blocks {
                    output.count += black_box(block_lines(block, limits)).len();
                }
            }
            Self::Bare { blocks, buffer } => {
                let mut inflater = Decompressor::new();
                for block in blocks {
                    output.bytes += inflater.gzip_decompress(block, buffer).context("a block is damaged")?;
                    black_box(&mut *buffer);
                }
            }
            Self::Phash { pictures, portable } => {
                let hash = if *portable { phash_portable } else { phash };
                output.hashes.extend(pictures.iter().map(hash));
            }
            Self::Assignment(matrices) => {
                for (images, sentences, values) in matrices {
                    let similarity = Similarity::new(values, *images, *sentences).context("a matrix is odd")?;
                    output.columns.push(linear(&similarity));
                }
            }
            Self::Images(pages) => {
                for (url, bytes) in pages {
                    let text = encoding::decode(bytes, None).text;
                    let page = page::images(&text, url, limits, ExtensionRule::WholeUrl)?;
                    output.count += page.references.iter().filter(|found| found.source == Source::Src).count();
                    black_box(page);
                }
            }
        }
        Ok(output)
    }
}

/// What came out of the input, as far as the topic has it.
#[derive(Default)]
struct Output {
    count: usize,
    bytes: usize,
    hashes: Vec<Phash>,
    columns: Vec<Vec<SentenceIndex>>,
}

impl Output {
    /// The same text for the same results, and the same as the peers make of theirs.
    fn check(&self) -> String {
        let hashes: String = self.hashes.iter().map(ToString::to_string).collect();
        let columns = self.columns.iter().map(|columns| {
            let columns: Vec<String> = columns.iter().map(|column| column.0.to_string()).collect();
            columns.join(" ")
        });
        let columns: Vec<String> = columns.collect();
        let digest = Sha256::digest(format!("{hashes}{}", columns.join(";")));
        let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{} counted, {} bytes, {digest}", self.count, self.bytes)
    }
}

/// Seconds that this thread, the only one, has had a processor, as Linux counts them.
fn cpu_seconds() -> anyhow::Result<f64> {
    // The count is brought up to date when the thread gives way.
    std::thread::yield_now();
    let file = File::open("/proc/thread-self/schedstat").context("there is no /proc/thread-self/schedstat")?;
    let counts = std::io::read_to_string(file).context("failed to read /proc/thread-self/schedstat")?;
    let nanoseconds = counts.split(' ').next().unwrap_or_default();
    let nanoseconds: u64 = nanoseconds.parse().context("/proc/thread-self/schedstat begins with no number")?;
    Ok(std::time::Duration::from_nanos(nanoseconds).as_secs_f64())
}

/// The length that ends a gzip member (RFC 1952, section 2.3.1).
fn stated_length(member: &[u8]) -> usize {
    let length = member.last_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length));
    usize::try_from(length).expect("32 bits fit usize")
}
