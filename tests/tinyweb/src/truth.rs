//! Says what is true of a made web: which documents can be located, and what each picture is.

use serde::{Deserialize, Serialize};

/// All that is known of a web; `truth.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// Every line of the document files that is a document, by file and line.
    pub documents: Vec<DocumentTruth>,
    /// Every line that is none.
    pub bad_lines: Vec<BadLine>,
}

/// One document, and the page that it was taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentTruth {
    /// Document file, from 0.
    pub file: u32,
    /// Line in that file, from 0.
    pub line: u32,
    pub url: String,
    pub timestamp: String,
    /// What is particular about it.
    pub trick: Trick,
    pub locate: Locate,
    /// What reading its page gives; null where no page is located.
    pub page: Option<PageTruth>,
    /// Its sentences; `text` of the document is these with spaces and line ends between.
    pub sentences: Vec<String>,
    /// Its pictures, in the page's order; empty where the page cannot be had.
    pub images: Vec<ImageTruth>,
}

/// What is particular about a page, its capture or its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trick {
    Plain,
    BaseHref,
    /// Named by the HTTP head alone.
    Windows1252,
    /// Named by `<meta charset>`.
    ShiftJis,
    /// Named by `<meta http-equiv>`.
    Gbk,
    Gzip,
    Chunked,
    Brotli,
    /// Content-encoded when crawled, stored decoded, with `X-Crawl-Content-Encoding`.
    CrawlDecoded,
    WrongDigest,
    /// A gzip body that inflates to 200 MiB.
    Bomb,
    /// The page's capture is a 301.
    Redirected,
    NotInIndex,
    /// The document's timestamp is a second late.
    SecondOff,
    /// The document has http for https, or the reverse.
    OtherUrl,
    NoImage,
    EmptyText,
    /// The document stands in the files twice.
    TwiceListed,
    /// The URL was captured so often that its lines lie in two blocks of the index.
    ManyCaptures,
    Lazy,
    Srcset,
    Noscript,
    Query,
    Image404,
    ImageMissing,
    ImageRedirect,
    ImageLoop,
    ImageTruncated,
    ImageHtml,
    ImageHuge,
    ImageEmpty,
    Duplicates,
    /// A banner and a box.
    Ads,
    Face,
    Flagged,
    /// Six pictures and four sentences.
    Surplus,
    /// `<meta name="robots" content="noai, noimageai">`.
    NoAiPage,
    /// `X-Robots-Tag: noai, noimageai` on the first picture.
    NoAiImage,
}

impl Trick {
    /// All but `Plain`.
    pub const ALL: [Self; 37] = [
        Self::BaseHref,
        Self::Windows1252,
        Self::ShiftJis,
        Self::Gbk,
        Self::Gzip,
        Self::Chunked,
        Self::Brotli,
        Self::CrawlDecoded,
        Self::WrongDigest,
        Self::Bomb,
        Self::Redirected,
        Self::NotInIndex,
        Self::SecondOff,
        Self::OtherUrl,
        Self::NoImage,
        Self::EmptyText,
        Self::TwiceListed,
        Self::ManyCaptures,
        Self::Lazy,
        Self::Srcset,
        Self::Noscript,
        Self::Query,
        Self::Image404,
        Self::ImageMissing,
        Self::ImageRedirect,
        Self::ImageLoop,
        Self::ImageTruncated,
        Self::ImageHtml,
        Self::ImageHuge,
        Self::ImageEmpty,
        Self::Duplicates,
        Self::Ads,
        Self::Face,
        Self::Flagged,
        Self::Surplus,
        Self::NoAiPage,
        Self::NoAiImage,
    ];

    /// What becomes of the page's first picture, if the trick breaks it.
    pub(crate) fn broken_kind(self) -> Option<Kind> {
        match self {
            Self::Image404 => Some(Kind::Broken404),
            Self::ImageMissing => Some(Kind::BrokenMissing),
            Self::ImageLoop => Some(Kind::BrokenRedirectLoop),
            Self::ImageTruncated => Some(Kind::BrokenTruncated),
            Self::ImageHtml => Some(Kind::BrokenHtml),
            Self::ImageHuge => Some(Kind::BrokenHuge),
            Self::ImageEmpty => Some(Kind::BrokenEmpty),
            _ => None,
        }
    }

    /// How the page refers to its first picture, if the trick lies in that.
    pub(crate) fn reference(self) -> Option<Reference> {
        match self {
            Self::BaseHref => Some(Reference::Base),
            Self::Lazy => Some(Reference::Lazy),
            Self::Noscript => Some(Reference::Noscript),
            Self::Query => Some(Reference::Query),
            Self::ImageRedirect => Some(Reference::Redirect),
            _ => None,
        }
    }

    /// What a strict locator does with the document.
    pub(crate) fn locate(self) -> Locate {
        match self {
            Self::Redirected => Locate::Status301,
            Self::NotInIndex => Locate::UrlNotInIndex,
            Self::SecondOff => Locate::TimestampNotInIndex,
            Self::OtherUrl => Locate::SameUrlkeyOtherUrl,
            _ => Locate::Located,
        }
    }

    /// What the page's record gives, where it is located.
    pub(crate) fn page(self) -> Option<PageTruth> {
        match self {
            _ if self.locate() != Locate::Located => None,
            Self::WrongDigest => Some(PageTruth::DigestMismatch),
            Self::Bomb => Some(PageTruth::TooLarge),
            _ => Some(PageTruth::Read),
        }
    }
}

/// What a strict locator (equal URL, equal second, status 200) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Locate {
    Located,
    /// The same url and timestamp came before; both can be located.
    Repeated,
    UrlNotInIndex,
    TimestampNotInIndex,
    SameUrlkeyOtherUrl,
    #[serde(rename = "status_301")]
    Status301,
}

/// What a located page's record gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageTruth {
    Read,
    /// The record's payload digest, and the index's, are not those of the payload.
    DigestMismatch,
    /// The body inflates to 200 MiB.
    TooLarge,
}

/// One picture of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageTruth {
    /// Absolute, as the page names it.
    pub url: String,
    pub kind: Kind,
    pub by: Reference,
    /// The sentence it illustrates, from 0: of content, portraits, and what would be content were it not broken.
    pub sentence: Option<u32>,
    pub alt: String,
    /// Sides of what the URL leads to, if that can be decoded.
    pub width_px: Option<u32>,
    pub height_px: Option<u32>,
}

/// What a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Content,
    Ad,
    Face,
    Flagged,
    /// On all pages of its host; of a size that passes.
    Furniture,
    /// Too small.
    Icon,
    /// Named by a keyword of the URL rule.
    Logo,
    /// Of an earlier picture of the page: encoded again, resized, or larger by srcset.
    Duplicate,
    #[serde(rename = "broken_404")]
    Broken404,
    /// In neither the index nor the WARC files; it is served live.
    BrokenMissing,
    BrokenRedirectLoop,
    BrokenTruncated,
    BrokenHtml,
    /// A PNG whose head claims 100,000 × 100,000 pixels.
    BrokenHuge,
    BrokenEmpty,
}

/// How a page refers to a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    Src,
    /// `src`, relative to the page's `<base href>`.
    Base,
    /// `src` with a query string behind the extension.
    Query,
    Srcset,
    /// `data-src`; `src` is an icon.
    Lazy,
    Noscript,
    /// `src`, whose capture is a 301 to an archived picture.
    Redirect,
}

/// A line of a document file that is no document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BadLine {
    pub file: u32,
    pub line: u32,
    pub why: String,
}
