//! The ten stages of weft, and the formats that they read.
//!
//! Listing this folder shows the pipeline; [`ALL`] is its order.

use weft_core::stage::Entry;

pub mod formats;
pub mod matching;

/// The stages, in pipeline order.
pub static ALL: &[Entry] = &[];
