//! The page: the syncs of the agent to look at, read-only. Files that are part of the program, documents as JSON, and a stream of
//! events that tells a browser when to ask again. No document is made while no user looks.

mod access;
mod earlier;
mod files;
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{Redirect, Response};
use axum::routing::get;
use percent_encoding::percent_decode_str;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell, Semaphore, mpsc};

use super::connections::Peer;
use super::debug::{self, ServedSyncs};
use super::metrics::Metrics;
use crate::api::{SyncStatus, Time};
use crate::io::journal::{Journal, JournalChange, JournalEntry, JournalEvent};
use crate::io::kubernetes::client::{ApiError, Cluster};
use crate::io::places::{SharedPlace, SharedPlaces, Shares};
use crate::model::metadata::{SyncId, SyncKind};
use crate::model::object::ObjectId;
use crate::sync::engine::SyncSummary;
use crate::sync::status::{About, status};
use access::{Access, GetRight, PageLogin, Plurals, Sight, Viewer, credentials};
use files::secured;

/// Viewers whose streams are open at the same time.
const VIEWERS: usize = 16;
/// Documents that are made or sent at the same time, one for each user, and the longest time for one to be read. It is kept no longer, so
/// that viewers which do not read fill no memory.
const DOCUMENTS: Shares = Shares { all: 6, tenants: 4, tenant: 1 };
const READ: Duration = Duration::from_secs(60);
/// Bytes of a document that are sent at a time.
const PIECE: usize = 64 << 10;
/// Time between two looks at the cluster, however many viewers there are and however much changes.
const PACE: Duration = Duration::from_millis(700);
/// Time between two signs of life of a stream.
const PULSE: Duration = Duration::from_secs(20);
/// Time after which a viewer that does not read is left, and the longest time of a stream: then the token is reviewed again.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// The settings of the page.
#[derive(Clone, Debug, Default)]
pub struct PageOptions {
    /// There is no page.
    pub off: bool,
    /// Programs of this host need no token. In a Pod every port-forward comes from there.
    pub without_token: bool,
    /// The name of the cluster.
    pub cluster_name: String,
}

/// The page, and everything that it shows.
pub struct StatusPage {
    options: PageOptions,
    syncs: Arc<ServedSyncs>,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    /// The API server, as soon as it is connected to.
    cluster: OnceLock<Arc<Cluster>>,
    access: Access,
    viewers: Arc<Semaphore>,
    documents: SharedPlaces,
    look: Mutex<Option<Arc<Look>>>,
    /// Repairs of the agent before were looked for.
    restored: OnceCell<()>,
}

/// The syncs as they were at one moment, for all viewers.
struct Look {
    at: Instant,
    generation: u64,
    syncs: BTreeMap<SyncId, SyncStatus>,
    summaries: BTreeMap<SyncId, Option<SyncSummary>>,
}

/// One request of a known viewer.
struct PageVisit {
    cluster: Arc<Cluster>,
    viewer: Viewer,
}

type PageAnswer = Result<Response, StatusCode>;

impl StatusPage {
    /// A page that shows these.
    pub fn new(options: PageOptions, syncs: Arc<ServedSyncs>, journal: Arc<Journal>, metrics: Arc<Metrics>) -> Self {
        Self {
            options,
            syncs,
            journal,
            metrics,
            cluster: OnceLock::new(),
            access: Access::default(),
            viewers: Arc::new(Semaphore::new(VIEWERS)),
            documents: SharedPlaces::new(DOCUMENTS),
            look: Mutex::default(),
            restored: OnceCell::new(),
        }
    }

    /// The API server answers.
    pub fn ready(&self, cluster: &Arc<Cluster>) {
        // It is connected to once.
        let _ = self.cluster.set(Arc::clone(cluster));
    }

    /// `true` if programs of this host need no token.
    pub(super) fn is_open(&self) -> bool {
        self.options.without_token
    }

    /// The viewer of this request. With `open`, a program of this host needs no token.
    async fn viewer(&self, open: bool, parts: &Parts) -> Result<Viewer, StatusCode> {
        // Every connection of this server has one.
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().ok_or(StatusCode::UNAUTHORIZED)?;
        match credentials(open, peer.0.0, &parts.headers)? {
            PageLogin::Host => Ok(Viewer::Host),
            PageLogin::Token(token) => self.access.user(self.connected()?, &token).await,
        }
    }

    fn connected(&self) -> Result<&Arc<Cluster>, StatusCode> {
        self.cluster.get().ok_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// The turn of a viewer to have a document.
    ///
    /// # Errors
    /// 503 while it has another one that it does not read, or while too many others have theirs.
    async fn turn(&self, viewer: &Viewer) -> Result<SharedPlace, StatusCode> {
        let party = match viewer {
            Viewer::Host => None,
            Viewer::User(user, _) => user.username.clone(),
        };
        let turn = tokio::time::timeout(PATIENCE, self.documents.place(&party));
        turn.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
    }

    /// The syncs of now, or of a moment ago.
    async fn look(&self, cluster: &Cluster) -> Result<Arc<Look>, StatusCode> {
        let mut last = self.look.lock().await;
        let generation = *self.journal.generation().borrow();
        if let Some(look) = &*last {
            let age = look.at.elapsed();
            if look.generation == generation && age < PULSE {
                return Ok(Arc::clone(look));
            }
            tokio::time::sleep(PACE.saturating_sub(age)).await;
        }
        let generation = *self.journal.generation().borrow();
        let mut syncs = listed(cluster).await.map_err(|error| {
            tracing::warn!(%error, "the page cannot show the syncs");
            StatusCode::SERVICE_UNAVAILABLE
        })?;
        let summaries = self.syncs.summaries().await;
        // A sync of the command line has no object.
        for (id, summary) in &summaries {
            if let (false, Some(summary)) = (syncs.contains_key(id), summary) {
                syncs.insert(id.clone(), of_flags(summary));
            }
        }
        let look = Arc::new(Look { at: Instant::now(), generation, syncs, summaries });
        Ok(Arc::clone(last.insert(look)))
    }

    async fn overview(&self, view: &PageVisit) -> Result<Value, StatusCode> {
        let look = self.look(&view.cluster).await?;
        let wanted = look.syncs.keys().map(GetRight::of_sync).collect();
        let sight = self.access.sight(&view.cluster, &view.viewer, &wanted).await?;
        let seen = look.syncs.iter().filter(|(id, _)| sight.has(&GetRight::of_sync(id)));
        let summary = |id: &SyncId| look.summaries.get(id).and_then(Option::as_ref);
        let syncs: Vec<model::PageSync> = seen.map(|(id, status)| model::sync(id, status, summary(id))).collect();
        Ok(json!({
            "generation": look.generation,
            "leads": self.metrics.leader.get() == 1,
            "version": env!("CARGO_PKG_VERSION"),
            "cluster": self.options.cluster_name,
            "viewer": match &view.viewer {
                Viewer::Host => None,
                Viewer::User(user, _) => Some(user.username.clone()),
            },
            "syncs": syncs,
        }))
    }

    /// The objects of the sync of this name.
    async fn objects(&self, view: &PageVisit, name: &str) -> Result<Value, StatusCode> {
        let look = self.look(&view.cluster).await?;
        let id = look.syncs.keys().find(|id| model::page_id(id) == name).ok_or(StatusCode::NOT_FOUND)?;
        let of_sync = GetRight::of_sync(id);
        let sight = self.access.sight(&view.cluster, &view.viewer, &BTreeSet::from([of_sync.clone()])).await?;
        if !sight.has(&of_sync) {
            return Err(StatusCode::NOT_FOUND);
        }
        let Some(shown) = self.syncs.view(id).await else { return Ok(json!({"generation": look.generation})) };
        let waits = shown.objects.iter().filter_map(|object| object.waits_for.as_ref());
        let held = shown.held.iter().flat_map(|held| &held.deletions);
        let ids = shown.objects.iter().map(|object| &object.resource.id).chain(waits).chain(held);
        let (sight, plurals) = self.sight(view, ids).await?;
        let mut document = serde_json::to_value(model::objects(&shown, &sight, &plurals)).unwrap_or_default();
        document["generation"] = look.generation.into();
        document["partly"] = sight.is_part().into();
        Ok(document)
    }

    async fn timeline(&self, view: &PageVisit) -> Result<Value, StatusCode> {
        let look = self.look(&view.cluster).await?;
        let wanted = look.syncs.keys().map(GetRight::of_sync).collect();
        let sight = self.access.sight(&view.cluster, &view.viewer, &wanted).await?;
        let seen = look.syncs.iter().filter(|(id, _)| sight.has(&GetRight::of_sync(id)));
        let syncs: BTreeMap<SyncId, SyncStatus> = seen.map(|(id, status)| (id.clone(), status.clone())).collect();
        if self.journal.since() > 0 {
            let restored = async || earlier::earlier(&view.cluster).await.map(|entries| self.journal.restore(entries));
            if let Err(error) = self.restored.get_or_try_init(restored).await {
                tracing::debug!(%error, "the page does not know what was put back before");
            }
        }
        let mut journal = self.journal.all();
        journal.retain(|entry| syncs.contains_key(&entry.sync));
        let (sight, plurals) = self.sight(view, journal.iter().flat_map(objects_of)).await?;
        let entries = model::timeline(&syncs, &journal, &sight, &plurals);
        Ok(json!({"generation": look.generation, "since": self.journal.since(), "entries": entries}))
    }

    /// The rights of the viewer to these objects.
    async fn sight<'a>(
        &self,
        view: &PageVisit,
        ids: impl Iterator<Item = &'a ObjectId>,
    ) -> Result<(Sight, Plurals), StatusCode> {
        if let Viewer::Host = view.viewer {
            return Ok((Sight::of_all(), Plurals::new()));
        }
        let kinds = view.cluster.kinds().into_iter();
        let plurals: Plurals = kinds.map(|(kind, served)| (kind, served.resource.plural)).collect();
        let wanted = ids.filter_map(|id| GetRight::of_object(id, &plurals)).collect();
        Ok((self.access.sight(&view.cluster, &view.viewer, &wanted).await?, plurals))
    }

    /// Writes an event for each change, until the viewer is gone or does not read, or its token is to be reviewed again.
    async fn tell(&self, stream: mpsc::Sender<Bytes>) {
        let (mut generation, end) = (self.journal.generation(), tokio::time::sleep(LONGEST));
        let mut end = std::pin::pin!(end);
        loop {
            let number = *generation.borrow_and_update();
            let event = Bytes::from(format!("event: change\ndata: {number}\n\n"));
            if stream.send_timeout(event, PATIENCE).await.is_err() {
                return;
            }
            tokio::time::sleep(PACE).await;
            loop {
                tokio::select! {
                    // The sender is in this page.
                    _ = generation.changed() => break,
                    () = &mut end => return,
                    () = stream.closed() => return,
                    () = tokio::time::sleep(PULSE) => {}
                }
                if stream.send_timeout(Bytes::from_static(b": still here\n\n"), PATIENCE).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The objects that an entry names.
fn objects_of(entry: &JournalEntry) -> Vec<&ObjectId> {
    match &entry.event {
        JournalEvent::Repaired(repair) => vec![&repair.object],
        JournalEvent::Failed { .. } => Vec::new(),
        JournalEvent::InForce(commit) => {
            let changes: Option<&Vec<(ObjectId, JournalChange)>> =
                commit.changes.as_ref().map(|changes| &changes.first);
            changes.into_iter().flatten().map(|(id, _)| id).collect()
        }
    }
}

/// The statuses of all sync objects.
async fn listed(cluster: &Cluster) -> Result<BTreeMap<SyncId, SyncStatus>, ApiError> {
    let mut syncs = BTreeMap::new();
    for (kind, plural) in [(SyncKind::RootSync, "rootsyncs"), (SyncKind::RepoSync, "reposyncs")] {
        let path = format!("/apis/configsync.gke.io/v1beta1/{plural}");
        let list: Value = match cluster.get(&path).await {
            // There are none without their CRD.
            Err(error) if error.code() == 404 => continue,
            answer => answer?,
        };
        for object in list["items"].as_array().into_iter().flatten() {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            let id = SyncId { kind, namespace: text("namespace"), name: text("name") };
            syncs.insert(id, SyncStatus::deserialize(&object["status"]).unwrap_or_default());
        }
    }
    Ok(syncs)
}

/// The status that a sync without an object would have.
fn of_flags(summary: &SyncSummary) -> SyncStatus {
    let about = About { generation: 0, reconciler: String::new(), refused: None, going: false };
    SyncStatus { history: Vec::new(), ..status(&SyncStatus::default(), &summary.report, &about, &Time::from_unix(0)) }
}

/// The routes of the page, and `/debug/syncs`. The files are for everybody: they say nothing of the cluster.
pub(super) fn routes(page: Arc<StatusPage>) -> Router {
    let debug = Router::new().route("/debug/syncs", get(debug_syncs));
    if page.options.off {
        return debug.with_state(page);
    }
    let documents = debug
        .route("/ui/api/overview", get(overview))
        .route("/ui/api/objects", get(objects))
        .route("/ui/api/timeline", get(timeline))
        .route("/ui/api/events", get(events))
        .with_state(page);
    // The path is that of `nomos ui`, which answers it itself on a connection of its own. A browser kept one of before.
    let reopened = async |request: Request| match request.uri().query() {
        None => {
            let again = format!("{}?again", request.uri().path());
            Ok(([(header::CONNECTION, "close"), (header::CACHE_CONTROL, "no-store")], Redirect::temporary(&again)))
        }
        Some(_) => Err(StatusCode::NOT_FOUND),
    };
    let to_page = || get(|| async { Redirect::temporary("/ui/") });
    Router::new()
        .route("/", to_page())
        .route("/ui", to_page())
        .route("/open/{code}", get(reopened))
        .merge(files::routes())
        .merge(documents)
}

impl FromRequestParts<Arc<StatusPage>> for PageVisit {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, page: &Arc<StatusPage>) -> Result<Self, StatusCode> {
        let viewer = page.viewer(page.options.without_token, parts).await?;
        Ok(Self { cluster: Arc::clone(page.connected()?), viewer })
    }
}

async fn overview(State(page): State<Arc<StatusPage>>, view: PageVisit) -> PageAnswer {
    let turn = page.turn(&view.viewer).await?;
    page.overview(&view).await.map(|document| sent(document, turn))
}

async fn objects(State(page): State<Arc<StatusPage>>, view: PageVisit, request: Request) -> PageAnswer {
    let turn = page.turn(&view.viewer).await?;
    let query = request.uri().query().unwrap_or_default();
    let name = query.split('&').find_map(|pair| pair.strip_prefix("sync=")).unwrap_or_default();
    page.objects(&view, &percent_decode_str(name).decode_utf8_lossy()).await.map(|document| sent(document, turn))
}

async fn timeline(State(page): State<Arc<StatusPage>>, view: PageVisit) -> PageAnswer {
    let turn = page.turn(&view.viewer).await?;
    page.timeline(&view).await.map(|document| sent(document, turn))
}

/// A stream of events: each says that something changed, and nothing else.
async fn events(State(page): State<Arc<StatusPage>>, _: PageVisit) -> PageAnswer {
    let place = Arc::clone(&page.viewers).try_acquire_owned().map_err(|_| StatusCode::TOO_MANY_REQUESTS)?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        page.tell(sender).await;
        drop(place);
    });
    Ok(secured([(header::CONTENT_TYPE, "text/event-stream")], streamed(receiver)))
}

/// `/debug/syncs` names objects of the whole cluster: it is for programs of this host, as a port-forward is, and for users who see
/// everything.
async fn debug_syncs(State(page): State<Arc<StatusPage>>, request: Request) -> PageAnswer {
    let (parts, _) = request.into_parts();
    let viewer = page.viewer(true, &parts).await?;
    if let Viewer::User(..) = viewer
        && !page.access.sight(page.connected()?, &viewer, &BTreeSet::new()).await?.has_all()
    {
        return Err(StatusCode::FORBIDDEN);
    }
    let turn = page.turn(&viewer).await?;
    let (content_type, text) = debug::syncs(&page.syncs, &parts).await;
    Ok(in_pieces(content_type, text, turn))
}

fn sent(document: Value, turn: SharedPlace) -> Response {
    in_pieces("application/json", document.to_string(), turn)
}

/// An answer whose text and turn last until it is read, or until the reader is too slow.
fn in_pieces(content_type: &'static str, text: String, turn: SharedPlace) -> Response {
    let (mut text, (sender, receiver)) = (Bytes::from(text), mpsc::channel(1));
    // A text that was cut off is then an error for its reader.
    let length = header::HeaderValue::from(text.len());
    tokio::spawn(async move {
        let sending = async {
            while !text.is_empty() {
                // It fails when the reader is gone.
                if sender.send(text.split_to(PIECE.min(text.len()))).await.is_err() {
                    break;
                }
            }
        };
        _ = tokio::time::timeout(READ, sending).await;
        drop(turn);
    });
    let mut answer = secured([(header::CONTENT_TYPE, content_type)], streamed(receiver));
    answer.headers_mut().insert(header::CONTENT_LENGTH, length);
    answer
}

fn streamed(receiver: mpsc::Receiver<Bytes>) -> Body {
    Body::from_stream(futures::stream::unfold(receiver, async |mut receiver| {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), receiver))
    }))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_document_is_kept_while_it_is_read_and_not_for_long() {
        let (documents, viewer) = (SharedPlaces::new(DOCUMENTS), Some("ann".to_owned()));
        let turn = async || documents.place(&viewer).await;
        let text = "x".repeat(5 * PIECE + 1);
        let answer = in_pieces("text/plain", text.clone(), turn().await);
        assert_eq!(axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("read"), text);
        let unread = in_pieces("text/plain", text, turn().await);
        let begin = tokio::time::Instant::now();
        assert!(documents.place(&Some("bob".to_owned())).now_or_never().is_some(), "the other one does not wait");
        let _next = turn().await;
        assert_eq!(begin.elapsed(), READ);
        let read = axum::body::to_bytes(unread.into_body(), usize::MAX).await.expect("a part");
        assert!(read.len() < 3 * PIECE, "{} bytes are kept", read.len());
    }
}
