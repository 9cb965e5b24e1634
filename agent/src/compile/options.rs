//! What a compilation depends on beside the files.

use std::collections::{BTreeMap, BTreeSet};

use crate::compile::scope::KindScopes;
use crate::model::finding::Finding;
use crate::model::metadata::SyncId;
use crate::model::object::GroupKind;

/// Which rules a repository follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFormat {
    /// Directories have a meaning: `system/`, `cluster/`, `clusterregistry/`, `namespaces/`.
    Hierarchy,
    /// Directories are free.
    Unstructured,
}

/// What a repository may declare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepoScope {
    /// Anything in the cluster.
    Root,
    /// Only objects in this namespace.
    Namespace(String),
}

/// What happens to Namespaces that are used and not declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceStrategy {
    /// They are made. Only in unstructured root repositories.
    Implicit,
    /// Nothing: applying into them fails.
    Explicit,
}

/// What NamespaceSelectors with `mode: dynamic` match.
#[derive(Clone, Debug)]
pub enum DynamicSelectors {
    /// Declared Namespaces only.
    AsStatic,
    /// They are not supported here; the finding says why. Its place is added.
    Refused(Finding),
    /// Declared Namespaces and these live ones (name and labels, terminating ones left out).
    Live(Vec<(String, BTreeMap<String, String>)>),
}

/// What a compilation depends on beside the files.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which rules the repository follows.
    pub format: SourceFormat,
    /// What the repository may declare.
    pub scope: RepoScope,
    /// Cluster that it is compiled for. Empty: none, so that `cluster-name-selector` selects nothing.
    pub cluster_name: String,
    /// The sync that applies the objects. `None` in the command line tool: nothing of a sync is stamped on the objects.
    pub sync: Option<SyncId>,
    /// Directory in the source that file paths are relative to, for the annotation `source-path`.
    pub source_dir: String,
    /// What happens to Namespaces that are used and not declared.
    pub namespaces: NamespaceStrategy,
    /// Kinds of the cluster, beyond the built-in table. A finding (KNV1064) when they could not be read: it is reported
    /// only when the objects as such are in order.
    pub kinds: Result<KindScopes, Finding>,
    /// Whether kinds of unknown scope are reported (KNV1021).
    pub report_unknown_kinds: bool,
    /// Custom kinds that the last applied commit declared CRDs for (KNV1047).
    pub previous_crds: BTreeSet<GroupKind>,
    /// More objects than this are refused (KNV1070).
    pub max_objects: Option<usize>,
    /// What NamespaceSelectors with `mode: dynamic` match.
    pub dynamic: DynamicSelectors,
}

impl Settings {
    /// What the command line tool checks by default: a root repository for no cluster in particular.
    pub fn offline(format: SourceFormat) -> Self {
        Self {
            format,
            scope: RepoScope::Root,
            cluster_name: "defaultcluster".to_owned(),
            sync: None,
            source_dir: String::new(),
            namespaces: NamespaceStrategy::Explicit,
            kinds: Ok(KindScopes::default()),
            report_unknown_kinds: false,
            previous_crds: BTreeSet::new(),
            max_objects: None,
            dynamic: DynamicSelectors::AsStatic,
        }
    }
}
