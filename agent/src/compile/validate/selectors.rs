//! Rules for ClusterSelectors, NamespaceSelectors and the annotations that name them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Findings;
use crate::compile::options::CompileOptions;
use crate::compile::parse::builtin_types::{TypedFields, mismatch};
use crate::compile::parse::{BuiltinKind, Manifest};
use crate::compile::scope::ScopedManifest;
use crate::compile::tree::RepoTree;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation;

/// The finding (KNV1006) about an object of a built-in kind whose `fields` do not have their types, or whose version is not one
/// of `versions`.
pub(crate) fn malformed(manifest: &Manifest, versions: &[&str], fields: &TypedFields) -> Option<Finding> {
    let object = &manifest.object;
    let (message, hint, place) = if versions.contains(&object.version()) {
        let mismatch = mismatch(object, fields)?;
        let hint = "Correct the field. Types are not converted, so text that looks like a number needs quotes.";
        (mismatch.message(), hint.to_owned(), manifest.at_value(&mismatch.steps()))
    } else {
        let message = format!("the version {} of this kind does not exist", object.version());
        let versions = versions.iter().map(|version| format!("`{}/{version}`", object.id.group())).collect::<Vec<_>>();
        (message, format!("Set apiVersion to {}.", versions.join(" or ")), manifest.at_value(&["apiVersion"]))
    };
    let message = format!("This {} is malformed: {message}.", object.group_kind());
    Some(Finding::new(Code::ObjectParse, message).hint(hint).at(place))
}

/// Clusters and selectors have no cluster selector themselves (KNV1004).
pub(super) fn on_selectors(manifest: &Manifest, findings: &mut Findings) {
    let object = &manifest.object;
    let kinds = [BuiltinKind::Cluster, BuiltinKind::ClusterSelector, BuiltinKind::NamespaceSelector];
    if !kinds.into_iter().any(|kind| manifest.is_any(kind)) {
        return;
    }
    let keys = [annotation::CLUSTER_SELECTOR, annotation::CLUSTER_NAME_SELECTOR];
    if let Some(key) = keys.into_iter().find(|key| object.annotation(key).is_some()) {
        let message = format!("A {} is for every cluster and must not have the annotation `{key}`.", object.kind());
        let finding = Finding::new(Code::IllegalSelectorAnnotation, message);
        findings.push(finding.hint("Remove the annotation.").at(manifest.at_annotation(key)));
    }
}

/// Each ClusterSelector has a name of its own (KNV1029).
pub(super) fn unique_cluster_selectors(manifests: &[Arc<Manifest>], _: &CompileOptions, findings: &mut Findings) {
    unique(manifests.iter().filter(|manifest| manifest.is_any(BuiltinKind::ClusterSelector)), findings);
}

/// Each NamespaceSelector has a name of its own (KNV1029).
pub(super) fn unique_namespace_selectors(manifests: &[ScopedManifest], findings: &mut Findings) {
    unique(
        manifests
            .iter()
            .map(|scoped| &scoped.manifest)
            .filter(|manifest| manifest.is_any(BuiltinKind::NamespaceSelector)),
        findings,
    );
}

fn unique<'a>(selectors: impl Iterator<Item = &'a Arc<Manifest>>, findings: &mut Findings) {
    let mut by_name: BTreeMap<&str, Vec<&Manifest>> = BTreeMap::new();
    for selector in selectors {
        by_name.entry(selector.object.name()).or_default().push(selector);
    }
    for (name, same) in by_name.into_iter().filter(|(_, same)| same.len() > 1) {
        let message =
            format!("There are {} objects of the kind {} named `{name}`.", same.len(), same[0].object.group_kind());
        let finding =
            Finding::new(Code::NameCollision, message).hint("Keep one of them, and rename or remove the others.");
        findings.push(same.iter().fold(finding, |finding, selector| finding.at(selector.at_name())));
    }
}

/// No NamespaceSelector is in the directory of a Namespace (KNV1038).
pub(super) fn placement(tree: &RepoTree, findings: &mut Findings) {
    let mut bad: BTreeMap<&str, Vec<&Manifest>> = BTreeMap::new();
    for selector in &tree.selectors {
        if tree.is_namespace(selector.directory()) {
            bad.entry(selector.directory()).or_default().push(selector);
        }
    }
    for (directory, selectors) in bad {
        let message = format!("`{directory}/` holds a Namespace, so it must not hold a NamespaceSelector.");
        let finding = Finding::new(Code::IllegalKindInNamespaces, message);
        let mut finding = finding.hint("Move the NamespaceSelector to a directory above.");
        finding.places.extend(selectors.iter().map(|selector| selector.at_value(&["kind"])));
        finding.places.extend(tree.nodes[directory].namespaces.iter().map(|it| it.manifest.at_value(&["kind"])));
        findings.push(finding);
    }
}

/// A NamespaceSelector is declared and is in a directory above the objects that name it (KNV1013).
pub(super) fn use_in_tree(tree: &RepoTree, findings: &mut Findings) {
    let selectors: BTreeMap<&str, &Arc<Manifest>> =
        tree.selectors.iter().map(|selector| (selector.object.name(), selector)).collect();
    for scoped in tree.nodes.values().flat_map(|node| &node.objects) {
        let Some(name) = scoped.object().annotation(annotation::NAMESPACE_SELECTOR) else { continue };
        let manifest = &scoped.manifest;
        match selectors.get(name) {
            None => {
                let names = selectors.keys().copied();
                findings.push(unknown(manifest, annotation::NAMESPACE_SELECTOR, "NamespaceSelector", names));
            }
            // As in Config Sync, paths are compared as text: `namespaces/a` is also above `namespaces/ab/` and
            // `namespaces/ab.yaml`.
            Some(selector) if !manifest.path().starts_with(selector.directory()) => {
                let message = format!(
                    "The NamespaceSelector `{name}` is in `{}/`, which is not above `{}/`.",
                    selector.directory(),
                    manifest.directory()
                );
                findings.push(
                    Finding::new(Code::ObjectHasUnknownSelector, message)
                        .hint("Move the NamespaceSelector to a directory above the object, or the object to a directory below it.")
                        .at(manifest.at_annotation(annotation::NAMESPACE_SELECTOR))
                        .at(selector.at_name()),
                );
            }
            Some(_) => {}
        }
    }
}

/// The number of names that a hint lists.
const NAMED: usize = 20;

/// The finding (KNV1013) about an annotation that names a selector that is not declared. `names` are the declared ones.
pub(crate) fn unknown<'a>(
    manifest: &Manifest,
    key: &str,
    kind: &str,
    names: impl ExactSizeIterator<Item = &'a str>,
) -> Finding {
    let object = &manifest.object;
    let value = object.annotation(key).unwrap_or_default();
    let message =
        format!("`{}` has the annotation `{key}: {value}`, but no {kind} with this name is declared.", object.name());
    let more = names.len().saturating_sub(NAMED);
    let mut names = names.take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        names.push_str(&format!(" and {more} more"));
    }
    let hint = if names.is_empty() {
        format!("Declare a {kind} named `{value}`, or remove the annotation.")
    } else {
        format!("Correct the name or declare the {kind}. These are declared: {names}.")
    };
    Finding::new(Code::ObjectHasUnknownSelector, message).hint(hint).at(manifest.at_annotation(key))
}
