//! One file a command.

pub(crate) mod explain;
pub(crate) mod hydrate;
pub(crate) mod init;
#[cfg(feature = "cluster")]
pub(crate) mod status;
#[cfg(not(feature = "cluster"))]
#[path = "left_out.rs"]
pub(crate) mod status;
pub(crate) mod version;
pub(crate) mod vet;
