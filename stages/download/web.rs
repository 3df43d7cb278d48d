//! Gets images from the live web, within the hosts' wishes and the task's limits.
//!
//! Redirects are followed by hand, so that each step passes the same tests: scheme, address, robots.txt. Addresses
//! are tested where names are resolved, and the connection goes to an address that was tested; hosts written as an
//! address are tested before. Proxies of the environment are not used, cookies not kept, bodies cut off at the limit
//! while they stream. TLS trusts the roots of webpki alone.
//!
//! Of each host one request runs at a time, and the next one starts no sooner than the minimum delay after it.
//! robots.txt is asked once for each origin: it is followed where it answers 2xx, forbids nothing where it answers
//! 4xx or redirects in vain, and forbids everything where it answers 5xx (RFC 9309, section 2.3.1). Where the site
//! cannot be reached at all, that is the reason of each of its images.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_ENCODING, HeaderMap, LOCATION};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use url::{Host as UrlHost, Url};
use weft_core::limits::Limits;
use weft_core::reject::Reason;

use super::robots::{self, Robots};
use super::{Fetched, Held, Refusal, clock, is_redirect};
use crate::formats::http::HttpMessage;

/// A longer URL is not asked for: servers need not take it (RFC 9110, section 4.1).
const MAX_URL_BYTES: usize = 8_000;
/// Hosts remembered; past it those not in use are forgotten.
const MAX_HOSTS: usize = 50_000;
/// A host is forgotten after a day, and with it its robots.txt (RFC 9309, section 2.4).
const HOST_AGE: Duration = Duration::from_hours(24);
/// Redirects of a robots.txt that are followed (RFC 9309, section 2.3.1.2).
const ROBOTS_REDIRECTS: u32 = 5;

/// How requests are made.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) user_agent: String,
    pub(super) deadline: Duration,
    pub(super) connect_deadline: Duration,
    pub(super) min_delay: Duration,
    pub(super) allow_addresses: Vec<IpAddr>,
    pub(super) opt_out_words: Vec<String>,
}

/// The live web, as one process sees it.
#[derive(Debug)]
pub(super) struct Web {
    client: reqwest::Client,
    settings: Settings,
    /// How robots.txt names us.
    token: String,
    hosts: Mutex<BTreeMap<String, Arc<Host>>>,
}

/// What is remembered of a host.
#[derive(Debug)]
struct Host {
    since: Instant,
    /// One permit: held while a request runs.
    turn: Semaphore,
    /// When the next request may start.
    free_at: Mutex<Instant>,
    /// By origin: a host may answer at several ports.
    robots: Mutex<BTreeMap<String, SharedRobots>>,
}

/// A robots.txt that is asked for once, whoever comes first.
type SharedRobots = Arc<OnceCell<Result<Robots, Refusal>>>;

/// One answer, its body read where the status is 200.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    room: OwnedSemaphorePermit,
}

/// How much of a body is wanted.
#[derive(Clone, Copy, Debug)]
struct Want {
    most_bytes: u64,
    overlong: Overlong,
}

/// What becomes of a body longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overlong {
    Refuse,
    Cut,
}

impl Web {
    /// Makes a client; nothing is connected yet.
    ///
    /// # Errors
    /// The words of a library that refuses the settings.
    pub(super) fn open(settings: Settings) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| cause.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(&settings.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(settings.connect_deadline)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(15))
            .dns_resolver(Arc::new(TestedResolver { allow: settings.allow_addresses.clone() }))
            .build()
            .map_err(|cause| chain(&cause))?;
        let token = robots::product_token(&settings.user_agent).to_owned();
        Ok(Self { client, settings, token, hosts: Mutex::default() })
    }

    /// Gets one image.
    ///
    /// # Errors
    /// The image's fault, or its host's.
    pub(super) async fn fetch(
        &self,
        image_url: &str,
        limits: &Limits,
        bodies: &Arc<Semaphore>,
    ) -> Result<Held, Refusal> {
        let mut url = Url::parse(image_url).map_err(|cause| Refusal::new(Reason::NotAUrl, cause))?;
        let mut left = self.settings.deadline;
        let mut seen = BTreeSet::new();
        for _ in 0..=limits.redirects {
            url.set_fragment(None);
            if !seen.insert(url.to_string()) {
                return Err(Refusal::new(Reason::TooManyRedirects, format_args!("back at {url}")));
            }
            let (host, origin) = self.check_target(&url)?;
            self.check_robots(&host, &origin, &url, bodies).await?;
            let want = Want { most_bytes: limits.image_bytes, overlong: Overlong::Refuse };
            let answer = self.get(&host, &url, &mut left, want, bodies).await?;
            for value in answer.headers.get_all("x-robots-tag") {
                let value = String::from_utf8_lossy(value.as_bytes());
                if let Some(word) = robots::wish(&value, &self.token, &self.settings.opt_out_words) {
                    return Err(Refusal::new(Reason::OptedOut, format_args!("X-Robots-Tag of {url}: {word}")));
                }
            }
            match answer.status {
                200 => {
                    let bytes = decoded(&answer, limits)?;
                    let fetched = clock::digits_of(SystemTime::now());
                    let fetched = Fetched { bytes, final_url: url.into(), origin: "web", fetched };
                    return Ok(Held { fetched, room: answer.room });
                }
                status if is_redirect(status) => url = redirect_target(&url, &answer)?,
                status => return Err(Refusal::new(Reason::Status(status), &url)),
            }
        }
        Err(Refusal::new(Reason::TooManyRedirects, format_args!("more than {}", limits.redirects)))
    }

    /// Tests where a URL leads before anything is asked of it; gives the host and the origin.
    fn check_target(&self, url: &Url) -> Result<(Arc<Host>, String), Refusal> {
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(Refusal::new(Reason::NotAUrl, format_args!("longer than {MAX_URL_BYTES} bytes")));
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::new(Reason::Scheme, url));
        }
        let literal = match url.host() {
            Some(UrlHost::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(UrlHost::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(UrlHost::Domain(_)) => None,
            None => return Err(Refusal::new(Reason::NotAUrl, format_args!("{url} has no host"))),
        };
        if let Some(address) = literal {
            check_address(address, &self.settings.allow_addresses)
                .map_err(|cause| Refusal::new(Reason::AddressForbidden, cause))?;
        }
        let name = url.host_str().unwrap_or_default();
        Ok((self.host(name), url.origin().ascii_serialization()))
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let now = Instant::now();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(name)
            && host.since.elapsed() < HOST_AGE
        {
            return Arc::clone(host);
        }
        if hosts.len() >= MAX_HOSTS {
            hosts.retain(|_, host| {
                let free_at = host.free_at.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::strong_count(host) > 1 || *free_at > now
            });
        }
        let host =
            Arc::new(Host { since: now, turn: Semaphore::new(1), free_at: Mutex::new(now), robots: Mutex::default() });
        hosts.insert(name.to_owned(), Arc::clone(&host));
        host
    }

    /// Asks the origin's robots.txt, once, whether `url` may be fetched.
    async fn check_robots(
        &self,
        host: &Arc<Host>,
        origin: &str,
        url: &Url,
        bodies: &Arc<Semaphore>,
    ) -> Result<(), Refusal> {
        let cell = {
            let mut robots = host.robots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(robots.entry(origin.to_owned()).or_default())
        };
        let robots = cell.get_or_init(|| self.fetch_robots(origin, bodies)).await.as_ref().map_err(Clone::clone)?;
        match robots.forbids(&path_and_query(url)) {
            Some(rule) => Err(Refusal::new(Reason::OptedOut, format_args!("robots.txt of {origin}: {rule}"))),
            None => Ok(()),
        }
    }

    async fn fetch_robots(&self, origin: &str, bodies: &Arc<Semaphore>) -> Result<Robots, Refusal> {
        let most_bytes = u64::try_from(robots::MAX_BYTES).expect("usize fits u64");
        let want = Want { most_bytes, overlong: Overlong::Cut };
        let mut left = self.settings.deadline;
        let mut url = Url::parse(origin)
            .and_then(|origin| origin.join("/robots.txt"))
            .map_err(|cause| Refusal::new(Reason::NotAUrl, cause))?;
        for _ in 0..=ROBOTS_REDIRECTS {
            let of_robots =
                |refusal: Refusal| Refusal::new(refusal.reason, format_args!("{url}: {}", refusal.evidence));
            let (host, _) = self.check_target(&url).map_err(of_robots)?;
            let answer = self.get(&host, &url, &mut left, want, bodies).await.map_err(of_robots)?;
            match answer.status {
                200 => return Ok(Robots::parse(&answer.body, &self.token)),
                status @ 500.. => {
                    return Err(Refusal::new(Reason::OptedOut, format_args!("{url} answers {status}")));
                }
                status if is_redirect(status) => match redirect_target(&url, &answer) {
                    Ok(target) => url = target,
                    Err(_) => break,
                },
                _ => break,
            }
        }
        Ok(Robots::default())
    }

    /// Makes one request when the host's turn comes; `left` is the time that its network part may take.
    async fn get(
        &self,
        host: &Host,
        url: &Url,
        left: &mut Duration,
        want: Want,
        bodies: &Arc<Semaphore>,
    ) -> Result<Answer, Refusal> {
        let _turn = host.turn.acquire().await.expect("no turn is ever closed");
        let free_at = *host.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep_until(free_at.into()).await;
        // After the turn, so that those who wait for a slow host take nobody's room.
        let room = super::room(bodies).await;
        let began = Instant::now();
        let answer = tokio::time::timeout(*left, self.exchange(url, want, room)).await;
        *left = left.saturating_sub(began.elapsed());
        *host.free_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + self.settings.min_delay;
        answer.unwrap_or_else(|_| {
            let deadline = humantime_serde::re::humantime::format_duration(self.settings.deadline);
            Err(Refusal::new(Reason::TimedOut, format_args!("{url}: the deadline of {deadline} passed")))
        })
    }

    async fn exchange(&self, url: &Url, want: Want, room: OwnedSemaphorePermit) -> Result<Answer, Refusal> {
        let Want { most_bytes, overlong } = want;
        let sent = self.client.get(url.clone()).send().await;
        let mut response = sent.map_err(|cause| classified(url, cause))?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        if status != 200 {
            return Ok(Answer { status, headers, body, room });
        }
        let too_large = || Refusal::new(Reason::ImageTooLarge, format_args!("more than {most_bytes} bytes"));
        if overlong == Overlong::Refuse && response.content_length().is_some_and(|length| length > most_bytes) {
            return Err(too_large());
        }
        let most = usize::try_from(most_bytes).unwrap_or(usize::MAX);
        while let Some(chunk) = response.chunk().await.map_err(|cause| classified(url, cause))? {
            let room = most - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if chunk.len() > room {
                match overlong {
                    Overlong::Refuse => return Err(too_large()),
                    Overlong::Cut => break,
                }
            }
        }
        Ok(Answer { status, headers, body, room })
    }
}

/// A URL's path with its query, as a request line has it.
fn path_and_query(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

fn redirect_target(url: &Url, answer: &Answer) -> Result<Url, Refusal> {
    let location = answer.headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    super::redirect_target(url, location.as_deref())
}

/// The body without its content coding: we ask for none, and some servers apply one all the same.
fn decoded(answer: &Answer, limits: &Limits) -> Result<Vec<u8>, Refusal> {
    let mut headers = Vec::new();
    for value in answer.headers.get_all(CONTENT_ENCODING) {
        headers.push((CONTENT_ENCODING.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    }
    let message = HttpMessage {
        start_line: String::new(),
        status: Some(answer.status),
        headers,
        body: &answer.body,
        problems: Vec::new(),
    };
    super::body_of(&message, limits)
}

/// An address that no connection is made to.
#[derive(Debug, thiserror::Error)]
#[error("{address} is {what}")]
struct AddressForbidden {
    address: IpAddr,
    what: &'static str,
}

fn check_address(address: IpAddr, allow: &[IpAddr]) -> Result<(), AddressForbidden> {
    match super::address::forbidden(address) {
        Some(what) if !allow.contains(&address) => Err(AddressForbidden { address, what }),
        _ => Ok(()),
    }
}

/// The system's resolver, less the addresses that lead inside.
#[derive(Debug)]
struct TestedResolver {
    allow: Vec<IpAddr>,
}

impl Resolve for TestedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = self.allow.clone();
        Box::pin(async move {
            let mut passed: Vec<SocketAddr> = Vec::new();
            let mut forbidden = None;
            // Port 0 stands for the scheme's own.
            for address in tokio::net::lookup_host((name.as_str(), 0)).await? {
                match check_address(address.ip(), &allow) {
                    Ok(()) => passed.push(address),
                    Err(cause) => forbidden = Some(cause),
                }
            }
            match forbidden {
                Some(cause) if passed.is_empty() => Err(cause.into()),
                _ => Ok(Box::new(passed.into_iter()) as Addrs),
            }
        })
    }
}

/// Why a request failed.
fn classified(url: &Url, cause: reqwest::Error) -> Refusal {
    let cause = cause.without_url();
    let mut next: Option<&(dyn Error + 'static)> = Some(&cause);
    while let Some(error) = next {
        if let Some(forbidden) = error.downcast_ref::<AddressForbidden>() {
            return Refusal::new(Reason::AddressForbidden, format_args!("{url}: {forbidden}"));
        }
        next = error.source();
    }
    let reason = if cause.is_timeout() { Reason::TimedOut } else { Reason::ConnectFailed };
    Refusal::new(reason, format_args!("{url}: {}", chain(&cause)))
}

/// An error with all its causes on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
