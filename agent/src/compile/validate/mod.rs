//! The rules that a repository must follow, as tables in reporting order. All rules of one table run; compilation stops after
//! a table that found something blocking.

mod crds;
mod directories;
mod finished;
mod inheritance;
mod kinds;
mod metadata;
mod names;
mod repo;
mod scoped;
mod selectors;

use std::sync::Arc;

use crate::compile::options::{RepoScope, Settings, SourceFormat};
use crate::compile::parse::Manifest;
use crate::compile::scope::Draft;
use crate::compile::tree::Tree;
use crate::model::finding::Finding;

pub(crate) use finished::{MAX_COPIES, too_many_copies};
pub(crate) use inheritance::{Modes, modes};
pub(crate) use names::is_subdomain;
pub(crate) use selectors::{malformed, unknown as unknown_selector};

/// When a rule applies.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Always,
    Hierarchy,
    Unstructured,
    RootRepo,
    NamespaceRepo,
}
use When::{Always, Hierarchy, NamespaceRepo, RootRepo, Unstructured};

impl When {
    fn applies(self, settings: &Settings) -> bool {
        match self {
            Always => true,
            Hierarchy => settings.format == SourceFormat::Hierarchy,
            Unstructured => settings.format == SourceFormat::Unstructured,
            RootRepo => settings.scope == RepoScope::Root,
            NamespaceRepo => settings.scope != RepoScope::Root,
        }
    }
}

type Findings = Vec<Finding>;

enum Raw {
    Each(fn(&Manifest, &mut Findings)),
    All(fn(&[Arc<Manifest>], &Settings, &mut Findings)),
}

/// Objects as they were read.
const RAW: &[(When, Raw)] = &[
    (Always, Raw::Each(metadata::system_annotations)),
    (Always, Raw::Each(metadata::system_labels)),
    (Always, Raw::Each(kinds::unsupported)),
    (Unstructured, Raw::Each(kinds::hierarchical)),
    (Always, Raw::Each(kinds::deprecated)),
    (Always, Raw::Each(names::name)),
    (Always, Raw::Each(names::namespace)),
    (Hierarchy, Raw::Each(directories::namespace_directory)),
    (Hierarchy, Raw::Each(metadata::depth_labels)),
    (Always, Raw::Each(metadata::managed)),
    (Always, Raw::Each(crds::definition)),
    (Always, Raw::All(kinds::own_sync)),
    (Always, Raw::Each(metadata::fields)),
    (Always, Raw::All(crds::removed)),
    (Always, Raw::Each(selectors::on_selectors)),
    (Hierarchy, Raw::Each(directories::cluster_registry)),
    (Always, Raw::All(selectors::unique_cluster_selectors)),
    (Hierarchy, Raw::All(repo::repo)),
];

enum Scoped {
    Each(fn(&Draft, &mut Findings)),
    All(fn(&[Draft], &mut Findings)),
}

/// Objects of this cluster, with their scope.
const SCOPED: &[(When, Scoped)] = &[
    (RootRepo, Scoped::Each(scoped::cluster_scoped)),
    (NamespaceRepo, Scoped::Each(scoped::not_namespaced)),
    (Always, Scoped::Each(scoped::namespace_and_selector)),
    (Always, Scoped::All(selectors::unique_namespace_selectors)),
];

/// The directories of a hierarchical repository.
const TREE: &[fn(&Tree, &mut Findings)] =
    &[inheritance::configs, inheritance::structure, selectors::placement, selectors::use_in_tree];

/// Everything that is applied.
const FINAL: &[fn(&[Draft], &Settings, &mut Findings)] =
    &[finished::unique, finished::unmanaged_namespaces, finished::count];

/// Checks objects as they were read.
pub(crate) fn raw(manifests: &[Arc<Manifest>], settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rules = || RAW.iter().filter(|(when, _)| when.applies(settings)).map(|(_, rule)| rule);
    let each: Vec<_> = rules().filter_map(|rule| if let Raw::Each(rule) = rule { Some(rule) } else { None }).collect();
    // Object by object: it stays in the processor's cache.
    for manifest in manifests {
        each.iter().for_each(|rule| rule(manifest, &mut findings));
    }
    for rule in rules() {
        if let Raw::All(rule) = rule {
            rule(manifests, settings, &mut findings);
        }
    }
    findings
}

/// Checks objects that have a scope.
pub(crate) fn scoped(drafts: &[Draft], settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (_, rule) in SCOPED.iter().filter(|(when, _)| when.applies(settings)) {
        match rule {
            Scoped::Each(rule) => drafts.iter().for_each(|draft| rule(draft, &mut findings)),
            Scoped::All(rule) => rule(drafts, &mut findings),
        }
    }
    findings
}

/// Checks the directories of a hierarchical repository.
pub(crate) fn tree(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    TREE.iter().for_each(|rule| rule(tree, &mut findings));
    findings
}

/// Checks everything that is applied.
pub(crate) fn finished(drafts: &[Draft], settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    FINAL.iter().for_each(|rule| rule(drafts, settings, &mut findings));
    findings
}

/// Checks that everything is in the namespace of a namespace repository, which is only done when all else is in order.
pub(crate) fn own_namespace(drafts: &[Draft], settings: &Settings) -> Vec<Finding> {
    match &settings.scope {
        RepoScope::Root => Vec::new(),
        RepoScope::Namespace(namespace) => finished::in_namespace(drafts, namespace),
    }
}
