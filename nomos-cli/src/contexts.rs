//! Clusters: the contexts of the kubeconfig, clients for them, and requests to many clusters at the same time.

mod error;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::io::kubernetes::client::ApiError;
use agent::io::kubernetes::kubeconfig;
use agent::io::kubernetes::limited::AnswerLimits;
use agent::io::proxy::ProxyVariables;
use agent::model::error_chain::error_chain;
use agent::model::url::shown;
use anyhow::{Context as _, anyhow, bail};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::client::AuthError;
use kube::config::Kubeconfig;
use kube::core::gvk::GroupVersionKind;
use kube::{Client, Config};
use tokio::sync::Semaphore;

use crate::Environment;

pub(crate) use error::ClusterError;
use error::{NO_LOGIN, plain, unreached};

/// Names of Deployments that serve syncs: this project's agent, and the manager of Config Sync.
pub(crate) const AGENTS: [&str; 2] = ["nomos-agent", "reconciler-manager"];

/// Name of the context that stands for the cluster of the Pod in which this process runs.
const IN_CLUSTER: &str = "in-cluster";

/// Time that a connection may take in [`with`].
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Time that the answer to a request may take in [`with`].
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Size in bytes that one answer may have. The largest ones are lists of all objects of a kind.
const LARGEST_ANSWER: usize = 256 << 20;

/// Time after which answers are shown that have come, although others are missing.
const PATIENCE: Duration = Duration::from_millis(100);

/// Time to wait before a request is repeated that the API server refused with 429 Too Many Requests.
const BUSY: Duration = Duration::from_millis(200);

/// Clients that are made at the same time.
static MAKING: Semaphore = Semaphore::const_new(2);

/// Clusters that are asked at the same time. Connections take much time of the processor, so that the first answer would come as late
/// as the last one if all were opened together.
const TURNS: usize = 4;

/// Time after which a cluster that has not answered lets the next one begin too.
const TURN: Duration = Duration::from_millis(20);

/// A context of the kubeconfig: a cluster, and the user for it.
#[derive(Clone, Debug)]
pub(crate) struct ClusterContext {
    /// Name of the context.
    pub(crate) context: String,
    /// `true` for the current context.
    pub(crate) current: bool,
    /// The kubeconfig with this context; `None` for the cluster of the Pod in which this process runs.
    kubeconfig: Option<Arc<Kubeconfig>>,
    proxies: Arc<ProxyVariables>,
}

/// The error of a command that needs a cluster if [`clusters`] finds no configuration.
pub(crate) fn not_configured(file: Option<&Path>, environment: &Environment) -> String {
    if let Some(file) = file {
        return format!("the kubeconfig {} has no context", file.display());
    }
    match environment.kubeconfig.as_ref().filter(|files| !files.is_empty()) {
        Some(files) => format!(
            "no cluster is configured: KUBECONFIG is {}, where there is no file with a context; use --kubeconfig FILE, or set KUBECONFIG \
             to a file that exists",
            files.display()
        ),
        None => "no cluster is configured; use --kubeconfig FILE, set KUBECONFIG to a file that exists, or create $HOME/.kube/config"
            .to_owned(),
    }
}

/// The named contexts, sorted by name. `contexts` is `None` for all of them; an empty name in it is ignored. The result is
/// `None` if there is no kubeconfig with a context and this process does not run in a Pod.
///
/// # Errors
///
/// If a kubeconfig cannot be read, or a named context does not exist.
pub(crate) fn clusters(
    file: Option<&Path>,
    environment: &Environment,
    contexts: Option<&[String]>,
) -> anyhow::Result<Option<Vec<ClusterContext>>> {
    let proxies = Arc::new(environment.proxies.clone());
    let all: BTreeMap<String, ClusterContext> = match load(file, environment)? {
        Some(kubeconfig) => in_kubeconfig(&Arc::new(kubeconfig), &proxies),
        None if environment.in_cluster => {
            let cluster = ClusterContext { context: IN_CLUSTER.to_owned(), current: true, kubeconfig: None, proxies };
            BTreeMap::from([(IN_CLUSTER.to_owned(), cluster)])
        }
        None => return Ok(None),
    };
    let Some(names) = contexts else {
        return Ok(Some(all.into_values().collect()).filter(|all: &Vec<_>| !all.is_empty()));
    };
    let unknown: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !name.is_empty() && !all.contains_key(*name)).collect();
    if !unknown.is_empty() {
        let known: Vec<&str> = all.keys().map(String::as_str).collect();
        bail!("the kubeconfig has no context {}; it has {}", unknown.join(", "), list(&known));
    }
    Ok(Some(all.into_values().filter(|cluster| names.contains(&cluster.context)).collect()))
}

/// The context with this name, or the current one.
///
/// # Errors
///
/// If there is no kubeconfig or no current context, or the named context does not exist.
pub(crate) fn cluster(
    file: Option<&Path>,
    environment: &Environment,
    context: Option<&str>,
) -> anyhow::Result<ClusterContext> {
    let named = context.map(|name| vec![name.to_owned()]);
    let clusters = clusters(file, environment, named.as_deref())?.with_context(|| not_configured(file, environment))?;
    let known = list(&clusters.iter().map(|cluster| cluster.context.as_str()).collect::<Vec<_>>());
    let current = clusters.iter().find_map(|cluster| cluster.kubeconfig.as_ref()?.current_context.clone());
    let current = current.filter(|name| !name.is_empty());
    let chosen = clusters.into_iter().find(|cluster| named.is_some() || cluster.current);
    chosen.with_context(|| match current {
        Some(gone) => format!(
            "the kubeconfig has no context {gone:?}, which is its current one; it has {known}; choose one with --context CONTEXT"
        ),
        None => "the kubeconfig has no current context; choose one with --context CONTEXT".to_owned(),
    })
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "no context".to_owned() } else { names.join(", ") }
}

fn in_kubeconfig(kubeconfig: &Arc<Kubeconfig>, proxies: &Arc<ProxyVariables>) -> BTreeMap<String, ClusterContext> {
    kubeconfig
        .contexts
        .iter()
        .map(|context| {
            let current = kubeconfig.current_context.as_ref() == Some(&context.name);
            let (kubeconfig, proxies) = (Some(Arc::clone(kubeconfig)), Arc::clone(proxies));
            (context.name.clone(), ClusterContext { context: context.name.clone(), current, kubeconfig, proxies })
        })
        .collect()
}

/// The kubeconfig, found as kubectl finds it: the file of the flag, or the merged files of `$KUBECONFIG`, or
/// `.kube/config` in the home directory. `None` if there is none.
fn load(file: Option<&Path>, environment: &Environment) -> anyhow::Result<Option<Kubeconfig>> {
    if let Some(file) = file {
        return read(file).map(Some);
    }
    let merge = |first: Kubeconfig, next| first.merge(next).context("failed to merge the files in KUBECONFIG");
    kubeconfig::load(environment.kubeconfig.as_deref(), environment.home.as_deref(), read, merge)
}

fn read(file: &Path) -> anyhow::Result<Kubeconfig> {
    kubeconfig::read(file).map_err(|cause| anyhow!("failed to read the kubeconfig {}: {cause}", file.display()))
}

/// Does work on one cluster that has no time limit as a whole: each request has one.
///
/// # Errors
///
/// If the configuration of the cluster cannot be used, and those of the work.
pub(crate) fn with<T>(
    cluster: &ClusterContext,
    work: impl AsyncFnOnce(Client) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let client = cluster.client(CONNECT_TIMEOUT, ANSWER_TIMEOUT).await;
        let client = client.with_context(|| cluster.failed_to_ask())?;
        work(client).await
    });
    runtime.shutdown_background();
    result.map_err(|error| cluster.explained(error))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the tokio runtime")
}

impl ClusterContext {
    /// The namespace of the context, which is `default` if it names none.
    pub(crate) fn namespace(&self) -> String {
        let contexts = self.kubeconfig.iter().flat_map(|kubeconfig| &kubeconfig.contexts);
        let context = contexts.filter(|named| named.name == self.context).find_map(|named| named.context.as_ref());
        context.and_then(|context| context.namespace.clone()).unwrap_or_else(|| "default".to_owned())
    }

    /// The beginning of an error of a request to this cluster.
    pub(crate) fn failed_to_ask(&self) -> String {
        format!("failed to ask the cluster {}", self.context)
    }

    /// The error of a request that this cluster did not answer as it should.
    pub(crate) fn failed(&self, error: impl Into<ClusterError>) -> anyhow::Error {
        let error = error.into();
        let hint = error.hint().map_or_else(String::new, |hint| format!("\n\nhint: {hint}"));
        match error {
            ClusterError::Unreachable(cause) => {
                let at = self.address().map_or_else(String::new, |address| format!(" at {address}"));
                anyhow!("the cluster {} does not answer{at}: {cause}{hint}", self.context)
            }
            ClusterError::Refused(cause) | ClusterError::Unusable(cause) => {
                anyhow!("{}: {cause}{hint}", self.failed_to_ask())
            }
        }
    }

    /// The error, in the words of [`Self::failed`] if the cluster was not reached.
    fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        let of_client = error.downcast_ref::<kube::Error>().and_then(unreached);
        let of_agent = error.downcast_ref::<ApiError>().and_then(|error| match error {
            ApiError::Unreachable(cause) => Some(plain(cause)),
            _ => None,
        });
        match of_client.or(of_agent) {
            Some(cause) => self.failed(ClusterError::Unreachable(cause)),
            None => error,
        }
    }

    /// The error with the address of the API server, if it was not reached.
    pub(crate) fn with_address(&self, error: ClusterError) -> ClusterError {
        match (error, self.address()) {
            (ClusterError::Unreachable(cause), Some(address)) => {
                ClusterError::Unreachable(format!("{address}: {cause}"))
            }
            (error, _) => error,
        }
    }

    /// The address of the API server, if the kubeconfig has it.
    fn address(&self) -> Option<String> {
        let kubeconfig = self.kubeconfig.as_ref()?;
        let context = kubeconfig.contexts.iter().find(|named| named.name == self.context)?;
        let name = &context.context.as_ref()?.cluster;
        let cluster = kubeconfig.clusters.iter().find(|named| named.name == *name)?;
        Some(shown(cluster.cluster.as_ref()?.server.as_deref()?).into_owned())
    }

    /// The configuration of a client of this cluster.
    ///
    /// # Errors
    ///
    /// If the kubeconfig cannot be used.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        Ok(match &self.kubeconfig {
            None => Config::incluster()?,
            Some(kubeconfig) => kubeconfig::config(kubeconfig, Some(&self.context), &self.proxies)?,
        })
    }

    /// A client that does not retry. It waits at most `connecting` for a connection, and `answering` for an answer.
    async fn client(&self, connecting: Duration, answering: Duration) -> anyhow::Result<Client> {
        let mut config = self.config()?;
        config.connect_timeout = Some(connecting);
        config.default_retry = false;
        // This runs the login program of the kubeconfig, if there is one; on a thread of its own it blocks no other cluster.
        // The certificates of the system are read for each client. A few at a time, so that the first is ready early; a login
        // program, which may hang, holds no other up.
        let program = config.auth_info.exec.as_ref().map(|exec| exec.command.clone().unwrap_or_default());
        let _turn = match program {
            None => Some(MAKING.acquire().await?),
            Some(_) => None,
        };
        let limits = AnswerLimits { time: answering, bytes: LARGEST_ANSWER };
        let client = tokio::task::spawn_blocking(move || limits.client(config)).await?;
        let program = program.unwrap_or_default();
        client.map_err(|error| match error {
            // Its arguments and its output may hold a credential; what it says to the user is on standard error.
            kube::Error::Auth(AuthError::AuthExecRun { out, .. }) => {
                let words = String::from_utf8_lossy(&out.stderr);
                let words = Some(words.trim()).filter(|words| !words.is_empty());
                let words = words.map_or_else(String::new, |words| format!(": {words}"));
                anyhow!("{NO_LOGIN} {program:?} of the kubeconfig ended with {}{words}", out.status)
            }
            kube::Error::Auth(AuthError::AuthExecStart(error)) => {
                anyhow!("{NO_LOGIN} {program:?} of the kubeconfig does not start: {error}")
            }
            // Their text shows the output.
            kube::Error::Auth(AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed) => {
                anyhow!("the output of {NO_LOGIN} {program:?} of the kubeconfig is no ExecCredential")
            }
            error => error.into(),
        })
    }
}

/// The answer of one cluster.
pub(crate) type ClusterAnswer<T> = Result<T, ClusterError>;

/// Sends the same request to every cluster at the same time and waits at most `timeout` for each. The answers have the order of
/// `clusters`.
pub(crate) fn ask<T, F>(
    clusters: &[ClusterContext],
    timeout: Duration,
    question: F,
) -> anyhow::Result<Vec<ClusterAnswer<T>>>
where
    T: Send + 'static,
    F: AsyncFn(Client) -> ClusterAnswer<T>,
{
    let mut answers: Vec<Option<ClusterAnswer<T>>> = clusters.iter().map(|_| None).collect();
    ask_each(clusters, timeout, question, |news| {
        if let AskNews::Answer(index, answer) = news {
            answers[index] = Some(answer);
        }
    })?;
    Ok(answers.into_iter().flatten().collect())
}

/// The news from clusters that were asked.
pub(crate) enum AskNews<T> {
    /// The cluster at this index has answered.
    Answer(usize, ClusterAnswer<T>),
    /// Further answers are worth no waiting: the user is to see those that are there.
    Patience,
}

/// Asks as [`ask`] does, and tells of each answer when it comes.
pub(crate) fn ask_each<T, F>(
    clusters: &[ClusterContext],
    timeout: Duration,
    question: F,
    mut tell: impl FnMut(AskNews<T>),
) -> anyhow::Result<()>
where
    T: Send + 'static,
    F: AsyncFn(Client) -> ClusterAnswer<T>,
{
    let runtime = runtime()?;
    runtime.block_on(async {
        let (question, turns) = (&question, &Semaphore::new(TURNS));
        let asked = clusters.iter().enumerate().map(|(index, cluster)| async move {
            let answer = async {
                let unusable = |error: anyhow::Error| ClusterError::Unusable(error_chain(error.as_ref()));
                let client = cluster.client(timeout, timeout).await.map_err(unusable)?;
                question(client).await
            };
            let answer = in_turn(turns, answer);
            let answer =
                tokio::time::timeout(timeout, answer).await.unwrap_or_else(|_| Err(ClusterError::late(timeout)));
            (index, answer.map_err(|error| cluster.with_address(error)))
        });
        let mut asked: FuturesUnordered<_> = asked.collect();
        let mut patience = std::pin::pin!(tokio::time::sleep_until((Instant::now() + PATIENCE).into()).fuse());
        loop {
            tokio::select! {
                () = &mut patience => tell(AskNews::Patience),
                Some((index, answer)) = asked.next() => tell(AskNews::Answer(index, answer)),
                else => return,
            }
            if asked.is_empty() {
                return;
            }
        }
    });
    // Does not wait for a login program or a DNS lookup that hangs.
    runtime.shutdown_background();
    Ok(())
}

/// Does work that has to wait for one of the turns, and gives that back after a while.
async fn in_turn<T>(turns: &Semaphore, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let turn = turns.acquire().await;
    tokio::select! {
        answer = &mut work => return answer,
        () = tokio::time::sleep(TURN) => drop(turn),
    }
    work.await
}

/// All objects of a kind that have these labels; `None` if the cluster does not have the kind. While the cluster is busy it is asked
/// again: the time limit is the caller's.
pub(crate) async fn objects(
    client: &Client,
    namespace: Option<&str>,
    kind: GroupVersionKind,
    labels: &str,
) -> kube::Result<Option<Vec<DynamicObject>>> {
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let params = ListParams::default().labels(labels);
    match settled(|| api.list(&params)).await {
        Ok(list) => Ok(Some(list.items)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// The answer to a request, which is repeated while the cluster is busy: an API server says so while it sets up a kind, or its CRD is
/// being deleted. One that is busy for as long as an answer may take has refused it.
pub(crate) async fn settled<T, F: Future<Output = kube::Result<T>>>(request: impl Fn() -> F) -> kube::Result<T> {
    let until = tokio::time::Instant::now() + ANSWER_TIMEOUT;
    loop {
        match request().await {
            Err(kube::Error::Api(status)) if status.code == 429 && tokio::time::Instant::now() < until => {
                tokio::time::sleep(BUSY).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;
    use crate::tests::TestDirectory;

    fn kubeconfig(name: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\nclusters: [{{name: {name}, cluster: {{server: 'https://127.0.0.1:1'}}}}]\n\
             contexts: [{{name: {name}, context: {{cluster: {name}, user: {name}}}}}]\nusers: [{{name: {name}, user: {{}}}}]\n"
        )
    }

    #[test]
    fn files_of_kubeconfig_that_are_not_there_are_named() {
        let environment = Environment { kubeconfig: Some("/none/a:/none/b".into()), ..Environment::default() };
        let error = cluster(None, &environment, None).map(|_| ()).expect_err("no cluster").to_string();
        assert!(error.contains("KUBECONFIG is /none/a:/none/b"), "{error}");
    }

    #[test]
    fn an_error_says_where_it_was_and_what_to_do() {
        let directory = TestDirectory::with(&[("a", &kubeconfig("a"))]);
        let file = directory.path().join("a");
        let cluster = cluster(Some(&file), &Environment::default(), None).expect("configured");
        let cause = "ServiceError: client error (Connect): tcp connect error: Connection refused (os error 111)";
        let expected = "the cluster a does not answer at https://127.0.0.1:1: Connection refused (os error 111)\n\n\
                        hint: no program listens there: is the cluster up, and the tunnel to it? \
                        Another cluster: --context CONTEXT, --kubeconfig FILE";
        let of_agent = || ApiError::Unreachable(cause.to_owned());
        assert_eq!(cluster.failed(of_agent()).to_string(), expected);
        assert_eq!(cluster.explained(of_agent().into()).to_string(), expected);
        for (cause, hint) in [
            (
                "dns error: failed to lookup address information: Name or service not known",
                "the name is not known here",
            ),
            ("invalid peer certificate: UnknownIssuer", "the certificate is of no authority"),
            ("no answer within 15s", "is a VPN off"),
        ] {
            let text = cluster.failed(ClusterError::Unreachable(cause.to_owned())).to_string();
            assert!(text.contains(hint), "{text}");
        }
        let refused = || ClusterError::Refused("Unauthorized".to_owned());
        let text = "failed to ask the cluster a: Unauthorized\n\n\
                    hint: log in again: the cluster does not accept the credentials of the kubeconfig";
        assert_eq!(cluster.failed(refused()).to_string(), text);
        assert_eq!(cluster.explained(anyhow!("other")).to_string(), "other");
    }

    /// The error of a client with this login program, and arguments of it.
    fn login(program: &str, args: &str) -> ClusterError {
        let exec = format!(
            "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: {program}, args: {args}, interactiveMode: Never}}}}"
        );
        let directory = TestDirectory::with(&[("a", &kubeconfig("a").replace("user: {}", &format!("user: {exec}")))]);
        let cluster = cluster(Some(&directory.path().join("a")), &Environment::default(), None).expect("configured");
        let answers = ask(&[cluster], Duration::from_secs(15), async |_| Ok(())).expect("asked");
        let Some(Err(error)) = answers.into_iter().next() else { panic!("there is no client") };
        error
    }

    #[test]
    fn the_output_of_a_login_program_is_not_shown() {
        for output in ["token: [hunter2", "{\\\"status\\\": hunter2}", "{}"] {
            let error = login("sh", &format!("[-c, \"echo '{output}'\"]")).to_string();
            assert_eq!(error, "the output of the login program \"sh\" of the kubeconfig is no ExecCredential");
        }
    }

    #[test]
    fn a_login_program_that_fails_is_told_by_its_name() {
        let error = login("sh", "[-c, 'exit 3']");
        assert_eq!(error.to_string(), "the login program \"sh\" of the kubeconfig ended with exit status: 3");
        assert!(error.hint().is_some_and(|hint| hint.starts_with("run it by itself")));
        assert!(login("sh", "[-c, 'echo why >&2; exit 3']").to_string().ends_with("exit status: 3: why"));
    }

    #[test]
    fn a_login_program_that_is_missing_is_told_by_its_name() {
        let error = login("no-such-login", "[]");
        assert!(
            error.to_string().contains("the login program \"no-such-login\" of the kubeconfig does not start"),
            "{error}"
        );
        assert_eq!(error.hint().as_deref(), Some("install it, or add its directory to PATH"));
    }

    #[test]
    fn a_cluster_that_stays_busy_has_refused() {
        let paused = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let busy = || async { Err::<(), _>(kube::Error::Api(Status::failure("busy", "").with_code(429).boxed())) };
        let answer = paused
            .expect("a runtime")
            .block_on(async { tokio::time::timeout(ANSWER_TIMEOUT * 2, settled(busy)).await.expect("an end") });
        assert!(matches!(answer, Err(kube::Error::Api(status)) if status.code == 429));
    }

    #[test]
    fn work_that_hangs_lets_the_next_begin() {
        let runtime = runtime().expect("a runtime");
        runtime.block_on(async {
            let turns = Semaphore::new(1);
            let mut hangs = std::pin::pin!(in_turn(&turns, std::future::pending::<()>()));
            let begun = std::cell::Cell::new(false);
            let next = in_turn(&turns, async { begun.set(true) });
            assert!(futures::poll!(&mut hangs).is_pending() && !begun.get());
            tokio::select! {
                () = hangs => panic!("it has no end"),
                () = next => {}
            }
        });
    }

    #[test]
    fn files_of_the_list_are_merged_and_unknown_contexts_named() {
        let directory = TestDirectory::with(&[("b", &kubeconfig("b")), ("a", &kubeconfig("a"))]);
        let files = ["b", "missing", "a"].map(|name| directory.path().join(name));
        let environment = Environment {
            kubeconfig: Some(std::env::join_paths(files).expect("no separators")),
            ..Environment::default()
        };
        let found = clusters(None, &environment, None).expect("readable").expect("configured");
        let names: Vec<_> = found.iter().map(|cluster| (cluster.context.as_str(), cluster.current)).collect();
        assert_eq!(names, [("a", false), ("b", true)]);
        let error = clusters(None, &environment, Some(&["x".to_owned()])).expect_err("unknown").to_string();
        assert_eq!(error, "the kubeconfig has no context x; it has a, b");
    }
}
