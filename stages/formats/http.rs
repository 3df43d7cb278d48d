//! Reads an HTTP/1.x message as crawlers store it: head, then a body as it was transferred.
//!
//! Crawls hold what servers sent, and servers send much that RFC 9112 forbids; so nothing here fails but at a
//! limit. Whatever departs from the rules is listed as an [`HttpProblem`] and read the way warcio reads it:
//! a body that is not what its head claims passes as it is.

use std::borrow::Cow;

use weft_core::limits::{LimitExceeded, Limits};

use super::inflate::{self, Coding, InflateError};

/// A chunk's size line, extensions included, is at most so long (warcio reads no more either).
const CHUNK_LINE_BYTES: usize = 64;

/// A departure from the rules that was read over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpProblem {
    /// The first line is no status line of a response or no request line.
    #[error("bad http start line `{line}`")]
    StartLine {
        /// The line, cut to its first 80 characters.
        line: String,
    },
    /// The block ends before the empty line that ends a head.
    #[error("the http head has no end")]
    HeadWithoutEnd,
    /// Lines of the head without a colon, which are left out.
    #[error("{count} http header lines have no colon")]
    HeaderWithoutColon {
        /// How many.
        count: usize,
    },
    /// The body is said to be chunked and is not: it passes as it is.
    #[error("the body is not chunked though its head says so")]
    NotChunked,
    /// A chunk broke the rules: what follows passes as it is.
    #[error("bad chunk at byte {at} of the body")]
    BadChunk {
        /// Offset in the body as transferred.
        at: usize,
    },
    /// The body ends inside a chunk or before the last one.
    #[error("the chunked body is cut off")]
    ChunksCutOff,
    /// A content coding that is not known: the body passes as it is.
    #[error("unknown content encoding `{name}`")]
    UnknownCoding {
        /// Its name.
        name: String,
    },
    /// The body does not begin as its coding does, most likely since the crawler decoded it.
    #[error("the body is not encoded as `{name}` though its head says so")]
    NotEncoded {
        /// The coding's name in the head.
        name: String,
    },
    /// The encoded body is damaged or cut off: what could be decoded passes.
    #[error("the body encoded as `{name}` is damaged: {cause}")]
    DamagedCoding {
        /// The coding's name in the head.
        name: String,
        /// The decoder's words.
        cause: String,
    },
}

/// Which side of the exchange a message is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Begins with a status line.
    Response,
    /// Begins with a request line.
    Request,
}

/// A head and the body after it, as transferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpMessage<'a> {
    /// The first line, without its line end.
    pub start_line: String,
    /// The three digits of a response.
    pub status: Option<u16>,
    /// Names as sent and values, in order; continuation lines are joined.
    pub headers: Vec<(String, String)>,
    /// Everything after the head.
    pub body: &'a [u8],
    /// What was read over in the head.
    pub problems: Vec<HttpProblem>,
}

/// A body after transfer and content decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// Borrowed where the body was neither chunked nor encoded.
    pub bytes: Cow<'a, [u8]>,
    /// What was read over in the body.
    pub problems: Vec<HttpProblem>,
}

impl<'a> HttpMessage<'a> {
    /// Reads the head at the start of `block`, which the caller has bounded.
    ///
    /// # Errors
    /// A head longer than [`Limits::header_bytes`].
    pub fn parse(block: &'a [u8], side: Side, limits: &Limits) -> Result<Self, LimitExceeded> {
        let mut problems = Vec::new();
        let mut lines = HeadLines { block, at: 0 };
        let start_line = lines.next().map(|line| decode_text(trim_end(line))).unwrap_or_default();
        let status = match side {
            Side::Response => status_of(&start_line),
            Side::Request => None,
        };
        let well_begun = match side {
            Side::Response => start_line.starts_with("HTTP/") && status.is_some(),
            Side::Request => start_line.split(' ').nth(2).is_some_and(|version| version.starts_with("HTTP/")),
        };
        if !well_begun {
            problems.push(HttpProblem::StartLine { line: start_line.chars().take(80).collect() });
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut without_colon = 0;
        let mut ended = false;
        while let Some(line) = lines.next() {
            if u64::try_from(lines.at).expect("usize fits u64") > limits.header_bytes {
                return Err(LimitExceeded { what: "header_bytes", limit: limits.header_bytes });
            }
            let line = trim_end(line);
            if line.is_empty() {
                ended = true;
                break;
            }
            if !push_header(&mut headers, line) {
                without_colon += 1;
            }
        }
        if !ended {
            problems.push(HttpProblem::HeadWithoutEnd);
        }
        if without_colon > 0 {
            problems.push(HttpProblem::HeaderWithoutColon { count: without_colon });
        }
        let body = block.get(lines.at..).unwrap_or_default();
        Ok(Self { start_line, status, headers, body, problems })
    }

    /// The first value of a header; names match without regard to case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        lookup(&self.headers, name)
    }

    /// The body, de-chunked and content-decoded.
    ///
    /// # Errors
    /// More than [`Limits::page_bytes`] come out of a decoder, or more than [`Limits::inflate_ratio`] allows.
    pub fn payload(&self, limits: &Limits) -> Result<Payload<'a>, LimitExceeded> {
        let mut problems = Vec::new();
        let mut bytes = Cow::Borrowed(self.body);
        let chunked = self
            .header("transfer-encoding")
            .and_then(|value| value.rsplit(',').next())
            .is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"));
        if chunked {
            bytes = dechunk(self.body, &mut problems);
        }
        let codings = self.header("content-encoding").unwrap_or_default();
        // The last coding named was applied last (RFC 9110, section 8.4).
        for name in codings.rsplit(',').map(str::trim).filter(|name| !name.is_empty()) {
            let coding = match name.to_ascii_lowercase().as_str() {
                "identity" | "none" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                "br" => Coding::Brotli,
                "zstd" => Coding::Zstd,
                _ => {
                    problems.push(HttpProblem::UnknownCoding { name: name.to_owned() });
                    break;
                }
            };
            let decoded = inflate::decode(coding, &bytes, "page_bytes", limits.page_bytes, limits);
            match decoded.end {
                Ok(()) => bytes = Cow::Owned(decoded.bytes),
                Err(InflateError::Limit(exceeded)) => return Err(exceeded),
                // Brotli and bare deflate have no magic number: plain text can decode to a few bytes.
                Err(_) if decoded.bytes.is_empty() || begins_as_text(&bytes) => {
                    problems.push(HttpProblem::NotEncoded { name: name.to_owned() });
                    break;
                }
                Err(cause) => {
                    problems.push(HttpProblem::DamagedCoding { name: name.to_owned(), cause: cause.to_string() });
                    bytes = Cow::Owned(decoded.bytes);
                    break;
                }
            }
        }
        Ok(Payload { bytes, problems })
    }
}

/// Whether the first bytes are printable ASCII and white space, as no compressed stream begins.
fn begins_as_text(bytes: &[u8]) -> bool {
    let beginning = bytes.get(..32).unwrap_or(bytes);
    beginning.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}

/// The second word of a status line, where it is a number of three digits.
fn status_of(start_line: &str) -> Option<u16> {
    let code = start_line.split(' ').nth(1)?;
    if code.len() != 3 {
        return None;
    }
    code.parse().ok()
}

/// Adds one header line, or joins a continuation to the line before; whether the line was either.
pub(crate) fn push_header(headers: &mut Vec<(String, String)>, line: &[u8]) -> bool {
    if (line.starts_with(b" ") || line.starts_with(b"\t"))
        && let Some((_, value)) = headers.last_mut()
    {
        value.push_str(&decode_text(line));
        return true;
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else { return false };
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default();
    headers.push((decode_text(trim_end(name)), decode_text(value.trim_ascii_start())));
    true
}

/// The first value of a name, without regard to case.
pub(crate) fn lookup<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Head bytes as text: UTF-8 where they are, else ISO 8859-1, in which every byte is its own code point.
pub(crate) fn decode_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// Without the line end and other white space at the end.
pub(crate) fn trim_end(line: &[u8]) -> &[u8] {
    line.trim_ascii_end()
}

/// The lines of a head, line ends included; `at` is the offset after the last one given.
struct HeadLines<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> HeadLines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.block.get(self.at..)?;
        if rest.is_empty() {
            return None;
        }
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        self.at += length;
        rest.get(..length)
    }
}

/// Undoes the chunked transfer coding (RFC 9112, section 7.1); trailers are dropped.
fn dechunk<'a>(body: &'a [u8], problems: &mut Vec<HttpProblem>) -> Cow<'a, [u8]> {
    if body.is_empty() {
        problems.push(HttpProblem::ChunksCutOff);
        return Cow::Borrowed(body);
    }
    let mut whole = Vec::new();
    let mut at = 0;
    loop {
        let rest = body.get(at..).unwrap_or_default();
        if rest.is_empty() {
            problems.push(HttpProblem::ChunksCutOff);
            return Cow::Owned(whole);
        }
        let Some((size, line_length)) = chunk_size(rest) else {
            if at == 0 {
                problems.push(HttpProblem::NotChunked);
                return Cow::Borrowed(body);
            }
            problems.push(HttpProblem::BadChunk { at });
            whole.extend_from_slice(rest);
            return Cow::Owned(whole);
        };
        if size == 0 {
            return Cow::Owned(whole);
        }
        let chunk = rest.get(line_length..).unwrap_or_default();
        let Some(content) = chunk.get(..size) else {
            problems.push(HttpProblem::ChunksCutOff);
            whole.extend_from_slice(chunk);
            return Cow::Owned(whole);
        };
        whole.extend_from_slice(content);
        at += line_length + size;
        let rest = body.get(at..).unwrap_or_default();
        if rest.starts_with(b"\r\n") {
            at += 2;
        } else if !rest.is_empty() {
            problems.push(HttpProblem::BadChunk { at });
            whole.extend_from_slice(rest);
            return Cow::Owned(whole);
        }
    }
}

/// The size that a chunk's first line states, and the length of that line.
fn chunk_size(rest: &[u8]) -> Option<(usize, usize)> {
    let line = rest.get(..CHUNK_LINE_BYTES.min(rest.len()))?;
    let end = line.windows(2).position(|pair| pair == b"\r\n")?;
    let digits = line.get(..end)?.split(|&byte| byte == b';').next()?.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((size, end + 2))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn response(block: &[u8]) -> HttpMessage<'_> {
        HttpMessage::parse(block, Side::Response, &Limits::default()).unwrap()
    }

    fn payload(head: &str, body: &[u8]) -> (Vec<u8>, Vec<HttpProblem>) {
        let block = [format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes(), body].concat();
        let payload = response(&block).payload(&Limits::default()).unwrap();
        (payload.bytes.into_owned(), payload.problems)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_head_is_read_without_regard_to_case_and_with_continuations() {
        let message = response(b"HTTP/1.1 404 Not Found\r\nCONTENT-type: text/html;\r\n charset=x\r\nset-cookie: a\r\nSet-Cookie: b\r\n\r\nbody");
        assert_eq!(message.status, Some(404));
        assert_eq!(message.header("Content-Type"), Some("text/html; charset=x"));
        assert_eq!(message.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).count(), 2);
        assert_eq!(message.body, b"body");
        assert_eq!(message.problems, []);
    }

    #[test]
    fn a_request_has_a_body_and_no_status() {
        let block = b"POST /form HTTP/1.1\r\nHost: a.example\r\n\r\nfield=1";
        let message = HttpMessage::parse(block, Side::Request, &Limits::default()).unwrap();
        assert_eq!((message.status, message.body), (None, &b"field=1"[..]));
        assert_eq!(message.problems, []);
    }

    #[test]
    fn an_odd_head_is_read_and_reported() {
        let message = response(b"ICY 200 OK\nno colon here\nName : \xe9t\xe9\n\nbody");
        assert_eq!(message.header("name"), Some("été"));
        assert_eq!(message.body, b"body");
        assert_eq!(
            message.problems,
            [HttpProblem::StartLine { line: "ICY 200 OK".to_owned() }, HttpProblem::HeaderWithoutColon { count: 1 }]
        );
        assert_eq!(response(b"HTTP/1.1 200 OK\r\nA: b").problems, [HttpProblem::HeadWithoutEnd]);
        assert_eq!(response(b"").problems.len(), 2);
    }

    #[test]
    fn a_head_over_the_limit_is_refused() {
        let block = [b"HTTP/1.1 200 OK\r\nA: ", &b"x".repeat(300 << 10)[..]].concat();
        let error = HttpMessage::parse(&block, Side::Response, &Limits::default()).unwrap_err();
        assert_eq!(error.what, "header_bytes");
    }

    #[test]
    fn chunks_are_joined_whatever_the_case_of_the_header() {
        for head in ["Transfer-Encoding: chunked", "transfer-encoding: gzip, Chunked"] {
            let (bytes, problems) = payload(head, b"5;name=value\r\nhello\r\n 6 \r\n world\r\n0\r\nTrailer: x\r\n\r\n");
            assert_eq!((&bytes[..], problems), (&b"hello world"[..], vec![]));
        }
    }

    #[test]
    fn wrong_chunks_pass_as_they_are() {
        let head = "Transfer-Encoding: chunked";
        assert_eq!(payload(head, b"<p>no chunk\r\n"), (b"<p>no chunk\r\n".to_vec(), vec![HttpProblem::NotChunked]));
        assert_eq!(
            payload(head, b"5\r\nhello\r\nxx\r\n"),
            (b"helloxx\r\n".to_vec(), vec![HttpProblem::BadChunk { at: 10 }])
        );
        assert_eq!(payload(head, b"5\r\nhello!\r\n"), (b"hello!\r\n".to_vec(), vec![HttpProblem::BadChunk { at: 8 }]));
        assert_eq!(payload(head, b"ff\r\nhello"), (b"hello".to_vec(), vec![HttpProblem::ChunksCutOff]));
        assert_eq!(payload(head, b"5\r\nhello\r\n"), (b"hello".to_vec(), vec![HttpProblem::ChunksCutOff]));
        let huge = b"ffffffffffffffffffffffff\r\nhello";
        assert_eq!(payload(head, huge), (huge.to_vec(), vec![HttpProblem::NotChunked]));
        assert_eq!(payload(head, b"ffffffffffffffff\r\nhello"), (b"hello".to_vec(), vec![HttpProblem::ChunksCutOff]));
    }

    #[test]
    fn content_is_decoded_after_the_chunks_are_joined() {
        let encoded = gzip(b"text");
        let body = [format!("{:x}\r\n", encoded.len()).as_bytes(), &encoded, b"\r\n0\r\n\r\n"].concat();
        let head = "Transfer-Encoding: chunked\r\nContent-Encoding: GZip";
        assert_eq!(payload(head, &body), (b"text".to_vec(), vec![]));
    }

    #[test]
    fn two_codings_are_undone_in_reverse() {
        let body = gzip(&zstd::encode_all(&b"text"[..], 1).unwrap());
        assert_eq!(payload("Content-Encoding: zstd, gzip", &body), (b"text".to_vec(), vec![]));
    }

    #[test]
    fn a_body_that_was_decoded_already_passes_with_a_problem() {
        for name in ["gzip", "deflate", "zstd", "br"] {
            let (bytes, problems) = payload(&format!("Content-Encoding: {name}"), b"<!doctype html><p>plain text</p>");
            assert_eq!(bytes, b"<!doctype html><p>plain text</p>", "{name}");
            assert_eq!(problems, [HttpProblem::NotEncoded { name: name.to_owned() }]);
        }
        let (bytes, problems) = payload("Content-Encoding: rot13", b"grkg");
        assert_eq!((&bytes[..], problems.len()), (&b"grkg"[..], 1));
        assert_eq!(payload("Content-Encoding: gzip", b""), (vec![], vec![]));
    }

    #[test]
    fn a_bomb_in_a_body_is_refused() {
        let body = gzip(&vec![0; 40 << 20]);
        let block = [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", &body[..]].concat();
        let error = response(&block).payload(&Limits::default()).unwrap_err();
        assert_eq!(error.what, "page_bytes");
    }

    #[test]
    fn a_damaged_body_gives_what_could_be_decoded() {
        let body = gzip(b"text");
        let (bytes, problems) = payload("Content-Encoding: gzip", &body[..body.len() - 6]);
        assert_eq!(bytes, b"text");
        assert!(matches!(problems[..], [HttpProblem::DamagedCoding { .. }]));
    }
}
