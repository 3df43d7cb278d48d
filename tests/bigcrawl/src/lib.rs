//! Makes a large crawl's index and documents of known fate, and checks what was located against them.
//!
//! [`make()`] writes a ZipNum index laid out as Common Crawl's, on request its columnar form too, documents in C4's
//! form, and a truth file with one line a document: the capture that it has, or why it has none. Everything is a
//! function of [`Shape`]: the same shape gives the same bytes. [`check()`] compares the tables of a run with the truth,
//! exactly. [`inflate()`] inflates the index with bare libdeflate: what a merge can be measured against; [`walk()`] is the
//! merge alone, without the tables of `locate`.
//!
//! Memory is bounded whatever the size: urlkeys are counted up in their own order (see `sites`), so that nothing is
//! ever sorted but the captures of one key and one file's documents. There are no WARC files: a recipe over this
//! crawl ends at `locate`. All hosts are under names reserved for examples and tests (RFC 2606).

mod captures;
mod check;
mod columnar;
mod documents;
mod inflate;
mod make;
mod plant;
mod run;
mod sites;
mod truth;
mod walk;
mod zipnum;

pub use check::{Checked, check};
pub use columnar::FetchTime;
pub use inflate::{Inflated, inflate};
pub use make::{CRAWL, Made, Shape, make};
pub use walk::{Walked, walk};
