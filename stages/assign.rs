//! Assigns each selected image to one sentence of its document, then applies the thresholds on documents.
//!
//! Reads `outlines` (every document that it decides about), `selections` (every image), `similarities` and, for
//! the URLs in rejects, `images`; writes `document_selections`, one row per document that stays, and
//! `assignments`, one per image of such a document, both in key order.
//!
//! The matching runs on the selected images alone, per recipe: MMC4's own first release assigned before it
//! removed faces and copies, so that a quarter of its documents do not have the optimum of what was left. See
//! [`matching`] for the methods, their ties and their cost.
//!
//! A document is rejected for the first of these that holds: no selected image, too few sentences, too many, too
//! few selected images, too many, too small a share of similar assignments. Its images are then rejected with the
//! document's reason as evidence. Matching never removes an image, so the tests on counts come before it, and a
//! recipe such as MMC4's core (section 3.1.2: 4 to 40 sentences, 2 to 15 images, at least 75 % of the assignments
//! above 0.25) is a filter over one set of measurements.
//!
//! Holds one document's rows at a time. Thin: without `max_images` the matching of a page with thousands of images
//! and sentences takes minutes.

use serde::{Deserialize, Serialize};
use weft_core::context::Context;
use weft_core::id::{ShardId, Space};
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::rows::DocumentRow;
use weft_core::stage::{Flow, Phase, Resources, Spec, Stage, StageError};
use weft_core::table;
use weft_core::table::{Batch, Table, def};
use weft_core::tables::{
    Assignments, AssignmentsRow, DocumentSelections, DocumentSelectionsRow, Selections, Similarities,
};
use weft_core::tally::Tally;

use crate::joins::{damaged, missing_row, skip_document};
use crate::matching::{self, Similarity};

table! {
    /// What assign needs of `outlines`.
    pub struct Sentences, SentencesRow = "outlines" v1 in Crawl by ["document_id"] {
        /// 32 hex digits.
        document_id: Text,
        /// The document's sentences.
        sentences: Texts,
    }
}

table! {
    /// What assign needs of `images`.
    pub struct ImageUrls, ImageUrlsRow = "images" v1 in Crawl by ["document_id", "image_index"] {
        /// 32 hex digits.
        document_id: Text,
        /// Position among the document's candidates.
        image_index: U32,
        /// The image's URL as the page names it.
        image_url: Text,
    }
}

impl DocumentRow for SentencesRow<'_> {
    fn document_id(&self) -> &str {
        self.document_id
    }
}

impl DocumentRow for ImageUrlsRow<'_> {
    fn document_id(&self) -> &str {
        self.document_id
    }
}

/// How images find their sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The largest total similarity with at most one image per sentence (section 3).
    #[default]
    Linear,
    /// Each image its own best sentence (the paper's comparison, figure 4).
    Max,
}

/// The method, and the thresholds on documents; a threshold that is absent is not applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How images find their sentences.
    pub method: Method,
    /// The least number of sentences (core: 4).
    pub min_sentences: Option<usize>,
    /// The largest number of sentences (core: 40).
    pub max_sentences: Option<usize>,
    /// The least number of selected images (core: 2).
    pub min_images: Option<usize>,
    /// The largest number of selected images (core: 15).
    pub max_images: Option<usize>,
    /// The least share, in [0, 1], of assignments whose similarity is above `share_similarity` (core: 0.75).
    pub share_min: Option<f64>,
    /// What an assignment's similarity must be above, in [-1, 1], to count for `share_min` (core: 0.25).
    pub share_similarity: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            method: Method::Linear,
            min_sentences: None,
            max_sentences: None,
            min_images: None,
            max_images: None,
            share_min: None,
            share_similarity: 0.25,
        }
    }
}

/// The stage.
#[derive(Debug)]
pub struct Assign {
    config: Config,
}

impl Stage for Assign {
    const NAME: &'static str = "assign";
    const VERSION: u32 = 1;
    type Config = Config;

    fn spec(_config: &Config) -> Spec {
        let documents =
            Flow { unit: Unit::Documents, reads: Some(def::<Sentences>()), keeps: Some(def::<DocumentSelections>()) };
        let images = Flow { unit: Unit::Images, reads: Some(def::<Selections>()), keeps: Some(def::<Assignments>()) };
        let phase = Phase {
            name: "",
            space: Space::Crawl,
            reads: vec![def::<Sentences>(), def::<Selections>(), def::<Similarities>(), def::<ImageUrls>()],
            writes: vec![def::<DocumentSelections>(), def::<Assignments>()],
            flows: vec![documents, images],
        };
        Spec { uses: vec![], phases: vec![phase] }
    }

    fn open(config: Config, _resources: &Resources) -> Result<Self, StageError> {
        Ok(Self { config })
    }

    fn run(&self, _shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        let mut accounts = context.accounts(Self::NAME)?;
        let mut outlines = context.rows::<Sentences>()?;
        let mut selections = context.rows::<Selections>()?;
        let mut similarities = context.rows::<Similarities>()?;
        let mut images = context.rows::<ImageUrls>()?;
        let mut documents = context.writer::<DocumentSelections>()?;
        let mut assignments = context.writer::<Assignments>()?;
        while let Some(SentencesRow { document_id, sentences }) = outlines.next()? {
            accounts.read(Unit::Documents)?;
            let selected = selections.document(document_id)?;
            for _ in selected.rows() {
                accounts.read(Unit::Images)?;
            }
            let decided = match self.failed_count(sentences.len(), selected.len()) {
                Some(verdict) => Err(verdict),
                None => {
                    let similarities = similarities.document(document_id)?;
                    let assigned = self.assign(document_id, sentences.len(), &selected, &similarities)?;
                    self.failed_share(&assigned).map_or(Ok(assigned), Err)
                }
            };
            skip_document(&mut similarities, document_id)?;
            match decided {
                Ok(assigned) => {
                    skip_document(&mut images, document_id)?;
                    for &Assigned { image_index, sentence_index, similarity } in &assigned {
                        assignments.push(&AssignmentsRow { document_id, image_index, sentence_index, similarity })?;
                        accounts.kept(Unit::Images);
                    }
                    let images = u32::try_from(assigned.len()).expect("images have distinct u32 indices");
                    documents.push(&DocumentSelectionsRow { document_id, images })?;
                    accounts.kept(Unit::Documents);
                }
                Err(Verdict { reason, evidence }) => {
                    let images = images.document(document_id)?;
                    let mut urls = images.rows();
                    for selection in selected.rows() {
                        let image_index = selection.image_index;
                        let image = urls
                            .find(|image| image.image_index == image_index)
                            .ok_or_else(|| missing_row(ImageUrls::NAME, document_id, image_index))?;
                        accounts.reject(&Reject {
                            unit: Unit::Images,
                            document_id,
                            image_url: Some(image.image_url),
                            reason: Reason::DocumentRejected,
                            evidence: format!("{}: {evidence}", reason.name()),
                        })?;
                    }
                    accounts.reject(&Reject {
                        unit: Unit::Documents,
                        document_id,
                        image_url: None,
                        reason,
                        evidence,
                    })?;
                }
            }
        }
        selections.expect_end()?;
        similarities.expect_end()?;
        images.expect_end()?;
        context.commit(documents.finish())?;
        context.commit(assignments.finish())?;
        accounts.finish()
    }
}

/// An image and its sentence.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Assigned {
    image_index: u32,
    sentence_index: u32,
    similarity: f32,
}

/// Why a document does not stay.
#[derive(Debug)]
struct Verdict {
    reason: Reason,
    evidence: String,
}

impl Assign {
    /// The first test on counts that the document fails.
    fn failed_count(&self, sentences: usize, images: usize) -> Option<Verdict> {
        let rejected = |reason, evidence| Some(Verdict { reason, evidence });
        if images == 0 {
            return rejected(Reason::NoImageSelected, "0 images".to_owned());
        }
        if let Some(least) = self.config.min_sentences.filter(|least| sentences < *least) {
            return rejected(Reason::TooFewSentences, format!("{sentences} sentences < {least}"));
        }
        if let Some(largest) = self.config.max_sentences.filter(|largest| sentences > *largest) {
            return rejected(Reason::TooManySentences, format!("{sentences} sentences > {largest}"));
        }
        if let Some(least) = self.config.min_images.filter(|least| images < *least) {
            return rejected(Reason::TooFewImages, format!("{images} images < {least}"));
        }
        if let Some(largest) = self.config.max_images.filter(|largest| images > *largest) {
            return rejected(Reason::TooManyImages, format!("{images} images > {largest}"));
        }
        None
    }

    /// Whether too small a share of the assignments, of which there is one at least, is similar enough.
    fn failed_share(&self, assigned: &[Assigned]) -> Option<Verdict> {
        let least = self.config.share_min?;
        let above_similarity = self.config.share_similarity;
        let above = assigned.iter().filter(|image| f64::from(image.similarity) > above_similarity).count();
        // A quotient rounds as the decimal in the recipe does, so that 3 of 4 is 0.75 and 7 of 10 is 0.7.
        let count = |images: usize| f64::from(u32::try_from(images).expect("images have distinct u32 indices"));
        if count(above) / count(assigned.len()) >= least {
            return None;
        }
        let evidence =
            format!("{above} of {} assignments above {above_similarity}, share below {least}", assigned.len());
        Some(Verdict { reason: Reason::LowShare, evidence })
    }

    /// Matches the selected images of one document to its sentences.
    fn assign(
        &self,
        document_id: &str,
        sentences: usize,
        selected: &Batch<Selections>,
        similarities: &Batch<Similarities>,
    ) -> Result<Vec<Assigned>, StageError> {
        let mut values = Vec::with_capacity(selected.len() * sentences);
        let mut rows = similarities.rows();
        for selection in selected.rows() {
            let image_index = selection.image_index;
            let row = rows
                .find(|row| row.image_index == image_index)
                .ok_or_else(|| missing_row(Similarities::NAME, document_id, image_index))?;
            if row.similarity.len() != sentences {
                let cause =
                    format!("image {image_index} has {} values for {sentences} sentences", row.similarity.len());
                return Err(damaged(Similarities::NAME, document_id, cause));
            }
            values.extend_from_slice(row.similarity);
        }
        let similarity = Similarity::new(&values, selected.len(), sentences)
            .map_err(|cause| damaged(Similarities::NAME, document_id, cause.to_string()))?;
        let matched = match self.config.method {
            Method::Linear => matching::linear(&similarity),
            Method::Max => matching::max(&similarity),
        };
        let assigned = selected.rows().zip(matched).enumerate().map(|(image, (selection, sentence))| Assigned {
            image_index: selection.image_index,
            sentence_index: u32::try_from(sentence.0).expect("a document has fewer sentences"),
            similarity: similarity.at(image, sentence),
        });
        Ok(assigned.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use weft_core::tables::{Images, ImagesRow, Outlines, OutlinesRow, Rejects, SelectionsRow, SimilaritiesRow};
    use weft_core::testing;

    use super::*;

    /// A document of a test: the similarities of its measured images, and which of them are selected.
    struct Page {
        document_id: &'static str,
        matrix: Vec<Vec<f32>>,
        selected: Vec<u32>,
        sentences: usize,
    }

    /// A page all of whose images are selected.
    fn page<const S: usize>(document_id: &'static str, matrix: &[[f32; S]]) -> Page {
        Page {
            document_id,
            matrix: matrix.iter().map(|row| row.to_vec()).collect(),
            selected: (0..).zip(matrix).map(|(image_index, _)| image_index).collect(),
            sentences: S,
        }
    }

    fn context(pages: &[Page]) -> Context {
        let mut context = testing::context();
        let outlines = pages.iter().map(|page| OutlinesRow {
            document_id: page.document_id,
            url: "http://a.example/",
            timestamp: "20190418000000",
            source_timestamp: "2019-04-18T00:00:00Z",
            filename: "a.warc.gz",
            offset: 0,
            length: 1,
            candidates: 9,
            sentences: vec!["A sentence."; page.sentences],
        });
        testing::give::<Outlines>(&mut context, outlines);
        let measured: Vec<(&str, u32, &[f32], String)> = pages
            .iter()
            .flat_map(|page| {
                (0..).zip(&page.matrix).map(|(image_index, row)| {
                    let url = format!("http://{}.example/{image_index}.png", page.document_id);
                    (page.document_id, image_index, row.as_slice(), url)
                })
            })
            .collect();
        let images = measured.iter().map(|(document_id, image_index, _, url)| ImagesRow {
            document_id,
            image_index: *image_index,
            image_url: url,
            final_url: url,
            origin: "archive",
            fetched: "20190418000000",
            format: "png",
            source_bytes: 1,
            blake3: "",
            sha256: "",
            width_px: 200,
            height_px: 200,
            stored_width_px: 200,
            stored_height_px: 200,
            phash: 0,
            alt: None,
            follows_sentence: None,
        });
        testing::give::<Images>(&mut context, images);
        let similarities = measured.iter().map(|(document_id, image_index, row, _)| SimilaritiesRow {
            document_id,
            image_index: *image_index,
            similarity: row,
        });
        testing::give::<Similarities>(&mut context, similarities);
        let selections = pages.iter().flat_map(|page| {
            page.selected.iter().map(|&image_index| SelectionsRow { document_id: page.document_id, image_index })
        });
        testing::give::<Selections>(&mut context, selections);
        context
    }

    fn run(config: Config, context: &Context) -> Tally {
        Stage::run(&Assign { config }, ShardId(0), context).unwrap()
    }

    fn assigned(context: &Context) -> Vec<(String, u32, u32)> {
        testing::written::<Assignments, _>(context, |row| {
            (row.document_id.to_owned(), row.image_index, row.sentence_index)
        })
    }

    fn rejects(context: &Context) -> Vec<(String, String, String)> {
        testing::written::<Rejects, _>(context, |row| {
            (row.unit.to_owned(), row.reason.to_owned(), row.evidence.to_owned())
        })
    }

    fn owned<const N: usize>(rows: [(&str, u32, u32); N]) -> [(String, u32, u32); N] {
        rows.map(|(id, image, sentence)| (id.to_owned(), image, sentence))
    }

    /// MMC4's printed example (mmc4.md 1.5).
    const MMC4: [[f32; 4]; 2] = [
        [0.365_877_03, 0.181_521_77, 0.316_004_48, 0.271_298_53],
        [0.363_982_53, 0.155_435_52, 0.306_774_65, 0.267_636_7],
    ];

    #[test]
    fn mmc4s_example_is_assigned_as_mmc4_assigns_it() {
        let context = context(&[page("d", &MMC4)]);
        let tally = run(Config::default(), &context);
        assert_eq!(assigned(&context), owned([("d", 0, 2), ("d", 1, 0)]));
        let documents = testing::written::<DocumentSelections, _>(&context, |row| row.images);
        assert_eq!(documents, [2]);
        assert_eq!(tally.counts[&Unit::Documents].kept, 1);
        assert_eq!(tally.counts[&Unit::Images].kept, 2);
        let similarities = testing::written::<Assignments, _>(&context, |row| row.similarity);
        assert!(similarities.iter().zip([MMC4[0][2], MMC4[1][0]]).all(|(own, cell)| own.to_bits() == cell.to_bits()));
    }

    #[test]
    fn max_sends_both_images_to_their_best_sentence() {
        let context = context(&[page("d", &MMC4)]);
        run(Config { method: Method::Max, ..Config::default() }, &context);
        assert_eq!(assigned(&context), owned([("d", 0, 0), ("d", 1, 0)]));
    }

    #[test]
    fn the_identity_in_place_of_the_matching_is_not_what_assign_writes() {
        let context = context(&[page("d", &MMC4)]);
        run(Config::default(), &context);
        let total = |assigned: &[(u32, u32)]| -> f64 {
            let index = |value: u32| usize::try_from(value).unwrap();
            assigned.iter().map(|&(image, sentence)| f64::from(MMC4[index(image)][index(sentence)])).sum()
        };
        let matched: Vec<(u32, u32)> = assigned(&context).into_iter().map(|(_, i, s)| (i, s)).collect();
        assert_ne!(matched, [(0, 0), (1, 1)]);
        assert!(total(&matched) > total(&[(0, 0), (1, 1)]) + 0.1);
    }

    #[test]
    fn only_selected_images_compete_for_sentences() {
        // Image 0 would take sentence 0 from image 1.
        let mut page = page("d", &[[0.9, 0.1], [0.8, 0.2]]);
        page.selected = vec![1];
        let context = context(&[page]);
        run(Config::default(), &context);
        assert_eq!(assigned(&context), owned([("d", 1, 0)]));
    }

    #[test]
    fn a_document_is_rejected_for_its_first_failing_threshold_and_its_images_with_it() {
        let mut empty = page("a", &[[0.5; 4]; 2]);
        empty.selected.clear();
        let pages = [
            empty,
            page("b", &[[0.5; 3]; 1]),
            page("c", &[[0.5; 7]; 1]),
            page("d", &[[0.5; 4]; 1]),
            page("e", &[[0.5; 4]; 4]),
            page("f", &[[0.5, 0.1, 0.1, 0.1], [0.1, 0.2, 0.1, 0.1]]),
            page("g", &[[0.5, 0.1, 0.1, 0.1], [0.1, 0.2, 0.5, 0.1]]),
        ];
        let config = Config {
            min_sentences: Some(4),
            max_sentences: Some(6),
            min_images: Some(2),
            max_images: Some(3),
            share_min: Some(0.75),
            ..Config::default()
        };
        let context = context(&pages);
        let tally = run(config, &context);
        let expected = [
            ("documents", "no_image_selected", "0 images"),
            ("images", "document_rejected", "too_few_sentences: 3 sentences < 4"),
            ("documents", "too_few_sentences", "3 sentences < 4"),
            ("images", "document_rejected", "too_many_sentences: 7 sentences > 6"),
            ("documents", "too_many_sentences", "7 sentences > 6"),
            ("images", "document_rejected", "too_few_images: 1 images < 2"),
            ("documents", "too_few_images", "1 images < 2"),
            ("images", "document_rejected", "too_many_images: 4 images > 3"),
            ("images", "document_rejected", "too_many_images: 4 images > 3"),
            ("images", "document_rejected", "too_many_images: 4 images > 3"),
            ("images", "document_rejected", "too_many_images: 4 images > 3"),
            ("documents", "too_many_images", "4 images > 3"),
            ("images", "document_rejected", "low_share: 1 of 2 assignments above 0.25, share below 0.75"),
            ("images", "document_rejected", "low_share: 1 of 2 assignments above 0.25, share below 0.75"),
            ("documents", "low_share", "1 of 2 assignments above 0.25, share below 0.75"),
        ];
        let expected =
            expected.map(|(unit, reason, evidence)| (unit.to_owned(), reason.to_owned(), evidence.to_owned()));
        assert_eq!(rejects(&context), expected);
        assert_eq!(assigned(&context), owned([("g", 0, 0), ("g", 1, 2)]));
        assert_eq!((tally.counts[&Unit::Documents].read, tally.counts[&Unit::Documents].kept), (7, 1));
        assert_eq!((tally.counts[&Unit::Images].read, tally.counts[&Unit::Images].kept), (11, 2));
    }

    #[test]
    fn a_rejected_document_names_the_urls_of_its_images() {
        let mut page = page("d", &[[0.5; 4]; 3]);
        page.selected = vec![1, 2];
        let context = context(&[page]);
        run(Config { min_images: Some(3), ..Config::default() }, &context);
        let urls = testing::written::<Rejects, _>(&context, |row| row.image_url.map(str::to_owned));
        let expected = [Some("http://d.example/1.png".to_owned()), Some("http://d.example/2.png".to_owned()), None];
        assert_eq!(urls, expected);
    }

    #[test]
    fn three_of_four_assignments_are_a_share_of_075_and_a_similarity_at_the_bound_is_not_above_it() {
        let exactly = [[0.5, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.25]];
        let mut below = exactly;
        below[2][2] = 0.25;
        let context = context(&[page("a", &exactly), page("b", &below)]);
        run(Config { share_min: Some(0.75), ..Config::default() }, &context);
        let kept: BTreeSet<String> = assigned(&context).into_iter().map(|(id, ..)| id).collect();
        assert_eq!(kept, BTreeSet::from(["a".to_owned()]));
    }

    #[test]
    fn a_stricter_document_threshold_keeps_a_subset() {
        let pages = || {
            [
                page("a", &[[0.5; 3]; 1]),
                page("b", &[[0.3; 5]; 2]),
                page("c", &[[0.1; 8]; 3]),
                page("d", &[[0.3, 0.2]; 2]),
            ]
        };
        let kept = |config: Config| -> BTreeSet<(String, u32, u32)> {
            let context = context(&pages());
            run(config, &context);
            assigned(&context).into_iter().collect()
        };
        let all = kept(Config::default());
        assert_eq!(all.len(), 8);
        for strict in [
            Config { min_sentences: Some(4), ..Config::default() },
            Config { max_sentences: Some(4), ..Config::default() },
            Config { min_images: Some(2), ..Config::default() },
            Config { max_images: Some(2), ..Config::default() },
            Config { share_min: Some(0.75), ..Config::default() },
        ] {
            let some = kept(strict);
            assert!(some.is_subset(&all) && some.len() < all.len());
        }
    }

    #[test]
    fn a_selected_image_without_similarities_or_with_too_few_is_an_error() {
        let mut short = page("d", &MMC4);
        short.sentences = 5;
        let assign = Assign { config: Config::default() };
        let error = Stage::run(&assign, ShardId(0), &context(&[short])).unwrap_err().to_string();
        assert!(error.contains("image 0 has 4 values for 5 sentences"), "{error}");
        let mut missing = page("d", &MMC4);
        missing.matrix.pop();
        let error = Stage::run(&assign, ShardId(0), &context(&[missing])).unwrap_err().to_string();
        assert!(error.contains("there is no row for image 1"), "{error}");
    }
}
