//! The first minutes with nomos: a cluster in memory, and the agent, which follows a copy of `examples/go-hello` and shows what it
//! does. Ctrl-D or Ctrl-C ends it.
//!
//! With `--once`, or without a terminal, it goes through all steps by itself and fails if one of them does; with `--stay` it waits
//! for the end of its input instead, for programs that play the steps. With
//! `--control-plane` the cluster is a real control plane, which is built first; `--build-only` does just that.
#![expect(clippy::disallowed_methods, reason = "a program at the edge")]

mod live;
mod walk;

use std::io::{IsTerminal as _, Read as _, Write as _, stderr, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tests::cluster::{Cluster, Kind};
use tests::controlplane::ControlPlane;
use tests::kubectl;
use tests::repository::Repository;
use tests::wait::await_condition;
use tokio::runtime::Runtime;

const USAGE: &str = "usage: cargo quickstart [--once | --stay] [--control-plane | --build-only]";

/// The one sync, and the Namespace that its repository declares.
const NAME: &str = "go-hello";

fn main() -> ExitCode {
    let mut once = !(stdin().is_terminal() && stdout().is_terminal());
    let mut kind = Kind::Sandbox;
    let mut build_only = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--once" => once = true,
            "--stay" => once = false,
            "--control-plane" => kind = Kind::ControlPlane,
            "--build-only" => build_only = true,
            _ => return failed(&anyhow::anyhow!("unknown argument {argument}\n{USAGE}"), 2),
        }
    }
    let result = if build_only { build().map(|_| ()) } else { quickstart(kind, once) };
    result.map_or_else(|error| failed(&error, 1), |()| ExitCode::SUCCESS)
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    let _ = writeln!(stderr(), "error: {error:#}");
    ExitCode::from(code)
}

fn say(text: &str) {
    // A reader that has gone away is no failure.
    let _ = writeln!(stdout(), "{text}");
}

fn build() -> Result<()> {
    say("Building the control plane (the first time takes about five minutes) ...");
    let path = ControlPlane::build()?;
    say(&format!("It is built: {}", path.canonicalize()?.display()));
    Ok(())
}

fn quickstart(kind: Kind, once: bool) -> Result<()> {
    if kind == Kind::ControlPlane {
        build()?;
    }
    let scene = Scene::start(kind)?;
    say(&format!("A cluster ({kind}) and the agent are up. It follows {}.\n\n$ nomos status", scene.repository.url()));
    say(&scene.synced()?);
    if once {
        walk::through(&scene)?;
        say("All of it held.");
    } else {
        say(&invitation(&scene));
        scene.until_the_user_leaves()?;
    }
    drop(scene);
    say("Everything is removed.");
    Ok(())
}

/// Everything that there is. Dropping it removes it, the agent first.
struct Scene {
    agent: Option<Runtime>,
    ended: Receiver<Result<()>>,
    cluster: Cluster,
    repository: Repository,
    /// The directory of the cache and the log of the agent.
    home: TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // It must not complain about the loss of the others.
        if let Some(agent) = self.agent.take() {
            agent.shutdown_background();
        }
    }
}

impl Scene {
    fn start(kind: Kind) -> Result<Self> {
        let cluster = Cluster::start(kind)?;
        cluster.install()?;
        let repository = Repository::go_hello(NAME)?;
        repository.commit()?;
        cluster.create_root_sync(NAME, &repository, "hierarchy")?;
        let home = tempfile::Builder::new().prefix("nomos-quickstart-").tempdir()?;
        live::install(&home.path().join("agent.log"))?;
        let options = options(cluster.kubeconfig(), home.path());
        let (sender, ended) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.spawn(async move {
            // The receiver is gone if the user has ended the program.
            let _ = sender.send(agent::run::run(options).await.map(|_| ()));
        });
        Ok(Self { agent: Some(runtime), ended, cluster, repository, home })
    }

    /// Waits until the newest commit is applied; returns what `nomos status` says then.
    fn synced(&self) -> Result<String> {
        let commit = self.repository.head()?;
        self.status("the cluster is in sync", |code, text| code == 0 && text.contains(&commit))
    }

    /// Waits until `nomos status` says what is `wanted`.
    fn status(&self, what: &str, wanted: impl Fn(u8, &str) -> bool) -> Result<String> {
        await_condition(what, || {
            if let Ok(result) = self.ended.try_recv() {
                bail!("the agent ended: {result:?}");
            }
            let (code, text) = self.cluster.nomos(&["status"]);
            ensure!(wanted(code, &text), "{text}");
            Ok(text)
        })
    }

    /// Ctrl-D ends it here, Ctrl-C through the agent.
    fn until_the_user_leaves(&self) -> Result<()> {
        let (sender, left) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = stdin().read_to_end(&mut Vec::new());
            let _ = sender.send(());
        });
        loop {
            if let Ok(result) = self.ended.recv_timeout(Duration::from_millis(100)) {
                return result.context("the agent ended");
            }
            if left.try_recv().is_ok() {
                return Ok(());
            }
        }
    }
}

fn options(kubeconfig: &Path, home: &Path) -> agent::run::Options {
    agent::run::Options {
        age_key_secret: None,
        source: None,
        cluster_name: String::new(),
        kubeconfig: Some(kubeconfig.to_owned()),
        context: None,
        identity: "quickstart".to_owned(),
        lease_duration: Duration::from_secs(10),
        cache: home.join("cache"),
        cache_limit: agent::io::repositories::CACHE_LIMIT,
        local_repositories: agent::api::LocalRepositories::Allowed,
        tenants: agent::io::git::Reach::Everywhere,
        page_without_token: true,
        no_page: false,
        listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        webhooks: None,
        audit_period: Duration::from_secs(3600),
        once: false,
    }
}

fn invitation(scene: &Scene) -> String {
    let kubectl = kubectl::program().map_or_else(
        || "kubectl".to_owned(),
        |program| {
            let words = std::iter::once(program.get_program()).chain(program.get_args());
            words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        },
    );
    let kubeconfig = scene.cluster.kubeconfig().display();
    let repository = scene.repository.url();
    format!(
        "Try in another terminal, and look here:

  export KUBECONFIG={kubeconfig}
  {kubectl} delete namespace {NAME}
  {kubectl} -n {NAME} scale deployment go-hello --replicas=5
  cd {repository} && sed -i 's/replicas: 2/replicas: 3/' namespaces/{NAME}/deployment.yaml && git commit -qam 'three'

The agent's log is {}. Ctrl-C ends and removes everything.
",
        scene.home.path().join("agent.log").display()
    )
}
