//! Finds captures in a ZipNum index: sorted CDX lines in gzip blocks, and a sorted summary of the blocks.
//!
//! A summary line names a block's first `urlkey timestamp`, its shard, offset and length; Common Crawl calls
//! the file `cluster.idx`, pywb `.idx`. The captures of one key may lie in several neighbouring blocks, and
//! begin at the end of the block *before* the first one whose own first key is as large.
//!
//! [`ClusterIndex::lookup`] answers one question; [`IndexWalk`] answers many that ascend, reads each block at
//! most once and those without any key asked not at all. Keys compare by bytes, the order of the index.
//! A look-up is O(log blocks) and the lines of the blocks that may hold the key.
//!
//! Order is checked, not trusted: a line out of order hides captures from a binary search, so it is an error
//! with its number.

mod flat;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, Read};
use std::ops::Bound;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use weft_core::limits::{LimitExceeded, Limits};

use super::inflate::{self, InflateError};

/// About as long as a line of Common Crawl's index is, or less.
const LINE_BYTES: usize = 256;

/// What a reader of blocks may fail with.
pub type ReadError = Box<dyn Error + Send + Sync>;

/// Why an index could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CdxError {
    /// Reading the summary failed.
    #[error("failed to read line {line_number} of the index summary")]
    ReadSummary {
        /// From 1.
        line_number: u64,
        /// The reader's error.
        #[source]
        source: io::Error,
    },
    /// A line of the summary, or of the shards' locations, breaks the format.
    #[error("bad line {line_number}: {cause}")]
    BadSummaryLine {
        /// From 1.
        line_number: u64,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// A line of the summary is smaller than the one before it.
    #[error("line {line_number} is out of order")]
    SummaryOutOfOrder {
        /// From 1.
        line_number: u64,
    },
    /// A capture line breaks the format.
    #[error("bad capture line: {cause}")]
    BadCapture {
        /// What is wrong with it.
        cause: String,
    },
    /// A block could not be had.
    #[error("failed to read the block at offset {offset} of shard `{shard}`")]
    ReadBlock {
        /// The shard's name in the summary.
        shard: Arc<str>,
        /// In the shard.
        offset: u64,
        /// The reader's error.
        #[source]
        source: ReadError,
    },
    /// A block does not inflate as a whole.
    #[error("the block at offset {offset} of shard `{shard}` is damaged after {lines} lines")]
    DamagedBlock {
        /// The shard's name in the summary.
        shard: Arc<str>,
        /// In the shard.
        offset: u64,
        /// Whole lines before the damage.
        lines: usize,
        /// What broke.
        #[source]
        source: BlockDamage,
    },
    /// A block's lines are not those that the summary tells of.
    #[error("line {line_number} of the block at offset {offset} of shard `{shard}`: {cause}")]
    BadBlockLine {
        /// The shard's name in the summary.
        shard: Arc<str>,
        /// In the shard.
        offset: u64,
        /// From 1.
        line_number: usize,
        /// What is wrong with it.
        cause: String,
    },
    /// The keys asked of a walk do not ascend.
    #[error("key `{urlkey}` was asked after a larger one")]
    KeysDescend {
        /// The smaller key.
        urlkey: String,
    },
}

/// One capture: where a crawl holds what it got for a URL at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureLine {
    /// The sorted form of the URL (see [`super::surt`]).
    pub urlkey: String,
    /// UTC, as 14 digits: year to second.
    pub timestamp: String,
    /// As crawled.
    pub url: String,
    /// What the server said the content is.
    pub mime: Option<String>,
    /// What the content looks like.
    pub mime_detected: Option<String>,
    /// None for records that are no response.
    pub status: Option<u16>,
    /// SHA-1 of the payload in base 32.
    pub digest: Option<String>,
    /// Bytes of the record as stored.
    pub length: u64,
    /// Of the record in its file.
    pub offset: u64,
    /// The file, as a path below the crawl's root.
    pub filename: String,
    /// Of the page's text.
    pub charset: Option<String>,
    /// ISO 639-3 codes, separated by commas.
    pub languages: Option<String>,
    /// Where a redirect leads.
    pub redirect: Option<String>,
    /// Why the payload is cut off, where it is.
    pub truncated: Option<String>,
}

/// The JSON part of a line.
#[derive(Deserialize)]
struct CaptureJson {
    url: String,
    mime: Option<String>,
    #[serde(rename = "mime-detected")]
    mime_detected: Option<String>,
    status: Option<Number>,
    digest: Option<String>,
    length: Number,
    offset: Number,
    filename: String,
    charset: Option<String>,
    languages: Option<String>,
    redirect: Option<String>,
    truncated: Option<String>,
}

/// Common Crawl writes numbers as strings, other tools as numbers; whatever is neither is none.
struct Number(Option<u64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a number")
    }

    fn visit_str<E>(self, digits: &str) -> Result<Number, E> {
        Ok(Number(digits.parse().ok()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
        Ok(Number(Some(number)))
    }

    fn visit_i64<E>(self, _negative: i64) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_f64<E>(self, _fraction: f64) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_unit<E>(self) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Number, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Number(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<Number, A::Error> {
        while values.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Number(None))
    }
}

impl CaptureLine {
    /// Reads `urlkey timestamp {json}`, or the eleven columns of plain CDX.
    ///
    /// # Errors
    /// A line of any other shape, or one without URL, length, offset or file name.
    pub fn parse(line: &[u8]) -> Result<Self, CdxError> {
        let bad = |cause: &str| CdxError::BadCapture { cause: cause.to_owned() };
        let line = std::str::from_utf8(line).map_err(|_| bad("not utf-8"))?;
        let mut parts = line.splitn(3, ' ');
        let (Some(urlkey), Some(timestamp), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("fewer than three parts"));
        };
        if urlkey.is_empty() {
            return Err(bad("the urlkey is empty"));
        }
        if timestamp.len() != 14 || !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad("the timestamp is not 14 digits"));
        }
        if let Some(capture) = flat::capture(urlkey, timestamp, rest) {
            return Ok(capture);
        }
        if rest.trim_start().starts_with('{') {
            Self::from_json(urlkey, timestamp, rest)
        } else {
            Self::from_columns(urlkey, timestamp, rest)
        }
    }

    fn from_json(urlkey: &str, timestamp: &str, json: &str) -> Result<Self, CdxError> {
        let json: CaptureJson =
            serde_json::from_str(json).map_err(|cause| CdxError::BadCapture { cause: cause.to_string() })?;
        let number =
            |number: &Number, cause: &str| number.0.ok_or_else(|| CdxError::BadCapture { cause: cause.to_owned() });
        let status = json.status.and_then(|status| u16::try_from(status.0?).ok());
        Ok(Self {
            urlkey: urlkey.to_owned(),
            timestamp: timestamp.to_owned(),
            url: json.url,
            mime: json.mime,
            mime_detected: json.mime_detected,
            status,
            digest: json.digest,
            length: number(&json.length, "the length is no number")?,
            offset: number(&json.offset, "the offset is no number")?,
            filename: json.filename,
            charset: json.charset,
            languages: json.languages,
            redirect: json.redirect,
            truncated: json.truncated,
        })
    }

    /// `url mime status digest redirect robotflags length offset filename`, `-` for what is not known.
    fn from_columns(urlkey: &str, timestamp: &str, columns: &str) -> Result<Self, CdxError> {
        let columns: Vec<&str> = columns.split(' ').collect();
        let &[url, mime, status, digest, redirect, _robot_flags, length, offset, filename] = &columns[..] else {
            return Err(CdxError::BadCapture { cause: "neither json nor eleven columns".to_owned() });
        };
        let known = |column: &str| Some(column).filter(|&column| column != "-").map(str::to_owned);
        let number =
            |column: &str, cause: &str| column.parse().map_err(|_| CdxError::BadCapture { cause: cause.to_owned() });
        Ok(Self {
            urlkey: urlkey.to_owned(),
            timestamp: timestamp.to_owned(),
            url: url.to_owned(),
            mime: known(mime),
            mime_detected: None,
            status: status.parse().ok(),
            digest: known(digest),
            length: number(length, "the length is no number")?,
            offset: number(offset, "the offset is no number")?,
            filename: filename.to_owned(),
            charset: None,
            languages: None,
            redirect: known(redirect),
            truncated: None,
        })
    }
}

/// Where a block of lines lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// Key of its first line.
    pub urlkey: Box<str>,
    /// Timestamp of its first line.
    pub timestamp: Box<str>,
    /// The shard's name: a file name in Common Crawl, a name to look up in [`ShardLocations`] in pywb.
    pub shard: Arc<str>,
    /// In the shard.
    pub offset: u64,
    /// Bytes of the block as stored.
    pub length: u64,
}

/// The summary of an index: its blocks, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterIndex {
    blocks: Vec<BlockRef>,
}

impl ClusterIndex {
    /// Reads a whole summary: a line a block, `urlkey timestamp`, shard, offset, length and perhaps a running
    /// number, separated by tabs. Common Crawl's has about a million lines.
    ///
    /// # Errors
    /// A line that breaks the format or the order, by its number.
    pub fn parse(mut summary: impl BufRead, limits: &Limits) -> Result<Self, CdxError> {
        let mut blocks: Vec<BlockRef> = Vec::new();
        let mut shards: BTreeMap<String, Arc<str>> = BTreeMap::new();
        let mut line = Vec::new();
        for line_number in 1.. {
            line.clear();
            let read = (&mut summary).take(limits.line_bytes + 1).read_until(b'\n', &mut line);
            let read = read.map_err(|source| CdxError::ReadSummary { line_number, source })?;
            if read == 0 {
                break;
            }
            if u64::try_from(read).expect("usize fits u64") > limits.line_bytes {
                let exceeded = LimitExceeded { what: "line_bytes", limit: limits.line_bytes };
                return Err(CdxError::ReadSummary { line_number, source: exceeded.into() });
            }
            let block = parse_summary_line(line.trim_ascii_end(), &mut shards)
                .map_err(|cause| CdxError::BadSummaryLine { line_number, cause })?;
            if let Some(last) = blocks.last()
                && (&last.urlkey, &last.timestamp) > (&block.urlkey, &block.timestamp)
            {
                return Err(CdxError::SummaryOutOfOrder { line_number });
            }
            blocks.push(block);
        }
        Ok(Self { blocks })
    }

    /// All blocks, in order.
    #[must_use]
    pub fn blocks(&self) -> &[BlockRef] {
        &self.blocks
    }

    /// The blocks that may hold lines with keys from `from` on, up to `to`.
    #[must_use]
    pub fn blocks_for(&self, from: &str, to: Bound<&str>) -> &[BlockRef] {
        let begin = self.first_block_for(from, 0);
        let end = match to {
            Bound::Included(to) => self.blocks.partition_point(|block| &*block.urlkey <= to),
            Bound::Excluded(to) => self.blocks.partition_point(|block| &*block.urlkey < to),
            Bound::Unbounded => self.blocks.len(),
        };
        self.blocks.get(begin..end).unwrap_or_default()
    }

    /// All captures of one key, in the order of the index; `read_block` gives a block's bytes as stored.
    ///
    /// # Errors
    /// Those of [`IndexWalk::captures_of`].
    pub fn lookup(
        &self,
        urlkey: &str,
        limits: &Limits,
        read_block: impl FnMut(&BlockRef) -> Result<Vec<u8>, ReadError>,
    ) -> Result<Vec<CaptureLine>, CdxError> {
        let mut walk = IndexWalk::new(self, limits.clone(), read_block);
        walk.captures_of(urlkey)?;
        Ok(walk.found)
    }

    /// The block before the first one, from `after` on, whose first key is at least `urlkey`: the key's lines
    /// may begin at its end.
    fn first_block_for(&self, urlkey: &str, after: usize) -> usize {
        let blocks = self.blocks.get(after..).unwrap_or_default();
        // In growing steps: a walk's next key is mostly in the block at hand, or in one near it.
        let mut reach = 1;
        while blocks.get(reach).is_some_and(|block| &*block.urlkey < urlkey) {
            reach *= 2;
        }
        let begin = reach / 2;
        let near = blocks.get(begin..blocks.len().min(reach + 1)).unwrap_or_default();
        after + (begin + near.partition_point(|block| &*block.urlkey < urlkey)).saturating_sub(1)
    }
}

fn parse_summary_line(line: &[u8], shards: &mut BTreeMap<String, Arc<str>>) -> Result<BlockRef, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "not utf-8")?;
    let mut columns = line.split('\t');
    let (Some(first), Some(shard), Some(offset), Some(length)) =
        (columns.next(), columns.next(), columns.next(), columns.next())
    else {
        return Err("fewer than four columns");
    };
    let (urlkey, timestamp) = first.rsplit_once(' ').ok_or("no timestamp after the urlkey")?;
    let offset = offset.parse().map_err(|_| "the offset is no number")?;
    let length = length.parse().map_err(|_| "the length is no number")?;
    let shard = match shards.get(shard) {
        Some(known) => Arc::clone(known),
        None => {
            let name: Arc<str> = shard.into();
            shards.insert(shard.to_owned(), Arc::clone(&name));
            name
        }
    };
    Ok(BlockRef { urlkey: urlkey.into(), timestamp: timestamp.into(), shard, offset, length })
}

/// Where pywb's shards lie: its `.loc` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardLocations {
    paths: BTreeMap<String, Vec<String>>,
}

impl ShardLocations {
    /// Reads a line a shard: its name and the paths to try in order, separated by tabs.
    ///
    /// # Errors
    /// A line without a path, by its number.
    pub fn parse(text: &str) -> Result<Self, CdxError> {
        let mut paths = BTreeMap::new();
        for (line, line_number) in text.lines().zip(1..) {
            let mut columns = line.split('\t').map(str::trim);
            let shard = columns.next().unwrap_or_default();
            let tried: Vec<String> = columns.filter(|path| !path.is_empty()).map(str::to_owned).collect();
            if shard.is_empty() || tried.is_empty() {
                return Err(CdxError::BadSummaryLine { line_number, cause: "no shard with a path" });
            }
            paths.insert(shard.to_owned(), tried);
        }
        Ok(Self { paths })
    }

    /// The paths of a shard, in the order to try them; none for one that is not listed.
    #[must_use]
    pub fn paths_of(&self, shard: &str) -> &[String] {
        self.paths.get(shard).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Why a block ends early.
#[derive(Debug, thiserror::Error)]
pub enum BlockDamage {
    /// It does not inflate.
    #[error(transparent)]
    Inflate(#[from] InflateError),
    /// The range of bytes holds more than the one gzip member that a block is.
    #[error("{bytes} bytes follow the block's gzip member")]
    BytesAfter {
        /// How many.
        bytes: usize,
    },
    /// A line is too long.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
}

/// Where a line lies in its block's text.
#[derive(Clone, Copy, Debug)]
struct Span {
    begin: usize,
    /// End of the urlkey, which ends at the line's first space.
    key_end: usize,
    /// Without the line end.
    end: usize,
}

/// The lines of a block, as many as could be read.
#[derive(Debug)]
pub struct BlockLines {
    text: Vec<u8>,
    lines: Vec<Span>,
    /// Why there are no more of them, where the block is not whole.
    pub damage: Option<BlockDamage>,
}

impl BlockLines {
    /// The lines in order, without their line ends.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().map(|line| self.text.get(line.begin..line.end).unwrap_or_default())
    }

    /// How many whole lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no whole line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        let line = self.lines.get(index)?;
        self.text.get(line.begin..line.end)
    }

    /// The urlkeys of the lines from `first` on.
    fn keys_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        let lines = self.lines.get(first..).unwrap_or_default();
        lines.iter().map(|line| self.text.get(line.begin..line.key_end).unwrap_or_default())
    }
}

/// Inflates one block and cuts it into lines; the last one may lack its line end, unless the block is damaged.
#[must_use]
pub fn block_lines(stored: &[u8], limits: &Limits) -> BlockLines {
    let inflated = inflate::inflate_member(stored, "record_bytes", limits.record_bytes, limits);
    let mut damage = match inflated.end {
        Err(cause) => Some(BlockDamage::Inflate(cause)),
        Ok(()) if inflated.compressed_bytes < stored.len() => {
            Some(BlockDamage::BytesAfter { bytes: stored.len() - inflated.compressed_bytes })
        }
        Ok(()) => None,
    };
    let text = inflated.bytes;
    let whole = matches!(damage, None | Some(BlockDamage::BytesAfter { .. }));
    let mut lines = Vec::with_capacity(text.len() / LINE_BYTES);
    let mut begin = 0;
    while begin < text.len() {
        let rest = text.get(begin..).unwrap_or_default();
        let length = memchr::memchr(b'\n', rest);
        if length.is_none() && !whole {
            break;
        }
        let length = length.unwrap_or(rest.len());
        if u64::try_from(length).expect("usize fits u64") > limits.line_bytes {
            damage = Some(LimitExceeded { what: "line_bytes", limit: limits.line_bytes }.into());
            break;
        }
        let line = rest.get(..length).unwrap_or_default().trim_ascii_end();
        if !line.is_empty() {
            let key_length = memchr::memchr(b' ', line).unwrap_or(line.len());
            lines.push(Span { begin, key_end: begin + key_length, end: begin + line.len() });
        }
        begin += length + 1;
    }
    BlockLines { text, lines, damage }
}

/// Merges ascending keys with an index: each block is read at most once, and only where a key may be in it.
///
/// After an error the walk may go on with the next key; a block that could not be read is then asked again
/// where that key may be in it.
pub struct IndexWalk<'a, R> {
    index: &'a ClusterIndex,
    limits: Limits,
    read_block: R,
    /// The block read last, its number in the index, and the first line that is not behind the walk.
    current: Option<(usize, BlockLines, usize)>,
    asked: Option<String>,
    found: Vec<CaptureLine>,
    blocks_read: u64,
    bytes_read: u64,
    lines_read: u64,
}

impl<R> std::fmt::Debug for IndexWalk<'_, R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("IndexWalk")
            .field("asked", &self.asked)
            .field("blocks_read", &self.blocks_read)
            .field("bytes_read", &self.bytes_read)
            .finish_non_exhaustive()
    }
}

impl<'a, R: FnMut(&BlockRef) -> Result<Vec<u8>, ReadError>> IndexWalk<'a, R> {
    /// A walk that stands before the first key; `read_block` gives a block's bytes as stored.
    pub fn new(index: &'a ClusterIndex, limits: Limits, read_block: R) -> Self {
        Self {
            index,
            limits,
            read_block,
            current: None,
            asked: None,
            found: Vec::new(),
            blocks_read: 0,
            bytes_read: 0,
            lines_read: 0,
        }
    }

    /// Blocks read so far.
    pub fn blocks_read(&self) -> u64 {
        self.blocks_read
    }

    /// Bytes of those blocks as stored.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Lines of those blocks.
    pub fn lines_read(&self) -> u64 {
        self.lines_read
    }

    /// All captures of a key, in the order of the index; asking the same key again gives them again.
    ///
    /// # Errors
    /// A key smaller than the one before; a block that cannot be read, is damaged, does not begin as the
    /// summary says or is out of order; a line of this key that breaks the format.
    pub fn captures_of(&mut self, urlkey: &str) -> Result<&[CaptureLine], CdxError> {
        match self.asked.as_deref() {
            Some(asked) if asked == urlkey => return Ok(&self.found),
            Some(asked) if asked > urlkey => return Err(CdxError::KeysDescend { urlkey: urlkey.to_owned() }),
            _ => {}
        }
        self.found.clear();
        // Not yet noted as asked: after an error, asking again must not answer with what was found before it.
        self.asked = None;
        let result = self.collect(urlkey);
        if result.is_err() {
            self.found.clear();
            self.current = None;
        }
        result?;
        self.asked = Some(urlkey.to_owned());
        Ok(&self.found)
    }

    fn collect(&mut self, urlkey: &str) -> Result<(), CdxError> {
        let behind = self.current.as_ref().map_or(0, |(number, ..)| *number);
        let mut number = self.index.first_block_for(urlkey, behind);
        while let Some(block) = self.index.blocks.get(number) {
            // No later block can hold the key either.
            if *block.urlkey > *urlkey {
                break;
            }
            if self.current.as_ref().is_none_or(|(current, ..)| *current != number) {
                self.current = Some((number, self.read(block)?, 0));
            }
            let (_, lines, at) = self.current.as_mut().expect("the block was read just now");
            let first = *at;
            for (number, key) in (first..).zip(lines.keys_from(first)) {
                match key.cmp(urlkey.as_bytes()) {
                    Ordering::Less => {}
                    Ordering::Equal => {
                        let line = lines.get(number).unwrap_or_default();
                        let capture = CaptureLine::parse(line);
                        self.found.push(capture.map_err(|cause| bad_line(block, number, cause.to_string()))?);
                    }
                    Ordering::Greater => {
                        *at = number;
                        return Ok(());
                    }
                }
            }
            *at = lines.len();
            number += 1;
        }
        Ok(())
    }

    fn read(&mut self, block: &BlockRef) -> Result<BlockLines, CdxError> {
        let stored = (self.read_block)(block).map_err(|source| CdxError::ReadBlock {
            shard: Arc::clone(&block.shard),
            offset: block.offset,
            source,
        })?;
        self.blocks_read += 1;
        self.bytes_read += u64::try_from(stored.len()).expect("usize fits u64");
        let mut lines = block_lines(&stored, &self.limits);
        self.lines_read += u64::try_from(lines.len()).expect("usize fits u64");
        if let Some(source) = lines.damage.take() {
            return Err(CdxError::DamagedBlock {
                shard: Arc::clone(&block.shard),
                offset: block.offset,
                lines: lines.len(),
                source,
            });
        }
        let first = [block.urlkey.as_bytes(), b" ", block.timestamp.as_bytes(), b" "].concat();
        if !lines.get(0).is_some_and(|line| line.starts_with(&first)) {
            return Err(bad_line(block, 0, "it is not the first line that the summary tells of".to_owned()));
        }
        let mut last: &[u8] = &[];
        for (at, key) in lines.keys_from(0).enumerate() {
            if key < last {
                return Err(bad_line(block, at, "it is out of order".to_owned()));
            }
            last = key;
        }
        Ok(lines)
    }
}

fn bad_line(block: &BlockRef, at: usize, cause: String) -> CdxError {
    CdxError::BadBlockLine { shard: Arc::clone(&block.shard), offset: block.offset, line_number: at + 1, cause }
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
