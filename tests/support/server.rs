//! A web server on the loopback address: serves a folder, with ranges, entity tags and a log of what was asked.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// Below the root, percent escapes undone.
    pub(crate) path: String,
    pub(crate) status: u16,
    /// Of the body.
    pub(crate) bytes: u64,
    /// The product, version and contact that asked.
    pub(crate) user_agent: String,
}

struct State {
    folder: PathBuf,
    answered: Mutex<Vec<Answered>>,
    is_stopped: AtomicBool,
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
        let state = State { folder: folder.to_owned(), answered: Mutex::default(), is_stopped: AtomicBool::new(false) };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                // A client that goes away is no failure of the test.
                std::thread::spawn(move || serve(&stream, &shared).ok());
            }
        });
        Self { address, state, thread: Some(thread) }
    }

    pub(crate) fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far.
    pub(crate) fn answered(&self) -> Vec<Answered> {
        self.state.answered.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.is_stopped.store(true, Ordering::Relaxed);
        // Wakes the thread from its wait for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Answers the requests of one connection until it is closed.
fn serve(stream: &TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while reader.read_line(&mut head)? > 2 {}
        if head.is_empty() || state.is_stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        let path = percent_decoded(head.split(' ').nth(1).unwrap_or("/")).trim_start_matches('/').to_owned();
        let field = |name: &str| {
            let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let user_agent = field("user-agent").unwrap_or_default();
        let range = field("range");
        let (status, header, body) = answer(&state.folder.join(&path), range.as_deref())?;
        let bytes = u64::try_from(body.len()).unwrap();
        write!(writer, "HTTP/1.1 {status} x\r\n{header}Content-Length: {bytes}\r\n\r\n")?;
        writer.write_all(&body)?;
        writer.flush()?;
        state.answered.lock().unwrap().push(Answered { path, status, bytes, user_agent });
    }
}

/// Status, header lines and body.
fn answer(place: &Path, range: Option<&str>) -> std::io::Result<(u16, String, Vec<u8>)> {
    let Some(mut file) = File::open(place).ok().filter(|_| place.is_file()) else {
        return Ok((404, String::new(), Vec::new()));
    };
    let file_bytes = file.metadata()?.len();
    let mut whole = Vec::new();
    file.read_to_end(&mut whole)?;
    let tag = format!("ETag: \"{}\"\r\n", blake3::hash(&whole).to_hex());
    let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range.and_then(|(first, last)| {
        let last = if last.is_empty() { file_bytes.saturating_sub(1) } else { last.parse::<u64>().ok()? };
        Some((first.parse::<u64>().ok()?, last))
    }) else {
        return Ok((200, tag, whole));
    };
    if first >= file_bytes {
        return Ok((416, format!("Content-Range: bytes */{file_bytes}\r\n"), Vec::new()));
    }
    let last = last.min(file_bytes - 1);
    let mut body = Vec::new();
    file.seek(SeekFrom::Start(first))?;
    file.take(last + 1 - first).read_to_end(&mut body)?;
    Ok((206, format!("{tag}Content-Range: bytes {first}-{last}/{file_bytes}\r\n"), body))
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
