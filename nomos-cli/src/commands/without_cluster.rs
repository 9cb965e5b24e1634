//! The commands that need a cluster in a build without the feature `cluster`: each says where to get the whole program.

use anyhow::bail;

/// A module of a command that this build does not have.
macro_rules! unavailable {
    ($command:ident, $args:ident, $name:literal) => {
        pub(crate) mod $command {
            //! A command that this build does not have.

            use std::ffi::OsString;
            use std::path::Path;

            use crate::Console;

            /// Not in this build: it needs a connection to clusters
            #[derive(clap::Args)]
            pub(crate) struct $args {
                #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
                args: Vec<OsString>,
            }

            /// Fails with a message that says how to get the command.
            pub(crate) fn run(_: &$args, _: Option<&Path>, _: &mut Console<'_>) -> anyhow::Result<u8> {
                super::unavailable($name)
            }
        }
    };
}

unavailable!(approve, ApproveArgs, "approve");
unavailable!(bugreport, BugreportArgs, "bugreport");
unavailable!(diff, DiffArgs, "diff");
unavailable!(export, ExportArgs, "export");
unavailable!(history, HistoryArgs, "history");
unavailable!(install, InstallArgs, "install");
unavailable!(migrate, MigrateArgs, "migrate");
unavailable!(status, StatusArgs, "status");
unavailable!(sync, SyncArgs, "sync");
unavailable!(trace, TraceArgs, "trace");
unavailable!(ui, UiArgs, "ui");
unavailable!(uninstall, UninstallArgs, "uninstall");
unavailable!(wait, WaitArgs, "wait");

fn unavailable(command: &str) -> anyhow::Result<u8> {
    bail!(
        "this build cannot connect to clusters, so it has no `{command}`; \
         to get it, build the whole program in a clone of the project: cargo install --path nomos-cli"
    )
}
