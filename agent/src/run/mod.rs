//! Runs syncs: each is a task that feeds its engine with events and carries out its commands.
#![expect(clippy::disallowed_methods, reason = "this is the edge")]

mod roots;
mod start;
mod sync;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::watch;

use crate::api::{API_SERVER_TIMEOUT, GitSpec, RECONCILE_TIMEOUT};
use crate::compile::SourceFormat;
use crate::io::kubernetes::client::Cluster;
use crate::io::kubernetes::watch::Watches;
use crate::io::repositories::Repositories;
use crate::io::serve::{Metrics, serve};
use crate::model::metadata::{ROOT_SYNC, SyncId};

use sync::{Ended, Orders, SyncTask};

/// What the audit log of a cluster shows.
const USER_AGENT: &str = concat!("nomos-agent/", env!("CARGO_PKG_VERSION"));
/// How long a stopping agent waits for requests in flight.
const GRACE: Duration = Duration::from_millis(1500);
/// How much longer at most for its last status, which has what the requests leave of [`GRACE`] too.
const LAST_WORD: Duration = Duration::from_millis(400);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// One sync without a RootSync object; `None` serves every RootSync.
    pub source: Option<Flags>,
    /// Name of this cluster, for cluster selectors.
    pub cluster_name: String,
    /// Path of a kubeconfig instead of `$KUBECONFIG`, `~/.kube/config` or the one in the cluster.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig instead of its current one.
    pub context: Option<String>,
    /// Where mirrors of repositories are kept.
    pub cache: PathBuf,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    pub listen: Option<SocketAddr>,
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
    /// How it is laid out.
    pub format: SourceFormat,
    /// Time between two polls.
    pub period: Duration,
    /// The commit whose large prune is approved.
    pub approve_prune: Option<String>,
}

/// What all syncs share.
pub(crate) struct Shared {
    cluster: Arc<Cluster>,
    watches: Arc<Watches>,
    repositories: Arc<Repositories>,
    metrics: Arc<Metrics>,
    options: Options,
}

/// Runs until told to stop; with `once`, until the newest commit is applied (`true`) or refused (`false`).
///
/// # Errors
/// When the API server cannot be reached at the start, or an address cannot be bound.
pub async fn run(options: Options) -> anyhow::Result<bool> {
    let mut stop = stop_signal()?;
    let metrics = Arc::new(Metrics::default());
    if let Some(address) = options.listen {
        let what = format!("cannot listen on {address}; choose another address with --listen");
        serve(address, Arc::clone(&metrics)).await.context(what)?;
    }
    let (client, address) = client(&options).await?;
    let what = || format!("cannot ask the API server at {address} for its kinds");
    let cluster = tokio::select! {
        cluster = Cluster::connect(client) => Arc::new(cluster.with_context(what)?),
        // A closed channel is a stop too.
        _ = stop.wait_for(|stop| *stop) => return Ok(!options.once),
    };
    metrics.ready();
    let watches = Arc::new(Watches::new(Arc::clone(&cluster)));
    let shared = Arc::new(Shared { cluster, watches, repositories: Arc::default(), metrics, options });
    match shared.options.source.clone() {
        Some(flags) => by_flags(shared, flags, stop).await,
        None => roots::serve(shared, stop).await.map(|()| true),
    }
}

/// A client of the API server and the address of that.
async fn client(options: &Options) -> anyhow::Result<(kube::Client, String)> {
    let choice = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match (&options.kubeconfig, &options.context) {
        (None, None) => kube::Config::infer().await.context("no kubeconfig and not in a cluster")?,
        (path, _) => {
            let kubeconfig = match path {
                Some(path) => Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?,
                None => Kubeconfig::read().context("cannot read the kubeconfig")?,
            };
            let contexts =
                kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect::<Vec<_>>().join(", ");
            let what = format!("cannot use the kubeconfig; its contexts are: {contexts}");
            kube::Config::from_custom_kubeconfig(kubeconfig, &choice).await.context(what)?
        }
    };
    // Retries are decided by the engine, which knows what else there is to do.
    config.default_retry = false;
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(USER_AGENT)));
    let address = config.cluster_url.to_string();
    Ok((kube::Client::try_from(config).context("cannot make a client of the kubeconfig")?, address))
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

/// The sync `root-sync`, whether or not there is such an object.
async fn by_flags(shared: Arc<Shared>, flags: Flags, mut stop: watch::Receiver<bool>) -> anyhow::Result<bool> {
    let task = SyncTask {
        sync: SyncId::root(ROOT_SYNC),
        how_to_approve: "start the agent with --approve-prune COMMIT".to_owned(),
        git: flags.git,
        format: flags.format,
        period: flags.period,
        object: None,
        generation: 0,
        last_in_force: None,
        resource_status: true,
        implicit_namespaces: true,
        reconcile_timeout: RECONCILE_TIMEOUT,
        api_server_timeout: API_SERVER_TIMEOUT,
    };
    let once = shared.options.once;
    let (control, mut orders) = watch::channel(Orders { approved: flags.approve_prune, ..Orders::default() });
    let sync = tokio::spawn(async move { sync::run(shared, task, &mut orders).await });
    let stopped = async move {
        // A closed channel is a stop too.
        let _ = stop.wait_for(|stop| *stop).await;
        control.send_modify(|orders| orders.stop = true);
        // Orders must stay open until the sync has ended.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = sync => Ok(match ended.context("the sync broke down")?? {
            Ended::Synced => true,
            Ended::NotSynced => false,
            // Told to stop before it was done is not done.
            Ended::Stopped => !once,
        }),
        () = stopped => unreachable!("it never ends"),
    }
}
