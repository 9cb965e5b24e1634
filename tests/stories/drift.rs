//! Drift: fields that a user changes return to their declared values, and fields that a user adds stay.

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::cluster::{Cluster, Kind};
use tests::wait::await_condition;

use crate::world::{Sync, shared};

const NAME: &str = "drift";

pub(crate) fn returns(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let _sync = Sync::go_hello(cluster, NAME)?;
    let service = format!("/api/v1/namespaces/{NAME}/services/go-hello");
    let deployment = format!("/apis/apps/v1/namespaces/{NAME}/deployments/go-hello");

    kubectl(cluster, &["annotate", "service", "go-hello", "team=web"])?;
    kubectl(cluster, &["patch", "service", "go-hello", "-p", r#"{"spec": {"ports": [{"port": 80, "name": "web"}]}}"#])?;
    comes_back(cluster, &service, "/spec/ports/0/name", "http")?;
    let port = r#"[{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]"#;
    kubectl(cluster, &["patch", "service", "go-hello", "--type=json", "-p", port])?;
    comes_back(cluster, &service, "/spec/ports/0/port", 80)?;
    kubectl(cluster, &["label", "service", "go-hello", "app=other", "--overwrite"])?;
    comes_back(cluster, &service, "/metadata/labels/app", "go-hello")?;
    kubectl(cluster, &["scale", "deployment", "go-hello", "--replicas=5"])?;
    comes_back(cluster, &deployment, "/spec/replicas", 2)?;
    let edit = |kind: &str, script: &str| cluster.edit(&["-n", NAME, kind, "go-hello"], script);
    edit("service", "s/port: 80$/port: 81/")?;
    comes_back(cluster, &service, "/spec/ports/0/port", 80)?;
    edit("service", "s/^    app: go-hello$/    app: edited/")?;
    comes_back(cluster, &service, "/metadata/labels/app", "go-hello")?;
    edit("deployment", "s/replicas: 2$/replicas: 5/")?;
    comes_back(cluster, &deployment, "/spec/replicas", 2)?;
    // An item of a list in an item of another list: both would have one name.
    let ports = "/spec/template/spec/containers/0/ports";
    let port = format!(r#"[{{"op": "replace", "path": "{ports}/0/containerPort", "value": 8081}}]"#);
    kubectl(cluster, &["patch", "deployment", "go-hello", "--type=json", "-p", &port])?;
    comes_back(cluster, &deployment, &format!("{ports}/0/containerPort"), 8080)?;
    let live = cluster.get(&deployment)?;
    ensure!(live.pointer(ports).and_then(Value::as_array).map(Vec::len) == Some(2), "other ports: {live:#}");
    kubectl(cluster, &["delete", "deployment", "go-hello"])?;
    comes_back(cluster, &deployment, "/spec/replicas", 2)?;

    let live = cluster.get(&service)?;
    ensure!(live["metadata"]["annotations"]["team"] == "web", "the foreign annotation is gone: {live:#}");
    ensure!(live["spec"]["ports"].as_array().map(Vec::len) == Some(1), "more than one port: {live:#}");
    is_told(cluster)
}

fn kubectl(cluster: &Cluster, args: &[&str]) -> Result<String> {
    cluster.kubectl(&[&["-n", NAME], args].concat())
}

fn comes_back(cluster: &Cluster, path: &str, pointer: &str, declared: impl Into<Value>) -> Result<()> {
    let declared = declared.into();
    await_condition(&format!("{pointer} of {path} is {declared} again"), || {
        let live = cluster.get(path)?;
        ensure!(live.pointer(pointer) == Some(&declared), "it is {:?}", live.pointer(pointer));
        Ok(())
    })
}

/// Events say what was changed and by whom.
fn is_told(cluster: &Cluster) -> Result<()> {
    await_condition("there are Events", || {
        let events = cluster.get(&format!("/apis/events.k8s.io/v1/namespaces/{NAME}/events"))?;
        let notes: Vec<&str> = events["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|event| event["reason"] == "DriftCorrected")
            .filter_map(|event| event["note"].as_str())
            .collect();
        let told = |words: &[&str]| notes.iter().any(|note| words.iter().all(|word| note.contains(word)));
        ensure!(told(&["service/", "kubectl-patch", "port"]), "{notes:#?}");
        ensure!(told(&["service/", "kubectl-label", "app"]), "{notes:#?}");
        ensure!(told(&["service/", "kubectl-edit", "port"]), "{notes:#?}");
        ensure!(told(&["service/", "kubectl-edit", "app"]), "{notes:#?}");
        ensure!(told(&["deployment.apps/", "kubectl-edit", "replicas"]), "{notes:#?}");
        ensure!(told(&["deployment.apps/", "replicas"]), "{notes:#?}");
        ensure!(told(&["deployment.apps/", "deleted"]), "{notes:#?}");
        Ok(())
    })
}
