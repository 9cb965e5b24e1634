//! The numbers of `/metrics`. Names of metrics and values of labels are a contract with dashboards.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

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

/// All metrics, and the answer of `/readyz`.
pub struct Metrics {
    registry: Registry,
    ready: AtomicBool,
    /// Commands about objects.
    pub operations: Family<OperationLabels, Counter>,
    /// Drift corrections.
    pub repairs: Family<SyncLabels, Counter>,
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
        let seconds = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        registry.register("apply_duration_seconds", "Time from a command to its answer", seconds.clone());
        let declared = Family::default();
        registry.register("declared_resources", "Objects declared by the commit in force", declared.clone());
        let errors = Family::default();
        registry.register("reconciler_errors", "Findings of the newest commit and the sync", errors.clone());
        let synced = Family::default();
        registry.register("last_sync_timestamp", "When a sync last came to rest without errors", synced.clone());
        let ready = AtomicBool::new(false);
        Self { registry, ready, operations, repairs, seconds, declared, errors, synced }
    }
}

impl Metrics {
    /// From now on `/readyz` answers with success.
    pub fn ready(&self) {
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
