//! Makes the tiny graphs: random, never trained, of the same shape as the real ones.
//!
//! They stand in for CLIP and the detectors in tests and in the tiny recipe, and are useless for judging pictures.
//! What they do promise: the same seed gives the same bytes on every machine (integer and exact float steps only),
//! different pictures give clearly different embeddings, and scores spread over (0, 1).

use crate::onnx::{Attribute, Dim, Element, GraphBuilder};

/// The seed of the graphs that the cards name.
pub const SEED: u64 = 20_231_123;
/// The side of the square that `tiny-clip-image` takes, in pixels.
pub const SIDE_PX: u32 = 64;
/// The length of a tiny embedding.
pub const EMBEDDING: u32 = 64;
/// The tokens of one text, as in CLIP.
pub const CONTEXT: u32 = 77;

/// One side of a cell that is averaged to one number, in pixels.
const CELL_PX: u32 = 8;
/// Numbers per picture after averaging: 3 channels of 8 x 8 cells.
const FEATURES: u32 = 3 * (SIDE_PX / CELL_PX) * (SIDE_PX / CELL_PX);
/// Width of the image graph's hidden layer.
const HIDDEN: u32 = 128;
/// Width of a head's hidden layer.
const HEAD_HIDDEN: u32 = 16;
/// Rows of the token table; ids are folded into it by their remainder.
const TABLE: u32 = 1024;
/// The rows that CLIP's start and end tokens (49406, 49407) fall on: every text has both.
const MARKER_ROWS: [usize; 2] = [49_406 % 1024, 49_407 % 1024];

/// A graph and the file name that it goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TinyGraph {
    /// The file name, such as `tiny-clip-image.onnx`.
    pub name: &'static str,
    /// The ONNX file.
    pub bytes: Vec<u8>,
}

/// All tiny graphs of one seed, in the order of their names' roles: image, text, then the heads.
pub fn graphs(seed: u64) -> Vec<TinyGraph> {
    vec![
        TinyGraph { name: "tiny-clip-image.onnx", bytes: image(seed) },
        TinyGraph { name: "tiny-clip-text.onnx", bytes: text(seed) },
        TinyGraph { name: "tiny-nsfw.onnx", bytes: head("tiny-nsfw", seed, 3) },
        TinyGraph { name: "tiny-ad.onnx", bytes: head("tiny-ad", seed, 4) },
        TinyGraph { name: "tiny-face.onnx", bytes: head("tiny-face", seed, 5) },
    ]
}

/// Averages cells of 8 x 8 pixels, takes the picture's mean away, and mixes twice with a tanh between.
fn image(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed, 1);
    // A centred cell of a photograph is about 0.5 from zero (in CLIP's normalised units), so a gain of 4 brings the
    // tanh to its bend and the hidden layer close to signs.
    let mut mix = random.normals(HIDDEN * FEATURES, 4.0 / f64::from(FEATURES).sqrt());
    centre_rows(&mut mix, FEATURES);
    // The mean itself comes back in weakly, so that plain pictures of different colour differ as well.
    let tint = random.normals(HIDDEN, 0.25 / f64::from(FEATURES));
    for (row, tint) in mix.chunks_exact_mut(len(FEATURES)).zip(&tint) {
        for weight in row {
            *weight += tint;
        }
    }
    let shift = random.normals(HIDDEN, 0.1);
    let out = random.normals(EMBEDDING * HIDDEN, 1.0 / f64::from(HIDDEN).sqrt());

    let side = Dim::Fixed(SIDE_PX);
    let cell = [i64::from(CELL_PX); 2];
    let mut graph = GraphBuilder::new("tiny-clip-image");
    graph
        .input("pixel_values", Element::F32, &[Dim::Batch, Dim::Fixed(3), side, side])
        .output("image_embeds", Element::F32, &[Dim::Batch, Dim::Fixed(EMBEDDING)])
        .floats("mix", &[HIDDEN, FEATURES], &mix)
        .floats("shift", &[HIDDEN], &shift)
        .floats("out", &[EMBEDDING, HIDDEN], &out)
        .node(
            "AveragePool",
            &["pixel_values"],
            "cells",
            &[("kernel_shape", Attribute::Ints(&cell)), ("strides", Attribute::Ints(&cell))],
        )
        .node("Flatten", &["cells"], "features", &[("axis", Attribute::Int(1))])
        .node("Gemm", &["features", "mix", "shift"], "mixed", &[("transB", Attribute::Int(1))])
        .node("Tanh", &["mixed"], "hidden", &[])
        .node("Gemm", &["hidden", "out"], "image_embeds", &[("transB", Attribute::Int(1))]);
    graph.finish().expect("the calls above make each name once and before its use")
}

/// Looks each token up in a small table, averages over what is not padding (id 0), and mixes once.
fn text(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed, 2);
    let mut table = random.normals(TABLE * EMBEDDING, 1.0);
    for row in MARKER_ROWS {
        // Faint, or every text would point the same way; not zero, so that an empty text has a direction.
        for value in &mut table[row * len(EMBEDDING)..(row + 1) * len(EMBEDDING)] {
            *value *= 0.05;
        }
    }
    let out = random.normals(EMBEDDING * EMBEDDING, 1.0 / f64::from(EMBEDDING).sqrt());

    let mut graph = GraphBuilder::new("tiny-clip-text");
    graph
        .input("input_ids", Element::I64, &[Dim::Batch, Dim::Fixed(CONTEXT)])
        .output("text_embeds", Element::F32, &[Dim::Batch, Dim::Fixed(EMBEDDING)])
        .floats("table", &[TABLE, EMBEDDING], &table)
        .floats("out", &[EMBEDDING, EMBEDDING], &out)
        .floats("zero", &[], &[0.0])
        .floats("one", &[], &[1.0])
        .ints("rows", &[1], &[i64::from(TABLE)])
        .ints("tokens", &[1], &[1])
        .ints("last", &[1], &[2])
        .node("Mod", &["input_ids", "rows"], "folded", &[])
        .node("Gather", &["table", "folded"], "vectors", &[("axis", Attribute::Int(0))])
        // 1 for a token and 0 for padding: ids are whole and not negative.
        .node("Cast", &["input_ids"], "ids", &[("to", Attribute::Int(1))])
        .node("Clip", &["ids", "zero", "one"], "mask", &[])
        .node("Unsqueeze", &["mask", "last"], "mask3", &[])
        .node("Mul", &["vectors", "mask3"], "kept", &[])
        .node("ReduceSum", &["kept", "tokens"], "sum", &[("keepdims", Attribute::Int(0))])
        .node("ReduceSum", &["mask", "tokens"], "count", &[("keepdims", Attribute::Int(1))])
        .node("Div", &["sum", "count"], "mean", &[])
        .node("Gemm", &["mean", "out"], "text_embeds", &[("transB", Attribute::Int(1))]);
    graph.finish().expect("the calls above make each name once and before its use")
}

/// Scores a unit embedding: two layers, a tanh between, a sigmoid at the end.
fn head(name: &str, seed: u64, stream: u64) -> Vec<u8> {
    let mut random = Random::new(seed, stream);
    // On a unit vector the hidden sums have a deviation of 2, the last sum of about 2: scores from 0.02 to 0.98.
    let mix = random.normals(HEAD_HIDDEN * EMBEDDING, 2.0);
    let shift = random.normals(HEAD_HIDDEN, 0.1);
    let out = random.normals(HEAD_HIDDEN, 2.5 / f64::from(HEAD_HIDDEN).sqrt());

    let mut graph = GraphBuilder::new(name);
    graph
        .input("embedding", Element::F32, &[Dim::Batch, Dim::Fixed(EMBEDDING)])
        .output("score", Element::F32, &[Dim::Batch, Dim::Fixed(1)])
        .floats("mix", &[HEAD_HIDDEN, EMBEDDING], &mix)
        .floats("shift", &[HEAD_HIDDEN], &shift)
        .floats("out", &[1, HEAD_HIDDEN], &out)
        .node("Gemm", &["embedding", "mix", "shift"], "mixed", &[("transB", Attribute::Int(1))])
        .node("Tanh", &["mixed"], "hidden", &[])
        .node("Gemm", &["hidden", "out"], "logit", &[("transB", Attribute::Int(1))])
        .node("Sigmoid", &["logit"], "score", &[]);
    graph.finish().expect("the calls above make each name once and before its use")
}

/// Takes each row's mean away, so that what the row measures does not see a constant.
fn centre_rows(weights: &mut [f32], width: u32) {
    for row in weights.chunks_exact_mut(len(width)) {
        let sum: f64 = row.iter().map(|&weight| f64::from(weight)).sum();
        let mean = narrow(sum / f64::from(width));
        for weight in row {
            *weight -= mean;
        }
    }
}

fn len(size: u32) -> usize {
    usize::try_from(size).expect("the sizes above fit any usize")
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is meant")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Numbers of splitmix64 (Steele, Lea and Flood 2014).
#[derive(Debug)]
struct Random {
    state: u64,
}

impl Random {
    /// Streams of one seed are unrelated.
    fn new(seed: u64, stream: u64) -> Self {
        let mut start = Self { state: seed };
        let seed = start.next();
        Self { state: seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Near enough normal, mean 0: the sum of twelve uniform numbers less six. No logarithm and no cosine, whose
    /// last bits differ between machines.
    fn normals(&mut self, count: u32, deviation: f64) -> Vec<f32> {
        (0..count)
            .map(|_| {
                // Twelve uniforms of 16 bits, exact in f64.
                let sum: f64 = (0..3)
                    .flat_map(|_| self.next().to_le_bytes())
                    .collect::<Vec<u8>>()
                    .chunks_exact(2)
                    .map(|pair| (f64::from(u16::from_le_bytes([pair[0], pair[1]])) + 0.5) / 65_536.0)
                    .sum();
                narrow((sum - 6.0) * deviation)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_files_are_what_the_seed_gives() {
        let committed: [(&str, &[u8]); 5] = [
            ("tiny-clip-image.onnx", include_bytes!("../tiny/tiny-clip-image.onnx")),
            ("tiny-clip-text.onnx", include_bytes!("../tiny/tiny-clip-text.onnx")),
            ("tiny-nsfw.onnx", include_bytes!("../tiny/tiny-nsfw.onnx")),
            ("tiny-ad.onnx", include_bytes!("../tiny/tiny-ad.onnx")),
            ("tiny-face.onnx", include_bytes!("../tiny/tiny-face.onnx")),
        ];
        let made = graphs(SEED);
        assert_eq!(made.len(), committed.len());
        for (made, (name, bytes)) in made.iter().zip(committed) {
            assert_eq!(made.name, name);
            assert!(made.bytes == bytes, "{name} differs: run the example write_tiny and commit what it writes");
        }
        assert!(committed.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() < 1_000_000);
    }

    #[test]
    fn another_seed_gives_another_graph() {
        assert_ne!(graphs(SEED)[2].bytes, graphs(SEED + 1)[2].bytes);
    }

    #[test]
    fn normals_have_the_deviation_asked_for() {
        let values = Random::new(7, 1).normals(10_000, 2.0);
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / 1e4;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / 1e4;
        assert!(mean.abs() < 0.1, "{mean}");
        assert!((variance.sqrt() - 2.0).abs() < 0.1, "{variance}");
    }
}
