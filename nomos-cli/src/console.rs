//! The terminal: only this module prints and reads the environment.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

/// The parts of the process environment that commands depend on.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `$HOME`, or `%USERPROFILE%` if it is not set: the directory in which commands look for `.kube/config`.
    pub home: Option<PathBuf>,
    /// `$KUBECONFIG`: a list of kubeconfig files, which are merged.
    pub kubeconfig: Option<OsString>,
    /// The current directory. Paths in reports are relative to it if the source is in no git repository.
    pub directory: Option<PathBuf>,
    /// `true` if the process runs in a Pod, so that it can use the cluster of the Pod.
    pub in_cluster: bool,
}

/// The two outputs of a run, and how it writes to them.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Colours on standard output.
    pub paint: Paint,
    /// Colours on standard error.
    pub note_paint: Paint,
    /// `true` if `nomos status --poll` clears the terminal before it prints the status again.
    pub redraw: bool,
    /// `true` if findings are shown with the lines of the source that they are about.
    pub snippets: bool,
    /// The environment of the process.
    pub environment: Environment,
}

impl<'a> Console<'a> {
    /// A console that writes plain text to `out` and `err`.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write, environment: Environment) -> Self {
        let plain = Paint { on: false };
        Self { out, err, paint: plain, note_paint: plain, redraw: false, snippets: false, environment }
    }

    /// Writes text to standard output without changes. Ignores errors: in `nomos status | head`, `head` may end first.
    pub fn print(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    /// Writes text to standard error without changes. Ignores errors.
    pub fn note(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
    }

    /// Writes `error:` and a message to standard error.
    pub fn error(&mut self, text: &str) {
        let word = self.note_paint.bad("error:");
        self.note(&format!("{word} {}\n", text.trim_end()));
    }
}

/// Colours text for a terminal, or leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    /// `true` if colours are used.
    pub on: bool,
}

impl Paint {
    /// Text about a good state, in green.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Text about a state that will change, in yellow.
    pub fn busy(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// Text about a problem, in red.
    pub fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// A heading, in bold.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Runs `nomos` with the arguments, the environment and the outputs of this process.
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
