//! Splits text into sentences exactly as NLTK 3.10's English Punkt (`sent_tokenize`) does.
//!
//! Punkt (Kiss and Strunk 2006, DOI 10.1162/coli.2006.32.4.485) looks at each `.`, `?` or `!` that whitespace or
//! closing punctuation follows, and decides from the words on both sides whether a sentence ends there. The
//! parameters (abbreviations, collocations, sentence starters, and the letter case in which 20,366 words were
//! seen) are those of NLTK's English model, which the crate `punkt_n` carries; the decisions here are NLTK's, which
//! differ from that crate's. A line end is no sentence end. Sentences are slices of the text, in order, without
//! the whitespace between them. Time and memory are linear in the text.
//!
//! One difference is known: a combining mark that begins a word and is all of it but a period (`\u{301}.`) is an
//! initial to NLTK, and here only if Unicode calls it alphabetic.

use std::sync::LazyLock;

use punkt_n::TrainingData;

static ENGLISH: LazyLock<TrainingData> = LazyLock::new(TrainingData::english);

// In which case and place the model saw a word (bits of NLTK's `ortho_context`).
const ORTHO_MIDDLE_UPPER: u8 = 1 << 2;
const ORTHO_UPPER: u8 = 1 << 1 | ORTHO_MIDDLE_UPPER | 1 << 3;
const ORTHO_BEGIN_LOWER: u8 = 1 << 4;
const ORTHO_LOWER: u8 = ORTHO_BEGIN_LOWER | 1 << 5 | 1 << 6;

/// The type of every number.
const NUMBER: &str = "##number##";

/// Splits `text` into its sentences.
#[must_use]
pub fn split(text: &str) -> Vec<&str> {
    let pieces = pieces(text);
    let mut sentences = Vec::with_capacity(pieces.len());
    // Quotes and brackets that follow the mark belong to the sentence before: they are taken from the head
    // of the next piece, `realigned` bytes with the whitespace behind them.
    let mut realigned = 0;
    for (index, piece) in pieces.iter().enumerate() {
        let start = piece.start + realigned;
        let next = pieces.get(index + 1);
        let closing = next.and_then(|next| closing_punctuation(next.of(text)));
        if let (Some(next), Some(closing)) = (next, closing) {
            sentences.push(slice(text, start, next.start + closing.punctuation));
            realigned = closing.with_whitespace;
        } else {
            realigned = 0;
            if start < piece.end {
                sentences.push(slice(text, start, piece.end));
            }
        }
    }
    sentences
}

/// A stretch of bytes of the text; empty where `end` is not past `start`.
struct Piece {
    start: usize,
    end: usize,
}

/// Cuts the text at the marks that end a sentence.
fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for context in contexts(text) {
        if contains_sentence_break(context.words) {
            pieces.push(Piece { start, end: context.mark.end });
            start = context.mark.next_word.unwrap_or(context.mark.end);
        }
    }
    pieces.push(Piece { start, end: text.trim_end_matches(is_python_space).len() });
    pieces
}

impl Piece {
    fn of<'a>(&self, text: &'a str) -> &'a str {
        // An information separator is a word to the pattern and blank to `rstrip`: the last piece may end early.
        slice(text, self.start, self.end.max(self.start))
    }
}

/// A `.`, `?` or `!` that may end a sentence, in byte offsets.
#[derive(Clone, Copy)]
struct Mark {
    start: usize,
    end: usize,
    /// The end of what follows and is looked at: one character of punctuation, or whitespace and a word.
    context_end: usize,
    /// The start of the following word, where whitespace lies between.
    next_word: Option<usize>,
}

/// A mark, and the text from the word before it to what follows.
struct Context<'a> {
    mark: Mark,
    words: &'a str,
}

/// The marks to decide on, with their words; of marks in one word only the last.
fn contexts(text: &str) -> Vec<Context<'_>> {
    let mut contexts = Vec::new();
    let mut previous: Option<Mark> = None;
    // The word before the previous mark.
    let mut word = Piece { start: 0, end: 0 };
    for mark in marks(text) {
        // NLTK takes a blank at the very start of this stretch for no blank at all.
        let blank = slice(text, word.end, mark.start).rfind(is_ascii_blank).filter(|at| *at > 0);
        let start = blank.map_or(word.start, |at| word.end + at + 1);
        if let Some(previous) = previous
            && word.end <= start
        {
            contexts.push(Context { mark: previous, words: slice(text, word.start, previous.context_end) });
        }
        previous = Some(mark);
        word = Piece { start, end: mark.start };
    }
    if let Some(previous) = previous {
        contexts.push(Context { mark: previous, words: slice(text, word.start, previous.context_end) });
    }
    contexts
}

fn marks(text: &str) -> impl Iterator<Item = Mark> + '_ {
    text.match_indices(['.', '?', '!']).filter_map(|(start, mark)| {
        let end = start + mark.len();
        let rest = slice(text, end, text.len());
        let follower = rest.chars().next()?;
        if is_non_word(follower) {
            return Some(Mark { start, end, context_end: end + follower.len_utf8(), next_word: None });
        }
        if !follower.is_whitespace() {
            return None;
        }
        let word = rest.trim_start();
        if word.is_empty() {
            return None;
        }
        let next_word = text.len() - word.len();
        let word_length = word.find(char::is_whitespace).unwrap_or(word.len());
        Some(Mark { start, end, context_end: next_word + word_length, next_word: Some(next_word) })
    })
}

/// Closing quotes and brackets at the head of a piece, in bytes.
struct Closing {
    punctuation: usize,
    with_whitespace: usize,
}

fn closing_punctuation(piece: &str) -> Option<Closing> {
    let punctuation = piece.find(|c| !is_closing(c)).unwrap_or(piece.len());
    let rest = slice(piece, punctuation, piece.len());
    let word = rest.trim_start();
    let ends = word.len() < rest.len() || rest.is_empty() || rest.starts_with("--");
    (punctuation > 0 && ends).then_some(Closing { punctuation, with_whitespace: piece.len() - word.len() })
}

/// Whether a sentence ends before the last word of this stretch.
fn contains_sentence_break(words: &str) -> bool {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    for line in words.split('\n') {
        if !line.chars().all(is_python_space) {
            tokens.extend(Words { line, at: 0 }.map(Token::new));
        }
    }
    let Some((_, but_last)) = tokens.split_last() else { return false };
    but_last.iter().zip(tokens.iter().skip(1)).any(|(token, next)| token.ends_sentence_before(next))
}

/// What a word alone says about the period that it ends in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Nothing: no period, or one inside of other marks.
    Open,
    /// `.`, `?` or `!` alone, or a word and a period.
    Break,
    /// A known abbreviation.
    Abbreviation,
    /// Two periods or more.
    Ellipsis,
}

/// A word or punctuation mark.
struct Token<'a> {
    text: &'a str,
    /// The text in lower case, or [`NUMBER`].
    kind: String,
    ending: Ending,
}

impl<'a> Token<'a> {
    fn new(text: &'a str) -> Self {
        let kind = if is_number(text) { NUMBER.to_owned() } else { text.to_lowercase() };
        Self { text, kind, ending: ending(text) }
    }

    fn kind_without_period(&self) -> &str {
        match self.kind.strip_suffix('.') {
            Some(kind) if !kind.is_empty() => kind,
            _ => &self.kind,
        }
    }

    /// The type as the next word of a pair: without the period if that ends a sentence.
    fn kind_as_next(&self) -> &str {
        if self.ending == Ending::Break { self.kind_without_period() } else { &self.kind }
    }

    /// A letter and a period.
    fn is_initial(&self) -> bool {
        let mut chars = self.text.chars();
        chars.next().is_some_and(is_letter) && chars.as_str() == "."
    }

    fn starts_upper(&self) -> bool {
        self.text.starts_with(char::is_uppercase)
    }

    /// Punkt's second pass: the decision about this word, given the next one.
    fn ends_sentence_before(&self, next: &Token<'_>) -> bool {
        let by_itself = self.ending == Ending::Break;
        if !self.text.ends_with('.') {
            return by_itself;
        }
        let kind = self.kind_without_period();
        let next_kind = next.kind_as_next();
        let initial = self.is_initial();

        if ENGLISH.contains_collocation(kind, next_kind) {
            return false;
        }
        if matches!(self.ending, Ending::Abbreviation | Ending::Ellipsis) && !initial {
            if next.starts_sentence() == Some(true) {
                return true;
            }
            if next.starts_upper() && ENGLISH.contains_sentence_starter(next_kind) {
                return true;
            }
        }
        if initial || kind == NUMBER {
            let starts = next.starts_sentence();
            if starts == Some(false) {
                return false;
            }
            // "J. Bach": a capitalised word that the model never saw in lower case.
            let never_lower = ENGLISH.get_orthographic_context(next_kind) & ORTHO_LOWER == 0;
            if starts.is_none() && initial && next.starts_upper() && never_lower {
                return false;
            }
        }
        by_itself
    }

    /// The orthographic heuristic: whether this word starts a sentence; `None` if its case does not tell.
    fn starts_sentence(&self) -> Option<bool> {
        if matches!(self.text, ";" | ":" | "," | "." | "!" | "?") {
            return Some(false);
        }
        let seen = ENGLISH.get_orthographic_context(self.kind_as_next());
        if self.starts_upper() && seen & ORTHO_LOWER != 0 && seen & ORTHO_MIDDLE_UPPER == 0 {
            return Some(true);
        }
        let starts_lower = self.text.starts_with(char::is_lowercase);
        if starts_lower && (seen & ORTHO_UPPER != 0 || seen & ORTHO_BEGIN_LOWER == 0) {
            return Some(false);
        }
        None
    }
}

/// Punkt's first pass: what the word alone says.
fn ending(text: &str) -> Ending {
    if matches!(text, "." | "?" | "!") {
        return Ending::Break;
    }
    if text.len() > 1 && text.bytes().all(|byte| byte == b'.') {
        return Ending::Ellipsis;
    }
    let Some(stem) = text.strip_suffix('.') else { return Ending::Open };
    if stem.ends_with('.') {
        return Ending::Open;
    }
    let stem = stem.to_lowercase();
    let last_part = stem.rsplit('-').next().unwrap_or(&stem);
    if ENGLISH.contains_abbrev(&stem) || ENGLISH.contains_abbrev(last_part) {
        return Ending::Abbreviation;
    }
    Ending::Break
}

/// The words and punctuation marks of one line, as NLTK's word tokenizer finds them.
struct Words<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = slice(self.line, self.at, self.line.len()).trim_start();
        let first = rest.chars().next()?;
        let length = match multiple_punctuation(rest) {
            Some(length) => length,
            None if starts_word(first) => word_length(rest),
            None => first.len_utf8(),
        };
        self.at = self.line.len() - rest.len() + length;
        Some(slice(rest, 0, length))
    }
}

/// The length in bytes of the word at the head of `rest`: up to whitespace, punctuation, or a comma before one.
fn word_length(rest: &str) -> usize {
    let ends = |tail: &str| match tail.chars().next() {
        None => true,
        Some(next) => next.is_whitespace() || is_non_word(next) || multiple_punctuation(tail).is_some(),
    };
    for (at, character) in rest.char_indices().skip(1) {
        let tail = slice(rest, at, rest.len());
        if ends(tail) || (character == ',' && ends(slice(tail, 1, tail.len()))) {
            return at;
        }
    }
    rest.len()
}

/// The length of hyphens, of periods, or of periods and blanks in turn (three periods or more), at the head.
fn multiple_punctuation(rest: &str) -> Option<usize> {
    let run = |mark| rest.bytes().take_while(|byte| *byte == mark).count();
    let (hyphens, periods) = (run(b'-'), run(b'.'));
    if hyphens >= 2 {
        return Some(hyphens);
    }
    if periods >= 2 {
        return Some(periods);
    }
    // From here on: one period and a blank, twice or more, and a last period.
    let (mut tail, mut found, mut last_period) = (rest, 0, None);
    while let Some(after_period) = tail.strip_prefix('.') {
        found += 1;
        if found >= 3 {
            last_period = Some(rest.len() - after_period.len());
        }
        let Some(after_blank) = after_period.strip_prefix(char::is_whitespace) else { break };
        tail = after_blank;
    }
    last_period
}

/// `-?[.,]?\d[\d,.-]*\.?`, whole.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let text = text.strip_prefix(['.', ',']).unwrap_or(text);
    text.starts_with(is_digit) && text.chars().all(|c| is_digit(c) || matches!(c, ',' | '.' | '-'))
}

/// Punctuation that ends a word, and that may directly follow the end of a sentence.
fn is_non_word(c: char) -> bool {
    matches!(c, ')' | '"' | ';' | '}' | ']' | '*' | ':' | '@' | '\'' | '(' | '{' | '[' | '?' | '!')
        || matches!(c, '‘' | '’' | '“' | '”' | '«' | '»')
}

fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '}' | '‘' | '’' | '“' | '”' | '«' | '»')
}

fn starts_word(c: char) -> bool {
    !matches!(c, '(' | '"' | '`' | '{' | '[' | ':' | ';' | '&' | '#' | '*' | '@' | ')' | '}' | ']' | '-' | ',')
}

/// A word character that is no digit, `[^\W\d]`: letters, connecting punctuation, the two joiners.
fn is_letter(c: char) -> bool {
    let connector = matches!(c, '_' | '‿' | '⁀' | '⁔' | '︳' | '︴' | '﹍'..='﹏' | '\u{ff3f}');
    c.is_alphabetic() || connector || matches!(c, '\u{200c}' | '\u{200d}')
}

/// Python's `str.isspace`: Unicode whitespace and the four information separators.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Python's `string.whitespace`.
fn is_ascii_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

/// The zeros of Unicode's decimal digits (category Nd, Unicode 16): nine more digits follow each.
const ZEROS: [u32; 77] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620,
    0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x10d40, 0x11066, 0x110f0, 0x11136,
    0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x116d0, 0x116da, 0x11730, 0x118e0, 0x11950, 0x11bf0,
    0x11c50, 0x11d50, 0x11da0, 0x11de0, 0x11f50, 0x16130, 0x16a60, 0x16ac0, 0x16b50, 0x16d70, 0x1ccf0, 0x1d7ce,
    0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e5f1, 0x1e950, 0x1fbf0,
];

fn is_digit(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_digit();
    }
    let code = u32::from(c);
    let zeros_up_to = ZEROS.partition_point(|zero| *zero <= code);
    zeros_up_to > 0 && code - ZEROS[zeros_up_to - 1] < 10
}

fn slice(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).expect("offsets come from the text's own characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_ends_at_a_mark_and_not_at_a_line_end() {
        assert_eq!(split("One came. Two\nwent! Three?  Four"), ["One came.", "Two\nwent!", "Three?", "Four"]);
        assert_eq!(split(""), [""; 0]);
        assert_eq!(split(" \n "), [""; 0]);
        assert_eq!(split("  Led by blanks. And followed. "), ["  Led by blanks.", "And followed."]);
    }

    #[test]
    fn abbreviations_initials_and_numbers_do_not_end_sentences() {
        assert_eq!(split("Mr. Smith met Dr. J. Bach. He left."), ["Mr. Smith met Dr. J. Bach.", "He left."]);
        assert_eq!(
            split("It cost 3.50 dollars. No. 5 was sold out."),
            ["It cost 3.50 dollars.", "No.", "5 was sold out."]
        );
        assert_eq!(
            split("See fig. a for it. The U.S. is large. In the U.S. They vote."),
            ["See fig.", "a for it.", "The U.S. is large.", "In the U.S.", "They vote."]
        );
    }

    #[test]
    fn closing_quotes_and_brackets_belong_to_the_sentence_before() {
        assert_eq!(split("(He came.) She left."), ["(He came.)", "She left."]);
        assert_eq!(split("“Stop!” he said. ‘Why?’ She went."), ["“Stop!”", "he said.", "‘Why?’", "She went."]);
    }

    #[test]
    fn runs_of_marks_are_one_end() {
        assert_eq!(split("Very bad acting!!! I promise."), ["Very bad acting!!!", "I promise."]);
        assert_eq!(split("Wait... what? Then . . . the end."), ["Wait... what?", "Then .", ".", ".", "the end."]);
    }

    #[test]
    fn an_information_separator_is_a_word_and_then_stripped() {
        assert_eq!(split("Hi. \u{1c}"), ["Hi."]);
        assert_eq!(split("Hi. There. \u{1c}\n"), ["Hi.", "There."]);
    }

    #[test]
    fn numbers_have_one_type() {
        for number in ["1", "-1.5", ".5", "1,000.", "٣", "3-4"] {
            assert!(is_number(number), "{number}");
        }
        for word in ["", "-", "a1", "1a", "½", "--1"] {
            assert!(!is_number(word), "{word}");
        }
    }

    #[test]
    fn words_are_cut_as_by_the_pattern_of_nltk() {
        let words = |line| Words { line, at: 0 }.collect::<Vec<_>>();
        assert_eq!(words("one,two, (3)--it's"), ["one,two", ",", "(", "3", ")", "--", "it", "'s"]);
        assert_eq!(words("a . . . b.. c."), ["a", ". . .", "b", "..", "c."]);
    }

    #[test]
    fn long_runs_take_linear_time() {
        for unit in [".", "! ", ". ", "a.b", "!'", "\u{301}.", "--", "a,"] {
            let text = unit.repeat(200_000);
            let sentences = split(&text);
            assert!(sentences.iter().map(|sentence| sentence.len()).sum::<usize>() <= text.len(), "{unit}");
        }
    }

    #[test]
    fn a_real_crawls_documents_split_as_nltk_splits_them() {
        let Some(root) = std::env::var_os("WEFT_CONFORMANCE") else {
            println!("SKIPPED: WEFT_CONFORMANCE is not set");
            return;
        };
        let topic = std::path::Path::new(&root).join("archive-org");
        #[expect(clippy::disallowed_methods, reason = "a test reads its data from where they lie")]
        let read = |name: &str| std::fs::read(topic.join(name)).unwrap();
        let limits = weft_core::limits::Limits::default();
        let documents = read("docs.json.gz");
        let documents =
            crate::formats::inflate::inflate_member(&documents, "record_bytes", limits.record_bytes, &limits);
        documents.end.unwrap();
        let mut texts = std::collections::BTreeMap::new();
        for line in String::from_utf8(documents.bytes).unwrap().lines() {
            let document: serde_json::Value = serde_json::from_str(line).unwrap();
            let key = format!("{} {}", document["url"], document["timestamp"]);
            texts.insert(key, document["text"].as_str().unwrap().to_owned());
        }
        let expected: serde_json::Value = serde_json::from_slice(&read("expected.json")).unwrap();
        let expected = expected["documents"].as_array().unwrap();
        assert_eq!(texts.len(), expected.len());
        for document in expected {
            let key = format!("{} {}", document["url"], document["timestamp"]);
            let wanted: Vec<&str> =
                document["sentences"].as_array().unwrap().iter().map(|sentence| sentence.as_str().unwrap()).collect();
            assert_eq!(split(&texts[&key]), wanted, "{key}");
        }
    }
}
