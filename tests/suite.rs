//! Promises of weft as a whole: one file each.

mod archive_org;
mod bad_input;
mod crash;
mod engines;
mod layering;
mod memory;
mod support;
mod tiny;
