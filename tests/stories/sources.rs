//! Sources as people have them: made for kustomize, with values that are not encoded, exported with kubectl. `nomos vet` and the
//! agent say the same about them.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, config_map, config_map_path, namespace, shared};

const KUSTOMIZED: &str = "kustomized";
const ENCODED: &str = "encoded";
const EXPORTED: &str = "exported";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

pub(crate) fn for_kustomize_are_refused(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("base/settings.yaml", &config_map("default", KUSTOMIZED, "value"))?;
    repository.write("base/Kustomization", "resources: [settings.yaml]\nnamePrefix: prod-\n")?;
    let vet = ["vet", "--source-format=unstructured", "--no-api-server-check", "--path", &repository.url()];
    let (ended, said) = cluster.nomos(&vet);
    ensure!(ended == 1 && said.contains("KNV1068: ") && said.contains("base/Kustomization"), "{ended}\n{said}");

    let sync = Sync::unstructured(cluster, KUSTOMIZED, repository)?;
    let object = sync.await_error("1068")?;
    ensure!(object["status"].to_string().contains("kustomize"), "{object:#}");
    ensure!(!cluster.exists(&config_map_path("default", KUSTOMIZED))?, "applied as it is");
    sync.repository.remove("base/Kustomization")?;
    sync.commit()?;
    ensure!(cluster.exists(&config_map_path("default", KUSTOMIZED))?, "not applied");
    Ok(())
}

pub(crate) fn values_not_encoded_fail_alone(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(ENCODED))?;
    let secret = |name: &str, value: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": ENCODED},
            "data": {"user": "YWRtaW4=", "password": value},
        })
    };
    repository.write("wrong.json", &secret("wrong", "hunter2!").to_string())?;
    repository.write("right.json", &secret("right", "aHVu\ndGVyMiE=\n").to_string())?;
    let binary = config_map(ENCODED, "binary", "value") + "binaryData: {blob: '***'}\n";
    repository.write("binary.yaml", &binary)?;
    let vet = ["vet", "--source-format=unstructured", "--no-api-server-check", "--path", &repository.url()];
    let (ended, said) = cluster.nomos(&vet);
    ensure!(ended == 1 && said.contains("`data.password`") && said.contains("`binaryData.blob`"), "{ended}\n{said}");
    ensure!(!said.contains("hunter2"), "{said}");

    let sync = Sync::unstructured(cluster, ENCODED, repository)?;
    let status = await_condition("both are told by their keys", || {
        let status = sync.await_error("2009")?["status"].to_string();
        ensure!(status.contains("`data.password` is not base64"), "{status}");
        ensure!(status.contains("`binaryData.blob` is not base64"), "{status}");
        Ok(status)
    })?;
    ensure!(!status.contains("hunter2"), "{status}");
    let right = format!("/api/v1/namespaces/{ENCODED}/secrets/right");
    await_condition("the others are applied", || cluster.get(&right))?;
    Ok(())
}

pub(crate) fn exported_annotation_is_no_drift(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    cluster.create_namespace(EXPORTED)?;
    let by_kubectl = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"key": "value"},
        "metadata": {"name": "settings", "annotations": {LAST_APPLIED: "{}"}},
    });
    let made = format!("/api/v1/namespaces/{EXPORTED}/configmaps?fieldManager=kubectl-client-side-apply");
    cluster.create(&made, &by_kubectl)?;
    let annotated = format!("metadata:\n  annotations:\n    {LAST_APPLIED}: '{{}}'\n");
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(EXPORTED))?;
    repository.write("settings.yaml", &config_map(EXPORTED, "settings", "value").replace("metadata:\n", &annotated))?;
    repository.write("witness.yaml", &config_map(EXPORTED, "witness", "value"))?;
    let sync = Sync::unstructured(cluster, EXPORTED, repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    let path = config_map_path(EXPORTED, "settings");
    let synced = cluster.get(&path)?;
    ensure!(synced["metadata"]["annotations"][LAST_APPLIED] == "{}", "{synced:#}");
    // The witness is in the same watch: once its drift is put back, the agent has seen all before.
    let witness = config_map_path(EXPORTED, "witness");
    cluster.patch(&witness, &json!({"data": {"key": "other"}}))?;
    await_condition("drift is put back", || {
        ensure!(cluster.get(&witness)?["data"]["key"] == "value", "not yet");
        Ok(())
    })?;
    let later = cluster.get(&path)?;
    ensure!(later["metadata"]["resourceVersion"] == synced["metadata"]["resourceVersion"], "{later:#}");
    Ok(())
}
