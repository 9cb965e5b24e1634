//! `nomos completion`: a script with which a shell completes command lines.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{Cli, Console, FINE};

/// Print a script that completes nomos commands in a shell
///
/// For example: nomos completion bash > ~/.local/share/bash-completion/completions/nomos
#[derive(clap::Args)]
pub(crate) struct CompletionArgs {
    /// Name of the shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script. `program` is the name under which the program was called.
pub(crate) fn run(args: &CompletionArgs, program: &str, console: &mut Console<'_>) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), program, &mut script);
    console.print_data(&String::from_utf8_lossy(&script));
    FINE
}
