//! Properties of compilation, tried on generated repositories: the order of files does not matter, every finding names a file of
//! the repository, and the hydrated objects compile again to the same objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use agent::compile::declared::hydrated;
use agent::compile::parse::{ParsedFile, SourceFile, parse};
use agent::compile::{CompileOptions, SourceFormat, check, clusters, compile};
use agent::model::object::Object;
use agent::model::yaml;
use proptest::prelude::*;
use serde_json::Value;

/// `apiVersion`, kind, and what follows the metadata.
const KINDS: &[(&str, &str, &str)] = &[
    ("v1", "ConfigMap", "data: {a: b}\n"),
    ("v1", "Namespace", ""),
    ("v2", "Namespace", ""),
    ("rbac.authorization.k8s.io/v1", "Role", ""),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", ""),
    ("acme.com/v1", "Anvil", ""),
    ("configmanagement.gke.io/v1", "NamespaceSelector", "spec: {selector: {matchLabels: {tier: a}}}\n"),
    ("configmanagement.gke.io/v1", "ClusterSelector", "spec: {selector: {matchLabels: {tier: a}}}\n"),
    ("configmanagement.gke.io/v1", "ClusterSelector", "spec: {selector: {}}\n"),
    (
        "configmanagement.gke.io/v1",
        "HierarchyConfig",
        "spec: {resources: [{kinds: [ConfigMap], hierarchyMode: none}]}\n",
    ),
    ("configmanagement.gke.io/v1", "Repo", "spec: {version: 1.0.0}\n"),
    ("clusterregistry.k8s.io/v1alpha1", "Cluster", ""),
    ("clusterregistry.k8s.io/v1alpha1", "Cluster", "spec: 1\n"),
];

/// Lines of metadata beside the name.
const METADATA: &[&str] = &[
    "",
    "",
    "  namespace: a\n",
    "  labels: {tier: a}\n",
    "  annotations: {configmanagement.gke.io/managed: disabled}\n",
    "  annotations: {configmanagement.gke.io/managed: enabled}\n",
    "  annotations: {configmanagement.gke.io/namespace-selector: a}\n",
    "  annotations: {configmanagement.gke.io/cluster-selector: a}\n",
    "  annotations: {configsync.gke.io/cluster-name-selector: \"a, b\"}\n",
    "  annotations: {a: 1}\n",
    "  uid: x\n",
];

const DIRECTORIES: &[&str] = &[
    "",
    "system/",
    "cluster/",
    "clusterregistry/",
    "namespaces/",
    "namespaces/a/",
    "namespaces/b/",
    "namespaces/b/a/",
];

fn document() -> impl Strategy<Value = String> {
    let text = |((api, kind, rest), name, metadata): (_, &str, &str)| {
        format!("apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: {name}\n{metadata}{rest}")
    };
    let object = (prop::sample::select(KINDS), prop::sample::select(&["a", "b"][..]), prop::sample::select(METADATA));
    prop_oneof![40 => object.prop_map(text), 1 => Just("kind: [".to_owned()), 1 => Just("# nothing".to_owned())]
}

fn repository() -> impl Strategy<Value = Vec<Arc<ParsedFile>>> {
    let file = (prop::sample::select(DIRECTORIES), prop::collection::vec(document(), 1..3));
    prop::collection::vec(file, 0..7).prop_map(|files| {
        let repo =
            "apiVersion: configmanagement.gke.io/v1\nkind: Repo\nmetadata: {name: repo}\nspec: {version: 1.0.0}\n";
        let numbered =
            files.iter().enumerate().map(|(i, (directory, it))| (format!("{directory}{i}.yaml"), it.join("\n---\n")));
        numbered
            .chain([("system/repo.yaml".to_owned(), repo.to_owned())])
            .map(|(path, text)| file_of(path, &text))
            .collect()
    })
}

fn file_of(path: String, text: &str) -> Arc<ParsedFile> {
    Arc::new(parse(&SourceFile { path, content: Arc::from(text.as_bytes()) }))
}

fn formats() -> impl Strategy<Value = SourceFormat> {
    prop_oneof![Just(SourceFormat::Hierarchy), Just(SourceFormat::Unstructured)]
}

fn sorted(objects: impl Iterator<Item = Object>) -> Vec<String> {
    let mut texts: Vec<String> = objects.map(|object| yaml::document(&Value::Object(object.0))).collect();
    texts.sort();
    texts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compilation_does_not_depend_on_the_order_of_files(files in repository(), format in formats()) {
        let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let reversed: Vec<_> = files.iter().rev().cloned().collect();
        prop_assert_eq!(clusters(&files, format), clusters(&reversed, format));
        for cluster in clusters(&files, format) {
            let settings = CompileOptions { cluster_name: cluster, ..CompileOptions::offline(format) };
            let compiled = compile(&files, &settings);
            prop_assert_eq!(&compiled.findings, &compile(&reversed, &settings).findings);
            prop_assert_eq!(&compiled.findings, &check(&files, &settings));
            prop_assert_eq!(compiled.declared.is_some(), !compiled.findings.iter().any(|finding| finding.code.blocks()));
            for location in compiled.findings.iter().flat_map(|finding| &finding.places).filter_map(|it| it.location.as_ref()) {
                let path = location.path.as_str();
                prop_assert!(paths.contains(path) || path.ends_with('/'), "{}", path);
            }
            let Some(declared) = compiled.declared else { continue };
            let all = || declared.objects.values().chain(declared.withheld.values());
            let text = all().map(|it| yaml::document(&Value::Object(hydrated(&it.written()).0))).collect::<String>();
            let again = compile(&[file_of("all.yaml".into(), &text)], &CompileOptions::offline(SourceFormat::Unstructured));
            prop_assert_eq!(&again.findings, &Vec::new());
            let again = again.declared.expect("nothing blocks");
            let again_all = again.objects.values().chain(again.withheld.values());
            let before = sorted(all().map(|it| hydrated(&it.written())));
            prop_assert_eq!(sorted(again_all.map(|it| hydrated(&it.written()))), before);
        }
    }
}
