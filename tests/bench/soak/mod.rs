//! Hours of commits, drifts, kills of the agent, restarts of the API server, of etcd and of the git server, on the real control
//! plane. Prints a line each minute, and in the end a verdict: the cluster was exactly as declared whenever nothing was going on,
//! nothing of others was lost, and neither memory nor requests at rest grew.

mod declared;
mod minutes;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use self::minutes::{Minutes, Rest};
use self::world::{Scene, pause};
use crate::row;

/// Time between two looks at drifts and statuses.
const TICK: Duration = Duration::from_millis(100);
/// The longest time that a first sync may take, and that everything may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(1200);
/// The time at rest in which requests are counted.
const REST: Duration = Duration::from_secs(30);
/// Cycles of work and rest in one run.
const CYCLES: u32 = 12;

/// Something that happens again and again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Happening {
    Commit,
    Drift,
    KillAgent,
    RestartApiServer,
    RestartEtcd,
    ResetGit,
}

/// Everything that happens, with its mean pause.
const HAPPENINGS: [(Happening, Duration); 6] = [
    (Happening::Commit, Duration::from_secs(10)),
    (Happening::Drift, Duration::from_secs(2)),
    (Happening::KillAgent, Duration::from_secs(200)),
    (Happening::RestartApiServer, Duration::from_secs(300)),
    (Happening::RestartEtcd, Duration::from_secs(300)),
    (Happening::ResetGit, Duration::from_secs(120)),
];

/// `syncs` RootSyncs of `objects` objects each, for so many minutes.
pub(super) fn all(minutes: usize, syncs: usize, objects: usize, seed: usize) -> Result<()> {
    row(&format!("== {minutes} minutes, {syncs} × {objects} objects, seed {seed}"), "");
    let mut scene = Scene::new(syncs, objects, seed as u64)?;
    let mut minutes_told = Minutes::new(&scene)?;
    let started = Instant::now();
    settle(&mut scene, &mut minutes_told)?;
    row("first sync, seconds", &format!("{:.0}", started.elapsed().as_secs_f64()));
    let whole = Duration::from_secs(60 * minutes as u64);
    let started = Instant::now();
    let mut schedule = Schedule::new(whole, &mut scene.random);
    let mut rests = Vec::new();
    while started.elapsed() < whole {
        // In the second half one agent lives until the end, so that it can be seen to grow.
        let kills = started.elapsed() < whole / 2;
        work(&mut scene, &mut minutes_told, &mut schedule, whole / CYCLES, kills)?;
        settle(&mut scene, &mut minutes_told)?;
        rests.push(rest(&mut scene, &mut minutes_told)?);
    }
    let failures = verdict(&rests, &std::fs::read_to_string(scene.log())?);
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    row("verdict: as declared, nothing of others lost, nothing grows", "");
    Ok(())
}

/// When everything happens next, on a clock that stands still at rest.
struct Schedule {
    clock: Duration,
    next: Vec<(Happening, Duration, Duration)>,
    git_works_at: Option<Duration>,
}

impl Schedule {
    /// In a short run everything happens a few times too.
    fn new(whole: Duration, random: &mut fastrand::Rng) -> Self {
        let next = HAPPENINGS.iter().map(|(happening, mean)| {
            let mean = (*mean).min(whole / 6);
            (*happening, mean, pause(random, mean))
        });
        Self { clock: Duration::ZERO, next: next.collect(), git_works_at: None }
    }

    /// Lets happen what is due.
    fn pass(&mut self, scene: &mut Scene, minutes: &mut Minutes, kills: bool) -> Result<()> {
        for (happening, mean, at) in &mut self.next {
            if *at > self.clock || (*happening == Happening::KillAgent && !kills) {
                continue;
            }
            *at = self.clock + pause(&mut scene.random, *mean);
            match happening {
                Happening::Commit => scene.commit()?,
                Happening::Drift => scene.drift(),
                Happening::KillAgent => scene.kill_agent()?,
                Happening::RestartApiServer => scene.cluster.control_plane()?.restart("kube-apiserver")?,
                Happening::RestartEtcd => scene.cluster.control_plane()?.restart("etcd")?,
                Happening::ResetGit => {
                    scene.reset_git(true);
                    self.git_works_at = Some(self.clock + pause(&mut scene.random, Duration::from_secs(15)));
                }
            }
            minutes.happened(*happening);
        }
        if self.git_works_at.is_some_and(|at| at <= self.clock) {
            scene.reset_git(false);
            self.git_works_at = None;
        }
        Ok(())
    }
}

/// Lets things happen for so long.
fn work(scene: &mut Scene, minutes: &mut Minutes, schedule: &mut Schedule, time: Duration, kills: bool) -> Result<()> {
    let (begun, clock) = (Instant::now(), schedule.clock);
    while begun.elapsed() < time {
        schedule.clock = clock + begun.elapsed();
        schedule.pass(scene, minutes, kills)?;
        minutes.look(scene)?;
        std::thread::sleep(TICK);
    }
    scene.reset_git(false);
    Ok(())
}

/// Waits until all commits are synced and all drifts are put back.
fn settle(scene: &mut Scene, minutes: &mut Minutes) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !scene.is_settled() {
        ensure!(Instant::now() < end, "not settled within {} s: {}", PATIENCE.as_secs(), scene.unsettled());
        minutes.look(scene)?;
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// Measures at rest.
fn rest(scene: &mut Scene, minutes: &mut Minutes) -> Result<Rest> {
    let problems = scene.problems()?;
    for problem in &problems {
        row("PROBLEM", problem);
    }
    minutes.count_requests(scene)?;
    let end = Instant::now() + REST;
    while Instant::now() < end {
        minutes.look(scene)?;
        std::thread::sleep(TICK);
    }
    minutes.rested(scene, problems)
}

/// A number of a rest.
type Figure = fn(&Rest) -> f64;

/// Everything that speaks against the agent.
fn verdict(rests: &[Rest], log: &str) -> Vec<String> {
    let mut failures: Vec<String> = rests.iter().flat_map(|rest| rest.problems.iter().cloned()).collect();
    failures.extend(log.lines().filter(|line| line.contains("panicked")).map(ToOwned::to_owned));
    let quarter = (rests.len() / 4).max(1);
    let mean = |rests: &[Rest], figure: Figure| rests.iter().map(figure).sum::<f64>() / rests.len() as f64;
    let (first, last) = (&rests[..quarter], &rests[rests.len() - quarter..]);
    let memory: Figure = |rest| rest.memory;
    let requests: Figure = |rest| rest.requests as f64;
    for (what, figure, slack) in [("memory at rest, MiB", memory, 5.0), ("requests at rest", requests, 10.0)] {
        let (before, after) = (mean(first, figure), mean(last, figure));
        row(&format!("{what}, first and last quarter"), &format!("{before:.1}, {after:.1}"));
        if after > before * 1.15 + slack {
            failures.push(format!("{what} grew from {before:.1} to {after:.1}"));
        }
    }
    failures
}
