//! Facts about `interleave`.

use arrow::array::{Array, BinaryArray, ListArray, StringArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use weft_core::tables::{AssignmentsRow, DetectionsRow, DocumentSelectionsRow, PixelsRow, SimilaritiesRow};
use weft_core::testing;

use super::*;

/// A document of a test, its images measured and assigned.
struct Page {
    document_id: &'static str,
    url: String,
    sentences: Vec<String>,
    /// One per downloaded image.
    images: Vec<Picture>,
    selected: bool,
}

struct Picture {
    url: String,
    similarity: Vec<f32>,
    /// The sentence; `None` where the image was not kept.
    sentence: Option<u32>,
    alt: Option<&'static str>,
}

fn picture(url: &str, similarity: &[f32], sentence: Option<u32>) -> Picture {
    Picture { url: url.to_owned(), similarity: similarity.to_vec(), sentence, alt: None }
}

fn page(document_id: &'static str, sentences: &[&str], images: Vec<Picture>) -> Page {
    let sentences = sentences.iter().map(|sentence| (*sentence).to_owned()).collect();
    Page { document_id, url: format!("http://{document_id}.example/"), sentences, images, selected: true }
}

/// The numbers of MMC4's printed example (mmc4.md 1.5) over sentences of our own.
fn golden_page() -> Page {
    let first = [0.365_877_03, 0.181_521_77, 0.316_004_48, 0.271_298_53];
    let second = [0.363_982_53, 0.155_435_52, 0.306_774_65, 0.267_636_7];
    let mut images = vec![
        picture("http://soil.example/letters/one.jpg", &first, Some(2)),
        picture("http://soil.example/letters/two.JPEG?size=2", &second, Some(0)),
    ];
    images[1].alt = Some("Käfer 🪲");
    page("d", &["Soil is old.", "So is “clay”.", "A letter came.", "It is here."], images)
}

fn context(pages: &[Page]) -> Context {
    let mut context = testing::context();
    let outlines = pages.iter().map(|page| OutlinesRow {
        document_id: page.document_id,
        url: &page.url,
        timestamp: "20190418000000",
        source_timestamp: "2019-04-18T00:00:00Z",
        filename: "crawl-data/a.warc.gz",
        offset: 1_234,
        length: 567,
        candidates: 9,
        sentences: page.sentences.iter().map(String::as_str).collect(),
    });
    testing::give::<Outlines>(&mut context, outlines);
    let selected = || pages.iter().filter(|page| page.selected);
    testing::give::<DocumentSelections>(
        &mut context,
        selected().map(|page| DocumentSelectionsRow { document_id: page.document_id, images: 1 }),
    );
    let assignments = selected().flat_map(|page| {
        (0..).zip(&page.images).filter_map(|(image_index, picture)| {
            let sentence_index = picture.sentence?;
            let similarity = picture.similarity[usize::try_from(sentence_index).unwrap()];
            Some(AssignmentsRow { document_id: page.document_id, image_index, sentence_index, similarity })
        })
    });
    testing::give::<Assignments>(&mut context, assignments);
    let all =
        || pages.iter().flat_map(|page| (0..).zip(&page.images).map(move |(index, picture)| (page, index, picture)));
    let images = all().map(|(page, image_index, picture)| ImagesRow {
        document_id: page.document_id,
        image_index,
        image_url: &picture.url,
        final_url: &picture.url,
        origin: "archive",
        fetched: "20190418000000",
        format: "png",
        source_bytes: 1,
        blake3: "b3",
        sha256: "5a",
        width_px: 1_600,
        height_px: 1_200,
        stored_width_px: 800,
        stored_height_px: 600,
        phash: 0xAB,
        alt: picture.alt,
        follows_sentence: Some(1),
    });
    testing::give::<Images>(&mut context, images);
    testing::give::<Similarities>(
        &mut context,
        all().map(|(page, image_index, picture)| SimilaritiesRow {
            document_id: page.document_id,
            image_index,
            similarity: &picture.similarity,
        }),
    );
    testing::give::<Detections>(
        &mut context,
        all().map(|(page, image_index, _)| DetectionsRow {
            document_id: page.document_id,
            image_index,
            detector: "nsfw",
            score: 0.5,
        }),
    );
    let pixels: Vec<(&str, u32, String)> = all()
        .map(|(page, image_index, picture)| (page.document_id, image_index, format!("bytes of {}", picture.url)))
        .collect();
    testing::give::<Pixels>(
        &mut context,
        pixels.iter().map(|(document_id, image_index, bytes)| PixelsRow {
            document_id,
            image_index: *image_index,
            bytes: bytes.as_bytes(),
        }),
    );
    context
}

fn run(forms: &[Form], context: &Context) -> Tally {
    let config = Config { forms: forms.iter().copied().collect(), ..Config::default() };
    Stage::run(&Interleave { config }, ShardId(0), context).unwrap()
}

/// The file that the task's report lists under `name`.
fn output(context: &Context, name: &str) -> Output {
    let outputs = context.outputs.lock().unwrap();
    outputs.iter().find(|output| output.table == name).unwrap().clone()
}

fn lines(context: &Context) -> Vec<String> {
    let bytes = context.store.get(&output(context, "shard:mmc4").path).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_line_is_mmc4s_field_for_field_and_ours_come_last() {
    let context = context(&[golden_page()]);
    run(&[Form::Mmc4], &context);
    let one = weft_core::id::image_name("http://soil.example/letters/one.jpg");
    let two = weft_core::id::image_name("http://soil.example/letters/two.JPEG?size=2");
    let expected = [
        r#"{"url": "http://d.example/", "#,
        r#""text_list": ["Soil is old.", "So is \u201cclay\u201d.", "A letter came.", "It is here."], "#,
        r#""image_info": [{"image_name": "ONE.jpg", "raw_url": "http://soil.example/letters/one.jpg", "#,
        r#""matched_text_index": 2, "matched_sim": 0.3160044848918915, "face_detections": null}, "#,
        r#"{"image_name": "TWO.jpeg", "raw_url": "http://soil.example/letters/two.JPEG?size=2", "#,
        r#""matched_text_index": 0, "matched_sim": 0.36398252844810486, "face_detections": null}], "#,
        r#""similarity_matrix": [[0.36587703227996826, 0.18152177333831787, 0.3160044848918915, "#,
        r#"0.27129852771759033], [0.36398252844810486, 0.15543551743030548, 0.30677464604377747, "#,
        r#"0.2676366865634918]], "could_have_url_duplicate": 0, "#,
        r#""weft": {"document_id": "d", "timestamp": "20190418000000", "#,
        r#""warc": {"filename": "crawl-data/a.warc.gz", "offset": 1234, "length": 567}, "#,
        r#""images": [{"image_index": 0, "sha256": "5a", "width": 1600, "height": 1200, "#,
        r#""phash": "00000000000000ab", "alt": null, "follows_sentence": 1, "scores": {"nsfw": 0.5}}, "#,
        r#"{"image_index": 1, "sha256": "5a", "width": 1600, "height": 1200, "#,
        r#""phash": "00000000000000ab", "alt": "K\u00e4fer \ud83e\udeb2", "follows_sentence": 1, "#,
        r#""scores": {"nsfw": 0.5}}]}}"#,
    ];
    assert_eq!(lines(&context), [expected.concat().replace("ONE", &one).replace("TWO", &two)]);
}

#[test]
fn only_documents_and_images_that_stay_are_written() {
    let mut rejected = golden_page();
    (rejected.document_id, rejected.selected) = ("a", false);
    let kept = page(
        "b",
        &["One.", "Two."],
        vec![
            picture("http://b.example/0.png", &[0.5, 0.125], None),
            picture("http://b.example/1.png", &[0.25, 0.75], Some(1)),
            picture("http://b.example/2.png", &[0.5, 0.125], None),
        ],
    );
    let context = context(&[rejected, kept]);
    let tally = run(&[Form::Mmc4, Form::Parquet], &context);
    let line: Value = serde_json::from_str(&lines(&context)[0]).unwrap();
    assert_eq!(lines(&context).len(), 1);
    assert_eq!(line["url"], "http://b.example/");
    assert_eq!(line["similarity_matrix"], serde_json::json!([[0.25, 0.75]]));
    assert_eq!(line["image_info"][0]["raw_url"], "http://b.example/1.png");
    assert_eq!(line["weft"]["images"][0]["image_index"], 1);
    for unit in [Unit::Documents, Unit::Images] {
        assert_eq!((tally.counts[&unit].read, tally.counts[&unit].kept), (1, 1));
    }
}

#[test]
fn the_report_lists_each_file_with_its_documents_bytes_and_digest() {
    let context = context(&[golden_page()]);
    run(&[Form::Mmc4, Form::Parquet], &context);
    let folder = Layout::dataset("test", &context.fingerprint);
    for (name, path) in [("shard:mmc4", "mmc4/docs_shard_0_v2.jsonl"), ("shard:parquet", "parquet/shard-00000.parquet")]
    {
        let output = output(&context, name);
        let bytes = context.store.get(&output.path).unwrap();
        assert_eq!(output.path, format!("{folder}/{path}"));
        assert_eq!(output.rows, 1);
        assert_eq!(output.bytes, u64::try_from(bytes.len()).unwrap());
        assert_eq!(output.blake3, blake3::hash(&bytes).to_hex().to_string());
    }
}

#[test]
fn a_shard_without_documents_is_written_all_the_same() {
    let context = context(&[]);
    run(&[Form::Mmc4, Form::Parquet], &context);
    assert_eq!(lines(&context), Vec::<String>::new());
    assert_eq!(output(&context, "shard:mmc4").bytes, 0);
    assert_eq!(rows(&context), []);
}

/// One row of a Parquet shard.
#[derive(Debug, PartialEq)]
struct Row {
    images: Vec<Option<String>>,
    texts: Vec<Option<String>>,
    image_bytes: Vec<Option<String>>,
    metadata: Value,
    general_metadata: Value,
}

fn rows(context: &Context) -> Vec<Row> {
    let file = context.store.open(&output(context, "shard:parquet").path).unwrap();
    let mut rows = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let list = |name: &str, row: usize| {
            let list: &ListArray = batch.column_by_name(name).unwrap().as_any().downcast_ref().unwrap();
            list.value(row)
        };
        let texts = |name: &str, row: usize| -> Vec<Option<String>> {
            let values = list(name, row);
            let values: &StringArray = values.as_any().downcast_ref().unwrap();
            values.iter().map(|value| value.map(str::to_owned)).collect()
        };
        let json = |name: &str, row: usize| -> Value {
            let column: &StringArray = batch.column_by_name(name).unwrap().as_any().downcast_ref().unwrap();
            serde_json::from_str(column.value(row)).unwrap()
        };
        for row in 0..batch.num_rows() {
            let bytes = list("image_bytes", row);
            let bytes: &BinaryArray = bytes.as_any().downcast_ref().unwrap();
            let bytes = bytes.iter().map(|value| value.map(|value| String::from_utf8(value.to_vec()).unwrap()));
            rows.push(Row {
                images: texts("images", row),
                texts: texts("texts", row),
                image_bytes: bytes.collect(),
                metadata: json("metadata", row),
                general_metadata: json("general_metadata", row),
            });
        }
    }
    rows
}

#[test]
fn a_parquet_row_places_each_image_before_its_sentence() {
    // Three images, two of them for sentence 1: in DOM order.
    let images = vec![
        picture("http://d.example/a.png", &[0.0, 0.5, 0.0], Some(1)),
        picture("http://d.example/dropped.png", &[0.0, 0.5, 0.0], None),
        picture("http://d.example/b.png", &[0.5, 0.0, 0.0], Some(0)),
        picture("http://d.example/c.png", &[0.0, 0.5, 0.0], Some(1)),
    ];
    let context = context(&[page("d", &["One.", "Two.", "Three."], images)]);
    run(&[Form::Parquet], &context);
    let rows = rows(&context);
    let [row] = rows.as_slice() else { panic!("one document makes one row") };
    let owned = |values: [Option<&str>; 6]| values.map(|value| value.map(str::to_owned)).to_vec();
    assert_eq!(row.texts, owned([None, Some("One."), None, None, Some("Two."), Some("Three.")]));
    let url = |name: &str| Some(format!("http://d.example/{name}.png"));
    assert_eq!(row.images, [url("b"), None, url("a"), url("c"), None, None]);
    let expected: Vec<Option<String>> =
        row.images.iter().map(|url| url.as_ref().map(|url| format!("bytes of {url}"))).collect();
    assert_eq!(row.image_bytes, expected);
    let metadata = row.metadata.as_array().unwrap();
    let indices: Vec<Option<u64>> = metadata.iter().map(|item| item["image_index"].as_u64()).collect();
    assert_eq!(indices, [Some(2), None, Some(0), Some(3), None, None]);
    assert_eq!(metadata[0]["original_width"], 1_600);
    assert_eq!(row.general_metadata["warc_record_offset"], 1_234);
    assert_eq!(row.general_metadata["url"], "http://d.example/");
}

#[test]
fn many_documents_pass_through_several_batches() {
    const IDS: [&str; 3] = ["a", "b", "c"];
    let pages: Vec<Page> = (0..300)
        .map(|number| {
            let url = format!("http://x.example/{number}.png");
            // Documents are told apart from their neighbours only.
            page(IDS[number % 3], &["One."], vec![picture(&url, &[0.5], Some(0))])
        })
        .collect();
    let context = context(&pages);
    run(&[Form::Mmc4, Form::Parquet], &context);
    assert_eq!(lines(&context).len(), 300);
    let urls: Vec<String> = rows(&context).into_iter().map(|row| row.images[0].clone().unwrap()).collect();
    assert_eq!(urls, (0..300).map(|number| format!("http://x.example/{number}.png")).collect::<Vec<_>>());
}

#[test]
fn an_image_name_has_the_urls_extension_or_the_formats() {
    let context = context(&[golden_page()]);
    let mut images = context.rows::<Images>().unwrap();
    let batch = images.document("d").unwrap();
    let extension = |image_url: &'static str, format: &'static str| {
        let placed = PlacedImage {
            image: ImagesRow { image_url, format, ..batch.row(0) },
            sentence_index: 0,
            matched_similarity: 0.0,
            similarity: &[],
            scores: BTreeMap::new(),
            pixels: Vec::new(),
        };
        placed.name().split_once('.').unwrap().1.to_owned()
    };
    assert_eq!(extension("http://a.example/b.JPG", "png"), "jpg");
    assert_eq!(extension("http://a.example/b.jpeg?x=.png#y", "jpeg"), "jpeg");
    assert_eq!(extension("http://a.example/jpg", "jpeg"), "jpg");
    assert_eq!(extension("http://a.example/b.php?n=1", "webp"), "webp");
}

#[test]
fn an_assigned_image_without_its_picture_is_an_error() {
    let mut context = context(&[golden_page()]);
    context.inputs.remove(Pixels::NAME);
    let config = Config { forms: [Form::Parquet].into(), ..Config::default() };
    let error = Stage::run(&Interleave { config }, ShardId(0), &context).unwrap_err().to_string();
    assert!(error.starts_with("table `pixels, document d` is not usable: there is no row for image 0"), "{error}");
}

#[test]
fn pictures_are_read_for_parquet_alone() {
    let reads_pixels = |forms: &[Form]| {
        let config = Config { forms: forms.iter().copied().collect(), ..Config::default() };
        Interleave::spec(&config).phases[0].reads.iter().any(|table| table.name == "pixels")
    };
    assert!(!reads_pixels(&[Form::Mmc4]));
    assert!(reads_pixels(&[Form::Mmc4, Form::Parquet]));
}

#[test]
fn a_name_that_leaves_its_folder_is_refused() {
    assert!(serde_json::from_str::<Config>(r#"{"mmc4_prefix": "../docs"}"#).is_err());
    assert!(serde_json::from_str::<Config>(r#"{"mmc4_prefix": "docs_no_face_shard"}"#).is_ok());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test reads its reference values")]
fn mmc4s_own_line_comes_out_as_it_is_but_for_image_names() {
    let Some(root) = std::env::var_os("WEFT_CONFORMANCE") else {
        println!("SKIPPED: WEFT_CONFORMANCE is not set");
        return;
    };
    let path = std::path::Path::new(&root).join("c4/mmc4_example.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let mut reference: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let images =
        reference["image_info"].as_array().unwrap().iter().zip(reference["similarity_matrix"].as_array().unwrap());
    let images = images.map(|(image, row)| Picture {
        url: image["raw_url"].as_str().unwrap().to_owned(),
        similarity: serde_json::from_value(row.clone()).unwrap(),
        sentence: image["matched_text_index"].as_u64().map(|index| u32::try_from(index).unwrap()),
        alt: None,
    });
    let page = Page {
        document_id: "d",
        url: reference["url"].as_str().unwrap().to_owned(),
        sentences: texts(&reference["text_list"]),
        images: images.collect(),
        selected: true,
    };
    let context = context(&[page]);
    run(&[Form::Mmc4], &context);
    let line = lines(&context).remove(0);
    let mut own: Value = serde_json::from_str(&line).unwrap();
    for image in own["image_info"].as_array_mut().unwrap() {
        image["image_name"].take();
    }
    for image in reference["image_info"].as_array_mut().unwrap() {
        image["image_name"].take();
    }
    assert!(own.as_object_mut().unwrap().remove("weft").is_some());
    assert_eq!(own, reference);
    // The floats stand in the file digit for digit; reading them back could hide a difference.
    let matrix = |line: &str| -> String {
        let (_, behind) = line.split_once(r#""similarity_matrix": "#).unwrap();
        behind.split_once("]]").unwrap().0.to_owned()
    };
    assert_eq!(matrix(&line), matrix(&text));
}
