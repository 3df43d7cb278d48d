//! The crawl's front: what it does wrong costs time and nothing else.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use weft_tinyweb::server::{Fault, Server};

use crate::support::{Said, digests, reports, repository, run_tiny, tiny_args, weft, write};

/// What goes wrong now and then with any front.
pub(crate) const MISHAPS: [Fault; 9] = [
    Fault::Status(503),
    Fault::RetryAfter(503, 0),
    Fault::Status(500),
    Fault::Status(429),
    Fault::Hang,
    Fault::ShortBody,
    Fault::SlowBody(Duration::from_millis(20)),
    Fault::WholeFile,
    Fault::OtherRange,
];
/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A budget for tests: fast, and with little back-off.
pub(crate) fn front_section(requests_per_second: u32, first_wait: &str) -> String {
    format!("[front]\nrequests_per_second = {requests_per_second}\nconnections = 4\nfirst_wait = \"{first_wait}\"\n")
}

/// The tiny crawl behind a server.
fn tiny_server() -> Server {
    Server::start(&repository().join("manifests/tiny/crawl"))
}

/// Arguments that make the tiny recipe read its crawl from `root`.
fn tiny_from(folder: &Path, root: &str, front: &str) -> Vec<String> {
    let manifest = format!(
        "kind = \"crawl\"\nname = \"WEFT-TINY-2019-18\"\nroot = \"{root}\"\n\
         index = \"cc-index/collections/WEFT-TINY-2019-18/indexes\"\n{front}"
    );
    let path = folder.join("crawl.toml");
    write(&path, manifest.as_bytes());
    vec!["--set".to_owned(), format!("crawl.manifest={}", path.display())]
}

fn status(output: &Path, extra: &[String]) -> Said {
    let args = tiny_args(output).into_iter().filter(|arg| arg != "run" && arg != "--quiet");
    let said: Said = weft().arg("status").args(args).args(extra).output().unwrap().into();
    assert_eq!(said.code, Some(0), "{}", said.err);
    said
}

fn start(output: &Path, extra: &[String]) -> Child {
    weft()
        .args(tiny_args(output))
        .args(["--workers", "1"])
        .args(extra)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_for(child: &mut Child, what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "the run ended ({ended:?}) before: {what}");
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ended(child: Child) -> (Option<i32>, String) {
    let said = child.wait_with_output().unwrap();
    (said.status.code(), String::from_utf8_lossy(&said.stderr).into_owned())
}

fn done(output: &Path, stage: &str) -> usize {
    if !output.join("tables").exists() {
        return 0;
    }
    reports(output).values().filter(|report| report["stage"] == stage).count()
}

#[test]
fn a_front_with_every_kind_of_mishap_gives_the_same_shards() {
    let (plain, output, folder) = (tempdir(), tempdir(), tempdir());
    run_tiny(plain.path(), &[]);
    let server = tiny_server();
    server.fail_share(2019, 150, &MISHAPS);
    let extra = tiny_from(folder.path(), &server.root(), &front_section(2000, "2ms"));
    let extra: Vec<&str> = extra.iter().map(String::as_str).chain(["--json"]).collect();
    let said = run_tiny(output.path(), &extra);
    assert_eq!(digests(&output.path().join("shards")), digests(&plain.path().join("shards")));

    // All of them happened, and what was asked is told.
    let served = server.served();
    assert_eq!(served.len(), MISHAPS.len(), "{served:?}");
    let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let usage = &told["fronts"][0]["usage"];
    assert_eq!(usage["requests"].as_u64().unwrap(), u64::try_from(server.seen().len()).unwrap(), "{usage}");
    assert!(usage["retries"].as_u64().unwrap() > 0, "{usage}");
    assert!(server.seen().iter().all(|head| head.contains("user-agent: weft/")));
    assert!(server.widest() <= 4, "{}", server.widest());
}

#[test]
fn a_front_that_fails_for_a_while_holds_up_nothing_else() {
    let (plain, output, folder) = (tempdir(), tempdir(), tempdir());
    run_tiny(plain.path(), &[]);
    let server = tiny_server();
    let extra = tiny_from(folder.path(), &server.root(), &front_section(100, "20ms"));
    let mut child = start(output.path(), &extra);
    wait_for(&mut child, "a page is fetched", || done(output.path(), "fetch") > 0);
    server.fail_path("", Fault::Status(503));
    let fetched = done(output.path(), "fetch");
    wait_for(&mut child, "the front is told of", || {
        status(output.path(), &extra).out.contains("does not serve since 20")
    });
    // What needs no front goes on.
    wait_for(&mut child, "a page is read", || done(output.path(), "extract") >= fetched);
    let told = status(output.path(), &extra).out;
    let front = server.root().trim_end_matches('/').to_owned();
    let line = told.lines().find(|line| line.starts_with(&format!("front {front}"))).unwrap();
    assert!(line.contains("Z: 503 for http://127.0.0.1") && line.contains("; next try 20"), "{line}");
    server.recover();
    let (code, err) = ended(child);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("its tasks wait, and the run goes on elsewhere"), "{err}");
    assert_eq!(digests(&output.path().join("shards")), digests(&plain.path().join("shards")));
    let told = status(output.path(), &extra).out;
    assert!(told.contains(&format!("front {front}: serves; ")) && !told.contains("unavailable:"), "{told}");
}

#[test]
fn an_index_that_cannot_be_had_for_a_while_is_waited_for() {
    let (plain, output, folder) = (tempdir(), tempdir(), tempdir());
    run_tiny(plain.path(), &[]);
    let server = tiny_server();
    server.fail_path("cdx-", Fault::Status(502));
    let extra = tiny_from(folder.path(), &server.root(), &front_section(1000, "20ms"));
    let mut child = start(output.path(), &extra);
    wait_for(&mut child, "the run waits", || {
        let told = status(output.path(), &extra).out;
        told.contains(": 502 for http://127.0.0.1") && told.contains("/cdx-00000.gz; next try 20")
    });
    // Many times more than a task may fail otherwise.
    wait_for(&mut child, "it has been tried again", || server.served()["Status(502)"] > 7);
    server.recover();
    let (code, err) = ended(child);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(err.matches("nothing else to do: ").count(), 1, "{err}");
    assert_eq!(digests(&output.path().join("shards")), digests(&plain.path().join("shards")));
}

#[test]
fn a_front_that_forbids_is_left_alone_and_the_run_says_so() {
    let (plain, output, folder) = (tempdir(), tempdir(), tempdir());
    run_tiny(plain.path(), &[]);
    let server = tiny_server();
    let extra = tiny_from(folder.path(), &server.root(), &front_section(100, "20ms"));
    let mut child = start(output.path(), &extra);
    wait_for(&mut child, "a page is fetched", || done(output.path(), "fetch") > 0);
    server.fail_path("", Fault::Status(403));
    let fetched = done(output.path(), "fetch");
    let (code, err) = ended(child);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("could not be served by http://127.0.0.1") && err.contains(": a message; leave it"), "{err}");
    // No more than were under way together.
    let refused = server.served()["Status(403)"];
    assert!((1..=4).contains(&refused), "{refused}");
    assert!(done(output.path(), "extract") >= fetched, "what needs no front was done");
    let told = status(output.path(), &extra).out;
    assert!(told.contains("not asked again in that run"), "{told}");

    server.recover();
    let extra: Vec<&str> = extra.iter().map(String::as_str).collect();
    run_tiny(output.path(), &extra);
    assert_eq!(digests(&output.path().join("shards")), digests(&plain.path().join("shards")));
}

#[test]
fn ctrl_c_ends_a_run_that_waits_for_a_front_at_once() {
    for fault in [Fault::RetryAfter(503, 3600), Fault::RetryAfter(503, 25)] {
        let (output, folder) = (tempdir(), tempdir());
        let server = tiny_server();
        // The first is waited for by the run, the second within the request.
        server.fail_path("crawl-data", fault);
        let extra = tiny_from(folder.path(), &server.root(), &front_section(1000, "10ms"));
        let mut child = start(output.path(), &extra);
        wait_for(&mut child, "the front has refused", || !server.served().is_empty());
        std::thread::sleep(Duration::from_millis(500));
        let interrupted = Instant::now();
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
        let (code, err) = ended(child);
        assert_eq!(code, Some(130), "{err}");
        assert!(interrupted.elapsed() < Duration::from_secs(5), "{:?}", interrupted.elapsed());
    }
}

#[test]
fn a_real_host_is_not_asked_by_a_recipe_without_a_contact() {
    for root in ["https://crawl.invalid/", "s3://crawl/"] {
        let (output, folder) = (tempdir(), tempdir());
        let extra = tiny_from(folder.path(), root, "");
        let mut command = weft();
        command.env_remove("AWS_ENDPOINT_URL").args(tiny_args(output.path())).args(extra);
        let said: Said = command.output().unwrap().into();
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.err.contains("contact = \"mailto:you@example.org\"") && said.err.contains(root), "{}", said.err);
    }
}

fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}
