//! The ten stages of weft, and the formats that they read.

pub mod crawl;
mod evidence;
pub mod fetch;
pub mod formats;
pub mod ingest;
pub mod locate;
pub mod matching;

#[cfg(test)]
mod archive_org_test;
