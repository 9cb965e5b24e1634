//! The rules that a repository must follow, in one table for each gate. The order in a table is the order of the findings. All
//! rules of a table run; compilation stops after a table with a blocking finding. A new rule is a function in one of the modules
//! here and a row in a table.

mod names;
mod metadata;
mod base64;
mod kinds;
mod directories;
mod crds;
mod selectors;
mod repo;
mod scoped;
mod inheritance;
mod declared_set;
mod references;

use std::sync::Arc;

use crate::compile::options::{CompileOptions, RepoScope, SourceFormat};
use crate::compile::parse::Manifest;
use crate::compile::scope::ScopedManifest;
use crate::compile::tree::RepoTree;
use crate::model::finding::Finding;

#[cfg(feature = "cluster")]
pub(crate) use base64::not_base64;
pub(crate) use declared_set::{MAX_COPIES, too_many_copies};
pub(crate) use inheritance::{HierarchyModes, modes};
pub(crate) use names::is_subdomain;
pub(crate) use selectors::{malformed, unknown as unknown_selector};

/// The repositories that a rule is for.
#[derive(Clone, Copy, PartialEq)]
enum AppliesTo {
    Always,
    Hierarchy,
    Unstructured,
    /// The source of a RootSync.
    RootRepo,
    /// The source of a RepoSync.
    NamespaceRepo,
    /// All, but only for the command line tool: the agent applies the other objects, and the API server refuses this one.
    CommandLine,
}
use AppliesTo::{Always, CommandLine, Hierarchy, NamespaceRepo, RootRepo, Unstructured};

impl AppliesTo {
    fn matches(self, options: &CompileOptions) -> bool {
        match self {
            Always => true,
            Hierarchy => options.format == SourceFormat::Hierarchy,
            Unstructured => options.format == SourceFormat::Unstructured,
            RootRepo => options.scope == RepoScope::Root,
            NamespaceRepo => options.scope != RepoScope::Root,
            CommandLine => options.sync.is_none(),
        }
    }
}

type Findings = Vec<Finding>;

/// A rule for manifests as they are in the files: for each alone, or for all together.
enum RawRule {
    Each(fn(&Manifest, &mut Findings)),
    All(fn(&[Arc<Manifest>], &CompileOptions, &mut Findings)),
}

/// The rules for manifests as they are in the files.
const RAW: &[(AppliesTo, RawRule)] = &[
    (Always, RawRule::Each(metadata::system_annotations)),
    (Always, RawRule::Each(metadata::system_labels)),
    (Always, RawRule::Each(kinds::unsupported)),
    (Unstructured, RawRule::Each(kinds::hierarchical)),
    (Always, RawRule::Each(kinds::deprecated)),
    (Always, RawRule::Each(names::name)),
    (Always, RawRule::Each(names::namespace)),
    (Hierarchy, RawRule::Each(directories::namespace_directory)),
    (Hierarchy, RawRule::Each(metadata::depth_labels)),
    (Always, RawRule::Each(metadata::managed)),
    (Always, RawRule::Each(crds::definition)),
    (Always, RawRule::All(kinds::own_sync)),
    (Always, RawRule::Each(metadata::fields)),
    (CommandLine, RawRule::Each(base64::values)),
    (Always, RawRule::All(crds::removed)),
    (Always, RawRule::Each(selectors::on_selectors)),
    (Hierarchy, RawRule::Each(directories::cluster_registry)),
    (Always, RawRule::All(selectors::unique_cluster_selectors)),
    (Hierarchy, RawRule::All(repo::repo)),
];

/// A rule for manifests with a scope: for each alone, or for all together.
enum ScopedRule {
    Each(fn(&ScopedManifest, &mut Findings)),
    All(fn(&[ScopedManifest], &mut Findings)),
}

/// The rules for the manifests of one cluster, with their scope.
const SCOPED: &[(AppliesTo, ScopedRule)] = &[
    (RootRepo, ScopedRule::Each(scoped::cluster_scoped)),
    (NamespaceRepo, ScopedRule::Each(scoped::not_namespaced)),
    (Always, ScopedRule::Each(scoped::namespace_and_selector)),
    (Always, ScopedRule::Each(base64::unopened)),
    (Always, ScopedRule::All(selectors::unique_namespace_selectors)),
];

/// The rules for the directories of a hierarchical repository.
const TREE: &[fn(&RepoTree, &mut Findings)] =
    &[inheritance::configs, inheritance::structure, selectors::placement, selectors::use_in_tree];

/// The rules for all objects that are applied.
const DECLARED_SET: &[fn(&[ScopedManifest], &CompileOptions, &mut Findings)] =
    &[declared_set::unique, declared_set::unmanaged_namespaces, declared_set::count, references::readable];

/// Checks manifests as they are in the files.
pub(crate) fn raw(manifests: &[Arc<Manifest>], options: &CompileOptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rules = || RAW.iter().filter(|(when, _)| when.matches(options)).map(|(_, rule)| rule);
    let each: Vec<_> =
        rules().filter_map(|rule| if let RawRule::Each(rule) = rule { Some(rule) } else { None }).collect();
    // All rules for one manifest before the next one, because the manifest is then in the processor's cache.
    for manifest in manifests {
        each.iter().for_each(|rule| rule(manifest, &mut findings));
    }
    for rule in rules() {
        if let RawRule::All(rule) = rule {
            rule(manifests, options, &mut findings);
        }
    }
    findings
}

/// Checks the manifests of one cluster, with their scope.
pub(crate) fn scoped(manifests: &[ScopedManifest], options: &CompileOptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (_, rule) in SCOPED.iter().filter(|(when, _)| when.matches(options)) {
        match rule {
            ScopedRule::Each(rule) => manifests.iter().for_each(|scoped| rule(scoped, &mut findings)),
            ScopedRule::All(rule) => rule(manifests, &mut findings),
        }
    }
    findings
}

/// Checks the directories of a hierarchical repository.
pub(crate) fn tree(tree: &RepoTree) -> Vec<Finding> {
    let mut findings = Vec::new();
    TREE.iter().for_each(|rule| rule(tree, &mut findings));
    findings
}

/// Checks all objects that are applied.
pub(crate) fn declared_set(manifests: &[ScopedManifest], options: &CompileOptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    DECLARED_SET.iter().for_each(|rule| rule(manifests, options, &mut findings));
    findings
}

/// Checks that all objects of a namespace repository are in its namespace. This runs after all other rules, as in Config Sync.
pub(crate) fn own_namespace(manifests: &[ScopedManifest], options: &CompileOptions) -> Vec<Finding> {
    match &options.scope {
        RepoScope::Root => Vec::new(),
        RepoScope::Namespace(namespace) => declared_set::in_namespace(manifests, namespace),
    }
}
