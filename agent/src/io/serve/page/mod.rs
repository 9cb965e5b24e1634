//! The page: the syncs of the agent to look at, read-only. Files that are part of the program, documents as JSON, and a stream of
//! events that tells a browser when to ask again. No document is made while no user looks.

mod access;
mod earlier;
mod files;
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use percent_encoding::percent_decode_str;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell, Semaphore, mpsc};

use super::connections::Peer;
use super::debug::ServedSyncs;
use super::metrics::Metrics;
use crate::api::{SyncStatus, Time};
use crate::io::journal::{Journal, JournalChange, JournalEntry, JournalEvent};
use crate::io::kubernetes::client::{ApiError, Cluster};
use crate::model::metadata::{SyncId, SyncKind};
use crate::model::object::ObjectId;
use crate::sync::engine::SyncSummary;
use crate::sync::status::{About, status};
use access::{Access, GetRight, Plurals, Sight, Viewer, credentials};
use files::secured;

/// Viewers whose streams are open at the same time.
const VIEWERS: usize = 16;
/// Documents that are made at the same time.
const DOCUMENTS: usize = 4;
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
    documents: Semaphore,
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

/// One request of a viewer, who is known.
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
            documents: Semaphore::new(DOCUMENTS),
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

    async fn view(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<PageVisit, StatusCode> {
        let credentials = credentials(self.options.without_token, peer, headers)?;
        let cluster = self.cluster.get().cloned().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let viewer = self.access.viewer(&cluster, credentials).await?;
        Ok(PageVisit { cluster, viewer })
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

/// The routes of the page. The files are for everybody: they say nothing of the cluster.
pub(super) fn routes(page: Arc<StatusPage>) -> Router {
    let documents = Router::new()
        .route("/ui/api/overview", get(overview))
        .route("/ui/api/objects", get(objects))
        .route("/ui/api/timeline", get(timeline))
        .route("/ui/api/events", get(events))
        .with_state(page);
    let to_page = || get(|| async { Redirect::temporary("/ui/") });
    Router::new().route("/", to_page()).route("/ui", to_page()).merge(files::routes()).merge(documents)
}

async fn overview(
    State(page): State<Arc<StatusPage>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> PageAnswer {
    let view = page.view(peer.0, request.headers()).await?;
    let _turn = page.documents.acquire().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    page.overview(&view).await.map(document)
}

async fn objects(
    State(page): State<Arc<StatusPage>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> PageAnswer {
    let view = page.view(peer.0, request.headers()).await?;
    let _turn = page.documents.acquire().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let query = request.uri().query().unwrap_or_default();
    let name = query.split('&').find_map(|pair| pair.strip_prefix("sync=")).unwrap_or_default();
    page.objects(&view, &percent_decode_str(name).decode_utf8_lossy()).await.map(document)
}

async fn timeline(
    State(page): State<Arc<StatusPage>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> PageAnswer {
    let view = page.view(peer.0, request.headers()).await?;
    let _turn = page.documents.acquire().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    page.timeline(&view).await.map(document)
}

/// A stream of events: each says that something changed, and nothing else.
async fn events(
    State(page): State<Arc<StatusPage>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> PageAnswer {
    page.view(peer.0, request.headers()).await?;
    let place = Arc::clone(&page.viewers).try_acquire_owned().map_err(|_| StatusCode::TOO_MANY_REQUESTS)?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        page.tell(sender).await;
        drop(place);
    });
    let stream = futures::stream::unfold(receiver, async |mut receiver| {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), receiver))
    });
    Ok(secured([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)))
}

fn document(document: Value) -> Response {
    secured([(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}
