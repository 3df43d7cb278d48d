//! Pixels and strings in, numbers out.
