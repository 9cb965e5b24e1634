//! Decides the steps of a migration from the objects of a cluster, without any request.

use agent::api::{CONFIG_MANAGEMENT, ConfigManagementSpec};
use agent::model::metadata::{CONTROLLER_NAMESPACE, RECONCILER_MANAGER, ROOT_SYNC, SYNC_FINALIZERS, label};
use agent::model::yaml;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::contexts::AGENTS;

/// The annotation of objects that a fleet manages.
const MANAGED_BY_HUB: &str = "configmanagement.gke.io/managed-by-hub";
/// The Deployment that keeps the programs of Config Sync installed.
const OPERATOR: &str = "config-management-operator";
const RESOURCE_GROUPS: &str = "resource-group-system";
/// The namespaces in which programs of Config Sync run.
pub(super) const NAMESPACES: [&str; 3] = ["kube-system", CONTROLLER_NAMESPACE, RESOURCE_GROUPS];
/// The configuration of Config Sync's admission webhook.
pub(super) const WEBHOOK: &str = "admission-webhook.configsync.gke.io";

/// The programs of Config Sync, in the order in which they are stopped: none is started again by one that still runs. The reconcilers of
/// the syncs follow their manager.
const PROGRAMS: [(&str, &str); 5] = [
    ("kube-system", OPERATOR),
    (CONTROLLER_NAMESPACE, OPERATOR),
    (CONTROLLER_NAMESPACE, RECONCILER_MANAGER),
    (CONTROLLER_NAMESPACE, "admission-webhook"),
    (RESOURCE_GROUPS, "resource-group-controller-manager"),
];

/// The objects of a cluster that a migration depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct MigrationFacts {
    /// The Deployments of [`NAMESPACES`].
    pub(super) deployments: Vec<DynamicObject>,
    pub(super) config_management: Option<DynamicObject>,
    /// RootSyncs and RepoSyncs.
    pub(super) syncs: Vec<DynamicObject>,
    pub(super) webhook: Option<DynamicObject>,
}

/// One step of a migration.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum MigrationStep {
    /// Ask a Deployment for no Pods.
    Stop { namespace: String, name: String },
    /// Wait until the Pods of these Deployments are gone.
    AwaitStopped(Vec<(String, String)>),
    /// Take the rules out of the admission webhook's configuration, which denies every change by another program.
    Unhook,
    /// Take the finalizer of the manager off a sync.
    TakeOff { namespace: String, name: String, kind: String },
    /// Make the RootSync of the ConfigManagement.
    MakeRootSync(Value),
    /// Take the mark of the ConfigManagement off its RootSync.
    ReleaseRootSync,
    /// Enable RootSyncs in the ConfigManagement, and remove the repository from it.
    EnableMultiRepo,
    /// Delete the ConfigManagement.
    RemoveConfigManagement,
    /// Wait until the agent serves all syncs.
    AwaitAgent,
}

impl MigrationStep {
    /// The step in words.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Stop { namespace, name } => format!("stop deployment.apps/{name} in {namespace} (0 replicas)"),
            Self::AwaitStopped(programs) => {
                let names: Vec<&str> = programs.iter().map(|(_, name)| name.as_str()).collect();
                format!("wait until the Pods of {} are gone", names.join(", "))
            }
            Self::Unhook => format!("take the rules out of the ValidatingWebhookConfiguration {WEBHOOK}"),
            Self::TakeOff { namespace, name, kind } => {
                format!("take the finalizer {} off the {kind} {namespace}/{name}", SYNC_FINALIZERS[1])
            }
            Self::MakeRootSync(object) => {
                format!("make the RootSync {ROOT_SYNC}:\n{}", yaml::document(object).trim_end())
            }
            Self::ReleaseRootSync => {
                format!(
                    "take the label {} and the owner off the RootSync {ROOT_SYNC}, which stays as it is",
                    label::MADE_FROM
                )
            }
            Self::EnableMultiRepo => {
                "set spec.enableMultiRepo of the ConfigManagement, and remove its spec.git".to_owned()
            }
            Self::RemoveConfigManagement => "delete the ConfigManagement".to_owned(),
            Self::AwaitAgent => format!("wait until {} serves all syncs", AGENTS[0]),
        }
    }
}

/// The steps, and a command that the user has to run after them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Migration {
    pub(super) steps: Vec<MigrationStep>,
    pub(super) next: Option<String>,
}

/// The steps for a cluster.
///
/// # Errors
///
/// The reason why the cluster cannot be migrated as it is, with what to do.
pub(super) fn plan(found: &MigrationFacts, remove_config_management: bool) -> Result<Migration, String> {
    refuse_hub(found)?;
    refuse_deletions(found)?;
    let agent = deployment(found, CONTROLLER_NAMESPACE, AGENTS[0]);
    let spec = settings(found)?;
    let name = cluster_name(found, spec.as_ref(), remove_config_management)?;
    if let (Some(agent), Some(name)) = (agent, &name) {
        let flag = format!("--cluster-name={name}");
        if !arguments(agent).any(|argument| argument == flag) {
            return Err(format!(
                "the cluster has the name {name}, and the agent would not know it: objects for that name would be removed. Give it the \
                 name first: nomos install --image IMAGE --cluster-name {name}"
            ));
        }
    }
    let mut steps = stops(found);
    let has_rules =
        |webhook: &DynamicObject| webhook.data["webhooks"].as_array().is_some_and(|rules| !rules.is_empty());
    if found.webhook.as_ref().is_some_and(has_rules) {
        steps.push(MigrationStep::Unhook);
    }
    steps.extend(found.syncs.iter().filter(|sync| has_finalizer(sync)).map(|sync| MigrationStep::TakeOff {
        namespace: sync.namespace().unwrap_or_default(),
        name: sync.name_any(),
        kind: kind(sync).to_owned(),
    }));
    steps.extend(of_config_management(found, spec.as_ref(), remove_config_management)?);
    if agent.is_some() && !steps.is_empty() {
        steps.push(MigrationStep::AwaitAgent);
    }
    let flag = name.map_or_else(String::new, |name| format!(" --cluster-name {name}"));
    let next = agent.is_none().then(|| format!("nomos install --image IMAGE{flag}"));
    Ok(Migration { steps, next })
}

fn refuse_hub(found: &MigrationFacts) -> Result<(), String> {
    let programs = found.deployments.iter().filter(|deployment| is_program(deployment));
    let by_hub =
        |object: &&DynamicObject| object.annotations().get(MANAGED_BY_HUB).is_some_and(|value| value == "true");
    match found.config_management.iter().chain(programs).find(by_hub) {
        None => Ok(()),
        Some(object) => Err(format!(
            "a fleet manages Config Sync on this cluster ({} has the annotation {MANAGED_BY_HUB}), and would start it again. Save the syncs \
             (kubectl get rootsyncs,reposyncs -A -o yaml), take the cluster out of Config Sync there (gcloud container fleet \
             config-management unmanage --membership MEMBERSHIP), and run this again",
            object.name_any()
        )),
    }
}

/// A sync that is being deleted is the work of the program that has begun it.
fn refuse_deletions(found: &MigrationFacts) -> Result<(), String> {
    match found.syncs.iter().find(|sync| sync.metadata.deletion_timestamp.is_some() && has_finalizer(sync)) {
        None => Ok(()),
        Some(sync) => Err(format!(
            "the {} {}/{} is being deleted by Config Sync; wait until it is gone, and run this again",
            kind(sync),
            sync.namespace().unwrap_or_default(),
            sync.name_any()
        )),
    }
}

fn settings(found: &MigrationFacts) -> Result<Option<ConfigManagementSpec>, String> {
    let Some(object) = &found.config_management else { return Ok(None) };
    let spec = object.data.get("spec").filter(|spec| !spec.is_null()).cloned().unwrap_or_else(|| json!({}));
    serde_json::from_value(spec)
        .map(Some)
        .map_err(|error| format!("the spec of the ConfigManagement cannot be read: {error}"))
}

/// The name of the cluster that the agent has to get by its flag: by that name objects are selected, and without it they would be
/// removed.
fn cluster_name(
    found: &MigrationFacts,
    spec: Option<&ConfigManagementSpec>,
    remove_config_management: bool,
) -> Result<Option<String>, String> {
    let of_settings = spec.map(|spec| spec.cluster_name.as_str()).filter(|name| !name.is_empty());
    let mut of_programs: Vec<&str> =
        found.deployments.iter().filter(|deployment| is_reconciler(deployment)).flat_map(names).collect();
    of_programs.sort_unstable();
    of_programs.dedup();
    match (of_settings, of_programs.as_slice()) {
        (_, [one, other, ..]) => Err(format!(
            "the reconcilers of Config Sync have several names for the cluster: {one}, {other}; restart them, and run this again"
        )),
        (Some(name), [one]) if name != *one => Err(format!(
            "the ConfigManagement names the cluster {name}, and the reconcilers of Config Sync {one}; wait until they agree, and run this again"
        )),
        // The agent reads it there.
        (Some(_), _) if !remove_config_management => Ok(None),
        (Some(name), _) | (None, &[name]) => Ok(Some(name.to_owned())),
        (None, []) => Ok(None),
    }
}

/// The names of the cluster that a reconciler has.
fn names(deployment: &DynamicObject) -> impl Iterator<Item = &str> {
    let variables = containers(deployment).flat_map(|container| container["env"].as_array().into_iter().flatten());
    let named = variables.filter(|variable| variable["name"] == "CLUSTER_NAME");
    named.filter_map(|variable| variable["value"].as_str()).filter(|name| !name.is_empty())
}

fn containers(deployment: &DynamicObject) -> impl Iterator<Item = &Value> {
    deployment.data.pointer("/spec/template/spec/containers").and_then(Value::as_array).into_iter().flatten()
}

fn arguments(deployment: &DynamicObject) -> impl Iterator<Item = &str> {
    containers(deployment)
        .flat_map(|container| container["args"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
}

fn stops(found: &MigrationFacts) -> Vec<MigrationStep> {
    let programs = PROGRAMS.iter().flat_map(|(namespace, name)| {
        let of_manager = |one: &&DynamicObject| *name == RECONCILER_MANAGER && is_reconciler(one);
        deployment(found, namespace, name).into_iter().chain(found.deployments.iter().filter(of_manager))
    });
    let programs: Vec<&DynamicObject> = programs.collect();
    let place = |program: &&DynamicObject| (program.namespace().unwrap_or_default(), program.name_any());
    let running = programs.iter().filter(|program| program.data["spec"]["replicas"] != 0);
    let mut steps: Vec<MigrationStep> =
        running.map(place).map(|(namespace, name)| MigrationStep::Stop { namespace, name }).collect();
    if !steps.is_empty() {
        steps.push(MigrationStep::AwaitStopped(programs.iter().map(place).collect()));
    }
    steps
}

fn of_config_management(
    found: &MigrationFacts,
    spec: Option<&ConfigManagementSpec>,
    remove_config_management: bool,
) -> Result<Vec<MigrationStep>, String> {
    let Some(spec) = spec else { return Ok(Vec::new()) };
    let mut steps = Vec::new();
    let asked = spec.root_sync()?;
    let root_sync = found.syncs.iter().find(|sync| kind(sync) == "RootSync" && sync.name_any() == ROOT_SYNC);
    match (&asked, root_sync) {
        (Some(asked), None) => steps.push(MigrationStep::MakeRootSync(json!({
            "apiVersion": "configsync.gke.io/v1beta1",
            "kind": "RootSync",
            "metadata": { "name": ROOT_SYNC, "namespace": CONTROLLER_NAMESPACE },
            "spec": asked,
        }))),
        (_, Some(live)) if live.labels().get(label::MADE_FROM).is_some_and(|from| from == CONFIG_MANAGEMENT) => {
            steps.push(MigrationStep::ReleaseRootSync);
        }
        _ => {}
    }
    if remove_config_management {
        steps.push(MigrationStep::RemoveConfigManagement);
    } else if asked.is_some() || spec.enable_multi_repo != Some(true) {
        steps.push(MigrationStep::EnableMultiRepo);
    }
    Ok(steps)
}

fn deployment<'a>(found: &'a MigrationFacts, namespace: &str, name: &str) -> Option<&'a DynamicObject> {
    found
        .deployments
        .iter()
        .find(|deployment| deployment.name_any() == name && deployment.namespace().as_deref() == Some(namespace))
}

fn is_program(deployment: &DynamicObject) -> bool {
    let place = (deployment.namespace().unwrap_or_default(), deployment.name_any());
    PROGRAMS.contains(&(place.0.as_str(), place.1.as_str())) || is_reconciler(deployment)
}

/// `true` for a Deployment that the manager has made for a sync.
fn is_reconciler(deployment: &DynamicObject) -> bool {
    deployment.namespace().as_deref() == Some(CONTROLLER_NAMESPACE)
        && deployment.labels().contains_key(label::SYNC_KIND)
}

fn has_finalizer(sync: &DynamicObject) -> bool {
    sync.finalizers().iter().any(|finalizer| finalizer == SYNC_FINALIZERS[1])
}

/// The kind of a sync.
pub(super) fn kind(sync: &DynamicObject) -> &str {
    sync.types.as_ref().map_or("", |types| &types.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, namespace: &str, name: &str, more: Value) -> DynamicObject {
        let mut value =
            json!({ "apiVersion": "x/v1", "kind": kind, "metadata": { "name": name, "namespace": namespace } });
        for (key, field) in more.as_object().expect("a map") {
            match key.as_str() {
                "labels" | "annotations" | "finalizers" | "deletionTimestamp" => value["metadata"][key] = field.clone(),
                _ => value[key] = field.clone(),
            }
        }
        serde_json::from_value(value).expect("an object")
    }

    fn program(namespace: &str, name: &str) -> DynamicObject {
        object("Deployment", namespace, name, json!({ "spec": { "replicas": 1 } }))
    }

    fn reconciler(cluster_name: &str) -> DynamicObject {
        let container = json!({ "name": "reconciler", "env": [{ "name": "CLUSTER_NAME", "value": cluster_name }] });
        let spec = json!({ "replicas": 1, "template": { "spec": { "containers": [container] } } });
        object(
            "Deployment",
            CONTROLLER_NAMESPACE,
            "root-reconciler",
            json!({ "labels": { label::SYNC_KIND: "RootSync" }, "spec": spec }),
        )
    }

    fn original() -> MigrationFacts {
        MigrationFacts {
            deployments: vec![
                program(RESOURCE_GROUPS, "resource-group-controller-manager"),
                reconciler(""),
                program(CONTROLLER_NAMESPACE, "admission-webhook"),
                program(CONTROLLER_NAMESPACE, RECONCILER_MANAGER),
                program(CONTROLLER_NAMESPACE, "of-a-user"),
                program("kube-system", "coredns"),
            ],
            syncs: vec![object("RootSync", CONTROLLER_NAMESPACE, ROOT_SYNC, json!({ "finalizers": SYNC_FINALIZERS }))],
            webhook: Some(object("ValidatingWebhookConfiguration", "", WEBHOOK, json!({ "webhooks": [{}] }))),
            config_management: None,
        }
    }

    fn texts(found: &MigrationFacts, remove: bool) -> Vec<String> {
        plan(found, remove).expect("a plan").steps.iter().map(MigrationStep::text).collect()
    }

    #[test]
    fn the_manager_is_stopped_before_the_reconcilers_and_nothing_of_others() {
        let all = "reconciler-manager, root-reconciler, admission-webhook, resource-group-controller-manager";
        let expected = [
            "stop deployment.apps/reconciler-manager in config-management-system (0 replicas)",
            "stop deployment.apps/root-reconciler in config-management-system (0 replicas)",
            "stop deployment.apps/admission-webhook in config-management-system (0 replicas)",
            "stop deployment.apps/resource-group-controller-manager in resource-group-system (0 replicas)",
            &format!("wait until the Pods of {all} are gone"),
            "take the rules out of the ValidatingWebhookConfiguration admission-webhook.configsync.gke.io",
            "take the finalizer configsync.gke.io/reconciler-manager off the RootSync config-management-system/root-sync",
        ];
        assert_eq!(texts(&original(), false), expected);
        assert_eq!(plan(&original(), false).expect("a plan").next.as_deref(), Some("nomos install --image IMAGE"));
        let mut installed = original();
        installed.deployments.push(program(CONTROLLER_NAMESPACE, AGENTS[0]));
        let steps = texts(&installed, false);
        assert_eq!(steps.last().map(String::as_str), Some("wait until nomos-agent serves all syncs"));
        assert_eq!(
            plan(&MigrationFacts::default(), false),
            Ok(Migration { steps: Vec::new(), next: Some("nomos install --image IMAGE".into()) })
        );
    }

    #[test]
    fn a_config_management_becomes_a_root_sync() {
        let git = json!({ "syncRepo": "https://git.example/x", "secretType": "none" });
        let management = |spec: Value| object("ConfigManagement", "", CONFIG_MANAGEMENT, json!({ "spec": spec }));
        let mut found =
            MigrationFacts { config_management: Some(management(json!({ "git": git }))), ..MigrationFacts::default() };
        let steps = texts(&found, false);
        assert!(
            steps[0].starts_with("make the RootSync root-sync:\n") && steps[0].contains("repo: https://git.example/x"),
            "{steps:?}"
        );
        assert_eq!(steps[1..], ["set spec.enableMultiRepo of the ConfigManagement, and remove its spec.git"]);
        assert_eq!(texts(&found, true)[1..], ["delete the ConfigManagement"]);
        // The agent has made it.
        let made = json!({ "labels": { label::MADE_FROM: CONFIG_MANAGEMENT } });
        found.syncs.push(object("RootSync", CONTROLLER_NAMESPACE, ROOT_SYNC, made));
        assert!(texts(&found, false)[0].starts_with("take the label"), "{:?}", texts(&found, false));
        found.config_management = Some(management(json!({ "git": { "syncRepo": "https://git.example/x" } })));
        assert!(plan(&found, false).expect_err("no login").contains("spec.git.secretType is missing"));
        found.config_management = Some(management(json!({ "enableMultiRepo": true })));
        found.syncs.clear();
        assert_eq!(texts(&found, false), [""; 0]);
    }

    #[test]
    fn the_name_of_the_cluster_is_not_lost() {
        let mut found = original();
        found.deployments[1] = reconciler("prod");
        let next = plan(&found, false).expect("a plan").next;
        assert_eq!(next.as_deref(), Some("nomos install --image IMAGE --cluster-name prod"));
        found.deployments.push(program(CONTROLLER_NAMESPACE, AGENTS[0]));
        assert!(plan(&found, false).expect_err("the agent does not know it").contains("--cluster-name prod"));
        let named = |name: &str| {
            Some(object("ConfigManagement", "", CONFIG_MANAGEMENT, json!({ "spec": { "clusterName": name } })))
        };
        found.config_management = named("prod");
        assert!(plan(&found, false).is_ok(), "the agent reads the ConfigManagement");
        assert!(plan(&found, true).is_err(), "it would be removed");
        found.config_management = named("other");
        assert!(plan(&found, false).expect_err("two names").contains("wait until they agree"));
    }

    #[test]
    fn a_hub_and_a_sync_that_is_being_deleted_are_refused() {
        let mut found = original();
        found.config_management = Some(object(
            "ConfigManagement",
            "",
            CONFIG_MANAGEMENT,
            json!({ "annotations": { MANAGED_BY_HUB: "true" } }),
        ));
        assert!(plan(&found, false).expect_err("a hub").contains("fleet"));
        let mut found = original();
        let going = json!({ "finalizers": SYNC_FINALIZERS, "deletionTimestamp": "2026-01-02T03:04:05Z" });
        found.syncs = vec![object("RootSync", CONTROLLER_NAMESPACE, "x", going)];
        assert!(plan(&found, false).expect_err("it goes").contains("is being deleted"));
    }
}
