//! `nomos bugreport`: a zip file with what is needed to find the cause of a problem, and without the content of any Secret.

mod withheld;
mod kept;
mod gather;
mod archive;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::contexts::{self, ClusterContext};
use crate::{Console, FINE, FOUND, completions, duration};
use gather::Gathered;
use withheld::Withheld;

/// Write a zip file with the state of the agent and its syncs, for a report of a problem
///
/// It has the logs of the agent, the syncs and their inventories, the Deployments, Pods and Events of the agent, the status and the
/// versions. It never has the content of a Secret: Secrets are read so that their values can be taken out of everything else, values of
/// environment variables and annotations of other programs are left out, and so are credentials in URLs. Exit status: 0 it is complete,
/// 1 the file was written and lists what is missing, 2 the command could not run.
#[derive(clap::Args)]
pub(crate) struct BugreportArgs {
    /// File to write, or a directory for it [default: bug_report_TIME.zip in the current directory]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", add = completions::contexts())]
    context: Option<String>,

    /// Longest time to wait for each answer of the cluster
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
}

/// One file of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ReportFile {
    /// Path below the directory of the report.
    path: String,
    text: String,
}

/// Gathers everything and writes the file.
pub(crate) fn run(args: &BugreportArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let cluster = contexts::cluster(kubeconfig, &console.environment, args.context.as_deref())?;
    let target = archive::target(args.output.as_deref(), &console.environment, seconds())?;
    let gathered =
        contexts::with(&cluster, async |client| gather::gather(&client, &cluster, args.timeout, console).await)?;
    let (status, version) = processed(args, &cluster, kubeconfig, console);
    let (files, missing) = files(&cluster.context, &gathered, &status, &version);
    archive::write(&target, &files)?;
    console.print(&format!("Created file {}\n", target.display()));
    if missing.is_empty() {
        return Ok(FINE);
    }
    console.error(&format!("the report is not complete:\n  {}", missing.join("\n  ")));
    Ok(FOUND)
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// All files of the report, and what is missing in it. Nothing that was gathered gets into a file but through [`Withheld`].
fn files(context: &str, gathered: &Gathered, status: &str, version: &str) -> (Vec<ReportFile>, Vec<String>) {
    let withheld = Withheld::of(&gathered.secrets);
    let context = archive::component(context);
    let mut files = kept::files(&gathered.objects, &withheld);
    files.extend(
        gathered.logs.iter().map(|log| ReportFile { path: log.path.clone(), text: withheld.without(&log.text) }),
    );
    for file in &mut files {
        file.path = format!("raw/{context}/{}", file.path);
    }
    for (name, text) in [("status.txt", status), ("version.txt", version)] {
        files.push(ReportFile { path: format!("processed/{context}/{name}"), text: withheld.without(text) });
    }
    let missing: Vec<String> = gathered.missing.iter().map(|text| withheld.without(text)).collect();
    if !missing.is_empty() {
        files.push(ReportFile { path: "missing.txt".to_owned(), text: missing.join("\n") + "\n" });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    (files, missing)
}

/// The output of `nomos status` and `nomos version` for the cluster.
fn processed(
    args: &BugreportArgs,
    cluster: &ClusterContext,
    kubeconfig: Option<&Path>,
    console: &Console<'_>,
) -> (String, String) {
    let captured = |run: &dyn Fn(&mut Console<'_>) -> anyhow::Result<u8>| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut captured = Console::new(&mut out, &mut err, console.environment.clone());
        if let Err(error) = run(&mut captured) {
            captured.error(&format!("{error:#}"));
        }
        String::from_utf8_lossy(&out).into_owned() + &String::from_utf8_lossy(&err)
    };
    let status = super::status::StatusArgs::whole(&cluster.context, args.timeout);
    let version = super::version::VersionArgs::of(&cluster.context, args.timeout);
    (
        captured(&|console| super::status::run(&status, kubeconfig, console)),
        captured(&|console| super::version::run(&version, kubeconfig, console)),
    )
}

#[cfg(test)]
mod tests;
