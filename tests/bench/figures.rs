//! The figures, one function each.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::compile::declared::DeclaredObject;
use agent::compile::parse::parse;
use agent::compile::{CompileOptions, NamespaceStrategy, SourceFormat, compile};
use agent::io::budget::ReadBudget;
use agent::io::files::read_dir;
use agent::model::metadata::{ROOT_SYNC, SyncId};
use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tests::controlplane::ControlPlane;
use tokio::task::JoinHandle;

use crate::row;
use crate::world::{Agent, NAMESPACE, Repository, Shown, between, name, requests, wait, watch};

/// Drifts that a distribution is made of.
const DRIFTS: usize = 200;
/// The object that is compared with those of the agent.
const BARE: &str = "bare";
/// Requests that the bare loop has in flight.
const LOOP: usize = 20;

/// Every figure for a repository of so many objects.
pub(super) async fn all(objects: usize) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("nomos-bench-{}-{objects}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let result = figures(&dir, objects).await;
    std::fs::remove_dir_all(&dir)?;
    result
}

async fn figures(dir: &Path, objects: usize) -> Result<()> {
    row(&format!("== {objects} ConfigMaps"), "");
    let repository = Repository::new(dir, objects)?;
    let bare = {
        let (_plane, client) = start().await?;
        bare_loop(&repository, &client).await?
    };
    row("bare loop, 20 in flight, objects a second", &format!("{bare:.0}"));

    let (plane, client) = start().await?;
    create_namespace(&client).await?;
    let mut events = watch(&client).await?;
    let agent = Agent::start(plane.kubeconfig(), &repository.flags())?;
    let (first, last) = first_and_last(&mut events, objects, "1").await?;
    let rate = (objects - 1) as f64 / (last - first).as_secs_f64();
    row("first sync, objects a second (share of the loop)", &format!("{rate:.0} ({:.2})", rate / bare));
    row("first sync, CPU seconds of the agent", &format!("{:.2}", agent.cpu()?));
    at_rest(&client, &agent, Duration::from_secs(5)).await?;
    let (all, anonymous) = agent.memory()?;
    row("memory at rest, MiB (of it no file)", &format!("{all:.1} ({anonymous:.1})"));

    let times = drifts(&client, &mut events, objects).await?;
    row("drift at rest, ms", &distribution(times));
    one_file(&client, &repository, &mut events, objects).await?;
    during_sync(&client, &repository, &mut events, objects).await?;
    at_rest(&client, &agent, Duration::from_secs(60)).await?;
    let (all, anonymous) = agent.memory()?;
    row("memory in the end, MiB (of it no file)", &format!("{all:.1} ({anonymous:.1})"));
    restart(&plane, &client, agent, &repository, &mut events).await
}

async fn start() -> Result<(ControlPlane, Client)> {
    let plane = ControlPlane::start_without_audit()?;
    let client = client(plane.kubeconfig()).await?;
    Ok((plane, client))
}

pub(super) async fn client(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

async fn create_namespace(client: &Client) -> Result<()> {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    let request = Request::post("/api/v1/namespaces").header("content-type", "application/json");
    client.request::<Value>(request.body(body.to_string().into_bytes())?).await?;
    Ok(())
}

/// The objects as the agent applies them, with nothing around: 20 server-side applies in flight.
pub(super) async fn bare_loop(repository: &Repository, client: &Client) -> Result<f64> {
    let declared = declared(repository)?;
    create_namespace(client).await?;
    let mut events = watch(client).await?;
    let count = declared.len();
    let applies = futures::stream::iter(declared.into_iter().map(|object| {
        let client = client.clone();
        async move {
            let context = r#"{"branch":"main","repo":"/tmp/repository"}"#;
            let body = serde_json::to_vec(&object.applied("0123456789012345678901234567890123456789", context))?;
            let path = format!(
                "/api/v1/namespaces/{NAMESPACE}/configmaps/{}?fieldManager=configsync.gke.io&force=true",
                object.id.name()
            );
            let request = Request::patch(path).header("content-type", "application/apply-patch+yaml").body(body)?;
            client.request_text(request).await?;
            anyhow::Ok(())
        }
    }));
    let applying = applies.buffer_unordered(LOOP).try_collect::<Vec<()>>();
    let (applied, shown) = tokio::join!(applying, first_and_last(&mut events, count, "1"));
    applied?;
    let (first, last) = shown?;
    Ok((count - 1) as f64 / (last - first).as_secs_f64())
}

fn declared(repository: &Repository) -> Result<Vec<Arc<DeclaredObject>>> {
    let files: Vec<_> =
        read_dir(repository.path(), &mut ReadBudget::new())?.files.iter().map(|file| Arc::new(parse(file))).collect();
    let settings = CompileOptions {
        sync: Some(SyncId::root(ROOT_SYNC)),
        namespaces: NamespaceStrategy::Implicit,
        cluster_name: String::new(),
        ..CompileOptions::offline(SourceFormat::Unstructured)
    };
    let set = compile(&files, &settings).declared.context("the repository does not compile")?;
    Ok(set.objects.into_values().filter(|object| object.id.kind() == "ConfigMap").collect())
}

/// When the first and the last of so many objects were live in this version.
pub(super) async fn first_and_last(
    events: &mut tokio::sync::mpsc::UnboundedReceiver<Shown>,
    objects: usize,
    version: &str,
) -> Result<(Instant, Instant)> {
    let is_it = |shown: &Shown| shown.version == version && shown.name.starts_with("object-");
    let first = wait(events, is_it).await?;
    let mut last = first;
    for _ in 1..objects {
        last = wait(events, is_it).await?;
    }
    Ok((first, last))
}

/// Another client changes one object after the other. Measures the time from the answer to each change until the watch shows that
/// the agent has put it back.
async fn drifts(
    client: &Client,
    events: &mut tokio::sync::mpsc::UnboundedReceiver<Shown>,
    objects: usize,
) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for drift in 0..DRIFTS {
        let object = name(drift * 7919 % objects);
        times.push(drift_of(client, events, &object).await?);
    }
    Ok(times)
}

async fn drift_of(
    client: &Client,
    events: &mut tokio::sync::mpsc::UnboundedReceiver<Shown>,
    object: &str,
) -> Result<f64> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"data": {"value": "drifted"}}));
    api.patch(object, &PatchParams { field_manager: Some("bench".into()), ..PatchParams::default() }, &patch).await?;
    let answered = Instant::now();
    wait(events, |shown| shown.name == object && shown.value == "drifted").await?;
    let restored = wait(events, |shown| shown.name == object && shown.value == "declared").await?;
    Ok(restored.saturating_duration_since(answered).as_secs_f64() * 1000.0)
}

pub(super) fn distribution(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    format!("p50 {:.1}, p99 {:.1}, max {:.1} ({} times)", at(0.5), at(0.99), at(1.0), times.len())
}

async fn one_file(
    client: &Client,
    repository: &Repository,
    events: &mut tokio::sync::mpsc::UnboundedReceiver<Shown>,
    objects: usize,
) -> Result<()> {
    let before = requests(client).await?;
    let object = objects / 2;
    repository.write(object..object + 1, 2)?;
    repository.commit("one file")?;
    let committed = Instant::now();
    let live = wait(events, |shown| shown.version == "2").await?;
    let took = live.saturating_duration_since(committed).as_secs_f64() * 1000.0;
    let after = rested(client).await?;
    row("commit of one file, ms from the end of git commit to live", &format!("{took:.1}"));
    row("commit of one file, requests", &between(&before, &after));
    Ok(())
}

/// The requests so far, once they have not grown for two seconds.
async fn rested(client: &Client) -> Result<BTreeMap<String, u64>> {
    let mut last = requests(client).await?;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = requests(client).await?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}

async fn during_sync(
    client: &Client,
    repository: &Repository,
    events: &mut tokio::sync::mpsc::UnboundedReceiver<Shown>,
    objects: usize,
) -> Result<()> {
    let mut others = watch(client).await?;
    let bare = bare_repairs(client).await?;
    repository.write(0..objects, 3)?;
    repository.commit("every file")?;
    let committed = Instant::now();
    let syncing = tokio::spawn(async move { first_and_last(&mut others, objects, "3").await });
    wait(events, |shown| shown.version == "3").await?;
    let (mut times, mut bare_times) = (Vec::new(), Vec::new());
    let mut drift = 0;
    while !syncing.is_finished() {
        let object = name(drift * 7919 % objects);
        times.push(drift_of(client, events, &object).await?);
        bare_times.push(drift_of(client, events, BARE).await?);
        drift += 1;
    }
    bare.abort();
    let (first, last) = syncing.await??;
    let took = (last - committed).as_secs_f64();
    row(
        "commit of every file, seconds to the last live (first)",
        &format!("{took:.1} ({:.2})", (first - committed).as_secs_f64()),
    );
    row("drift while it is applied, ms", &distribution(times));
    row("drift of a bare watch-and-repair loop meanwhile, ms", &distribution(bare_times));
    Ok(())
}

/// Makes an object of which nothing but a loop puts drift back: one apply for each change that a watch shows.
async fn bare_repairs(client: &Client) -> Result<JoinHandle<Result<()>>> {
    let body =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": BARE}, "data": {"value": "declared"}});
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let params = PatchParams::apply("bare").force();
    api.patch(BARE, &params, &Patch::Apply(&body)).await?;
    let mut events = watch(client).await?;
    Ok(tokio::spawn(async move {
        loop {
            wait(&mut events, |shown| shown.name == BARE && shown.value == "drifted").await?;
            api.patch(BARE, &params, &Patch::Apply(&body)).await?;
        }
    }))
}

async fn at_rest(client: &Client, agent: &Agent, time: Duration) -> Result<()> {
    let before = rested(client).await?;
    let cpu = agent.cpu()?;
    tokio::time::sleep(time).await;
    let after = requests(client).await?;
    let used = agent.cpu()? - cpu;
    row(
        &format!("{} s at rest, requests to the API server", time.as_secs()),
        &format!("{} (agent {used:.2} CPU s)", between(&before, &after)),
    );
    Ok(())
}

async fn restart(
    plane: &ControlPlane,
    client: &Client,
    agent: Agent,
    repository: &Repository,
    events: &mut tokio::sync::mpsc::UnboundedReceiver<Shown>,
) -> Result<()> {
    agent.stop()?;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({"data": {"value": "drifted"}}));
    let object = name(3);
    api.patch(&object, &PatchParams { field_manager: Some("bench".into()), ..PatchParams::default() }, &patch).await?;
    wait(events, |shown| shown.name == object && shown.value == "drifted").await?;
    let before = requests(client).await?;
    let started = Instant::now();
    let agent = Agent::start(plane.kubeconfig(), &repository.flags())?;
    let restored = wait(events, |shown| shown.name == object && shown.value == "declared").await?;
    row("restart, offline drift put back after ms", &format!("{:.0}", (restored - started).as_secs_f64() * 1000.0));
    row("restart, requests", &between(&before, &rested(client).await?));
    agent.stop()
}
