//! The repositories of `examples/`: they have no findings, and each of their clusters gets the objects meant for it.
#![expect(clippy::disallowed_methods, reason = "the examples are files")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use agent::compile::declared::DeclaredSet;
use agent::compile::parse::{ParsedFile, SourceFile, parse};
use agent::compile::{CompileOptions, DynamicSelectors, RepoScope, SourceFormat, clusters, compile};
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;

const HIERARCHY: SourceFormat = SourceFormat::Hierarchy;
const UNSTRUCTURED: SourceFormat = SourceFormat::Unstructured;

/// Every repository: its path, its layout, and its Namespace if it belongs to one and not to a cluster.
const REPOSITORIES: &[(&str, SourceFormat, Option<&str>)] = &[
    ("go-hello", HIERARCHY, None),
    ("hierarchy", HIERARCHY, None),
    ("unstructured", UNSTRUCTURED, None),
    ("namespace/root", UNSTRUCTURED, None),
    ("namespace/billing", UNSTRUCTURED, Some("billing")),
    ("custom-resources", HIERARCHY, None),
    ("networking", UNSTRUCTURED, None),
    ("team-namespaces", UNSTRUCTURED, None),
];

/// Files that are no repository.
const OTHERS: [&str; 3] = ["install", "monitoring", "notifications"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The objects of each cluster. There must be no finding.
fn compiled(path: &str) -> BTreeMap<String, DeclaredSet> {
    compiled_with(path, &DynamicSelectors::AsStatic)
}

/// The same on clusters that have these Namespaces.
fn compiled_with(path: &str, dynamic: &DynamicSelectors) -> BTreeMap<String, DeclaredSet> {
    let (_, format, namespace) = REPOSITORIES.iter().find(|it| it.0 == path).expect("a repository of the table");
    let mut files = Vec::new();
    collect(&root().join(path), "", &mut files);
    let for_cluster = |cluster: String| {
        let scope = namespace.map_or(RepoScope::Root, |it| RepoScope::Namespace(it.to_owned()));
        let settings = CompileOptions {
            scope,
            cluster_name: cluster.clone(),
            report_unknown_kinds: true,
            dynamic: dynamic.clone(),
            ..CompileOptions::offline(*format)
        };
        let compiled = compile(&files, &settings);
        assert_eq!(compiled.findings, [], "{path} on {cluster}");
        let declared = compiled.declared.expect("nothing blocks");
        assert!(declared.withheld.is_empty(), "{path} on {cluster}: everything is meant to be applied");
        (cluster, declared)
    };
    clusters(&files, *format).into_iter().map(for_cluster).collect()
}

fn collect(directory: &Path, prefix: &str, files: &mut Vec<Arc<ParsedFile>>) {
    for entry in fs::read_dir(directory).expect("a directory of the example") {
        let entry = entry.expect("readable");
        let path = format!("{prefix}{}", entry.file_name().to_str().expect("UTF-8"));
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else {
            let content = Arc::from(fs::read(entry.path()).expect("readable"));
            files.push(Arc::new(parse(&SourceFile { path, content })));
        }
    }
}

/// Every object, and the clusters that have it.
fn placed(clusters: &BTreeMap<String, DeclaredSet>) -> BTreeMap<String, BTreeSet<&str>> {
    let mut placed: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (cluster, declared) in clusters {
        for id in declared.objects.keys() {
            placed.entry(id.to_string()).or_default().insert(cluster);
        }
    }
    placed
}

fn field(declared: &DeclaredSet, object: &str, pointer: &str) -> Value {
    let found = declared.objects.iter().find(|(id, _)| id.to_string() == object);
    let body = Value::Object(found.expect("declared").1.body().0);
    body.pointer(pointer).cloned().unwrap_or_default()
}

const TESTS: &[(&str, fn())] = &[
    ("a_hierarchy_gives_each_cluster_what_is_meant_for_it", a_hierarchy_gives_each_cluster_what_is_meant_for_it),
    ("selected_namespaces_get_a_copy_each", selected_namespaces_get_a_copy_each),
    ("a_namespace_repository_stays_in_its_namespace", a_namespace_repository_stays_in_its_namespace),
    ("custom_resources_have_the_scope_that_their_crd_says", custom_resources_have_the_scope_that_their_crd_says),
    ("tenants_get_the_network_teams_defaults", tenants_get_the_network_teams_defaults),
    ("live_namespaces_get_the_defaults_of_teams", live_namespaces_get_the_defaults_of_teams),
];

/// A test for each directory and each repository, and those of the table.
fn main() -> ExitCode {
    let directories = fs::read_dir(root()).expect("the examples").map(|entry| {
        let name = entry.expect("readable").file_name().into_string().expect("UTF-8");
        trial(format!("is_described::{name}"), move || is_described(&name))
    });
    let repositories = REPOSITORIES.iter().map(|(path, ..)| trial(format!("compiles::{path}"), || compiles(path)));
    let table = TESTS.iter().map(|(name, test)| trial((*name).to_owned(), test));
    libtest_mimic::run(&Arguments::from_args(), directories.chain(repositories).chain(table).collect()).exit_code()
}

fn trial(name: String, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, || {
        test();
        Ok(())
    })
}

fn is_described(directory: &str) {
    let listed = REPOSITORIES.iter().any(|it| it.0.split('/').next() == Some(directory));
    assert!(listed || OTHERS.contains(&directory), "{directory} is not in the table");
    let readme = fs::read_to_string(root().join(directory).join("README.md")).unwrap_or_default();
    assert!(
        OTHERS.contains(&directory) || readme.starts_with(&format!("# {directory}\n")),
        "{directory} has no README"
    );
}

fn compiles(path: &str) {
    assert!(compiled(path).values().all(|declared| !declared.objects.is_empty()), "{path} declares nothing");
}

fn a_hierarchy_gives_each_cluster_what_is_meant_for_it() {
    let clusters = compiled("hierarchy");
    let placed = placed(&clusters);
    let all = "defaultcluster prod-eu prod-us staging";
    let production = "prod-eu prod-us";
    let expected = [
        ("storageclass.storage.k8s.io/regional-ssd", production),
        ("clusterrolebinding.rbac.authorization.k8s.io/load-testers", "staging"),
        ("clusterrole.rbac.authorization.k8s.io/on-call", all),
        ("priorityclass.scheduling.k8s.io/batch", all),
        ("namespace/checkout", all),
        ("namespace/catalog", all),
        ("namespace/gdpr-export", "prod-eu"),
        ("cronjob.batch/gdpr-export/export", "prod-eu"),
        ("networkpolicy.networking.k8s.io/checkout/default-deny", all),
        ("networkpolicy.networking.k8s.io/catalog/default-deny", all),
        ("networkpolicy.networking.k8s.io/gdpr-export/default-deny", "prod-eu"),
        ("rolebinding.rbac.authorization.k8s.io/gdpr-export/on-call", "prod-eu"),
        ("rolebinding.rbac.authorization.k8s.io/gdpr-export/developers-view", ""),
        ("rolebinding.rbac.authorization.k8s.io/catalog/developers-view", all),
        ("rolebinding.rbac.authorization.k8s.io/catalog/developers-edit", "staging"),
        ("networkpolicy.networking.k8s.io/checkout/card-network", all),
        ("networkpolicy.networking.k8s.io/catalog/card-network", ""),
        ("resourcequota/checkout/compute", "prod-eu prod-us staging"),
        ("resourcequota/gdpr-export/compute", ""),
        ("limitrange/catalog/defaults", all),
        ("poddisruptionbudget.policy/checkout/checkout", production),
        ("deployment.apps/checkout/checkout", all),
    ];
    for (object, clusters) in expected {
        assert_eq!(placed.get(object).cloned().unwrap_or_default(), clusters.split_whitespace().collect(), "{object}");
    }
    let sizes: Vec<(&str, usize)> = clusters.iter().map(|(name, set)| (name.as_str(), set.objects.len())).collect();
    assert_eq!(sizes, [("defaultcluster", 23), ("prod-eu", 32), ("prod-us", 27), ("staging", 28)]);

    let pods = |cluster: &str| field(&clusters[cluster], "resourcequota/checkout/compute", "/spec/hard/pods");
    assert_eq!((pods("prod-us"), pods("staging")), ("200".into(), "50".into()));
}

/// The objects of a repository that names no clusters, by kind.
fn listed(path: &str) -> Vec<String> {
    let clusters = compiled(path);
    assert_eq!(clusters.len(), 1, "{path}");
    placed(&clusters).into_keys().collect()
}

fn selected_namespaces_get_a_copy_each() {
    let objects = listed("unstructured");
    let bindings: Vec<&String> = objects.iter().filter(|it| it.ends_with("/observability-team")).collect();
    let binding = |namespace: &str| format!("rolebinding.rbac.authorization.k8s.io/{namespace}/observability-team");
    assert_eq!(bindings, [&binding("logging"), &binding("monitoring")]);
    let kinds = ["daemonset.apps/logging/", "deployment.apps/monitoring/", "configmap/logging/", "service/monitoring/"];
    for kind in kinds {
        assert_eq!(objects.iter().filter(|it| it.starts_with(kind)).count(), 1, "{kind}");
    }
    assert_eq!(objects.len(), 14, "{objects:#?}");
}

fn a_namespace_repository_stays_in_its_namespace() {
    let expected = [
        "configmap/billing/invoices",
        "cronjob.batch/billing/reminders",
        "deployment.apps/billing/invoices",
        "poddisruptionbudget.policy/billing/invoices",
        "service/billing/invoices",
    ];
    assert_eq!(listed("namespace/billing"), expected);
    let expected = [
        "namespace/billing",
        "reposync.configsync.gke.io/billing/repo-sync",
        "rolebinding.rbac.authorization.k8s.io/billing/billing-team",
        "rolebinding.rbac.authorization.k8s.io/billing/repo-sync",
    ];
    assert_eq!(listed("namespace/root"), expected);
    let billing = &compiled("namespace/billing")["defaultcluster"];
    assert_eq!(field(billing, "configmap/billing/invoices", "/data/file-mode"), "0644");
}

fn custom_resources_have_the_scope_that_their_crd_says() {
    let expected = [
        "clusterrole.rbac.authorization.k8s.io/databases-edit",
        "customresourcedefinition.apiextensions.k8s.io/databaseclasses.platform.example.com",
        "customresourcedefinition.apiextensions.k8s.io/databases.platform.example.com",
        "database.platform.example.com/customers/customers",
        "database.platform.example.com/orders/orders",
        "databaseclass.platform.example.com/large",
        "databaseclass.platform.example.com/small",
        "namespace/customers",
        "namespace/orders",
    ];
    assert_eq!(listed("custom-resources"), expected);
}

fn tenants_get_the_network_teams_defaults() {
    let objects = listed("networking");
    let of = |namespace: &str| {
        let part = format!("/{namespace}/");
        objects.iter().filter_map(|it| it.split_once(&part)).map(|(_, name)| name).collect::<Vec<_>>()
    };
    let defaults = ["containers", "network", "network-admins", "same-namespace"];
    for tenant in ["tenant-search", "tenant-recommendations"] {
        let mut names = of(tenant);
        names.sort_unstable();
        assert_eq!(names, defaults, "{tenant}");
    }
    assert_eq!(of("kube-system"), ["ip-masq-agent"]);
    assert!(!objects.contains(&"namespace/kube-system".to_owned()));
    let declared = &compiled("networking")["defaultcluster"];
    let service = "service/gateway/internal-gateway";
    assert_eq!(field(declared, service, "/spec/type"), "LoadBalancer");
    let annotation = "/metadata/annotations/networking.gke.io~1load-balancer-type";
    assert_eq!(field(declared, service, annotation), "Internal");
    let quota = "resourcequota/tenant-search/network";
    assert_eq!(field(declared, quota, "/spec/hard/services.loadbalancers"), "0");
}

fn live_namespaces_get_the_defaults_of_teams() {
    let namespace = |name: &str, key: &str| (name.to_owned(), [(key.to_owned(), "x".to_owned())].into());
    let live = [namespace("shop", "example.com/team"), namespace("other", "tier")].into();
    let clusters = compiled_with("team-namespaces", &DynamicSelectors::Live(live));
    let expected = [
        "limitrange/platform/defaults",
        "limitrange/shop/defaults",
        "namespace/platform",
        "networkpolicy.networking.k8s.io/platform/default-deny",
        "networkpolicy.networking.k8s.io/shop/default-deny",
    ];
    assert_eq!(placed(&clusters).into_keys().collect::<Vec<_>>(), expected);
}
