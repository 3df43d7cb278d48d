//! What may import what, and under which licences: held over cargo's own metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::support::{read, repository};

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn packages(metadata: &Value) -> &Vec<Value> {
    metadata["packages"].as_array().unwrap()
}

/// Direct dependencies of a workspace package, those of tests apart.
fn dependencies(metadata: &Value, package: &str) -> BTreeSet<String> {
    let found = packages(metadata).iter().find(|p| p["name"] == package).unwrap();
    let dependencies = found["dependencies"].as_array().unwrap();
    let normal = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
    normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn packages_import_only_what_their_layer_may() {
    let metadata = metadata();
    let banned: [(&str, &[&str]); 4] = [
        ("weft-core", &["weft-models", "weft-stages", "weft", "rusqlite", "reqwest", "ort", "clap"]),
        ("weft-models", &["weft-stages", "weft", "rusqlite", "reqwest", "clap"]),
        ("weft-stages", &["weft", "rusqlite", "ort", "clap"]),
        ("weft", &["ort", "reqwest"]),
    ];
    for (package, banned) in banned {
        let imports = dependencies(&metadata, package);
        for name in banned {
            assert!(!imports.contains(*name), "{package} imports {name}");
        }
    }
}

/// The Rust files of a folder, not of its subfolders that are packages of their own.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let mut open = vec![repository().join(folder)];
    while let Some(current) = open.pop() {
        for entry in std::fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.join("Cargo.toml").exists() {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = String::from_utf8(read(&path)).unwrap();
                sources.push((path.strip_prefix(repository()).unwrap().display().to_string(), text));
            }
        }
    }
    assert!(!sources.is_empty(), "no source in {folder}");
    sources
}

#[test]
fn a_stage_never_imports_a_stage() {
    let stages = weft_stages_names();
    for (path, text) in sources("stages") {
        let own = path.trim_start_matches("stages/").trim_end_matches(".rs").split('/').next().unwrap().to_owned();
        // Tests of a stage may run other stages.
        if !stages.contains(&own) || path.contains("tests") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap();
        for stage in stages.iter().filter(|stage| **stage != own) {
            assert!(!code.contains(&format!("crate::{stage}::")), "{path} imports stage {stage}");
        }
    }
}

fn weft_stages_names() -> BTreeSet<String> {
    let names =
        ["ingest", "locate", "fetch", "extract", "download", "dedup", "measure", "select", "assign", "interleave"];
    for name in names {
        assert!(repository().join(format!("stages/{name}.rs")).exists(), "stage {name} has no file");
    }
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn only_the_named_places_use_the_guarded_packages() {
    let allowed: [(&str, &str, &[&str]); 4] = [
        ("src", "rusqlite", &["src/ledger.rs", "src/view.rs"]),
        ("src", "clap", &["src/main.rs", "src/cli.rs", "src/command/"]),
        ("stages", "reqwest", &["stages/formats/outside", "stages/locate", "stages/fetch", "stages/download"]),
        ("models", "ort", &["models/src/session", "models/src/engine"]),
    ];
    for (folder, package, places) in allowed {
        for (path, text) in sources(folder) {
            let uses = text.lines().any(|line| {
                let line = line.trim_start();
                let path = format!("{package}::");
                // `Short::` is no `ort::`.
                let begins = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                !line.starts_with("//") && line.match_indices(&path).any(|(at, _)| begins(at))
            });
            let may = places.iter().any(|place| path.starts_with(place));
            assert!(!uses || may, "{path} uses {package}, which belongs to {places:?}");
        }
    }
}

#[test]
fn unsafe_code_stands_in_the_session_folder_only() {
    for folder in ["src", "stages", "stages/core", "models", "tests"] {
        for (path, text) in sources(folder) {
            let keyword = concat!("uns", "afe");
            let uses = text.lines().any(|line| {
                line.trim_start().starts_with(&format!("{keyword} ")) || line.contains(&format!("= {keyword} {{"))
            });
            assert!(!uses || path.starts_with("models/src/session"), "{path} holds unsafe code");
        }
    }
}

/// The licences that deny.toml allows, everywhere and by crate.
fn allowed_licences() -> (BTreeSet<String>, BTreeMap<String, BTreeSet<String>>) {
    let text = String::from_utf8(read(&repository().join("deny.toml"))).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let licences = table["licenses"].as_table().unwrap();
    let texts = |value: &toml::Value| -> BTreeSet<String> {
        value.as_array().unwrap().iter().map(|licence| licence.as_str().unwrap().to_owned()).collect()
    };
    let exceptions = licences["exceptions"].as_array().unwrap().iter();
    let exceptions = exceptions.map(|entry| (entry["crate"].as_str().unwrap().to_owned(), texts(&entry["allow"])));
    (texts(&licences["allow"]), exceptions.collect())
}

/// Whether an SPDX expression can be met by allowed licences: any side of an OR, every side of an AND.
fn is_met(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut depth = 0_i32;
    let words: Vec<(i32, String)> = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .split_whitespace()
        .map(|word| {
            depth += i32::from(word == "(") - i32::from(word == ")");
            (depth, word.to_owned())
        })
        .collect();
    let text = |words: &[(i32, String)]| words.iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>().join(" ");
    for (operator, any) in [("OR", true), ("AND", false)] {
        let floor = words.first().map_or(0, |(depth, _)| *depth).min(0);
        if let Some(at) = words.iter().position(|(depth, word)| *depth == floor && word == operator) {
            let (left, right) = (text(&words[..at]), text(&words[at + 1..]));
            let (left, right) = (is_met(&left, allowed), is_met(&right, allowed));
            return if any { left || right } else { left && right };
        }
    }
    let whole = text(&words);
    match whole.strip_prefix("( ").and_then(|inner| inner.strip_suffix(" )")) {
        Some(inner) => is_met(inner, allowed),
        None => allowed(&whole),
    }
}

#[test]
fn spdx_expressions_are_read_right() {
    let mit = |licence: &str| licence == "MIT";
    assert!(is_met("MIT OR GPL-3.0", &mit));
    assert!(is_met("MIT/Apache-2.0", &mit));
    assert!(!is_met("MIT AND GPL-3.0", &mit));
    assert!(is_met("(GPL-3.0 OR MIT) AND MIT", &mit));
    assert!(!is_met("(Apache-2.0 OR BSD-3-Clause) AND MIT", &mit));
}

#[test]
fn every_dependency_is_under_an_allowed_licence() {
    let metadata = metadata();
    let (everywhere, by_crate) = allowed_licences();
    let mut refused = Vec::new();
    for package in packages(&metadata) {
        let name = package["name"].as_str().unwrap();
        let expression = package["license"].as_str().unwrap_or("");
        let own = by_crate.get(name);
        let allowed = |licence: &str| everywhere.contains(licence) || own.is_some_and(|own| own.contains(licence));
        if !is_met(expression, &allowed) {
            refused.push(format!("{name} is under `{expression}`"));
        }
    }
    assert!(refused.is_empty(), "deny.toml does not allow: {}", refused.join("; "));
}

#[test]
fn the_default_build_needs_no_cmake_nasm_or_protoc() {
    let metadata = metadata();
    for package in packages(&metadata) {
        let name = package["name"].as_str().unwrap();
        assert!(!["cmake", "protoc-bin-vendored", "prost-build"].contains(&name), "{name} is in the build");
    }
    // These link a helper for nasm, and call it under a feature that must stay off.
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let id = node["id"].as_str().unwrap();
        let assembled = ["re_rav1d", "rav1d", "mozjpeg-sys"].iter().any(|name| id.contains(&format!("{name}@")));
        let features: Vec<&str> = node["features"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(!assembled || !features.iter().any(|feature| feature.contains("asm")), "{id} is built with nasm");
    }
}
