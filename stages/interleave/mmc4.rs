//! MMC4's form: one JSON object a line, field for field that of the released shards.
//!
//! Keys in the order of the released shards: `url`, `text_list`, `image_info` (`image_name`, `raw_url`,
//! `matched_text_index`, `matched_sim`, `face_detections`), `similarity_matrix` (images × sentences, CLIP cosines
//! of single precision printed as doubles), `could_have_url_duplicate`. Separators and escapes are those of
//! Python's `json.dumps` (see [`json`]), which MMC4's scripts use.
//!
//! `face_detections` is null, as in MMC4's public subsets; the face score stands in our own part.
//! `could_have_url_duplicate` is 0: C4 has one page per URL, and MMC4's doubt came from joining by URL alone.
//! `image_info` lists the images of a document in DOM order. `image_name` is a digest of the URL, since MMC4's own
//! cannot be recomputed.
//!
//! All that MMC4 has no field for comes last, under the one key `weft`: where the page and the image come from,
//! what was measured, and where the image stood. `weft.images` is parallel to `image_info`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use weft_core::context::Context;
use weft_core::stage::StageError;
use weft_core::store::{Store, StoreError, StoreWriter};
use weft_core::write::WriteError;

use crate::interleave::{InterleavedDocument, PlacedImage, commit, json};

/// How the task's report calls these files.
const OUTPUT: &str = "shard:mmc4";

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    url: &'a str,
    text_list: &'a [&'a str],
    image_info: Vec<ImageInfo<'a>>,
    similarity_matrix: Vec<&'a [f32]>,
    could_have_url_duplicate: u8,
    weft: Weft<'a>,
}

#[derive(Serialize)]
struct ImageInfo<'a> {
    image_name: String,
    raw_url: &'a str,
    matched_text_index: u32,
    matched_sim: f32,
    face_detections: (),
}

/// What MMC4 has no field for.
#[derive(Serialize)]
struct Weft<'a> {
    document_id: &'a str,
    /// When the page was captured: 14 digits, UTC; empty where the source does not say.
    timestamp: &'a str,
    /// Null where the source names no record.
    warc: Option<Warc<'a>>,
    images: Vec<WeftImage<'a>>,
}

/// Where the page's record lies, below the crawl's root.
#[derive(Serialize)]
struct Warc<'a> {
    filename: &'a str,
    offset: u64,
    length: u64,
}

#[derive(Serialize)]
struct WeftImage<'a> {
    /// Position among the page's candidates, in DOM order.
    image_index: u32,
    /// Of the bytes as transferred, 64 hex digits.
    sha256: &'a str,
    /// In pixels, before resizing.
    width: u32,
    /// In pixels, before resizing.
    height: u32,
    /// 16 hex digits, as imagehash prints it.
    phash: String,
    alt: Option<&'a str>,
    /// The last sentence before the image in the page.
    follows_sentence: Option<u32>,
    /// In [0, 1], by detector.
    scores: &'a BTreeMap<&'a str, f32>,
}

impl<'a> Line<'a> {
    fn of(document: &'a InterleavedDocument<'_>) -> Self {
        let InterleavedDocument { outline, images } = document;
        Self {
            url: outline.url,
            text_list: &outline.sentences,
            image_info: images.iter().map(ImageInfo::of).collect(),
            similarity_matrix: images.iter().map(|placed| placed.similarity).collect(),
            could_have_url_duplicate: 0,
            weft: Weft {
                document_id: outline.document_id,
                timestamp: outline.timestamp,
                warc: (!outline.filename.is_empty()).then_some(Warc {
                    filename: outline.filename,
                    offset: outline.offset,
                    length: outline.length,
                }),
                images: images.iter().map(WeftImage::of).collect(),
            },
        }
    }
}

impl<'a> ImageInfo<'a> {
    fn of(placed: &'a PlacedImage<'_>) -> Self {
        Self {
            image_name: placed.name(),
            raw_url: placed.image.image_url,
            matched_text_index: placed.sentence_index,
            matched_sim: placed.matched_similarity,
            face_detections: (),
        }
    }
}

impl<'a> WeftImage<'a> {
    fn of(placed: &'a PlacedImage<'_>) -> Self {
        let image = &placed.image;
        Self {
            image_index: image.image_index,
            sha256: image.sha256,
            width: image.width_px,
            height: image.height_px,
            phash: format!("{:016x}", image.phash),
            alt: image.alt,
            follows_sentence: image.follows_sentence,
            scores: &placed.scores,
        }
    }
}

/// A shard being written.
#[derive(Debug)]
pub struct Mmc4Shard {
    writer: StoreWriter,
    line: Vec<u8>,
    documents: u64,
}

impl Mmc4Shard {
    /// Begins the file.
    #[must_use]
    pub fn create(store: &Store, path: &str) -> Self {
        Self { writer: store.create(path), line: Vec::new(), documents: 0 }
    }

    /// Adds a document.
    ///
    /// # Errors
    /// When the store fails or is full.
    pub fn push(&mut self, document: &InterleavedDocument<'_>) -> Result<(), StageError> {
        self.line.clear();
        json::append(&Line::of(document), &mut self.line);
        self.line.push(b'\n');
        self.writer.write_all(&self.line).map_err(write_error)?;
        self.documents += 1;
        Ok(())
    }

    /// Makes the file visible and takes note of it.
    ///
    /// # Errors
    /// When the store fails or is full.
    pub fn finish(self, context: &Context) -> Result<(), StageError> {
        let path = self.writer.path().to_owned();
        let written = self.writer.finish()?;
        commit(context, OUTPUT, path, self.documents, written)
    }
}

fn write_error(cause: io::Error) -> StageError {
    match cause.downcast::<StoreError>() {
        Ok(cause) => cause.into(),
        Err(cause) => WriteError::Encode { table: OUTPUT, source: cause.into() }.into(),
    }
}
