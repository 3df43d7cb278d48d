//! Reads the JSON of a capture line in the form that Common Crawl writes, fast.
//!
//! That form is an object whose members are strings without escapes. It is read in one pass that copies nothing but
//! what it keeps; for whatever is of another form, or is no capture, there is a parser that says what is wrong.

use super::CaptureLine;

/// The members that a capture takes, in the order of [`capture`]'s pattern.
const NAMES: [&str; 12] = [
    "url",
    "mime",
    "mime-detected",
    "status",
    "digest",
    "length",
    "offset",
    "filename",
    "charset",
    "languages",
    "redirect",
    "truncated",
];

/// The capture that `json` tells of; none where another parser has to look at it.
pub(super) fn capture(urlkey: &str, timestamp: &str, json: &str) -> Option<CaptureLine> {
    let [url, mime, detected, status, digest, length, offset, filename, charset, languages, redirect, truncated] =
        members(json)?;
    let owned = |member: Option<&str>| member.map(str::to_owned);
    Some(CaptureLine {
        urlkey: urlkey.to_owned(),
        timestamp: timestamp.to_owned(),
        url: owned(url)?,
        mime: owned(mime),
        mime_detected: owned(detected),
        status: status.and_then(|status| status.parse().ok()),
        digest: owned(digest),
        length: length?.parse().ok()?,
        offset: offset?.parse().ok()?,
        filename: owned(filename)?,
        charset: owned(charset),
        languages: owned(languages),
        redirect: owned(redirect),
        truncated: owned(truncated),
    })
}

/// The values of [`NAMES`].
fn members(json: &str) -> Option<[Option<&str>; NAMES.len()]> {
    // Escapes, and control characters, which JSON forbids in strings.
    if json.bytes().any(|byte| byte == b'\\' || byte < b' ') {
        return None;
    }
    let mut members = [None; NAMES.len()];
    let mut rest = after_spaces(json).strip_prefix('{')?;
    loop {
        let (name, after) = string(rest)?;
        let (value, after) = string(after_spaces(after).strip_prefix(':')?)?;
        if let Some(known) = NAMES.iter().position(|known| *known == name) {
            let member = members.get_mut(known)?;
            // A member given twice is an error.
            if member.replace(value).is_some() {
                return None;
            }
        }
        let after = after_spaces(after);
        let Some(more) = after.strip_prefix(',') else {
            rest = after;
            break;
        };
        rest = more;
    }
    let behind = rest.strip_prefix('}')?;
    after_spaces(behind).is_empty().then_some(members)
}

/// The string that `text` begins with, without its quotes, and what follows it.
fn string(text: &str) -> Option<(&str, &str)> {
    let text = after_spaces(text).strip_prefix('"')?;
    let end = memchr::memchr(b'"', text.as_bytes())?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

fn after_spaces(text: &str) -> &str {
    text.trim_start_matches(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_fast_is_what_the_parser_reads() {
        let whole = r#"{"url": "http://é/", "mime": "text/html", "mime-detected": "a/b", "status": "301", "digest": "D", "length": "7", "offset": "8", "filename": "f", "charset": "UTF-8", "languages": "deu,eng", "redirect": "http://r/", "truncated": "length", "more": "1", "more": "2"}"#;
        let least = r#"{"url":"u","length":"7","offset":"8","filename":"f"}"#;
        for json in [whole, least, &format!("  {least}  "), &least.replace(':', " : ").replace(',', " , ")] {
            let fast = capture("k", "20200102030405", json).unwrap();
            assert_eq!(fast, CaptureLine::from_json("k", "20200102030405", json).unwrap(), "{json}");
        }
        let odd_status = whole.replace("\"301\"", "\"-\"");
        assert_eq!(
            capture("k", "20200102030405", &odd_status),
            CaptureLine::from_json("k", "20200102030405", &odd_status).ok()
        );
    }

    #[test]
    fn what_is_of_another_form_is_left_to_the_parser() {
        let least = r#"{"url":"u","length":"7","offset":"8","filename":"f"}"#;
        for json in [
            least.replace("\"u\"", r#""\u0075""#),
            least.replace("\"7\"", "7"),
            least.replace("\"7\"", "\"-7\""),
            least.replace("\"u\"", "\"u\tv\""),
            least.replace("\"url\":\"u\",", ""),
            least.replace('{', "{\"url\":\"v\","),
            least.replace('{', "{\"status\":null,"),
            least.replace('}', ",}"),
            format!("{least}{least}"),
            least.replace('}', ""),
            "{}".to_owned(),
            String::new(),
        ] {
            assert_eq!(capture("k", "20200102030405", &json), None, "{json}");
        }
    }
}
