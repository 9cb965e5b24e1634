//! `nomos hydrate`: writes the objects that a source declares for each cluster to files.

use std::path::Path;

use clap::ArgAction;

use crate::output;
use crate::source::{SourceArgs, SourceRequest, compiled};
use crate::{Console, FINE, FOUND, boolean};

/// Write the objects that a source declares for each of its clusters
///
/// Exit status: 0 all objects are written, 1 the source has mistakes or, with --check, the files on disk are not current, 2 the
/// command could not run.
#[derive(clap::Args)]
pub(crate) struct HydrateArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Write all objects to one file, which --output names
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    flat: bool,

    /// Write no files; show the differences between the files on disk and those that would be written
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    check: bool,
}

/// Writes the objects of each cluster for which no finding blocks, and prints all findings.
pub(crate) fn run(args: &HydrateArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let compiled = compiled(&args.source, &SourceRequest::default(), kubeconfig, console)?;
    let objects = compiled.objects();
    if let Some(bad) = objects.iter().find_map(|cluster| cluster.without_version()) {
        console.error(&format!(
            "the apiVersion `{}` of {} ends without a version; write it as GROUP/VERSION",
            bad.api_version(),
            bad.id()
        ));
        return Ok(FOUND);
    }
    let output = &args.source.output;
    let mut differences = Vec::new();
    match (args.check, args.flat) {
        (false, false) => compiled.tree(&args.source)?.write()?,
        (true, false) => differences = compiled.tree(&args.source)?.check()?,
        // A finding blocks every cluster: the file stays as it is.
        _ if objects.is_empty() => {}
        (false, true) => output::write_flat(output, &objects)?,
        (true, true) => differences = output::check_flat(output, &objects)?,
    }
    differences.iter().for_each(|it| console.print(&it.text(console.paint)));
    console.note(&compiled.warnings());
    compiled.show(&args.source, console);
    if !differences.is_empty() {
        console.note(&format!(
            "{}: nomos hydrate would change {} file(s)\n",
            output.output.display(),
            differences.len()
        ));
    }
    Ok(if compiled.found() || !differences.is_empty() { FOUND } else { FINE })
}
