//! The terminal: the only place that prints, and the only one that reads the environment.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

/// What the process was started with that commands depend on.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `$HOME` (`%USERPROFILE%` where there is none): where `.kube/config` is looked for.
    pub home: Option<PathBuf>,
    /// `$KUBECONFIG`: a list of files that are merged.
    pub kubeconfig: Option<OsString>,
    /// The current directory, which the paths of reports are relative to.
    pub directory: Option<PathBuf>,
    /// Whether this runs in a Pod, so that the cluster around it can be used.
    pub in_cluster: bool,
}

/// Where a run writes to, and how.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Colours of standard output, or none.
    pub paint: Paint,
    /// Colours of standard error, or none.
    pub note_paint: Paint,
    /// Whether a new frame replaces the last one on standard output.
    pub redraw: bool,
    /// Whether findings are shown with the lines of the source that they are about.
    pub snippets: bool,
    /// The environment of the run.
    pub environment: Environment,
}

impl<'a> Console<'a> {
    /// A console that writes plain text to `out` and `err`.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write, environment: Environment) -> Self {
        let plain = Paint { on: false };
        Self { out, err, paint: plain, note_paint: plain, redraw: false, snippets: false, environment }
    }

    /// Writes to standard output as it is.
    ///
    /// A reader that has gone away (`nomos status | head`) is no failure.
    pub fn print(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    /// Writes to standard error as it is.
    pub fn note(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
    }

    /// Writes a message about a failure to standard error.
    pub fn error(&mut self, text: &str) {
        let word = self.note_paint.bad("error:");
        self.note(&format!("{word} {}\n", text.trim_end()));
    }
}

/// Colours on a terminal, nothing elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    /// Whether colours are used.
    pub on: bool,
}

impl Paint {
    /// Something good.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Something under way.
    pub fn busy(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// Something bad.
    pub fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Runs `nomos` for this process: its arguments, environment, standard output and standard error.
pub fn main() -> std::process::ExitCode {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let environment = Environment {
        home: variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from),
        kubeconfig: variable("KUBECONFIG"),
        directory: std::env::current_dir().ok(),
        in_cluster: variable("KUBERNETES_SERVICE_HOST").is_some(),
    };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let (out_terminal, err_terminal) = (out.is_terminal(), err.is_terminal());
    let colours = variable("NO_COLOR").is_none() && variable("TERM").is_none_or(|terminal| terminal != "dumb");
    let mut console = Console::new(&mut out, &mut err, environment);
    console.paint = Paint { on: colours && out_terminal };
    console.note_paint = Paint { on: colours && err_terminal };
    console.redraw = out_terminal;
    console.snippets = err_terminal;
    crate::run(std::env::args_os(), &mut console).into()
}
