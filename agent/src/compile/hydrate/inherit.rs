//! Inheritance in hierarchical repositories: objects in abstract directories are copied to all Namespaces below.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::compile::parse::BuiltinKind;
use crate::compile::scope::ScopedManifest;
use crate::compile::tree::{self, ROOT, RepoTree, ancestors, base};
use crate::compile::validate::{HierarchyModes, MAX_COPIES, modes, too_many_copies};
use crate::model::finding::{Code, Finding};

/// Puts objects without a namespace into the Namespace of their directory, if that Namespace is declared in a directory of its
/// name. Cluster selection needs this before the tree is built.
pub(crate) fn fill_namespaces(manifests: &mut [ScopedManifest]) {
    let declared: BTreeSet<String> = manifests
        .iter()
        .map(|scoped| &scoped.manifest)
        .filter(|it| {
            it.is_any(BuiltinKind::Namespace) && it.top_directory() == ROOT && it.directory_name() == it.object.name()
        })
        .map(|it| it.object.name().to_owned())
        .collect();
    for scoped in manifests {
        let manifest = &scoped.manifest;
        let exempt = manifest.is_any(BuiltinKind::Namespace) || manifest.is_any(BuiltinKind::NamespaceSelector);
        let directory = manifest.directory_name();
        if !exempt && manifest.top_directory() == ROOT && scoped.namespace().is_empty() && declared.contains(directory)
        {
            scoped.placed = Some(Arc::from(directory));
        }
    }
}

/// A Namespace and all objects in it.
pub(crate) struct NamespaceContents {
    pub(crate) namespace: ScopedManifest,
    pub(crate) objects: Vec<ScopedManifest>,
}

/// Copies objects into the Namespaces below them. Findings: directories below a Namespace (KNV1003), objects in an abstract
/// directory whose kind is not inherited (KNV1007), too many copies (KNV1070).
pub(crate) fn copy_down(tree: &RepoTree) -> (Vec<NamespaceContents>, Vec<Finding>) {
    let modes = modes(tree);
    let mut findings = Vec::new();
    let mut namespaces = Vec::new();
    let mut copies = 0;
    for (directory, node) in &tree.nodes {
        let is_outermost = |parent: &&str| tree.is_namespace(parent) && !tree.is_below_namespace(parent);
        if let Some(parent) = tree::parent(directory).filter(is_outermost) {
            findings.push(below_namespace(tree, directory, parent));
        }
        if tree.is_below_namespace(directory) {
            continue;
        }
        match node.namespaces.first() {
            Some(namespace) => {
                let above: Vec<&[ScopedManifest]> =
                    ancestors(directory).filter_map(|above| Some(&*tree.nodes.get(above)?.objects)).collect();
                copies += above.iter().map(|objects| objects.len()).sum::<usize>();
                if copies > MAX_COPIES {
                    return (Vec::new(), vec![too_many_copies()]);
                }
                let inherited = above.into_iter().flatten();
                let place: Arc<str> = Arc::from(base(directory));
                let objects = node.objects.iter().chain(inherited);
                let objects =
                    objects.map(|scoped| ScopedManifest { placed: Some(place.clone()), ..scoped.clone() }).collect();
                namespaces.push(NamespaceContents { namespace: namespace.clone(), objects });
            }
            None => findings.extend(node.objects.iter().filter_map(|scoped| not_inherited(scoped, &modes))),
        }
    }
    (namespaces, findings)
}

fn below_namespace(tree: &RepoTree, directory: &str, parent: &str) -> Finding {
    let message = format!(
        "The directory `{}` with objects is below the directory of the Namespace `{}`.",
        base(directory),
        base(parent)
    );
    let mut finding = Finding::new(Code::IllegalNamespaceSubdirectory, message)
        .hint("A directory with a Namespace must not have directories with objects below it. Move these objects.")
        .at_path(format!("{directory}/"))
        .at_path(format!("{parent}/"));
    let inside = format!("{directory}/");
    let below = tree.nodes.range(inside.clone()..).take_while(|(path, _)| path.starts_with(&inside));
    let nodes = tree.nodes.get(directory).into_iter().chain(below.map(|(_, node)| node));
    let first = nodes.flat_map(|node| node.objects.iter().chain(&node.namespaces)).next();
    let namespace = tree.nodes.get(parent).and_then(|node| node.namespaces.first());
    for scoped in first.into_iter().chain(namespace) {
        finding = finding.at(scoped.manifest.at_name());
    }
    finding
}

fn not_inherited(scoped: &ScopedManifest, modes: &HierarchyModes<'_>) -> Option<Finding> {
    let object = scoped.object();
    let kind = object.group_kind();
    let mode = modes.get(&kind).filter(|mode| mode.text == "none")?;
    let message = format!(
        "{kind} `{}` is in a directory without a Namespace, but its kind has `hierarchyMode: none`.",
        object.name()
    );
    let finding = Finding::new(Code::IllegalAbstractNamespaceObjectKind, message);
    let hint = "Move the object to the directory of a Namespace, or set the mode to `inherit` in the HierarchyConfig.";
    Some(finding.hint(hint).at(scoped.manifest.at_name()).at(mode.place()))
}
