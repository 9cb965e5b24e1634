//! Completion of command lines in shells. The whole program also knows the names that a cluster has.

#[cfg(feature = "cluster")]
pub(crate) use live::{answer, contexts, namespaces, objects, syncs};

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::Cli;

/// A script that completes the command lines of `program` in a shell. It asks the program itself.
#[cfg(feature = "cluster")]
pub(crate) fn script(shell: Shell, program: &str) -> Vec<u8> {
    let mut script = Vec::new();
    let shells = clap_complete::env::Shells::builtins();
    let written = shells
        .completer(&shell.to_string())
        .map(|shell| shell.write_registration(live::VARIABLE, program, program, program, &mut script));
    match written {
        Some(Ok(())) => script,
        _ => words(shell, program),
    }
}

/// A script that completes the command lines of `program` in a shell.
#[cfg(not(feature = "cluster"))]
pub(crate) fn script(shell: Shell, program: &str) -> Vec<u8> {
    words(shell, program)
}

/// A script that knows commands and flags by itself.
fn words(shell: Shell, program: &str) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), program, &mut script);
    script
}

#[cfg(feature = "cluster")]
mod live {
    //! Names of contexts, and of what the cluster of the current one has.

    use std::ffi::{OsStr, OsString};
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use clap::CommandFactory as _;
    use clap_complete::engine::{ArgValueCandidates, CompletionCandidate, complete};
    use clap_complete::env::CompleteEnv;
    use k8s_openapi::api::core::v1::Namespace;
    use kube::api::{Api, ListParams, ResourceExt as _};

    use crate::commands::status::query::{self, QueryScope};
    use crate::commands::status::report::{SyncReport, resource_name};
    use crate::contexts::{self, ClusterContext};
    use crate::syncs::shown;
    use crate::{Cli, Environment};

    /// The variable by which a shell asks for completions.
    pub(super) const VARIABLE: &str = "COMPLETE";
    /// Longest time that a user waits for names.
    const PATIENCE: Duration = Duration::from_secs(2);
    /// The name by which kubectl calls the program for completions of the plugin.
    const OF_KUBECTL: &str = "kubectl_complete-nomos";

    /// Answers a shell or kubectl that asks for completions; `None` if neither does.
    pub(crate) fn answer(args: &[OsString]) -> Option<Result<String, String>> {
        let called = args.first().and_then(|first| Path::new(first).file_stem());
        if called == Some(OsStr::new(OF_KUBECTL)) {
            return Some(Ok(for_kubectl(args.get(1..).unwrap_or_default())));
        }
        let current = Environment::of_process().directory;
        match CompleteEnv::with_factory(Cli::command).var(VARIABLE).try_complete(args, current.as_deref()) {
            Ok(true) => Some(Ok(String::new())),
            Ok(false) => None,
            Err(error) => Some(Err(error.to_string())),
        }
    }

    /// The candidates for the last word as kubectl reads them: a line for each, then that there are no others
    /// (<https://pkg.go.dev/github.com/spf13/cobra#ShellCompDirective>).
    pub(super) fn for_kubectl(words: &[OsString]) -> String {
        let mut line = vec![OsString::from("nomos")];
        line.extend(words.iter().cloned());
        if words.is_empty() {
            line.push(OsString::new());
        }
        let last = line.len() - 1;
        // kubectl shows flags to those who begin one.
        let begins_flag = |word: &OsStr| word.to_string_lossy().starts_with('-');
        let wants_flags = begins_flag(&line[last]);
        let found = complete(&mut Cli::command(), line, last, None).unwrap_or_default();
        let mut text = String::new();
        let meant = |it: &&CompletionCandidate| !it.is_hide_set() && begins_flag(it.get_value()) == wants_flags;
        for candidate in found.iter().filter(meant) {
            text.push_str(&candidate.get_value().to_string_lossy());
            let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
            if let Some(help) = help.lines().next() {
                text.push_str(&format!("\t{help}"));
            }
            text.push('\n');
        }
        text + ":4\n"
    }

    /// The names of syncs, as nomos status shows them.
    pub(crate) fn syncs() -> ArgValueCandidates {
        ArgValueCandidates::new(|| of_syncs(false, |syncs| syncs.iter().map(|sync| shown(&sync.id())).collect()))
    }

    /// The objects that syncs manage, such as `deployment.apps/web`.
    pub(crate) fn objects() -> ArgValueCandidates {
        ArgValueCandidates::new(|| {
            let wanted = value(&["-n", "--namespace"]);
            of_syncs(true, |syncs| {
                let resources = syncs.iter().flat_map(|sync| &sync.resources);
                let is_meant = |namespace: &str| wanted.as_deref().is_none_or(|wanted| wanted == namespace);
                resources.filter(|it| is_meant(&it.id.namespace)).map(resource_name).collect()
            })
        })
    }

    fn of_syncs(resources: bool, names: impl Fn(&[SyncReport]) -> Vec<String>) -> Vec<CompletionCandidate> {
        let found =
            asked(async move |client| Ok(query::syncs(&client, QueryScope { namespace: None, resources }).await?.1));
        candidates(names(&found.unwrap_or_default()))
    }

    /// The names of Namespaces.
    pub(crate) fn namespaces() -> ArgValueCandidates {
        ArgValueCandidates::new(|| {
            let found = asked(async |client| {
                let all: Api<Namespace> = Api::all(client);
                let list = all.list_metadata(&ListParams::default()).await?;
                Ok(list.items.iter().map(|namespace| namespace.name_any()).collect::<Vec<_>>())
            });
            candidates(found.unwrap_or_default())
        })
    }

    /// The names of contexts.
    pub(crate) fn contexts() -> ArgValueCandidates {
        ArgValueCandidates::new(|| {
            let all = contexts::clusters(kubeconfig().as_deref(), &Environment::of_process(), None);
            let all = all.ok().flatten().unwrap_or_default();
            candidates(all.into_iter().map(|cluster| cluster.context).collect())
        })
    }

    fn candidates(mut names: Vec<String>) -> Vec<CompletionCandidate> {
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(CompletionCandidate::new).collect()
    }

    /// The answer of the cluster of the context that the command line names. Nothing is said about one that is away.
    fn asked<T: Send + 'static>(question: impl AsyncFn(kube::Client) -> contexts::ClusterAnswer<T>) -> Option<T> {
        let context = value(&["--context", "--contexts"]);
        let file = kubeconfig();
        let cluster: ClusterContext =
            contexts::cluster(file.as_deref(), &Environment::of_process(), context.as_deref()).ok()?;
        contexts::ask(&[cluster], PATIENCE, question).ok()?.into_iter().next()?.ok()
    }

    fn kubeconfig() -> Option<PathBuf> {
        value(&["--kubeconfig"]).map(PathBuf::from)
    }

    /// The value of a flag in the command line that is being written.
    fn value(flags: &[&str]) -> Option<String> {
        let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        value_in(&words, flags)
    }

    pub(super) fn value_in(words: &[String], flags: &[&str]) -> Option<String> {
        words.iter().enumerate().find_map(|(i, word)| match word.split_once('=') {
            Some((flag, value)) if flags.contains(&flag) => Some(value.to_owned()),
            None if flags.contains(&word.as_str()) => words.get(i + 1).filter(|value| !value.is_empty()).cloned(),
            _ => None,
        })
    }
}

#[cfg(all(test, feature = "cluster"))]
mod tests {
    use super::live::{for_kubectl, value_in};

    #[test]
    fn kubectl_gets_lines_and_a_directive() {
        let complete = |words: &[&str]| for_kubectl(&words.iter().map(Into::into).collect::<Vec<_>>());
        let commands = complete(&[]);
        assert!(
            !commands.contains("\n--")
                && commands.contains("\nhistory\tShow the commits")
                && commands.ends_with("\n:4\n"),
            "{commands}"
        );
        assert!(complete(&["sta"]).starts_with("status\tShow the state"), "{}", complete(&["sta"]));
        assert!(complete(&["sync", ""]).contains("suspend\t"));
        assert!(complete(&["status", "--no-"]).contains("--no-headers\t"));
    }

    #[test]
    fn the_command_line_names_the_cluster() {
        let words: Vec<String> =
            ["nomos", "--", "nomos", "diff", "--context=a", "--kubeconfig", "f", "-n", ""].map(str::to_owned).to_vec();
        let value = |flags: &[&str]| value_in(&words, flags);
        assert_eq!(value(&["--context", "--contexts"]).as_deref(), Some("a"));
        assert_eq!(value(&["--kubeconfig"]).as_deref(), Some("f"));
        assert_eq!(value(&["-n", "--namespace"]), None);
    }
}
