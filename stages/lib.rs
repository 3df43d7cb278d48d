//! The ten stages of weft, and the formats that they read.
//!
//! Listing this folder shows the pipeline; [`ALL`] is its order.

use weft_core::stage::Entry;

pub mod crawl;
mod evidence;
pub mod fetch;
pub mod formats;
pub mod ingest;
pub mod locate;
pub mod matching;

/// The stages, in pipeline order.
pub static ALL: &[Entry] = &[];
#[cfg(test)]
mod archive_org_test;
