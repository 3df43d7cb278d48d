//! The formats of the outside world: readers that are exact, bounded and free of any stage's concerns.

pub mod cdx;
pub mod columnar;
pub mod content;
pub mod domain;
pub mod encoding;
pub mod http;
pub mod index;
pub mod inflate;
pub mod lines;
pub mod outside;
pub mod page;
pub mod sentences;
mod skim;
pub mod surt;
pub mod surt_ranges;
pub mod time;
pub mod warc;
pub mod zip;
