//! The watches that the agent has opened on the simulated API server.

use agent::model::object::GroupKind;
use sandbox::failure::Failure;
use sandbox::verbs::Watch;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::server::Server;

/// The open watches.
#[derive(Default)]
pub(crate) struct OpenWatches(Vec<OpenWatch>);

struct OpenWatch {
    kind: GroupKind,
    watch: Box<Watch>,
    lines: UnboundedSender<Vec<u8>>,
    /// The revision up to which it has told.
    told: u64,
    last: Option<Vec<u8>>,
}

impl OpenWatches {
    /// Opens a watch that begins after a revision, and returns the lines that it will send.
    pub(crate) fn open(&mut self, kind: GroupKind, watch: Box<Watch>, told: u64) -> UnboundedReceiver<Vec<u8>> {
        let (lines, received) = unbounded_channel();
        self.0.push(OpenWatch { kind, watch, lines, told, last: None });
        received
    }

    /// The watches that their client has closed are gone.
    pub(crate) fn tidy(&mut self) {
        self.0.retain(|open| !open.lines.is_closed());
    }

    /// `true` if a watch of this kind is open and has told every change up to `revision`.
    pub(crate) fn has_told(&self, kind: &GroupKind, revision: u64) -> bool {
        self.0.iter().any(|open| open.kind == *kind && open.told >= revision)
    }

    /// The places of the watches that have something to tell.
    pub(crate) fn behind(&self, server: &Server) -> Vec<usize> {
        let revision = server.state.store.revision();
        (0..self.0.len()).filter(|at| self.0[*at].told != revision).collect()
    }

    /// Tells what is new. `false` if that is nothing. The watch may have ended meanwhile.
    pub(crate) fn pump(&mut self, at: usize, server: &Server) -> bool {
        let Some(open) = self.0.get_mut(at) else { return false };
        let served = open.watch.is_served(&server.state);
        let (events, goes_on) = match open.watch.events(&server.state) {
            Ok(events) => (events, served),
            Err(last) => (vec![last], false),
        };
        events.iter().for_each(|event| open.send(event));
        open.told = server.state.store.revision();
        if !goes_on {
            self.0.remove(at);
        }
        !events.is_empty() || !goes_on
    }

    /// Tells the last event again.
    pub(crate) fn repeat(&mut self, pick: usize) {
        let count = self.0.len().max(1);
        if let Some(open) = self.0.get(pick % count)
            && let Some(last) = &open.last
        {
            let _ = open.lines.send(last.clone());
        }
    }

    /// Ends a watch, so that its client lists again, or without a word.
    pub(crate) fn end(&mut self, pick: usize, expired: bool) {
        if !self.0.is_empty() {
            let mut open = self.0.remove(pick % self.0.len());
            if expired {
                open.expire();
            }
        }
    }

    /// Ends all watches, so that their clients list again.
    pub(crate) fn expire_all(&mut self) {
        self.0.drain(..).for_each(|mut open| open.expire());
    }
}

impl OpenWatch {
    fn send(&mut self, event: &Value) {
        let mut line = serde_json::to_vec(event).expect("its keys are texts");
        line.push(b'\n');
        // It fails when the client has closed the watch.
        let _ = self.lines.send(line.clone());
        self.last = Some(line);
    }

    fn expire(&mut self) {
        self.send(&json!({"type": "ERROR", "object": Failure::expired("asked to expire").status()}));
    }
}
