//! `nomos vet`: whether a source is valid.

use std::path::Path;

use clap::ArgAction;

use crate::report::{self, Report};
use crate::source::{Limits, SourceArgs, Wanted, compiled};
use crate::{Console, FINE, FOUND, boolean};

/// Check a source for mistakes
///
/// Exit status: 0 there are none, 1 there are some, 2 the command could not run.
#[derive(clap::Args)]
pub(crate) struct Vet {
    #[command(flatten)]
    source: SourceArgs,

    /// Check as the source of a RepoSync of this namespace
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Refuse more objects than this; 1000 without a number, 0 for no limit
    #[arg(long, default_value_t = 0, num_args = 0..=1, require_equals = true, default_missing_value = "1000",
          value_name = "N")]
    threshold: i64,

    /// Write the compiled objects to --output, as hydrate does
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    keep_output: bool,

    /// Write findings in another form, to FILE or to standard output: text, json, sarif, junit or github (workflow
    /// annotations). Can be given several times
    #[arg(long, value_parser = report::parse, value_name = "FORM[=FILE]")]
    report: Vec<Report>,
}

/// Checks the source for every cluster and prints what is wrong.
pub(crate) fn run(args: &Vet, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let namespace = args.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let result = if args.keep_output { Wanted::Objects } else { Wanted::Findings };
    let max_objects = usize::try_from(args.threshold).ok().filter(|max| *max > 0);
    let limits = Limits { namespace, max_objects, result };
    let compiled = compiled(&args.source, &limits, kubeconfig, console)?;
    if args.keep_output {
        compiled.tree(&args.source)?.write()?;
    }
    report::write(&args.report, &args.source, &compiled, console)?;
    if compiled.found() {
        return Ok(FOUND);
    }
    console.note(&format!("{} No validation issues found.\n", console.note_paint.good("✅")));
    Ok(FINE)
}
