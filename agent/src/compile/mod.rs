//! Files to declared set: the gates, in order. Each gate reports everything it finds; nothing passes one that found something
//! blocking.

pub mod options;
pub mod declared;
pub mod parse;
pub mod scope;
mod tree;
mod validate;
mod hydrate;
mod system_metadata;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

pub use options::{DynamicSelectors, NamespaceStrategy, RepoScope, Settings, SourceFormat};

use crate::model::finding::{Apart, Finding, Warning, merged};
use crate::model::metadata::annotation;
use crate::model::object::{ObjectId, walk};
use declared::{DeclaredObject, DeclaredSet, Provenance};
use hydrate::{inherit, namespaces};
use parse::{Manifest, ParsedFile};
use scope::{Draft, Scope};
use system_metadata::{Stamp, SyncStamp};

/// What comes of compiling a repository for one cluster.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// What to apply. `None` when a finding blocks.
    pub declared: Option<DeclaredSet>,
    /// What is wrong, in a stable order, without repeats.
    pub findings: Vec<Finding>,
}

/// Name under which a repository is checked for no cluster in particular.
pub const DEFAULT_CLUSTER: &str = "defaultcluster";

/// Compiles a repository for one cluster. The order of files does not matter.
pub fn compile(files: &[Arc<ParsedFile>], settings: &Settings) -> Compiled {
    compile_again(files, settings, &DeclaredSet::default())
}

/// What is wrong with a repository for one cluster: the findings of [`compile`], without what it takes to apply the objects.
pub fn check(files: &[Arc<ParsedFile>], settings: &Settings) -> Vec<Finding> {
    let mut gates = Gates::default();
    admit(files, settings, &mut gates);
    gates.in_order()
}

/// The same as [`compile`], after an earlier compilation with the same settings (but for `kinds` and `previous_crds`): objects
/// whose manifests did not change are taken from what came of it.
pub fn compile_again(files: &[Arc<ParsedFile>], settings: &Settings, before: &DeclaredSet) -> Compiled {
    let mut gates = Gates::default();
    let admitted = admit(files, settings, &mut gates);
    Compiled { declared: admitted.map(|drafts| stamp(&drafts, settings, before)), findings: gates.in_order() }
}

/// The objects that are declared for the cluster, if they pass all gates.
fn admit(files: &[Arc<ParsedFile>], settings: &Settings, gates: &mut Gates) -> Option<Vec<Draft>> {
    let drafts = admitted(&in_order(files, settings.format), settings, gates);
    files.iter().for_each(|file| file.forget_places());
    drafts
}

fn admitted(files: &[&Arc<ParsedFile>], settings: &Settings, gates: &mut Gates) -> Option<Vec<Draft>> {
    let unreadable = gates.pass(files.iter().flat_map(|file| file.findings.iter().cloned()).collect());
    // The command line tool goes on: without clusters that are malformed, and with no objects at all if one is not readable.
    let malformed = if settings.sync.is_some() { Vec::new() } else { malformed_clusters(files, settings.format) };
    let malformed = gates.pass_nameless(malformed);
    if settings.sync.is_some() {
        unreadable?;
    }
    let manifests = if unreadable.is_some() {
        files.iter().flat_map(|file| file.manifests.iter().cloned()).collect()
    } else {
        Vec::new()
    };
    let drafts = declared(manifests, settings, gates);
    unreadable.and(malformed)?;
    drafts
}

/// The objects that a readable repository declares.
fn declared(manifests: Vec<Arc<Manifest>>, settings: &Settings, gates: &mut Gates) -> Option<Vec<Draft>> {
    gates.pass_nameless(validate::raw(&manifests, settings))?;

    let mut drafts: Vec<Draft> = manifests.into_iter().map(Draft::new).collect();
    if settings.format == SourceFormat::Hierarchy {
        inherit::fill_namespaces(&mut drafts);
    }
    let (mut drafts, findings) = hydrate::clusters::select(drafts, settings);
    gates.pass_nameless(findings)?;

    let kinds = settings.kinds.as_ref().map_err(|finding| gates.findings.push(finding.clone())).ok()?;
    gates.pass(scope::assign(&mut drafts, kinds, settings.report_unknown_kinds))?;
    gates.pass(validate::scoped(&drafts, settings))?;

    let drafts = match settings.format {
        SourceFormat::Hierarchy => walk_tree(drafts, settings, gates)?,
        SourceFormat::Unstructured => gates.through(namespaces::place(drafts, settings))?,
    };
    gates.pass(validate::finished(&drafts, settings))?;
    gates.pass(validate::own_namespace(&drafts, settings))?;
    Some(namespaces::own(drafts, settings))
}

fn walk_tree(drafts: Vec<Draft>, settings: &Settings, gates: &mut Gates) -> Option<Vec<Draft>> {
    let tree = gates.through(tree::build(drafts))?;
    gates.pass(validate::tree(&tree))?;
    let (mut inhabited, mut findings) = inherit::copy_down(&tree);
    findings.extend(namespaces::filter(&mut inhabited, &tree.selectors, settings));
    gates.pass(findings)?;
    let mut drafts = tree.cluster;
    for place in inhabited {
        drafts.push(place.namespace);
        drafts.extend(place.objects);
    }
    Some(drafts)
}

fn stamp(drafts: &[Draft], settings: &Settings, before: &DeclaredSet) -> DeclaredSet {
    let stamp = Arc::new(Stamp {
        cluster_name: settings.cluster_name.clone(),
        source_dir: settings.source_dir.clone(),
        tree: (settings.format == SourceFormat::Hierarchy).then_some(tree::ROOT),
        sync: settings.sync.as_ref().map(SyncStamp::of),
    });
    let mut sorted: Vec<(ObjectId, &Draft)> = drafts.iter().map(|draft| (draft.id(), draft)).collect();
    sorted.sort_by(|one, other| one.0.cmp(&other.0));
    let (mut applied, mut withheld) = (walk(&before.objects), walk(&before.withheld));
    let (mut objects, mut others, mut disabled) = (Vec::with_capacity(sorted.len()), Vec::new(), BTreeSet::new());
    for (id, draft) in sorted {
        let unknown_scope = draft.scope == Scope::Unknown;
        let mut earlier = [applied(&id), withheld(&id)].into_iter().flatten();
        let same = earlier.find(|it| it.is_made_of(&draft.manifest.object, unknown_scope));
        let declared = same.cloned().unwrap_or_else(|| {
            let provenance = Provenance { stamp: stamp.clone(), source: Some(draft.manifest.start()), unknown_scope };
            Arc::new(DeclaredObject::stamped(id, draft.manifest.object.clone(), provenance))
        });
        let entry = (declared.id.clone(), declared);
        if draft.object().annotation(annotation::MANAGED) == Some("disabled") {
            disabled.insert(entry.0.clone());
            others.push(entry);
        } else if unknown_scope {
            others.push(entry);
        } else {
            objects.push(entry);
        }
    }
    let makes_namespaces = settings.scope == RepoScope::Root
        && settings.format == SourceFormat::Unstructured
        && settings.namespaces == NamespaceStrategy::Implicit;
    if makes_namespaces {
        let implicit = namespaces::undeclared(drafts).into_iter();
        let implicit = implicit.map(|name| Arc::new(DeclaredObject::implicit(name, Arc::clone(&stamp))));
        objects.extend(implicit.map(|it| (it.id.clone(), it)));
    }
    DeclaredSet { objects: objects.into_iter().collect(), disabled, withheld: others.into_iter().collect() }
}

/// Names of the clusters to check a repository for: [`DEFAULT_CLUSTER`], then those that it names, sorted. One of them can be
/// that name again.
///
/// What cannot be read names no clusters: in a hierarchical repository Cluster objects count unless `clusterregistry/` has a
/// finding; in an unstructured one, and for annotations, any finding hides all names.
pub fn clusters(files: &[Arc<ParsedFile>], format: SourceFormat) -> Vec<String> {
    let files = in_order(files, format);
    let mut names = hydrate::clusters::declared(registry(&files, format));
    if files.iter().all(|file| file.findings.is_empty()) {
        let objects = files.iter().flat_map(|file| &file.manifests).map(|manifest| &manifest.object);
        let selectors = objects.filter_map(|object| object.annotation(annotation::CLUSTER_NAME_SELECTOR));
        names.extend(selectors.flat_map(hydrate::clusters::names).map(str::to_owned));
    }
    std::iter::once(DEFAULT_CLUSTER.to_owned()).chain(names).collect()
}

/// What is odd in the files that count, in the order of files.
pub fn warnings(files: &[Arc<ParsedFile>], format: SourceFormat) -> Vec<Warning> {
    in_order(files, format).into_iter().flat_map(|file| file.warnings.iter().cloned()).collect()
}

/// The manifests that may be Clusters: none if one of their files is not readable.
fn registry<'a>(files: &[&'a Arc<ParsedFile>], format: SourceFormat) -> impl Iterator<Item = &'a Arc<Manifest>> {
    let counts = |path: &str| format == SourceFormat::Unstructured || path.starts_with("clusterregistry/");
    let files: Vec<_> = files.iter().copied().filter(|file| counts(&file.path)).collect();
    let readable = files.iter().all(|file| file.findings.is_empty());
    files.into_iter().filter(move |_| readable).flat_map(|file| &file.manifests)
}

/// The findings of Clusters that are none.
fn malformed_clusters(files: &[&Arc<ParsedFile>], format: SourceFormat) -> Vec<Finding> {
    registry(files, format).filter_map(|manifest| hydrate::clusters::malformed_cluster(manifest)).collect()
}

/// The files that count, directory by directory.
fn in_order(files: &[Arc<ParsedFile>], format: SourceFormat) -> Vec<&Arc<ParsedFile>> {
    let counts = |path: &str| match format {
        SourceFormat::Unstructured => true,
        SourceFormat::Hierarchy => path.split_once('/').is_some_and(|(top, _)| TOP_DIRECTORIES.contains(&top)),
    };
    let mut files: Vec<&Arc<ParsedFile>> = files.iter().filter(|file| counts(&file.path)).collect();
    files.sort_by(|one, other| walk_order(&one.path, &other.path));
    files
}

/// As a walk meets them: like `one.split('/').cmp(other.split('/'))`, only faster.
fn walk_order(one: &str, other: &str) -> Ordering {
    let rank = |byte: Option<&u8>| byte.map(|byte| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 });
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    rank(one.get(same)).cmp(&rank(other.get(same)))
}

/// Directories of a hierarchical repository. Everything else in it is ignored.
const TOP_DIRECTORIES: [&str; 4] = ["system", "cluster", "clusterregistry", "namespaces"];

/// What the gates found so far.
#[derive(Default)]
struct Gates {
    findings: Vec<Finding>,
}

impl Gates {
    /// Adds what a gate found that does not tell objects of one name apart by their files. `None` if some of it blocks.
    fn pass_nameless(&mut self, findings: Vec<Finding>) -> Option<()> {
        self.add(merged(findings, Apart::Nothing))
    }

    /// Adds what a gate found. `None` if some of it blocks.
    fn pass(&mut self, findings: Vec<Finding>) -> Option<()> {
        self.add(merged(findings, Apart::Files))
    }

    fn add(&mut self, findings: Vec<Finding>) -> Option<()> {
        let blocked = findings.iter().any(|finding| finding.code.blocks());
        self.findings.extend(findings);
        (!blocked).then_some(())
    }

    /// The result of a step that can also find something.
    fn through<T>(&mut self, (result, findings): (T, Vec<Finding>)) -> Option<T> {
        self.pass(findings).map(|()| result)
    }

    /// Everything that was found, in a stable order, without repeats.
    fn in_order(self) -> Vec<Finding> {
        let mut findings = self.findings;
        findings.sort_by(|one, other| (one.code, &one.places, one).cmp(&(other.code, &other.places, other)));
        findings.dedup();
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parse::{SourceFile, parse};

    #[test]
    fn deeply_nested_objects_are_compiled() {
        let nested = format!("{}1{}", "{a: ".repeat(400), "}".repeat(400));
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {nested}\nextra: ~\n");
        let file = parse(&SourceFile { path: "a.yaml".to_owned(), content: Arc::from(text.as_bytes()) });
        let compiled = compile(&[Arc::new(file)], &Settings::offline(SourceFormat::Unstructured));
        let declared = compiled.declared.expect("nothing blocks");
        let object = declared.objects.values().next().expect("one object");
        assert_ne!(object.written(), object.body());
    }

    #[test]
    fn nothing_is_kept_of_where_fields_are() {
        let item = |name| format!("- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}\n");
        let text = format!("apiVersion: v1\nkind: List\nitems:\n{}{}", item("a"), item("B"));
        let file = Arc::new(parse(&SourceFile { path: "a.yaml".to_owned(), content: Arc::from(text.as_bytes()) }));
        file.manifests[0].at_name();
        assert!(file.manifests[1].keeps_places());
        let found = check(std::slice::from_ref(&file), &Settings::offline(SourceFormat::Unstructured));
        assert_eq!((found.len(), file.manifests[1].keeps_places()), (1, false));
    }

    #[test]
    fn files_are_ordered_as_a_walk_meets_them() {
        let mut paths = ["a/b", "a-b", "a", "a/b/c", "ab", "a.b/c", "é", "b"];
        let mut expected = paths;
        expected.sort_by(|one, other| one.split('/').cmp(other.split('/')));
        paths.sort_by(|one, other| walk_order(one, other));
        assert_eq!(paths, expected);
    }
}
