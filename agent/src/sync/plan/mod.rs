//! The plan: what is done about each object, in which order, and when a commit is held because it deletes too much.
//!
//! - `decide`: the one decision about one object, which the first sync, a new commit, a drift event and a restart share;
//! - [`order`]: what an object waits for, and which kinds come first where nothing waits;
//! - [`recent`]: the deletions of the last hour;
//! - [`memory`]: what the guard needs after a restart;
//! - [`guard`]: the guard against deletions that are too many.
//!
//! All of it is pure: the engine carries the decisions out.

mod decide;
pub mod order;
pub mod recent;
pub mod memory;
pub mod guard;

pub use decide::{Action, Cause, Declared, decide};
