//! A crawl in an S3 bucket gives what a folder gives.
//!
//! `WEFT_TEST_S3` is the address of a server that speaks S3 and holds the tiny crawl in two buckets, as
//! `.ci/s3-server` makes one: `weft-private`, for those who sign, and `weft-open`, for all, which holds the real crawl of
//! archive.org too where the conformance data is at hand.

use std::path::Path;
use std::process::Command;

use crate::support::{Said, digests, run_tiny, tiny_args, weft, write};

/// The server's address, or nothing: then the test says so loudly.
fn endpoint() -> Option<String> {
    let endpoint = std::env::var("WEFT_TEST_S3").ok();
    if endpoint.is_none() {
        eprintln!("SKIPPED: WEFT_TEST_S3 is not set; no crawl was read from S3");
    }
    endpoint
}

/// The binary for a bucket, with nothing of this machine's own settings.
fn weft_for(endpoint: &str) -> Command {
    let mut command = weft();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_REGION", "us-east-1");
    command
}

fn run_from(command: &mut Command, bucket: &str, folder: &Path) -> (Said, std::path::PathBuf) {
    let manifest = format!(
        "kind = \"crawl\"\nname = \"WEFT-TINY-2019-18\"\nroot = \"s3://{bucket}/a prefix\"\n\
         index = \"cc-index/collections/WEFT-TINY-2019-18/indexes\"\n{}",
        crate::fronts::front_section(1000, "20ms")
    );
    let path = folder.join("crawl.toml");
    write(&path, manifest.as_bytes());
    let output = folder.join("out");
    let set = format!("crawl.manifest={}", path.display());
    let said = command.args(tiny_args(&output)).args(["--set", &set]).output().unwrap();
    (said.into(), output)
}

#[test]
fn a_bucket_gives_the_same_shards_signed_and_open() {
    let Some(endpoint) = endpoint() else { return };
    let plain = tempfile::tempdir().unwrap();
    run_tiny(plain.path(), &[]);
    let expected = digests(&plain.path().join("shards"));

    let folder = tempfile::tempdir().unwrap();
    let mut command = weft_for(&endpoint);
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    let (said, output) = run_from(&mut command, "weft-private", folder.path());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(digests(&output.join("shards")), expected);

    let folder = tempfile::tempdir().unwrap();
    let mut command = weft_for(&endpoint);
    command.env("AWS_SKIP_SIGNATURE", "true");
    let (said, output) = run_from(&mut command, "weft-open", folder.path());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(digests(&output.join("shards")), expected);
}

#[test]
fn a_bucket_that_is_not_open_refuses_who_does_not_sign() {
    let Some(endpoint) = endpoint() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = weft_for(&endpoint);
    command.env("AWS_SKIP_SIGNATURE", "true");
    let (said, _) = run_from(&mut command, "weft-private", folder.path());
    assert_eq!(said.code, Some(1), "{}", said.err);
    let words = ["403 for s3://weft-private/a prefix/", "its credentials may not read the bucket"];
    assert!(words.iter().all(|words| said.err.contains(words)), "{}", said.err);
}

#[test]
fn a_real_crawl_in_a_bucket_equals_the_reference_by_either_index() {
    let Some(endpoint) = endpoint() else { return };
    let Some(topic) = crate::archive_org::conformance() else { return };
    let weft = || {
        let mut command = weft_for(&endpoint);
        command.env("AWS_SKIP_SIGNATURE", "true");
        command
    };
    crate::archive_org::compare(&topic, "s3://weft-open/archive-org", &weft);
}
