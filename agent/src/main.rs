//! The command line of `nomos-agent`: flags and exit status.
#![expect(clippy::disallowed_methods, reason = "this is the edge")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agent::api::{Auth, GitSpec, GitVerification, LocalRepositories, SecretRef, parse_duration, supported};
use agent::compile::SourceFormat;
use agent::io::cache::CacheDirectory;
use agent::io::git::{Network, Reach};
use agent::io::kubernetes::kubeconfig::install_tls;
use agent::io::random::random_number;
use agent::io::repositories::{BLOCKING_THREADS, CACHE_LIMIT};
use agent::io::serve::WebhookOptions;
use agent::model::error_chain::error_chain;
use agent::model::finding::text;
use agent::model::metadata::{ROOT_SYNC, SyncId};
use agent::run::{Flags, Options, start_log};
use clap::{Parser, ValueEnum};

/// It gives the memory back that a sync has taken and does not need any more.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Keeps a cluster as a git repository declares it.
///
/// Without --repo it serves every RootSync in the namespace config-management-system.
#[derive(Parser)]
#[command(name = "nomos-agent", version)]
struct Args {
    /// Repository to sync: an https, http, ssh or file URL, or a path. The agent then acts as the RootSync `root-sync`
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// Branch to follow
    #[arg(long, requires = "repo", conflicts_with = "revision", default_value = "master")]
    branch: String,
    /// Branch, tag or full commit to follow; HEAD is the default branch
    #[arg(long, requires = "repo")]
    revision: Option<String>,
    /// Directory of the repository to sync
    #[arg(long, requires = "repo", default_value = "")]
    dir: String,
    /// Login to the repository, with the keys of a RootSync's Secret: none, token, cookiefile, ssh, githubapp, gcenode or
    /// gcpserviceaccount
    #[arg(long, requires = "repo", default_value = "none", value_parser = auth)]
    auth: Auth,
    /// Secret in the namespace config-management-system with the credentials of --auth
    #[arg(long, requires = "repo", value_name = "NAME")]
    secret: Option<String>,
    /// Google service account for --auth gcpserviceaccount, as which the ServiceAccount root-reconciler may act
    #[arg(long, requires = "repo", value_name = "EMAIL", default_value = "")]
    gcp_service_account_email: String,
    /// Secret in the namespace config-management-system whose key cert holds certificate authorities for the git server
    #[arg(long, requires = "repo", value_name = "NAME")]
    ca_cert_secret: Option<String>,
    /// Secret in the namespace config-management-system with the keys of which one must have signed a commit, as spec.git.verify of
    /// a RootSync names it
    #[arg(long, requires = "repo", value_name = "NAME")]
    verify_secret: Option<String>,
    /// Accept any certificate of the git server
    #[arg(long, requires = "repo")]
    no_ssl_verify: bool,
    /// URL of a proxy for the repository
    #[arg(long, requires = "repo", value_name = "URL", default_value = "")]
    proxy: String,
    /// Layout of the repository
    #[arg(long, requires = "repo", value_enum, default_value_t = FormatFlag::Hierarchy)]
    source_format: FormatFlag,
    /// Time between two polls of the repository
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    poll_period: Duration,
    /// Time between two comparisons of whole objects, for changes that leave no trace in metadata
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    audit_period: Duration,
    /// Approve held deletions; the error KNV2006 names the approval
    #[arg(long, requires = "repo", value_name = "COMMIT.DIGEST")]
    approve_prune: Option<String>,
    /// Name of this cluster, for cluster selectors
    #[arg(long, env = "CLUSTER_NAME", default_value = "")]
    cluster_name: String,
    /// Path of a kubeconfig [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long)]
    context: Option<String>,
    /// Name of this agent in the Lease of the cluster, which no other agent may have [default: the host's name and a random number]
    #[arg(long, value_name = "NAME", overrides_with = "identity")]
    identity: Option<String>,
    /// Time after which another agent takes over when this one has gone: whole seconds
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = lease_duration)]
    lease_duration: Duration,
    /// Directory for mirrors of repositories, which no other user may own or write to [default: nomos-agent in $XDG_CACHE_HOME
    /// or $HOME/.cache, else a new directory that is removed at the end]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// MiB of the cache directory beyond which mirrors that no sync uses are removed, and then the largest others emptied; after a day
    /// without use they are removed anyway
    #[arg(long, value_name = "MIB", default_value_t = CACHE_LIMIT >> 20)]
    cache_limit: u64,
    /// Let sync objects name repositories by a path or a file URL: their authors can then read the disk of the agent
    #[arg(long)]
    allow_local_repositories: bool,
    /// Networks beside the internet in which RepoSyncs may have their repositories, such as 10.20.0.0/16,fd12::/48. Without it they reach
    /// no private address, so that no tenant reads what only the agent reaches; RootSyncs reach every address
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',')]
    tenant_networks: Vec<Network>,
    /// Secret with age keys, in keys that end in .agekey, with which files that SOPS sealed are opened. For a RootSync it is in the
    /// namespace config-management-system, for a RepoSync in its own namespace
    #[arg(long, value_name = "NAME")]
    age_key_secret: Option<String>,
    /// Address of the page /ui/ and of /healthz, /readyz, /metrics and /debug/syncs; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8675")]
    listen: SocketAddr,
    /// Show the page to programs of this host without a token of the cluster. In a Pod, every port-forward would be such a program
    #[arg(long)]
    page_without_token: bool,
    /// Serve no page
    #[arg(long, conflicts_with = "page_without_token")]
    no_page: bool,
    /// File with the secret that git servers sign webhooks with; while there is none, no webhook is taken
    #[arg(long, value_name = "FILE")]
    webhook_secret: Option<PathBuf>,
    /// Address of /webhook, where GitHub, GitLab, Gitea and Bitbucket tell of a push, so that the syncs of the repository poll at once
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8676", requires = "webhook_secret")]
    webhook_listen: SocketAddr,
    /// End when the newest commit is applied (exit code 0) or cannot be (1)
    #[arg(long, requires = "repo")]
    once: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatFlag {
    Hierarchy,
    Unstructured,
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err("must be longer than zero".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn auth(name: &str) -> Result<Auth, String> {
    serde_json::from_value(name.into()).map_err(|_| "must be a login of a RootSync".to_owned())
}

/// Between two seconds and five minutes: a Lease counts whole seconds.
fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    match duration.subsec_nanos() == 0 && (2..=300).contains(&duration.as_secs()) {
        true => Ok(duration),
        false => Err("must be whole seconds, between 2s and 5m".to_owned()),
    }
}

/// An identity that no other agent has.
fn unused_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{:016x}", host.trim(), random_number())
}

fn main() -> ExitCode {
    let args = Args::parse();
    start_log();
    // kube and the git client share one TLS provider, which needs no C library.
    install_tls();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.enable_all().max_blocking_threads(BLOCKING_THREADS).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::from(2);
        }
    };
    let cache = match cache(args.cache_dir.as_deref()) {
        Ok(cache) => cache,
        Err(error) => {
            tracing::error!("{}", error_chain(error.as_ref()));
            return ExitCode::from(2);
        }
    };
    let options = options(args, cache.path());
    let result = runtime.block_on(async { agent::run::run(options?).await });
    // A git request whose sync has ended must not hold the process.
    runtime.shutdown_background();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{}", error_chain(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

fn cache(asked: Option<&Path>) -> anyhow::Result<CacheDirectory> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match asked {
        Some(asked) => CacheDirectory::open(asked),
        None => CacheDirectory::private(
            variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache"))).as_deref(),
        ),
    }
}

/// The source that the flags give.
///
/// # Errors
/// When the agent would refuse a RootSync with it.
fn flags(args: &Args, repo: &str) -> anyhow::Result<Flags> {
    let named = |name: &Option<String>| name.clone().map(|name| SecretRef { name });
    let git = GitSpec {
        repo: repo.to_owned(),
        branch: if args.revision.is_some() { String::new() } else { args.branch.clone() },
        revision: args.revision.clone().unwrap_or_default(),
        dir: args.dir.clone(),
        auth: args.auth,
        gcp_service_account_email: args.gcp_service_account_email.clone(),
        proxy: args.proxy.clone(),
        secret_ref: named(&args.secret),
        ca_cert_secret_ref: named(&args.ca_cert_secret),
        no_ssl_verify: args.no_ssl_verify,
        verify: named(&args.verify_secret)
            .map(|secret_ref| GitVerification { secret_ref, ..GitVerification::default() }),
        ..GitSpec::default()
    };
    let spec = serde_json::json!({ "git": git });
    let supported = supported(&SyncId::root(ROOT_SYNC), &BTreeMap::new(), &spec, LocalRepositories::Allowed);
    let git = supported.map_err(|finding| anyhow::anyhow!("{}", text(&finding)))?.git;
    Ok(Flags {
        git,
        format: match args.source_format {
            FormatFlag::Hierarchy => SourceFormat::Hierarchy,
            FormatFlag::Unstructured => SourceFormat::Unstructured,
        },
        period: args.poll_period,
        approve_prune: args.approve_prune.clone(),
    })
}

fn options(args: Args, cache: &Path) -> anyhow::Result<Options> {
    let source = args.repo.as_deref().map(|repo| flags(&args, repo)).transpose()?;
    Ok(Options {
        source,
        cluster_name: args.cluster_name,
        kubeconfig: args.kubeconfig,
        context: args.context,
        identity: args.identity.unwrap_or_else(unused_identity),
        lease_duration: args.lease_duration,
        cache: cache.to_owned(),
        cache_limit: args.cache_limit << 20,
        local_repositories: match args.allow_local_repositories {
            true => LocalRepositories::Allowed,
            false => LocalRepositories::Refused,
        },
        tenants: Reach::Public(args.tenant_networks.into()),
        age_key_secret: args.age_key_secret,
        listen: Some(args.listen),
        page_without_token: args.page_without_token,
        no_page: args.no_page,
        webhooks: args.webhook_secret.map(|secret| WebhookOptions { listen: args.webhook_listen, secret }),
        audit_period: args.audit_period,
        once: args.once,
    })
}
