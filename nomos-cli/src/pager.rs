//! The pager for text that is longer than the terminal.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

/// The pager of an environment that names none.
const DEFAULT: &str = "if command -v less > /dev/null; then exec less; else exec cat; fi";

/// The program that shows long text, and the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pager {
    /// A command line for the shell.
    command: OsString,
    /// Number of lines that the terminal shows.
    lines: usize,
}

impl Pager {
    /// The pager that these variables of the environment name: `NOMOS_PAGER`, or `PAGER`, or less. `None` if one is empty or
    /// `cat`.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>, lines: usize) -> Option<Self> {
        let named = ["NOMOS_PAGER", "PAGER"].into_iter().find_map(variable);
        let command = named.unwrap_or_else(|| DEFAULT.into());
        // A terminal without a size shows all.
        (!command.is_empty() && command != "cat" && lines > 0).then_some(Self { command, lines })
    }

    /// `true` if the terminal does not show all of this text at once.
    pub(crate) fn is_for(&self, text: &str) -> bool {
        text.lines().count() >= self.lines
    }

    /// Shows the text until the user has seen enough.
    ///
    /// # Errors
    ///
    /// If the pager cannot be started.
    pub(crate) fn show(&self, text: &str) -> io::Result<()> {
        let mut pager = Command::new("sh");
        pager.arg("-c").arg(&self.command).stdin(Stdio::piped());
        // As git has it: colours are shown, text that fits is left on the terminal.
        if std::env::var_os("LESS").is_none() {
            pager.env("LESS", "FRX");
        }
        #[cfg(all(feature = "cluster", unix))]
        let _ignored = interrupts_ignored();
        let mut running = pager.spawn()?;
        if let Some(mut input) = running.stdin.take() {
            // The user may leave the pager before the end.
            let _ = input.write_all(text.as_bytes());
        }
        match running.wait()?.code() {
            // The shell found no such program.
            Some(126 | 127) => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(()),
        }
    }
}

/// Lets the pager alone answer Ctrl-C, from now on. The linter has no runtime: Ctrl-C ends it too.
#[cfg(all(feature = "cluster", unix))]
fn interrupts_ignored() -> Option<tokio::signal::unix::Signal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let entered = runtime.enter();
    let ignored = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).ok();
    drop(entered);
    // Within another runtime it cannot be waited for.
    runtime.shutdown_background();
    ignored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_pager() {
        let of = |variables: &[(&str, &str)]| {
            let variable =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
            Pager::of(variable, 10).map(|pager| pager.command)
        };
        assert_eq!(of(&[]), Some(DEFAULT.into()));
        assert_eq!(of(&[("PAGER", "more")]), Some("more".into()));
        assert_eq!(of(&[("PAGER", "more"), ("NOMOS_PAGER", "less -S")]), Some("less -S".into()));
        for none in [[("PAGER", "")], [("PAGER", "cat")], [("NOMOS_PAGER", "")]] {
            assert_eq!(of(&none), None, "{none:?}");
        }
        assert_eq!(of(&[("PAGER", "more"), ("NOMOS_PAGER", "cat")]), None);
        assert_eq!(Pager::of(|_| None, 0), None);
    }

    #[cfg(all(feature = "cluster", unix))]
    #[tokio::test]
    async fn a_pager_runs_within_a_request() {
        Pager { command: "cat > /dev/null".into(), lines: 1 }.show("a\nb\n").expect("it runs");
    }

    #[test]
    fn text_that_fits_needs_no_pager() {
        let pager = Pager { command: "less".into(), lines: 3 };
        assert!(!pager.is_for("a\nb\n") && pager.is_for("a\nb\nc\n"));
    }
}
