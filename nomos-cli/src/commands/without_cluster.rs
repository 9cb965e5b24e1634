//! `nomos status` in a build without the feature `cluster`: it says where to get the whole program.

use std::ffi::OsString;
use std::path::Path;

use anyhow::bail;

use crate::Console;

/// Not in this build: it needs a connection to clusters
#[derive(clap::Args)]
pub(crate) struct UnavailableArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    args: Vec<OsString>,
}

pub(crate) use UnavailableArgs as StatusArgs;

/// Fails with a message that says how to get the command.
pub(crate) fn run(_: &UnavailableArgs, _: Option<&Path>, _: &mut Console<'_>) -> anyhow::Result<u8> {
    bail!(
        "this build cannot connect to clusters, so it has no `status`; \
         to get it, build the whole program in a clone of the project: cargo install --path nomos-cli"
    )
}
