//! Repositories and the findings and objects that must come of them. Each directory below `tests/cases` is a test of its own
//! name. It holds a repository `repo/`, perhaps settings `case.yaml`, and two expectations: `expected.txt` (findings for each
//! cluster, with their places) and `hydrated.yaml` (the objects, where no finding blocks). `BLESS=1` writes both anew.
#![expect(clippy::disallowed_methods, reason = "the cases are files")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use agent::compile::declared::{DeclaredObject, hydrated};
use agent::compile::kind_scopes::KindScopes;
use agent::compile::parse::{ParsedFile, SourceFile, parse};
use agent::compile::{
    CompileOptions, Compiled, DynamicSelectors, NamespaceLabels, NamespaceStrategy, RepoScope, SourceFormat, clusters,
    compile,
};
use agent::model::finding::{Code, Finding, Place};
use agent::model::metadata::{SyncId, SyncKind};
use agent::model::object::GroupKind;
use libtest_mimic::{Arguments, Failed, Trial};

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Case {
    unstructured: bool,
    /// Compile for a namespace repository of this namespace.
    namespace: Option<String>,
    /// Compile as the agent does, for the sync of this name; shows objects as they are applied.
    sync: Option<String>,
    implicit: bool,
    report_unknown_kinds: bool,
    max_objects: Option<usize>,
    previous_crds: Vec<GroupKind>,
    /// The labels of the Namespaces of the cluster, for dynamic selectors.
    live_namespaces: Option<NamespaceLabels>,
}

impl Case {
    fn settings(&self, repo: &Path, cluster: &str) -> CompileOptions {
        let format = if self.unstructured { SourceFormat::Unstructured } else { SourceFormat::Hierarchy };
        let scope = self.namespace.clone().map_or(RepoScope::Root, RepoScope::Namespace);
        let resources = fs::read_to_string(repo.join("api-resources.txt"));
        let kinds =
            resources.map_or(Ok(KindScopes::default()), |it| KindScopes::from_api_resources("api-resources.txt", &it));
        CompileOptions {
            sync: self.sync.as_ref().map(|name| match &self.namespace {
                None => SyncId::root(name),
                Some(namespace) => {
                    SyncId { kind: SyncKind::RepoSync, namespace: namespace.clone(), name: name.clone() }
                }
            }),
            scope,
            cluster_name: cluster.to_owned(),
            namespaces: if self.implicit { NamespaceStrategy::Implicit } else { NamespaceStrategy::Explicit },
            kinds,
            report_unknown_kinds: self.report_unknown_kinds,
            previous_crds: self.previous_crds.iter().cloned().collect::<BTreeSet<_>>(),
            max_objects: self.max_objects,
            dynamic: self.live_namespaces.clone().map_or(DynamicSelectors::AsStatic, DynamicSelectors::Live),
            ..CompileOptions::offline(format)
        }
    }
}

/// A test for each directory, under its name: `cargo test -p agent --test cases 1029` runs those with 1029 in their name.
fn main() -> ExitCode {
    let bless = std::env::var_os("BLESS").is_some();
    let mut cases = directories(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases"));
    cases.sort();
    assert!(!cases.is_empty(), "there are no cases");
    let trial = |case: PathBuf| {
        let name = case.file_name().expect("a directory").to_string_lossy().into_owned();
        Trial::test(name, move || check(&case, bless).map_err(Failed::from))
    };
    libtest_mimic::run(&Arguments::from_args(), cases.into_iter().map(trial).collect()).exit_code()
}

fn directories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory of cases exists");
    entries.map(|entry| entry.expect("readable").path()).filter(|path| path.is_dir()).collect()
}

/// Compiles the repository of a case for each of its clusters and compares the result with the expectations of the case.
fn check(directory: &Path, bless: bool) -> Result<(), String> {
    let case: Case = fs::read_to_string(directory.join("case.yaml"))
        .map_or_else(|_| Case::default(), |text| serde_yaml::from_str(&text).expect("case.yaml holds settings"));
    let repo = directory.join("repo");
    let mut files = Vec::new();
    collect(&repo, &repo, &mut files);
    let format = if case.unstructured { SourceFormat::Unstructured } else { SourceFormat::Hierarchy };
    let (mut findings, mut objects) = (String::new(), String::new());
    for cluster in clusters(&files, format) {
        let compiled = compile(&files, &case.settings(&repo, &cluster));
        let checked = agent::compile::check(&files, &case.settings(&repo, &cluster));
        assert_eq!(compiled.findings, checked, "a check finds something else in {}", directory.display());
        let reversed: Vec<Arc<ParsedFile>> = files.iter().rev().cloned().collect();
        let again = compile(&reversed, &case.settings(&repo, &cluster));
        assert_eq!(compiled.findings, again.findings, "the order of files matters in {}", directory.display());
        compiled.findings.iter().for_each(assert_is_complete);
        findings.push_str(&format!("{cluster}:\n{}", listed(&compiled.findings)));
        objects.push_str(&show(&compiled, &cluster, &case));
    }
    let expectations = [("expected.txt", findings), ("hydrated.yaml", objects)];
    let different = expectations.iter().filter_map(|(name, is)| compare(&directory.join(name), is, bless));
    let different: String = different.collect();
    if different.is_empty() { Ok(()) } else { Err(different) }
}

/// Every finding says what to do, and where in a file the offending text is.
fn assert_is_complete(finding: &Finding) {
    let hint = finding.hint.as_deref().unwrap_or_default();
    assert!(hint.ends_with(['.', '`']) || hint.contains(": "), "no hint: {finding:?}");
    // A missing Repo object has no place in a file, and neither has a number of objects. A kustomization is a whole file.
    let nowhere = [Code::MissingRepo, Code::MaxObjectCount, Code::ActionableHydration].contains(&finding.code);
    let mut locations = finding.places.iter().filter_map(|place| place.location.as_ref());
    assert!(nowhere || locations.any(|at| at.line > 0 && at.column > 0), "no place: {finding:?}");
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<Arc<ParsedFile>>) {
    for entry in fs::read_dir(directory).expect("every case has a repository") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let relative = path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8").to_owned();
        let content = Arc::from(fs::read(&path).expect("readable"));
        files.push(Arc::new(parse(&SourceFile { path: relative, content })));
    }
}

fn compare(path: &Path, is: &str, bless: bool) -> Option<String> {
    let was = fs::read_to_string(path).unwrap_or_default();
    if was == is {
        return None;
    }
    if !bless {
        return Some(format!("{}\nexpected:\n{was}\nis:\n{is}", path.display()));
    }
    if is.is_empty() {
        fs::remove_file(path).expect("can be removed");
    } else {
        fs::write(path, is).expect("can be written");
    }
    None
}

fn listed(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "  no findings\n".to_owned();
    }
    findings.iter().map(|it| format!("  {}{}\n", it.code, it.places.iter().map(place).collect::<String>())).collect()
}

fn place(place: &Place) -> String {
    match (&place.location, &place.resource) {
        (Some(at), _) if at.line == 0 => format!(" {}", at.path),
        (Some(at), _) => format!(" {}:{}:{}", at.path, at.line, at.column),
        (None, Some(resource)) => format!(" {}/{}", resource.kind, resource.name),
        (None, None) => String::new(),
    }
}

/// The objects as `nomos hydrate` writes them, or as the agent applies them.
fn show(compiled: &Compiled, cluster: &str, case: &Case) -> String {
    let Some(declared) = &compiled.declared else { return String::new() };
    let shown = |object: &Arc<DeclaredObject>| {
        let value = if case.sync.is_some() { object.body() } else { hydrated(&object.written()) };
        format!("---\n{}", serde_yaml::to_string(&value).expect("an object is YAML"))
    };
    let objects = declared.objects.values().chain(declared.withheld.values());
    format!("# {cluster}\n{}", objects.map(shown).collect::<String>())
}
