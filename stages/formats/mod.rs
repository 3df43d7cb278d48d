//! The formats of the outside world: readers that are exact, bounded and free of any stage's concerns.

pub mod cdx;
pub mod encoding;
pub mod http;
pub mod inflate;
pub mod lines;
pub mod outside;
pub mod page;
pub mod sentences;
mod skim;
pub mod surt;
pub mod surt_ranges;
pub mod warc;
