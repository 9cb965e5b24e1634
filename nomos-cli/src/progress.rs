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
        let width = terminal_size::terminal_size_of(io::stderr()).map(|(width, _)| usize::from(width.0));
        write(&format!("\r\x1b[K{}", line(&visible(&now), begun.elapsed().as_secs(), width)));
        (shown, pause) = (true, PERIOD);
    }
    if shown {
        write("\r\x1b[K");
    }
}

/// The line with the time, cut so that a terminal of this width shows it in one line: the next one is written over it.
fn line(text: &str, seconds: u64, width: Option<usize>) -> String {
    let time = format!(", {seconds} s");
    // A character that is not ASCII may take two columns.
    let columns = |c: char| if c.is_ascii() { 1 } else { 2 };
    let all: usize = text.chars().map(columns).sum();
    let room = width.filter(|width| *width > 0).map_or(usize::MAX, |width| width.saturating_sub(time.len() + 1));
    if all <= room {
        return text.to_owned() + &time;
    }
    let mut left = room.saturating_sub(3);
    let fits = |c: &char| match left.checked_sub(columns(*c)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let begin: String = text.chars().take_while(fits).collect();
    format!("{begin}...{time}")
}

/// Ignores errors: the terminal may be gone.
fn write(text: &str) {
    let mut err = io::stderr();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn the_line_fits_the_terminal() {
        let text = "asking the cluster gke_project_europe-west1_production";
        assert_eq!(line(text, 3, None), format!("{text}, 3 s"));
        assert_eq!(line(text, 3, Some(text.len() + 6)), format!("{text}, 3 s"));
        assert_eq!(line(text, 3, Some(30)), "asking the cluster gk..., 3 s");
        assert_eq!(
            line("\u{5b57}\u{5b57}\u{5b57}\u{5b57}\u{5b57}\u{5b57}", 12, Some(16)),
            "\u{5b57}\u{5b57}\u{5b57}..., 12 s"
        );
        assert_eq!(line(text, 3, Some(0)), format!("{text}, 3 s"));
        for width in 9..90 {
            assert!(line(text, 12, Some(width)).len() < width.max(10), "{width}");
        }
    }
}
