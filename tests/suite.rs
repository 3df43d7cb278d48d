//! Promises of weft as a whole: one file each.

#![expect(clippy::unwrap_used, reason = "a step of a test that fails is a failed test")]
#![expect(clippy::print_stderr, reason = "a skipped test must be seen")]

mod archive_org;
mod bad_input;
mod bigcrawl;
mod conformance;
mod crash;
mod engines;
mod estimate;
mod fronts;
mod layering;
mod locate;
mod lock;
mod memory;
mod resume;
mod s3;
mod sources;
mod support;
mod tiny;
