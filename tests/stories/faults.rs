//! Faults of an API server. The agent survives each, deletes no object because of it, reports it, and does not send too many
//! requests.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sandbox::Sandbox;
use sandbox::faults::{Fault, Rule};
use serde_json::json;
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::custom_resources::{create_kind, widget};
use crate::world::{Sync, agent, config_map, config_map_path, installed, namespace};

const NAME: &str = "faults";
/// Only the agent suffers.
const AGENT: &str = "nomos-agent/";
/// Writes of one object that a refusal may cost until the story has seen it told: tries come at growing intervals.
const TRIES: usize = 12;

/// Each with the requests of the agent that it strikes.
fn faults() -> Vec<(&'static str, Vec<Rule>)> {
    let status = |code| Rule::new(Fault::status(code));
    let writes = |code| vec![status(code).verb("patch").path("/configmaps/").times(3)];
    vec![
        ("hangup", vec![Rule::new(Fault::Hangup).times(4)]),
        ("401", writes(401)),
        ("403", writes(403)),
        ("404 of a group", writes(404)),
        ("409", writes(409)),
        ("429 with Retry-After", writes(429)),
        ("500", writes(500)),
        ("503", writes(503)),
        ("504", writes(504)),
        ("a list that is refused", vec![Rule::new(Fault::CutWatch).times(2), status(503).verb("list").times(2)]),
        ("a reply cut in the middle", vec![Rule::new(Fault::CutReply(40)).verb("patch").times(3)]),
        ("slow replies", vec![Rule::new(Fault::Delay(Duration::from_millis(300))).verb("patch").times(3)]),
        ("watches cut", vec![Rule::new(Fault::CutWatch).times(4)]),
        ("watches expired (410)", vec![Rule::new(Fault::ExpireWatch).times(3)]),
        ("late events", vec![Rule::new(Fault::LateEvent(Duration::from_millis(300))).times(3)]),
        ("events twice", vec![Rule::new(Fault::EventTwice).times(20)]),
    ]
}

/// A sync of some ConfigMaps, by an agent of its own.
fn repository() -> Result<Repository> {
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    // Each fault has objects of its own: the agent reports a client that changes one object again and again. The others make
    // the inventory so large that the deletions of all faults are within the budget of an hour.
    let names = ["drifted", "deleted", "other", "another", "further"];
    let each = (0..=faults().len()).flat_map(|number| names.map(|name| format!("{name}-{number}")));
    for name in each.chain(["changed", "removed-0"].map(ToOwned::to_owned)) {
        repository.write(&format!("{name}.yaml"), &config_map(NAME, &name, "value"))?;
    }
    Ok(repository)
}

pub(crate) fn are_survived(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let sync = Sync::unstructured(&cluster, "root-sync", repository()?)?;
    sync.await_synced(&sync.repository.head()?)?;
    let sandbox = cluster.sandbox()?;
    for (number, (name, rules)) in faults().into_iter().enumerate() {
        survived(&cluster, sandbox, &sync, number, rules).with_context(|| format!("fault: {name}"))?;
    }
    sandbox.restart();
    survived(&cluster, sandbox, &sync, faults().len(), Vec::new()).context("fault: restart")
}

/// A commit that changes, adds and removes, and drift of two kinds, while `rules` strike.
fn survived(cluster: &Cluster, sandbox: &Sandbox, sync: &Sync<'_>, number: usize, rules: Vec<Rule>) -> Result<()> {
    let from = cluster.now()?;
    let expected = !rules.is_empty();
    for rule in rules {
        sandbox.faults().add(rule.agent(AGENT));
    }
    let value = format!("value-{number}");
    sync.repository.write("changed.yaml", &config_map(NAME, "changed", &value))?;
    sync.repository.remove(&format!("removed-{number}.yaml"))?;
    let next = format!("removed-{}", number + 1);
    sync.repository.write(&format!("{next}.yaml"), &config_map(NAME, &next, "value"))?;
    let commit = sync.repository.commit()?;
    let (drifted, deleted) = (format!("drifted-{number}"), format!("deleted-{number}"));
    cluster.patch(&config_map_path(NAME, &drifted), &json!({"data": {"key": "other"}}))?;
    cluster.delete(&config_map_path(NAME, &deleted))?;
    await_condition("everything is as declared", || {
        for (name, declared) in [("changed", value.as_str()), (drifted.as_str(), "value"), (deleted.as_str(), "value")]
        {
            let live = cluster.get(&config_map_path(NAME, name))?;
            ensure!(live["data"]["key"] == declared, "{name}: {live:#}");
        }
        Ok(())
    })?;
    sync.await_synced(&commit)?;
    ensure!(!expected || sandbox.faults().strikes() > 0, "nothing was struck");
    sandbox.faults().clear();
    ensure!(!cluster.exists(&config_map_path(NAME, &format!("removed-{number}")))?, "what was removed is still there");

    let deletions: Vec<String> =
        cluster.writes(from)?.into_iter().filter(|write| write.verb == "delete").map(|write| write.name).collect();
    ensure!(!deletions.is_empty(), "the removed object was not deleted");
    ensure!(deletions.iter().all(|name| *name == format!("removed-{number}")), "it deleted {deletions:?}");
    let (requests, _) = cluster.requests(from)?;
    let ours = requests.iter().filter(|request| request.user_agent.starts_with(AGENT)).count();
    ensure!(ours < 400, "{ours} requests for one fault");
    Ok(())
}

/// The API server does not answer: the agent waits, deletes nothing, and continues when it answers again.
pub(crate) fn outage(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let agent = agent(&cluster, &[])?;
    let sync = Sync::unstructured(&cluster, "root-sync", repository()?)?;
    sync.await_synced(&sync.repository.head()?)?;
    let (sandbox, from) = (cluster.sandbox()?, cluster.now()?);
    sandbox.refuse();
    sync.repository.write("changed.yaml", &config_map(NAME, "changed", "after"))?;
    let commit = sync.repository.commit()?;
    await_condition("the log says that the API server is away", || {
        let lines = agent.log().lines(0).join("\n");
        ensure!(lines.contains("cannot"), "{lines}");
        Ok(())
    })?;
    let (code, text) = cluster.nomos(&["status", "--timeout", "2s"]);
    ensure!(code == 1 && text.contains("Failed to connect to cluster"), "nomos status ended with {code}:\n{text}");
    sandbox.resume();
    sync.await_synced(&commit)?;
    ensure!(cluster.get(&config_map_path(NAME, "changed"))?["data"]["key"] == "after", "not as declared");
    ensure!(cluster.writes(from)?.iter().all(|write| write.verb != "delete"), "{:#?}", cluster.writes(from)?);
    Ok(())
}

/// The API server refuses for long: the status says so, and each try is later than the one before.
pub(crate) fn refusal(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let sync = Sync::unstructured(&cluster, "root-sync", repository()?)?;
    let good = sync.repository.head()?;
    sync.await_synced(&good)?;
    let (sandbox, from) = (cluster.sandbox()?, cluster.now()?);
    sandbox.faults().add(Rule::new(Fault::status(403)).verb("patch").path("/configmaps/changed").agent(AGENT));
    sync.repository.write("changed.yaml", &config_map(NAME, "changed", "after"))?;
    let commit = sync.repository.commit()?;
    let told = sync.await_error("2013")?;
    ensure!(told["status"]["lastSyncedCommit"] == good, "{told:#}");
    let (code, text) = cluster.nomos(&["status"]);
    ensure!(
        code == 1 && text.contains("KNV2013") && text.contains("changed"),
        "nomos status ended with {code}:\n{text}"
    );
    let (requests, _) = cluster.requests(from)?;
    let tries = requests.iter().filter(|request| request.verb == "patch" && request.name == "changed").count();
    ensure!((1..=TRIES).contains(&tries), "{tries} tries");
    sandbox.faults().clear();
    sync.await_synced(&commit)?;
    Ok(())
}

/// The server of an aggregated API answers 503 for every object of its group: nothing else waits for them.
pub(crate) fn absent_group(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let group = "away.example.com";
    create_kind(&cluster, group)?;
    let repository = Repository::empty()?;
    let placed = format!("metadata:\n  namespace: {NAME}\n");
    let manifest = |n: u32, size| widget(group, &format!("w{n}"), size).replace("metadata:\n", &placed);
    let widgets = |size: u32| (0..40).map(|n| manifest(n, size)).collect::<Vec<_>>().join("---\n");
    repository.write("namespace.yaml", &namespace(NAME))?;
    repository.write("widgets.yaml", &widgets(1))?;
    for name in ["one", "two", "three"] {
        repository.write(&format!("{name}.yaml"), &config_map(NAME, name, "value"))?;
    }
    let sync = Sync::unstructured(&cluster, "root-sync", repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let sandbox = cluster.sandbox()?;
    for verb in ["patch", "get", "list", "watch"] {
        sandbox.faults().add(Rule::new(Fault::status(503)).verb(verb).path("/widgets").agent(AGENT));
    }
    sync.repository.write("widgets.yaml", &widgets(2))?;
    sync.repository.write("one.yaml", &config_map(NAME, "one", "after"))?;
    let commit = sync.repository.commit()?;
    let value = |name: &str, value: &str| {
        await_condition(&format!("{name} is {value}"), || {
            ensure!(cluster.get(&config_map_path(NAME, name))?["data"]["key"] == value, "it is not");
            Ok(())
        })
    };
    value("one", "after")?;
    for name in ["two", "three", "two"] {
        cluster.patch(&config_map_path(NAME, name), &json!({"data": {"key": "drift"}}))?;
        value(name, "value")?;
    }
    sandbox.faults().clear();
    sync.await_synced(&commit)?;
    Ok(())
}

/// Objects of others cannot be listed: their webhook for conversions is dead, or the server of their API is away. A sync that begins has
/// no record, looks for its objects among all kinds, and goes on without these.
pub(crate) fn unlisted_kind(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    create_kind(&cluster, "others.example.com")?;
    for code in [500, 503] {
        let refused = Rule::new(Fault::status(code)).verb("list").path("/widgets").agent(AGENT);
        cluster.sandbox()?.faults().add(refused);
        let name = format!("beside-{code}");
        let repository = Repository::empty()?;
        repository.write("namespace.yaml", &namespace(&name))?;
        repository.write("settings.yaml", &config_map(&name, "settings", "value"))?;
        let sync = Sync::unstructured(&cluster, &name, repository)?;
        sync.await_synced(&sync.repository.head()?)?;
        let asked = cluster.sandbox()?.faults().strikes();
        ensure!(asked > 1, "the kind was asked for {asked} times");
        cluster.sandbox()?.faults().clear();
    }
    Ok(())
}
