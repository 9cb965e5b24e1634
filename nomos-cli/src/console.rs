//! The terminal: only this module prints and reads the environment.

use std::ffi::OsString;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::sync::LazyLock;

use agent::io::proxy::ProxyVariables;
use agent::model::visible::visible;

use crate::pager::Pager;
use crate::progress::Progress;

/// The parts of the process environment that commands depend on.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `$HOME`, or `%USERPROFILE%` if it is not set: the directory in which commands look for `.kube/config`.
    pub home: Option<PathBuf>,
    /// `$KUBECONFIG`: a list of kubeconfig files, which are merged.
    pub kubeconfig: Option<OsString>,
    /// The current directory. Paths in reports are relative to it if the source is in no git repository.
    pub directory: Option<PathBuf>,
    /// The proxies for connections to clusters.
    pub proxies: ProxyVariables,
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
    /// `true` if long work tells what it waits for.
    pub progress: bool,
    /// `true` if findings are shown with the lines of the source that they are about.
    pub snippets: bool,
    /// Shows text that is longer than the terminal.
    pub pager: Option<Pager>,
    /// The environment of the process.
    pub environment: Environment,
    /// The first error of standard output.
    failed: Option<io::Error>,
}

impl<'a> Console<'a> {
    /// A console that writes plain text to `out` and `err`.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write, environment: Environment) -> Self {
        let plain = Paint { on: false };
        Self {
            out,
            err,
            paint: plain,
            note_paint: plain,
            redraw: false,
            progress: false,
            snippets: false,
            pager: None,
            environment,
            failed: None,
        }
    }

    /// Writes text to standard output like [`Self::print`], on a terminal that is too small for it with the pager.
    pub fn page(&mut self, text: &str) {
        let shown = self.pager.as_ref().filter(|pager| pager.is_for(text)).map(|pager| pager.show(&for_terminal(text)));
        if !matches!(shown, Some(Ok(()))) {
            self.print(text);
        }
    }

    /// Begins work that may take long. On a terminal a line tells of it, until the value is dropped.
    pub(crate) fn begin(&self, text: &str) -> Progress {
        Progress::begin(text, self.progress && variable("TERM").is_none_or(|terminal| terminal != "dumb"))
    }

    /// Writes text to standard output, with control characters made visible: names and messages come from repositories and
    /// clusters. An error shows in the exit status.
    pub fn print(&mut self, text: &str) {
        self.print_data(&for_terminal(text));
    }

    /// Writes data for other programs to standard output without changes. An error shows in the exit status.
    pub fn print_data(&mut self, text: &str) {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        // In `nomos status | head`, `head` may end first.
        let failed = written.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
        self.failed = self.failed.take().or(failed);
    }

    /// The exit status of a command that ended with `status`: another one, with an error, if its output did not arrive.
    pub(crate) fn ended(&mut self, status: u8) -> u8 {
        let Some(error) = self.failed.take() else { return status };
        self.error(&format!("failed to write to standard output: {error}"));
        crate::FAILED
    }

    /// Removes everything from the terminal.
    pub fn clear(&mut self) {
        self.print_data("\x1b[H\x1b[2J");
    }

    /// Writes text to standard error, with control characters made visible. Ignores errors.
    pub fn note(&mut self, text: &str) {
        let text = for_terminal(text);
        let _ = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
    }

    /// Asks the user a question, and returns the line of the answer. `None` if there is no terminal to ask on.
    pub fn ask(&mut self, question: &str) -> Option<String> {
        if !self.progress || !io::stdin().is_terminal() {
            return None;
        }
        self.note(question);
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
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

    /// Text that a renderer has coloured itself. It must hold no escape sequences but those of the renderer.
    pub(crate) fn adopt(self, rendered: &str) -> String {
        if self.on { rendered.replace(SEQUENCE, MARK.as_str()) } else { rendered.to_owned() }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        let mark = MARK.as_str();
        if self.on { format!("{mark}{code}m{text}{mark}0m") } else { text.to_owned() }
    }
}

/// The beginning of a colour on a terminal.
const SEQUENCE: &str = "\x1b[";

/// The beginning of a colour in a text that was not printed yet. It is random, so that no name or message can hold one.
static MARK: LazyLock<String> = LazyLock::new(|| format!("{SEQUENCE}{:016x};", RandomState::new().hash_one("mark")));

/// The text as a terminal may get it: with the escape sequences of [`Paint`], and no others.
fn for_terminal(text: &str) -> String {
    let mut parts = text.split(MARK.as_str());
    let mut out = visible(parts.next().unwrap_or_default()).into_owned();
    for part in parts {
        let (code, text) = part.split_once('m').unwrap_or(("0", part));
        out.push_str(&format!("{SEQUENCE}{code}m{}", visible(text)));
    }
    out
}

impl Environment {
    /// The environment of this process.
    pub(crate) fn of_process() -> Self {
        Self {
            home: variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from),
            kubeconfig: variable("KUBECONFIG"),
            directory: std::env::current_dir().ok(),
            proxies: ProxyVariables::read(|name| std::env::var(name).ok()),
            in_cluster: variable("KUBERNETES_SERVICE_HOST").is_some(),
        }
    }
}

/// A variable of the environment that is set and not empty.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Runs `nomos` with the arguments, the environment and the outputs of this process.
pub fn main() -> std::process::ExitCode {
    #[cfg(feature = "cluster")]
    if let Some(answer) = crate::completions::answer(&std::env::args_os().collect::<Vec<_>>()) {
        return match answer {
            Ok(text) => io::stdout().write_all(text.as_bytes()).map_or(crate::FAILED, |()| crate::FINE).into(),
            Err(error) => io::stderr().write_all(error.as_bytes()).map_or(crate::FAILED, |()| crate::FAILED).into(),
        };
    }
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let (out_terminal, err_terminal) = (out.is_terminal(), err.is_terminal());
    let is_dumb = variable("TERM").is_some_and(|terminal| terminal == "dumb");
    let colours = variable("NO_COLOR").is_none() && !is_dumb;
    let pager = match terminal_size::terminal_size_of(&out) {
        Some((_, terminal_size::Height(lines))) if out_terminal && !is_dumb => {
            Pager::of(|name| std::env::var_os(name), usize::from(lines))
        }
        _ => None,
    };
    let mut console = Console::new(&mut out, &mut err, Environment::of_process());
    console.paint = Paint { on: colours && out_terminal };
    console.note_paint = Paint { on: colours && err_terminal };
    console.redraw = out_terminal;
    console.progress = err_terminal;
    console.snippets = err_terminal;
    console.pager = pager;
    crate::run(std::env::args_os(), &mut console).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output on which each write fails.
    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_that_does_not_arrive_is_an_error_unless_its_reader_has_gone() {
        let full = "error: failed to write to standard output: no storage space\n";
        for (kind, expected) in
            [(io::ErrorKind::StorageFull, (crate::FAILED, full)), (io::ErrorKind::BrokenPipe, (crate::FINE, ""))]
        {
            for words in ["nomos --help", "nomos completion bash", "nomos explain", "nomos --version"] {
                let (mut out, mut err) = (Refusing(kind), Vec::new());
                let mut console = Console::new(&mut out, &mut err, Environment::default());
                let status = crate::run(words.split(' ').map(OsString::from), &mut console);
                assert_eq!((status, &*String::from_utf8_lossy(&err)), expected, "{words}");
            }
        }
    }

    #[test]
    fn only_colours_of_our_own_reach_the_terminal() {
        let paint = Paint { on: true };
        let foreign = "\x1b[31mred\x1b[0m\u{9b}2J\u{202e}";
        let shown = r"\u{1b}[31mred\u{1b}[0m\u{9b}2J\u{202e}";
        let text = format!("{foreign}{} {foreign}\n", paint.good(&format!("{foreign}{}", paint.bold("bold"))));
        let expected = format!("{shown}\x1b[32m{shown}\x1b[1mbold\x1b[0m\x1b[0m {shown}\n");
        assert_eq!(for_terminal(&text), expected);
    }
}
