//! Which Namespaces an object is for: NamespaceSelectors, the default namespace, and Namespaces that are only used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::inherit::Inhabited;
use super::label_selector::LabelSelector;
use crate::compile::options::{DynamicSelectors, RepoScope, Settings, SourceFormat};
use crate::compile::parse::{Known, Manifest};
use crate::compile::scope::{Draft, Scope};
use crate::compile::system_metadata::depth_labels;
use crate::compile::tree::ROOT;
use crate::compile::validate::{MAX_COPIES, too_many_copies, unknown_selector};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation::NAMESPACE_SELECTOR;
use crate::model::metadata::{CONTROLLER_NAMESPACE, label};

/// Labels by key.
type Labels = BTreeMap<String, String>;

/// A valid NamespaceSelector.
struct Selector {
    labels: LabelSelector,
    dynamic: bool,
}

/// Reads the selectors. Findings: malformed (KNV1006) and invalid ones (KNV1014).
fn selectors<'a>(
    manifests: impl Iterator<Item = &'a Arc<Manifest>>,
    settings: &Settings,
) -> (BTreeMap<&'a str, Option<Selector>>, Vec<Finding>) {
    let mut selectors = BTreeMap::new();
    let mut findings = Vec::new();
    for manifest in manifests {
        let selector = selector(manifest, settings);
        // A broken selector still has a name: only it is reported, not also what uses it.
        let (selector, finding) = match selector {
            Ok(selector) => (Some(selector), None),
            Err(finding) => (None, Some(finding)),
        };
        selectors.insert(manifest.object.name(), selector);
        findings.extend(finding);
    }
    (selectors, findings)
}

fn selector(manifest: &Manifest, settings: &Settings) -> Result<Selector, Finding> {
    let labels = LabelSelector::of(manifest)?;
    let mode = manifest.object.field("spec").and_then(|spec| spec.get("mode")).and_then(|mode| mode.as_str());
    let place = || manifest.at_value(&["spec", "mode"]);
    let invalid = |message: String| Finding::new(Code::InvalidSelector, message);
    match (mode.unwrap_or_default(), settings.format, &settings.dynamic) {
        ("" | "static", ..) => Ok(Selector { labels, dynamic: false }),
        ("dynamic", SourceFormat::Hierarchy, _) => {
            let message = "A hierarchical repository may not have a NamespaceSelector with `mode: dynamic`.";
            Err(invalid(message.to_owned()).hint("Remove the mode.").at(place()))
        }
        ("dynamic", _, DynamicSelectors::Refused(finding)) => Err(finding.clone().at(place())),
        ("dynamic", ..) => Ok(Selector { labels, dynamic: true }),
        (mode, ..) => {
            let message = format!("The mode of this NamespaceSelector is `{mode}`.");
            Err(invalid(message).hint("Use `static` or `dynamic`.").at(place()))
        }
    }
}

/// Hierarchical repositories: removes what a selector keeps out of a Namespace.
pub(crate) fn filter(inhabited: &mut [Inhabited], manifests: &[Arc<Manifest>], settings: &Settings) -> Vec<Finding> {
    let (selectors, findings) = selectors(manifests.iter(), settings);
    for Inhabited { namespace, objects } in inhabited {
        let labels = labels(namespace, settings.format);
        objects.retain(|draft| {
            let name = draft.object().annotation(NAMESPACE_SELECTOR);
            let selector = name.and_then(|name| selectors.get(name)?.as_ref());
            selector.is_none_or(|selector| selector.labels.matches(&labels))
        });
    }
    findings
}

/// Unstructured repositories: copies objects with a selector into the Namespaces it selects, and puts those without a
/// namespace into the default one. NamespaceSelectors themselves are left out.
pub(crate) fn place(drafts: Vec<Draft>, settings: &Settings) -> (Vec<Draft>, Vec<Finding>) {
    let is_selector = |draft: &&Draft| draft.manifest.is(Known::NamespaceSelector);
    let manifests: Vec<Arc<Manifest>> = drafts.iter().filter(is_selector).map(|it| it.manifest.clone()).collect();
    let (selectors, mut findings) = selectors(manifests.iter(), settings);
    if !findings.is_empty() {
        return (Vec::new(), findings);
    }
    let candidates = Candidates::of(&drafts, settings);
    let default: Arc<str> = match &settings.scope {
        RepoScope::Root => Arc::from("default"),
        RepoScope::Namespace(namespace) => Arc::from(namespace.as_str()),
    };
    let mut placed = Vec::with_capacity(drafts.len());
    for mut draft in drafts.into_iter().filter(|draft| !is_selector(&draft)) {
        if draft.scope != Scope::Namespaced || !draft.namespace().is_empty() {
            placed.push(draft);
            continue;
        }
        match draft.object().annotation(NAMESPACE_SELECTOR).map(|name| selectors.get(name)) {
            None => {
                draft.placed = Some(default.clone());
                placed.push(draft);
            }
            Some(Some(Some(selector))) => {
                let copies = candidates.selected(selector);
                placed.extend(copies.map(|namespace| Draft { placed: Some(namespace), ..draft.clone() }));
                if placed.len() > MAX_COPIES {
                    return (Vec::new(), vec![too_many_copies()]);
                }
            }
            Some(Some(None)) => {}
            Some(None) => {
                let names = selectors.keys().copied();
                findings.push(unknown_selector(&draft.manifest, NAMESPACE_SELECTOR, "NamespaceSelector", names));
            }
        }
    }
    (placed, findings)
}

/// Namespace repositories: even what nobody knows to be namespaced is in the namespace.
pub(crate) fn own(mut drafts: Vec<Draft>, settings: &Settings) -> Vec<Draft> {
    if let RepoScope::Namespace(namespace) = &settings.scope {
        let namespace: Arc<str> = Arc::from(namespace.as_str());
        drafts.iter_mut().filter(|it| it.namespace().is_empty()).for_each(|it| it.placed = Some(namespace.clone()));
    }
    drafts
}

/// The Namespaces that can be selected, with their labels. One that is declared twice is here twice.
struct Candidates {
    declared: Vec<(Arc<str>, Labels)>,
    live: Vec<(Arc<str>, Labels)>,
}

impl Candidates {
    fn of(drafts: &[Draft], settings: &Settings) -> Self {
        let declared = drafts.iter().filter(|draft| draft.manifest.is(Known::Namespace));
        let live = match &settings.dynamic {
            DynamicSelectors::Live(live) => live.as_slice(),
            DynamicSelectors::AsStatic | DynamicSelectors::Refused(_) => &[],
        };
        Self {
            declared: declared.map(|it| (Arc::from(it.object().name()), labels(it, settings.format))).collect(),
            live: live.iter().map(|(name, labels)| (Arc::from(name.as_str()), labels.clone())).collect(),
        }
    }

    fn selected(&self, selector: &Selector) -> impl Iterator<Item = Arc<str>> {
        let matching = |candidates: &[(Arc<str>, Labels)]| -> Vec<Arc<str>> {
            let matching = candidates.iter().filter(|(_, labels)| selector.labels.matches(labels));
            matching.map(|(name, _)| name.clone()).collect()
        };
        let live = if selector.dynamic { matching(&self.live) } else { Vec::new() };
        let mut declared = matching(&self.declared);
        declared.retain(|name| !live.contains(name));
        live.into_iter().chain(declared)
    }
}

/// The labels of a declared Namespace that selectors see: its own and those that the system adds.
fn labels(namespace: &Draft, format: SourceFormat) -> Labels {
    let object = namespace.object();
    let own = object.labels().map(|(key, value)| (key.to_owned(), value.to_owned()));
    let version = (label::DECLARED_VERSION.to_owned(), object.version().to_owned());
    let hierarchical = format == SourceFormat::Hierarchy;
    let depths = hierarchical.then(|| depth_labels(ROOT, namespace.manifest.path()));
    own.chain([version]).chain(depths.into_iter().flatten()).collect()
}

/// Names of Namespaces that are used and not declared.
pub(crate) fn undeclared(drafts: &[Draft]) -> BTreeSet<&str> {
    let declared = drafts.iter().filter(|it| it.manifest.is_any(Known::Namespace)).map(|it| it.object().name());
    let mut undeclared: BTreeSet<&str> = drafts.iter().map(Draft::namespace).collect();
    for name in declared.chain(["", CONTROLLER_NAMESPACE]) {
        undeclared.remove(name);
    }
    undeclared
}
