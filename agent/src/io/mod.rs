//! The edge: the only modules that touch files, the network, processes or the clock.

pub mod files;
#[cfg(feature = "cluster")]
pub mod git;
