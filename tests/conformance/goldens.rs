//! Goldens of our own.
