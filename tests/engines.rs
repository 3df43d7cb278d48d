//! The two engines agree to 1e-4 on everything that the tiny recipe measures.

use std::path::Path;

use serde_json::Value;

use crate::support::{repository, runtime_library, weft};

/// The largest difference allowed between the engines' numbers.
const TOLERANCE: f64 = 1e-4;

/// Measures the tiny web on one engine; the rows of `table`.
fn measured(output: &Path, engine: &str, table: &str) -> Vec<Value> {
    let recipe = repository().join("manifests/recipes/tiny.toml").display().to_string();
    let output = output.display().to_string();
    let set = format!("numerics.engine={engine}");
    let ran = weft()
        .args(["run", &recipe, "--quiet", "--output", &output, "--set", &set, "--set", "until=measure"])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{engine}: {}", String::from_utf8_lossy(&ran.stderr));
    let shown = weft()
        .args(["inspect", table, "--json", "--recipe", &recipe, "--output", &output, "--set", &set])
        .output()
        .unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let text = String::from_utf8(shown.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn largest_difference(a: &Value, b: &Value) -> f64 {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).map(|(a, b)| largest_difference(a, b)).fold(0.0, f64::max)
        }
        (Value::Number(a), Value::Number(b)) => (a.as_f64().unwrap() - b.as_f64().unwrap()).abs(),
        _ => {
            assert_eq!(a, b);
            0.0
        }
    }
}

#[test]
fn tract_and_onnxruntime_measure_the_same() {
    if runtime_library().is_none() {
        eprintln!("SKIPPED: WEFT_TEST_ORT_DYLIB is not set; the engines were not compared");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (table, columns) in [("similarities", &["similarity"][..]), ("detections", &["score"])] {
        let tract = measured(folder.path(), "tract", table);
        let other = measured(folder.path(), "onnxruntime", table);
        assert!(!tract.is_empty());
        assert_eq!(tract.len(), other.len());
        let mut largest = 0.0_f64;
        for (a, b) in tract.iter().zip(&other) {
            for (column, value) in a.as_object().unwrap() {
                let difference = largest_difference(value, &b[column]);
                assert!(columns.contains(&column.as_str()) || difference == 0.0, "{column}: {a} {b}");
                largest = largest.max(difference);
            }
        }
        println!("{table}: {} rows, largest difference {largest:e}", tract.len());
        assert!(largest <= TOLERANCE, "{table}: {largest}");
    }
}
