//! A web server on the loopback address that answers as a test says, and remembers what it was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One request; a connection serves one.
pub(super) struct Request<'a> {
    pub(super) path: &'a str,
}

impl Request<'_> {
    pub(super) fn answer(&self, stream: &mut TcpStream, status: u16, headers: &str, body: &[u8]) {
        self.answer_head(stream, status, &format!("{headers}Content-Length: {}\r\n", body.len()));
        stream.write_all(body).ok();
    }

    pub(super) fn answer_head(&self, stream: &mut TcpStream, status: u16, headers: &str) {
        // A client may have gone: that is no failure of the server.
        write!(stream, "HTTP/1.1 {status} x\r\nConnection: close\r\n{headers}\r\n").ok();
    }

    /// Sends a picture's beginning and then zeros, until the client goes away.
    pub(super) fn endless(&self, stream: &mut TcpStream, pause: Duration) {
        if self.path == "/robots.txt" {
            return self.answer(stream, 404, "", b"");
        }
        self.answer_head(stream, 200, "");
        let mut piece = b"\x89PNG\r\n\x1a\n".to_vec();
        piece.resize(1000, 0);
        while stream.write_all(&piece).is_ok() {
            std::thread::sleep(pause);
        }
    }
}

#[derive(Default)]
struct Seen {
    paths: Mutex<Vec<String>>,
    starts: Mutex<Vec<Instant>>,
    connections: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
    stopped: AtomicBool,
}

/// A running server; it stops when dropped.
pub(super) struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Server {
    pub(super) fn start(answer: impl Fn(&Request<'_>, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (shared, answer) = (Arc::clone(&seen), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (seen, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream.unwrap(), &seen, &*answer));
            }
        });
        Self { address, seen }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The paths asked for, in order.
    pub(super) fn paths(&self) -> Vec<String> {
        self.seen.paths.lock().unwrap().clone()
    }

    /// When each request came.
    pub(super) fn starts(&self) -> Vec<Instant> {
        self.seen.starts.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// The most requests that were served at one time.
    pub(super) fn most_at_once(&self) -> usize {
        self.seen.most.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.seen.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread from its wait for a connection.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(mut stream: TcpStream, seen: &Seen, answer: &dyn Fn(&Request<'_>, &mut TcpStream)) {
    seen.connections.fetch_add(1, Ordering::Relaxed);
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
    let Some(path) = head.split(' ').nth(1) else { return };
    seen.paths.lock().unwrap().push(path.to_owned());
    seen.starts.lock().unwrap().push(Instant::now());
    let now = seen.now.fetch_add(1, Ordering::Relaxed) + 1;
    seen.most.fetch_max(now, Ordering::Relaxed);
    answer(&Request { path }, &mut stream);
    seen.now.fetch_sub(1, Ordering::Relaxed);
}
