//! Random objects of every kind are exported. A sync of the export changes none of them, and makes the same on an empty cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use agent::model::object::{Object, ObjectId};
use anyhow::{Context as _, Result, ensure};
use http::Method;
use serde::Deserialize as _;
use serde_json::Value;
use tests::agent_process::Agent;
use tests::cluster::{Cluster, Kind};
use tests::exported::{files, nomos, objects, same_export, unchanged};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::{Court, custom, kinds, round, say, seeds};

/// The clusters of a usual run.
const SEEDS: &str = "0";
/// Objects of each kind.
const OF_EACH: u64 = 2;
/// Kinds with a large CRD.
const LARGE: u64 = 2;
/// Objects of each of those.
const OF_EACH_LARGE: u64 = 5;
/// Groups whose objects decide about requests and kinds of the whole cluster.
const LEFT_OUT: [&str; 2] = ["admissionregistration.k8s.io", "apiregistration.k8s.io"];
/// What admission controllers add to others by: the default classes of Ingresses and Pods, and the default resources of Pods.
const DEFAULTS: [&str; 3] = [
    r#"{"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "spec": {"controller": "example.com/a"},
        "metadata": {"name": "usual", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}}"#,
    r#"{"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 5, "globalDefault": true, "metadata": {"name": "usual"}}"#,
    r#"{"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "usual", "namespace": "judged-pods"},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "4"}, "defaultRequest": {"cpu": "1", "memory": "1Mi"}}]}}"#,
];
/// A field that an export has though nobody sent it: its kind, its path, and the reason.
type ExplainedField = (&'static str, fn(&str) -> bool, &'static str);
const EXPLAINED: [ExplainedField; 6] = [
    ("Service", |path| path.ends_with("/*"), "who sent an empty list owns it, with what the API server fills in"),
    ("ReplicationController", is_label, "those of the template, where it has none; a sync gives it some"),
    ("Job.batch", is_label, "those of the template, where it has none; a sync gives it some"),
    (
        "PersistentVolumeClaim",
        |path| path == "/spec/dataSourceRef",
        "the API server copies it from dataSource, or that from it",
    ),
    ("*", |path| path.ends_with("/emptyDir"), "a volume that has no source; people nearly always write it"),
    ("*", |path| path == "/spec", "a reader expects one, be it empty"),
];
/// Secrets are objects like others here.
const FLAGS: [&str; 2] = ["--secrets=plain", "--plain-secrets-in-git"];
const SYNC: &str = "root-sync";

pub(crate) fn is_the_cluster_again() -> Result<()> {
    for seed in seeds("NOMOS_EXPORT_SEEDS", SEEDS)? {
        play(seed).with_context(|| format!("NOMOS_EXPORT_SEEDS={seed}"))?;
    }
    Ok(())
}

fn play(seed: u64) -> Result<()> {
    let first = Cluster::start(Kind::ControlPlane)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // Its webhook converts objects of both clusters.
    let court = Court::complete(&runtime, first.kubeconfig())?;
    let made = runtime.block_on(make(&court, seed))?;
    let repository = Repository::empty()?;
    let path = repository.url();
    let said = nomos(&first, &[&["export", "--path", &path], &FLAGS[..]].concat(), 0)?;
    ensure!(!said.contains("dry run was refused"), "{said}");
    nomos(&first, &["vet", "--path", &path], 0)?;
    let exported = files(&repository.path())?;
    has_no_more(&exported, &made)?;
    let commit = repository.commit()?;

    first.install()?;
    let before = objects(&first)?;
    let agent = follow(&first, &repository, &commit)?;
    unchanged(&before, &objects(&first)?)?;
    same_export(&first, &FLAGS, &exported)?;
    drop(agent);
    drop(first);

    let second = Cluster::start(Kind::ControlPlane)?;
    second.install()?;
    let _agent = follow(&second, &repository, &commit)?;
    same_export(&second, &FLAGS, &exported)?;
    drop(court);
    Ok(())
}

/// Makes random objects of all kinds, says how many, and returns what was sent.
async fn make(court: &Court, seed: u64) -> Result<BTreeMap<ObjectId, Object>> {
    let mut own = Vec::new();
    kinds::make_namespaces(&court.cluster, &court.kinds).await?;
    for text in DEFAULTS {
        let object: Object = serde_json::from_str(text)?;
        let path = court.cluster.path(&object.id(), "").await?;
        let (collection, _) = path.rsplit_once('/').context("a path")?;
        court.cluster.request::<Value>(Method::POST, collection, crate::JSON, text.as_bytes().to_vec()).await?;
    }
    for number in 0..custom::KINDS {
        own.push(custom::define(&court.cluster, &court.converter, seed * custom::KINDS + number).await?);
    }
    for number in 0..LARGE {
        own.push(custom::define_large(&court.cluster, seed * LARGE + number).await?);
    }
    kinds::make_namespaces(&court.cluster, &own).await?;
    court.cluster.discover().await?;
    let (mut made, mut number, mut without) = (BTreeMap::new(), seed << 12, Vec::new());
    for kind in court.kinds.iter().chain(&own).filter(|kind| !LEFT_OUT.contains(&&*kind.group)) {
        let count = if kind.group.starts_with("large") { OF_EACH_LARGE } else { OF_EACH };
        let before = made.len();
        for _ in 0..count {
            number += 1;
            let sent = round::make(&court.cluster, &court.schemas, kind, number).await?;
            made.extend(sent.map(|object| (object.id(), object)));
        }
        if made.len() == before {
            without.push(format!("{}.{}", kind.kind, kind.group));
        }
    }
    say(&format!("seed {seed}: {} objects; kinds of which the API server took none: {without:?}", made.len()));
    Ok(made)
}

/// No object has a field in the export that nobody sent: a default value of the API server, or one that the cluster assigned. An object
/// that is exported in another version than it was made in is not compared.
fn has_no_more(exported: &BTreeMap<String, String>, made: &BTreeMap<ObjectId, Object>) -> Result<()> {
    let (mut compared, mut more) = (0, BTreeSet::new());
    for document in exported.values().flat_map(|text| serde_yaml::Deserializer::from_str(text)) {
        let object: Object = serde_json::from_value(Value::deserialize(document)?)?;
        // Files in the directory of a Namespace do not name it.
        let is_same = |id: &ObjectId| id.group_kind() == object.group_kind() && id.name() == object.name();
        let Some(sent) = made.iter().find(|(id, _)| is_same(id)).map(|(_, sent)| sent) else { continue };
        if sent.0["apiVersion"] == object.0["apiVersion"] {
            compared += 1;
            let mut fields = Vec::new();
            added(&Value::Object(object.0.clone()), &Value::Object(sent.0.clone()), "", &mut fields);
            let kind = object.group_kind().to_string();
            fields.retain(|field| !is_explained(&kind, field));
            more.extend(fields.into_iter().map(|field| format!("{kind} {field}")));
        }
    }
    say(&format!("{compared} of them are exported in the version in which they were made"));
    let more: Vec<String> = more.into_iter().collect();
    ensure!(compared > 0 && more.is_empty(), "fields that nobody sent:\n{}", more.join("\n"));
    Ok(())
}

fn is_label(path: &str) -> bool {
    path.starts_with("/metadata/labels")
}

fn is_explained(kind: &str, field: &str) -> bool {
    let path = field.split(' ').next().unwrap_or_default();
    EXPLAINED.iter().any(|(row, is_meant, _)| (*row == "*" || *row == kind) && is_meant(path))
}

/// Adds the fields that an exported value has and the one that was sent lacks, with their values.
fn added(exported: &Value, sent: &Value, at: &str, found: &mut Vec<String>) {
    match (exported, sent) {
        (Value::Object(exported), Value::Object(sent)) => {
            for (key, value) in exported {
                let at = format!("{at}/{key}");
                match sent.get(key) {
                    Some(sent) => added(value, sent, &at, found),
                    None => found.push(format!("{at} {value}")),
                }
            }
        }
        (Value::Array(exported), Value::Array(sent)) => {
            for (number, value) in exported.iter().enumerate() {
                match sent.get(number) {
                    Some(sent) => added(value, sent, &format!("{at}/*"), found),
                    None => found.push(format!("{at}/* {value}")),
                }
            }
        }
        _ => {}
    }
}

/// Starts an agent and a RootSync of the export, and waits until that is synced.
fn follow(cluster: &Cluster, repository: &Repository, commit: &str) -> Result<Agent> {
    let program = Path::new(env!("CARGO_BIN_EXE_agent-for-stories"));
    let agent = Agent::start(program, &cluster.kubeconfig_of_agent(), &[])?;
    cluster.create_root_sync(SYNC, repository, "hierarchy")?;
    await_condition("the export is synced", || {
        let status = &cluster.root_sync(SYNC)?["status"];
        ensure!(status["lastSyncedCommit"] == commit, "{:#}", status["sync"]["errors"]);
        Ok(())
    })?;
    Ok(agent)
}
