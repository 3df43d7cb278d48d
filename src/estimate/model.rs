//! Volumes down the pipeline, and what each stage pays for them.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::Value as Json;
use weft_core::reject::Unit;
use weft_core::tally::fact;
use weft_core::task::task_name;
use weft_stages::download::INDEX_CACHE_BYTES;
use weft_stages::fetch::plan::Settings as ReadSettings;

use super::access::{self, Access, Rule};
use super::measured::{CaptureShape, Measured};
use super::published::{self, Published};
use super::value::{Basis, Input, Value, amount, product, quotient};
use super::{Estimate, Settings, StageEstimate, Totals, Way, hosts};
use crate::recipe::figures::{Basis as FigureBasis, Counted};
use crate::recipe::survey::Survey;

/// Of the walks through made files: the same recipe gives the same estimate.
const SEED: u64 = 1;

/// Bytes of index lines for each that is stored: a block of Common Crawl's has 1 MB in 0.2 to 0.3; tiny ones have more.
const INFLATED: f64 = 8.0;

/// Rows that each stage reads.
#[derive(Clone, Copy, Debug, Default)]
struct Volumes {
    lines: Option<Value>,
    documents: Option<Value>,
    captures: Option<Value>,
    pages: Option<Value>,
    candidates: Option<Value>,
    images: Option<Value>,
    illustrated: Option<Value>,
    assigned: Option<Value>,
}

/// Requests and bytes, each with its basis.
#[derive(Clone, Copy, Debug)]
struct Asked {
    requests: Option<Value>,
    bytes: Option<Value>,
}

struct Model<'a> {
    survey: &'a Survey,
    measured: Option<&'a Measured>,
    settings: &'a Settings,
    inputs: Vec<Input>,
}

/// Estimates a recipe from what is known of its sources and what an earlier run measured.
pub(crate) fn estimate(survey: &Survey, measured: Option<&Measured>, settings: &Settings) -> anyhow::Result<Estimate> {
    let configs = configs(survey)?;
    let mut model = Model { survey, measured, settings, inputs: Vec::new() };
    let volumes = model.volumes();
    let ingested = model.ingest();
    let located = model.locate(&volumes, configs.get("locate"))?;
    let shape = measured.map(Measured::captures).transpose()?.flatten();
    let ways = model.fetch(&volumes, shape.as_ref(), configs.get("fetch"));
    let chosen = ways.iter().find(|way| way.is_chosen);
    let fetched = Asked { requests: chosen.and_then(|way| way.requests), bytes: chosen.and_then(|way| way.bytes) };
    let asks_web = asks_web(configs.get("download"));
    let downloaded = model.download(&volumes, asks_web)?;
    let domains = measured.map(Measured::domains).transpose()?.flatten();
    let slowest_host = model.slowest_host(&volumes, domains.as_ref(), asks_web);
    let site = slowest_host.as_ref().filter(|slowest| slowest.is_asked).map(super::SlowestHost::time);

    let mut stages = Vec::new();
    let mut is_planned = true;
    for entry in weft_stages::all() {
        let config = configs.get(entry.name).context("every stage has a section")?;
        let spec = (entry.spec)(config).with_context(|| format!("stages.{} is not usable", entry.name))?;
        for phase in spec.phases {
            let asked = match entry.name {
                "ingest" => Some(ingested).filter(|_| survey.source_is_remote),
                "locate" => Some(located).filter(|_| survey.crawl_is_remote),
                "fetch" => Some(fetched).filter(|_| survey.crawl_is_remote),
                "download" => Some(downloaded).filter(|_| asks_web || survey.crawl_is_remote),
                _ => None,
            };
            let network = match (entry.name, site) {
                // Many servers, each with a ceiling of its own.
                ("download", Some(site)) => Some((site, "a site")),
                _ => asked.and_then(|asked| model.network_seconds(asked.requests, asked.bytes)),
            };
            let mut stage = model.stage(entry.name, &task_name(entry.name, phase.name), &volumes, asked, network);
            stage.is_planned = is_planned;
            stages.push(stage);
        }
        is_planned &= survey.until.as_deref() != Some(entry.name);
    }
    Ok(Estimate {
        recipe: survey.name.clone(),
        until: survey.until.clone(),
        source: survey.source.clone(),
        crawl: survey.crawl.clone(),
        measured_by: measured.map(|measured| measured.place.clone()),
        settings: settings.clone(),
        inputs: model.inputs,
        totals: totals(&stages),
        stages,
        fetch: ways,
        slowest_host,
    })
}

/// Every stage's section, its defaults filled in.
fn configs(survey: &Survey) -> anyhow::Result<BTreeMap<&'static str, Json>> {
    let entries = weft_stages::all().iter();
    entries
        .map(|entry| {
            let section = survey.stages.get(entry.name).cloned().unwrap_or_else(|| Json::Object(Default::default()));
            let config = (entry.normalise)(&section).with_context(|| format!("stages.{} is not usable", entry.name))?;
            Ok((entry.name, config))
        })
        .collect()
}

/// A number of a stage's section.
fn number(config: Option<&Json>, key: &str) -> Option<f64> {
    config?.pointer(key)?.as_f64()
}

fn asks_web(download: Option<&Json>) -> bool {
    let origins = download.and_then(|config| config.pointer("/from")).and_then(Json::as_array);
    origins.is_some_and(|origins| origins.iter().any(|origin| origin == "web"))
}

fn totals(stages: &[StageEstimate]) -> Totals {
    let nothing = Some(Value::new(0.0, Basis::Manifest));
    let sum = |of: &dyn Fn(&StageEstimate) -> Option<Value>| {
        let planned = stages.iter().filter(|stage| stage.is_planned);
        planned.map(of).fold(nothing, |sum, value| Some(sum?.plus(value?)))
    };
    // Most stages ask nobody.
    let asked = |stage: &StageEstimate, value: Option<Value>| if stage.is_remote { value } else { nothing };
    Totals {
        requests: sum(&|stage| asked(stage, stage.requests)),
        bytes: sum(&|stage| asked(stage, stage.bytes)),
        task_seconds: sum(&|stage| stage.task_seconds),
        storage_bytes: sum(&|stage| stage.storage_bytes),
    }
}

impl Model<'_> {
    fn note(&mut self, name: &'static str, unit: &'static str, value: Option<Value>, from: String) -> Option<Value> {
        self.inputs.push(Input { name, unit, value, from });
        value
    }

    /// What a manifest, a lock or a local file says.
    fn known(&mut self, of: Counted, name: &'static str, unit: &'static str) -> Option<Value> {
        let known = self.survey.known(of)?;
        let basis = match known.basis {
            None => Basis::Manifest,
            Some(FigureBasis::Published) => Basis::Published,
            Some(FigureBasis::Assumed) => Basis::Assumed,
        };
        let value = Value::new(amount(known.value), basis);
        let from = known.from.clone();
        self.note(name, unit, Some(value), from)
    }

    /// What an earlier run measured, or else somebody's figure.
    fn ratio(
        &mut self,
        name: &'static str,
        unit: &'static str,
        measured: Option<(u64, u64)>,
        otherwise: Option<Published>,
    ) -> Option<Value> {
        let ratio = measured.filter(|(_, of)| *of > 0).map(|(part, of)| amount(part) / amount(of));
        match (ratio, self.measured, otherwise) {
            (Some(ratio), Some(run), _) => {
                let from = format!("the run in {}", run.place);
                self.note(name, unit, Some(Value::new(ratio, Basis::Measured)), from)
            }
            (_, _, Some(Published { amount, basis, from })) => {
                self.note(name, unit, Some(Value::new(amount, basis)), from.to_owned())
            }
            _ => self.note(name, unit, None, "no run has measured it".to_owned()),
        }
    }

    /// Kept and read rows of a unit of a phase.
    fn kept(&self, phase: &str, unit: Unit) -> Option<(u64, u64)> {
        let count = self.measured?.phase(phase)?.count(unit)?;
        Some((count.kept, count.read))
    }

    fn read_rows(&self, phase: &str, unit: Unit) -> Option<u64> {
        Some(self.measured?.phase(phase)?.count(unit)?.read)
    }

    fn fact(&self, phase: &str, name: &str) -> Option<u64> {
        self.measured?.phase(phase)?.fact(name)
    }

    fn volumes(&mut self) -> Volumes {
        let lines = self.lines();
        let ingested = self.kept("ingest", Unit::Documents);
        let ingested = self.ratio("documents a line", "", ingested, Some(published::INGESTED));
        let documents = product(lines, ingested);
        let located = self.kept("locate", Unit::Documents);
        let located = self.ratio("captures a document", "", located, Some(published::LOCATED));
        let captures = product(documents, located);
        let fetched = self.kept("fetch", Unit::Captures);
        let fetched = self.ratio("pages a capture", "", fetched, Some(published::FETCHED));
        let pages = product(captures, fetched);
        let (candidates, images) = self.images(documents, pages);
        let with_candidates = self.kept("extract", Unit::Pages).map(|(kept, _)| kept);
        let lines_read = self.read_rows("ingest", Unit::Documents);
        let illustrated = with_candidates.zip(lines_read);
        let illustrated = self.ratio("illustrated documents a line", "", illustrated, Some(published::ILLUSTRATED));
        let illustrated = product(lines, illustrated);
        let assigned = self.kept("assign", Unit::Documents);
        let assigned = self.ratio("documents kept of the illustrated", "", assigned, Some(published::ASSIGNED));
        let selected = self.kept("select", Unit::Images);
        self.ratio("images kept of the downloaded", "", selected, Some(published::SELECTED));
        let assigned = product(illustrated, assigned);
        Volumes { lines, documents, captures, pages, candidates, images, illustrated, assigned }
    }

    /// Lines of the sources: as somebody counted, or as many as their bytes hold.
    fn lines(&mut self) -> Option<Value> {
        if self.survey.known(Counted::Documents).is_some() {
            return self.known(Counted::Documents, "lines of the sources", "");
        }
        let bytes = self.survey.known(Counted::SourceBytes).map(|known| {
            let basis = if known.basis.is_none() { Basis::Manifest } else { Basis::Published };
            Value::new(amount(known.value), basis)
        });
        let measured = self.read_rows("ingest", Unit::Documents).zip(self.fact("ingest", fact::SOURCE_BYTES));
        let a_byte = self.ratio("lines a source byte", "", measured, None);
        product(bytes, a_byte)
    }

    /// Candidates and images: from a run, or MMC4's images and the links that it took to get them.
    fn images(&mut self, documents: Option<Value>, pages: Option<Value>) -> (Option<Value>, Option<Value>) {
        let downloaded = self.kept("download", Unit::Candidates);
        let references = self.kept("extract", Unit::References).map(|(kept, _)| kept);
        let a_page = references.zip(self.read_rows("extract", Unit::Pages));
        if a_page.is_some() {
            let a_page = self.ratio("candidates a page", "", a_page, None);
            let candidates = product(pages, a_page);
            let share = self.ratio("images a candidate", "", downloaded, Some(published::DOWNLOADED));
            return (candidates, product(candidates, share));
        }
        let a_document = self.ratio("images a document", "", None, Some(published::IMAGES_PER_DOCUMENT));
        let images = product(documents, a_document);
        let share = self.ratio("images a candidate", "", downloaded, Some(published::DOWNLOADED));
        (quotient(images, share), images)
    }

    /// The source files, streamed.
    fn ingest(&mut self) -> Asked {
        let bytes = self.known(Counted::SourceBytes, "bytes of the sources", "B");
        let files = Value::new(amount(self.survey.source_files), Basis::Manifest);
        // Each is asked for its size and tag, then streamed.
        Asked { requests: Some(Value::new(2.0 * files.amount, files.basis)), bytes }
    }

    /// The blocks of the index that hold a document's key.
    fn locate(&mut self, volumes: &Volumes, config: Option<&Json>) -> anyhow::Result<Asked> {
        let blocks = self.known(Counted::IndexBlocks, "blocks of the index", "");
        let index_bytes = self.known(Counted::IndexBytes, "bytes of the index", "B");
        let unknown = Asked { requests: None, bytes: None };
        let (Some(blocks), Some(documents)) = (blocks, volumes.documents) else { return Ok(unknown) };
        let rule = Rule {
            gap_bytes: number(config, "/coalesce_gap_bytes").unwrap_or(-1.0),
            range_bytes: number(config, "/request_bytes").unwrap_or_default(),
            range_records: f64::INFINITY,
        };
        let fallen = match (self.measured, &self.survey.index) {
            (Some(measured), Some(index)) => measured.keys(index)?.zip(Some(index)),
            _ => None,
        };
        let (touched, access, basis, from) = match fallen {
            Some((fallen, index)) => {
                let (touched, access) = access::index(index.blocks(), &fallen, documents.amount, Some(rule), SEED);
                (touched, access, Basis::Measured, "as the keys of that run fell on them, and Chao's extrapolation")
            }
            None => {
                let touched = access::evenly_touched(blocks.amount, documents.amount);
                let block_bytes = index_bytes.map_or(0.0, |bytes| bytes.amount / blocks.amount.max(1.0));
                let access = access::blocks(blocks.amount, touched, block_bytes, Some(rule), SEED);
                (touched, access, Basis::Assumed, "keys fall on them evenly: the most there can be")
            }
        };
        let basis = basis.max(blocks.basis).max(documents.basis);
        self.note("blocks with a document's key", "", Some(Value::new(touched, basis)), from.to_owned());
        let bytes = index_bytes.map(|bytes| Value::new(access.bytes, basis.max(bytes.basis)));
        Ok(Asked { requests: Some(Value::new(access.requests, basis)), bytes })
    }

    /// The three ways to get the records, one of which the stage takes.
    fn fetch(&mut self, volumes: &Volumes, shape: Option<&CaptureShape>, config: Option<&Json>) -> Vec<Way> {
        let files = match self.known(Counted::WarcFiles, "WARC files", "") {
            Some(files) => Some(files),
            None => {
                let files = shape.map(|shape| Value::new(amount(shape.files), Basis::Measured));
                let from = shape.map_or("no list of them was read", |_| "files with a capture of that run");
                self.note("WARC files", "", files, from.to_owned())
            }
        };
        let all_bytes = match self.known(Counted::WarcBytes, "bytes of the WARC files", "B") {
            Some(bytes) => Some(bytes),
            None => {
                let file_bytes = shape.map(|shape| Value::new(shape.file_bytes, Basis::Measured));
                let from = shape.map_or("no run has seen them", |_| "where the captures of that run end in them");
                self.note("bytes of the WARC files", "B", product(files, file_bytes), from.to_owned())
            }
        };
        let lengths = self.lengths(shape, all_bytes);
        let Some((lengths, length_basis)) = lengths else {
            return ["one request a record", "ranges", "whole files"]
                .map(|name| Way { name, requests: None, bytes: None, seconds: None, is_chosen: name == "ranges" })
                .to_vec();
        };
        let mean = lengths.iter().sum::<f64>() / amount(lengths.len().try_into().unwrap_or(u64::MAX));
        let mean = Value::new(mean, length_basis);
        let settings = ReadSettings {
            gap_bytes: config.and_then(|config| config.pointer("/coalesce_gap_bytes")?.as_u64()).unwrap_or_default(),
            whole_file_density: number(config, "/whole_file_density").unwrap_or(1.0),
        };
        let ranges = files.zip(all_bytes).zip(volumes.captures).map(|((files, bytes), captures)| {
            let (file_bytes, records) = (bytes.amount / files.amount, captures.amount / files.amount);
            let Access { requests, bytes: range_bytes } =
                access::ranges(file_bytes, records, &lengths, &settings, SEED);
            let basis = files.basis.max(bytes.basis).max(captures.basis).max(length_basis);
            (Value::new(requests * files.amount, basis), Value::new(range_bytes * files.amount, basis))
        });
        vec![
            self.way("one request a record", volumes.captures, product(volumes.captures, Some(mean)), false),
            self.way("ranges", ranges.map(|(requests, _)| requests), ranges.map(|(_, bytes)| bytes), true),
            self.way("whole files", files, all_bytes, false),
        ]
    }

    /// Lengths of records to draw from: those that a run has seen, or one mean for all.
    fn lengths(&mut self, shape: Option<&CaptureShape>, all_bytes: Option<Value>) -> Option<(Vec<f64>, Basis)> {
        if let Some(shape) = shape.filter(|shape| !shape.lengths.is_empty()) {
            return Some((shape.lengths.clone(), Basis::Measured));
        }
        let pages = self.known(Counted::Pages, "pages of the crawl", "");
        let mean = quotient(all_bytes, pages);
        let from = "bytes of the WARC files over the pages; a document's may differ".to_owned();
        let mean = mean.map(|mean| Value::new(mean.amount, mean.basis.max(Basis::Assumed)));
        let mean = self.note("bytes of a record", "B", mean, from)?;
        Some((vec![mean.amount], mean.basis))
    }

    fn way(&self, name: &'static str, requests: Option<Value>, bytes: Option<Value>, is_chosen: bool) -> Way {
        let seconds = self.network_seconds(requests, bytes).map(|(seconds, _)| seconds);
        Way { name, requests, bytes, seconds, is_chosen }
    }

    /// The slower of requests over the budget and bytes over the line.
    fn network_seconds(&self, requests: Option<Value>, bytes: Option<Value>) -> Option<(Value, &'static str)> {
        let by_requests =
            requests.map(|requests| Value::new(requests.amount / self.settings.front_rate, requests.basis));
        let by_bytes = bytes.map(|bytes| Value::new(bytes.amount / self.settings.line_bytes_per_second, bytes.basis));
        match (by_requests, by_bytes) {
            (Some(requests), Some(bytes)) if bytes.amount > requests.amount => Some((bytes, "bytes")),
            (Some(requests), _) => Some((requests, "requests")),
            (None, bytes) => Some((bytes?, "bytes")),
        }
    }

    /// The images: records and index blocks of the archive, or at least a request for each candidate.
    fn download(&mut self, volumes: &Volumes, asks_web: bool) -> anyhow::Result<Asked> {
        let candidates = self.read_rows("download", Unit::Candidates);
        let records = self.fact("download", fact::REQUESTS).zip(candidates);
        if records.is_none() || asks_web {
            let image_bytes = self.ratio("bytes of an image", "B", None, Some(published::IMAGE_BYTES));
            return Ok(Asked { requests: volumes.candidates, bytes: product(volumes.images, image_bytes) });
        }
        let record_bytes = self.fact("download", fact::RANGE_BYTES).zip(candidates);
        let requests = self.ratio("records of images a candidate", "", records, None);
        let bytes = self.ratio("bytes of records a candidate", "B", record_bytes, None);
        let records =
            Asked { requests: product(volumes.candidates, requests), bytes: product(volumes.candidates, bytes) };
        let blocks = self.image_blocks(volumes, candidates)?;
        let sum = |left: Option<Value>, right: Option<Value>| Some(left?.plus(right?));
        Ok(Asked { requests: sum(records.requests, blocks.requests), bytes: sum(records.bytes, blocks.bytes) })
    }

    /// The index blocks that images are looked up in. Where the whole index fits into memory they are as many as hold an
    /// image's key, each read as often as in that run, since look-ups that miss at once all read; else so many a
    /// candidate.
    fn image_blocks(&mut self, volumes: &Volumes, candidates: Option<u64>) -> anyhow::Result<Asked> {
        let read = self.fact("download", fact::INDEX_REQUESTS);
        let cache_bytes = amount(u64::try_from(INDEX_CACHE_BYTES)?) / INFLATED;
        let fits = self.survey.known(Counted::IndexBytes).is_some_and(|known| amount(known.value) <= cache_bytes);
        if let (Some(measured), Some(index), Some(all), Some(read)) =
            (self.measured, self.survey.index.as_ref().filter(|_| fits), volumes.candidates, read)
            && let Some(fallen) = measured.image_keys(index)?
        {
            let (touched, access) = access::index(index.blocks(), &fallen, all.amount, None, SEED);
            let times = amount(read) / fallen.touched().max(1.0);
            let basis = Basis::Measured.max(all.basis);
            let from = "as the images' keys of that run fell on them, and Chao's extrapolation".to_owned();
            self.note("blocks with an image's key", "", Some(Value::new(touched, basis)), from);
            let of = |amount: f64| Some(Value::new(amount * times, basis));
            return Ok(Asked { requests: of(access.requests), bytes: of(access.bytes) });
        }
        let bytes = self.fact("download", fact::INDEX_BYTES).zip(candidates);
        let blocks = self.ratio("index blocks of images a candidate", "", read.zip(candidates), None);
        let block_bytes = self.ratio("bytes of those blocks a candidate", "B", bytes, None);
        Ok(Asked { requests: product(volumes.candidates, blocks), bytes: product(volumes.candidates, block_bytes) })
    }

    fn slowest_host(
        &self,
        volumes: &Volumes,
        domains: Option<&BTreeMap<String, u64>>,
        is_asked: bool,
    ) -> Option<super::SlowestHost> {
        // Without a run only images that MMC4 got are known: links that fail come on top.
        let (images, from) = match domains {
            Some(_) => (volumes.candidates?, "one request a candidate"),
            None => (volumes.images?, "one request an image that is got; links that fail come on top"),
        };
        Some(hosts::slowest(images, from, domains, self.settings, is_asked))
    }

    /// One phase: its rows, and what they cost.
    fn stage(
        &self,
        stage: &str,
        name: &str,
        volumes: &Volumes,
        asked: Option<Asked>,
        network: Option<(Value, &'static str)>,
    ) -> StageEstimate {
        let read = |unit| self.read_rows(name, unit);
        let (unit, units, rows) = match stage {
            "ingest" => ("lines", volumes.lines, read(Unit::Documents)),
            "locate" => ("documents", volumes.documents, read(Unit::Documents)),
            "fetch" => ("captures", volumes.captures, read(Unit::Captures)),
            "extract" => ("pages", volumes.pages, read(Unit::Pages)),
            "download" => ("candidates", volumes.candidates, read(Unit::Candidates)),
            "assign" => ("documents", volumes.illustrated, read(Unit::Documents)),
            "interleave" => ("documents", volumes.assigned, read(Unit::Documents)),
            // Each costs by the images that there are, also where it looks at few of them.
            _ => ("images", volumes.images, self.kept("download", Unit::Candidates).map(|(kept, _)| kept)),
        };
        let run = self.measured.and_then(|measured| measured.phase(name));
        let rows = rows.filter(|rows| *rows > 0).map(|rows| Value::new(amount(rows), Basis::Measured));
        let a_row = |cost: f64| rows.and_then(|rows| Value::new(cost, Basis::Measured).over(rows));
        let published = published::seconds_per_row(stage).map(|figure| Value::new(figure.amount, figure.basis));
        let seconds_a_row = run.and_then(|run| a_row(run.task_seconds)).or(published);
        let task_seconds = product(units, seconds_a_row);
        let storage_bytes = match run {
            Some(run) => product(units, a_row(amount(run.written_bytes))),
            None => self.assumed_storage(stage, volumes),
        };
        let work =
            task_seconds.map(|work| (Value::new(work.amount / f64::from(self.settings.workers), work.basis), "work"));
        let slowest = match (work, network) {
            (Some(work), Some(network)) if network.0.amount > work.0.amount => Some(network),
            (work, network) => work.or(network),
        };
        StageEstimate {
            stage: name.to_owned(),
            is_planned: true,
            unit,
            units,
            is_remote: asked.is_some(),
            requests: asked.and_then(|asked| asked.requests),
            bytes: asked.and_then(|asked| asked.bytes),
            task_seconds,
            seconds: slowest.map(|(seconds, _)| seconds),
            bound: slowest.map(|(_, bound)| bound),
            storage_bytes,
        }
    }

    /// What a stage writes where no run has measured it and something can be said.
    fn assumed_storage(&self, stage: &str, volumes: &Volumes) -> Option<Value> {
        let assumed = |value: Value| Value::new(value.amount, Basis::Assumed);
        let input = |name: &str| self.inputs.iter().find(|input| input.name == name).and_then(|input| input.value);
        match stage {
            // Both carry the documents' text, compressed about as the sources are.
            "ingest" | "locate" => input("bytes of the sources").map(assumed),
            // And the pages, compressed about as their records are.
            "fetch" => {
                let records = product(volumes.captures, input("bytes of a record")).map(assumed)?;
                Some(records.plus(input("bytes of the sources").map(assumed)?))
            }
            "download" => product(volumes.images, input("bytes of an image")).map(assumed),
            _ => None,
        }
    }
}
