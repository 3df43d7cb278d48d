//! A web server for tests: serves a folder on the loopback address, by range, with faults on command.
//!
//! HTTP/1.1, one request a connection. It knows `Range` (`first-last` and `first-`), `ETag` and `If-Range`. Faults
//! come by rules: the next requests, requests of one path, or a seeded share of all; the first rule that fits a
//! request decides. A request's draw depends on the seed, its path and range, and how often it was asked for before,
//! so that the same requests in another order fail the same way.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::rng::Rng;

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status, and a few words.
    Status(u16),
    /// Answers with this status and `Retry-After` in seconds.
    RetryAfter(u16, u32),
    /// Closes the connection without an answer.
    Hang,
    /// Announces the range and closes the connection in its middle.
    ShortBody,
    /// Sends half the range, waits this long, and sends the rest.
    SlowBody(Duration),
    /// Ignores the range: 200 and all bytes.
    WholeFile,
    /// Sends the range that begins a byte later.
    OtherRange,
    /// Sends the range with the `ETag` of another file.
    OtherTag,
    /// Sends the asker elsewhere: 302 to the same path behind this port of the same host.
    Redirect(u16),
}

/// When faults happen.
#[derive(Clone, Debug)]
struct Rule {
    /// Only for paths that contain this.
    path: String,
    /// Requests left that it counts for; it lasts for ever without.
    left: Option<u32>,
    /// Requests in a thousand that fail.
    permille: u32,
    seed: u64,
    faults: Vec<Fault>,
}

#[derive(Debug, Default)]
struct State {
    seen: Mutex<Vec<String>>,
    rules: Mutex<Vec<Rule>>,
    /// How often each request was made, by path and range.
    times: Mutex<HashMap<String, u64>>,
    /// How often each fault was served.
    served: Mutex<BTreeMap<String, u32>>,
    being_sent: AtomicU32,
    widest: AtomicU32,
    body_bytes: AtomicU64,
    stopped: AtomicBool,
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Serves `folder` on a port of its own.
    ///
    /// # Panics
    /// Where the loopback address cannot be bound.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback address has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::new(State::default());
        let (folder, shared) = (folder.to_owned(), Arc::clone(&state));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (folder, shared) = (folder.clone(), Arc::clone(&shared));
                // A client that goes away is no failure of the test.
                std::thread::spawn(move || drop(serve(stream, &folder, &shared)));
            }
        });
        Self { address, state, thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT/`.
    #[must_use]
    pub fn root(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The heads of all requests so far, in lower case.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        lock(&self.state.seen).clone()
    }

    /// How often each fault was served.
    #[must_use]
    pub fn served(&self) -> BTreeMap<String, u32> {
        lock(&self.state.served).clone()
    }

    /// The most ranges that were being sent at once.
    #[must_use]
    pub fn widest(&self) -> u32 {
        self.state.widest.load(Ordering::Relaxed)
    }

    /// Bytes of bodies handed to the network.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.state.body_bytes.load(Ordering::Relaxed)
    }

    /// The next `requests` fail, before any other rule.
    pub fn fail_next(&self, requests: u32, fault: Fault) {
        let rule = Rule { path: String::new(), left: Some(requests), permille: 1000, seed: 0, faults: vec![fault] };
        lock(&self.state.rules).insert(0, rule);
    }

    /// Requests of paths that contain `path` fail.
    pub fn fail_path(&self, path: &str, fault: Fault) {
        let rule = Rule { path: path.to_owned(), left: None, permille: 1000, seed: 0, faults: vec![fault] };
        lock(&self.state.rules).push(rule);
    }

    /// A share of all requests fails, with one of `faults` each.
    pub fn fail_share(&self, seed: u64, permille: u32, faults: &[Fault]) {
        let rule = Rule { path: String::new(), left: None, permille, seed, faults: faults.to_vec() };
        lock(&self.state.rules).push(rule);
    }

    /// Nothing fails any more.
    pub fn recover(&self) {
        lock(&self.state.rules).clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread from its wait for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl State {
    /// The fault of the request for `range` of `path`.
    fn fault(&self, path: &str, range: &str) -> Option<Fault> {
        let key = format!("{path} {range}");
        let time = {
            let mut times = lock(&self.times);
            let time = times.entry(key.clone()).or_default();
            *time += 1;
            *time
        };
        let mut rules = lock(&self.rules);
        for rule in rules.iter_mut() {
            if !path.contains(&rule.path) || rule.left == Some(0) {
                continue;
            }
            if let Some(left) = &mut rule.left {
                *left -= 1;
            }
            // FNV-1a, so that each request has a sequence of its own.
            let hash = key
                .bytes()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            let mut rng = Rng::new(rule.seed ^ hash ^ time.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            if rng.below(1000) < rule.permille {
                let fault = *rng.pick(&rule.faults);
                *lock(&self.served).entry(format!("{fault:?}")).or_default() += 1;
                return Some(fault);
            }
        }
        None
    }
}

/// A request as far as it matters here.
struct Asked {
    path: String,
    /// First byte, and the last one where it is named.
    range: Option<(u64, Option<u64>)>,
    if_range: Option<String>,
}

fn asked(head: &str) -> Asked {
    let path = percent_decoded(head.split(' ').nth(1).unwrap_or("/"));
    let field = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        values.next().map(str::to_owned)
    };
    let range = field("range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
        Some((first.parse().ok()?, last.parse().ok()))
    });
    Asked { path, range, if_range: field("if-range") }
}

/// A range being sent, counted.
struct Sending<'s>(&'s State);

impl<'s> Sending<'s> {
    fn begin(state: &'s State) -> Self {
        let now = state.being_sent.fetch_add(1, Ordering::Relaxed) + 1;
        state.widest.fetch_max(now, Ordering::Relaxed);
        Self(state)
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.being_sent.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(stream: TcpStream, folder: &Path, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let Asked { path, range, if_range } = asked(&head);
    lock(&state.seen).push(head.to_lowercase());
    let fault = state.fault(&path, &format!("{range:?}"));
    let place: PathBuf = folder.join(path.trim_start_matches('/'));
    match fault {
        Some(Fault::Status(status)) => return answer(&mut stream, status, "", b"a message"),
        Some(Fault::RetryAfter(status, seconds)) => {
            return answer(&mut stream, status, &format!("Retry-After: {seconds}\r\n"), b"a message");
        }
        Some(Fault::Hang) => return stream.shutdown(Shutdown::Both),
        Some(Fault::Redirect(port)) => {
            let target = head.split(' ').nth(1).unwrap_or("/");
            return answer(&mut stream, 302, &format!("Location: http://127.0.0.1:{port}{target}\r\n"), b"");
        }
        _ => {}
    }
    let Some(mut file) = File::open(&place).ok().filter(|_| place.is_file()) else {
        return answer(&mut stream, 404, "", b"");
    };
    let metadata = file.metadata()?;
    let file_bytes = metadata.len();
    let modified = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let tag = match fault {
        Some(Fault::OtherTag) => "\"another\"".to_owned(),
        _ => format!("\"{file_bytes:x}-{modified:x}\""),
    };
    let is_other_file = if_range.is_some_and(|wanted| wanted != tag) && fault != Some(Fault::OtherTag);
    let (Some((first, last)), false) = (range, is_other_file || fault == Some(Fault::WholeFile)) else {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        return answer(&mut stream, 200, &format!("ETag: {tag}\r\n"), &bytes);
    };
    let first = if fault == Some(Fault::OtherRange) { first + 1 } else { first };
    if first >= file_bytes {
        return answer(&mut stream, 416, &format!("Content-Range: bytes */{file_bytes}\r\n"), b"");
    }
    let last = last.unwrap_or(u64::MAX).min(file_bytes - 1);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(first))?;
    file.take(last + 1 - first).read_to_end(&mut bytes)?;
    let header = format!("Content-Range: bytes {first}-{last}/{file_bytes}\r\nETag: {tag}\r\n");
    let sending = Sending::begin(state);
    write_head(&mut stream, 206, &header, bytes.len())?;
    let (before, after) = bytes.split_at(bytes.len() / 2);
    stream.write_all(before)?;
    stream.flush()?;
    state.body_bytes.fetch_add(bytes_of(before), Ordering::Relaxed);
    match fault {
        Some(Fault::ShortBody) => return stream.shutdown(Shutdown::Both),
        Some(Fault::SlowBody(time)) => std::thread::sleep(time),
        _ => {}
    }
    // The client may ask for the next one as soon as it has the last byte of this.
    drop(sending);
    stream.write_all(after)?;
    state.body_bytes.fetch_add(bytes_of(after), Ordering::Relaxed);
    stream.flush()
}

fn bytes_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("usize fits u64")
}

fn write_head(stream: &mut TcpStream, status: u16, header: &str, length: usize) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} x\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n")
}

fn answer(stream: &mut TcpStream, status: u16, header: &str, body: &[u8]) -> std::io::Result<()> {
    write_head(stream, status, header, body.len())?;
    stream.write_all(body)?;
    stream.flush()
}

fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let decoded = if byte == b'%' { hex(rest.next()).zip(hex(rest.next())) } else { None };
        let decoded = decoded.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(decoded.unwrap_or(byte));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
