//! HTTP: connections, requests and their answers, watches that stay open, and what goes wrong on request.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming as Received};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::answer::{Answer, Incoming};
use crate::api;
use crate::clock::Time;
use crate::faults::Fault;
use crate::log::Request;
use crate::route::{self, Place, Query};
use crate::shared::Shared;
use crate::stream;

/// A body of an answer: pieces as they come. An error cuts the connection.
pub(crate) struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Pieces {
    /// A channel for a body that is still to be made.
    pub(crate) fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, receiver) = mpsc::channel(64);
        (sender, Self(receiver))
    }

    fn all(pieces: impl IntoIterator<Item = io::Result<Bytes>>) -> Self {
        let (sender, body) = Self::channel();
        for piece in pieces {
            // The channel has room for the few pieces that there are.
            let _ = sender.try_send(piece);
        }
        body
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// A socket that takes connections.
///
/// # Errors
/// When another process uses the port.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(1024)
}

/// A socket that holds a port, so that no other process gets it while the sandbox refuses connections.
///
/// # Errors
/// As [`listen`].
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves until `up` is not true any more, then closes every connection.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener, mut up: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = up.wait_for(|up| !up) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(shared.clone(), stream));
                }
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    // Small answers go at once.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| handle(shared.clone(), request));
    // It ends with an error when a client leaves or a fault cuts it. That is expected.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An error that makes hyper close the connection.
type Hangup = io::Error;

fn hangup() -> Hangup {
    io::Error::new(io::ErrorKind::ConnectionReset, "asked to hang up")
}

async fn handle(shared: Arc<Shared>, request: HttpRequest<Received>) -> Result<Response<Pieces>, Hangup> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes().to_vec();
    let text = |name: &str| header_text(&parts.headers, name);
    let query = parts.uri.query().unwrap_or_default();
    let incoming = Incoming {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: Query::parse(query),
        accept: text("accept"),
        content_type: text("content-type"),
        user_agent: text("user-agent"),
        impersonated: text("impersonate-user"),
        body,
    };
    let mut entry = entry(&incoming, query);
    let mut fault = shared.faults.on_request(&entry);
    if let Some(Fault::Delay(delay)) = fault {
        tokio::time::sleep(delay).await;
        fault = None;
    }
    let answer = match &fault {
        Some(Fault::Hangup) => {
            shared.log().add(entry);
            return Err(hangup());
        }
        Some(Fault::Answer(failure)) => failure.clone().into(),
        _ => shared.with(|state| api::answer(state, &incoming, &shared.log(), Time::now())),
    };
    entry.code = answer.code();
    if let (true, Answer::Object { code: 201, object, .. }) = (entry.name.is_empty(), &answer) {
        entry.name = crate::object::name(object).to_owned();
    }
    shared.log().add(entry.clone());
    Ok(respond(&shared, entry, answer, fault))
}

fn header_text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

/// The log's entry of a request that has not been answered yet.
fn entry(incoming: &Incoming, query: &str) -> Request {
    let place = Place::parse(&incoming.path);
    let verb = match &place {
        Some(place) => route::verb(&incoming.method, place, &incoming.query).to_owned(),
        None => route::other_verb(&incoming.method),
    };
    let place = place.unwrap_or_default();
    let uri = if query.is_empty() { incoming.path.clone() } else { format!("{}?{query}", incoming.path) };
    Request {
        verb,
        user_agent: incoming.user_agent.clone(),
        impersonated: incoming.impersonated.clone(),
        resource: place.resource,
        subresource: place.subresource,
        api_group: place.group,
        namespace: place.namespace,
        name: place.name,
        code: 0,
        uri,
    }
}

fn respond(shared: &Arc<Shared>, entry: Request, answer: Answer, fault: Option<Fault>) -> Response<Pieces> {
    let code = answer.code();
    let (content_type, warnings, retry, body) = match answer {
        Answer::Object { object, warnings, .. } => {
            let retry = object.pointer("/details/retryAfterSeconds").and_then(serde_json::Value::as_u64);
            ("application/json", warnings, retry, cut(object.to_string().into(), &fault))
        }
        Answer::Text { content_type, text, .. } => (content_type, Vec::new(), None, cut(text.into(), &fault)),
        Answer::Watch(watch) => {
            let (sender, body) = Pieces::channel();
            tokio::spawn(stream::send(shared.clone(), entry, *watch, sender));
            ("application/json", Vec::new(), None, body)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if let Some(seconds) = retry {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    for warning in warnings {
        let text = format!("299 - {warning:?}");
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.append(header::WARNING, value);
        }
    }
    response
}

/// A body, or its beginning if the reply shall be cut.
fn cut(mut body: Bytes, fault: &Option<Fault>) -> Pieces {
    let Some(Fault::CutReply(length)) = fault else { return Pieces::all([Ok(body)]) };
    body.truncate(*length);
    Pieces::all([Ok(body), Err(hangup())])
}
