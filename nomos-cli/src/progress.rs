//! A line on the terminal about work that takes longer than a second. It is gone when the work ends.

use std::io::{self, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use agent::model::visible::visible;

/// Time after which the line is shown.
const LONG: Duration = Duration::from_secs(1);
/// Time between two changes of the line.
const PERIOD: Duration = Duration::from_millis(200);

/// The line about one piece of work. Nothing else may be printed while it is there.
pub(crate) struct Progress {
    #[cfg(feature = "cluster")]
    text: Arc<Mutex<String>>,
    /// `None` without a terminal.
    line: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// The line about work that begins now. It is shown only if `shown`.
    pub(crate) fn begin(text: &str, shown: bool) -> Self {
        let text = Arc::new(Mutex::new(text.to_owned()));
        let line = shown.then(|| {
            let (end, ended) = mpsc::channel();
            let text = Arc::clone(&text);
            (end, thread::spawn(move || show(&text, &ended)))
        });
        Self {
            #[cfg(feature = "cluster")]
            text,
            line,
        }
    }

    /// Changes the line.
    #[cfg(feature = "cluster")]
    pub(crate) fn tell(&self, text: String) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// Does work that counts in `done` how much of it is done.
    #[cfg(feature = "cluster")]
    pub(crate) async fn counting<T>(
        &self,
        done: &std::cell::Cell<usize>,
        all: usize,
        things: &str,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return result,
                () = tokio::time::sleep(PERIOD) => self.tell(format!("{} of {all} {things}", done.get())),
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, line)) = self.line.take() {
            drop(end);
            let _ = line.join();
        }
    }
}

/// Shows the line until the sender is gone.
fn show(text: &Mutex<String>, ended: &mpsc::Receiver<()>) {
    let begun = Instant::now();
    let mut pause = LONG;
    let mut shown = false;
    while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let now = text.lock().unwrap_or_else(PoisonError::into_inner).clone();
        write(&format!("\r\x1b[K{}, {} s", visible(&now), begun.elapsed().as_secs()));
        (shown, pause) = (true, PERIOD);
    }
    if shown {
        write("\r\x1b[K");
    }
}

/// Ignores errors: the terminal may be gone.
fn write(text: &str) {
    let mut err = io::stderr();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
