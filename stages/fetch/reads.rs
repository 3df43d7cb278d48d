//! Does the reads of a shard, ahead of whoever cuts the records out of them.
//!
//! A few threads ask, so that the network, the disk and the wait for an answer go on while records are inflated. Each
//! read's bytes come over a channel of their own, a few blocks ahead and no more. A read of at most [`BUFFER_BYTES`]
//! may be begun while others run, since its answer is taken in as a whole. A larger one begins when no other runs: a
//! connection that had to wait for its reader would be cut off. The first read of a file is answered before its others
//! begin, so that a file that is not there costs one request.
//!
//! Memory is [`READERS`] times [`BUFFER_BYTES`].

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use super::plan::Read;
use crate::formats::outside::{OutsideError, OutsideRoot};

/// Threads that read ahead.
pub(super) const READERS: usize = 4;
/// Bytes that are handed over at once.
const BLOCK_BYTES: u64 = 256 << 10;
/// Bytes of one read that wait for being cut into records.
const BUFFER_BYTES: u64 = 4 << 20;
/// Blocks of [`BUFFER_BYTES`], and the word that ends them.
const BUFFER_MESSAGES: usize = 17;

/// What a reader says of a read.
pub(super) enum Message {
    /// The next bytes.
    Block(Vec<u8>),
    /// There are no more: the read, or the file, is at its end.
    End,
    /// The bytes could not be had.
    Failed(OutsideError),
    /// Nobody asked: an earlier read of the file found it missing.
    KnownMissing,
}

/// A read that is to be done.
struct Job {
    filename: String,
    read: Read,
    /// Whether no read of this file comes before it.
    is_first: bool,
    messages: SyncSender<Message>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    running: usize,
    /// Files whose first read is not answered yet.
    unanswered: BTreeSet<String>,
    missing: BTreeSet<String>,
    is_closed: bool,
}

impl State {
    /// Whether the next job may begin.
    fn is_ready(&self, job: &Job) -> bool {
        let has_room = job.read.length <= BUFFER_BYTES || self.running == 0;
        has_room && (job.is_first || !self.unanswered.contains(&job.filename))
    }
}

/// What the readers of one shard share with its task.
#[derive(Default)]
pub(super) struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

impl Board {
    /// Starts the readers; they end when the board is closed.
    pub(super) fn start<'s>(&'s self, scope: &'s Scope<'s, '_>, root: &'s OutsideRoot) {
        for _ in 0..READERS {
            scope.spawn(move || serve(self, root));
        }
    }

    /// Orders a read, behind those ordered before; `is_first` tells whether none of them is of the same file.
    pub(super) fn order(&self, filename: String, read: Read, is_first: bool) -> Receiver<Message> {
        let (messages, receiver) = sync_channel(BUFFER_MESSAGES);
        self.change(|state| state.jobs.push_back(Job { filename, read, is_first, messages }));
        receiver
    }

    /// Lets the readers end, at the latest with the blocks at hand.
    pub(super) fn close(&self) {
        self.change(|state| state.is_closed = true);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job that may begin; none when the task is over.
    fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if state.jobs.front().is_some_and(|job| state.is_ready(job)) {
                let job = state.jobs.pop_front()?;
                state.running += 1;
                if job.is_first {
                    state.unanswered.insert(job.filename.clone());
                }
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Changes the state and wakes whoever waits for that.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// Does jobs until the task is over.
fn serve(board: &Board, root: &OutsideRoot) {
    while let Some(job) = board.take() {
        let last = if board.lock().missing.contains(&job.filename) {
            Some(Message::KnownMissing)
        } else {
            let answered = || {
                board.change(|state| {
                    state.unanswered.remove(&job.filename);
                });
            };
            stream(root, &job, answered).unwrap_or_else(|cause| Some(Message::Failed(cause)))
        };
        board.change(|state| {
            state.running -= 1;
            state.unanswered.remove(&job.filename);
            if matches!(last, Some(Message::Failed(OutsideError::Missing { .. }))) {
                state.missing.insert(job.filename.clone());
            }
        });
        if let Some(last) = last {
            // A task that does not listen any more has failed, or is being stopped.
            job.messages.send(last).ok();
        }
    }
}

/// Streams a read to whoever takes its blocks; the message to end with, or none when nobody takes them any more.
fn stream(root: &OutsideRoot, job: &Job, answered: impl Fn()) -> Result<Option<Message>, OutsideError> {
    let Read { start, length, .. } = job.read;
    if length == 0 {
        return Ok(Some(Message::End));
    }
    let mut stream = root.stream(&job.filename, start, length)?;
    let (mut left, mut is_answered) = (length, false);
    while left > 0 {
        let block_bytes = left.min(BLOCK_BYTES);
        let mut block = Vec::with_capacity(usize::try_from(block_bytes).expect("a block fits memory"));
        let read = (&mut stream).take(block_bytes).read_to_end(&mut block);
        read.map_err(|cause| outside_error(cause, || root.place(&job.filename)))?;
        if !std::mem::replace(&mut is_answered, true) {
            answered();
        }
        let is_end = length_u64(block.len()) < block_bytes;
        left -= length_u64(block.len());
        if !block.is_empty() && job.messages.send(Message::Block(block)).is_err() {
            return Ok(None);
        }
        if is_end {
            break;
        }
    }
    Ok(Some(Message::End))
}

/// What a stream's failure holds.
fn outside_error(cause: io::Error, place: impl FnOnce() -> String) -> OutsideError {
    if OutsideError::of(&cause).is_none() {
        return OutsideError::Io { place: place(), source: cause };
    }
    let inner = cause.into_inner().and_then(|inner| inner.downcast::<OutsideError>().ok());
    *inner.expect("looked at above")
}

fn length_u64(length: usize) -> u64 {
    u64::try_from(length).expect("usize fits u64")
}
