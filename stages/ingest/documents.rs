//! Documents of pages, on their way to the corpus shard of their SURT key.

use std::borrow::Cow;
use std::fmt;

use weft_core::context::{Accounts, Context};
use weft_core::id::document_id;
use weft_core::reject::{Reason, Reject, Unit};
use weft_core::stage::{Stage, StageError};
use weft_core::tables::{Documents, DocumentsRow};
use weft_core::tally::Tally;
use weft_core::write::ExchangeWriter;

use super::Ingest;
use crate::evidence::clipped;
use crate::formats::index::CrawlIndex;
use crate::formats::surt_ranges::SurtRanges;
use crate::formats::{sentences, surt};

/// A source's entry that is a document.
#[derive(Debug)]
pub(super) struct Document<'a> {
    urlkey: String,
    timestamp: String,
    url: Cow<'a, str>,
    document_id: String,
    source_timestamp: Cow<'a, str>,
    text: Cow<'a, str>,
}

/// Why an entry is no document.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) evidence: String,
    /// Empty where the entry has none yet.
    pub(super) document_id: String,
}

pub(super) fn refuse<T>(reason: Reason, evidence: String) -> Result<T, Refusal> {
    Err(Refusal { reason, evidence, document_id: String::new() })
}

impl<'a> Document<'a> {
    /// Of several faults, the first in the order url, timestamp, text. `digits` are those that `source_timestamp`
    /// means, where it means any.
    pub(super) fn new(
        url: Cow<'a, str>,
        source_timestamp: Cow<'a, str>,
        digits: Option<String>,
        text: Cow<'a, str>,
    ) -> Result<Self, Refusal> {
        let Some(urlkey) = surt::urlkey(&url) else {
            return refuse(Reason::BadUrl, format!("`{}`", clipped(&url)));
        };
        let Some(timestamp) = digits else {
            return refuse(Reason::BadTimestamp, format!("`{}`", clipped(&source_timestamp)));
        };
        let document_id = document_id(&url, &timestamp);
        if is_blank(&text) {
            let evidence = format!("`{}` has a text of {} bytes, all blank", clipped(&url), text.len());
            return Err(Refusal { reason: Reason::NoText, evidence, document_id });
        }
        Ok(Self { urlkey, timestamp, url, document_id, source_timestamp, text })
    }

    fn row(&self) -> DocumentsRow<'_> {
        DocumentsRow {
            urlkey: &self.urlkey,
            timestamp: &self.timestamp,
            url: &self.url,
            document_id: &self.document_id,
            source_timestamp: &self.source_timestamp,
            sentences: sentences::split(&self.text),
        }
    }
}

/// Whether a text makes no sentence; control characters alone make none either.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c.is_control())
}

/// Where documents of pages go.
#[derive(Debug)]
pub(super) struct PageSink<'c> {
    context: &'c Context,
    accounts: Accounts<'c>,
    documents: ExchangeWriter<Documents>,
    ranges: SurtRanges,
}

impl<'c> PageSink<'c> {
    pub(super) fn open(context: &'c Context, index: &CrawlIndex) -> Result<Self, StageError> {
        Ok(Self {
            context,
            accounts: context.accounts(Ingest::NAME)?,
            documents: context.exchange()?,
            ranges: SurtRanges::of(index, context.shards.corpus),
        })
    }

    /// Counts an entry and the bytes that it takes in the source.
    pub(super) fn read(&mut self, bytes: u64) -> Result<(), StageError> {
        self.accounts.read(Unit::Documents)?;
        self.accounts.bytes(bytes);
        Ok(())
    }

    /// Writes what the entry at `place` turned out to be.
    pub(super) fn take(
        &mut self,
        outcome: Result<Document<'_>, Refusal>,
        place: impl fmt::Display,
    ) -> Result<(), StageError> {
        match outcome {
            Ok(document) => {
                self.documents.push(self.ranges.shard_of(&document.urlkey), &document.row())?;
                self.accounts.kept(Unit::Documents);
                Ok(())
            }
            Err(refusal) => self.accounts.reject(&Reject {
                unit: Unit::Documents,
                document_id: &refusal.document_id,
                image_url: None,
                reason: refusal.reason,
                evidence: format!("{place}: {}", refusal.evidence),
            }),
        }
    }

    pub(super) fn finish(self) -> Result<Tally, StageError> {
        self.context.commit(self.documents.finish())?;
        self.accounts.finish()
    }
}
