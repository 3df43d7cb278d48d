mod server;

use std::io::{Cursor, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

use serde_json::json;
use weft_core::stage::{Crawl, OutsideFile};
use weft_core::tables::Rejects;
use weft_core::testing::{context, give, written};

use self::server::Server;
use super::*;

/// A PNG file of `width` by `height` pixels, each another shade.
pub(super) fn png(width: u32, height: u32) -> Vec<u8> {
    let shade = |value: u32| u8::try_from(value % 256).unwrap();
    let picture =
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([shade(x * 3), shade(y * 5), shade(x + y)]));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn candidate<'a>(image_index: u32, image_url: &'a str) -> CandidatesRow<'a> {
    CandidatesRow {
        document_id: "d",
        image_index,
        image_url,
        page_timestamp: "20190418120000",
        alt: Some("what it shows"),
        width_hint_px: None,
        height_hint_px: None,
        follows_sentence: Some(3),
        page_wishes: None,
    }
}

fn resources() -> Resources {
    Resources { user_agent: "weft/0.1 (+test)".to_owned(), ..Resources::default() }
}

/// From the web, at once, from a server on this machine.
fn web() -> Config {
    Config {
        from: vec![Origin::Web],
        min_delay: Duration::ZERO,
        deadline: Duration::from_secs(5),
        allow_addresses: vec![Ipv4Addr::LOCALHOST.into()],
        ..Config::default()
    }
}

struct Downloaded {
    tally: Tally,
    context: Context,
}

impl Downloaded {
    /// Reason and evidence of each reject.
    fn rejects(&self) -> Vec<(String, String)> {
        written::<Rejects, _>(&self.context, |row| (row.reason.to_owned(), row.evidence.to_owned()))
    }

    fn reasons(&self) -> Vec<String> {
        self.rejects().into_iter().map(|(reason, _)| reason).collect()
    }

    /// Index, final URL, origin and fetch time of each image.
    fn images(&self) -> Vec<(u32, String, String, String)> {
        written::<Images, _>(&self.context, |row| {
            (row.image_index, row.final_url.to_owned(), row.origin.to_owned(), row.fetched.to_owned())
        })
    }
}

fn download_with(config: Config, resources: &Resources, mut context: Context, urls: &[String]) -> Downloaded {
    give::<Candidates>(&mut context, (0..).zip(urls).map(|(index, url)| candidate(index, url)));
    let tally = Download::open(config, resources).unwrap().run(ShardId(0), &context).unwrap();
    Downloaded { tally, context }
}

fn download(config: Config, urls: &[String]) -> Downloaded {
    download_with(config, &resources(), context(), urls)
}

/// What a host was asked for after its robots.txt, sorted: of images that wait for its one connection, any may be next.
fn robots_first(paths: &[String]) -> Vec<&str> {
    assert_eq!(paths.first().map(String::as_str), Some("/robots.txt"));
    let mut rest: Vec<&str> = paths.iter().skip(1).map(String::as_str).collect();
    rest.sort_unstable();
    rest
}

#[test]
fn a_picture_is_measured_as_it_came_and_stored_bounded() {
    let server = Server::start(|request, stream| match request.path {
        "/moved" => request.answer(stream, 302, "Location: /a/../large.png\r\n", b""),
        "/large.png" => request.answer(stream, 200, "Content-Type: text/html\r\n", &png(1000, 500)),
        _ => request.answer(stream, 404, "", b""),
    });
    let downloaded = download(web(), &[server.url("/moved"), server.url("/gone.png")]);
    assert_eq!(downloaded.reasons(), ["status_404"]);
    let images = downloaded.images();
    assert_eq!((images[0].0, &images[0].1, images[0].2.as_str()), (0, &server.url("/large.png"), "web"));
    assert!(clock::seconds_of(&images[0].3).is_some());
    let rows = written::<Images, _>(&downloaded.context, |row| {
        let sides = (row.width_px, row.height_px, row.stored_width_px, row.stored_height_px);
        (row.format.to_owned(), row.source_bytes, row.blake3.to_owned(), sides, row.image_url.to_owned())
    });
    let bytes = png(1000, 500);
    let blake3 = blake3::hash(&bytes).to_string();
    let source_bytes = u64::try_from(bytes.len()).unwrap();
    assert_eq!(rows, [("png".to_owned(), source_bytes, blake3, (1000, 500, 800, 400), server.url("/moved"))]);
    let stored = written::<Pixels, _>(&downloaded.context, |row| decode(row.bytes, &Limits::default()).unwrap());
    assert_eq!((stored[0].format.name(), stored[0].rgb.width_px(), stored[0].rgb.height_px()), ("jpeg", 800, 400));
    assert_eq!(downloaded.tally.counts[&Unit::Candidates].kept, 1);
    assert_eq!(robots_first(&server.paths()), ["/gone.png", "/large.png", "/moved"]);
}

#[test]
fn original_bytes_are_kept_where_they_are_small_enough() {
    let server = Server::start(|request, stream| match request.path {
        "/small.png" => request.answer(stream, 200, "", &png(60, 40)),
        "/large.png" => request.answer(stream, 200, "", &png(900, 10)),
        _ => request.answer(stream, 404, "", b""),
    });
    let config = Config { encoding: Encoding::Original, ..web() };
    let downloaded = download(config, &[server.url("/small.png"), server.url("/large.png")]);
    let stored = written::<Pixels, _>(&downloaded.context, |row| row.bytes.to_vec());
    assert_eq!(stored[0], png(60, 40));
    assert_eq!(decode(&stored[1], &Limits::default()).unwrap().format.name(), "jpeg");
}

#[test]
fn hostile_answers_become_reasons() {
    let server = Server::start(|request, stream| match request.path {
        "/endless.png" => request.endless(stream, Duration::ZERO),
        "/slow.png" => request.endless(stream, Duration::from_millis(50)),
        "/claims.png" => request.answer_head(stream, 200, "Content-Length: 99999999\r\n"),
        "/loop.png" => request.answer(stream, 301, "Location: /loop.png#again\r\n", b""),
        "/inside.png" => request.answer(stream, 302, "Location: http://169.254.169.254/latest/meta-data\r\n", b""),
        "/file.png" => request.answer(stream, 302, "Location: file:///etc/passwd\r\n", b""),
        "/nowhere.png" => request.answer(stream, 302, "", b""),
        "/page.png" => request.answer(stream, 200, "Content-Type: text/html\r\n", b"<html><p>gone</p>"),
        "/empty.png" => request.answer(stream, 200, "", b""),
        "/cut.png" => request.answer(stream, 200, "", &png(60, 40)[..300]),
        "/bomb.png" => request.answer(stream, 200, "", &png(3000, 1)),
        "/unwanted.png" => request.answer(
            stream,
            200,
            "X-Robots-Tag: otherbot: noindex, noai\r\nX-Robots-Tag: nofollow, NoAI\r\n",
            &png(60, 40),
        ),
        "/others.png" => request.answer(stream, 200, "X-Robots-Tag: otherbot: noai\r\n", &png(60, 40)),
        path if path.starts_with("/chain") => {
            let location = format!("Location: {path}0\r\n");
            request.answer(stream, 307, &location, b"")
        }
        _ => request.answer(stream, 404, "", b""),
    });
    let mut context = context();
    context.limits.image_bytes = 64 << 10;
    context.limits.image_side_px = 2000;
    let paths = [
        ("/endless.png", "image_too_large"),
        ("/slow.png", "timed_out"),
        ("/claims.png", "image_too_large"),
        ("/loop.png", "too_many_redirects"),
        ("/inside.png", "address_forbidden"),
        ("/file.png", "bad_redirect"),
        ("/nowhere.png", "bad_redirect"),
        ("/page.png", "not_decodable"),
        ("/empty.png", "empty_body"),
        ("/cut.png", "not_decodable"),
        ("/bomb.png", "too_many_pixels"),
        ("/unwanted.png", "opted_out"),
        ("/chain", "too_many_redirects"),
    ];
    let mut urls: Vec<String> = paths.iter().map(|(path, _)| server.url(path)).collect();
    urls.push(server.url("/others.png"));
    let config = Config { deadline: Duration::from_millis(600), ..web() };
    let began = Instant::now();
    let downloaded = download_with(config, &resources(), context, &urls);
    assert!(began.elapsed() < Duration::from_secs(10));
    let reasons = downloaded.rejects();
    let expected: Vec<&str> = paths.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(reasons.iter().map(|(reason, _)| reason.as_str()).collect::<Vec<_>>(), expected, "{reasons:?}");
    assert!(reasons[4].1.contains("169.254.169.254 is link-local"), "{}", reasons[4].1);
    assert!(reasons[11].1.ends_with("/unwanted.png: noai"), "{}", reasons[11].1);
    assert_eq!(downloaded.images().len(), 1);
    // One of robots.txt, one of each path, and the redirects: five more of the chain.
    assert_eq!(server.paths().len(), 1 + paths.len() + 1 + 5);
}

#[test]
fn what_robots_txt_forbids_is_never_asked_for() {
    let server = Server::start(|request, stream| match request.path {
        "/robots.txt" => {
            request.answer(stream, 200, "", b"user-agent: *\ndisallow: /\n\nuser-agent: weft\ndisallow: /private\n")
        }
        _ => request.answer(stream, 200, "", &png(60, 40)),
    });
    let urls = ["/private/a.png", "/public/a.png", "/private/b.png"].map(|path| server.url(path));
    let downloaded = download(web(), &urls);
    assert_eq!(downloaded.reasons(), ["opted_out", "opted_out"]);
    assert!(downloaded.rejects()[0].1.ends_with(": Disallow: /private"), "{:?}", downloaded.rejects());
    assert_eq!(server.paths(), ["/robots.txt", "/public/a.png"]);
}

#[test]
fn a_robots_txt_that_fails_forbids_all_and_one_that_is_absent_nothing() {
    let server = Server::start(|request, stream| match request.path {
        "/robots.txt" => request.answer(stream, 503, "", b""),
        _ => request.answer(stream, 200, "", &png(60, 40)),
    });
    let downloaded = download(web(), &[server.url("/a.png"), server.url("/b.png")]);
    assert_eq!(downloaded.reasons(), ["opted_out", "opted_out"]);
    assert!(downloaded.rejects()[0].1.ends_with("/robots.txt answers 503"), "{:?}", downloaded.rejects());
    assert_eq!(server.paths(), ["/robots.txt"]);

    let moved = Server::start(|request, stream| match request.path {
        "/robots.txt" => request.answer(stream, 301, "Location: /elsewhere\r\n", b""),
        "/elsewhere" => request.answer(stream, 200, "", b"user-agent: *\ndisallow: /a.png\n"),
        _ => request.answer(stream, 200, "", &png(60, 40)),
    });
    let downloaded = download(web(), &[moved.url("/a.png"), moved.url("/b.png")]);
    assert_eq!(downloaded.reasons(), ["opted_out"]);
    assert_eq!(moved.paths(), ["/robots.txt", "/elsewhere", "/b.png"]);
}

#[test]
fn an_address_inside_is_never_connected_to() {
    let server = Server::start(|request, stream| request.answer(stream, 200, "", &png(60, 40)));
    let port = server.address().port();
    let config = Config { allow_addresses: Vec::new(), ..web() };
    let hosts = ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"];
    let urls = hosts.map(|host| format!("http://{host}:{port}/a.png"));
    let downloaded = download(config, &urls);
    assert_eq!(downloaded.reasons(), ["address_forbidden"; 7], "{:?}", downloaded.rejects());
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_server_that_is_not_there_is_a_reason() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.png", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(download(web(), &[url]).reasons(), ["connect_failed"]);
}

#[test]
fn one_host_gets_one_request_at_a_time_and_rests_between() {
    let server = Server::start(|request, stream| {
        std::thread::sleep(Duration::from_millis(20));
        request.answer(stream, 200, "", &png(60, 40));
    });
    let config = Config { min_delay: Duration::from_millis(60), ..web() };
    let urls: Vec<String> = (0..5).map(|number| server.url(&format!("/{number}.png"))).collect();
    let downloaded = download(config, &urls);
    let indices: Vec<u32> = downloaded.images().into_iter().map(|(index, ..)| index).collect();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
    assert_eq!(server.most_at_once(), 1);
    let starts = server.starts();
    for pair in starts.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(80), "{:?}", pair[1] - pair[0]);
    }
}

#[test]
fn a_page_that_does_not_want_it_keeps_its_images_out() {
    let server = Server::start(|request, stream| match request.path {
        "/robots.txt" => request.answer(stream, 404, "", b""),
        _ => request.answer(stream, 200, "", &png(60, 40)),
    });
    let url = server.url("/a.png");
    let wishes = [
        ("robots: noindex, noai", true),
        ("weft: noimageai", true),
        ("x-robots-tag: otherbot: noai", false),
        ("googlebot: noai\nx-robots-tag: noimageindex", true),
        ("googlebot: noai", false),
        ("robots: noindex", false),
    ];
    for (wish, is_out) in wishes {
        let mut context = context();
        give::<Candidates>(&mut context, [CandidatesRow { page_wishes: Some(wish), ..candidate(0, &url) }]);
        let tally = Download::open(web(), &resources()).unwrap().run(ShardId(0), &context).unwrap();
        assert_eq!(tally.counts[&Unit::Candidates].kept == 0, is_out, "{wish}");
    }
}

#[test]
fn a_stopped_run_does_not_wait_for_a_slow_host() {
    let server = Server::start(|request, stream| request.endless(stream, Duration::from_millis(50)));
    let mut context = context();
    let cancelled = Arc::clone(&context.cancelled);
    let url = server.url("/a.png");
    give::<Candidates>(&mut context, [candidate(0, &url)]);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let config = Config { deadline: Duration::from_secs(30), ..web() };
    let began = Instant::now();
    let error = Download::open(config, &resources()).unwrap().run(ShardId(0), &context).unwrap_err();
    assert!(matches!(error, StageError::Cancelled));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_section_that_makes_no_sense_is_refused() {
    let refused = |config| Download::open(config, &resources()).unwrap_err().to_string();
    assert!(refused(Config { from: Vec::new(), ..Config::default() }).contains("names no origin"));
    assert!(refused(Config { from: vec![Origin::Web, Origin::Web], ..Config::default() }).contains("twice"));
    assert!(refused(Config { max_side_px: 0, ..web() }).contains("max_side_px"));
    assert!(refused(Config { jpeg_quality: 101, ..web() }).contains("jpeg_quality"));
    assert!(refused(Config::default()).contains("crawl"), "no crawl is named");
    let nameless = Resources::default();
    assert!(Download::open(web(), &nameless).unwrap_err().to_string().contains("user agent"));
    let config: Config = serde_json::from_value(json!({"from": ["archive", "web"], "deadline": "3s"})).unwrap();
    assert_eq!((config.from, config.deadline), (vec![Origin::Archive, Origin::Web], Duration::from_secs(3)));
}

/// A small crawl in a folder: one WARC file and its index, two lines a block.
struct Archived {
    folder: tempfile::TempDir,
    warc: Vec<u8>,
    lines: Vec<String>,
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn save(path: &Path, bytes: &[u8]) {
    std::fs::File::options().write(true).create_new(true).open(path).unwrap().write_all(bytes).unwrap();
}

impl Archived {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), warc: Vec::new(), lines: Vec::new() }
    }

    /// Adds a capture: its HTTP head without the last empty line, and its body.
    fn add(&mut self, url: &str, timestamp: &str, status: u16, headers: &str, body: &[u8]) {
        let mut block = format!("HTTP/1.1 {status} x\r\n{headers}\r\n").into_bytes();
        block.extend_from_slice(body);
        let mut record = format!(
            "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2019-04-18T12:00:00Z\r\n\
             Content-Type: application/http; msgtype=response\r\nContent-Length: {}\r\n\r\n",
            block.len()
        )
        .into_bytes();
        record.extend_from_slice(&block);
        record.extend_from_slice(b"\r\n\r\n");
        let stored = gzip(&record);
        let capture = json!({
            "url": url, "status": status.to_string(), "mime": "image/png", "filename": "a.warc.gz",
            "offset": self.warc.len().to_string(), "length": stored.len().to_string(),
        });
        let urlkey = crate::formats::surt::urlkey(url).unwrap();
        self.lines.push(format!("{urlkey} {timestamp} {capture}\n"));
        self.warc.extend_from_slice(&stored);
    }

    fn resources(&mut self) -> Resources {
        let root = self.folder.path();
        self.lines.sort();
        let (mut shard, mut cluster) = (Vec::new(), String::new());
        for (number, block) in self.lines.chunks(2).enumerate() {
            let stored = gzip(block.concat().as_bytes());
            let mut words = block[0].split(' ');
            let (urlkey, timestamp) = (words.next().unwrap(), words.next().unwrap());
            let (offset, length) = (shard.len(), stored.len());
            cluster += &format!("{urlkey} {timestamp}\tcdx-00000.gz\t{offset}\t{length}\t{}\n", number + 1);
            shard.extend_from_slice(&stored);
        }
        save(&root.join("a.warc.gz"), &self.warc);
        std::fs::create_dir(root.join("index")).unwrap();
        save(&root.join("index/cdx-00000.gz"), &shard);
        save(&root.join("index/cluster.idx"), cluster.as_bytes());
        Resources { crawl: Some(crawl(root, "index")), ..resources() }
    }
}

fn crawl(root: &Path, index: &str) -> Crawl {
    Crawl {
        name: "TEST".to_owned(),
        root: root.display().to_string(),
        index: index.to_owned(),
        cluster: OutsideFile {
            name: "cluster.idx".to_owned(),
            location: root.join(index).join("cluster.idx"),
            digest: String::new(),
            bytes: 0,
        },
    }
}

#[test]
fn the_archive_gives_the_capture_nearest_to_the_page() {
    let mut archived = Archived::new();
    let url = "http://a.example/a.png";
    archived.add(url, "20190101000000", 200, "", &png(10, 10));
    archived.add(url, "20190418110000", 200, "", &png(11, 10));
    archived.add(url, "20190418115959", 404, "", b"");
    archived.add(url, "20190418120000", 301, "Location: /b.png\r\n", b"");
    archived.add(url, "20190418130000", 200, "", &png(13, 10));
    archived.add("http://a.example/b.png", "20190418120000", 200, "", &png(20, 10));
    let resources = archived.resources();
    let downloaded = download_with(Config::default(), &resources, context(), &[format!("{url}#fragment")]);
    let sizes = written::<Images, _>(&downloaded.context, |row| row.width_px);
    assert_eq!(sizes, [11], "both are an hour away: the first one");
    assert_eq!(downloaded.images(), [(0, url.to_owned(), "archive".to_owned(), "20190418110000".to_owned())]);
    assert_eq!(downloaded.tally.facts["images_from_archive_count"], 1);
}

#[test]
fn archived_redirects_are_followed_within_the_archive() {
    let mut archived = Archived::new();
    let time = "20190418120000";
    archived.add("http://a.example/1.png", time, 302, "Location: /2.png\r\n", b"");
    archived.add("http://a.example/2.png", time, 301, "Location: //b.example/3.png\r\n", b"");
    archived.add("http://b.example/3.png", time, 200, "Content-Encoding: gzip\r\n", &gzip(&png(30, 20)));
    archived.add("http://a.example/out.png", time, 302, "Location: http://c.example/\r\n", b"");
    archived.add("http://a.example/loop.png", time, 302, "Location: /loop.png\r\n", b"");
    archived.add("http://a.example/none.png", time, 302, "", b"");
    archived.add("http://a.example/gone.png", time, 302, "Location: /410.png\r\n", b"");
    archived.add("http://a.example/410.png", time, 410, "", b"");
    archived.add("http://a.example/wish.png", time, 200, "X-Robots-Tag: noai\r\n", &png(30, 20));
    archived.add("http://a.example/empty.png", time, 200, "", b"");
    archived.add("http://a.example/text.png", time, 200, "", b"<html>");
    let resources = archived.resources();
    let names = ["1", "out", "loop", "none", "gone", "wish", "empty", "text", "unknown"];
    let urls = names.map(|name| format!("http://a.example/{name}.png"));
    let downloaded = download_with(Config::default(), &resources, context(), &urls);
    assert_eq!(
        downloaded.reasons(),
        [
            "redirect_target_not_in_archive",
            "too_many_redirects",
            "bad_redirect",
            "status_410",
            "opted_out",
            "empty_body",
            "not_decodable",
            "not_in_archive",
        ]
    );
    let images = downloaded.images();
    assert_eq!((images.len(), images[0].1.as_str()), (1, "http://b.example/3.png"));
}

#[test]
fn a_capture_of_another_url_with_the_same_urlkey_counts_only_where_it_may() {
    let mut archived = Archived::new();
    archived.add("http://www.a.example/a.png", "20190418120000", 200, "", &png(30, 20));
    archived.add("http://a.example/b%7E.png", "20190418120000", 200, "", &png(30, 20));
    let resources = archived.resources();
    let urls = ["https://a.example/a.png".to_owned(), "http://A.example:80/b%7E.png".to_owned()];
    let strict = download_with(Config::default(), &resources, context(), &urls);
    assert_eq!(strict.reasons(), ["not_in_archive"], "the second one is another spelling of the same URL");
    let config = Config { same_urlkey: true, ..Config::default() };
    let loose = download_with(config, &resources, context(), &urls);
    assert_eq!(loose.images()[0].1, "http://www.a.example/a.png");
}

#[test]
fn a_record_that_cannot_be_read_is_the_images_fault_and_a_block_is_the_tasks() {
    let mut archived = Archived::new();
    archived.add("http://a.example/a.png", "20190418120000", 200, "", &png(30, 20));
    archived.lines[0] = archived.lines[0].replace("a.warc.gz", "b.warc.gz");
    archived.add("http://a.example/b.png", "20190418120000", 200, "", &png(30, 20));
    let damaged = archived.warc.len() - 20;
    archived.warc[damaged] ^= 0xff;
    archived.add("http://a.example/c.png", "20190418120000", 200, "", &png(30, 20));
    archived.lines[2] = archived.lines[2].replace("c.png", "d.png");
    let resources = archived.resources();
    let urls = ["a", "b", "d"].map(|name| format!("http://a.example/{name}.png"));
    let downloaded = download_with(Config::default(), &resources, context(), &urls);
    assert_eq!(downloaded.reasons(), ["warc_missing", "record_damaged", "record_of_other_url"]);

    let shard = archived.folder.path().join("index/cdx-00000.gz");
    std::fs::File::options().write(true).open(shard).unwrap().write_all(b"no gzip").unwrap();
    let mut context = context();
    give::<Candidates>(&mut context, [candidate(0, &urls[0])]);
    let error = Download::open(Config::default(), &resources).unwrap().run(ShardId(0), &context).unwrap_err();
    assert!(error.to_string().starts_with("index block `index/cdx-00000.gz at 0` is not usable"), "{error}");
}

#[test]
fn the_web_is_asked_for_what_the_archive_lacks() {
    let server = Server::start(|request, stream| match request.path {
        "/b.png" => request.answer(stream, 200, "", &png(60, 40)),
        _ => request.answer(stream, 404, "", b""),
    });
    let mut archived = Archived::new();
    archived.add(&server.url("/a.png"), "20190418120000", 200, "", &png(30, 20));
    archived.add(&server.url("/wish.png"), "20190418120000", 200, "X-Robots-Tag: noai\r\n", &png(30, 20));
    let resources = archived.resources();
    let config = Config { from: vec![Origin::Archive, Origin::Web], ..web() };
    let urls = ["/a.png", "/b.png", "/c.png", "/wish.png"].map(|path| server.url(path));
    let downloaded = download_with(config, &resources, context(), &urls);
    let origins: Vec<String> = downloaded.images().into_iter().map(|(_, _, origin, _)| origin).collect();
    assert_eq!(origins, ["archive", "web"]);
    assert_eq!(downloaded.reasons(), ["status_404", "opted_out"]);
    assert!(downloaded.rejects()[0].1.starts_with("not_in_archive: "), "{:?}", downloaded.rejects());
    assert_eq!(robots_first(&server.paths()), ["/b.png", "/c.png"]);
}

#[test]
fn images_of_archive_org_are_those_of_the_reference() {
    let Some(root) = std::env::var_os("WEFT_CONFORMANCE") else {
        eprintln!("SKIPPED: WEFT_CONFORMANCE is not set");
        return;
    };
    let root = Path::new(&root).join("archive-org");
    let expected: serde_json::Value =
        serde_json::from_reader(std::fs::File::open(root.join("expected.json")).unwrap()).unwrap();
    let index = "cc-index/collections/AO-MAIN-2008-18/indexes";
    let resources = Resources { crawl: Some(crawl(&root, index)), ..resources() };
    let wanted = expected["images"].as_object().unwrap();
    let urls: Vec<String> = wanted.keys().cloned().collect();
    let downloaded = download_with(Config::default(), &resources, context(), &urls);

    let mut reasons: std::collections::BTreeMap<String, String> =
        written::<Rejects, _>(&downloaded.context, |row| (row.image_url.unwrap().to_owned(), row.reason.to_owned()))
            .into_iter()
            .collect();
    let mut matched = 0;
    let images = written::<Images, _>(&downloaded.context, |row| {
        (
            row.image_url.to_owned(),
            json!({
                "bytes": row.source_bytes, "sha256": row.sha256, "format": row.format.to_uppercase(),
                "width": row.width_px, "height": row.height_px, "resized": [row.stored_width_px, row.stored_height_px],
            }),
            row.phash,
        )
    });
    for (url, found, phash) in images {
        let image = &wanted[&url];
        for (name, value) in found.as_object().unwrap() {
            assert_eq!(*value, image[name], "{name} of {url}");
        }
        let reference = u64::from_str_radix(image["phash"].as_str().unwrap(), 16).unwrap();
        let is_lossless = image["format"] != "JPEG";
        let tolerance = if is_lossless { 0 } else { 2 + image["phash_bits_near_median"].as_u64().unwrap() };
        assert!(u64::from((phash ^ reference).count_ones()) <= tolerance, "{url}");
        matched += 1;
    }
    for (url, image) in wanted {
        let reason = reasons.remove(url);
        match image["found"].as_str().unwrap() {
            "exact" if image["decoded"] == true => assert_eq!(reason, None, "{url}"),
            "exact" => assert!(reason.is_some(), "{url}"),
            "none" => assert_eq!(reason.as_deref(), Some("not_in_archive"), "{url}"),
            other => assert_eq!(reason.as_deref(), Some(other), "{url}"),
        }
    }
    assert_eq!(matched, expected["summary"]["distinct_decoded"].as_u64().unwrap());
}
