//! Repositories that need credentials.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::Kind;
use tests::git_server::GitServer;
use tests::repository::Repository;
use tests::ssh_server::SshServer;
use tests::wait::await_condition;

use crate::world::{Sync, condition, config_map, config_map_path, namespace, shared};

const SECRETS: &str = "/api/v1/namespaces/config-management-system/secrets";

pub(crate) fn secret_as_it_is(kind: Kind) -> Result<()> {
    let (world, name, login) = (shared(kind)?, "private", "private-login");
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(name))?;
    repository.write("settings.yaml", &config_map(name, "settings", "one"))?;
    let server = GitServer::of(&repository)?;
    server.require("reader", "first-b01d");
    let sync = Sync::unstructured(cluster, name, repository)?;
    let git = json!({"repo": server.url(), "auth": "token", "secretRef": {"name": login}, "period": "1s"});
    cluster.patch(&sync.path(), &json!({"spec": {"git": git}}))?;
    await_stalled(&sync, &format!("The Secret config-management-system/{login} does not exist"))?;

    let secret = json!({"metadata": {"name": login}, "stringData": {"username": "reader"}});
    cluster.create(SECRETS, &secret)?;
    await_stalled(&sync, "has no key \"token\"")?;

    let path = format!("{SECRETS}/{login}");
    cluster.patch(&path, &json!({"stringData": {"token": "first-b01d\r\n"}}))?;
    sync.await_synced(&sync.repository.head()?)?;
    let object = sync.object()?;
    ensure!(condition(&object, "Stalled")?["status"] == "False", "{object:#}");

    server.require("reader", "second-77ce");
    sync.await_error("2004")?;
    sync.repository.write("settings.yaml", &config_map(name, "settings", "two"))?;
    let commit = sync.repository.commit()?;
    cluster.patch(&path, &json!({"stringData": {"token": "second-77ce"}}))?;
    sync.await_synced(&commit)?;

    cluster.delete(&path)?;
    await_stalled(&sync, "does not exist")?;
    let settings = config_map_path(name, "settings");
    cluster.patch(&settings, &json!({"data": {"key": "other"}}))?;
    await_condition("drift is put back meanwhile", || {
        ensure!(cluster.get(&settings)?["data"]["key"] == "two", "not yet");
        Ok(())
    })
}

pub(crate) fn signed_commits(kind: Kind) -> Result<()> {
    let (world, name, signers) = (shared(kind)?, "signed", "signed-signers");
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    let key = repository.path().with_file_name("key");
    let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key).status()?;
    ensure!(made.success(), "ssh-keygen: {made}");
    let public = std::fs::read_to_string(key.with_extension("pub"))?;
    let secret = json!({"metadata": {"name": signers}, "stringData": {"allowed_signers": format!("story@example.com {public}")}});
    cluster.create(SECRETS, &secret)?;
    for (setting, value) in [("gpg.format", "ssh"), ("user.signingkey", &key.display().to_string())] {
        repository.git(&["config", setting, value])?;
    }
    repository.git(&["config", "commit.gpgsign", "true"])?;
    repository.write("namespace.yaml", &namespace(name))?;
    repository.write("settings.yaml", &config_map(name, "settings", "one"))?;
    let sync = Sync::unstructured(cluster, name, repository)?;
    cluster.patch(&sync.path(), &json!({"spec": {"git": {"verify": {"secretRef": {"name": signers}}}}}))?;
    let signed = sync.repository.head()?;
    sync.await_synced(&signed)?;

    sync.repository.git(&["config", "commit.gpgsign", "false"])?;
    sync.repository.write("settings.yaml", &config_map(name, "settings", "two"))?;
    sync.repository.commit()?;
    let object = sync.await_error("2004")?;
    ensure!(object["status"].to_string().contains("is not signed"), "{object:#}");
    ensure!(object["status"]["lastSyncedCommit"] == signed.as_str(), "{object:#}");
    ensure!(cluster.get(&config_map_path(name, "settings"))?["data"]["key"] == "one", "it was applied");

    sync.repository.git(&["config", "commit.gpgsign", "true"])?;
    sync.repository.write("settings.yaml", &config_map(name, "settings", "three"))?;
    sync.await_synced(&sync.repository.commit()?)?;
    Ok(())
}

pub(crate) fn over_ssh(kind: Kind) -> Result<()> {
    let (world, name, login) = (shared(kind)?, "over-ssh", "over-ssh-login");
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(name))?;
    repository.write("settings.yaml", &config_map(name, "settings", "one"))?;
    let (server, other) = (SshServer::start()?, SshServer::start()?);
    let secret = |key: String, known_hosts: String| json!({"metadata": {"name": login}, "stringData": {"ssh": key, "known_hosts": known_hosts}});
    let known = server.known_hosts()?;
    let (address, others) = (known.split(' ').next().unwrap_or_default(), other.known_hosts()?);
    let key_of_another = format!("{address} {}", others.split_once(' ').map_or("", |(_, key)| key));
    cluster.create(SECRETS, &secret(server.key()?, key_of_another))?;
    let sync = Sync::unstructured(cluster, name, repository)?;
    let git =
        json!({"repo": server.url(&sync.repository), "auth": "ssh", "secretRef": {"name": login}, "period": "1s"});
    cluster.patch(&sync.path(), &json!({"spec": {"git": git}}))?;
    let object = sync.await_error("2004")?;
    ensure!(object["status"].to_string().contains("shows a host key that known_hosts does not have"), "{object:#}");

    let path = format!("{SECRETS}/{login}");
    cluster.patch(&path, &secret(other.key()?, known.clone()))?;
    await_condition("the key is refused", || {
        let object = sync.object()?;
        ensure!(object["status"].to_string().contains("in with the key"), "{object:#}");
        Ok(())
    })?;
    cluster.patch(&path, &secret(server.key()?, known))?;
    sync.await_synced(&sync.repository.head()?)?;
    sync.repository.write("settings.yaml", &config_map(name, "settings", "two"))?;
    sync.commit()?;
    by_the_first_key(&sync, &server, &path)
}

/// Without `known_hosts` the server's first key is remembered on the RootSync, and another one gets no login.
fn by_the_first_key(sync: &Sync<'_>, server: &SshServer, secret: &str) -> Result<()> {
    let name = &sync.name;
    sync.cluster.patch(secret, &json!({"data": {"known_hosts": null}}))?;
    let remembered = |server: &SshServer| {
        let line = server.known_hosts()?;
        let line = line.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        await_condition("the key of the server is remembered", || {
            let object = sync.object()?;
            let found = &object["metadata"]["annotations"][KNOWN_HOSTS];
            ensure!(*found == line, "{found}");
            Ok(())
        })
    };
    remembered(server)?;
    sync.repository.write("settings.yaml", &config_map(name, "settings", "three"))?;
    let commit = sync.commit()?;

    server.change_host_key()?;
    sync.repository.write("settings.yaml", &config_map(name, "settings", "four"))?;
    let newer = sync.repository.commit()?;
    let object = sync.await_error("2004")?;
    let status = object["status"].to_string();
    ensure!(status.contains("shows another host key than at the first connection"), "{object:#}");
    ensure!(status.contains(&format!("remove the annotation {KNOWN_HOSTS} of the sync")), "{object:#}");
    ensure!(object["status"]["lastSyncedCommit"] == *commit, "{object:#}");
    sync.patch(&json!({"metadata": {"annotations": {KNOWN_HOSTS: null}}}))?;
    remembered(server)?;
    sync.await_synced(&newer).map(|_| ())
}

const KNOWN_HOSTS: &str = "configsync.gke.io/ssh-known-hosts";

fn await_stalled(sync: &Sync<'_>, text: &str) -> Result<Value> {
    await_condition(&format!("the sync is stalled: {text}"), || {
        let object = sync.object()?;
        let stalled = condition(&object, "Stalled")?;
        let message = stalled["message"].as_str().unwrap_or_default();
        ensure!(stalled["status"] == "True" && stalled["reason"] == "Validation", "{object:#}");
        ensure!(message.contains("KNV1061") && message.contains(text), "{message}");
        ensure!(object["status"]["observedGeneration"] == object["metadata"]["generation"], "{object:#}");
        Ok(object)
    })
}
