//! Values of Secrets and the token of a repository, looked for in everything that the agent and `nomos` show.

use anyhow::{Result, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::health::read;
use crate::world::{Sync, agent_with, installed, namespace};

const NAME: &str = "secrets";
/// Values that stand in no place of their own: declared, changed by another client, and in the manifest of another client.
const VALUES: [&str; 4] = ["declared-7f3a91", "written-as-text-c4d2", "changed-by-other-55e8", "applied-before-e19b"];
const TOKEN: &str = "t0ken-of-the-repository-8c6d";

pub(crate) fn stay_secret(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    // Another client made the Secret, and left its manifest in an annotation.
    let [declared, text, changed, before] = VALUES;
    cluster.create_namespace(NAME)?;
    let secrets = format!("/api/v1/namespaces/{NAME}/secrets");
    let manifest = json!({ "kind": "Secret", "data": { "before": encoded(before) } }).to_string();
    let annotations = json!({ "kubectl.kubernetes.io/last-applied-configuration": manifest });
    let metadata = json!({ "name": "login", "namespace": NAME, "annotations": annotations });
    let secret =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": { "before": encoded(before) } });
    cluster.create(&secrets, &secret)?;

    let arguments = ["--allow-local-repositories"];
    let agent = agent_with(&cluster, &arguments, &[("RUST_LOG", "trace,kube_client=trace,hyper=trace,h2=trace")])?;
    let address = agent.address()?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    let manifest = |name: &str, data: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {NAME}}}\n{data}\n")
    };
    repository.write("login.yaml", &manifest("login", &format!("data: {{key: {}}}", encoded(declared))))?;
    repository.write("text.yaml", &manifest("text", &format!("stringData: {{key: {text}}}")))?;
    let sync = Sync::unstructured(&cluster, NAME, repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    let login = format!("{secrets}/login");
    cluster.patch(&login, &json!({ "data": { "key": encoded(changed) } }))?;
    await_condition("the Secret is as declared", || {
        let found = cluster.get(&login)?;
        ensure!(found["data"]["key"] == encoded(declared).as_str(), "it is not");
        Ok(())
    })?;
    // One that the API server refuses: its answer quotes values.
    sync.repository
        .write("refused.yaml", &manifest("refused", &format!("data: {{\"no key\": {}}}", encoded(declared))))?;
    sync.repository.commit()?;
    await_condition("the repository's newest commit has an error", || {
        ensure!(sync.object()?["status"].to_string().contains("KNV"), "no error");
        Ok(())
    })?;
    // A repository that cannot be read.
    let elsewhere = Sync::unstructured(&cluster, "with-token", Repository::empty()?)?;
    let url = format!("https://somebody:{TOKEN}@127.0.0.1:1/x");
    cluster.patch(&elsewhere.path(), &json!({ "spec": { "git": { "repo": url } } }))?;
    await_condition("the repository is told to be away", || {
        let status = elsewhere.object()?["status"].to_string();
        ensure!(status.contains("KNV2004") && status.contains("https://127.0.0.1:1/x"), "{status}");
        Ok(())
    })?;

    let mut shown = vec![("the log", agent.log().lines(0).join("\n"))];
    ensure!(shown[0].1.contains("\"level\":\"TRACE\"") && shown[0].1.contains("RUST_LOG lifts"), "{}", shown[0].1);
    for page in ["/metrics", "/debug/syncs", "/debug/syncs?o=json"] {
        shown.push((page, read(&address, page)?));
    }
    shown.push(("Events", cluster.get("/apis/events.k8s.io/v1/events")?.to_string()));
    shown.push(("the status", statuses(&[sync.object()?, elsewhere.object()?])));
    let groups = cluster.get("/apis/kpt.dev/v1alpha1/namespaces/config-management-system/resourcegroups")?;
    shown.push(("ResourceGroups", groups.to_string()));
    for arguments in
        [&["status"][..], &["status", "-o", "json"], &["status", "-o", "yaml"], &["status", "--format=table"]]
    {
        shown.push(("nomos status", cluster.nomos(arguments).1));
    }
    let user = encoded(&format!("somebody:{TOKEN}"));
    let values = VALUES.iter().map(|value| (*value).to_owned()).chain(VALUES.map(encoded));
    for needle in values.chain([TOKEN.to_owned(), user]) {
        for (place, text) in &shown {
            let line = text.lines().find(|line| line.contains(&needle));
            ensure!(line.is_none(), "{needle} is in {place}: {line:?}");
        }
    }
    Ok(())
}

fn statuses(objects: &[Value]) -> String {
    objects.iter().map(|object| object["status"].to_string()).collect()
}

fn encoded(value: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(value)
}
