//! Rendering with the program `kustomize`, or with `kubectl kustomize` if `kustomize` is not installed.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use agent::compile::parse::{KUSTOMIZATIONS, ParsedFile, SourceFile};
use agent::model::finding::{Code, Finding, Location, Warning};
use anyhow::Context as _;

/// The largest output that is read, in bytes.
const MAX_OUTPUT: u64 = 64 << 20;
/// As much is read of the messages of the program, in bytes.
const MAX_MESSAGES: u64 = 64 << 10;

/// The path that findings on a terminal give for rendered lines. There is no such file.
const SHOWN: &str = "kustomize-build.yaml";

/// The output of kustomize.
#[derive(Clone)]
pub(crate) struct Rendered {
    /// The name of the kustomization file.
    pub(crate) from: &'static str,
    /// The rendered manifests. They are not on disk.
    pub(crate) file: SourceFile,
}

impl Rendered {
    /// The agent does not accept the source that it was rendered from.
    pub(crate) fn warning(&self) -> Warning {
        Warning {
            message: "The agent does not render, and refuses a source with a kustomization (KNV1068).".to_owned(),
            hint: "Commit the output of `nomos hydrate` to another directory, and sync that one.".to_owned(),
            locations: vec![Location { path: self.from.to_owned(), line: 0, column: 0 }],
        }
    }
}

/// The name of the kustomization file in a directory, which is then rendered before it is read; `None` if there is none.
pub(crate) fn kustomization(root: &Path) -> Option<&'static str> {
    let is_file = |name: &&str| root.join(name).symlink_metadata().is_ok_and(|found| !found.is_dir());
    KUSTOMIZATIONS.into_iter().find(is_file)
}

/// Runs `kustomize build` on a directory with the kustomization file `from`, without the flags of Config Sync by which a repository, such as
/// that of a pull request, could read every file of this machine (`--load-restrictor=LoadRestrictionsNone`) or run programs
/// (`--enable-exec`; `--enable-helm`, by plugins of helm). If kustomize fails, the result is a file with the finding
/// (KNV1068). `None` if neither program is installed.
///
/// # Errors
///
/// If the program cannot be started.
pub(crate) fn build(root: &Path, from: &'static str) -> anyhow::Result<Option<Result<Rendered, ParsedFile>>> {
    for (program, command) in [("kustomize", "build"), ("kubectl", "kustomize")] {
        // A directory whose name begins with a dash is no flag.
        let root = Path::new(".").join(root);
        match output(Command::new(program).arg(command).arg(root)) {
            Ok(output) => {
                let file = rendered(&format!("{program} {command}"), output);
                return Ok(Some(file.map(|file| Rendered { from, file }).map_err(|finding| refused(finding, from))));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("failed to run {program}")),
        }
    }
    Ok(None)
}

/// The end of a program, and the beginnings of its output and of its messages.
struct Ended {
    status: ExitStatus,
    output: Vec<u8>,
    messages: Vec<u8>,
}

/// Runs a program to its end, or until it has written too much.
fn output(command: &mut Command) -> std::io::Result<Ended> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let messages = std::thread::spawn(move || {
        let mut messages = Vec::new();
        let read = stderr.as_mut().map(|stderr| stderr.take(MAX_MESSAGES).read_to_end(&mut messages));
        // The program would wait for a reader of the rest.
        let rest = stderr.as_mut().map(|stderr| std::io::copy(stderr, &mut std::io::sink()));
        read.transpose().and(rest.transpose()).map(|_| messages)
    });
    let mut output = Vec::new();
    if let Some(stdout) = stdout {
        stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output)?;
    }
    if output.len() as u64 > MAX_OUTPUT {
        child.kill()?;
    }
    let status = child.wait()?;
    let messages = messages.join().unwrap_or_else(|_| Ok(Vec::new()))?;
    Ok(Ended { status, output, messages })
}

fn rendered(command: &str, ended: Ended) -> Result<SourceFile, Finding> {
    let message = if ended.output.len() as u64 > MAX_OUTPUT {
        format!("the output of `{command}` is larger than {} MiB", MAX_OUTPUT >> 20)
    } else if ended.status.success() {
        return Ok(SourceFile { path: SHOWN.to_owned(), content: ended.output.into() });
    } else {
        format!("`{command}` failed: {}", String::from_utf8_lossy(&ended.messages).trim())
    };
    let hint = format!(
        "Run `{command} .` in that directory, and correct what it prints. nomos lets kustomize read no file outside of it, and run no \
         program: if you trust the repository, render it with `--load-restrictor=LoadRestrictionsNone` or `--enable-helm` yourself."
    );
    Err(Finding::new(Code::ActionableHydration, message).hint(hint))
}

/// The file that stands for the source that could not be rendered. It has not the name of the kustomization: that is refused unseen.
fn refused(finding: Finding, from: &str) -> ParsedFile {
    ParsedFile { path: SHOWN.to_owned(), findings: vec![finding.at_path(from)], ..ParsedFile::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kustomization_that_fails_is_told_in_the_words_of_the_program() {
        let failing =
            output(Command::new("sh").args(["-c", "echo no such file: missing.yaml >&2; exit 1"])).expect("sh");
        let finding = rendered("kustomize build", failing).expect_err("it failed");
        let refused = refused(finding, "kustomization.yaml");
        assert!(refused.findings[0].message.contains("failed: no such file: missing.yaml"), "{refused:?}");
        // A file of that name would be refused before its findings are looked at.
        assert!(!agent::compile::parse::is_kustomization(&refused.path));
    }

    #[test]
    fn an_endless_output_ends() {
        let endless = output(&mut Command::new("yes")).expect("yes");
        let finding = rendered("kustomize build", endless).expect_err("it is too much");
        assert!(finding.message.contains("larger than 64 MiB"), "{finding:?}");
    }
}
