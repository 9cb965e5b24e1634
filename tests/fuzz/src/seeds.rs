//! The first inputs of the search: the cases and examples of this repository, and texts with forms that these do not have.

use std::fs;
use std::path::{Path, PathBuf};

use agent::compile::parse::{self, SourceFile, parse};
use serde_json::Value;

use crate::repository::FILE;

/// Longer files teach the search little.
const MAX_BYTES: usize = 4096;

const YAML: &[&str] = &[
    "{a: !!binary aGVsbG8=, b: !x y, c: ! 12, d: !!int '1', e: !!float 1, f: !<tag:yaml.org,2002:str> x}\n",
    "x: &x {a: 1, b: 1}\ny: &y {a: 2}\nz: {a: 2, <<: *x, b: 2}\nw: {<<: [*x, *y]}\n*y : 1\n",
    "yes: [NO, ~, .5, 0x1F, 0b1, 0o17, 017, 1_000, 190:20:30, 2024-01-02, 1e3, -.inf, 18446744073709551615]\n",
    "? a\n: |2-\n    b\n\n  c\n? d\n: >+\n e\n\n f\n\n",
    "a: \"\\u00e9\\x41\\/ \\\n  b\"\nc: 'd''e\n\n  f'\n",
    "--- # c\n\u{feff}a: b\u{85}...\n%YAML 1.1\n---\na: [!x, b]\r\n# c\n",
    "apiVersion: v1\nkind: List\nitems:\n- &a {apiVersion: v1, kind: X, metadata: {name: a, labels: {b: c}}}\n- *a\n- 1\n",
];

const JSON: &[&str] = &[
    "{\"a\": [1, -0.0, 1e400, 1.5e3, 18446744073709551615, 9223372036854775808, true, null, {}]}",
    "\"\\ud83d\\ude00 \\ud800 \\udc00\\\\ud800 \\/ \\b\"",
    "1}, {\"a\": 1",
    "{\"a\": 1, \"a\": 2.0}\n",
    "[[[[[[[[]]]]]]]]",
];

const SELECTORS: &[&str] = &[
    "a, b ,c,,A\nmatchLabels: {a: x}\n",
    "defaultcluster\nmatchExpressions: [{key: a, operator: In, values: [x, '']}]\n",
    "\nmatchExpressions: [{key: a, operator: NotIn, values: [x]}, {key: a.b/c, operator: Exists}]\n",
    "\nmatchExpressions:\n- {key: b, operator: DoesNotExist}\nmatchLabels:\n  a:\n",
    "\nmatchExpressions: [{key: -a, operator: Equals, values: x}]\n",
    "\n{}\n",
];

const RESOURCES: &[&str] = &[
    "NAME  SHORTNAMES  APIVERSION  NAMESPACED  KIND\r\nwidgets           acme.com/v1 true        Widget\r\n",
    "NAME  SHORTNAMES  APIVERSION  NAMESPACED  KIND\npods  po          v1          false       Pod\n\n",
    "NAME APIVERSION NAMESPACED KIND\npods v1 True Pod",
    "NAME APIVERSION NAMESPACED KIND\npods v1 true Pod create,get\n\u{a0}x\n",
];

/// Every manifest, and texts.
pub(crate) fn yaml() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> =
        files().into_iter().filter(|(_, path, _)| parse::reads(path)).map(|file| file.2).collect();
    all.sort();
    all.dedup();
    all.extend(bytes(YAML));
    all
}

/// Every manifest as JSON, and texts.
pub(crate) fn json() -> Vec<Vec<u8>> {
    let parsed = |content: Vec<u8>| parse(&SourceFile { path: "a.yaml".to_owned(), content: content.into() });
    let manifests = yaml().into_iter().flat_map(|content| parsed(content).manifests);
    let mut all: Vec<Vec<u8>> =
        manifests.map(|manifest| Value::Object(manifest.whole().0).to_string().into_bytes()).collect();
    all.sort();
    all.dedup();
    all.extend(bytes(JSON));
    all
}

/// Texts.
pub(crate) fn selectors() -> Vec<Vec<u8>> {
    bytes(SELECTORS).collect()
}

/// The output of kubectl, and texts.
pub(crate) fn api_resources() -> Vec<Vec<u8>> {
    let cases = files().into_iter().filter(|(_, path, _)| path.ends_with("api-resources.txt"));
    cases.map(|(.., content)| content).chain(bytes(RESOURCES)).collect()
}

/// Every repository of a case, and every example.
pub(crate) fn repositories() -> Vec<Vec<u8>> {
    let mut all: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for (root, path, content) in files() {
        if all.last().is_none_or(|(last, _)| *last != root) {
            all.push((root, Vec::new()));
        }
        let text = &mut all.last_mut().expect("one was just added").1;
        text.extend(format!("{FILE}{path}\n").bytes());
        text.extend(content);
        if text.last() != Some(&b'\n') {
            text.push(b'\n');
        }
    }
    all.into_iter().map(|(_, text)| text).collect()
}

fn bytes(texts: &[&str]) -> impl Iterator<Item = Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec())
}

/// Root of the repository that holds it, path from there and content of every file of the cases and the examples, in order.
fn files() -> Vec<(PathBuf, String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cases = below(&root.join("tests/cases")).into_iter().map(|case| case.join("repo"));
    let mut files = Vec::new();
    for repository in cases.chain(below(&root.join("examples"))).filter(|path| path.is_dir()) {
        let mut left = vec![repository.clone()];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(below(&path).into_iter().rev());
                continue;
            }
            let name = path.strip_prefix(&repository).expect("it is below").to_string_lossy().into_owned();
            let content = fs::read(&path).expect("a file of this repository");
            if content.len() <= MAX_BYTES {
                files.push((repository.clone(), name, content));
            }
        }
    }
    files
}

/// The entries of a directory, sorted.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory of this repository");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    paths
}
