//! Turns text into CLIP's token ids, as openai/CLIP does.
//!
//! Clean-up ([`clean`](fn@clean)), lower case, words, byte pairs; then the start token 49406, the ids, the end token 49407 and
//! padding with 0 up to the context length (77). A text that is too long is cut, and the end token kept. The
//! vocabulary is embedded. About O(length), bounded: words after the context is full are not looked at, and a
//! "word" longer than any that a context can hold is cut.

mod clean;
mod entities;
mod mojibake;

use std::sync::LazyLock;

use instant_clip_tokenizer::{Token, Tokenizer};
use regex::Regex;

pub use clean::clean;

/// The token before the text.
pub const START: i64 = 49_406;
/// The token after the text.
pub const END: i64 = 49_407;
/// What fills up the context behind the end token.
pub const PADDING: i64 = 0;
/// The context length of every published CLIP.
pub const CONTEXT: usize = 77;

/// Bytes of one word that are looked at. A token stands for at most a few dozen bytes, so that this is far more
/// than a context holds; the time to merge a word grows with the square of its length.
const WORD_BYTES: usize = 4_096;

/// A text as the graph takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// As many ids as the context is long.
    pub ids: Vec<i64>,
    /// Ids that are not padding, start and end included.
    pub length: usize,
    /// Whether tokens were cut off.
    pub truncated: bool,
}

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::new);

/// What counts as one word: a marker, an English contraction, letters, one digit, or other marks together.
static WORD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
        .expect("the pattern is fixed")
});

/// Encodes a text into exactly `context` ids; a context shorter than start and end holds what fits of them.
pub fn encode(text: &str, context: usize) -> Encoded {
    // One token more than fits tells a text that is cut from one that just fits.
    let room = context.saturating_sub(2);
    let tokens = tokens(text, room.saturating_add(1));
    let truncated = tokens.len() > room;

    let mut ids = Vec::with_capacity(context);
    ids.push(START);
    ids.extend(tokens.into_iter().take(room));
    ids.push(END);
    ids.truncate(context);
    let length = ids.len();
    ids.resize(context, PADDING);
    Encoded { ids, length, truncated }
}

/// The ids of the text alone, at least `enough` of them if it has that many.
fn tokens(text: &str, enough: usize) -> Vec<i64> {
    let text = clean(text).to_lowercase();
    let mut ids = Vec::new();
    let mut word_tokens: Vec<Token> = Vec::new();
    for word in WORD.find_iter(&text) {
        if ids.len() >= enough {
            break;
        }
        match word.as_str() {
            "<|startoftext|>" => ids.push(START),
            "<|endoftext|>" => ids.push(END),
            word => {
                let end = (0..=word.len().min(WORD_BYTES)).rev().find(|&end| word.is_char_boundary(end)).unwrap_or(0);
                let (word, _) = word.split_at(end);
                word_tokens.clear();
                TOKENIZER.encode(word, &mut word_tokens);
                ids.extend(word_tokens.iter().map(|token| i64::from(token.to_u16())));
            }
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_framed_and_padded() {
        let encoded = encode("a photo of a cat", CONTEXT);
        assert_eq!(encoded.ids.len(), 77);
        assert_eq!(encoded.ids[..8], [START, 320, 1125, 539, 320, 2368, END, PADDING]);
        assert_eq!(encoded.length, 7);
        assert!(!encoded.truncated);
    }

    #[test]
    fn a_text_that_just_fits_is_not_cut() {
        let words = vec!["cat"; 75].join(" ");
        let encoded = encode(&words, CONTEXT);
        assert_eq!((encoded.ids[75], encoded.ids[76], encoded.truncated), (2368, END, false));
        let encoded = encode(&format!("{words} cat"), CONTEXT);
        assert_eq!((encoded.ids[75], encoded.ids[76], encoded.truncated), (2368, END, true));
    }

    #[test]
    fn no_text_is_start_and_end() {
        let encoded = encode(" \n ", CONTEXT);
        assert_eq!(encoded.ids[..3], [START, END, PADDING]);
        assert_eq!(encode("cat", 1).ids, [START]);
        assert!(encode("cat", 0).ids.is_empty());
    }

    #[test]
    fn markers_count_only_where_a_word_begins() {
        assert_eq!(tokens("<|startoftext|>cat<|endoftext|>", 9), [START, 2368, END]);
        // Glued to other marks they are no words of their own: "!<|" comes first.
        assert!(!tokens("!<|startoftext|>", 99).contains(&START));
        // The markers of the tokenizer package are plain text to CLIP.
        assert!(!tokens("<start_of_text>", 99).contains(&START));
    }

    #[test]
    fn an_endless_word_is_encoded_in_bounded_time() {
        let encoded = encode(&"a".repeat(2_000_000), CONTEXT);
        assert!(encoded.truncated);
        assert_eq!(encoded.ids[76], END);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "reads the conformance folder")]
    fn the_ids_are_those_of_the_reference() {
        let Some(folder) = std::env::var_os("WEFT_CONFORMANCE") else {
            println!("SKIPPED: WEFT_CONFORMANCE is not set");
            return;
        };
        let path = std::path::Path::new(&folder).join("tokenizer/expected.json");
        let expected: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let numbers = |value: &serde_json::Value| -> Vec<i64> {
            value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
        };
        let cases = expected["cases"].as_array().unwrap();
        let mut wrong = Vec::new();
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let encoded = encode(text, CONTEXT);
            let same = tokens(text, usize::MAX) == numbers(&case["ids"])
                && encoded.ids == numbers(&case["tokens77"])
                && encoded.truncated == case["truncated"].as_bool().unwrap();
            if !same {
                wrong.push(text);
            }
        }
        println!("tokenizer: {} of {} texts agree", cases.len() - wrong.len(), cases.len());
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
