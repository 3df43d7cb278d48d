//! Rejects: rows not kept, each with a reason and its evidence.
//!
//! A reject is the row's own fault and is data, not an error. Reasons are one enum for the whole pipeline, so
//! that a funnel, a query and the documentation speak of the same things.

use std::borrow::Cow;

/// What a stage counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Entries of a source: lines, rows or records.
    Documents,
    /// Located documents, before their record is read.
    Captures,
    /// Documents with their HTML.
    Pages,
    /// Image references of a page, before any rule.
    References,
    /// References that passed the URL rules.
    Candidates,
    /// Downloaded images.
    Images,
}

impl Unit {
    /// The unit's plural noun.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::Captures => "captures",
            Self::Pages => "pages",
            Self::References => "references",
            Self::Candidates => "candidates",
            Self::Images => "images",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a row was not kept.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
            /// The capture or the image answered with this HTTP status instead of 200.
            Status(u16),
        }

        impl Reason {
            /// The name that tables, funnels and documentation use.
            #[must_use]
            pub fn name(self) -> Cow<'static, str> {
                match self {
                    $(Self::$variant => Cow::Borrowed($name),)*
                    Self::Status(status) => Cow::Owned(format!("status_{status}")),
                }
            }

            /// Every reason with a fixed name, for documentation and tests.
            #[must_use]
            pub fn all() -> &'static [(&'static str, Self)] {
                &[$(($name, Self::$variant),)*]
            }
        }
    };
}

reasons! {
    // ingest
    /// A source line that is no JSON object of the expected form.
    BadLine = "bad_line",
    /// A source line longer than the limit.
    LineTooLong = "line_too_long",
    /// A source line that is not UTF-8.
    NotUtf8 = "not_utf8",
    /// A document whose text is empty or blank.
    NoText = "no_text",
    /// A document whose url has no urlkey.
    BadUrl = "bad_url",
    /// A document whose timestamp is no time.
    BadTimestamp = "bad_timestamp",
    /// A row of a source table that lacks a value which every document has.
    NullField = "null_field",
    /// A row of a source table that is not of the expected form.
    BadRow = "bad_row",
    // locate
    /// A second entry of the same url and timestamp.
    DuplicateDocument = "duplicate_document",
    /// The crawl's index has no line of this urlkey.
    UrlNotInIndex = "url_not_in_index",
    /// The index has this url, but not at this time.
    TimestampNotInIndex = "timestamp_not_in_index",
    /// The index has the urlkey, but only for other urls.
    SameUrlkeyOtherUrl = "same_urlkey_other_url",
    /// More than one capture fits.
    AmbiguousCapture = "ambiguous_capture",
    /// The capture is no response to a request: a revisit, a resource, a name look-up.
    NotAResponse = "not_a_response",
    /// A block of the index that may hold the urlkey is damaged or not there.
    IndexBlockDamaged = "index_block_damaged",
    // fetch
    /// The index names a WARC file that is not there.
    WarcMissing = "warc_missing",
    /// The server sends something else than the byte range.
    RangeRefused = "range_refused",
    /// The byte range holds no readable record.
    RecordDamaged = "record_damaged",
    /// The record at the offset is of another url.
    RecordOfOtherUrl = "record_of_other_url",
    /// The record's bytes do not match the index's digest.
    DigestMismatch = "digest_mismatch",
    /// The record, its inflated block or its decoded body is larger than the limit.
    PageTooLarge = "page_too_large",
    /// The body could not be de-chunked or decompressed.
    BodyDamaged = "body_damaged",
    // extract
    /// The record is no HTML page.
    NotHtml = "not_html",
    /// The page names no image at all.
    NoImage = "no_image",
    /// The page names images, but none that passes the URL rules.
    NoCandidate = "no_candidate",
    /// The URL does not end in an admitted extension.
    Extension = "extension",
    /// The URL holds one of the excluded words.
    Keyword = "keyword",
    /// The reference is neither http nor https.
    Scheme = "scheme",
    /// The reference is no URL.
    NotAUrl = "not_a_url",
    /// The page names this URL before.
    RepeatedUrl = "repeated_url",
    // download
    /// The archive holds no capture of the URL.
    NotInArchive = "not_in_archive",
    /// A redirect leads to a URL that the archive does not hold.
    RedirectTargetNotInArchive = "redirect_target_not_in_archive",
    /// More redirects than the limit, or a loop.
    TooManyRedirects = "too_many_redirects",
    /// A redirect without a usable target.
    BadRedirect = "bad_redirect",
    /// The image is larger than the limit in bytes.
    ImageTooLarge = "image_too_large",
    /// No bytes at all.
    EmptyBody = "empty_body",
    /// The header promises more pixels than the limit.
    TooManyPixels = "too_many_pixels",
    /// No decoder makes a picture of the bytes.
    NotDecodable = "not_decodable",
    /// The connection could not be made or broke.
    ConnectFailed = "connect_failed",
    /// The deadline passed.
    TimedOut = "timed_out",
    /// The address is private, loopback or otherwise not for crawling.
    AddressForbidden = "address_forbidden",
    /// The site asks not to be used for this purpose.
    OptedOut = "opted_out",
    // measure
    /// Outside the recipe's floor: too small or too long to be worth measuring.
    BelowFloor = "below_floor",
    /// A graph gave no usable embedding.
    NotMeasurable = "not_measurable",
    // select
    /// A side is shorter than the threshold.
    TooSmall = "too_small",
    /// The aspect ratio is outside the thresholds.
    BadAspect = "bad_aspect",
    /// A near copy of another image of the document that is kept.
    Duplicate = "duplicate",
    /// Its perceptual hash occurs in too many images of the corpus.
    Frequent = "frequent",
    /// The flagged-content score is above the threshold.
    Nsfw = "nsfw",
    /// The advertisement score is above the threshold.
    Ad = "ad",
    /// The face score is above the threshold.
    Face = "face",
    /// No sentence is similar enough.
    LowSimilarity = "low_similarity",
    // assign
    /// The document has no selected image.
    NoImageSelected = "no_image_selected",
    /// Fewer sentences than the threshold.
    TooFewSentences = "too_few_sentences",
    /// More sentences than the threshold.
    TooManySentences = "too_many_sentences",
    /// Fewer selected images than the threshold.
    TooFewImages = "too_few_images",
    /// More selected images than the threshold.
    TooManyImages = "too_many_images",
    /// Too small a share of its assignments is similar enough.
    LowShare = "low_share",
    /// The image's document was rejected.
    DocumentRejected = "document_rejected",
}

/// One row not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject<'a> {
    /// What is counted.
    pub unit: Unit,
    /// The document; empty where a line has none yet.
    pub document_id: &'a str,
    /// The image's URL, where the row is about one.
    pub image_url: Option<&'a str>,
    /// Why.
    pub reason: Reason,
    /// What was seen, in a form that a person can check: a value and its threshold, a status, an offset.
    pub evidence: String,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn reason_names_are_unique_snake_case() {
        let names: BTreeSet<_> = Reason::all().iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), Reason::all().len());
        assert!(
            names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        );
        assert_eq!(Reason::Status(404).name(), "status_404");
    }
}
