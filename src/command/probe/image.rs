//! `weft probe image`: size and hash of images, or why they are refused.

use std::io::{self, Read};
use std::path::PathBuf;

use serde::Serialize;
use weft_core::limits::Limits;
use weft_models::decode::{self, Format};
use weft_models::phash::phash;
use weft_stages::formats::outside::with_causes;

use super::findings::{Finding, Findings, or_dash};
use super::input::each_file;

#[derive(Serialize)]
struct ImageFinding<'a> {
    file: &'a str,
    /// By the first bytes; null where they are of no known format.
    format: Option<Format>,
    /// In pixels; of a refused image as its header says, if that can be read.
    width: Option<u32>,
    height: Option<u32>,
    /// 16 hex digits; null where refused.
    phash: Option<String>,
    verdict: Verdict,
    /// The name and the words of a refusal.
    reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Refused,
}

pub(super) fn probe(files: &[PathBuf], limits: &Limits, findings: &mut Findings) -> io::Result<()> {
    each_file(files, findings, |name, file, findings| {
        // One byte more than the limit is enough to see that it is exceeded: then the decoder refuses the file.
        let mut bytes = Vec::new();
        match file.take(limits.image_bytes.saturating_add(1)).read_to_end(&mut bytes) {
            Ok(_) => findings.give(&describe(name, &bytes, limits)),
            Err(cause) => findings.trouble(name, None, &with_causes(&cause)),
        }
    })
}

fn describe<'a>(file: &'a str, bytes: &[u8], limits: &Limits) -> ImageFinding<'a> {
    match decode::decode(bytes, limits) {
        Ok(image) => ImageFinding {
            file,
            format: Some(image.format),
            width: Some(image.rgb.width_px()),
            height: Some(image.rgb.height_px()),
            phash: Some(phash(&image.rgb).to_string()),
            verdict: Verdict::Ok,
            reason: None,
        },
        Err(cause) => {
            let header = decode::probe(bytes).ok();
            ImageFinding {
                file,
                format: Format::of(bytes),
                width: header.map(|header| header.width_px),
                height: header.map(|header| header.height_px),
                phash: None,
                verdict: Verdict::Refused,
                reason: Some(format!("{}: {cause}", cause.name())),
            }
        }
    }
}

impl Finding for ImageFinding<'_> {
    fn lines(&self) -> Vec<String> {
        let outcome = match (&self.phash, &self.reason) {
            (Some(phash), _) => format!("phash {phash}"),
            (None, reason) => format!("refused, {}", or_dash(reason.as_ref())),
        };
        vec![format!(
            "{}: {} {} x {} px, {outcome}",
            self.file,
            or_dash(self.format.as_ref()),
            or_dash(self.width.as_ref()),
            or_dash(self.height.as_ref()),
        )]
    }
}
