//! OBELICS's form: one row per document, its texts and images interleaved in two parallel lists.
//!
//! | column | type | |
//! |---|---|---|
//! | `images` | list of text | the image's URL, or null where a text stands |
//! | `metadata` | text | JSON: a list parallel to `images`, of objects or null; the keys are those of [`ItemMetadata`] |
//! | `general_metadata` | text | JSON: url, WARC pointer, document id, capture time |
//! | `texts` | list of text | a sentence, or null where an image stands |
//! | `image_bytes` | list of binary | the encoded picture, or null where a text stands; not in OBELICS |
//!
//! The four lists have one length, and at each position one of text and image is null. An image stands right
//! before the sentence that it is assigned to; images of one sentence stand in DOM order.
//!
//! Texts are compressed by Zstandard; pictures, which are compressed already, are stored as they are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, ListBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::Serialize;
use weft_core::context::Context;
use weft_core::stage::StageError;
use weft_core::store::{Store, StoreWriter};
use weft_core::write::WriteError;

use crate::interleave::{InterleavedDocument, PlacedImage, commit, json};

/// How the task's report calls these files.
const OUTPUT: &str = "shard:parquet";
/// Documents collected before they are handed to Parquet.
const BATCH_DOCUMENTS: usize = 256;
/// Bytes collected before they are handed to Parquet.
const BATCH_BYTES: usize = 4 << 20;
/// A row group ends when this many bytes of it are encoded.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// What is known of one image, by the key in `metadata`.
#[derive(Debug, Serialize)]
pub struct ItemMetadata<'a> {
    /// The image's URL as the page names it.
    pub src: &'a str,
    /// As in MMC4's form.
    pub image_name: String,
    /// Alternative text; null where there is none.
    pub alt_text: Option<&'a str>,
    /// `jpeg`, `png`, ...: of the bytes as transferred.
    pub format: &'a str,
    /// In pixels, before resizing.
    pub original_width: u32,
    /// In pixels, before resizing.
    pub original_height: u32,
    /// In pixels, as in `image_bytes`.
    pub width: u32,
    /// In pixels, as in `image_bytes`.
    pub height: u32,
    /// Position among the page's candidates, in DOM order.
    pub image_index: u32,
    /// The sentence that it is assigned to, from 0.
    pub matched_text_index: u32,
    /// The similarity of the two.
    pub matched_sim: f32,
    /// The last sentence before the image in the page.
    pub follows_sentence: Option<u32>,
    /// Of the bytes as transferred, 64 hex digits.
    pub sha256: &'a str,
    /// 16 hex digits, as imagehash prints it.
    pub phash: String,
    /// In [0, 1], by detector.
    pub scores: &'a BTreeMap<&'a str, f32>,
}

/// What is known of the document.
#[derive(Serialize)]
struct GeneralMetadata<'a> {
    url: &'a str,
    /// Null, as are offset and length, where the source names no record.
    warc_filename: Option<&'a str>,
    warc_record_offset: Option<u64>,
    warc_record_length: Option<u64>,
    document_id: &'a str,
    timestamp: &'a str,
}

impl<'a> ItemMetadata<'a> {
    fn of(placed: &'a PlacedImage<'_>) -> Self {
        let image = &placed.image;
        Self {
            src: image.image_url,
            image_name: placed.name(),
            alt_text: image.alt,
            format: image.format,
            original_width: image.width_px,
            original_height: image.height_px,
            width: image.stored_width_px,
            height: image.stored_height_px,
            image_index: image.image_index,
            matched_text_index: placed.sentence_index,
            matched_sim: placed.matched_similarity,
            follows_sentence: image.follows_sentence,
            sha256: image.sha256,
            phash: format!("{:016x}", image.phash),
            scores: &placed.scores,
        }
    }
}

/// Rows on their way into a batch.
struct Columns {
    images: ListBuilder<StringBuilder>,
    metadata: StringBuilder,
    general_metadata: StringBuilder,
    texts: ListBuilder<StringBuilder>,
    image_bytes: ListBuilder<BinaryBuilder>,
}

fn element(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("element", data_type, true))
}

fn schema() -> SchemaRef {
    let list = |name: &str, data_type| Field::new(name, DataType::List(element(data_type)), false);
    Arc::new(Schema::new(vec![
        list("images", DataType::Utf8),
        Field::new("metadata", DataType::Utf8, false),
        Field::new("general_metadata", DataType::Utf8, false),
        list("texts", DataType::Utf8),
        list("image_bytes", DataType::Binary),
    ]))
}

impl Columns {
    fn new() -> Self {
        Self {
            images: ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8)),
            metadata: StringBuilder::new(),
            general_metadata: StringBuilder::new(),
            texts: ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8)),
            image_bytes: ListBuilder::new(BinaryBuilder::new()).with_field(element(DataType::Binary)),
        }
    }

    /// Adds a document; returns roughly how many bytes it takes.
    fn push(&mut self, document: &InterleavedDocument<'_>) -> usize {
        let outline = &document.outline;
        let mut metadata = Vec::with_capacity(document.images.len() + outline.sentences.len());
        let mut bytes = 0;
        let mut images: Vec<&PlacedImage<'_>> = document.images.iter().collect();
        // Stable: images of one sentence keep DOM order.
        images.sort_by_key(|placed| placed.sentence_index);
        let mut images = images.into_iter().peekable();
        for (sentence_index, sentence) in (0..).zip(&outline.sentences) {
            while let Some(placed) = images.next_if(|placed| placed.sentence_index == sentence_index) {
                self.images.values().append_value(placed.image.image_url);
                self.texts.values().append_null();
                self.image_bytes.values().append_value(&placed.pixels);
                metadata.push(Some(ItemMetadata::of(placed)));
                bytes += placed.image.image_url.len() + placed.pixels.len();
            }
            self.images.values().append_null();
            self.texts.values().append_value(sentence);
            self.image_bytes.values().append_null();
            metadata.push(None);
            bytes += sentence.len();
        }
        self.images.append(true);
        self.texts.append(true);
        self.image_bytes.append(true);
        let metadata = json::text(&metadata);
        let has_record = !outline.filename.is_empty();
        let general_metadata = json::text(&GeneralMetadata {
            url: outline.url,
            warc_filename: has_record.then_some(outline.filename),
            warc_record_offset: has_record.then_some(outline.offset),
            warc_record_length: has_record.then_some(outline.length),
            document_id: outline.document_id,
            timestamp: outline.timestamp,
        });
        bytes += metadata.len() + general_metadata.len();
        self.metadata.append_value(metadata);
        self.general_metadata.append_value(general_metadata);
        bytes
    }

    fn finish(&mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.images.finish()),
            Arc::new(self.metadata.finish()),
            Arc::new(self.general_metadata.finish()),
            Arc::new(self.texts.finish()),
            Arc::new(self.image_bytes.finish()),
        ];
        RecordBatch::try_new(schema(), columns).expect("every column was appended to once a document")
    }
}

/// A shard being written.
pub struct ObelicsShard {
    parquet: ArrowWriter<StoreWriter>,
    path: String,
    columns: Columns,
    pending_documents: usize,
    pending_bytes: usize,
    documents: u64,
}

impl fmt::Debug for ObelicsShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObelicsShard").field("path", &self.path).field("documents", &self.documents).finish()
    }
}

impl ObelicsShard {
    /// Begins the file.
    ///
    /// # Errors
    /// When the schema cannot be written.
    pub fn create(store: &Store, path: &str) -> Result<Self, StageError> {
        let parquet = ArrowWriter::try_new(store.create(path), schema(), Some(properties())).map_err(encode_error)?;
        let path = path.to_owned();
        Ok(Self { parquet, path, columns: Columns::new(), pending_documents: 0, pending_bytes: 0, documents: 0 })
    }

    /// Adds a document.
    ///
    /// # Errors
    /// When the store fails or is full.
    pub fn push(&mut self, document: &InterleavedDocument<'_>) -> Result<(), StageError> {
        self.pending_bytes += self.columns.push(document);
        self.pending_documents += 1;
        self.documents += 1;
        if self.pending_documents >= BATCH_DOCUMENTS || self.pending_bytes >= BATCH_BYTES {
            self.hand_over()?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), StageError> {
        if self.pending_documents > 0 {
            self.parquet.write(&self.columns.finish()).map_err(encode_error)?;
            (self.pending_documents, self.pending_bytes) = (0, 0);
        }
        if self.parquet.in_progress_size() >= ROW_GROUP_BYTES {
            self.parquet.flush().map_err(encode_error)?;
        }
        Ok(())
    }

    /// Makes the file visible and takes note of it.
    ///
    /// # Errors
    /// When the store fails or is full.
    pub fn finish(mut self, context: &Context) -> Result<(), StageError> {
        self.hand_over()?;
        let written = self.parquet.into_inner().map_err(encode_error)?.finish()?;
        commit(context, OUTPUT, self.path, self.documents, written)
    }
}

fn properties() -> WriterProperties {
    let zstd = Compression::ZSTD(ZstdLevel::try_new(3).expect("level 3 exists"));
    let pictures = ColumnPath::from(["image_bytes", "list", "element"].map(str::to_owned).to_vec());
    WriterProperties::builder()
        .set_created_by(format!("weft {}", env!("CARGO_PKG_VERSION")))
        .set_compression(zstd)
        .set_column_compression(pictures.clone(), Compression::UNCOMPRESSED)
        .set_column_dictionary_enabled(pictures.clone(), false)
        .set_column_statistics_enabled(pictures, EnabledStatistics::None)
        .build()
}

fn encode_error(cause: parquet::errors::ParquetError) -> StageError {
    WriteError::Encode { table: OUTPUT, source: cause.into() }.into()
}
