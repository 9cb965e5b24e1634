//! Reads from a cluster what a report is made from.

use std::time::Duration;

use agent::model::metadata::{CONTROLLER_NAMESPACES, label};
use agent::model::object::GroupKind;
use kube::api::{Api, DynamicObject, LogParams};
use kube::core::gvk::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

use super::archive::component;
use super::kept::ObjectsOfFile;
use crate::Console;
use crate::contexts::{self, AGENTS, ClusterContext, ClusterError};

/// Lines of each log that are read, from its end.
const LINES: i64 = 50_000;

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) objects: Vec<ObjectsOfFile>,
    pub(super) logs: Vec<Log>,
    /// Secrets, whose values are taken out of everything else.
    pub(super) secrets: Vec<Value>,
    /// The parts that could not be read.
    pub(super) missing: Vec<String>,
}

/// The log of one container.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) path: String,
    pub(super) text: String,
}

/// A kind whose objects are read in all namespaces, with a file for each object.
const SYNCS: [(&str, &str, &str); 3] = [
    ("configsync.gke.io", "v1beta1", "RootSync"),
    ("configsync.gke.io", "v1beta1", "RepoSync"),
    ("kpt.dev", "v1alpha1", "ResourceGroup"),
];

/// A kind without namespaces, with the file for its objects.
const OF_CLUSTER: [(&str, &str, &str, &str); 2] = [
    ("configmanagement.gke.io", "v1", "ConfigManagement", "cluster/configmanagement/configmanagements"),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "cluster/configmanagement/config-sync-validating-webhook-configuration",
    ),
];

/// A kind that is read in the namespaces of the agent and of Config Sync, with the file for its objects there.
const PROGRAMS: [(&str, &str, &str, &str); 5] = [
    ("apps", "v1", "Deployment", "deployments"),
    ("", "v1", "Pod", "pods"),
    ("", "v1", "Event", "events"),
    ("", "v1", "ConfigMap", "ConfigMaps"),
    ("coordination.k8s.io", "v1", "Lease", "leases"),
];

/// Reads everything. What cannot be read is told in the result.
///
/// # Errors
///
/// If the cluster does not answer at all.
pub(super) async fn gather(
    client: &Client,
    cluster: &ClusterContext,
    timeout: Duration,
    console: &mut Console<'_>,
) -> anyhow::Result<Gathered> {
    let reader = ReportReader { client, timeout };
    if let Err(error @ ClusterError::Unreachable(_)) = reader.within(client.apiserver_version()).await {
        return Err(cluster.failed(error));
    }
    let mut gathered = Gathered::default();
    let mut tell = |text: &str| {
        if console.progress {
            console.note(&format!("reading {text}\n"));
        }
    };
    tell("the syncs and their inventories");
    let mut namespaces: Vec<String> = CONTROLLER_NAMESPACES.map(ToOwned::to_owned).to_vec();
    for (group, version, kind) in SYNCS {
        for object in reader.list(&mut gathered, (group, version, kind), None, "").await.unwrap_or_default() {
            let namespace = object.namespace().unwrap_or_default();
            let path = format!("namespaces/{}/{kind}-{}", component(&namespace), component(&object.name_any()));
            gathered.objects.push(ObjectsOfFile { path, kind, objects: vec![value(object, (group, version, kind))] });
            if !namespaces.contains(&namespace) {
                namespaces.push(namespace);
            }
        }
    }
    for (group, version, kind, path) in OF_CLUSTER {
        let found = reader.list(&mut gathered, (group, version, kind), None, "").await.unwrap_or_default();
        let ours =
            |object: &DynamicObject| kind == "ConfigManagement" || object.name_any().ends_with("configsync.gke.io");
        let objects = found.into_iter().filter(ours).map(|object| value(object, (group, version, kind))).collect();
        gathered.push(path.to_owned(), kind, objects);
    }
    tell("the Secrets, to leave their values out");
    let known = reader.secrets(&mut gathered, &namespaces).await;
    for namespace in CONTROLLER_NAMESPACES {
        tell(&format!("the namespace {namespace}"));
        reader.programs(&mut gathered, namespace, known).await;
    }
    Ok(gathered)
}

impl Gathered {
    fn push(&mut self, path: String, kind: &'static str, objects: Vec<Value>) {
        if !objects.is_empty() {
            self.objects.push(ObjectsOfFile { path, kind, objects });
        }
    }
}

fn value(object: DynamicObject, (group, version, kind): (&str, &str, &str)) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    // The items of a list have no type of their own.
    value["apiVersion"] = GroupVersionKind::gvk(group, version, kind).api_version().into();
    value
}

struct ReportReader<'a> {
    client: &'a Client,
    timeout: Duration,
}

impl ReportReader<'_> {
    async fn within<T>(&self, answer: impl Future<Output = kube::Result<T>>) -> Result<T, ClusterError> {
        let answer = tokio::time::timeout(self.timeout, answer).await;
        answer.map_or_else(|_| Err(ClusterError::late(self.timeout)), |answer| Ok(answer?))
    }

    /// The objects of a kind with a label, or all of them; `None` if they cannot be read. A kind that the cluster does not have has none.
    async fn list(
        &self,
        gathered: &mut Gathered,
        (group, version, kind): (&str, &str, &str),
        namespace: Option<&str>,
        labels: &str,
    ) -> Option<Vec<DynamicObject>> {
        let list = contexts::objects(self.client, namespace, GroupVersionKind::gvk(group, version, kind), labels);
        match self.within(list).await {
            Ok(found) => Some(found.unwrap_or_default()),
            Err(error) => {
                let place = namespace.map_or_else(String::new, |namespace| format!(" in {namespace}"));
                gathered.missing.push(format!("{}{place}: {error}", GroupKind::new(group, kind)));
                None
            }
        }
    }

    /// Reads the Secrets of these namespaces, and those that syncs manage. `false` if some cannot be read.
    async fn secrets(&self, gathered: &mut Gathered, namespaces: &[String]) -> bool {
        let mut places: Vec<(Option<&str>, &str)> =
            namespaces.iter().map(|namespace| (Some(namespace.as_str()), "")).collect();
        places.push((None, label::PART_OF));
        let mut all = true;
        for (namespace, labels) in places {
            match self.list(gathered, ("", "v1", "Secret"), namespace, labels).await {
                Some(found) => gathered.secrets.extend(found.into_iter().map(|secret| secret.data)),
                None => all = false,
            }
        }
        all
    }

    /// Reads the Deployments, Pods, Events and logs of a namespace. Programs of others may log Secrets: without the Secrets, only the
    /// agent's logs are read, which never have any.
    async fn programs(&self, gathered: &mut Gathered, namespace: &str, secrets_are_known: bool) {
        let mut pods = Vec::new();
        for (group, version, kind, file) in PROGRAMS {
            let found = self.list(gathered, (group, version, kind), Some(namespace), "").await.unwrap_or_default();
            if kind == "Pod" {
                pods.clone_from(&found);
            }
            let objects = found.into_iter().map(|object| value(object, (group, version, kind))).collect();
            gathered.push(format!("namespaces/{}/{file}", component(namespace)), kind, objects);
        }
        for pod in pods {
            let is_agent = pod.labels().get("app.kubernetes.io/name").is_some_and(|name| name == AGENTS[0]);
            if !is_agent && !secrets_are_known {
                let name = pod.name_any();
                gathered
                    .missing
                    .push(format!("logs of {name} in {namespace}: the Secrets that could be in them cannot be read"));
                continue;
            }
            self.logs(gathered, namespace, &pod).await;
        }
    }

    async fn logs(&self, gathered: &mut Gathered, namespace: &str, pod: &DynamicObject) {
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.client.clone(), namespace);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pod_name = pod.name_any();
        let statuses = ["initContainerStatuses", "containerStatuses"].map(|list| pod.data["status"][list].as_array());
        for status in statuses.into_iter().flatten().flatten() {
            let container = text(&status["name"]);
            let has_begun = status["state"].get("waiting").is_none();
            let has_restarted = status["restartCount"].as_i64().unwrap_or(0) > 0;
            for (previous, end) in [(false, "log"), (true, "previous.log")] {
                if if previous { !has_restarted } else { !has_begun } {
                    continue;
                }
                let params = LogParams {
                    container: Some(container.clone()),
                    previous,
                    tail_lines: Some(LINES),
                    timestamps: true,
                    ..LogParams::default()
                };
                let (pod, name) = (component(&pod_name), component(&container));
                match self.within(api.logs(&pod_name, &params)).await {
                    Ok(text) => {
                        gathered.logs.push(Log { path: format!("namespaces/{namespace}/{pod}/{name}.{end}"), text })
                    }
                    Err(error) => {
                        gathered.missing.push(format!("log of {pod_name}/{container} in {namespace}: {error}"))
                    }
                }
            }
        }
    }
}
