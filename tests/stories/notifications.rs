//! Services that host repositories, and webhooks, are told of the state of commits, and delay nothing.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::agent_process::Agent;
use tests::cluster::{Cluster, Kind};
use tests::git_server::GitServer;
use tests::receiver::{Receiver, Sent};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::health::read;
use crate::world::{Sync, agent, config_map, config_map_path, installed, namespace, says};

const SYSTEM: &str = "/api/v1/namespaces/config-management-system";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/config-management-system/events";
const NAME: &str = "nomos-notifications";
/// In every value of the Secret.
const HIDDEN: &str = "hunter2";
/// The repository in the URL of [`GitServer`].
const REPOSITORY: &str = "team/repository";

/// Makes the ConfigMap and the Secret, with a token for each receiver.
fn settings(cluster: &Cluster, receivers: &[(&str, String)]) -> Result<()> {
    let data: BTreeMap<_, _> = receivers.iter().cloned().collect();
    secret(cluster, receivers)?;
    cluster.create(&format!("{SYSTEM}/configmaps"), &json!({"metadata": {"name": NAME}, "data": data}))?;
    Ok(())
}

fn secret(cluster: &Cluster, receivers: &[(&str, String)]) -> Result<()> {
    let tokens = receivers.iter().map(|(name, _)| (format!("{name}.token"), format!("{name}-{HIDDEN}\n")));
    let others = ["hook.key", "hook.header.X-Auth"].map(|key| (key.to_owned(), HIDDEN.to_owned()));
    let secret: BTreeMap<_, _> = tokens.chain(others).collect();
    cluster.create(&format!("{SYSTEM}/secrets"), &json!({"metadata": {"name": NAME}, "stringData": secret}))?;
    Ok(())
}

/// A RootSync that follows the git server by a URL with an owner.
fn served<'a>(cluster: &'a Cluster, name: &str) -> Result<(GitServer, Sync<'a>)> {
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(name))?;
    repository.write("settings.yaml", &config_map(name, "settings", "one"))?;
    repository.commit()?;
    let server = GitServer::of(&repository)?;
    let git = json!({"repo": server.url_with_owner(), "branch": "main", "auth": "none", "period": "1s"});
    let sync = json!({
        "apiVersion": "configsync.gke.io/v1beta1",
        "kind": "RootSync",
        "metadata": {"name": name},
        "spec": {"sourceFormat": "unstructured", "git": git},
    });
    cluster.create("/apis/configsync.gke.io/v1beta1/namespaces/config-management-system/rootsyncs", &sync)?;
    Ok((server, Sync { cluster, name: name.to_owned(), repository: repository.into() }))
}

/// The states of this commit that a service was told, in order.
fn states(receiver: &Receiver, service: &str, commit: &str) -> Vec<String> {
    let of_commit =
        |sent: &Sent| sent.path.contains(service) && (sent.path.ends_with(commit) || sent.body["commit"] == commit);
    let sent = receiver.sent().into_iter().filter(of_commit);
    sent.map(|sent| sent.body["state"].as_str().unwrap_or_default().replace("failed", "failure")).collect()
}

/// The part of a path that tells a service from the others.
const SERVICES: [&str; 4] = ["/api/v3/", "/api/v4/", "/api/v1/", "/hook"];

fn await_states(receiver: &Receiver, commit: &str, expected: &[&str]) -> Result<()> {
    for service in SERVICES {
        await_condition(&format!("{service} is told {expected:?} of {commit}"), || {
            let states = states(receiver, service, commit);
            ensure!(states == expected, "{states:?} of {:#?}", receiver.sent());
            Ok(())
        })?;
    }
    Ok(())
}

/// Each request is one that the description of the service's API has, with its token.
fn check(sent: &Sent) -> Result<()> {
    let path = |provider: &Value, parts: [(&str, &str); 4]| {
        let path = provider["path"].as_str().unwrap_or_default().to_owned();
        parts.into_iter().fold(path, |path, (name, value)| path.replace(&format!("{{{name}}}"), value))
    };
    let descriptions: Value = serde_json::from_str(include_str!("../schemas/commit-statuses.json"))?;
    let commit = sent.path.rsplit('/').next().unwrap_or_default();
    let (owner, repo) = REPOSITORY.split_once('/').context("an owner")?;
    for (service, provider, header, scheme) in [
        ("/api/v3/", "github", "authorization", "Bearer "),
        ("/api/v4/", "gitlab", "private-token", ""),
        ("/api/v1/", "gitea", "authorization", "token "),
    ] {
        if sent.path.starts_with(service) {
            let description = &descriptions[provider];
            let expected = [("owner", owner), ("repo", repo), ("id", "team%2Frepository"), ("sha", commit)];
            ensure!(sent.path == path(description, expected), "{sent:?}");
            let schema = jsonschema::validator_for(&description["body"])?;
            ensure!(
                schema.is_valid(&sent.body),
                "{:?}: {sent:?}",
                schema.validate(&sent.body).map_err(|error| error.to_string())
            );
            ensure!(sent.header(header) == Some(&format!("{scheme}{provider}-{HIDDEN}")), "{sent:?}");
            let name = sent.body.get("name").or(sent.body.get("context")).and_then(Value::as_str);
            ensure!(name == Some("nomos/prod/config-management-system/told"), "{sent:?}");
        }
    }
    ensure!(sent.method == "POST" && sent.header("user-agent").is_some_and(|agent| agent.starts_with("nomos-agent/")));
    ensure!(sent.header("content-type") == Some("application/json"), "{sent:?}");
    if sent.path == "/hook" {
        ensure!(sent.header("x-auth") == Some(HIDDEN), "{sent:?}");
        ensure!(
            sent.header("x-signature").is_some_and(|value| value.starts_with("sha256=") && value.len() == 71),
            "{sent:?}"
        );
    }
    Ok(())
}

/// Nothing that the agent shows has a value of the Secret.
fn nothing_is_shown(cluster: &Cluster, agent: &Agent) -> Result<()> {
    let log = agent.log().lines(0).join("\n");
    ensure!(!log.contains(HIDDEN), "{log}");
    let events = cluster.get(EVENTS)?.to_string();
    ensure!(!events.contains(HIDDEN), "{events}");
    ensure!(!metrics(agent)?.contains(HIDDEN));
    Ok(())
}

fn metrics(agent: &Agent) -> Result<String> {
    read(&agent.address()?, "/metrics")
}

pub(crate) fn are_told(kind: Kind) -> Result<()> {
    let cluster = &installed(kind)?;
    let receiver = &Receiver::start()?;
    let first_agent = agent(cluster, &["--cluster-name", "prod"])?;
    let service = |provider: &str| format!("provider: {provider}\nurl: {}\n", receiver.url());
    let receivers = [
        ("github", service("github")),
        ("gitlab", service("gitlab")),
        ("gitea", service("gitea")),
        ("hook", format!("provider: webhook\nurl: {}/hook\nrootSyncs: [told]\n", receiver.url())),
    ];
    settings(cluster, &receivers)?;
    says(&first_agent, "gitea, github, gitlab, hook")?;
    let (_server, sync) = served(cluster, "told")?;
    let first = sync.repository.head()?;
    sync.await_synced(&first)?;
    await_states(receiver, &first, &["pending", "success"])?;
    // Its repository is on the disk, and so none of these services.
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace("elsewhere"))?;
    let elsewhere = Sync::unstructured(cluster, "elsewhere", repository)?;
    elsewhere.await_synced(&elsewhere.repository.head()?)?;

    failures_are_told(receiver, &sync)?;
    errors_are_tried_again(receiver, &sync)?;
    secret_is_made_anew(&first_agent, &sync, receiver, &receivers)?;
    nothing_is_shown(cluster, &first_agent)?;
    let before = receiver.sent();
    for sent in &before {
        check(sent)?;
        ensure!(!sent.body.to_string().contains("elsewhere"), "{sent:?}");
        let same = before.iter().filter(|other| (&other.path, &other.text) == (&sent.path, &sent.text));
        ensure!(same.count() == 1, "twice: {sent:?}");
    }

    // Services know a status by its name, so that the one that follows a restart changes nothing.
    first_agent.terminate()?;
    let second_agent = agent(cluster, &["--cluster-name", "prod"])?;
    await_condition("the newest state is told once more", || {
        let after = receiver.sent();
        ensure!(after.len() == before.len() + SERVICES.len(), "{} after {}", after.len(), before.len());
        Ok(())
    })?;
    sync.repository.write("settings.yaml", &config_map("told", "settings", "three"))?;
    let last = sync.commit()?;
    await_states(receiver, &last, &["pending", "success"])?;
    let of_restart = receiver.sent().len() - before.len() - 2 * SERVICES.len();
    ensure!(of_restart == SERVICES.len(), "{of_restart} after the restart");
    nothing_is_shown(cluster, &second_agent)
}

/// A commit with a mistake is a failure, with the code and the place of the mistake.
fn failures_are_told(receiver: &Receiver, sync: &Sync) -> Result<()> {
    sync.repository.write("twice.yaml", &config_map("told", "settings", "one"))?;
    let broken = sync.repository.commit()?;
    sync.await_error("1029")?;
    await_states(receiver, &broken, &["failure"])?;
    let failures = receiver.sent().into_iter().filter(|sent| sent.body.to_string().contains("KNV1029"));
    let failures: Vec<String> = failures.map(|sent| sent.body["description"].to_string()).collect();
    let is_place = |text: &String| text.contains("KNV1029 NameCollision in ") && text.contains(".yaml:4:9");
    ensure!(failures.len() == SERVICES.len() && failures.iter().all(is_place), "{failures:?}");
    Ok(())
}

/// A Secret that is deleted and made again, as by an operator that renews it, is no reason to tell all once more.
fn secret_is_made_anew(agent: &Agent, sync: &Sync, receiver: &Receiver, receivers: &[(&str, String)]) -> Result<()> {
    sync.cluster.delete(&format!("{SYSTEM}/secrets/{NAME}"))?;
    says(agent, "the Secret nomos-notifications has no key github.token")?;
    secret(sync.cluster, receivers)?;
    await_condition("the receivers are there again", || {
        let lines = agent.log().lines(0);
        let times = lines.iter().filter(|line| line.contains("gitea, github, gitlab, hook")).count();
        ensure!(times == 2, "{times} times");
        Ok(())
    })?;
    sync.repository.write("settings.yaml", &config_map("told", "settings", "renewed"))?;
    let renewed = sync.commit()?;
    await_states(receiver, &renewed, &["pending", "success"])
}

/// A service that answers with errors is told in the end, and drift is no news.
fn errors_are_tried_again(receiver: &Receiver, sync: &Sync) -> Result<()> {
    receiver.refuse(&["500 Error\r\n", "429 Later\r\nRetry-After: 2\r\n", "409 Conflict\r\n", "503 Away\r\n"]);
    sync.repository.remove("twice.yaml")?;
    sync.repository.write("settings.yaml", &config_map("told", "settings", "two"))?;
    let mended = sync.commit()?;
    for service in SERVICES {
        await_condition(&format!("{service} is told in spite of errors"), || {
            let states = states(receiver, service, &mended);
            ensure!(states.last().is_some_and(|last| last == "success"), "{states:?}");
            Ok(())
        })?;
    }
    ensure!(receiver.refusals() == 0, "they were not asked for");
    is_put_back(sync, "two")
}

/// Another client changes the ConfigMap, which has its value again soon.
fn is_put_back(sync: &Sync, value: &str) -> Result<()> {
    let path = config_map_path(&sync.name, "settings");
    sync.cluster.patch(&path, &json!({"data": {"key": "drift"}}))?;
    await_condition("drift is put back", || {
        ensure!(sync.cluster.get(&path)?["data"]["key"] == value, "not yet");
        Ok(())
    })
}

pub(crate) fn delay_nothing(kind: Kind) -> Result<()> {
    let cluster = &installed(kind)?;
    let receiver = Receiver::start()?;
    receiver.silence(true);
    let agent = agent(cluster, &[])?;
    settings(
        cluster,
        &[
            ("gone", "provider: gitea\nurl: http://127.0.0.1:1\n".to_owned()),
            ("silent", format!("provider: github\nurl: {}\n", receiver.url())),
            ("wrong", format!("provider: webhook\nurl: {}\ntemplate: '{{{{ .token }}}}'\n", receiver.url())),
        ],
    )?;
    let (_server, sync) = served(cluster, "undelayed")?;
    sync.await_synced(&sync.repository.head()?)?;
    for (reason, words) in [
        (
            "InvalidNotifications",
            "the receiver wrong in the ConfigMap nomos-notifications is left out: template has {{ .token }}",
        ),
        ("NotificationFailed", "the receiver gone does not take the state of commits: 127.0.0.1: "),
    ] {
        await_condition(&format!("there is an Event {reason}"), || {
            let events = cluster.get(EVENTS)?;
            let found = events["items"].as_array().into_iter().flatten().any(|event| {
                let note = event["note"].as_str().unwrap_or_default();
                event["reason"] == reason && event["regarding"]["name"] == NAME && note.starts_with(words)
            });
            ensure!(found, "{events:#}");
            Ok(())
        })?;
    }
    let mut commits = Vec::new();
    for value in ["two", "three"] {
        sync.repository.write("settings.yaml", &config_map("undelayed", "settings", value))?;
        commits.push(sync.commit()?);
        is_put_back(&sync, value)?;
    }
    ensure!(receiver.sent().is_empty());
    let log = agent.log().lines(0);
    let told = log.iter().filter(|line| line.contains("the receiver gone")).count();
    ensure!(told == 1, "{told} lines: {log:#?}");
    let metrics = metrics(&agent)?;
    let counted = r#"config_sync_notifications_total{receiver="gone",status="error"}"#;
    ensure!(metrics.contains(counted), "{metrics}");

    // Only the newest state was kept.
    receiver.silence(false);
    let newest = commits.pop().context("two commits")?;
    await_condition("the newest state is told", || {
        let states = states(&receiver, "/api/v3/", &newest);
        ensure!(states.last().is_some_and(|state| state == "success"), "{:#?}", receiver.sent());
        Ok(())
    })?;
    let others = receiver.sent().into_iter().filter(|sent| !sent.path.ends_with(&newest)).count();
    ensure!(others == 0, "{:#?}", receiver.sent());
    nothing_is_shown(cluster, &agent)
}
