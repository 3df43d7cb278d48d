//! Other ways in: what becomes of documents that do not come as C4 writes them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::Value;
use weft_tinyweb::{Served, Shape, Web, make, pages_served, write as write_web};

use crate::support::{Funnel, Said, funnel, read, weft, write};

/// The made web in a folder of its own, and the tiny recipe over it.
fn own_web() -> (tempfile::TempDir, Web, toml::Table) {
    let folder = tempfile::tempdir().unwrap();
    let web = make(&Shape::default());
    write_web(&web, folder.path()).unwrap();
    let recipe = crate::tiny::recipe_for(folder.path()).parse().unwrap();
    (folder, web, recipe)
}

/// Puts another source under the recipe and writes both.
fn with_source(folder: &Path, mut recipe: toml::Table, manifest: &str) -> PathBuf {
    write(&folder.join("other-source.toml"), manifest.as_bytes());
    let manifest = toml::Value::String("other-source.toml".to_owned());
    recipe["source"].as_table_mut().unwrap().insert("manifest".to_owned(), manifest);
    let path = folder.join("other.toml");
    write(&path, recipe.to_string().as_bytes());
    path
}

fn run(recipe: &Path, output: &Path, extra: &[&str]) -> Said {
    let mut command = weft();
    command.arg("run").arg(recipe).arg("--output").arg(output).args(["--quiet", "--json"]).args(extra);
    command.output().unwrap().into()
}

fn verified(recipe: &Path, output: &Path) {
    let said: Said = weft().arg("verify").arg(recipe).arg("--output").arg(output).output().unwrap().into();
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}

fn kept(funnel: &Funnel, stage: &str, unit: &str) -> u64 {
    funnel[&(stage.to_owned(), unit.to_owned())].1
}

/// A table's rows, as `weft inspect` tells them.
fn rows(table: &str, recipe: &Path, output: &Path) -> Vec<Value> {
    let mut command = weft();
    command.args(["inspect", table, "--json", "--recipe"]).arg(recipe).arg("--output").arg(output);
    let said: Said = command.output().unwrap().into();
    assert_eq!(said.code, Some(0), "{}", said.err);
    let mut rows: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    rows.sort_by_key(Value::to_string);
    rows
}

/// The documents of the shards in MMC4's form, by url.
fn shards(output: &Path, name: &str) -> BTreeMap<String, Value> {
    let manifest: Value = serde_json::from_slice(&read(&output.join(format!("shards/{name}.json")))).unwrap();
    let mut documents = BTreeMap::new();
    for file in manifest["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        if path.ends_with(".jsonl") {
            for line in String::from_utf8(read(&output.join(path))).unwrap().lines() {
                let document: Value = serde_json::from_str(line).unwrap();
                documents.insert(document["url"].as_str().unwrap().to_owned(), document);
            }
        }
    }
    documents
}

/// The documents of the tiny web that are well-formed lines.
fn tiny_lines(folder: &Path) -> Vec<Value> {
    let mut lines = Vec::new();
    for name in ["c4-tiny.00000-of-00002.json.gz", "c4-tiny.00001-of-00002.json.gz"] {
        let unpacked =
            std::process::Command::new("gzip").arg("-dc").arg(folder.join("docs").join(name)).output().unwrap();
        assert!(unpacked.status.success());
        for line in unpacked.stdout.split(|&byte| byte == b'\n') {
            lines.extend(serde_json::from_slice::<Value>(line).ok());
        }
    }
    assert!(lines.len() > 50);
    lines
}

#[test]
fn json_lines_and_parquet_give_the_documents_that_c4_gives() {
    let (folder, _, recipe) = own_web();
    let c4_recipe = folder.path().join("c4.toml");
    write(&c4_recipe, recipe.to_string().as_bytes());
    let c4_output = folder.path().join("out-c4");
    assert_eq!(run(&c4_recipe, &c4_output, &["--set", "until=locate"]).code, Some(0));
    let (documents, captures) = (rows("documents", &c4_recipe, &c4_output), rows("captures", &c4_recipe, &c4_output));

    let lines = tiny_lines(folder.path());
    let column = |name: &str| lines.iter().map(|line| line[name].as_str().unwrap()).collect::<Vec<_>>();
    let json: Vec<String> = lines
        .iter()
        .map(|line| {
            serde_json::json!({"n": 1, "body": line["text"], "seen": line["timestamp"], "link": line["url"]})
                .to_string()
        })
        .collect();
    write(&folder.path().join("docs/all.jsonl"), json.join("\n").as_bytes());
    let texts = |name| Arc::new(StringArray::from(column(name))) as ArrayRef;
    let batch =
        RecordBatch::try_from_iter([("link", texts("url")), ("body", texts("text")), ("seen", texts("timestamp"))]);
    let batch = batch.unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    write(&folder.path().join("docs/all.parquet"), &writer.into_inner().unwrap());

    for kind in ["jsonl", "parquet"] {
        let manifest = format!(
            "kind = \"{kind}\"\nname = \"own\"\nroot = \"docs\"\n\
             [columns]\ntext = \"body\"\nurl = \"link\"\ntimestamp = \"seen\"\n[[files]]\nname = \"all.{kind}\"\n"
        );
        let path = with_source(folder.path(), recipe.clone(), &manifest);
        let output = folder.path().join(format!("out-{kind}"));
        let ran = run(&path, &output, &["--set", "until=locate"]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert_eq!(rows("documents", &path, &output), documents, "{kind}");
        assert_eq!(rows("captures", &path, &output), captures, "{kind}");
    }
}

#[test]
fn the_tiny_webs_own_archives_run_through_to_shards_as_a_source() {
    let (folder, web, recipe) = own_web();
    let manifest = "kind = \"warc\"\nname = \"own\"\nroot = \"crawl/crawl-data/WEFT-TINY-2019-18/segments/1/warc\"\n\
                    [[files]]\npattern = \"WEFT-TINY-{:05}.warc.gz\"\ncount = 3\n";
    let path = with_source(folder.path(), recipe, manifest);
    let output = folder.path().join("out");
    let ran = run(&path, &output, &["--set", "stages.download.from=[\"archive\"]"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    verified(&path, &output);
    let funnel = funnel(&ran.out);
    assert!(!funnel.keys().any(|(stage, _)| ["locate", "fetch", "extract"].contains(&stage.as_str())));
    assert!(kept(&funnel, "ingest", "documents") > 40, "{}", ran.out);
    assert!(kept(&funnel, "download", "candidates") > 100, "{}", ran.out);
    assert!(kept(&funnel, "interleave", "documents") > 10, "{}", ran.out);

    // What was written on each page is what is read off it, and each picture has its place.
    let of_page: BTreeMap<&str, &Vec<String>> =
        web.truth.documents.iter().map(|document| (document.url.as_str(), &document.sentences)).collect();
    let (mut told, mut found) = (0, 0);
    for outline in rows("outlines", &path, &output) {
        let Some(sentences) = of_page.get(outline["url"].as_str().unwrap()) else { continue };
        let read: Vec<&str> =
            outline["sentences"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        told += sentences.len();
        found += sentences.iter().filter(|sentence| read.contains(&sentence.as_str())).count();
    }
    println!("{found} of {told} sentences of the tiny web's pages are found");
    assert!(told > 200 && found * 100 >= told * 95, "{found} of {told}");
    let candidates = rows("candidates", &path, &output);
    let placed = candidates.iter().filter(|row| row["follows_sentence"].is_u64()).count();
    assert!(placed * 2 > candidates.len(), "{placed} of {}", candidates.len());
}

/// Answers a GET from memory, until it is dropped.
struct Server {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Server {
    fn start(answers: BTreeMap<String, Served>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let (shared, answers) = (Arc::clone(&stopped), Arc::new(answers));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.load(Ordering::Relaxed) {
                    return;
                }
                let answers = Arc::clone(&answers);
                std::thread::spawn(move || serve(stream.unwrap(), &answers));
            }
        });
        Self { address, stopped }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread from its wait for a connection.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(mut stream: TcpStream, answers: &BTreeMap<String, Served>) {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
    let Some(path) = head.split(' ').nth(1) else { return };
    let (status, body) = answers.get(path).map_or((404, &[][..]), |served| (served.status, &served.body));
    // A client may have gone: that is no failure of the server.
    write!(stream, "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len()).ok();
    stream.write_all(body).ok();
}

/// A shard as MMC4 was published, over pictures of the tiny web: its measurements are all wrong.
fn published(web: &Web, server: SocketAddr) -> (Vec<String>, BTreeMap<String, Served>) {
    let mut answers = BTreeMap::new();
    let mut lines = Vec::new();
    for (number, document) in web.truth.documents.iter().enumerate() {
        let mut images = Vec::new();
        for (position, image) in document.images.iter().enumerate() {
            let path = format!("/{number}/{position}.png");
            if let Some(served) = pages_served(web).get(&image.url).filter(|served| served.status == 200) {
                answers.insert(path.clone(), served.clone());
            }
            images.push(serde_json::json!({
                "image_name": "0123456789ab.png", "raw_url": format!("http://{server}{path}"),
                "matched_text_index": 999, "matched_sim": -7.0, "face_detections": [{"x": 1}],
            }));
        }
        if !images.is_empty() && !document.sentences.is_empty() {
            let line = serde_json::json!({
                "url": document.url, "text_list": document.sentences, "image_info": images,
                "similarity_matrix": [[9.0]], "could_have_url_duplicate": 0,
            });
            lines.push(line.to_string());
        }
    }
    (lines, answers)
}

#[test]
fn published_mmc4_is_downloaded_measured_and_assigned_again() {
    let (folder, web, mut recipe) = own_web();
    // The server's port is in the lines, and the lines' pictures are the server's.
    let (_, answers) = published(&web, SocketAddr::from(([127, 0, 0, 1], 1)));
    let server = Server::start(answers);
    let (mut lines, _) = published(&web, server.address);
    lines.insert(1, "{\"url\": \"http://a.example/\"".to_owned());
    write(&folder.path().join("docs_shard_0_v2.jsonl"), lines.join("\n").as_bytes());
    let manifest =
        "kind = \"mmc4\"\nname = \"mmc4\"\nroot = \".\"\n[[files]]\npattern = \"docs_shard_{}_v2.jsonl\"\ncount = 1\n";
    recipe.remove("crawl");
    let path = with_source(folder.path(), recipe.clone(), manifest);
    let output = folder.path().join("out");
    let set = ["--set", "stages.download.allow_addresses=[\"127.0.0.1\"]", "--set", "stages.download.min_delay=\"0s\""];
    let ran = run(&path, &output, &set);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let told = funnel(&ran.out);
    let documents = u64::try_from(lines.len()).unwrap() - 1;
    assert_eq!(kept(&told, "ingest", "documents"), documents);
    assert_eq!(told[&("ingest".to_owned(), "documents".to_owned())].2, BTreeMap::from([("bad_line".to_owned(), 1)]));
    assert!(kept(&told, "download", "candidates") > 100, "{}", ran.out);
    assert!(kept(&told, "interleave", "documents") > 10, "{}", ran.out);

    // The old verdicts left no trace, and texts and urls are those of the lines.
    let published: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let urls = |document: &Value| -> Vec<String> {
        let images = document["image_info"].as_array().unwrap().iter();
        images.map(|image| image["raw_url"].as_str().unwrap().to_owned()).collect()
    };
    for document in shards(&output, "tiny").values() {
        // One page stands in two lines, with images of its own in each.
        let of_document = urls(document);
        let old = published.iter().find(|old| urls(old).contains(&of_document[0])).unwrap();
        assert_eq!((&document["url"], &document["text_list"]), (&old["url"], &old["text_list"]));
        assert!(of_document.iter().all(|url| urls(old).contains(url)));
        assert_eq!((&document["weft"]["warc"], &document["weft"]["timestamp"]), (&Value::Null, &Value::from("")));
        let images = document["image_info"].as_array().unwrap();
        assert!(images.iter().all(|image| image["matched_sim"].as_f64().unwrap().abs() <= 1.0));
    }

    // An unchanged recipe does nothing, and a document of it can be explained.
    assert_eq!(serde_json::from_str::<Value>(&run(&path, &output, &set).out).unwrap()["ran"], 0);
    let subject = published[0]["url"].as_str().unwrap();
    let mut command = weft();
    command.args(["explain", subject, "--recipe"]).arg(&path).arg("--output").arg(&output).args(set);
    let explained: Said = command.output().unwrap().into();
    assert!(
        explained.out.contains("ingest") && explained.out.contains("candidates"),
        "{}{}",
        explained.out,
        explained.err
    );
}

#[test]
fn our_own_parquet_shards_are_read_as_obelics() {
    let (folder, _, recipe) = own_web();
    let first = folder.path().join("first.toml");
    write(&first, recipe.to_string().as_bytes());
    let output = folder.path().join("out-first");
    let ran = run(&first, &output, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let manifest: Value = serde_json::from_slice(&read(&output.join("shards/tiny.json"))).unwrap();
    let files: Vec<String> = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|file| file["path"].as_str().unwrap().strip_suffix(".parquet"))
        .map(|path| format!("[[files]]\nname = \"{path}.parquet\"\n"))
        .collect();
    let root = output.display();
    let source = format!("kind = \"obelics\"\nname = \"own\"\nroot = \"{root}\"\n{}", files.concat());
    let path = with_source(folder.path(), recipe, &source);
    let again = folder.path().join("out-again");
    let ran = run(&path, &again, &["--set", "until=ingest"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let (documents, outlines) = (shards(&output, "tiny"), rows("outlines", &path, &again));
    assert_eq!(outlines.len(), documents.len());
    for outline in outlines {
        let document = &documents[outline["url"].as_str().unwrap()];
        assert_eq!(outline["sentences"], document["text_list"]);
        assert_eq!(outline["timestamp"], document["weft"]["timestamp"]);
        assert_eq!(outline["filename"], document["weft"]["warc"]["filename"]);
    }
    let images = |document: &Value| document["image_info"].as_array().unwrap().len();
    let candidates = rows("candidates", &path, &again);
    assert_eq!(candidates.len(), documents.values().map(images).sum::<usize>());
}

#[test]
fn a_recipe_whose_source_and_crawl_do_not_fit_is_refused_by_name() {
    let (folder, _, recipe) = own_web();
    let mut without_crawl = recipe.clone();
    without_crawl.remove("crawl");
    let c4 = String::from_utf8(read(&folder.path().join("source.toml"))).unwrap();
    let mmc4 = "kind = \"mmc4\"\nname = \"m\"\nroot = \".\"\n[[files]]\nname = \"m.jsonl\"\n";
    write(&folder.path().join("m.jsonl"), b"{}\n");
    let output = folder.path().join("out");
    for (recipe, manifest, extra, words) in [
        (&without_crawl, c4.as_str(), &[][..], ["kind `c4`", "add [crawl]"]),
        (
            &without_crawl,
            mmc4,
            &["--set", "stages.download.from=[\"archive\"]"],
            ["stages.download.from", "add [crawl]"],
        ),
        (&recipe, mmc4, &["--set", "stages.fetch.coalesce_gap_bytes=1"], ["stages.fetch", "interleaved already"]),
        (&recipe, mmc4, &["--set", "until=locate"], ["until speaks of stage `locate`", "interleaved already"]),
        (&recipe, mmc4, &["--set", "stages.ingest.kind=c4"], ["stages.ingest.kind", "source manifest"]),
    ] {
        let path = with_source(folder.path(), recipe.clone(), manifest);
        let refused = run(&path, &output, extra);
        assert_eq!(refused.code, Some(1), "{}", refused.out);
        for word in words {
            assert!(refused.err.contains(word), "`{word}` is missing: {}", refused.err);
        }
    }
}
