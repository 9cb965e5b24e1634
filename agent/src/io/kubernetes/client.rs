//! The client of the API server: discovery of the kinds that it serves, and requests whose errors say what follows from them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::AsyncReadExt as _;
use http::{Method, Request, StatusCode};
use kube::Client;
use kube::core::{GroupVersionKind, Status};
use kube::discovery::{ApiResource, Discovery, Scope};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::path;
use crate::model::duration::format_duration;
use crate::model::error_chain::error_chain;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::FIELD_MANAGER;
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::engine::{Failure, Retry};

/// Content type of a body that is an object.
pub const JSON: &str = "application/json";
/// Content type of a server-side apply.
const APPLY: &str = "application/apply-patch+yaml";
/// Content type of a [merge patch](https://www.rfc-editor.org/rfc/rfc7386).
pub const MERGE: &str = "application/merge-patch+json";

/// Time limit of a request of the agent's own: longer than the API server's own limit for a request with admission webhooks,
/// so that its answer is heard.
const TIMEOUT: Duration = Duration::from_secs(40);
/// Time in which an API server that works answers a request that costs it nothing.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest pause that the API server can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

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
pub struct Cluster {
    /// For requests that kube's own methods make.
    pub client: Client,
    kinds: Arc<DiscoveredKinds>,
    /// Time that one request may take.
    time_limit: Duration,
}

/// The kinds that discovery has found so far.
#[derive(Default)]
struct DiscoveredKinds {
    served: RwLock<BTreeMap<GroupKind, Served>>,
    /// Number of discoveries that have begun.
    begun: AtomicU64,
    /// The number of the last discovery that is over, and its failure.
    ended: tokio::sync::Mutex<(u64, Option<ApiError>)>,
}

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server refused it.
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    /// The API server does not serve this kind (any more, or not yet).
    #[error("the API server does not serve {0}")]
    Unserved(GroupKind),
    /// The API server does not serve this kind in this version (any more, or not yet).
    #[error("the API server does not serve {0} in version {1}")]
    UnservedVersion(GroupKind, String),
    /// The API server answers, but has not answered this request in time.
    #[error("no answer within {}", format_duration(*.0))]
    Slow(Duration),
    /// There was no answer, or none that could be read.
    #[error("{0}")]
    Unreachable(String),
    /// The request could not be made, because of a name in it: nothing was sent.
    #[error("the request cannot be made: {0}")]
    Unsendable(String),
    /// The object is larger than an API server takes: nothing was sent.
    #[error("the object is too large: {0}")]
    Oversized(String),
}

impl Cluster {
    /// A client that has asked the API server for its kinds.
    ///
    /// # Errors
    /// When the API server refuses it or cannot be reached.
    pub async fn connect(client: Client) -> Result<Self, ApiError> {
        let cluster = Self { client, kinds: Arc::default(), time_limit: TIMEOUT };
        cluster.discover().await?;
        Ok(cluster)
    }

    /// A client of this API server with another time limit for each request. Default: 40 seconds.
    pub fn with_time_limit(&self, time_limit: Duration) -> Self {
        Self { client: self.client.clone(), kinds: Arc::clone(&self.kinds), time_limit }
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
            *ended = (number, self.discover_now().await.err());
        }
        ended.1.clone().map_or(Ok(()), Err)
    }

    async fn discover_now(&self) -> Result<(), ApiError> {
        let discovery = match Discovery::new(self.client.clone()).run_aggregated().await {
            Err(kube::Error::Api(_) | kube::Error::SerdeError(_)) => Discovery::new(self.client.clone()).run().await,
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
        Ok(())
    }

    /// The kinds known so far.
    pub fn kinds(&self) -> BTreeMap<GroupKind, Served> {
        self.kinds.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn known(&self, kind: &GroupKind) -> Option<Served> {
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
        self.discover().await?;
        let served = self.known(kind).ok_or_else(|| ApiError::Unserved(kind.clone()))?;
        served.in_version(version).ok_or_else(|| ApiError::UnservedVersion(kind.clone(), version.to_owned()))
    }

    /// Drops a kind that turned out not to be served any more, so that the next use of it asks discovery.
    pub fn forget(&self, kind: &GroupKind) {
        self.kinds.served.write().unwrap_or_else(PoisonError::into_inner).remove(kind);
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
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content_type)
            .header(http::header::ACCEPT, JSON)
            .body(body)
            .map_err(|error| ApiError::Unsendable(error.to_string()))?;
        match tokio::time::timeout(self.time_limit, self.client.request(request)).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(_) if self.answers().await => Err(ApiError::Slow(self.time_limit)),
            Err(_) => Err(no_answer(self.time_limit)),
        }
    }

    /// Reads the body of what is at `path`, in the form `accept`; `None` if it is larger than `largest` bytes.
    ///
    /// # Errors
    /// When the API server refuses it, cannot be reached or takes longer than 40 seconds.
    pub async fn read(&self, path: &str, accept: &str, largest: usize) -> Result<Option<Vec<u8>>, ApiError> {
        let request = Request::get(path)
            .header(http::header::ACCEPT, accept)
            .body(Vec::new())
            .map_err(|error| ApiError::Unsendable(error.to_string()))?;
        let read = async {
            let mut body = Box::pin(self.client.request_stream(request).await?).take(largest as u64 + 1);
            let mut bytes = Vec::new();
            let read = body.read_to_end(&mut bytes).await;
            read.map_err(|error| ApiError::Unreachable(format!("the answer broke off: {error}")))?;
            Ok(Some(bytes).filter(|bytes| bytes.len() <= largest))
        };
        tokio::time::timeout(TIMEOUT, read).await.unwrap_or_else(|_| Err(no_answer(TIMEOUT)))
    }

    /// `true` if the API server answers a request that costs it nothing, be it with a refusal. One slow request, held up by
    /// an admission webhook for example, is then no sign that the API server is away.
    async fn answers(&self) -> bool {
        let asked = async { self.client.apiserver_version().await };
        matches!(tokio::time::timeout(PROBE_TIMEOUT, asked).await, Ok(Ok(_) | Err(kube::Error::Api(_))))
    }
}

fn no_answer(time_limit: Duration) -> ApiError {
    ApiError::Unreachable(format!("no answer within {}", format_duration(time_limit)))
}

/// Waits for the answer to a request of the agent's own, for 40 seconds at the most.
///
/// # Errors
/// When there is none in time, or it is a refusal.
pub async fn in_time<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(TIMEOUT, answer).await {
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

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => Self::Unsendable(error_chain(&error)),
            // The outermost words of a connection error say the least.
            error => Self::Unreachable(error_chain(&error)),
        }
    }
}

impl ApiError {
    /// The HTTP status; 0 without an answer.
    pub fn code(&self) -> u16 {
        match self {
            Self::Refused(status) => status.code,
            Self::Unserved(_) | Self::UnservedVersion(..) => 404,
            Self::Slow(_) | Self::Unreachable(_) | Self::Unsendable(_) | Self::Oversized(_) => 0,
        }
    }

    /// `true` if the same request is likely to work a while later, without a change by a user.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Slow(_)) || matches!(self.meaning().1, Retry::Server(_))
    }

    /// `true` if the object does not exist although its kind is served. Where the kind is not served, the object may exist
    /// unseen.
    pub fn is_not_found(&self) -> bool {
        self.code() == 404 && !self.is_unserved()
    }

    /// `true` if the kind is not served: the API server's answer is then a 404 that names no object.
    pub fn is_unserved(&self) -> bool {
        match self {
            Self::Refused(status) => {
                status.code == 404 && status.details.as_ref().is_none_or(|details| details.name.is_empty())
            }
            Self::Unserved(_) | Self::UnservedVersion(..) => true,
            Self::Slow(_) | Self::Unreachable(_) | Self::Unsendable(_) | Self::Oversized(_) => false,
        }
    }

    /// The failure of a command about an object. `doing` is its verb: apply, delete. `finding` adds the manifest to the
    /// finding.
    pub fn failure(&self, doing: &str, finding: impl FnOnce(Finding) -> Finding, id: &ObjectId) -> Failure {
        let (code, retry, hint) = self.meaning();
        // A message may quote the value that it refuses.
        let secret = id.group().is_empty() && id.kind() == "Secret";
        let found = match self {
            Self::Refused(status) if secret => {
                let message = format!("failed to {doing} {id}: the API server refuses it (HTTP {})", status.code);
                Finding::new(code, message)
                    .hint("check the values: each must be text; the server's own words are withheld")
            }
            _ => Finding::new(code, format!("failed to {doing} {id}: {self}")).hint(hint),
        };
        Failure { finding: finding(found), retry }
    }

    /// The finding about a request that is about no single object. `doing` is as in "list ConfigMap".
    pub fn finding(&self, doing: &str) -> Finding {
        let (code, _, hint) = self.meaning();
        Finding::new(code, format!("failed to {doing}: {self}")).hint(hint)
    }

    /// The code of the finding, when to try again, and the hint.
    fn meaning(&self) -> (Code, Retry, &'static str) {
        match self {
            Self::Refused(status) => meaning_of(status),
            Self::Unserved(_) => {
                (Code::UnknownKind, Retry::Soon, "install the CRD of this kind, or declare it in the repository")
            }
            Self::UnservedVersion(..) => (
                Code::UnknownKind,
                Retry::Soon,
                "declare the object in a version that `kubectl api-versions` lists, or add the version to the CRD of the kind",
            ),
            Self::Slow(_) => (Code::ApiServer, Retry::Object, SLOW),
            Self::Unreachable(_) => (Code::ApiServer, Retry::Server(Duration::ZERO), AWAY),
            Self::Unsendable(_) => (Code::Applier, Retry::Object, "correct the name and the Namespace in the manifest"),
            Self::Oversized(_) => (Code::Applier, Retry::Object, TOO_LARGE),
        }
    }
}

const AWAY: &str = "the agent tries again by itself until the API server answers";
const TOO_LARGE: &str = "divide it into smaller objects, or keep the data elsewhere and name its place";
const SLOW: &str = "find out what holds the request up, such as an admission webhook, or raise \
                    spec.override.apiServerTimeout; the agent tries again by itself";

/// The code, the retry and the hint of a refusal, by its HTTP status.
fn meaning_of(status: &Status) -> (Code, Retry, &'static str) {
    let details = status.details.as_ref();
    let asked = details.map_or(0, |details| details.retry_after_seconds);
    let asked = Duration::from_secs(u64::from(asked)).min(MAX_RETRY_AFTER);
    let terminating = details.is_some_and(|details| details.causes.iter().any(|c| c.reason == "NamespaceTerminating"));
    match StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR) {
        StatusCode::FORBIDDEN if terminating => (Code::Applier, Retry::Soon, "wait until the Namespace is gone"),
        StatusCode::UNAUTHORIZED => {
            (Code::ApiServer, Retry::Server(Duration::from_secs(5)), "check the agent's credentials")
        }
        StatusCode::FORBIDDEN => (
            Code::InsufficientPermission,
            Retry::Object,
            "grant the agent this permission, or correct what an admission policy refuses",
        ),
        StatusCode::CONFLICT => (Code::ResourceConflict, Retry::Soon, "the agent decides again on the newest version"),
        StatusCode::NOT_FOUND => (Code::Applier, Retry::Soon, "the Namespace or the kind does not exist yet"),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            (Code::ApiServer, Retry::Server(asked), AWAY)
        }
        StatusCode::INTERNAL_SERVER_ERROR if status.message.contains("failed to create typed patch object") => {
            (Code::Applier, Retry::Object, "correct the field in the manifest: the kind's schema does not have it so")
        }
        StatusCode::PAYLOAD_TOO_LARGE => (Code::Applier, Retry::Object, TOO_LARGE),
        // The words of etcd.
        _ if status.message.contains("request is too large") => (Code::Applier, Retry::Object, TOO_LARGE),
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => {
            (Code::Applier, Retry::Object, "correct the manifest as the message says")
        }
        _ => (Code::Applier, Retry::Object, "the agent tries again by itself"),
    }
}

#[cfg(test)]
impl Cluster {
    /// A cluster that serves no kind and answers no request.
    pub(super) fn unreachable() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::new("http://127.0.0.1:1".parse().expect("a URL"));
        let client = Client::try_from(config).expect("a client");
        Self { client, kinds: Arc::default(), time_limit: TIMEOUT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_cannot_be_made_is_the_failure_of_its_object() {
        let id = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", "..");
        let error =
            ApiError::Unsendable(path::object("/api/v1/namespaces/shop/configmaps", id.name()).expect_err("no name"));
        assert!(!error.is_transient() && !error.is_not_found() && !error.is_unserved());
        let failure = error.failure("apply", |finding| finding, &id);
        assert_eq!((failure.finding.code, failure.retry), (Code::Applier, Retry::Object));
        let text = "failed to apply configmap/shop/..: the request cannot be made: \"..\" cannot be a name";
        assert_eq!(failure.finding.message, text);
    }

    #[test]
    fn a_url_that_is_not_valid_says_nothing_about_the_api_server() {
        let error = http::Uri::try_from("/a b").expect_err("a space");
        let error = ApiError::from(kube::Error::HttpError(error.into()));
        assert!(matches!(error, ApiError::Unsendable(_)) && !error.is_transient(), "{error}");
    }

    #[test]
    fn the_api_server_cannot_ask_for_a_pause_of_years() {
        for (asked, seconds) in [(0, 0), (1, 1), (60, 60), (61, 60), (u32::MAX, 60)] {
            for code in [429, 503, 504] {
                let status = serde_json::json!({ "code": code, "details": { "retryAfterSeconds": asked } });
                let status: Status = serde_json::from_value(status).expect("a Status");
                let (_, retry, _) = ApiError::Refused(Box::new(status)).meaning();
                let Retry::Server(pause) = retry else { panic!("{code} is about the API server") };
                assert_eq!(pause.as_secs(), seconds, "{code}: {asked}");
            }
        }
    }
}
