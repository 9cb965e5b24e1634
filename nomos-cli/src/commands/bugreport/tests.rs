//! A report of a cluster with secrets in every place that a report is made from.

use std::io::{Cursor, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::gather::{Gathered, Log};
use super::kept::ObjectsOfFile;
use super::{archive, files};

/// A secret in each place. Those in Secrets are withheld wherever they are, the others where they stand.
const SECRETS: [&str; 20] = [
    "in-data-4f81",
    "in-stringdata-77",
    "in-an-annotation",
    "in-last-applied-1",
    "in-an-env-value",
    "in-args-0a9b",
    "in-a-flag-55",
    "in-a-command-2",
    "in-a-url-user",
    "in-a-url-query",
    "in-a-proxy-url",
    "in-helm-values",
    "in-a-config-map",
    "in-a-kubeconfig",
    "in-a-log-password",
    "in-a-log-bearer",
    "in-a-private-key",
    "in-patches-91",
    "in-a-volume-7",
    "in-a-probe-header",
];

fn object(mut value: Value) -> Value {
    value["metadata"]["annotations"]["example.com/note"] = "in-an-annotation".into();
    value["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
        json!({ "data": { "password": "in-last-applied-1" } }).to_string().into();
    value["metadata"]["managedFields"] = json!([{ "manager": "in-an-annotation" }]);
    value
}

fn pod_spec() -> Value {
    json!({
        "nodeName": "node-1",
        "containers": [{
            "name": "agent", "image": "nomos-agent:1", "args": ["--cluster-name=prod", "--key=in-a-flag-55", "in-args-0a9b"],
            "command": ["run", "in-a-command-2"], "env": [{ "name": "TOKEN", "value": "in-an-env-value" }],
            "livenessProbe": { "httpGet": { "httpHeaders": [{ "name": "X", "value": "in-a-probe-header" }] } },
        }],
        "volumes": [{ "csi": { "volumeAttributes": { "key": "in-a-volume-7" } } }],
    })
}

fn gathered() -> Gathered {
    let encode = |text: &str| STANDARD.encode(text);
    let secret = json!({
        "data": {
            "password": encode("in-data-4f81"), "config": encode("users:\n- user:\n    token: in-a-kubeconfig\n"),
        },
        "stringData": { "more": "in-stringdata-77" },
    });
    let git = json!({
        "repo": "https://me:in-a-url-user@git.example/x?private_token=in-a-url-query",
        "proxy": "http://me:in-a-proxy-url@proxy.example:3128",
    });
    let failed = "cannot fetch https://me:in-a-url-user@git.example/x: the password in-data-4f81 is wrong";
    let sync = object(json!({
        "metadata": { "name": "root-sync", "annotations": { "configsync.gke.io/approve-prune": "abc.def" } },
        "spec": { "git": git, "helm": { "chart": "web", "values": { "password": "in-helm-values" } } },
        "status": { "sync": { "errors": [{ "code": "2004", "errorMessage": failed }] } },
    }));
    let management = object(json!({
        "metadata": { "name": "config-management" },
        "spec": { "clusterName": "prod", "git": { "syncRepo": git["repo"] }, "patches": [{ "value": "in-patches-91" }] },
    }));
    let deployment =
        object(json!({ "metadata": { "name": "nomos-agent" }, "spec": { "template": { "spec": pod_spec() } } }));
    let pod = object(
        json!({ "metadata": { "name": "nomos-agent-1" }, "spec": pod_spec(), "status": { "phase": "Running" } }),
    );
    let config = object(json!({ "metadata": { "name": "git-sync" }, "data": { "HTTPS_PROXY": "in-a-config-map" } }));
    let event = object(json!({ "metadata": { "name": "e" }, "reason": "Failed", "message": failed }));
    let found = |path: &str, kind, object| ObjectsOfFile { path: path.to_owned(), kind, objects: vec![object] };
    let log = "\
2026-01-02T03:04:05Z the sync is synced
2026-01-02T03:04:06Z login with in-data-4f81 and aW4tZGF0YS00Zjgx at https://x:in-a-url-user@git.example
2026-01-02T03:04:07Z {\"password\":\"in-a-log-password\",\"header\":\"Authorization: Bearer in-a-log-bearer\"}
2026-01-02T03:04:08Z -----BEGIN OPENSSH PRIVATE KEY-----\\nin-a-private-key\\n-----END OPENSSH PRIVATE KEY-----
2026-01-02T03:04:09Z a kubeconfig with in-a-kubeconfig, and in-stringdata-77
";
    Gathered {
        objects: vec![
            found("namespaces/config-management-system/RootSync-root-sync", "RootSync", sync),
            found("cluster/configmanagement/configmanagements", "ConfigManagement", management),
            found("namespaces/config-management-system/deployments", "Deployment", deployment),
            found("namespaces/config-management-system/pods", "Pod", pod),
            found("namespaces/config-management-system/ConfigMaps", "ConfigMap", config),
            found("namespaces/config-management-system/events", "Event", event),
        ],
        logs: vec![Log {
            path: "namespaces/config-management-system/nomos-agent-1/agent.log".to_owned(),
            text: log.to_owned(),
        }],
        secrets: vec![secret],
        missing: vec![format!("log of x: {failed}")],
    }
}

#[test]
fn no_secret_is_in_a_report() {
    let said = "Error: cannot log in to https://me:in-a-url-user@git.example with in-data-4f81\n";
    let (files, missing) = files("gke_p/x:1", &gathered(), said, said);
    assert_eq!(missing.len(), 1);
    let bytes = archive::zipped("bug_report_1", &files).expect("a zip file");
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).expect("a zip file");
    let mut whole = String::new();
    for at in 0..zip.len() {
        let mut file = zip.by_index(at).expect("a file");
        whole.push_str(&format!("==> {}\n", file.name().expect("a name")));
        file.read_to_string(&mut whole).expect("text");
    }
    for secret in SECRETS {
        for form in [secret.to_owned(), STANDARD.encode(secret)] {
            assert!(!whole.contains(&form), "{form} is in the report:\n{whole}");
        }
    }
    // The facts that a reader needs are there.
    for there in [
        "==> bug_report_1/raw/gke_p_x_1/cluster/configmanagement/configmanagements.yaml",
        "==> bug_report_1/raw/gke_p_x_1/namespaces/config-management-system/RootSync-root-sync.yaml",
        "==> bug_report_1/raw/gke_p_x_1/namespaces/config-management-system/nomos-agent-1/agent.log",
        "==> bug_report_1/raw/gke_p_x_1/namespaces/config-management-system/pods.yaml",
        "==> bug_report_1/processed/gke_p_x_1/status.txt",
        "==> bug_report_1/processed/gke_p_x_1/version.txt",
        "==> bug_report_1/missing.txt",
        "repo: https://git.example/x",
        "configsync.gke.io/approve-prune: abc.def",
        "clusterName: prod",
        "--cluster-name=prod",
        "name: TOKEN",
        "nodeName: node-1",
        "image: nomos-agent:1",
        "HTTPS_PROXY: <withheld>",
        "the sync is synced",
        "the password <withheld> is wrong",
    ] {
        assert!(whole.contains(there), "no {there:?} in the report:\n{whole}");
    }
}
