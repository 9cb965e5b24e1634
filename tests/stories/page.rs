//! The page of the agent, as browsers ask for it: each user sees what it may get.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::tenants::{ALL, RBAC, Tenant};
use crate::world::{Sync, agent, config_map, config_map_path, installed, namespace};

const ROOT: &str = "page-root";
const TENANT: &str = "page-tenant";

/// The answer to a request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value> {
        ensure!(self.status == 200, "{} {}", self.status, self.body);
        Ok(serde_json::from_str(&self.body)?)
    }

    /// The value of the header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// A stream of the agent, after its request was sent.
fn ask(address: &str, host: &str, path: &str, token: Option<&str>) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let login = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{login}Connection: close\r\n\r\n")?;
    Ok(stream)
}

fn get_from(address: &str, host: &str, path: &str, token: Option<&str>) -> Result<Answer> {
    let mut text = String::new();
    ask(address, host, path, token)?.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without a body")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("a status")?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

pub(crate) fn get(address: &str, path: &str, token: Option<&str>) -> Result<Answer> {
    get_from(address, address, path, token)
}

/// A token of a ServiceAccount that has a ClusterRole in its Namespace, or in the whole cluster.
fn viewer(cluster: &Cluster, name: &str, role: &str, everywhere: bool) -> Result<String> {
    let accounts = format!("/api/v1/namespaces/{TENANT}/serviceaccounts");
    cluster.create(&accounts, &json!({"metadata": {"name": name}}))?;
    let (kind, path) = match everywhere {
        true => ("ClusterRoleBinding", format!("{RBAC}/clusterrolebindings")),
        false => ("RoleBinding", format!("{RBAC}/namespaces/{TENANT}/rolebindings")),
    };
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": format!("page-{name}")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": TENANT}],
    });
    cluster.create(&path, &binding)?;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let token = cluster.create(&format!("{accounts}/{name}/token"), &request)?["status"]["token"].clone();
    token.as_str().map(str::to_owned).with_context(|| format!("no token: {token}"))
}

/// A cluster with a RootSync and a RepoSync, of which both are synced and have had drift.
pub(crate) fn shows_what_a_user_may_get(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let agent = agent(&cluster, &[])?;
    let address = agent.address()?;
    let of_root = Repository::empty()?;
    of_root.write("all.yaml", &format!("{}---\n{}", namespace(ROOT), config_map(ROOT, "settings", "of-root")))?;
    let root = Sync::unstructured(&cluster, ROOT, of_root)?;
    let of_tenant = Repository::empty()?;
    of_tenant.write("settings.yaml", &config_map(TENANT, "settings", "of-tenant"))?;
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: key\n  namespace: {TENANT}\nstringData:\n  key: hidden\n"
    );
    of_tenant.write("key.yaml", &secret)?;
    let rights: [(&str, &[&str]); 2] = [("configmaps", ALL), ("secrets", ALL)];
    let tenant = Tenant::with_rights(&cluster, TENANT, &rights, of_tenant)?;
    root.await_synced(&root.repository.head()?)?;
    tenant.await_synced()?;

    no_token(&address)?;
    let all = viewer(&cluster, "everything", "cluster-admin", true)?;
    let reads_syncs = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "page-reader"},
        "rules": [
            {"apiGroups": ["configsync.gke.io"], "resources": ["reposyncs"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
        ],
    });
    cluster.create(&format!("{RBAC}/clusterroles"), &reads_syncs)?;
    let own = viewer(&cluster, "own", "page-reader", false)?;

    let mut changes = BufReader::new(ask(&address, &address, "/ui/api/events", Some(&own))?);
    let first = next_change(&mut changes)?;
    for of in [ROOT, TENANT] {
        cluster.patch(&config_map_path(of, "settings"), &json!({"data": {"key": "drift"}}))?;
    }
    let data = json!({"data": {"key": "ZHJpZnQ="}});
    cluster.patch(&format!("/api/v1/namespaces/{TENANT}/secrets/key"), &data)?;
    ensure!(next_change(&mut changes)? > first, "no other change");
    await_condition("all repairs are shown to who may get everything", || {
        let timeline = get(&address, "/ui/api/timeline", Some(&all))?.json()?;
        let repairs = repairs(&timeline);
        ensure!(repairs.len() == 3, "{timeline:#}");
        let secret = repairs.iter().find(|repair| repair["object"]["kind"] == "Secret").context("one of the Secret")?;
        ensure!(secret["diff"]["lines"].as_str().is_some_and(|lines| lines.contains("***")), "{secret:#}");
        ensure!(
            !timeline.to_string().contains("ZHJpZnQ=") && !timeline.to_string().contains("aGlkZGVu"),
            "{timeline:#}"
        );
        Ok(())
    })?;
    all_is_seen(&address, &all)?;
    own_is_seen(&address, &own)?;
    let debug = |token: &str| get(&address, "/debug/syncs?o=json", Some(token));
    ensure!(debug(&all)?.json()?["syncs"].as_array().is_some_and(|syncs| syncs.len() == 2), "not both syncs");
    ensure!(debug(&own)?.status == 403 && debug("invented")?.status == 401, "it names objects of the whole cluster");
    standby_is_told(&cluster, &all)
}

/// The page of an agent that stands by says so, and shows the syncs to those who may get them. It may ask who they are.
fn standby_is_told(cluster: &Cluster, token: &str) -> Result<()> {
    let standby = agent(cluster, &["--identity", "standby"])?;
    let address = standby.address()?;
    await_condition("the page of the agent that stands by is served", || {
        let overview = get(&address, "/ui/api/overview", Some(token))?.json()?;
        ensure!(overview["leads"] == false && syncs(&overview).contains(&ROOT), "{overview:#}");
        Ok(())
    })?;
    ensure!(get(&address, "/ui/api/overview", Some("invented"))?.status == 401, "any token is taken");
    Ok(())
}

/// The files are for everybody, the documents for nobody without a valid token.
fn no_token(address: &str) -> Result<()> {
    let files = get(address, "/ui/", None)?;
    ensure!(files.status == 200 && files.body.contains("<main"), "{}", files.body);
    let policy = files.header("content-security-policy").unwrap_or_default();
    ensure!(policy.starts_with("default-src 'none'; script-src 'self'"), "{}", files.head);
    ensure!(files.header("x-content-type-options") == Some("nosniff"), "{}", files.head);
    for document in ["overview", "timeline", "objects?sync=x", "events"] {
        for token in [None, Some("invented"), Some("")] {
            let answer = get(address, &format!("/ui/api/{document}"), token)?;
            ensure!(answer.status == 401 && answer.body.is_empty(), "{document}: {} {}", answer.status, answer.body);
        }
    }
    Ok(())
}

fn syncs(overview: &Value) -> Vec<&str> {
    overview["syncs"].as_array().into_iter().flatten().filter_map(|sync| sync["name"].as_str()).collect()
}

fn repairs(timeline: &Value) -> Vec<&Value> {
    timeline["entries"].as_array().into_iter().flatten().filter(|entry| entry["type"] == "repair").collect()
}

fn objects_of(address: &str, sync: &str, token: &str) -> Result<Answer> {
    get(address, &format!("/ui/api/objects?sync={}", sync.replace('/', "%2F")), Some(token))
}

fn root_id() -> String {
    format!("RootSync/config-management-system/{ROOT}")
}

fn tenant_id() -> String {
    format!("RepoSync/{TENANT}/repo-sync")
}

fn all_is_seen(address: &str, token: &str) -> Result<()> {
    let overview = get(address, "/ui/api/overview", Some(token))?.json()?;
    let seen = syncs(&overview);
    ensure!(seen.contains(&ROOT) && seen.contains(&"repo-sync"), "{overview:#}");
    ensure!(overview["viewer"] == format!("system:serviceaccount:{TENANT}:everything"), "{overview:#}");
    let objects = objects_of(address, &root_id(), token)?.json()?;
    let of_root = objects["objects"].as_array().map_or(0, Vec::len);
    ensure!(of_root == 2 && objects["hidden"] == 0, "{objects:#}");
    Ok(())
}

fn own_is_seen(address: &str, token: &str) -> Result<()> {
    let overview = get(address, "/ui/api/overview", Some(token))?.json()?;
    ensure!(syncs(&overview) == ["repo-sync"], "{overview:#}");
    ensure!(objects_of(address, &root_id(), token)?.status == 404, "the objects of the RootSync are shown");
    let objects = objects_of(address, &tenant_id(), token)?.json()?;
    let names: Vec<&str> =
        objects["objects"].as_array().into_iter().flatten().filter_map(|object| object["name"].as_str()).collect();
    ensure!(names == ["settings"] && objects["hidden"] == 1, "{objects:#}");
    let timeline = get(address, "/ui/api/timeline", Some(token))?.json()?;
    let repairs = repairs(&timeline);
    ensure!(repairs.len() == 1 && repairs[0]["sync"] == tenant_id(), "{timeline:#}");
    let lines = repairs[0]["diff"]["lines"].as_str().unwrap_or_default();
    ensure!(lines.contains("-  key: drift") && lines.contains("+  key: of-tenant"), "{timeline:#}");
    ensure!(!timeline.to_string().contains(ROOT), "{timeline:#}");
    Ok(())
}

/// The number of the next change in a stream of events.
fn next_change(stream: &mut impl std::io::BufRead) -> Result<u64> {
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        if let Some(number) = line.trim().strip_prefix("data: ") {
            return Ok(number.parse()?);
        }
        line.clear();
    }
    bail!("the stream has ended")
}

/// An agent that was told so shows the page to programs of its host, and to no web page of another name.
pub(crate) fn needs_no_token_on_request(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let agent = agent(&cluster, &["--page-without-token"])?;
    let address = agent.address()?;
    let _sync = Sync::go_hello(&cluster, ROOT)?;
    let overview = get(&address, "/ui/api/overview", None)?.json()?;
    ensure!(syncs(&overview) == [ROOT] && overview["syncs"][0]["state"] == "Synced", "{overview:#}");
    ensure!(overview["leads"] == true && overview["viewer"].is_null(), "{overview:#}");
    ensure!(get_from(&address, "rebound.example", "/ui/api/overview", None)?.status == 401, "another name");
    let objects = get(&address, &format!("/ui/api/objects?sync={}", root_id()), None)?.json()?;
    ensure!(objects["objects"].as_array().map_or(0, Vec::len) == 5, "{objects:#}");
    // An address of `nomos ui` is to be asked for once more, on another connection.
    let open = get(&address, "/open/0a", None)?;
    ensure!(open.status == 307 && open.head.contains("location: /open/0a?again\r\n"), "{}", open.head);
    ensure!(open.head.contains("connection: close\r\n"), "{}", open.head);
    ensure!(get(&address, "/open/0a?again", None)?.status == 404, "it leads to itself for ever");
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = BufReader::new(ask(&address, &address, "/ui/api/events", None)?);
        next_change(&mut stream)?;
        streams.push(stream);
    }
    ensure!(get(&address, "/ui/api/events", None)?.status == 429, "one viewer too many");
    drop(streams);
    await_condition("viewers that are gone make room", || {
        let mut stream = BufReader::new(ask(&address, &address, "/ui/api/events", None)?);
        next_change(&mut stream).map(drop)
    })
}
