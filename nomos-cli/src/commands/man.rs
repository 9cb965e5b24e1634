//! `nomos man`: writes the man pages, for packages of the program.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::{Cli, FINE};

/// Write the man pages, one for each command
#[derive(clap::Args)]
pub(crate) struct ManArgs {
    /// Directory for the pages, such as ~/.local/share/man/man1; it is created if it does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes the pages. `program` is the name under which the program was called.
pub(crate) fn run(args: &ManArgs, program: &'static str) -> anyhow::Result<u8> {
    let directory = &args.directory;
    fs::create_dir_all(directory).with_context(|| format!("failed to create {}", directory.display()))?;
    let command = Cli::command().name(program).version(env!("CARGO_PKG_VERSION"));
    clap_mangen::generate_to(command, directory)
        .with_context(|| format!("failed to write to {}", directory.display()))?;
    Ok(FINE)
}
