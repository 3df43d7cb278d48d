//! Matchings as MMC4's own script computes them.

use serde_json::{Value, json};

use super::{Agreement, list, probe, topic};
use crate::support::read;

#[test]
fn matchings_are_those_of_mmc4s_own_script() {
    let Some((folder, expected)) = topic("c4") else { return };
    let mut agreement = Agreement::new("c4");
    let cases = list(&expected["matching"], "cases");
    let lines: Vec<String> = cases.iter().map(Value::to_string).collect();
    for method in ["linear", "max"] {
        let probed = probe(&folder, &["match", "--method", method], &lines.join("\n"));
        assert_eq!((probed.code, probed.found.len()), (Some(0), cases.len()), "{:?}", probed.troubles);
        for (ours, case) in probed.found.iter().zip(cases) {
            let assignment = if method == "linear" { case["assignment"].clone() } else { best_of(case) };
            let chosen = list(case, "similarity_matrix").iter().zip(assignment.as_array().unwrap());
            let similarities: Value =
                chosen.map(|(row, index)| row[usize::try_from(index.as_u64().unwrap()).unwrap()].clone()).collect();
            let theirs = json!({"assignment": assignment, "similarities": similarities});
            agreement.compare("matchings", &format!("{}, {method}", case["name"]), ours, &theirs);
        }
    }

    let example: Value = serde_json::from_slice(&read(&folder.join("mmc4_example.jsonl"))).unwrap();
    let probed = probe(&folder, &["match", "mmc4_example.jsonl"], "");
    assert_eq!((probed.code, probed.found.len()), (Some(0), 1), "{:?}", probed.troubles);
    let of_images =
        |field: &str| -> Value { list(&example, "image_info").iter().map(|image| image[field].clone()).collect() };
    let theirs = json!({"assignment": of_images("matched_text_index"), "similarities": of_images("matched_sim")});
    agreement.compare("published documents", "mmc4_example.jsonl", &probed.found[0], &theirs);

    // No reference splits these texts: the sentences are the text again, in order, but for white space.
    let file = "c4_train_00000_first3.jsonl";
    let probed = probe(&folder, &["sentences", file], "");
    let texts = String::from_utf8(read(&folder.join(file))).unwrap();
    assert_eq!((probed.code, probed.found.len()), (Some(0), texts.lines().count()));
    for (ours, line) in probed.found.iter().zip(texts.lines()) {
        let document: Value = serde_json::from_str(line).unwrap();
        let joined: String = list(ours, "sentences").iter().map(|sentence| sentence.as_str().unwrap()).collect();
        let dense = |text: &str| -> String { text.split_whitespace().collect() };
        let theirs = dense(document["text"].as_str().unwrap());
        agreement.compare("texts", file, &dense(&joined).into(), &theirs.into());
    }
    agreement.finish();
}

/// For each image the first of its most similar sentences.
fn best_of(case: &Value) -> Value {
    let best = |row: &Value| {
        let row: Vec<f64> = row.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        let largest = row.iter().copied().fold(f64::MIN, f64::max);
        row.iter().position(|value| *value >= largest).unwrap()
    };
    list(case, "similarity_matrix").iter().map(best).collect()
}
