//! The first minutes: a control plane, the agent and `examples/go-hello`, until Ctrl-D or Ctrl-C.
//!
//! `cargo quickstart -- --once` ends when the cluster is in sync, and so does a run without a terminal;
//! `--build-only` (`cargo control-plane`) ends when the control plane is built.
#![expect(clippy::disallowed_methods, reason = "a program at the edge")]

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tests::cluster::Cluster;
use tests::controlplane::ControlPlane;
use tests::repository::Repository;
use tests::wait::await_condition;
use tracing_subscriber::EnvFilter;

const USAGE: &str = "usage: cargo quickstart [--once | --build-only]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => quickstart(stdin().is_terminal()),
        ["--once"] => quickstart(false),
        ["--build-only"] => build(),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // A reader that has gone away is no failure.
    let _ = writeln!(stdout(), "{text}");
}

fn build() -> Result<()> {
    let path = ControlPlane::build()?;
    say(&format!("The control plane is built: {}", path.canonicalize()?.display()));
    Ok(())
}

fn quickstart(stay: bool) -> Result<()> {
    say("Building the control plane (only the first time takes minutes) and starting it ...");
    let program = ControlPlane::build()?.canonicalize()?;
    let cluster = Cluster::start()?;
    cluster.install()?;
    let repository = Repository::go_hello("go-hello")?;
    let commit = repository.commit()?;
    cluster.create_root_sync("root-sync", &repository, "hierarchy")?;

    let home = tempfile::Builder::new().prefix("nomos-quickstart-").tempdir()?;
    let (sender, ended) = mpsc::channel();
    let on_end = sender.clone();
    let options = options(cluster.kubeconfig(), &home);
    log(&home)?;
    std::thread::spawn(move || {
        // Nobody listens any more when the end was asked for.
        let _ = on_end.send(run(options));
    });
    say(&format!("The agent follows {} at {commit}.\n\n$ nomos status", repository.url()));
    let status = await_condition("the cluster is in sync", || {
        if let Ok(result) = ended.try_recv() {
            bail!("the agent ended: {result:?}");
        }
        let (code, text) = cluster.nomos(&["status"]);
        ensure!(code == 0, "{text}");
        Ok(text)
    })?;
    say(&status);
    if stay {
        say(&invitation(&program, &cluster, &repository, &home));
        std::thread::spawn(move || {
            let _ = stdin().read_to_end(&mut Vec::new());
            let _ = sender.send(Ok(()));
        });
        // The agent ends at Ctrl-C.
        ended.recv().context("the agent broke down")??;
        say("Everything is removed.");
    }
    Ok(())
}

fn options(kubeconfig: &Path, home: &TempDir) -> agent::run::Options {
    agent::run::Options {
        source: None,
        cluster_name: String::new(),
        kubeconfig: Some(kubeconfig.to_owned()),
        context: None,
        cache: home.path().join("cache"),
        listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        audit_period: Duration::from_secs(3600),
        once: false,
    }
}

fn run(options: agent::run::Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(agent::run::run(options));
    runtime.shutdown_background();
    result.map(|_| ())
}

fn log(home: &TempDir) -> Result<()> {
    let file = Mutex::new(File::create(home.path().join("agent.log"))?);
    let filter = EnvFilter::new("info,kube_client=off");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_target(false).with_writer(file).init();
    Ok(())
}

fn invitation(program: &Path, cluster: &Cluster, repository: &Repository, home: &TempDir) -> String {
    format!(
        "Try, in another terminal:

  export KUBECONFIG={}
  alias kubectl='{} kubectl'
  kubectl -n go-hello scale deployment go-hello --replicas=5
  kubectl -n go-hello get deployment go-hello          # two again
  kubectl delete namespace go-hello                    # comes back once it has terminated
  kubectl get events -A --field-selector reportingComponent=nomos-agent
  cargo run -q -p nomos-cli -- status

The repository is {}: edit, commit, look.
The agent's log is {}/agent.log.
Ctrl-D or Ctrl-C ends and removes everything.",
        cluster.kubeconfig().display(),
        program.display(),
        repository.url(),
        home.path().display(),
    )
}
