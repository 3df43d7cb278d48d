//! Finds what the parser need not read: the text of elements that is never shown, and attributes that nobody asks for.
//!
//! Half of a page is scripts, styles and attributes of `div` and `a`. Between two tags the parser is in one known
//! state, and what it would read next can be found at the speed of a search: in raw text the end tag, else the next
//! tag's attributes, which are skipped by the rules of the tokenizer (HTML standard, sections 13.2.5.32 to 13.2.5.40).
//! What is cut alters neither the tree's shape nor its text. O(n) over a page: each byte is looked at once more.

use std::ops::Range;

use memchr::memchr;

/// Elements whose attributes alter neither the tree nor what is read of it. None of those that the parser looks at
/// the attributes of: `input`, `font`, `template`, `annotation-xml`, and the formatting elements, which it compares;
/// `a` is one, but no second `a` is ever open.
const PLAIN: [&[u8]; 43] = [
    b"a",
    b"article",
    b"aside",
    b"blockquote",
    b"br",
    b"button",
    b"center",
    b"dd",
    b"div",
    b"dl",
    b"dt",
    b"figcaption",
    b"figure",
    b"footer",
    b"form",
    b"g",
    b"h1",
    b"h2",
    b"h3",
    b"h4",
    b"h5",
    b"h6",
    b"header",
    b"hr",
    b"label",
    b"li",
    b"main",
    b"nav",
    b"ol",
    b"option",
    b"p",
    b"path",
    b"pre",
    b"script",
    b"section",
    b"span",
    b"svg",
    b"table",
    b"td",
    b"th",
    b"tr",
    b"ul",
    b"use",
];

/// The longest of their names.
const PLAIN_BYTES: usize = 10;

/// Where raw text ends that lies at the start of `rest`, in an element of this name; none where that is not plain.
pub(super) fn raw_text_end(rest: &[u8], name: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr(b'<', rest.get(at..)?)?;
        let behind = rest.get(at + 1..)?;
        // A script may hold scripts in a comment.
        if behind.starts_with(b"!--") {
            return None;
        }
        if let Some(behind) = behind.strip_prefix(b"/")
            && behind.get(..name.len())?.eq_ignore_ascii_case(name.as_bytes())
            && matches!(behind.get(name.len())?, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ' | b'/' | b'>')
        {
            return Some(at);
        }
        at += 1;
    }
}

/// The attributes of the next tag in `rest`, where nothing but text is before it and it is a plain start tag.
pub(super) fn attributes(rest: &[u8]) -> Option<Range<usize>> {
    let open = memchr(b'<', rest)? + 1;
    let name = rest.get(open..)?;
    let length = name.iter().take(PLAIN_BYTES + 1).position(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))?;
    let mut lower = [0; PLAIN_BYTES];
    let lower = lower.get_mut(..length)?;
    for (lower, byte) in lower.iter_mut().zip(name) {
        *lower = byte.to_ascii_lowercase();
    }
    PLAIN.binary_search(&&*lower).ok()?;
    let begin = open + length;
    let end = begin + attributes_length(rest.get(begin..)?)?;
    Some(begin..end)
}

/// Length of the attributes up to the `>` or `/>` that closes the tag; none where nothing does.
fn attributes_length(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        // Before an attribute's name.
        match rest.get(at)? {
            b' ' | b'\t' | b'\n' | b'\x0c' | b'\r' => {
                at += 1;
                continue;
            }
            b'>' => return Some(at),
            b'/' if *rest.get(at + 1)? == b'>' => return Some(at),
            b'/' => {
                at += 1;
                continue;
            }
            // Whatever else it is, it begins a name; `=` too.
            _ => at += 1,
        }
        while !matches!(rest.get(at)?, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r' | b'/' | b'>' | b'=') {
            at += 1;
        }
        at = behind_blanks(rest, at)?;
        if *rest.get(at)? != b'=' {
            continue;
        }
        at = behind_blanks(rest, at + 1)?;
        match *rest.get(at)? {
            quote @ (b'"' | b'\'') => at += 2 + memchr(quote, rest.get(at + 1..)?)?,
            b'>' => {}
            _ => at += unquoted_length(rest.get(at..)?)?,
        }
    }
}

fn behind_blanks(rest: &[u8], at: usize) -> Option<usize> {
    let blanks = rest.get(at..)?.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r'))?;
    Some(at + blanks)
}

/// A slash does not end a value without quotes.
fn unquoted_length(value: &[u8]) -> Option<usize> {
    value.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r' | b'>'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_attributes(tag: &str) -> String {
        match attributes(tag.as_bytes()) {
            Some(cut) => [&tag[..cut.start], &tag[cut.end..]].concat(),
            None => "unchanged".to_owned(),
        }
    }

    #[test]
    fn plain_names_are_in_order_and_as_long_as_stated() {
        assert!(PLAIN.is_sorted());
        assert_eq!(PLAIN.iter().map(|name| name.len()).max(), Some(PLAIN_BYTES));
    }

    #[test]
    fn attributes_end_where_the_tokenizer_ends_them() {
        for (tag, left) in [
            ("text <div class=\"a>b\" id='c>d' e=f>g", "text <div>g"),
            ("<DIV a>b", "<DIV>b"),
            ("<a href=x/>y", "<a>y"),
            ("<a href=x />y", "<a/>y"),
            ("<a href='x'/>y", "<a/>y"),
            ("<a / b>y", "<a>y"),
            ("<p =\"x>y\">z", "<p>y\">z"),
            ("<p a = >z", "<p>z"),
            ("<p a\n=\n'>'b>z", "<p>z"),
            ("<p a\"b='>'>z", "<p>z"),
        ] {
            assert_eq!(without_attributes(tag), left, "{tag}");
        }
        for tag in
            ["<div>", "<img src=a>", "<input type=hidden>", "</div a>", "<!-- <div a> -->", "<div a='b>", "< <p a>"]
        {
            assert_eq!(without_attributes(tag), "unchanged", "{tag}");
        }
    }

    #[test]
    fn raw_text_ends_at_its_own_end_tag_alone() {
        assert_eq!(raw_text_end(b"a < b </scripts> </b></SCRIPT >", "script"), Some(21));
        assert_eq!(raw_text_end(b"<!-- </script>", "script"), None);
        assert_eq!(raw_text_end(b"a </script", "script"), None);
    }
}
