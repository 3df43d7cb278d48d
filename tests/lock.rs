//! Sources at addresses: read from where they lie, pinned at first use, and refused when they are others.

use std::path::{Path, PathBuf};

use weft_tinyweb::{Shape, make, write as write_web};

use crate::support::server::Server;
use crate::support::{Said, digests, read, weft, write};
use crate::tiny::recipe_for;

const SUMMARY: &str = "crawl/cc-index/collections/WEFT-TINY-2019-18/indexes/cluster.idx";
const DOCUMENTS: &str = "docs/c4-tiny.00000-of-00002.json.gz";

/// A web and a server of it, and a recipe for both in a folder of its own.
struct Served {
    web: tempfile::TempDir,
    server: Server,
    own: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        let (web, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_web(&make(&Shape::default()), web.path()).unwrap();
        write(&web.path().join("crawl/warc.paths"), b"crawl-data/a.warc.gz\ncrawl-data/b.warc.gz\n\n");
        let server = Server::start(web.path());
        let recipe = recipe_for(own.path());
        write(&own.path().join("recipe.toml"), recipe.as_bytes());
        let source = format!(
            "kind = \"c4\"\nname = \"c4-tiny\"\nroot = \"{}\"\n[[files]]\n\
             pattern = \"docs/c4-tiny.{{:05}}-of-00002.json.gz\"\ncount = 2\n",
            server.root()
        );
        write(&own.path().join("source.toml"), source.as_bytes());
        let crawl = format!(
            "kind = \"crawl\"\nname = \"WEFT-TINY-2019-18\"\nroot = \"{}/crawl\"\n\
             index = \"cc-index/collections/WEFT-TINY-2019-18/indexes\"\n[lists]\nwarc = \"warc.paths\"\n{}",
            server.root(),
            crate::fronts::front_section(2000, "2ms")
        );
        write(&own.path().join("crawl.toml"), crawl.as_bytes());
        Self { web, server, own }
    }

    fn weft(&self, command: &str, output: &str, extra: &[&str]) -> Said {
        let output = self.own.path().join(output);
        let mut args = vec![command.to_owned(), self.own.path().join("recipe.toml").display().to_string()];
        args.extend(["--output".to_owned(), output.display().to_string()]);
        weft().args(args).args(extra).output().unwrap().into()
    }

    fn run(&self, output: &str, until: &str) -> Said {
        self.weft("run", output, &["--quiet", "--set", &format!("until={until}")])
    }

    fn place(&self, name: &str) -> PathBuf {
        self.own.path().join(name)
    }

    fn locks(&self) -> Vec<toml::Table> {
        ["source.lock.toml", "crawl.lock.toml"]
            .map(|name| String::from_utf8(read(&self.place(name))).unwrap().parse().unwrap())
            .to_vec()
    }
}

fn assert_done(said: &Said) {
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}

/// The tables of an output by what they hold, whatever their fingerprints.
fn tables(output: &Path) -> Vec<(String, String)> {
    let stage = |name: &str| name.split('/').next().unwrap().to_owned();
    let mut tables: Vec<(String, String)> = digests(&output.join("tables"))
        .into_iter()
        .filter(|(name, _)| name.ends_with(".parquet"))
        .map(|(name, digest)| (stage(&name), digest))
        .collect();
    tables.sort();
    tables
}

#[test]
fn streamed_sources_give_the_tables_of_local_ones_and_are_pinned_as_they_are_learned() {
    let served = Served::new();
    assert_done(&served.run("out", "fetch"));
    // The same web in a folder.
    write(&served.web.path().join("recipe.toml"), recipe_for(served.web.path()).as_bytes());
    let local = served.web.path().join("recipe.toml").display().to_string();
    let output = served.place("local").display().to_string();
    let args = ["run", &local, "--quiet", "--output", &output, "--set", "until=fetch"];
    assert_done(&weft().args(args).output().unwrap().into());
    assert_eq!(tables(&served.place("out")), tables(&served.place("local")));
    assert!(served.server.answered().iter().all(|answered| answered.user_agent.starts_with("weft/")));

    let locks = served.locks();
    let files = locks[0]["files"].as_table().unwrap();
    assert_eq!(files.len(), 2);
    for (name, pinned) in files {
        let bytes = read(&served.web.path().join(name));
        let sha256 = pinned["sha256"].as_str().unwrap();
        assert_eq!(sha256, sha256_of(&bytes), "{name}");
        assert_eq!(pinned["bytes"].as_integer().unwrap(), i64::try_from(bytes.len()).unwrap());
        assert_eq!(pinned["address"].as_str().unwrap(), format!("{}/{name}", served.server.root()));
        assert!(pinned["etag"].as_str().unwrap().starts_with('"'));
    }
    let files = locks[1]["files"].as_table().unwrap();
    assert_eq!(files["warc.paths"]["entries"].as_integer(), Some(2));
    let summary = read(&served.web.path().join(SUMMARY));
    let pinned = &files["cc-index/collections/WEFT-TINY-2019-18/indexes/cluster.idx"];
    assert_eq!(pinned["sha256"].as_str().unwrap(), sha256_of(&summary));
    let blocks = summary.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(pinned["entries"].as_integer().unwrap(), i64::try_from(blocks).unwrap());
}

fn sha256_of(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_recipe_run_again_asks_nobody_and_does_nothing() {
    let served = Served::new();
    assert_done(&served.run("out", "ingest"));
    let locks = served.locks();
    let asked = served.server.answered().len();
    let again = served.run("out", "ingest");
    assert_done(&again);
    assert!(again.out.contains("nothing to do"), "{}", again.out);
    assert_eq!(served.server.answered().len(), asked);
    assert_eq!(served.locks(), locks);
    // What became known meanwhile changes no identity in another output either.
    assert_done(&served.run("other", "ingest"));
    let fingerprints = |output: &str| {
        let names = digests(&served.place(output).join("tables")).into_keys();
        names.map(|name| name.split('/').take(3).collect::<Vec<_>>().join("/")).collect::<Vec<_>>()
    };
    assert_eq!(fingerprints("out"), fingerprints("other"));
}

#[test]
fn a_source_that_changed_since_it_was_pinned_stops_the_run_with_both() {
    let served = Served::new();
    assert_done(&served.weft("plan", "out", &[]));
    let locks = served.locks();
    assert!(locks[0]["files"][DOCUMENTS].get("sha256").is_none());
    let pinned = locks[0]["files"][DOCUMENTS]["etag"].as_str().unwrap().to_owned();
    let place = served.web.path().join(DOCUMENTS);
    let mut bytes = read(&place);
    bytes.extend_from_slice(b"more");
    write(&place, &bytes);
    let refused = served.run("out", "ingest");
    assert_eq!(refused.code, Some(1), "{}{}", refused.out, refused.err);
    for words in [DOCUMENTS, &pinned, &format!("of {} bytes", bytes.len()), "lock file"] {
        assert!(refused.err.contains(words), "`{words}` is not in: {}", refused.err);
    }
}

#[test]
fn bytes_that_changed_under_one_tag_are_found_by_their_digest() {
    let served = Served::new();
    assert_done(&served.run("out", "ingest"));
    // As if the server had sent other bytes under the same tag: the lock knows another digest.
    let place = served.place("source.lock.toml");
    let text = String::from_utf8(read(&place)).unwrap();
    let sha256 = sha256_of(&read(&served.web.path().join(DOCUMENTS)));
    let other = "0".repeat(64);
    write(&place, text.replace(&sha256, &other).as_bytes());
    let refused = served.run("other", "ingest");
    assert_eq!(refused.code, Some(1), "{}{}", refused.out, refused.err);
    for words in [sha256.as_str(), other.as_str(), DOCUMENTS] {
        assert!(refused.err.contains(words), "`{words}` is not in: {}", refused.err);
    }
}

#[test]
fn an_index_summary_that_changed_stops_the_run_with_both_digests() {
    let served = Served::new();
    assert_done(&served.weft("plan", "out", &[]));
    let place = served.web.path().join(SUMMARY);
    let before = read(&place);
    let mut after = before.clone();
    after.extend_from_slice(b"zz)/ 20190418000000\tcdx-00001.gz\t0\t1\t99\n");
    write(&place, &after);
    let refused = served.weft("plan", "other", &[]);
    assert_eq!(refused.code, Some(1), "{}{}", refused.out, refused.err);
    for words in [sha256_of(&before), sha256_of(&after), "crawl.lock.toml".to_owned()] {
        assert!(refused.err.contains(&words), "`{words}` is not in: {}", refused.err);
    }
}

#[test]
fn the_shipped_manifests_of_c4_and_its_crawl_name_their_files() {
    let text = |name: &str| {
        let path = crate::support::repository().join("manifests/sources").join(name);
        String::from_utf8(read(&path)).unwrap().parse::<toml::Table>().unwrap()
    };
    let source = text("c4-en.toml");
    let counts = source["files"].as_array().unwrap().iter().map(|entry| entry["count"].as_integer().unwrap());
    assert_eq!(counts.collect::<Vec<_>>(), [1_024, 8]);
    let crawl = text("cc-main-2019-18.toml");
    assert_eq!(crawl["root"].as_str(), Some("https://data.commoncrawl.org"));
    for (kind, list) in crawl["lists"].as_table().unwrap() {
        let path = list.as_str().unwrap();
        assert!(path.starts_with("crawl-data/CC-MAIN-2019-18/") && path.ends_with(".paths.gz"), "{kind}: {path}");
    }
}
