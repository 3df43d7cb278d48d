//! `weft probe page`: the image references of an HTML page.

use std::io;
use std::path::PathBuf;
use std::slice;

use clap::Args;
use serde::Serialize;
use url::Url;
use weft_core::limits::{Limits, read_capped};
use weft_stages::formats::encoding;
use weft_stages::formats::inflate::{self, Coding};
use weft_stages::formats::outside::with_causes;
use weft_stages::formats::page::{self, ExtensionRule, ImageReference};

use super::findings::{Finding, Findings};
use super::input::each_file;

/// The two bytes that every gzip member begins with (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

#[derive(Debug, Args)]
pub(super) struct PageArgs {
    /// The page, perhaps as gzip; standard input by default and for `-`
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Where the page comes from: its references are relative to it
    #[arg(long, value_name = "URL")]
    url: Url,
    /// The Content-Type that the server sent, which may name the encoding
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
}

#[derive(Serialize)]
struct PageFinding {
    encoding: String,
    base_url: Url,
    /// In document order.
    images: Vec<Image>,
}

#[derive(Serialize)]
struct Image {
    /// Absolute; as the page has it where that makes no URL, and for `data:` URLs.
    url: String,
    source: &'static str,
    /// The attributes, as the page has them.
    alt: Option<String>,
    width: Option<String>,
    height: Option<String>,
    /// `kept`, or the first test of MMC4's that the URL fails.
    rule: &'static str,
}

pub(super) fn probe(args: &PageArgs, limits: &Limits, findings: &mut Findings) -> io::Result<()> {
    each_file(slice::from_ref(&args.file), findings, |name, file, findings| {
        let bytes = match read_capped(file, "page_bytes", limits.page_bytes) {
            Ok(bytes) => bytes,
            Err(cause) => return findings.trouble(name, None, &with_causes(&cause)),
        };
        match describe(bytes, args, limits) {
            Ok(finding) => findings.give(&finding),
            Err(cause) => findings.trouble(name, None, &cause),
        }
    })
}

fn describe(mut bytes: Vec<u8>, args: &PageArgs, limits: &Limits) -> Result<PageFinding, String> {
    if bytes.starts_with(&GZIP) {
        let inflated = inflate::decode(Coding::Gzip, &bytes, "page_bytes", limits.page_bytes, limits);
        inflated.end.map_err(|cause| with_causes(&cause))?;
        bytes = inflated.bytes;
    }
    let html = encoding::decode(&bytes, args.content_type.as_deref());
    let page = page::images(&html.text, &args.url, limits, ExtensionRule::WholeUrl)
        .map_err(|exceeded| exceeded.to_string())?;
    Ok(PageFinding {
        encoding: html.encoding,
        base_url: page.base_url,
        images: page.references.into_iter().map(Image::from).collect(),
    })
}

impl From<ImageReference> for Image {
    fn from(reference: ImageReference) -> Self {
        Self {
            url: reference.url.map_or(reference.raw, String::from),
            source: reference.source.as_str(),
            alt: reference.alt,
            width: reference.width,
            height: reference.height,
            rule: reference.rule.as_str(),
        }
    }
}

impl Finding for PageFinding {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{}, base {}, {} references", self.encoding, self.base_url, self.images.len())];
        lines.extend(self.images.iter().map(|image| {
            let alt = image.alt.as_deref().map(|alt| format!("  \"{alt}\"")).unwrap_or_default();
            format!("  {:<9} {:<7} {}{alt}", image.rule, image.source, image.url)
        }));
        lines
    }
}
