//! A web server for tests: serves a folder on the loopback address, with ranges, and with faults on demand.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What the server does wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Answers with this status.
    Status(u16),
    /// Closes the connection without an answer.
    Hang,
    /// Announces the range and closes the connection inside it.
    ShortBody,
    /// Ignores the range: 200 and all bytes.
    WholeFile,
    /// Sends the range that begins a byte later.
    OtherRange,
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<String>>,
    faults: Mutex<(u32, Option<Fault>)>,
    stopped: AtomicBool,
}

/// A running server; it stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let (folder, shared) = (folder.to_owned(), Arc::clone(&state));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    return;
                }
                // A client that goes away is no failure of the test.
                serve(stream.unwrap(), &folder, &shared).ok();
            }
        });
        Self { address, state, thread: Some(thread) }
    }

    pub(crate) fn root(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The heads of all requests so far, in lower case.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().clone()
    }

    pub(crate) fn fail_next(&self, requests: u32, fault: Fault) {
        *self.state.faults.lock().unwrap() = (requests, Some(fault));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread from its wait for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn serve(stream: TcpStream, folder: &Path, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let path = percent_decoded(head.split(' ').nth(1).unwrap_or("/"));
    let head = head.to_lowercase();
    let range = head.split_once("range: bytes=").and_then(|(_, rest)| {
        let (first, rest) = rest.split_once('-')?;
        Some((first.parse::<u64>().ok()?, rest.lines().next()?.trim().parse::<u64>().ok()?))
    });
    state.seen.lock().unwrap().push(head);
    let fault = {
        let mut faults = state.faults.lock().unwrap();
        let fault = faults.1.filter(|_| faults.0 > 0);
        faults.0 = faults.0.saturating_sub(1);
        fault
    };
    let place: PathBuf = folder.join(path.trim_start_matches('/'));
    let file = File::open(&place).ok().filter(|_| place.is_file());
    let (Some(mut file), Some((first, last))) = (file, range) else {
        return answer(&mut stream, 404, "", b"");
    };
    let file_bytes = file.metadata()?.len();
    match fault {
        Some(Fault::Status(status)) => return answer(&mut stream, status, "", b"a message"),
        Some(Fault::Hang) => return stream.shutdown(Shutdown::Both),
        Some(Fault::WholeFile) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            return answer(&mut stream, 200, "", &bytes);
        }
        Some(Fault::ShortBody | Fault::OtherRange) | None => {}
    }
    let first = if matches!(fault, Some(Fault::OtherRange)) { first + 1 } else { first };
    if first >= file_bytes {
        return answer(&mut stream, 416, &format!("Content-Range: bytes */{file_bytes}\r\n"), b"");
    }
    let last = last.min(file_bytes - 1);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(first))?;
    file.take(last + 1 - first).read_to_end(&mut bytes)?;
    let header = format!("Content-Range: bytes {first}-{last}/{file_bytes}\r\n");
    if matches!(fault, Some(Fault::ShortBody)) {
        write!(stream, "HTTP/1.1 206 x\r\n{header}Content-Length: {}\r\n\r\n", bytes.len())?;
        stream.write_all(&bytes[..bytes.len() / 2])?;
        return stream.shutdown(Shutdown::Both);
    }
    answer(&mut stream, 206, &header, &bytes)
}

fn answer(stream: &mut TcpStream, status: u16, header: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} x\r\n{header}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    stream.flush()
}

fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}
