//! The ten stages of weft, and the formats that they read.
//!
//! Listing this folder shows the pipeline; [`all`] is its order.

use weft_core::stage::{Entry, entry};

pub mod crawl;
mod evidence;
pub mod fetch;
pub mod extract;
pub mod formats;
pub mod ingest;
pub mod locate;
pub mod matching;

#[cfg(test)]
mod archive_org_test;

/// The stages, in pipeline order.
#[must_use]
pub fn all() -> &'static [Entry] {
    static ALL: std::sync::LazyLock<Vec<Entry>> =
        std::sync::LazyLock::new(|| vec![entry::<ingest::Ingest>(), entry::<locate::Locate>(), entry::<fetch::Fetch>()]);
    &ALL
}
pub mod assign;
pub mod dedup;
pub mod interleave;
mod joins;
pub mod select;
