//! `nomos export`: a cluster becomes a repository, and the repository a cluster.

pub(crate) mod admin;
pub(crate) mod disaster;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::cluster::{Cluster, Kind};
use tests::exported::{files, nomos, objects, same_export, unchanged};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, config_map_path, installed};

const NAMESPACED: &str = include_str!("export/namespaced.yaml");
const CLUSTER: &str = include_str!("export/cluster.yaml");
pub(crate) const CRD: &str = include_str!("export/crd.yaml");
/// The least that the API server accepts of each built-in kind.
const BASES: &str = include_str!("../judge/bases.yaml");

/// The Namespaces with the objects of [`NAMESPACED`], each with the way in which kubectl makes them and a port. The API
/// server chooses [the first 86](https://kubernetes.io/docs/concepts/services-networking/service/#avoid-nodeport-collisions) last.
const WAYS: [(&str, &[&str], &str); 3] = [
    ("created", &["create"], "30001"),
    ("applied", &["apply"], "30002"),
    ("server-side", &["apply", "--server-side"], "30003"),
];
/// The Namespace with an object of each kind.
const BASE: &str = "base";
pub(crate) fn round_trip(kind: Kind) -> Result<()> {
    let home = TempDir::new()?;
    let first = installed(kind)?;
    make_objects(&first, home.path())?;
    let repository = Repository::empty()?;
    let path = repository.url();
    let said = nomos(&first, &["export", "--path", &path], 0)?;
    for part in [
        "Secrets, which are not exported:\n   applied/key\n",
        "default/shop   1 objects\n",
        "PersistentVolumeClaims: their contents are not in the export",
        " namespaces/shop\n",
    ] {
        ensure!(said.contains(part), "{part:?} is missing in {said}");
    }
    ensure!(!said.contains("dry run was refused"), "{said}");
    nomos(&first, &["vet", "--path", &path], 0)?;
    let exported = files(&repository.path())?;
    is_as_meant(&exported)?;
    let refused = nomos(&first, &["export", "--path", &path], 2)?;
    ensure!(refused.contains("is not empty: it contains cluster"), "{refused}");
    lacks_secrets_alone(&first, &path)?;

    other_forms(&first)?;
    is_written_once(&first, &path)?;

    // On the same cluster the agent adopts the objects and changes none.
    let before = objects(&first)?;
    let agent_of_first = agent(&first, &[])?;
    let sync = Sync::hierarchical(&first, "root-sync", repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    unchanged(&before, &objects(&first)?)?;
    same_export(&first, &[], &exported)?;
    check_tells(&first, &path)?;
    let repository = Arc::clone(&sync.repository);
    drop(agent_of_first);
    drop(sync);
    drop(first);

    // An empty cluster becomes the same.
    let second = installed(kind)?;
    let _agent = agent(&second, &[])?;
    let sync = Sync::hierarchical(&second, "root-sync", repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    same_export(&second, &[], &exported)
}

/// Makes objects of many kinds as people do.
fn make_objects(cluster: &Cluster, home: &Path) -> Result<()> {
    kubectl(cluster, home, &["create"], CRD)?;
    for kind in ["v1/gadgets", "v1/widgets", "v2/widgets"] {
        await_condition("the kind is served", || cluster.get(&format!("/apis/export.example.com/{kind}")))?;
    }
    kubectl(cluster, home, &["create"], CLUSTER)?;
    for (namespace, how, port) in WAYS {
        let text = NAMESPACED.replace("NAMESPACE", namespace).replace("PORT", port);
        kubectl(cluster, home, &[how, &["--namespace", namespace]].concat(), &text)?;
    }
    cluster.create_namespace(BASE)?;
    await_condition("the Namespace has its account", || {
        cluster.get(&format!("/api/v1/namespaces/{BASE}/serviceaccounts/default"))
    })?;
    let versions = cluster.kubectl(&["api-versions"])?;
    let mut all = String::new();
    for document in serde_yaml::Deserializer::from_str(
        &BASES.replace("NAMESPACE", BASE).replace("NAME", "base").replace("ADDRESS", "10.7.0.1"),
    ) {
        let mut object = Value::deserialize(document)?;
        let version = object["apiVersion"].as_str().context("a version")?.to_owned();
        let is_served = versions.lines().any(|served| served == version);
        let others = ["Namespace", "Node", "Event", "ControllerRevision", "HorizontalPodAutoscaler"];
        if !is_served || others.iter().any(|kind| object["kind"] == *kind) {
            continue;
        }
        if object["metadata"]["name"].is_null() {
            let name = match object["kind"].as_str() {
                Some("IPAddress") => "10.7.0.1".to_owned(),
                _ => format!("base-{}", version.rsplit('/').next().unwrap_or_default()),
            };
            object["metadata"] = json!({"name": name});
        }
        all.push_str(&format!("---\n{}", serde_yaml::to_string(&object)?));
    }
    kubectl(cluster, home, &["create", "--namespace", BASE], &all)?;
    await_condition("the Namespaces have their accounts", || {
        let patch = json!({"imagePullSecrets": [{"name": "registry"}]});
        cluster.patch("/api/v1/namespaces/created/serviceaccounts/default", &patch)
    })?;
    Ok(())
}

fn kubectl(cluster: &Cluster, home: &Path, how: &[&str], text: &str) -> Result<()> {
    let file = home.join("objects.yaml");
    fs::write(&file, text)?;
    let file = file.display().to_string();
    cluster.kubectl(&[how, &["--filename", &file]].concat()).map(|_| ())
}

/// Nothing is exported but what people meant.
fn is_as_meant(exported: &BTreeMap<String, String>) -> Result<()> {
    let text = exported.iter().map(|(path, text)| format!("# {path}\n{text}")).collect::<String>();
    for word in [
        "\nstatus:",
        ": null",
        "metadata: {}",
        "managedFields",
        "resourceVersion",
        "creationTimestamp",
        "uid",
        "clusterIPs",
        "ipFamilies",
        "dnsPolicy: ClusterFirst",
        "terminationMessagePath",
        "last-applied",
        "kube-root-ca",
        "kube-system",
        "config-management-system",
        "sesame",
        "of-helm",
        "root-reconciler",
    ] {
        ensure!(!text.contains(word), "{word:?} is exported:\n{text}");
    }
    let is = |path: &str, expected: &str| {
        let found = exported.get(path).with_context(|| format!("no {path} in {:#?}", exported.keys()))?;
        ensure!(found == expected, "{path}:\n{found}");
        Ok(())
    };
    // Their Namespaces have a label in common.
    let shared = |name: &str| format!("namespaces/shop/{name}.yaml");
    is(&shared("service-assigned-port"), SERVICE)?;
    is(&shared("gadget-small"), GADGET)?;
    is(&shared("widget-of-v1"), &WIDGET.replace("SPEC", "color: red\n  shape: round"))?;
    is(&shared("widget-of-v2"), &WIDGET.replace("v1", "v2").replace("SPEC", "color: red"))?;
    is(&shared("persistent-volume-claim-data"), CLAIM)?;
    is(&shared("deployment-scaled"), SCALED)?;
    for (namespace, _, port) in WAYS {
        let file = |name: &str| format!("namespaces/shop/{namespace}/{name}.yaml");
        let chosen = SERVICE.replace("assigned", "chosen").replace("- port", &format!("- nodePort: {port}\n    port"));
        is(&file("service-chosen-port"), &chosen)?;
        is(&file("pod-bare"), &POD.replace("PORT", port))?;
        ensure!(exported.contains_key(&file("service-account-default")) == (namespace == "created"));
    }
    Ok(())
}

/// Secrets of the cluster that people made.
const SECRETS: usize = 4;

/// An unstructured repository, with the objects of Helm and with Secrets, and the Namespace that one flag chooses.
fn other_forms(cluster: &Cluster) -> Result<()> {
    let home = TempDir::new()?;
    let directory = |name: &str| home.path().join(name).display().to_string();
    let (whole, one) = (directory("whole"), directory("one"));
    let unstructured = ["--source-format=unstructured"];
    let secrets = ["--helm", "--secrets=plain", "--plain-secrets-in-git"];
    nomos(cluster, &[&["export", "--path", &whole], &unstructured[..], &secrets].concat(), 0)?;
    nomos(cluster, &[&["vet", "--path", &whole], &unstructured[..]].concat(), 0)?;
    nomos(cluster, &["export", "--check", &whole], 0)?;
    let found = files(Path::new(&whole))?;
    let secret = found.get("namespaces/created/secret-key.yaml").context("the Secret is missing")?;
    let expected = "data:\n  password: c2VzYW1l\nkind: Secret\nmetadata:\n  name: key\n  namespace: created\n";
    ensure!(secret.contains(expected), "{secret}");
    let of_helm = found.get("namespaces/default/config-map-of-helm.yaml").context("the object of Helm is missing")?;
    ensure!(!of_helm.contains("helm.sh") && !of_helm.contains("managed-by"), "{of_helm}");

    nomos(cluster, &["export", "--path", &one, "-n", "applied", "--kind", "gadget", "-l", "!never"], 0)?;
    let names: Vec<String> = files(Path::new(&one))?.into_keys().collect();
    let expected = [
        "cluster/gadgets.export.example.com.yaml",
        "namespaces/applied/gadget-large.yaml",
        "namespaces/applied/gadget-small.yaml",
        "namespaces/applied/namespace.yaml",
        "system/repo.yaml",
    ];
    ensure!(names == expected, "{names:#?}");
    let unknown = nomos(cluster, &["export", "--path", &directory("none"), "-n", "absent"], 2)?;
    ensure!(unknown.contains("the cluster control-plane has no Namespace absent"), "{unknown}");
    Ok(())
}

/// Hydrate gives the same objects, whatever Namespaces share.
fn is_written_once(cluster: &Cluster, path: &str) -> Result<()> {
    let home = TempDir::new()?;
    let directory = |name: &str| home.path().join(name).display().to_string();
    let (flat, of_flat, of_shared) = (directory("flat"), directory("of-flat"), directory("of-shared"));
    nomos(cluster, &["export", "--path", &flat, "--flat"], 0)?;
    nomos(cluster, &["hydrate", "--path", &flat, "--output", &of_flat], 0)?;
    nomos(cluster, &["hydrate", "--path", path, "--output", &of_shared], 0)?;
    for (namespace, ..) in WAYS {
        let claim = format!("{flat}/namespaces/{namespace}/persistent-volume-claim-data.yaml");
        ensure!(Path::new(&claim).exists(), "no {claim}");
    }
    let (of_flat, of_shared) = (files(Path::new(&of_flat))?, files(Path::new(&of_shared))?);
    ensure!(of_flat.len() > 100 && of_flat == of_shared, "{:#?}\n{:#?}", of_flat.keys(), of_shared.keys());
    Ok(())
}

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: assigned-port
spec:
  ports:
  - port: 80
  selector:
    app: web
  type: NodePort
";
const GADGET: &str = "\
apiVersion: export.example.com/v1
kind: Gadget
metadata:
  name: small
spec:
  parts:
  - name: a
  - name: b
";
const WIDGET: &str = "\
apiVersion: export.example.com/v1
kind: Widget
metadata:
  name: of-v1
spec:
  SPEC
";
const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  labels:
    app: bare
  name: bare
spec:
  containers:
  - env:
    - name: EMPTY
    image: a:1
    name: a
    ports:
    - containerPort: PORT
      hostPort: PORT
  priorityClassName: export-urgent
  tolerations:
  - key: example.com/x
    operator: Exists
  volumes:
  - downwardAPI: {}
    name: nothing
";
/// It has the default class of the cluster.
const CLAIM: &str = "\
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: data
spec:
  accessModes:
  - ReadWriteOnce
  resources:
    requests:
      storage: 2Gi
";
const SCALED: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: scaled
spec:
  selector:
    matchLabels:
      app: scaled
  strategy:
    type: Recreate
  template:
    metadata:
      labels:
        app: scaled
    spec:
      containers:
      - image: a:1
        name: a
";

/// The Secrets, which were not exported, are all that `--check` misses.
fn lacks_secrets_alone(cluster: &Cluster, path: &str) -> Result<()> {
    let said = nomos(cluster, &["export", "--check", path], 1)?;
    let missing: Vec<&str> = said.lines().filter(|line| line.ends_with(" is not in the repository")).collect();
    ensure!(missing.len() == SECRETS && missing.iter().all(|line| line.starts_with("secret/")), "{said}");
    ensure!(said.contains(&format!(": {SECRETS} not in the repository, 0 different\n")), "{said}");
    Ok(())
}

/// `--check` names the objects and the fields that are not in git, and takes other spellings for the same.
fn check_tells(cluster: &Cluster, path: &str) -> Result<()> {
    lacks_secrets_alone(cluster, path)?;
    let more = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}});
    cluster.create("/api/v1/namespaces/created/configmaps", &more)?;
    cluster.patch(&config_map_path("created", "settings"), &json!({"data": {"added": "x"}}))?;
    let said = nomos(cluster, &["export", "--check", path], 1)?;
    for part in [
        "configmap/created/more is not in the repository\n",
        "configmap/created/settings: .data.added is not in the repository, or with another value\n",
        &format!(": {} not in the repository, 1 different\n", SECRETS + 1),
    ] {
        ensure!(said.contains(part), "{part:?} is missing in {said}");
    }
    let data = nomos(cluster, &["export", "--check", path, "-n", "created", "--kind", "configmap", "-o", "json"], 1)?;
    let data: Value = serde_json::from_str(&data)?;
    ensure!(data["objects"] == json!(["configmap/created/more"]), "{data:#}");
    cluster.delete(&config_map_path("created", "more"))?;
    cluster.patch(&config_map_path("created", "settings"), &json!({"data": {"added": null}}))?;
    lacks_secrets_alone(cluster, path)
}
