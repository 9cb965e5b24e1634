//! The Kubernetes API as the agent uses it. A module uses only modules listed above it.

pub mod path;
pub mod client;
pub mod apply;
pub mod audit;
pub mod count;
pub mod watch;
pub mod events;
