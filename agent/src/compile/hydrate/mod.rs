//! The steps from the manifests of a repository to the objects of one cluster: cluster selection, inheritance, and namespace
//! selection.

mod label_selector;
pub(crate) mod clusters;
pub(crate) mod inherit;
pub(crate) mod namespaces;
