//! Pixels and strings in, numbers out.

pub mod decode;
pub mod encode;
pub mod phash;
pub mod preprocess;
pub mod resample;
