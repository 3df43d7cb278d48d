//! Reads one source file of C4 documents and deals them out to corpus shards.
//!
//! Reads a file of JSON lines `{text, timestamp, url}` (gzip or plain, told by its first bytes; other fields are
//! not looked at); writes `documents`, by SURT range, in key order. A document's text is split into sentences, its
//! timestamp turned from RFC 3339 into the index's 14 digits of UTC, its id made of url and those digits: two
//! entries that mean one capture have one id. A line that is no such document is rejected with its number and what
//! is wrong with it; of several causes, the first in the order line, url, timestamp, text.
//!
//! A source file that is cut off or damaged fails the task, naming the byte: no part of it is lost in silence.
//! Memory is one line ([`Limits::line_bytes`]), its document and the exchange's sort. O(n log n) in the documents.

mod timestamp;

use std::borrow::Cow;
use std::io::Read;

use serde::{Deserialize, Serialize};
use weft_core::context::Context;
use weft_core::id::{ShardId, Space, document_id};
use weft_core::limits::Limits;
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::stage::{Flow, OutsideFile, Phase, Resources, Spec, Stage, StageError, Use};
use weft_core::table::def;
use weft_core::tables::{Documents, DocumentsRow};
use weft_core::tally::{Tally, fact};

use self::timestamp::digits_of;
use crate::crawl;
use crate::evidence::clipped;
use crate::formats::cdx::ClusterIndex;
use crate::formats::lines::{Line, Lines};
use crate::formats::outside::with_causes;
use crate::formats::surt_ranges::SurtRanges;
use crate::formats::{sentences, surt};
use crate::source_file::{self, SourceFile};

/// Nothing about reading C4 is a matter of taste.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// The stage, opened.
#[derive(Debug)]
pub struct Ingest {
    resources: Resources,
    cluster: ClusterIndex,
}

impl Stage for Ingest {
    const NAME: &'static str = "ingest";
    const VERSION: u32 = 1;
    type Config = Config;

    fn spec(_config: &Config) -> Spec {
        let documents = def::<Documents>();
        Spec {
            // The crawl's index gives the SURT ranges.
            uses: vec![Use::Documents, Use::Crawl],
            phases: vec![Phase {
                name: "",
                space: Space::Source,
                reads: vec![],
                writes: vec![documents],
                flows: vec![Flow { unit: Unit::Documents, reads: None, keeps: Some(documents) }],
            }],
        }
    }

    fn open(_config: Config, resources: &Resources) -> Result<Self, StageError> {
        let cluster = crawl::cluster(crawl::crawl(resources)?)?;
        Ok(Self { resources: resources.clone(), cluster })
    }

    fn run(&self, shard: ShardId, context: &Context) -> Result<Tally, StageError> {
        let source = self.source(shard)?;
        let file = SourceFile::find(source, &self.resources)?;
        let mut reader = file.reader()?;
        let ranges = SurtRanges::from_cluster(&self.cluster, context.shards.corpus);
        let mut accounts = context.accounts(Self::NAME)?;
        accounts.fact(fact::SOURCE_BYTES, source.bytes);
        let mut documents = context.exchange::<Documents>()?;
        let mut lines = open_lines(&mut reader, source, &context.limits)?;
        for line_number in 1_u64.. {
            let line = lines.next_line().map_err(|cause| StageError::Outside {
                what: "source file",
                place: format!("{} at byte {}", source.place(), cause.offset),
                cause: format!("after {} whole lines: {}", line_number - 1, with_causes(&cause)),
                way_out: "get the file again",
                retry: source_file::is_retryable(&cause),
            })?;
            let Some(line) = line else { break };
            accounts.read(Unit::Documents)?;
            accounts.bytes(line.bytes());
            match document_of(&line, &context.limits) {
                Ok(document) => {
                    documents.push(ranges.shard_of(&document.urlkey), &document.row())?;
                    accounts.kept(Unit::Documents);
                }
                Err(refusal) => accounts.reject(&Reject {
                    unit: Unit::Documents,
                    document_id: &refusal.document_id,
                    image_url: None,
                    reason: refusal.reason,
                    evidence: format!("line {line_number}: {}", refusal.evidence),
                })?,
            }
        }
        drop(lines);
        reader.finish(context)?;
        context.commit(documents.finish())?;
        accounts.finish()
    }
}

impl Ingest {
    fn source(&self, shard: ShardId) -> Result<&OutsideFile, StageError> {
        let position = usize::try_from(shard.0).expect("u32 fits usize");
        self.resources.documents.get(position).ok_or_else(|| StageError::Outside {
            what: "source file",
            place: format!("number {shard}"),
            cause: format!("the source has {} files", self.resources.documents.len()),
            way_out: "plan the run again",
            retry: false,
        })
    }
}

fn open_lines<R: Read>(reader: R, source: &OutsideFile, limits: &Limits) -> Result<Lines<R>, StageError> {
    Lines::open(reader, limits).map_err(|cause| StageError::Outside {
        what: "source file",
        place: source.place(),
        cause: with_causes(&cause),
        way_out: "check the disk or the network",
        retry: true,
    })
}

/// A line as C4 writes it.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
}

/// A line that is a document.
#[derive(Debug)]
struct Document<'a> {
    urlkey: String,
    timestamp: String,
    url: Cow<'a, str>,
    document_id: String,
    source_timestamp: Cow<'a, str>,
    text: Cow<'a, str>,
}

impl Document<'_> {
    fn row(&self) -> DocumentsRow<'_> {
        DocumentsRow {
            urlkey: &self.urlkey,
            timestamp: &self.timestamp,
            url: &self.url,
            document_id: &self.document_id,
            source_timestamp: &self.source_timestamp,
            sentences: sentences::split(&self.text),
        }
    }
}

/// Why a line is no document.
#[derive(Debug)]
struct Refusal {
    reason: Reason,
    evidence: String,
    /// Empty where url and timestamp are not known.
    document_id: String,
}

fn refuse<T>(reason: Reason, evidence: String) -> Result<T, Refusal> {
    Err(Refusal { reason, evidence, document_id: String::new() })
}

fn document_of<'a>(line: &Line<'a>, limits: &Limits) -> Result<Document<'a>, Refusal> {
    let bytes = match line {
        Line::Whole(bytes) => *bytes,
        Line::TooLong { bytes } => {
            return refuse(Reason::LineTooLong, format!("{bytes} bytes; line_bytes is {}", limits.line_bytes));
        }
    };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(cause) => return refuse(Reason::NotUtf8, cause.to_string()),
    };
    let entry: Entry<'a> = match serde_json::from_str(text) {
        Ok(entry) => entry,
        // The parser counts lines too, and always the first.
        Err(cause) => return refuse(Reason::BadLine, clipped(&cause.to_string().replace(" at line 1 ", " at "))),
    };
    let Some(urlkey) = surt::urlkey(&entry.url) else {
        return refuse(Reason::BadUrl, format!("`{}`", clipped(&entry.url)));
    };
    let Some(timestamp) = digits_of(&entry.timestamp) else {
        return refuse(Reason::BadTimestamp, format!("`{}`", clipped(&entry.timestamp)));
    };
    let document_id = document_id(&entry.url, &timestamp);
    // Control characters alone make no sentence either.
    if entry.text.chars().all(|c| c.is_whitespace() || c.is_control()) {
        let evidence = format!("`{}` has a text of {} bytes, all blank", clipped(&entry.url), entry.text.len());
        return Err(Refusal { reason: Reason::NoText, evidence, document_id });
    }
    Ok(Document { urlkey, timestamp, url: entry.url, document_id, source_timestamp: entry.timestamp, text: entry.text })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use weft_core::stage::Crawl;
    use weft_core::tables::Rejects;
    use weft_core::testing;

    use super::*;

    const DOCUMENT: &str =
        r#"{"text": "One. Two is more.\nThree", "timestamp": "2019-04-18T12:57:54Z", "url": "http://www.b.example/x"}"#;

    fn file(folder: &Path, name: &str, bytes: &[u8]) -> OutsideFile {
        let location = folder.join(name);
        let mut file = std::fs::File::options().write(true).create_new(true).open(&location).unwrap();
        file.write_all(bytes).unwrap();
        let bytes = u64::try_from(bytes.len()).unwrap();
        OutsideFile { name: name.to_owned(), location, digest: String::new(), bytes }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Ingests a file of these bytes into two corpus shards, cut at `example,m)/`.
    fn ingest(bytes: &[u8], limits: Limits) -> (Context, Result<Tally, StageError>) {
        let folder = tempfile::tempdir().unwrap();
        let summary =
            "example,a)/ 20190101000000\tcdx-00000.gz\t0\t9\t1\nexample,m)/ 20190101000000\tcdx-00000.gz\t9\t9\t2\n";
        let resources = Resources {
            documents: vec![file(folder.path(), "source", bytes)],
            crawl: Some(Crawl {
                name: "test".to_owned(),
                root: String::new(),
                index: String::new(),
                cluster: file(folder.path(), "cluster.idx", summary.as_bytes()),
            }),
            ..Resources::default()
        };
        let mut context = testing::context();
        context.shards.corpus = 2;
        context.limits = limits;
        let stage = Ingest::open(Config::default(), &resources).unwrap();
        let tally = stage.run(ShardId(0), &context);
        (context, tally)
    }

    fn rejects(context: &Context) -> Vec<(String, String)> {
        testing::written::<Rejects, _>(context, |row| (row.reason.to_owned(), row.evidence.to_owned()))
    }

    #[test]
    fn a_document_gets_key_time_id_and_sentences() {
        let (context, tally) = ingest(DOCUMENT.as_bytes(), Limits::default());
        assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 1);
        let rows = testing::written::<Documents, _>(&context, |row| {
            let names = [row.urlkey, row.timestamp, row.url, row.source_timestamp].map(str::to_owned);
            (names, row.document_id.to_owned(), row.sentences.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        });
        let url = "http://www.b.example/x";
        assert_eq!(rows[0].0, ["example,b)/x", "20190418125754", url, "2019-04-18T12:57:54Z"]);
        assert_eq!(rows[0].1, document_id(url, "20190418125754"));
        assert_eq!(rows[0].2, ["One.", "Two is more.", "Three"]);
    }

    #[test]
    fn gzip_and_plain_files_give_the_same_table() {
        let source = [DOCUMENT, DOCUMENT, ""].join("\n");
        // Two members, the border inside a line.
        let (first, second) = source.as_bytes().split_at(40);
        let members = [gzip(first), gzip(second)].concat();
        let digests = [source.as_bytes(), &members].map(|bytes| {
            let (context, tally) = ingest(bytes, Limits::default());
            assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 2);
            let outputs = context.outputs.lock().unwrap();
            outputs.iter().map(|output| output.blake3.clone()).collect::<Vec<_>>()
        });
        assert_eq!(digests[0], digests[1]);
    }

    #[test]
    fn documents_go_to_the_shard_of_their_surt_range() {
        let other = DOCUMENT.replace("b.example", "n.example");
        let (context, _) = ingest([&other, DOCUMENT].join("\n").as_bytes(), Limits::default());
        let outputs = context.outputs.lock().unwrap();
        let output = outputs.iter().find(|output| output.table == "documents").unwrap();
        let shards: Vec<(u32, u64)> =
            output.directory.iter().flatten().map(|entry| (entry.shard.0, entry.rows)).collect();
        assert_eq!(shards, [(0, 1), (1, 1)]);
    }

    #[test]
    fn each_bad_line_is_rejected_with_its_number_and_the_rest_is_kept() {
        let long = format!("{{\"text\": \"{}\"}}", "x".repeat(300));
        let lines: [&[u8]; 10] = [
            b"not json",
            br#"{"text": "t", "timestamp": "2019-04-18T12:57:54Z"}"#,
            br#"{"text": "t", "timestamp": "2019-04-18T12:57:54Z", "url": ""}"#,
            br#"{"text": "t", "timestamp": "yesterday", "url": "http://b.example/"}"#,
            br#"{"text": " \u001c", "timestamp": "2019-04-18T12:57:54Z", "url": "http://b.example/"}"#,
            b"{\"text\": \"\xff\"}",
            long.as_bytes(),
            b"",
            br#"{"text": null, "timestamp": "2019-04-18T12:57:54Z", "url": "http://b.example/"}"#,
            DOCUMENT.as_bytes(),
        ];
        let limits = Limits { line_bytes: 200, ..Limits::default() };
        let (context, tally) = ingest(&lines.join(&b'\n'), limits);
        let tally = tally.unwrap();
        assert_eq!((tally.counts[&Unit::Documents].read, tally.counts[&Unit::Documents].kept), (10, 1));
        let expected = [
            ("bad_line", "line 1: expected ident at column 2"),
            ("bad_line", "line 2: missing field `url` at column 50"),
            ("bad_url", "line 3: ``"),
            ("bad_timestamp", "line 4: `yesterday`"),
            ("no_text", "line 5: `http://b.example/` has a text of 2 bytes, all blank"),
            ("not_utf8", "line 6: invalid utf-8 sequence of 1 bytes from index 10"),
            ("line_too_long", "line 7: 312 bytes; line_bytes is 200"),
            ("bad_line", "line 8: EOF while parsing a value at column 0"),
            ("bad_line", "line 9: invalid type: null, expected a string at column 13"),
        ];
        let rejects = rejects(&context);
        for ((reason, evidence), expected) in rejects.iter().zip(expected) {
            assert_eq!((reason.as_str(), evidence.as_str()), expected);
        }
        assert_eq!(rejects.len(), expected.len());
    }

    #[test]
    fn a_source_file_that_is_cut_off_fails_the_task_and_names_the_byte() {
        let whole = gzip(DOCUMENT.repeat(50).as_bytes());
        let cut = &whole[..whole.len() - 12];
        let (_, result) = ingest(cut, Limits::default());
        let message = result.unwrap_err().to_string();
        assert!(message.contains(&format!("source at byte {}", cut.len())), "{message}");
        assert!(message.contains("is cut off"), "{message}");
        let (_, result) = ingest(&[&whole[..], b"more"].concat(), Limits::default());
        let message = result.unwrap_err().to_string();
        assert!(message.contains(&format!("no gzip member begins at offset {}", whole.len())), "{message}");
    }

    #[test]
    fn a_bomb_in_a_source_file_fails_the_task() {
        let bomb = gzip(&vec![b' '; 8 << 20]);
        let (_, result) = ingest(&bomb, Limits { inflate_ratio: 100, ..Limits::default() });
        assert!(result.unwrap_err().to_string().contains("inflate_ratio exceeds the limit of 100"));
    }
}
