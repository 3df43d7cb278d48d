//! MMC4 as it was published: JSON lines, plain, gzip or in a zip archive, told by the file's first bytes.
//!
//! Of a line, `text_list` gives the sentences, as they are; `image_info[].raw_url` the candidates, in the file's order;
//! `url` the document. All else is measurement or verdict of the old pipeline (`similarity_matrix`,
//! `matched_text_index`, `face_detections`, ...): it is not looked at, since the pictures behind the URLs are not those
//! of 2022, and the features are lost. MMC4 states no time, so these documents have none.
//!
//! A line that is no such document is rejected with the file's name and its number. Every member of an archive is read,
//! in the archive's order. Memory is one line ([`Limits::line_bytes`]); the similarities of 100 images and 1,000
//! sentences take 2 MB of it.

use std::borrow::Cow;

use serde::Deserialize;
use weft_core::limits::Limits;
use weft_core::reject::Reason;
use weft_core::stage::{OutsideFile, StageError};

use super::documents::{Refusal, refuse};
use super::files::{beginning, damaged, each_line, json_words, open, plain_name, text_of};
use super::interleaved::{Draft, DraftImage, InterleavedSink, Origin, Place};
use crate::formats::lines::Line;
use crate::formats::outside::with_causes;
use crate::formats::zip::{MAGIC, Zip};

/// A line as MMC4 has it.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    text_list: Vec<Text<'a>>,
    #[serde(borrow)]
    image_info: Vec<ImageInfo<'a>>,
}

/// A string, borrowed from the line where it holds no escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct ImageInfo<'a> {
    #[serde(borrow)]
    raw_url: Cow<'a, str>,
}

pub(super) fn read(source: &OutsideFile, limits: &Limits, sink: &mut InterleavedSink<'_>) -> Result<(), StageError> {
    let mut file = open(source)?;
    let magic_bytes = u64::try_from(MAGIC.len()).expect("usize fits u64");
    if beginning(&mut file, source, magic_bytes)? != MAGIC {
        return read_lines(file, source, "", plain_name(source), limits, sink);
    }
    let mut zip = Zip::open(file, limits).map_err(|cause| damaged(source, "its directory", with_causes(&cause)))?;
    let members = zip.members();
    for index in 0..members {
        let member =
            zip.member(index).map_err(|cause| damaged(source, format_args!("member {index}"), with_causes(&cause)))?;
        let Some(member) = member else { continue };
        // MMC4's archives have one member each, whose name adds nothing. No two members have one name.
        let name = match members {
            1 => plain_name(source).to_owned(),
            _ => format!("{}!{}", plain_name(source), member.name()),
        };
        let at = format!("member `{}`, ", member.name());
        read_lines(member, source, &at, &name, limits, sink)?;
    }
    Ok(())
}

fn read_lines(
    file: impl std::io::Read,
    source: &OutsideFile,
    at: &str,
    name: &str,
    limits: &Limits,
    sink: &mut InterleavedSink<'_>,
) -> Result<(), StageError> {
    each_line(file, source, at, limits, |number, line| {
        sink.read(line.bytes())?;
        let place = Place { file: name, unit: "line", number, byte: None };
        match entry_of(line, limits) {
            Ok(entry) => sink.take(Ok(entry.draft()), place),
            Err(refusal) => sink.take(Err(refusal), place),
        }
    })
}

fn entry_of<'a>(line: &Line<'a>, limits: &Limits) -> Result<Entry<'a>, Refusal> {
    match serde_json::from_str(text_of(line, limits)?) {
        Ok(entry) => Ok(entry),
        Err(cause) => refuse(Reason::BadLine, json_words(&cause)),
    }
}

impl Entry<'_> {
    fn draft(&self) -> Draft<'_> {
        let images = self.image_info.iter();
        let image_of = images.map(|info| DraftImage { url: &info.raw_url, alt: None, follows_sentence: None });
        Draft {
            url: &self.url,
            origin: Origin::default(),
            sentences: self.text_list.iter().map(|text| &*text.0).collect(),
            images: image_of.collect(),
        }
    }
}
