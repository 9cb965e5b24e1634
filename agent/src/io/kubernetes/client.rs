//! The client of the API server: discovery of the kinds that it serves, and requests whose errors say what follows from them.

mod error;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::AsyncReadExt as _;
use http::{HeaderName, HeaderValue, Method, Request};
use kube::Client;
use kube::core::GroupVersionKind;
use kube::core::discovery::v2::APIGroupDiscoveryList;
use kube::discovery::{ApiResource, Discovery, Scope};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};

use super::path;
use crate::model::duration::format_duration;
use crate::model::metadata::{FIELD_MANAGER, SyncId};
use crate::model::object::{GroupKind, ObjectId};
use crate::model::shared::lock;
use crate::model::visible::escaped_json;
use crate::sync::engine::Failure;

pub use error::ApiError;

/// Content type of a body that is an object.
pub const JSON: &str = "application/json";
/// Content type of a server-side apply.
pub const APPLY: &str = "application/apply-patch+yaml";
/// Content type of a [merge patch](https://www.rfc-editor.org/rfc/rfc7386).
pub const MERGE: &str = "application/merge-patch+json";
/// Content type of a [JSON patch](https://www.rfc-editor.org/rfc/rfc6902).
pub const JSON_PATCH: &str = "application/json-patch+json";

/// Time limit of a request of the agent's own: longer than the API server's own limit for a request with admission webhooks,
/// so that its answer is heard.
const TIMEOUT: Duration = Duration::from_secs(40);
/// Time in which an API server that works answers a request that costs it nothing.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for a discovery that asks for each group by itself, as an API server without aggregated discovery wants it.
const GROUP_BY_GROUP: Duration = Duration::from_secs(300);
/// The time for which discovery is not asked again about a version that it did not show.
const JUST: Duration = Duration::from_secs(1);

/// A kind as the API server serves it.
#[derive(Clone, Debug)]
pub struct Served {
    /// Group, version, kind and plural: in the version that was asked for, or else in the one that the API server prefers.
    pub resource: ApiResource,
    /// `true` if its objects live in Namespaces.
    pub namespaced: bool,
    /// `true` if its objects can be listed and watched.
    pub watchable: bool,
    /// All served versions.
    versions: Vec<String>,
}

/// A client with the kinds that discovery has found so far.
#[derive(Clone)]
pub struct Cluster {
    /// For requests that kube's own methods make.
    pub client: Client,
    kinds: Arc<DiscoveredKinds>,
    /// Time that one request may take.
    time_limit: Duration,
    /// The user that [`Self::request`] and [`Self::read`] act as; `None` for the agent itself.
    user: Option<HeaderValue>,
}

/// The header by which the API server decides about a request as if this user had sent it. It adds the groups of a ServiceAccount itself.
/// <https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/>
const IMPERSONATE: HeaderName = HeaderName::from_static("impersonate-user");

/// The kinds that discovery has found so far.
struct DiscoveredKinds {
    served: RwLock<BTreeMap<GroupKind, Served>>,
    /// Kinds that were not served as discovery said: it is asked again before they are used. Until then their scope is known from
    /// before.
    doubted: RwLock<BTreeSet<GroupKind>>,
    /// Number of discoveries that have begun.
    begun: AtomicU64,
    /// The number of the last discovery that is over, and its failure.
    ended: tokio::sync::Mutex<(u64, Option<ApiError>)>,
    /// When discovery worked last.
    asked_at: Mutex<Option<Instant>>,
    /// Tells of each discovery that works, the kinds in the order in which they are followed.
    discoveries: broadcast::Sender<()>,
}

impl Default for DiscoveredKinds {
    fn default() -> Self {
        let (served, doubted, begun, ended, asked_at) = Default::default();
        Self { served, doubted, begun, ended, asked_at, discoveries: broadcast::Sender::new(1) }
    }
}

impl Cluster {
    /// A client that has asked the API server for its kinds.
    ///
    /// # Errors
    /// When the API server refuses it or cannot be reached.
    pub async fn connect(client: Client) -> Result<Self, ApiError> {
        let cluster = Self { client, kinds: Arc::default(), time_limit: TIMEOUT, user: None };
        cluster.discover().await?;
        Ok(cluster)
    }

    /// A client of this API server with another time limit for each request. Default: 40 seconds.
    pub fn with_time_limit(&self, time_limit: Duration) -> Self {
        Self { time_limit, ..self.clone() }
    }

    /// A client of this API server for requests about the objects of a sync: they are made as its ServiceAccount, and so with its rights.
    pub fn acting_as(&self, sync: &SyncId) -> Self {
        // The API server gives no sync another name than one of letters, digits, dots and hyphens.
        let user = HeaderValue::try_from(sync.user()).unwrap_or(HeaderValue::from_static("system:anonymous"));
        Self { user: Some(user), ..self.clone() }
    }

    /// A client of this API server with the rights of the agent itself.
    pub fn as_agent(&self) -> Self {
        Self { user: None, ..self.clone() }
    }

    /// Asks the API server for its kinds again: two requests, or two for each group where the server does not know
    /// aggregated discovery. All that ask while a discovery is going on share the next one.
    ///
    /// # Errors
    /// When the API server refuses it or cannot be reached. The kinds stay as they were.
    pub async fn discover(&self) -> Result<(), ApiError> {
        let begun = self.kinds.begun.load(Ordering::Acquire);
        let mut ended = self.kinds.ended.lock().await;
        if ended.0 <= begun {
            let number = self.kinds.begun.fetch_add(1, Ordering::AcqRel) + 1;
            *ended = (number, Box::pin(self.discover_now()).await.err());
        }
        ended.1.clone().map_or(Ok(()), Err)
    }

    async fn discover_now(&self) -> Result<(), ApiError> {
        let aggregated = Box::pin(Discovery::new(self.client.clone()).run_aggregated());
        let aggregated = timeout(TIMEOUT, aggregated).await.map_err(|_| no_answer(TIMEOUT))?;
        let discovery = match aggregated {
            Err(kube::Error::Api(_) | kube::Error::SerdeError(_)) => {
                let each = Box::pin(Discovery::new(self.client.clone()).run());
                timeout(GROUP_BY_GROUP, each).await.map_err(|_| no_answer(GROUP_BY_GROUP))?
            }
            answer => answer,
        };
        let mut kinds = BTreeMap::new();
        for group in discovery.map_err(ApiError::from)?.groups() {
            let preferred = group.preferred_version_or_latest();
            let others = group.versions().filter(|version| *version != preferred);
            for version in std::iter::once(preferred).chain(others) {
                for (resource, capabilities) in group.versioned_resources(version) {
                    let kind = GroupKind::new(&resource.group, &resource.kind);
                    let served = kinds.entry(kind).or_insert_with(|| Served {
                        namespaced: capabilities.scope == Scope::Namespaced,
                        watchable: capabilities.supports_operation("watch"),
                        resource,
                        versions: Vec::new(),
                    });
                    served.versions.push(version.to_owned());
                }
            }
        }
        *self.kinds.served.write().unwrap_or_else(PoisonError::into_inner) = kinds;
        self.kinds.doubted.write().unwrap_or_else(PoisonError::into_inner).clear();
        *lock(&self.kinds.asked_at) = Some(Instant::now());
        // It fails while no kind is followed.
        let _ = self.kinds.discoveries.send(());
        Ok(())
    }

    /// The APIs, as group and version, that servers of their own serve and that are away, so that their kinds are not all known. A
    /// server without aggregated discovery says nothing of them, and [`Cluster::discover`] fails.
    ///
    /// # Errors
    /// When the API server cannot be reached.
    pub async fn absent_apis(&self) -> Result<Vec<String>, ApiError> {
        let groups = Box::pin(self.client.list_api_groups_aggregated());
        match timeout(TIMEOUT, groups).await.map_err(|_| no_answer(TIMEOUT))? {
            Err(kube::Error::Api(status)) if matches!(status.code, 400..=428) => Ok(Vec::new()),
            Err(kube::Error::SerdeError(_)) => Ok(Vec::new()),
            groups => Ok(stale(&groups?)),
        }
    }

    /// The kinds known so far.
    pub fn kinds(&self) -> BTreeMap<GroupKind, Served> {
        self.kinds.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells when discovery has found the kinds again.
    pub fn discoveries(&self) -> broadcast::Receiver<()> {
        self.kinds.discoveries.subscribe()
    }

    /// The kind as discovery has found it, if it has.
    pub fn known(&self, kind: &GroupKind) -> Option<Served> {
        if self.kinds.doubted.read().unwrap_or_else(PoisonError::into_inner).contains(kind) {
            return None;
        }
        self.kinds.served.read().unwrap_or_else(PoisonError::into_inner).get(kind).cloned()
    }

    /// The kind that the CRD of this name defines, if it is served.
    pub fn defined_by(&self, crd: &str) -> Option<(GroupKind, Served)> {
        let (plural, group) = crd.split_once('.')?;
        let served = self.kinds.served.read().unwrap_or_else(PoisonError::into_inner);
        let found = served.iter().find(|(kind, served)| kind.group == group && served.resource.plural == plural);
        found.map(|(kind, served)| (kind.clone(), served.clone()))
    }

    /// The kind as it is served. Discovery is asked again when the kind is not known.
    ///
    /// # Errors
    /// [`ApiError::Unserved`] when the API server does not serve it; others when it cannot be asked.
    pub async fn served(&self, kind: &GroupKind) -> Result<Served, ApiError> {
        if let Some(served) = self.known(kind) {
            return Ok(served);
        }
        self.discover().await?;
        self.known(kind).ok_or_else(|| ApiError::Unserved(kind.clone()))
    }

    /// The kind as it is served in this version, or in the preferred one if it is empty. Discovery is asked again when the
    /// version is not known.
    ///
    /// # Errors
    /// As [`Cluster::served`], and [`ApiError::UnservedVersion`].
    pub async fn served_in(&self, kind: &GroupKind, version: &str) -> Result<Served, ApiError> {
        if let Some(served) = self.served(kind).await?.in_version(version) {
            return Ok(served);
        }
        // Many objects may be declared in a version that is not served any more.
        if !self.was_just_asked() {
            self.discover().await?;
        }
        let served = self.known(kind).ok_or_else(|| ApiError::Unserved(kind.clone()))?;
        served.in_version(version).ok_or_else(|| ApiError::UnservedVersion(kind.clone(), version.to_owned()))
    }

    fn was_just_asked(&self) -> bool {
        lock(&self.kinds.asked_at).is_some_and(|at| at.elapsed() < JUST)
    }

    /// A kind turned out not to be served as discovery said: the next use of it asks discovery again.
    pub fn doubt(&self, kind: &GroupKind) {
        self.kinds.doubted.write().unwrap_or_else(PoisonError::into_inner).insert(kind.clone());
    }

    /// The path of an object in this version, or in the preferred one if it is empty, encoded.
    ///
    /// # Errors
    /// As [`Cluster::served_in`]; and [`ApiError::Unsendable`] when the object has a name that no path can have.
    pub async fn path(&self, id: &ObjectId, version: &str) -> Result<String, ApiError> {
        let served = self.served_in(&id.group_kind(), version).await?;
        if !id.namespace().is_empty() {
            path::checked(id.namespace()).map_err(ApiError::Unsendable)?;
        }
        path::object(&collection(&served, id.namespace()), id.name()).map_err(ApiError::Unsendable)
    }

    /// Reads what is at `path`.
    ///
    /// # Errors
    /// As [`Cluster::request`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.request(Method::GET, path, JSON, Vec::new()).await
    }

    /// Server-side apply with the agent's field manager, which takes fields over from other managers. `body` is an object as
    /// JSON.
    ///
    /// # Errors
    /// As [`Cluster::request`].
    pub async fn apply<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, ApiError> {
        let path = path::with_query(path, &[("fieldManager", FIELD_MANAGER), ("force", "true")]);
        self.request(Method::PATCH, &path, APPLY, body).await
    }

    /// Server-side apply that takes no field over: it fails with 409 where another manager has another value.
    ///
    /// # Errors
    /// As [`Cluster::request`].
    pub async fn apply_cautiously<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, ApiError> {
        let path = path::with_query(path, &[("fieldManager", FIELD_MANAGER)]);
        self.request(Method::PATCH, &path, APPLY, body).await
    }

    /// Merge patch with the agent's field manager.
    ///
    /// # Errors
    /// As [`Cluster::request`].
    pub async fn merge_patch<T: DeserializeOwned>(&self, path: &str, patch: &Value) -> Result<T, ApiError> {
        let path = path::with_query(path, &[("fieldManager", FIELD_MANAGER)]);
        self.request(Method::PATCH, &path, MERGE, patch.to_string().into_bytes()).await
    }

    /// One request. `path` is encoded already and may have a query; an empty `body` is none.
    ///
    /// # Errors
    /// When the API server refuses it, cannot be reached or takes longer than the time limit, or `path` is not valid.
    pub async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<T, ApiError> {
        let body = if content_type == APPLY { as_yaml(body) } else { body };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content_type)
            .header(http::header::ACCEPT, JSON);
        let request = self.by_user(request, body)?;
        // On the heap: it is large, and whatever waits for a request would be as large for as long as it lives.
        match timeout(self.time_limit, Box::pin(self.client.request(request))).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(_) if Box::pin(self.answers()).await => Err(ApiError::Slow(self.time_limit)),
            Err(_) => Err(no_answer(self.time_limit)),
        }
    }

    fn by_user(&self, mut request: http::request::Builder, body: Vec<u8>) -> Result<Request<Vec<u8>>, ApiError> {
        if let Some(user) = &self.user {
            request = request.header(IMPERSONATE, user);
        }
        request.body(body).map_err(|error| ApiError::Unsendable(error.to_string()))
    }

    /// Reads the body of what is at `path`, in the form `accept`; `None` if it is larger than `largest` bytes.
    ///
    /// # Errors
    /// When the API server refuses it, cannot be reached or takes longer than 40 seconds.
    pub async fn read(&self, path: &str, accept: &str, largest: usize) -> Result<Option<Vec<u8>>, ApiError> {
        let request = self.by_user(Request::get(path).header(http::header::ACCEPT, accept), Vec::new())?;
        let read = async {
            let mut body = Box::pin(self.client.request_stream(request).await?).take(largest as u64 + 1);
            let mut bytes = Vec::new();
            let read = body.read_to_end(&mut bytes).await;
            read.map_err(|error| ApiError::Unreachable(format!("the answer broke off: {error}")))?;
            Ok(Some(bytes).filter(|bytes| bytes.len() <= largest))
        };
        timeout(TIMEOUT, Box::pin(read)).await.unwrap_or_else(|_| Err(no_answer(TIMEOUT)))
    }

    /// Why the API server counts as away, `None` when it answers: it is asked for the Namespace `default`, which every cluster has.
    /// The request goes the way of all others, through authentication, priority and fairness, and the store; any answer about that
    /// Namespace will do, be it a refusal.
    pub async fn outage(&self) -> Option<Failure> {
        self.get::<serde::de::IgnoredAny>("/api/v1/namespaces/default").await.err()?.outage()
    }

    /// `true` if the API server answers a request that costs it nothing, be it with a refusal. One slow request, held up by
    /// an admission webhook for example, is then no sign that the API server is away.
    async fn answers(&self) -> bool {
        let asked = async { self.client.apiserver_version().await };
        matches!(timeout(PROBE_TIMEOUT, asked).await, Ok(Ok(_) | Err(kube::Error::Api(_))))
    }
}

/// The versions of groups of which the API server says that it could not ask for their kinds.
fn stale(groups: &APIGroupDiscoveryList) -> Vec<String> {
    let versions = groups.items.iter().flat_map(|group| {
        let name = group.metadata.as_ref().and_then(|metadata| metadata.name.as_deref()).unwrap_or_default();
        group.versions.iter().map(move |version| (name, version))
    });
    let stale = versions.filter(|(_, version)| version.freshness.as_deref() == Some("Stale"));
    stale.map(|(name, version)| format!("{name}/{}", version.version.as_deref().unwrap_or_default())).collect()
}

fn no_answer(time_limit: Duration) -> ApiError {
    ApiError::Unreachable(format!("no answer within {}", format_duration(time_limit)))
}

/// JSON that is YAML of the same meaning. The API server reads the body of an apply as YAML, which takes some characters for ends of lines
/// and refuses others ([characters of YAML](https://yaml.org/spec/1.2.2/#51-character-set)). Escaped they mean the same in both.
fn as_yaml(json: Vec<u8>) -> Vec<u8> {
    let is_special =
        |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    match std::str::from_utf8(&json).map(|text| escaped_json(text, is_special)) {
        Ok(Cow::Owned(escaped)) => escaped.into_bytes(),
        _ => json,
    }
}

/// Waits for the answer to a request of the agent's own, for 40 seconds at the most.
///
/// # Errors
/// When there is none in time, or it is a refusal.
pub async fn in_time<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match timeout(TIMEOUT, Box::pin(answer)).await {
        Ok(answer) => answer.map_err(ApiError::from),
        Err(_) => Err(no_answer(TIMEOUT)),
    }
}

/// The path of the objects of a kind in a Namespace (empty: all of them), encoded.
pub fn collection(served: &Served, namespace: &str) -> String {
    let namespace = if served.namespaced { namespace } else { "" };
    path::collection(&served.resource, &served.resource.version, namespace)
}

impl Served {
    /// All served versions.
    pub fn versions(&self) -> BTreeSet<String> {
        self.versions.iter().cloned().collect()
    }

    /// This kind in a version, or as it is if that is empty; `None` if it is not served so.
    fn in_version(mut self, version: &str) -> Option<Self> {
        if version.is_empty() || version == self.resource.version {
            return Some(self);
        }
        let (group, kind) = (&self.resource.group, &self.resource.kind);
        let resource = GroupVersionKind::gvk(group, version, kind);
        self.resource = ApiResource::from_gvk_with_plural(&resource, &self.resource.plural);
        self.versions.iter().any(|served| served == version).then_some(self)
    }
}

#[cfg(test)]
impl Cluster {
    /// A cluster that serves no kind and answers no request.
    pub(crate) fn unreachable() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::new("http://127.0.0.1:1".parse().expect("a URL"));
        let client = Client::try_from(config).expect("a client");
        Self { client, kinds: Arc::default(), time_limit: TIMEOUT, user: None }
    }

    /// A cluster that serves ConfigMaps, answers so one request after the other, and tells of each: its method and its body.
    pub(crate) fn answering(answers: Vec<(u16, Value)>) -> (Self, std::sync::mpsc::Receiver<(Method, Value)>) {
        let (asked, requests) = std::sync::mpsc::channel();
        let answers = Arc::new(std::sync::Mutex::new(answers.into_iter()));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (asked, answer) = (asked.clone(), answers.lock().unwrap_or_else(PoisonError::into_inner).next());
            async move {
                let (parts, body) = request.into_parts();
                let body = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or_default();
                asked.send((parts.method, body)).expect("a test hears it");
                let (code, answer) = answer.expect("no more requests are sent");
                let body = kube::client::Body::from(answer.to_string().into_bytes());
                Ok::<_, kube::Error>(http::Response::builder().status(code).body(body).expect("an answer"))
            }
        });
        let cluster = Self { client: Client::new(service, "default"), ..Self::unreachable() };
        cluster.found(&GroupKind::new("", "ConfigMap"), &["v1"]);
        (cluster, requests)
    }

    /// Discovery has found that the kind is served in these versions.
    pub(crate) fn found(&self, kind: &GroupKind, versions: &[&str]) {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(&kind.group, versions[0], &kind.kind));
        let versions = versions.iter().map(|version| (*version).to_owned()).collect();
        let served = Served { resource, namespaced: true, watchable: true, versions };
        self.kinds.served.write().unwrap_or_else(PoisonError::into_inner).insert(kind.clone(), served);
        let _ = self.kinds.discoveries.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_yaml_reads_otherwise_are_escaped() {
        let text = "ä\u{7f}\u{85}\u{9f}\u{a0}\u{2028}\u{2029}\u{feff}\u{fffd}\u{fffe}\u{ffff}\u{1f600}";
        let json = serde_json::json!({"data": {"text": text}});
        let yaml = String::from_utf8(as_yaml(json.to_string().into_bytes())).expect("text");
        let escaped = "ä\\u007f\\u0085\\u009f\u{a0}\\u2028\\u2029\\ufeff\u{fffd}\\ufffe\\uffff\u{1f600}";
        assert_eq!(yaml, format!(r#"{{"data":{{"text":"{escaped}"}}}}"#));
        assert_eq!(serde_json::from_str::<Value>(&yaml).expect("JSON"), json);
    }

    #[test]
    fn an_api_whose_server_is_away_is_known_by_its_freshness() {
        let version =
            |version, freshness| serde_json::json!({"version": version, "resources": [], "freshness": freshness});
        let groups = serde_json::json!({"metadata": {}, "items": [
            {"metadata": {"name": "apps"}, "versions": [version("v1", "Current")]},
            {"metadata": {"name": "metrics.k8s.io"}, "versions": [version("v1", "Current"), version("v1beta1", "Stale")]},
        ]});
        let groups: APIGroupDiscoveryList = serde_json::from_value(groups).expect("a list");
        assert_eq!(stale(&groups), ["metrics.k8s.io/v1beta1"]);
    }
}
