//! Embeds images and texts with a CLIP-shaped pair of graphs.
//!
//! Embeddings come out with length 1 (L2, summed in `f64`), so that a dot product is the similarity in [-1, 1].
//! Work goes through the graphs in bounded batches; a graph whose batch is fixed gets exactly that many rows, the
//! last batch filled up with repeats that are dropped again.

use std::path::Path;

use crate::batch::Batch;
use crate::card::{Card, CardError, Graph};
use crate::engine::Engine;
use crate::session::{Input, Output, Session, SessionError};
use crate::tokenize;

/// Images that go through the graph together (gains end at 8 to 16 on a processor).
const IMAGE_BATCH: usize = 16;
/// Texts that go through the graph together.
const TEXT_BATCH: usize = 64;

/// CLIP's two towers, loaded.
#[derive(Debug)]
pub struct ClipPair {
    card: String,
    dim: usize,
    image: Tower,
    text: Tower,
    size_px: usize,
    context_length: usize,
    mask: Option<String>,
}

/// One graph with the names of its ends.
#[derive(Debug)]
struct Tower {
    session: Session,
    input: String,
    output: String,
    batch: Batch,
}

/// Why nothing was embedded.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// The card or one of its files is unfit.
    #[error("failed to open CLIP `{card}`")]
    Card {
        /// The card's name.
        card: String,
        /// What is wrong.
        #[source]
        source: CardError,
    },
    /// A graph cannot be loaded or run.
    #[error("CLIP `{card}` failed")]
    Session {
        /// The card's name.
        card: String,
        /// What is wrong.
        #[source]
        source: SessionError,
    },
    /// The pixels are not those of `count` images.
    #[error("{given} values are not {count} images of {image} values")]
    WrongPixels {
        /// The number of values given.
        given: usize,
        /// The number of images said.
        count: usize,
        /// The values of one image.
        image: usize,
    },
    /// A pixel is no number; an engine may clamp it and give a plausible embedding (tract's tanh does).
    #[error("image {row} holds a value that is not finite")]
    PixelNotFinite {
        /// The image, from 0.
        row: usize,
    },
    /// An output has another shape than its card says.
    #[error("CLIP `{card}`: `{output}` has the shape {found:?}, not {wanted:?}")]
    WrongShape {
        /// The card's name.
        card: String,
        /// The output.
        output: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that follows from card and call.
        wanted: Vec<usize>,
    },
    /// An embedding has no direction.
    #[error("CLIP `{card}` gives row {row} an embedding that is {fault}")]
    NoDirection {
        /// The card's name.
        card: String,
        /// The image or text, from 0, in the caller's order.
        row: usize,
        /// `zero` or `not finite`.
        fault: &'static str,
    },
}

impl ClipPair {
    /// Loads the two graphs of `card` from `folder`, after checking their digests.
    ///
    /// # Errors
    /// [`ClipError::Card`] and [`ClipError::Session`].
    pub fn open(engine: &Engine, card: &Card, folder: &Path, intra_threads: usize) -> Result<Self, ClipError> {
        let name = card.name.clone();
        let refuse = |source| ClipError::Card { card: name.clone(), source };
        let (image_graph, image_ends, size_px) = card
            .one("clip-image", |graph| match graph {
                Graph::ClipImage { input, output, size_px, .. } => Some((graph, (input, output), *size_px)),
                _ => None,
            })
            .map_err(refuse)?;
        let (text_graph, text_ends, context_length, mask) = card
            .one("clip-text", |graph| match graph {
                Graph::ClipText { input, output, context_length, mask, .. } => {
                    Some((graph, (input, output), *context_length, mask.clone()))
                }
                _ => None,
            })
            .map_err(refuse)?;

        let load = |graph: &Graph, (input, output): (&String, &String), most| {
            let path = graph.verify_in(folder).map_err(refuse)?;
            let broken = |source| ClipError::Session { card: name.clone(), source };
            let session = Session::open(engine, &path, intra_threads).map_err(broken)?;
            let rows = session.input(input).map_err(broken)?.shape.first().copied().flatten();
            let batch = Batch::of(rows, most);
            Ok(Tower { session, input: input.clone(), output: output.clone(), batch })
        };
        Ok(Self {
            dim: card.embedding_dim,
            image: load(image_graph, image_ends, IMAGE_BATCH)?,
            text: load(text_graph, text_ends, TEXT_BATCH)?,
            size_px: usize::try_from(size_px).expect("a u32 fits a usize"),
            context_length,
            mask,
            card: card.name.clone(),
        })
    }

    /// The length of an embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The side of the square images that go in, in pixels.
    pub fn size_px(&self) -> usize {
        self.size_px
    }

    /// Embeds `count` images: `pixels` holds image after image, each 3 x size x size, normalised as the card says.
    ///
    /// # Errors
    /// [`ClipError`]; an embedding without direction names its row.
    pub fn embed_images(&mut self, pixels: &[f32], count: usize) -> Result<Vec<Vec<f32>>, ClipError> {
        let image = 3 * self.size_px * self.size_px;
        if count.checked_mul(image) != Some(pixels.len()) {
            return Err(ClipError::WrongPixels { given: pixels.len(), count, image });
        }
        if let Some(index) = pixels.iter().position(|value| !value.is_finite()) {
            return Err(ClipError::PixelNotFinite { row: index / image });
        }
        let mut embeddings = Vec::with_capacity(count);
        for chunk in pixels.chunks(self.image.batch.rows() * image) {
            let given = chunk.len() / image;
            let values = self.image.batch.fill(chunk.to_vec(), image);
            let rows = values.len() / image;
            let shape = [rows, 3, self.size_px, self.size_px];
            let input = Input::F32 { name: &self.image.input, shape: &shape, values: &values };
            let output = self
                .image
                .session
                .run_for(&self.image.output, &[input])
                .map_err(|source| ClipError::Session { card: self.card.clone(), source })?;
            self.collect(&output, rows, given, &mut embeddings)?;
        }
        Ok(embeddings)
    }

    /// Embeds texts, each cut to the context length.
    ///
    /// # Errors
    /// [`ClipError`]; an embedding without direction names its row.
    pub fn embed_texts(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ClipError> {
        let mut embeddings = Vec::with_capacity(texts.len());
        for chunk in texts.chunks(self.text.batch.rows()) {
            let mut ids = Vec::with_capacity(chunk.len() * self.context_length);
            let mut mask = Vec::with_capacity(chunk.len() * self.context_length);
            for text in chunk {
                let encoded = tokenize::encode(text, self.context_length);
                mask.extend((0..self.context_length).map(|position| i64::from(position < encoded.length)));
                ids.extend(encoded.ids);
            }
            let ids = self.text.batch.fill(ids, self.context_length);
            let mask = self.text.batch.fill(mask, self.context_length);
            let rows = ids.len() / self.context_length;
            let shape = [rows, self.context_length];
            let mut inputs = vec![Input::I64 { name: &self.text.input, shape: &shape, values: &ids }];
            if let Some(name) = &self.mask {
                inputs.push(Input::I64 { name, shape: &shape, values: &mask });
            }
            let output = self
                .text
                .session
                .run_for(&self.text.output, &inputs)
                .map_err(|source| ClipError::Session { card: self.card.clone(), source })?;
            self.collect(&output, rows, chunk.len(), &mut embeddings)?;
        }
        Ok(embeddings)
    }

    /// Normalises the first `given` of `rows` rows onto the end of `embeddings`.
    fn collect(
        &self,
        output: &Output,
        rows: usize,
        given: usize,
        embeddings: &mut Vec<Vec<f32>>,
    ) -> Result<(), ClipError> {
        if output.shape != [rows, self.dim] {
            return Err(ClipError::WrongShape {
                card: self.card.clone(),
                output: output.name.clone(),
                found: output.shape.clone(),
                wanted: vec![rows, self.dim],
            });
        }
        for row in output.values.chunks_exact(self.dim).take(given) {
            let unit = normalise(row).map_err(|fault| ClipError::NoDirection {
                card: self.card.clone(),
                row: embeddings.len(),
                fault,
            })?;
            embeddings.push(unit);
        }
        Ok(())
    }
}

/// The vector of length 1 in the same direction.
fn normalise(row: &[f32]) -> Result<Vec<f32>, &'static str> {
    let squares: f64 = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    if !squares.is_finite() {
        return Err("not finite");
    }
    if squares <= 0.0 {
        return Err("zero");
    }
    let length = squares.sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "a component of a unit vector, rounded to the nearest f32")]
    let unit = row.iter().map(|&value| (f64::from(value) / length) as f32).collect();
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::engine;

    fn tiny_folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny")
    }

    fn pair() -> ClipPair {
        ClipPair::open(&engine(), &Card::shipped("tiny-clip").unwrap(), &tiny_folder(), 1).unwrap()
    }

    fn dot(left: &[f32], right: &[f32]) -> f64 {
        left.iter().zip(right).map(|(&l, &r)| f64::from(l) * f64::from(r)).sum()
    }

    /// Mean and deviation of the cosines between all pairs.
    fn spread(embeddings: &[Vec<f32>]) -> (f64, f64) {
        let mut cosines = Vec::new();
        for (index, left) in embeddings.iter().enumerate() {
            cosines.extend(embeddings[..index].iter().map(|right| dot(left, right)));
        }
        let count = f64::from(u32::try_from(cosines.len()).unwrap());
        let mean = cosines.iter().sum::<f64>() / count;
        (mean, (cosines.iter().map(|cosine| (cosine - mean).powi(2)).sum::<f64>() / count).sqrt())
    }

    /// Pictures of a few soft blobs on a slope, normalised roughly as CLIP does.
    fn pictures(count: u32) -> Vec<f32> {
        let mut state = 1_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1_u32 << 24)
        };
        let mut pixels = Vec::new();
        for _ in 0..count {
            let blobs: Vec<[f64; 6]> = (0..6).map(|_| std::array::from_fn(|_| random())).collect();
            let slope: [f64; 3] = std::array::from_fn(|_| random() - 0.5);
            for channel in 0..3 {
                for y in 0..64 {
                    for x in 0..64 {
                        let (x, y) = (f64::from(x) / 64.0, f64::from(y) / 64.0);
                        let mut value = slope[channel] * (x + y);
                        for blob in &blobs {
                            let far = (x - blob[0]).powi(2) + (y - blob[1]).powi(2);
                            value += (2.0 * blob[2 + channel] - 1.0) * (-far / (0.02 + 0.1 * blob[5])).exp();
                        }
                        #[expect(clippy::cast_possible_truncation, reason = "a test's pixel")]
                        pixels.push(value.clamp(-2.0, 2.0) as f32);
                    }
                }
            }
        }
        pixels
    }

    #[test]
    fn different_pictures_point_in_different_directions() {
        let embeddings = pair().embed_images(&pictures(40), 40).unwrap();
        assert_eq!(embeddings.len(), 40);
        for embedding in &embeddings {
            assert!((dot(embedding, embedding) - 1.0).abs() < 1e-5);
        }
        let (mean, deviation) = spread(&embeddings);
        assert!(mean.abs() < 0.15, "{mean}");
        assert!((0.1..0.35).contains(&deviation), "{deviation}");
    }

    #[test]
    fn different_texts_point_in_different_directions() {
        let texts = [
            "a red bicycle against a wall",
            "Snow on the mountain",
            "two cats asleep",
            "an old map of Lisbon",
            "fresh bread",
            "the harbour at dawn, seen from above",
            "blue glass bottle",
            "train station clock",
        ];
        let embeddings = pair().embed_texts(&texts).unwrap();
        let (mean, deviation) = spread(&embeddings);
        assert!(mean.abs() < 0.2, "{mean}");
        assert!((0.05..0.35).contains(&deviation), "{deviation}");
    }

    #[test]
    fn an_embedding_does_not_depend_on_its_batch() {
        let pixels = pictures(18);
        let image = 3 * 64 * 64;
        let mut pair = pair();
        let together = pair.embed_images(&pixels, 18).unwrap();
        let alone = pair.embed_images(&pixels[17 * image..], 1).unwrap();
        assert!(dot(&together[17], &alone[0]) > 1.0 - 1e-5);
        let texts: Vec<String> = (0..70).map(|number| format!("picture {number}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let together = pair.embed_texts(&texts).unwrap();
        assert_eq!(together.len(), 70);
        let alone = pair.embed_texts(&texts[69..]).unwrap();
        assert!(dot(&together[69], &alone[0]) > 1.0 - 1e-5);
    }

    #[test]
    fn nothing_gives_nothing_and_an_empty_text_still_has_a_direction() {
        let mut pair = pair();
        assert!(pair.embed_images(&[], 0).unwrap().is_empty());
        assert!(pair.embed_texts(&[]).unwrap().is_empty());
        assert_eq!(pair.embed_texts(&[""]).unwrap().len(), 1);
    }

    #[test]
    fn pixels_that_are_no_number_are_refused_with_their_row() {
        let mut pixels = pictures(2);
        pixels[3 * 64 * 64] = f32::NAN;
        let error = pair().embed_images(&pixels, 2).unwrap_err().to_string();
        assert_eq!(error, "image 1 holds a value that is not finite");
    }

    #[test]
    fn an_embedding_without_a_direction_is_refused() {
        assert_eq!(normalise(&[0.0, 0.0]), Err("zero"));
        assert_eq!(normalise(&[1.0, f32::NAN]), Err("not finite"));
        assert_eq!(normalise(&[f32::INFINITY, 1.0]), Err("not finite"));
        // Too small for the squares of f32, not for those of f64.
        assert_eq!(normalise(&[1e-30, 0.0]), Ok(vec![1.0, 0.0]));
    }

    #[test]
    fn a_wrong_count_is_refused() {
        let error = pair().embed_images(&[0.0; 5], 1).unwrap_err().to_string();
        assert_eq!(error, "5 values are not 1 images of 12288 values");
    }
}
