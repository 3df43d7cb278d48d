//! The contract between stages: what a stage is, what crosses from one to the next, and what bounds it.

pub mod limits;
