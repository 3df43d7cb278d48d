//! The web server for tests, under the name that tests of the stages know.

pub(crate) use weft_tinyweb::server::{Fault, Server};
