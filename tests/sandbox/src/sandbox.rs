//! A running sandbox: its thread, its address, and the functions with which tests control it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::clock::Time;
use crate::controllers::Controllers;
use crate::faults::Faults;
use crate::fresh;
use crate::log::Request;
use crate::serve;
use crate::shared::Shared;

/// A cluster that answers on loopback until it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// `true` while the sandbox shall accept connections. Dropping it ends the sandbox.
    wanted: Option<watch::Sender<bool>>,
    /// `true` while it accepts connections.
    taken: Arc<Taken>,
    thread: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Starts a fresh cluster on a port that the system chooses.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub fn start() -> io::Result<Self> {
        Self::start_at(0)
    }

    /// Starts a new cluster without the controllers for Deployments, ReplicaSets and Services, for a test that compares every
    /// write.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub fn start_without_workloads() -> io::Result<Self> {
        Self::start_with(0, Controllers::without_workloads())
    }

    /// Starts a new cluster on the given port; 0 lets the system choose one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start_at(port: u16) -> io::Result<Self> {
        Self::start_with(port, Controllers::default())
    }

    fn start_with(port: u16, controllers: Controllers) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(fresh::state(Time::now())));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let holder = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let address = holder.local_addr()?;
        let listener = serve::listen(address)?;
        drop(entered);
        let (wanted, wish) = watch::channel(true);
        let taken = Arc::new(Taken::default());
        let taking = taken.clone();
        let served = shared.clone();
        let thread = std::thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
            runtime.block_on(run(served, controllers, listener, address, wish, taking));
            drop(holder);
        })?;
        Ok(Self { shared, address, wanted: Some(wanted), taken, thread: Some(thread) })
    }

    /// Where it answers, as in `http://127.0.0.1:1234`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig whose only context is this cluster.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig(&self, path: &Path) -> io::Result<()> {
        let server = self.url();
        let text = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "sandbox",
            "clusters": [{"name": "sandbox", "cluster": {"server": server}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "admin"}}],
            "users": [{"name": "admin", "user": {}}],
        });
        fs::write(path, format!("{text:#}\n"))
    }

    /// The requests from a position on, and the position after them.
    pub fn requests(&self, from: usize) -> (Vec<Request>, usize) {
        let log = self.shared.log();
        (log.since(from).to_vec(), log.end())
    }

    /// The faults that a test asks for.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Forgets what happened: watches and lists of earlier revisions are answered with 410.
    pub fn forget_history(&self) {
        self.shared.with(|state| state.store.forget());
    }

    /// Cuts all connections and refuses new ones until [`Sandbox::resume`].
    pub fn refuse(&self) {
        self.want(false);
    }

    /// Takes connections again, on the same port and with the same state.
    pub fn resume(&self) {
        self.want(true);
    }

    /// Cuts all connections and starts again with the same state on the same port.
    pub fn restart(&self) {
        self.refuse();
        self.resume();
    }

    /// Tells the thread what is wanted and returns when it is so.
    fn want(&self, up: bool) {
        let Some(wanted) = &self.wanted else { return };
        let _ = wanted.send(up);
        self.taken.wait_for(up);
    }
}

/// `true` while the sandbox accepts connections, for threads that wait for it.
#[derive(Debug, Default)]
struct Taken {
    now: Mutex<bool>,
    changed: Condvar,
}

impl Taken {
    fn set(&self, now: bool) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.changed.notify_all();
    }

    fn wait_for(&self, wanted: bool) {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let _now = self.changed.wait_while(now, |now| *now != wanted).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.wanted.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves while connections are wanted, and lets controllers react, until the sandbox is dropped.
async fn run(
    shared: Arc<Shared>,
    controllers: Controllers,
    listener: tokio::net::TcpListener,
    address: SocketAddr,
    mut wish: watch::Receiver<bool>,
    taken: Arc<Taken>,
) {
    let controllers = tokio::spawn(control(shared.clone(), controllers));
    let mut listener = Some(listener);
    loop {
        if let Some(listener) = listener.take().or_else(|| serve::listen(address).ok()) {
            taken.set(true);
            serve::serve(shared.clone(), listener, wish.clone()).await;
        }
        taken.set(false);
        // An error means that the sandbox is dropped.
        if wish.has_changed().is_err() || wish.wait_for(|wanted| *wanted).await.is_err() {
            break;
        }
    }
    controllers.abort();
}

/// Lets the controllers react to every change.
async fn control(shared: Arc<Shared>, mut controllers: Controllers) {
    let mut changes = shared.changes();
    loop {
        shared.with(|state| controllers.react(state, Time::now()));
        if changes.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_that_is_dropped_is_gone() {
        let sandbox = Sandbox::start().unwrap();
        let address = sandbox.address;
        drop(sandbox);
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
