//! Makes the tiny illustrated web.
