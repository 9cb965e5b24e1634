//! Compilation: from the files of a repository to the declared set of one cluster, or to findings.
//!
//! Compilation passes through gates, in the order of `check_files`, `check_objects` and `check_tree` below. A gate runs all its
//! rules, so that the user sees all findings of one gate together; a gate with a blocking finding stops the compilation. The
//! gates and their order are those of Config Sync: they decide which findings a user sees at the same time.

pub mod kind_scopes;
pub mod options;
pub mod parse;
mod scope;
mod tree;
mod system_metadata;
mod stored_form;
pub mod declared;
mod field_path;
pub mod substitutions;
mod validate;
mod hydrate;
pub mod applied_fields;
mod advice;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

pub use options::{
    ClosedFiles, CompileOptions, DynamicSelectors, NamespaceLabels, NamespaceStrategy, RepoScope, SourceFormat,
    SourceLayout,
};
#[cfg(feature = "cluster")]
pub(crate) use validate::not_base64;

use crate::model::finding::{Finding, MergeBy, Warning, merged};
use crate::model::metadata::annotation;
use crate::model::object::{ObjectId, walk};
use declared::{DeclaredObject, DeclaredSet, Provenance};
use hydrate::{inherit, namespaces};
use kind_scopes::Scope;
use parse::{Manifest, ParsedFile};
use scope::ScopedManifest;
use system_metadata::{SyncMetadata, SystemMetadata};

/// The result of compiling a repository for one cluster.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// The objects to apply. `None` when a finding blocks.
    pub declared: Option<DeclaredSet>,
    /// The mistakes in the repository, in a stable order, without repeats.
    pub findings: Vec<Finding>,
}

/// The cluster name for a check of a repository that is for no cluster in particular.
pub const DEFAULT_CLUSTER: &str = "defaultcluster";

/// Compiles a repository for one cluster. The order of `files` does not matter.
pub fn compile(files: &[Arc<ParsedFile>], options: &CompileOptions) -> Compiled {
    compile_again(files, options, &DeclaredSet::default())
}

/// The findings of [`compile`], without the declared set: cheaper where the objects are not needed.
pub fn check(files: &[Arc<ParsedFile>], options: &CompileOptions) -> Vec<Finding> {
    let mut found = FindingsSoFar::default();
    run_gates(files, options, &mut found);
    found.sorted()
}

/// Compiles like [`compile`] and takes the objects whose manifests did not change from `before`, an earlier result. The earlier
/// compilation had the same options, but for `kinds`, `previous_crds` and `dynamic`.
pub fn compile_again(files: &[Arc<ParsedFile>], options: &CompileOptions, before: &DeclaredSet) -> Compiled {
    let mut found = FindingsSoFar::default();
    let manifests = run_gates(files, options, &mut found);
    let declared = manifests.map(|manifests| declared_set(&manifests, &closed_paths(files), options, before));
    Compiled { declared, findings: found.sorted() }
}

/// The manifests that are for the cluster, if they pass all gates.
fn run_gates(
    files: &[Arc<ParsedFile>],
    options: &CompileOptions,
    found: &mut FindingsSoFar,
) -> Option<Vec<ScopedManifest>> {
    check_rendering(files, found)?;
    let manifests = check_files(&in_order(files, options.format), options, found);
    files.iter().for_each(|file| file.forget_spans());
    manifests
}

/// The gate before all others: nothing has to be rendered first. It counts kustomizations in all directories, in either format:
/// what lies beside them is no manifest yet.
fn check_rendering(files: &[Arc<ParsedFile>], found: &mut FindingsSoFar) -> Option<()> {
    let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    paths.retain(|path| parse::reads(path) && parse::is_kustomization(path));
    paths.sort_unstable_by(|one, other| walk_order(one, other));
    found.pass(if paths.is_empty() { Vec::new() } else { vec![parse::not_rendered(&paths)] })
}

/// The first gate: the files can be read. Then the gates for the objects in them.
fn check_files(
    files: &[&Arc<ParsedFile>],
    options: &CompileOptions,
    found: &mut FindingsSoFar,
) -> Option<Vec<ScopedManifest>> {
    let unreadable = found.pass(files.iter().flat_map(|file| file.findings.iter().cloned()).collect());
    // The command line tool reports more at once: it goes on without malformed Clusters, and after an unreadable file it goes
    // on with no objects at all.
    let malformed = if options.sync.is_some() { Vec::new() } else { malformed_clusters(files, options.format) };
    let malformed = found.pass_by_object(malformed);
    if options.sync.is_some() {
        unreadable?;
    }
    let manifests = if unreadable.is_some() {
        files.iter().flat_map(|file| file.manifests.iter().cloned()).collect()
    } else {
        Vec::new()
    };
    let manifests = check_objects(manifests, options, found);
    unreadable.and(malformed)?;
    let manifests = manifests?;
    if options.closed == ClosedFiles::Refused {
        found.pass(closed(files, &manifests, options))?;
    }
    Some(manifests)
}

/// The finding about each sealed file that is not to be opened and has one of these manifests. A file that is for other clusters needs no
/// key here.
fn closed(files: &[&Arc<ParsedFile>], manifests: &[ScopedManifest], options: &CompileOptions) -> Vec<Finding> {
    const LEFT: &str = "Until then the objects of the file stay as they are on the cluster.";
    let closed: Vec<_> = files.iter().filter_map(|file| Some((file.path.as_str(), file.closed.clone()?))).collect();
    if closed.is_empty() {
        return Vec::new();
    }
    let declared: BTreeSet<&str> = manifests.iter().map(|scoped| scoped.manifest.path()).collect();
    let of_sync = |mut finding: Finding| {
        finding.hint = finding.hint.map(|hint| format!("{hint} {LEFT}"));
        finding
    };
    let here = closed.into_iter().filter(|(path, _)| declared.contains(path)).map(|(_, finding)| finding);
    if options.sync.is_some() { here.map(of_sync).collect() } else { here.collect() }
}

/// The sealed files that are not to be opened.
fn closed_paths(files: &[Arc<ParsedFile>]) -> BTreeSet<&str> {
    files.iter().filter(|file| file.closed.is_some()).map(|file| file.path.as_str()).collect()
}

/// The gates for objects: raw rules, cluster selection, scope, scoped rules, tree and namespace selection, rules for the
/// declared set.
fn check_objects(
    manifests: Vec<Arc<Manifest>>,
    options: &CompileOptions,
    found: &mut FindingsSoFar,
) -> Option<Vec<ScopedManifest>> {
    found.pass_by_object(validate::raw(&manifests, options))?;

    let mut manifests: Vec<ScopedManifest> = manifests.into_iter().map(ScopedManifest::new).collect();
    if options.format == SourceFormat::Hierarchy {
        inherit::fill_namespaces(&mut manifests);
    }
    let (mut manifests, findings) = hydrate::clusters::select(manifests, options);
    found.pass_by_object(findings)?;

    let kinds = options.kinds.as_ref().map_err(|finding| found.findings.push(finding.clone())).ok()?;
    found.pass(scope::assign(&mut manifests, kinds, options.report_unknown_kinds))?;
    found.pass(validate::scoped(&manifests, options))?;

    let manifests = match options.format {
        SourceFormat::Hierarchy => check_tree(manifests, options, found)?,
        SourceFormat::Unstructured => found.pass_result(namespaces::place(manifests, options))?,
    };
    found.pass(validate::declared_set(&manifests, options))?;
    found.pass(validate::own_namespace(&manifests, options))?;
    Some(namespaces::own(manifests, options))
}

/// The gates of a hierarchical repository: its directories, then inheritance and namespace selection.
fn check_tree(
    manifests: Vec<ScopedManifest>,
    options: &CompileOptions,
    found: &mut FindingsSoFar,
) -> Option<Vec<ScopedManifest>> {
    let tree = found.pass_result(tree::build(manifests))?;
    found.pass(validate::tree(&tree))?;
    let (mut namespaces, mut findings) = inherit::copy_down(&tree);
    findings.extend(namespaces::filter(&mut namespaces, &tree.selectors, options));
    found.pass(findings)?;
    let mut manifests = tree.cluster;
    for contents in namespaces {
        manifests.push(contents.namespace);
        manifests.extend(contents.objects);
    }
    Some(manifests)
}

/// The declared set of manifests that passed all gates. Objects that are made from the same manifest as one in `before` are
/// shared with it. Those of the files `closed` are not applied.
fn declared_set(
    manifests: &[ScopedManifest],
    closed: &BTreeSet<&str>,
    options: &CompileOptions,
    before: &DeclaredSet,
) -> DeclaredSet {
    let system = Arc::new(SystemMetadata {
        cluster_name: options.cluster_name.clone(),
        source_dir: options.source_dir.clone(),
        hierarchical: options.format == SourceFormat::Hierarchy,
        sync: options.sync.as_ref().map(SyncMetadata::of),
    });
    let mut sorted: Vec<(ObjectId, &ScopedManifest)> = manifests.iter().map(|scoped| (scoped.id(), scoped)).collect();
    sorted.sort_by(|one, other| one.0.cmp(&other.0));
    let (mut applied, mut withheld) = (walk(&before.objects), walk(&before.withheld));
    let (mut objects, mut others, mut disabled) = (Vec::with_capacity(sorted.len()), Vec::new(), BTreeSet::new());
    let mut partial = false;
    for (id, scoped) in sorted {
        let unknown_scope = scoped.scope == Scope::Unknown;
        let mut earlier = [applied(&id), withheld(&id)].into_iter().flatten();
        let same = earlier.find(|it| it.is_made_from(&scoped.manifest.object, unknown_scope));
        let declared = same.cloned().unwrap_or_else(|| {
            let provenance =
                Provenance { system: system.clone(), source: Some(scoped.manifest.source()), unknown_scope };
            Arc::new(DeclaredObject::with_system_metadata(id, scoped.manifest.object.clone(), provenance))
        });
        let entry = (declared.id.clone(), declared);
        if scoped.object().annotation(annotation::MANAGED) == Some("disabled") {
            disabled.insert(entry.0.clone());
            others.push(entry);
        } else if unknown_scope {
            others.push(entry);
        } else if closed.contains(scoped.manifest.path()) {
            partial = true;
            others.push(entry);
        } else {
            objects.push(entry);
        }
    }
    if makes_namespaces(options) {
        let implicit = namespaces::undeclared(manifests).into_iter();
        let implicit = implicit.map(|name| Arc::new(DeclaredObject::implicit(name, Arc::clone(&system))));
        objects.extend(implicit.map(|it| (it.id.clone(), it)));
    }
    let (objects, withheld) = (objects.into_iter().collect(), others.into_iter().collect());
    let dynamic = options.dynamic != DynamicSelectors::AsStatic;
    DeclaredSet { objects, disabled, withheld, dynamic, partial, ..DeclaredSet::default() }
}

/// `true` if Namespaces that are used and not declared are made.
fn makes_namespaces(options: &CompileOptions) -> bool {
    options.scope == RepoScope::Root
        && options.format == SourceFormat::Unstructured
        && options.namespaces == NamespaceStrategy::Implicit
}

/// The names of the clusters to check a repository for: [`DEFAULT_CLUSTER`], then the names in the repository, sorted. The
/// repository may name that cluster too, so that it is there twice.
///
/// Names come from Cluster objects and from cluster-name-selector annotations. A file that cannot be read hides names: in a
/// hierarchical repository, a finding in `clusterregistry/` hides the Cluster objects; in an unstructured one any finding hides
/// them. Any finding hides the annotations.
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

/// The warnings about the files that are read in this format, in the order of files, and those about manifests together.
pub fn warnings(files: &[Arc<ParsedFile>], format: SourceFormat) -> Vec<Warning> {
    let files = in_order(files, format);
    let of_files = files.iter().flat_map(|file| file.warnings.iter().cloned());
    of_files.chain(advice::warnings(&files)).collect()
}

/// The number of manifests with a value that SOPS sealed, in the files that are read in this format.
pub fn sealed(files: &[Arc<ParsedFile>], format: SourceFormat) -> usize {
    let manifests = in_order(files, format).into_iter().flat_map(|file| &file.manifests);
    manifests.filter(|manifest| manifest.object.is_sealed()).count()
}

/// Those of the live Namespaces that a NamespaceSelector with `mode: dynamic` in these files selects. `None` if there is no such
/// selector: then the live Namespaces change nothing.
pub fn dynamically_selected<'a>(
    files: impl Iterator<Item = &'a Arc<ParsedFile>>,
    format: SourceFormat,
    live: &NamespaceLabels,
) -> Option<NamespaceLabels> {
    let manifests = files.flat_map(|file| &file.manifests);
    match format {
        SourceFormat::Hierarchy => None,
        SourceFormat::Unstructured => namespaces::dynamically_selected(manifests, live),
    }
}

/// The manifests that may be Clusters: none of them if one of their files cannot be read.
fn registry<'a>(files: &[&'a Arc<ParsedFile>], format: SourceFormat) -> impl Iterator<Item = &'a Arc<Manifest>> {
    let counts = |path: &str| format == SourceFormat::Unstructured || path.starts_with("clusterregistry/");
    let files: Vec<_> = files.iter().copied().filter(|file| counts(&file.path)).collect();
    let readable = files.iter().all(|file| file.findings.is_empty());
    files.into_iter().filter(move |_| readable).flat_map(|file| &file.manifests)
}

/// A finding (KNV1006) for each malformed Cluster.
fn malformed_clusters(files: &[&Arc<ParsedFile>], format: SourceFormat) -> Vec<Finding> {
    registry(files, format).filter_map(|manifest| hydrate::clusters::malformed_cluster(manifest)).collect()
}

/// The files that are read in this format, directory by directory.
fn in_order(files: &[Arc<ParsedFile>], format: SourceFormat) -> Vec<&Arc<ParsedFile>> {
    let counts = |path: &str| match format {
        SourceFormat::Unstructured => true,
        SourceFormat::Hierarchy => path.split_once('/').is_some_and(|(top, _)| TOP_DIRECTORIES.contains(&top)),
    };
    let mut files: Vec<&Arc<ParsedFile>> = files.iter().filter(|file| counts(&file.path)).collect();
    files.sort_by(|one, other| walk_order(&one.path, &other.path));
    files
}

/// The order in which a walk through the directories meets two paths: that of `one.split('/').cmp(other.split('/'))`, faster.
fn walk_order(one: &str, other: &str) -> Ordering {
    let rank = |byte: Option<&u8>| byte.map(|byte| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 });
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    rank(one.get(same)).cmp(&rank(other.get(same)))
}

/// The directories of a hierarchical repository. Other directories are ignored.
const TOP_DIRECTORIES: [&str; 4] = ["system", "cluster", "clusterregistry", "namespaces"];

/// The findings of the gates that ran so far.
#[derive(Default)]
struct FindingsSoFar {
    findings: Vec<Finding>,
}

impl FindingsSoFar {
    /// Adds the findings of a gate. Equal findings about objects of one name become one, also from several files. `None` if one
    /// of them blocks.
    fn pass_by_object(&mut self, findings: Vec<Finding>) -> Option<()> {
        self.add(merged(findings, MergeBy::Object))
    }

    /// Adds the findings of a gate. Equal findings about objects of one name and one file become one. `None` if one of them
    /// blocks.
    fn pass(&mut self, findings: Vec<Finding>) -> Option<()> {
        self.add(merged(findings, MergeBy::ObjectAndFile))
    }

    fn add(&mut self, findings: Vec<Finding>) -> Option<()> {
        let blocked = findings.iter().any(|finding| finding.code.blocks());
        self.findings.extend(findings);
        (!blocked).then_some(())
    }

    /// The result of a gate, after its findings are added. `None` if one of them blocks.
    fn pass_result<T>(&mut self, (result, findings): (T, Vec<Finding>)) -> Option<T> {
        self.pass(findings).map(|()| result)
    }

    /// All findings, in a stable order, without repeats.
    fn sorted(self) -> Vec<Finding> {
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
        let compiled = compile(&[Arc::new(file)], &CompileOptions::offline(SourceFormat::Unstructured));
        let declared = compiled.declared.expect("nothing blocks");
        let object = declared.objects.values().next().expect("one object");
        assert_ne!(object.written(), object.body());
    }

    #[test]
    fn a_compilation_forgets_the_spans_of_fields() {
        let item = |name| format!("- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}\n");
        let text = format!("apiVersion: v1\nkind: List\nitems:\n{}{}", item("a"), item("B"));
        let file = Arc::new(parse(&SourceFile { path: "a.yaml".to_owned(), content: Arc::from(text.as_bytes()) }));
        file.manifests[0].at_name();
        assert!(file.manifests[1].keeps_spans());
        let found = check(std::slice::from_ref(&file), &CompileOptions::offline(SourceFormat::Unstructured));
        assert_eq!((found.len(), file.manifests[1].keeps_spans()), (1, false));
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
