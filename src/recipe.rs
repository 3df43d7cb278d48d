//! Recipes: what to build. A [`RecipeFile`] is what somebody typed; a [`Recipe`] is checked and resolved.
//!
//! What alters the data stands in the recipe; what alters the machine (threads, folders) is a flag. Every path in a
//! recipe or manifest is relative to the file that names it.

mod crawl;
pub(crate) mod figures;
mod front;
mod lists;
mod lock;
mod source;
pub(crate) mod survey;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use weft_core::front::FrontBudget;
use weft_core::id::ShardCounts;
use weft_core::limits::Limits;
use weft_core::stage::{Graphs, OutsideFile, Resources};
use weft_stages::formats::outside::is_remote;

use self::lock::Lock;
use crate::ledger::DigestCache;

/// A recipe as typed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    name: String,
    #[serde(default = "default_seed")]
    seed: u64,
    /// The last stage to run; all by default.
    #[serde(default)]
    until: Option<String>,
    source: SourceSection,
    /// Where pages are found; an interleaved source has no need of it.
    #[serde(default)]
    crawl: Option<CrawlSection>,
    shards: ShardCounts,
    #[serde(default)]
    limits: Limits,
    /// Cards by role: `clip`, `nsfw`, `ad`, `face`.
    #[serde(default)]
    graphs: BTreeMap<String, GraphSection>,
    #[serde(default)]
    numerics: Numerics,
    /// Product, version and contact, as a site's owner sees us.
    #[serde(default)]
    contact: Option<String>,
    #[serde(default)]
    stages: BTreeMap<String, toml::Table>,
}

fn default_seed() -> u64 {
    1
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceSection {
    manifest: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CrawlSection {
    manifest: PathBuf,
}

/// One role's graphs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GraphSection {
    card: PathBuf,
    /// Where the card's files lie.
    folder: PathBuf,
}

/// Which arithmetic the measurements come from; part of every measurement's identity.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numerics {
    #[serde(default)]
    engine: EngineChoice,
}

/// Which engine computes the graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EngineChoice {
    /// ONNX Runtime where its library is found, else the embedded tract.
    #[default]
    Auto,
    /// ONNX Runtime or nothing.
    OnnxRuntime,
    /// The embedded engine.
    Tract,
}

/// A recipe checked, its outside world resolved.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) until: Option<String>,
    pub(crate) shards: ShardCounts,
    pub(crate) limits: Limits,
    pub(crate) engine: EngineChoice,
    pub(crate) resources: Resources,
    /// What the source manifest's addresses held at first use.
    pub(crate) source_lock: Lock,
    /// Sections by stage: as typed, with what the manifests say of them.
    pub(crate) stages: BTreeMap<String, serde_json::Value>,
}

/// The recipe's name, and its default output, without resolving anything else.
pub(crate) fn output_folder(args: &crate::cli::RecipeArgs) -> anyhow::Result<(String, PathBuf)> {
    let file = read_file(&args.recipe, &args.set)?;
    let output = args.output.clone().unwrap_or_else(|| Path::new("out").join(&file.name));
    Ok((file.name, output))
}

/// Reads, checks and resolves a recipe.
pub(crate) fn read(path: &Path, set: &[String], digests: &mut DigestCache) -> anyhow::Result<Recipe> {
    let file = read_file(path, set)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let place = || format!("recipe {}", path.display());

    let contact = file.contact.map(|contact| format!(" (+{contact})")).unwrap_or_default();
    let user_agent = format!("weft/{}{contact}", env!("CARGO_PKG_VERSION"));
    let source_manifest = folder.join(&file.source.manifest);
    let mut source_lock = Lock::open(&source_manifest, digests.output())?;
    let source = source::read(&source_manifest, &user_agent, digests, &mut source_lock);
    // What was learned before a failure need not be asked again.
    source_lock.save()?;
    let source = source?;
    ensure!(
        file.crawl.is_some() || !source.kind.needs_crawl(),
        "{}: documents of kind `{}` are found in a crawl, and the recipe names none; add [crawl] with its `manifest`",
        place(),
        source.kind.name()
    );
    let (crawl, front) = match &file.crawl {
        Some(section) => {
            let manifest = folder.join(&section.manifest);
            let mut lock = Lock::open(&manifest, digests.output())?;
            let read = crawl::read(&manifest, &user_agent, digests, &mut lock);
            lock.save()?;
            let (crawl, front) = read?;
            (Some(crawl), front)
        }
        None => (None, FrontBudget::default()),
    };

    let mut graphs = BTreeMap::new();
    for (role, section) in &file.graphs {
        let resolved = read_graphs(&folder.join(&section.card), &folder.join(&section.folder), digests)
            .with_context(|| format!("{}: graphs.{role} is not usable", place()))?;
        graphs.insert(role.clone(), resolved);
    }

    let mut shards = file.shards;
    shards.source = u32::try_from(source.documents.len()).context("too many source files")?;
    for (space, count) in [("corpus", shards.corpus), ("crawl", shards.crawl), ("key", shards.key)] {
        ensure!((1..=65_536).contains(&count), "{}: shards.{space} is {count}; it lies in 1 to 65536", place());
    }

    let mut stages = file
        .stages
        .iter()
        .map(|(name, section)| Ok((name.clone(), serde_json::to_value(section)?)))
        .collect::<anyhow::Result<_>>()?;
    say_what_the_source_is(&mut stages, source.form).with_context(|| format!("{} is not usable", place()))?;
    if crawl.is_none() {
        download_without_archive(&mut stages).with_context(|| format!("{} is not usable", place()))?;
    }
    let known_sha256 = source_lock.known_sha256();
    Ok(Recipe {
        name: file.name,
        seed: file.seed,
        until: file.until,
        shards,
        limits: file.limits,
        engine: file.numerics.engine,
        resources: Resources {
            documents: source.documents,
            known_sha256,
            crawl,
            graphs,
            engine: None,
            user_agent,
            front,
        },
        source_lock,
        stages,
    })
}

/// Sections as typed, by stage.
type Sections = BTreeMap<String, serde_json::Value>;

fn section<'a>(stages: &'a mut Sections, name: &str) -> &'a mut serde_json::Map<String, serde_json::Value> {
    let section = stages.entry(name.to_owned()).or_insert_with(|| serde_json::Value::Object(Default::default()));
    section.as_object_mut().expect("a section is a table")
}

/// Puts the source manifest's share into the section `ingest`.
///
/// It is in the section and not beside it so that whoever plans, fingerprints and opens the stage needs no other thing:
/// a spec is a function of its section.
fn say_what_the_source_is(
    stages: &mut Sections,
    form: serde_json::Map<String, serde_json::Value>,
) -> anyhow::Result<()> {
    let ingest = section(stages, "ingest");
    for key in ["kind", "columns"] {
        ensure!(!ingest.contains_key(key), "stages.ingest.{key} is said by the source manifest; say it there");
    }
    ingest.extend(form);
    Ok(())
}

/// Without a crawl there is no archive: images come from the web.
fn download_without_archive(stages: &mut Sections) -> anyhow::Result<()> {
    let from = section(stages, "download").entry("from").or_insert_with(|| serde_json::json!(["web"]));
    let names_archive = from.as_array().is_some_and(|origins| origins.iter().any(|origin| origin == "archive"));
    ensure!(
        !names_archive,
        "stages.download.from names `archive`, but the recipe names no crawl that it could be of; add [crawl] with its \
         `manifest`, or leave `archive` out"
    );
    Ok(())
}

fn read_file(path: &Path, set: &[String]) -> anyhow::Result<RecipeFile> {
    let text = read_text(path).with_context(|| format!("failed to read recipe {}", path.display()))?;
    let mut table: toml::Table = text.parse().with_context(|| format!("recipe {} is not TOML", path.display()))?;
    for assignment in set {
        apply(&mut table, assignment)?;
    }
    // Errors with line and column where the text alone is at fault.
    let parsed = if set.is_empty() { toml::from_str(&text) } else { table.try_into() };
    let file: RecipeFile = parsed.with_context(|| format!("recipe {} is not usable", path.display()))?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        !file.name.is_empty() && file.name.chars().all(plain),
        "recipe {}: name `{}` may hold lower-case letters, digits and hyphens only",
        path.display(),
        file.name
    );
    Ok(file)
}

/// Sets `a.b.c=value`; the value is TOML, or else a string.
fn apply(table: &mut toml::Table, assignment: &str) -> anyhow::Result<()> {
    let Some((key, value)) = assignment.split_once('=') else {
        bail!("--set {assignment}: write it as key=value, for instance stages.select.nsfw_max=0.2");
    };
    let value = format!("value = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut names: Vec<&str> = key.trim().split('.').collect();
    let last = names.pop().unwrap_or_default();
    let mut current = table;
    for name in names {
        let entry = current.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(inner) = entry.as_table_mut() else {
            bail!("--set {assignment}: `{name}` is a value, not a section");
        };
        current = inner;
    }
    current.insert(last.to_owned(), value);
    Ok(())
}

fn read_graphs(card_path: &Path, folder: &Path, digests: &mut DigestCache) -> anyhow::Result<Graphs> {
    let text = read_text(card_path).with_context(|| format!("failed to read card {}", card_path.display()))?;
    let card =
        weft_models::card::Card::read(&text).with_context(|| format!("card {} is not usable", card_path.display()))?;
    let name = card_path.file_name().unwrap_or_default().to_string_lossy();
    let card_file = outside_file(&name, card_path, None, digests)?;
    let mut files = Vec::new();
    for graph in &card.graphs {
        let pinned = Some((graph.sha256().as_str(), card_path));
        files.push(outside_file(graph.file(), &folder.join(graph.file()), pinned, digests)?);
    }
    Ok(Graphs { card: card_file, files })
}

/// Checks a file against its pinned digest, or takes note of the digest it has.
fn outside_file(
    name: &str,
    location: &Path,
    pinned: Option<(&str, &Path)>,
    digests: &mut DigestCache,
) -> anyhow::Result<OutsideFile> {
    let (sha256, bytes) = match digests.sha256(location) {
        Ok(found) => found,
        Err(cause) => {
            let named_by = pinned.map(|(_, by)| format!(", named by {}", by.display())).unwrap_or_default();
            bail!("failed to read {}{named_by}: {cause}", location.display());
        }
    };
    if let Some((expected, named_by)) = pinned {
        ensure!(
            sha256.eq_ignore_ascii_case(expected),
            "{} is not the file that {} pins: its sha256 is {sha256}, expected {expected}; fetch it again, or mend the pin",
            location.display(),
            named_by.display()
        );
    }
    Ok(OutsideFile { name: name.to_owned(), location: location.to_owned(), digest: format!("sha256:{sha256}"), bytes })
}

fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = read_text(path).with_context(|| format!("failed to read manifest {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("manifest {} is not usable", path.display()))
}

/// Reads a text that people write: at most a mebibyte.
fn read_text(path: &Path) -> std::io::Result<String> {
    read_text_of(path, 1 << 20)
}

/// Reads a text of at most `most_bytes`.
fn read_text_of(path: &Path, most_bytes: u64) -> std::io::Result<String> {
    let file = std::fs::File::open(path)?;
    let bytes = weft_core::limits::read_capped(file, "manifest_bytes", most_bytes)?;
    String::from_utf8(bytes).map_err(|cause| std::io::Error::new(std::io::ErrorKind::InvalidData, cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_reaches_nested_keys_and_keeps_types() {
        let mut table: toml::Table = "[stages.select]\nnsfw_max = 0.1".parse().unwrap();
        apply(&mut table, "stages.select.nsfw_max=0.2").unwrap();
        apply(&mut table, "stages.assign.method=max").unwrap();
        apply(&mut table, "stages.select.face_max = 0.5").unwrap();
        let select = table["stages"]["select"].as_table().unwrap();
        assert_eq!(select["nsfw_max"].as_float(), Some(0.2));
        assert_eq!(select["face_max"].as_float(), Some(0.5));
        assert_eq!(table["stages"]["assign"]["method"].as_str(), Some("max"));
    }

    #[test]
    fn the_kind_of_a_source_is_the_manifests_to_say() {
        let form = || serde_json::json!({"kind": "warc"}).as_object().unwrap().clone();
        let mut stages = BTreeMap::from([("ingest".to_owned(), serde_json::json!({"damage": "reject"}))]);
        say_what_the_source_is(&mut stages, form()).unwrap();
        assert_eq!(stages["ingest"], serde_json::json!({"damage": "reject", "kind": "warc"}));
        let error = say_what_the_source_is(&mut stages, form()).unwrap_err().to_string();
        assert!(error.contains("stages.ingest.kind is said by the source manifest"), "{error}");
    }

    #[test]
    fn without_a_crawl_images_come_from_the_web_and_an_archive_is_refused_by_name() {
        let mut stages = BTreeMap::new();
        download_without_archive(&mut stages).unwrap();
        assert_eq!(stages["download"], serde_json::json!({"from": ["web"]}));
        let mut stages = BTreeMap::from([("download".to_owned(), serde_json::json!({"from": ["web", "archive"]}))]);
        let error = download_without_archive(&mut stages).unwrap_err().to_string();
        assert!(error.contains("stages.download.from names `archive`"), "{error}");
    }

    #[test]
    fn every_recipe_and_manifest_of_the_repository_is_understood() {
        let toml_files = |folder: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(folder);
            let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            let paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
            assert!(paths.len() > 1);
            paths
        };
        for path in toml_files("recipes") {
            let recipe = read_file(&path, &[]).unwrap();
            assert!(path.parent().unwrap().join(recipe.source.manifest).exists(), "{}", path.display());
        }
        for path in toml_files("sources") {
            let manifest: toml::Table = read_toml(&path).unwrap();
            match manifest["kind"].as_str() {
                Some("crawl") => crawl::check(&path).unwrap(),
                _ => source::check(&path).unwrap(),
            }
        }
    }

    #[test]
    fn set_without_a_value_says_how_to_write_it() {
        let error = apply(&mut toml::Table::new(), "nsfw_max").unwrap_err();
        assert!(error.to_string().contains("key=value"), "{error}");
    }
}
