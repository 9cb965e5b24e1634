//! From what is written in the repository to what is applied: which objects are for this cluster, which Namespaces they are
//! copied to, and the metadata that the system adds.

pub(crate) mod clusters;
pub(crate) mod inherit;
mod label_selector;
pub(crate) mod namespaces;
