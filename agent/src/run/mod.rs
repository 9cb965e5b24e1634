//! Runs syncs: each is a task that feeds its engine with events and carries out the commands of the engine.
#![expect(clippy::disallowed_methods, reason = "this is the edge")]

mod log;
mod records;
mod supervision;
mod budget;
mod holdings;
mod start;
mod config_sync;
mod accounts;
mod rbac;
mod task;
mod source;
mod commit_states;
mod commands;
mod sync;
mod standby;
mod serving;
mod removal;
mod lifecycle;
mod marks;
mod syncs;
mod config_management;
mod version;
mod sync_objects;
pub mod leader;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use kube::config::Kubeconfig;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument as _;

use crate::api::{API_SERVER_TIMEOUT, GitSpec, LocalRepositories, RECONCILE_TIMEOUT};
use crate::compile::SourceFormat;
use crate::io::git::Reach;
use crate::io::journal::Journal;
use crate::io::kubernetes::client::{ApiError, Cluster};
use crate::io::kubernetes::connections::Connections;
use crate::io::kubernetes::fence::Fence;
use crate::io::kubernetes::kubeconfig;
use crate::io::kubernetes::lease::LeaseApi;
use crate::io::kubernetes::namespaces::NamespaceWatch;
use crate::io::kubernetes::patience::patiently;
use crate::io::kubernetes::search::Search;
use crate::io::kubernetes::watch::Watches;
use crate::io::notifications::CommitMessage;
use crate::io::proxy::ProxyVariables;
use crate::io::reports::{WriteBudget, now};
use crate::io::repositories::Repositories;
use crate::io::serve::{
    Metrics, PageOptions, ServedSyncs, StatusPage, VerbLabels, WebhookOptions, WebhookTargets, serve, serve_webhooks,
};
use crate::model::metadata::{ROOT_SYNC, SyncId};
use crate::sync::plan::guard::APPROVAL;

pub use log::start_log;

use accounts::Granted;
use budget::Budget;
use config_sync::ConfigSyncPrograms;
use holdings::SyncHoldings;
use leader::{Candidacy, Leader, LeaderConnections, LeaseThread};
use rbac::RbacChanges;
use records::Records;
use sync::Instructions;
use task::{ExitReason, RESTORED, SyncTask};

/// The name of the agent in the audit log of a cluster, where its identity follows.
const USER_AGENT: &str = concat!("nomos-agent/", env!("CARGO_PKG_VERSION"));
/// The longest time that a stopping sync waits for requests in flight.
const GRACE: Duration = Duration::from_millis(1200);
/// The additional time for its last status, which has the rest of [`GRACE`] too.
const LAST_WORD: Duration = Duration::from_millis(400);

/// The settings of the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The source of one sync without a RootSync object; `None` serves every RootSync and RepoSync.
    pub source: Option<Flags>,
    /// Name of this cluster, for cluster selectors. A ConfigManagement with another name takes precedence over it.
    pub cluster_name: String,
    /// Path of a kubeconfig instead of `$KUBECONFIG`, `~/.kube/config` or the one in the cluster.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig instead of its current one.
    pub context: Option<String>,
    /// Name of this agent in the Lease of the cluster, which no other agent has.
    pub identity: String,
    /// Time after which another agent may take over from one that does not renew its Lease: whole seconds.
    pub lease_duration: Duration,
    /// Directory for mirrors of repositories.
    pub cache: PathBuf,
    /// Bytes of mirrors beyond which those that are not used are removed.
    pub cache_limit: u64,
    /// The answer to sync objects whose repository is a path or a `file:` URL.
    pub local_repositories: LocalRepositories,
    /// The addresses at which the repositories of RepoSyncs may be.
    pub tenants: Reach,
    /// Address of `/healthz`, `/readyz`, `/metrics` and `/debug/syncs`; `None` serves none of them.
    pub listen: Option<SocketAddr>,
    /// The page at that address needs no token from programs of this host.
    pub page_without_token: bool,
    /// There is no page at that address.
    pub no_page: bool,
    /// Name of the Secrets with age keys for sealed files, in the namespace of each sync; `None` if there are none.
    pub age_key_secret: Option<String>,
    /// The receiver of webhooks; `None` has none.
    pub webhooks: Option<WebhookOptions>,
    /// Time between two comparisons of whole objects.
    pub audit_period: Duration,
    /// End as soon as the newest commit is applied or refused.
    pub once: bool,
}

/// A source given by flags.
#[derive(Clone, Debug)]
pub struct Flags {
    /// The repository, the ref in it and the directory.
    pub git: GitSpec,
    /// The layout of the repository.
    pub format: SourceFormat,
    /// Time between two polls.
    pub period: Duration,
    /// The approval of held deletions: `<commit>.<digest>`.
    pub approve_prune: Option<String>,
}

/// The cluster and everything else that all syncs of an agent use.
pub(crate) struct AgentContext {
    cluster: Arc<Cluster>,
    watches: Arc<Watches>,
    namespaces: Arc<NamespaceWatch>,
    search: Search,
    budget: Budget,
    writes: Arc<WriteBudget>,
    records: Records,
    repositories: Arc<Repositories>,
    metrics: Arc<Metrics>,
    syncs: Arc<ServedSyncs>,
    journal: Arc<Journal>,
    /// `true` once this agent may write.
    leads: watch::Sender<bool>,
    holdings: Arc<SyncHoldings>,
    /// The rights that the accounts of syncs have by now.
    granted: watch::Sender<Granted>,
    /// Changes of roles and bindings.
    rbac: watch::Sender<RbacChanges>,
    /// The syncs whose source is compiled, with `true` if it has a dynamic NamespaceSelector.
    dynamic: watch::Sender<BTreeMap<SyncId, bool>>,
    /// To the task that notifies.
    commits: mpsc::UnboundedSender<CommitMessage>,
    /// The programs of Config Sync that run on the cluster; `None` before they are listed.
    config_sync: watch::Sender<Option<ConfigSyncPrograms>>,
    options: Options,
}

/// Runs until the process is told to stop; with `once`, until the newest commit is applied (`true`) or refused (`false`).
///
/// # Errors
/// When the API server cannot be reached at the start, or an address cannot be bound.
pub async fn run(options: Options) -> anyhow::Result<bool> {
    let mut stop = stop_signal()?;
    let (metrics, syncs) = (Arc::new(Metrics::default()), Arc::new(ServedSyncs::default()));
    supervision::watch_panics(Arc::clone(&metrics));
    let journal = Arc::new(Journal::default());
    let page = serve_own(&options, &metrics, &syncs, &journal).await?;
    let config = config(&options)?;
    let address = config.cluster_url.to_string();
    let (fence, thread) = (Fence::default(), LeaseThread::start().context("cannot start a thread")?);
    let what = "cannot make a client of the kubeconfig";
    let lease_connections = Connections::default();
    let lease = {
        let _entered = thread.runtime().enter();
        LeaseApi::new(lease_connections.client(config.clone()).context(what)?)
    };
    let connections = Connections::default();
    let counted = Arc::clone(&metrics);
    let count = move |verb: &str| _ = counted.requests.get_or_create(&VerbLabels { verb: verb.to_owned() }).inc();
    let client = fence.client(&config, connections.clone(), count).context(what)?;
    let cluster = tokio::select! {
        cluster = connect(client, &address, options.source.is_none()) => Arc::new(cluster?),
        // A closed channel is a stop too.
        _ = stop.wait_for(|stop| *stop) => return Ok(!options.once),
    };
    page.ready(&cluster);
    let connections = LeaderConnections { of_lease: lease_connections, of_others: connections };
    let leader = Leader::new(lease.clone(), fence, connections, options.identity.clone(), options.lease_duration);
    let watches = Arc::new(Watches::new(Arc::clone(&cluster)));
    metrics.ready(&watches);
    let repositories = Arc::new(Repositories::new(options.cache_limit, Some(metrics.git_observer())));
    if let Some(webhooks) = options.webhooks.clone() {
        let what = format!("cannot listen on {}; choose another address with --webhook-listen", webhooks.listen);
        let targets = WebhookTargets { repositories: Arc::clone(&repositories), metrics: Arc::clone(&metrics), lease };
        serve_webhooks(webhooks, targets).await.context(what)?;
    }
    let (commits, told) = mpsc::unbounded_channel();
    let context = AgentContext {
        search: Search::new(Arc::clone(&cluster)),
        namespaces: Arc::new(NamespaceWatch::new(cluster.client.clone())),
        cluster,
        watches,
        budget: Budget::default(),
        writes: Arc::default(),
        records: Records::default(),
        repositories: Arc::clone(&repositories),
        metrics,
        syncs,
        journal,
        leads: watch::Sender::new(false),
        holdings: Arc::default(),
        granted: watch::Sender::default(),
        rbac: watch::Sender::default(),
        dynamic: watch::Sender::default(),
        commits,
        config_sync: watch::Sender::default(),
        options,
    };
    let ended = lead(Arc::new(context), told, leader, thread.runtime(), stop).await;
    repositories.end();
    ended
}

/// Serves what the agent tells of itself, if it is told an address. The page shows nothing before the API server answers.
async fn serve_own(
    options: &Options,
    metrics: &Arc<Metrics>,
    syncs: &Arc<ServedSyncs>,
    journal: &Arc<Journal>,
) -> anyhow::Result<Arc<StatusPage>> {
    let of_page = PageOptions {
        off: options.no_page,
        without_token: options.page_without_token,
        cluster_name: options.cluster_name.clone(),
    };
    let page = Arc::new(StatusPage::new(of_page, Arc::clone(syncs), Arc::clone(journal), Arc::clone(metrics)));
    if let Some(address) = options.listen {
        let what = format!("cannot listen on {address}; choose another address with --listen");
        serve(address, Arc::clone(metrics), Arc::clone(&page)).await.context(what)?;
    }
    Ok(page)
}

/// Serves the syncs for as long as this agent holds the Lease. Until then it stands by.
///
/// # Errors
/// When the Lease is lost, and those of the syncs. The process must end then: what it knows of the cluster may be old.
async fn lead(
    context: Arc<AgentContext>,
    told: mpsc::UnboundedReceiver<CommitMessage>,
    mut leader: Leader,
    thread: &Runtime,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<bool> {
    let (source, once) = (context.options.source.clone(), context.options.once);
    let candidacy = if source.is_some() { Candidacy::Once } else { Candidacy::Patient };
    let of_work = Arc::clone(&context);
    let mut work = std::pin::pin!(async move {
        let Some(flags) = source else {
            return sync_objects::serve(of_work, told, stop).await.map(|()| true);
        };
        tokio::select! {
            () = standby::led(&of_work) => {}
            // A closed channel is a stop too.
            _ = stop.wait_for(|stop| *stop) => return Ok(!once),
        }
        by_flags(of_work, flags, stop).await
    });
    let (give_up, given_up) = oneshot::channel::<()>();
    let mut candidate = thread.spawn(async move {
        let acquired = tokio::select! {
            acquired = leader.acquire(candidacy) => Some(acquired),
            _ = given_up => None,
        };
        (Arc::new(leader), acquired)
    });
    let (leader, acquired) = tokio::select! {
        candidate = &mut candidate => candidate.context("taking the Lease broke down")?,
        ended = &mut work => {
            drop(give_up);
            // The stop may have come while the Lease was taken.
            let (leader, _) = candidate.await.context("taking the Lease broke down")?;
            release(leader, thread).await;
            return ended;
        }
    };
    let holds = acquired.context("taking the Lease was given up")??;
    // The agent before may have applied a newer commit than git servers have told this one of.
    context.repositories.ask_again(|_| true);
    // It ends with the process when the Lease is lost.
    context.metrics.leader.set(1);
    context.leads.send_replace(true);
    context.journal.begin(now().time.unix().unwrap_or_default());
    if !holds {
        return work.await;
    }
    let keeper = Arc::clone(&leader);
    let mut kept = thread.spawn(async move { keeper.keep().await });
    tokio::select! {
        ended = work => {
            // It renews no more.
            kept.abort();
            let _ = kept.await;
            release(leader, thread).await;
            ended
        }
        lost = &mut kept => {
            let lost = lost.unwrap_or_else(|_| "keeping it broke down".to_owned());
            bail!("this agent does not hold the Lease of the cluster any more: {lost}")
        }
    }
}

async fn release(leader: Arc<Leader>, thread: &Runtime) {
    // When it breaks down, the Lease runs out.
    let _ = thread.spawn(async move { leader.release().await }).await;
}

/// Connects to the API server. An agent that serves a cluster waits for it; one for a single repository does not.
async fn connect(client: kube::Client, address: &str, waits: bool) -> anyhow::Result<Cluster> {
    let connect = || Cluster::connect(client.clone());
    let cluster: Result<Cluster, ApiError> = if waits { patiently(connect).await } else { connect().await };
    cluster.with_context(|| format!("cannot ask the API server at {address} for its kinds"))
}

/// The configuration of a client of the API server.
fn config(options: &Options) -> anyhow::Result<kube::Config> {
    let variable = |name: &str| std::env::var(name).ok();
    let home = std::env::home_dir();
    let kubeconfig = match &options.kubeconfig {
        Some(path) => Some(read(path)?),
        None => {
            let merge = |first: Kubeconfig, next| first.merge(next).context("cannot merge the files of KUBECONFIG");
            kubeconfig::load(std::env::var_os("KUBECONFIG").as_deref(), home.as_deref(), read, merge)?
        }
    };
    let mut config = match kubeconfig {
        None => kube::Config::incluster().context("no kubeconfig and not in a cluster")?,
        Some(kubeconfig) => {
            let proxies = ProxyVariables::read(variable);
            kubeconfig::config(&kubeconfig, options.context.as_deref(), &proxies)
                .context("cannot use the kubeconfig")?
        }
    };
    let auth = &config.auth_info;
    if options.source.is_none() && (auth.impersonate.is_some() || auth.impersonate_groups.is_some()) {
        bail!(
            "the kubeconfig acts as another user (`as`, `as-groups`), and so would every sync; use a kubeconfig without that"
        );
    }
    // The engine decides about retries, because it knows the other work.
    config.default_retry = false;
    let named = http::HeaderValue::try_from(format!("{USER_AGENT} ({})", options.identity));
    let name = named.unwrap_or(http::HeaderValue::from_static(USER_AGENT));
    config.headers.push((http::header::USER_AGENT, name));
    Ok(config)
}

fn read(path: &Path) -> anyhow::Result<Kubeconfig> {
    kubeconfig::read(path).map_err(|cause| anyhow!("cannot read the kubeconfig {}: {cause}", path.display()))
}

/// Becomes `true` when the process is asked to stop.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
    });
    Ok(receiver)
}

/// Runs the sync `root-sync` on the source of the flags. No RootSync object is read or written.
async fn by_flags(context: Arc<AgentContext>, flags: Flags, mut stop: watch::Receiver<bool>) -> anyhow::Result<bool> {
    let task = SyncTask {
        sync: SyncId::root(ROOT_SYNC),
        how_to_approve: format!("start the agent with --approve-prune {APPROVAL}"),
        git: flags.git,
        cluster_name: context.options.cluster_name.clone(),
        format: flags.format,
        period: flags.period,
        object: None,
        generation: 0,
        rights: None,
        resource_status: true,
        implicit_namespaces: true,
        reconcile_timeout: RECONCILE_TIMEOUT,
        api_server_timeout: API_SERVER_TIMEOUT,
        removal: None,
    };
    let (once, span) = (context.options.once, sync::span(&task.sync));
    let task = Arc::new(task);
    let (sender, mut instructions) = watch::channel(Instructions {
        task,
        approval: flags.approve_prune,
        asked: None,
        suspended: false,
        refused: None,
        stop: false,
    });
    let sync = tokio::spawn(async move { sync::run(context, None, None, &mut instructions).await }.instrument(span));
    let stopped = async move {
        // A closed channel is a stop too.
        let _ = stop.wait_for(|stop| *stop).await;
        sender.send_modify(|instructions| instructions.stop = true);
        // The channel must stay open until the sync has ended.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        exit = sync => Ok(match exit.context("the sync broke down")?? {
            ExitReason::Synced => true,
            ExitReason::NotSynced => false,
            // With `once`, a stop before the end is no success.
            ExitReason::Stopped => !once,
            ExitReason::Restored => anyhow::bail!("{RESTORED}; start the agent again"),
        }),
        () = stopped => unreachable!("it never ends"),
    }
}
