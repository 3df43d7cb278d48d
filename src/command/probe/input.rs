//! Opens what a probe reads: files, or standard input under the name `-`, whole or line by line.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use weft_core::limits::Limits;
use weft_stages::formats::lines::{Line, Lines};
use weft_stages::formats::outside::{OutsideError, open_file, with_causes};

use super::findings::{Finding, Findings};

/// Opens a file, or standard input for `-`.
pub(super) fn open(file: &Path) -> Result<Box<dyn Read>, OutsideError> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(open_file(file)?))
}

/// Calls `of` with each file's name and bytes; one that cannot be opened is a trouble, and the rest goes on.
pub(super) fn each_file(
    files: &[PathBuf],
    findings: &mut Findings,
    mut of: impl FnMut(&str, Box<dyn Read>, &mut Findings) -> io::Result<()>,
) -> io::Result<()> {
    let stdin = [PathBuf::from("-")];
    for file in if files.is_empty() { &stdin[..] } else { files } {
        let name = file.display().to_string();
        match open(file) {
            Ok(bytes) => of(&name, bytes, findings)?,
            Err(cause) => findings.trouble(&name, None, &with_causes(&cause))?,
        }
    }
    Ok(())
}

/// Gives what `of` finds in each line that is not blank; its error is a trouble of the line, and the rest goes on.
pub(super) fn each_line<F: Finding>(
    files: &[PathBuf],
    limits: &Limits,
    findings: &mut Findings,
    mut of: impl FnMut(&str) -> Result<F, String>,
) -> io::Result<()> {
    each_file(files, findings, |name, file, findings| {
        let mut lines = match Lines::open(file, limits) {
            Ok(lines) => lines,
            Err(cause) => return findings.trouble(name, None, &with_causes(&cause)),
        };
        for line_number in 1.. {
            let found = match lines.next_line() {
                Ok(None) => break,
                Ok(Some(Line::TooLong { bytes })) => {
                    Err(format!("{bytes} bytes, more than the limit of {}", limits.line_bytes))
                }
                Ok(Some(Line::Whole(line))) => match std::str::from_utf8(line.trim_ascii()) {
                    Ok("") => continue,
                    Ok(line) => of(line),
                    Err(cause) => Err(cause.to_string()),
                },
                Err(cause) => return findings.trouble(name, Some(line_number), &with_causes(&cause)),
            };
            match found {
                Ok(finding) => findings.give(&finding)?,
                Err(cause) => findings.trouble(name, Some(line_number), &cause)?,
            }
        }
        Ok(())
    })
}
