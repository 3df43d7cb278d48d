use std::io::Write;
use std::time::Duration;

use super::http::TimeLimits;
use super::server::{Fault, Server};
use super::*;

const PATH: &str = "a b/file#1%.bin";
const AGENT: &str = "weft-test/0 (test)";

fn folder_with(bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a b")).unwrap();
    replace(folder.path(), bytes);
    folder
}

/// Writes the file anew: another modification time, another tag.
fn replace(folder: &Path, bytes: &[u8]) {
    let file = File::options().write(true).create(true).truncate(true).open(folder.join(PATH));
    file.unwrap().write_all(bytes).unwrap();
}

fn some_bytes(length: usize) -> Vec<u8> {
    (0_u32..).map(|at| u8::try_from((at.wrapping_mul(2_654_435_761) >> 13) % 256).unwrap()).take(length).collect()
}

/// As fast as tests want it.
fn quick() -> FrontBudget {
    FrontBudget { gap: Duration::from_micros(100), connections: 8, first_wait: Duration::from_millis(2) }
}

fn http(server: &Server) -> OutsideRoot {
    OutsideRoot::open_within(&server.root(), AGENT, &quick()).unwrap()
}

fn impatient(server: &Server, change: impl FnOnce(&mut TimeLimits)) -> OutsideRoot {
    let OutsideRoot::Http(mut root) = http(server) else { panic!("an http root") };
    let mut limits = TimeLimits::default();
    change(&mut limits);
    root.set_limits(limits);
    OutsideRoot::Http(root)
}

fn read(mut stream: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

#[test]
fn folder_and_server_give_the_same_bytes() {
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let folder = folder_with(&bytes);
    let server = Server::start(folder.path());
    for root in [OutsideRoot::open(folder.path().to_str().unwrap(), "").unwrap(), http(&server)] {
        assert_eq!(root.len(PATH).unwrap(), 100_000);
        assert_eq!(root.read_range(PATH, 0, 10).unwrap(), bytes[..10]);
        assert_eq!(root.read_range(PATH, 99_990, 10).unwrap(), bytes[99_990..]);
        assert_eq!(root.read_range(PATH, 5, 0).unwrap(), b"");
        assert_eq!(root.read_up_to(PATH, 99_990, 20).unwrap(), bytes[99_990..]);
        assert_eq!(root.read_up_to(PATH, 200_000, 20).unwrap(), b"");
        assert_eq!(root.read_up_to(PATH, u64::MAX - 1, 20).unwrap(), b"");
        let short = root.read_range(PATH, 99_990, 20).unwrap_err();
        assert!(matches!(short, OutsideError::Short { present: 10, wanted: 20, .. }), "{short}");
        assert!(read(root.open_file(PATH).unwrap()).unwrap() == bytes);
        for (start, length, end) in [(0, 10, 10), (5, 0, 5), (99_990, 20, 100_000), (200_000, 20, 200_000)] {
            let streamed = read(root.stream(PATH, start, length).unwrap()).unwrap();
            let start = usize::try_from(start).unwrap();
            assert_eq!(streamed, bytes.get(start..end).unwrap_or_default());
        }
        assert!(matches!(root.read_range("a b/none", 0, 1), Err(OutsideError::Missing { .. })));
        assert!(matches!(root.read_range("a b", 0, 1), Err(OutsideError::Missing { .. })));
    }
    let error = read(http(&server).stream("a b/none", 0, 1).unwrap()).unwrap_err();
    assert!(matches!(OutsideError::of(&error), Some(OutsideError::Missing { .. })), "{error}");
    assert!(server.seen().iter().all(|request| request.contains("user-agent: weft-test/0 (test)")));
}

#[test]
fn an_empty_file_is_read_to_its_end() {
    let folder = folder_with(b"");
    let server = Server::start(folder.path());
    let root = http(&server);
    assert_eq!(root.len(PATH).unwrap(), 0);
    assert_eq!(read(root.open_file(PATH).unwrap()).unwrap(), b"");
}

#[test]
fn a_path_that_leaves_the_root_is_refused() {
    let folder = folder_with(b"x");
    let root = OutsideRoot::open(folder.path().to_str().unwrap(), "").unwrap();
    for path in ["../x", "a/../../x", "/etc/passwd", "a//b", "", ".", "a\\..\\b", "a\0b", "a/"] {
        assert!(matches!(root.read_range(path, 0, 1), Err(OutsideError::Escapes { .. })), "{path:?}");
    }
}

#[test]
fn a_root_that_is_not_there_is_an_error_at_once() {
    let error = OutsideRoot::open("no/such/folder", "").unwrap_err();
    assert_eq!(error.to_string(), "`no/such/folder` is not usable as a root: no such folder");
}

#[test]
fn a_real_host_is_not_asked_without_a_contact() {
    for root in ["https://data.example.org/", "http://192.0.2.1/"] {
        let error = OutsideRoot::open(root, "weft/0.1.0").unwrap_err().to_string();
        assert!(error.contains("contact = \"mailto:you@example.org\""), "{error}");
        OutsideRoot::open(root, "weft/0.1.0 (+mailto:a@b.example)").unwrap();
    }
    let secret = OutsideRoot::open("http://name:secret@127.0.0.1/", "").unwrap_err().to_string();
    assert!(secret.contains("a root holds no password"), "{secret}");
}

#[test]
fn a_server_that_recovers_is_asked_again() {
    for fault in [
        Fault::Status(503),
        Fault::Status(429),
        Fault::Status(500),
        Fault::Hang,
        Fault::ShortBody,
        Fault::WholeFile,
        Fault::OtherRange,
    ] {
        let folder = folder_with(b"0123456789");
        let server = Server::start(folder.path());
        server.fail_next(2, fault);
        let root = http(&server);
        assert_eq!(root.read_range(PATH, 2, 6).unwrap(), b"234567", "{fault:?}");
        assert_eq!(server.seen().len(), 3, "{fault:?}");
        assert_eq!(root.usage(), Usage { requests: 3, retries: 2, bytes: 6 }, "{fault:?}");
    }
}

#[test]
fn a_server_that_does_not_recover_is_left_after_five_tries_and_the_task_waits() {
    let folder = folder_with(b"0123456789");
    let server = Server::start(folder.path());
    server.fail_next(100, Fault::Status(503));
    let root = http(&server);
    let error = root.read_range(PATH, 2, 3).unwrap_err();
    let OutsideError::Unavailable(unavailable) = &error else { panic!("{error}") };
    assert!(unavailable.until_ms.is_some() && unavailable.cause.starts_with("503 for http://127.0.0.1"), "{error}");
    assert!(server.root().starts_with(&unavailable.front));
    assert!(matches!(error.interruption(), Some(StageError::Unavailable(_))));
    assert_eq!(server.seen().len(), 5);
}

#[test]
fn forbidden_stops_the_front_at_the_first_answer() {
    let folder = folder_with(b"0123456789");
    let server = Server::start(folder.path());
    server.fail_next(1, Fault::Status(403));
    let root = http(&server);
    let error = root.read_range(PATH, 2, 3).unwrap_err();
    assert!(matches!(error, OutsideError::Unavailable(Unavailable { until_ms: None, .. })), "{error}");
    // With the words of the server; and another root of it asks for nothing, either.
    let error = http(&server).read_range(PATH, 2, 3).unwrap_err().to_string();
    assert!(error.ends_with(&format!("403 for {}a%20b/file%231%25.bin: a message", server.root())), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn an_answer_that_is_not_the_range_is_noticed() {
    for fault in [Fault::WholeFile, Fault::OtherRange] {
        let folder = folder_with(b"0123456789");
        let server = Server::start(folder.path());
        server.fail_next(100, fault);
        let error = http(&server).read_range(PATH, 2, 3).unwrap_err();
        assert!(matches!(error, OutsideError::BadRange { .. }), "{error}");
        assert!(!error.is_retryable() && error.interruption().is_none());
    }
}

#[test]
fn a_file_sent_whole_by_accident_is_not_read() {
    let folder = folder_with(&some_bytes(8 << 20));
    let server = Server::start(folder.path());
    server.fail_next(1, Fault::WholeFile);
    let root = http(&server);
    assert_eq!(root.read_range(PATH, 2, 3).unwrap().len(), 3);
    assert_eq!(root.usage().bytes, 3);
}

#[test]
fn a_stream_is_one_request_and_goes_on_where_it_broke() {
    let bytes = some_bytes(3_000_000);
    let folder = folder_with(&bytes);
    let server = Server::start(folder.path());
    let root = http(&server);
    assert!(read(root.open_file(PATH).unwrap()).unwrap() == bytes);
    assert_eq!(server.seen().len(), 1);
    server.fail_next(6, Fault::ShortBody);
    assert!(read(root.stream(PATH, 1_000, 2_500_000).unwrap()).unwrap() == bytes[1_000..2_501_000]);
    let seen = server.seen();
    assert_eq!(seen.len(), 8, "each of six breaks halves what is left");
    assert!(seen[1].contains("range: bytes=1000-2500999") && !seen[1].contains("if-range"));
    assert!(seen[2].contains("range: bytes=1251000-2500999") && seen[2].contains("if-range: \""), "{}", seen[2]);
    // Nothing came twice.
    assert_eq!(root.usage().bytes, 3_000_000 + 2_500_000);
    assert_eq!(root.usage().retries, 6);
}

#[test]
fn a_file_that_changes_inside_a_stream_is_an_error() {
    let folder = folder_with(&some_bytes(1_000_000));
    let server = Server::start(folder.path());
    server.fail_next(1, Fault::ShortBody);
    let root = http(&server);
    let mut stream = root.stream(PATH, 0, 1_000_000).unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    replace(folder.path(), &some_bytes(1_000_001));
    let error = read(stream).unwrap_err();
    assert!(matches!(OutsideError::of(&error), Some(OutsideError::Changed { .. })), "{error}");
}

#[test]
fn a_server_that_knows_no_if_range_is_seen_through_by_its_tag() {
    let folder = folder_with(&some_bytes(1_000_000));
    let server = Server::start(folder.path());
    server.fail_next(1, Fault::OtherTag);
    server.fail_next(1, Fault::ShortBody);
    let error = read(http(&server).stream(PATH, 0, 1_000_000).unwrap()).unwrap_err();
    assert!(matches!(OutsideError::of(&error), Some(OutsideError::Changed { .. })), "{error}");
}

#[test]
fn a_range_of_a_file_that_has_changed_is_read_anew() {
    let folder = folder_with(&some_bytes(1_000_000));
    let server = Server::start(folder.path());
    server.fail_next(1, Fault::OtherTag);
    server.fail_next(1, Fault::ShortBody);
    let root = http(&server);
    assert!(root.read_range(PATH, 0, 1_000_000).unwrap() == some_bytes(1_000_000));
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_body_that_stands_still_is_left_and_resumed() {
    let folder = folder_with(b"0123456789");
    let server = Server::start(folder.path());
    server.fail_next(1, Fault::SlowBody(Duration::from_secs(20)));
    let root = impatient(&server, |limits| limits.idle = Duration::from_millis(300));
    let begun = std::time::Instant::now();
    assert_eq!(root.read_range(PATH, 0, 10).unwrap(), b"0123456789");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(server.seen()[1].contains("range: bytes=5-9"));
}

#[test]
fn a_body_that_crawls_is_left() {
    let folder = folder_with(b"0123456789");
    let server = Server::start(folder.path());
    server.fail_next(100, Fault::SlowBody(Duration::from_millis(200)));
    let root = impatient(&server, |limits| {
        (limits.window, limits.window_bytes) = (Duration::from_millis(100), 1_000_000);
    });
    let OutsideError::Connection { cause, .. } = root.read_range(PATH, 0, 10).unwrap_err() else { panic!("too slow") };
    assert!(cause.starts_with("only ") && cause.ends_with(" bytes came in 0.1 s"), "{cause}");
}

#[test]
fn a_server_that_does_not_answer_is_left() {
    let folder = folder_with(b"0123456789");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(folder.path());
    let root = format!("http://{}/", silent.local_addr().unwrap());
    let OutsideRoot::Http(mut root) = OutsideRoot::open_within(&root, AGENT, &quick()).unwrap() else { panic!() };
    root.set_limits(TimeLimits { answer: Duration::from_millis(50), ..TimeLimits::default() });
    let error = OutsideRoot::Http(root).read_range(PATH, 0, 1).unwrap_err().to_string();
    assert!(error.contains("no answer within 0.05 s"), "{error}");
    drop(server);
}

#[test]
fn redirects_are_followed_to_another_server_too_and_are_bounded() {
    let folder = folder_with(b"0123456789");
    let (server, other) = (Server::start(folder.path()), Server::start(folder.path()));
    let port = |server: &Server| server.root().trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap();
    server.fail_next(5, Fault::Redirect(port(&server)));
    assert_eq!(http(&server).read_range(PATH, 2, 3).unwrap(), b"234");
    assert_eq!(server.seen().len(), 6);
    server.fail_next(6, Fault::Redirect(port(&server)));
    assert!(matches!(http(&server).read_range(PATH, 2, 3), Err(OutsideError::Redirected { .. })));
    server.recover();
    server.fail_next(1, Fault::Redirect(port(&other)));
    assert_eq!(http(&server).read_range(PATH, 2, 3).unwrap(), b"234");
    assert_eq!(other.seen().len(), 1);
    // What fails there is that server's failure, and waited for as its own budget says.
    drop(http(&other));
    server.fail_next(100, Fault::Redirect(port(&other)));
    other.fail_next(2, Fault::Status(503));
    assert_eq!(http(&server).read_range(PATH, 2, 3).unwrap(), b"234");
    assert_eq!(other.seen().len(), 4);
}

#[test]
fn the_budget_of_connections_holds_over_all_roots_of_a_server() {
    let folder = folder_with(&some_bytes(1000));
    let server = Server::start(folder.path());
    server.fail_path("", Fault::SlowBody(Duration::from_millis(20)));
    let budget = FrontBudget { connections: 3, ..quick() };
    let roots: Vec<_> = (0..4).map(|_| OutsideRoot::open_within(&server.root(), AGENT, &budget).unwrap()).collect();
    std::thread::scope(|scope| {
        for root in &roots {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(root.read_range(PATH, 0, 1000).unwrap().len(), 1000));
            }
        }
    });
    assert_eq!(server.seen().len(), 16);
    assert!((2..=3).contains(&server.widest()), "{}", server.widest());
}

#[test]
fn counters_are_of_one_task_where_it_asks_for_that() {
    let folder = folder_with(b"0123456789");
    let server = Server::start(folder.path());
    let root = http(&server);
    let (one, two) = (root.counted(), root.counted());
    one.read_range(PATH, 0, 4).unwrap();
    two.read_range(PATH, 0, 6).unwrap();
    assert_eq!((one.usage().bytes, two.usage().bytes, root.usage().bytes), (4, 6, 0));
    let front = fronts().into_iter().find(|report| server.root().starts_with(&report.front)).unwrap();
    assert_eq!(front.usage, Usage { requests: 2, retries: 0, bytes: 10 });
}
