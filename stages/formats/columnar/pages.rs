//! Reads the pages of one column chunk by ranges, within limits.
//!
//! A chunk is read forwards in windows of a few MiB: memory is one window and one page, whatever the chunk's size, and
//! each byte is asked for at most once. Sizes that a page's header tells are checked before anything is read or
//! inflated by them; a page inflates through the capped decoders to exactly the size that it promises. Where a page
//! carries a CRC-32, it is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use weft_core::limits::{LimitExceeded, Limits};

use super::TableError;
use super::header::{self, HeaderError, PageHeader, PageKind};
use crate::formats::inflate::{self, Coding};
use crate::formats::outside::OutsideRoot;

/// Bytes looked at first for a page's header; it is longer where its statistics are.
const HEADER_BYTES: usize = 4 << 10;

/// What was asked of the outside world.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    /// Takes note of one request and what it brought.
    pub fn add(&self, bytes: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(u64::try_from(bytes).expect("usize fits u64"), Ordering::Relaxed);
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A file of the table as its columns are read: shared by the chunks of one row group.
#[derive(Clone, Debug)]
pub(super) struct PartFile {
    pub(super) root: Arc<OutsideRoot>,
    pub(super) path: Arc<str>,
    pub(super) limits: Limits,
    pub(super) traffic: Arc<Traffic>,
}

/// Where a chunk lies and how it is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) values: u64,
    pub(super) compression: Compression,
}

/// The pages of a chunk, for the decoders of the `parquet` package.
pub(super) struct Pages {
    file: PartFile,
    chunk: Chunk,
    /// Bytes of one request, unless a page is larger.
    window_bytes: u64,
    /// What was read last, from `window_start` on.
    window: Bytes,
    window_start: u64,
    /// Where the next header begins.
    at: u64,
    /// The next page's header, once read.
    header: Option<PageHeader>,
    /// Values of the data pages so far.
    values_seen: u64,
    /// Whether a dictionary was given: a page that needs one without it is damage.
    has_dictionary: bool,
}

impl Pages {
    pub(super) fn new(file: PartFile, chunk: Chunk, window_bytes: u64) -> Self {
        let at = chunk.start;
        let window = Bytes::new();
        Self {
            file,
            chunk,
            window_bytes,
            window,
            window_start: at,
            at,
            header: None,
            values_seen: 0,
            has_dictionary: false,
        }
    }

    fn bad(&self, cause: impl Into<String>) -> ParquetError {
        let place = format!("page at byte {}", self.at);
        external(TableError::Damaged { place, cause: cause.into() })
    }

    /// What is in the window from `from` on, at least `length` bytes, read where they are not yet there; fewer only
    /// where the chunk ends.
    fn bytes_from(&mut self, from: u64, length: usize) -> Result<Bytes, ParquetError> {
        let wanted = u64::try_from(length).expect("usize fits u64").min(self.chunk.end.saturating_sub(from));
        let window_end = self.window_start + u64::try_from(self.window.len()).expect("usize fits u64");
        if from < self.window_start || from + wanted > window_end {
            // What is left of the window is kept: no byte is asked for twice.
            let kept = match from.checked_sub(self.window_start).and_then(|skip| usize::try_from(skip).ok()) {
                Some(skip) if skip <= self.window.len() => self.window.slice(skip..),
                _ => Bytes::new(),
            };
            let kept_bytes = u64::try_from(kept.len()).expect("usize fits u64");
            let start = from + kept_bytes;
            let most = self.chunk.end.saturating_sub(start);
            let asked = self.window_bytes.max(wanted - kept_bytes).min(most);
            let read = self.file.root.read_range(&self.file.path, start, asked);
            let read = read.map_err(|source| external(TableError::Outside { source: Arc::new(source) }))?;
            self.file.traffic.add(read.len());
            self.window = if kept.is_empty() { read.into() } else { [kept.as_ref(), read.as_slice()].concat().into() };
            self.window_start = from;
        }
        let skip = usize::try_from(from - self.window_start).expect("within the window");
        Ok(self.window.slice(skip..))
    }

    /// The next page's header, none at the chunk's end; pages of other kinds are passed over.
    fn peek(&mut self) -> Result<Option<PageHeader>, ParquetError> {
        loop {
            if let Some(header) = &self.header {
                return Ok(Some(header.clone()));
            }
            if self.at >= self.chunk.end || self.values_seen >= self.chunk.values {
                return Ok(None);
            }
            let header = self.read_header()?;
            let length = header.header_bytes + header.compressed_bytes;
            if u64::try_from(length).expect("usize fits u64") > self.chunk.end - self.at {
                return Err(self.bad(format!("its {length} bytes do not end within the column")));
            }
            let largest = header.compressed_bytes.max(header.uncompressed_bytes);
            let limit = self.file.limits.record_bytes;
            if u64::try_from(largest).expect("usize fits u64") > limit {
                return Err(self.bad(LimitExceeded { what: "record_bytes", limit }.to_string()));
            }
            if let PageKind::Data { values, .. } | PageKind::DataV2 { values, .. } = header.kind
                && u64::from(values) > self.chunk.values - self.values_seen
            {
                return Err(self.bad(format!("it holds more than the {} values of the column", self.chunk.values)));
            }
            // No column of the table repeats: a row is a value. Skipping relies on it.
            if matches!(header.kind, PageKind::DataV2 { values, rows, .. } if values != rows) {
                return Err(self.bad("it holds another number of rows than of values"));
            }
            if header.kind == PageKind::Other {
                self.at += u64::try_from(length).expect("usize fits u64");
            } else {
                self.header = Some(header);
            }
        }
    }

    fn read_header(&mut self) -> Result<PageHeader, ParquetError> {
        let mut looked_at = HEADER_BYTES;
        loop {
            let bytes = self.bytes_from(self.at, looked_at)?;
            match header::read(&bytes) {
                Ok(header) => return Ok(header),
                Err(HeaderError::Bad(cause)) => return Err(self.bad(cause)),
                Err(HeaderError::CutOff) => {}
            }
            let limit = self.file.limits.header_bytes;
            if u64::try_from(bytes.len()).expect("usize fits u64") >= self.chunk.end - self.at {
                return Err(self.bad("its header does not end within the column"));
            }
            if u64::try_from(bytes.len()).expect("usize fits u64") >= limit {
                return Err(self.bad(LimitExceeded { what: "header_bytes", limit }.to_string()));
            }
            looked_at = looked_at.max(bytes.len()).saturating_mul(2);
        }
    }

    /// Goes behind the page of `header`.
    fn pass(&mut self, header: &PageHeader) {
        self.at += u64::try_from(header.header_bytes + header.compressed_bytes).expect("usize fits u64");
        if let PageKind::Data { values, .. } | PageKind::DataV2 { values, .. } = header.kind {
            self.values_seen += u64::from(values);
        }
        self.header = None;
    }

    fn page(&mut self, header: &PageHeader) -> Result<Page, ParquetError> {
        let body = self.at + u64::try_from(header.header_bytes).expect("usize fits u64");
        let stored = self.bytes_from(body, header.compressed_bytes)?;
        let stored = stored.get(..header.compressed_bytes).map(|_| stored.slice(..header.compressed_bytes));
        let Some(stored) = stored else { return Err(self.bad("it does not end within the column")) };
        if let Some(expected) = header.crc {
            let mut crc = libdeflater::Crc::new();
            crc.update(&stored);
            if crc.sum() != expected {
                return Err(self.bad("its bytes do not match its checksum"));
            }
        }
        let encoding = |number: i32| self.encoding(number);
        Ok(match header.kind {
            PageKind::Dictionary { values, encoding: number, is_sorted } => Page::DictionaryPage {
                buf: self.inflate(stored, header.uncompressed_bytes)?,
                num_values: values,
                encoding: encoding(number)?,
                is_sorted,
            },
            PageKind::Data { values, encoding: number, definition_encoding, repetition_encoding } => Page::DataPage {
                buf: self.inflate(stored, header.uncompressed_bytes)?,
                num_values: values,
                encoding: encoding(number)?,
                def_level_encoding: encoding(definition_encoding)?,
                rep_level_encoding: encoding(repetition_encoding)?,
                statistics: None,
            },
            PageKind::DataV2 {
                values,
                nulls,
                rows,
                encoding: number,
                definition_bytes,
                repetition_bytes,
                is_compressed,
            } => Page::DataPageV2 {
                buf: self.inflate_v2(stored, header, u64::from(definition_bytes) + u64::from(repetition_bytes))?,
                num_values: values,
                encoding: encoding(number)?,
                num_nulls: nulls,
                num_rows: rows,
                def_levels_byte_len: definition_bytes,
                rep_levels_byte_len: repetition_bytes,
                is_compressed,
                statistics: None,
            },
            PageKind::Other => return Err(self.bad("it is of no known kind")),
        })
    }

    /// A page of the second version: its levels stand before the values and are never compressed.
    fn inflate_v2(&self, stored: Bytes, header: &PageHeader, levels: u64) -> Result<Bytes, ParquetError> {
        let levels = usize::try_from(levels).ok().filter(|levels| *levels <= stored.len());
        let Some((levels, values_bytes)) =
            levels.and_then(|levels| Some((levels, header.uncompressed_bytes.checked_sub(levels)?)))
        else {
            return Err(self.bad("its levels do not end within it"));
        };
        if matches!(header.kind, PageKind::DataV2 { is_compressed: false, .. }) {
            return Ok(stored);
        }
        let values = self.inflate(stored.slice(levels..), values_bytes)?;
        if levels == 0 {
            return Ok(values);
        }
        Ok([&stored.slice(..levels)[..], &values[..]].concat().into())
    }

    fn inflate(&self, stored: Bytes, uncompressed_bytes: usize) -> Result<Bytes, ParquetError> {
        let coding = match self.chunk.compression {
            Compression::UNCOMPRESSED if stored.len() == uncompressed_bytes => return Ok(stored),
            Compression::UNCOMPRESSED => {
                return Err(self.bad(format!("it has {} bytes and promises {uncompressed_bytes}", stored.len())));
            }
            // No values at all.
            _ if uncompressed_bytes == 0 => return Ok(Bytes::new()),
            Compression::SNAPPY => return self.inflate_snappy(&stored, uncompressed_bytes),
            Compression::GZIP(_) => Coding::Gzip,
            Compression::ZSTD(_) => Coding::Zstd,
            Compression::BROTLI(_) => Coding::Brotli,
            other => return Err(self.bad(format!("its compression is not supported: {other}"))),
        };
        let limit = u64::try_from(uncompressed_bytes).expect("usize fits u64");
        let inflated = inflate::decode(coding, &stored, "uncompressed_page_size", limit, &self.file.limits);
        if let Err(cause) = inflated.end {
            return Err(self.bad(cause.to_string()));
        }
        if inflated.bytes.len() != uncompressed_bytes {
            let found = inflated.bytes.len();
            return Err(self.bad(format!("it inflates to {found} bytes and promises {uncompressed_bytes}")));
        }
        Ok(inflated.bytes.into())
    }

    fn inflate_snappy(&self, stored: &[u8], uncompressed_bytes: usize) -> Result<Bytes, ParquetError> {
        // The length that the block itself promises is what the decoder allocates.
        let promised = snap::raw::decompress_len(stored).map_err(|cause| self.bad(cause.to_string()))?;
        if promised != uncompressed_bytes {
            return Err(self.bad(format!("it inflates to {promised} bytes and promises {uncompressed_bytes}")));
        }
        let inflated = snap::raw::Decoder::new().decompress_vec(stored);
        inflated.map(Bytes::from).map_err(|cause| self.bad(cause.to_string()))
    }

    /// The format's numbers of encodings (`parquet.thrift`).
    fn encoding(&self, number: i32) -> Result<Encoding, ParquetError> {
        Ok(match number {
            0 => Encoding::PLAIN,
            2 => Encoding::PLAIN_DICTIONARY,
            3 => Encoding::RLE,
            5 => Encoding::DELTA_BINARY_PACKED,
            6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            7 => Encoding::DELTA_BYTE_ARRAY,
            8 => Encoding::RLE_DICTIONARY,
            9 => Encoding::BYTE_STREAM_SPLIT,
            other => return Err(self.bad(format!("its encoding {other} is not supported"))),
        })
    }
}

fn external(cause: TableError) -> ParquetError {
    ParquetError::External(Box::new(cause))
}

impl Iterator for Pages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let Some(header) = self.peek()? else { return Ok(None) };
        let page = self.page(&header)?;
        self.has_dictionary |= matches!(page, Page::DictionaryPage { .. });
        if matches!(page.encoding(), Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY) && !self.has_dictionary {
            return Err(self.bad("its dictionary is missing"));
        }
        self.pass(&header);
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        let count = |number: u32| usize::try_from(number).expect("u32 fits usize");
        Ok(self.peek()?.map(|header| match header.kind {
            PageKind::Data { values, .. } => {
                PageMetadata { num_rows: None, num_levels: Some(count(values)), is_dict: false }
            }
            PageKind::DataV2 { values, rows, .. } => {
                PageMetadata { num_rows: Some(count(rows)), num_levels: Some(count(values)), is_dict: false }
            }
            PageKind::Dictionary { .. } | PageKind::Other => {
                PageMetadata { num_rows: None, num_levels: None, is_dict: true }
            }
        }))
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        if let Some(header) = self.peek()? {
            self.pass(&header);
        }
        Ok(())
    }
}
