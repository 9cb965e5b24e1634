//! Git's two requests over HTTP: one client for all polls and fetches of a remote, so that connections stay open; a deadline
//! for each operation; and failures as what a user can do about them.

use std::any::Any;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::http as git;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::error::{Class, GitError, chain, root_cause};
use super::{Credentials, Remote};

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

const NO_ANSWER: &str = "no answer from";

/// What gix drives for one operation.
pub(super) type Transport = git::Transport<Wire>;

/// A client of one remote.
pub(super) struct Http {
    client: Client,
    /// Without credentials.
    url: Url,
    authorization: Option<HeaderValue>,
}

/// One operation: its deadline, and why it failed.
pub(super) struct Operation {
    shown: String,
    deadline: Instant,
    failure: Mutex<Option<GitError>>,
}

/// The connection that gix asks for requests.
pub(super) struct Wire {
    client: Client,
    origin: Url,
    authorization: Option<HeaderValue>,
    /// Where a redirect led, without the tail that a request adds.
    redirected: Option<String>,
    operation: Arc<Operation>,
}

impl Http {
    /// A client for `url`, which holds no credentials.
    pub(super) fn new(remote: &Remote, url: Url) -> Result<Self, GitError> {
        // Does nothing when the program chose a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let invalid = |what: &str, error: &reqwest::Error| {
            GitError::new(Class::Broken, format!("the {what} for {url} cannot be used: {}", chain(error)))
        };
        let mut builder = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(None)
            .redirect(reqwest::redirect::Policy::custom(follow))
            .tls_danger_accept_invalid_certs(remote.skip_tls_verification)
            .no_proxy();
        if let Some(ca) = &remote.ca {
            let certificates =
                reqwest::Certificate::from_pem_bundle(ca).map_err(|error| invalid("CA certificate", &error))?;
            builder = builder.tls_certs_merge(certificates);
        }
        if let Some(proxy) = &remote.proxy {
            // The proxy's URL may hold a password, and so may what the library says about it.
            let proxy = reqwest::Proxy::all(proxy)
                .map_err(|_| GitError::new(Class::Broken, format!("the URL of the proxy for {url} is not valid")))?;
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|error| invalid("HTTP client", &error))?;
        Ok(Self { client, url, authorization: None })
    }

    /// What is sent from the next request on.
    pub(super) fn set_credentials(&mut self, credentials: Option<&Credentials>) {
        self.authorization = credentials.map(|Credentials { user, password }| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            let mut value = HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 is valid in a header");
            value.set_sensitive(true);
            value
        });
    }

    /// A transport for one operation that ends after `limit`.
    pub(super) fn begin(&self, limit: Duration) -> (Transport, Arc<Operation>) {
        let operation = Arc::new(Operation {
            shown: self.url.to_string(),
            deadline: Instant::now() + limit,
            failure: Mutex::new(None),
        });
        let wire = Wire {
            client: self.client.clone(),
            origin: self.url.clone(),
            authorization: self.authorization.clone(),
            redirected: None,
            operation: Arc::clone(&operation),
        };
        let url = gix::url::parse(self.url.as_str()).expect("an HTTP URL is a git URL");
        (Transport::new_http(wire, url, Protocol::V2, false), operation)
    }
}

impl Operation {
    /// Why it failed, if that was between us and the server.
    pub(super) fn failure(&self) -> Option<GitError> {
        lock(&self.failure).clone()
    }

    /// Remembers why it failed; what gix makes of it says less.
    fn fail(&self, error: GitError) -> io::Error {
        let reported = io::Error::other(error.message.clone());
        lock(&self.failure).get_or_insert(error);
        reported
    }

    fn unreachable(&self, what: &str, error: &(dyn std::error::Error + 'static)) -> io::Error {
        let cause = root_cause(error);
        let failure = GitError::new(Class::Unreachable, format!("{what} {}: {cause}", self.shown));
        let certificate = cause.contains("certificate");
        self.fail(if certificate { failure.hint("Give the server's CA in spec.git.caCertSecretRef.") } else { failure })
    }

    fn left(&self) -> io::Result<Duration> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(self.unreachable(NO_ANSWER, &io::Error::from(io::ErrorKind::TimedOut))),
            left => Ok(left),
        }
    }

    /// Sends a request and accepts only what a git server answers.
    fn send(&self, request: RequestBuilder) -> io::Result<Response> {
        let response = match request.timeout(self.left()?).send() {
            Ok(response) => response,
            Err(error) if error.is_redirect() => return Err(self.fail(not_git(&self.shown, "redirects without end"))),
            Err(error) => return Err(self.unreachable(NO_ANSWER, &error.without_url())),
        };
        if !response.status().is_success() {
            return Err(self.fail(refusal(response.status(), &self.shown)));
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/x-git-upload-pack-") {
            return Err(self.fail(not_git(&self.shown, "answers with a web page")));
        }
        Ok(response)
    }
}

impl Wire {
    fn headers(&self, url: &str, lines: impl IntoIterator<Item = impl AsRef<str>>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let header = line.as_ref().split_once(':').and_then(|(name, value)| {
                Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value.trim()).ok()?))
            });
            headers.extend(header);
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("git/nomos-", env!("CARGO_PKG_VERSION"))));
        if let Some(authorization) = &self.authorization
            && Url::parse(url).is_ok_and(|url| may_see_credentials(&self.origin, &url))
        {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        headers
    }
}

impl git::Http for Wire {
    type Headers = Headers;
    type ResponseBody = BufReader<Body>;
    type PostBody = PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<git::GetResponse<Headers, BufReader<Body>>> {
        let request = self.client.get(url).headers(self.headers(url, headers));
        let response = self.operation.send(request).map_err(gix::Error::from_error)?;
        if response.url().as_str() != url {
            let tail = url.strip_prefix(base_url).unwrap_or(url);
            let Some(base) = response.url().as_str().strip_suffix(tail) else {
                let error = not_git(&self.operation.shown, "redirects to a page that is no repository");
                return Err(gix::Error::from_error(self.operation.fail(error)));
            };
            self.redirected = Some(base.to_owned());
        }
        let exchange = Exchange::new(Arc::clone(&self.operation), None, Some(response));
        Ok(git::GetResponse {
            headers: Headers::of(&exchange),
            body: BufReader::with_capacity(64 << 10, Body(exchange)),
        })
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: git::PostBodyDataKind,
    ) -> gix::Result<git::PostResponse<Headers, BufReader<Body>, PostBody>> {
        let request = self.client.post(url).headers(self.headers(url, headers));
        let exchange = Exchange::new(Arc::clone(&self.operation), Some(request), None);
        Ok(git::PostResponse {
            post_body: PostBody(Arc::clone(&exchange)),
            headers: Headers::of(&exchange),
            body: BufReader::with_capacity(64 << 10, Body(exchange)),
        })
    }

    fn configure(&mut self, _config: &dyn Any) -> gix::Result<()> {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.redirected.clone()
    }
}

/// A request whose body is still written, or its response.
struct Exchange {
    operation: Arc<Operation>,
    request: Option<RequestBuilder>,
    sent: Vec<u8>,
    response: Option<Response>,
}

impl Exchange {
    fn new(operation: Arc<Operation>, request: Option<RequestBuilder>, response: Option<Response>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { operation, request, sent: Vec::new(), response }))
    }

    /// Sends the request at the first look at its response.
    fn response(&mut self) -> io::Result<&mut Response> {
        if let Some(request) = self.request.take() {
            self.response = Some(self.operation.send(request.body(std::mem::take(&mut self.sent)))?);
        }
        self.response.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// What is posted; sent when the response is read.
pub(super) struct PostBody(Arc<Mutex<Exchange>>);

impl Write for PostBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).sent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The one header of a response that gix looks at.
pub(super) struct Headers {
    exchange: Arc<Mutex<Exchange>>,
    lines: Option<Cursor<Vec<u8>>>,
}

impl Headers {
    fn of(exchange: &Arc<Mutex<Exchange>>) -> Self {
        Self { exchange: Arc::clone(exchange), lines: None }
    }

    fn lines(&mut self) -> io::Result<&mut Cursor<Vec<u8>>> {
        if self.lines.is_none() {
            let mut lines = b"content-type:".to_vec();
            let mut exchange = lock(&self.exchange);
            lines.extend(exchange.response()?.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes));
            self.lines = Some(Cursor::new(lines));
        }
        self.lines.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.lines()?.read(buffer)
    }
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.lines()?.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        if let Some(lines) = &mut self.lines {
            lines.consume(bytes);
        }
    }
}

/// What a response holds.
pub(super) struct Body(Arc<Mutex<Exchange>>);

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut exchange = lock(&self.0);
        exchange.operation.left()?;
        let read = exchange.response()?.read(buffer);
        read.map_err(|error| exchange.operation.unreachable("half an answer from", &error))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn follow(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let downgrade =
        attempt.previous().last().is_some_and(|from| from.scheme() == "https") && attempt.url().scheme() != "https";
    if downgrade || attempt.previous().len() > 10 {
        return attempt.error("too many redirects, or one from https to http");
    }
    attempt.follow()
}

/// Whether the credentials for `origin` may be sent to `url`: the same server, or the same host now with TLS.
fn may_see_credentials(origin: &Url, url: &Url) -> bool {
    origin.origin() == url.origin()
        || (origin.host() == url.host() && origin.scheme() == "http" && url.scheme() == "https")
}

fn refusal(status: StatusCode, shown: &str) -> GitError {
    let (class, what, hint) = match status {
        StatusCode::UNAUTHORIZED => (
            Class::Unauthenticated,
            "asks for other credentials",
            "Check spec.git.auth and the Secret in spec.git.secretRef.",
        ),
        StatusCode::FORBIDDEN => (
            Class::Unauthenticated,
            "refuses access",
            "Give the account of the Secret in spec.git.secretRef read access to the repository.",
        ),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            (Class::Unauthenticated, "is behind a proxy that asks for credentials", "Put them into spec.git.proxy.")
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => (
            Class::NotFound,
            "is not there",
            "Check spec.git.repo; many servers say so too when the credentials do not allow to see a repository.",
        ),
        StatusCode::TOO_MANY_REQUESTS => {
            (Class::Unreachable, "asks for fewer requests", "A longer spec.git.period helps.")
        }
        status if status.is_server_error() => (Class::Unreachable, "has an error of its own", "It is tried again."),
        _ => (Class::Broken, "does not answer like a git server", "Check spec.git.repo."),
    };
    GitError::new(class, format!("{shown} {what} (HTTP {})", status.as_u16())).hint(hint)
}

fn not_git(shown: &str, what: &str) -> GitError {
    GitError::new(Class::Broken, format!("{shown} {what}"))
        .hint("Check spec.git.repo: is it the URL to clone from, and does the server need credentials?")
}
