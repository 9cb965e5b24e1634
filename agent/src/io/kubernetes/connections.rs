//! The connections of a client, which can all be closed at once.

use std::sync::{Arc, Mutex};

use crate::model::shared::lock;

use kube::client::ClientBuilder;
use kube::{Client, Config};
use tokio::task::JoinSet;

/// Runs the tasks that drive the connections of one client. Clones share them.
///
/// A network can swallow what is sent without a word: a firewall that lost its state, a load balancer that was replaced. HTTP/1.1
/// has no message that would show it, so watches wait for minutes, and a request that takes such a connection out of the pool
/// waits as long as it may.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<JoinSet<()>>>);

impl Connections {
    /// A client on these connections.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn client(&self, config: Config) -> kube::Result<Client> {
        Ok(ClientBuilder::try_from((config, self.clone()))?.build())
    }

    /// Closes all of them: requests and watches on them fail at once, and the next ones open new connections.
    pub fn close(&self) {
        lock(&self.0).abort_all();
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Connections {
    fn execute(&self, connection: F) {
        let mut running = lock(&self.0);
        while running.try_join_next().is_some() {}
        running.spawn(connection);
    }
}
