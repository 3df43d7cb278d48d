//! Cuts from a parser's input what it need not read: text that is never shown, and attributes that nobody asks for.
//!
//! Half of a page is scripts, styles and attributes of `div` and `a`. Between two tags the tokenizer is in one known
//! state, and what it would read next can be found at the speed of a search: in raw text the end tag, else the next
//! tag's attributes, which are skipped by the rules of the tokenizer (HTML standard, sections 13.2.5.32 to 13.2.5.40).
//! What is cut alters neither the tree's shape nor its text. O(n) over a page: each byte is looked at once more.

use std::ops::Range;

use html5ever::buffer_queue::BufferQueue;
use memchr::memchr;

/// Cuts a part of what is read next, which `part` finds in it.
pub(super) fn cut(input: &BufferQueue, part: impl FnOnce(&[u8]) -> Option<Range<usize>>) {
    // The input is one buffer, but for what stood before an earlier cut.
    let Some(mut rest) = input.pop_front() else { return };
    let offset = |offset| u32::try_from(offset).expect("a buffer has less than 4 GiB");
    let Some(part) = part(rest.as_bytes()) else { return input.push_front(rest) };
    let before = rest.subtendril(0, offset(part.start));
    rest.pop_front(offset(part.end));
    input.push_front(rest);
    input.push_front(before);
}

/// Whether attributes of elements of this name, which is in lower case, alter neither the tree nor what is read of it.
///
/// None is here whose attributes the parser looks at: `input`, `font`, `template`, `annotation-xml`, and the
/// formatting elements, which it compares. `a` is one of those, but no second `a` is ever open.
fn is_plain(name: &[u8]) -> bool {
    // A match is compiled to comparisons of whole words: there is one for every tag.
    matches!(
        name,
        b"a" | b"abbr"
            | b"address"
            | b"area"
            | b"article"
            | b"aside"
            | b"audio"
            | b"blockquote"
            | b"body"
            | b"br"
            | b"button"
            | b"canvas"
            | b"center"
            | b"circle"
            | b"cite"
            | b"col"
            | b"colgroup"
            | b"dd"
            | b"del"
            | b"details"
            | b"div"
            | b"dl"
            | b"dt"
            | b"fieldset"
            | b"figcaption"
            | b"figure"
            | b"footer"
            | b"form"
            | b"g"
            | b"h1"
            | b"h2"
            | b"h3"
            | b"h4"
            | b"h5"
            | b"h6"
            | b"header"
            | b"hr"
            | b"html"
            | b"iframe"
            | b"ins"
            | b"label"
            | b"legend"
            | b"li"
            | b"main"
            | b"map"
            | b"nav"
            | b"noscript"
            | b"ol"
            | b"optgroup"
            | b"option"
            | b"p"
            | b"path"
            | b"picture"
            | b"pre"
            | b"rect"
            | b"script"
            | b"section"
            | b"select"
            | b"span"
            | b"style"
            | b"sub"
            | b"summary"
            | b"sup"
            | b"svg"
            | b"symbol"
            | b"table"
            | b"tbody"
            | b"td"
            | b"tfoot"
            | b"th"
            | b"thead"
            | b"time"
            | b"title"
            | b"tr"
            | b"ul"
            | b"use"
            | b"video"
    )
}

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
    if !is_plain(lower) {
        return None;
    }
    let begin = open + length;
    let end = begin + attributes_length(rest.get(begin..)?)?;
    Some(begin..end)
}

/// Text and tags at the start of `rest`, up to a tag that `stops` names in lower case, or anything that is no tag.
pub(super) fn tags_before(rest: &[u8], stops: &[&str]) -> Option<Range<usize>> {
    let mut end = 0;
    while let Some(open) = memchr(b'<', rest.get(end..)?) {
        end += open;
        let tag = rest.get(end + 1..)?;
        let slash = usize::from(tag.starts_with(b"/"));
        let name = tag.get(slash..)?;
        if !name.first().is_some_and(u8::is_ascii_alphabetic) {
            break;
        }
        let ends_name = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r' | b'/' | b'>');
        let Some(length) = name.iter().position(ends_name) else { break };
        let (name, attributes) = name.split_at(length);
        if stops.iter().any(|stop| name.eq_ignore_ascii_case(stop.as_bytes())) {
            break;
        }
        let Some(attributes) = attributes_length(attributes) else { break };
        // What is left is the tag's `>` or `/>`: text, as far as this goes.
        end += 1 + slash + length + attributes;
    }
    Some(0..end)
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
            Some(cut) => [tag.get(..cut.start).unwrap(), tag.get(cut.end..).unwrap()].concat(),
            None => "unchanged".to_owned(),
        }
    }

    #[test]
    fn the_longest_plain_name_is_found() {
        assert_eq!(without_attributes("<figcaption a>"), "<figcaption>");
        assert_eq!(without_attributes("<figcaptions a>"), "unchanged");
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
    fn tags_are_passed_over_up_to_one_that_counts() {
        let left = |page: &'static str| {
            let passed = tags_before(page.as_bytes(), &["meta", "title"]).unwrap();
            page.get(passed.end..).unwrap()
        };
        assert_eq!(left("a<p b='<meta>'>c</p><META d>e"), "<META d>e");
        assert_eq!(left("<metal a=/><br/><!-- -->"), "<!-- -->");
        assert_eq!(left("<p>a</title>"), "</title>");
        assert_eq!(left("a < b <title>"), "< b <title>");
        assert_eq!(left("<p><p a='b>"), "<p a='b>");
    }

    #[test]
    fn raw_text_ends_at_its_own_end_tag_alone() {
        assert_eq!(raw_text_end(b"a < b </scripts> </b></SCRIPT >", "script"), Some(21));
        assert_eq!(raw_text_end(b"<!-- </script>", "script"), None);
        assert_eq!(raw_text_end(b"a </script", "script"), None);
    }
}
