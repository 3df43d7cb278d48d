//! Scores embeddings with a small graph on top of CLIP.
//!
//! A score is in [0, 1]; higher means more of what the head detects, and the card says which end is bad.

use std::path::Path;

use crate::batch::Batch;
use crate::card::{Card, CardError, Direction, Graph};
use crate::engine::Engine;
use crate::session::{Input, Session, SessionError};

/// Embeddings that go through the graph together.
const MOST_ROWS: usize = 1024;

/// A detector over embeddings, loaded.
#[derive(Debug)]
pub struct Head {
    card: String,
    dim: usize,
    bad: Direction,
    session: Session,
    input: String,
    output: String,
    batch: Batch,
}

/// Why nothing was scored.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The card or one of its files is unfit.
    #[error("failed to open head `{card}`")]
    Card {
        /// The card's name.
        card: String,
        /// What is wrong.
        #[source]
        source: CardError,
    },
    /// The graph cannot be loaded or run.
    #[error("head `{card}` failed")]
    Session {
        /// The card's name.
        card: String,
        /// What is wrong.
        #[source]
        source: SessionError,
    },
    /// An embedding has another length than the card says.
    #[error("head `{card}` takes embeddings of {dim} numbers; row {row} has {found}")]
    WrongDim {
        /// The card's name.
        card: String,
        /// The length on the card.
        dim: usize,
        /// The embedding, from 0.
        row: usize,
        /// Its length.
        found: usize,
    },
    /// An embedding holds what is no number; an engine may clamp it and give a plausible score.
    #[error("head `{card}`: the embedding of row {row} is not finite")]
    NotFinite {
        /// The card's name.
        card: String,
        /// The embedding, from 0.
        row: usize,
    },
    /// The output does not hold one number a row.
    #[error("head `{card}` gives {found} numbers for {rows} rows")]
    WrongShape {
        /// The card's name.
        card: String,
        /// The rows of the call.
        rows: usize,
        /// The numbers that came out.
        found: usize,
    },
    /// A score is outside [0, 1].
    #[error("head `{card}` gives row {row} the score {score}, which is not in [0, 1]")]
    NotAScore {
        /// The card's name.
        card: String,
        /// The embedding, from 0.
        row: usize,
        /// What came out.
        score: f32,
    },
}

impl Head {
    /// Loads the head of `card` from `folder`, after checking its digest.
    ///
    /// # Errors
    /// [`HeadError::Card`] and [`HeadError::Session`].
    pub fn open(engine: &Engine, card: &Card, folder: &Path, intra_threads: usize) -> Result<Self, HeadError> {
        let name = card.name.clone();
        let refuse = |source| HeadError::Card { card: name.clone(), source };
        let broken = |source| HeadError::Session { card: name.clone(), source };
        let (graph, input, output, bad) = card
            .one("embedding-head", |graph| match graph {
                Graph::EmbeddingHead { input, output, bad, .. } => Some((graph, input, output, *bad)),
                _ => None,
            })
            .map_err(refuse)?;
        let path = graph.verify_in(folder).map_err(refuse)?;
        let session = Session::open(engine, &path, intra_threads).map_err(broken)?;
        let rows = session.input(input).map_err(broken)?.shape.first().copied().flatten();
        Ok(Self {
            dim: card.embedding_dim,
            bad,
            input: input.clone(),
            output: output.clone(),
            batch: Batch::of(rows, MOST_ROWS),
            session,
            card: card.name.clone(),
        })
    }

    /// The end of the score that speaks against an image.
    pub fn bad(&self) -> Direction {
        self.bad
    }

    /// Scores embeddings of length 1, in their order.
    ///
    /// # Errors
    /// [`HeadError`]; a wrong embedding or score names its row.
    pub fn score(&mut self, embeddings: &[Vec<f32>]) -> Result<Vec<f32>, HeadError> {
        let mut scores = Vec::with_capacity(embeddings.len());
        for chunk in embeddings.chunks(self.batch.rows()) {
            let mut values = Vec::with_capacity(chunk.len() * self.dim);
            for (offset, embedding) in chunk.iter().enumerate() {
                if embedding.len() != self.dim {
                    return Err(HeadError::WrongDim {
                        card: self.card.clone(),
                        dim: self.dim,
                        row: scores.len() + offset,
                        found: embedding.len(),
                    });
                }
                if !embedding.iter().all(|value| value.is_finite()) {
                    return Err(HeadError::NotFinite { card: self.card.clone(), row: scores.len() + offset });
                }
                values.extend_from_slice(embedding);
            }
            let values = self.batch.fill(values, self.dim);
            let rows = values.len() / self.dim;
            let shape = [rows, self.dim];
            let input = Input::F32 { name: &self.input, shape: &shape, values: &values };
            let output = self
                .session
                .run_for(&self.output, &[input])
                .map_err(|source| HeadError::Session { card: self.card.clone(), source })?;
            let found = output.values.len();
            if found != rows {
                return Err(HeadError::WrongShape { card: self.card.clone(), rows, found });
            }
            for score in output.values.into_iter().take(chunk.len()) {
                // False for what is not a number, too.
                if !(0.0..=1.0).contains(&score) {
                    return Err(HeadError::NotAScore { card: self.card.clone(), row: scores.len(), score });
                }
                scores.push(score);
            }
        }
        Ok(scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::engine;

    fn head(name: &str) -> Head {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny");
        Head::open(&engine(), &Card::shipped(name).unwrap(), &folder, 1).unwrap()
    }

    /// Unit vectors in pseudo-random directions.
    fn directions(count: usize) -> Vec<Vec<f32>> {
        let mut state = 5_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from(u16::try_from(state >> 16).unwrap()) / 32_768.0 - 1.0
        };
        (0..count)
            .map(|_| {
                let row: Vec<f32> = (0..64).map(|_| random()).collect();
                let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
                row.into_iter().map(|value| value / length).collect()
            })
            .collect()
    }

    #[test]
    fn scores_spread_over_the_whole_range() {
        for name in ["tiny-nsfw", "tiny-ad", "tiny-face"] {
            let mut scores = head(name).score(&directions(1100)).unwrap();
            assert_eq!(scores.len(), 1100);
            scores.sort_by(f32::total_cmp);
            assert!(scores[110] < 0.3, "{name}: lowest tenth up to {}", scores[110]);
            assert!(scores[990] > 0.7, "{name}: highest tenth from {}", scores[990]);
        }
    }

    #[test]
    fn heads_disagree() {
        let rows = directions(20);
        assert_ne!(head("tiny-nsfw").score(&rows).unwrap(), head("tiny-ad").score(&rows).unwrap());
    }

    #[test]
    fn an_embedding_of_another_length_is_named() {
        let error = head("tiny-ad").score(&[vec![0.0; 64], vec![0.0; 3]]).unwrap_err().to_string();
        assert_eq!(error, "head `tiny-ad` takes embeddings of 64 numbers; row 1 has 3");
    }

    #[test]
    fn an_embedding_that_is_no_number_is_refused() {
        let error = head("tiny-ad").score(&[vec![f32::NAN; 64]]).unwrap_err().to_string();
        assert_eq!(error, "head `tiny-ad`: the embedding of row 0 is not finite");
    }

    #[test]
    fn a_card_of_another_kind_is_refused() {
        let card = Card::shipped("tiny-clip").unwrap();
        let HeadError::Card { source, .. } = Head::open(&engine(), &card, Path::new("."), 1).unwrap_err() else {
            panic!()
        };
        assert_eq!(source.to_string(), "card `tiny-clip` names 0 graphs of the kind embedding-head, not one");
    }
}
