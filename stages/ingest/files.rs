//! Opens source files, and says what is wrong with one that cannot be read on.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};

use weft_core::limits::Limits;
use weft_core::reject::Reason;
use weft_core::stage::{OutsideFile, StageError};

use super::documents::{Refusal, refuse};
use crate::formats::lines::{Line, Lines};
use crate::formats::outside::{open_file, with_causes};
use crate::source_file::outside_cause;

/// Opens a local source file that is read at many places; others are streamed.
pub(super) fn open(source: &OutsideFile) -> Result<File, StageError> {
    open_file(&source.location).map_err(|cause| cause.into_stage_error("source file", source.place()))
}

/// The first bytes of a file, at most `count`; the file stands at its beginning again.
pub(super) fn beginning(file: &mut File, source: &OutsideFile, count: u64) -> Result<Vec<u8>, StageError> {
    let mut first = Vec::new();
    let read = file.take(count).read_to_end(&mut first).and_then(|_| file.rewind());
    read.map_err(|cause| unreadable(source, &cause))?;
    Ok(first)
}

/// A file that the machine, not its content, keeps from being read.
pub(super) fn unreadable(source: &OutsideFile, cause: &io::Error) -> StageError {
    StageError::Outside {
        what: "source file",
        place: source.place(),
        cause: with_causes(cause),
        way_out: "check the disk",
        retry: true,
    }
}

/// A file whose content breaks off or breaks its format at `at`, such as `byte 17`.
pub(super) fn damaged(source: &OutsideFile, at: impl fmt::Display, cause: String) -> StageError {
    StageError::Outside {
        what: "source file",
        place: format!("{} at {at}", source.place()),
        cause,
        way_out: "get the file again",
        retry: false,
    }
}

/// A file whose server or connection failed at `at`.
fn broken_off(source: &OutsideFile, at: &str, cause: String, retry: bool) -> StageError {
    StageError::Outside {
        what: "source file",
        place: format!("{} at {at}", source.place()),
        cause,
        way_out: "run the same command again later: finished tasks are kept",
        retry,
    }
}

/// A file that is not of the form that its manifest says.
pub(super) fn of_other_form(source: &OutsideFile, cause: String) -> StageError {
    StageError::Outside {
        what: "source file",
        place: source.place(),
        cause,
        way_out: "mend `kind` or `columns` in the source manifest",
        retry: false,
    }
}

/// Gives each line of `file`, gzip or plain, with its number from 1.
///
/// `at` is put before the byte where reading fails: the member of an archive, or nothing.
pub(super) fn each_line(
    file: impl Read,
    source: &OutsideFile,
    at: &str,
    limits: &Limits,
    mut each: impl FnMut(u64, &Line<'_>) -> Result<(), StageError>,
) -> Result<(), StageError> {
    let mut lines = Lines::open(file, limits).map_err(|cause| unreadable(source, &cause))?;
    for number in 1_u64.. {
        let line = lines.next_line().map_err(|cause| {
            let words = format!("after {} whole lines: {}", number - 1, with_causes(&cause));
            let place = format!("{at}byte {}", cause.offset);
            match outside_cause(&cause) {
                Some(outside) => {
                    outside.interruption().unwrap_or_else(|| broken_off(source, &place, words, outside.is_retryable()))
                }
                None => damaged(source, place, words),
            }
        })?;
        let Some(line) = line else { break };
        each(number, &line)?;
    }
    Ok(())
}

/// The line's text, where it is not too long and is text.
pub(super) fn text_of<'a>(line: &Line<'a>, limits: &Limits) -> Result<&'a str, Refusal> {
    let bytes = match line {
        Line::Whole(bytes) => *bytes,
        Line::TooLong { bytes } => {
            return refuse(Reason::LineTooLong, format!("{bytes} bytes; line_bytes is {}", limits.line_bytes));
        }
    };
    std::str::from_utf8(bytes).map_err(|cause| Refusal {
        reason: Reason::NotUtf8,
        evidence: cause.to_string(),
        document_id: String::new(),
    })
}

/// A JSON parser's words about one line: it counts lines too, and always the first.
pub(super) fn json_words(cause: &serde_json::Error) -> String {
    crate::evidence::clipped(&cause.to_string().replace(" at line 1 ", " at "))
}

/// A source file's name without the endings that only say how it is packed: `docs_shard_0_v2.jsonl`, be it zipped or
/// not, so that a document's id does not depend on it.
pub(super) fn plain_name(source: &OutsideFile) -> &str {
    let name = source.name.as_str();
    name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zip")).unwrap_or(name)
}
