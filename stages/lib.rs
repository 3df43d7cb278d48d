//! The ten stages of weft, and the formats that they read.
//!
//! Listing this folder shows the pipeline; [`all`] is its order.

use std::sync::LazyLock;

use weft_core::stage::{Entry, entry};

pub mod assign;
pub mod crawl;
pub mod dedup;
pub mod download;
mod evidence;
pub mod extract;
pub mod fetch;
pub mod formats;
pub mod ingest;
pub mod interleave;
mod joins;
pub mod locate;
pub mod matching;
pub mod measure;
pub mod references;
mod response;
pub mod select;

#[cfg(test)]
mod archive_org_test;

static ALL: LazyLock<[Entry; 10]> = LazyLock::new(|| {
    [
        entry::<ingest::Ingest>(),
        entry::<locate::Locate>(),
        entry::<fetch::Fetch>(),
        entry::<extract::Extract>(),
        entry::<download::Download>(),
        entry::<dedup::Dedup>(),
        entry::<measure::Measure>(),
        entry::<select::Select>(),
        entry::<assign::Assign>(),
        entry::<interleave::Interleave>(),
    ]
});

/// The stages, in pipeline order.
#[must_use]
pub fn all() -> &'static [Entry] {
    &*ALL
}
