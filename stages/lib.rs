//! The ten stages of weft, and the formats that they read.

pub mod extract;
pub mod formats;
pub mod matching;
