//! What is known of a recipe's sources without asking anybody: manifests, lock files, local files and copies.
//!
//! Reads no network and pins nothing. What is not known is left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use weft_core::limits::Limits;
use weft_stages::formats::cdx::ClusterIndex;

use super::crawl::CrawlManifest;
use super::figures::{Basis, Counted, Figure};
use super::lock::Lock;
use super::source::SourceManifest;
use super::{is_remote, lists, read_file, say_what_the_source_is};
use crate::cli::RecipeArgs;

/// A count, how good it is, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) value: u64,
    /// None where it was counted.
    pub(crate) basis: Option<Basis>,
    pub(crate) from: String,
}

/// A recipe and what is known of its sources.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub(crate) name: String,
    pub(crate) until: Option<String>,
    /// Sections as typed, by stage.
    pub(crate) stages: BTreeMap<String, serde_json::Value>,
    pub(crate) source: String,
    pub(crate) source_files: u64,
    pub(crate) source_is_remote: bool,
    pub(crate) crawl: String,
    pub(crate) crawl_is_remote: bool,
    /// Requests a second that the crawl's server is asked at most.
    pub(crate) front_rate: f64,
    /// The index's summary, where it is at hand.
    pub(crate) index: Option<ClusterIndex>,
    known: BTreeMap<Counted, Known>,
}

impl Survey {
    /// Surveys a recipe whose output is, or would be, `output`; `other` is another output that may hold copies.
    pub(crate) fn read(args: &RecipeArgs, output: &Path, other: Option<&Path>) -> anyhow::Result<Self> {
        let file = read_file(&args.recipe, &args.set)?;
        let folder = args.recipe.parent().unwrap_or(Path::new(""));
        let Some(section) = &file.crawl else {
            bail!("{}: an estimate is of a recipe with a crawl, and this one names none", args.recipe.display());
        };
        let (source_path, crawl_path) = (folder.join(&file.source.manifest), folder.join(&section.manifest));
        let source = SourceManifest::read(&source_path)?;
        ensure!(
            source.kind.needs_crawl(),
            "{}: an estimate is of documents that are found in a crawl; those of kind `{}` name their images themselves",
            args.recipe.display(),
            source.kind.name()
        );
        let crawl = CrawlManifest::read(&crawl_path)?;
        let mut stages = file
            .stages
            .iter()
            .map(|(name, section)| Ok((name.clone(), serde_json::to_value(section)?)))
            .collect::<anyhow::Result<_>>()?;
        say_what_the_source_is(&mut stages, source.form(&source_path)?)
            .with_context(|| format!("recipe {} is not usable", args.recipe.display()))?;
        let names = source.named(&source_path)?;
        let mut survey = Self {
            name: file.name,
            until: file.until,
            stages,
            source: source.name.clone(),
            source_files: u64::try_from(names.len())?,
            source_is_remote: is_remote(&source.root),
            crawl: crawl.name.clone(),
            crawl_is_remote: is_remote(&crawl.root),
            front_rate: crawl.budget()?.gap.as_secs_f64().recip(),
            index: None,
            known: BTreeMap::new(),
        };
        let names: Vec<String> = names.into_iter().map(|file| file.name).collect();
        survey.source_bytes(&source, &names, &source_path, output)?;
        survey.crawl_lists(&crawl, &crawl_path, output, other)?;
        // Last: what was counted is there already, and stays.
        for figure in source.figures.iter().chain(&crawl.figures) {
            survey.figure(figure);
        }
        Ok(survey)
    }

    pub(crate) fn known(&self, of: Counted) -> Option<&Known> {
        self.known.get(&of)
    }

    fn counted(&mut self, of: Counted, value: u64, from: String) {
        self.known.entry(of).or_insert(Known { value, basis: None, from });
    }

    fn figure(&mut self, figure: &Figure) {
        let Figure { of, value, basis, from } = figure;
        self.known.entry(*of).or_insert(Known { value: *value, basis: Some(*basis), from: from.clone() });
    }

    /// The source files' sizes: local ones as they are, others where all are pinned.
    fn source_bytes(
        &mut self,
        source: &SourceManifest,
        names: &[String],
        path: &Path,
        output: &Path,
    ) -> anyhow::Result<()> {
        let (sizes, from) = if is_remote(&source.root) {
            let lock = Lock::open(path, output)?;
            let sizes: Option<Vec<u64>> = names.iter().map(|name| Some(lock.get(name)?.bytes)).collect();
            (sizes, lock.place().display().to_string())
        } else {
            let root = source.folder(path);
            let size = |name: &String| Some(root.join(name).metadata().ok()?.len());
            (names.iter().map(size).collect(), format!("the files below {}", root.display()))
        };
        if let Some(sizes) = sizes {
            self.counted(Counted::SourceBytes, sizes.iter().sum(), from);
        }
        Ok(())
    }

    /// The crawl's files and blocks: of a local crawl from its files, else from the lock and the copy of the summary.
    fn crawl_lists(
        &mut self,
        crawl: &CrawlManifest,
        path: &Path,
        output: &Path,
        other: Option<&Path>,
    ) -> anyhow::Result<()> {
        let root = crawl.root(path);
        let lock = Lock::open(path, output)?;
        if let Some(list) = &crawl.lists.warc {
            if !self.crawl_is_remote {
                let location = Path::new(&root).join(list);
                self.counted(Counted::WarcFiles, lists::count(&location)?, location.display().to_string());
            } else if let Some(entries) = lock.get(list).and_then(|pinned| pinned.entries) {
                self.counted(Counted::WarcFiles, entries, format!("{list} in {}", lock.place().display()));
            }
        }
        let Some(name) = crawl.cluster() else { return Ok(()) };
        let summary = if self.crawl_is_remote {
            let copies = [Some(output), other].into_iter().flatten();
            copies.map(|output| crate::ledger::downloaded(output, &root, &name)).find(|copy| copy.is_file())
        } else {
            Some(PathBuf::from(&root).join(&name)).filter(|summary| summary.is_file())
        };
        if let Some(summary) = summary {
            self.summary(&summary)?;
        } else if let Some(entries) = lock.get(&name).and_then(|pinned| pinned.entries) {
            self.counted(Counted::IndexBlocks, entries, format!("{name} in {}", lock.place().display()));
        }
        Ok(())
    }

    fn summary(&mut self, location: &Path) -> anyhow::Result<()> {
        let failed = || format!("failed to read the index summary {}", location.display());
        let file = std::fs::File::open(location).with_context(failed)?;
        let index = ClusterIndex::parse(std::io::BufReader::new(file), &Limits::default()).with_context(failed)?;
        let from = location.display().to_string();
        self.counted(Counted::IndexBlocks, u64::try_from(index.blocks().len())?, from.clone());
        self.counted(Counted::IndexBytes, index.blocks().iter().map(|block| block.length).sum(), from);
        self.index = Some(index);
        Ok(())
    }
}
