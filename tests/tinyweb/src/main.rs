//! Writes the tiny web: `weft-tinyweb --out FOLDER [--seed N] [--pages N]`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use weft_tinyweb::{Shape, make, write};

fn main() -> anyhow::Result<()> {
    let mut shape = Shape::default();
    let mut out: Option<PathBuf> = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("`{name}` needs a value"))?;
        match name.as_str() {
            "--out" => out = Some(value.into()),
            "--seed" => shape.seed = value.parse().with_context(|| format!("`{value}` is no seed"))?,
            "--pages" => shape.pages = value.parse().with_context(|| format!("`{value}` is no number of pages"))?,
            _ => bail!("`{name}` is unknown; known are --out, --seed and --pages"),
        }
    }
    let out = out.context("--out FOLDER is missing")?;
    write(&make(&shape), &out).context("failed to write the web")
}
