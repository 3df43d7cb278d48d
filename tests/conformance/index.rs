//! Keys of URLs and look-ups in a `ZipNum` index, as pywb and surt have them.

use serde_json::Value;

use super::{Agreement, list, probe, text, topic};

#[test]
fn index_keys_and_look_ups_are_those_of_pywb() {
    let Some((folder, expected)) = topic("cdx") else { return };
    let mut agreement = Agreement::new("cdx");

    let pairs = list(&expected, "url_to_urlkey");
    let urls: Vec<&str> = pairs.iter().map(|pair| text(pair, "url")).collect();
    let probed = probe(&folder, &["urlkey"], &urls.join("\n"));
    assert_eq!((probed.code, probed.found.len()), (Some(0), pairs.len()), "{:?}", probed.troubles);
    for (ours, pair) in probed.found.iter().zip(pairs) {
        assert_eq!(ours["url"], pair["url"]);
        agreement.compare("pairs", text(pair, "url"), &ours["urlkey"], &pair["urlkey"]);
    }

    let zipnum = &expected["zipnum"];
    let lookups = list(zipnum, "exact_lookups");
    let keys: Vec<&str> = lookups.iter().map(|lookup| text(lookup, "urlkey")).collect();
    let probed = probe(&folder, &["index", "zipnum/zipnum-sample.idx"], &keys.join("\n"));
    assert_eq!((probed.code, probed.found.len()), (Some(0), lookups.len()), "{:?}", probed.troubles);
    for (ours, lookup) in probed.found.iter().zip(lookups) {
        assert_eq!(ours["urlkey"], lookup["urlkey"]);
        let captures: Vec<Value> = list(ours, "captures").iter().map(as_columns).collect();
        agreement.compare("look-ups", text(lookup, "urlkey"), &Value::Array(captures), &lookup["captures"]);
    }

    // Of each block the first line is found under its key.
    let blocks = list(zipnum, "blocks");
    let firsts: Vec<(&str, &str)> = blocks.iter().map(|block| text(block, "key").rsplit_once(' ').unwrap()).collect();
    let keys: Vec<&str> = firsts.iter().map(|(key, _)| *key).collect();
    let probed = probe(&folder, &["index", "zipnum/zipnum-sample.idx"], &keys.join("\n"));
    assert_eq!(probed.found.len(), blocks.len(), "{:?}", probed.troubles);
    for (ours, (key, timestamp)) in probed.found.iter().zip(firsts) {
        let is_first = |capture: &Value| capture["urlkey"] == key && capture["timestamp"] == timestamp;
        let found = list(ours, "captures").iter().any(is_first);
        agreement.compare("blocks", key, &found.into(), &true.into());
    }

    // A summary that names shards whose place nobody knows is told, not guessed.
    let probed = probe(&folder, &["index", "zipnum/zipnum-bad.idx"], "com,example)/\n");
    let told = probed.code == Some(1) && probed.found.is_empty() && probed.troubles.len() == 1;
    agreement.compare("bad indexes", "zipnum-bad.idx", &told.into(), &true.into());
    agreement.finish();
}

/// A capture as the reference has it: columns as text, `-` for what is not known.
fn as_columns(capture: &Value) -> Value {
    let mut columns = serde_json::Map::new();
    for name in ["timestamp", "url", "mime", "status", "length", "offset", "filename"] {
        let column = match &capture[name] {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        columns.insert(name.to_owned(), column.into());
    }
    Value::Object(columns)
}
