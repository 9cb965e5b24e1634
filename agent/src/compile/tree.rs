//! The directories under `namespaces/` of a hierarchical repository, with what they hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::compile::parse::{Known, Manifest};
use crate::compile::scope::{Draft, Scope};
use crate::model::finding::{Code, Finding};

/// The top of the tree.
pub(crate) const ROOT: &str = "namespaces";

/// A hierarchical repository, sorted out.
#[derive(Default)]
pub(crate) struct Tree {
    /// What `cluster/` holds.
    pub(crate) cluster: Vec<Draft>,
    /// HierarchyConfigs, in the order of files.
    pub(crate) configs: Vec<Arc<Manifest>>,
    /// NamespaceSelectors.
    pub(crate) selectors: Vec<Arc<Manifest>>,
    /// Directories that hold objects, and those above them, by path.
    pub(crate) nodes: BTreeMap<String, Node>,
}

/// One directory.
#[derive(Default)]
pub(crate) struct Node {
    /// Its Namespaces: none in an abstract directory, one in a namespace directory.
    pub(crate) namespaces: Vec<Draft>,
    /// Everything else in it that is applied.
    pub(crate) objects: Vec<Draft>,
    /// Whether there are nodes below.
    pub(crate) has_children: bool,
    /// Whether there is a Namespace in a node below.
    pub(crate) has_namespace_below: bool,
}

/// The directory above, unless `directory` is the top.
pub(crate) fn parent(directory: &str) -> Option<&str> {
    directory.rsplit_once('/').map(|(parent, _)| parent)
}

/// The last part of a path.
pub(crate) fn base(directory: &str) -> &str {
    directory.rsplit_once('/').map_or(directory, |(_, base)| base)
}

/// The directories above `directory`, nearest first.
pub(crate) fn ancestors(directory: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(directory), |directory| parent(directory))
}

/// Sorts the drafts by what and where they are. Findings: objects in a directory that is not for their kind.
pub(crate) fn build(drafts: Vec<Draft>) -> (Tree, Vec<Finding>) {
    let mut tree = Tree::default();
    let mut findings = Vec::new();
    let mut unregistered = Vec::new();
    for draft in drafts {
        let role = Role::of(&draft);
        let top = draft.manifest.top_directory();
        let expected = role.directory();
        if expected.is_empty() && top == "clusterregistry" {
            unregistered.push(draft.manifest.at_value(&["kind"]));
        } else if expected.is_empty() && top == "system" {
            findings.push(unknown_system_object(&draft));
        } else if !expected.is_empty() && expected != top {
            findings.push(misplaced(&draft.manifest, expected));
        } else {
            tree.add(draft, role);
        }
    }
    if !unregistered.is_empty() {
        let message = "`clusterregistry/` holds objects of kinds that have no meaning there.";
        let finding = Finding::new(Code::Internal, message).hint("Move their files to `cluster/` or `namespaces/`.");
        findings.push(Finding { places: unregistered, ..finding });
    }
    tree.link();
    (tree, findings)
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Repo,
    Config,
    Selector,
    Namespace,
    ClusterScoped,
    Namespaced,
    Unknown,
}

impl Role {
    fn of(draft: &Draft) -> Self {
        let special = [
            (Known::Repo, Self::Repo),
            (Known::HierarchyConfig, Self::Config),
            (Known::NamespaceSelector, Self::Selector),
            (Known::Namespace, Self::Namespace),
        ];
        let special = special.into_iter().find(|(known, _)| draft.manifest.is(*known));
        special.map_or_else(|| Self::by_scope(draft.scope), |(_, role)| role)
    }

    fn by_scope(scope: Scope) -> Self {
        match scope {
            Scope::Cluster => Self::ClusterScoped,
            Scope::Namespaced => Self::Namespaced,
            Scope::Unknown => Self::Unknown,
        }
    }

    /// The directory that it belongs in; empty when it may be in several.
    fn directory(self) -> &'static str {
        match self {
            Self::Repo | Self::Config => "system",
            Self::Selector | Self::Namespace | Self::Namespaced => ROOT,
            Self::ClusterScoped => "cluster",
            Self::Unknown => "",
        }
    }
}

impl Tree {
    /// Whether the directory holds a Namespace.
    pub(crate) fn is_namespace(&self, directory: &str) -> bool {
        self.nodes.get(directory).is_some_and(|node| !node.namespaces.is_empty())
    }

    /// Whether a directory above holds a Namespace.
    pub(crate) fn is_below_namespace(&self, directory: &str) -> bool {
        ancestors(directory).any(|above| self.is_namespace(above))
    }

    fn add(&mut self, draft: Draft, role: Role) {
        let in_cluster = draft.manifest.top_directory() == "cluster";
        match role {
            Role::Repo => {}
            Role::Config => self.configs.push(draft.manifest),
            Role::Selector => self.selectors.push(draft.manifest),
            Role::Namespace => self.node(&draft.manifest).namespaces.push(draft),
            Role::ClusterScoped => self.cluster.push(draft),
            Role::Unknown if in_cluster => self.cluster.push(draft),
            Role::Namespaced | Role::Unknown => self.node(&draft.manifest).objects.push(draft),
        }
    }

    fn node(&mut self, manifest: &Manifest) -> &mut Node {
        self.nodes.entry(manifest.directory().to_owned()).or_default()
    }

    /// Adds the directories above, and what each node knows of those below.
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

/// An object in a top-level directory that is not for its kind (KNV1039).
pub(crate) fn misplaced(manifest: &Manifest, expected: &str) -> Finding {
    let object = &manifest.object;
    let why = match expected {
        "cluster" => "it is cluster-scoped",
        ROOT => "it belongs to a namespace",
        "clusterregistry" => "it describes clusters",
        _ => "it describes the repository",
    };
    let message = format!("{} `{}` must be in `{expected}/`: {why}.", object.kind(), object.name());
    let hint = if manifest.is_of_unknown_version() {
        format!("The version `{}` of this kind has no meaning here: correct apiVersion.", object.api_version())
    } else {
        format!("Move the file from `{}/` to `{expected}/`.", manifest.top_directory())
    };
    Finding::new(Code::IncorrectTopLevelDirectory, message).hint(hint).at(manifest.at_value(&["kind"]))
}

fn unknown_system_object(draft: &Draft) -> Finding {
    let message =
        format!("`system/` holds an object of the kind {}, which has no meaning there.", draft.object().group_kind());
    Finding::new(Code::Internal, message)
        .hint("Move the file to `cluster/` or `namespaces/`.")
        .at(draft.manifest.at_value(&["kind"]))
}
