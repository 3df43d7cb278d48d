//! Opens the crawl that a run's resources name: its root and the summary of its index.

use std::io::BufReader;

use weft_core::limits::Limits;
use weft_core::stage::{Crawl, Resources, StageError};

use crate::formats::index::CrawlIndex;
use crate::formats::outside::{OutsideRoot, open_file, with_causes};

/// The crawl of `resources`.
///
/// # Errors
/// [`StageError::Outside`] where there is none.
pub fn crawl(resources: &Resources) -> Result<&Crawl, StageError> {
    resources.crawl.as_ref().ok_or_else(|| StageError::Outside {
        what: "crawl",
        place: String::new(),
        cause: "the recipe's source names none".to_owned(),
        way_out: "name a crawl in the source manifest",
        retry: false,
    })
}

/// The root that the crawl's file names are below.
///
/// # Errors
/// [`StageError::Outside`] where it is no folder and no URL.
pub fn root(crawl: &Crawl, resources: &Resources) -> Result<OutsideRoot, StageError> {
    OutsideRoot::open_within(&crawl.root, &resources.user_agent, &resources.front)
        .map_err(|cause| cause.into_stage_error("crawl", crawl.name.clone()))
}

/// The crawl's index by its summary: about a million blocks, 0.1 GB, for a ZipNum index of Common Crawl, a few
/// thousand row groups for a columnar one.
///
/// # Errors
/// [`StageError::Outside`] where it is missing, damaged or empty.
pub fn index(crawl: &Crawl) -> Result<CrawlIndex, StageError> {
    let location = &crawl.cluster.location;
    let place = || location.display().to_string();
    let damaged = |cause: String| StageError::Outside {
        what: "index summary",
        place: place(),
        cause,
        way_out: "get the crawl's cluster.idx, or make the summary of its table, again",
        retry: false,
    };
    let file = open_file(location).map_err(|cause| cause.into_stage_error("index summary", place()))?;
    // No task's limits are known yet; a line of a summary holds one urlkey.
    let index = CrawlIndex::parse(BufReader::new(file), &crawl.index, &Limits::default());
    let index = index.map_err(|cause| damaged(with_causes(&cause)))?;
    if index.blocks() == 0 {
        return Err(damaged("it names no block".to_owned()));
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use weft_core::stage::OutsideFile;

    use super::*;

    fn crawl_with(summary: &[u8]) -> (tempfile::TempDir, Crawl) {
        let folder = tempfile::tempdir().unwrap();
        let location = folder.path().join("cluster.idx");
        let file = std::fs::File::options().write(true).create_new(true).open(&location);
        file.unwrap().write_all(summary).unwrap();
        let cluster = OutsideFile { name: String::new(), location, digest: String::new(), bytes: 0 };
        let crawl = Crawl { name: "test".to_owned(), root: String::new(), index: String::new(), cluster };
        (folder, crawl)
    }

    #[test]
    fn a_summary_that_is_no_use_is_named_with_a_way_out() {
        let line = "b 20190418000000\tcdx-00000.gz\t0\t1\n";
        let (_folder, crawl) = crawl_with(line.as_bytes());
        assert_eq!(index(&crawl).unwrap().blocks(), 1);
        for (summary, cause) in [
            (String::new(), "it names no block"),
            (format!("{line}{}", line.replace('b', "a")), "line 2 is out of order"),
            ("not a summary".to_owned(), "bad line 1"),
        ] {
            let (folder, crawl) = crawl_with(summary.as_bytes());
            let message = index(&crawl).unwrap_err().to_string();
            assert!(message.contains(cause) && message.contains("get the crawl's cluster.idx"), "{message}");
            assert!(message.contains(&folder.path().display().to_string()), "{message}");
        }
        let (folder, crawl) = crawl_with(b"");
        drop(folder);
        assert!(index(&crawl).unwrap_err().to_string().contains("is not there"));
    }
}
