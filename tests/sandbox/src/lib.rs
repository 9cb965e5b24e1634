//! A Kubernetes API in memory, typed by the documents that a real API server publishes.
//!
//! [`schema`] and [`merge`] are functions of their arguments: which types there are, and what a write makes of an object.

pub mod schema;
pub mod merge;
