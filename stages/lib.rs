//! The ten stages of weft, and the formats that they read.

pub mod assign;
pub mod dedup;
pub mod formats;
pub mod interleave;
mod joins;
pub mod matching;
pub mod select;
