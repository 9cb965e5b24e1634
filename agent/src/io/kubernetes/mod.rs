//! The Kubernetes API as the agent uses it.

pub mod client;
pub mod apply;
pub mod audit;
pub mod watch;
pub mod events;
