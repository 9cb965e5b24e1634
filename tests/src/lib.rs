//! Clusters, agents and repositories for stories, and the rules of the code's shape.

pub mod agent_process;
pub mod cluster;
pub mod controlplane;
pub mod repository;
pub mod tidy;
pub mod wait;
