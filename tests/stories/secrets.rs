//! Values of Secrets and the token of a repository, looked for in everything that the agent and `nomos` show.

use anyhow::{Result, ensure};
use base64::Engine as _;
use serde_json::json;
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::health::read;
use crate::world::{Sync, agent_with, installed, namespace};

const NAME: &str = "secrets";
const SECRETS: &str = "/api/v1/namespaces/secrets/secrets";
/// Values that stand in no place of their own: declared, changed by another client, and in the manifest of another client.
const VALUES: [&str; 4] = ["declared-7f3a91", "written-as-text-c4d2", "changed-by-other-55e8", "applied-before-e19b"];
/// A key that is none. The API server's answer quotes it, as it may quote values; its words about Secrets are withheld.
const REFUSED: &str = "no key 3c9e";
const TOKEN: &str = "t0ken-of-the-repository-8c6d";

const EVERYTHING: [(&str, &str); 1] = [("RUST_LOG", "trace,kube_client=trace,hyper=trace,h2=trace")];

pub(crate) fn stay_secret(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    made_before(&cluster)?;
    let agent = agent_with(&cluster, &["--allow-local-repositories"], &EVERYTHING)?;
    let sync = repaired_and_refused(&cluster)?;
    let with_token = away(&cluster)?;
    let mut shown = vec![("the log", agent.log().lines(0).join("\n"))];
    ensure!(shown[0].1.contains("\"level\":\"TRACE\"") && shown[0].1.contains("RUST_LOG lifts"), "{}", shown[0].1);
    for page in ["/metrics", "/debug/syncs", "/debug/syncs?o=json"] {
        shown.push((page, read(&agent.address()?, page)?));
    }
    shown.push(("Events", cluster.get("/apis/events.k8s.io/v1/events")?.to_string()));
    for sync in [&sync, &with_token] {
        shown.push(("the status", sync.object()?["status"].to_string()));
    }
    let groups = cluster.get("/apis/kpt.dev/v1alpha1/namespaces/config-management-system/resourcegroups")?;
    shown.push(("ResourceGroups", groups.to_string()));
    for flags in [&["status"][..], &["status", "-o", "json"], &["status", "-o", "yaml"], &["status", "--format=table"]]
    {
        shown.push(("nomos status", cluster.nomos(flags).1));
    }
    let user = encoded(&format!("somebody:{TOKEN}"));
    let values = VALUES.iter().map(|value| (*value).to_owned()).chain(VALUES.map(encoded));
    for needle in values.chain([TOKEN.to_owned(), user, REFUSED.to_owned()]) {
        for (place, text) in &shown {
            let line = text.lines().find(|line| line.contains(&needle));
            ensure!(line.is_none(), "{needle} is in {place}: {line:?}");
        }
    }
    Ok(())
}

/// A Secret of another client, which left its manifest in an annotation.
fn made_before(cluster: &Cluster) -> Result<()> {
    let data = json!({ "before": encoded(VALUES[3]) });
    let manifest = json!({ "kind": "Secret", "data": data }).to_string();
    let annotations = json!({ "kubectl.kubernetes.io/last-applied-configuration": manifest });
    let metadata = json!({ "name": "login", "namespace": NAME, "annotations": annotations });
    cluster.create_namespace(NAME)?;
    cluster.create(SECRETS, &json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data }))?;
    Ok(())
}

/// Secrets that are applied, one that is changed and put back, and one that cannot be applied.
fn repaired_and_refused(cluster: &Cluster) -> Result<Sync<'_>> {
    let [declared, text, changed, _] = VALUES;
    let manifest = |name: &str, data: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {NAME}}}\n{data}\n")
    };
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    repository.write("login.yaml", &manifest("login", &format!("data: {{key: {}}}", encoded(declared))))?;
    repository.write("text.yaml", &manifest("text", &format!("stringData: {{key: {text}}}")))?;
    let sync = Sync::unstructured(cluster, NAME, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let login = format!("{SECRETS}/login");
    cluster.patch(&login, &json!({ "data": { "key": encoded(changed) } }))?;
    await_condition("the Secret is as declared", || {
        ensure!(cluster.get(&login)?["data"]["key"] == encoded(declared).as_str(), "it is not");
        Ok(())
    })?;
    let refused = format!("data: {{{REFUSED:?}: {}}}", encoded(declared));
    sync.repository.write("refused.yaml", &manifest("refused", &refused))?;
    sync.repository.commit()?;
    await_condition("the newest commit has an error", || {
        ensure!(sync.object()?["status"].to_string().contains("KNV"), "no error");
        Ok(())
    })?;
    Ok(sync)
}

/// A sync whose repository does not answer, with a token in its URL.
fn away(cluster: &Cluster) -> Result<Sync<'_>> {
    let sync = Sync::unstructured(cluster, "with-token", Repository::empty()?)?;
    let url = format!("https://somebody:{TOKEN}@127.0.0.1:1/x");
    cluster.patch(&sync.path(), &json!({ "spec": { "git": { "repo": url } } }))?;
    await_condition("the repository is told to be away", || {
        let status = sync.object()?["status"].to_string();
        ensure!(status.contains("KNV2004") && status.contains("https://127.0.0.1:1/x"), "{status}");
        Ok(())
    })?;
    Ok(sync)
}

fn encoded(value: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(value)
}
