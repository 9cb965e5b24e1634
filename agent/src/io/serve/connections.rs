//! The connections to the agent's own servers: so many at a time, and the oldest makes room for a new one. So clients that open
//! connections and say nothing keep no other one out.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Connections to one server at a time.
const OPEN: usize = 128;

/// A listener with the connections that it accepted.
pub(super) struct BoundedListener {
    listener: TcpListener,
    /// The oldest first. A connection is closed when its sender is dropped.
    open: VecDeque<oneshot::Sender<()>>,
    limit: usize,
}

/// A connection that can be closed from outside.
pub(super) struct BoundedConnection {
    stream: TcpStream,
    closed: oneshot::Receiver<()>,
}

impl BoundedListener {
    /// Listens on an address.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, open: VecDeque::new(), limit: OPEN })
    }
}

impl Listener for BoundedListener {
    type Io = BoundedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedConnection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        self.open.retain(|connection| !connection.is_closed());
        if self.open.len() >= self.limit {
            self.open.pop_front();
        }
        let (keep, closed) = oneshot::channel();
        self.open.push_back(keep);
        (BoundedConnection { stream, closed }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The address from which a connection came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl BoundedConnection {
    /// An error once the connection is to be closed.
    fn poll_closed(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match Pin::new(&mut self.closed).poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(_) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

impl AsyncRead for BoundedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_closed(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for BoundedConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_closed(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn silent_connections_keep_no_other_one_out_and_do_not_pile_up() {
        let mut listener = BoundedListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("bound");
        listener.limit = 3;
        let address = listener.local_addr().expect("bound");
        let app = Router::new().route("/", get(|| async { "hello" }));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let mut silent = Vec::new();
        for _ in 0..5 {
            silent.push(TcpStream::connect(address).await.expect("accepted"));
        }
        for _ in 0..3 {
            let mut speaks = TcpStream::connect(address).await.expect("accepted");
            speaks.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sent");
            let mut answer = String::new();
            speaks.read_to_string(&mut answer).await.expect("answered");
            assert!(answer.ends_with("hello"), "{answer}");
        }
        // Three places: the first ones of five were closed, and one more for the request.
        for mut closed in silent.drain(..3) {
            assert!(matches!(closed.read(&mut [0]).await, Ok(0) | Err(_)));
        }
        let open = silent.pop().expect("it is open");
        assert!(open.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
    }
}
