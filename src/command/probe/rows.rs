//! `weft probe match` and `weft probe sentences`: what becomes of the objects of a file of JSON lines.

use std::io;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value};
use weft_core::limits::Limits;
use weft_stages::formats::sentences;
use weft_stages::matching::{self, SentenceIndex, Similarity};

use super::findings::{Finding, Findings};
use super::input::each_line;

#[derive(Debug, Args)]
pub(super) struct MatchArgs {
    /// Files of JSON lines, gzip or plain; standard input where there is none, and for `-`
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How images are assigned
    #[arg(long, value_enum, default_value_t = Method::Linear)]
    method: Method,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// At the largest total similarity, at most one image a sentence; surplus images take their best sentence
    Linear,
    /// Every image to its most similar sentence
    Max,
}

#[derive(Serialize)]
struct Matching {
    /// For each image the index of its sentence, from 0.
    assignment: Vec<usize>,
    /// For each image its similarity with that sentence, in single precision.
    similarities: Vec<f64>,
}

pub(super) fn probe_matrices(args: &MatchArgs, limits: &Limits, findings: &mut Findings) -> io::Result<()> {
    each_line(&args.files, limits, findings, |line| {
        let (values, images, sentences) = matrix(&object(line)?)?;
        let similarity = Similarity::new(&values, images, sentences).map_err(|cause| cause.to_string())?;
        let assignment = match args.method {
            Method::Linear => matching::linear(&similarity),
            Method::Max => matching::max(&similarity),
        };
        let chosen = assignment.iter().enumerate();
        Ok(Matching {
            similarities: chosen.map(|(image, sentence)| f64::from(similarity.at(image, *sentence))).collect(),
            assignment: assignment.into_iter().map(|SentenceIndex(index)| index).collect(),
        })
    })
}

/// A line as an object.
fn object(line: &str) -> Result<Map<String, Value>, String> {
    // The parser counts lines too, and always the first.
    let described = |cause: &serde_json::Error| cause.to_string().replace(" at line 1 column ", " at column ");
    match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("no object".to_owned()),
        Err(cause) => Err(format!("no json: {}", described(&cause))),
    }
}

/// The `similarity_matrix` row by row, its number of images and that of sentences.
fn matrix(object: &Map<String, Value>) -> Result<(Vec<f32>, usize, usize), String> {
    let rows = object.get("similarity_matrix").and_then(Value::as_array).ok_or("no similarity_matrix")?;
    let mut values = Vec::new();
    let mut sentences = None;
    for (image, row) in rows.iter().enumerate() {
        let row = row.as_array().ok_or_else(|| format!("row {image} of the similarity_matrix is no list"))?;
        let width = *sentences.get_or_insert(row.len());
        if row.len() != width {
            return Err(format!("row {image} of the similarity_matrix has {} values, not {width}", row.len()));
        }
        for (sentence, value) in row.iter().enumerate() {
            let value = value
                .as_f64()
                .ok_or_else(|| format!("the similarity of image {image} and sentence {sentence} is no number"))?;
            #[expect(clippy::cast_possible_truncation, reason = "similarities are of single precision throughout")]
            values.push(value as f32);
        }
    }
    Ok((values, rows.len(), sentences.unwrap_or(0)))
}

impl Finding for Matching {
    fn lines(&self) -> Vec<String> {
        let chosen = self.assignment.iter().zip(&self.similarities).enumerate();
        let each = chosen.map(|(image, (sentence, similarity))| format!("{image} -> {sentence} ({similarity:.4})"));
        let each: Vec<String> = each.collect();
        vec![format!("{} images: {}", self.assignment.len(), each.join(", "))]
    }
}

#[derive(Serialize)]
struct Sentences {
    sentences: Vec<String>,
}

pub(super) fn probe_texts(files: &[PathBuf], limits: &Limits, findings: &mut Findings) -> io::Result<()> {
    each_line(files, limits, findings, |line| {
        let object = object(line)?;
        let text = object.get("text").and_then(Value::as_str).ok_or("no text")?;
        Ok(Sentences { sentences: sentences::split(text).into_iter().map(str::to_owned).collect() })
    })
}

impl Finding for Sentences {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{} sentences", self.sentences.len())];
        lines.extend(self.sentences.iter().enumerate().map(|(index, sentence)| format!("  {index}: {sentence}")));
        lines
    }
}
