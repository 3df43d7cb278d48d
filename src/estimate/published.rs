//! Figures that others have published or that follow from them, for what no run has measured yet.
//!
//! Each with who says so. Ratios of MMC4 are of its own rebuild in 2022; today's web keeps fewer of its images.

use super::value::Basis;

/// A figure and its source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    pub(super) amount: f64,
    pub(super) basis: Basis,
    pub(super) from: &'static str,
}

const fn published(amount: f64, from: &'static str) -> Published {
    Published { amount, basis: Basis::Published, from }
}

const fn assumed(amount: f64, from: &'static str) -> Published {
    Published { amount, basis: Basis::Assumed, from }
}

/// Share of the sources' lines that are documents.
pub(super) const INGESTED: Published = assumed(1.0, "every line is a document");
/// Share of documents that are found in the index.
pub(super) const LOCATED: Published = assumed(1.0, "every document is found: the most there can be");
/// Share of captures that give a page.
pub(super) const FETCHED: Published = assumed(1.0, "every record gives its page: the most there can be");
/// Images downloaded for each document of C4-en.
pub(super) const IMAGES_PER_DOCUMENT: Published =
    published(1.37e9 / 365e6, "MMC4, section 3: 1.37 G images of 365 M documents");
/// Share of documents that have an image.
pub(super) const ILLUSTRATED: Published = published(115e6 / 365e6, "MMC4, section 3: 115 M of 365 M documents");
/// Share of links that give an image.
pub(super) const DOWNLOADED: Published = published(0.55, "OBELICS: 55 % of 3.6 G links, in 2023");
/// Share of images that all thresholds keep.
pub(super) const SELECTED: Published = published(571e6 / 1.37e9, "MMC4 1.1: 571 M of 1.37 G images");
/// Share of the illustrated documents that keep an image.
pub(super) const ASSIGNED: Published = published(101.2e6 / 115e6, "MMC4 1.1: 101.2 M of 115 M documents");

/// Bytes of an image as transferred.
pub(super) const IMAGE_BYTES: Published = published(130e6 / 1_350.0, "img2dataset: about 130 MB/s at 1,350 images/s");
/// Share of all images that one registered domain has, where nobody counted.
pub(super) const LARGEST_DOMAIN: Published = assumed(0.05, "a domain with 5 % of the images");

/// Seconds that one worker takes for a row.
pub(super) fn seconds_per_row(stage: &str) -> Option<Published> {
    match stage {
        "fetch" => Some(published(1.0 / 10_413.0, "FastWARC: 10,413 records/s on a core; parsing alone")),
        "download" => Some(published(1.0 / 59.0, "img2dataset: 59 images/s on a core, decoded and resized")),
        "measure" => Some(published(1.0 / 312.0, "clip-retrieval: 312 images/s of ViT-L/14, with an A100 a worker")),
        _ => None,
    }
}
