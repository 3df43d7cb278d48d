//! Runs one command and exits.
fn main() {}
