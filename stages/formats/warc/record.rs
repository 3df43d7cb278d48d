//! One record of an archive: its head, its block, and what was found wrong with it.

use weft_core::limits::{LimitExceeded, Limits};

use super::Problem;
use super::digest::{self, Verdict};
use crate::formats::http::{self, HttpMessage, Payload, Side};

/// What a record is about: WARC-Type, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// `warcinfo`
    Warcinfo,
    /// `response`, and every record of an ARC file but its first.
    Response,
    /// `resource`
    Resource,
    /// `request`
    Request,
    /// `metadata`
    Metadata,
    /// `revisit`
    Revisit,
    /// `conversion`
    Conversion,
    /// `continuation`
    Continuation,
    /// The first record of an ARC file, which describes the file.
    ArcHeader,
    /// Anything else; empty where the head states none.
    Other(String),
}

impl RecordKind {
    pub(super) fn parse(name: &str) -> Self {
        match name {
            "warcinfo" => Self::Warcinfo,
            "response" => Self::Response,
            "resource" => Self::Resource,
            "request" => Self::Request,
            "metadata" => Self::Metadata,
            "revisit" => Self::Revisit,
            "conversion" => Self::Conversion,
            "continuation" => Self::Continuation,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The name as WARC-Type has it; `arc_header` for an ARC file's first record.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Warcinfo => "warcinfo",
            Self::Response => "response",
            Self::Resource => "resource",
            Self::Request => "request",
            Self::Metadata => "metadata",
            Self::Revisit => "revisit",
            Self::Conversion => "conversion",
            Self::Continuation => "continuation",
            Self::ArcHeader => "arc_header",
            Self::Other(name) => name,
        }
    }
}

/// One record, as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is about.
    pub kind: RecordKind,
    /// Where it begins in the file as stored: its gzip member, or its first line.
    pub offset: u64,
    /// Its bytes as stored: the gzip member's, or up to its two closing line ends. None for a record that
    /// shares a member with others and so cannot be cut out, and for one whose member is damaged.
    pub length: Option<u64>,
    /// Names as written and values, in order. Those of an ARC record have WARC's names.
    pub fields: Vec<(String, String)>,
    /// Everything after the head, Content-Length bytes or as many as there are.
    pub block: Vec<u8>,
    /// What is wrong with it and was read over; digests are checked by [`Record::check_digests`].
    pub problems: Vec<Problem>,
    pub(super) is_arc: bool,
}

/// What a record's digests turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestCheck {
    /// None where the record states no digest that can be judged.
    pub ok: Option<bool>,
    /// A wrong or unreadable digest is a problem of its record, not damage of the file.
    pub problems: Vec<Problem>,
}

impl Record {
    /// The first value of a field; names match without regard to case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        http::lookup(&self.fields, name)
    }

    /// WARC-Target-URI without angle brackets, its spaces escaped.
    #[must_use]
    pub fn uri(&self) -> Option<String> {
        let uri = self.field("WARC-Target-URI")?;
        let bare = uri.strip_prefix('<').and_then(|uri| uri.strip_suffix('>')).unwrap_or(uri);
        Some(bare.replace(' ', "%20"))
    }

    /// WARC-Date, as written.
    #[must_use]
    pub fn date(&self) -> Option<&str> {
        self.field("WARC-Date")
    }

    /// The HTTP message that the block is; none where it is none.
    ///
    /// # Errors
    /// An HTTP head longer than [`Limits::header_bytes`].
    pub fn http(&self, limits: &Limits) -> Result<Option<HttpMessage<'_>>, LimitExceeded> {
        match self.http_side() {
            Some(side) => HttpMessage::parse(&self.block, side, limits).map(Some),
            None => Ok(None),
        }
    }

    /// The body after transfer and content decoding where the block is an HTTP message, else the block.
    ///
    /// # Errors
    /// A limit of [`HttpMessage::parse`] or [`HttpMessage::payload`].
    pub fn payload(&self, limits: &Limits) -> Result<Payload<'_>, LimitExceeded> {
        match self.http(limits)? {
            Some(message) => message.payload(limits),
            None => Ok(Payload { bytes: (&self.block[..]).into(), problems: Vec::new() }),
        }
    }

    /// Compares the digests that the head states with the block and the payload as transferred.
    ///
    /// As warcio does, it judges none of a revisit, whose digests are another record's; no payload digest of a
    /// segment; none where the block is cut off; and no block digest of an empty block.
    #[must_use]
    pub fn check_digests(&self) -> DigestCheck {
        let mut check = DigestCheck { ok: None, problems: Vec::new() };
        if self.kind == RecordKind::Revisit {
            return check;
        }
        let is_whole = !self.problems.iter().any(|problem| matches!(problem, Problem::BlockCutOff { .. }));
        let is_segment = self.field("WARC-Segment-Number").is_some();
        let payload = self.field("WARC-Payload-Digest").filter(|_| !is_segment);
        for (of, stated) in [("block", self.field("WARC-Block-Digest")), ("payload", payload)] {
            let Some(stated) = stated else { continue };
            let bytes = if of == "block" { &self.block } else { self.body() };
            match digest::verify(stated, bytes) {
                Verdict::UnknownAlgorithm => {
                    check.ok = Some(false);
                    check.problems.push(Problem::UnknownDigest { of, stated: stated.to_owned() });
                }
                _ if !is_whole || (of == "block" && bytes.is_empty()) => {}
                Verdict::Right => check.ok = check.ok.or(Some(true)),
                Verdict::Wrong => {
                    check.ok = Some(false);
                    check.problems.push(Problem::WrongDigest { of, stated: stated.to_owned() });
                }
            }
        }
        check
    }

    /// The block without its HTTP head, as transferred.
    fn body(&self) -> &[u8] {
        // A head over the limit is no less a head here: nothing is allocated for it but its fields.
        let unlimited = Limits { header_bytes: u64::MAX, ..Limits::default() };
        match self.http(&unlimited) {
            Ok(Some(message)) => message.body,
            _ => &self.block,
        }
    }

    /// Whether the block is an HTTP message, and of which side: by its media type, or by its URL's scheme and
    /// its own beginning.
    fn http_side(&self) -> Option<Side> {
        let side = match self.kind {
            RecordKind::Response | RecordKind::Revisit => Side::Response,
            RecordKind::Request => Side::Request,
            _ => return None,
        };
        if self.block.is_empty() {
            return None;
        }
        let is_typed = !self.is_arc
            && self
                .field("Content-Type")
                .and_then(|value| value.split(';').next())
                .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/http"));
        let is_web = self.uri().is_some_and(|uri| uri.starts_with("http:") || uri.starts_with("https:"));
        let first_line = self.block.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let begins_so = match side {
            Side::Response => first_line.starts_with(b"HTTP/"),
            Side::Request => first_line.windows(6).any(|window| window == b" HTTP/"),
        };
        (is_typed || (is_web && begins_so)).then_some(side)
    }
}
