//! `nomos vet`: checks a source.

use std::path::Path;

use clap::ArgAction;

use crate::report::{self, ReportFlag};
use crate::source::{SourceArgs, SourceRequest, Wanted, compiled};
use crate::{Console, FINE, FOUND, boolean};

/// Check a source for mistakes
///
/// Exit status: 0 there are no mistakes, 1 there are mistakes, 2 the command could not run.
#[derive(clap::Args)]
pub(crate) struct VetArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Check the source of a RepoSync in this namespace
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Allow at most so many objects; without a number 1000, with 0 any number
    #[arg(long, default_value_t = 0, num_args = 0..=1, require_equals = true, default_missing_value = "1000",
          value_name = "N")]
    threshold: i64,

    /// Also write the compiled objects to --output, as hydrate does
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    keep_output: bool,

    /// Write the findings in this form to FILE, or without FILE to standard output: text, json, sarif, junit or github
    /// (annotations of a workflow). Can be used several times
    #[arg(long, value_parser = report::parse, value_name = "FORM[=FILE]")]
    report: Vec<ReportFlag>,
}

/// Checks the source for each cluster and prints the findings.
pub(crate) fn run(args: &VetArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let namespace = args.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let result = if args.keep_output { Wanted::Objects } else { Wanted::Findings };
    let max_objects = usize::try_from(args.threshold).ok().filter(|max| *max > 0);
    let limits = SourceRequest { namespace, max_objects, result };
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
