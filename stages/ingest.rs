//! Reads one source file and deals its documents out to the shards where the pipeline goes on with them.
//!
//! There are two classes of sources, by `kind` of the source manifest.
//!
//! *Pages* (`c4`, `jsonl`, `parquet`) have text, url and time of a page whose images are yet to be found. They become
//! `documents`, by SURT range, in key order: the text split into sentences, the time turned into the index's 14 digits
//! of UTC, the id made of url and those digits, so that two entries that mean one capture have one id.
//!
//! *Interleaved* sources (`mmc4`, `obelics`, `warc`) name the images too. They become `outlines` and `candidates`
//! right away, by a hash of the document's id, and the plan has no `locate`, `fetch` and `extract`. Such an id is made
//! of url and place (the source file's name and the line, row or record in it), since these sources hold one page
//! several times: no two documents of a source have one id.
//!
//! What is no document is rejected with its place and what is wrong with it. A source file that is cut off or damaged
//! fails the task, naming the place: no part of it is lost in silence. What each kind reads is told in its file below
//! `ingest/`. Memory is one document and the exchange's sort. O(n log n) in the documents.

mod c4;
mod documents;
mod files;
mod interleaved;
mod jsonl;
mod mmc4;
mod obelics;
mod parquet;
mod rows;
mod timestamp;
mod warc;

use serde::{Deserialize, Serialize};
use weft_core::context::Context;
use weft_core::id::{ShardId, Space};
use weft_core::reject::Unit;
use weft_core::stage::{Flow, OutsideFile, Phase, Resources, Spec, Stage, StageError, Use};
use weft_core::table::def;
use weft_core::tables::{Candidates, Documents, Outlines};
use weft_core::tally::Tally;

use self::documents::PageSink;
use self::interleaved::InterleavedSink;
pub use self::warc::Config as WarcConfig;
use crate::crawl;
use crate::formats::index::CrawlIndex;

/// The section `ingest` of a recipe. `kind` and `columns` are the source manifest's: they say what its files are, so
/// they stand with them, and become part of this section (and of every fingerprint) when the recipe is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Config {
    /// C4's JSON lines: `{text, timestamp, url}`.
    C4(NoChoice),
    /// JSON lines with these keys.
    Jsonl(TableConfig),
    /// Parquet with these columns.
    Parquet(TableConfig),
    /// MMC4's published JSON lines.
    Mmc4(NoChoice),
    /// OBELICS's published Parquet.
    Obelics(NoChoice),
    /// Web archives.
    Warc(WarcConfig),
}

/// Nothing about reading this kind is a matter of taste.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoChoice {}

/// A source whose columns have names of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// What the columns are called.
    pub columns: Columns,
}

/// Which column holds what; all others are not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The page's text.
    pub text: String,
    /// The page's url.
    pub url: String,
    /// When the page was captured. A text is an RFC 3339 time or 14 digits of UTC; a whole number counts seconds since
    /// 1970; a timestamp of Parquet has its own unit.
    pub timestamp: String,
}

impl Default for Config {
    fn default() -> Self {
        Self::C4(NoChoice::default())
    }
}

impl Config {
    fn is_interleaved(&self) -> bool {
        matches!(self, Self::Mmc4(_) | Self::Obelics(_) | Self::Warc(_))
    }
}

/// The stage, opened.
#[derive(Debug)]
pub struct Ingest {
    sources: Vec<OutsideFile>,
    reader: Reader,
}

/// How a source file is read, and where its documents go.
#[derive(Debug)]
enum Reader {
    Pages { form: PageForm, index: CrawlIndex },
    Interleaved(InterleavedForm),
}

#[derive(Debug)]
enum PageForm {
    C4,
    Jsonl(Columns),
    Parquet(Columns),
}

#[derive(Debug)]
enum InterleavedForm {
    Mmc4,
    Obelics,
    Warc(warc::Archive),
}

impl Stage for Ingest {
    const NAME: &'static str = "ingest";
    const VERSION: u32 = 1;
    type Config = Config;

    fn spec(config: &Config) -> Spec {
        let kept = |unit, table| Flow { unit, reads: None, keeps: Some(table) };
        let phase = |writes, flows| Phase { name: "", space: Space::Source, reads: vec![], writes, flows };
        if config.is_interleaved() {
            let (outlines, candidates) = (def::<Outlines>(), def::<Candidates>());
            let flows = vec![kept(Unit::Documents, outlines), kept(Unit::References, candidates)];
            return Spec { uses: vec![Use::Documents], phases: vec![phase(vec![outlines, candidates], flows)] };
        }
        let documents = def::<Documents>();
        Spec {
            // The crawl's index gives the SURT ranges.
            uses: vec![Use::Documents, Use::Crawl],
            phases: vec![phase(vec![documents], vec![kept(Unit::Documents, documents)])],
        }
    }

    fn open(config: Config, resources: &Resources) -> Result<Self, StageError> {
        let pages = |form| -> Result<Reader, StageError> {
            Ok(Reader::Pages { form, index: crawl::index(crawl::crawl(resources)?)? })
        };
        let reader = match config {
            Config::C4(_) => pages(PageForm::C4)?,
            Config::Jsonl(table) => pages(PageForm::Jsonl(table.columns))?,
            Config::Parquet(table) => pages(PageForm::Parquet(table.columns))?,
            Config::Mmc4(_) => Reader::Interleaved(InterleavedForm::Mmc4),
            Config::Obelics(_) => Reader::Interleaved(InterleavedForm::Obelics),
            Config::Warc(config) => Reader::Interleaved(InterleavedForm::Warc(warc::Archive::new(config))),
        };
        Ok(Self { sources: resources.documents.clone(), reader })
    }

    fn run(&self, shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        let source = self.source(shard)?;
        match &self.reader {
            Reader::Pages { form, index } => {
                let mut sink = PageSink::open(context, index)?;
                match form {
                    PageForm::C4 => c4::read(source, &context.limits, &mut sink)?,
                    PageForm::Jsonl(columns) => jsonl::read(source, columns, &context.limits, &mut sink)?,
                    PageForm::Parquet(columns) => parquet::read(source, columns, &context.limits, &mut sink)?,
                }
                sink.finish()
            }
            Reader::Interleaved(form) => {
                let mut sink = InterleavedSink::open(context)?;
                match form {
                    InterleavedForm::Mmc4 => mmc4::read(source, &context.limits, &mut sink)?,
                    InterleavedForm::Obelics => obelics::read(source, &context.limits, &mut sink)?,
                    InterleavedForm::Warc(archive) => archive.read(source, &context.limits, &mut sink)?,
                }
                sink.finish()
            }
        }
    }
}

impl Ingest {
    fn source(&self, shard: ShardId) -> Result<&OutsideFile, StageError> {
        let position = usize::try_from(shard.0).expect("u32 fits usize");
        self.sources.get(position).ok_or_else(|| StageError::Outside {
            what: "source file",
            place: format!("number {shard}"),
            cause: format!("the source has {} files", self.sources.len()),
            way_out: "plan the run again",
            retry: false,
        })
    }
}

#[cfg(test)]
mod tests;
