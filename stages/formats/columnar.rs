//! Finds captures in Common Crawl's columnar index: Parquet files sorted by `url_surtkey`, in row groups.
//!
//! Its summary ([`TableSummary`]) is a text that weft makes once of the footers of all parts, and that stands for the
//! table as `cluster.idx` stands for a ZipNum index: a JSON line for each part (path, size, digest of the footer) and
//! one for each of its row groups (rows, first and last key by the statistics). It is the table's identity, gives the
//! SURT ranges of the corpus shards, and says which row groups can be left alone. A row group without usable
//! statistics may hold any key. Truncated statistics bound as well: a minimum is only ever cut shorter, a maximum
//! rounded up.
//!
//! [`TableWalk`] answers ascending keys: each row group is read at most once, and not at all where no key can be in
//! it. Each row group is one sorted sequence; groups and files may overlap and come in any order. Order within a group
//! is checked, not trusted: a key out of order, or outside the group's statistics, is damage.
//!
//! Of the 30 columns eleven are read. A capture's place and identity are seven (`url_surtkey`, `url`, `fetch_time`,
//! `fetch_status`, `warc_filename`, `warc_record_offset`, `warc_record_length`): the key alone names a page, not a
//! capture. `content_digest` tells one payload from two and is checked against the record; `content_mime_detected` is
//! what `extract` goes by; `content_mime_type` tells a revisit; `fetch_redirect` saves image look-ups a record. The
//! last four compress to little. The key column drives; of the others only pages with a wanted row are inflated. The
//! nested schema has the same columns as leaves of structs (`url.surtkey`, `warc.record_offset`).
//!
//! Memory: of each row group that the walk stands in, a window of at most [`WINDOWS_BYTES`] in all for each of the
//! columns, and a page of each; usually three groups, one a subset. O(rows of the groups read).

mod footer;
mod group;
mod header;
mod pages;
mod walk;

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weft_core::limits::{LimitExceeded, Limits};

pub use self::footer::summarise;
pub use self::pages::Traffic;
pub use self::walk::{TableFault, TableWalk};
use super::outside::OutsideError;

/// Bytes of the windows of one row group's columns together, with one group open.
pub const WINDOWS_BYTES: u64 = 96 << 20;
/// The summary's version.
const VERSION: u32 = 1;

/// Why a table could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TableError {
    /// Bytes could not be had.
    #[error(transparent)]
    Outside {
        /// Why.
        source: Arc<OutsideError>,
    },
    /// A file is no part of a columnar index, or is damaged.
    #[error("{place}: {cause}")]
    Damaged {
        /// Where in the file.
        place: String,
        /// What is wrong.
        cause: String,
    },
}

/// Why a summary could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// Reading it failed.
    #[error("failed to read line {line_number} of the table's summary")]
    Read {
        /// From 1.
        line_number: u64,
        /// The reader's error.
        #[source]
        source: io::Error,
    },
    /// A line breaks the format.
    #[error("bad line {line_number}: {cause}")]
    BadLine {
        /// From 1.
        line_number: u64,
        /// What is wrong with it.
        cause: String,
    },
}

/// A line of the summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Line {
    /// The first line.
    Columnar { version: u32 },
    /// A file; its row groups follow.
    Part { path: String, bytes: u64, footer_bytes: u64, footer_sha256: String },
    /// A row group: its rows, and its first and last key where its statistics tell.
    Group { rows: u64, keys: Option<(String, String)> },
}

/// A file of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRef {
    /// Below the crawl's root.
    pub path: Arc<str>,
    /// The file's size.
    pub bytes: u64,
    /// Of these the last ones that are the footer, its length and magic included.
    pub footer_bytes: u64,
    /// Of the footer, 64 hex digits.
    pub footer_sha256: String,
}

/// A row group of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRef {
    /// The part's number.
    pub part: usize,
    /// The group's number in the part.
    pub row_group: usize,
    /// Rows in it.
    pub rows: u64,
    /// Bounds of its keys, both inclusive; none where any key may be in it.
    pub keys: Option<(Box<str>, Box<str>)>,
}

impl GroupRef {
    /// Whether `urlkey` may be in it.
    #[must_use]
    pub fn may_hold(&self, urlkey: &str) -> bool {
        self.keys.as_ref().is_none_or(|(first, last)| (&**first..=&**last).contains(&urlkey))
    }

    /// The smallest key that may be in it.
    #[must_use]
    pub fn first(&self) -> &str {
        self.keys.as_ref().map_or("", |(first, _)| first)
    }

    /// Whether all its keys are smaller than `urlkey`.
    fn is_behind(&self, urlkey: &str) -> bool {
        self.keys.as_ref().is_some_and(|(_, last)| **last < *urlkey)
    }
}

/// A columnar index, described: its parts and their row groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSummary {
    parts: Vec<PartRef>,
    groups: Vec<GroupRef>,
    /// The groups by their first key.
    by_first: Vec<usize>,
}

impl TableSummary {
    /// Whether a text that begins so is a table's summary, and not that of a ZipNum index.
    #[must_use]
    pub fn is_begun_by(begin: &[u8]) -> bool {
        begin.starts_with(b"{\"columnar\":")
    }

    /// Reads a whole summary. Common Crawl's has a few thousand lines.
    ///
    /// # Errors
    /// A line that breaks the format, by its number.
    pub fn parse(mut text: impl BufRead, limits: &Limits) -> Result<Self, SummaryError> {
        let mut summary = Self::default();
        let mut next_row_group = 0;
        let mut paths: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut line = Vec::new();
        for line_number in 1.. {
            line.clear();
            let read = (&mut text).take(limits.line_bytes + 1).read_until(b'\n', &mut line);
            let read = read.map_err(|source| SummaryError::Read { line_number, source })?;
            if read == 0 {
                break;
            }
            if u64::try_from(read).expect("usize fits u64") > limits.line_bytes {
                let exceeded = LimitExceeded { what: "line_bytes", limit: limits.line_bytes };
                return Err(SummaryError::Read { line_number, source: exceeded.into() });
            }
            let bad = |cause: &str| SummaryError::BadLine { line_number, cause: cause.to_owned() };
            let parsed: Line = serde_json::from_slice(&line).map_err(|cause| bad(&cause.to_string()))?;
            match parsed {
                Line::Columnar { version: VERSION } if line_number == 1 => {}
                Line::Columnar { .. } => return Err(bad("a summary of another version")),
                _ if line_number == 1 => return Err(bad("not a table's summary")),
                Line::Part { path, bytes, footer_bytes, footer_sha256 } => {
                    let path: Arc<str> = path.into();
                    if !paths.insert(Arc::clone(&path)) {
                        return Err(bad("the part stands there twice"));
                    }
                    next_row_group = 0;
                    summary.parts.push(PartRef { path, bytes, footer_bytes, footer_sha256 });
                }
                Line::Group { rows, keys } => {
                    let part = summary.parts.len().checked_sub(1).ok_or_else(|| bad("a row group without a part"))?;
                    if keys.as_ref().is_some_and(|(first, last)| first > last) {
                        return Err(bad("the last key is smaller than the first"));
                    }
                    let keys = keys.map(|(first, last)| (first.into(), last.into()));
                    summary.groups.push(GroupRef { part, row_group: next_row_group, rows, keys });
                    next_row_group += 1;
                }
            }
        }
        summary.by_first = (0..summary.groups.len()).collect();
        // Ties keep the order of the summary.
        summary.by_first.sort_by(|&left, &right| summary.groups[left].first().cmp(summary.groups[right].first()));
        Ok(summary)
    }

    /// The files.
    #[must_use]
    pub fn parts(&self) -> &[PartRef] {
        &self.parts
    }

    /// The row groups, file by file.
    #[must_use]
    pub fn groups(&self) -> &[GroupRef] {
        &self.groups
    }

    /// The numbers of the row groups by their first key; those that may hold any key come first.
    #[must_use]
    pub fn by_first(&self) -> &[usize] {
        &self.by_first
    }

    /// Where a row group is, for messages.
    #[must_use]
    pub fn place_of(&self, group: usize) -> (Arc<str>, usize) {
        let group = &self.groups[group];
        (Arc::clone(&self.parts[group.part].path), group.row_group)
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
