//! Files below an http(s) URL, read by range request; a blocking face.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, ETAG, RANGE};
use reqwest::{Client, Response, StatusCode};
use tokio::runtime::Runtime;
use url::Url;

use super::{ATTEMPTS, OutsideError, Stat, with_causes};

/// The wait before the second try; it doubles from try to try.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// For making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// For one request as a whole: the largest range at half a megabit a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// A web server as a root.
#[derive(Debug)]
pub struct HttpRoot {
    base: Url,
    client: Client,
    runtime: Runtime,
    first_wait: Duration,
}

/// One answer: bytes and, where the server tells, the file's size and tag.
struct Answer {
    bytes: Vec<u8>,
    file_bytes: Option<u64>,
    etag: Option<String>,
}

impl HttpRoot {
    pub(super) fn open(root: &str, user_agent: &str) -> Result<Self, OutsideError> {
        let bad = |cause: String| OutsideError::BadRoot { root: root.to_owned(), cause };
        let mut base = Url::parse(root).map_err(|cause| bad(cause.to_string()))?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(bad("a root has neither query nor fragment".to_owned()));
        }
        // A root is a folder, with or without its last slash.
        base.path_segments_mut().map_err(|()| bad("no path can follow it".to_owned()))?.pop_if_empty();
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
            .redirect(reqwest::redirect::Policy::limited(5))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|cause| bad(with_causes(&cause)))?;
        Ok(Self { base, client, runtime, first_wait: FIRST_WAIT })
    }

    #[cfg(test)]
    pub(crate) fn set_first_wait(&mut self, wait: Duration) {
        self.first_wait = wait;
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Escapes what would end the path: `?`, `#` and `%`.
            segments.extend(path.split('/'));
        }
        url
    }

    pub(super) fn place(&self, path: &str) -> String {
        self.url(path).to_string()
    }

    pub(super) fn len(&self, path: &str) -> Result<u64, OutsideError> {
        Ok(self.stat(path)?.bytes)
    }

    pub(super) fn stat(&self, path: &str) -> Result<Stat, OutsideError> {
        let answer = self.request(path, 0, 1)?;
        let bytes = answer.file_bytes.ok_or_else(|| OutsideError::BadRange {
            place: self.place(path),
            cause: "it does not tell the file's size".to_owned(),
        })?;
        Ok(Stat { bytes, etag: answer.etag })
    }

    pub(super) fn read_up_to(&self, path: &str, start: u64, length: u64) -> Result<Vec<u8>, OutsideError> {
        if length == 0 {
            return Ok(Vec::new());
        }
        Ok(self.request(path, start, length)?.bytes)
    }

    /// Asks until there is an answer that asking again would not change.
    fn request(&self, path: &str, start: u64, length: u64) -> Result<Answer, OutsideError> {
        let url = self.url(path);
        let mut wait = self.first_wait;
        for attempt in 1.. {
            match self.runtime.block_on(self.request_once(&url, start, length)) {
                Err(cause) if cause.is_retryable() && attempt < ATTEMPTS => {
                    tracing::debug!(%url, attempt, wait_ms = wait.as_millis(), %cause, "request failed; trying again");
                    std::thread::sleep(wait);
                    wait *= 2;
                }
                result => return result,
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn request_once(&self, url: &Url, start: u64, length: u64) -> Result<Answer, OutsideError> {
        // Both ends of an HTTP byte range are inclusive (RFC 9110, section 14.1.2).
        let last = start.saturating_add(length - 1);
        let place = || url.to_string();
        let connection = |cause: reqwest::Error| OutsideError::Connection {
            place: url.to_string(),
            cause: with_causes(&cause.without_url()),
        };
        let bad_range = |cause: String| OutsideError::BadRange { place: url.to_string(), cause };
        let request = self.client.get(url.clone()).header(RANGE, format!("bytes={start}-{last}"));
        let mut response = request.send().await.map_err(connection)?;
        let range = ContentRange::of(&response);
        let etag = response.headers().get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::RANGE_NOT_SATISFIABLE => {
                // The range begins behind the file's end.
                return match range.and_then(|range| range.file_bytes) {
                    Some(file_bytes) if file_bytes <= start => {
                        Ok(Answer { bytes: Vec::new(), file_bytes: Some(file_bytes), etag })
                    }
                    _ => Err(OutsideError::Status { place: place(), status: 416 }),
                };
            }
            StatusCode::OK => return Err(bad_range("it sent the whole file".to_owned())),
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(OutsideError::Missing { place: place() }),
            StatusCode::FORBIDDEN => return Err(OutsideError::Forbidden { place: place() }),
            other => return Err(OutsideError::Status { place: place(), status: other.as_u16() }),
        }
        let Some(ContentRange { sent: Some((first_sent, last_sent)), file_bytes }) = range else {
            return Err(bad_range("it does not tell which range it sent".to_owned()));
        };
        let ends_with_file = file_bytes.is_some_and(|file_bytes| last_sent.saturating_add(1) == file_bytes);
        if first_sent != start || last_sent > last || (last_sent < last && !ends_with_file) {
            return Err(bad_range(format!("it sent bytes {first_sent} to {last_sent} instead of {start} to {last}")));
        }
        let Some(wanted) = last_sent.checked_sub(first_sent).and_then(|span| usize::try_from(span).ok()) else {
            return Err(bad_range(format!("it sent bytes {first_sent} to {last_sent}")));
        };
        let wanted = wanted + 1;
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(connection)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > wanted {
                return Err(bad_range(format!("it sent more than the {wanted} bytes that it tells of")));
            }
        }
        if bytes.len() < wanted {
            let cause = format!("the answer ends after {} of {wanted} bytes", bytes.len());
            return Err(OutsideError::Connection { place: place(), cause });
        }
        Ok(Answer { bytes, file_bytes, etag })
    }
}

/// The Content-Range header (RFC 9110, section 14.4).
struct ContentRange {
    /// First and last byte; none for `bytes */10`.
    sent: Option<(u64, u64)>,
    file_bytes: Option<u64>,
}

impl ContentRange {
    fn of(response: &Response) -> Option<Self> {
        let value = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
        let (range, file_bytes) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
        let sent = match range.trim() {
            "*" => None,
            range => {
                let (first, last) = range.split_once('-')?;
                Some((first.parse().ok()?, last.parse().ok()?))
            }
        };
        Some(Self { sent, file_bytes: file_bytes.trim().parse().ok() })
    }
}

/// The web's roots of trust, and ring: the provider is named here since none is installed for the process.
fn tls() -> rustls::ClientConfig {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring serves the default versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
