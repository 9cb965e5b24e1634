//! A client whose answers have limits: the time until one is there, and its size.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use kube::client::{AuthError, Body, ClientBuilder};
use kube::{Client, Config};
use tokio::time::{Instant, Sleep};
use tower::layer::layer_fn;
use tower::{BoxError, Service};

use crate::model::duration::format_duration;

/// The limits of the answer to one request. Watches, logs that are followed and connections for other protocols have none: they
/// last as long as they are wanted.
#[derive(Clone, Copy, Debug)]
pub struct AnswerLimits {
    /// Time until the whole answer is there.
    pub time: Duration,
    /// Bytes of its body.
    pub bytes: usize,
}

/// An answer has more bytes than this.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is larger than {} MiB", .0 >> 20)]
pub struct OversizedAnswer(usize);

/// An answer was not there in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no answer within {}", format_duration(*.0))]
struct LateAnswer(Duration);

impl AnswerLimits {
    /// A client with these limits.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn client(self, config: Config) -> kube::Result<Client> {
        let builder = ClientBuilder::try_from(config)?;
        Ok(builder.with_layer(&layer_fn(|inner| Limited { inner, limits: self })).build())
    }
}

/// A service whose answers have limits.
struct Limited<S> {
    inner: S,
    limits: AnswerLimits,
}

impl<S, B> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
{
    type Response = Response<LimitedBody<B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limits = (!lasts(&request)).then_some(self.limits);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let Some(limits) = limits else {
                let answer = answer.await.map_err(without_output)?;
                return Ok(answer.map(|body| LimitedBody { body: Box::pin(body), rest: None }));
            };
            let until = Instant::now() + limits.time;
            let answer = tokio::time::timeout_at(until, answer).await.map_err(|_| LateAnswer(limits.time))?;
            let answer = answer.map_err(without_output)?;
            let rest = RestOfAnswer { limits, until: Box::pin(tokio::time::sleep_until(until)), bytes: limits.bytes };
            Ok(answer.map(|body| LimitedBody { body: Box::pin(body), rest: Some(rest) }))
        })
    }
}

/// The error without the output of a login program, which can hold a token: kube shows the line that cannot be read.
fn without_output(error: BoxError) -> BoxError {
    match error.downcast_ref::<AuthError>() {
        Some(AuthError::AuthExecParse(_)) => {
            AuthError::AuthExec("the output of the login program is no ExecCredential".to_owned()).into()
        }
        _ => error,
    }
}

/// `true` for a request whose answer lasts as long as it is wanted.
fn lasts(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let follows = |pair: &str| ["watch=true", "watch=1", "follow=true"].contains(&pair);
    query.split('&').any(follows) || request.headers().contains_key(http::header::UPGRADE)
}

/// The body of an answer with limits.
struct LimitedBody<B> {
    body: Pin<Box<B>>,
    /// `None` for no limits.
    rest: Option<RestOfAnswer>,
}

/// The part of the limits that is left.
struct RestOfAnswer {
    limits: AnswerLimits,
    until: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<B> HttpBody for LimitedBody<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { body, rest } = self.get_mut();
        if let Some(rest) = rest
            && rest.until.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Some(Err(LateAnswer(rest.limits.time).into())));
        }
        let frame = match ready!(body.as_mut().poll_frame(context)) {
            Some(Ok(frame)) => frame,
            end => return Poll::Ready(end.map(|frame| frame.map_err(Into::into))),
        };
        if let (Some(rest), Some(data)) = (rest, frame.data_ref()) {
            match rest.bytes.checked_sub(data.len()) {
                Some(bytes) => rest.bytes = bytes,
                None => return Poll::Ready(Some(Err(OversizedAnswer(rest.limits.bytes).into()))),
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const LIMITS: AnswerLimits = AnswerLimits { time: Duration::from_millis(200), bytes: 1 << 20 };

    /// The error of a request to a server that sends these bytes, and then nothing.
    async fn error(path: &str, limits: AnswerLimits, answer: Vec<u8>) -> String {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = server.local_addr().expect("an address");
        let serve = async move {
            let (mut connection, _) = server.accept().await.expect("a connection");
            let _ = connection.read(&mut [0; 4096]).await;
            let _ = connection.write_all(&answer).await;
            std::future::pending::<()>().await;
        };
        let client = limits.client(Config::new(format!("http://{address}").parse().expect("a URL"))).expect("a client");
        let request = Request::get(path).body(Vec::new()).expect("a request");
        tokio::select! {
            () = serve => String::new(),
            answer = client.request_text(request) => answer.expect_err("no answer").to_string(),
        }
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_or_never_ends_has_limits() {
        let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        let late = "no answer within 0.2s";
        assert!(error("/api", LIMITS, Vec::new()).await.contains(late));
        assert!(error("/api", LIMITS, head.clone()).await.contains(late));
        let patient = AnswerLimits { time: Duration::from_secs(60), ..LIMITS };
        let endless = [head, vec![b' '; (1 << 20) + 1]].concat();
        assert!(error("/api", patient, endless).await.contains("the answer is larger than 1 MiB"));
    }

    #[test]
    fn watches_last() {
        let request = |path: &str| Request::get(path).body(Body::empty()).expect("a request");
        assert!(lasts(&request("/api/v1/pods?limit=1&watch=true")) && !lasts(&request("/api/v1/pods?limit=1")));
        assert!(lasts(&request("/api/v1/namespaces/a/pods/b/log?follow=true")));
    }
}
