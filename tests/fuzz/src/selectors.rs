//! Selectors: one selects the same as a NamespaceSelector, in either format, and as a ClusterSelector; names of clusters
//! select those that have them.

use std::collections::BTreeSet;
use std::sync::Arc;

use agent::compile::parse::{ParsedFile, SourceFile, parse};
use agent::compile::{CompileOptions, SourceFormat, clusters, compile};
use agent::model::yaml;
use serde_json::{Value, json};

/// Labels of the Namespaces or clusters that can be selected.
const LABELS: [&str; 5] = ["{}", "{a: x}", "{a: y, b: x}", "{a: ''}", "{a.b/c: x, a: x, b: ''}"];

const HIERARCHY: SourceFormat = SourceFormat::Hierarchy;
const UNSTRUCTURED: SourceFormat = SourceFormat::Unstructured;

/// The first line as names of clusters, the rest as a selector.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (names, selector) = text.split_once('\n').unwrap_or((&text, ""));
    names_select(names);
    selects_the_same(&selector.replace('\n', "\n  "));
}

fn names_select(names: &str) {
    let name = "configsync.gke.io/cluster-name-selector";
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "a", "annotations": { name: names } } });
    let files = [file("a.yaml", &yaml::document(&object))];
    for cluster in clusters(&files, UNSTRUCTURED).into_iter().skip(1) {
        let named = names.split(',').any(|name| name.trim() == cluster);
        assert!(named, "{cluster:?} is none of {names:?}");
        assert_eq!(selected(&files, UNSTRUCTURED, &cluster).map(|it| it.len()), Some(usize::from(!cluster.is_empty())));
    }
}

fn selects_the_same(selector: &str) {
    let of_kind = |kind: &str| {
        let api = "apiVersion: configmanagement.gke.io/v1";
        format!("{api}\nkind: {kind}\nmetadata: {{name: s}}\nspec:\n selector:\n  {selector}\n")
    };
    let object = |kind: &str| {
        let annotation = format!("configmanagement.gke.io/{kind}-selector: s");
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations: {{{annotation}}}\n")
    };
    if uses_labels_of_the_system(&file("s.yaml", &of_kind("NamespaceSelector"))) {
        return;
    }
    let labelled =
        |kind: &str, number: usize| format!("{kind}\nmetadata:\n  name: \"n{number}\"\n  labels: {}\n", LABELS[number]);
    let each = |kind: &str, path: fn(usize) -> String| -> Vec<Arc<ParsedFile>> {
        (0..LABELS.len()).map(|number| file(&path(number), &labelled(kind, number))).collect()
    };
    let repo = "apiVersion: configmanagement.gke.io/v1\nkind: Repo\nmetadata: {name: repo}\nspec: {version: 1.0.0}\n";
    let namespace = "apiVersion: v1\nkind: Namespace";

    let mut hierarchy = each(namespace, |number| format!("namespaces/n{number}/namespace.yaml"));
    hierarchy.push(file("system/repo.yaml", repo));
    hierarchy.push(file("namespaces/selector.yaml", &of_kind("NamespaceSelector")));
    hierarchy.push(file("namespaces/object.yaml", &object("namespace")));
    let in_hierarchy = selected(&hierarchy, HIERARCHY, "");

    let mut unstructured = each(namespace, |number| format!("n{number}.yaml"));
    unstructured.push(file("selector.yaml", &of_kind("NamespaceSelector")));
    unstructured.push(file("object.yaml", &object("namespace")));
    assert_eq!(selected(&unstructured, UNSTRUCTURED, ""), in_hierarchy, "{selector}");

    let mut of_clusters =
        each("apiVersion: clusterregistry.k8s.io/v1alpha1\nkind: Cluster", |number| format!("n{number}.yaml"));
    of_clusters.push(file("selector.yaml", &of_kind("ClusterSelector")));
    of_clusters.push(file("object.yaml", &object("cluster")));
    for number in 0..LABELS.len() {
        let name = format!("n{number}");
        let expected = in_hierarchy.as_ref().map(|names| names.contains(&name));
        let declared = selected(&of_clusters, UNSTRUCTURED, &name).map(|it| !it.is_empty());
        assert_eq!(declared, expected, "{name}: {selector}");
    }
}

/// The namespaces of the ConfigMap that is declared; `None` if something blocks.
fn selected(files: &[Arc<ParsedFile>], format: SourceFormat, cluster: &str) -> Option<BTreeSet<String>> {
    let settings = CompileOptions { cluster_name: cluster.to_owned(), ..CompileOptions::offline(format) };
    let declared = compile(files, &settings).declared?;
    let objects = declared.objects.keys().filter(|id| id.kind() == "ConfigMap");
    Some(objects.map(|id| id.namespace().to_owned()).collect())
}

/// Namespaces have them, clusters do not.
fn uses_labels_of_the_system(file: &ParsedFile) -> bool {
    file.manifests.iter().any(|manifest| {
        let text = Value::Object(manifest.whole().0)["spec"].to_string();
        text.contains("/depth") || text.contains("declared-version")
    })
}

fn file(path: &str, text: &str) -> Arc<ParsedFile> {
    Arc::new(parse(&SourceFile { path: path.to_owned(), content: text.as_bytes().into() }))
}
