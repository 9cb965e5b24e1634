//! The numbers of `/metrics`. Names of metrics and values of labels are a contract with dashboards.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::io::kubernetes::watch::Watches;
use crate::model::metadata::SyncId;

/// The sync that a number is about.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct SyncLabels {
    /// RootSync or RepoSync.
    pub kind: String,
    /// Namespace of the sync.
    pub namespace: String,
    /// Name of the sync.
    pub name: String,
}

impl SyncLabels {
    /// The labels of one sync.
    pub fn of(sync: &SyncId) -> Self {
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
        for (kind, age) in self.0.get().map(|watches| watches.ages()).unwrap_or_default() {
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
    /// Drift corrections.
    pub repairs: Family<SyncLabels, Counter>,
    /// Events that were left out, because earlier ones took too long to publish.
    pub dropped: Family<SyncLabels, Counter>,
    /// Tasks that broke down.
    pub panics: Counter,
    /// Seconds from a command to its answer.
    pub seconds: Histogram,
    /// Objects that the commit in force declares.
    pub declared: Family<SyncLabels, Gauge>,
    /// Findings of the newest commit and the sync.
    pub errors: Family<SyncLabels, Gauge>,
    /// The time at which a sync last came to rest without errors, in seconds since 1970.
    pub synced: Family<SyncLabels, Gauge<i64, AtomicI64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("config_sync");
        let operations = Family::default();
        registry.register("apply_operations", "Commands about objects", operations.clone());
        let repairs = Family::default();
        registry.register("drift_corrections", "Objects put back after another client changed them", repairs.clone());
        let dropped = Family::default();
        registry.register("events_dropped", "Events left out because earlier ones took too long", dropped.clone());
        let panics = Counter::default();
        registry.register("panics", "Tasks that broke down and were tried again", panics.clone());
        let seconds = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        registry.register("apply_duration_seconds", "Time from a command to its answer", seconds.clone());
        let declared = Family::default();
        registry.register("declared_resources", "Objects declared by the commit in force", declared.clone());
        let errors = Family::default();
        registry.register("reconciler_errors", "Findings of the newest commit and the sync", errors.clone());
        let synced = Family::default();
        registry.register("last_sync_timestamp", "When a sync last came to rest without errors", synced.clone());
        let watches = WatchAges::default();
        registry.register_collector(Box::new(watches.clone()));
        let ready = AtomicBool::new(false);
        Self { registry, watches, ready, operations, repairs, dropped, panics, seconds, declared, errors, synced }
    }
}

impl Metrics {
    /// From now on `/readyz` answers with success, and the ages of these watches are shown.
    pub fn ready(&self, watches: &Arc<Watches>) {
        // It is called once.
        let _ = self.watches.0.set(Arc::clone(watches));
        self.ready.store(true, Ordering::Relaxed);
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
