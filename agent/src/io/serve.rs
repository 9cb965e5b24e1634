//! `/healthz`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::model::metadata::SyncId;

/// Which sync a number is about.
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
    /// Those of one sync.
    pub fn of(sync: &SyncId) -> Self {
        Self { kind: sync.kind.to_string(), namespace: sync.namespace.clone(), name: sync.name.clone() }
    }
}

/// Which commands a number counts.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OperationLabels {
    /// What was done.
    pub operation: Operation,
    /// How it ended.
    pub status: Status,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[expect(missing_docs, reason = "the words say it")]
#[expect(non_camel_case_types, reason = "the words are label values")]
pub enum Operation {
    apply,
    annotate,
    read,
    delete,
    unmanage,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[expect(missing_docs, reason = "the words say it")]
#[expect(non_camel_case_types, reason = "the words are label values")]
pub enum Status {
    success,
    error,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    ready: AtomicBool,
    /// Commands about objects.
    pub operations: Family<OperationLabels, Counter>,
    /// Drift put back.
    pub repairs: Family<SyncLabels, Counter>,
    /// Seconds from the moment a command is sent until its answer.
    pub seconds: Histogram,
    /// Objects declared.
    pub declared: Family<SyncLabels, Gauge>,
    /// Findings of the newest commit and the sync.
    pub errors: Family<SyncLabels, Gauge>,
    /// When a sync last came to rest without errors, in seconds since 1970.
    pub synced: Family<SyncLabels, Gauge<i64, AtomicI64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("config_sync");
        let operations = Family::default();
        registry.register("apply_operations", "Commands about objects", operations.clone());
        let repairs = Family::default();
        registry.register("drift_corrections", "Objects put back after somebody changed them", repairs.clone());
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
    /// From now on `/readyz` says yes.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> std::io::Result<()> {
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(text))
        .with_state(metrics);
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving /healthz, /readyz and /metrics");
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(())
}

async fn readyz(State(metrics): State<Arc<Metrics>>) -> (StatusCode, &'static str) {
    match metrics.ready.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not connected to the API server yet\n"),
    }
}

async fn text(State(metrics): State<Arc<Metrics>>) -> ([(header::HeaderName, &'static str); 1], String) {
    let mut text = String::new();
    encode(&mut text, &metrics.registry).expect("writing to a string does not fail");
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
