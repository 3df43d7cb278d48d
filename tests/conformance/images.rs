//! Sizes, hashes and refusals of images, as Pillow, `OpenCV` and imagehash have them.

use serde_json::Value;

use super::{Agreement, probe, text, topic};

#[test]
fn images_are_decoded_hashed_and_refused_as_pillow_does() {
    let Some((folder, expected)) = topic("images") else { return };
    let mut agreement = Agreement::new("images");
    let files = expected["files"].as_object().unwrap();
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let probed = probe(&folder, &[&["image"], &names[..]].concat(), "");
    assert_eq!((probed.code, probed.found.len()), (Some(0), names.len()), "{:?}{}", probed.troubles, probed.err);
    for (ours, (name, reference)) in probed.found.iter().zip(files) {
        assert_eq!(ours["file"], name.as_str());
        let refused = ours["verdict"] == "refused" && ours["phash"].is_null() && ours["reason"].is_string();
        let reason = ours["reason"].as_str().unwrap_or_default();
        let (thing, found) = match text(reference, "verdict") {
            "must_decode" => ("that must decode", image_differences(ours, reference)),
            "must_refuse_bomb" if refused && reason.starts_with("too_many_pixels") => ("bombs", vec![]),
            "must_refuse_bomb" => ("bombs", vec![ours.to_string()]),
            "refused_by_both" if refused && !reason.starts_with("panicked") => ("refused by both", vec![]),
            "refused_by_both" => ("refused by both", vec![ours.to_string()]),
            "may_do_either" if !reason.starts_with("panicked") => ("that may do either", vec![]),
            other => ("of other verdicts", vec![format!("{other}: {ours}")]),
        };
        agreement.count(thing, name, &found);
        if reference["verdict"] == "must_decode" && ours["phash"] == reference["phash"] {
            agreement.count("hashes bit by bit", name, &[]);
        }
    }
    agreement.finish();
}

/// Size, and the hash within its tolerance: no bit for what is lossless, else 2 and those near the median.
pub(super) fn image_differences(ours: &Value, reference: &Value) -> Vec<String> {
    let mut found = super::differences(ours, reference, &[("width", "width"), ("height", "height")]);
    if ours["verdict"] != "ok" || !ours["reason"].is_null() {
        found.push(format!("refused: {}", ours["reason"]));
        return found;
    }
    let bits = |image: &Value| u64::from_str_radix(text(image, "phash"), 16).unwrap();
    let distance = (bits(ours) ^ bits(reference)).count_ones();
    let is_lossy = ["jpeg", "webp", "avif", "jpeg2000"].contains(&text(ours, "format"));
    let near = u32::try_from(reference["phash_bits_near_median"].as_u64().unwrap()).unwrap();
    let tolerance = if is_lossy { 2 + near } else { 0 };
    if distance > tolerance || text(ours, "phash").len() != 16 {
        found.push(format!("phash: {} for {}, tolerance {tolerance}", ours["phash"], reference["phash"]));
    }
    found
}
