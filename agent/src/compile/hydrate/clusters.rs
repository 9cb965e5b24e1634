//! Cluster selection: the objects that are for the cluster of the compilation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::label_selector::SelectorMatcher;
use crate::compile::options::CompileOptions;
use crate::compile::parse::{BuiltinKind, Manifest, builtin_types};
use crate::compile::scope::ScopedManifest;
use crate::compile::validate::{malformed, unknown_selector};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation::{CLUSTER_NAME_SELECTOR, CLUSTER_SELECTOR};

/// Leaves out the objects that are not for the cluster of `options`, and all Clusters and ClusterSelectors. Objects in a
/// Namespace that is left out are left out too. Findings: KNV1006, KNV1013, KNV1014, KNV1066.
pub(crate) fn select(manifests: Vec<ScopedManifest>, options: &CompileOptions) -> (Vec<ScopedManifest>, Vec<Finding>) {
    let selection = match ClusterSelection::of(&manifests, options) {
        Ok(selection) => selection,
        Err(findings) => return (Vec::new(), findings),
    };
    let mut findings = Vec::new();
    let mut selected = Vec::with_capacity(manifests.len());
    // Namespaces first, because objects in a Namespace depend on it. A Namespace that is declared several times is for this
    // cluster if one of its declarations is.
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
            // The loop above added the findings of Namespaces.
            Err(_) if is_namespace => {}
            Err(finding) => findings.push(finding),
        }
    }
    (selected, findings)
}

/// The names of the declared Clusters, without malformed ones.
pub(crate) fn declared<'a>(manifests: impl Iterator<Item = &'a Arc<Manifest>>) -> BTreeSet<String> {
    manifests
        .filter(|manifest| manifest.is(BuiltinKind::Cluster) && malformed_cluster(manifest).is_none())
        .map(|manifest| manifest.object.name().to_owned())
        .collect()
}

/// The finding (KNV1006) about a Cluster that does not have the fields of its type.
pub(crate) fn malformed_cluster(manifest: &Manifest) -> Option<Finding> {
    manifest.is(BuiltinKind::Cluster).then(|| malformed(manifest, &["v1alpha1"], builtin_types::CLUSTER))?
}

/// The names in a `cluster-name-selector` annotation.
pub(crate) fn names(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

/// The facts that decide if an object is for the cluster of the compilation.
struct ClusterSelection<'a> {
    cluster: &'a str,
    /// `true` for each ClusterSelector that selects the cluster.
    selectors: BTreeMap<String, bool>,
}

impl<'a> ClusterSelection<'a> {
    /// Reads the Cluster of this name and all ClusterSelectors.
    ///
    /// # Errors
    ///
    /// The findings about malformed ones (KNV1006); if there are none, the findings about invalid ClusterSelectors (KNV1014).
    fn of(manifests: &[ScopedManifest], options: &'a CompileOptions) -> Result<Self, Vec<Finding>> {
        let of_kind = |kind| manifests.iter().map(|scoped| &scoped.manifest).filter(move |it| it.is(kind));
        let own: Vec<_> = of_kind(BuiltinKind::Cluster).filter(|it| it.object.name() == options.cluster_name).collect();
        let selectors: Vec<_> = of_kind(BuiltinKind::ClusterSelector).collect();
        let malformed = own.iter().filter_map(|it| malformed_cluster(it));
        some_of(malformed.chain(selectors.iter().filter_map(|it| SelectorMatcher::malformed(it))))?;
        // If several Clusters have this name, the last one has the labels.
        let labels = own.last().into_iter().flat_map(|it| it.object.labels());
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let selected = selectors.iter().map(|it| SelectorMatcher::of(it).map(|selector| selector.matches(&labels)));
        let (selected, invalid): (Vec<_>, Vec<_>) = selected.partition(Result::is_ok);
        some_of(invalid.into_iter().filter_map(Result::err))?;
        let names = selectors.iter().map(|it| it.object.name().to_owned());
        let selectors = names.zip(selected.into_iter().flatten()).collect();
        Ok(Self { cluster: &options.cluster_name, selectors })
    }

    /// `true` if the object is for the cluster.
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
                Err(finding
                    .hint("Keep one of them, and remove the other.")
                    .at(manifest.at_annotation(CLUSTER_SELECTOR)))
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
