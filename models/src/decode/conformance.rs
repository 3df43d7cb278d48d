//! Compares decoding and hashing with Pillow and imagehash over a folder of the field's own test files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use weft_core::limits::Limits;

use super::{Decoded, Format, decode, probe};
use crate::phash::{Phash, bits_near_median, phash};

#[derive(Deserialize)]
struct Expected {
    files: BTreeMap<String, File>,
}

#[derive(Deserialize)]
struct File {
    verdict: String,
    width: Option<u32>,
    height: Option<u32>,
    exif_orientation: Option<u8>,
    phash: Option<String>,
    phash_bits_near_median: Option<u32>,
    rgb_mean: Option<[f64; 3]>,
}

#[derive(Default)]
struct Tally {
    files: u32,
    same_hash: u32,
    same_bits_near: u32,
    wrong: Vec<String>,
}

#[test]
fn images_are_decoded_and_refused_as_pillow_and_opencv_agree() {
    let Some(root) = std::env::var_os("WEFT_CONFORMANCE") else {
        println!("SKIPPED: WEFT_CONFORMANCE is not set");
        return;
    };
    let root = Path::new(&root).join("images");
    let read = |name: &str| {
        #[expect(clippy::disallowed_methods, reason = "a fixture, not outside bytes")]
        let bytes = std::fs::read(root.join(name));
        bytes.unwrap()
    };
    let expected: Expected = serde_json::from_slice(&read("expected.json")).unwrap();
    assert!(!expected.files.is_empty());
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for (name, file) in &expected.files {
        let bytes = read(name);
        let decoded = decode(&bytes, &Limits::default());
        let tally = tallies.entry(&file.verdict).or_default();
        tally.files += 1;
        let outcome = match file.verdict.as_str() {
            "must_decode" => match &decoded {
                Ok(image) => compare(tally, &bytes, file, image),
                Err(cause) => Err(format!("refused: {cause}")),
            },
            "must_refuse_bomb" => match &decoded {
                Err(cause) if cause.name() == "too_many_pixels" => Ok(()),
                other => Err(format!("{other:?}")),
            },
            "refused_by_both" => match &decoded {
                Err(cause) if cause.name() == "panicked" => Err(cause.to_string()),
                Err(_) => Ok(()),
                Ok(_) => Err("decoded".to_owned()),
            },
            "may_do_either" => match &decoded {
                Err(cause) if cause.name() == "panicked" => Err(cause.to_string()),
                _ => Ok(()),
            },
            verdict => Err(format!("unknown verdict {verdict}")),
        };
        if let Err(why) = outcome {
            tally.wrong.push(format!("{name}: {why}"));
        } else if let Err(cause) = &decoded {
            println!("{name}: {}: {cause}", cause.name());
        }
    }
    for (verdict, tally) in &tallies {
        let Tally { files, same_hash, same_bits_near, wrong } = tally;
        println!(
            "{verdict}: {files} files, {} wrong, {same_hash} hashes equal, {same_bits_near} near counts equal",
            wrong.len()
        );
        for wrong in wrong {
            println!("  WRONG {wrong}");
        }
    }
    for (verdict, tally) in &tallies {
        assert!(tally.wrong.is_empty(), "{verdict}: {:?}", tally.wrong);
    }
}

fn compare(tally: &mut Tally, bytes: &[u8], file: &File, image: &Decoded) -> Result<(), String> {
    let size = (image.rgb.width_px(), image.rgb.height_px());
    let header = probe(bytes).map_err(|cause| format!("not probed: {cause}"))?;
    // Pillow turns the size of one file by its metadata; the pixels are compared by the hash.
    if Some(size) != file.width.zip(file.height) || size != (header.width_px, header.height_px) {
        return Err(format!("{size:?}, expected {:?}", (file.width, file.height)));
    }
    let expected = Phash(u64::from_str_radix(file.phash.as_deref().unwrap(), 16).unwrap());
    let near = file.phash_bits_near_median.unwrap();
    let hash = phash(&image.rgb);
    tally.same_hash += u32::from(hash == expected);
    tally.same_bits_near += u32::from(bits_near_median(&image.rgb) == near);
    let distance = hash.hamming(expected);
    let is_lossy = matches!(image.format, Format::Jpeg | Format::Webp | Format::Avif | Format::Jpeg2000);
    let mean = mean(image);
    let difference = mean.iter().zip(file.rgb_mean.unwrap()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    if difference > 0.002 || distance > 0 {
        println!("{}: {distance} of 2 + {near} bits, mean off by {difference:.3}", image.format);
    }
    if distance > if is_lossy { 2 + near } else { 0 } {
        return Err(format!("{hash}, expected {expected}: {distance} bits, {near} near; mean off by {difference:.3}"));
    }
    // Ours are libjpeg's pixels. For other lossy formats the mean is no part of the contract.
    if difference > 0.002 && (!is_lossy || image.format == Format::Jpeg) {
        return Err(format!("mean {mean:?}, expected {:?}", file.rgb_mean));
    }
    if file.exif_orientation.unwrap_or(1) != image.exif_orientation {
        return Err(format!("orientation {}, expected {:?}", image.exif_orientation, file.exif_orientation));
    }
    Ok(())
}

fn mean(image: &Decoded) -> [f64; 3] {
    let mut sums = [0_u64; 3];
    for pixel in image.rgb.pixels().chunks_exact(3) {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += u64::from(*value);
        }
    }
    let pixels = f64::from(image.rgb.width_px()) * f64::from(image.rgb.height_px());
    sums.map(|sum| f64::from(u32::try_from(sum).unwrap()) / pixels)
}
