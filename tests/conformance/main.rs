//! Compares the sandbox with the real control plane: both get the same random requests and must give the same answers.
//!
//! A seed stands for a log of a hundred steps. `NOMOS_CONFORMANCE_SEEDS=7` or `NOMOS_CONFORMANCE_SEEDS=7..20` performs those alone.
//! The first log that differs is shrunk, which takes a minute; with `NOMOS_CONFORMANCE_WHOLE=1` it is not.
//! It takes minutes, so all is ignored but in CI or with `-- --include-ignored`. New seeds are tried with that alone: in CI a
//! change does not fail for a corner that it has nothing to do with.
#![expect(clippy::disallowed_methods, reason = "this test starts and watches the world")]

mod documents;
mod edit;
mod family;
mod generate;
mod kinds;
mod lives;
mod log;
mod normal;
mod run;
mod shape;
mod shrink;
mod side;
mod subresources;
mod watching;

use std::fmt::Write as _;
use std::ops::Range;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use sandbox::Sandbox;
use serde_json::json;
use tests::controlplane::ControlPlane;

use crate::log::{Request, Step};
use crate::run::{Difference, Pair, perform};
use crate::side::{PATIENCE, Side, client};

/// Steps of a log.
const LENGTH: usize = 100;
/// Logs at a time.
const AT_ONCE: usize = 4;
/// Controllers without which something that clients ask for would not happen. Others only write of their own accord.
const CONTROLLERS: [&str; 3] = ["namespace-controller", "garbage-collector-controller", "serviceaccount-controller"];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let in_ci = std::env::var_os("CI").is_some();
    let trials = [
        Trial::ignorable_test("one_log_has_one_outcome", || tell(one_log_has_one_outcome)),
        Trial::ignorable_test("the_documents_agree", || tell(documents_agree)),
        Trial::ignorable_test("the_sandbox_answers_as_the_control_plane", || tell(sandbox_answers)),
    ];
    let mut trials: Vec<Trial> = trials.into_iter().map(|trial| trial.with_ignored_flag(!in_ci)).collect();
    let afresh =
        Trial::ignorable_test("the_sandbox_answers_new_seeds_as_the_control_plane", || tell(sandbox_answers_afresh));
    trials.push(afresh.with_ignored_flag(true));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn tell(test: fn() -> Result<()>) -> Result<Completion, Failed> {
    if let Some(excuse) = ControlPlane::excuse() {
        return Ok(Completion::ignored_with(excuse));
    }
    test().map(|()| Completion::Completed).map_err(|error| format!("{error:#}").into())
}

/// The seeds in the environment variable, or `otherwise` if it is not set.
fn seeds(otherwise: Range<u64>) -> Result<Range<u64>> {
    let Ok(text) = std::env::var("NOMOS_CONFORMANCE_SEEDS") else { return Ok(otherwise) };
    let number =
        |text: &str| text.parse::<u64>().with_context(|| format!("NOMOS_CONFORMANCE_SEEDS: {text:?} is no number"));
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => Ok(number(&text)?..number(&text)? + 1),
    }
}

/// Compares two runs on the control plane: only random parts of the answers differ, and those are normalised.
fn one_log_has_one_outcome() -> Result<()> {
    let plane = control_plane()?;
    runtime()?.block_on(async {
        let client = client(plane.kubeconfig()).await?;
        await_kinds(&client).await?;
        agree(&Pair { clients: [client.clone(), client], same: true, patience: PATIENCE }, seeds(0..10)?).await
    })
}

/// Compares the control plane and the sandbox with the usual seeds.
fn sandbox_answers() -> Result<()> {
    with_both(|clients| async move { agree(&Pair { clients, same: false, patience: PATIENCE }, seeds(0..100)?).await })
}

/// Compares the control plane and the sandbox with new random seeds, and prints them so that they can be tried again.
#[expect(clippy::print_stderr, reason = "the seeds are not known otherwise")]
fn sandbox_answers_afresh() -> Result<()> {
    let first = fastrand::u64(1 << 32..1 << 48);
    let seeds = first..first + 100;
    eprintln!("NOMOS_CONFORMANCE_SEEDS={}..{}", seeds.start, seeds.end);
    with_both(|clients| async move { agree(&Pair { clients, same: false, patience: PATIENCE }, seeds).await })
}

/// Compares the documents that the control plane and the sandbox publish about custom resources.
fn documents_agree() -> Result<()> {
    with_both(|clients| async move { documents::agree(&clients).await })
}

/// Calls `compare` with clients of the control plane and of the sandbox, when both serve the kinds that all logs share.
fn with_both<F: Future<Output = Result<()>>>(compare: impl FnOnce([kube::Client; 2]) -> F) -> Result<()> {
    let plane = control_plane()?;
    let sandbox = Sandbox::start_without_workloads()?;
    let dir = tempfile::tempdir()?;
    let kubeconfig = dir.path().join("kubeconfig");
    sandbox.kubeconfig(&kubeconfig)?;
    runtime()?.block_on(async {
        let clients = [client(plane.kubeconfig()).await?, client(&kubeconfig).await?];
        define_kinds(&clients[1]).await?;
        for client in &clients {
            await_kinds(client).await?;
        }
        compare(clients).await
    })
}

/// Makes the kinds that all logs share.
async fn define_kinds(client: &kube::Client) -> Result<()> {
    let mut side = Side::new(client.clone(), "all".into());
    for definition in kinds::definitions() {
        let collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let answer = side.ask(&Request::new("POST", collection).json(definition)).await?;
        ensure!(answer.status == 201, "{}", answer.body);
    }
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// A control plane with the kinds that all logs share.
fn control_plane() -> Result<ControlPlane> {
    let mut file = tempfile::NamedTempFile::new()?;
    serde_json::to_writer(&mut file, &json!({"apiVersion": "v1", "kind": "List", "items": kinds::definitions()}))?;
    ControlPlane::start_with_controllers(&CONTROLLERS, file.path())
}

/// Waits until all kinds can be listed and watched.
async fn await_kinds(client: &kube::Client) -> Result<()> {
    let mut side = Side::new(client.clone(), "all".into());
    for kind in kinds::all() {
        let list = Request::new("GET", kind.collection()).with("resourceVersion=0");
        side.probe(&list, 200, PATIENCE).await?;
    }
    Ok(())
}

/// Performs the logs of these seeds.
async fn agree(pair: &Pair, seeds: Range<u64>) -> Result<()> {
    let performed = futures::stream::iter(seeds.clone()).map(|seed| async move {
        let steps = generate::log(seed, LENGTH);
        let found = perform(pair, &steps).await.with_context(|| format!("seed {seed}"))?;
        anyhow::Ok((seed, steps, found))
    });
    let mut performed = performed.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    performed.sort_by_key(|(seed, ..)| *seed);
    let asked = performed.iter().map(|(_, steps, _)| steps.len()).sum::<usize>();
    let mut differing = performed.into_iter().filter(|(_, _, found)| !found.is_empty()).collect::<Vec<_>>();
    if differing.is_empty() {
        ensure!(asked > 0, "no step was performed");
        return Ok(());
    }
    let mut report = format!("{} of {} logs differ\n", differing.len(), seeds.end - seeds.start);
    let each = differing.iter().flat_map(|(seed, steps, found)| found.iter().map(move |found| (seed, steps, found)));
    for (seed, steps, found) in each {
        let step = steps[found.step].to_string().chars().take(1_000).collect::<String>();
        writeln!(report, "\nseed {seed}, step {}: {step}", found.step)?;
        for line in found.what.iter().take(6) {
            writeln!(report, "  {}", line.chars().take(400).collect::<String>())?;
        }
    }
    if std::env::var_os("NOMOS_CONFORMANCE_WHOLE").is_some() {
        anyhow::bail!(report);
    }
    let (seed, steps, mut found) = differing.remove(0);
    let (steps, found) = shrink::shrink(pair, steps, found.remove(0)).await?;
    report += &tell_of(seed, &steps, &found)?;
    anyhow::bail!(report)
}

fn tell_of(seed: u64, steps: &[Step], found: &Difference) -> Result<String> {
    let mut report =
        format!("\nThe shortest log found from seed {seed} (repeat it with NOMOS_CONFORMANCE_SEEDS={seed}):\n\n");
    for (at, step) in steps.iter().enumerate() {
        writeln!(report, "{at:3}  {step}")?;
    }
    writeln!(report, "\nStep {} differs:", found.step)?;
    for line in &found.what {
        writeln!(report, "  {line}")?;
    }
    writeln!(report, "\n{:#}\n{:#}", found.answers[0], found.answers[1])?;
    Ok(report)
}
