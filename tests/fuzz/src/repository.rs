//! Whole repositories: compiling is a function of the set of files, findings are in them, and what is hydrated of an
//! unstructured one compiles again to the same objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent::compile::declared::{DeclaredSet, hydrated};
use agent::compile::kind_scopes::KindScopes;
use agent::compile::parse::{PLACEHOLDER, ParsedFile, SourceFile, parse};
use agent::compile::{self, CompileOptions, Compiled, NamespaceStrategy, RepoScope, SourceFormat, clusters};
use agent::model::finding::Finding;
use agent::model::metadata::SyncId;
use agent::model::object::Object;
use agent::model::yaml;
use serde_json::Value;

use crate::places::Files;

/// Begins a line with the path of a file. The content of the file follows.
pub(crate) const FILE: &str = ">>> ";

const RESOURCES: &str = "api-resources.txt";

/// More clusters than this are not looked at.
const CLUSTERS: usize = 3;

/// The bytes as files.
pub(crate) fn check(input: &[u8]) {
    let sources = sources(input);
    let files = Files::of(sources.iter().map(|(path, content)| (path.as_str(), content.as_slice())));
    let manifests = sources.iter().filter(|(path, _)| *path != RESOURCES);
    let parsed: Vec<Arc<ParsedFile>> = manifests
        .map(|(path, content)| parse(&SourceFile { path: path.clone(), content: content.as_slice().into() }))
        .map(Arc::new)
        .collect();
    for file in &parsed {
        files.hold(&file.findings);
        files.hold_objects(file);
    }
    let text = sources.get(RESOURCES).map(|content| String::from_utf8_lossy(content));
    let kinds = text.map_or_else(|| Ok(KindScopes::default()), |text| KindScopes::from_api_resources(RESOURCES, &text));
    for settings in settings(&kinds) {
        let names = clusters(&parsed, settings.format);
        for name in names.into_iter().take(CLUSTERS) {
            check_for(&parsed, &files, &CompileOptions { cluster_name: name, ..settings.clone() });
        }
    }
}

/// The files by path. A path that no directory could have is left out, and of two that are the same the first.
fn sources(input: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut path = None;
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        if let Some(name) = line.strip_prefix(FILE.as_bytes()) {
            let name = String::from_utf8_lossy(name).trim_end_matches('\n').to_owned();
            let possible = name.split('/').all(|part| !matches!(part, "" | "." | "..")) && !name.contains('\0');
            path = Some(name).filter(|name| possible && !files.contains_key(name));
            files.extend(path.iter().map(|path| (path.clone(), Vec::new())));
        } else if let Some(content) = path.as_ref().and_then(|path| files.get_mut(path)) {
            content.extend(line);
        }
    }
    files
}

/// As the linter compiles, and as the agent does.
fn settings(kinds: &Result<KindScopes, Finding>) -> [CompileOptions; 5] {
    let offline = |format| CompileOptions { kinds: kinds.clone(), ..CompileOptions::offline(format) };
    let namespace = RepoScope::Namespace("shop".to_owned());
    [
        offline(SourceFormat::Hierarchy),
        offline(SourceFormat::Unstructured),
        CompileOptions { scope: namespace, ..offline(SourceFormat::Unstructured) },
        CompileOptions { sync: Some(SyncId::root("a")), ..offline(SourceFormat::Hierarchy) },
        CompileOptions {
            sync: Some(SyncId::root("a")),
            namespaces: NamespaceStrategy::Implicit,
            report_unknown_kinds: true,
            max_objects: Some(20),
            ..offline(SourceFormat::Unstructured)
        },
    ]
}

fn check_for(parsed: &[Arc<ParsedFile>], files: &Files, settings: &CompileOptions) {
    let compiled = compile::compile(parsed, settings);
    let reversed: Vec<Arc<ParsedFile>> = parsed.iter().rev().cloned().collect();
    let again = compile::compile(&reversed, settings);
    assert_eq!(compiled.findings, again.findings, "the order of files matters");
    assert_eq!(declared(&compiled), declared(&again), "the order of files matters");
    assert_eq!(compiled.findings, compile::check(parsed, settings), "a check finds something else");
    assert_eq!(compiled.declared.is_some(), !compiled.findings.iter().any(|finding| finding.code.blocks()));
    files.hold(&compiled.findings);
    // In a hierarchical repository some objects mean something else.
    let same_rules = settings.format == SourceFormat::Unstructured && settings.scope == RepoScope::Root;
    if let Some(set) = compiled.declared.as_ref().filter(|_| same_rules && settings.sync.is_none()) {
        compiles_again(set);
    }
}

/// The objects, as they are applied.
fn declared(compiled: &Compiled) -> Option<Vec<Object>> {
    let set = compiled.declared.as_ref()?;
    Some(set.objects.values().chain(set.withheld.values()).map(|object| object.body()).collect())
}

/// Checks that the output of `nomos hydrate` is a repository with the same objects, but for sealed values: placeholders stand for them.
fn compiles_again(set: &DeclaredSet) {
    let text = written(set);
    if text.contains(PLACEHOLDER) {
        return;
    }
    let file = parse(&SourceFile { path: "all.yaml".to_owned(), content: text.as_bytes().into() });
    let again = compile::compile(&[Arc::new(file)], &CompileOptions::offline(SourceFormat::Unstructured));
    assert_eq!(again.findings, [], "of what is hydrated:\n{text}");
    assert_eq!(again.declared.as_ref().map(written), Some(text), "hydrated again");
}

/// The output of `nomos hydrate`.
fn written(set: &DeclaredSet) -> String {
    let objects: BTreeMap<_, _> = set.objects.iter().chain(&set.withheld).collect();
    objects.values().map(|object| yaml::document(&Value::Object(hydrated(&object.written()).0))).collect()
}
