//! `nomos completion`: what a shell needs to complete command lines.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{Cli, Console, FINE};

/// Print the completion script of a shell
///
/// For example: nomos completion bash > ~/.local/share/bash-completion/completions/nomos
#[derive(clap::Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script for the program of this name.
pub(crate) fn run(args: &Completion, program: &str, console: &mut Console<'_>) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), program, &mut script);
    console.print(&String::from_utf8_lossy(&script));
    FINE
}
