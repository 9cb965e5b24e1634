//! What operators do with syncs: suspend, resume, ask for a sync at once, approve, and wait.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::agent_process::Agent;
use tests::cluster::{Cluster, Kind, root_sync_path};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::export::CRD;
use crate::health::read;
use crate::world::{Sync, agent, condition, config_map, config_map_path, installed, namespace};

const GADGET: &str = "\
apiVersion: export.example.com/v1
kind: Gadget
metadata: {name: new, namespace: shown}
spec: {size: 1}
";

/// Runs nomos, and returns what it printed.
fn nomos(cluster: &Cluster, args: &[&str], code: u8) -> Result<String> {
    let (ended, said) = cluster.nomos(args);
    ensure!(ended == code, "nomos {args:?} ended with {ended}: {said}");
    Ok(said)
}

/// A suspended sync reads nothing and puts nothing back, and says so; a resumed one does both.
pub(crate) fn suspended(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let agent = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace("steered"))?;
    repository.write("settings.yaml", &config_map("steered", "settings", "one"))?;
    let sync = Sync::unstructured(&cluster, "root-sync", repository)?;
    let first = sync.repository.head()?;
    sync.await_synced(&first)?;
    nomos(&cluster, &["wait", "root-sync", "--commit", &first[..8]], 0)?;
    let said = nomos(&cluster, &["sync", "suspend", "root-sync"], 0)?;
    ensure!(said.contains("root-sync is suspended"), "{said}");
    await_condition("the status says that the sync is suspended", || {
        let object = sync.object()?;
        let stalled = condition(&object, "Stalled")?;
        ensure!(stalled["status"] == "True" && stalled["reason"] == "Suspended", "{stalled:#}");
        Ok(())
    })?;
    let said = nomos(&cluster, &["status"], 1)?;
    ensure!(said.contains("SUSPENDED") && said.contains(&first), "{said}");
    others_are_told(&cluster, &agent)?;
    let from = cluster.now()?;
    let settings = config_map_path("steered", "settings");
    cluster.patch(&settings, &json!({"data": {"key": "drifted"}}))?;
    sync.repository.write("settings.yaml", &config_map("steered", "settings", "two"))?;
    let second = sync.repository.commit()?;
    nomos(&cluster, &["sync", "now", "root-sync"], 0)?;
    let said = nomos(&cluster, &["wait", "root-sync", "--timeout", "3s"], 1)?;
    ensure!(said.contains("root-sync is SUSPENDED at"), "{said}");
    ensure!(cluster.get(&settings)?["data"]["key"] == "drifted", "it was put back");
    let writes = cluster.writes(from)?;
    ensure!(writes.iter().all(|write| write.impersonated.is_empty()), "{writes:#?}");
    nomos(&cluster, &["sync", "resume", "root-sync"], 0)?;
    let said = nomos(&cluster, &["wait", "--commit", &second, "--timeout", "90s"], 0)?;
    ensure!(said.contains(&format!("root-sync SYNCED {second}")), "{said}");
    ensure!(cluster.get(&settings)?["data"]["key"] == "two", "it is not as declared");
    ensure!(!is_in_metrics(&agent)?, "the metric still says that the sync is suspended");
    let said = nomos(&cluster, &["trace", "configmap/settings", "-n", "steered"], 0)?;
    for part in
        ["   sync         root-sync (SYNCED at ", "   file         settings.yaml\n", "   status       Current\n"]
    {
        ensure!(said.contains(part), "{part:?} is missing in {said}");
    }
    ensure!(said.contains(&format!("   commit       {second}\n")), "{said}");
    ensure!(said.contains("   configsync.gke.io (Apply, ") && said.contains(".data.key"), "{said}");
    // One that is suspended goes all the same, with its objects: <https://github.com/fluxcd/source-controller/issues/934>.
    nomos(&cluster, &["sync", "suspend", "root-sync"], 0)?;
    await_condition("the sync is suspended again", || {
        let object = sync.object()?;
        ensure!(condition(&object, "Stalled")?["reason"] == "Suspended", "{object:#}");
        Ok(())
    })?;
    sync.patch(&json!({"metadata": {"annotations": {"configsync.gke.io/deletion-propagation-policy": "Foreground"}}}))?;
    cluster.delete(&root_sync_path("root-sync"))?;
    await_condition("the suspended sync is gone", || {
        ensure!(!cluster.exists(&root_sync_path("root-sync"))?, "{:#}", sync.object()?);
        Ok(())
    })?;
    ensure!(!cluster.exists(&settings)?, "its object is there");
    let said = nomos(&cluster, &["sync", "now", "shop:repo-sync"], 2)?;
    ensure!(said.contains("has no RepoSync shop/repo-sync"), "{said}");
    Ok(())
}

/// An Event and a metric say that the sync is suspended.
fn others_are_told(cluster: &Cluster, agent: &Agent) -> Result<()> {
    await_condition("an Event says that the sync is suspended", || {
        let events = cluster.get("/apis/events.k8s.io/v1/namespaces/config-management-system/events")?;
        let mut events = events["items"].as_array().into_iter().flatten();
        let told = events.any(|event| event["reason"] == "Suspended" && event["regarding"]["name"] == "root-sync");
        ensure!(told, "none of the Events");
        Ok(())
    })?;
    ensure!(is_in_metrics(agent)?, "no metric says that the sync is suspended");
    Ok(())
}

fn is_in_metrics(agent: &Agent) -> Result<bool> {
    Ok(read(&agent.address()?, "/metrics")?.contains("config_sync_suspended{"))
}

/// The sync polls once an hour: a new commit comes at once when a user asks for it. Deletions that are held are approved by a command.
pub(crate) fn asked(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace("asked"))?;
    for n in 0..40 {
        repository.write(&format!("{n}.yaml"), &config_map("asked", &format!("c{n}"), "value"))?;
    }
    let sync = Sync::unstructured(&cluster, "root-sync", repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let said = nomos(&cluster, &["approve", "root-sync"], 0)?;
    ensure!(said.contains("root-sync holds no deletions"), "{said}");
    sync.patch(&json!({"spec": {"git": {"period": "1h"}}}))?;
    await_condition("the period is in force", || {
        let object = sync.object()?;
        ensure!(object["status"]["observedGeneration"] == object["metadata"]["generation"], "{object:#}");
        Ok(())
    })?;
    sync.repository.write("new.yaml", &config_map("asked", "new", "value"))?;
    let commit = sync.repository.commit()?;
    nomos(&cluster, &["sync", "now", "root-sync"], 0)?;
    nomos(&cluster, &["wait", "root-sync", "--commit", &commit, "--timeout", "60s"], 0)?;

    for n in 0..30 {
        sync.repository.remove(&format!("{n}.yaml"))?;
    }
    let commit = sync.repository.commit()?;
    nomos(&cluster, &["sync", "now", "root-sync"], 0)?;
    sync.await_error("2006")?;
    let said = nomos(&cluster, &["approve", "root-sync"], 2)?;
    ensure!(said.contains("nothing is approved") && said.contains("KNV2006"), "{said}");
    ensure!(said.contains("it would delete 30 of 42 objects\n"), "{said}");
    for n in 0..30 {
        let lines = said.matches(&format!("c{n}\n")).count();
        ensure!(
            lines == 1 && said.contains(&format!("delete configmap/asked/c{n}\n")),
            "c{n} is in {lines} lines of {said}"
        );
    }
    ensure!(cluster.exists(&config_map_path("asked", "c0"))?, "it was deleted");
    nomos(&cluster, &["approve", "root-sync", "--yes"], 0)?;
    nomos(&cluster, &["wait", "root-sync", "--commit", &commit, "--timeout", "60s"], 0)?;
    ensure!(!cluster.exists(&config_map_path("asked", "c0"))?, "it is there");
    Ok(())
}

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: later}\nspec: {ports: [{port: 80}]}\n";

fn secret(value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: key, namespace: shown}}\nstringData: {{key: {value}}}\n")
}

fn job(image: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: once, namespace: shown}}\nspec: {{suspend: true, template: {{spec: \
         {{restartPolicy: Never, containers: [{{name: once, image: {image}}}]}}}}}}\n"
    )
}

/// A change of the working tree is shown before it is committed: deletions first, then differences with defaults, and no value of a
/// Secret. Nothing is changed.
pub(crate) fn shown_before(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace("shown"))?;
    repository.write("settings.yaml", &config_map("shown", "settings", "one"))?;
    repository.write("gone.yaml", &config_map("shown", "gone", "one"))?;
    repository.write("secret.yaml", &secret("sesame"))?;
    // Defaults and what the API server assigned are no difference: <https://github.com/fluxcd/flux2/issues/2386>.
    repository.write("served.yaml", &SERVICE.replace("web, namespace: later", "served, namespace: shown"))?;
    repository.write("job.yaml", &job("one"))?;
    let sync = Sync::unstructured(&cluster, "root-sync", repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let tree = sync.repository.path();
    let path = tree.to_str().unwrap_or_default();
    let said = nomos(&cluster, &["diff", "--path", path], 0)?;
    ensure!(said == "root-sync: 0 would be deleted, 0 made, 0 changed\n", "{said}");

    // What cannot be compared is told.
    let thing = "apiVersion: nowhere.example/v1\nkind: Thing\nmetadata: {name: a, namespace: shown}\n";
    sync.repository.write("thing.yaml", thing)?;
    let said = nomos(&cluster, &["diff", "--path", path], 1)?;
    ensure!(said.contains("KNV1021") && said.contains("Thing.nowhere.example"), "{said}");
    sync.repository.remove("thing.yaml")?;

    let from = cluster.now()?;
    sync.repository.write("settings.yaml", &config_map("shown", "settings", "two"))?;
    sync.repository.write("secret.yaml", &secret("pumpkin"))?;
    sync.repository.write("job.yaml", &job("two").replace("suspend: true", "suspend: false, completions: 2"))?;
    sync.repository.write("later.yaml", &namespace("later"))?;
    sync.repository.write("service.yaml", SERVICE)?;
    // A kind that comes with the commit: <https://github.com/kluctl/kluctl/issues/438>.
    sync.repository.write("gadget.yaml", &format!("{CRD}\n---\n{GADGET}"))?;
    sync.repository
        .write("bad.yaml", &SERVICE.replace("web, namespace: later", "bad, namespace: shown").replace("80", "99999"))?;
    sync.repository.remove("gone.yaml")?;
    let said = nomos(&cluster, &["diff", "--path", path], 1)?;
    ensure!(said.starts_with("delete configmap/shown/gone\n"), "{said}");
    for part in [
        "--- v1.ConfigMap.shown.settings\n+++ v1.ConfigMap.shown.settings\n",
        "-  key: one\n+  key: two\n",
        "--- /dev/null\n+++ v1.Namespace.later\n",
        "+++ v1.Service.later.web\n",
        "+++ export.example.com.v1.Gadget.shown.new\n",
        "+++ v1.Secret.shown.key\n",
        "***",
        "service/shown/bad cannot be applied: ",
        "job.yaml:1:1: job.batch/shown/once cannot be applied: ",
        "root-sync: 1 would be deleted, 5 made, 2 changed, 2 would fail\n2 of those are not checked by the API server: ",
    ] {
        ensure!(said.contains(part), "{part:?} is missing in {said}");
    }
    let report: Value = serde_json::from_str(&nomos(&cluster, &["diff", "--path", path, "--report", "json"], 1)?)?;
    ensure!(report["summary"]["unchecked"] == 2 && report["summary"]["made"] == 5, "{report:#}");
    let unchecked = report["changes"].as_array().into_iter().flatten().filter(|change| change["note"].is_string());
    let unchecked: Vec<_> = unchecked.map(|change| change["resource"]["kind"].as_str().unwrap_or_default()).collect();
    ensure!(unchecked == ["Gadget", "Service"] || unchecked == ["Service", "Gadget"], "{unchecked:?}");
    let encoded = ["c2VzYW1l", "cHVtcGtpbg=="];
    ensure!(!["sesame", "pumpkin"].iter().chain(&encoded).any(|value| said.contains(value)), "{said}");
    ensure!(cluster.get(&config_map_path("shown", "settings"))?["data"]["key"] == "one", "it was changed");
    let (requests, _) = cluster.requests(from)?;
    let is_write = |verb: &str| ["create", "update", "patch", "delete"].contains(&verb);
    let of_nomos = requests.iter().filter(|request| !request.user_agent.starts_with("nomos-agent/"));
    let writes: Vec<_> = of_nomos.filter(|it| is_write(&it.verb) && it.namespace == "shown").collect();
    ensure!(!writes.is_empty() && writes.iter().all(|write| write.uri.contains("dryRun=All")), "{writes:#?}");

    is_held_without_its_source(&cluster, &sync, path)
}

/// The whole source is gone: the guard would hold that.
fn is_held_without_its_source(cluster: &Cluster, sync: &Sync<'_>, path: &str) -> Result<()> {
    for file in [
        "settings.yaml",
        "secret.yaml",
        "served.yaml",
        "job.yaml",
        "later.yaml",
        "service.yaml",
        "bad.yaml",
        "gadget.yaml",
        "namespace.yaml",
    ] {
        sync.repository.remove(file)?;
    }
    sync.repository.write("other.yaml", &namespace("other"))?;
    let said = nomos(cluster, &["diff", "root-sync", "--path", path], 1)?;
    ensure!(said.contains("The deletions would be held:\nKNV2006"), "{said}");
    Ok(())
}

/// A commit of a branch that no sync follows is compared without a change of the work tree. The commits that were in force are
/// remembered, also over a restart of the agent.
pub(crate) fn commits(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let running = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    repository.write("config/namespace.yaml", &namespace("compared"))?;
    repository.write("config/settings.yaml", &config_map("compared", "settings", "one"))?;
    let sync = Sync::unstructured(&cluster, "root-sync", repository)?;
    sync.patch(&json!({"spec": {"git": {"dir": "config"}}}))?;
    let first = sync.repository.head()?;
    sync.await_synced(&first)?;
    let repository = &sync.repository;
    repository.git(&["checkout", "--quiet", "-b", "next"])?;
    repository.write("config/settings.yaml", &config_map("compared", "settings", "two"))?;
    let second = repository.commit()?;
    repository.git(&["checkout", "--quiet", "main"])?;

    let url = repository.url();
    let diff = |revision: &str, code| nomos(&cluster, &["diff", "--path", &url, "--commit", revision], code);
    ensure!(diff("main", 0)?.ends_with(": 0 would be deleted, 0 made, 0 changed\n"));
    for revision in ["next", &second, &second[..8]] {
        let said = diff(revision, 1)?;
        ensure!(said.contains("-  key: one\n+  key: two\n"), "{said}");
        ensure!(
            said.ends_with(&format!("root-sync at {}: 0 would be deleted, 0 made, 1 changed\n", &second[..8])),
            "{said}"
        );
    }
    // A clone of something else.
    ensure!(!diff("next", 1)?.contains("probably"));
    let other = Repository::empty()?;
    other.write("config/other.yaml", &namespace("other"))?;
    other.commit()?;
    let said = nomos(&cluster, &["diff", "--path", &other.url(), "--commit", "HEAD"], 1)?;
    ensure!(
        said.starts_with("warning: this is probably no clone of ")
            || said.contains("\nwarning: this is probably no clone of "),
        "{said}"
    );
    let said = diff("none", 2)?;
    ensure!(said.contains("has no commit \"none\"") && said.contains("git fetch"), "{said}");
    let said = nomos(&cluster, &["diff", "--path", &url, "--commit", "next", "--report", "github"], 1)?;
    let line = "::notice title=ConfigMap compared/settings would be changed,file=config/settings.yaml,line=1,col=1::";
    ensure!(said.starts_with(line), "{said}");
    let tree = std::fs::read_to_string(repository.path().join("config/settings.yaml"))?;
    ensure!(tree == config_map("compared", "settings", "one"), "the work tree was changed: {tree}");

    repository.git(&["merge", "--quiet", "--ff-only", "next"])?;
    sync.await_synced(&second)?;
    let names = format!("{second}\n{first}\n");
    ensure!(nomos(&cluster, &["history", "-o", "name"], 0)? == names);
    drop(running);
    let _running = agent(&cluster, &[])?;
    repository.git(&["revert", "--no-edit", &second])?;
    let third = repository.head()?;
    sync.await_synced(&third)?;
    ensure!(nomos(&cluster, &["history", "-o", "name"], 0)? == format!("{third}\n{names}"));
    let said = nomos(&cluster, &["history", "root-sync"], 0)?;
    ensure!(said.starts_with("COMMIT ") && said.lines().count() == 4 && !said.contains(" no"), "{said}");
    let said = nomos(&cluster, &["status", "-o", "jsonpath={.clusters[*].syncs[?(@.state==\"SYNCED\")].commit}"], 0)?;
    ensure!(said == third, "{said}");
    ensure!(nomos(&cluster, &["status", "-o", "name"], 0)? == "rootsync.configsync.gke.io/root-sync\n");
    has_an_older_crd(&cluster, &sync)
}

/// The CRD of Config Sync has no history: the status is written without.
fn has_an_older_crd(cluster: &Cluster, sync: &Sync<'_>) -> Result<()> {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rootsyncs.configsync.gke.io";
    let mut versions = cluster.get(path)?["spec"]["versions"].take();
    for version in versions.as_array_mut().into_iter().flatten() {
        let status = version.pointer_mut("/schema/openAPIV3Schema/properties/status/properties");
        status.and_then(|status| status.as_object_mut()).and_then(|fields| fields.remove("history"));
    }
    cluster.patch(path, &json!({"spec": {"versions": versions}}))?;
    await_condition("the history is gone", || {
        let object = sync.object()?;
        ensure!(object["status"]["history"].is_null(), "{object:#}");
        Ok(())
    })?;
    sync.repository.write("config/settings.yaml", &config_map("compared", "settings", "four"))?;
    let commit = sync.repository.commit()?;
    sync.await_synced(&commit)?;
    ensure!(nomos(cluster, &["history", "-o", "name"], 0)? == format!("{commit}\n"));
    Ok(())
}
