//! `nomos hydrate`: what a source declares for each cluster, as files.

use std::path::Path;

use clap::ArgAction;

use crate::output;
use crate::source::{Limits, SourceArgs, compiled};
use crate::{Console, FINE, FOUND};

/// Write what a source declares for each of its clusters
///
/// Exit status: 0 all is written, 1 the source has mistakes, 2 the command could not run.
#[derive(clap::Args)]
pub(crate) struct Hydrate {
    #[command(flatten)]
    source: SourceArgs,

    /// Write all objects to one file
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL")]
    flat: bool,
}

/// Writes the clusters that nothing blocks and prints what is wrong with the others.
pub(crate) fn run(args: &Hydrate, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let compiled = compiled(&args.source, &Limits::default(), kubeconfig, console)?;
    let objects = compiled.objects();
    if !objects.is_empty() {
        let write = if args.flat { output::write_flat } else { output::write };
        write(&args.source.output, &objects)?;
    }
    compiled.show(&args.source, console);
    Ok(if compiled.found() { FOUND } else { FINE })
}
