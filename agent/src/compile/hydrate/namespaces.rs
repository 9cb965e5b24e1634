//! Namespace selection: the Namespaces that an object is for, by NamespaceSelectors or by default; and Namespaces that objects
//! are in and that are not declared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::inherit::NamespaceContents;
use super::label_selector::SelectorMatcher;
use crate::compile::kind_scopes::Scope;
use crate::compile::options::{CompileOptions, DynamicSelectors, NamespaceLabels, RepoScope, SourceFormat};
use crate::compile::parse::{BuiltinKind, Manifest};
use crate::compile::scope::ScopedManifest;
use crate::compile::tree::depth_labels;
use crate::compile::validate::{MAX_COPIES, too_many_copies, unknown_selector};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation::NAMESPACE_SELECTOR;
use crate::model::metadata::{CONTROLLER_NAMESPACE, label};

/// Labels by key.
type Labels = BTreeMap<String, String>;

/// A valid NamespaceSelector.
struct NamespaceSelector {
    labels: SelectorMatcher,
    dynamic: bool,
}

/// Reads the NamespaceSelectors, by name; `None` for one with a finding. Findings: malformed (KNV1006) and invalid ones
/// (KNV1014).
fn selectors<'a>(
    selector_manifests: impl Iterator<Item = &'a Arc<Manifest>>,
    options: &CompileOptions,
) -> (BTreeMap<&'a str, Option<NamespaceSelector>>, Vec<Finding>) {
    let mut selectors = BTreeMap::new();
    let mut findings = Vec::new();
    for manifest in selector_manifests {
        let selector = selector(manifest, options);
        // A selector with a finding keeps its name, so that the objects that name it have no finding of their own.
        let (selector, finding) = match selector {
            Ok(selector) => (Some(selector), None),
            Err(finding) => (None, Some(finding)),
        };
        selectors.insert(manifest.object.name(), selector);
        findings.extend(finding);
    }
    (selectors, findings)
}

fn selector(manifest: &Manifest, options: &CompileOptions) -> Result<NamespaceSelector, Finding> {
    let labels = SelectorMatcher::of(manifest)?;
    let mode = manifest.object.field("spec").and_then(|spec| spec.get("mode")).and_then(|mode| mode.as_str());
    let place = || manifest.at_value(&["spec", "mode"]);
    let invalid = |message: String| Finding::new(Code::InvalidSelector, message);
    match (mode.unwrap_or_default(), options.format, &options.dynamic) {
        ("" | "static", ..) => Ok(NamespaceSelector { labels, dynamic: false }),
        ("dynamic", SourceFormat::Hierarchy, _) => {
            let message = "A hierarchical repository must not have a NamespaceSelector with `mode: dynamic`.";
            Err(invalid(message.to_owned())
                .hint("Remove the mode, or use the source format `unstructured`.")
                .at(place()))
        }
        ("dynamic", _, DynamicSelectors::Unknown(finding)) => Err(finding.clone().at(place())),
        ("dynamic", ..) => Ok(NamespaceSelector { labels, dynamic: true }),
        (mode, ..) => {
            let message = format!("The mode of this NamespaceSelector is `{mode}`, which does not exist.");
            Err(invalid(message).hint("Use `static` or `dynamic`.").at(place()))
        }
    }
}

/// Hierarchical repositories: removes from each Namespace the objects whose selector does not select it. Findings: KNV1006,
/// KNV1014.
pub(crate) fn filter(
    namespaces: &mut [NamespaceContents],
    selector_manifests: &[Arc<Manifest>],
    options: &CompileOptions,
) -> Vec<Finding> {
    let (selectors, findings) = selectors(selector_manifests.iter(), options);
    for NamespaceContents { namespace, objects } in namespaces {
        let labels = labels(namespace, options.format);
        objects.retain(|scoped| {
            let name = scoped.object().annotation(NAMESPACE_SELECTOR);
            let selector = name.and_then(|name| selectors.get(name)?.as_ref());
            selector.is_none_or(|selector| selector.labels.matches(&labels))
        });
    }
    findings
}

/// Unstructured repositories: copies objects with a selector into the Namespaces that it selects, and puts other objects without
/// a namespace into the default Namespace. Leaves out the NamespaceSelectors. Findings: KNV1006, KNV1013, KNV1014, KNV1070.
pub(crate) fn place(manifests: Vec<ScopedManifest>, options: &CompileOptions) -> (Vec<ScopedManifest>, Vec<Finding>) {
    let is_selector = |scoped: &&ScopedManifest| scoped.manifest.is(BuiltinKind::NamespaceSelector);
    let selector_manifests: Vec<Arc<Manifest>> =
        manifests.iter().filter(is_selector).map(|it| it.manifest.clone()).collect();
    let (selectors, mut findings) = selectors(selector_manifests.iter(), options);
    if !findings.is_empty() {
        return (Vec::new(), findings);
    }
    let selectable = SelectableNamespaces::of(&manifests, options);
    let default: Arc<str> = match &options.scope {
        RepoScope::Root => Arc::from("default"),
        RepoScope::Namespace(namespace) => Arc::from(namespace.as_str()),
    };
    let mut placed = Vec::with_capacity(manifests.len());
    for mut scoped in manifests.into_iter().filter(|scoped| !is_selector(&scoped)) {
        if scoped.scope != Scope::Namespaced || !scoped.namespace().is_empty() {
            placed.push(scoped);
            continue;
        }
        match scoped.object().annotation(NAMESPACE_SELECTOR).map(|name| selectors.get(name)) {
            None => {
                scoped.placed = Some(default.clone());
                placed.push(scoped);
            }
            Some(Some(Some(selector))) => {
                let copies = selectable.selected(selector);
                placed.extend(copies.map(|namespace| ScopedManifest { placed: Some(namespace), ..scoped.clone() }));
                if placed.len() > MAX_COPIES {
                    return (Vec::new(), vec![too_many_copies()]);
                }
            }
            Some(Some(None)) => {}
            Some(None) => {
                let names = selectors.keys().copied();
                findings.push(unknown_selector(&scoped.manifest, NAMESPACE_SELECTOR, "NamespaceSelector", names));
            }
        }
    }
    (placed, findings)
}

/// Namespace repositories: puts all objects without a namespace into the repository's, also those of unknown scope.
pub(crate) fn own(mut manifests: Vec<ScopedManifest>, options: &CompileOptions) -> Vec<ScopedManifest> {
    if let RepoScope::Namespace(namespace) = &options.scope {
        let namespace: Arc<str> = Arc::from(namespace.as_str());
        manifests.iter_mut().filter(|it| it.namespace().is_empty()).for_each(|it| it.placed = Some(namespace.clone()));
    }
    manifests
}

/// The Namespaces that a NamespaceSelector can select, with their labels. One that is declared twice is here twice.
struct SelectableNamespaces {
    declared: Vec<(Arc<str>, Labels)>,
    live: Vec<(Arc<str>, Labels)>,
}

impl SelectableNamespaces {
    fn of(manifests: &[ScopedManifest], options: &CompileOptions) -> Self {
        let declared = manifests.iter().filter(|scoped| scoped.manifest.is(BuiltinKind::Namespace));
        let live = match &options.dynamic {
            DynamicSelectors::Live(live) => Some(live),
            DynamicSelectors::AsStatic | DynamicSelectors::Unknown(_) => None,
        };
        Self {
            declared: declared.map(|it| (Arc::from(it.object().name()), labels(it, options.format))).collect(),
            live: live.into_iter().flatten().map(|(name, labels)| (Arc::from(name.as_str()), labels.clone())).collect(),
        }
    }

    fn selected(&self, selector: &NamespaceSelector) -> impl Iterator<Item = Arc<str>> {
        let matching = |selectable: &[(Arc<str>, Labels)]| -> Vec<Arc<str>> {
            let matching = selectable.iter().filter(|(_, labels)| selector.labels.matches(labels));
            matching.map(|(name, _)| name.clone()).collect()
        };
        let live = if selector.dynamic { matching(&self.live) } else { Vec::new() };
        let mut declared = matching(&self.declared);
        declared.retain(|name| !live.contains(name));
        live.into_iter().chain(declared)
    }
}

/// The labels of a declared Namespace for selectors: its own and those that the system adds.
fn labels(namespace: &ScopedManifest, format: SourceFormat) -> Labels {
    let object = namespace.object();
    let own = object.labels().map(|(key, value)| (key.to_owned(), value.to_owned()));
    let version = (label::DECLARED_VERSION.to_owned(), object.version().to_owned());
    let hierarchical = format == SourceFormat::Hierarchy;
    let depths = hierarchical.then(|| depth_labels(namespace.manifest.path()));
    own.chain([version]).chain(depths.into_iter().flatten()).collect()
}

/// Those of the live Namespaces that a NamespaceSelector with `mode: dynamic` selects. `None` if there is no such selector.
pub(crate) fn dynamically_selected<'a>(
    manifests: impl Iterator<Item = &'a Arc<Manifest>>,
    live: &NamespaceLabels,
) -> Option<NamespaceLabels> {
    let is_dynamic = |manifest: &&Arc<Manifest>| {
        let mode = manifest.object.field("spec").and_then(|spec| spec.get("mode"));
        manifest.is(BuiltinKind::NamespaceSelector) && mode.is_some_and(|mode| mode == "dynamic")
    };
    let selectors: Vec<_> = manifests.filter(is_dynamic).map(|manifest| SelectorMatcher::of(manifest)).collect();
    let is_selected = |labels: &Labels| selectors.iter().flatten().any(|selector| selector.matches(labels));
    let selected = || live.iter().filter(|(_, labels)| is_selected(labels));
    (!selectors.is_empty()).then(|| selected().map(|(name, labels)| (name.clone(), labels.clone())).collect())
}

/// The names of Namespaces that objects are in and that are not declared. A Namespace that a selector chose is there already.
pub(crate) fn undeclared(manifests: &[ScopedManifest]) -> BTreeSet<&str> {
    let declared =
        manifests.iter().filter(|it| it.manifest.is_any(BuiltinKind::Namespace)).map(|it| it.object().name());
    let is_selected = |it: &ScopedManifest| it.placed.is_some() && it.object().annotation(NAMESPACE_SELECTOR).is_some();
    let mut undeclared: BTreeSet<&str> =
        manifests.iter().filter(|it| !is_selected(it)).map(ScopedManifest::namespace).collect();
    for name in declared.chain(["", CONTROLLER_NAMESPACE]) {
        undeclared.remove(name);
    }
    undeclared
}
