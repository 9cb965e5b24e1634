//! The commands of nomos, one file for each.

#[cfg(feature = "cluster")]
pub(crate) mod approve;
#[cfg(feature = "cluster")]
pub(crate) mod bugreport;
pub(crate) mod completion;
#[cfg(feature = "cluster")]
pub(crate) mod diff;
pub(crate) mod explain;
#[cfg(feature = "cluster")]
pub(crate) mod export;
#[cfg(feature = "cluster")]
pub(crate) mod history;
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
pub(crate) mod sync;
#[cfg(feature = "cluster")]
pub(crate) mod trace;
#[cfg(feature = "cluster")]
pub(crate) mod ui;
#[cfg(feature = "cluster")]
pub(crate) mod uninstall;
pub(crate) mod version;
pub(crate) mod vet;
#[cfg(feature = "cluster")]
pub(crate) mod wait;
#[cfg(not(feature = "cluster"))]
mod without_cluster;

#[cfg(not(feature = "cluster"))]
pub(crate) use without_cluster::{
    approve, bugreport, diff, export, history, install, migrate, status, sync, trace, ui, uninstall, wait,
};
