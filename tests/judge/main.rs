//! Drift as a real API server judges it. Random objects of every kind, in every version that can be served, are applied as the
//! agent does it; other clients change them in every way; and the agent's verdict about each must be that of a dry run of the same
//! apply: nothing, the ownership of fields is lost, or a declared value differs.
//!
//! A seed stands for a round. `NOMOS_JUDGE_SEEDS=7` or `NOMOS_JUDGE_SEEDS=7,1000..3000` plays those alone, and
//! `NOMOS_JUDGE_KIND=Deployment` those of one kind. All is ignored but in CI or with `-- --include-ignored`.
//!
//! The same objects are exported by `nomos export`, and an agent makes them again: `NOMOS_EXPORT_SEEDS=7..20` chooses others.
#![expect(clippy::disallowed_methods, reason = "this test starts and watches the world")]

mod change;
mod content;
mod custom;
mod export;
mod kinds;
mod round;
mod schema;
mod values;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use agent::io::kubernetes::client::Cluster;
use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tests::controlplane::ControlPlane;
use tests::conversion::Converter;
use tests::wait::await_condition;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

use kinds::Kind;
use round::Played;
use schema::Schemas;

pub(crate) const JSON: &str = "application/json";

/// The rounds of a usual run, and those that showed a fault of repairs once.
const SEEDS: &str = "0..400,820024,820111,820454,820588,821208,821384,822337,824850,830543,833336,838842,839929,900503,\
                     1028135,1033175,1200000..1200040,1203905,1205672";
/// Rounds at a time.
const AT_ONCE: usize = 12;
/// Rounds that may get no answer, and after how many rounds one more: the API server closes a connection now and then.
const FAILURES: (u64, u64) = (10, 500);
/// Rounds for which kinds of our own have the same schemas.
const SAME_SCHEMAS: u64 = 1000;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let in_ci = std::env::var_os("CI").is_some();
    let trials = [
        Trial::ignorable_test("drift_is_what_a_dry_run_changes", || tell(judge)),
        Trial::ignorable_test("an_export_of_random_objects_is_the_cluster_again", || {
            tell(export::is_the_cluster_again)
        }),
    ];
    libtest_mimic::run(&arguments, trials.map(|trial| trial.with_ignored_flag(!in_ci)).into()).exit_code()
}

fn tell(test: fn() -> Result<()>) -> Result<Completion, Failed> {
    if let Some(excuse) = ControlPlane::excuse() {
        return Ok(Completion::ignored_with(excuse));
    }
    test().map(|()| Completion::Completed).map_err(|error| format!("{error:#}").into())
}

/// The API server and the kinds that it serves.
struct Court {
    cluster: Cluster,
    schemas: Schemas,
    kinds: Vec<Kind>,
    converter: Converter,
    /// Kinds of our own by their seeds.
    custom: Mutex<BTreeMap<u64, Arc<OnceCell<Kind>>>>,
}

/// The sum over rounds.
#[derive(Default)]
struct Sum {
    judged: usize,
    verdicts: usize,
    /// By kind: rounds, and those that were judged.
    kinds: BTreeMap<String, (usize, usize)>,
    /// By kind and reason: rounds that could not be judged.
    unjudged: BTreeMap<(String, &'static str), usize>,
    differences: Vec<String>,
}

fn judge() -> Result<()> {
    let seeds = seeds("NOMOS_JUDGE_SEEDS", SEEDS)?;
    let plane = ControlPlane::start_with_all_versions()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let court = Court::complete(&runtime, plane.kubeconfig())?;
    let sum = runtime.block_on(court.judge(seeds.clone()))?;
    let Sum { judged, verdicts, kinds, differences, unjudged } = sum;
    for ((kind, reason), rounds) in &unjudged {
        say(&format!("not judged: {rounds} of {kind}: {reason}"));
    }
    let is_never = |(_, (rounds, judged)): &(&String, &(usize, usize))| *rounds > 3 && *judged == 0;
    let never: Vec<&String> = kinds.iter().filter(is_never).map(|(kind, _)| kind).collect();
    let all = seeds.len();
    say(&format!("{judged} of {all} objects of {} kinds judged, {verdicts} verdicts", kinds.len()));
    ensure!(differences.is_empty(), "{} verdicts differ:\n{}", differences.len(), differences.join("\n"));
    ensure!(never.is_empty(), "never accepted: {never:?}");
    Ok(())
}

/// Writes a line at once, so that a run of hours can be followed.
fn say(line: &str) {
    // A closed pipe is no fault of the judge.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The seeds in this variable, or the usual ones.
fn seeds(variable: &str, usual: &str) -> Result<Vec<u64>> {
    let text = std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("{text:?} is no seed"));
    let mut seeds = Vec::new();
    for part in text.split(',') {
        let (first, end) = part.split_once("..").map_or((part, None), |(first, end)| (first, Some(end)));
        let first = number(first)?;
        seeds.extend(first..end.map_or(Ok(first + 1), number)?);
    }
    Ok(seeds)
}

impl Court {
    /// Waits until all kinds are known.
    fn complete(runtime: &Runtime, kubeconfig: &Path) -> Result<Self> {
        await_condition("all kinds are known", || runtime.block_on(Self::open(kubeconfig)))
    }

    async fn open(kubeconfig: &Path) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = tests::cluster::client(kubeconfig).await?;
        let cluster = Cluster::connect(client).await?;
        let mut schemas = Schemas::default();
        let kinds = kinds::served(&cluster, &mut schemas).await?;
        kinds::make_namespaces(&cluster, &kinds).await?;
        Ok(Self { cluster, schemas, kinds, converter: Converter::start()?, custom: Mutex::default() })
    }

    async fn judge(&self, seeds: Vec<u64>) -> Result<Sum> {
        let only = std::env::var("NOMOS_JUDGE_KIND").ok();
        let (start, mut sum) = (Instant::now(), Sum::default());
        let mut rounds = futures::stream::iter(seeds)
            .map(|seed| {
                let only = only.as_deref();
                async move { (seed, self.round(seed, only).await) }
            })
            .buffer_unordered(AT_ONCE);
        let (mut played, mut failures) = (0_u64, 0_u64);
        while let Some((seed, round)) = rounds.next().await {
            let (kind, round) = match round {
                Ok(Some((kind, round))) => (kind, round),
                Ok(None) => continue,
                Err(error) => {
                    failures += 1;
                    let error = error.context(format!("seed {seed}"));
                    ensure!(failures < FAILURES.0 + played / FAILURES.1, "{error:#}");
                    say(&format!("{error:#}"));
                    continue;
                }
            };
            played += 1;
            let of_kind = sum.kinds.entry(kind.clone()).or_default();
            of_kind.0 += 1;
            match round {
                Played::Unjudged(reason) => *sum.unjudged.entry((kind, reason)).or_default() += 1,
                Played::Judged(round) => {
                    of_kind.1 += 1;
                    sum.judged += 1;
                    sum.verdicts += round.verdicts;
                    for told in round.differences {
                        let told = format!("seed {seed}, {kind}: {told}");
                        say(&told);
                        sum.differences.push(told);
                    }
                }
            }
            if played.is_multiple_of(500) {
                let minutes = start.elapsed().as_secs_f64() / 60.0;
                say(&format!(
                    "{played} rounds, {:.0} a minute, {} differences",
                    played as f64 / minutes,
                    sum.differences.len()
                ));
            }
        }
        Ok(sum)
    }

    async fn round(&self, seed: u64, only: Option<&str>) -> Result<Option<(String, Played)>> {
        let is_asked = |kind: &Kind| only.is_none_or(|only| kind.kind == only);
        // A round in four is about a kind of our own.
        if seed.is_multiple_of(4) {
            let number = seed / SAME_SCHEMAS * custom::KINDS + seed / 4 % custom::KINDS;
            if only.is_some_and(|only| only != "Trial") {
                return Ok(None);
            }
            let cell = Arc::clone(self.custom.lock().await.entry(number).or_default());
            let kind = cell.get_or_try_init(|| async {
                let kind = custom::define(&self.cluster, &self.converter, number).await?;
                kinds::make_namespaces(&self.cluster, std::slice::from_ref(&kind)).await?;
                self.cluster.discover().await?;
                anyhow::Ok(kind)
            });
            let kind = kind.await?;
            let played = round::play(&self.cluster, &self.schemas, kind, seed).await?;
            return Ok(Some((format!("{}.{}", kind.kind, kind.group), played)));
        }
        let kind = &self.kinds[usize::try_from(seed / 4 * 3 + seed % 4 - 1)? % self.kinds.len()];
        if !is_asked(kind) {
            return Ok(None);
        }
        let played = round::play(&self.cluster, &self.schemas, kind, seed).await?;
        Ok(Some((format!("{}.{}", kind.kind, kind.group), played)))
    }
}
