//! The edge: with `run` and `main`, the only modules that touch files, the network, processes or the clock.
#![expect(clippy::disallowed_methods, reason = "this is the edge")]

pub mod budget;
#[cfg(feature = "cluster")]
pub mod random;
#[cfg(feature = "cluster")]
pub mod sealing;
pub mod proxy;
mod links;
pub mod files;
#[cfg(feature = "cluster")]
pub mod cache;
#[cfg(feature = "cluster")]
pub mod git;
#[cfg(feature = "cluster")]
pub mod memory;
#[cfg(feature = "cluster")]
pub mod quarantine;
#[cfg(feature = "cluster")]
pub mod kubernetes;
#[cfg(feature = "cluster")]
pub mod places;
#[cfg(feature = "cluster")]
pub mod repositories;
#[cfg(feature = "cluster")]
pub mod credentials;
#[cfg(feature = "cluster")]
pub mod source;
#[cfg(feature = "cluster")]
pub mod journal;
#[cfg(feature = "cluster")]
pub mod serve;
#[cfg(feature = "cluster")]
pub mod notifications;
#[cfg(feature = "cluster")]
pub mod reports;
