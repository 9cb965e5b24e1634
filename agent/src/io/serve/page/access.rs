//! Decides who sees what: a token is a user by TokenReview, and a user sees what SubjectAccessReview lets it `get`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Method, StatusCode, header};
use futures::StreamExt as _;
use k8s_openapi::api::authentication::v1::UserInfo;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::io::kubernetes::client::{ApiError, Cluster, JSON};
use crate::model::metadata::{SyncId, SyncKind};
use crate::model::object::{GroupKind, ObjectId};
use crate::model::shared::lock;

/// The time for which the answer of a review is used again.
const KEPT: Duration = Duration::from_secs(20);
/// Answers that are kept.
const TOKENS: usize = 256;
const RIGHTS: usize = 20_000;
/// Reviews for one request of a viewer, and those of all viewers at the same time. What is not asked is not shown.
const REVIEWS: usize = 1000;
const AT_ONCE: usize = 8;
/// The longest token that is asked about.
const TOKEN: usize = 16 << 10;
/// Tokens that are asked about in a second, so that a client with invented ones does not load the API server.
const PACE: u32 = 20;

/// The path of requests about tokens, and of those about rights.
const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ACCESS_REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

type Sha = [u8; 32];

/// The credentials of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PageLogin {
    /// A program of this host, where such programs need no token.
    Host,
    /// A token.
    Token(String),
}

/// A viewer of the page.
#[derive(Clone, Debug)]
pub(super) enum Viewer {
    /// It sees everything.
    Host,
    /// It sees what its user may get. The digest is that of the user: many tokens are one user.
    User(Arc<UserInfo>, Sha),
}

/// The right to `get` all objects of a kind in a namespace. An empty namespace stands for the whole cluster, `*` for every kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GetRight {
    group: String,
    resource: String,
    namespace: String,
}

/// The rights of one viewer, as far as they were asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    all: bool,
    granted: BTreeSet<GetRight>,
    /// Rights are left that were not asked for.
    part: bool,
}

/// The plurals of kinds, which rights name.
pub(super) type Plurals = BTreeMap<GroupKind, String>;

/// The user of a token, if the API server knows one, and when it was asked.
type KnownUser = (Instant, Option<Arc<UserInfo>>);

/// The answers of reviews that are kept for a while.
pub(super) struct Access {
    tokens: Mutex<BTreeMap<Sha, KnownUser>>,
    rights: Mutex<BTreeMap<(Sha, GetRight), (Instant, bool)>>,
    /// The second that is counted, and the tokens that were asked about in it.
    pace: Mutex<Option<(Instant, u32)>>,
    /// The turns of reviews about rights.
    reviews: Semaphore,
}

impl Default for Access {
    fn default() -> Self {
        let (tokens, rights, pace) = Default::default();
        Self { tokens, rights, pace, reviews: Semaphore::new(AT_ONCE) }
    }
}

/// The credentials of a request from `peer`. With `open`, a program of this host needs none, unless a web page of another name sent it:
/// such a name can be made to lead here.
///
/// # Errors
/// 401 without credentials.
pub(super) fn credentials(open: bool, peer: SocketAddr, headers: &HeaderMap) -> Result<PageLogin, StatusCode> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let token = token.map(str::trim).filter(|token| !token.is_empty() && token.len() <= TOKEN);
        return token.map(|token| PageLogin::Token(token.to_owned())).ok_or(StatusCode::UNAUTHORIZED);
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match open && peer.ip().to_canonical().is_loopback() && is_loopback(host) {
        true => Ok(PageLogin::Host),
        false => Err(StatusCode::UNAUTHORIZED),
    }
}

/// `true` for an address of this host, or its name `localhost`, with a port or without.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

impl GetRight {
    fn new(group: &str, resource: &str, namespace: &str) -> Self {
        Self { group: group.to_owned(), resource: resource.to_owned(), namespace: namespace.to_owned() }
    }

    /// The right to see a sync.
    pub(super) fn of_sync(sync: &SyncId) -> Self {
        let resource = match sync.kind {
            SyncKind::RootSync => "rootsyncs",
            SyncKind::RepoSync => "reposyncs",
        };
        Self::new("configsync.gke.io", resource, &sync.namespace)
    }

    /// The right to see an object; `None` if the API server does not serve its kind. A Namespace is in itself.
    pub(super) fn of_object(id: &ObjectId, plurals: &Plurals) -> Option<Self> {
        let namespace = if id.is_namespace() { id.name() } else { id.namespace() };
        plurals.get(&id.group_kind()).map(|plural| Self::new(id.group(), plural, namespace))
    }

    fn in_cluster(&self) -> Self {
        Self::new(&self.group, &self.resource, "")
    }

    fn of_all_kinds(&self) -> Self {
        Self::new("*", "*", &self.namespace)
    }
}

impl Sight {
    /// The sight of a viewer that sees everything.
    pub(super) fn of_all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// The sight of a viewer with these rights.
    #[cfg(test)]
    pub(super) fn of(granted: BTreeSet<GetRight>) -> Self {
        Self { granted, ..Self::default() }
    }

    /// `true` if there were too many rights to ask for all of them, so that more may be hidden than what the viewer may not see.
    pub(super) fn is_part(&self) -> bool {
        self.part
    }

    /// `true` if everything may be shown.
    pub(super) fn has_all(&self) -> bool {
        self.all
    }

    /// `true` if what needs this right may be shown.
    pub(super) fn has(&self, right: &GetRight) -> bool {
        self.all
            || self.granted.contains(right)
            || self.granted.contains(&right.in_cluster())
            || self.granted.contains(&right.of_all_kinds())
    }

    /// `true` if the object may be shown.
    pub(super) fn sees(&self, id: &ObjectId, plurals: &Plurals) -> bool {
        self.all || GetRight::of_object(id, plurals).is_some_and(|right| self.has(&right))
    }

    /// The next rights to ask for: those that answer the most at once come first. `None` when nothing is left to ask.
    fn next(&self, wanted: &BTreeSet<GetRight>, stage: usize) -> Option<BTreeSet<GetRight>> {
        let open = wanted.iter().filter(|right| !self.has(right));
        match stage {
            0 => Some(BTreeSet::from([GetRight::new("*", "*", "")])),
            1 => Some(open.map(GetRight::in_cluster).collect()),
            2 => {
                let mut namespaces: BTreeMap<&str, usize> = BTreeMap::new();
                let open: Vec<&GetRight> = open.filter(|right| !right.namespace.is_empty()).collect();
                open.iter().for_each(|right| *namespaces.entry(&right.namespace).or_default() += 1);
                let several = open.iter().filter(|right| namespaces[&*right.namespace] > 1);
                Some(several.map(|right| right.of_all_kinds()).collect())
            }
            3 => Some(open.filter(|right| !right.namespace.is_empty()).cloned().collect()),
            _ => None,
        }
    }
}

impl Access {
    /// The viewer with this token.
    ///
    /// # Errors
    /// 401 for a token that the API server does not know, 429 when there are too many, 503 when it cannot be asked.
    pub(super) async fn user(&self, cluster: &Cluster, token: &str) -> Result<Viewer, StatusCode> {
        let sha: Sha = Sha256::digest(token.as_bytes()).into();
        let known = lock(&self.tokens).get(&sha).filter(|(at, _)| at.elapsed() < KEPT).map(|(_, user)| user.clone());
        let user = match known {
            Some(user) => user,
            None => {
                if !self.has_turn() {
                    return Err(StatusCode::TOO_MANY_REQUESTS);
                }
                let user = review_token(cluster, token).await.map_err(unanswered)?.map(Arc::new);
                let mut tokens = lock(&self.tokens);
                make_room(&mut tokens, TOKENS, |(at, _)| *at);
                tokens.insert(sha, (Instant::now(), user.clone()));
                user
            }
        };
        let user = user.ok_or(StatusCode::UNAUTHORIZED)?;
        let of_user = digest(&user);
        Ok(Viewer::User(user, of_user))
    }

    fn has_turn(&self) -> bool {
        let (now, mut pace) = (Instant::now(), lock(&self.pace));
        let (since, asked) =
            pace.filter(|(since, _)| now.duration_since(*since) < Duration::from_secs(1)).unwrap_or((now, 0));
        *pace = Some((since, asked + 1));
        asked < PACE
    }

    /// The rights of the viewer among those that are wanted.
    ///
    /// # Errors
    /// 503 when the API server cannot be asked.
    pub(super) async fn sight(
        &self,
        cluster: &Cluster,
        viewer: &Viewer,
        wanted: &BTreeSet<GetRight>,
    ) -> Result<Sight, StatusCode> {
        let Viewer::User(user, sha) = viewer else { return Ok(Sight::of_all()) };
        let (mut sight, mut left, mut stage) = (Sight::default(), REVIEWS, 0);
        while let Some(rights) = sight.next(wanted, stage).filter(|_| !sight.all) {
            sight.part |= rights.len() > left;
            let rights: Vec<GetRight> = rights.into_iter().take(left).collect();
            left -= rights.len();
            let answers = futures::stream::iter(rights).map(async |right| {
                let granted = self.is_granted(cluster, user, sha, &right).await;
                granted.map(|granted| (right, granted))
            });
            let mut answers = std::pin::pin!(answers.buffer_unordered(AT_ONCE));
            while let Some(answer) = answers.next().await {
                let (right, granted) = answer.map_err(unanswered)?;
                sight.all |= granted && stage == 0;
                if granted {
                    sight.granted.insert(right);
                }
            }
            stage += 1;
        }
        Ok(sight)
    }

    async fn is_granted(
        &self,
        cluster: &Cluster,
        user: &UserInfo,
        sha: &Sha,
        right: &GetRight,
    ) -> Result<bool, ApiError> {
        let key = (*sha, right.clone());
        let known = lock(&self.rights).get(&key).filter(|(at, _)| at.elapsed() < KEPT).map(|(_, granted)| *granted);
        if let Some(granted) = known {
            return Ok(granted);
        }
        let body = access_review(user, right).to_string().into_bytes();
        let _turn = self.reviews.acquire().await.expect("the semaphore is never closed");
        let answer: Value = cluster.request(Method::POST, ACCESS_REVIEWS, JSON, body).await?;
        let granted = answer["status"]["allowed"] == true && answer["status"]["denied"] != true;
        let mut rights = lock(&self.rights);
        make_room(&mut rights, RIGHTS, |(at, _)| *at);
        rights.insert(key, (Instant::now(), granted));
        Ok(granted)
    }
}

/// Takes out what is too old to be used when there is no room for another answer, and everything if that is not enough.
fn make_room<K: Ord, V>(answers: &mut BTreeMap<K, V>, most: usize, at: impl Fn(&V) -> Instant) {
    if answers.len() >= most {
        answers.retain(|_, answer| at(answer).elapsed() < KEPT);
    }
    if answers.len() >= most {
        answers.clear();
    }
}

/// The digest of a user, which is the same for all its tokens: the number of the token is not the user's.
fn digest(user: &UserInfo) -> Sha {
    let mut user = user.clone();
    if let Some(extra) = &mut user.extra {
        extra.remove("authentication.kubernetes.io/credential-id");
    }
    Sha256::digest(serde_json::to_vec(&user).unwrap_or_default()).into()
}

fn unanswered(error: ApiError) -> StatusCode {
    tracing::warn!(%error, "the API server does not say who looks at the page, or what the user may see");
    StatusCode::SERVICE_UNAVAILABLE
}

/// The user of a token; `None` if the API server knows none.
async fn review_token(cluster: &Cluster, token: &str) -> Result<Option<UserInfo>, ApiError> {
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {"token": token},
    });
    let body = review.to_string().into_bytes();
    let answer: Value = cluster.request(Method::POST, TOKEN_REVIEWS, JSON, body).await?;
    let user = serde_json::from_value(answer["status"]["user"].clone()).ok();
    Ok(user.filter(|_| answer["status"]["authenticated"] == true))
}

/// The question if the user has the right.
fn access_review(user: &UserInfo, right: &GetRight) -> Value {
    let GetRight { group, resource, namespace } = right;
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {
            "user": user.username, "uid": user.uid, "groups": user.groups, "extra": user.extra,
            "resourceAttributes": {"verb": "get", "group": group, "resource": resource, "namespace": namespace, "version": "*"},
        },
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn asked(open: bool, peer: &str, host: &str, token: Option<&str>) -> Result<PageLogin, StatusCode> {
        let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())]);
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(token).unwrap());
        }
        credentials(open, peer.parse().unwrap(), &headers)
    }

    #[test]
    fn a_token_is_needed_unless_a_program_of_this_host_asks_for_this_host() {
        let token = Ok(PageLogin::Token("abc".to_owned()));
        let refused = Err(StatusCode::UNAUTHORIZED);
        for host in ["127.0.0.1:8675", "localhost", "LOCALHOST:1", "[::1]:8675", "127.0.0.1"] {
            assert_eq!(asked(true, "127.0.0.1:1", host, None), Ok(PageLogin::Host), "{host}");
            assert_eq!(asked(true, "[::ffff:127.0.0.1]:1", host, None), Ok(PageLogin::Host), "{host}");
            assert_eq!(asked(false, "127.0.0.1:1", host, None), refused, "{host}");
            assert_eq!(asked(true, "10.0.0.1:1", host, None), refused, "{host}");
        }
        for host in
            ["evil.example", "evil.example:8675", "127.0.0.1.evil.example", "localhost.evil.example", "", "10.0.0.1"]
        {
            assert_eq!(asked(true, "127.0.0.1:1", host, None), refused, "{host}");
        }
        assert_eq!(asked(true, "10.0.0.1:1", "a", Some("Bearer abc")), token);
        // A token that is not good is no reason to see all.
        for wrong in ["Bearer ", "Basic abc", "abc"] {
            assert_eq!(asked(true, "127.0.0.1:1", "localhost", Some(wrong)), refused, "{wrong}");
        }
    }

    fn right(group: &str, resource: &str, namespace: &str) -> GetRight {
        GetRight::new(group, resource, namespace)
    }

    #[test]
    fn wide_rights_are_asked_for_first_and_cover_the_others() {
        let wanted = BTreeSet::from([
            right("apps", "deployments", "a"),
            right("apps", "deployments", "b"),
            right("", "services", "a"),
            right("", "nodes", ""),
        ]);
        let mut sight = Sight::default();
        assert_eq!(sight.next(&wanted, 0), Some(BTreeSet::from([right("*", "*", "")])));
        let kinds = [right("", "nodes", ""), right("", "services", ""), right("apps", "deployments", "")];
        assert_eq!(sight.next(&wanted, 1), Some(BTreeSet::from(kinds)));
        assert_eq!(sight.next(&wanted, 2), Some(BTreeSet::from([right("*", "*", "a")])), "two kinds of one namespace");
        sight.granted.insert(right("*", "*", "a"));
        assert_eq!(sight.next(&wanted, 3), Some(BTreeSet::from([right("apps", "deployments", "b")])));
        assert!(sight.has(&right("", "services", "a")) && !sight.has(&right("apps", "deployments", "b")));
        assert!(!sight.has(&right("", "nodes", "")), "an object of the cluster is in no namespace");
        sight.granted.insert(right("apps", "deployments", ""));
        assert!(sight.has(&right("apps", "deployments", "b")));
        assert_eq!(sight.next(&wanted, 4), None);
    }

    #[test]
    fn an_object_is_seen_with_the_right_to_its_kind_in_its_namespace() {
        let kinds = [("", "Namespace", "namespaces"), ("", "Secret", "secrets")];
        let plurals: Plurals =
            kinds.iter().map(|(group, kind, plural)| (GroupKind::new(group, kind), (*plural).to_owned())).collect();
        let id = |kind: &str, namespace: &str, name: &str| ObjectId::new(&GroupKind::new("", kind), namespace, name);
        let sight = Sight::of(BTreeSet::from([right("", "namespaces", "shop"), right("", "secrets", "shop")]));
        assert!(sight.sees(&id("Namespace", "", "shop"), &plurals) && sight.sees(&id("Secret", "shop", "x"), &plurals));
        assert!(
            !sight.sees(&id("Namespace", "", "bank"), &plurals) && !sight.sees(&id("Secret", "bank", "x"), &plurals)
        );
        assert!(!sight.sees(&id("Widget", "shop", "x"), &plurals), "a kind that is not served");
        assert!(Sight::of_all().sees(&id("Widget", "shop", "x"), &plurals));
        assert_eq!(GetRight::of_sync(&SyncId::repo("shop", "x")), right("configsync.gke.io", "reposyncs", "shop"));
    }

    #[test]
    fn many_tokens_are_one_user() {
        let user = |name: &str, token: &str| {
            let extra = json!({"authentication.kubernetes.io/credential-id": [token], "team": ["a"]});
            digest(&serde_json::from_value(json!({"username": name, "groups": ["all"], "extra": extra})).unwrap())
        };
        assert_eq!(user("ann", "JTI=1"), user("ann", "JTI=2"));
        assert_ne!(user("ann", "JTI=1"), user("bob", "JTI=1"));
    }

    #[test]
    fn old_answers_make_room_for_new_ones() {
        let mut answers: BTreeMap<usize, Instant> = (0..5).map(|key| (key, Instant::now())).collect();
        make_room(&mut answers, 6, |at| *at);
        assert_eq!(answers.len(), 5);
        make_room(&mut answers, 5, |at| *at);
        assert!(answers.is_empty());
    }
}
