//! Cleans text as CLIP's training did: what ftfy 6 and two passes of HTML unescaping change.
//!
//! Written from the behaviour of ftfy 6.3 under its default settings, which CLIP's ids depend on: character
//! references, text decoded in the wrong encoding, ligatures, full-width forms, curly quotes, line breaks, terminal
//! escapes, control characters, canonical composition (NFC). White space then becomes single spaces.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;

use super::{entities, mojibake};

/// Rounds of the clean-up before it gives up on reaching rest. Each round takes off one layer (`&amp;amp;`), and no
/// honest text has many; without a bound, a hostile one costs the square of its length.
const ROUNDS: usize = 32;
/// Characters that are cleaned together; a longer line is cut there.
const SEGMENT_CHARS: usize = 1_000_000;

/// The text in one line, ready to be put into lower case.
pub fn clean(text: &str) -> String {
    if is_plain(text) {
        return collapse(text);
    }
    let fixed = fix(text);
    collapse(&entities::unescape(&entities::unescape(&fixed)))
}

/// Whether no rule below can apply: printable ASCII without `&`, and line feeds.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t') && byte != b'&')
}

/// White space, whatever kind and length, becomes one space; none at the ends.
fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Python's idea of white space: Unicode's, and the four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1C'..='\x1F').contains(&c)
}

/// Line by line. Once a line has a `<`, the text counts as HTML and keeps its references from there on.
fn fix(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut unescape = true;
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while !rest.is_empty() {
            let end = rest.char_indices().nth(SEGMENT_CHARS).map_or(rest.len(), |(index, _)| index);
            let (segment, behind) = rest.split_at(end);
            unescape &= !segment.contains('<');
            out.push_str(&fix_segment(segment, unescape));
            rest = behind;
        }
    }
    out
}

/// Applies all rules until none changes anything.
fn fix_segment(segment: &str, unescape: bool) -> String {
    let mut text = segment.to_owned();
    for _ in 0..ROUNDS {
        let mut next = if unescape { entities::unescape_closed(&text) } else { text.clone() };
        next = mojibake::repair(&next);
        next = next.chars().map(mojibake::without_c1).collect();
        next = straighten(&next);
        next = next.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}', '\u{85}'], "\n");
        next = without_terminal_escapes(&next);
        next.retain(|c| !is_dropped(c));
        let composed = ComposingNormalizerBorrowed::new_nfc().normalize(&next).into_owned();
        if composed == text {
            break;
        }
        text = composed;
    }
    text
}

/// Ligatures, full-width and half-width forms, and curly quotes.
fn straighten(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        out.push_str(&straight(c));
    }
    out
}

fn straight(c: char) -> Cow<'static, str> {
    Cow::Borrowed(match c {
        // Letters that are two letters drawn as one, but not those with a life of their own (æ, œ).
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        // With its apostrophe straight, as it becomes in the same round.
        'ŉ' => "'n",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        '\u{2018}'..='\u{201B}' | '\u{2BC}' => "'",
        '\u{201C}'..='\u{201F}' => "\"",
        '\u{3000}' => " ",
        // The block of full-width and half-width forms, all with a compatible ordinary form.
        '\u{FF01}'..='\u{FFEF}' => {
            let mut buffer = [0; 4];
            let ordinary = ComposingNormalizerBorrowed::new_nfkc().normalize(c.encode_utf8(&mut buffer)).into_owned();
            return Cow::Owned(ordinary);
        }
        _ => return Cow::Owned(c.to_string()),
    })
}

/// Takes out `ESC [ 1 ; 31 m` and the like.
fn without_terminal_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1B[") {
        out.push_str(before);
        let numbers = after.trim_start_matches(|c: char| c == ';' || c.is_numeric());
        let behind = numbers.strip_prefix(|c: char| c.is_ascii_alphabetic());
        if behind.is_none() {
            out.push_str("\x1B[");
        }
        rest = behind.unwrap_or(after);
    }
    out.push_str(rest);
    out
}

/// Characters without a visible effect that no text means to hold (Unicode TR 20).
fn is_dropped(c: char) -> bool {
    matches!(c,
        '\0'..='\x08' | '\x0B' | '\x0E'..='\x1F' | '\x7F'
        | '\u{206A}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFC}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_ligatures_and_widths_become_ordinary() {
        assert_eq!(clean("\u{201C}it\u{2019}s\u{201D} a ﬁne ＦＵＬＬ　width ﾀ"), "\"it's\" a fine FULL width タ");
        assert_eq!(clean("ŉ Ǆ ﬅ"), "'n DŽ ſt");
    }

    #[test]
    fn wrong_encodings_are_put_right() {
        assert_eq!(clean("98.jpg (781Ã\u{97}451)"), "98.jpg (781×451)");
        assert_eq!(clean("Madridâ€¦ and so farÂ\u{a0}Â\u{a0}"), "Madrid… and so far");
        assert_eq!(clean("schÃ¶n und â€œgutâ€\u{9d}"), "schön und \"gut\"");
    }

    #[test]
    fn what_is_right_is_left() {
        for text in ["Reflexão – 2", "Ångström", "¿Qué?", "Überraschung à la carte", "naïve café «oui»", "½ ² ① Ⅳ"]
        {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn references_are_resolved_through_their_layers() {
        assert_eq!(clean("Tom &amp;amp; Jerry&rsquo;s"), "Tom & Jerry's");
        // With a `<` the first step keeps them, and the two later passes take one layer each; quotes stay curly.
        assert_eq!(clean("<b>Tom &amp;amp; Jerry&rsquo;s"), "<b>Tom & Jerry\u{2019}s");
        assert_eq!(clean("&lt;b&gt;"), "<b>");
    }

    #[test]
    fn controls_and_escapes_go() {
        assert_eq!(clean("\u{feff}a\0b \x1b[31mred\x1b[0m\r\nc\u{2028}d\u{a0}e"), "ab red c d e");
    }

    #[test]
    fn accents_are_composed() {
        assert_eq!(clean("e\u{301}"), "é");
    }

    #[test]
    fn a_pile_of_layers_is_bounded() {
        let hostile = format!("&{}", "amp;".repeat(10_000));
        assert!(clean(&hostile).starts_with("&amp;"));
    }
}
