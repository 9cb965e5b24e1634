//! Which objects are for this cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::label_selector::SelectorMatcher;
use crate::compile::options::CompileOptions;
use crate::compile::parse::{BuiltinKind, Manifest, builtin_types};
use crate::compile::scope::ScopedManifest;
use crate::compile::validate::{malformed, unknown_selector};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation::{CLUSTER_NAME_SELECTOR, CLUSTER_SELECTOR};

/// Leaves out what is not for the cluster of `options`, and the objects that only say which cluster is which.
pub(crate) fn select(manifests: Vec<ScopedManifest>, options: &CompileOptions) -> (Vec<ScopedManifest>, Vec<Finding>) {
    let selection = match ClusterSelection::of(&manifests, options) {
        Ok(selection) => selection,
        Err(findings) => return (Vec::new(), findings),
    };
    let mut findings = Vec::new();
    let mut selected = Vec::with_capacity(manifests.len());
    // Namespaces first: what is in one follows it. One declaration for this cluster is enough.
    let mut namespaces: BTreeMap<String, bool> = BTreeMap::new();
    for scoped in manifests.iter().filter(|scoped| scoped.manifest.is(BuiltinKind::Namespace)) {
        match selection.active(&scoped.manifest) {
            Ok(active) => *namespaces.entry(scoped.object().name().to_owned()).or_default() |= active,
            Err(finding) => findings.push(finding),
        }
    }
    for scoped in manifests {
        if scoped.manifest.is(BuiltinKind::Cluster) || scoped.manifest.is(BuiltinKind::ClusterSelector) {
            continue;
        }
        let is_namespace = scoped.manifest.is(BuiltinKind::Namespace);
        if !is_namespace && namespaces.get(scoped.namespace()) == Some(&false) {
            continue;
        }
        match selection.active(&scoped.manifest) {
            Ok(true) => selected.push(scoped),
            Ok(false) => {}
            // Findings of Namespaces were collected above.
            Err(_) if is_namespace => {}
            Err(finding) => findings.push(finding),
        }
    }
    (selected, findings)
}

/// The names of the clusters that are declared, without malformed ones.
pub(crate) fn declared<'a>(manifests: impl Iterator<Item = &'a Arc<Manifest>>) -> BTreeSet<String> {
    manifests
        .filter(|manifest| manifest.is(BuiltinKind::Cluster) && malformed_cluster(manifest).is_none())
        .map(|manifest| manifest.object.name().to_owned())
        .collect()
}

/// KNV1006: a Cluster that is none.
pub(crate) fn malformed_cluster(manifest: &Manifest) -> Option<Finding> {
    manifest.is(BuiltinKind::Cluster).then(|| malformed(manifest, &["v1alpha1"], builtin_types::CLUSTER))?
}

/// The names in a `cluster-name-selector` annotation.
pub(crate) fn names(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

/// What decides whether an object is for this cluster.
struct ClusterSelection<'a> {
    cluster: &'a str,
    /// Whether each ClusterSelector selects this cluster.
    selectors: BTreeMap<String, bool>,
}

impl<'a> ClusterSelection<'a> {
    /// What the Cluster of this name and all ClusterSelectors say. Malformed ones (KNV1006) hide invalid ones (KNV1014), and
    /// both hide what is wrong with the objects that name them.
    fn of(manifests: &[ScopedManifest], options: &'a CompileOptions) -> Result<Self, Vec<Finding>> {
        let of_kind = |kind| manifests.iter().map(|scoped| &scoped.manifest).filter(move |it| it.is(kind));
        let own: Vec<_> = of_kind(BuiltinKind::Cluster).filter(|it| it.object.name() == options.cluster_name).collect();
        let selectors: Vec<_> = of_kind(BuiltinKind::ClusterSelector).collect();
        let malformed = own.iter().filter_map(|it| malformed_cluster(it));
        some_of(malformed.chain(selectors.iter().filter_map(|it| SelectorMatcher::malformed(it))))?;
        // Of several with one name the last counts.
        let labels = own.last().into_iter().flat_map(|it| it.object.labels());
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let selected = selectors.iter().map(|it| SelectorMatcher::of(it).map(|selector| selector.matches(&labels)));
        let (selected, invalid): (Vec<_>, Vec<_>) = selected.partition(Result::is_ok);
        some_of(invalid.into_iter().filter_map(Result::err))?;
        let names = selectors.iter().map(|it| it.object.name().to_owned());
        let selectors = names.zip(selected.into_iter().flatten()).collect();
        Ok(Self { cluster: &options.cluster_name, selectors })
    }

    fn active(&self, manifest: &Manifest) -> Result<bool, Finding> {
        let object = &manifest.object;
        match (object.annotation(CLUSTER_SELECTOR), object.annotation(CLUSTER_NAME_SELECTOR)) {
            (None, None) => Ok(true),
            (Some(_), Some(_)) => {
                let message = format!(
                    "`{}` has both annotations `{CLUSTER_SELECTOR}` and `{CLUSTER_NAME_SELECTOR}`.",
                    object.name()
                );
                let finding = Finding::new(Code::ClusterSelectorAnnotationConflict, message);
                Err(finding.hint("Keep one of the two.").at(manifest.at_annotation(CLUSTER_SELECTOR)))
            }
            (None, Some(value)) => {
                Ok(!self.cluster.is_empty() && names(value).any(|name| same_name(name, self.cluster)))
            }
            (Some(name), None) => self.selectors.get(name).copied().ok_or_else(|| {
                let declared = self.selectors.keys().map(String::as_str);
                unknown_selector(manifest, CLUSTER_SELECTOR, "ClusterSelector", declared)
            }),
        }
    }
}

fn some_of(findings: impl Iterator<Item = Finding>) -> Result<(), Vec<Finding>> {
    let findings: Vec<_> = findings.collect();
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

fn same_name(one: &str, other: &str) -> bool {
    let ascii = one.is_ascii() && other.is_ascii();
    one.eq_ignore_ascii_case(other) || !ascii && one.to_lowercase() == other.to_lowercase()
}
