//! The way between the agent's client and the simulated API server: requests wait here until the schedule has them answered.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use kube::client::Body;
use sandbox::answer::Incoming;
use sandbox::route::Query;
use serde_json::Value;
use tokio::sync::oneshot;

/// An answer, or an error of the connection.
pub(crate) type Reply = Result<(u16, Vec<u8>), io::Error>;

/// A request that is not answered yet.
pub(crate) struct Pending {
    pub(crate) incoming: Incoming,
    /// The answer, once the request is performed: it may be on its way for a while.
    pub(crate) reply: Option<Reply>,
    answer: oneshot::Sender<Reply>,
}

impl Pending {
    /// Lets the client have its answer, if it is still there.
    pub(crate) fn answer(self) {
        let reply = self.reply.unwrap_or_else(|| Err(io::Error::other("never performed")));
        let _ = self.answer.send(reply);
    }
}

#[derive(Default)]
struct Line {
    pending: Vec<Pending>,
    /// Tasks that are not done. Each has one pending request when it cannot go on.
    tasks: usize,
}

/// The line of one client.
#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<Line>>);

impl Wire {
    /// A client at the other end of the line.
    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.line().pending.len()
    }

    /// Takes a request off the line.
    pub(crate) fn take(&self, at: usize) -> Pending {
        self.line().pending.remove(at)
    }

    /// Puts a request back that was performed and whose answer is on its way.
    pub(crate) fn put_back(&self, at: usize, pending: Pending) {
        self.line().pending.insert(at, pending);
    }

    /// The uids of the objects that deletions on the line name.
    pub(crate) fn leaving(&self) -> BTreeSet<String> {
        let line = self.line();
        let deletions = line.pending.iter().filter(|pending| pending.incoming.method == "DELETE");
        let options = deletions.filter_map(|pending| serde_json::from_slice::<Value>(&pending.incoming.body).ok());
        options.filter_map(|options| options["preconditions"]["uid"].as_str().map(ToOwned::to_owned)).collect()
    }

    /// `true` when no task can go on without an answer.
    pub(crate) fn is_idle(&self) -> bool {
        let line = self.line();
        line.tasks == line.pending.len()
    }

    /// Number of tasks that are not done, and of requests that wait.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let line = self.line();
        (line.tasks, line.pending.len())
    }

    /// Counts a task until the result is dropped.
    pub(crate) fn begin_task(&self) -> Task {
        self.line().tasks += 1;
        Task(self.clone())
    }
}

/// A task that is not done.
pub(crate) struct Task(Wire);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.line().tasks -= 1;
    }
}

impl tower_service::Service<Request<Body>> for Wire {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let line = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.map_err(io::Error::other)?.to_vec();
            let incoming = Incoming {
                method: parts.method.as_str().to_owned(),
                path: parts.uri.path().to_owned(),
                query: Query::parse(parts.uri.query().unwrap_or_default()),
                accept: text(&parts.headers, "accept"),
                content_type: text(&parts.headers, "content-type"),
                user_agent: "nomos-agent".to_owned(),
                impersonated: text(&parts.headers, "impersonate-user"),
                body,
            };
            let (answer, answered) = oneshot::channel();
            line.line().pending.push(Pending { incoming, reply: None, answer });
            let (code, body) = answered.await.map_err(io::Error::other)??;
            let response = Response::builder().status(code).header("content-type", "application/json");
            response.body(Body::from(body)).map_err(io::Error::other)
        })
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}
