//! `weft explain`: the life of one document, every stage's outcome and every image's reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::{Map, Value};

use crate::cli::RecipeOption;
use crate::command::inspect::{each_row, table_files};
use crate::command::{Opened, open, print};
use crate::view::short;

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A document's url or id, or the URL of one of its images
    #[arg(value_name = "URL|DOC")]
    subject: String,
    #[command(flatten)]
    recipe: RecipeOption,
}

type Row = Map<String, Value>;

pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let opened = open(&args.recipe.clone().into())?;
    let ids = find(&opened, &args.subject)?;
    if ids.is_empty() {
        bail!(
            "no document of this run has the url or id `{0}`, and no page names an image `{0}`; \
             weft inspect rejects --where document_id= lists source lines that never became documents",
            args.subject
        );
    }
    let mut text = String::new();
    for id in &ids {
        tell(&opened, id, &mut text)?;
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The documents that `subject` names.
fn find(opened: &Opened, subject: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for (table, columns) in [
        ("documents", &["url", "document_id"][..]),
        ("outlines", &["url", "document_id"][..]),
        ("candidates", &["image_url"][..]),
        ("rejects", &["image_url", "document_id"][..]),
    ] {
        if table != "rejects" && opened.plan.writer(table).is_none() {
            continue;
        }
        for path in table_files(opened, table)? {
            each_row(&opened.store, &path, |row| {
                let named = columns.iter().any(|column| row.get(*column).and_then(Value::as_str) == Some(subject));
                if let (true, Some(id)) = (named, row.get("document_id").and_then(Value::as_str))
                    && !id.is_empty()
                {
                    ids.insert(id.to_owned());
                }
                Ok(true)
            })?;
        }
        if !ids.is_empty() {
            break;
        }
    }
    Ok(ids)
}

/// A document's rows in one table.
fn rows_of(opened: &Opened, table: &str, id: &str) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    if table != "rejects" && opened.plan.writer(table).is_none() {
        return Ok(rows);
    }
    for path in table_files(opened, table)? {
        each_row(&opened.store, &path, |row| {
            if row.get("document_id").and_then(Value::as_str) == Some(id) {
                rows.push(row);
            }
            Ok(true)
        })?;
    }
    Ok(rows)
}

fn text_of<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

fn number_of(row: &Row, column: &str) -> u64 {
    row.get(column).and_then(Value::as_u64).unwrap_or_default()
}

fn tell(opened: &Opened, id: &str, out: &mut String) -> anyhow::Result<()> {
    let rejects = rows_of(opened, "rejects", id)?;
    // An interleaved source has no `documents`.
    let first_table = if opened.plan.writer("documents").is_some() { "documents" } else { "outlines" };
    let document = rows_of(opened, first_table, id)?;
    writeln!(out, "document {id}")?;
    let sentences: Vec<String> = document
        .first()
        .and_then(|row| row.get("sentences"))
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(|s| s.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    if let Some(row) = document.first() {
        writeln!(out, "  {} at {}, {} sentences", text_of(row, "url"), text_of(row, "timestamp"), sentences.len())?;
    }
    for (stage, table) in [("locate", "captures"), ("fetch", "pages"), ("extract", "outlines")] {
        if let Some(row) = rows_of(opened, table, id)?.first() {
            match stage {
                "locate" => writeln!(
                    out,
                    "  {stage:<11} {} bytes at {} of {}",
                    number_of(row, "length"),
                    number_of(row, "offset"),
                    text_of(row, "filename")
                )?,
                "fetch" => {
                    let body = row.get("body").and_then(|body| body.get("bytes")).and_then(Value::as_u64);
                    writeln!(out, "  {stage:<11} {} bytes of {}", body.unwrap_or(0), text_of(row, "content_type"))?;
                }
                _ => {
                    let stage = opened.plan.writer(table).map_or(stage, |writer| writer.stage);
                    writeln!(out, "  {stage:<11} {} candidates", number_of(row, "candidates"))?;
                }
            }
        }
    }
    for row in
        rejects.iter().filter(|row| text_of(row, "unit") != "images" && row.get("image_url").is_none_or(Value::is_null))
    {
        writeln!(
            out,
            "  {:<11} rejected: {} ({})",
            text_of(row, "stage"),
            text_of(row, "reason"),
            text_of(row, "evidence")
        )?;
    }
    tell_images(opened, id, &rejects, &sentences, out)?;
    if rows_of(opened, "document_selections", id)?.is_empty() {
        writeln!(out, "  not in the shards")?;
    } else {
        writeln!(out, "  in the shards")?;
    }
    Ok(())
}

/// Every image reference of the document, in DOM order where it has a place, with its outcome.
fn tell_images(
    opened: &Opened,
    id: &str,
    rejects: &[Row],
    sentences: &[String],
    out: &mut String,
) -> anyhow::Result<()> {
    let candidates = rows_of(opened, "candidates", id)?;
    let images = rows_of(opened, "images", id)?;
    let mut assignments: BTreeMap<u64, Row> = BTreeMap::new();
    for row in rows_of(opened, "assignments", id)? {
        assignments.insert(number_of(&row, "image_index"), row);
    }
    let mut scores: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for row in rows_of(opened, "detections", id)? {
        let score = row.get("score").and_then(Value::as_f64).unwrap_or_default();
        scores
            .entry(number_of(&row, "image_index"))
            .or_default()
            .push(format!("{} {score:.3}", text_of(&row, "detector")));
    }
    for candidate in &candidates {
        let (index, url) = (number_of(candidate, "image_index"), text_of(candidate, "image_url"));
        writeln!(out, "  image {index:<3} {url}")?;
        if let Some(image) = images.iter().find(|image| number_of(image, "image_index") == index) {
            writeln!(
                out,
                "            {} {} x {} px, phash {}{}",
                text_of(image, "format"),
                number_of(image, "width_px"),
                number_of(image, "height_px"),
                text_of(image, "phash"),
                scores.get(&index).map(|scores| format!(", {}", scores.join(", "))).unwrap_or_default()
            )?;
        }
        if let Some(assignment) = assignments.get(&index) {
            let sentence = number_of(assignment, "sentence_index");
            let similarity = assignment.get("similarity").and_then(Value::as_f64).unwrap_or_default();
            let words = usize::try_from(sentence).ok().and_then(|position| sentences.get(position));
            let words = short(&Value::from(words.map_or("", String::as_str)), 60);
            writeln!(out, "            kept: sentence {sentence} at {similarity:.4}: {words}")?;
        }
        for row in rejects.iter().filter(|row| text_of(row, "image_url") == url && text_of(row, "unit") != "references")
        {
            let (stage, reason) = (text_of(row, "stage"), text_of(row, "reason"));
            writeln!(out, "            {stage} rejected: {reason} ({})", text_of(row, "evidence"))?;
        }
    }
    for row in rejects.iter().filter(|row| text_of(row, "unit") == "references") {
        writeln!(
            out,
            "  reference {} rejected: {} ({})",
            short(row.get("image_url").unwrap_or(&Value::Null), 90),
            text_of(row, "reason"),
            text_of(row, "evidence")
        )?;
    }
    Ok(())
}
