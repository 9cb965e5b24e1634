//! The `nomos` command line: it checks repositories and shows the state of clusters.
//!
//! [`run`] is the whole program as a function of its arguments and a [`Console`], so that tests can call it in their own
//! process. Exit status: 0 no problem, 1 the command found a problem, 2 the command could not run.
#![expect(clippy::disallowed_methods, reason = "a command line is all edge")]

mod columns;
mod commands;
mod completions;
mod console;
#[cfg(feature = "cluster")]
mod contexts;
mod differences;
#[cfg(feature = "cluster")]
mod installation;
mod jsonpath;
mod kinds;
mod kustomize;
mod output;
mod pager;
mod placed;
mod progress;
mod report;
mod snippet;
mod source;
#[cfg(feature = "cluster")]
mod syncs;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::model::error_chain::error_chain;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use commands::{
    approve, bugreport, completion, diff, explain, export, history, hydrate, init, install, man, migrate, status, sync,
    trace, ui, uninstall, version, vet, wait,
};
pub use console::{Console, Environment, Paint, main};
pub use pager::Pager;

/// Exit status of a command that found no problem.
pub const FINE: u8 = 0;
/// Exit status of a command that found a problem: a mistake in a source, or a cluster that is not in sync.
pub const FOUND: u8 = 1;
/// Exit status of a command that could not run.
pub const FAILED: u8 = 2;

/// Check repositories of Kubernetes manifests and show the state of clusters
#[derive(Parser)]
#[command(name = "nomos", disable_version_flag = true, args_override_self = true, max_term_width = 100)]
struct Cli {
    /// Kubeconfig file [default: $KUBECONFIG, then $HOME/.kube/config; in a Pod without either, the Pod's cluster]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Print the version of nomos
    #[arg(long)]
    version: bool,

    #[command(subcommand)]
    command: Option<Subcommand>,
}

#[derive(clap::Subcommand)]
enum Subcommand {
    Approve(approve::ApproveArgs),
    Bugreport(bugreport::BugreportArgs),
    Completion(completion::CompletionArgs),
    Diff(diff::DiffArgs),
    Explain(explain::ExplainArgs),
    Export(export::ExportArgs),
    History(history::HistoryArgs),
    Hydrate(hydrate::HydrateArgs),
    Init(init::InitArgs),
    Install(install::InstallArgs),
    Man(man::ManArgs),
    Migrate(migrate::MigrateArgs),
    Status(status::StatusArgs),
    Sync(sync::SyncArgs),
    Trace(trace::TraceArgs),
    Ui(ui::UiArgs),
    Uninstall(uninstall::UninstallArgs),
    Version(version::VersionArgs),
    Vet(vet::VetArgs),
    Wait(wait::WaitArgs),
}

/// The arguments with the command before its flags: `nomos --path=DIR vet` is how the documentation of Config Sync writes it.
fn command_first(args: &[OsString], command: &clap::Command) -> Option<Vec<OsString>> {
    let is_command = |arg: &OsString| command.get_subcommands().any(|known| *arg == *known.get_name());
    let at = args.iter().skip(2).position(is_command)? + 2;
    let mut args = args.to_vec();
    args[1..=at].rotate_right(1);
    Some(args)
}

/// Runs one command line, whose first argument is the program's name, and returns its exit status.
pub fn run(args: impl IntoIterator<Item = OsString>, console: &mut Console<'_>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let status = run_command(&args, console);
    console.ended(status)
}

fn run_command(args: &[OsString], console: &mut Console<'_>) -> u8 {
    let mut command = command(args);
    let parsed = match command.try_get_matches_from_mut(args) {
        Err(error) if error.kind() == ErrorKind::UnknownArgument => {
            let reordered = command_first(args, &command);
            reordered.and_then(|args| command.try_get_matches_from_mut(args).ok()).ok_or(error)
        }
        parsed => parsed,
    };
    let parsed = parsed.and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed.map_err(|error| error.format(&mut command)) {
        Ok(cli) => cli,
        Err(error) => return usage(error, args, console),
    };
    if cli.version {
        console.print(&format!("{}\n", env!("CARGO_PKG_VERSION")));
        return FINE;
    }
    let kubeconfig = cli.kubeconfig.as_deref();
    let result = match &cli.command {
        Some(Subcommand::Approve(command)) => approve::run(command, kubeconfig, console),
        Some(Subcommand::Bugreport(command)) => bugreport::run(command, kubeconfig, console),
        Some(Subcommand::Completion(command)) => Ok(completion::run(command, program(args), console)),
        Some(Subcommand::Diff(command)) => diff::run(command, kubeconfig, console),
        Some(Subcommand::Explain(command)) => explain::run(command, console),
        Some(Subcommand::Export(command)) => export::run(command, kubeconfig, console),
        Some(Subcommand::History(command)) => history::run(command, kubeconfig, console),
        Some(Subcommand::Hydrate(command)) => hydrate::run(command, kubeconfig, console),
        Some(Subcommand::Init(command)) => init::run(command, console),
        Some(Subcommand::Install(command)) => install::run(command, kubeconfig, console),
        Some(Subcommand::Man(command)) => man::run(command, program(args)),
        Some(Subcommand::Migrate(command)) => migrate::run(command, kubeconfig, console),
        Some(Subcommand::Status(command)) => status::run(command, kubeconfig, console),
        Some(Subcommand::Sync(command)) => sync::run(command, kubeconfig, console),
        Some(Subcommand::Trace(command)) => trace::run(command, kubeconfig, console),
        Some(Subcommand::Ui(command)) => ui::run(command, kubeconfig, console),
        Some(Subcommand::Uninstall(command)) => uninstall::run(command, kubeconfig, console),
        Some(Subcommand::Version(command)) => version::run(command, kubeconfig, console),
        Some(Subcommand::Vet(command)) => vet::run(command, kubeconfig, console),
        Some(Subcommand::Wait(command)) => wait::run(command, kubeconfig, console),
        None => {
            console.print(&command.render_help().to_string());
            Ok(FINE)
        }
    };
    result.unwrap_or_else(|error| {
        console.error(&error_chain(error.as_ref()));
        FAILED
    })
}

/// The name of the program that was called: `nomos-lint` or `nomos`.
fn program(args: &[OsString]) -> &'static str {
    if called(args) == "nomos-lint" { "nomos-lint" } else { "nomos" }
}

/// The command line of the program that was called. Users call a plugin of kubectl with a word of its own.
fn command(args: &[OsString]) -> clap::Command {
    let command = Cli::command().name(program(args));
    match called(args) {
        "kubectl-nomos" => command.bin_name("kubectl nomos"),
        _ => command.bin_name(program(args)),
    }
}

/// The name of the file that was called.
fn called(args: &[OsString]) -> &str {
    args.first().and_then(|first| Path::new(first).file_stem()).and_then(|name| name.to_str()).unwrap_or_default()
}

/// Prints help to standard output, and a mistake in the command line to standard error.
fn usage(mut error: clap::Error, args: &[OsString], console: &mut Console<'_>) -> u8 {
    if let Some(meant) = meant(&error, args) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![meant.into()]));
    }
    let text = error.render().to_string();
    if error.use_stderr() {
        console.note(&text);
        FAILED
    } else {
        console.print(&text);
        FINE
    }
}

/// A tip for a word that the command does not take: probably it is the value of the flag before it, which must follow `=`, or
/// the path of the source.
fn meant(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let word = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) if !word.starts_with('-') => word,
        _ => return None,
    };
    let at = args.iter().rposition(|arg| arg == word.as_str())?;
    let before = args.get(at.checked_sub(1)?)?.to_str()?;
    let is_value = boolean(word).is_ok() || word.parse::<i64>().is_ok();
    if is_value && before.starts_with("--") && !before.contains('=') {
        return Some(format!("write {before}={word}"));
    }
    let takes_path = args.iter().any(|arg| ["vet", "hydrate", "init"].iter().any(|command| arg == command));
    takes_path.then(|| format!("write --path {word}"))
}

/// Reads the value of a flag that is on or off, in every spelling that [Go reads](https://pkg.go.dev/strconv#ParseBool).
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// Reads the value of a flag such as `--timeout 1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    agent::model::duration::parse_duration(text)
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
