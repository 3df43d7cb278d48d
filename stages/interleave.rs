//! Writes the documents that stay into the dataset's shards: MMC4's JSON lines, OBELICS's Parquet, or both.
//!
//! Reads `document_selections` (the documents), `outlines`, `assignments` (the images), `images`, `similarities`,
//! `detections` (where there are any) and, for [`Form::Parquet`] alone, `pixels`. Writes no table: one file per
//! form under [`Layout::dataset`], named by the crawl shard and not by the attempt, since its bytes are a function
//! of the task's fingerprint. Each file stands in the task's report as an output `shard:<form>` with one row per
//! document. A crawl shard without documents writes its files too, so that a missing file is always a fault: an
//! empty file of JSON lines, a Parquet file of no rows.
//!
//! Documents come in the order of `pages`. What a document becomes is described with each form, in [`mmc4`] and
//! [`obelics`]. Held at a time: the rows of one document's measured images, the pictures of its assigned ones, and
//! a Parquet row group of 32 MB or one document.
//!
//! Thin: the pictures of one document are held together, and more than [`DOCUMENT_PIXELS_BYTES`] of them end the
//! task; `assign.max_images` is the way out.

pub mod json;
pub mod mmc4;
pub mod obelics;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use weft_core::context::Context;
use weft_core::id::{ShardId, Space};
use weft_core::reject::Unit;
use weft_core::rows::Rows;
use weft_core::stage::{Flow, Phase, Resources, Spec, Stage, StageError, Use};
use weft_core::store::{Layout, Written};
use weft_core::table::{Batch, Table, def};
use weft_core::tables::{
    Assignments, Detections, DocumentSelections, Images, ImagesRow, Outlines, OutlinesRow, Pixels, Similarities,
};
use weft_core::tally::Tally;
use weft_core::write::Output;

use crate::interleave::mmc4::Mmc4Shard;
use crate::interleave::obelics::ObelicsShard;
use crate::joins::{damaged, missing_row, skip_document};

/// Encoded pictures that one document may have in a Parquet shard: they share one page of its file.
pub const DOCUMENT_PIXELS_BYTES: usize = 1 << 30;

/// A form of the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `mmc4/{prefix}_{N}_{suffix}.jsonl`: MMC4's JSON lines, without pictures; see [`mmc4`].
    Mmc4,
    /// `parquet/shard-{N:05}.parquet`: OBELICS's columns, with pictures; see [`obelics`].
    Parquet,
}

/// Part of a file's name: ASCII letters, digits, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePart(String);

impl TryFrom<String> for NamePart {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!("`{name}` is no part of a file's name: letters, digits, `_` and `-`"));
        }
        Ok(Self(name))
    }
}

impl From<NamePart> for String {
    fn from(part: NamePart) -> Self {
        part.0
    }
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The forms, each once.
    pub forms: BTreeSet<Form>,
    /// How the names of MMC4 shards begin: `docs_shard`, and `docs_no_face_shard` for the subsets without faces.
    pub mmc4_prefix: NamePart,
    /// How the names of MMC4 shards end: `v2`, and `v3` for core.
    pub mmc4_suffix: NamePart,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            forms: BTreeSet::from([Form::Mmc4]),
            mmc4_prefix: NamePart("docs_shard".to_owned()),
            mmc4_suffix: NamePart("v2".to_owned()),
        }
    }
}

/// The stage.
#[derive(Debug)]
pub struct Interleave {
    config: Config,
}

impl Stage for Interleave {
    const NAME: &'static str = "interleave";
    const VERSION: u32 = 1;
    type Config = Config;

    fn spec(config: &Config) -> Spec {
        let mut reads = vec![
            def::<DocumentSelections>(),
            def::<Outlines>(),
            def::<Assignments>(),
            def::<Images>(),
            def::<Similarities>(),
            def::<Detections>(),
        ];
        if config.forms.contains(&Form::Parquet) {
            reads.push(def::<Pixels>());
        }
        let documents = Flow { unit: Unit::Documents, reads: Some(def::<DocumentSelections>()), keeps: None };
        let images = Flow { unit: Unit::Images, reads: Some(def::<Assignments>()), keeps: None };
        let phase = Phase { name: "", space: Space::Crawl, reads, writes: vec![], flows: vec![documents, images] };
        Spec { uses: vec![Use::Name], phases: vec![phase] }
    }

    fn open(config: Config, _resources: &Resources) -> Result<Self, StageError> {
        Ok(Self { config })
    }

    fn run(&self, shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        let mut accounts = context.accounts(Self::NAME)?;
        let mut outlines = context.rows::<Outlines>()?;
        let mut selections = context.rows::<DocumentSelections>()?;
        let mut tables = Tables::open(context)?;
        let folder = Layout::dataset(&context.recipe, &context.fingerprint);
        let mut mmc4 = None;
        if self.config.forms.contains(&Form::Mmc4) {
            let (prefix, suffix) = (&self.config.mmc4_prefix.0, &self.config.mmc4_suffix.0);
            let path = format!("{folder}/mmc4/{prefix}_{}_{suffix}.jsonl", shard.0);
            mmc4 = Some(Mmc4Shard::create(&context.store, &path));
        }
        let mut obelics = None;
        if self.config.forms.contains(&Form::Parquet) {
            let path = format!("{folder}/parquet/shard-{shard}.parquet");
            obelics = Some(ObelicsShard::create(&context.store, &path)?);
        }
        while let Some(outline) = outlines.next()? {
            let selection = selections.document(outline.document_id)?;
            if selection.is_empty() {
                tables.skip(outline.document_id)?;
                continue;
            }
            accounts.read(Unit::Documents)?;
            let rows = tables.document(outline.document_id)?;
            for _ in rows.assignments.rows() {
                accounts.read(Unit::Images)?;
                accounts.kept(Unit::Images);
            }
            let mut document = InterleavedDocument { images: rows.images(&outline)?, outline };
            if let Some(shard) = &mut mmc4 {
                shard.push(&document)?;
            }
            if let Some(shard) = &mut obelics {
                tables.take_pixels(&mut document)?;
                shard.push(&document)?;
            }
            tables.skip(document.outline.document_id)?;
            accounts.kept(Unit::Documents);
        }
        selections.expect_end()?;
        tables.expect_end()?;
        if let Some(shard) = mmc4 {
            shard.finish(context)?;
        }
        if let Some(shard) = obelics {
            shard.finish(context)?;
        }
        accounts.finish()
    }
}

/// A document with the images that are placed in it.
#[derive(Debug)]
pub struct InterleavedDocument<'a> {
    /// The document.
    pub outline: OutlinesRow<'a>,
    /// Its images in DOM order.
    pub images: Vec<PlacedImage<'a>>,
}

/// An image and its sentence.
#[derive(Debug)]
pub struct PlacedImage<'a> {
    /// What was downloaded.
    pub image: ImagesRow<'a>,
    /// Its sentence, from 0.
    pub sentence_index: u32,
    /// The similarity with that sentence.
    pub matched_similarity: f32,
    /// The similarity with each sentence.
    pub similarity: &'a [f32],
    /// Scores by detector.
    pub scores: BTreeMap<&'a str, f32>,
    /// The encoded picture; empty unless a form wants it.
    pub pixels: Vec<u8>,
}

impl PlacedImage<'_> {
    /// MMC4's `image_name`: 12 hex digits of the URL, and an extension.
    ///
    /// The extension is the URL's own, as in all of MMC4, where that is one of MMC4's three; else the format's.
    #[must_use]
    pub fn name(&self) -> String {
        let url = self.image.image_url;
        let path = url.split(['?', '#']).next().unwrap_or(url).to_ascii_lowercase();
        let own = ["jpg", "jpeg", "png"]
            .into_iter()
            .find(|extension| path.strip_suffix(extension).is_some_and(|stem| stem.ends_with('.')));
        let by_format = if self.image.format == "jpeg" { "jpg" } else { self.image.format };
        format!("{}.{}", weft_core::id::image_name(url), own.unwrap_or(by_format))
    }
}

/// The tables that are walked beside `outlines`.
#[derive(Debug)]
struct Tables {
    assignments: Rows<Assignments>,
    images: Rows<Images>,
    similarities: Rows<Similarities>,
    detections: Rows<Detections>,
    /// Of no rows unless a form wants pictures.
    pixels: Rows<Pixels>,
}

impl Tables {
    fn open(context: &Context) -> Result<Self, StageError> {
        Ok(Self {
            assignments: context.rows()?,
            images: context.rows()?,
            similarities: context.rows()?,
            detections: context.rows()?,
            pixels: context.rows()?,
        })
    }

    /// Holds a document's rows, but for its pictures.
    fn document(&mut self, document_id: &str) -> Result<DocumentRows, StageError> {
        Ok(DocumentRows {
            assignments: self.assignments.document(document_id)?,
            images: self.images.document(document_id)?,
            similarities: self.similarities.document(document_id)?,
            detections: self.detections.document(document_id)?,
        })
    }

    /// Reads the pictures of the document's images, and passes over the others.
    fn take_pixels(&mut self, document: &mut InterleavedDocument<'_>) -> Result<(), StageError> {
        let document_id = document.outline.document_id;
        let mut held_bytes = 0;
        for placed in &mut document.images {
            let image_index = placed.image.image_index;
            placed.pixels = loop {
                match self.pixels.next()? {
                    Some(row) if row.document_id != document_id || row.image_index > image_index => {
                        return Err(missing_row(Pixels::NAME, document_id, image_index));
                    }
                    Some(row) if row.image_index == image_index => break row.bytes.to_vec(),
                    Some(_) => {}
                    None => return Err(missing_row(Pixels::NAME, document_id, image_index)),
                }
            };
            held_bytes += placed.pixels.len();
            if held_bytes > DOCUMENT_PIXELS_BYTES {
                return Err(too_many_pixels(document_id));
            }
        }
        Ok(())
    }

    /// Passes over what is left of a document.
    fn skip(&mut self, document_id: &str) -> Result<(), StageError> {
        skip_document(&mut self.images, document_id)?;
        skip_document(&mut self.similarities, document_id)?;
        skip_document(&mut self.detections, document_id)?;
        skip_document(&mut self.pixels, document_id)?;
        Ok(())
    }

    fn expect_end(&mut self) -> Result<(), StageError> {
        self.assignments.expect_end()?;
        self.images.expect_end()?;
        self.similarities.expect_end()?;
        self.detections.expect_end()?;
        self.pixels.expect_end()?;
        Ok(())
    }
}

/// One document's rows.
#[derive(Debug)]
struct DocumentRows {
    assignments: Batch<Assignments>,
    images: Batch<Images>,
    similarities: Batch<Similarities>,
    detections: Batch<Detections>,
}

impl DocumentRows {
    /// The assigned images of the document, its tables laid side by side.
    fn images(&self, outline: &OutlinesRow<'_>) -> Result<Vec<PlacedImage<'_>>, StageError> {
        let document_id = outline.document_id;
        let sentences = outline.sentences.len();
        let mut images = self.images.rows();
        let mut similarities = self.similarities.rows();
        let mut detections = self.detections.rows().peekable();
        let mut placed = Vec::with_capacity(self.assignments.len());
        for assignment in self.assignments.rows() {
            let image_index = assignment.image_index;
            let image = images
                .find(|image| image.image_index == image_index)
                .ok_or_else(|| missing_row(Images::NAME, document_id, image_index))?;
            let similarity = similarities
                .find(|row| row.image_index == image_index)
                .ok_or_else(|| missing_row(Similarities::NAME, document_id, image_index))?
                .similarity;
            if similarity.len() != sentences {
                let cause = format!("image {image_index} has {} values for {sentences} sentences", similarity.len());
                return Err(damaged(Similarities::NAME, document_id, cause));
            }
            let sentence_index = assignment.sentence_index;
            if usize::try_from(sentence_index).is_ok_and(|sentence_index| sentence_index >= sentences) {
                let cause = format!("image {image_index} goes to sentence {sentence_index} of {sentences}");
                return Err(damaged(Assignments::NAME, document_id, cause));
            }
            let mut scores = BTreeMap::new();
            while let Some(row) = detections.next_if(|row| row.image_index <= image_index) {
                if row.image_index == image_index {
                    scores.insert(row.detector, row.score);
                }
            }
            let matched_similarity = assignment.similarity;
            let pixels = Vec::new();
            placed.push(PlacedImage { image, sentence_index, matched_similarity, similarity, scores, pixels });
        }
        Ok(placed)
    }
}

/// Takes note of a finished shard file.
fn commit(context: &Context, name: &str, path: String, documents: u64, written: Written) -> Result<(), StageError> {
    let Written { bytes, blake3 } = written;
    let (table, version) = (name.to_owned(), Interleave::VERSION);
    context.commit(Ok(Output { table, version, path, rows: documents, bytes, blake3, directory: None }))
}

fn too_many_pixels(document_id: &str) -> StageError {
    StageError::Outside {
        what: "document",
        place: document_id.to_owned(),
        cause: format!("its pictures take more than {DOCUMENT_PIXELS_BYTES} bytes"),
        way_out: "set `assign.max_images`, or leave out the form `parquet`",
        retry: false,
    }
}

#[cfg(test)]
mod tests;
