//! Gets each candidate's bytes, decodes them, and keeps a bounded copy with what was measured on the way.
//!
//! Reads `candidates`; writes `images` and `pixels`, one row of each per image that decodes, in the order of
//! `candidates`. Bytes come from the crawl's own archive, from the live web, or from the first of both that has them
//! (`from`). Size, perceptual hash and digests are those of the bytes as transferred, content codings undone; what
//! `pixels` holds is bounded by `max_side_px` and encoded anew, or the very bytes where `encoding` says so.
//!
//! A site's wishes are heeded: those of the candidate's page about images and mining, of the image's own X-Robots-Tag,
//! and of robots.txt. An image that is not wanted is rejected with the words that say so, wherever it lies.
//!
//! Many candidates are under way at once, at most [`WINDOW`]; bodies in memory are at most [`BODIES`], decoders one a
//! core. The order of rows depends on none of it.
//!
//! Thin: one task does one shard, so a slow host holds its shard up, and two processes may ask one host at once. Tasks
//! by registered domain, waiting as a server asks (Retry-After), and tries again come with worker processes. The live
//! web's rows are not the same twice; `fetched` says when they were made.

mod address;
mod archive;
mod clock;
mod robots;
mod web;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use url::Url;
use weft_core::context::{Accounts, Context};
use weft_core::id::{ShardId, Space};
use weft_core::limits::Limits;
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::stage::{Flow, Phase, Resources, Spec, Stage, StageError, Use};
use weft_core::table::def;
use weft_core::tables::{Candidates, CandidatesRow, Images, ImagesRow, Pixels, PixelsRow};
use weft_core::tally::Tally;
use weft_core::write::TableWriter;
use weft_models::decode::{DecodeError, decode};
use weft_models::encode::{bound, encode_jpeg};
use weft_models::phash::phash;

use self::archive::Archive;
use self::web::Web;
use crate::formats::http::HttpMessage;

/// Candidates under way at once; each may hold a finished picture until its turn to be written.
const WINDOW: usize = 256;
/// Bodies in memory at once, each at most [`Limits::image_bytes`].
const BODIES: usize = 32;
/// An original longer than this is encoded anew whatever the recipe says: it waits in memory for its turn.
const MAX_ORIGINAL_BYTES: usize = 4 << 20;
/// Text of index blocks held at once; Common Crawl's have about 1 MB each.
pub const INDEX_CACHE_BYTES: usize = 64 << 20;
/// How often a waiting task looks whether the run is being stopped.
const CANCEL_CHECK: Duration = Duration::from_millis(100);

/// The section `download` of a recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where bytes are looked for, in this order.
    pub from: Vec<Origin>,
    /// Whether an archived capture counts that shares only the urlkey with the image's URL.
    pub same_urlkey: bool,
    /// The longest side of a stored picture (MMC4, section 3).
    pub max_side_px: u32,
    /// What is stored of a picture.
    pub encoding: Encoding,
    /// Of stored JPEG files, 1 to 100.
    pub jpeg_quality: u8,
    /// Time that one image may take on the network, redirects included; waiting for the host's turn is not.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// Time that one connection may take to be made.
    #[serde(with = "humantime_serde")]
    pub connect_deadline: Duration,
    /// Time between the end of a request and the next one to the same host.
    #[serde(with = "humantime_serde")]
    pub min_delay: Duration,
    /// Addresses that may be connected to though they are not global, such as a test's own server.
    pub allow_addresses: Vec<IpAddr>,
    /// Words of an image's X-Robots-Tag that keep it out.
    pub opt_out: Vec<String>,
    /// Words of its page's robots `meta` elements or X-Robots-Tag that keep an image out.
    pub page_opt_out: Vec<String>,
}

/// Where bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The crawl's own archive.
    Archive,
    /// The live web.
    Web,
}

/// What is stored of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// A JPEG file of the bounded picture, always.
    Bound,
    /// The bytes as transferred where no side is longer than the bound and they are at most 4 MiB; else as `bound`.
    Original,
}

impl Default for Config {
    fn default() -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            from: vec![Origin::Archive],
            same_urlkey: false,
            max_side_px: 800,
            encoding: Encoding::Bound,
            jpeg_quality: 90,
            // As MMC4's own script for users has it (download_images.py).
            deadline: Duration::from_secs(10),
            connect_deadline: Duration::from_secs(5),
            min_delay: Duration::from_secs(1),
            allow_addresses: Vec::new(),
            opt_out: owned(&["noai", "noimageai", "noindex", "noimageindex"]),
            // A page that is not to be indexed is none of ours to begin with: the crawl has it, or it has not.
            page_opt_out: owned(&["noai", "noimageai", "noimageindex"]),
        }
    }
}

/// The stage.
#[derive(Debug)]
pub struct Download {
    config: Arc<Config>,
    archive: Option<Arc<Archive>>,
    web: Option<Web>,
    /// How wishes name us.
    token: String,
    bodies: Arc<Semaphore>,
    decoders: Semaphore,
    /// Always there but while it is being dropped.
    runtime: Option<Runtime>,
}

/// Bytes that were got.
#[derive(Debug)]
struct Fetched {
    bytes: Vec<u8>,
    final_url: String,
    origin: &'static str,
    /// 14 digits.
    fetched: String,
}

/// Why an image was not got, or not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    reason: Reason,
    evidence: String,
}

impl Refusal {
    fn new(reason: Reason, evidence: impl fmt::Display) -> Self {
        Self { reason, evidence: evidence.to_string() }
    }
}

/// A candidate under way: what its rows will need.
#[derive(Clone, Debug)]
struct Candidate {
    document_id: String,
    image_index: u32,
    image_url: String,
    page_timestamp: String,
    alt: Option<String>,
    follows_sentence: Option<u32>,
    page_wishes: Option<String>,
}

/// Bytes in memory, and the permit for them to be there.
#[derive(Debug)]
struct Held {
    fetched: Fetched,
    room: OwnedSemaphorePermit,
}

/// A picture that stays.
#[derive(Debug)]
struct Picture {
    source: Source,
    format: &'static str,
    blake3: String,
    sha256: String,
    size_px: (u32, u32),
    stored_px: (u32, u32),
    phash: u64,
    stored: Vec<u8>,
}

/// Where a picture's bytes came from; see [`ImagesRow`].
#[derive(Debug)]
struct Source {
    final_url: String,
    origin: &'static str,
    fetched: String,
    bytes: u64,
}

type Outcome = Result<Result<Picture, Refusal>, StageError>;

impl Stage for Download {
    const NAME: &'static str = "download";
    const VERSION: u32 = 2;
    type Config = Config;

    fn spec(config: &Config) -> Spec {
        let uses = if config.from.contains(&Origin::Archive) { vec![Use::Crawl] } else { Vec::new() };
        let flow = Flow { unit: Unit::Candidates, reads: Some(def::<Candidates>()), keeps: Some(def::<Images>()) };
        let phase = Phase {
            name: "",
            space: Space::Crawl,
            reads: vec![def::<Candidates>()],
            writes: vec![def::<Images>(), def::<Pixels>()],
            flows: vec![flow],
        };
        Spec { uses, phases: vec![phase] }
    }

    fn open(config: Config, resources: &Resources) -> Result<Self, StageError> {
        check(&config).map_err(|cause| unusable("section", Self::NAME, cause, "mend the recipe"))?;
        let archive = match config.from.contains(&Origin::Archive) {
            true => Some(Arc::new(Archive::open(&config, resources)?)),
            false => None,
        };
        let web = match config.from.contains(&Origin::Web) {
            true => Some(open_web(&config, resources)?),
            false => None,
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("weft-download")
            .enable_all()
            .build()
            .map_err(|cause| unusable("runtime", Self::NAME, cause, "allow more threads"))?;
        Ok(Self {
            token: robots::product_token(&resources.user_agent).to_owned(),
            config: Arc::new(config),
            archive,
            web,
            bodies: Arc::new(Semaphore::new(BODIES)),
            decoders: Semaphore::new(cores),
            runtime: Some(runtime),
        })
    }

    fn run(&self, _shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        let runtime = self.runtime.as_ref().expect("the stage is not being dropped");
        let mut candidates = context.rows::<Candidates>()?;
        let mut output = Writers { images: context.writer()?, pixels: context.writer()? };
        let mut accounts = context.accounts(Self::NAME)?;
        let mut under_way = FuturesOrdered::new();
        let mut is_end = false;
        loop {
            while !is_end && under_way.len() < WINDOW {
                match candidates.next()? {
                    Some(row) => under_way.push_back(self.get(Candidate::of(&row), &context.limits)),
                    None => is_end = true,
                }
            }
            // Only the waiting is asynchronous: tables are read and written by blocking calls.
            let next = runtime.block_on(async { tokio::time::timeout(CANCEL_CHECK, under_way.next()).await });
            let Ok(next) = next else {
                context.check_cancelled()?;
                continue;
            };
            let Some((candidate, outcome)) = next else { break };
            accounts.read(Unit::Candidates)?;
            match outcome? {
                Ok(picture) => output.push(&candidate, &picture, &mut accounts)?,
                Err(Refusal { reason, evidence }) => accounts.reject(&Reject {
                    unit: Unit::Candidates,
                    document_id: &candidate.document_id,
                    image_url: Some(&candidate.image_url),
                    reason,
                    evidence,
                })?,
            }
        }
        for (name, value) in self.archive.iter().flat_map(|archive| archive.take_traffic()) {
            accounts.fact(name, value);
        }
        context.commit(output.images.finish())?;
        context.commit(output.pixels.finish())?;
        accounts.finish()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // A resolver of the system may hang in its thread; nobody waits for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn check(config: &Config) -> Result<(), &'static str> {
    match config.from.as_slice() {
        [] => return Err("`from` names no origin"),
        [first, rest @ ..] if rest.contains(first) => return Err("`from` names an origin twice"),
        _ => {}
    }
    if config.max_side_px == 0 {
        return Err("`max_side_px` is 0");
    }
    if !(1..=100).contains(&config.jpeg_quality) {
        return Err("`jpeg_quality` is not in 1 to 100");
    }
    Ok(())
}

fn open_web(config: &Config, resources: &Resources) -> Result<Web, StageError> {
    let way_out = "name yourself, with a way to reach you: product/version (+contact)";
    let user_agent = resources.user_agent.clone();
    if robots::product_token(&user_agent).is_empty() {
        return Err(unusable("user agent", &user_agent, "robots.txt cannot name it", way_out));
    }
    let settings = web::Settings {
        user_agent,
        deadline: config.deadline,
        connect_deadline: config.connect_deadline,
        min_delay: config.min_delay,
        allow_addresses: config.allow_addresses.clone(),
        opt_out_words: config.opt_out.clone(),
    };
    Web::open(settings).map_err(|cause| unusable("user agent", &resources.user_agent, cause, way_out))
}

fn unusable(what: &'static str, place: &str, cause: impl fmt::Display, way_out: &'static str) -> StageError {
    StageError::Outside { what, place: place.to_owned(), cause: cause.to_string(), way_out, retry: false }
}

impl Download {
    /// Gets one candidate's picture from the first origin that has its bytes.
    async fn get(&self, candidate: Candidate, limits: &Limits) -> (Candidate, Outcome) {
        let outcome = self.picture(&candidate, limits).await;
        (candidate, outcome)
    }

    async fn picture(&self, candidate: &Candidate, limits: &Limits) -> Outcome {
        if let Some(refusal) = self.page_opts_out(candidate) {
            return Ok(Err(refusal));
        }
        let mut refused: Option<Refusal> = None;
        for origin in &self.config.from {
            let held = match origin {
                Origin::Archive => self.archived(candidate, limits).await?,
                Origin::Web => {
                    let web = self.web.as_ref().expect("opened where the config names it");
                    web.fetch(&candidate.image_url, limits, &self.bodies).await
                }
            };
            match held {
                Ok(held) => return Ok(self.keep(held, limits).await),
                Err(refusal) => {
                    let before = refused.map(|before| format!("{}: {}; ", before.reason.name(), before.evidence));
                    let evidence = before.unwrap_or_default() + &refusal.evidence;
                    let refusal = Refusal { reason: refusal.reason, evidence };
                    // A wish holds wherever the bytes lie.
                    if refusal.reason == Reason::OptedOut {
                        return Ok(Err(refusal));
                    }
                    refused = Some(refusal);
                }
            }
        }
        Ok(Err(refused.expect("there is at least one origin")))
    }

    fn page_opts_out(&self, candidate: &Candidate) -> Option<Refusal> {
        for line in candidate.page_wishes.as_deref()?.lines() {
            let Some((name, content)) = line.split_once(": ") else { continue };
            let is_for_us = ["robots", "x-robots-tag"].contains(&name) || name.eq_ignore_ascii_case(&self.token);
            if is_for_us && robots::wish(content, &self.token, &self.config.page_opt_out).is_some() {
                return Some(Refusal::new(Reason::OptedOut, format_args!("page: {line}")));
            }
        }
        None
    }

    async fn archived(&self, candidate: &Candidate, limits: &Limits) -> Result<Result<Held, Refusal>, StageError> {
        let archive = Arc::clone(self.archive.as_ref().expect("opened where the config names it"));
        let room = room(&self.bodies).await;
        let (candidate, limits) = (candidate.clone(), limits.clone());
        let read = move || archive.fetch(&candidate.image_url, &candidate.page_timestamp, &limits);
        let fetched = unless_panicked(tokio::task::spawn_blocking(read).await)?;
        Ok(fetched.map(|fetched| Held { fetched, room }))
    }

    /// Decodes on a thread of its own; the order of rows is restored by the caller.
    async fn keep(&self, held: Held, limits: &Limits) -> Result<Picture, Refusal> {
        let _decoder = self.decoders.acquire().await.expect("never closed");
        let (config, limits) = (Arc::clone(&self.config), limits.clone());
        let work = move || {
            let Held { fetched, room } = held;
            let picture = picture(fetched, &config, &limits);
            drop(room);
            picture
        };
        unless_panicked(tokio::task::spawn_blocking(work).await)
    }
}

/// Waits until one more body may be in memory.
async fn room(bodies: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(bodies).acquire_owned().await.expect("never closed")
}

fn unless_panicked<T>(joined: Result<T, JoinError>) -> T {
    match joined {
        Ok(value) => value,
        Err(cause) => std::panic::resume_unwind(cause.into_panic()),
    }
}

/// Decodes, measures, bounds and encodes one image.
fn picture(fetched: Fetched, config: &Config, limits: &Limits) -> Result<Picture, Refusal> {
    let bytes = &fetched.bytes;
    if bytes.is_empty() {
        return Err(Refusal::new(Reason::EmptyBody, &fetched.final_url));
    }
    let decoded = decode(bytes, limits).map_err(|cause| {
        let reason = match cause {
            DecodeError::TooManyBytes { .. } => Reason::ImageTooLarge,
            DecodeError::TooManyPixels { .. } => Reason::TooManyPixels,
            _ => Reason::NotDecodable,
        };
        Refusal::new(reason, cause)
    })?;
    let (format, original) = (decoded.format.name(), decoded.rgb);
    let size_px = (original.width_px(), original.height_px());
    let phash = phash(&original).0;
    let blake3 = blake3::hash(bytes).to_hex().to_string();
    let sha256 = format!("{:x}", Sha256::digest(bytes));
    let is_small = size_px.0.max(size_px.1) <= config.max_side_px && bytes.len() <= MAX_ORIGINAL_BYTES;
    let source_bytes = u64::try_from(bytes.len()).expect("usize fits u64");
    let (stored, stored_px) = if config.encoding == Encoding::Original && is_small {
        (fetched.bytes, size_px)
    } else {
        let bounded = bound(original, config.max_side_px);
        let stored = encode_jpeg(&bounded, config.jpeg_quality);
        // A side beyond JPEG's is a matter of `max_side_px` and the limits: no such picture can be stored.
        let stored = stored.map_err(|cause| Refusal::new(Reason::TooManyPixels, cause))?;
        (stored, (bounded.width_px(), bounded.height_px()))
    };
    let (final_url, origin, fetched) = (fetched.final_url, fetched.origin, fetched.fetched);
    let source = Source { final_url, origin, fetched, bytes: source_bytes };
    Ok(Picture { source, format, blake3, sha256, size_px, stored_px, phash, stored })
}

/// The two tables, row for row.
struct Writers {
    images: TableWriter<Images>,
    pixels: TableWriter<Pixels>,
}

impl Writers {
    fn push(
        &mut self,
        candidate: &Candidate,
        picture: &Picture,
        accounts: &mut Accounts<'_>,
    ) -> Result<(), StageError> {
        accounts.kept(Unit::Candidates);
        accounts.bytes(picture.source.bytes);
        accounts.fact(&format!("images_from_{}_count", picture.source.origin), 1);
        let (document_id, image_index) = (candidate.document_id.as_str(), candidate.image_index);
        self.images.push(&ImagesRow {
            document_id,
            image_index,
            image_url: &candidate.image_url,
            final_url: &picture.source.final_url,
            origin: picture.source.origin,
            fetched: &picture.source.fetched,
            format: picture.format,
            source_bytes: picture.source.bytes,
            blake3: &picture.blake3,
            sha256: &picture.sha256,
            width_px: picture.size_px.0,
            height_px: picture.size_px.1,
            stored_width_px: picture.stored_px.0,
            stored_height_px: picture.stored_px.1,
            phash: picture.phash,
            alt: candidate.alt.as_deref(),
            follows_sentence: candidate.follows_sentence,
        })?;
        self.pixels.push(&PixelsRow { document_id, image_index, bytes: &picture.stored })?;
        Ok(())
    }
}

impl Candidate {
    fn of(row: &CandidatesRow<'_>) -> Self {
        Self {
            document_id: row.document_id.to_owned(),
            image_index: row.image_index,
            image_url: row.image_url.to_owned(),
            page_timestamp: row.page_timestamp.to_owned(),
            alt: row.alt.map(str::to_owned),
            follows_sentence: row.follows_sentence,
            page_wishes: row.page_wishes.map(str::to_owned),
        }
    }
}

/// Statuses that send on to another place (RFC 9110, section 15.4).
fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect from `url` leads, by its Location.
fn redirect_target(url: &Url, location: Option<&str>) -> Result<Url, Refusal> {
    let Some(location) = location else {
        return Err(Refusal::new(Reason::BadRedirect, format_args!("{url} names no target")));
    };
    match url.join(location.trim()) {
        Ok(target) if matches!(target.scheme(), "http" | "https") => Ok(target),
        Ok(target) => Err(Refusal::new(Reason::BadRedirect, format_args!("{url} leads to {}:", target.scheme()))),
        Err(cause) => Err(Refusal::new(Reason::BadRedirect, format_args!("{url}: {cause}"))),
    }
}

/// The body, transfer and content codings undone, within the limit on an image.
fn body_of(message: &HttpMessage<'_>, limits: &Limits) -> Result<Vec<u8>, Refusal> {
    let too_large = || Refusal::new(Reason::ImageTooLarge, format_args!("more than {} bytes", limits.image_bytes));
    let of_image = Limits { page_bytes: limits.image_bytes, ..limits.clone() };
    let bytes = message.payload(&of_image).map_err(|_| too_large())?.bytes.into_owned();
    if u64::try_from(bytes.len()).expect("usize fits u64") > limits.image_bytes { Err(too_large()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests;
