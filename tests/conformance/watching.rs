//! Watches that last as long as a log.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::log::Watch;
use crate::side::{Side, next_piece};

/// The longest time to wait for the last event.
const PATIENCE: Duration = Duration::from_secs(20);

/// A watch that is under way.
pub(crate) struct Watching {
    task: JoinHandle<Watched>,
    end: tokio::sync::watch::Sender<Option<String>>,
}

/// The events of a watch.
pub(crate) struct Watched {
    pub(crate) status: u16,
    pub(crate) events: Vec<Value>,
}

/// Begins a watch: returns when the cluster has begun to answer.
pub(crate) async fn begin(side: &Side, watch: &Watch) -> Result<Watching> {
    let (status, mut body) = side.stream(&watch.path, &watch.query, watch.accept).await?;
    let (end, mut ended) = tokio::sync::watch::channel(None::<String>);
    let task = tokio::spawn(async move {
        let (mut text, mut events) = (Vec::new(), Vec::new());
        let mut complete = false;
        loop {
            // The version of the last event is known only when the log has ended.
            if ended.borrow_and_update().as_ref().is_some_and(|last| reached(&events, last)) {
                break;
            }
            tokio::select! {
                piece = next_piece(&mut body) => match piece {
                    Some(piece) => text.extend(piece),
                    None => { complete = true; break }
                },
                changed = ended.changed() => if changed.is_err() { break },
            }
            while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
                let line = text.drain(..=end).collect::<Vec<_>>();
                events.push(parsed(&line));
            }
        }
        // Errors may come without the end of a line.
        if complete && !text.is_empty() {
            events.push(parsed(&text));
        }
        Watched { status, events }
    });
    Ok(Watching { task, end })
}

fn parsed(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap_or_else(|_| String::from_utf8_lossy(line).into())
}

/// `true` if the events have reached the version at which the log ends.
fn reached(events: &[Value], last: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().unwrap_or_default();
    let version = |event: &Value| event["object"]["metadata"]["resourceVersion"].as_str().map(number);
    events.iter().filter_map(version).any(|version| version >= number(last))
}

/// Ends a watch when it has shown the object at the version `last`.
pub(crate) async fn finish(watching: Watching, last: String) -> Result<Watched> {
    let Watching { task, end } = watching;
    // A watch that has ended by itself does not listen.
    let _ = end.send(Some(last));
    let abort = task.abort_handle();
    let finished = tokio::time::timeout(PATIENCE, task).await;
    abort.abort();
    drop(end);
    Ok(finished.map_err(|_| anyhow::anyhow!("a watch does not show the last write"))??)
}
