//! `nomos trace`: says where an object comes from, which clients own its fields, and what was put back lately.

use std::path::Path;

use agent::api::ResourceStatus;
use agent::compile::declared::without_items;
use agent::compile::parse::{self, SourceFile};
use agent::io::git::{Commit, UserClone};
use agent::io::kubernetes::client::{Cluster, Served};
use agent::model::metadata::{ROOT_SCOPE, ROOT_SYNC, SyncId, annotation};
use agent::model::object::{GroupKind, Object, ObjectId};
use agent::model::url::shown_in;
use agent::sync::inventory::REWRITTEN;
use agent::sync::live::Observed;
use anyhow::Context as _;
use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::{Api, ListParams};
use serde::Serialize;
use serde_json::{Map, Value};

use super::status::query::{self, QueryScope};
use super::status::report::SyncReport;
use crate::columns::{OutputForm, output_form, table};
use crate::completions;
use crate::contexts::{self, ClusterContext};
use crate::{Console, FINE};

/// Number of fields that are named for each client.
const FIELDS: usize = 20;
/// Number of Events that are shown.
const EVENTS: usize = 10;

/// Show where an object comes from
///
/// Shows the sync, commit and file of an object, which clients own its fields, its state, and what the agent did to it lately. In a
/// clone of the repository it shows the line too.
#[derive(clap::Args)]
pub(crate) struct TraceArgs {
    /// The object, such as deployment/web or deployments.apps/web
    #[arg(value_name = "KIND/NAME", value_parser = kind_and_name, add = completions::objects())]
    object: (String, String),

    /// Namespace of the object [default: that of the context, if its kind has namespaces]
    #[arg(short, long, value_name = "NAMESPACE", add = completions::namespaces())]
    namespace: Option<String>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", add = completions::contexts())]
    context: Option<String>,

    /// Print in this form instead of as text: json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_parser = output_form, value_name = "FORM")]
    output: Option<OutputForm>,
}

fn kind_and_name(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((kind.to_owned(), name.to_owned()))
        }
        _ => Err("write KIND/NAME, such as deployment/web".to_owned()),
    }
}

/// All that is known of an object.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    object: String,
    /// The sync that manages it; `None` if none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<TracedSource>,
    /// The state of the object in the record of its sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    /// Errors of the sync that name the object, and what it waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
    fields: Vec<FieldOwner>,
    /// The newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<Happened>,
}

/// The place from which an object comes.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct TracedSource {
    /// As nomos status shows it.
    sync: String,
    /// State and commit of the sync.
    state: String,
    repository: String,
    /// The commit that last changed the object.
    commit: String,
    file: String,
    /// The line of its name in the file, if the command runs in a clone that has the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// The fields that a client owns.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct FieldOwner {
    manager: String,
    operation: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
    time: String,
    fields: Vec<String>,
}

/// Something that the agent did to the object.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Happened {
    time: String,
    reason: String,
    note: String,
}

/// Traces the object.
pub(crate) fn run(args: &TraceArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let cluster = contexts::cluster(kubeconfig, &console.environment, args.context.as_deref())?;
    let progress = console.begin(&format!("asking the cluster {}", cluster.context));
    let (id, mut trace) = contexts::with(&cluster, async |client| trace(args, &cluster, &client).await)?;
    drop(progress);
    let clone = console.environment.directory.as_deref().and_then(UserClone::around);
    if let Some((clone, source)) = clone.as_ref().zip(trace.source.as_mut()) {
        source.line = line(clone, source, &id);
    }
    match &args.output {
        Some(form) => console.print_data(&form.text(&trace, std::slice::from_ref(&trace.object))?),
        None => console.page(&text(&trace)),
    }
    Ok(FINE)
}

/// The line of the object in its file at its commit, if the clone has that.
fn line(clone: &UserClone, source: &TracedSource, id: &ObjectId) -> Option<u32> {
    let content = clone.file(Commit::from_hex(&source.commit)?, &source.file)?;
    let parsed = parse::parse(&SourceFile { path: source.file.clone(), content });
    // A manifest may leave out its namespace.
    let is_it = |object: &Object| {
        (object.kind(), object.group(), object.name()) == (id.kind(), id.group(), id.name())
            && [id.namespace(), ""].contains(&object.namespace())
    };
    let manifest = parsed.manifests.iter().find(|manifest| is_it(&manifest.whole()))?;
    manifest.at_name().location.map(|location| location.line).filter(|line| *line > 0)
}

async fn trace(args: &TraceArgs, cluster: &ClusterContext, client: &Client) -> anyhow::Result<(ObjectId, Trace)> {
    let server = Cluster::connect(client.clone()).await.map_err(|error| cluster.failed(error))?;
    let (kind, name) = &args.object;
    let kinds = server.kinds();
    let found = kinds.iter().find(|(id, served)| is_named(kind, id, served));
    let (kind, served) = found.with_context(|| format!("the cluster {} has no kind {kind:?}", cluster.context))?;
    let namespace = match served.namespaced {
        true => args.namespace.clone().unwrap_or_else(|| cluster.namespace()),
        false => String::new(),
    };
    let id = ObjectId::new(kind, &namespace, name);
    let path = server.path(&id, "").await.map_err(|error| cluster.failed(error))?;
    let object: Option<Object> = match server.get(&path).await {
        Err(error) if error.is_not_found() => None,
        answer => Some(answer.map_err(|error| cluster.failed(error))?),
    };
    let scope = QueryScope { namespace: None, resources: true };
    let (_, syncs) = query::syncs(client, scope).await.map_err(|error| cluster.failed(error))?;
    let Some(object) = object else {
        let name = if served.namespaced && args.namespace.is_none() { "; name its namespace with -n" } else { "" };
        let trace =
            of_absent(&id, &syncs).with_context(|| format!("the cluster {} has no {id}{name}", cluster.context))?;
        return Ok((id, trace));
    };
    let events = events(client, &object).await.map_err(|error| cluster.failed(error))?;
    let trace = of(&id, &object, &syncs, events);
    Ok((id, trace))
}

/// The short names that kubectl users write, and their kinds.
const SHORT: [(&str, &str); 20] = [
    ("cj", "cronjob"),
    ("cm", "configmap"),
    ("crd", "customresourcedefinition"),
    ("deploy", "deployment"),
    ("ds", "daemonset"),
    ("ep", "endpoints"),
    ("hpa", "horizontalpodautoscaler"),
    ("ing", "ingress"),
    ("limits", "limitrange"),
    ("netpol", "networkpolicy"),
    ("ns", "namespace"),
    ("pdb", "poddisruptionbudget"),
    ("po", "pod"),
    ("pv", "persistentvolume"),
    ("pvc", "persistentvolumeclaim"),
    ("quota", "resourcequota"),
    ("sa", "serviceaccount"),
    ("sc", "storageclass"),
    ("sts", "statefulset"),
    ("svc", "service"),
];

/// `true` if kubectl would know a kind by this name: its kind, its plural or a short name, alone or with the group.
pub(super) fn is_named(name: &str, id: &GroupKind, served: &Served) -> bool {
    let name = name.to_lowercase();
    let (short, group) = name.split_once('.').unwrap_or((&name, ""));
    let short = SHORT.iter().find(|(known, _)| *known == short).map_or(short, |(_, kind)| *kind);
    (short == id.kind.to_lowercase() || short == served.resource.plural) && (group.is_empty() || group == id.group)
}

/// The Events of the agent about an object, the newest first.
async fn events(client: &Client, object: &Object) -> kube::Result<Vec<Happened>> {
    let uid = object.metadata("uid").and_then(Value::as_str).unwrap_or_default();
    let of_object = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    let events: Api<Event> = Api::all(client.clone());
    let mut found: Vec<Happened> = match events.list(&of_object).await {
        Ok(list) => list.items.iter().filter(|event| is_agents(event)).map(happened).collect(),
        // A user may not be allowed to read Events.
        Err(kube::Error::Api(status)) if status.code == 403 => Vec::new(),
        Err(error) => return Err(error),
    };
    found.sort_by(|one, other| other.time.cmp(&one.time));
    found.truncate(EVENTS);
    Ok(found)
}

fn is_agents(event: &Event) -> bool {
    event.reporting_component.as_deref() == Some("nomos-agent")
}

fn happened(event: &Event) -> Happened {
    let time = event.event_time.as_ref().map(|time| time.0.to_string());
    Happened {
        time: time.unwrap_or_default(),
        reason: event.reason.clone().unwrap_or_default(),
        note: event.message.clone().unwrap_or_default(),
    }
}

fn of(id: &ObjectId, object: &Object, syncs: &[SyncReport], events: Vec<Happened>) -> Trace {
    let manager = object.annotation(annotation::MANAGER).filter(|_| is_managed(object));
    let sync = syncs.iter().find(|sync| manager == Some(&*sync.id().manager()));
    let resource = sync.and_then(|sync| sync.resources.iter().find(|resource| is_of(resource, id)));
    Trace {
        object: id.to_string(),
        source: manager.map(|manager| origin(manager, object, sync)),
        status: resource.map(|resource| resource.status.clone()),
        errors: errors(id, sync, resource),
        fields: Observed::of(object)
            .managed_fields
            .iter()
            .map(|entry| FieldOwner {
                manager: entry.manager.clone(),
                operation: entry.operation.clone(),
                subresource: entry.subresource.clone(),
                time: entry.time.clone(),
                fields: if object.hides_values() { without_items(&paths(&entry.fields)) } else { paths(&entry.fields) },
            })
            .collect(),
        events,
    }
}

/// The trace of an object that is not there, and that a sync is to make; `None` if no sync is.
fn of_absent(id: &ObjectId, syncs: &[SyncReport]) -> Option<Trace> {
    let of = |sync: &&SyncReport| sync.resources.iter().any(|resource| is_of(resource, id));
    let sync = syncs.iter().find(of)?;
    let resource = sync.resources.iter().find(|resource| is_of(resource, id));
    let source = TracedSource {
        sync: crate::syncs::shown(&sync.id()),
        state: state_of(sync),
        repository: sync.source.clone(),
        ..TracedSource::default()
    };
    let status = Some("it is not on the cluster".to_owned());
    Some(Trace {
        object: id.to_string(),
        source: Some(source),
        status,
        errors: errors(id, Some(sync), resource),
        ..Trace::default()
    })
}

/// Errors of the sync that name the object, and what the object waits for.
fn errors(id: &ObjectId, sync: Option<&SyncReport>, resource: Option<&ResourceStatus>) -> Vec<String> {
    let name = id.to_string();
    let errors = sync.into_iter().flat_map(|sync| &sync.errors).filter(|error| error.contains(&name));
    let conditions = resource.into_iter().flat_map(|it| &it.conditions);
    let waits = conditions.filter(|condition| condition.kind != REWRITTEN).map(|condition| &condition.message);
    errors.chain(waits).filter(|text| !text.is_empty()).cloned().collect()
}

fn state_of(sync: &SyncReport) -> String {
    format!("{} at {}", sync.state.word(), sync.commit)
}

/// Owners that other objects copied do not count: the object has to say itself that it is managed.
fn is_managed(object: &Object) -> bool {
    object.annotation(annotation::MANAGED) == Some("enabled")
}

fn is_of(resource: &ResourceStatus, id: &ObjectId) -> bool {
    let it = &resource.id;
    [&it.group, &it.kind, &it.namespace, &it.name] == [id.group(), id.kind(), id.namespace(), id.name()]
}

fn origin(manager: &str, object: &Object, sync: Option<&SyncReport>) -> TracedSource {
    let text = |key| object.annotation(key).unwrap_or_default().to_owned();
    let context: Value = serde_json::from_str(&text(annotation::GIT_CONTEXT)).unwrap_or_default();
    let part = |key: &str| context[key].as_str().unwrap_or_default();
    let reference = if part("branch").is_empty() { part("rev") } else { part("branch") };
    let state = sync.map(state_of);
    TracedSource {
        sync: shown_manager(manager),
        state: state.unwrap_or_else(|| "there is no such sync".to_owned()),
        repository: format!("{}@{reference}", shown_in(part("repo"))),
        commit: text(annotation::TOKEN),
        file: text(annotation::SOURCE_PATH),
        line: None,
    }
}

/// The sync as nomos status shows it.
fn shown_manager(manager: &str) -> String {
    match SyncId::repo_of(manager) {
        Some(id) => crate::syncs::shown(&id),
        None => {
            let name = manager.trim_start_matches(ROOT_SCOPE).trim_start_matches('_');
            let name = if name.is_empty() { ROOT_SYNC } else { name };
            crate::syncs::shown(&SyncId::root(name))
        }
    }
}

/// The paths of the fields in a FieldsV1, such as `.spec.template.spec.containers[name=web].image`.
/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>
fn paths(fields: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    add_paths(fields, String::new(), &mut found);
    found
}

fn add_paths(fields: &Map<String, Value>, at: String, found: &mut Vec<String>) {
    for (key, below) in fields {
        let at = match key.split_once(':') {
            Some(("f", name)) if name.contains('.') => format!("{at}[{name}]"),
            Some(("f", name)) => format!("{at}.{name}"),
            Some(("k", item)) => format!("{at}[{}]", item.trim_matches(['{', '}']).replace('"', "").replace(':', "=")),
            Some((_, value)) => format!("{at}[{value}]"),
            // The field itself, beside those in it.
            None => continue,
        };
        match below.as_object().filter(|below| below.keys().any(|key| key != ".")) {
            Some(below) => add_paths(below, at, found),
            None => found.push(at),
        }
    }
}

fn text(trace: &Trace) -> String {
    let Trace { object, source, status, errors, fields, events } = trace;
    let mut out = format!("{object}\n");
    let mut rows = Vec::new();
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            rows.push(vec![String::new(), name.to_owned(), value.to_owned()]);
        }
    };
    match source {
        Some(TracedSource { sync, state, repository, commit, file, line }) => {
            row("sync", &format!("{sync} ({state})"));
            row("repository", repository);
            row("commit", commit);
            row("file", &line.map_or_else(|| file.clone(), |line| format!("{file}:{line}")));
        }
        None => row("sync", "none: no sync manages the object"),
    }
    row("status", status.as_deref().unwrap_or_default());
    out.push_str(&table(&rows));
    for error in errors {
        out.push_str(&error.trim_end().lines().map(|line| format!("   {line}\n")).collect::<String>());
    }
    if !fields.is_empty() {
        out.push_str("Fields:\n");
    }
    // The status is of no manifest.
    for FieldOwner { manager, operation, subresource, time, fields } in
        fields.iter().filter(|it| it.subresource != "status")
    {
        let fields: Vec<&str> = fields.iter().map(String::as_str).filter(|field| !is_mark(field)).collect();
        let part = if subresource.is_empty() { String::new() } else { format!(" {subresource}") };
        out.push_str(&format!("   {manager} ({operation}{part}, {time}): {}\n", shortened(&fields)));
    }
    if !events.is_empty() {
        out.push_str("Events of the agent:\n");
        let rows = events.iter().map(|it| vec![String::new(), it.time.clone(), it.reason.clone(), it.note.clone()]);
        out.push_str(&table(&rows.collect::<Vec<_>>()));
    }
    out
}

/// `true` for a label or an annotation that syncs add to every object.
fn is_mark(field: &str) -> bool {
    let key = [".metadata.annotations[", ".metadata.labels["].iter().find_map(|at| field.strip_prefix(at));
    let domains = ["configsync.gke.io/", "configmanagement.gke.io/", "applyset.kubernetes.io/", "config.k8s.io/owning"];
    key.is_some_and(|key| {
        key.starts_with("app.kubernetes.io/managed-by") || domains.iter().any(|domain| key.starts_with(domain))
    })
}

/// The first fields, and the number of the others.
fn shortened(fields: &[&str]) -> String {
    let named = fields.iter().take(FIELDS).copied().collect::<Vec<_>>().join(", ");
    match fields.len().checked_sub(FIELDS) {
        Some(more) if more > 0 => format!("{named} and {more} more"),
        _ => named,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn a_managed_object_has_its_origin_and_the_owners_of_its_fields() {
        let deployment = object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u",
                "annotations": {
                    annotation::MANAGER: "shop", annotation::MANAGED: "enabled", annotation::TOKEN: "abc",
                    annotation::SOURCE_PATH: "web.yaml",
                    annotation::GIT_CONTEXT: "{\"repo\":\"https://me:secret@git.example/shop\",\"branch\":\"main\"}",
                },
                "managedFields": [
                    { "manager": "configsync.gke.io", "operation": "Apply", "time": "2026-01-02T03:04:05Z", "fieldsV1": {
                        "f:metadata": { "f:annotations": { "f:a.example/x": {}, "f:configsync.gke.io/manager": {} } },
                        "f:spec": { "f:template": { "f:spec": { "f:containers": {
                            "k:{\"name\":\"web\"}": { ".": {}, "f:image": {} },
                        } } } },
                    } },
                    { "manager": "kubelet", "operation": "Update", "subresource": "status", "fieldsV1": { "f:status": {} } },
                    { "manager": "hpa", "operation": "Update", "subresource": "scale", "fieldsV1": { "f:spec": { "f:replicas": {} } } },
                ],
            },
        }));
        let id = ObjectId::new(&GroupKind::new("apps", "Deployment"), "shop", "web");
        let trace = of(&id, &deployment, &[], Vec::new());
        let expected = "\
deployment.apps/shop/web
   sync         shop:repo-sync (there is no such sync)
   repository   https://git.example/shop@main
   commit       abc
   file         web.yaml
Fields:
   configsync.gke.io (Apply, 2026-01-02T03:04:05Z): .metadata.annotations[a.example/x], .spec.template.spec.containers[name=web].image
   hpa (Update scale, ): .spec.replicas
";
        assert_eq!(text(&trace), expected);
    }

    #[test]
    fn an_object_of_others_has_no_origin() {
        let map =
            object(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "namespace": "b" } }));
        let id = ObjectId::new(&GroupKind::new("", "ConfigMap"), "b", "a");
        assert_eq!(of(&id, &map, &[], Vec::new()).source, None);
        let with = |line| {
            let source = Some(TracedSource { file: "a.yaml".into(), line, ..TracedSource::default() });
            Trace { source, ..Trace::default() }
        };
        assert!(text(&with(Some(7))).contains(" a.yaml:7\n") && text(&with(None)).contains(" a.yaml\n"));
        for (manager, shown) in
            [(":root", "root-sync"), (":root_x", "x"), ("shop", "shop:repo-sync"), ("shop_y", "shop:y")]
        {
            assert_eq!(shown_manager(manager), shown);
        }
    }
}
