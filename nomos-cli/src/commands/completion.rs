//! `nomos completion`: a script with which a shell completes command lines.

use clap_complete::Shell;

use crate::completions::script;
use crate::{Console, FINE};

/// Print a script that completes nomos commands in a shell
///
/// For example: nomos completion bash > ~/.local/share/bash-completion/completions/nomos. The script asks nomos itself, so that
/// it knows the names of syncs, objects, Namespaces and contexts too. After an upgrade of nomos write it anew.
#[derive(clap::Args)]
pub(crate) struct CompletionArgs {
    /// Name of the shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script. `program` is the name under which the program was called.
pub(crate) fn run(args: &CompletionArgs, program: &str, console: &mut Console<'_>) -> u8 {
    console.print_data(&String::from_utf8_lossy(&script(args.shell, program)));
    FINE
}
