//! Values that are declared empty: where that is a statement it is put back, and where the API server does not store it nothing is
//! done.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, installed, shared};

const NAME: &str = "empty-values";
const STATEMENTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: empty-values}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: empty-values}
spec: {podSelector: {}, policyTypes: [Ingress, Egress], ingress: [], egress: []}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: nothing, namespace: empty-values}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: nobody, namespace: empty-values}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: nothing}
subjects: []
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: empty-values}
spec: {selector: {app: web}, externalIPs: [], ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: open, namespace: empty-values}
data: {}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: empty-values}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {example.com/empty-values: "true"}}]}
rules: []
"#;

/// A field that is declared empty and filled by a user.
pub(crate) fn are_put_back(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("all.yaml", STATEMENTS)?;
    let sync = Sync::unstructured(cluster, NAME, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAME}");
    let policy = format!("/apis/networking.k8s.io/v1/namespaces/{NAME}/networkpolicies/deny");
    let configmap = format!("/api/v1/namespaces/{NAME}/configmaps/open");
    let cluster_role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/empty-values";

    cluster.patch(&configmap, &json!({"data": {"theirs": "1"}}))?;
    let rule = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]});
    let user = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"});
    for (path, patch, pointer) in [
        (&policy, json!({"spec": {"podSelector": {"matchLabels": {"app": "one"}}}}), "/spec/podSelector"),
        (&policy, json!({"spec": {"ingress": [{}]}}), "/spec/ingress"),
        (&format!("{rbac}/roles/nothing"), json!({"rules": [rule]}), "/rules"),
        (&format!("{rbac}/rolebindings/nobody"), json!({"subjects": [user]}), "/subjects"),
        (
            &format!("/api/v1/namespaces/{NAME}/services/web"),
            json!({"spec": {"externalIPs": ["203.0.113.7"]}}),
            "/spec/externalIPs",
        ),
    ] {
        cluster.patch(path, &patch)?;
        await_condition(&format!("{pointer} of {path} is empty again"), || {
            let live = cluster.get(path)?;
            let found = live.pointer(pointer).unwrap_or(&Value::Null);
            ensure!([json!(null), json!([]), json!({})].contains(found), "{found}");
            Ok(())
        })?;
    }
    // The controller of aggregated roles owns their rules, and what others add to a map stays.
    let role = cluster.get(cluster_role)?;
    let entries = role["metadata"]["managedFields"].as_array().into_iter().flatten();
    let owners: Vec<_> = entries.filter(|entry| !entry["fieldsV1"]["f:rules"].is_null()).collect();
    ensure!(!owners.iter().any(|entry| entry["manager"] == "configsync.gke.io"), "{owners:#?}");
    ensure!(cluster.get(&configmap)?["data"]["theirs"] == "1", "it is gone");
    await_condition("what was put back is told, and nothing else", || {
        let events = notes(cluster, NAME)?;
        for word in ["podSelector", "ingress", "rules", "subjects", "externalIPs"] {
            ensure!(events.iter().any(|note| note.contains(word)), "no {word} in {events:#?}");
        }
        ensure!(!events.iter().any(|note| note.contains("configmap/")), "{events:#?}");
        Ok(())
    })
}

fn notes(cluster: &Cluster, namespace: &str) -> Result<Vec<String>> {
    let events = cluster.get(&format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"))?;
    let items = events["items"].as_array().into_iter().flatten();
    let drift = items.filter(|event| event["reason"] == "DriftCorrected");
    Ok(drift.filter_map(|event| Some(event["note"].as_str()?.to_owned())).collect())
}

const ZEROES: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: zeroes}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: zeroes}
spec:
  replicas: 1
  paused: false
  minReadySeconds: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {creationTimestamp: null, labels: {app: web}}
    spec:
      hostNetwork: false
      serviceAccountName: ""
      nodeSelector: {}
      volumes: []
      containers:
      - name: web
        image: registry.example.com/web:1
        tty: false
        env: [{name: HTTP_PROXY, value: ""}, {name: LEVEL, value: info}]
        volumeMounts: []
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: zeroes}
spec: {clusterIP: "", type: ClusterIP, loadBalancerIP: "", selector: {app: web}, ports: [{port: 80, nodePort: 0}]}
---
apiVersion: v1
kind: Secret
metadata: {name: tls, namespace: zeroes}
data:
  token: |
    c2VjcmV0
    LXRva2Vu
"#;

/// Values that the API server does not store, fills or spells in its own way, over a restart, foreign changes and audits.
pub(crate) fn cause_no_drift(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let first = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    repository.write("all.yaml", ZEROES)?;
    let sync = Sync::unstructured(&cluster, "root-sync", repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let namespace = "/api/v1/namespaces/zeroes";
    let secret = format!("{namespace}/secrets/tls");
    ensure!(cluster.get(&secret)?["data"]["token"] == "c2VjcmV0LXRva2Vu", "another value");
    first.terminate()?;

    let from = cluster.now()?;
    let second = agent(&cluster, &["--audit-period", "1s"])?;
    let deployment = "/apis/apps/v1/namespaces/zeroes/deployments/web".to_owned();
    let note = json!({"metadata": {"annotations": {"note": "hello"}}});
    for path in [&deployment, &format!("{namespace}/services/web"), &secret] {
        cluster.patch(path, &note)?;
    }
    await_condition("two audits have read the Secrets", || {
        let (requests, _) = cluster.requests(from)?;
        let audits = requests.iter().filter(|request| request.verb == "list" && request.resource == "secrets");
        ensure!(audits.count() >= 4, "not yet");
        Ok(())
    })?;
    cluster.patch(&deployment, &json!({"spec": {"replicas": 3}}))?;
    await_condition("drift is told", || {
        ensure!(!notes(&cluster, "zeroes")?.is_empty(), "not yet");
        Ok(())
    })?;
    let told = notes(&cluster, "zeroes")?;
    ensure!(told.len() == 1 && told[0].contains("replicas"), "{told:#?}");
    let log = second.log().lines(0).join("\n");
    ensure!(log.matches("drift corrected").count() == 1, "{log}");
    ensure!(!log.contains("c2VjcmV0"), "a value is in the log");
    Ok(())
}
