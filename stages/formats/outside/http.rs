//! Files below an http(s) URL or an S3 prefix, read by range request; a blocking face.
//!
//! What is common to all requests of a root: where its files are, its front, its client, its time limits. One
//! transfer of bytes is [`super::transfer`]'s.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use tokio::runtime::Runtime;
use url::{Host, Url};
use weft_core::front::{FrontBudget, Usage};

use super::front::{self, Counters, Front};
use super::s3::S3Root;
use super::transfer::Transfer;
use super::{OutsideError, Stat, with_causes};

/// For making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long parts of an answer may take.
#[derive(Clone, Debug)]
pub(super) struct TimeLimits {
    /// From the request to the head of the answer.
    pub(super) answer: Duration,
    /// Between two pieces of a body.
    pub(super) idle: Duration,
    /// Time spent waiting for pieces, after which a body is judged by its speed.
    pub(super) window: Duration,
    /// Bytes that must have come in that time.
    pub(super) window_bytes: u64,
}

impl Default for TimeLimits {
    fn default() -> Self {
        let window = Duration::from_secs(60);
        // A thousand bytes a second: less is no transfer that ends.
        Self { answer: Duration::from_secs(30), idle: Duration::from_secs(30), window, window_bytes: 60_000 }
    }
}

/// A web server, or an S3 bucket, as a root. Clones share everything, the counters too.
#[derive(Clone, Debug)]
pub struct HttpRoot {
    address: Address,
    front: Arc<Front>,
    client: Client,
    runtime: Arc<Runtime>,
    limits: TimeLimits,
    usage: Arc<Counters>,
}

#[derive(Clone, Debug)]
enum Address {
    Web(Url),
    S3(Arc<S3Root>),
}

impl HttpRoot {
    /// # Errors
    /// [`OutsideError::BadRoot`], also where the server is no part of this machine and `user_agent` tells nobody to
    /// turn to.
    pub(super) fn open(root: &str, user_agent: &str, budget: Option<&FrontBudget>) -> Result<Self, OutsideError> {
        let bad = |cause: String| OutsideError::BadRoot { root: root.to_owned(), cause };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("outside")
            .enable_all()
            .build()
            .map_err(|cause| bad(cause.to_string()))?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls())
            .user_agent(user_agent)
            .no_proxy()
            // Followed by us, so that each step is within the budget.
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|cause| bad(with_causes(&cause)))?;
        let address = if root.starts_with("s3://") {
            Address::S3(Arc::new(runtime.block_on(S3Root::open(root, &client))?))
        } else {
            Address::Web(web_base(root)?)
        };
        let origin = match &address {
            Address::Web(base) => base,
            Address::S3(s3) => s3.endpoint(),
        };
        if !is_this_machine(origin) && !names_a_contact(user_agent) {
            let way_out = "whoever runs it must be able to turn to us: set contact = \"mailto:you@example.org\" (or a \
                           URL) in the recipe";
            return Err(bad(way_out.to_owned()));
        }
        let front = front::front(&origin.origin().ascii_serialization(), budget);
        let (limits, usage) = (TimeLimits::default(), Arc::default());
        Ok(Self { address, front, client, runtime: Arc::new(runtime), limits, usage })
    }

    /// The same root, counting for itself.
    pub(super) fn counted(&self) -> Self {
        Self { usage: Arc::default(), ..self.clone() }
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage.usage()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.usage
    }

    pub(super) fn front(&self) -> &Arc<Front> {
        &self.front
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(super) fn limits(&self) -> &TimeLimits {
        &self.limits
    }

    #[cfg(test)]
    pub(super) fn set_limits(&mut self, limits: TimeLimits) {
        self.limits = limits;
    }

    /// Whether a redirect from one URL to another is followed: to the same server, or from a web server to another one
    /// that is named, no less safe a scheme, and no part of this machine unless the first one is. A host of large files
    /// sends to the servers that hold them.
    pub(super) fn may_be_sent(&self, from: &Url, to: &Url) -> bool {
        if to.origin() == from.origin() {
            return true;
        }
        let is_named = matches!(to.host(), Some(Host::Domain(name)) if name != "localhost");
        let is_web = to.scheme() == "https" || (to.scheme() == "http" && from.scheme() == "http");
        let is_outside = is_named || (is_this_machine(from) && is_this_machine(to));
        matches!(self.address, Address::Web(_)) && is_web && is_outside
    }

    /// The URL to ask for a file; it may hold a signature and is not for messages.
    pub(super) fn url(&self, path: &str) -> Result<Url, OutsideError> {
        match &self.address {
            Address::Web(base) => Ok(below(base, path)),
            Address::S3(s3) => self.runtime.block_on(s3.url(path)),
        }
    }

    /// Where a file is, for messages.
    pub(super) fn place(&self, path: &str) -> String {
        match &self.address {
            Address::Web(base) => below(base, path).to_string(),
            Address::S3(s3) => s3.place(path),
        }
    }

    /// What else than our manners may be behind a 403.
    pub(super) fn refusal_hint(&self) -> &'static str {
        match &self.address {
            Address::Web(_) => "",
            Address::S3(_) => " (its credentials may not read the bucket, or there is no such file)",
        }
    }

    pub(super) fn len(&self, path: &str) -> Result<u64, OutsideError> {
        Ok(self.stat(path)?.bytes)
    }

    pub(super) fn stat(&self, path: &str) -> Result<Stat, OutsideError> {
        let mut transfer = Transfer::new(self, path, 0, 1);
        transfer.next_piece()?;
        let bytes = transfer.file_bytes().ok_or_else(|| OutsideError::BadRange {
            place: self.place(path),
            cause: "it does not tell the file's size".to_owned(),
        })?;
        Ok(Stat { bytes, etag: transfer.etag() })
    }

    pub(super) fn read_up_to(&self, path: &str, start: u64, length: u64) -> Result<Vec<u8>, OutsideError> {
        match Transfer::new(self, path, start, length).read_all() {
            // What came so far is of a file that is no more.
            Err(OutsideError::Changed { .. }) => Transfer::new(self, path, start, length).read_all(),
            result => result,
        }
    }
}

fn web_base(root: &str) -> Result<Url, OutsideError> {
    let bad = |cause: String| OutsideError::BadRoot { root: root.to_owned(), cause };
    let mut base = Url::parse(root).map_err(|cause| bad(cause.to_string()))?;
    if base.query().is_some() || base.fragment().is_some() {
        return Err(bad("a root has neither query nor fragment".to_owned()));
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(bad("a root holds no password: it would stand in logs".to_owned()));
    }
    // A root is a folder, with or without its last slash.
    base.path_segments_mut().map_err(|()| bad("no path can follow it".to_owned()))?.pop_if_empty();
    Ok(base)
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        // Escapes what would end the path: `?`, `#` and `%`.
        segments.extend(path.split('/'));
    }
    url
}

/// Whether the host is a loopback address or `localhost`.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether a user agent ends in `(+mailto:…)` or `(+https://…)`, as the recipe's contact makes it.
fn names_a_contact(user_agent: &str) -> bool {
    let contact = user_agent.split_once("(+").and_then(|(_, rest)| rest.split_once(')')).map(|(contact, _)| contact);
    contact.is_some_and(|contact| contact.contains('@') || contact.contains("://"))
}

/// The web's roots of trust, and ring: the provider is named here since none is installed for the process.
pub(super) fn tls() -> rustls::ClientConfig {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring serves the default versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_an_address_or_a_page() {
        assert!(names_a_contact("weft/0.1.0 (+mailto:you@example.org)"));
        assert!(names_a_contact("weft/0.1.0 (+https://example.org/crawl)"));
        assert!(names_a_contact("weft/0.1.0 (+you@example.org)"));
        for none in ["weft/0.1.0", "weft/0.1.0 (+)", "weft/0.1.0 (+me)", "you@example.org"] {
            assert!(!names_a_contact(none), "{none}");
        }
    }

    #[test]
    fn a_redirect_leads_to_named_servers_and_never_inwards() {
        let root = HttpRoot::open("http://127.0.0.1:9/", "weft-test/0", None).unwrap();
        let url = |text: &str| Url::parse(text).unwrap();
        for (from, to, expected) in [
            ("https://hub.example/a", "https://hub.example/b", true),
            ("https://hub.example/a", "https://files.example/b?signed=1", true),
            ("http://hub.example/a", "https://files.example/b", true),
            ("http://hub.example/a", "http://files.example/b", true),
            ("https://hub.example/a", "http://files.example/b", false),
            ("https://hub.example/a", "ftp://files.example/b", false),
            ("https://hub.example/a", "https://10.0.0.1/b", false),
            ("https://hub.example/a", "https://localhost/b", false),
            ("https://hub.example/a", "https://[::1]/b", false),
            ("http://127.0.0.1:9/a", "http://127.0.0.1:10/b", true),
        ] {
            assert_eq!(root.may_be_sent(&url(from), &url(to)), expected, "{from} to {to}");
        }
    }

    #[test]
    fn only_a_loopback_address_is_this_machine() {
        for own in ["http://127.0.0.1:80/", "http://127.9.9.9/", "http://[::1]/", "http://localhost:5000/"] {
            assert!(is_this_machine(&Url::parse(own).unwrap()), "{own}");
        }
        for other in ["https://data.commoncrawl.org/", "http://10.0.0.1/", "http://localhost.example/"] {
            assert!(!is_this_machine(&Url::parse(other).unwrap()), "{other}");
        }
    }
}
