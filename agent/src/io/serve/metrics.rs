//! The numbers of `/metrics`. Names of metrics and values of labels are a contract with dashboards.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::io::git::GitObserver;
use crate::io::kubernetes::watch::Watches;
use crate::model::metadata::SyncId;
use crate::model::shared::lock;

/// Syncs that have numbers of their own. With names of the longest form these are 2 MiB of text.
const SYNCS: usize = 1000;
/// Kinds whose watches are shown.
const KINDS: usize = 2000;

/// The sync that a number is about.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SyncLabels {
    /// RootSync or RepoSync.
    kind: String,
    namespace: String,
    name: String,
}

impl SyncLabels {
    fn of(sync: &SyncId) -> Self {
        Self { kind: sync.kind.to_string(), namespace: sync.namespace.clone(), name: sync.name.clone() }
    }
}

/// The commands that a number counts.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OperationLabels {
    /// The command.
    pub operation: OperationLabel,
    /// Its outcome.
    pub status: OutcomeLabel,
}

/// A command about an object.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[expect(missing_docs, reason = "the words say it")]
#[expect(non_camel_case_types, reason = "the words are label values")]
pub enum OperationLabel {
    apply,
    annotate,
    read,
    delete,
    unmanage,
}

/// The outcome of a command.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[expect(missing_docs, reason = "the words say it")]
#[expect(non_camel_case_types, reason = "the words are label values")]
pub enum OutcomeLabel {
    success,
    error,
}

/// The verb of requests.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct VerbLabels {
    /// As in `get`, `watch` or `patch`.
    pub verb: String,
}

/// The requests to git servers that a number is about.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GitLabels {
    /// As [`GitRequest::name`](crate::io::git::GitRequest::name) says.
    operation: &'static str,
    status: OutcomeLabel,
}

/// The requests to a receiver of notifications that a number counts.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReceiverLabels {
    /// Its name in the settings.
    pub receiver: String,
    /// The outcome.
    pub status: OutcomeLabel,
}

/// The kind that a number is about.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    /// As in `Deployment.apps`.
    kind: String,
}

/// The ages of the watches, as they are when they are asked for.
#[derive(Clone, Default)]
struct WatchAges(Arc<OnceLock<Arc<Watches>>>);

impl fmt::Debug for WatchAges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchAges")
    }
}

impl Collector for WatchAges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time since a watch was last seen to work: an event, or a bookmark every minute.";
        let unit = Unit::Seconds;
        let mut metric = encoder.encode_descriptor("watch_age", help, Some(&unit), MetricType::Gauge)?;
        for (kind, age) in self.0.get().map(|watches| watches.ages()).unwrap_or_default().into_iter().take(KINDS) {
            let labels = KindLabels { kind: kind.to_string() };
            ConstGauge::new(age.as_secs_f64()).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// All metrics, and the answer of `/readyz`.
pub struct Metrics {
    registry: Registry,
    watches: WatchAges,
    ready: AtomicBool,
    /// Commands about objects.
    pub operations: Family<OperationLabels, Counter>,
    of_syncs: OfSyncs,
    suspended: SyncFlags,
    stalled: SyncFlags,
    /// The syncs that have numbers.
    shown: Mutex<HashSet<SyncLabels>>,
    /// Tasks that broke down.
    pub panics: Counter,
    /// Seconds from a command to its answer.
    pub seconds: Histogram,
    /// 1 while this agent holds the Lease.
    pub leader: Gauge,
    /// Requests to the API server.
    pub requests: Family<VerbLabels, Counter>,
    /// Requests that tell receivers of the state of commits.
    pub notifications: Family<ReceiverLabels, Counter>,
    /// Seconds from the moment at which drift was seen until it was put back.
    pub restored: Histogram,
    /// Seconds from a request to a git server to the end of its answer.
    git: Family<GitLabels, Histogram, fn() -> Histogram>,
}

/// The syncs of which something is true, whether they run or not. They are shown with the number 1, the first thousand of them.
#[derive(Default)]
struct SyncFlags {
    gauge: Family<SyncLabels, Gauge>,
    shown: Mutex<HashSet<SyncLabels>>,
}

impl SyncFlags {
    fn set(&self, sync: &SyncId, is: bool) {
        let (labels, mut shown) = (SyncLabels::of(sync), lock(&self.shown));
        if !is {
            shown.remove(&labels);
            self.gauge.remove(&labels);
        } else if shown.len() < SYNCS && shown.insert(labels.clone()) {
            self.gauge.get_or_create(&labels).set(1);
        }
    }
}

/// The numbers of each sync.
#[derive(Default)]
struct OfSyncs {
    repairs: Family<SyncLabels, Counter>,
    dropped: Family<SyncLabels, Counter>,
    declared: Family<SyncLabels, Gauge>,
    queued: Family<SyncLabels, Gauge>,
    errors: Family<SyncLabels, Gauge>,
    synced: Family<SyncLabels, Gauge<i64, AtomicI64>>,
}

/// The numbers of one sync, which are shown until this is dropped. A sync beyond the first thousand has none.
pub struct SyncMetrics {
    metrics: Arc<Metrics>,
    labels: Option<SyncLabels>,
    /// The last number of objects that wait, which is told at each step of the engine.
    queued: AtomicUsize,
}

impl SyncMetrics {
    /// Drift was put back so long after it was seen.
    pub fn repaired(&self, after: Duration) {
        self.metrics.restored.observe(after.as_secs_f64());
        self.with(|of, labels| _ = of.repairs.get_or_create(labels).inc());
    }

    /// So many objects wait for their turn.
    pub fn queued(&self, objects: usize) {
        if self.queued.swap(objects, Ordering::Relaxed) != objects {
            self.with(|of, labels| _ = of.queued.get_or_create(labels).set(number(objects)));
        }
    }

    /// An Event was left out, because earlier ones took too long to publish.
    pub fn dropped(&self) {
        self.with(|of, labels| _ = of.dropped.get_or_create(labels).inc());
    }

    /// The commit in force declares so many objects.
    pub fn declared(&self, objects: usize) {
        self.with(|of, labels| _ = of.declared.get_or_create(labels).set(number(objects)));
    }

    /// The newest commit and the sync have so many findings.
    pub fn errors(&self, findings: usize) {
        self.with(|of, labels| _ = of.errors.get_or_create(labels).set(number(findings)));
    }

    /// The sync came to rest without errors, at this time in seconds since 1970.
    pub fn synced(&self, at: u64) {
        self.with(|of, labels| _ = of.synced.get_or_create(labels).set(i64::try_from(at).unwrap_or(i64::MAX)));
    }

    fn with(&self, set: impl FnOnce(&OfSyncs, &SyncLabels)) {
        if let Some(labels) = &self.labels {
            set(&self.metrics.of_syncs, labels);
        }
    }
}

impl Drop for SyncMetrics {
    fn drop(&mut self) {
        let Some(labels) = self.labels.take() else { return };
        let OfSyncs { repairs, dropped, declared, queued, errors, synced } = &self.metrics.of_syncs;
        repairs.remove(&labels);
        dropped.remove(&labels);
        declared.remove(&labels);
        queued.remove(&labels);
        errors.remove(&labels);
        synced.remove(&labels);
        self.metrics.shown().remove(&labels);
    }
}

/// From 10 ms to the longest time of a fetch.
fn git_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.0, 17))
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("config_sync");
        let operations = Family::default();
        registry.register("apply_operations", "Commands about objects", operations.clone());
        let panics = Counter::default();
        registry.register("panics", "Tasks that broke down and were tried again", panics.clone());
        let seconds = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        registry.register("apply_duration_seconds", "Time from a command to its answer", seconds.clone());
        let (leader, requests) = (Gauge::default(), Family::default());
        registry.register("leader", "1 while this agent holds the Lease, or does without one", leader.clone());
        registry.register("api_requests", "Requests to the API server, but those for the Lease", requests.clone());
        let notifications = Family::default();
        registry.register(
            "notifications",
            "Requests that tell receivers of the state of commits",
            notifications.clone(),
        );
        let restored = Histogram::new(exponential_buckets(0.001, 2.0, 18));
        registry.register(
            "drift_restore_seconds",
            "Time from drift that was seen until it was put back",
            restored.clone(),
        );
        let git = Family::new_with_constructor(git_buckets as fn() -> Histogram);
        registry.register(
            "git_duration_seconds",
            "Time from a request to a git server to the end of its answer",
            git.clone(),
        );
        let of_syncs = OfSyncs::default();
        let OfSyncs { repairs, dropped, declared, queued, errors, synced } = &of_syncs;
        registry.register("drift_corrections", "Objects put back after another client changed them", repairs.clone());
        registry.register("events_dropped", "Events left out because earlier ones took too long", dropped.clone());
        registry.register("declared_resources", "Objects declared by the commit in force", declared.clone());
        registry.register("queued_resources", "Objects that wait for their turn to be written or read", queued.clone());
        registry.register("reconciler_errors", "Findings of the newest commit and the sync", errors.clone());
        registry.register("last_sync_timestamp", "When a sync last came to rest without errors", synced.clone());
        let (suspended, stalled) = (SyncFlags::default(), SyncFlags::default());
        registry.register("suspended", "1 for a sync that a user suspended", suspended.gauge.clone());
        registry.register("stalled", "1 for a sync that cannot run or follow its spec", stalled.gauge.clone());
        let watches = WatchAges::default();
        registry.register_collector(Box::new(watches.clone()));
        let (ready, shown) = (AtomicBool::new(false), Mutex::default());
        Self {
            registry,
            watches,
            ready,
            operations,
            of_syncs,
            suspended,
            stalled,
            shown,
            panics,
            seconds,
            leader,
            requests,
            notifications,
            restored,
            git,
        }
    }
}

impl Metrics {
    /// From now on `/readyz` answers with success, and the ages of these watches are shown.
    pub fn ready(&self, watches: &Arc<Watches>) {
        // It is called once.
        let _ = self.watches.0.set(Arc::clone(watches));
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Counts the time of requests to git servers.
    pub fn git_observer(self: &Arc<Self>) -> GitObserver {
        let metrics = Arc::clone(self);
        Arc::new(move |request, duration, worked| {
            let status = if worked { OutcomeLabel::success } else { OutcomeLabel::error };
            let labels = GitLabels { operation: request.name(), status };
            metrics.git.get_or_create(&labels).observe(duration.as_secs_f64());
        })
    }

    /// The numbers of a sync. Its predecessor of the same name has ended.
    pub fn of(self: &Arc<Self>, sync: &SyncId) -> SyncMetrics {
        let mut shown = self.shown();
        let labels = (shown.len() < SYNCS).then(|| SyncLabels::of(sync));
        shown.extend(labels.clone());
        SyncMetrics { metrics: Arc::clone(self), labels, queued: AtomicUsize::new(0) }
    }

    /// A user has suspended the sync, or resumed it. A sync beyond the first thousand is not shown.
    pub fn suspended(&self, sync: &SyncId, suspended: bool) {
        self.suspended.set(sync, suspended);
    }

    /// The sync cannot run, or does not follow its newest spec; or it does so again, or is gone. A sync beyond the first thousand is not
    /// shown.
    pub fn stalled(&self, sync: &SyncId, stalled: bool) {
        self.stalled.set(sync, stalled);
    }

    fn shown(&self) -> MutexGuard<'_, HashSet<SyncLabels>> {
        lock(&self.shown)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// All metrics in the text format of OpenMetrics.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::git::GitRequest;

    #[test]
    fn the_numbers_of_syncs_are_bounded_and_end_with_the_sync() {
        let metrics = Arc::new(Metrics::default());
        let before = metrics.text();
        let all: Vec<SyncMetrics> = (0..3 * SYNCS)
            .map(|index| {
                let of = metrics.of(&SyncId::root(&format!("{}-{index}", "x".repeat(240))));
                of.queued(usize::MAX);
                of.dropped();
                of.declared(usize::MAX);
                of.errors(usize::MAX);
                of.synced(u64::MAX);
                of
            })
            .collect();
        let text = metrics.text();
        // With the lines that describe the numbers.
        assert!(text.lines().count() <= before.lines().count() + 5 * SYNCS + 15, "{}", text.lines().count());
        assert!(text.len() < 3 << 20, "{}", text.len());
        drop(all);
        assert_eq!(metrics.text(), before);
    }

    #[test]
    fn stalled_syncs_are_bounded_and_shown_until_they_are_not_stalled() {
        let metrics = Metrics::default();
        let before = metrics.text();
        let of = |index: usize| SyncId::root(&format!("root-{index}"));
        (0..2 * SYNCS).for_each(|index| metrics.stalled(&of(index), true));
        metrics.stalled(&of(0), true);
        assert_eq!(metrics.text().matches("config_sync_stalled{").count(), SYNCS);
        (1..2 * SYNCS).for_each(|index| metrics.stalled(&of(index), false));
        let text = metrics.text();
        assert!(text.matches("config_sync_stalled{").count() == 1 && text.contains(r#"name="root-0"} 1"#), "{text}");
        metrics.stalled(&of(0), false);
        assert_eq!(metrics.text(), before);
    }

    #[test]
    fn the_alerts_and_the_dashboard_name_metrics_that_there_are() {
        let metrics = Arc::new(Metrics::default());
        // A family without numbers is not shown.
        let of = metrics.of(&SyncId::root("root-sync"));
        of.repaired(Duration::from_millis(20));
        of.queued(1);
        of.dropped();
        of.declared(1);
        of.errors(1);
        of.synced(1);
        metrics.suspended(&SyncId::root("root-sync"), true);
        metrics.stalled(&SyncId::root("root-sync"), true);
        metrics.requests.get_or_create(&VerbLabels { verb: "get".to_owned() }).inc();
        let labels = OperationLabels { operation: OperationLabel::apply, status: OutcomeLabel::success };
        metrics.operations.get_or_create(&labels).inc();
        let labels = ReceiverLabels { receiver: "github".to_owned(), status: OutcomeLabel::success };
        metrics.notifications.get_or_create(&labels).inc();
        metrics.git_observer()(GitRequest::List, Duration::from_millis(100), true);
        let text = metrics.text();
        let examples = [
            include_str!("../../../../examples/monitoring/rules.yaml"),
            include_str!("../../../../examples/monitoring/dashboard.json"),
            include_str!("../../../../examples/monitoring/README.md"),
        ];
        let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        let mut shown = HashSet::new();
        for name in examples.iter().flat_map(|text| text.split(|letter| !is_name(letter))) {
            if name.starts_with("config_sync_") {
                let name = name.trim_end_matches("_total").trim_end_matches("_bucket").trim_end_matches("_count");
                assert!(text.contains(&format!("# TYPE {name} ")), "{name} is not in\n{text}");
                shown.insert(name);
            }
        }
        let all = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        all.for_each(|name| assert!(shown.contains(name), "no example shows {name}"));
    }

    #[test]
    fn names_cannot_end_their_label() {
        let metrics = Arc::new(Metrics::default());
        let of = metrics.of(&SyncId::root("a\"} 1\nforged{x=\"\\"));
        of.declared(1);
        assert!(metrics.text().contains(r#"name="a\"} 1\nforged{x=\"\\""#), "{}", metrics.text());
    }
}
