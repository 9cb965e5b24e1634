//! Files that SOPS sealed: the agent opens them with the age key that it was told of, and shows no value.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::agent_process::Agent;
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::sops::{KEYS, Sops, recipient};
use tests::wait::await_condition;

use crate::health::read;
use crate::tenants::Tenant;
use crate::world::{Sync, agent, agent_with, config_map, config_map_path, installed, namespace};

const NAME: &str = "sealed";
const KEY: &str = "sops-age";
const FLAGS: [&str; 3] = ["--allow-local-repositories", "--age-key-secret", KEY];
const SYSTEM: &str = "/api/v1/namespaces/config-management-system/secrets";
/// Values that are sealed, and one with which another client replaces them.
const VALUES: [&str; 5] =
    ["first-3f81c2", "second-77d1e0", "in-a-map-c2b9", "rotated-51aa07", "by-another-client-9e4d"];
const EVERYTHING: [(&str, &str); 1] = [("RUST_LOG", "trace,kube_client=trace,hyper=trace,h2=trace")];

fn secret(namespace: &str, name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  labels:\n    app: web\n\
         stringData:\n  # the password\n  password: {value}\n"
    )
}

fn encoded(value: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(value)
}

/// The Secret with age keys.
fn keys(files: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> =
        files.iter().map(|(name, text)| ((*name).to_owned(), encoded(text).into())).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEY}, "data": data})
}

fn await_value(cluster: &Cluster, namespace: &str, name: &str, value: &str) -> Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
    await_condition(&format!("the Secret {name} has its value"), || {
        let found = cluster.get(&path)?;
        ensure!(found["data"]["password"] == encoded(value).as_str(), "{found:#}");
        Ok(())
    })
}

/// Waits until the newest commit is refused for this reason, and the state before it is in force.
fn await_refused(sync: &Sync<'_>, text: &str, in_force: Option<&str>) -> Result<()> {
    await_condition(&format!("the commit is refused: {text}"), || {
        let status = &sync.object()?["status"];
        let errors = status["source"]["errors"].to_string();
        ensure!(errors.contains("KNV2001") && errors.contains(text), "{status:#}");
        ensure!(in_force.is_none_or(|commit| status["lastSyncedCommit"] == commit), "{status:#}");
        Ok(())
    })
}

pub(crate) fn opened_and_secret(kind: Kind) -> Result<()> {
    let (cluster, sops) = (installed(kind)?, Sops::new()?);
    let mut agent = agent_with(&cluster, &FLAGS, &EVERYTHING)?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    repository.write("plain.yaml", &config_map(NAME, "plain", "one"))?;
    repository.write("login.yaml", &sops.sealed(&secret(NAME, "login", VALUES[0]), 0)?)?;
    repository.write("settings.yaml", &sops.sealed(&config_map(NAME, "settings", VALUES[2]), 0)?)?;
    // The key of another cluster is not needed here.
    let annotation = "  annotations:\n    configsync.gke.io/cluster-name-selector: elsewhere\n";
    let elsewhere = secret(NAME, "elsewhere", VALUES[0]).replace("stringData:", &format!("{annotation}stringData:"));
    repository.write("elsewhere.yaml", &sops.sealed(&elsewhere, 1)?)?;
    let sync = Sync::unstructured(&cluster, NAME, repository)?;
    await_refused(&sync, "the Secret config-management-system/sops-age with the age key does not exist", None)?;
    ensure!(!cluster.exists(&format!("/api/v1/namespaces/{NAME}"))?, "something of the commit is applied");

    cluster.create(SYSTEM, &keys(&[("note", "none"), ("age.agekey", KEYS[0])]))?;
    let first = sync.repository.head()?;
    sync.await_synced(&first)?;
    await_value(&cluster, NAME, "login", VALUES[0])?;
    put_back(&cluster, &agent)?;

    // One file that was changed by hand, and one that another key is needed for: the state before stays in force.
    let sealed = fs::read_to_string(sync.repository.path().join("login.yaml"))?;
    sync.repository.write("plain.yaml", &config_map(NAME, "plain", "two"))?;
    sync.repository.write("login.yaml", &sealed.replace("app: web", "app: other"))?;
    sync.repository.commit()?;
    await_refused(&sync, "the file was changed since SOPS sealed it", Some(&first))?;
    sync.repository.write("login.yaml", &sops.sealed(&secret(NAME, "login", VALUES[3]), 1)?)?;
    sync.repository.commit()?;
    await_refused(&sync, "has no key that opens it", Some(&first))?;
    ensure!(cluster.get(&config_map_path(NAME, "plain"))?["data"]["key"] == "one", "something is applied");
    put_back(&cluster, &agent)?;

    // Both keys while the files are sealed anew, and then the new one alone.
    cluster.patch(&format!("{SYSTEM}/{KEY}"), &keys(&[("new.agekey", KEYS[1])]))?;
    let second = sync.repository.head()?;
    sync.await_synced(&second)?;
    await_value(&cluster, NAME, "login", VALUES[3])?;
    cluster.patch(&format!("{SYSTEM}/{KEY}"), &json!({"data": {"age.agekey": null}}))?;
    await_refused(&sync, "has no key that opens it", Some(&second))?;
    sync.repository.write("settings.yaml", &sops.sealed(&config_map(NAME, "settings", VALUES[1]), 1)?)?;
    sync.commit()?;
    ensure!(cluster.get(&config_map_path(NAME, "settings"))?["data"]["key"] == VALUES[1], "it has another value");

    commands(&cluster, &sync)?;
    compared(&cluster, &sync, &sops)?;
    shown_nowhere(&cluster, &agent, &sync)?;

    // The key is gone when another agent begins: what is sealed stays as it is, and everything else is kept as declared.
    let commit = sync.repository.head()?;
    cluster.delete(&format!("{SYSTEM}/{KEY}"))?;
    agent.terminate()?;
    agent = agent_with(&cluster, &FLAGS, &EVERYTHING)?;
    await_refused(&sync, "Until then the objects of the file stay as they are", Some(&commit))?;
    let plain = config_map_path(NAME, "plain");
    cluster.patch(&plain, &json!({"data": {"key": "by another client"}}))?;
    await_condition("what is not sealed is put back", || {
        ensure!(cluster.get(&plain)?["data"]["key"] == "two", "it is not");
        Ok(())
    })?;
    ensure!(cluster.get(&config_map_path(NAME, "settings"))?["data"]["key"] == VALUES[1], "it is another value");
    await_value(&cluster, NAME, "login", VALUES[3])?;
    // A line of another tool spoils no key.
    cluster.create(SYSTEM, &keys(&[("note.agekey", "none"), ("new.agekey", KEYS[1])]))?;
    sync.await_synced(&commit)?;
    let said = agent.log().lines(0).join("\n");
    ensure!(said.contains("line 1 of \\\"note.agekey\\\""), "the wrong line is not told");
    given_up(&cluster, &sync)?;
    in_plain_text(&cluster, &sync)?;
    shown_nowhere(&cluster, &agent, &sync)
}

/// The sync gives up what was sealed, and an export still shows no value of it. Then it is declared again.
fn given_up(cluster: &Cluster, sync: &Sync<'_>) -> Result<()> {
    let sealed = fs::read_to_string(sync.repository.path().join("settings.yaml"))?;
    let unmanaged = "  annotations: {configmanagement.gke.io/managed: disabled}\n";
    let text = config_map(NAME, "settings", "any").replace("metadata:\n", &format!("metadata:\n{unmanaged}"));
    sync.repository.write("settings.yaml", &text)?;
    sync.commit()?;
    let live = cluster.get(&config_map_path(NAME, "settings"))?;
    let annotations = &live["metadata"]["annotations"];
    ensure!(*annotations == json!({"configsync.gke.io/sealed": "true"}), "{live:#}");
    let home = TempDir::new()?;
    let path = home.path().join("exported").display().to_string();
    let (status, said) = cluster.nomos(&["export", "--path", &path, "-n", NAME]);
    ensure!(status == 0 && said.contains(&format!("   configmap/{NAME}/settings\n")), "{status}: {said}");
    sync.repository.write("settings.yaml", &sealed)?;
    sync.commit().map(|_| ())
}

/// What was sealed is declared in plain text, and the live object still has the sealed value.
fn in_plain_text(cluster: &Cluster, sync: &Sync<'_>) -> Result<()> {
    let live = cluster.get(&config_map_path(NAME, "settings"))?;
    ensure!(live["metadata"]["annotations"]["configsync.gke.io/sealed"] == "true", "{live:#}");
    sync.repository.write("settings.yaml", &config_map(NAME, "settings", "for-all-to-read"))?;
    let (status, said) = cluster.nomos(&["diff", NAME, "--path", &sync.repository.url()]);
    ensure!(status == 1 && said.contains("-  key: '***'\n+  key: '***'"), "{status}: {said}");
    ensure!(!said.contains(VALUES[1]) && !said.contains("for-all"), "{said}");
    sync.commit()?;
    let live = cluster.get(&config_map_path(NAME, "settings"))?;
    ensure!(live["metadata"]["annotations"]["configsync.gke.io/sealed"].is_null(), "{live:#}");
    Ok(())
}

/// Another client changes a sealed value, and it is put back.
fn put_back(cluster: &Cluster, agent: &Agent) -> Result<()> {
    let (path, from) = (config_map_path(NAME, "settings"), agent.log().lines(0).len());
    cluster.patch(&path, &json!({"data": {"key": VALUES[4]}}))?;
    await_condition("the value is put back, and that is told", || {
        ensure!(cluster.get(&path)?["data"]["key"] == VALUES[2], "it is not");
        let said = agent.log().lines(from).join("\n");
        ensure!(said.contains("drift corrected") && said.contains("changed .data"), "{said}");
        Ok(())
    })
}

/// The commands say that values are sealed, without a key.
fn commands(cluster: &Cluster, sync: &Sync<'_>) -> Result<()> {
    let (home, path) = (TempDir::new()?, sync.repository.url());
    let output = home.path().join("hydrated").display().to_string();
    let source = ["--path", &path, "--source-format=unstructured"];
    for (args, status, expected) in [
        (&["vet"][..], 0, "note: 3 objects have values that SOPS sealed; these values are not checked.\n"),
        (&["hydrate", "--flat", "--output", &output], 0, ""),
        (&["diff", NAME, "--path", &path], 0, "0 changed\n2 objects have sealed values that were not compared; "),
    ] {
        let args = if args[0] == "diff" { args.to_vec() } else { [args, &source].concat() };
        let (ended, said) = cluster.nomos(&args);
        ensure!(ended == status && said.contains(expected), "nomos {args:?}: {ended}\n{said}");
    }
    let hydrated = fs::read_to_string(&output)?;
    ensure!(hydrated.contains("password: <sealed by SOPS>") && !hydrated.contains("ENC["), "{hydrated}");
    sync.repository.write("new.yaml", &fs::read_to_string(sync.repository.path().join("login.yaml"))?)?;
    sync.repository.replace("new.yaml", "name: login", "name: new")?;
    let (_, said) = cluster.nomos(&["diff", NAME, "--path", &path]);
    ensure!(said.contains("+  password: <sealed by SOPS>"), "{said}");
    sync.repository.remove("new.yaml")
}

/// What changes of sealed objects is shown, with the key and without: <https://github.com/fluxcd/flux2/issues/2387>.
fn compared(cluster: &Cluster, sync: &Sync<'_>, sops: &Sops) -> Result<()> {
    let (home, path) = (TempDir::new()?, sync.repository.url());
    let keys: Vec<String> = (0..2).map(|n| home.path().join(format!("{n}.agekey")).display().to_string()).collect();
    keys.iter().zip(KEYS).try_for_each(|(file, key)| fs::write(file, key))?;
    let diff = |more: &[&str], status: u8| {
        let (ended, said) = cluster.nomos(&[&["diff", NAME, "--path", &path][..], more].concat());
        ensure!(ended == status, "nomos diff {more:?}: {ended}\n{said}");
        let shown = VALUES.iter().chain(&["next-value"]).find(|it| said.contains(**it) || said.contains(&encoded(it)));
        ensure!(shown.is_none() && !said.contains("ENC["), "{shown:?} is in {said}");
        Ok(said)
    };
    let with_key = ["--age-key", &keys[1]];
    ensure!(diff(&with_key, 0)?.ends_with(": 0 would be deleted, 0 made, 0 changed\n"), "{}", diff(&with_key, 0)?);
    ensure!(diff(&["--age-key", &keys[0]], 1)?.contains("KNV2001"));

    // A value alone.
    sync.repository.write("settings.yaml", &sops.sealed(&config_map(NAME, "settings", "next-value"), 1)?)?;
    let said = diff(&with_key, 1)?;
    ensure!(said.contains("-  key: '***'\n+  key: '***'\n") && said.ends_with("0 made, 1 changed\n"), "{said}");
    let said = diff(&[], 0)?;
    ensure!(said.contains("0 made, 0 changed\n2 objects have sealed values that were not compared"), "{said}");

    // What is not sealed, a key that goes and one that comes, with the rules of the API server.
    let next = secret(NAME, "login", VALUES[3]).replace("app: web", "app: other").replace("password:", "token:");
    sync.repository.write("login.yaml", &sops.sealed(&next, 1)?)?;
    let registry = secret(NAME, "registry", VALUES[3]).replace("password:", ".dockerconfigjson:");
    let registry = registry.replace("kind: Secret\n", "kind: Secret\ntype: kubernetes.io/dockerconfigjson\n");
    sync.repository.write("registry.yaml", &sops.sealed(&registry, 1)?)?;
    let said = diff(&[], 1)?;
    for part in [
        "+++ v1.Secret.sealed.login\n",
        "-  password: '***'\n+  token: <sealed by SOPS>\n",
        "-    app: '***'\n+    app: '***'\n",
        "+++ v1.Secret.sealed.registry\n",
        "0 would be deleted, 1 made, 1 changed\n1 of those is not checked by the API server: ",
        "\n3 objects have sealed values that were not compared",
    ] {
        ensure!(said.contains(part), "{part:?} is missing in {said}");
    }
    let report: Value = serde_json::from_str(&diff(&["--report", "json"], 1)?)?;
    ensure!(report["summary"]["sealed"] == 3, "{report:#}");
    let effects = report["changes"].as_array().into_iter().flatten();
    let effects: Vec<_> =
        effects.map(|it| (it["resource"]["name"].as_str(), it["effect"].as_str(), it["note"].is_string())).collect();
    ensure!(effects.len() == 2, "those with nothing else to tell are counted alone: {effects:?}");
    for expected in [("login", "change"), ("registry", "create")] {
        ensure!(
            effects.contains(&(Some(expected.0), Some(expected.1), true)),
            "{expected:?} is missing in {effects:?}"
        );
    }
    sync.repository.remove("registry.yaml")?;
    sync.repository.git(&["checkout", "--quiet", "--", "login.yaml", "settings.yaml"])?;
    Ok(())
}

/// No value is in anything that the agent or `nomos` shows, and no key.
fn shown_nowhere(cluster: &Cluster, agent: &Agent, sync: &Sync<'_>) -> Result<()> {
    let mut shown = vec![("the log", agent.log().lines(0).join("\n"))];
    ensure!(shown[0].1.contains("\"level\":\"TRACE\""), "{}", shown[0].1);
    for page in ["/metrics", "/debug/syncs", "/debug/syncs?o=json"] {
        shown.push((page, read(&agent.address()?, page)?));
    }
    shown.push(("Events", cluster.get("/apis/events.k8s.io/v1/events")?.to_string()));
    shown.push(("the status", sync.object()?.to_string()));
    let groups = cluster.get("/apis/kpt.dev/v1alpha1/namespaces/config-management-system/resourcegroups")?;
    shown.push(("ResourceGroups", groups.to_string()));
    for flags in [&["status"][..], &["status", "-o", "json"], &["trace", "configmap/settings", "-n", NAME]] {
        shown.push(("nomos", cluster.nomos(flags).1));
    }
    shown.push(("the report", crate::bug_report::whole_report(cluster)?));
    let values = VALUES.iter().map(|value| (*value).to_owned()).chain(VALUES.map(encoded));
    let private = KEYS.map(|text| text.lines().last().unwrap_or_default().to_owned());
    for needle in values.chain(private.clone()).chain(private.map(|key| encoded(&key))) {
        for (place, text) in &shown {
            let line = text.lines().find(|line| line.contains(&needle));
            ensure!(line.is_none(), "{needle} is in {place}: {line:?}");
        }
    }
    Ok(())
}

pub(crate) fn tenants(kind: Kind) -> Result<()> {
    let (cluster, sops, tenant) = (installed(kind)?, Sops::new()?, "sealed-tenant");
    let _agent = agent_with(&cluster, &FLAGS, &[])?;
    cluster.create(SYSTEM, &keys(&[("age.agekey", KEYS[0])]))?;
    let repository = Repository::empty()?;
    repository.write("login.yaml", &sops.sealed(&secret(tenant, "login", VALUES[0]), 0)?)?;
    let rights: &[(&str, &[&str])] = &[("secrets", &["get", "list", "watch", "create", "patch", "update", "delete"])];
    let tenant = Tenant::with_rights(&cluster, tenant, rights, repository)?;
    // The platform's key does not open the file of a tenant.
    let refused = tenant.await_codes(&["2001"])?["status"].to_string();
    let expected = "the Secret sealed-tenant/sops-age with the age key does not exist";
    ensure!(refused.contains(expected), "{refused}");
    cluster.create(&format!("/api/v1/namespaces/{}/secrets", tenant.namespace), &keys(&[("x.agekey", KEYS[1])]))?;
    await_condition("the key is another one", || {
        let status = tenant.object()?["status"].to_string();
        ensure!(status.contains("the Secret sealed-tenant/sops-age has no key that opens it"), "{status}");
        Ok(())
    })?;
    tenant.repository.write("login.yaml", &sops.sealed(&secret(&tenant.namespace, "login", VALUES[1]), 1)?)?;
    tenant.repository.commit()?;
    tenant.await_synced()?;
    await_value(&cluster, &tenant.namespace, "login", VALUES[1])
}

pub(crate) fn export(kind: Kind) -> Result<()> {
    let (cluster, sops, home) = (installed(kind)?, Sops::new()?, TempDir::new()?);
    cluster.create_namespace(NAME)?;
    let secrets = format!("/api/v1/namespaces/{NAME}/secrets");
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "annotations": {"note": "a\nb"}},
        "stringData": {"password": VALUES[0], "lines": "first\nsecond\n", "empty": ""},
    });
    cluster.create(&secrets, &object)?;
    let unsealable = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "odd", "labels": {"data": "x"}}, "data": {"a": "eA=="}});
    cluster.create(&secrets, &unsealable)?;
    let repository = Repository::empty()?;
    let path = repository.url();
    let nomos = |args: &[&str], status: u8, part: &str| {
        let (ended, said) = cluster.nomos(args);
        ensure!(ended == status && said.contains(part), "nomos {}: {ended}\n{said}", args.join(" "));
        ensure!(!said.contains(VALUES[0]) && !said.contains(&encoded(VALUES[0])), "{said}");
        Ok(())
    };
    let both = ["--secrets=sops", "--age", recipient(0)?, "--age", recipient(1)?];
    nomos(&["export", "--path", &path, "--secrets=sops"], 2, "--age")?;
    nomos(&["export", "--path", &path, "--age", recipient(0)?], 2, "--age is for --secrets=sops")?;
    nomos(&[&["export", "--path", &path][..], &both].concat(), 1, "secret/sealed/odd: it has a label")?;
    cluster.delete(&format!("{secrets}/odd"))?;
    // As an agent leaves it that applied a sealed file.
    let marked = json!({"annotations": {"configsync.gke.io/sealed": "true"}, "name": "settings"});
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": marked, "data": {"password": VALUES[0]}, "immutable": true});
    cluster.create(&format!("/api/v1/namespaces/{NAME}/configmaps"), &settings)?;
    let others = home.path().join("others");
    nomos(&["export", "--path", &others.display().to_string()], 0, "   configmap/sealed/settings\n")?;
    ensure!(!others.join("namespaces").join(NAME).join("config-map-settings.yaml").exists(), "it is exported");
    fs::remove_dir_all(repository.path().join("namespaces"))?;
    fs::remove_dir_all(repository.path().join("system"))?;
    nomos(&[&["export", "--path", &path][..], &both].concat(), 0, "")?;

    let plain = home.path().join("plain");
    let as_it_is = ["--secrets=plain", "--plain-secrets-in-git"];
    nomos(&[&["export", "--path", &plain.display().to_string()][..], &as_it_is].concat(), 0, "")?;
    let file = Path::new("namespaces").join(NAME).join("secret-login.yaml");
    let sealed = repository.path().join(&file);
    let text = fs::read_to_string(&sealed)?;
    ensure!(text.contains("ENC[") && !text.contains(&encoded(VALUES[0])), "{text}");
    // SOPS opens it with either key, and changes it.
    let expected: Value = serde_yaml::from_str(&fs::read_to_string(plain.join(&file))?)?;
    for key in 0..KEYS.len() {
        let opened: Value = serde_yaml::from_str(&sops.opened(&sealed, key)?)?;
        ensure!(opened == expected, "{opened:#}\n{expected:#}");
    }
    let map = Path::new("namespaces").join(NAME).join("config-map-settings.yaml");
    let opened: Value = serde_yaml::from_str(&sops.opened(&repository.path().join(&map), 0)?)?;
    let expected: Value = serde_yaml::from_str(&fs::read_to_string(plain.join(&map))?)?;
    ensure!(opened == expected && opened["immutable"] == true, "{opened:#}\n{expected:#}");
    nomos(&["vet", "--path", &path], 0, "")?;
    nomos(&["export", "--check", &path], 0, "not compared")?;
    let key = sops.key_file(1).display().to_string();
    nomos(&["export", "--check", &path, "--age-key", &key], 0, "")?;
    sops.set(&sealed, 1, r#"["data"]["password"]"#, &encoded(VALUES[1]))?;
    nomos(&["export", "--check", &path, "--age-key", &key], 1, "secret/sealed/login: .data.password is not")?;
    becomes_the_cluster(&cluster, repository, &secrets)
}

/// The repository becomes the cluster again.
fn becomes_the_cluster(cluster: &Cluster, repository: Repository, secrets: &str) -> Result<()> {
    cluster.delete(&format!("{secrets}/login"))?;
    cluster.create(SYSTEM, &keys(&[("age.agekey", KEYS[0])]))?;
    let _agent = agent(cluster, &["--age-key-secret", KEY])?;
    let sync = Sync::hierarchical(cluster, "root-sync", repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    await_value(cluster, NAME, "login", VALUES[1])?;
    let live = cluster.get(&format!("{secrets}/login"))?;
    let lines = live["data"]["lines"].as_str().context("a text")?;
    ensure!(lines == encoded("first\nsecond\n") && live["metadata"]["annotations"]["note"] == "a\nb", "{live:#}");
    Ok(())
}
