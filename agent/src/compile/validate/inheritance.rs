//! Rules for HierarchyConfigs and for the objects in abstract directories.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Findings, malformed};
use crate::compile::parse::{Manifest, builtin_types};
use crate::compile::tree::{RepoTree, base};
use crate::model::finding::{Code, Finding, Place};
use crate::model::object::GroupKind;

/// The `hierarchyMode` of each kind that a HierarchyConfig names.
pub(crate) type HierarchyModes<'a> = BTreeMap<GroupKind, HierarchyMode<'a>>;

/// A `hierarchyMode`, and the entry of a HierarchyConfig that sets it.
pub(crate) struct HierarchyMode<'a> {
    pub(crate) text: &'a str,
    config: &'a Manifest,
    position: String,
}

impl HierarchyMode<'_> {
    /// The place of the mode in its HierarchyConfig.
    pub(crate) fn place(&self) -> Place {
        self.config.at_value(&["spec", "resources", &self.position, "hierarchyMode"])
    }
}

/// One entry of `spec.resources` of a HierarchyConfig.
struct HierarchyConfigEntry<'a> {
    position: String,
    group: &'a str,
    kinds: Vec<&'a str>,
    mode: &'a str,
}

fn entries(config: &Manifest) -> impl Iterator<Item = HierarchyConfigEntry<'_>> {
    let resources = config.object.field("spec").and_then(|spec| spec.get("resources")).and_then(Value::as_array);
    resources.into_iter().flatten().enumerate().map(|(i, entry)| HierarchyConfigEntry {
        position: i.to_string(),
        group: entry["group"].as_str().unwrap_or_default(),
        kinds: entry["kinds"].as_array().into_iter().flatten().map(|kind| kind.as_str().unwrap_or_default()).collect(),
        mode: entry["hierarchyMode"].as_str().unwrap_or_default(),
    })
}

/// The modes of all kinds that any HierarchyConfig names. Later entries override earlier ones.
pub(crate) fn modes(tree: &RepoTree) -> HierarchyModes<'_> {
    let mut modes = HierarchyModes::new();
    for (config, entry) in tree.configs.iter().flat_map(|config| entries(config).map(move |entry| (config, entry))) {
        for kind in &entry.kinds {
            let mode = HierarchyMode { text: entry.mode, config, position: entry.position.clone() };
            modes.insert(GroupKind::new(entry.group, kind), mode);
        }
    }
    modes
}

/// The first object of each kind in `cluster/`.
type ClusterScoped<'a> = BTreeMap<GroupKind, &'a Manifest>;

/// A HierarchyConfig has the fields of its type (KNV1006), names kinds whose inheritance can be configured (KNV1041) and that are
/// not cluster-scoped (KNV1046), and its modes exist (KNV1042).
pub(super) fn configs(tree: &RepoTree, findings: &mut Findings) {
    // In reverse order, so that the first object of each kind stays in the map.
    let cluster_scoped: ClusterScoped<'_> =
        tree.cluster.iter().rev().map(|scoped| (scoped.object().group_kind(), &*scoped.manifest)).collect();
    for config in &tree.configs {
        if let Some(finding) = malformed(config, &["v1"], builtin_types::HIERARCHY_CONFIG) {
            findings.push(finding);
            continue;
        }
        for entry in entries(config) {
            check(config, &entry, &cluster_scoped, findings);
        }
    }
}

fn check(
    config: &Manifest,
    entry: &HierarchyConfigEntry<'_>,
    cluster_scoped: &ClusterScoped<'_>,
    findings: &mut Findings,
) {
    let place = |kind: usize| config.at_value(&["spec", "resources", &entry.position, "kinds", &kind.to_string()]);
    let kinds = if entry.kinds.is_empty() { vec![""] } else { entry.kinds.clone() };
    for (i, kind) in kinds.iter().enumerate() {
        let kind = GroupKind::new(entry.group, kind);
        if kind.kind.is_empty() || kind.is("", "Namespace") || kind.group == "configmanagement.gke.io" {
            let message = if kind.kind.is_empty() {
                format!("An entry of this HierarchyConfig for the group `{}` names no kind.", kind.group)
            } else {
                format!("The inheritance of the kind {kind} cannot be configured.")
            };
            let finding = Finding::new(Code::UnsupportedResourceInHierarchyConfig, message);
            findings.push(finding.hint("Remove the entry, or name other kinds in it.").at(place(i)));
        } else if let Some(object) = cluster_scoped.get(&kind) {
            let message = format!("The kind {kind} is cluster-scoped, so that no Namespace can inherit its objects.");
            let finding = Finding::new(Code::ClusterScopedResourceInHierarchyConfig, message);
            let finding = finding.hint("Remove the kind from the entry.").at(place(i));
            findings.push(finding.at(object.at_value(&["kind"])));
        }
    }
    if !matches!(entry.mode, "" | "inherit" | "none") {
        let first = GroupKind::new(entry.group, kinds[0]);
        let message = format!("The hierarchyMode of {first} is `{}`, which does not exist.", entry.mode);
        let finding = Finding::new(Code::IllegalHierarchyMode, message);
        let place = config.at_value(&["spec", "resources", &entry.position, "hierarchyMode"]);
        findings.push(finding.hint("Use `inherit` or `none`.").at(place));
    }
}

/// A directory holds at most one Namespace (KNV2012). A directory with objects has a Namespace in it or below it (KNV1044).
pub(super) fn structure(tree: &RepoTree, findings: &mut Findings) {
    // Directories below a Namespace are left out: they have a finding of their own (KNV1003).
    for (directory, node) in tree.nodes.iter().filter(|(directory, _)| !tree.is_below_namespace(directory)) {
        if node.namespaces.len() > 1 {
            let message =
                format!("`{directory}/` holds {} Namespaces. A directory can hold one.", node.namespaces.len());
            let finding = Finding::new(Code::MultipleSingletons, message);
            let finding = finding.hint("Move each Namespace to a directory of its own name.");
            findings.push(node.namespaces.iter().fold(finding, |finding, it| finding.at(it.manifest.at_name())));
        }
        let abstract_directory = node.namespaces.is_empty() && !node.objects.is_empty();
        if abstract_directory && !node.has_namespace_below {
            let name = base(directory);
            let (message, hint) = if node.has_children {
                (
                    format!("`{name}` holds objects, but no directory below it holds a Namespace that inherits them."),
                    "below it",
                )
            } else {
                (
                    format!(
                        "`{name}` holds objects, but it has no Namespace and no directory below it that could have one."
                    ),
                    "in it or below it",
                )
            };
            let mut finding = Finding::new(Code::UnsyncableResources, message)
                .hint(format!("Declare a Namespace {hint}, or move the objects."))
                .at_path(format!("{directory}/"));
            if let Some(first) = node.objects.first() {
                finding = finding.at(first.manifest.at_name());
            }
            findings.push(finding);
        }
    }
}
