
pub mod cdx;
pub mod http;
pub mod inflate;
pub mod sentences;
pub mod surt;
pub mod warc;
