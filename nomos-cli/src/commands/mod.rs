//! The commands of nomos, one file for each.

pub(crate) mod completion;
pub(crate) mod explain;
pub(crate) mod hydrate;
pub(crate) mod init;
pub(crate) mod man;
#[cfg(feature = "cluster")]
pub(crate) mod status;
#[cfg(not(feature = "cluster"))]
#[path = "without_cluster.rs"]
pub(crate) mod status;
pub(crate) mod version;
pub(crate) mod vet;
