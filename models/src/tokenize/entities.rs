//! Replaces HTML character references, in the two ways that CLIP's clean-up needs.
//!
//! [`unescape`] follows HTML's own leniency (a reference may lack its semicolon); [`unescape_closed`] takes closed
//! references only, and names in capitals too. Names are those of the HTML standard.

use web_atoms::NAMED_ENTITIES;

/// The longest run after `&` that can be a name.
const NAME_CHARS: usize = 32;
/// The longest run between `&` and `;` that [`unescape_closed`] looks at.
const CLOSED_CHARS: usize = 24;

/// What a name (with its semicolon, if it has one) stands for.
fn named(name: &str) -> Option<String> {
    let &(first, second) = NAMED_ENTITIES.get(name)?;
    // The table also holds every beginning of a name, standing for nothing.
    let first = char::from_u32(first).filter(|&first| first != '\0')?;
    Some(std::iter::once(first).chain(char::from_u32(second).filter(|&second| second != '\0')).collect())
}

/// What a number stands for: HTML reads the numbers 128 to 159 as Windows-1252 and drops non-characters.
fn numbered(number: Option<u32>) -> String {
    let Some(number) = number else { return char::REPLACEMENT_CHARACTER.to_string() };
    match number {
        0 => char::REPLACEMENT_CHARACTER.to_string(),
        0x80..=0x9F => {
            let byte = u8::try_from(number).expect("the range ends at 159");
            super::mojibake::windows_1252(byte).to_string()
        }
        0x01..=0x08 | 0x0B | 0x0E..=0x1F | 0x7F | 0xFDD0..=0xFDEF => String::new(),
        _ if number <= 0x10_FFFF && number & 0xFFFE == 0xFFFE => String::new(),
        _ => char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER).to_string(),
    }
}

/// Reads `#38;`, `#x26` and the like at the start of `text`: what it stands for, and its length in bytes.
fn numeric(text: &str) -> Option<(String, usize)> {
    let digits = text.strip_prefix('#')?;
    let (radix, digits, marks) = match digits.strip_prefix(['x', 'X']) {
        Some(digits) => (16, digits, 2),
        None => (10, digits, 1),
    };
    let length = digits.bytes().take_while(|byte| char::from(*byte).is_digit(radix)).count();
    if length == 0 {
        return None;
    }
    let (digits, rest) = digits.split_at(length);
    // A number too long for the type is past the last character as well.
    let number = u32::from_str_radix(digits, radix).ok();
    Some((numbered(number), marks + length + usize::from(rest.starts_with(';'))))
}

/// Replaces references as a browser does: the longest name that fits, with or without semicolon.
pub(super) fn unescape(text: &str) -> String {
    replace(text, |rest| {
        if rest.starts_with('#') {
            return numeric(rest);
        }
        let mut end = 0;
        for (index, c) in rest.char_indices().take(NAME_CHARS) {
            if matches!(c, '\t' | '\n' | '\x0C' | ' ' | '<' | '&' | '#' | ';') {
                break;
            }
            end = index + c.len_utf8();
        }
        if end == 0 {
            return None;
        }
        let closed = end + usize::from(rest.as_bytes().get(end) == Some(&b';'));
        let ends = (2..=closed).rev().filter(|&end| rest.is_char_boundary(end));
        ends.map(|end| (rest.split_at(end).0, end)).find_map(|(name, end)| Some((named(name)?, end)))
    })
}

/// Replaces references that end in a semicolon; `&EACUTE;` stands for a capital.
pub(super) fn unescape_closed(text: &str) -> String {
    replace(text, |rest| {
        let marks = usize::from(rest.starts_with('#'));
        let run = rest.bytes().skip(marks).take_while(u8::is_ascii_alphanumeric).count();
        let end = marks + run + 1;
        if !(1..=CLOSED_CHARS).contains(&run) || rest.as_bytes().get(end - 1) != Some(&b';') {
            return None;
        }
        let (name, _) = rest.split_at(end);
        if marks == 1 {
            // Only if the whole reference is one number; a semicolon that comes out again says that it was not.
            return numeric(name).filter(|(value, length)| *length == end && !value.contains(';'));
        }
        if let Some(value) = named(name) {
            return Some((value, end));
        }
        let lower = name.to_ascii_lowercase();
        let shouted = name.to_ascii_uppercase() == name && unescape(&format!("&{name}")) == format!("&{name}");
        named(&lower).filter(|_| shouted).map(|value| (value.to_uppercase(), end))
    })
}

/// Goes through `text` once; `reference` sees what follows each `&` and says what to put in its place, and how many
/// bytes behind the `&` that takes up.
fn replace(text: &str, reference: impl Fn(&str) -> Option<(String, usize)>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        match reference(after) {
            Some((value, length)) => {
                out.push_str(&value);
                rest = after.split_at(length).1;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenient_references_need_no_semicolon() {
        assert_eq!(unescape("a &amp b &lt;c&gt; &notit; &#60;&#x3E &copy"), "a & b <c> ¬it; <> ©");
        assert_eq!(unescape("&; &# &#x; & &unknown; &&amp;"), "&; &# &#x; & &unknown; &&");
        assert_eq!(unescape("&NotEqualTilde;"), "≂̸");
    }

    #[test]
    fn numbers_follow_the_standard() {
        assert_eq!(unescape("&#150;&#x80;&#0;&#55296;&#1114112;&#99999999999;"), "–€\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}");
        assert_eq!(unescape("a&#1;b&#xFFFE;c&#129;"), "abc\u{81}");
        assert_eq!(unescape("&#13;"), "\r");
    }

    #[test]
    fn closed_references_need_their_semicolon() {
        assert_eq!(unescape_closed("this&not that &amp; &eacute; &#233; &#xE9;"), "this&not that & é é é");
        assert_eq!(unescape_closed("&EACUTE; &nTILDE; &SZLIG; &#59; &#12a;"), "É &nTILDE; SS &#59; &#12a;");
        // A capital name that means something already is left to its meaning.
        assert_eq!(unescape_closed("&AMP; &Eacute;"), "& É");
    }
}
