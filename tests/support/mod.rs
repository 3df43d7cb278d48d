//! Runs the binary and reads what it left behind.

pub(crate) mod server;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The ONNX Runtime library that the gate's second pass tests with.
pub(crate) fn runtime_library() -> Option<OsString> {
    std::env::var_os("WEFT_TEST_ORT_DYLIB")
}

/// The binary.
pub(crate) fn weft() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.env("WEFT_LOG", "warn").env_remove("ORT_DYLIB_PATH").current_dir(repository());
    if let Some(library) = runtime_library() {
        command.env("ORT_DYLIB_PATH", library);
    }
    command
}

/// What a command printed.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `weft` with `args`.
pub(crate) fn said(args: &[&str]) -> Said {
    weft().args(args).output().unwrap().into()
}

/// Arguments of `weft run` for the tiny recipe.
pub(crate) fn tiny_args(output: &Path) -> Vec<String> {
    let recipe = repository().join("manifests/recipes/tiny.toml");
    let args = ["run", &recipe.display().to_string(), "--output", &output.display().to_string(), "--quiet"];
    args.iter().map(|arg| (*arg).to_owned()).chain(engine_args()).collect()
}

/// Sets the engine: the embedded one, or the library that the second pass names; found or the run fails.
pub(crate) fn engine_args() -> Vec<String> {
    let engine = if runtime_library().is_some() { "onnxruntime" } else { "tract" };
    vec!["--set".to_owned(), format!("numerics.engine={engine}")]
}

/// Runs the tiny recipe; panics with what it said when it fails.
pub(crate) fn run_tiny(output: &Path, extra: &[&str]) -> Said {
    let said: Said = weft().args(tiny_args(output)).args(extra).output().unwrap().into();
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    said
}

/// The blake3 of every file below `folder`, by relative path.
pub(crate) fn digests(folder: &Path) -> BTreeMap<String, String> {
    let mut digests = BTreeMap::new();
    let mut open: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(current) = open.pop() {
        for entry in std::fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                digests.insert(name, blake3::hash(&read(&path)).to_hex().to_string());
            }
        }
    }
    digests
}

/// A file's bytes.
#[expect(clippy::disallowed_methods, reason = "tests look at what the store wrote")]
pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Writes a file of a test's own.
#[expect(clippy::disallowed_methods, reason = "tests make their own inputs")]
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A funnel: (stage, unit) to (read, kept, rejected by reason).
pub(crate) type Funnel = BTreeMap<(String, String), (u64, u64, BTreeMap<String, u64>)>;

/// The funnel of a run's JSON.
pub(crate) fn funnel(json: &str) -> Funnel {
    let value: Value = serde_json::from_str(json).unwrap();
    let rows = value["funnel"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            let reasons = row["rejected"].as_object().unwrap();
            let reasons = reasons.iter().map(|(reason, rows)| (reason.clone(), rows.as_u64().unwrap())).collect();
            ((text("stage"), text("unit")), (row["read"].as_u64().unwrap(), row["kept"].as_u64().unwrap(), reasons))
        })
        .collect()
}

/// The reports of a run, by task folder and shard, straight from the store.
pub(crate) fn reports(output: &Path) -> BTreeMap<String, Value> {
    let mut reports = BTreeMap::new();
    for name in digests(&output.join("tables")).into_keys().filter(|name| name.ends_with("report.json")) {
        let bytes = read(&output.join("tables").join(&name));
        reports.insert(name, serde_json::from_slice(&bytes).unwrap());
    }
    reports
}
