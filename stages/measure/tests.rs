//! Facts about `measure`, on the tiny graphs.

use std::path::PathBuf;

use weft_core::stage::{EngineUse, OutsideFile};
use weft_core::tables::{EmbeddingsRow, ImagesRow, PixelsRow, Rejects, Selections};
use weft_core::testing::{context, give, written};
use weft_models::decode::RgbImage;
use weft_models::encode::encode_jpeg;

use super::*;
use crate::select::Select;

const SENTENCES: [&str; 3] = ["A red disc on a blue field.", "Stripes of many colours.", "Nothing to see here."];

fn models_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

fn outside(path: PathBuf) -> OutsideFile {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    OutsideFile { name, location: path, digest: String::new(), bytes: 0 }
}

/// The tiny graphs, on the engine that `WEFT_TEST_ORT_DYLIB` asks for.
fn resources() -> Resources {
    let mut graphs = BTreeMap::new();
    for (role, card, file) in [
        ("clip", "tiny-clip", "tiny-clip-image.onnx"),
        ("nsfw", "tiny-nsfw", "tiny-nsfw.onnx"),
        ("face", "tiny-face", "tiny-face.onnx"),
    ] {
        let card = outside(models_folder().join(format!("cards/{card}.toml")));
        let files = vec![outside(models_folder().join("tiny").join(file))];
        graphs.insert(role.to_owned(), Graphs { card, files });
    }
    let library = std::env::var_os("WEFT_TEST_ORT_DYLIB").map(PathBuf::from);
    let engine = Some(EngineUse { identity: "test".to_owned(), library });
    Resources { graphs, engine, ..Resources::default() }
}

fn picture(width_px: u32, height_px: u32, of: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let pixels = (0..height_px).flat_map(|y| (0..width_px).map(move |x| (x, y))).flat_map(|(x, y)| of(x, y));
    encode_jpeg(&RgbImage::new(width_px, height_px, pixels.collect()).unwrap(), 90).unwrap()
}

/// A disc, stripes, and one too small: the bytes of three images.
fn pictures() -> Vec<(Vec<u8>, u32, u32)> {
    let disc = |x: u32, y: u32| {
        if x.abs_diff(100).pow(2) + y.abs_diff(80).pow(2) < 3_600 { [220, 30, 30] } else { [20, 40, 200] }
    };
    let stripes = |x: u32, y: u32| if (x / 12 + y / 40).is_multiple_of(2) { [240, 230, 40] } else { [30, 160, 60] };
    vec![
        (picture(200, 160, disc), 200, 160),
        (picture(180, 180, stripes), 180, 180),
        (picture(90, 200, stripes), 90, 200),
    ]
}

fn images_row(image_index: u32, width_px: u32, height_px: u32) -> ImagesRow<'static> {
    ImagesRow {
        document_id: "d",
        image_index,
        image_url: ["http://a.example/0.jpg", "http://a.example/1.jpg", "http://a.example/2.jpg"]
            [usize::try_from(image_index).unwrap()],
        final_url: "http://a.example/",
        origin: "archive",
        fetched: "20190418000000",
        format: "jpeg",
        source_bytes: 1,
        blake3: "",
        sha256: "",
        width_px,
        height_px,
        stored_width_px: width_px,
        stored_height_px: height_px,
        phash: u64::from(image_index) << 40,
        alt: None,
        follows_sentence: None,
    }
}

/// A document with three pictures, ready to be measured.
fn measurable() -> Context {
    let mut context = context();
    let pictures = pictures();
    let rows = (0_u32..).zip(&pictures).map(|(index, (_, width, height))| images_row(index, *width, *height));
    give::<Images>(&mut context, rows);
    let rows = (0_u32..).zip(&pictures);
    let rows = rows.map(|(image_index, (bytes, _, _))| PixelsRow { document_id: "d", image_index, bytes });
    give::<Pixels>(&mut context, rows);
    let outline = OutlinesRow {
        document_id: "d",
        url: "http://a.example/",
        timestamp: "20190418000000",
        source_timestamp: "2019-04-18T00:00:00Z",
        filename: "a.warc.gz",
        offset: 0,
        length: 1,
        candidates: 3,
        sentences: SENTENCES.to_vec(),
    };
    give::<Outlines>(&mut context, [outline]);
    context
}

fn measured() -> (Context, Tally) {
    let context = measurable();
    let stage = Measure::open(Config::default(), &resources()).unwrap();
    let tally = Stage::run(&stage, ShardId(0), &context).unwrap();
    (context, tally)
}

#[test]
fn every_image_above_the_floor_gets_a_unit_embedding_a_score_a_head_and_a_similarity_a_sentence() {
    let (context, tally) = measured();
    let count = &tally.counts[&Unit::Images];
    assert_eq!((count.read, count.kept), (3, 2));
    assert_eq!(
        written::<Rejects, _>(&context, |row| (row.reason.to_owned(), row.evidence.to_owned())),
        [("below_floor".to_owned(), "side 90 px < 100 px".to_owned())]
    );
    let lengths = written::<Embeddings, _>(&context, |row| {
        row.embedding.iter().map(|value| f64::from(value.to_f32()).powi(2)).sum::<f64>()
    });
    assert!(lengths.iter().all(|length| (length - 1.0).abs() < 1e-3), "{lengths:?}");
    let detections = written::<Detections, _>(&context, |row| (row.image_index, row.detector.to_owned(), row.score));
    let names: Vec<_> = detections.iter().map(|(image, detector, _)| (*image, detector.as_str())).collect();
    assert_eq!(names, [(0, "face"), (0, "nsfw"), (1, "face"), (1, "nsfw")]);
    assert!(detections.iter().all(|(_, _, score)| (0.0..=1.0).contains(score)));
    let similarities = written::<Similarities, _>(&context, |row| row.similarity.to_vec());
    assert!(similarities.iter().all(|row| row.len() == SENTENCES.len()));
    assert!(similarities.iter().flatten().all(|value| (-1.0..=1.0).contains(value)));
}

/// What `select` keeps of the two measured pictures, given their similarities.
fn selected(similarities: &[Vec<f32>], threshold: f32) -> Vec<u32> {
    let mut context = context();
    give::<Images>(&mut context, [images_row(0, 200, 160), images_row(1, 180, 180)]);
    let embedding = [f16::from_f32(1.0)];
    let rows = (0..2).map(|image_index| EmbeddingsRow { document_id: "d", image_index, embedding: &embedding });
    give::<Embeddings>(&mut context, rows);
    let rows = (0_u32..).zip(similarities);
    let rows = rows.map(|(image_index, similarity)| SimilaritiesRow { document_id: "d", image_index, similarity });
    give::<Similarities>(&mut context, rows);
    let config = serde_json::json!({"order": ["similarity"], "similarity_min": threshold});
    let stage = Select::open(serde_json::from_value(config).unwrap(), &Resources::default()).unwrap();
    Stage::run(&stage, ShardId(0), &context).unwrap();
    written::<Selections, _>(&context, |row| row.image_index)
}

#[test]
fn the_identity_in_place_of_measure_changes_what_select_keeps() {
    let (context, _) = measured();
    let similarities = written::<Similarities, _>(&context, |row| row.similarity.to_vec());
    let best: Vec<f32> = similarities.iter().map(|row| row.iter().copied().fold(f32::MIN, f32::max)).collect();
    assert!((best[0] - best[1]).abs() > 0.01, "two different pictures measure alike: {best:?}");
    let threshold = f32::midpoint(best[0], best[1]);
    let kept = selected(&similarities, threshold);
    assert_eq!(kept.len(), 1, "{best:?}");
    // The identity measures nothing: every picture is as similar to every sentence.
    for constant in [0.0, 1.0] {
        let identity = vec![vec![constant; SENTENCES.len()]; 2];
        assert_ne!(selected(&identity, threshold), kept);
    }
}

#[test]
fn a_picture_without_pixels_names_its_document() {
    let mut context = measurable();
    context.inputs.remove(<Pixels as weft_core::table::Table>::NAME);
    let stage = Measure::open(Config::default(), &resources()).unwrap();
    let error = Stage::run(&stage, ShardId(0), &context).unwrap_err();
    assert!(error.to_string().contains("no row for image 0"), "{error}");
}

#[test]
fn a_recipe_without_clip_says_what_to_add() {
    let mut resources = resources();
    resources.graphs.remove("clip");
    let error = Measure::open(Config::default(), &resources).unwrap_err();
    assert!(error.to_string().contains("clip = { card ="), "{error}");
}

#[test]
fn the_floor_names_what_it_excludes() {
    let floor = Floor::default();
    assert_eq!(floor.excludes(100, 300), None);
    assert_eq!(floor.excludes(400, 99), Some("side 99 px < 100 px".to_owned()));
    assert_eq!(floor.excludes(100, 301), Some("1:3.010 is beyond 1:3".to_owned()));
}

#[test]
fn a_cosine_of_a_vector_with_itself_is_one() {
    let unit = [0.6, 0.8];
    assert!((cosine(&unit, &unit) - 1.0).abs() < 1e-7);
    assert!((cosine(&unit, &[-0.6, -0.8]) + 1.0).abs() < 1e-7);
}
