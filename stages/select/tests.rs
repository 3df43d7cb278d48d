//! Facts about `select`.

use std::collections::BTreeSet;

use weft_core::tables::{
    DetectionsRow, DistancesRow, Embeddings, EmbeddingsRow, FrequenciesRow, Images, ImagesRow, Rejects, RejectsRow,
    SimilaritiesRow,
};
use weft_core::testing;

use super::*;

/// One image of a test's document, passing every default test.
#[derive(Clone, Debug)]
struct Picture {
    document_id: &'static str,
    image_index: u32,
    side_px: (u32, u32),
    phash: u64,
    scores: Vec<(&'static str, f32)>,
    similarity: Vec<f32>,
    measured: bool,
}

fn picture(document_id: &'static str, image_index: u32) -> Picture {
    Picture {
        document_id,
        image_index,
        side_px: (400, 300),
        // Far from all others: bits that no other index sets.
        phash: 0xFF << (image_index * 8 % 64),
        scores: vec![("ad", 0.0), ("face", 0.0), ("nsfw", 0.0)],
        similarity: vec![0.1, 0.3],
        measured: true,
    }
}

/// A context over pictures (in key order), with the distances that `dedup` would find.
fn context(pictures: &[Picture], frequencies: &[(u64, u64)]) -> Context {
    let mut distances = Vec::new();
    for (position, one) in pictures.iter().enumerate() {
        for other in pictures.iter().skip(position + 1) {
            let distance_bits = (one.phash ^ other.phash).count_ones();
            if one.document_id == other.document_id && distance_bits <= 16 {
                distances.push((one.document_id, one.image_index, other.image_index, distance_bits));
            }
        }
    }
    context_with(pictures, frequencies, &distances)
}

fn context_with(pictures: &[Picture], frequencies: &[(u64, u64)], distances: &[(&str, u32, u32, u32)]) -> Context {
    let mut context = testing::context();
    let urls: Vec<String> =
        pictures.iter().map(|p| format!("http://{}.example/{}.png", p.document_id, p.image_index)).collect();
    let images = pictures.iter().zip(&urls).map(|(p, url)| ImagesRow {
        document_id: p.document_id,
        image_index: p.image_index,
        image_url: url,
        final_url: url,
        origin: "archive",
        fetched: "20190418000000",
        format: "png",
        source_bytes: 1,
        blake3: "",
        sha256: "",
        width_px: p.side_px.0,
        height_px: p.side_px.1,
        stored_width_px: p.side_px.0,
        stored_height_px: p.side_px.1,
        phash: p.phash,
        alt: None,
        follows_sentence: None,
    });
    testing::give::<Images>(&mut context, images);
    let measured: Vec<&Picture> = pictures.iter().filter(|p| p.measured).collect();
    testing::give::<Embeddings>(
        &mut context,
        measured.iter().map(|p| EmbeddingsRow {
            document_id: p.document_id,
            image_index: p.image_index,
            embedding: &[],
        }),
    );
    testing::give::<Similarities>(
        &mut context,
        measured.iter().map(|p| SimilaritiesRow {
            document_id: p.document_id,
            image_index: p.image_index,
            similarity: &p.similarity,
        }),
    );
    testing::give::<Detections>(
        &mut context,
        measured.iter().flat_map(|p| {
            p.scores.iter().map(|(detector, score)| DetectionsRow {
                document_id: p.document_id,
                image_index: p.image_index,
                detector,
                score: *score,
            })
        }),
    );
    testing::give::<Distances>(
        &mut context,
        distances.iter().map(|&(document_id, image_index, other_index, distance_bits)| DistancesRow {
            document_id,
            image_index,
            other_index,
            distance_bits,
        }),
    );
    testing::give::<Frequencies>(
        &mut context,
        frequencies.iter().map(|&(phash, images)| FrequenciesRow { phash, images }),
    );
    context
}

fn run(config: Config, context: &Context) -> Tally {
    Stage::run(&Select { config }, ShardId(0), context).unwrap()
}

fn selected(context: &Context) -> Vec<(String, u32)> {
    testing::written::<Selections, _>(context, |row| (row.document_id.to_owned(), row.image_index))
}

/// The images of the one document that stay under `config`.
fn kept(config: Config, pictures: &[Picture]) -> Vec<u32> {
    let context = context(pictures, &[]);
    run(config, &context);
    selected(&context).into_iter().map(|(_, image_index)| image_index).collect()
}

/// Reason and evidence of every rejected image.
fn rejects(context: &Context) -> Vec<(String, String)> {
    testing::written::<Rejects, _>(context, |row: RejectsRow<'_>| (row.reason.to_owned(), row.evidence.to_owned()))
}

fn order(tests: &[Test]) -> Order {
    Order(tests.to_vec())
}

#[test]
fn each_test_rejects_with_its_value_and_its_threshold() {
    let mut pictures: Vec<Picture> = (0..8).map(|index| picture("d", index)).collect();
    pictures[0].side_px = (120, 200);
    pictures[1].side_px = (150, 301);
    pictures[2].side_px = (301, 150);
    pictures[3].scores[2].1 = 0.5;
    pictures[4].scores[0].1 = 0.75;
    pictures[5].scores[1].1 = 0.875;
    pictures[6].similarity = vec![0.125, -0.5];
    let config = Config { ad_max: Some(0.5), face_max: Some(0.5), ..Config::default() };
    let context = context(&pictures, &[(pictures[7].phash, 11)]);
    let tally = run(config, &context);
    let expected = [
        ("too_small", "width 120 px < 150 px"),
        ("bad_aspect", "150 px / 301 px < 0.5"),
        ("bad_aspect", "301 px / 150 px > 2"),
        ("nsfw", "nsfw 0.500000 > 0.1"),
        ("ad", "ad 0.750000 > 0.5"),
        ("face", "face 0.875000 > 0.5"),
        ("low_similarity", "best similarity 0.125000 < 0.15"),
        ("frequent", "hash in 11 images > 10"),
    ];
    assert_eq!(rejects(&context), expected.map(|(reason, evidence)| (reason.to_owned(), evidence.to_owned())));
    let images = &tally.counts[&Unit::Images];
    assert_eq!((images.read, images.kept), (8, 0));
}

#[test]
fn values_at_their_thresholds_pass() {
    let mut pictures: Vec<Picture> = (0..5).map(|index| picture("d", index)).collect();
    pictures[0].side_px = (150, 150);
    pictures[1].side_px = (300, 150);
    pictures[2].side_px = (150, 300);
    pictures[3].scores[2].1 = 0.5;
    pictures[4].similarity = vec![0.25];
    let config = Config { nsfw_max: 0.5, similarity_min: 0.25, ..Config::default() };
    let context = context(&pictures, &[(pictures[0].phash, 10)]);
    run(config, &context);
    assert_eq!(selected(&context).len(), 5);
}

#[test]
fn the_first_failing_test_of_the_order_is_the_reason() {
    let mut small_and_flagged = picture("d", 0);
    small_and_flagged.side_px = (10, 10);
    small_and_flagged.scores[2].1 = 1.0;
    for (tests, reason) in [([Test::Size, Test::Nsfw], "too_small"), ([Test::Nsfw, Test::Size], "nsfw")] {
        let context = context(std::slice::from_ref(&small_and_flagged), &[]);
        run(Config { order: order(&tests), ..Config::default() }, &context);
        assert_eq!(rejects(&context)[0].0, reason);
    }
}

#[test]
fn a_test_that_the_order_leaves_out_is_not_applied() {
    let mut picture = picture("d", 0);
    picture.side_px = (10, 10);
    picture.scores.clear();
    assert_eq!(kept(Config { order: order(&[Test::Similarity]), ..Config::default() }, &[picture]), [0]);
}

#[test]
fn a_score_that_is_no_number_clears_no_image() {
    let mut picture = picture("d", 0);
    picture.scores[2].1 = f32::NAN;
    assert_eq!(kept(Config::default(), &[picture.clone()]), Vec::<u32>::new());
    picture.scores[2].1 = 0.0;
    assert_eq!(kept(Config::default(), &[picture]), [0]);
}

#[test]
fn a_threshold_without_its_detector_is_an_error_that_names_it() {
    let mut picture = picture("d", 3);
    picture.scores.retain(|(detector, _)| *detector != "face");
    let config = Config { face_max: Some(0.5), ..Config::default() };
    let error = Stage::run(&Select { config }, ShardId(0), &context(&[picture], &[])).unwrap_err().to_string();
    assert!(error.starts_with("detector `face` is not usable"), "{error}");
    assert!(error.ends_with("or take its test out of `select.order`"), "{error}");
}

#[test]
fn the_first_copy_in_dom_order_stays() {
    let mut pictures: Vec<Picture> = (0..4).map(|index| picture("d", index)).collect();
    pictures[2].phash = pictures[0].phash ^ 0b111;
    pictures[3].phash = pictures[1].phash;
    let context = context(&pictures, &[]);
    run(Config::default(), &context);
    assert_eq!(selected(&context), [("d".to_owned(), 0), ("d".to_owned(), 1)]);
    let evidence: Vec<String> = rejects(&context).into_iter().map(|(_, evidence)| evidence).collect();
    assert_eq!(evidence, ["distance 3 to image 0", "distance 0 to image 1"]);
}

/// Three images in a chain, the ends 6 bits apart and 3 from the middle; the middle comes last.
fn chain() -> Vec<Picture> {
    let mut pictures: Vec<Picture> = (0..3).map(|index| picture("d", index)).collect();
    for (picture, phash) in pictures.iter_mut().zip([0, 0b11_1111, 0b111]) {
        picture.phash = phash;
    }
    pictures
}

#[test]
fn copies_of_copies_are_one_cluster() {
    let context = context(&chain(), &[]);
    run(Config::default(), &context);
    assert_eq!(selected(&context), [("d".to_owned(), 0)]);
    let evidence: Vec<String> = rejects(&context).into_iter().map(|(_, evidence)| evidence).collect();
    assert_eq!(evidence, ["distance 3 to image 2, a copy of image 0 through others", "distance 3 to image 0"]);
}

#[test]
fn an_image_that_failed_before_is_in_no_cluster() {
    let mut pictures = chain();
    pictures[2].side_px = (10, 10);
    assert_eq!(kept(Config::default(), &pictures), [0, 1]);
    pictures[2].measured = false;
    assert_eq!(kept(Config::default(), &pictures), [0, 1]);
}

#[test]
fn the_next_copy_stays_when_the_first_is_too_small() {
    let mut pictures = [picture("d", 0), picture("d", 1)];
    pictures[1].phash = pictures[0].phash;
    pictures[0].side_px = (149, 149);
    assert_eq!(kept(Config::default(), &pictures), [1]);
}

#[test]
fn copies_of_an_image_that_fails_a_later_test_do_not_come_back() {
    let mut pictures = [picture("d", 0), picture("d", 1)];
    pictures[1].phash = pictures[0].phash;
    pictures[0].scores[2].1 = 0.9;
    let context = context(&pictures, &[]);
    run(Config::default(), &context);
    assert_eq!(selected(&context), []);
    assert_eq!(rejects(&context)[1], ("duplicate".to_owned(), "distance 0 to image 0".to_owned()));
}

#[test]
fn without_the_distances_of_dedup_select_keeps_every_copy() {
    let mut pictures = [picture("d", 0), picture("d", 1)];
    pictures[1].phash = pictures[0].phash;
    assert_eq!(kept(Config::default(), &pictures), [0]);
    let identity = context_with(&pictures, &[], &[]);
    run(Config::default(), &identity);
    assert_eq!(selected(&identity).len(), 2);
}

/// A linear congruential generator: the tests need arbitrary numbers, the same on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(bound)).unwrap()
    }

    fn share(&mut self) -> f32 {
        f32::from(u16::try_from(self.below(1_000)).unwrap()) / 1_000.0
    }
}

/// Documents whose images are near and less near copies of a few pictures, with arbitrary measurements.
fn arbitrary(numbers: &mut Numbers) -> Vec<Picture> {
    let mut pictures = Vec::new();
    for document_id in ["a", "b", "c", "d", "e", "f"] {
        for image_index in 0..12 {
            let mut picture = picture(document_id, image_index);
            picture.phash = 0xFFFF_FFFF_u64 << (numbers.below(3) * 16);
            for _ in 0..numbers.below(9) {
                picture.phash ^= 1 << numbers.below(64);
            }
            picture.side_px = (100 + numbers.below(300), 100 + numbers.below(300));
            picture.scores.iter_mut().for_each(|(_, score)| *score = numbers.share());
            picture.similarity = vec![numbers.share() / 2.0];
            picture.measured = numbers.below(8) > 0;
            pictures.push(picture);
        }
    }
    pictures
}

fn lenient() -> Config {
    Config { nsfw_max: 0.9, ad_max: Some(0.9), face_max: Some(0.9), ..Config::default() }
}

/// Whether what `strict` selects of arbitrary documents is a subset of what `loose` selects, and smaller at times.
fn is_subset(strict: &Config, loose: &Config) -> bool {
    let mut numbers = Numbers(5);
    let mut smaller = false;
    for _ in 0..8 {
        let pictures = arbitrary(&mut numbers);
        let frequencies: Vec<(u64, u64)> = pictures
            .iter()
            .map(|p| p.phash)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|phash| (phash, u64::from(2 + numbers.below(10))))
            .collect();
        let [strict, loose] = [strict, loose].map(|config| {
            let context = context(&pictures, &frequencies);
            run(config.clone(), &context);
            selected(&context).into_iter().collect::<BTreeSet<_>>()
        });
        if !strict.is_subset(&loose) {
            return false;
        }
        smaller |= strict.len() < loose.len();
    }
    assert!(smaller, "the thresholds make no difference");
    true
}

#[test]
fn selections_at_10_bits_are_a_subset_of_those_at_5() {
    assert!(is_subset(&Config { duplicate_bits: 10, ..lenient() }, &lenient()));
    assert!(is_subset(&Config { duplicate_bits: 5, ..lenient() }, &Config { duplicate_bits: 0, ..lenient() }));
}

#[test]
fn a_stricter_threshold_after_the_duplicates_test_selects_a_subset() {
    let loose = lenient();
    for strict in [
        Config { frequency_max: 5, ..lenient() },
        Config { nsfw_max: 0.5, ..lenient() },
        Config { ad_max: Some(0.5), ..lenient() },
        Config { face_max: Some(0.5), ..lenient() },
        Config { similarity_min: 0.3, ..lenient() },
        Config { similarity_min: 0.3, duplicate_bits: 10, nsfw_max: 0.4, frequency_max: 7, ..lenient() },
    ] {
        assert!(is_subset(&strict, &loose), "{strict:?}");
    }
}

#[test]
fn with_duplicates_tested_first_every_stricter_threshold_selects_a_subset() {
    let duplicates_first = || Config {
        order: order(&[
            Test::Duplicate,
            Test::Frequent,
            Test::Size,
            Test::Aspect,
            Test::Nsfw,
            Test::Ad,
            Test::Face,
            Test::Similarity,
        ]),
        ..lenient()
    };
    for strict in [
        Config { min_side_px: 250, ..duplicates_first() },
        Config { aspect_max: 1.25, ..duplicates_first() },
        Config { aspect_min: 0.75, duplicate_bits: 10, ..duplicates_first() },
    ] {
        assert!(is_subset(&strict, &duplicates_first()), "{strict:?}");
    }
    // In the default order a larger copy takes the place of a small first one: no subset.
    assert!(!is_subset(&Config { min_side_px: 250, ..lenient() }, &lenient()));
}

#[test]
fn a_measured_image_without_its_row_of_similarities_is_an_error() {
    let mut context = context(&[picture("d", 0)], &[]);
    context.inputs.remove(Similarities::NAME);
    let error = Stage::run(&Select { config: Config::default() }, ShardId(0), &context).unwrap_err().to_string();
    assert!(
        error.starts_with("table `similarities, document d` is not usable: there is no row for image 0"),
        "{error}"
    );
}

#[test]
fn an_order_that_repeats_a_test_is_refused() {
    let error = serde_json::from_str::<Config>(r#"{"order": ["size", "nsfw", "size"]}"#).unwrap_err().to_string();
    assert!(error.starts_with("order names Size twice"), "{error}");
    assert!(serde_json::from_str::<Config>(r#"{"order": ["colour"]}"#).is_err());
    assert!(serde_json::from_str::<Config>(r#"{"min_side": 3}"#).is_err());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test reads its reference values")]
fn verdicts_on_a_real_crawl_are_the_reference_verdicts() {
    let Some(root) = std::env::var_os("WEFT_CONFORMANCE") else {
        println!("SKIPPED: WEFT_CONFORMANCE is not set");
        return;
    };
    let path = std::path::Path::new(&root).join("archive-org/expected.json");
    let expected: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let u32_of = |value: &serde_json::Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    let mut compared = 0;
    for (profile, thresholds) in expected["profiles"].as_object().unwrap() {
        let aspect_max = thresholds["max_aspect"].as_f64().unwrap();
        let config = Config {
            order: order(&[Test::Size, Test::Aspect, Test::Duplicate]),
            min_side_px: u32_of(&thresholds["min_side"]),
            aspect_min: 1.0 / aspect_max,
            aspect_max,
            ..Config::default()
        };
        for document in expected["documents"].as_array().unwrap() {
            let Some(candidates) = document["mmc4_candidates"].as_array() else { continue };
            let mut pictures = Vec::new();
            let mut reference = Vec::new();
            for (index, url) in (0..).zip(candidates) {
                let image = &expected["images"][url.as_str().unwrap()];
                if image["decoded"].as_bool() == Some(true) {
                    let mut picture = picture("d", index);
                    picture.side_px = (u32_of(&image["width"]), u32_of(&image["height"]));
                    picture.phash = u64::from_str_radix(image["phash"].as_str().unwrap(), 16).unwrap();
                    pictures.push(picture);
                    reference.push(document["image_verdicts"][profile][url.as_str().unwrap()].as_str().unwrap());
                }
            }
            let context = context(&pictures, &[]);
            run(config.clone(), &context);
            let kept: BTreeSet<u32> = selected(&context).into_iter().map(|(_, index)| index).collect();
            let mut reasons = rejects(&context).into_iter().map(|(reason, _)| reason);
            for (picture, reference) in pictures.iter().zip(reference) {
                let verdict =
                    if kept.contains(&picture.image_index) { "ok".to_owned() } else { reasons.next().unwrap() };
                assert_eq!(verdict, reference, "document {} image {}", document["i"], picture.image_index);
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "no image was compared");
}
