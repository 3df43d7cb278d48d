//! Figures of a manifest: what is said of a source before anybody has read it, with who says it.
//!
//! Only estimates look at them, and only where neither a lock file nor a run knows better; no run depends on one.

use serde::Deserialize;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Counted {
    /// Lines of the source files.
    Documents,
    /// Bytes of the source files as stored.
    SourceBytes,
    /// Captures of the crawl with status 200.
    Pages,
    /// WARC files of those captures.
    WarcFiles,
    /// Their bytes.
    WarcBytes,
    /// Blocks of the index.
    IndexBlocks,
    /// Bytes of the index's blocks as stored.
    IndexBytes,
}

/// How good a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Basis {
    /// Somebody who counted says so.
    Published,
    /// Concluded from what is known of something like it.
    Assumed,
}

/// One figure: an entry of `[[figures]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figure {
    pub(crate) of: Counted,
    pub(crate) value: u64,
    pub(crate) basis: Basis,
    /// Who says it, and where.
    pub(crate) from: String,
}
