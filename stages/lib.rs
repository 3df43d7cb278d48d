//! The ten stages of weft, and the formats that they read.

pub mod formats;
pub mod matching;
