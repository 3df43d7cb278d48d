//! Decides which measured images stay: every threshold on images, and nothing else.
//!
//! Reads `embeddings` (one row per measured image: the images that it decides about), `images`, `distances`,
//! `frequencies`, `detections` and `similarities`; writes `selections`, one row per image that passes, in key
//! order. An image is rejected for the first test of `order` that it fails, with the value and the threshold.
//! Sides are those before any resizing, in pixels; an aspect is width over height; distances are bits of 64.
//!
//! # Duplicates
//! The duplicates test looks at the images of a document that passed the tests before it. Two of them within
//! `duplicate_bits` are in one cluster, and so are images joined by a chain of such pairs. The first of a cluster
//! in DOM order stays, and that is final: if it fails a later test, its copies do not come back.
//!
//! # Subsets
//! A stricter threshold of the duplicates test, or of a test after it, selects a subset of what the looser one
//! selects: clusters at 10 bits are unions of clusters at 5, so the first of each is also the first of a smaller
//! one, and later tests look at one image alone. For a test *before* the duplicates test this cannot hold, whatever
//! the rule: when a small first copy fails a stricter `min_side_px`, the large second one takes its place. Recipes
//! that vary such a threshold and must be subsets put `duplicate` first in `order`.
//!
//! # Memory
//! One document at a time, of its similarities one row, of its distances one pair; and those of the shard's hashes
//! that occur more than `frequency_max` times in the corpus, 16 bytes each, at most one per image of the shard.
//!
//! Thin: `similarities` are read whole for their maximum; a recipe's `measure` floor is not compared with
//! `min_side_px` here, since a stage sees its own section only.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use weft_core::context::Context;
use weft_core::id::{ShardId, Space};
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::rows::{DocumentRow, Rows};
use weft_core::stage::{Flow, Phase, Resources, Spec, Stage, StageError};
use weft_core::table;
use weft_core::table::{Batch, Table, def};
use weft_core::tables::{Detections, Distances, Frequencies, Selections, SelectionsRow, Similarities};
use weft_core::tally::Tally;

use crate::joins::{missing_row, skip_document};

table! {
    /// Which images were measured: `embeddings` without the vectors.
    pub struct Measured, MeasuredRow = "embeddings" v1 in Crawl by ["document_id", "image_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates.
        image_index: U32,
    }
}

table! {
    /// What select needs of `images`.
    pub struct Shapes, ShapesRow = "images" v1 in Crawl by ["document_id", "image_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates.
        image_index: U32,
        /// The image's URL as the page names it.
        image_url: Text,
        /// Before resizing.
        width_px: U32,
        /// Before resizing.
        height_px: U32,
        /// Perceptual hash.
        phash: U64,
    }
}

impl DocumentRow for MeasuredRow<'_> {
    fn document_id(&self) -> &str {
        self.document_id
    }
}

impl DocumentRow for ShapesRow<'_> {
    fn document_id(&self) -> &str {
        self.document_id
    }
}

/// One test of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Test {
    /// Both sides against `min_side_px`.
    Size,
    /// Width over height against `aspect_min` and `aspect_max`.
    Aspect,
    /// Copies within the document, by `duplicate_bits`.
    Duplicate,
    /// Copies across the corpus, by `frequency_max`.
    Frequent,
    /// The detector `nsfw` against `nsfw_max`.
    Nsfw,
    /// The detector `ad` against `ad_max`.
    Ad,
    /// The detector `face` against `face_max`.
    Face,
    /// The best sentence against `similarity_min`.
    Similarity,
}

/// The tests that are applied, in their order; each at most once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Test>", into = "Vec<Test>")]
pub struct Order(Vec<Test>);

impl TryFrom<Vec<Test>> for Order {
    type Error = String;

    fn try_from(tests: Vec<Test>) -> Result<Self, String> {
        let repeated =
            tests.iter().enumerate().find(|(position, test)| tests.iter().take(*position).any(|t| t == *test));
        match repeated {
            Some((_, test)) => Err(format!("order names {test:?} twice")),
            None => Ok(Self(tests)),
        }
    }
}

impl From<Order> for Vec<Test> {
    fn from(order: Order) -> Self {
        order.0
    }
}

/// The thresholds on images. The defaults are MMC4's (section 3) where it has any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Tests in the order in which they are applied; the first that fails is the image's reason. A test that is
    /// not named is not applied. The paper tells of `duplicate` and `frequent` before `size` and `aspect`.
    pub order: Order,
    /// The least width and height, in pixels before resizing (section 3: 150).
    pub min_side_px: u32,
    /// The least width over height (section 3: 1/2).
    pub aspect_min: f64,
    /// The largest width over height (section 3: 2).
    pub aspect_max: f64,
    /// Images of one document are copies up to this distance, in bits of 64 (section 3: 5; core: 10). `dedup`
    /// measures distances up to its `max_distance_bits` only, so this must not exceed it.
    pub duplicate_bits: u32,
    /// An image is rejected when its perceptual hash occurs in more images of the corpus than this (section 3: 10
    /// duplicates, there in a sample of 60,000).
    pub frequency_max: u64,
    /// The largest `nsfw` score, in [0, 1] (section 3: 0.1).
    pub nsfw_max: f64,
    /// The largest `ad` score, in [0, 1]; absent: not tested. MMC4 has no such test.
    pub ad_max: Option<f64>,
    /// The largest `face` score, in [0, 1]; absent: not tested (section 3.1.1, the subsets without faces).
    pub face_max: Option<f64>,
    /// The least similarity with the best sentence, in [-1, 1] (section 3: 0.15).
    pub similarity_min: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            order: Order(vec![
                Test::Size,
                Test::Aspect,
                Test::Duplicate,
                Test::Frequent,
                Test::Nsfw,
                Test::Ad,
                Test::Face,
                Test::Similarity,
            ]),
            min_side_px: 150,
            aspect_min: 0.5,
            aspect_max: 2.0,
            duplicate_bits: 5,
            frequency_max: 10,
            nsfw_max: 0.1,
            ad_max: None,
            face_max: None,
            similarity_min: 0.15,
        }
    }
}

/// The detectors that a threshold may ask for, as `detections` names them.
const DETECTORS: [&str; 3] = ["nsfw", "ad", "face"];

impl Config {
    fn tests(&self, test: Test) -> bool {
        self.order.0.contains(&test)
    }

    /// The threshold of each of [`DETECTORS`]; `None` where it is not tested.
    fn score_thresholds(&self) -> [Option<f64>; 3] {
        [
            self.tests(Test::Nsfw).then_some(self.nsfw_max),
            self.ad_max.filter(|_| self.tests(Test::Ad)),
            self.face_max.filter(|_| self.tests(Test::Face)),
        ]
    }
}

/// The stage.
#[derive(Debug)]
pub struct Select {
    config: Config,
}

impl Stage for Select {
    const NAME: &'static str = "select";
    const VERSION: u32 = 1;
    type Config = Config;

    fn spec(_config: &Config) -> Spec {
        let phase = Phase {
            name: "",
            space: Space::Crawl,
            reads: vec![
                def::<Measured>(),
                def::<Shapes>(),
                def::<Distances>(),
                def::<Frequencies>(),
                def::<Detections>(),
                def::<Similarities>(),
            ],
            writes: vec![def::<Selections>()],
            flows: vec![Flow { unit: Unit::Images, reads: Some(def::<Measured>()), keeps: Some(def::<Selections>()) }],
        };
        Spec { uses: vec![], phases: vec![phase] }
    }

    fn open(config: Config, _resources: &Resources) -> Result<Self, StageError> {
        Ok(Self { config })
    }

    fn run(&self, _shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        let mut accounts = context.accounts(Self::NAME)?;
        let frequent = self.frequent(context)?;
        let mut shapes = context.rows::<Shapes>()?;
        let mut measured = context.rows::<Measured>()?;
        let mut distances = context.rows::<Distances>()?;
        let mut detections = context.rows::<Detections>()?;
        let mut similarities = context.rows::<Similarities>()?;
        let mut selections = context.writer::<Selections>()?;
        // Documents of `images` and `distances` may have no measured image at all.
        while let Some((document_id, shapes)) = shapes.next_document()? {
            let document_id = document_id.as_str();
            let measured = measured.document(document_id)?;
            let detections = detections.document(document_id)?;
            let images = self.gather(document_id, &measured, &shapes, &detections, &mut similarities)?;
            let verdicts = self.judge(document_id, &images, &frequent, &mut distances)?;
            skip_document(&mut distances, document_id)?;
            for (image, verdict) in images.iter().zip(verdicts) {
                accounts.read(Unit::Images)?;
                let image_index = image.shape.image_index;
                let Some(Verdict { reason, evidence }) = verdict else {
                    selections.push(&SelectionsRow { document_id, image_index })?;
                    accounts.kept(Unit::Images);
                    continue;
                };
                let image_url = Some(image.shape.image_url);
                accounts.reject(&Reject { unit: Unit::Images, document_id, image_url, reason, evidence })?;
            }
        }
        measured.expect_end()?;
        distances.expect_end()?;
        detections.expect_end()?;
        similarities.expect_end()?;
        context.commit(selections.finish())?;
        accounts.finish()
    }
}

/// All that the tests look at in one image.
#[derive(Debug)]
struct Image<'a> {
    shape: ShapesRow<'a>,
    /// By position in [`DETECTORS`]; `None` where there is no row.
    scores: [Option<f32>; 3],
    /// The similarity with the best sentence.
    best_similarity: f32,
}

/// Why an image does not stay.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    reason: Reason,
    evidence: String,
}

fn rejected(reason: Reason, evidence: String) -> Option<Verdict> {
    Some(Verdict { reason, evidence })
}

impl Select {
    /// The hashes of this shard that occur too often in the corpus, with how often.
    fn frequent(&self, context: &Context) -> Result<HashMap<u64, u64>, StageError> {
        let mut frequent = HashMap::new();
        let mut rows = context.rows::<Frequencies>()?;
        while let Some(row) = rows.next()? {
            if row.images > self.config.frequency_max {
                frequent.insert(row.phash, row.images);
            }
        }
        Ok(frequent)
    }

    /// Lays the tables side by side for the measured images of one document.
    fn gather<'a>(
        &self,
        document_id: &str,
        measured: &Batch<Measured>,
        shapes: &'a Batch<Shapes>,
        detections: &Batch<Detections>,
        similarities: &mut Rows<Similarities>,
    ) -> Result<Vec<Image<'a>>, StageError> {
        let thresholds = self.config.score_thresholds();
        let mut shapes = shapes.rows();
        let mut detections = detections.rows().peekable();
        let mut images = Vec::with_capacity(measured.len());
        for MeasuredRow { image_index, .. } in measured.rows() {
            let missing = |table| missing_row(table, document_id, image_index);
            let shape = shapes.find(|shape| shape.image_index == image_index).ok_or_else(|| missing(Shapes::NAME))?;
            let best_similarity = match similarities.next()? {
                Some(row) if row.document_id == document_id && row.image_index == image_index => {
                    row.similarity.iter().copied().fold(f32::NEG_INFINITY, f32::max)
                }
                _ => return Err(missing(Similarities::NAME)),
            };
            let mut scores = [None; 3];
            while let Some(row) = detections.next_if(|row| row.image_index <= image_index) {
                let detector = DETECTORS.iter().position(|detector| *detector == row.detector);
                if let (true, Some(detector)) = (row.image_index == image_index, detector) {
                    scores[detector] = Some(row.score);
                }
            }
            for (detector, (threshold, score)) in DETECTORS.iter().zip(thresholds.iter().zip(scores)) {
                if threshold.is_some() && score.is_none() {
                    return Err(no_score(detector, document_id, image_index));
                }
            }
            images.push(Image { shape, scores, best_similarity });
        }
        Ok(images)
    }

    /// The first failing test of each image; `None` for those that stay.
    fn judge(
        &self,
        document_id: &str,
        images: &[Image<'_>],
        frequent: &HashMap<u64, u64>,
        distances: &mut Rows<Distances>,
    ) -> Result<Vec<Option<Verdict>>, StageError> {
        let mut verdicts: Vec<Option<Verdict>> = vec![None; images.len()];
        for test in &self.config.order.0 {
            if *test == Test::Duplicate {
                self.reject_duplicates(document_id, images, distances, &mut verdicts)?;
                continue;
            }
            for (image, verdict) in images.iter().zip(&mut verdicts) {
                if verdict.is_none() {
                    *verdict = self.fails(*test, image, frequent);
                }
            }
        }
        Ok(verdicts)
    }

    /// Applies a test that looks at one image alone.
    fn fails(&self, test: Test, image: &Image<'_>, frequent: &HashMap<u64, u64>) -> Option<Verdict> {
        match test {
            Test::Size => self.fails_size(&image.shape),
            Test::Aspect => self.fails_aspect(&image.shape),
            Test::Duplicate => None,
            Test::Frequent => {
                let images = frequent.get(&image.shape.phash)?;
                let evidence = format!("hash in {images} images > {}", self.config.frequency_max);
                rejected(Reason::Frequent, evidence)
            }
            Test::Nsfw => self.fails_score(0, Reason::Nsfw, image),
            Test::Ad => self.fails_score(1, Reason::Ad, image),
            Test::Face => self.fails_score(2, Reason::Face, image),
            Test::Similarity => {
                let (best, least) = (f64::from(image.best_similarity), self.config.similarity_min);
                if best >= least {
                    return None;
                }
                rejected(Reason::LowSimilarity, format!("best similarity {best:.6} < {least}"))
            }
        }
    }

    fn fails_size(&self, shape: &ShapesRow<'_>) -> Option<Verdict> {
        let least = self.config.min_side_px;
        for (name, side_px) in [("width", shape.width_px), ("height", shape.height_px)] {
            if side_px < least {
                return rejected(Reason::TooSmall, format!("{name} {side_px} px < {least} px"));
            }
        }
        None
    }

    fn fails_aspect(&self, shape: &ShapesRow<'_>) -> Option<Verdict> {
        let (width_px, height_px) = (shape.width_px, shape.height_px);
        let aspect = f64::from(width_px) / f64::from(height_px);
        let (least, largest) = (self.config.aspect_min, self.config.aspect_max);
        if aspect < least {
            return rejected(Reason::BadAspect, format!("{width_px} px / {height_px} px < {least}"));
        }
        if aspect > largest {
            return rejected(Reason::BadAspect, format!("{width_px} px / {height_px} px > {largest}"));
        }
        None
    }

    fn fails_score(&self, detector: usize, reason: Reason, image: &Image<'_>) -> Option<Verdict> {
        let largest = self.config.score_thresholds()[detector]?;
        let score = f64::from(image.scores[detector]?);
        // A score that is no number clears no image.
        if score <= largest {
            return None;
        }
        rejected(reason, format!("{} {score:.6} > {largest}", DETECTORS[detector]))
    }

    /// Rejects all but the first image of each cluster of those that have no verdict yet.
    fn reject_duplicates(
        &self,
        document_id: &str,
        images: &[Image<'_>],
        distances: &mut Rows<Distances>,
        verdicts: &mut [Option<Verdict>],
    ) -> Result<(), StageError> {
        let mut clusters = Clusters::of(images.len());
        // For each image its first near one in DOM order, with the distance: the evidence.
        let mut nears: Vec<Option<(usize, u32)>> = vec![None; images.len()];
        while let Some(pair) = distances.peek()?
            && pair.document_id == document_id
        {
            let (earlier, later, distance_bits) = (pair.image_index, pair.other_index, pair.distance_bits);
            distances.next()?;
            if distance_bits > self.config.duplicate_bits {
                continue;
            }
            // Images that were not measured, or failed a test before, are in no cluster.
            let candidate = |image_index| {
                let position = images.binary_search_by_key(&image_index, |image| image.shape.image_index).ok()?;
                verdicts[position].is_none().then_some(position)
            };
            let (Some(earlier), Some(later)) = (candidate(earlier), candidate(later)) else { continue };
            // Pairs come by their earlier image, so the first entry of each image stays.
            nears[earlier].get_or_insert((later, distance_bits));
            nears[later].get_or_insert((earlier, distance_bits));
            clusters.join(earlier, later);
        }
        for position in 0..images.len() {
            let first = clusters.first(position);
            let (Some((near, distance_bits)), true) = (nears[position], first != position) else { continue };
            let (near_index, first_index) = (images[near].shape.image_index, images[first].shape.image_index);
            let mut evidence = format!("distance {distance_bits} to image {near_index}");
            if near != first {
                evidence.push_str(&format!(", a copy of image {first_index} through others"));
            }
            verdicts[position] = rejected(Reason::Duplicate, evidence);
        }
        Ok(())
    }
}

/// Sets of positions, each known by its first.
#[derive(Debug)]
struct Clusters {
    /// A position of the same set that is not later; its own where it is the first.
    earlier: Vec<usize>,
}

impl Clusters {
    fn of(positions: usize) -> Self {
        Self { earlier: (0..positions).collect() }
    }

    fn first(&mut self, mut position: usize) -> usize {
        while self.earlier[position] != position {
            // Halve the path on the way.
            self.earlier[position] = self.earlier[self.earlier[position]];
            position = self.earlier[position];
        }
        position
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.first(one), self.first(other));
        self.earlier[one.max(other)] = one.min(other);
    }
}

fn no_score(detector: &str, document_id: &str, image_index: u32) -> StageError {
    StageError::Outside {
        what: "detector",
        place: detector.to_owned(),
        cause: format!("`detections` has no score of it for image {image_index} of document {document_id}"),
        way_out: "name its graph in the recipe, or take its test out of `select.order`",
        retry: false,
    }
}

#[cfg(test)]
mod tests;
