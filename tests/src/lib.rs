//! Clusters for tests, and what stories and benchmarks share.

pub mod controlplane;
