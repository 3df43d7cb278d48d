//! Measures images and sentences: CLIP embeddings, detector scores, similarities; no threshold about quality.
//!
//! Reads `images`, `pixels`, `outlines`; writes, per measured image, one row of `embeddings` (unit length, half
//! precision), one row of `similarities` (the cosine with each sentence of its document, in `f32`), and one row of
//! `detections` per head. Counts images: those below the recipe's floor, and those that no graph makes anything of,
//! are rejected. Any CLIP-shaped pair of graphs serves, and any heads on its embedding, by role: `nsfw`, `ad`,
//! `face`.
//!
//! Each picture is decoded once. Distinct sentences are embedded once a document, and only if one of its images is
//! measured. Memory: a batch of pictures, a document's sentence embeddings, and the graphs, once per thread.
//!
//! Left thin: batches end with their document, one decoding thread, `f32` on the processor; the queue, the
//! providers and the face boxes come with the models.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use half::f16;
use serde::{Deserialize, Serialize};
use weft_core::context::{Accounts, Context};
use weft_core::id::{ShardId, Space};
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::rows::{DocumentRow, Rows};
use weft_core::stage::{Flow, Graphs, Phase, Resources, Spec, Stage, StageError, Use};
use weft_core::table::def;
use weft_core::tables::{
    Detections, DetectionsRow, Embeddings, EmbeddingsRow, Images, Outlines, OutlinesRow, Pixels, Similarities,
    SimilaritiesRow,
};
use weft_core::tally::Tally;
use weft_core::write::TableWriter;
use weft_models::card::{Card, Graph};
use weft_models::clip::{ClipError, ClipPair};
use weft_models::decode::decode;
use weft_models::engine::{Engine, EngineChoice, EngineRequest};
use weft_models::head::Head;
use weft_models::preprocess::clip_pixels;

/// Pictures that go through the image tower together.
const BATCH_IMAGES: usize = 16;
/// Threads of one session: tasks run side by side already.
const SESSION_THREADS: usize = 1;
/// The largest card file that is read.
const CARD_BYTES: u64 = 1 << 20;

/// The stage's section of a recipe.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is not worth measuring.
    pub floor: Floor,
}

/// What is not worth measuring; looser than any threshold of `select`, or a plan is refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Floor {
    /// The shorter side, in pixels of the original.
    pub min_side_px: u32,
    /// The longer side by the shorter.
    pub max_aspect: f64,
}

impl Default for Floor {
    fn default() -> Self {
        Self { min_side_px: 100, max_aspect: 3.0 }
    }
}

/// The stage.
#[derive(Debug)]
pub struct Measure {
    config: Config,
    setup: Setup,
    /// Loaded graphs that no task uses at the moment.
    idle: Mutex<Vec<Models>>,
}

/// Where the graphs are, and how pictures go in.
#[derive(Debug)]
struct Setup {
    engine: Engine,
    clip: Graphs,
    heads: BTreeMap<String, Graphs>,
    size_px: u32,
    mean: [f32; 3],
    std: [f32; 3],
}

/// The graphs of one thread.
#[derive(Debug)]
struct Models {
    clip: ClipPair,
    heads: Vec<(String, Head)>,
}

impl Stage for Measure {
    const NAME: &'static str = "measure";
    const VERSION: u32 = 2;
    type Config = Config;

    fn spec(_config: &Config) -> Spec {
        let phase = Phase {
            name: "",
            space: Space::Crawl,
            reads: vec![def::<Images>(), def::<Pixels>(), def::<Outlines>()],
            writes: vec![def::<Embeddings>(), def::<Detections>(), def::<Similarities>()],
            flows: vec![Flow { unit: Unit::Images, reads: Some(def::<Images>()), keeps: Some(def::<Embeddings>()) }],
        };
        Spec { uses: vec![Use::Graphs], phases: vec![phase] }
    }

    fn open(config: Config, resources: &Resources) -> Result<Self, StageError> {
        let setup = Setup::new(resources)?;
        // Loaded here, so that a graph that is not usable stops the run before its first task.
        let models = setup.load()?;
        tracing::info!(engine = %setup.engine, provider = ?setup.engine.provider(), "measuring with {}", setup.engine);
        for lost in setup.engine.lost() {
            let place = lost.place.display();
            tracing::info!(%place, cause = lost.cause, "no usable ONNX Runtime at {place}");
        }
        Ok(Self { config, setup, idle: Mutex::new(vec![models]) })
    }

    fn run(&self, _shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut models = match idle {
            Some(models) => models,
            None => self.setup.load()?,
        };
        let tally = self.measure(&mut models, context)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(models);
        Ok(tally)
    }
}

/// A picture on its way through a batch.
struct Picture {
    image_index: u32,
    image_url: String,
}

impl Measure {
    fn measure(&self, models: &mut Models, context: &Context) -> Result<Tally, StageError> {
        let mut accounts = context.accounts(Self::NAME)?;
        let mut outlines = context.rows::<Outlines>()?;
        let mut images = context.rows::<Images>()?;
        let mut pixels = context.rows::<Pixels>()?;
        let mut writers =
            Writers { embeddings: context.writer()?, detections: context.writer()?, similarities: context.writer()? };
        while let Some(outline) = outlines.next()? {
            let mut sentences = None;
            while images.peek()?.is_some_and(|row| row.document_id() == outline.document_id) {
                let (pictures, values) =
                    self.next_batch(outline.document_id, &mut images, &mut pixels, context, &mut accounts)?;
                if pictures.is_empty() {
                    continue;
                }
                let sentences = match &sentences {
                    Some(sentences) => sentences,
                    None => sentences.insert(embed_sentences(models, &outline, &mut accounts)?),
                };
                let embedded = embed_pictures(models, &outline, pictures, values, &mut accounts)?;
                writers.write(models, outline.document_id, &embedded, sentences)?;
                for _ in &embedded {
                    accounts.kept(Unit::Images);
                }
            }
        }
        images.expect_end()?;
        pixels.expect_end()?;
        context.commit(writers.embeddings.finish())?;
        context.commit(writers.detections.finish())?;
        context.commit(writers.similarities.finish())?;
        accounts.finish()
    }

    /// The next pictures of the document that are worth measuring, decoded and normalised.
    fn next_batch(
        &self,
        document_id: &str,
        images: &mut Rows<Images>,
        pixels: &mut Rows<Pixels>,
        context: &Context,
        accounts: &mut Accounts<'_>,
    ) -> Result<(Vec<Picture>, Vec<f32>), StageError> {
        let (mut pictures, mut values) = (Vec::new(), Vec::new());
        while pictures.len() < BATCH_IMAGES && images.peek()?.is_some_and(|row| row.document_id() == document_id) {
            let Some(image) = images.next()? else { break };
            accounts.read(Unit::Images)?;
            let reject = |reason, evidence| Reject {
                unit: Unit::Images,
                document_id,
                image_url: Some(image.image_url),
                reason,
                evidence,
            };
            let stored = pixels.next()?;
            let stored = stored.filter(|row| row.document_id == document_id && row.image_index == image.image_index);
            let stored = stored.ok_or_else(|| crate::joins::missing_row("pixels", document_id, image.image_index))?;
            accounts.bytes(u64::try_from(stored.bytes.len()).expect("a length fits u64"));
            if let Some(evidence) = self.config.floor.excludes(image.width_px, image.height_px) {
                accounts.reject(&reject(Reason::BelowFloor, evidence))?;
                continue;
            }
            match decode(stored.bytes, &context.limits) {
                Ok(decoded) => {
                    clip_pixels(&decoded.rgb, self.setup.size_px, self.setup.mean, self.setup.std, &mut values);
                    pictures.push(Picture { image_index: image.image_index, image_url: image.image_url.to_owned() });
                }
                Err(cause) => accounts.reject(&reject(Reason::NotMeasurable, cause.to_string()))?,
            }
        }
        Ok((pictures, values))
    }
}

impl Floor {
    /// What puts a picture of this size below the floor.
    fn excludes(&self, width_px: u32, height_px: u32) -> Option<String> {
        let (short_px, long_px) = (width_px.min(height_px), width_px.max(height_px));
        if short_px < self.min_side_px {
            return Some(format!("side {short_px} px < {} px", self.min_side_px));
        }
        let aspect = f64::from(long_px) / f64::from(short_px.max(1));
        (aspect > self.max_aspect).then(|| format!("1:{aspect:.3} is beyond 1:{}", self.max_aspect))
    }
}

/// A document's sentences, embedded.
struct Sentences {
    /// Position in `embeddings` of each sentence: distinct texts are embedded once.
    positions: Vec<usize>,
    embeddings: Vec<Vec<f32>>,
}

fn embed_sentences(
    models: &mut Models,
    outline: &OutlinesRow<'_>,
    accounts: &mut Accounts<'_>,
) -> Result<Sentences, StageError> {
    let mut distinct: Vec<&str> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let positions = outline.sentences.iter().map(|sentence| {
        *known.entry(sentence).or_insert_with(|| {
            distinct.push(sentence);
            distinct.len() - 1
        })
    });
    let positions = positions.collect();
    accounts.fact("sentences_embedded", u64::try_from(distinct.len()).expect("a length fits u64"));
    let embeddings =
        models.clip.embed_texts(&distinct).map_err(|cause| unusable("clip", outline.document_id, &cause))?;
    Ok(Sentences { positions, embeddings })
}

/// Embeds pictures; one whose embedding has no direction is rejected, the others stay.
fn embed_pictures(
    models: &mut Models,
    outline: &OutlinesRow<'_>,
    mut pictures: Vec<Picture>,
    mut values: Vec<f32>,
    accounts: &mut Accounts<'_>,
) -> Result<Vec<(Picture, Vec<f32>)>, StageError> {
    loop {
        match models.clip.embed_images(&values, pictures.len()) {
            Ok(embeddings) => return Ok(pictures.into_iter().zip(embeddings).collect()),
            Err(cause @ (ClipError::NoDirection { row, .. } | ClipError::PixelNotFinite { row })) => {
                let stride = values.len() / pictures.len();
                let picture = pictures.remove(row);
                values.drain(row * stride..(row + 1) * stride);
                accounts.reject(&Reject {
                    unit: Unit::Images,
                    document_id: outline.document_id,
                    image_url: Some(&picture.image_url),
                    reason: Reason::NotMeasurable,
                    evidence: cause.to_string(),
                })?;
                if pictures.is_empty() {
                    return Ok(Vec::new());
                }
            }
            Err(cause) => return Err(unusable("clip", outline.document_id, &cause)),
        }
    }
}

/// The three tables, written side by side.
struct Writers {
    embeddings: TableWriter<Embeddings>,
    detections: TableWriter<Detections>,
    similarities: TableWriter<Similarities>,
}

impl Writers {
    fn write(
        &mut self,
        models: &mut Models,
        document_id: &str,
        pictures: &[(Picture, Vec<f32>)],
        sentences: &Sentences,
    ) -> Result<(), StageError> {
        let embeddings: Vec<Vec<f32>> = pictures.iter().map(|(_, embedding)| embedding.clone()).collect();
        let mut scores = Vec::new();
        for (detector, head) in &mut models.heads {
            let found = head.score(&embeddings).map_err(|cause| unusable(detector, document_id, &cause))?;
            scores.push((detector.as_str(), found));
        }
        for (position, (picture, embedding)) in pictures.iter().enumerate() {
            let image_index = picture.image_index;
            let halves: Vec<f16> = embedding.iter().map(|value| f16::from_f32(*value)).collect();
            self.embeddings.push(&EmbeddingsRow { document_id, image_index, embedding: &halves })?;
            for (detector, found) in &scores {
                self.detections.push(&DetectionsRow { document_id, image_index, detector, score: found[position] })?;
            }
            let distinct: Vec<f32> = sentences.embeddings.iter().map(|text| cosine(embedding, text)).collect();
            let similarity: Vec<f32> = sentences.positions.iter().map(|position| distinct[*position]).collect();
            self.similarities.push(&SimilaritiesRow { document_id, image_index, similarity: &similarity })?;
        }
        Ok(())
    }
}

/// The dot product of two vectors of unit length, in [-1, 1]; summed in `f64`.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    #[expect(clippy::cast_possible_truncation, reason = "rounded to the precision of the table")]
    let cosine = sum as f32;
    cosine.clamp(-1.0, 1.0)
}

impl Setup {
    fn new(resources: &Resources) -> Result<Self, StageError> {
        let choice = match resources.engine.as_ref() {
            Some(engine) => match &engine.library {
                Some(library) => EngineChoice::OnnxRuntime { path: Some(library.clone()) },
                None => EngineChoice::Tract,
            },
            None => EngineChoice::Auto,
        };
        let request = EngineRequest { choice, ..EngineRequest::default() };
        let engine = Engine::find(&request).map_err(|cause| unusable("engine", "", &cause))?;
        let mut heads = resources.graphs.clone();
        let clip = heads.remove("clip").ok_or_else(|| StageError::Outside {
            what: "recipe",
            place: "graphs".to_owned(),
            cause: "it names no card for the role `clip`".to_owned(),
            way_out: "add clip = { card = …, folder = … } to its [graphs]",
            retry: false,
        })?;
        let card = read_card(&clip)?;
        let input = card.graphs.iter().find_map(|graph| match graph {
            Graph::ClipImage { size_px, mean, std, .. } => Some((*size_px, *mean, *std)),
            _ => None,
        });
        let (size_px, mean, std) = input.ok_or_else(|| StageError::Outside {
            what: "card",
            place: clip.card.location.display().to_string(),
            cause: "it has no graph of kind clip-image".to_owned(),
            way_out: "name a CLIP card in the recipe's [graphs]",
            retry: false,
        })?;
        Ok(Self { engine, clip, heads, size_px, mean, std })
    }

    fn load(&self) -> Result<Models, StageError> {
        let clip = ClipPair::open(&self.engine, &read_card(&self.clip)?, folder(&self.clip), SESSION_THREADS)
            .map_err(|cause| unusable("clip", &self.clip.card.name, &cause))?;
        let heads = self.heads.iter().map(|(role, graphs)| {
            let head = Head::open(&self.engine, &read_card(graphs)?, folder(graphs), SESSION_THREADS);
            Ok((role.clone(), head.map_err(|cause| unusable(role, &graphs.card.name, &cause))?))
        });
        Ok(Models { clip, heads: heads.collect::<Result<_, StageError>>()? })
    }
}

/// The folder of a role's graph files.
fn folder(graphs: &Graphs) -> &Path {
    graphs.files.first().and_then(|file| file.location.parent()).unwrap_or(Path::new("."))
}

fn read_card(graphs: &Graphs) -> Result<Card, StageError> {
    let refuse = |cause: String| StageError::Outside {
        what: "card",
        place: graphs.card.location.display().to_string(),
        cause,
        way_out: "mend it, or name another in the recipe's [graphs]",
        retry: false,
    };
    let file = crate::formats::outside::open_file(&graphs.card.location).map_err(|cause| refuse(cause.to_string()))?;
    let bytes =
        weft_core::limits::read_capped(file, "card_bytes", CARD_BYTES).map_err(|cause| refuse(cause.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|cause| refuse(cause.to_string()))?;
    Card::read(&text).map_err(|cause| refuse(cause.to_string()))
}

fn unusable(role: &str, place: &str, cause: &dyn std::error::Error) -> StageError {
    StageError::Outside {
        what: "graph",
        place: if place.is_empty() { role.to_owned() } else { format!("{role}, {place}") },
        cause: crate::formats::outside::with_causes(cause),
        way_out: "check the card and its files, or name another engine in the recipe's [numerics]",
        retry: false,
    }
}

#[cfg(test)]
mod tests;
