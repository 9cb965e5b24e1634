//! The options of a compilation: everything that it depends on beside the files.

use std::collections::{BTreeMap, BTreeSet};

use crate::compile::kind_scopes::KindScopes;
use crate::model::finding::Finding;
use crate::model::metadata::SyncId;
use crate::model::object::GroupKind;

/// The layout of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFormat {
    /// Directories have a meaning: `system/`, `cluster/`, `clusterregistry/`, `namespaces/`.
    Hierarchy,
    /// Directories have no meaning.
    Unstructured,
}

/// The part of the cluster that a repository may declare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepoScope {
    /// The whole cluster: the source of a RootSync.
    Root,
    /// The objects in this namespace: the source of a RepoSync.
    Namespace(String),
}

/// The treatment of Namespaces that objects are in and that the repository does not declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceStrategy {
    /// The sync creates them. It has no effect in hierarchical and in namespace repositories.
    Implicit,
    /// The sync does not create them: the API server refuses the objects in them.
    Explicit,
}

/// The rules by which files become objects: the same files declare other objects by other ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLayout {
    /// The meaning of directories.
    pub format: SourceFormat,
    /// The treatment of Namespaces that are used and not declared.
    pub namespaces: NamespaceStrategy,
}

impl SourceLayout {
    const ALL: [(Self, &'static str); 4] = [
        (Self::of(SourceFormat::Hierarchy, NamespaceStrategy::Implicit), "hierarchy"),
        (Self::of(SourceFormat::Hierarchy, NamespaceStrategy::Explicit), "hierarchy/explicit"),
        (Self::of(SourceFormat::Unstructured, NamespaceStrategy::Implicit), "unstructured"),
        (Self::of(SourceFormat::Unstructured, NamespaceStrategy::Explicit), "unstructured/explicit"),
    ];

    const fn of(format: SourceFormat, namespaces: NamespaceStrategy) -> Self {
        Self { format, namespaces }
    }

    /// Its name in an annotation.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(layout, _)| *layout == self).map_or("", |(_, name)| name)
    }

    /// The layout of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, of)| *of == name).map(|(layout, _)| *layout)
    }
}

/// As a sync object has it that says nothing of it.
impl Default for SourceLayout {
    fn default() -> Self {
        Self::of(SourceFormat::Hierarchy, NamespaceStrategy::Implicit)
    }
}

/// The labels of live Namespaces, by the names of these.
pub type NamespaceLabels = BTreeMap<String, BTreeMap<String, String>>;

/// The Namespaces among which a NamespaceSelector with `mode: dynamic` selects.
#[derive(Clone, Debug, PartialEq)]
pub enum DynamicSelectors {
    /// Declared Namespaces only, as with `mode: static`.
    AsStatic,
    /// None, because the live ones are not known: such a selector gives this finding, with its place.
    Unknown(Finding),
    /// Declared Namespaces and these live ones. Namespaces that are being deleted are left out.
    Live(NamespaceLabels),
}

/// The use of a sealed file that is not to be opened, with objects that are declared here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedFiles {
    /// It is a finding, which blocks.
    Refused,
    /// Its objects are declared, and stay as they are on the cluster: for a commit that was in force while the file was open.
    Left,
}

/// The options of a compilation.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// The layout of the repository.
    pub format: SourceFormat,
    /// The part of the cluster that the repository may declare.
    pub scope: RepoScope,
    /// The name of the cluster that the objects are for. Empty: no cluster, so that `cluster-name-selector` selects nothing.
    pub cluster_name: String,
    /// The sync that applies the objects. `None` in the command line tool: the objects then get no metadata of a sync.
    pub sync: Option<SyncId>,
    /// The directory in the source that file paths are relative to, for the annotation `source-path`.
    pub source_dir: String,
    /// The treatment of Namespaces that are used and not declared.
    pub namespaces: NamespaceStrategy,
    /// The scopes of the cluster's kinds, over the built-in table. A finding (KNV1064) when they could not be read: it is
    /// reported after the raw rules and the cluster selection found nothing that blocks.
    pub kinds: Result<KindScopes, Finding>,
    /// `true` if objects of kinds with unknown scope give a finding (KNV1021).
    pub report_unknown_kinds: bool,
    /// The custom kinds whose CRDs the last applied commit declared (KNV1047).
    pub previous_crds: BTreeSet<GroupKind>,
    /// The largest number of objects that is not refused (KNV1070). `None`: one million.
    pub max_objects: Option<usize>,
    /// The Namespaces among which a NamespaceSelector with `mode: dynamic` selects.
    pub dynamic: DynamicSelectors,
    /// The use of sealed files that are not to be opened.
    pub closed: ClosedFiles,
}

impl CompileOptions {
    /// The defaults of the command line tool: a root repository, checked for no cluster in particular.
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
            closed: ClosedFiles::Refused,
        }
    }
}
