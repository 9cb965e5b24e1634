//! The receiver of webhooks: a push of which a git server tells starts a poll of the syncs of its repository, and nothing else.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::serve::Listener as _;
use tokio::sync::Semaphore;

use super::Metrics;
use super::connections::BoundedListener;
use super::push::{repositories, signed_by};
use crate::io::kubernetes::lease::{LeaseApi, state};
use crate::io::kubernetes::programs::pods;
use crate::io::repositories::Repositories;
use crate::model::metadata::CONTROLLER_NAMESPACE;
use crate::model::shared::lock;

/// The largest body that is read, and the number of bodies that are read at a time.
const BODY: usize = 4 << 20;
const READERS: usize = 4;
/// The longest time for a body, and for the agent that holds the Lease.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests in a second, and those that may come at once.
const RATE: f64 = 10.0;
const BURST: f64 = 60.0;
/// The longest secret that is read.
const SECRET: u64 = 4096;
/// In a request that another agent passed on, which is not passed on again.
const PASSED_ON: &str = "x-nomos-passed-on";

/// The address and the secret of the receiver.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The file with the secret. It is read for each request, so that a new secret is used at once; without it no request is taken.
    pub secret: PathBuf,
}

/// The parts of the agent that webhooks act on.
pub struct WebhookTargets {
    /// The repositories that syncs follow.
    pub repositories: Arc<Repositories>,
    /// They tell whether this agent holds the Lease.
    pub metrics: Arc<Metrics>,
    /// It tells which agent does.
    pub lease: LeaseApi,
}

/// The receiver, and the limits of what it takes.
struct WebhookReceiver {
    secret: PathBuf,
    port: u16,
    targets: WebhookTargets,
    pace: Mutex<WebhookPace>,
    readers: Semaphore,
}

/// The answer to a webhook.
type WebhookAnswer = (StatusCode, &'static str);

/// Serves `/webhook` until the process ends.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve_webhooks(options: WebhookOptions, targets: WebhookTargets) -> io::Result<()> {
    let listener = BoundedListener::bind(options.listen).await?;
    let address = listener.local_addr()?;
    let receiver = WebhookReceiver {
        secret: options.secret,
        port: address.port(),
        targets,
        pace: Mutex::new(WebhookPace { left: BURST, at: Instant::now() }),
        readers: Semaphore::new(READERS),
    };
    let app = Router::new().route("/webhook", post(receive)).with_state(Arc::new(receiver));
    tracing::info!(webhooks = %address, "serving /webhook");
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(())
}

async fn receive(State(receiver): State<Arc<WebhookReceiver>>, request: Request) -> WebhookAnswer {
    match receiver.take(request).await {
        Ok(answer) | Err(answer) => answer,
    }
}

impl WebhookReceiver {
    async fn take(&self, request: Request) -> Result<WebhookAnswer, WebhookAnswer> {
        const BUSY: WebhookAnswer = (StatusCode::TOO_MANY_REQUESTS, "too many webhooks\n");
        if !lock(&self.pace).take(Instant::now()) {
            return Err(BUSY);
        }
        let secret = secret(&self.secret).ok_or((StatusCode::NOT_FOUND, "there is no secret for webhooks\n"))?;
        let _reader = self.readers.try_acquire().map_err(|_| BUSY)?;
        let (parts, body) = request.into_parts();
        let body = tokio::time::timeout(PATIENCE, to_bytes(body, BODY)).await;
        let body = body.map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the body takes too long\n"))?;
        let body = body.map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"))?;
        let Some(forge) = signed_by(&parts.headers, &body, &secret) else {
            tracing::warn!("a webhook without a valid signature was refused");
            return Err((StatusCode::UNAUTHORIZED, "the signature is not valid\n"));
        };
        if self.targets.metrics.leader.get() != 1 {
            return self.pass_on(parts.headers, body).await;
        }
        let names = repositories(&parts.headers, &body).ok_or((StatusCode::BAD_REQUEST, "this is no payload\n"))?;
        let syncs = self.targets.repositories.ask_again(|name| names.contains(name));
        tracing::info!(?forge, repository = ?names, syncs, "a webhook asks for a poll");
        Ok((StatusCode::ACCEPTED, "accepted\n"))
    }

    /// Has the agent that holds the Lease take the webhook: a Service gives it to any of the agents.
    async fn pass_on(&self, mut headers: HeaderMap, body: Bytes) -> Result<WebhookAnswer, WebhookAnswer> {
        const NOWHERE: WebhookAnswer = (StatusCode::SERVICE_UNAVAILABLE, "no agent serves the syncs now\n");
        if headers.insert(PASSED_ON, http::HeaderValue::from_static("1")).is_some() {
            return Err(NOWHERE);
        }
        let work = async {
            let url = format!("http://{}/webhook", SocketAddr::new(leader(&self.targets.lease).await?, self.port));
            headers.remove(http::header::HOST);
            headers.remove(http::header::CONTENT_LENGTH);
            headers.remove(http::header::TRANSFER_ENCODING);
            let client = reqwest::Client::builder().no_proxy().build().ok()?;
            client.post(url).headers(headers).body(body).send().await.ok()
        };
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Some(answer)) if answer.status() == StatusCode::ACCEPTED => Ok((StatusCode::ACCEPTED, "accepted\n")),
            _ => Err(NOWHERE),
        }
    }
}

/// The address of the agent that holds the Lease, which is a Pod: its identity is the Pod's name and uid.
async fn leader(lease: &LeaseApi) -> Option<IpAddr> {
    let holder = state(&lease.read().await.ok()??).holder;
    let (name, uid) = holder.rsplit_once('_')?;
    let pod = pods(lease.api().into_client(), CONTROLLER_NAMESPACE).get_opt(name).await.ok()??;
    let address = pod.status?.pod_ip?;
    pod.metadata.uid.filter(|own| own == uid).and_then(|_| address.parse().ok())
}

/// The secret without the line break at its end; `None` without one.
fn secret(path: &Path) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path).ok()?.take(SECRET).read_to_end(&mut content).ok()?;
    let secret = content.trim_ascii().to_vec();
    (!secret.is_empty()).then_some(secret)
}

/// The requests that may come now: so many at once, and so many more in each second.
struct WebhookPace {
    left: f64,
    at: Instant,
}

impl WebhookPace {
    /// Takes one request; `false` if it has to be refused.
    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at);
        self.left = (self.left + since.as_secs_f64() * RATE).min(BURST);
        self.at = now;
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_beyond_the_pace_are_refused_and_later_ones_are_not() {
        let start = Instant::now();
        let mut pace = WebhookPace { left: BURST, at: start };
        let taken = |pace: &mut WebhookPace, now| (0..200).filter(|_| pace.take(now)).count();
        assert_eq!(taken(&mut pace, start), 60);
        assert_eq!(taken(&mut pace, start + Duration::from_secs(2)), 20);
        assert_eq!(taken(&mut pace, start + Duration::from_secs(3600)), 60);
    }

    #[test]
    fn a_secret_has_no_line_break_and_is_not_empty() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        assert_eq!(secret(&file), None);
        for (content, expected) in [("", None), (" \n", None), ("sesame\r\n", Some(b"sesame".to_vec()))] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(secret(&file), expected);
        }
    }
}
