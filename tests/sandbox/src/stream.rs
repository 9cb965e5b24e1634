//! Sending the events of a watch as they come.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;

use crate::failure::Failure;
use crate::faults::Fault;
use crate::log::Request;
use crate::shared::Shared;
use crate::verbs::Watch;

/// Time until a watch sends a bookmark for the revision of a change that it does not show.
const BOOKMARK: Duration = Duration::from_secs(1);

/// The watch is over: the client has left, or a fault wants it.
struct Over;

struct Stream {
    shared: Arc<Shared>,
    request: Request,
    body: Sender<io::Result<Bytes>>,
}

/// Sends events until the client leaves or its time is over.
pub(crate) async fn send(shared: Arc<Shared>, request: Request, mut watch: Watch, body: Sender<io::Result<Bytes>>) {
    let end = if watch.timeout == 0 { Duration::from_secs(3600) } else { Duration::from_secs(watch.timeout) };
    let closed = body.clone();
    let stream = Stream { shared, request, body };
    let over = tokio::time::timeout(end, stream.run(&mut watch));
    let timed_out = tokio::select! {
        over = over => over.is_err(),
        () = closed.closed() => false,
    };
    if timed_out && let Some(bookmark) = watch.bookmark() {
        let _ = stream.piece(&bookmark).await;
    }
}

impl Stream {
    async fn run(&self, watch: &mut Watch) -> Over {
        let mut changes = self.shared.changes();
        loop {
            changes.mark_unchanged();
            let (events, served) = self.shared.with(|state| (watch.events(state), watch.is_served(state)));
            let events = match events {
                Ok(events) => events,
                Err(last) => {
                    let _ = self.piece(&last).await;
                    return Over;
                }
            };
            for event in events {
                if let Err(over) = self.event(event).await {
                    return over;
                }
            }
            if !served {
                return Over;
            }
            let quiet = tokio::time::timeout(BOOKMARK, changes.changed()).await;
            if quiet.is_err() {
                if let Some(bookmark) = watch.bookmark()
                    && let Err(over) = self.piece(&bookmark).await
                {
                    return over;
                }
                // The sender is gone with the sandbox.
                if changes.changed().await.is_err() {
                    return Over;
                }
            }
        }
    }

    async fn event(&self, event: Value) -> Result<(), Over> {
        match self.shared.faults.on_event(&self.request) {
            Some(Fault::CutWatch) => {
                let reset = io::Error::new(io::ErrorKind::ConnectionReset, "asked to cut");
                let _ = self.body.send(Err(reset)).await;
                return Err(Over);
            }
            Some(Fault::ExpireWatch) => {
                let status = Failure::expired("asked to expire").status();
                self.piece(&json!({"type": "ERROR", "object": status})).await?;
                return Err(Over);
            }
            Some(Fault::LateEvent(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::EventTwice) => self.piece(&event).await?,
            _ => {}
        }
        self.piece(&event).await
    }

    async fn piece(&self, event: &Value) -> Result<(), Over> {
        let line = format!("{event}\n");
        self.body.send(Ok(line.into())).await.map_err(|_| Over)
    }
}
