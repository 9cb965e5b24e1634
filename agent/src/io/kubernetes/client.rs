//! The API server: which kinds it serves, where they are, and requests whose errors say what they mean for us.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use kube::Client;
use kube::core::Status;
use kube::discovery::{ApiResource, Discovery, Scope};
use serde::de::DeserializeOwned;

use crate::model::duration::format_duration;
use crate::model::finding::{Code, Finding};
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::engine::{Failure, Retry};

/// A kind as the server serves it.
#[derive(Clone, Debug)]
pub struct Served {
    /// Group, version, kind and plural.
    pub resource: ApiResource,
    /// Whether its objects live in Namespaces.
    pub namespaced: bool,
    /// Whether objects of it can be listed and watched.
    pub watchable: bool,
    versions: Vec<String>,
}

/// Time limit of a request of the agent's own: longer than the API server's own limit for a request with webhooks, so that
/// its answer is heard.
const TIMEOUT: Duration = Duration::from_secs(40);
/// Time in which an API server that works answers a request that costs it nothing.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A client with the kinds it knows.
pub struct Cluster {
    /// For requests that need nothing of ours.
    pub client: Client,
    kinds: Arc<RwLock<BTreeMap<GroupKind, Served>>>,
    /// Time that one request may take.
    time_limit: Duration,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server refused it.
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    /// The server does not serve this kind (any more, yet).
    #[error("the API server does not serve {0}")]
    Unserved(GroupKind),
    /// The server answers, but has not answered this request in time.
    #[error("no answer within {}", format_duration(*.0))]
    Slow(Duration),
    /// There was no answer, or none that could be read.
    #[error("{0}")]
    Unreachable(String),
}

impl Cluster {
    /// Asks the server for its kinds.
    pub async fn connect(client: Client) -> Result<Self, ApiError> {
        let cluster = Self { client, kinds: Arc::default(), time_limit: TIMEOUT };
        cluster.discover().await?;
        Ok(cluster)
    }

    /// A client of this API server with another time limit for each request.
    pub fn with_time_limit(&self, time_limit: Duration) -> Self {
        Self { client: self.client.clone(), kinds: Arc::clone(&self.kinds), time_limit }
    }

    /// Asks the server for its kinds again: two requests.
    pub async fn discover(&self) -> Result<(), ApiError> {
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
        *self.kinds.write().unwrap_or_else(std::sync::PoisonError::into_inner) = kinds;
        Ok(())
    }

    /// The kinds known so far.
    pub fn kinds(&self) -> BTreeMap<GroupKind, Served> {
        self.kinds.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn known(&self, kind: &GroupKind) -> Option<Served> {
        self.kinds.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(kind).cloned()
    }

    /// Where a kind is served; the server is asked again when it is not known.
    pub async fn served(&self, kind: &GroupKind) -> Result<Served, ApiError> {
        if let Some(served) = self.known(kind) {
            return Ok(served);
        }
        self.discover().await?;
        self.known(kind).ok_or_else(|| ApiError::Unserved(kind.clone()))
    }

    /// Drops a kind that turned out not to be there any more.
    pub fn forget(&self, kind: &GroupKind) {
        self.kinds.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(kind);
    }

    /// Path of an object. `version` is used if it is served.
    pub async fn path(&self, id: &ObjectId, version: &str) -> Result<String, ApiError> {
        let served = self.served(&id.group_kind()).await?;
        Ok(format!("{}/{}", collection(&served, version, id.namespace()), id.name()))
    }

    /// One request with a JSON body, `{}`-less when empty.
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
            .header(http::header::ACCEPT, "application/json")
            .body(body)
            .map_err(|error| ApiError::Unreachable(error.to_string()))?;
        match tokio::time::timeout(self.time_limit, self.client.request(request)).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(_) if self.answers().await => Err(ApiError::Slow(self.time_limit)),
            Err(_) => Err(no_answer(self.time_limit)),
        }
    }

    /// `true` if the server answers a request that costs it nothing, be it with a refusal. One slow request, held up by an
    /// admission webhook for example, is then no sign that the server is away.
    async fn answers(&self) -> bool {
        let asked = async { self.client.apiserver_version().await };
        matches!(tokio::time::timeout(PROBE_TIMEOUT, asked).await, Ok(Ok(_) | Err(kube::Error::Api(_))))
    }
}

fn no_answer(time_limit: Duration) -> ApiError {
    ApiError::Unreachable(format!("no answer within {}", format_duration(time_limit)))
}

/// Waits for the answer to a request of the agent's own.
///
/// # Errors
/// When there is none in time, or it is a refusal.
pub async fn in_time<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(ApiError::from),
        Err(_) => Err(no_answer(TIMEOUT)),
    }
}

/// Path of the collection of a kind in a Namespace (empty: all of it).
pub fn collection(served: &Served, version: &str, namespace: &str) -> String {
    let resource = &served.resource;
    let version = if served.versions.iter().any(|v| v == version) { version } else { &resource.version };
    let root = if resource.group.is_empty() { "/api/".to_owned() } else { format!("/apis/{}/", resource.group) };
    let namespace =
        if served.namespaced && !namespace.is_empty() { format!("/namespaces/{namespace}") } else { String::new() };
    format!("{root}{version}{namespace}/{}", resource.plural)
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            error => {
                // The outermost words of a connection error say the least.
                let mut text = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    let cause_text = cause.to_string();
                    if !text.contains(&cause_text) {
                        text = format!("{text}: {cause_text}");
                    }
                    source = cause.source();
                }
                Self::Unreachable(text)
            }
        }
    }
}

impl ApiError {
    /// The HTTP status, 0 without an answer.
    pub fn code(&self) -> u16 {
        match self {
            Self::Refused(status) => status.code,
            Self::Unserved(_) => 404,
            Self::Slow(_) | Self::Unreachable(_) => 0,
        }
    }

    /// Whether it is likely to work a while later, without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Slow(_)) || matches!(self.meaning().1, Retry::Server(_))
    }

    /// Whether the object is not there, although its kind is: where that is not served, objects may exist unseen.
    pub fn is_not_found(&self) -> bool {
        self.code() == 404 && !self.is_unserved()
    }

    /// Whether the kind is not served: the answer for such a path is a 404 without details.
    pub fn is_unserved(&self) -> bool {
        match self {
            Self::Refused(status) => {
                status.code == 404 && status.details.as_ref().is_none_or(|details| details.name.is_empty())
            }
            Self::Unserved(_) => true,
            Self::Slow(_) | Self::Unreachable(_) => false,
        }
    }

    /// What the failure of `doing` something to an object means. `doing` is a verb: apply, delete.
    pub fn failure(&self, doing: &str, finding: impl FnOnce(Finding) -> Finding, id: &ObjectId) -> Failure {
        let (code, retry, hint) = self.meaning();
        // A message may quote what it refuses.
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

    /// The failure of `doing` something, as in "list ConfigMap".
    pub fn finding(&self, doing: &str) -> Finding {
        let (code, _, hint) = self.meaning();
        Finding::new(code, format!("failed to {doing}: {self}")).hint(hint)
    }

    fn meaning(&self) -> (Code, Retry, &'static str) {
        const AWAY: &str = "the agent tries again by itself until the API server answers";
        const SLOW: &str = "find out what holds the request up, such as an admission webhook, or raise \
                            spec.override.apiServerTimeout; the agent tries again by itself";
        let status = match self {
            Self::Unserved(_) => {
                return (
                    Code::UnknownKind,
                    Retry::Soon,
                    "install the CRD of this kind, or declare it in the repository",
                );
            }
            Self::Slow(_) => return (Code::ApiServer, Retry::Object, SLOW),
            Self::Unreachable(_) => return (Code::ApiServer, Retry::Server(Duration::ZERO), AWAY),
            Self::Refused(status) => status,
        };
        let asked = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        let terminating = status
            .details
            .as_ref()
            .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"));
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
            StatusCode::CONFLICT => {
                (Code::ResourceConflict, Retry::Soon, "the agent decides again on the newest version")
            }
            StatusCode::NOT_FOUND => (Code::Applier, Retry::Soon, "the Namespace or the kind does not exist yet"),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                (Code::ApiServer, Retry::Server(Duration::from_secs(u64::from(asked))), AWAY)
            }
            StatusCode::INTERNAL_SERVER_ERROR if status.message.contains("failed to create typed patch object") => (
                Code::Applier,
                Retry::Object,
                "correct the field in the manifest: the kind's schema does not have it so",
            ),
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => {
                (Code::Applier, Retry::Object, "correct the manifest as the message says")
            }
            _ => (Code::Applier, Retry::Object, "the agent tries again by itself"),
        }
    }
}
