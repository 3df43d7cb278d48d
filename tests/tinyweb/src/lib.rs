//! Makes a small illustrated web of our own, laid out as Common Crawl lays out a real one.
//!
//! [`make`] writes articles, draws their pictures, breaks some of both on purpose, and archives the lot: WARC
//! files, a ZipNum index, C4 documents, and [`Truth`], which says what a pipeline should find. The same
//! [`Shape`] gives the same bytes; nothing depends on time, threads or hash maps. Arithmetic on pixels is in
//! integers, so that machines agree.
//!
//! [`draw`], [`sentence`] and their relatives are public, so that a small image-text model can be trained on
//! as many pairs as it likes, drawn as these are.

mod archive;
mod broken;
mod illustrate;
mod page;
mod picture;
mod plain;
mod prose;
mod raster;
mod rng;
mod scene;
pub mod server;
mod truth;
mod web;

pub use archive::surt_key;
pub use picture::{Ad, Portrait, draw_ad, draw_flagged, draw_header, draw_portrait, portrait_sentence};
pub use plain::{PlainShape, make_plain};
pub use rng::Rng;
pub use scene::{Backdrop, Colour, Figure, Place, Scene, Size, draw, sentence};
pub use truth::{BadLine, DocumentTruth, ImageTruth, Kind, Locate, PageTruth, Reference, Trick, Truth};
pub use web::{CRAWL, Served, Shape, Web, WriteError, make, pages_served, write};
