//! Finds a page's main content among its blocks, and its sentences.
//!
//! The rules are those of Kohlschütter, Fankhauser and Nejdl, "Boilerplate Detection using Shallow Text Features" (WSDM
//! 2010, DOI 10.1145/1718487.1718542), algorithm 2: a decision tree over the number of words and the link density of a
//! block, the one before it and the one after it. Nothing about a language or a site is known.
//!
//! Sentences are those of [`sentences`], block by block: a block's end ends a sentence. Linear in the page.

use serde::{Deserialize, Serialize};

use super::page::Block;
use super::sentences;

/// Link density of a block from which it is no content.
const LINKED: f64 = 0.333_333;
/// Link density of the block before, from which a block needs more words.
const AFTER_LINKED: f64 = 0.555_556;

/// Words that a line of C4 has at least.
const LINE_WORDS: usize = 5;
/// Characters that a word of C4 has at most.
const WORD_CHARS: usize = 1_000;
/// What ends a line of C4.
const END_MARKS: [char; 5] = ['.', '?', '!', '"', '”'];
/// What a line of C4 does not speak of.
const POLICY: [&str; 7] =
    ["javascript", "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"];

/// Which lines of the content are text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineRule {
    /// All: a line break is a space.
    #[default]
    All,
    /// Those that C4 keeps (`c4_utils.py`): five words or more, no word beyond 1,000 characters, an end mark that is no
    /// ellipsis, no word of JavaScript or policies. C4's rules on whole pages are not applied.
    C4,
}

/// A page's sentences, and where they end in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MainText {
    /// In the page's order.
    pub sentences: Vec<String>,
    /// For each, the number of characters of the page's text up to its end.
    ends: Vec<usize>,
}

impl MainText {
    /// The last sentence that ends before the place that `text_before_chars` characters of the page stand before.
    #[must_use]
    pub fn last_before(&self, text_before_chars: usize) -> Option<u32> {
        let count = self.ends.partition_point(|end| *end <= text_before_chars);
        count.checked_sub(1).map(|last| u32::try_from(last).expect("a page has fewer sentences"))
    }

    /// Splits a stretch of text that begins `chars_before` characters into the page.
    fn push(&mut self, text: &str, chars_before: usize) {
        let mut end = chars_before;
        for sentence in sentences::split(text) {
            // Sentences part at whitespace alone, which does not count.
            end += sentence.chars().filter(|c| !c.is_whitespace()).count();
            self.sentences.push(sentence.to_owned());
            self.ends.push(end);
        }
    }
}

/// The main content of a page of these blocks.
#[must_use]
pub fn main_text(blocks: &[Block], lines: LineRule) -> MainText {
    let mut text = MainText::default();
    for (index, block) in blocks.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| blocks.get(index));
        if !is_content(before, block, blocks.get(index + 1)) {
            continue;
        }
        if lines == LineRule::All {
            text.push(&block.text.replace('\n', " "), block.text_before_chars);
            continue;
        }
        let mut chars_before = block.text_before_chars;
        for line in block.text.split('\n') {
            if is_line_of_c4(line) {
                text.push(line, chars_before);
            }
            chars_before += line.chars().filter(|c| !c.is_whitespace()).count();
        }
    }
    text
}

/// The decision tree of the paper; where there is no block before or after, it has no words and no links.
fn is_content(before: Option<&Block>, block: &Block, after: Option<&Block>) -> bool {
    if link_density(block) > LINKED {
        return false;
    }
    let words_before = before.map_or(0, |block| block.words);
    let words_after = after.map_or(0, |block| block.words);
    if before.is_some_and(|block| link_density(block) > AFTER_LINKED) {
        return block.words > 40 || words_after > 17;
    }
    block.words > 16 || words_after > 15 || words_before > 4
}

fn link_density(block: &Block) -> f64 {
    f64::from(block.link_words) / f64::from(block.words.max(1))
}

fn is_line_of_c4(line: &str) -> bool {
    let words = || line.split_whitespace();
    let lower = line.to_lowercase();
    line.ends_with(END_MARKS)
        && !line.ends_with("...")
        && words().count() >= LINE_WORDS
        && words().all(|word| word.chars().count() <= WORD_CHARS)
        && !POLICY.iter().any(|policy| lower.contains(policy))
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
