//! Commands that talk to clusters, in a build without them: they say where to get the whole program.

use std::ffi::OsString;
use std::path::Path;

use anyhow::bail;

use crate::Console;

/// Not in this build: it talks to clusters
#[derive(clap::Args)]
pub(crate) struct Status {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    args: Vec<OsString>,
}

/// Says how to get the command.
pub(crate) fn run(_: &Status, _: Option<&Path>, _: &mut Console<'_>) -> anyhow::Result<u8> {
    bail!(
        "this build talks to no cluster, so it has no `status`; \
         build the whole program in a checkout of the project: cargo install --path nomos-cli"
    )
}
