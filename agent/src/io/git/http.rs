//! Git's two requests over HTTP, for the protocol code of gix: it calls the trait [`Http`](git::Http) that [`Wire`]
//! implements.
//!
//! gix has a transport over `reqwest` of its own (`gix-transport`, `http/reqwest/remote.rs`). It does not do here:
//! - every transport starts a thread and a client, so no connection stays open from one poll to the next;
//! - there is a limit to each read and write but none to an operation: a server that sends a byte now and then holds it up
//!   without end, and may send any number of bytes;
//! - of its options it heeds neither proxy nor certificates, and it takes the proxy of the environment;
//! - `reqwest` drops the credentials when a server redirects from `http` to `https`, which many do;
//! - a failure is a text with the URL in it. Here it is a [`GitError`] by what helps against it, without credentials.

use std::any::Any;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::sync::{Arc, Mutex};

use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::http as git;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};

use super::authorization::Authorization;
use super::error::{FailureClass, GitError};
use super::operation::{CONNECT, HALF_AN_ANSWER, NO_ANSWER, Operation, OperationLimits, OperationTransport};
use super::reach::Reach;
use super::remote::{Credentials, Login, Remote};
use super::token::{TokenSource, Tokens};
use crate::model::error_chain::{error_chain, root_cause};
use crate::model::shared::lock;
use crate::model::url::shown;

const MAX_REDIRECTS: usize = 10;

/// A client of one remote.
pub(super) struct Http {
    client: Client,
    /// Without credentials.
    url: Url,
    login: HttpLogin,
    reach: Reach,
}

/// The credentials of a client.
enum HttpLogin {
    Kept(Arc<Authorization>),
    /// With a client for the server of the tokens, whose certificate is always verified.
    Tokens(Tokens, Client),
}

/// The connection that gix asks for requests.
pub(super) struct Wire {
    client: Client,
    authorization: Arc<Authorization>,
    /// The repository's URL after a redirect, without the tail that a request adds.
    redirected: Option<String>,
    operation: Arc<Operation>,
    reach: Reach,
}

impl Http {
    /// A client for `url`, which holds no credentials; `in_url` are those that it held.
    ///
    /// # Errors
    /// When the certificates or the proxy's URL of `remote` cannot be used.
    pub(super) fn new(remote: &Remote, url: Url, in_url: Option<Credentials>) -> Result<Self, GitError> {
        // Does nothing when the program chose a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let invalid = |what: &str, error: &reqwest::Error| {
            let url = shown(url.as_str());
            GitError::new(FailureClass::Broken, format!("the {what} for {url} cannot be used: {}", error_chain(error)))
        };
        let client = |skip_tls_verification, reach: &Reach| {
            let mut builder = Client::builder()
                .connect_timeout(CONNECT)
                .timeout(None)
                .redirect(reqwest::redirect::Policy::none())
                .tls_danger_accept_invalid_certs(skip_tls_verification)
                .no_proxy();
            if let Some(resolver) = reach.resolver() {
                builder = builder.dns_resolver(resolver);
            }
            if let Some(ca) = &remote.ca {
                let certificates =
                    reqwest::Certificate::from_pem_bundle(ca).map_err(|error| invalid("CA certificate", &error))?;
                builder = builder.tls_certs_merge(certificates);
            }
            if let Some(proxy) = &remote.proxy {
                // The proxy's URL may hold a password, and so may what the library says about it.
                let proxy = reqwest::Proxy::all(proxy).map_err(|_| {
                    let url = shown(url.as_str());
                    GitError::new(FailureClass::Broken, format!("the URL of the proxy for {url} is not valid"))
                })?;
                builder = builder.proxy(proxy);
            }
            builder.build().map_err(|error| invalid("HTTP client", &error))
        };
        // The other servers of tokens are no tenant's choice.
        let github = match &remote.login {
            Login::Token(TokenSource::GithubApp(app)) => Some(&app.base_url),
            _ => None,
        };
        for named in remote.proxy.iter().chain(github) {
            remote.reach.check_named(named)?;
        }
        let of_tokens = if github.is_some() { &remote.reach } else { &Reach::Everywhere };
        let login = match &remote.login {
            Login::Token(source) => HttpLogin::Tokens(Tokens::new(source.clone()), client(false, of_tokens)?),
            login => HttpLogin::Kept(Arc::new(Authorization::new(url.clone(), login, in_url.as_ref()))),
        };
        Ok(Self {
            client: client(remote.skip_tls_verification, &remote.reach)?,
            url,
            login,
            reach: remote.reach.clone(),
        })
    }

    /// A transport for one operation.
    ///
    /// # Errors
    /// When a token is needed and cannot be had.
    pub(super) fn begin(&self, limits: OperationLimits) -> Result<(OperationTransport, Arc<Operation>), GitError> {
        let operation = Arc::new(Operation::new(shown(self.url.as_str()).into_owned(), limits));
        let authorization = match &self.login {
            HttpLogin::Kept(authorization) => Arc::clone(authorization),
            HttpLogin::Tokens(tokens, client) => {
                let login = Login::Password(tokens.current(client, &operation)?);
                Arc::new(Authorization::new(self.url.clone(), &login, None))
            }
        };
        let wire = Wire {
            client: self.client.clone(),
            authorization,
            redirected: None,
            operation: Arc::clone(&operation),
            reach: self.reach.clone(),
        };
        let url = gix::url::parse(self.url.as_str()).expect("an HTTP URL is a git URL");
        Ok((Box::new(git::Transport::new_http(wire, url, Protocol::V2, false)), operation))
    }

    /// The server refused the credentials: a token is not used again.
    pub(super) fn refused(&self) {
        if let HttpLogin::Tokens(tokens, _) = &self.login {
            tokens.forget();
        }
    }
}

/// The failure of a request that was not answered, or not to the end.
fn broken_off(operation: &Operation, what: &str, error: &(dyn std::error::Error + 'static)) -> io::Error {
    let cause = root_cause(error);
    let failure = operation.unreachable(what, &cause);
    operation.fail(match certificate_hint(&cause) {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

fn send(operation: &Operation, request: RequestBuilder) -> io::Result<Response> {
    let sent = request.timeout(operation.left()?).send();
    sent.map_err(|error| broken_off(operation, NO_ANSWER, &error.without_url()))
}

/// Refuses a response that is not that of a git server.
fn accept(operation: &Operation, response: Response) -> io::Result<Response> {
    if !response.status().is_success() {
        return Err(operation.fail(refusal(response.status(), &operation.shown)));
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/x-git-upload-pack-") {
        return Err(operation.fail(not_git(&operation.shown, "answers with a web page")));
    }
    Ok(response)
}

impl Wire {
    fn headers(&self, url: &Url, lines: &[String]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.extend(lines.iter().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value.trim()).ok()?))
        }));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("git/nomos-", env!("CARGO_PKG_VERSION"))));
        headers.extend(self.authorization.header(url));
        headers
    }

    /// The response at the end of all redirects, and its URL. A server is sent the credentials only if it may see them.
    fn follow(&self, url: &str, lines: &[String]) -> io::Result<(Url, Response)> {
        let mut url = Url::parse(url).map_err(io::Error::other)?;
        for _ in 0..=MAX_REDIRECTS {
            self.reach.check(&url).map_err(|error| self.operation.fail(error))?;
            let response = send(&self.operation, self.client.get(url.clone()).headers(self.headers(&url, lines)))?;
            let Some(next) = redirect(&url, &response) else {
                return Ok((url, accept(&self.operation, response)?));
            };
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(self.operation.fail(not_git(&self.operation.shown, "redirects from https to less")));
            }
            url = next;
        }
        Err(self.operation.fail(not_git(&self.operation.shown, "redirects without end")))
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
        let (at, response) = self.follow(url, &owned(headers)).map_err(gix::Error::from_error)?;
        if at.as_str() != url {
            let Some(base) = url.strip_prefix(base_url).and_then(|tail| at.as_str().strip_suffix(tail)) else {
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
        let url = Url::parse(url).map_err(gix::Error::from_error)?;
        self.reach.check(&url).map_err(|error| gix::Error::from_error(self.operation.fail(error)))?;
        let headers = self.headers(&url, &owned(headers));
        let request = self.client.post(url).headers(headers);
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

/// One POST: a request whose body is still written, then its response.
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

    /// The response. The first call sends the request.
    fn response(&mut self) -> io::Result<&mut Response> {
        if let Some(request) = self.request.take() {
            let response = send(&self.operation, request.body(std::mem::take(&mut self.sent)))?;
            self.response = Some(accept(&self.operation, response)?);
        }
        self.response.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// The body of a request, which is sent when the response is read.
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

/// The one header of a response that gix reads: the content type.
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

/// The body of a response.
pub(super) struct Body(Arc<Mutex<Exchange>>);

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut exchange = lock(&self.0);
        exchange.operation.left()?;
        match exchange.response()?.read(buffer) {
            Ok(bytes) => exchange.operation.charge(bytes),
            Err(error) => Err(broken_off(&exchange.operation, HALF_AN_ANSWER, &error)),
        }
    }
}

fn owned(lines: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    lines.into_iter().map(|line| line.as_ref().to_owned()).collect()
}

/// The URL that a response redirects to.
fn redirect(from: &Url, response: &Response) -> Option<Url> {
    let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection())?;
    from.join(location.to_str().ok()?).ok()
}

/// The remedy for a certificate of the server that is refused for `cause`.
fn certificate_hint(cause: &str) -> Option<&'static str> {
    let about = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    match () {
        () if !about(&["certificate"]) => None,
        () if about(&["expired", "Expired"]) => Some("Renew the certificate of the git server."),
        () if about(&["not valid for", "NotValidForName"]) => {
            Some("Use the host in spec.git.repo that the certificate of the git server names.")
        }
        () => Some("Give the server's CA in spec.git.caCertSecretRef."),
    }
}

fn refusal(status: StatusCode, shown: &str) -> GitError {
    let (class, what, hint) = match status {
        StatusCode::UNAUTHORIZED => (
            FailureClass::Unauthenticated,
            "asks for other credentials",
            "Check spec.git.auth and the Secret in spec.git.secretRef.",
        ),
        StatusCode::FORBIDDEN => (
            FailureClass::Unauthenticated,
            "refuses access",
            "Give the account of the Secret in spec.git.secretRef read access to the repository.",
        ),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => (
            FailureClass::Unauthenticated,
            "is behind a proxy that asks for credentials",
            "Put them into the URL of the proxy, best in the key https_proxy of the Secret in spec.git.secretRef.",
        ),
        StatusCode::NOT_FOUND | StatusCode::GONE => (
            FailureClass::NotFound,
            "is not there",
            "Check spec.git.repo; many servers say so too when the credentials do not allow to see a repository.",
        ),
        StatusCode::TOO_MANY_REQUESTS => {
            (FailureClass::Unreachable, "asks for fewer requests", "A longer spec.git.period helps.")
        }
        status if status.is_server_error() => {
            (FailureClass::Unreachable, "has an error of its own", "It is tried again.")
        }
        _ => (FailureClass::Broken, "does not answer like a git server", "Check spec.git.repo."),
    };
    GitError::new(class, format!("{shown} {what} (HTTP {})", status.as_u16())).hint(hint)
}

fn not_git(shown: &str, what: &str) -> GitError {
    GitError::new(FailureClass::Broken, format!("{shown} {what}"))
        .hint("Check spec.git.repo: is it the URL to clone from, and does the server need credentials?")
}
