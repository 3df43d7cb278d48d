//! Reads a card: the TOML file that says what a graph is, where it comes from and what its numbers mean.
//!
//! One card names the graphs that belong together (CLIP's two towers) or a single detector. Identity is the digest:
//! a file with other bytes is refused by name. Unknown keys are errors.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The cards that come with this package, by name, in the order of their names.
pub const SHIPPED: [(&str, &str); 4] = [
    ("tiny-ad", include_str!("../cards/tiny-ad.toml")),
    ("tiny-clip", include_str!("../cards/tiny-clip.toml")),
    ("tiny-face", include_str!("../cards/tiny-face.toml")),
    ("tiny-nsfw", include_str!("../cards/tiny-nsfw.toml")),
];

/// A card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// What the graphs go by in recipes.
    pub name: String,
    /// The licence of the weights, as an SPDX expression.
    pub licence: String,
    /// Where the graphs come from.
    pub source: String,
    /// The length of the embeddings that go out (CLIP) or in (heads).
    pub embedding_dim: usize,
    /// The graphs: one, or CLIP's two.
    pub graphs: Vec<Graph>,
}

/// One graph of a card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Graph {
    /// Pixels to an embedding.
    ClipImage {
        /// The ONNX file and what it points to.
        #[serde(default)]
        weights: Vec<Artefact>,
        /// The ONNX file's name.
        file: String,
        /// The ONNX file's digest, in hex.
        sha256: Sha256Hex,
        /// The input that takes the pixels: `f32`, batch x 3 x size x size, RGB.
        input: String,
        /// The output that gives the embeddings: `f32`, batch x dimension.
        output: String,
        /// The side of the square that goes in, in pixels.
        size_px: u32,
        /// Per channel, in [0, 1]: taken away from a pixel.
        mean: [f32; 3],
        /// Per channel: a pixel less the mean is divided by it.
        std: [f32; 3],
    },
    /// Token ids to an embedding.
    ClipText {
        /// Files that the ONNX file points to.
        #[serde(default)]
        weights: Vec<Artefact>,
        /// The ONNX file's name.
        file: String,
        /// The ONNX file's digest, in hex.
        sha256: Sha256Hex,
        /// The input that takes the ids: `i64`, batch x context length.
        input: String,
        /// The input, where there is one, that takes 1 for a token and 0 for padding: `i64`, same shape.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<String>,
        /// The output that gives the embeddings: `f32`, batch x dimension.
        output: String,
        /// Tokens of one text, start and end included.
        context_length: usize,
    },
    /// A unit embedding to a score.
    EmbeddingHead {
        /// Files that the ONNX file points to.
        #[serde(default)]
        weights: Vec<Artefact>,
        /// The ONNX file's name.
        file: String,
        /// The ONNX file's digest, in hex.
        sha256: Sha256Hex,
        /// The input that takes the embeddings: `f32`, batch x dimension, of length 1.
        input: String,
        /// The output that gives the scores: `f32`, batch x 1, in [0, 1].
        output: String,
        /// The name of the card whose embeddings it was made for.
        clip: String,
        /// What a score of 1 says.
        meaning: String,
        /// The end that speaks against an image.
        bad: Direction,
    },
}

/// A file that belongs to a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// Its name, in the graph's folder.
    pub file: String,
    /// Its digest, in hex.
    pub sha256: Sha256Hex,
}

/// The end of a score that speaks against an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// A high score is bad.
    High,
    /// A low score is bad.
    Low,
}

/// A SHA-256 as 64 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex(String);

/// Why a card or one of its files is refused.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The text is no card.
    #[error("not a card")]
    Syntax(#[source] Box<toml::de::Error>),
    /// The card contradicts itself.
    #[error("card `{card}`: {fault}")]
    Fault {
        /// The card's name.
        card: String,
        /// What is wrong.
        fault: String,
    },
    /// The card has no graph of the kind that is needed, or more than one.
    #[error("card `{card}` names {found} graphs of the kind {kind}, not one")]
    NotOne {
        /// The card's name.
        card: String,
        /// The kind that is needed.
        kind: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is another than the card names.
    #[error("`{file}` has the digest {found}, not {wanted} as its card says")]
    Digest {
        /// The file's name.
        file: String,
        /// The digest on the card.
        wanted: String,
        /// The file's digest.
        found: String,
    },
}

impl Card {
    /// Reads a card and checks that it makes sense.
    ///
    /// # Errors
    /// [`CardError::Syntax`] and [`CardError::Fault`].
    pub fn read(text: &str) -> Result<Self, CardError> {
        let card: Self = toml::from_str(text).map_err(|cause| CardError::Syntax(Box::new(cause)))?;
        match card.fault() {
            Some(fault) => Err(CardError::Fault { card: card.name, fault }),
            None => Ok(card),
        }
    }

    /// The shipped card `name`.
    pub fn shipped(name: &str) -> Option<Self> {
        let (_, text) = SHIPPED.iter().find(|(shipped, _)| *shipped == name)?;
        Some(Self::read(text).expect("the shipped cards are read by a test"))
    }

    /// The one graph that `wanted` gives a value for.
    pub(crate) fn one<'a, T>(
        &'a self,
        kind: &'static str,
        wanted: impl Fn(&'a Graph) -> Option<T>,
    ) -> Result<T, CardError> {
        let mut found: Vec<T> = self.graphs.iter().filter_map(wanted).collect();
        let count = found.len();
        match found.pop() {
            Some(graph) if count == 1 => Ok(graph),
            _ => Err(CardError::NotOne { card: self.name.clone(), kind, found: count }),
        }
    }

    fn fault(&self) -> Option<String> {
        if self.name.is_empty() {
            return Some("it has no name".to_owned());
        }
        if self.graphs.is_empty() {
            return Some("it names no graph".to_owned());
        }
        if self.embedding_dim == 0 {
            return Some("the embedding has no dimension".to_owned());
        }
        for graph in &self.graphs {
            let files = graph.artefacts();
            // A card comes from outside: its files stay in the folder that the operator gave.
            if let Some((file, _)) = files.iter().find(|(file, _)| !is_plain(file)) {
                return Some(format!("`{file}` is not a plain file name"));
            }
            match graph {
                Graph::ClipImage { size_px, std, mean, .. } => {
                    if *size_px == 0 {
                        return Some("the image has no size".to_owned());
                    }
                    if std.iter().any(|std| !(std.is_finite() && *std > 0.0)) || !mean.iter().all(|m| m.is_finite()) {
                        return Some("mean and std must be finite, std above zero".to_owned());
                    }
                }
                Graph::ClipText { context_length, .. } => {
                    if *context_length < 3 {
                        return Some("a text needs room for start, one token and end".to_owned());
                    }
                }
                Graph::EmbeddingHead { .. } => {}
            }
        }
        None
    }
}

impl Graph {
    /// The ONNX file's name.
    pub fn file(&self) -> &str {
        match self {
            Self::ClipImage { file, .. } | Self::ClipText { file, .. } | Self::EmbeddingHead { file, .. } => file,
        }
    }

    /// The ONNX file's digest.
    pub fn sha256(&self) -> &Sha256Hex {
        match self {
            Self::ClipImage { sha256, .. } | Self::ClipText { sha256, .. } | Self::EmbeddingHead { sha256, .. } => {
                sha256
            }
        }
    }

    /// Checks that `bytes` are the ONNX file that the card names.
    ///
    /// # Errors
    /// [`CardError::Digest`].
    pub fn verify(&self, bytes: &[u8]) -> Result<(), CardError> {
        compare(self.file(), self.sha256(), &hex(&Sha256::digest(bytes)))
    }

    /// Checks the ONNX file in `folder`, and the files that it points to; gives the ONNX file's path.
    ///
    /// # Errors
    /// [`CardError::Read`] and [`CardError::Digest`].
    pub fn verify_in(&self, folder: &Path) -> Result<PathBuf, CardError> {
        for (file, wanted) in self.artefacts() {
            let path = folder.join(file);
            let found = digest_of(&path).map_err(|source| CardError::Read { path, source })?;
            compare(file, wanted, &found)?;
        }
        Ok(folder.join(self.file()))
    }

    /// Every file of the graph with its digest, the ONNX file first.
    fn artefacts(&self) -> Vec<(&str, &Sha256Hex)> {
        let weights = match self {
            Self::ClipImage { weights, .. } | Self::ClipText { weights, .. } | Self::EmbeddingHead { weights, .. } => {
                weights
            }
        };
        let mut files = vec![(self.file(), self.sha256())];
        files.extend(weights.iter().map(|weight| (weight.file.as_str(), &weight.sha256)));
        files
    }
}

impl Sha256Hex {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits && text.len() == 64 { Ok(Self(text)) } else { Err(format!("`{text}` is not a SHA-256 in hex")) }
    }
}

impl From<Sha256Hex> for String {
    fn from(digest: Sha256Hex) -> Self {
        digest.0
    }
}

fn compare(file: &str, wanted: &Sha256Hex, found: &str) -> Result<(), CardError> {
    if wanted.as_str() == found {
        return Ok(());
    }
    Err(CardError::Digest { file: file.to_owned(), wanted: wanted.0.clone(), found: found.to_owned() })
}

/// The SHA-256 of a file in hex, read piece by piece: weights run to gigabytes.
pub(crate) fn digest_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_plain(file: &str) -> bool {
    let mut parts = Path::new(file).components();
    matches!(parts.next(), Some(std::path::Component::Normal(_))) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::tiny;

    #[test]
    fn the_shipped_cards_name_the_tiny_graphs_by_digest() {
        let mut named = Vec::new();
        for (name, text) in SHIPPED {
            let card = Card::read(text).unwrap();
            assert_eq!(card.name, name);
            for graph in &card.graphs {
                let made = tiny::graphs(tiny::SEED).into_iter().find(|made| made.name == graph.file()).unwrap();
                graph.verify(&made.bytes).unwrap();
                named.push(made.name);
            }
        }
        named.sort_unstable();
        let mut made: Vec<_> = tiny::graphs(tiny::SEED).into_iter().map(|made| made.name).collect();
        made.sort_unstable();
        assert_eq!(named, made);
    }

    #[test]
    fn a_file_with_other_bytes_is_refused_by_name() {
        let card = Card::shipped("tiny-ad").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::create_new(folder.path().join("tiny-ad.onnx")).unwrap();
        file.write_all(b"x").unwrap();
        let error = card.graphs[0].verify_in(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("`tiny-ad.onnx` has the digest 2d711642b726b04401627ca9fbac32f5c853"), "{error}");
    }

    #[test]
    fn an_absent_file_is_named() {
        let card = Card::shipped("tiny-ad").unwrap();
        let error = card.graphs[0].verify_in(Path::new("/nowhere")).unwrap_err().to_string();
        assert_eq!(error, "failed to read `/nowhere/tiny-ad.onnx`");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let (_, text) = SHIPPED[0];
        let CardError::Syntax(cause) = Card::read(&format!("colour = 1\n{text}")).unwrap_err() else { panic!() };
        assert!(cause.to_string().contains("unknown field `colour`"), "{cause}");
        let CardError::Syntax(cause) = Card::read(&format!("{text}\ncolour = 1")).unwrap_err() else { panic!() };
        assert!(cause.to_string().contains("unknown field `colour`"), "{cause}");
    }

    #[test]
    fn a_card_cannot_reach_outside_its_folder() {
        let (_, text) = SHIPPED[0];
        let text = text.replace("tiny-ad.onnx", "../tiny-ad.onnx");
        let error = Card::read(&text).unwrap_err().to_string();
        assert_eq!(error, "card `tiny-ad`: `../tiny-ad.onnx` is not a plain file name");
    }
}
