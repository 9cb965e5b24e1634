//! A hierarchical repository as a tree: the directories under `namespaces/` with their Namespaces and other objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::compile::kind_scopes::Scope;
use crate::compile::parse::{BuiltinKind, Manifest};
use crate::compile::scope::ScopedManifest;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::DEPTH_SUFFIX;

/// The directory at the top of the tree.
pub(crate) const ROOT: &str = "namespaces";

/// The manifests of a hierarchical repository by the directories that they are in.
#[derive(Default)]
pub(crate) struct RepoTree {
    /// The cluster-scoped manifests: those in `cluster/`.
    pub(crate) cluster: Vec<ScopedManifest>,
    /// The HierarchyConfigs, in the order of files.
    pub(crate) configs: Vec<Arc<Manifest>>,
    /// The NamespaceSelectors.
    pub(crate) selectors: Vec<Arc<Manifest>>,
    /// The directories that hold objects, and the directories above them, by path.
    pub(crate) nodes: BTreeMap<String, TreeNode>,
}

/// One directory of the tree.
#[derive(Default)]
pub(crate) struct TreeNode {
    /// The Namespaces in it: none in an abstract directory, one in a namespace directory.
    pub(crate) namespaces: Vec<ScopedManifest>,
    /// The other objects in it that are applied.
    pub(crate) objects: Vec<ScopedManifest>,
    /// `true` if there are nodes below.
    pub(crate) has_children: bool,
    /// `true` if a node below holds a Namespace.
    pub(crate) has_namespace_below: bool,
}

/// The directory above; `None` for a top-level directory.
pub(crate) fn parent(directory: &str) -> Option<&str> {
    directory.rsplit_once('/').map(|(parent, _)| parent)
}

/// The name of a directory: the last part of its path.
pub(crate) fn base(directory: &str) -> &str {
    directory.rsplit_once('/').map_or(directory, |(_, base)| base)
}

/// The directories above `directory`, nearest first.
pub(crate) fn ancestors(directory: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(directory), |directory| parent(directory))
}

/// The labels that tell how deep a Namespace in the file `path` is below each directory from [`ROOT`] to its own, with `0` for
/// its own directory.
pub(crate) fn depth_labels(path: &str) -> impl Iterator<Item = (String, String)> {
    let below = path.rsplit_once('/').and_then(|(directory, _)| directory.strip_prefix(ROOT)?.strip_prefix('/'));
    let directories = below.into_iter().flat_map(|below| below.rsplit('/'));
    directories.enumerate().map(|(depth, name)| (format!("{name}{DEPTH_SUFFIX}"), depth.to_string()))
}

/// Builds the tree. Findings: objects in a top-level directory that is not for their kind (KNV1039, KNV9998).
pub(crate) fn build(manifests: Vec<ScopedManifest>) -> (RepoTree, Vec<Finding>) {
    let mut tree = RepoTree::default();
    let mut findings = Vec::new();
    let mut unregistered = Vec::new();
    for scoped in manifests {
        let role = RepoRole::of(&scoped);
        let top = scoped.manifest.top_directory();
        let expected = role.directory();
        if expected.is_empty() && top == "clusterregistry" {
            unregistered.push(scoped.manifest.at_value(&["kind"]));
        } else if expected.is_empty() && top == "system" {
            findings.push(unknown_system_object(&scoped));
        } else if !expected.is_empty() && expected != top {
            findings.push(misplaced(&scoped.manifest, expected));
        } else {
            tree.add(scoped, role);
        }
    }
    if !unregistered.is_empty() {
        let message = "`clusterregistry/` holds objects that are neither Clusters nor ClusterSelectors.";
        let finding = Finding::new(Code::Internal, message).hint("Move their files to `cluster/` or `namespaces/`.");
        findings.push(Finding { places: unregistered, ..finding });
    }
    tree.link();
    (tree, findings)
}

/// The part of the repository that an object belongs to, by its kind and scope.
#[derive(Clone, Copy, PartialEq)]
enum RepoRole {
    Repo,
    Config,
    Selector,
    Namespace,
    ClusterScoped,
    Namespaced,
    Unknown,
}

impl RepoRole {
    fn of(scoped: &ScopedManifest) -> Self {
        let special = [
            (BuiltinKind::Repo, Self::Repo),
            (BuiltinKind::HierarchyConfig, Self::Config),
            (BuiltinKind::NamespaceSelector, Self::Selector),
            (BuiltinKind::Namespace, Self::Namespace),
        ];
        let special = special.into_iter().find(|(builtin, _)| scoped.manifest.is(*builtin));
        special.map_or_else(|| Self::by_scope(scoped.scope), |(_, role)| role)
    }

    fn by_scope(scope: Scope) -> Self {
        match scope {
            Scope::Cluster => Self::ClusterScoped,
            Scope::Namespaced => Self::Namespaced,
            Scope::Unknown => Self::Unknown,
        }
    }

    /// The top-level directory for these objects; empty when several are allowed.
    fn directory(self) -> &'static str {
        match self {
            Self::Repo | Self::Config => "system",
            Self::Selector | Self::Namespace | Self::Namespaced => ROOT,
            Self::ClusterScoped => "cluster",
            Self::Unknown => "",
        }
    }
}

impl RepoTree {
    /// `true` if the directory holds a Namespace.
    pub(crate) fn is_namespace(&self, directory: &str) -> bool {
        self.nodes.get(directory).is_some_and(|node| !node.namespaces.is_empty())
    }

    /// `true` if a directory above holds a Namespace.
    pub(crate) fn is_below_namespace(&self, directory: &str) -> bool {
        ancestors(directory).any(|above| self.is_namespace(above))
    }

    fn add(&mut self, scoped: ScopedManifest, role: RepoRole) {
        let in_cluster = scoped.manifest.top_directory() == "cluster";
        match role {
            RepoRole::Repo => {}
            RepoRole::Config => self.configs.push(scoped.manifest),
            RepoRole::Selector => self.selectors.push(scoped.manifest),
            RepoRole::Namespace => self.node(&scoped.manifest).namespaces.push(scoped),
            RepoRole::ClusterScoped => self.cluster.push(scoped),
            RepoRole::Unknown if in_cluster => self.cluster.push(scoped),
            RepoRole::Namespaced | RepoRole::Unknown => self.node(&scoped.manifest).objects.push(scoped),
        }
    }

    fn node(&mut self, manifest: &Manifest) -> &mut TreeNode {
        self.nodes.entry(manifest.directory().to_owned()).or_default()
    }

    /// Adds the directories above each node, and records in each node what is below it.
    fn link(&mut self) {
        let below: Vec<(String, bool)> =
            self.nodes.iter().map(|(directory, node)| (directory.clone(), !node.namespaces.is_empty())).collect();
        for (directory, has_namespace) in below {
            for ancestor in ancestors(&directory) {
                let node = self.nodes.entry(ancestor.to_owned()).or_default();
                node.has_children = true;
                node.has_namespace_below |= has_namespace;
            }
        }
    }
}

/// The finding (KNV1039) for an object in a top-level directory that is not for its kind.
pub(crate) fn misplaced(manifest: &Manifest, expected: &str) -> Finding {
    let object = &manifest.object;
    let why = match expected {
        "cluster" => "its kind is cluster-scoped",
        ROOT => "its kind belongs to a namespace",
        "clusterregistry" => "its kind describes clusters",
        _ => "its kind describes the repository",
    };
    let message = format!("{} `{}` must be in `{expected}/`: {why}.", object.kind(), object.name());
    let hint = if manifest.is_of_unknown_version() {
        format!("Correct apiVersion: `{}` is not a version of this kind that has a meaning here.", object.api_version())
    } else {
        format!("Move the file from `{}/` to `{expected}/`.", manifest.top_directory())
    };
    Finding::new(Code::IncorrectTopLevelDirectory, message).hint(hint).at(manifest.at_value(&["kind"]))
}

fn unknown_system_object(scoped: &ScopedManifest) -> Finding {
    let message =
        format!("`system/` holds an object of the kind {}, which does not belong there.", scoped.object().group_kind());
    Finding::new(Code::Internal, message)
        .hint("Move the file to `cluster/` or `namespaces/`.")
        .at(scoped.manifest.at_value(&["kind"]))
}
