//! `nomos man`: the pages of the manual, for those who package the program.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::{Cli, FINE};

/// Write the pages of the manual, one for each command
#[derive(clap::Args)]
pub(crate) struct Man {
    /// Directory to write them to, such as ~/.local/share/man/man1
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes the pages of the program of this name.
pub(crate) fn run(args: &Man, program: &'static str) -> anyhow::Result<u8> {
    let directory = &args.directory;
    fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    let command = Cli::command().name(program).version(env!("CARGO_PKG_VERSION"));
    clap_mangen::generate_to(command, directory)
        .with_context(|| format!("failed to write to {}", directory.display()))?;
    Ok(FINE)
}
