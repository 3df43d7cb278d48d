//! Promises of weft as a whole: one file each.

mod archive_org;
mod bad_input;
mod conformance;
mod crash;
mod layering;
mod memory;
mod support;
mod tiny;
