//! Tests of sources of pages whose columns have names of their own.

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::file::properties::WriterProperties;
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, LargeStringArray, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray,
};

use super::*;

fn columns() -> TableConfig {
    let columns = Columns { text: "body".to_owned(), url: "link".to_owned(), timestamp: "seen".to_owned() };
    TableConfig { columns }
}

/// Url, time, the source's time, sentences.
type Row = (String, String, String, Vec<String>);

fn documents(context: &Context) -> Vec<Row> {
    testing::written::<Documents, _>(context, |row| {
        let sentences = row.sentences.iter().map(|text| (*text).to_owned()).collect();
        (row.url.to_owned(), row.timestamp.to_owned(), row.source_timestamp.to_owned(), sentences)
    })
}

pub(super) fn parquet_of(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn json_lines_are_read_by_their_own_keys_and_times_of_three_forms() {
    let lines = [
        r#"{"body": "One. \"Two\" is more.", "seen": "2019-04-18T14:57:54+02:00", "link": "http://a.example/", "x": [1]}"#,
        r#"{"seen": "20190418125754", "link": "http://b.example/", "body": "Three."}"#,
        r#"{"text": "not this", "seen": 1555592274, "link": "http://c.example/", "body": "Four."}"#,
    ];
    let (context, tally) =
        ingest_as(Config::Jsonl(columns()), "a.jsonl", lines.join("\n").as_bytes(), Limits::default());
    assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 3);
    let row = |host: &str, stated: &str, sentences: &[&str]| {
        let sentences = sentences.iter().map(|text| (*text).to_owned()).collect();
        (format!("http://{host}.example/"), "20190418125754".to_owned(), stated.to_owned(), sentences)
    };
    let expected = [
        row("a", "2019-04-18T14:57:54+02:00", &["One.", "\"Two\" is more."]),
        row("b", "20190418125754", &["Three."]),
        row("c", "1555592274", &["Four."]),
    ];
    assert_eq!(documents(&context), expected);
}

#[test]
fn each_bad_line_is_rejected_with_file_and_number() {
    let lines = [
        r#"{"body": null, "seen": "20190418125754", "link": "http://a.example/"}"#,
        r#"{"body": "t", "seen": "20190418125754"}"#,
        r#"{"body": "t", "body": "u", "seen": "20190418125754", "link": "http://a.example/"}"#,
        r#"{"body": "t", "seen": 1.5, "link": "http://a.example/"}"#,
        r#"{"body": "t", "seen": "20190431000000", "link": "http://a.example/"}"#,
        r#"{"body": "t", "seen": 99999999999999, "link": "http://a.example/"}"#,
        r#"["body"]"#,
        r#"{"body": "t", "seen": "20190418125754", "link": "http://a.example/"} trailing"#,
    ];
    let (context, tally) =
        ingest_as(Config::Jsonl(columns()), "a.jsonl", lines.join("\n").as_bytes(), Limits::default());
    assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 0);
    let expected = [
        ("bad_line", "a.jsonl line 1: invalid type: null, expected a string at column 13"),
        ("bad_line", "a.jsonl line 2: missing field `link` at column 39"),
        ("bad_line", "a.jsonl line 3: duplicate field `body` at column 25"),
        ("bad_line", "a.jsonl line 4: invalid type: floating point `1.5`, expected a time"),
        ("bad_timestamp", "a.jsonl line 5: `20190431000000`"),
        ("bad_timestamp", "a.jsonl line 6: `99999999999999`"),
        ("bad_line", "a.jsonl line 7: invalid type: sequence, expected an object"),
        ("bad_line", "a.jsonl line 8: trailing characters at column 70"),
    ];
    let rejects = rejects(&context);
    assert_eq!(rejects.len(), expected.len());
    for ((reason, evidence), (expected_reason, expected_evidence)) in rejects.iter().zip(expected) {
        assert_eq!(reason, expected_reason, "{evidence}");
        assert!(evidence.starts_with(expected_evidence), "{evidence}");
    }
}

#[test]
fn parquet_gives_the_same_documents_whatever_its_types_of_texts_and_times() {
    let (urls, bodies) = (["http://a.example/", "http://b.example/"], ["One. Two is more.", "Three."]);
    let (text, large) =
        (Arc::new(StringArray::from_iter_values(bodies)), Arc::new(LargeStringArray::from_iter_values(bodies)));
    let urls: ArrayRef = Arc::new(StringArray::from_iter_values(urls));
    let seconds = [1_555_592_274_i64, 0];
    let times: [ArrayRef; 5] = [
        Arc::new(StringArray::from_iter_values(["2019-04-18T12:57:54Z", "1970-01-01T00:00:00Z"])),
        Arc::new(LargeStringArray::from_iter_values(["20190418125754", "19700101000000"])),
        Arc::new(Int64Array::from_iter_values(seconds)),
        Arc::new(TimestampMillisecondArray::from_iter_values(seconds.map(|s| s * 1_000 + 999)).with_timezone("UTC")),
        Arc::new(TimestampMicrosecondArray::from_iter_values(seconds.map(|s| s * 1_000_000))),
    ];
    let texts: [ArrayRef; 2] = [text, large];
    for (number, times) in times.into_iter().enumerate() {
        // Another column, and the named ones in another order.
        let columns_of = vec![
            ("seen", times),
            ("other", Arc::new(Float64Array::from_iter_values([0.5, 1.5])) as ArrayRef),
            ("body", Arc::clone(&texts[number % 2])),
            ("link", Arc::clone(&urls)),
        ];
        let (context, tally) =
            ingest_as(Config::Parquet(columns()), "a.parquet", &parquet_of(columns_of), Limits::default());
        assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 2, "{number}: {:?}", rejects(&context));
        let rows: Vec<_> = documents(&context).into_iter().map(|(url, time, _, text)| (url, time, text)).collect();
        assert_eq!(rows[0].0, "http://a.example/");
        assert_eq!((rows[0].1.as_str(), rows[1].1.as_str()), ("20190418125754", "19700101000000"));
        assert_eq!(rows[0].2, ["One.", "Two is more."]);
    }
}

#[test]
fn nulls_and_bad_rows_are_rejected_and_a_missing_column_fails_the_task() {
    let texts = |values: [Option<&str>; 4]| Arc::new(StringArray::from_iter(values)) as ArrayRef;
    let bytes = parquet_of(vec![
        ("body", texts([None, Some("Two."), Some("Three."), Some(" ")])),
        ("link", texts([Some("http://a.example/"), None, Some("http://a.example/"), Some("http://a.example/")])),
        ("seen", texts([Some("20190418125754"), Some("20190418125754"), None, Some("20190418125754")])),
    ]);
    let (context, tally) = ingest_as(Config::Parquet(columns()), "a.parquet", &bytes, Limits::default());
    assert_eq!(tally.unwrap().counts[&Unit::Documents].read, 4);
    let expected = [
        ("null_field", "a.parquet row 1: `body` is null"),
        ("null_field", "a.parquet row 2: `link` is null"),
        ("null_field", "a.parquet row 3: `seen` is null"),
        ("no_text", "a.parquet row 4: `http://a.example/` has a text of 1 bytes, all blank"),
    ];
    assert_eq!(rejects(&context), expected.map(|(reason, evidence)| (reason.to_owned(), evidence.to_owned())));

    let one = Arc::new(StringArray::from_iter_values(["x"])) as ArrayRef;
    let number = Arc::new(Float64Array::from_iter_values([0.5])) as ArrayRef;
    for (columns_of, words) in [
        (vec![("body", &one), ("link", &one)], "it has no column `seen`; it has body, link"),
        (vec![("body", &number), ("link", &one), ("seen", &one)], "its column `body` is a text nowhere"),
        (
            vec![("body", &one), ("link", &one), ("seen", &number)],
            "its column `seen` is a text, int64 or timestamp nowhere",
        ),
    ] {
        let columns_of = columns_of.into_iter().map(|(name, column)| (name, Arc::clone(column))).collect();
        let (_, result) =
            ingest_as(Config::Parquet(columns()), "a.parquet", &parquet_of(columns_of), Limits::default());
        let message = result.unwrap_err().to_string();
        assert!(message.contains(words) && message.contains("in the source manifest"), "{message}");
    }
}

#[test]
fn a_parquet_file_that_is_cut_off_or_flipped_fails_the_task() {
    let texts = |text: String| Arc::new(StringArray::from_iter_values(vec![text; 100])) as ArrayRef;
    let whole = parquet_of(vec![
        ("body", texts("Some words. ".repeat(20))),
        ("link", texts("http://a.example/".to_owned())),
        ("seen", texts("20190418125754".to_owned())),
    ]);
    let (_, tally) = ingest_as(Config::Parquet(columns()), "a.parquet", &whole, Limits::default());
    assert_eq!(tally.unwrap().counts[&Unit::Documents].kept, 100);
    let (_, cut) = ingest_as(Config::Parquet(columns()), "a.parquet", &whole[..whole.len() - 9], Limits::default());
    let message = cut.unwrap_err().to_string();
    assert!(message.contains("a.parquet at its footer"), "{message}");
    // A file whose footer promises a thousand times what it holds.
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .build();
    let texts = |text: String| Arc::new(StringArray::from_iter_values(vec![text; 1_000])) as ArrayRef;
    let batch = RecordBatch::try_from_iter(vec![
        ("body", texts("x ".repeat(5_000))),
        ("link", texts("http://a.example/".to_owned())),
        ("seen", texts("20190418125754".to_owned())),
    ]);
    let batch = batch.unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let limits = Limits { inflate_ratio: 100, ..Limits::default() };
    let bomb = writer.into_inner().unwrap();
    let (_, result) = ingest_as(Config::Parquet(columns()), "a.parquet", &bomb, limits);
    assert!(result.unwrap_err().to_string().contains("inflate_ratio exceeds the limit of 100"));
}
