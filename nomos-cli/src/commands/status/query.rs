//! Reads from clusters the objects that tell their status.

use std::time::{Duration, SystemTime};

use agent::api::{
    CONFIG_MANAGEMENT, ConfigManagementSpec, ConfigManagementStatus, ResourceGroupStatus, ResourceStatus, SyncSpec,
    SyncStatus,
};
use agent::io::kubernetes::lease::{self, LEASE};
use agent::model::duration::format_duration;
use agent::model::metadata::{CONTROLLER_NAMESPACE, SyncId, SyncKind, annotation, label};
use agent::model::url::shown_in;
use agent::sync::election::LeaseState;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::discovery::ApiResource;
use kube::core::gvk::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::report::{ClusterStatus, ConfigManagementReport, Row, SyncReport, SyncReportState, report};
use crate::contexts::{self, AGENTS, AskNews, ClusterAnswer, ClusterContext, ClusterError};

/// The difference between the clocks of this machine and of an agent that is no sign that the agent is gone.
const CLOCKS: Duration = Duration::from_secs(20);

/// The objects that were found on one cluster.
#[derive(Debug, Default)]
struct Found {
    /// RootSyncs; `None` if the cluster does not have the kind.
    root_syncs: Option<Vec<DynamicObject>>,
    repo_syncs: Vec<DynamicObject>,
    groups: Vec<DynamicObject>,
    /// The ConfigManagement, if there is one that the user may read.
    config_management: Option<DynamicObject>,
    /// `true` if there is a Deployment that serves syncs.
    agent: bool,
    /// The Lease of the agents; `None` if there is none, or the user may not read it.
    lease: Option<Lease>,
    /// `true` if only one namespace was read.
    filtered: bool,
}

/// The objects to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryScope<'a> {
    /// Only this namespace: a user who may read no other can use `--namespace`.
    pub(crate) namespace: Option<&'a str>,
    /// `true` if ResourceGroups are read, for the managed objects.
    pub(crate) resources: bool,
}

/// Tells of the status of every cluster when it comes. All clusters are read at the same time.
pub(crate) fn statuses(
    clusters: &[ClusterContext],
    timeout: Duration,
    scope: QueryScope<'_>,
    mut tell: impl FnMut(StatusNews),
) -> anyhow::Result<()> {
    contexts::ask_each(
        clusters,
        timeout,
        async move |client| Ok(look(client, scope).await?),
        |news| {
            tell(match news {
                AskNews::Answer(index, answer) => StatusNews::Status(index, Box::new(status(&clusters[index], answer))),
                AskNews::Patience => StatusNews::Patience,
            });
        },
    )
}

/// The news from clusters.
pub(crate) enum StatusNews {
    /// The status of the cluster at this index.
    Status(usize, Box<ClusterStatus>),
    /// The user is to see what is there.
    Patience,
}

/// The syncs of a cluster, or a row with its state if there is no sync to show.
///
/// # Errors
///
/// If a request fails.
pub(crate) async fn syncs(client: &Client, scope: QueryScope<'_>) -> kube::Result<(Option<Row>, Vec<SyncReport>)> {
    Ok(state(&look(client.clone(), scope).await?, SystemTime::now()))
}

async fn look(client: Client, scope: QueryScope<'_>) -> kube::Result<Found> {
    let list = |group, version, kind| {
        contexts::objects(&client, scope.namespace, GroupVersionKind::gvk(group, version, kind), "")
    };
    let groups = async { if scope.resources { list("kpt.dev", "v1alpha1", "ResourceGroup").await } else { Ok(None) } };
    let (root_syncs, repo_syncs, groups, config_management, agent, lease) = futures::try_join!(
        list("configsync.gke.io", "v1beta1", "RootSync"),
        list("configsync.gke.io", "v1beta1", "RepoSync"),
        groups,
        config_management(&client),
        has_agent(&client),
        lease(&client),
    )?;
    let root_syncs = match root_syncs {
        None if is_defined(&client).await => Some(Vec::new()),
        found => found,
    };
    Ok(Found {
        root_syncs,
        repo_syncs: repo_syncs.unwrap_or_default(),
        groups: groups.unwrap_or_default(),
        config_management,
        agent,
        lease,
        filtered: scope.namespace.is_some(),
    })
}

/// `true` if the CRD of RootSync exists. A new CRD is not served at once.
async fn is_defined(client: &Client) -> bool {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    api.get_metadata("rootsyncs.configsync.gke.io").await.is_ok()
}

/// The ConfigManagement; `None` also if the user may not list them.
async fn config_management(client: &Client) -> kube::Result<Option<DynamicObject>> {
    let kind = GroupVersionKind::gvk("configmanagement.gke.io", "v1", "ConfigManagement");
    match contexts::objects(client, None, kind, "").await {
        Ok(found) => Ok(found.into_iter().flatten().find(|object| object.name_any() == CONFIG_MANAGEMENT)),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(error),
    }
}

/// `true` if one of the [`AGENTS`] exists, and also if the user may not list Deployments: then the syncs are shown.
async fn has_agent(client: &Client) -> kube::Result<bool> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), CONTROLLER_NAMESPACE, &resource);
    match api.list_metadata(&ListParams::default()).await {
        Ok(list) => Ok(list.items.iter().any(|deployment| AGENTS.contains(&deployment.name_any().as_str()))),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(true),
        Err(error) => Err(error),
    }
}

/// The Lease of the agents; `None` also if the user may not read it.
async fn lease(client: &Client) -> kube::Result<Option<Lease>> {
    match Api::namespaced(client.clone(), CONTROLLER_NAMESPACE).get_opt(LEASE).await {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        lease => lease,
    }
}

fn status(cluster: &ClusterContext, answer: ClusterAnswer<Found>) -> ClusterStatus {
    let (context, current) = (cluster.context.clone(), cluster.current);
    let failed = |row| ClusterStatus { context: context.clone(), current, row: Some(row), ..ClusterStatus::default() };
    match answer {
        Ok(found) => {
            let (row, syncs) = state(&found, SystemTime::now());
            let config_management = found.config_management.as_ref().map(settings);
            ClusterStatus { context, current, row, syncs, config_management }
        }
        Err(error) => {
            let hint = error.hint().map_or_else(String::new, |hint| format!("\nhint: {hint}"));
            match error {
                ClusterError::Unreachable(cause) | ClusterError::Unusable(cause) => {
                    failed(row("N/A", "Failed to connect to cluster", format!("{cause}{hint}")))
                }
                ClusterError::Refused(message) => failed(row("ERROR", &message, hint.trim_start().to_owned())),
            }
        }
    }
}

fn settings(object: &DynamicObject) -> ConfigManagementReport {
    let (spec, status) =
        (field::<ConfigManagementSpec>(object, "spec"), field::<ConfigManagementStatus>(object, "status"));
    let errors = match (&spec, status.unwrap_or_default().errors) {
        (Err(error), errors) if errors.is_empty() => vec![error.to_string()],
        (_, errors) => errors,
    };
    ConfigManagementReport {
        cluster_name: spec.map(|spec| spec.cluster_name).unwrap_or_default(),
        // Other agents may quote the repository with credentials.
        errors: errors.iter().map(|error| shown_in(error).into_owned()).collect(),
    }
}

fn row(state: &'static str, message: &str, cause: String) -> Row {
    Row { state, message: message.to_owned(), cause }
}

/// The syncs of a cluster, or a row with its state if there is no sync to show.
fn state(found: &Found, now: SystemTime) -> (Option<Row>, Vec<SyncReport>) {
    let Some(root_syncs) = &found.root_syncs else {
        return (Some(row("NOT INSTALLED", "", String::new())), Vec::new());
    };
    let objects = || {
        let roots = root_syncs.iter().map(|object| (SyncKind::RootSync, object));
        roots.chain(found.repo_syncs.iter().map(|object| (SyncKind::RepoSync, object)))
    };
    let served = found.agent || objects().any(|(_, object)| object.data.get("status").is_some());
    if objects().next().is_none() {
        if found.filtered {
            return (None, Vec::new());
        }
        return (Some(without_syncs(found)), Vec::new());
    }
    if !served {
        let message = "the cluster has syncs, but no nomos-agent that serves them";
        return (Some(row("NOT RUNNING", message, String::new())), Vec::new());
    }
    let mut syncs: Vec<SyncReport> = objects().map(|(kind, object)| sync(kind, object, &found.groups)).collect();
    syncs.sort_by_key(|sync| (sync.kind, sync.namespace.clone(), sync.name.clone()));
    let idle = found.lease.as_ref().and_then(|lease| idle(lease, now));
    (idle.map(|message| row("NOT RUNNING", message.as_str(), String::new())), syncs)
}

/// The state of a cluster that has the CRDs and no sync.
fn without_syncs(found: &Found) -> Row {
    let Some(object) = &found.config_management else { return row("NOT CONFIGURED", "", String::new()) };
    let asks = object.data.pointer("/spec/git").is_some_and(|git| !git.is_null());
    match (asks, found.agent || object.data.get("status").is_some()) {
        (false, _) => {
            row("NOT CONFIGURED", "the ConfigManagement has no spec.git, and there is no RootSync", String::new())
        }
        (true, false) => row("NOT RUNNING", "the cluster has a ConfigManagement, but no nomos-agent", String::new()),
        (true, true) if !settings(object).errors.is_empty() => {
            row("ERROR", "there is no RootSync for the ConfigManagement", String::new())
        }
        (true, true) => row("PENDING", "the RootSync of the ConfigManagement is being made", String::new()),
    }
}

/// Tells for how long no agent has held the Lease; `None` if one holds it.
fn idle(lease: &Lease, now: SystemTime) -> Option<String> {
    let spec = lease.spec.as_ref()?;
    let age = now.duration_since(spec.renew_time.as_ref()?.0.into()).unwrap_or_default();
    let age_text = format_duration(Duration::from_secs(age.as_secs()));
    let LeaseState { holder, duration, .. } = lease::state(lease);
    if holder.is_empty() {
        return Some(format!("the agent ended {age_text} ago; what follows is its last word"));
    }
    (age > duration + CLOCKS)
        .then(|| format!("the agent {holder} has not renewed its Lease for {age_text}; what follows is its last word"))
}

fn sync(kind: SyncKind, object: &DynamicObject, groups: &[DynamicObject]) -> SyncReport {
    let id = SyncId { kind, namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
    let resources = groups.iter().filter(|group| belongs(group, &id)).flat_map(resources).collect();
    let spec: Result<SyncSpec, _> = field(object, "spec");
    let status: Result<SyncStatus, _> = field(object, "status");
    match (spec, status) {
        (Ok(spec), Ok(status)) => {
            let known = report(id, &spec, &status, resources);
            // The status is that of an older spec.
            let is_old = object.metadata.generation.is_some_and(|generation| status.observed_generation < generation);
            // The agent has not seen the annotation yet.
            let is_suspended = object.annotations().get(annotation::SUSPEND).is_some_and(|value| value == "true");
            match known.state {
                SyncReportState::Synced if is_old || is_suspended => {
                    SyncReport { state: SyncReportState::Pending, ..known }
                }
                _ => known,
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            let known = report(id, &SyncSpec::default(), &SyncStatus::default(), resources);
            SyncReport {
                state: SyncReportState::Unknown,
                errors: vec![shown_in(&error.to_string()).into_owned()],
                ..known
            }
        }
    }
}

/// A field of an object; the default value if it is missing or null.
fn field<T: DeserializeOwned + Default>(object: &DynamicObject, name: &str) -> serde_json::Result<T> {
    match object.data.get(name) {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => serde_json::from_value(value.clone()),
    }
}

/// The name of a cluster in its ConfigManagement; empty without one.
///
/// # Errors
///
/// If the API server cannot be asked, or refuses for another reason than a missing right.
pub(crate) async fn cluster_name(client: &Client) -> kube::Result<String> {
    let object = config_management(client).await?;
    Ok(object.map(|object| settings(&object).cluster_name).unwrap_or_default())
}

/// `true` if a ResourceGroup is the inventory of a sync or a further part of it.
pub(crate) fn belongs(group: &DynamicObject, id: &SyncId) -> bool {
    let label = |key: &str| group.labels().get(key).map(String::as_str);
    group.namespace().as_deref() == Some(id.namespace.as_str())
        && (group.name_any() == id.name || label(label::SYNC_NAME) == Some(id.name.as_str()))
        && label(label::SYNC_KIND).is_none_or(|kind| kind == id.kind.to_string())
}

fn resources(group: &DynamicObject) -> Vec<ResourceStatus> {
    field::<ResourceGroupStatus>(group, "status").unwrap_or_default().resource_statuses
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::older::OlderTable;
    use super::super::text;
    use super::*;
    use crate::columns::Data;
    use crate::tests::terminal;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).expect("an object")
    }

    fn root_sync(status: Value) -> DynamicObject {
        object(json!({
            "apiVersion": "configsync.gke.io/v1beta1", "kind": "RootSync",
            "metadata": { "name": "root-sync", "namespace": CONTROLLER_NAMESPACE },
            "spec": { "git": { "repo": "https://git.example/x", "auth": "none" } }, "status": status,
        }))
    }

    fn config_management(spec: Value, status: Value) -> DynamicObject {
        let mut object = object(json!({
            "apiVersion": "configmanagement.gke.io/v1", "kind": "ConfigManagement",
            "metadata": { "name": CONFIG_MANAGEMENT }, "spec": spec,
        }));
        if !status.is_null() {
            object.data["status"] = status;
        }
        object
    }

    fn word(found: &Found) -> &'static str {
        match state(found, SystemTime::now()) {
            (Some(row), _) => row.state,
            (None, syncs) => syncs[0].state.word(),
        }
    }

    #[test]
    fn the_state_follows_the_objects_of_the_cluster() {
        let mut found = Found::default();
        assert_eq!(word(&found), "NOT INSTALLED");
        found.root_syncs = Some(Vec::new());
        assert_eq!(word(&found), "NOT CONFIGURED");
        found.config_management = Some(config_management(json!({}), Value::Null));
        assert_eq!(word(&found), "NOT CONFIGURED");
        let git = json!({ "git": { "syncRepo": "https://git.example/x" } });
        found.config_management = Some(config_management(git.clone(), Value::Null));
        assert_eq!(word(&found), "NOT RUNNING");
        found.config_management = Some(config_management(git.clone(), json!({ "healthy": true })));
        assert_eq!(word(&found), "PENDING");
        found.config_management = Some(config_management(git, json!({ "healthy": false, "errors": ["no login"] })));
        assert_eq!(word(&found), "ERROR");
        found.config_management = None;
        let mut new = root_sync(json!({}));
        new.data.as_object_mut().expect("a map").remove("status");
        found.root_syncs = Some(vec![new]);
        assert_eq!(word(&found), "NOT RUNNING");
        found.agent = true;
        assert_eq!(word(&found), "PENDING");
        found.agent = false;
        found.root_syncs = Some(vec![root_sync(json!({ "conditions": [{ "type": "Syncing", "status": "False" }] }))]);
        assert_eq!(word(&found), "SYNCED");
        found.root_syncs = Some(vec![root_sync(json!({ "conditions": 1 }))]);
        assert_eq!(word(&found), "UNKNOWN");
    }

    #[test]
    fn a_cluster_whose_lease_nobody_holds_is_not_running() {
        let now = SystemTime::now();
        let ago = |seconds| jiff_time(now - Duration::from_secs(seconds));
        let found = |holder: &str, renewed: &str| Found {
            root_syncs: Some(vec![root_sync(json!({ "conditions": [{ "type": "Syncing", "status": "False" }] }))]),
            lease: serde_json::from_value(json!({
                "metadata": { "name": LEASE },
                "spec": { "holderIdentity": holder, "leaseDurationSeconds": 10, "renewTime": renewed },
            }))
            .expect("a Lease"),
            ..Found::default()
        };
        let row = |found: &Found| state(found, now).0.map(|row| row.message);
        assert_eq!(row(&found("a", &ago(5))), None);
        assert_eq!(row(&found("a", &ago(29))), None);
        let message = "the agent a has not renewed its Lease for 3m20s; what follows is its last word";
        assert_eq!(row(&found("a", &ago(200))).as_deref(), Some(message));
        let message = "the agent ended 5s ago; what follows is its last word";
        assert_eq!(row(&found("", &ago(5))).as_deref(), Some(message));
        assert_eq!(row(&Found { lease: None, ..found("", &ago(5)) }), None);
    }

    fn jiff_time(time: SystemTime) -> String {
        let seconds = time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        serde_json::to_value(agent::api::Time::from_unix(seconds)).expect("a time").as_str().expect("text").to_owned()
    }

    #[test]
    fn a_status_of_an_older_spec_is_not_synced() {
        let mut sync =
            root_sync(json!({ "observedGeneration": 1, "conditions": [{ "type": "Syncing", "status": "False" }] }));
        for (generation, expected) in [(1, "SYNCED"), (2, "PENDING")] {
            sync.metadata.generation = Some(generation);
            let found = Found { root_syncs: Some(vec![sync.clone()]), ..Found::default() };
            assert_eq!(word(&found), expected);
        }
    }

    #[test]
    fn an_inventory_may_continue_in_further_groups() {
        let group = |name: &str, labels: Value, resource: &str| {
            object(json!({
                "apiVersion": "kpt.dev/v1alpha1", "kind": "ResourceGroup",
                "metadata": { "name": name, "namespace": CONTROLLER_NAMESPACE, "labels": labels },
                "status": { "observedGeneration": 1, "resourceStatuses": [
                    { "group": "", "kind": "Namespace", "namespace": "", "name": resource, "status": "Current" },
                ] },
            }))
        };
        let found = Found {
            root_syncs: Some(vec![root_sync(json!({}))]),
            groups: vec![
                group("root-sync-2", json!({ label::SYNC_NAME: "root-sync", label::SYNC_KIND: "RootSync" }), "b"),
                group("root-sync", json!({}), "a"),
                group("other", json!({ label::SYNC_NAME: "other" }), "c"),
            ],
            ..Found::default()
        };
        let (_, syncs) = state(&found, SystemTime::now());
        let names: Vec<_> = syncs[0].resources.iter().map(|resource| resource.id.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
    }

    /// Everything that `nomos status` prints of these objects: the text in both layouts, and the data.
    fn printed(found: &Found) -> (String, String) {
        let (row, syncs) = state(found, SystemTime::now());
        let config_management = found.config_management.as_ref().map(settings);
        let clusters = [ClusterStatus { context: "dev".into(), current: true, row, syncs, config_management }];
        let text = terminal::printed(|console| {
            console.print(&text::blocks(&clusters, console.paint, true));
            let table = OlderTable::of(["dev"].into_iter());
            console.print(&table.rows(&clusters[0]));
            console.print(&OlderTable::errors(clusters.iter()));
        });
        let data = [Data::Json, Data::Yaml].map(|data| data.text(&clusters).expect("data"));
        (text, data.concat())
    }

    /// A sync and its inventory with a value in every field that is shown.
    fn full() -> [Value; 2] {
        let place = json!({
            "sourcePath": "p", "resourceName": "n", "resourceNamespace": "s",
            "resourceGVK": { "group": "g", "version": "v", "kind": "k" },
        });
        let errors = json!([{ "code": "1029", "errorMessage": "e", "resources": [place] }]);
        let stage = json!({ "commit": "c", "lastUpdate": "2026-01-02T03:04:05Z", "errors": errors,
            "gitStatus": { "repo": "r", "revision": "v", "branch": "b", "dir": "d" } });
        let condition = |kind: &str, status: &str| {
            json!({ "type": kind, "status": status, "reason": "r", "message": "m", "commit": "c",
                "errorSourceRefs": ["status.source.errors", "status.rendering.errors", "status.sync.errors"],
                "errors": errors, "lastUpdateTime": "2026-01-02T03:04:05Z" })
        };
        let sync = json!({
            "apiVersion": "configsync.gke.io/v1beta1", "kind": "RootSync",
            "metadata": { "name": "root-sync", "namespace": CONTROLLER_NAMESPACE },
            "spec": { "sourceFormat": "unstructured", "git": {
                "repo": "https://git.example/x", "auth": "none", "branch": "b", "revision": "v", "dir": "d" } },
            "status": { "source": stage, "rendering": stage, "sync": stage,
                "conditions": [condition("Stalled", "False"), condition("Syncing", "False")] },
        });
        let group = json!({
            "apiVersion": "kpt.dev/v1alpha1", "kind": "ResourceGroup",
            "metadata": { "name": "root-sync", "namespace": CONTROLLER_NAMESPACE },
            "status": { "observedGeneration": 1, "resourceStatuses": [{
                "group": "g", "kind": "K", "namespace": "s", "name": "n", "status": "Current", "sourceHash": "h",
                "conditions": [{ "type": "t", "status": "True", "reason": "r", "message": "m" }],
            }] },
        });
        [sync, group]
    }

    /// The texts in a value, each with its path.
    fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::String(_) => found.push(path.to_owned()),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, item)| leaves(item, &format!("{path}/{i}"), found));
            }
            Value::Object(fields) => {
                fields.iter().for_each(|(key, field)| leaves(field, &format!("{path}/{key}"), found));
            }
            _ => {}
        }
    }

    /// `nomos status` with `change` made to one text after the other, and the path of that text.
    fn with_each_text(change: impl Fn(&str) -> String, check: impl Fn(&str, String, String)) {
        let whole = full();
        for side in 0..whole.len() {
            let mut paths = Vec::new();
            leaves(&whole[side], "", &mut paths);
            assert!(paths.len() > 10, "{paths:?}");
            for path in paths {
                let mut changed = whole.clone();
                let leaf = changed[side].pointer_mut(&path).expect("a leaf");
                *leaf = change(leaf.as_str().unwrap_or_default()).into();
                let [sync, group] = changed.map(object);
                let found =
                    Found { root_syncs: Some(vec![sync]), groups: vec![group], agent: true, ..Found::default() };
                let (text, data) = printed(&found);
                check(&path, text, data);
            }
        }
    }

    #[test]
    fn no_field_reaches_a_terminal_raw() {
        let shown = std::cell::Cell::new(0);
        with_each_text(
            |text| format!("{text}{}", terminal::HOSTILE),
            |path, text, data| {
                terminal::assert_harmless(&text);
                shown.set(shown.get() + usize::from(text.contains(r"\u{1b}]0;x")));
                assert!(!data.contains(|c: char| c.is_control() && c != '\n'), "{path}: {data:?}");
            },
        );
        assert!(shown.get() > 12, "{} fields are shown", shown.get());
    }

    #[test]
    fn no_field_shows_a_token() {
        with_each_text(
            |_| "https://somebody:t0ken@git.example/x".to_owned(),
            |path, text, data| {
                // The other fields hold no URL.
                if ["repo", "message", "errorMessage"].iter().any(|field| path.ends_with(&format!("/{field}"))) {
                    assert!(!text.contains("t0ken") && !data.contains("t0ken"), "{path}: {text}{data}");
                }
            },
        );
    }
}
