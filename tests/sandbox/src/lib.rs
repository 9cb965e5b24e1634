//! A Kubernetes API in memory, typed by the documents that a real API server publishes.
//!
//! [`schema`] and [`merge`] are functions of their arguments: which types there are, and what a write makes of an object.
//! The rest is a chain: [`serve`](Sandbox) takes a request off the wire, `api` finds out what it asks for, `verbs` do it
//! to the `state` by `write`, with what `kinds` say about particular ones; `controllers` react to what changed.
#![expect(clippy::disallowed_methods, reason = "a server is made of effects")]

pub mod clock;
pub mod failure;
pub mod object;
pub mod schema;
pub mod merge;
pub mod log;
pub mod faults;
pub mod accept;
pub mod protobuf;
pub mod body;
pub mod route;
pub mod selector;
pub mod store;
pub mod resource;
pub mod convert;
pub mod state;
pub mod kinds;
pub mod write;
pub mod table;
pub mod view;
pub mod answer;
pub mod verbs;
pub mod discovery;
pub mod openapi;
pub mod api;
pub mod controllers;
pub mod fresh;
mod shared;
mod stream;
mod serve;
mod sandbox;

pub use log::Request;
pub use sandbox::Sandbox;
