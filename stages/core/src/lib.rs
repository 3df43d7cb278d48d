//! The contract between stages: what a stage is, what crosses from one to the next, and what bounds it.
//!
//! Stages exchange immutable [tables](mod@table) through a [store]; inside, they see typed borrowed rows. A
//! [stage](stage::Stage) describes itself, is opened once and runs shard by shard with a
//! [context](context::Context), a long shard in [segments](segment); every row it reads is kept or [rejected](reject), and its [tally] says so.

pub mod cell;
pub mod context;
pub mod front;
pub mod id;
pub mod limits;
pub mod reject;
pub mod rows;
pub mod segment;
pub mod stage;
pub mod store;
pub mod table;
pub mod tables;
pub mod tally;
pub mod task;
pub mod testing;
pub mod write;
