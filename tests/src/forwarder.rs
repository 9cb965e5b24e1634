//! A TCP forwarder on loopback whose connections can go dead without a word.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use tempfile::NamedTempFile;

/// Forwards connections to one address. It ends with the test process.
pub struct Forwarder {
    address: SocketAddr,
    /// Connections of earlier rounds are dead.
    round: Arc<AtomicUsize>,
    cut: Arc<AtomicBool>,
    closes: Arc<AtomicBool>,
}

impl Forwarder {
    /// Forwards to `target`, a host and port.
    ///
    /// # Errors
    /// When no port is free.
    pub fn to(target: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let round = Arc::new(AtomicUsize::new(0));
        let (target, rounds) = (target.to_owned(), Arc::clone(&round));
        let cut = Arc::new(AtomicBool::new(false));
        let is_cut = Arc::clone(&cut);
        let closes = Arc::new(AtomicBool::new(false));
        let closes_now = Arc::clone(&closes);
        thread::spawn(move || {
            let mut unheard = Vec::new();
            for from in listener.incoming().flatten() {
                if closes_now.load(Ordering::SeqCst) {
                    continue;
                }
                if is_cut.load(Ordering::SeqCst) {
                    unheard.push(from);
                    continue;
                }
                let Ok(to) = TcpStream::connect(&target) else { continue };
                let (Ok(from_too), Ok(to_too)) = (from.try_clone(), to.try_clone()) else { continue };
                let born = rounds.load(Ordering::SeqCst);
                for (from, to) in [(from, to), (to_too, from_too)] {
                    let rounds = Arc::clone(&rounds);
                    thread::spawn(move || forward(from, to, || rounds.load(Ordering::SeqCst) == born));
                }
            }
        });
        Ok(Self { address, round, cut, closes })
    }

    /// Forwards to the API server of a kubeconfig. Returns a kubeconfig that leads through it too.
    ///
    /// # Errors
    /// When no port is free, or the kubeconfig names no address.
    pub fn before(kubeconfig: &Path) -> Result<(Self, NamedTempFile)> {
        let text = std::fs::read_to_string(kubeconfig)?;
        let (_, address) = text.split_once("://").context("the API server has an address")?;
        let address = address.split(|c: char| c.is_whitespace() || c == '"' || c == '/').next().unwrap_or_default();
        let forwarder = Self::to(address)?;
        let mut file = NamedTempFile::new()?;
        write!(file, "{}", text.replace(address, &forwarder.address().to_string()))?;
        Ok((forwarder, file))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on all connections that are open swallow what is sent, and stay open. New ones work.
    pub fn let_connections_die(&self) {
        self.round.fetch_add(1, Ordering::SeqCst);
    }

    /// Closes each new connection at once, as where no server is there, or does so no longer.
    pub fn close_connections(&self, closes: bool) {
        self.closes.store(closes, Ordering::SeqCst);
    }

    /// From now on nothing comes through, over new connections neither.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.let_connections_die();
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, lives: impl Fn() -> bool) {
    let mut buffer = vec![0; 65536];
    while let Ok(length) = from.read(&mut buffer)
        && length > 0
    {
        if lives() && to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    if lives() {
        // It may be closed already.
        let _ = to.shutdown(Shutdown::Both);
    }
}
