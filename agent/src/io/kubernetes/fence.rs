//! The fence that stops every write when the agent does not hold the Lease.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, Request, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tower::filter::FilterLayer;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _};
use tower_http::decompression::DecompressionLayer;

use super::connections::Connections;

/// The time until which an agent may write, on two clocks: one does not go back when the other is set, and one goes on while the
/// machine sleeps or is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    until: Instant,
    until_time: SystemTime,
}

impl Term {
    /// The term that a renewal gives. `sent` and `sent_time` are from *before* the renewal was sent: the API server may have
    /// written it at any moment after that. A fifth of the duration is left for requests in flight.
    pub fn of_renewal(sent: Instant, sent_time: SystemTime, duration: Duration) -> Self {
        let may_write = duration * 4 / 5;
        Self { until: sent + may_write, until_time: sent_time + may_write }
    }

    /// `true` as long as the agent may write.
    pub fn lasts(&self, now: Instant, time: SystemTime) -> bool {
        now < self.until && time < self.until_time
    }
}

/// Decides whether a client may write now. Clones share the decision.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<RwLock<FenceState>>);

#[derive(Clone, Copy, Debug, Default)]
enum FenceState {
    /// No agent has the right to write, as far as this one knows.
    #[default]
    Closed,
    /// This agent may write in a term.
    Within(Term),
    /// There is no Lease in this cluster.
    Open,
    /// This agent may write no more.
    Over,
}

impl Fence {
    /// Lets writes pass for a term.
    pub fn open_for(&self, term: Term) {
        self.set(FenceState::Within(term));
    }

    /// Lets every write pass.
    pub fn open(&self) {
        self.set(FenceState::Open);
    }

    /// Lets no write pass, nor the rest of one that is being sent.
    pub fn close(&self) {
        self.set(FenceState::Over);
    }

    fn set(&self, state: FenceState) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// `true` if a write may be sent now.
    pub fn is_open(&self) -> bool {
        match *self.0.read().unwrap_or_else(PoisonError::into_inner) {
            FenceState::Closed | FenceState::Over => false,
            FenceState::Within(term) => term.lasts(tokio::time::Instant::now().into_std(), SystemTime::now()),
            FenceState::Open => true,
        }
    }

    /// The rest of the term; `None` if there is none that ends.
    pub fn left(&self) -> Option<Duration> {
        match *self.0.read().unwrap_or_else(PoisonError::into_inner) {
            FenceState::Within(term) => {
                Some(term.until.saturating_duration_since(tokio::time::Instant::now().into_std()))
            }
            FenceState::Closed | FenceState::Open | FenceState::Over => None,
        }
    }

    /// `true` once the agent may write no more: its term has run out, or it has given the Lease back.
    fn is_over(&self) -> bool {
        match *self.0.read().unwrap_or_else(PoisonError::into_inner) {
            FenceState::Within(term) => !term.lasts(tokio::time::Instant::now().into_std(), SystemTime::now()),
            FenceState::Closed | FenceState::Open => false,
            FenceState::Over => true,
        }
    }

    fn permits(&self, method: &Method) -> bool {
        method == Method::GET || self.is_open()
    }

    /// A client on these connections whose writes are fenced: one that may not pass fails before anything is sent, and once the agent
    /// may write no more, its connections send nothing. `count` is told the verb of each request that is sent.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn client(
        &self,
        config: &Config,
        connections: Connections,
        count: impl Fn(&str) + Clone + Send + 'static,
    ) -> kube::Result<Client> {
        let fence = self.clone();
        let check = move |request: Request<Body>| match fence.permits(request.method())
            || asks_for_token(&request)
            || is_review(&request)
        {
            true => {
                count(verb(&request));
                Ok(request)
            }
            false => Err(BoxError::from(NOT_HELD)),
        };
        let fence = self.clone();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // The kernel sends at once what it gets, and keeps nothing back until the end of a pause.
        tcp.set_nodelay(true);
        let tcp = tcp.map_response(move |tcp| {
            // The kernel drops what the network has not carried when the connection ends: another agent may write by then.
            _ = tcp.inner().set_zero_linger();
            FencedStream { fence: fence.clone(), tcp }
        });
        let Some(proxy) = &config.proxy_url else { return client(config, connections, tcp, check) };
        match proxy.scheme_str() {
            Some("http") => client(config, connections, tunnel(proxy, tcp), check),
            Some("https") => {
                let tls = config.rustls_https_connector_with_connector(tcp)?;
                client(config, connections, tunnel(proxy, tls), check)
            }
            _ => Err(kube::Error::ProxyProtocolUnsupported { proxy_url: Box::new(proxy.clone()) }),
        }
    }
}

/// A connection without requests is closed after this time. Those of a large sync take 40 KiB each.
const IDLE: Duration = Duration::from_secs(30);

const NOT_HELD: &str = "this agent does not hold the Lease of the cluster, so it writes nothing";

/// kube's client, on connections that `connector` opens. kube's own builder opens them itself.
fn client<C, F>(config: &Config, connections: Connections, connector: C, check: F) -> kube::Result<Client>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Error + Send + Sync + 'static,
    F: Fn(Request<Body>) -> Result<Request<Body>, BoxError> + Clone + Send + 'static,
{
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let mut pool = legacy::Builder::new(connections);
    // Without a timer nothing is closed before the next request looks for a connection.
    pool.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
    let service = ServiceBuilder::new()
        .layer(FilterLayer::new(check))
        .layer(config.base_uri_layer())
        .layer(DecompressionLayer::new().gzip(!config.disable_compression))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(pool.build::<_, Body>(connector));
    Ok(ClientBuilder::new(service, &config.default_namespace).build())
}

/// Connections through a proxy, with the user and password of its URL.
fn tunnel<C>(proxy: &Uri, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.clone(), connector);
    let login = proxy.authority().and_then(|authority| authority.as_str().rsplit_once('@'));
    let header = login.and_then(|(login, _)| {
        let login: Vec<u8> = percent_decode_str(login).collect();
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(login))).ok()
    });
    match header {
        Some(header) => tunnel.with_auth(header),
        None => tunnel,
    }
}

/// A connection that sends nothing once the agent may write no more. A process that was paused past its term has requests that had
/// passed the fence before, and parts of requests: they are held back here, below TLS, at the system call. What a system call took
/// before the pause is the kernel's, and goes out in the term.
struct FencedStream {
    fence: Fence,
    tcp: TokioIo<TcpStream>,
}

impl FencedStream {
    /// The connection, if it may send.
    fn sending(self: Pin<&mut Self>) -> io::Result<Pin<&mut TokioIo<TcpStream>>> {
        match self.fence.is_over() {
            true => Err(io::Error::other(NOT_HELD)),
            false => Ok(Pin::new(&mut self.get_mut().tcp)),
        }
    }
}

impl Write for FencedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.sending()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.sending()?.poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

impl Read for FencedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl Connection for FencedStream {
    fn connected(&self) -> Connected {
        self.tcp.connected()
    }
}

/// `true` for a request for a token of an account, which changes no object. An agent that stands by needs it to read a source.
fn asks_for_token(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    request.method() == Method::POST && path.contains("/serviceaccounts/") && path.ends_with("/token")
}

/// `true` if a request asks who a user is, or what a user may do. It changes nothing.
fn is_review(request: &Request<Body>) -> bool {
    let reviews = ["/apis/authentication.k8s.io/v1/tokenreviews", "/apis/authorization.k8s.io/v1/subjectaccessreviews"];
    request.method() == Method::POST && reviews.contains(&request.uri().path())
}

/// The verb of a request: its method in small letters, or `watch`.
fn verb(request: &Request<Body>) -> &'static str {
    let watches = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
    match *request.method() {
        Method::GET if watches => "watch",
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_fence_lets_reads_pass_always_and_writes_only_in_a_term() {
        let fence = Fence::default();
        assert!(fence.permits(&Method::GET));
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(!fence.permits(&method), "{method}");
        }
        let hour = Duration::from_secs(3600);
        fence.open_for(Term::of_renewal(Instant::now(), SystemTime::now(), hour));
        assert!(fence.permits(&Method::PATCH));
        fence.open_for(Term::of_renewal(Instant::now() - hour, SystemTime::now(), hour));
        assert!(!fence.permits(&Method::PATCH));
        fence.open();
        assert!(fence.permits(&Method::PATCH));
        fence.close();
        assert!(!fence.permits(&Method::PATCH));
    }

    /// A request passes the fence, and its term ends before a byte of it is sent: on a new connection and on one that was used before.
    #[tokio::test]
    async fn a_connection_sends_nothing_once_the_term_is_over() {
        let hour = Duration::from_secs(3600);
        let (now, time) = (Instant::now(), SystemTime::now());
        let lasts = move |fence: &Fence| fence.open_for(Term::of_renewal(now, time, hour));
        let ran_out = move |fence: &Fence| fence.open_for(Term::of_renewal(now - hour, time, hour));
        for before in [0, 1] {
            assert_eq!(received(before, lasts, lasts).await, before + 1);
            assert_eq!(received(before, lasts, ran_out).await, before);
            assert_eq!(received(before, lasts, Fence::close).await, before);
        }
    }

    /// The number of requests that a server receives of a client that sends `before` of them, and one more that has passed the fence
    /// when `end` comes.
    async fn received(before: usize, begin: impl Fn(&Fence), end: impl Fn(&Fence) + Clone + Send + 'static) -> usize {
        crate::io::kubernetes::kubeconfig::install_tls();
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", server.local_addr().expect("an address"));
        let config = Config::new(address.parse().expect("a URL"));
        let (fence, passed) = (Fence::default(), Arc::new(AtomicUsize::new(0)));
        begin(&fence);
        let of_client = fence.clone();
        let count = move |_: &str| {
            if passed.fetch_add(1, Ordering::SeqCst) == before {
                end(&of_client);
            }
        };
        let client = fence.client(&config, Connections::default(), count).expect("a client");
        let requests = async {
            for _ in 0..=before {
                let request = Request::patch("/").body(Body::from(b"{}".to_vec())).expect("a request");
                let _ = client.send(request).await;
            }
        };
        let answers = async {
            let (mut connection, _) = server.accept().await.expect("a connection");
            let mut received = 0;
            while connection.read(&mut [0; 4096]).await.is_ok_and(|bytes| bytes > 0) {
                received += 1;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                connection.write_all(answer).await.expect("an answer");
                if received > before {
                    break;
                }
            }
            received
        };
        tokio::join!(requests, answers).1
    }

    #[tokio::test]
    async fn what_the_kernel_has_not_sent_goes_with_the_connection() {
        crate::io::kubernetes::kubeconfig::install_tls();
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", server.local_addr().expect("an address"));
        let config = Config::new(address.parse().expect("a URL"));
        let (fence, connections) = (Fence::default(), Connections::default());
        fence.open();
        let client = fence.client(&config, connections.clone(), |_| ()).expect("a client");
        let end = async {
            let (mut connection, _) = server.accept().await.expect("a connection");
            connection.peek(&mut [0]).await.expect("a request");
            connections.close();
            loop {
                match connection.read(&mut [0; 65_536]).await {
                    Ok(0) => return None,
                    Ok(_) => {}
                    Err(error) => return Some(error.kind()),
                }
            }
        };
        let request = Request::patch("/").body(Body::from(vec![b' '; 16 << 20])).expect("a request");
        let (answer, end) = tokio::join!(client.send(request), end);
        assert!(answer.is_err());
        assert_eq!(end, Some(io::ErrorKind::ConnectionReset), "it is broken off, and does not end as usual");
    }

    #[tokio::test]
    async fn a_proxy_is_asked_with_the_login_of_its_url() {
        crate::io::kubernetes::kubeconfig::install_tls();
        let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut config = Config::new("https://cluster.example:6443".parse().expect("a URL"));
        let url = format!("http://me:p%40ss@{}", proxy.local_addr().expect("an address"));
        config.proxy_url = Some(url.parse().expect("a URL"));
        let client = Fence::default().client(&config, Connections::default(), |_| ()).expect("a client");
        let asked = async {
            let (mut connection, _) = proxy.accept().await.expect("a connection");
            let mut bytes = [0; 4096];
            let read = connection.read(&mut bytes).await.expect("a request");
            String::from_utf8_lossy(&bytes[..read]).to_ascii_lowercase()
        };
        let request = Request::get("/api").body(Body::empty()).expect("a request");
        let (answer, asked) = tokio::join!(client.send(request), asked);
        assert!(answer.is_err());
        assert!(asked.starts_with("connect cluster.example:6443 http/1.1"), "{asked}");
        let login = format!("proxy-authorization: basic {}", STANDARD.encode("me:p@ss").to_ascii_lowercase());
        assert!(asked.contains(&login), "{asked}");
    }

    #[test]
    fn a_request_for_a_token_or_a_review_is_no_write() {
        let request = |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
            asks_for_token(&request) || is_review(&request)
        };
        assert!(request(Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews"));
        assert!(request(Method::POST, "/apis/authorization.k8s.io/v1/subjectaccessreviews"));
        assert!(!request(Method::POST, "/apis/authorization.k8s.io/v1/namespaces/a/localsubjectaccessreviews"));
        assert!(request(Method::POST, "/api/v1/namespaces/a/serviceaccounts/b/token"));
        assert!(!request(Method::POST, "/api/v1/namespaces/a/serviceaccounts"));
        assert!(!request(Method::PUT, "/api/v1/namespaces/a/serviceaccounts/b/token"));
        assert!(!request(Method::POST, "/api/v1/namespaces/a/configmaps/token"));
    }

    #[test]
    fn a_term_ends_before_another_may_take_the_lease_on_whichever_clock_runs_faster() {
        let (sent, time) = (Instant::now(), SystemTime::now());
        let term = Term::of_renewal(sent, time, Duration::from_secs(10));
        let at = |seconds, time_seconds| {
            term.lasts(sent + Duration::from_secs(seconds), time + Duration::from_secs(time_seconds))
        };
        assert!(at(7, 7));
        assert!(!at(8, 8));
        assert!(!at(1, 100), "the machine was paused");
        assert!(!at(100, 0), "the clock was set back");
    }
}
