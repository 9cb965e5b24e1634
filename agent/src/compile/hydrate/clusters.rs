//! Which objects are for this cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::label_selector::LabelSelector;
use crate::compile::options::Settings;
use crate::compile::parse::{Known, Manifest, type_check};
use crate::compile::scope::Draft;
use crate::compile::validate::{malformed, unknown_selector};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation::{CLUSTER_NAME_SELECTOR, CLUSTER_SELECTOR};

/// Leaves out what is not for the cluster of `settings`, and the objects that only say which cluster is which.
pub(crate) fn select(drafts: Vec<Draft>, settings: &Settings) -> (Vec<Draft>, Vec<Finding>) {
    let choice = match Choice::of(&drafts, settings) {
        Ok(choice) => choice,
        Err(findings) => return (Vec::new(), findings),
    };
    let mut findings = Vec::new();
    let mut selected = Vec::with_capacity(drafts.len());
    // Namespaces first: what is in one follows it. One declaration for this cluster is enough.
    let mut namespaces: BTreeMap<String, bool> = BTreeMap::new();
    for draft in drafts.iter().filter(|draft| draft.manifest.is(Known::Namespace)) {
        match choice.active(&draft.manifest) {
            Ok(active) => *namespaces.entry(draft.object().name().to_owned()).or_default() |= active,
            Err(finding) => findings.push(finding),
        }
    }
    for draft in drafts {
        if draft.manifest.is(Known::Cluster) || draft.manifest.is(Known::ClusterSelector) {
            continue;
        }
        let is_namespace = draft.manifest.is(Known::Namespace);
        if !is_namespace && namespaces.get(draft.namespace()) == Some(&false) {
            continue;
        }
        match choice.active(&draft.manifest) {
            Ok(true) => selected.push(draft),
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
        .filter(|manifest| manifest.is(Known::Cluster) && malformed_cluster(manifest).is_none())
        .map(|manifest| manifest.object.name().to_owned())
        .collect()
}

/// KNV1006: a Cluster that is none.
pub(crate) fn malformed_cluster(manifest: &Manifest) -> Option<Finding> {
    manifest.is(Known::Cluster).then(|| malformed(manifest, &["v1alpha1"], type_check::CLUSTER))?
}

/// The names in a `cluster-name-selector` annotation.
pub(crate) fn names(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

/// What decides whether an object is for this cluster.
struct Choice<'a> {
    cluster: &'a str,
    /// Whether each ClusterSelector selects this cluster.
    selectors: BTreeMap<String, bool>,
}

impl<'a> Choice<'a> {
    /// What the Cluster of this name and all ClusterSelectors say. Malformed ones (KNV1006) hide invalid ones (KNV1014), and
    /// both hide what is wrong with the objects that name them.
    fn of(drafts: &[Draft], settings: &'a Settings) -> Result<Self, Vec<Finding>> {
        let of_kind = |kind| drafts.iter().map(|draft| &draft.manifest).filter(move |it| it.is(kind));
        let own: Vec<_> = of_kind(Known::Cluster).filter(|it| it.object.name() == settings.cluster_name).collect();
        let selectors: Vec<_> = of_kind(Known::ClusterSelector).collect();
        let malformed = own.iter().filter_map(|it| malformed_cluster(it));
        some_of(malformed.chain(selectors.iter().filter_map(|it| LabelSelector::malformed(it))))?;
        // Of several with one name the last counts.
        let labels = own.last().into_iter().flat_map(|it| it.object.labels());
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let selected = selectors.iter().map(|it| LabelSelector::of(it).map(|selector| selector.matches(&labels)));
        let (selected, invalid): (Vec<_>, Vec<_>) = selected.partition(Result::is_ok);
        some_of(invalid.into_iter().filter_map(Result::err))?;
        let names = selectors.iter().map(|it| it.object.name().to_owned());
        let selectors = names.zip(selected.into_iter().flatten()).collect();
        Ok(Self { cluster: &settings.cluster_name, selectors })
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
