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
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, oneshot};

/// An answer, or an error of the connection.
pub(crate) type Reply = Result<(u16, AnswerBody), io::Error>;

/// The body of an answer.
pub(crate) enum AnswerBody {
    Whole(Vec<u8>),
    /// The lines of a watch.
    Lines(UnboundedReceiver<Vec<u8>>),
    /// The client panics when it reads it.
    Panic,
}

/// A request that is not answered yet.
pub(crate) struct Pending {
    pub(crate) incoming: Incoming,
    /// The answer, once the request is performed: it may be on its way for a while.
    pub(crate) reply: Option<Reply>,
    /// The uid of its object, if that was the sync's own when the request was sent, as far as it had heard; `None` until that is noted.
    own: Option<Option<String>>,
    answer: oneshot::Sender<Reply>,
}

impl Pending {
    /// The uid of its object, if that was the sync's own when the request was sent, as far as it had heard.
    pub(crate) fn own(&self) -> Option<&str> {
        self.own.as_ref().and_then(|own| own.as_deref())
    }

    pub(crate) fn is_watch(&self) -> bool {
        self.incoming.query.is_on("watch")
    }

    /// Lets the client have its answer, if it is still there.
    pub(crate) fn answer(self) {
        let reply = self.reply.unwrap_or_else(|| Err(io::Error::other("never performed")));
        let _ = self.answer.send(reply);
    }
}

/// The line of one client.
#[derive(Clone, Default)]
pub(crate) struct Wire {
    pending: Arc<Mutex<Vec<Pending>>>,
    /// Is notified of each request.
    asked: Arc<Notify>,
}

impl Wire {
    /// A line that notifies `asked` of each request.
    pub(crate) fn new(asked: &Arc<Notify>) -> Self {
        Self { pending: Arc::default(), asked: Arc::clone(asked) }
    }

    /// A client at the other end of the line.
    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    fn line(&self) -> MutexGuard<'_, Vec<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.line().len()
    }

    /// Takes a request off the line.
    pub(crate) fn take(&self, at: usize) -> Pending {
        self.line().remove(at)
    }

    /// Takes all requests off the line.
    pub(crate) fn take_all(&self) -> Vec<Pending> {
        std::mem::take(&mut self.line())
    }

    /// Notes the objects of new requests. `own` gives the uid of one that is the sync's own.
    pub(crate) fn note(&self, own: impl Fn(&Incoming) -> Option<String>) {
        for pending in &mut *self.line() {
            pending.own.get_or_insert_with(|| own(&pending.incoming));
        }
    }

    /// Puts a request back that was performed and whose answer is on its way.
    pub(crate) fn put_back(&self, at: usize, pending: Pending) {
        self.line().insert(at, pending);
    }

    /// Takes the requests off the line whose answers nothing waits for any more.
    pub(crate) fn abandoned(&self) -> Vec<Pending> {
        self.line().extract_if(.., |pending| pending.answer.is_closed()).collect()
    }

    /// The uids of the objects that deletions on the line name.
    pub(crate) fn leaving(&self) -> BTreeSet<String> {
        let line = self.line();
        let deletions = line.iter().filter(|pending| pending.incoming.method == "DELETE");
        let options = deletions.filter_map(|pending| serde_json::from_slice::<Value>(&pending.incoming.body).ok());
        options.filter_map(|options| options["preconditions"]["uid"].as_str().map(ToOwned::to_owned)).collect()
    }
}

impl http_body::Body for AnswerBody {
    type Data = <Body as http_body::Body>::Data;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, io::Error>>> {
        let bytes = match &mut *self {
            Self::Whole(body) if body.is_empty() => return Poll::Ready(None),
            Self::Whole(body) => Poll::Ready(Some(std::mem::take(body))),
            Self::Lines(lines) => lines.poll_recv(context),
            Self::Panic => panic!("asked to panic"),
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(http_body::Frame::data(bytes.into()))))
    }
}

impl tower_service::Service<Request<Body>> for Wire {
    type Response = Response<AnswerBody>;
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
            line.line().push(Pending { incoming, reply: None, own: None, answer });
            line.asked.notify_waiters();
            let (code, content) = answered.await.map_err(io::Error::other)??;
            let response = Response::builder().status(code).header("content-type", "application/json");
            response.body(content).map_err(io::Error::other)
        })
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}
