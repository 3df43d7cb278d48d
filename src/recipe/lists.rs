//! Path lists: gzip files of one path a line, as crawls publish them.

use std::fs::File;
use std::path::Path;

use anyhow::Context as _;
use weft_core::limits::Limits;
use weft_stages::formats::lines::{Line, Lines};

/// Goes through the paths of a list, gzip or plain; blank lines are none.
fn each(location: &Path, mut take: impl FnMut(&[u8])) -> anyhow::Result<()> {
    let failed = || format!("failed to read {}", location.display());
    let file = File::open(location).with_context(failed)?;
    let mut lines = Lines::open(file, &Limits::default()).with_context(failed)?;
    while let Some(line) = lines.next_line().with_context(failed)? {
        let Line::Whole(path) = line else {
            anyhow::bail!("{} holds a line that is no path", location.display());
        };
        if !path.trim_ascii().is_empty() {
            take(path.trim_ascii());
        }
    }
    Ok(())
}

/// How many paths a list has.
pub(super) fn count(location: &Path) -> anyhow::Result<u64> {
    let mut paths = 0;
    each(location, |_| paths += 1)?;
    Ok(paths)
}

/// The paths of a list, in its order.
pub(super) fn paths(location: &Path) -> anyhow::Result<Vec<String>> {
    let mut paths = Vec::new();
    each(location, |path| paths.push(String::from_utf8_lossy(path).into_owned()))?;
    Ok(paths)
}
