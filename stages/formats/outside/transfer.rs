//! One transfer: the bytes of one range of one file, in one request, resumed where it breaks.
//!
//! A `206` counts whose `Content-Range` begins where it was asked to and ends there, or at the file's end; the body
//! must be as long as it says. A server that sends the whole file instead is not read from. Where a body breaks off,
//! stands still or crawls ([`TimeLimits`](super::http::TimeLimits)), the rest is asked for with `If-Range` on the file's `ETag`; another
//! `ETag`, another size, or the whole file in answer mean that the file has changed, and that is an error: what came
//! so far is of another file.
//!
//! Failures are tried again [`TRIES`] times without [`PROGRESS_BYTES`] in between, and as the front allows. Redirects
//! are followed [`REDIRECTS`] times, to another server within that one's own budget. Memory is one piece of a body, some
//! tens of kilobytes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderName, IF_RANGE, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use url::Url;

use super::front::{self, Permit, TRIES};
use super::http::HttpRoot;
use super::retry_after::retry_after;
use super::{OutsideError, with_causes};

/// Redirects followed for one request.
const REDIRECTS: u32 = 5;
/// Bytes that make a new request after a broken one count as the first again.
const PROGRESS_BYTES: u64 = 64 << 10;
/// Bytes of a refusal's body that are quoted.
const QUOTED_BYTES: usize = 200;
/// How often a waiting thread looks whether the process is being stopped.
const SLICE: Duration = Duration::from_millis(100);

/// A transfer under way.
pub(super) struct Transfer<'r> {
    root: &'r HttpRoot,
    path: &'r str,
    /// The next byte that the reader gets.
    next: u64,
    /// One behind the last byte wanted.
    end: u64,
    body: Option<Body>,
    /// What the first answer told of the file.
    version: Option<Version>,
    /// Requests since the last progress.
    tries: u32,
    /// Where the last request began.
    asked_from: u64,
}

/// An answer being read.
struct Body {
    response: Response,
    permit: Permit,
    /// One behind its last byte.
    end: u64,
    /// Time spent waiting in the present window, and bytes that came.
    window: (Duration, u64),
}

#[derive(Clone, Debug)]
struct Version {
    etag: Option<String>,
    file_bytes: Option<u64>,
}

/// The answer to one request.
enum Answer {
    Body(Body),
    /// The range begins behind the file's end.
    Ended,
}

impl<'r> Transfer<'r> {
    /// The `length` bytes of the file at `path` from `start` on; nothing is asked for yet.
    pub(super) fn new(root: &'r HttpRoot, path: &'r str, start: u64, length: u64) -> Self {
        let end = start.saturating_add(length);
        Self { root, path, next: start, end, body: None, version: None, tries: 0, asked_from: start }
    }

    /// The file's size, where the server has told it.
    pub(super) fn file_bytes(&self) -> Option<u64> {
        self.version.as_ref().and_then(|version| version.file_bytes)
    }

    /// The file's entity tag, as far as an answer told.
    pub(super) fn etag(&self) -> Option<String> {
        self.version.as_ref().and_then(|version| version.etag.clone())
    }

    /// All bytes.
    pub(super) fn read_all(mut self) -> Result<Vec<u8>, OutsideError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next_piece()? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// The next bytes; none where the range or the file ends.
    pub(super) fn next_piece(&mut self) -> Result<Option<Bytes>, OutsideError> {
        while self.next < self.end {
            match self.step() {
                Ok(Some(piece)) => return Ok(Some(piece)),
                Ok(None) => {}
                Err(cause) => self.failed(cause)?,
            }
        }
        self.body = None;
        Ok(None)
    }

    /// Gets on by a request, a piece or the end.
    fn step(&mut self) -> Result<Option<Bytes>, OutsideError> {
        let Some(body) = &mut self.body else {
            match self.request()? {
                Answer::Body(body) => self.body = Some(body),
                Answer::Ended => self.end = self.next,
            }
            return Ok(None);
        };
        let place = || self.root.place(self.path);
        let Some(piece) = body.piece(self.root, &place)? else {
            if self.next < body.end {
                let cause = format!("the answer ends {} bytes early", body.end - self.next);
                body.permit.failed(&format!("{cause} ({})", place()), None);
                return Err(OutsideError::Connection { place: place(), cause });
            }
            // The file ends before the range does.
            self.end = self.next;
            return Ok(None);
        };
        let piece_bytes = u64::try_from(piece.len()).expect("usize fits u64");
        if piece_bytes > body.end - self.next {
            let cause = format!("it sent more than the bytes up to {} that it tells of", body.end);
            return Err(OutsideError::BadRange { place: place(), cause });
        }
        self.root.counters().bytes(piece_bytes);
        self.root.front().usage().bytes(piece_bytes);
        self.next += piece_bytes;
        Ok(Some(piece))
    }

    /// Decides whether to go on after a failure.
    fn failed(&mut self, cause: OutsideError) -> Result<(), OutsideError> {
        self.body = None;
        if !cause.is_worth_another_request() {
            return Err(cause);
        }
        // A front that fails everybody is the front's fault, else it is this file's.
        if let Some(down) = self.root.front().down() {
            return Err(OutsideError::Unavailable(down));
        }
        if self.next - self.asked_from >= PROGRESS_BYTES {
            self.tries = 0;
        }
        self.tries += 1;
        if self.tries >= TRIES {
            return Err(cause);
        }
        tracing::debug!(%cause, tries = self.tries, "a request failed; trying again");
        self.root.counters().retry();
        self.root.front().usage().retry();
        Ok(())
    }

    /// Asks for what is left, through redirects.
    fn request(&mut self) -> Result<Answer, OutsideError> {
        self.asked_from = self.next;
        let first = self.root.url(self.path)?;
        let (mut url, mut front) = (first.clone(), Arc::clone(self.root.front()));
        for _ in 0..=REDIRECTS {
            let mut permit = front.admit()?;
            self.root.counters().request();
            let response = self.send(&url, &mut permit)?;
            if !response.status().is_redirection() {
                return self.judge(response, permit);
            }
            permit.answered();
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let target = target.and_then(|target| url.join(target).ok());
            let Some(target) = target else {
                return Err(OutsideError::Status { place: self.place(), status: response.status().as_u16() });
            };
            if !self.root.may_be_sent(&url, &target) {
                return Err(OutsideError::Redirected { place: self.place(), target: place_of(&target) });
            }
            if target.origin() != url.origin() {
                // Another server has a budget of its own: the default one, where no root names it.
                front = front::front(&target.origin().ascii_serialization(), None);
            }
            url = target;
        }
        Err(OutsideError::Redirected { place: self.place(), target: format!("more than {REDIRECTS} others") })
    }

    fn send(&self, url: &Url, permit: &mut Permit) -> Result<Response, OutsideError> {
        // Both ends of an HTTP byte range are inclusive (RFC 9110, section 14.1.2). A range to the end of all numbers
        // is one to the end of the file.
        let range = match self.end {
            u64::MAX => format!("bytes={}-", self.next),
            end => format!("bytes={}-{}", self.next, end - 1),
        };
        let mut request = self.root.client().get(url.clone()).header(RANGE, range);
        if let Some(etag) = self.version.as_ref().and_then(|version| version.etag.as_deref()) {
            // A weak one cannot be compared with (RFC 9110, section 13.1.5).
            if !etag.starts_with("W/") {
                request = request.header(IF_RANGE, etag);
            }
        }
        let limit = self.root.limits().answer;
        let sent = self.root.runtime().block_on(within(limit, self.root, request.send()))?;
        let cause = match sent {
            Some(Ok(response)) => return Ok(response),
            Some(Err(cause)) => with_causes(&cause.without_url()),
            None => format!("no answer within {} s", limit.as_secs_f64()),
        };
        permit.failed(&format!("{cause} ({})", self.place()), None);
        Err(OutsideError::Connection { place: self.place(), cause })
    }

    /// Takes an answer for what it is.
    fn judge(&mut self, response: Response, mut permit: Permit) -> Result<Answer, OutsideError> {
        let place = self.place();
        let bad_range = |cause: String| OutsideError::BadRange { place: place.clone(), cause };
        let status = response.status();
        let range = ContentRange::of(&response);
        match status {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::RANGE_NOT_SATISFIABLE => {
                permit.answered();
                return match range.and_then(|range| range.file_bytes) {
                    Some(file_bytes) if file_bytes <= self.next && self.version.is_none() => {
                        self.version = Some(Version { etag: None, file_bytes: Some(file_bytes) });
                        Ok(Answer::Ended)
                    }
                    Some(file_bytes) if file_bytes <= self.next => Err(OutsideError::Changed { place }),
                    _ => Err(OutsideError::Status { place, status: 416 }),
                };
            }
            // What answers `If-Range` where the tag is another; with the same tag the range was ignored.
            StatusCode::OK if self.version.as_ref().is_some_and(|known| !known.has_tag(&response)) => {
                return Err(OutsideError::Changed { place });
            }
            StatusCode::OK => return Err(bad_range("it sent the whole file".to_owned())),
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                permit.answered();
                return Err(OutsideError::Missing { place });
            }
            StatusCode::FORBIDDEN => {
                let words = self.words_of(response);
                let cause = format!("403 for {place}{words}{}", self.root.refusal_hint());
                return Err(OutsideError::Unavailable(permit.forbidden(&cause)));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {}
            other if other.is_server_error() => {}
            other => return Err(OutsideError::Status { place, status: other.as_u16() }),
        }
        if status != StatusCode::PARTIAL_CONTENT {
            let wanted = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let wanted = wanted.and_then(|value| retry_after(value, std::time::SystemTime::now()));
            permit.failed(&format!("{} for {place}", status.as_u16()), wanted);
            return Err(OutsideError::Status { place, status: status.as_u16() });
        }
        let Some(ContentRange { sent: Some((first_sent, last_sent)), file_bytes }) = range else {
            return Err(bad_range("it does not tell which range it sent".to_owned()));
        };
        let wanted_to = self.end.saturating_sub(1);
        let ends_with_file = file_bytes.is_some_and(|file_bytes| last_sent.saturating_add(1) == file_bytes);
        let is_whole = last_sent == wanted_to || (last_sent < wanted_to && ends_with_file);
        if first_sent != self.next || last_sent < first_sent || !is_whole {
            let (first, last) = (self.next, wanted_to);
            return Err(bad_range(format!("it sent bytes {first_sent} to {last_sent} instead of {first} to {last}")));
        }
        let version = Version { etag: text(&response, &ETAG), file_bytes };
        match &self.version {
            Some(known) if !known.is_same(&version) => return Err(OutsideError::Changed { place }),
            Some(_) => {}
            None => self.version = Some(version),
        }
        permit.answered();
        Ok(Answer::Body(Body { response, permit, end: last_sent + 1, window: (Duration::ZERO, 0) }))
    }

    fn place(&self) -> String {
        self.root.place(self.path)
    }

    /// The beginning of a refusal's text: fronts write there whom to turn to.
    fn words_of(&self, mut response: Response) -> String {
        let first = within(self.root.limits().idle, self.root, response.chunk());
        let Ok(Some(Ok(Some(bytes)))) = self.root.runtime().block_on(first) else { return String::new() };
        let text = String::from_utf8_lossy(bytes.get(..QUOTED_BYTES).unwrap_or(&bytes)).into_owned();
        let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
        let words = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        if words.is_empty() { words } else { format!(": {words}") }
    }
}

impl Body {
    /// The next piece of the body, none at its end.
    fn piece(&mut self, root: &HttpRoot, place: &dyn Fn() -> String) -> Result<Option<Bytes>, OutsideError> {
        let limits = root.limits();
        let began = Instant::now();
        let received = root.runtime().block_on(within(limits.idle, root, self.response.chunk()))?;
        let cause = match received {
            Some(Ok(None)) => return Ok(None),
            Some(Ok(Some(piece))) => {
                self.window.0 += began.elapsed();
                self.window.1 += u64::try_from(piece.len()).expect("usize fits u64");
                if self.window.0 < limits.window {
                    return Ok(Some(piece));
                }
                let (_, came) = std::mem::take(&mut self.window);
                if came >= limits.window_bytes {
                    return Ok(Some(piece));
                }
                format!("only {came} bytes came in {} s", limits.window.as_secs_f64())
            }
            Some(Err(cause)) => with_causes(&cause.without_url()),
            None => format!("nothing came for {} s", limits.idle.as_secs_f64()),
        };
        self.permit.failed(&format!("{cause} ({})", place()), None);
        Err(OutsideError::Connection { place: place(), cause })
    }
}

impl Version {
    /// Whether an answer is of this file by its tag.
    fn has_tag(&self, response: &Response) -> bool {
        self.etag.is_some() && self.etag == text(response, &ETAG)
    }

    /// Whether both can be of one file.
    fn is_same(&self, other: &Self) -> bool {
        let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        let sizes_differ =
            self.file_bytes.is_some() && other.file_bytes.is_some() && self.file_bytes != other.file_bytes;
        !differ(&self.etag, &other.etag) && !sizes_differ
    }
}

/// Waits for `future`; none where it takes longer than `limit`.
async fn within<F: Future>(limit: Duration, root: &HttpRoot, future: F) -> Result<Option<F::Output>, OutsideError> {
    let mut future = std::pin::pin!(future);
    let began = Instant::now();
    loop {
        let left = limit.saturating_sub(began.elapsed());
        if let Ok(output) = tokio::time::timeout(left.min(SLICE), future.as_mut()).await {
            return Ok(Some(output));
        }
        if root.front().is_stopping() {
            return Err(OutsideError::Stopping);
        }
        if left <= SLICE {
            return Ok(None);
        }
    }
}

fn text(response: &Response, name: &HeaderName) -> Option<String> {
    response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// A URL for messages: a query may hold a signature.
fn place_of(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
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

/// A transfer as a reader; a failure holds the [`OutsideError`].
pub(super) struct TransferReader<'r> {
    transfer: Transfer<'r>,
    piece: Bytes,
}

impl<'r> TransferReader<'r> {
    pub(super) fn new(transfer: Transfer<'r>) -> Self {
        Self { transfer, piece: Bytes::new() }
    }
}

impl io::Read for TransferReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.piece.is_empty() {
            match self.transfer.next_piece().map_err(io::Error::other)? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(buffer.len());
        let piece = self.piece.split_to(length);
        if let Some(room) = buffer.get_mut(..length) {
            room.copy_from_slice(&piece);
        }
        Ok(length)
    }
}
