//! Endpoints and EndpointSlices get the labels of their Service from a controller, and the agent must not prune them.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::wait::await_condition;

use crate::world::{Sync, shared};

const NAME: &str = "endpoints";
const PART_OF: &str = "applyset.kubernetes.io/part-of";

/// With an object of the kind in the repository the agent watches the kind, and sees the inherited labels.
const DECLARED: &str = "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: declared
addressType: IPv4
endpoints: []
";

pub(crate) fn are_left_alone(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let sync = Sync::go_hello(cluster, NAME)?;
    sync.repository.write(&format!("namespaces/{NAME}/slice.yaml"), DECLARED)?;
    sync.commit()?;
    run_a_pod(cluster)?;
    let endpoints = await_condition("the Endpoints have the labels of the Service", || {
        let endpoints = cluster.get(&format!("/api/v1/namespaces/{NAME}/endpoints/go-hello"))?;
        ensure!(endpoints["metadata"]["labels"][PART_OF].is_string(), "{endpoints:#}");
        ensure!(endpoints["subsets"][0]["addresses"][0]["ip"] == "10.9.8.7", "{endpoints:#}");
        Ok(endpoints)
    })?;
    let slice = await_condition("so has the EndpointSlice", || inherited(cluster))?;

    let from = cluster.now()?;
    sync.repository.replace(&format!("namespaces/{NAME}/deployment.yaml"), "value: hello", "value: hi")?;
    sync.repository.remove(&format!("namespaces/{NAME}/service-admin.yaml"))?;
    sync.commit()?;
    let after = cluster.get(&format!("/api/v1/namespaces/{NAME}/endpoints/go-hello"))?;
    ensure!(after["metadata"]["uid"] == endpoints["metadata"]["uid"], "the Endpoints were made anew");
    ensure!(inherited(cluster)?["metadata"]["uid"] == slice["metadata"]["uid"], "the EndpointSlice was made anew");
    let touched = cluster.writes(from)?;
    let mut touched = touched.iter().filter(|request| request.namespace == NAME);
    ensure!(touched.all(|request| !request.resource.starts_with("endpoint")), "the agent wrote to them");
    Ok(())
}

fn inherited(cluster: &Cluster) -> Result<Value> {
    let slices = cluster.get(&format!("/apis/discovery.k8s.io/v1/namespaces/{NAME}/endpointslices"))?;
    let mut items = slices["items"].as_array().into_iter().flatten();
    let of_service = |slice: &&Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "go-hello";
    let found = items.find(|slice| of_service(slice) && slice["metadata"]["labels"][PART_OF].is_string());
    found.cloned().context("no EndpointSlice with the labels of the Service")
}

/// A Pod that looks as if a kubelet ran it.
fn run_a_pod(cluster: &Cluster) -> Result<()> {
    let meta = |name: &str| json!({"name": name, "labels": {"app": "go-hello"}});
    cluster.create("/api/v1/nodes", &json!({"apiVersion": "v1", "kind": "Node", "metadata": meta("worker")}))?;
    let container = json!({"name": "go-hello", "image": "example.com/go-hello:1.0", "ports": [
        {"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090},
    ]});
    let pods = format!("/api/v1/namespaces/{NAME}/pods");
    let spec = json!({"nodeName": "worker", "containers": [container]});
    await_condition("the Pod is made", || {
        cluster.create(&pods, &json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta("by-hand"), "spec": spec}))
    })?;
    let status = json!({
        "phase": "Running",
        "podIP": "10.9.8.7",
        "podIPs": [{"ip": "10.9.8.7"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    });
    cluster.patch(&format!("{pods}/by-hand/status"), &json!({"status": status}))?;
    Ok(())
}
