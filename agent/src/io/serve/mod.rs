//! The agent's own HTTP server: `/healthz`, `/readyz`, `/metrics`, `/debug/syncs` and the page; and another one for `/webhook`.

mod connections;
mod debug;
mod metrics;
mod page;
mod push;
mod webhook;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::get;
use axum::serve::Listener as _;

use connections::{BoundedListener, Peer};

pub use debug::{Registration, ServedSyncs, StateRequest, StateRequests};
pub use metrics::{Metrics, OperationLabel, OperationLabels, OutcomeLabel, ReceiverLabels, SyncMetrics, VerbLabels};
pub use page::{PageOptions, StatusPage};
pub use webhook::{WebhookOptions, WebhookTargets, serve_webhooks};

/// Serves until the process ends.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>, page: Arc<StatusPage>) -> std::io::Result<()> {
    let is_open = page.is_open();
    let app = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(text))
        .with_state(metrics)
        .merge(page::routes(page));
    let listener = BoundedListener::bind(address).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "serving /healthz, /readyz, /metrics, /debug/syncs and the page /ui/");
    if is_open {
        tracing::info!(page = %format!("http://{address}/ui/"), "the page needs no token from programs of this host");
    }
    tokio::spawn(async move { axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await });
    Ok(())
}

/// The process answers. Tasks that broke down are started again, so they are only told.
async fn healthz(State(metrics): State<Arc<Metrics>>) -> String {
    match metrics.panics.get() {
        0 => "ok\n".to_owned(),
        panics => format!("ok; {panics} tasks broke down and were tried again, see the log\n"),
    }
}

async fn readyz(State(metrics): State<Arc<Metrics>>) -> (StatusCode, &'static str) {
    match metrics.is_ready() {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not connected to the API server yet\n"),
    }
}

async fn text(State(metrics): State<Arc<Metrics>>) -> ([(header::HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.text())
}
