//! Values of live objects are copied into others when those are applied.

use anyhow::{Result, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent_with, config_map, config_map_path, installed, namespace, shared};

const NAME: &str = "copied-values";
const SECRET: &str = "copied-secrets";
/// No label can have it, so that the API server's refusal quotes it.
const HIDDEN: &str = "hidden value 77aa!";
const EVERYTHING: [(&str, &str); 1] = [("RUST_LOG", "trace,kube_client=trace,hyper=trace,h2=trace")];

/// A ConfigMap that takes a value of an object.
fn taker(namespace: &str, name: &str, source: (&str, &str), target: &str) -> String {
    let (source, path) = source;
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  labels: {{copied: none}}\n  \
         annotations:\n    config.kubernetes.io/apply-time-mutation: |\n      - sourceRef: {source}\n        sourcePath: {path}\n        \
         targetPath: {target}\n        token: none\ndata:\n  url: http://none/\n"
    )
}

fn await_url(cluster: &Cluster, path: &str, url: &str) -> Result<()> {
    await_condition(&format!("the address is {url}"), || {
        let found = &cluster.get(path)?["data"]["url"];
        ensure!(*found == url, "{found}");
        Ok(())
    })
}

pub(crate) fn follow_their_source(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    let source = ("{kind: ConfigMap, name: source}", "$.data.host");
    repository.write("namespace.yaml", &namespace(NAME))?;
    repository.write("source.yaml", &config_map(NAME, "source", "value"))?;
    repository.write("taker.yaml", &taker(NAME, "taker", source, "$.data.url"))?;
    repository.write(
        "lonely.yaml",
        &taker(NAME, "lonely", ("{kind: ConfigMap, name: elsewhere}", "$.data.a"), "$.data.url"),
    )?;
    let sync = Sync::unstructured(cluster, NAME, repository)?;
    let taker = config_map_path(NAME, "taker");
    await_condition("both are told, and where", || {
        let status = sync.object()?["status"]["sync"]["errors"].to_string();
        for word in ["has no value at $.data.host", "taker.yaml", "configmap/copied-values/elsewhere", "lonely.yaml"] {
            ensure!(status.contains(word), "no {word:?} in {status}");
        }
        Ok(())
    })?;
    ensure!(!cluster.exists(&taker)?, "it was applied with a placeholder");

    // Another client writes the value, as a controller would.
    let source = config_map_path(NAME, "source");
    cluster.patch(&source, &json!({"data": {"host": "one"}}))?;
    await_url(cluster, &taker, "http://one/")?;
    sync.repository.remove("lonely.yaml")?;
    let commit = sync.commit()?;
    cluster.patch(&source, &json!({"data": {"host": "two"}}))?;
    await_url(cluster, &taker, "http://two/")?;
    cluster.patch(&taker, &json!({"data": {"url": "http://three/"}}))?;
    await_url(cluster, &taker, "http://two/")?;
    sync.await_synced(&commit)?;

    // The source has no value for a while: the last one stays.
    cluster.patch(&source, &json!({"data": {"host": null}}))?;
    sync.await_error("2009")?;
    cluster.patch(&taker, &json!({"data": {"url": "http://three/"}}))?;
    await_url(cluster, &taker, "http://two/")?;
    sync.await_error("2009")?;
    cluster.patch(&source, &json!({"data": {"host": "four"}}))?;
    await_url(cluster, &taker, "http://four/")?;
    sync.await_synced(&commit)?;

    let malformed =
        std::fs::read_to_string(sync.repository.path().join("taker.yaml"))?.replace("$.data.url", "$.data.x");
    sync.repository.write("taker.yaml", &malformed)?;
    sync.repository.commit()?;
    let errors = sync.await_error("2009")?["status"]["source"]["errors"].to_string();
    ensure!(errors.contains("names no field of the object") && errors.contains("taker.yaml"), "{errors}");
    let line = malformed.lines().position(|line| line.contains("apply-time-mutation")).unwrap_or_default() + 1;
    ensure!(errors.contains(&format!("taker.yaml:{line}")), "{errors}");
    Ok(())
}

pub(crate) fn of_secrets_stay_secret(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let agent = agent_with(&cluster, &["--allow-local-repositories"], &EVERYTHING)?;
    let repository = Repository::empty()?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(HIDDEN);
    repository.write("namespace.yaml", &namespace(SECRET))?;
    let source = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: source, namespace: {SECRET}}}\nstringData: {{a: {HIDDEN:?}}}\n"
    );
    repository.write("source.yaml", &source)?;
    let of_secret = ("{kind: Secret, name: source}", "$.data.a");
    repository.write("taker.yaml", &taker(SECRET, "taker", of_secret, "$.data.url"))?;
    let refused = ("{kind: Secret, name: other}", "$.metadata.annotations.a");
    repository.write("refused.yaml", &taker(SECRET, "refused", refused, "$.metadata.labels.copied"))?;
    let other = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: other, namespace: {SECRET}, annotations: {{a: {HIDDEN:?}}}}}\n"
    );
    repository.write("other.yaml", &other)?;
    let sync = Sync::unstructured(&cluster, SECRET, repository)?;
    let taker = config_map_path(SECRET, "taker");
    await_url(&cluster, &taker, &format!("http://{encoded}/"))?;
    cluster.patch(&taker, &json!({"data": {"url": "http://other/"}}))?;
    await_url(&cluster, &taker, &format!("http://{encoded}/"))?;
    await_condition("the drift is told", || {
        ensure!(agent.log().lines(0).join("\n").contains("drift corrected"), "not yet");
        Ok(())
    })?;
    let status = sync.await_error("2009")?;
    ensure!(status["status"].to_string().contains("refused.yaml"), "{:#}", status["status"]);
    let shown = [
        ("the log", agent.log().lines(0).join("\n")),
        ("Events", cluster.get("/apis/events.k8s.io/v1/events")?.to_string()),
        ("the status", Value::to_string(&sync.object()?["status"])),
        ("nomos status", cluster.nomos(&["status"]).1),
    ];
    for (place, text) in shown {
        for needle in [HIDDEN, &encoded] {
            let line = text.lines().find(|line| line.contains(needle));
            ensure!(line.is_none(), "{needle} is in {place}: {line:?}");
        }
    }
    Ok(())
}
