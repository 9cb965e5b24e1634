//! Clusters, agents and repositories for stories, and the rules of the code's shape.
#![expect(clippy::disallowed_methods, reason = "tests start and watch the world")]

pub mod agent_process;
pub mod cluster;
pub mod controlplane;
pub mod node;
pub mod conversion;
pub mod exported;
pub mod forwarder;
pub mod fresh;
pub mod published;
pub mod raw;
pub mod receiver;
pub mod kubectl;
pub mod repository;
pub mod sops;
pub mod ssh_server;
pub mod git_server;
#[cfg(test)]
mod tidy;
pub mod wait;
