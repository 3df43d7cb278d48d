//! Decodes a page's bytes as the HTML standard says (sections 13.2.3.1 to 13.2.3.4).
//!
//! The first of these that names an encoding decides: a byte order mark, the charset of the `Content-Type`
//! header, a `meta` element or XML declaration within the first 1,024 bytes, a `meta` element after them;
//! otherwise it is windows-1252. No byte fails to decode: malformed ones become U+FFFD. Linear in the bytes, which
//! the caller has bounded.

use std::cell::Cell;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252, X_USER_DEFINED};
use html5ever::TokenizerResult;
use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use super::skim;

/// How much of a page is looked at for a declaration before it is decoded.
const PRESCAN_BYTES: usize = 1024;

/// A page as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The text, without a byte order mark.
    pub text: String,
    /// The encoding's name by the Encoding standard, in lower case: `utf-8`, `windows-1252`.
    pub encoding: String,
    /// What named the encoding.
    pub origin: Origin,
    /// Whether any byte was malformed in that encoding.
    pub malformed: bool,
}

/// What named an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A byte order mark.
    ByteOrderMark,
    /// The `Content-Type` header.
    ContentType,
    /// A declaration in the page.
    Page,
    /// Nothing.
    Default,
}

/// Decodes `bytes`; `content_type` is the value of the HTTP header.
#[must_use]
pub fn decode(bytes: &[u8], content_type: Option<&str>) -> Decoded {
    if let Some((encoding, length)) = Encoding::for_bom(bytes) {
        return decode_as(encoding, &bytes[length..], Origin::ByteOrderMark);
    }
    if let Some(encoding) = content_type.and_then(of_content_type) {
        return decode_as(encoding, bytes, Origin::ContentType);
    }
    if let Some(encoding) = prescan(&bytes[..bytes.len().min(PRESCAN_BYTES)]) {
        return decode_as(encoding, bytes, Origin::Page);
    }
    let tentative = decode_as(WINDOWS_1252, bytes, Origin::Default);
    match late_declaration(&tentative.text) {
        Some(encoding) => decode_as(encoding, bytes, Origin::Page),
        None => tentative,
    }
}

fn decode_as(encoding: &'static Encoding, bytes: &[u8], origin: Origin) -> Decoded {
    let (text, malformed) = encoding.decode_without_bom_handling(bytes);
    Decoded { text: text.into_owned(), encoding: encoding.name().to_ascii_lowercase(), origin, malformed }
}

/// The encoding that the `charset` parameter of a `Content-Type` header names.
fn of_content_type(value: &str) -> Option<&'static Encoding> {
    for parameter in value.split(';').skip(1) {
        if let Some((name, label)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("charset")
        {
            return Encoding::for_label(label.trim().trim_matches(['"', '\'']).as_bytes());
        }
    }
    None
}

/// The encoding that a label inside of a page names. The page was read as ASCII to find it, so it cannot be
/// UTF-16.
fn declared(label: &[u8]) -> Option<&'static Encoding> {
    let encoding = Encoding::for_label(label)?;
    if encoding == UTF_16BE || encoding == UTF_16LE {
        Some(UTF_8)
    } else if encoding == X_USER_DEFINED {
        Some(WINDOWS_1252)
    } else {
        Some(encoding)
    }
}

/// Prescans a byte stream to determine its encoding (section 13.2.3.2).
fn prescan(head: &[u8]) -> Option<&'static Encoding> {
    match head {
        [b'<', 0, b'?', 0, b'x', 0, ..] => return Some(UTF_16LE),
        [0, b'<', 0, b'?', 0, b'x', ..] => return Some(UTF_16BE),
        _ => {}
    }
    Prescan { bytes: head, at: 0 }.run().or_else(|| of_xml_declaration(head))
}

struct Prescan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Prescan<'a> {
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn run(&mut self) -> Option<&'static Encoding> {
        while self.at < self.bytes.len() {
            let rest = self.rest();
            if rest.starts_with(b"<!--") {
                // The two hyphens may be those of the opening: "<!-->" is a whole comment.
                self.at += 2 + find(&rest[2..], b"-->")? + 2;
            } else if starts_with_meta(rest) {
                self.at += b"<meta".len();
                if let Some(encoding) = self.meta() {
                    return Some(encoding);
                }
            } else if matches!(rest, [b'<', b'/', letter, ..] | [b'<', letter, ..] if letter.is_ascii_alphabetic()) {
                self.at += rest.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'>')?;
                while self.attribute().is_some() {}
            } else if matches!(rest, [b'<', b'!' | b'/' | b'?', ..]) {
                self.at += rest.iter().position(|byte| *byte == b'>')?;
            }
            self.at += 1;
        }
        None
    }

    /// Reads the attributes of a `meta` tag.
    fn meta(&mut self) -> Option<&'static Encoding> {
        let mut declaration = Declaration::default();
        while let Some((name, value)) = self.attribute() {
            declaration.take(&name, &value);
        }
        // A tag that the end of the bytes cuts off declares nothing.
        if self.at >= self.bytes.len() { None } else { declaration.encoding() }
    }

    /// Gets an attribute (section 13.2.3.2): its name and value in lower case; `None` at the end of the tag.
    fn attribute(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let is_blank = |byte: &u8| byte.is_ascii_whitespace();
        self.at += self.rest().iter().take_while(|byte| is_blank(byte) || **byte == b'/').count();
        if *self.rest().first()? == b'>' {
            return None;
        }
        // An equals sign may begin a name, not be within it.
        let ends_name =
            |(index, byte): (usize, &u8)| is_blank(byte) || matches!(byte, b'/' | b'>') || (*byte == b'=' && index > 0);
        let Some(name_length) = self.rest().iter().enumerate().position(ends_name) else {
            self.at = self.bytes.len();
            return None;
        };
        let name = self.rest()[..name_length].to_ascii_lowercase();
        self.at += name_length;
        let blanks = self.rest().iter().take_while(|byte| is_blank(byte)).count();
        if self.rest().get(blanks) != Some(&b'=') {
            self.at += blanks;
            return Some((name, Vec::new()));
        }
        self.at += blanks + 1;
        self.at += self.rest().iter().take_while(|byte| is_blank(byte)).count();
        let value = match self.rest().first()? {
            quote @ (b'"' | b'\'') => {
                let length = self.rest()[1..].iter().position(|byte| byte == quote);
                let Some(length) = length else {
                    self.at = self.bytes.len();
                    return None;
                };
                let value = &self.rest()[1..=length];
                self.at += length + 2;
                value
            }
            _ => {
                let length = self.rest().iter().position(|byte| is_blank(byte) || *byte == b'>');
                let Some(length) = length else {
                    self.at = self.bytes.len();
                    return None;
                };
                let value = &self.rest()[..length];
                self.at += length;
                value
            }
        };
        Some((name, value.to_ascii_lowercase()))
    }
}

fn starts_with_meta(rest: &[u8]) -> bool {
    rest.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"<meta"))
        && rest.get(5).is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b'/')
}

/// What the attributes of one `meta` element say; the first of each name counts.
#[derive(Default)]
struct Declaration {
    pragma: Option<bool>,
    content: Option<Option<&'static Encoding>>,
    charset: Option<Option<&'static Encoding>>,
}

impl Declaration {
    fn take(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"http-equiv" => {
                self.pragma.get_or_insert(value.eq_ignore_ascii_case(b"content-type"));
            }
            b"content" => {
                self.content.get_or_insert_with(|| of_content(value));
            }
            b"charset" => {
                self.charset.get_or_insert_with(|| declared(value));
            }
            _ => {}
        }
    }

    fn encoding(&self) -> Option<&'static Encoding> {
        match self.charset {
            Some(encoding) => encoding,
            None if self.pragma == Some(true) => self.content?,
            None => None,
        }
    }
}

/// Extracts a character encoding from a `meta` element's `content` (section 2.5.7 of the standard).
fn of_content(content: &[u8]) -> Option<&'static Encoding> {
    let mut rest = content;
    loop {
        let at = rest.windows(7).position(|window| window.eq_ignore_ascii_case(b"charset"))?;
        rest = rest[at + 7..].trim_ascii_start();
        if let Some(value) = rest.strip_prefix(b"=") {
            rest = value.trim_ascii_start();
            break;
        }
    }
    let label = match rest.first()? {
        quote @ (b'"' | b'\'') => {
            let length = rest[1..].iter().position(|byte| byte == quote)?;
            &rest[1..=length]
        }
        _ => {
            let end = rest.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b';');
            &rest[..end.unwrap_or(rest.len())]
        }
    };
    declared(label)
}

/// Gets an XML encoding: `<?xml version="1.0" encoding="..."?>` at the very start.
fn of_xml_declaration(head: &[u8]) -> Option<&'static Encoding> {
    let declaration = head.strip_prefix(b"<?xml")?;
    let declaration = &declaration[..find(declaration, b">")?];
    let after_name = &declaration[find(declaration, b"encoding")? + b"encoding".len()..];
    let value = skip_blanks(skip_blanks(after_name).strip_prefix(b"=")?);
    let (quote, rest) = value.split_first().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
    let label = &rest[..rest.iter().position(|byte| byte == quote)?];
    if label.iter().any(|byte| *byte <= b' ') { None } else { declared(label) }
}

fn skip_blanks(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| **byte <= b' ').count()..]
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The declaration of a `meta` element anywhere in the page, for which a browser decodes it again (section
/// 13.2.3.4).
fn late_declaration(text: &str) -> Option<&'static Encoding> {
    find_declaration(text, true)
}

/// With all tags read, where `skims` is not set: the same, slower.
fn find_declaration(text: &str, skims: bool) -> Option<&'static Encoding> {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(text));
    let finder = MetaFinder { input: &input, skims, found: Cell::new(None) };
    finder.skim();
    let tokenizer = Tokenizer::new(finder, TokenizerOpts::default());
    // Only a declaration stops the tokenizer before the end of its input.
    match tokenizer.feed(&input) {
        TokenizerResult::Done => None,
        TokenizerResult::Script(()) | TokenizerResult::EncodingIndicator(_) => tokenizer.sink.found.get(),
    }
}

/// Tags that are read; those before the next of them, or before a comment, are passed over.
const TAGS_READ: [&str; 10] =
    ["meta", "script", "title", "textarea", "style", "xmp", "iframe", "noembed", "noframes", "plaintext"];

/// Stops at the first `meta` tag that declares an encoding.
struct MetaFinder<'a> {
    input: &'a BufferQueue,
    skims: bool,
    found: Cell<Option<&'static Encoding>>,
}

impl MetaFinder<'_> {
    /// Goes on to the next tag that counts, from behind a tag or a comment.
    fn skim(&self) {
        if self.skims {
            skim::cut(self.input, |rest| skim::tags_before(rest, &TAGS_READ));
        }
    }
}

impl TokenSink for MetaFinder<'_> {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        match token {
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => match &*tag.name {
                "meta" => {
                    self.found.set(declaration_of(&tag));
                    if self.found.get().is_some() {
                        return TokenSinkResult::Script(());
                    }
                }
                // Inside of these there are no tags.
                "script" => return TokenSinkResult::RawData(RawKind::ScriptData),
                "title" | "textarea" => return TokenSinkResult::RawData(RawKind::Rcdata),
                "style" | "xmp" | "iframe" | "noembed" | "noframes" => {
                    return TokenSinkResult::RawData(RawKind::Rawtext);
                }
                "plaintext" => return TokenSinkResult::Plaintext,
                _ => {}
            },
            Token::TagToken(_) | Token::CommentToken(_) => {}
            _ => return TokenSinkResult::Continue,
        }
        self.skim();
        TokenSinkResult::Continue
    }
}

fn declaration_of(tag: &Tag) -> Option<&'static Encoding> {
    let mut declaration = Declaration::default();
    for attribute in &tag.attrs {
        declaration.take(attribute.name.local.as_bytes(), attribute.value.as_bytes());
    }
    declaration.encoding()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(bytes: &[u8], content_type: Option<&str>) -> (String, Origin) {
        let decoded = decode(bytes, content_type);
        (decoded.encoding, decoded.origin)
    }

    #[test]
    fn mark_then_header_then_page_then_default() {
        let page = b"\xef\xbb\xbf<meta charset=koi8-r>";
        assert_eq!(encoding(page, Some("text/html; charset=gbk")), ("utf-8".into(), Origin::ByteOrderMark));
        assert_eq!(encoding(&page[3..], Some("text/html; Charset=\"gbk\"")), ("gbk".into(), Origin::ContentType));
        assert_eq!(encoding(&page[3..], Some("text/html; charset=none-such")), ("koi8-r".into(), Origin::Page));
        assert_eq!(encoding(&page[3..], Some("text/html")), ("koi8-r".into(), Origin::Page));
        assert_eq!(encoding(b"<p>", None), ("windows-1252".into(), Origin::Default));
        assert_eq!(encoding(b"", None), ("windows-1252".into(), Origin::Default));
    }

    #[test]
    fn a_late_declaration_is_the_same_whether_all_tags_are_read_or_not() {
        #[rustfmt::skip]
        let pieces = [
            "<meta charset=koi8-r>", "<META http-equiv=content-type content='text/html; c&#104;arset=gbk'>", "<meta/charset='big5'/>",
            "<p a='", "'>", "\">", "<!-- ", "-->", "<!-->", "<script>", "</script>", "<!--<script>", "<title>", "</title>", "<style>",
            "</style >", "<a b=\"<meta charset=utf-8>\">", "</a <meta charset=gbk>", "</", "<", "<>", "</>", "<?x ", "<![CDATA[", "]]>",
            "text", "<p", "<p/", "=\"", "<textarea>", "</textarea>", "<xmp a>", "</xmp>", "<metal charset=gbk>", "<br/>", "\n", "\0",
        ];
        let mut state = 3_u64;
        let mut below = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((state >> 33) % bound as u64).unwrap()
        };
        let mut found = 0;
        for _ in 0..4_000 {
            let page: String = (0..1 + below(20)).map(|_| pieces[below(pieces.len())]).collect();
            let encoding = find_declaration(&page, true);
            found += usize::from(encoding.is_some());
            assert_eq!(encoding, find_declaration(&page, false), "{page}");
        }
        assert!((400..3_600).contains(&found), "{found} pages of 4,000 declare an encoding");
    }

    #[test]
    fn malformed_bytes_are_marked_and_replaced() {
        let decoded = decode(b"a\xffb", Some("text/html; charset=utf-8"));
        assert_eq!((decoded.text.as_str(), decoded.malformed), ("a\u{fffd}b", true));
        assert_eq!(decode(b"\x93a\x94", None).text, "\u{201c}a\u{201d}");
    }

    #[test]
    fn a_page_declares_its_encoding_in_many_ways() {
        for (page, expected) in [
            (&b"<META http-equiv='Content-Type' content='text/html; charset = Shift_JIS'>"[..], "shift_jis"),
            (b"<meta content=\"text/html;charset=utf-8\" http-equiv=content-type />", "utf-8"),
            (b"<meta content=\"text/html;charset=utf-8\">", "windows-1252"),
            (b"<meta charset=utf-16le>", "utf-8"),
            (b"<meta charset=x-user-defined>", "windows-1252"),
            (b"<!-- <meta charset=utf-8> --><meta charset=koi8-r>", "koi8-r"),
            (b"<a title='<meta charset=utf-8>'><meta charset=koi8-r>", "koi8-r"),
            (b"<!--><meta charset=koi8-r>", "koi8-r"),
            (b"<meta charset=none-such><meta charset=koi8-r>", "koi8-r"),
            (b"<?xml version='1.0' encoding='iso-8859-2'?><html>", "iso-8859-2"),
            (b"<meta http-equiv=content-type content=\"text/html; charset\">", "windows-1252"),
            (b"<metadata charset=utf-8>", "windows-1252"),
        ] {
            assert_eq!(decode(page, None).encoding, expected, "{}", String::from_utf8_lossy(page));
        }
        let utf_16 = b"<\0?\0x\0m\0l\0?\0>\0";
        assert_eq!(encoding(utf_16, None), ("utf-16le".into(), Origin::Page));
    }

    #[test]
    fn a_declaration_past_the_prescan_counts_unless_it_is_in_a_script() {
        let filler = " ".repeat(2 * PRESCAN_BYTES);
        let late = format!("<p>{filler}<meta charset=utf-8>");
        assert_eq!(encoding(late.as_bytes(), None), ("utf-8".into(), Origin::Page));
        let in_script = format!("<p>{filler}<script>'<meta charset=utf-8>'</script>");
        assert_eq!(encoding(in_script.as_bytes(), None), ("windows-1252".into(), Origin::Default));
        let cut = format!("<meta {}charset=utf-8>", " ".repeat(PRESCAN_BYTES));
        assert_eq!(encoding(cut.as_bytes(), None).0, "utf-8");
    }
}
