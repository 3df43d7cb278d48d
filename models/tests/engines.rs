//! Holds both engines to the same committed outputs of the tiny graphs, within 1e-4.
//!
//! A process keeps its first engine, so ONNX Runtime is tried in a process of its own. Its library is named by
//! `WEFT_TEST_ORT_DYLIB`. After a change of the tiny graphs, `tiny_outputs.txt` is written anew from
//! `cargo test -p weft-models --test engines -- --ignored --nocapture print_the_outputs_of_tract`.

#![expect(clippy::unwrap_used, reason = "the steps of a test, outside its function")]

use std::path::{Path, PathBuf};
use std::process::Command;

use weft_models::card::Card;
use weft_models::clip::ClipPair;
use weft_models::engine::{Engine, EngineChoice, EngineKind, EngineRequest};
use weft_models::head::Head;

const COMMITTED: &str = include_str!("tiny_outputs.txt");
const TOLERANCE: f32 = 1e-4;
const LIBRARY_VARIABLE: &str = "WEFT_TEST_ORT_DYLIB";
const IMAGES: u32 = 3;

fn engine(choice: EngineChoice) -> Engine {
    Engine::find(&EngineRequest { choice, ..EngineRequest::default() }).unwrap()
}

/// Stripes, a slope and a disc, in thirds so that the numbers are the same everywhere.
fn pixels() -> Vec<f32> {
    let mut pixels = Vec::new();
    for image in 0..IMAGES {
        for channel in 0..3_u32 {
            for y in 0..64_u32 {
                for x in 0..64_u32 {
                    let level = match image {
                        0 => (x / 8 + channel) % 3,
                        1 => (x + y * (channel + 1)) / 64 % 4,
                        _ => u32::from(x.abs_diff(40).pow(2) + y.abs_diff(20).pow(2) < 300) * (3 - channel),
                    };
                    pixels.push(f32::from(u16::try_from(level).unwrap()) - 1.0);
                }
            }
        }
    }
    pixels
}

/// Every output by name.
fn outputs(engine: &Engine) -> Vec<(String, Vec<f32>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny");
    let mut pair = ClipPair::open(engine, &Card::shipped("tiny-clip").unwrap(), &folder, 1).unwrap();
    let images = pair.embed_images(&pixels(), usize::try_from(IMAGES).unwrap()).unwrap();
    let texts = pair.embed_texts(&["", "a photo of a cat", "two boats “at rest” on the lake"]).unwrap();
    let mut outputs = Vec::new();
    for name in ["tiny-nsfw", "tiny-ad", "tiny-face"] {
        let mut head = Head::open(engine, &Card::shipped(name).unwrap(), &folder, 1).unwrap();
        outputs.push((name.to_owned(), head.score(&images).unwrap()));
    }
    outputs.extend(images.into_iter().enumerate().map(|(index, row)| (format!("image-{index}"), row)));
    outputs.extend(texts.into_iter().enumerate().map(|(index, row)| (format!("text-{index}"), row)));
    outputs
}

/// Compares with the committed outputs; gives the greatest difference.
fn compare(engine: &Engine) -> f32 {
    let outputs = outputs(engine);
    assert_eq!(COMMITTED.lines().count(), outputs.len());
    let mut greatest = 0.0_f32;
    for (line, (name, values)) in COMMITTED.lines().zip(&outputs) {
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some(name.as_str()));
        let committed: Vec<f32> = words.map(|word| word.parse().unwrap()).collect();
        assert_eq!(committed.len(), values.len(), "{name}");
        for (committed, value) in committed.iter().zip(values) {
            greatest = greatest.max((committed - value).abs());
        }
        assert!(greatest < TOLERANCE, "{name} on {engine}: {greatest}");
    }
    greatest
}

#[test]
fn tract_gives_the_committed_outputs() {
    let greatest = compare(&engine(EngineChoice::Tract));
    println!("tract: greatest difference {greatest:e}");
}

#[test]
fn onnxruntime_gives_the_committed_outputs() {
    if std::env::var_os(LIBRARY_VARIABLE).is_none() {
        println!("SKIPPED: {LIBRARY_VARIABLE} is not set");
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "compare_onnxruntime_alone"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
    let line = said.lines().find(|line| line.contains("greatest difference")).expect("the child says what it found");
    println!("{line}");
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn compare_onnxruntime_alone() {
    let path = PathBuf::from(std::env::var_os(LIBRARY_VARIABLE).unwrap());
    let engine = engine(EngineChoice::OnnxRuntime { path: Some(path) });
    assert_eq!(engine.kind(), EngineKind::OnnxRuntime);
    let greatest = compare(&engine);
    println!("{engine}: greatest difference {greatest:e}");
}

#[test]
#[ignore = "prints the file that is committed"]
fn print_the_outputs_of_tract() {
    for (name, values) in outputs(&engine(EngineChoice::Tract)) {
        let values: Vec<String> = values.iter().map(|value| format!("{value:.7}")).collect();
        println!("{name} {}", values.join(" "));
    }
}
