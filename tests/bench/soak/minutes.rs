//! The figures of a soak, minute by minute.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Happening;
use super::world::{Scene, Seconds};
use crate::row;

/// Time between two looks at the statuses of all syncs.
const STATUSES: Duration = Duration::from_secs(1);

/// Collects figures and prints them each minute.
pub(super) struct Minutes {
    started: Instant,
    told: u32,
    statuses_at: Instant,
    /// The end of the requests that are counted.
    requests: u64,
    counts: BTreeMap<String, usize>,
    happened: BTreeMap<&'static str, usize>,
    restored: Seconds,
    synced: Seconds,
}

/// The figures of a time at rest.
pub(super) struct Rest {
    /// Of the agent, resident, in MiB.
    pub(super) memory: f64,
    /// Of the agent, without watches, and without the writes of a status that come after the last object.
    pub(super) requests: usize,
    pub(super) problems: Vec<String>,
}

impl Minutes {
    pub(super) fn new(scene: &Scene) -> Result<Self> {
        let now = Instant::now();
        Ok(Self {
            started: now,
            told: 0,
            statuses_at: now,
            requests: scene.cluster.now()?,
            counts: BTreeMap::new(),
            happened: BTreeMap::new(),
            restored: Seconds::new(),
            synced: Seconds::new(),
        })
    }

    pub(super) fn happened(&mut self, what: Happening) {
        let name = match what {
            Happening::Commit => "commits",
            Happening::Drift => "drifts",
            Happening::KillAgent => "agent killed",
            Happening::RestartApiServer => "API server restarted",
            Happening::RestartEtcd => "etcd restarted",
            Happening::ResetGit => "git away",
        };
        *self.happened.entry(name).or_default() += 1;
    }

    /// Looks at the cluster, and prints a line if a minute is over.
    pub(super) fn look(&mut self, scene: &mut Scene) -> Result<()> {
        self.restored.extend(scene.restored());
        if self.statuses_at <= Instant::now() {
            self.statuses_at = Instant::now() + STATUSES;
            self.synced.extend(scene.synced()?);
        }
        if self.started.elapsed() >= Duration::from_secs(60) * (self.told + 1) {
            self.told = (self.started.elapsed().as_secs() / 60) as u32;
            self.count_requests(scene)?;
            self.tell(scene)?;
        }
        Ok(())
    }

    fn tell(&mut self, scene: &mut Scene) -> Result<()> {
        let (memory, _) = scene.agent()?.memory()?;
        let database = scene.cluster.control_plane()?.database_bytes()? >> 20;
        let figures = [
            format!("{memory:.1} MiB, etcd {database} MiB"),
            format!("lag {}", distribution(&mut self.synced)),
            format!("restored {}", distribution(&mut self.restored)),
            counts(&std::mem::take(&mut self.counts)),
            counts(&std::mem::take(&mut self.happened)),
        ];
        row(&format!("minute {}", self.told), &figures.join(" | "));
        Ok(())
    }

    /// Counts the requests of the agent since the last count.
    pub(super) fn count_requests(&mut self, scene: &Scene) -> Result<usize> {
        let (requests, end) = scene.cluster.requests(self.requests)?;
        self.requests = end;
        let mut all = 0;
        for request in requests.iter().filter(|request| request.user_agent.starts_with("nomos-agent/")) {
            *self.counts.entry(request.verb.clone()).or_default() += 1;
            all += usize::from(request.verb != "watch");
        }
        Ok(all)
    }

    /// The figures since the last count.
    pub(super) fn rested(&mut self, scene: &mut Scene, problems: Vec<String>) -> Result<Rest> {
        let requests = self.count_requests(scene)?;
        let (memory, anonymous) = scene.agent()?.memory()?;
        row("at rest", &format!("{memory:.1} MiB ({anonymous:.1}), {requests} requests, {} problems", problems.len()));
        Ok(Rest { memory, requests, problems })
    }
}

fn counts<K: AsRef<str>>(counts: &BTreeMap<K, usize>) -> String {
    counts.iter().map(|(what, count)| format!("{count} {}", what.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The distribution of these times, which are taken.
fn distribution(times: &mut Seconds) -> String {
    times.sort_by(f64::total_cmp);
    let text = match times.last() {
        Some(most) => format!("{:.1}–{most:.1} s", times[times.len() / 2]),
        None => "-".to_owned(),
    };
    times.clear();
    text
}
