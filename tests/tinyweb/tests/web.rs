//! What holds of every made web, and of the one in the repository.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;
use std::sync::LazyLock;

use weft_tinyweb::{CRAWL, Kind, Locate, PageTruth, Reference, Shape, Trick, Web, make, pages_served, surt_key, write};

/// More than the files committed may have, together.
const REPOSITORY_BYTES: usize = 4 << 20;

/// The default web, made once for all tests.
static WEB: LazyLock<Web> = LazyLock::new(|| make(&Shape::default()));
/// A larger one, of more hosts than have names.
static LARGE: LazyLock<Web> = LazyLock::new(|| make(&Shape { pages: 256, hosts: 20, ..Shape::default() }));

#[expect(clippy::disallowed_types, reason = "our own bytes; one member is 300 kB at most")]
fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut inflated).unwrap();
    inflated
}

#[expect(clippy::disallowed_methods, reason = "a test reads its fixtures")]
fn files_below(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

/// Index lines in their order, and the cluster lines' blocks of them.
fn index(web: &Web) -> (Vec<String>, Vec<Vec<String>>) {
    let folder = format!("crawl/cc-index/collections/{CRAWL}/indexes");
    let cluster = std::str::from_utf8(&web.files[&format!("{folder}/cluster.idx")]).unwrap();
    let mut blocks = Vec::new();
    for line in cluster.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let shard = &web.files[&format!("{folder}/{}", fields[1])];
        let (offset, length): (usize, usize) = (fields[2].parse().unwrap(), fields[3].parse().unwrap());
        let block = String::from_utf8(inflate(&shard[offset..offset + length])).unwrap();
        let lines: Vec<String> = block.lines().map(str::to_owned).collect();
        assert!(lines[0].starts_with(&format!("{} ", fields[0])), "{line}");
        blocks.push(lines);
        assert_eq!(fields[4], blocks.len().to_string());
    }
    (blocks.concat(), blocks)
}

#[test]
fn one_seed_gives_one_web_and_another_seed_another() {
    let shape = Shape { pages: 40, ..Shape::default() };
    assert_eq!(make(&shape), make(&shape));
    assert_ne!(make(&shape).files, make(&Shape { seed: shape.seed + 1, ..shape }).files);
}

#[test]
fn the_repository_holds_the_default_web() {
    let web = &*WEB;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/tiny");
    let mut files = BTreeMap::new();
    files_below(&folder, "", &mut files);
    for (path, bytes) in &web.files {
        assert_eq!(files.get(path), Some(bytes), "`{path}` is not what `make` gives");
    }
    for path in ["crawl/", "docs/"] {
        let strays: Vec<&String> =
            files.keys().filter(|name| name.starts_with(path) && !web.files.contains_key(*name)).collect();
        assert!(strays.is_empty(), "not made any more: {strays:?}");
    }
    let total: usize = files.values().map(Vec::len).sum();
    assert!(total < REPOSITORY_BYTES, "{total} bytes");
}

#[test]
fn what_is_written_is_what_was_made() {
    let web = make(&Shape { pages: 3, ..Shape::default() });
    let folder = tempfile::tempdir().unwrap();
    write(&web, folder.path()).unwrap();
    let mut files = BTreeMap::new();
    files_below(folder.path(), "", &mut files);
    assert_eq!(files, web.files);
}

#[test]
fn every_index_line_names_a_byte_range_that_inflates_alone_to_its_record() {
    let web = &*WEB;
    let (lines, _) = index(web);
    assert!(lines.len() > 250, "{} lines", lines.len());
    let mut covered: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &lines {
        let mut parts = line.splitn(3, ' ');
        let (key, time) = (parts.next().unwrap(), parts.next().unwrap());
        let fields: BTreeMap<String, String> = serde_json::from_str(parts.next().unwrap()).unwrap();
        assert_eq!(key, surt_key(&fields["url"]));
        let (path, warc) = web.files.get_key_value(&format!("crawl/{}", fields["filename"])).unwrap();
        let offset: usize = fields["offset"].parse().unwrap();
        let length: usize = fields["length"].parse().unwrap();
        *covered.entry(path).or_default() += length;
        let record = inflate(&warc[offset..offset + length]);
        let end = record.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&record[..end]).unwrap();
        let block = &record[end + 4..record.len() - 4];
        assert!(record.ends_with(b"\r\n\r\n"), "{line}");
        assert!(head.contains(&format!("WARC-Target-URI: {}\r\n", fields["url"])), "{line}");
        assert!(head.contains(&format!("WARC-Payload-Digest: sha1:{}\r\n", fields["digest"])), "{line}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", block.len())), "{line}");
        assert!(block.starts_with(format!("HTTP/1.1 {} ", fields["status"]).as_bytes()), "{line}");
        let date = head.split("WARC-Date: ").nth(1).unwrap().lines().next().unwrap();
        assert_eq!(date.replace(['-', ':', 'T', 'Z'], ""), time);
    }
    // Nothing in the files but these records and one warcinfo each.
    assert_eq!(covered.len(), 3);
    for (path, records) in covered {
        let rest = web.files[path].len() - records;
        assert!(rest > 0 && rest < 500, "{rest} bytes of `{path}` are in no record");
    }
}

#[test]
fn the_index_is_sorted_and_a_key_spans_two_blocks() {
    let (lines, blocks) = index(&WEB);
    assert!(lines.is_sorted());
    let key = |line: &String| line.split(' ').next().unwrap().to_owned();
    let spanning = blocks.windows(2).filter(|pair| key(pair[0].last().unwrap()) == key(&pair[1][0])).count();
    assert!(spanning > 0);
}

#[test]
fn the_truth_about_locating_agrees_with_the_index() {
    let web = &*WEB;
    let (lines, _) = index(web);
    let mut outcomes = BTreeSet::new();
    for document in &web.truth.documents {
        let key = surt_key(&document.url);
        let time: String = document.timestamp.chars().filter(char::is_ascii_digit).collect();
        let quoted = format!("\"url\": \"{}\"", document.url);
        let same_key: Vec<&String> = lines.iter().filter(|line| line.starts_with(&format!("{key} "))).collect();
        let same_url: Vec<&&String> = same_key.iter().filter(|line| line.contains(&quoted)).collect();
        let exact: Vec<&&&String> =
            same_url.iter().filter(|line| line.starts_with(&format!("{key} {time} "))).collect();
        let found = match (same_key.len(), same_url.len(), exact.len()) {
            (0, ..) => Locate::UrlNotInIndex,
            (_, 0, _) => Locate::SameUrlkeyOtherUrl,
            (_, _, 0) => Locate::TimestampNotInIndex,
            _ if exact[0].contains("\"status\": \"301\"") => Locate::Status301,
            _ => Locate::Located,
        };
        let said = if document.locate == Locate::Repeated { Locate::Located } else { document.locate };
        assert_eq!(found, said, "{}", document.url);
        assert_eq!(document.page.is_some(), found == Locate::Located, "{}", document.url);
        outcomes.insert(document.locate);
    }
    assert_eq!(outcomes.len(), 6, "{outcomes:?}");
}

#[test]
fn document_files_hold_the_documents_where_the_truth_says() {
    let web = &*WEB;
    let files: Vec<Vec<u8>> =
        (0..2).map(|file| inflate(&web.files[&format!("docs/c4-tiny.{file:05}-of-00002.json.gz")])).collect();
    let line = |file: u32, line: u32| {
        let lines: Vec<&[u8]> = files[usize::try_from(file).unwrap()].split(|&byte| byte == b'\n').collect();
        lines[usize::try_from(line).unwrap()]
    };
    let parse = |bytes: &[u8]| serde_json::from_slice::<BTreeMap<String, String>>(bytes);
    for document in &web.truth.documents {
        let fields = parse(line(document.file, document.line)).unwrap();
        assert_eq!((&fields["url"], &fields["timestamp"]), (&document.url, &document.timestamp));
        assert_eq!(fields["text"].replace('\n', " "), document.sentences.join(" "));
    }
    assert_eq!(web.truth.bad_lines.len(), 2);
    for bad in &web.truth.bad_lines {
        assert!(parse(line(bad.file, bad.line)).is_err(), "{}", bad.why);
    }
    let lines: usize = files.iter().map(|file| file.iter().filter(|&&byte| byte == b'\n').count()).sum();
    assert_eq!(lines, web.truth.documents.len() + web.truth.bad_lines.len());
}

#[test]
fn every_trick_kind_and_reference_occurs() {
    let web = &*WEB;
    let tricks: BTreeSet<Trick> = web.truth.documents.iter().map(|document| document.trick).collect();
    assert_eq!(tricks.len(), Trick::ALL.len() + 1);
    let images = || web.truth.documents.iter().flat_map(|document| &document.images);
    let kinds: BTreeSet<Kind> = images().map(|image| image.kind).collect();
    assert_eq!(kinds.len(), 15, "{kinds:?}");
    let references: BTreeSet<Reference> = images().map(|image| image.by).collect();
    assert_eq!(references.len(), 7, "{references:?}");
    let pages: BTreeSet<Option<PageTruth>> = web.truth.documents.iter().map(|document| document.page).collect();
    assert_eq!(pages.len(), 4, "{pages:?}");
}

#[test]
fn only_the_furniture_is_frequent() {
    let web = &*WEB;
    let mut documents: BTreeMap<&str, (Kind, u32)> = BTreeMap::new();
    for image in web.truth.documents.iter().flat_map(|document| &document.images) {
        documents.entry(&image.url).or_insert((image.kind, 0)).1 += 1;
    }
    let frequent: Vec<_> = documents.values().filter(|(kind, count)| *count > 10 && *kind != Kind::Icon).collect();
    assert_eq!(frequent.len(), 2, "{frequent:?}");
    assert!(frequent.iter().all(|(kind, _)| *kind == Kind::Furniture));
}

#[test]
fn no_keyword_of_the_url_rule_is_in_an_url_by_accident() {
    let web = &*LARGE;
    for image in web.truth.documents.iter().flat_map(|document| &document.images) {
        let url = image.url.to_lowercase();
        let has_keyword = ["logo", "button", "icon", "plugin", "widget"].iter().any(|word| url.contains(word));
        assert_eq!(has_keyword, image.kind == Kind::Logo, "{url}");
    }
}

#[test]
fn what_is_served_decodes_as_the_truth_says() {
    let web = &*WEB;
    for image in web.truth.documents.iter().flat_map(|document| &document.images) {
        let served = pages_served(web);
        let mut answer = served.get(&image.url).unwrap_or_else(|| panic!("`{}` is not served", image.url));
        for _ in 0..5 {
            if let Some(target) = answer.header("Location") {
                answer = &served[target];
            }
        }
        let decoded = image::guess_format(&answer.body)
            .ok()
            .filter(|_| answer.status == 200 && image.kind != Kind::BrokenHuge)
            .and_then(|format| image::load_from_memory_with_format(&answer.body, format).ok());
        // A decoder may be lenient about a JPEG that is cut off; its size is then not of interest.
        if image.kind != Kind::BrokenTruncated {
            let size_px = decoded.map(|pixels| (pixels.width(), pixels.height()));
            assert_eq!(size_px, image.width_px.zip(image.height_px), "{}", image.url);
        }
    }
}

#[test]
fn pictures_meant_to_pass_pass_the_rules_on_size_and_aspect() {
    let web = &*LARGE;
    for image in web.truth.documents.iter().flat_map(|document| &document.images) {
        let (Some(width_px), Some(height_px)) = (image.width_px, image.height_px) else { continue };
        let passes = width_px.min(height_px) >= 150 && width_px.max(height_px) <= 2 * width_px.min(height_px);
        let is_banner = image.kind == Kind::Ad && width_px > 400;
        assert_eq!(passes, image.kind != Kind::Icon && !is_banner, "{image:?}");
    }
}

#[test]
fn content_is_told_in_the_sentence_that_the_truth_names() {
    let web = &*LARGE;
    let mut told = 0;
    for document in &web.truth.documents {
        for image in document.images.iter().filter(|image| image.kind == Kind::Content && !image.alt.is_empty()) {
            let Some(index) = image.sentence else { continue };
            let sentence = document.sentences[usize::try_from(index).unwrap()].to_lowercase();
            assert!(sentence.contains(&image.alt), "`{}` in `{sentence}`", image.alt);
            told += 1;
        }
    }
    assert!(told > 100, "{told} pictures");
}

#[test]
fn four_times_the_pages_have_each_trick_four_times() {
    let web = &*LARGE;
    let mut tricks: BTreeMap<Trick, u32> = BTreeMap::new();
    for document in web.truth.documents.iter().filter(|document| document.locate != Locate::Repeated) {
        *tricks.entry(document.trick).or_default() += 1;
    }
    let plain = tricks.remove(&Trick::Plain).unwrap();
    assert_eq!(plain, 4 * (64 - 37));
    assert!(tricks.len() == 37 && tricks.values().all(|&count| count == 4), "{tricks:?}");
    let (lines, _) = index(web);
    assert!(lines.is_sorted() && lines.len() > 1_000, "{} lines", lines.len());
}
