//! The Kubernetes API as the agent uses it. A module uses only modules listed above it.

pub mod path;
pub mod connections;
pub mod kubeconfig;
pub mod limited;
pub mod client;
pub mod patience;
pub mod fence;
pub mod lease;
pub mod pages;
pub mod detached;
pub mod apply;
pub mod dry_run;
pub mod hand_down;
pub mod delete;
pub mod values;
pub mod audit;
pub mod count;
pub mod search;
pub mod watch;
pub mod namespaces;
pub mod programs;
pub mod events;
