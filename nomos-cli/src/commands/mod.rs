//! The commands of nomos, one file for each.

#[cfg(feature = "cluster")]
pub(crate) mod bugreport;
pub(crate) mod completion;
pub(crate) mod explain;
pub(crate) mod hydrate;
pub(crate) mod init;
#[cfg(feature = "cluster")]
pub(crate) mod install;
pub(crate) mod man;
#[cfg(feature = "cluster")]
pub(crate) mod migrate;
#[cfg(feature = "cluster")]
pub(crate) mod status;
#[cfg(feature = "cluster")]
pub(crate) mod uninstall;
pub(crate) mod version;
pub(crate) mod vet;
#[cfg(not(feature = "cluster"))]
mod without_cluster;

#[cfg(not(feature = "cluster"))]
pub(crate) use without_cluster::{bugreport, install, migrate, status, uninstall};
