//! The formats of the outside world: readers that are exact, bounded and free of any stage's concerns.

pub mod encoding;
pub mod page;
pub mod sentences;
