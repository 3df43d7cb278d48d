//! Identities: documents, images, shards, fingerprints.
//!
//! Identity is content. A [`Fingerprint`] names everything that determines a task's output; ids of documents and
//! images are digests of what they are, so that a rebuild gives the same names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The identity of a document: 32 hex digits of the blake3 of its url and timestamp.
///
/// C4 keeps one page per normalised URL, so `(url, timestamp)` names one capture (`c4_utils.py`).
#[must_use]
pub fn document_id(url: &str, timestamp: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(url.as_bytes()).update(b"\0").update(timestamp.as_bytes());
    hex_prefix(&hasher.finalize(), 32)
}

/// MMC4's `image_name` without its extension: 12 lowercase hex digits.
///
/// MMC4's own cannot be recomputed (`mmc4.md` 1.5); ours is the blake3 of the image's URL, so that it is the
/// same in every document and every rebuild.
#[must_use]
pub fn image_name(url: &str) -> String {
    hex_prefix(&blake3::hash(url.as_bytes()), 12)
}

fn hex_prefix(hash: &blake3::Hash, digits: usize) -> String {
    hash.to_hex().chars().take(digits).collect()
}

/// Blake3 over everything that determines a task's output, as 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Hashes labelled parts; the labels and lengths keep different part lists apart.
    #[must_use]
    pub fn of<'a>(parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for (label, bytes) in parts {
            for field in [label.as_bytes(), bytes] {
                hasher.update(&u64::try_from(field.len()).expect("usize fits u64").to_le_bytes());
                hasher.update(field);
            }
        }
        Self(hasher.finalize().to_hex().to_string())
    }

    /// All 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 16 digits, as paths and terminals show it.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..16).unwrap_or(&self.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// The shard spaces: what a shard's number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// One shard per source file.
    Source,
    /// Ranges of SURT keys, so that the join against the crawl's sorted index is a merge.
    Corpus,
    /// Groups of WARC files; from `fetch` on a document's rows stay in one of these.
    Crawl,
    /// Ranges of hashed keys, for counts over the whole corpus.
    Key,
}

/// A shard's number in its space, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}", self.0)
    }
}

/// How many shards each space has; the source space has one per source file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardCounts {
    /// Source files.
    #[serde(default)]
    pub source: u32,
    /// SURT ranges.
    pub corpus: u32,
    /// WARC groups.
    pub crawl: u32,
    /// Key ranges.
    pub key: u32,
}

impl ShardCounts {
    /// The number of shards in `space`.
    #[must_use]
    pub fn of(&self, space: Space) -> u32 {
        match space {
            Space::Source => self.source,
            Space::Corpus => self.corpus,
            Space::Crawl => self.crawl,
            Space::Key => self.key,
        }
    }
}

/// The shard that a hashed string falls into: uniform, and the same on every machine.
#[must_use]
pub fn hash_shard(text: &str, shards: u32) -> ShardId {
    let digest = blake3::hash(text.as_bytes());
    let mut first = [0_u8; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    let shard = u64::from_le_bytes(first) % u64::from(shards.max(1));
    ShardId(u32::try_from(shard).expect("below a u32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_its_url_and_time() {
        assert_eq!(document_id("http://a.example/", "2019-04-18T00:00:00Z").len(), 32);
        assert_ne!(document_id("http://a.example/1", "2"), document_id("http://a.example/", "12"));
    }

    #[test]
    fn fingerprints_keep_part_borders() {
        let one = Fingerprint::of([("a", &b"bc"[..]), ("d", &b""[..])]);
        let other = Fingerprint::of([("a", &b"b"[..]), ("cd", &b""[..])]);
        assert_ne!(one, other);
    }

    #[test]
    fn hash_shards_stay_in_range() {
        assert!((0..100).all(|n| hash_shard(&n.to_string(), 7).0 < 7));
        assert_eq!(hash_shard("anything", 1), ShardId(0));
    }
}
