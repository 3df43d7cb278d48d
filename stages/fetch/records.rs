//! Cuts the records of a shard's captures out of the bytes that `reads.rs` brings, in the captures' order.
//!
//! Memory is one record: captures come in the order of their first byte, so what lies before one is of no other, and
//! those that overlap share the bytes at hand.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::Scope;
use std::time::Duration;

use weft_core::stage::StageError;

use super::plan::Read;
use super::reads::{Board, Message, READERS};
use crate::formats::outside::{OutsideError, OutsideRoot};

/// How often a wait for bytes looks whether the run is being stopped.
const CANCEL_TICK: Duration = Duration::from_millis(100);

/// What there is of a capture.
#[derive(Debug)]
pub(super) enum Stored<'r> {
    /// Its stored bytes; fewer than it should have where the file has ended.
    Bytes(&'r [u8]),
    /// The file is not there.
    Missing,
    /// The file's name is none below the root.
    NoPath(String),
    /// The server sent something else than the range.
    Refused(String),
}

/// What reading has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Reads that were asked for.
    pub(super) requests: u64,
    /// Bytes that they asked for.
    pub(super) bytes_requested: u64,
    /// Bytes of captures in them.
    pub(super) bytes_wanted: u64,
    /// Reads that are several ranges in one.
    pub(super) files_streamed_whole: u64,
    /// Bytes that came.
    pub(super) bytes: u64,
}

/// A read whose captures are being cut out of it.
struct Open {
    filename: String,
    /// Captures of it that are still to come.
    captures: usize,
    messages: Receiver<Message>,
    /// The read, until it is answered.
    uncounted: Option<Read>,
    /// How it ended, once it has.
    ended: Option<End>,
    block: Vec<u8>,
    /// Where `block` begins in the file.
    block_start: u64,
    /// The bytes at hand, from `held_start` on.
    held: Vec<u8>,
    held_start: u64,
}

enum End {
    Reached,
    Missing,
    NoPath(String),
    Refused(String),
}

/// The records of a shard's captures, in the captures' order.
pub(super) struct Records<'s> {
    board: &'s Board,
    root: &'s OutsideRoot,
    cancelled: &'s AtomicBool,
    /// Reads that are planned and not handed to the readers.
    planned: VecDeque<(String, Read, bool)>,
    /// Reads that are.
    ordered: VecDeque<(String, Read, Receiver<Message>)>,
    open: Option<Open>,
    cost: Cost,
}

impl Drop for Records<'_> {
    fn drop(&mut self) {
        self.board.close();
    }
}

impl<'s> Records<'s> {
    /// Starts the readers; they end when this is dropped.
    pub(super) fn start<'e>(
        scope: &'s Scope<'s, 'e>,
        board: &'s Board,
        root: &'s OutsideRoot,
        cancelled: &'s AtomicBool,
    ) -> Self {
        board.start(scope, root);
        let (planned, ordered) = (VecDeque::new(), VecDeque::new());
        Self { board, root, cancelled, planned, ordered, open: None, cost: Cost::default() }
    }

    /// Whether reads of another file should be planned: those at hand do not keep all readers busy.
    pub(super) fn wants_more(&self) -> bool {
        self.planned.len() + self.ordered.len() < READERS
    }

    /// Takes the reads of one file, which follow those taken before.
    pub(super) fn plan(&mut self, filename: &str, reads: Vec<Read>) {
        let mut is_first = true;
        for read in reads {
            self.planned.push_back((filename.to_owned(), read, is_first));
            is_first = false;
        }
        self.order();
    }

    /// Hands planned reads to the readers.
    fn order(&mut self) {
        while self.ordered.len() < READERS
            && let Some((filename, read, is_first)) = self.planned.pop_front()
        {
            let messages = self.board.order(filename.clone(), read, is_first);
            self.ordered.push_back((filename, read, messages));
        }
    }

    /// The cost since the last call.
    pub(super) fn take_cost(&mut self) -> Cost {
        std::mem::take(&mut self.cost)
    }

    /// The stored bytes of the next capture.
    ///
    /// # Errors
    /// When the root fails, in a way that no capture is to blame for, or the run is being stopped.
    pub(super) fn next(&mut self, offset: u64, length: u64) -> Result<Stored<'_>, StageError> {
        if self.open.as_ref().is_none_or(|open| open.captures == 0) {
            let (filename, read, messages) = self.ordered.pop_front().expect("every capture is planned");
            self.order();
            self.open = Some(Open::new(filename, read, messages));
        }
        let open = self.open.as_mut().expect("opened above");
        open.captures -= 1;
        if length > 0 {
            open.hold(offset, length, self.cancelled, &mut self.cost, self.root)?;
        }
        Ok(match &open.ended {
            Some(End::Missing) => Stored::Missing,
            Some(End::NoPath(cause)) => Stored::NoPath(cause.clone()),
            Some(End::Refused(cause)) => Stored::Refused(cause.clone()),
            _ if length == 0 => Stored::Bytes(&[]),
            _ => Stored::Bytes(open.slice(offset, length)),
        })
    }
}

impl Open {
    fn new(filename: String, read: Read, messages: Receiver<Message>) -> Self {
        Self {
            filename,
            captures: read.captures,
            messages,
            uncounted: Some(read),
            ended: None,
            block: Vec::new(),
            block_start: read.start,
            held: Vec::new(),
            held_start: read.start,
        }
    }

    /// Makes the bytes of a capture the ones at hand, as far as there are any.
    fn hold(
        &mut self,
        offset: u64,
        length: u64,
        cancelled: &AtomicBool,
        cost: &mut Cost,
        root: &OutsideRoot,
    ) -> Result<(), StageError> {
        // What lies before this capture is of no other: captures come in the order of their first byte.
        let passed = usize::try_from(offset.saturating_sub(self.held_start)).unwrap_or(usize::MAX).min(self.held.len());
        self.held.drain(..passed);
        self.held_start += length_u64(passed);
        let end = offset.saturating_add(length);
        while self.held_start + length_u64(self.held.len()) < end {
            if self.block.is_empty() && !self.receive(cancelled, cost, root)? {
                break;
            }
            if self.held.is_empty() {
                self.held_start = offset;
            }
            let wanted_start = self.held_start + length_u64(self.held.len());
            let at = |position: u64| {
                usize::try_from(position.saturating_sub(self.block_start)).unwrap_or(usize::MAX).min(self.block.len())
            };
            let (from, to) = (at(wanted_start), at(end));
            self.held.extend_from_slice(self.block.get(from..to).expect("in order, and within the block"));
            if to == self.block.len() {
                self.block_start += length_u64(to);
                self.block.clear();
            }
        }
        Ok(())
    }

    /// The bytes at hand of a capture that was asked to be held.
    fn slice(&self, offset: u64, length: u64) -> &[u8] {
        let at = |position: u64| {
            usize::try_from(position.saturating_sub(self.held_start)).unwrap_or(usize::MAX).min(self.held.len())
        };
        self.held.get(at(offset)..at(offset.saturating_add(length))).expect("in order, and within what is held")
    }

    /// Waits for the next block; `false` where there is none.
    fn receive(&mut self, cancelled: &AtomicBool, cost: &mut Cost, root: &OutsideRoot) -> Result<bool, StageError> {
        if self.ended.is_some() {
            return Ok(false);
        }
        let message = loop {
            if cancelled.load(Ordering::Relaxed) {
                return Err(StageError::Cancelled);
            }
            match self.messages.recv_timeout(CANCEL_TICK) {
                Ok(message) => break message,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("a reader says how a read ended"),
            }
        };
        let is_asked = !matches!(message, Message::KnownMissing | Message::Failed(OutsideError::Escapes { .. }));
        if let Some(read) = self.uncounted.take().filter(|_| is_asked) {
            cost.requests += 1;
            cost.bytes_requested += read.length;
            cost.bytes_wanted += read.wanted_bytes;
            cost.files_streamed_whole += u64::from(read.is_whole);
        }
        let end = match message {
            Message::Block(block) => {
                cost.bytes += length_u64(block.len());
                self.block = block;
                return Ok(true);
            }
            Message::End => End::Reached,
            Message::KnownMissing | Message::Failed(OutsideError::Missing { .. }) => End::Missing,
            // One odd line of an index is the row's fault.
            Message::Failed(cause @ OutsideError::Escapes { .. }) => End::NoPath(cause.to_string()),
            Message::Failed(OutsideError::BadRange { cause, .. }) => End::Refused(cause),
            Message::Failed(cause) => return Err(cause.into_stage_error("archive", root.place(&self.filename))),
        };
        self.ended = Some(end);
        Ok(false)
    }
}

fn length_u64(length: usize) -> u64 {
    u64::try_from(length).expect("usize fits u64")
}
