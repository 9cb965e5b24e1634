//! `nomos diff`: shows what a commit or a working tree would change on a cluster, by dry runs of the API server.

mod changes;
mod sealed;

use std::cell::Cell;
use std::path::{Path, PathBuf};

use agent::api::{LocalRepositories, SupportedSpec, supported};
use agent::compile::kind_scopes::Scope;
use agent::compile::parse::AgeKeys;
use agent::compile::{CompileOptions, DynamicSelectors, NamespaceLabels, NamespaceStrategy, RepoScope, SourceFormat};
use agent::io::budget::ReadBudget;
use agent::io::git::{Commit, GitError, UserClone};
use agent::io::kubernetes::client::Cluster;
use agent::model::finding::text;
use agent::model::metadata::SyncId;
use agent::model::url::{repository_name, shown as shown_url};
use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, ResourceExt as _};

use super::status::query;
use crate::contexts::{self, ClusterContext};
use crate::report::{self, ReportFlag, Subject};
use crate::source::{Compilation, SourceForCluster, age_keys};
use crate::syncs::{chosen, shown, sync_id};
use crate::{Console, Environment, FINE, FOUND, Paint, completions};
use changes::{Changes, changes};

/// Stands for the commit of the working tree.
const WORKING_TREE: &str = "of the working tree";
/// Number of characters of a commit in the summary.
const SHORT: usize = 8;

/// Show what a commit or a working tree would change on a cluster
///
/// Compiles the source and asks the API server by dry runs, so that defaults and admission count; nothing is changed. Shows the
/// objects that would be deleted, then the differences in the form of kubectl diff; values of Secrets, and of what SOPS sealed before,
/// are masked. Values that SOPS sealed are compared with --age-key alone; without it everything else of their objects is compared, and
/// their number is told. Exit status: 0 nothing that was compared would change, 1 something would, or the source has mistakes, 2 the command could not run.
#[derive(clap::Args)]
pub(crate) struct DiffArgs {
    /// NAME of a RootSync, or NAMESPACE:NAME of a RepoSync, as nomos status shows it [default: root-sync, or the only RootSync]
    #[arg(value_name = "SYNC", value_parser = sync_id, add = completions::syncs())]
    sync: Option<SyncId>,

    /// The directory to compare, in place of the one that the sync follows; with --commit, a directory in the clone
    /// [default: in a clone, its directory that the sync follows (spec.git.dir); else the current directory]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,

    /// Compare this commit of the clone: a hash or its first digits, a branch, a tag, origin/main or HEAD~1. The working tree
    /// stays as it is
    #[arg(long, value_name = "REVISION")]
    commit: Option<String>,

    /// Name of the cluster, for cluster selectors [default: that of its ConfigManagement]
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,

    /// File with age keys, as age-keygen writes it: compares what SOPS sealed too; a value that would change is shown as ***
    #[arg(long, value_name = "FILE")]
    age_key: Option<PathBuf>,

    /// Write findings and differences in this form to FILE, or without FILE to standard output: text, json, sarif, junit or
    /// github (annotations of a workflow). Can be used several times
    #[arg(long, value_parser = report::parse, value_name = "FORM[=FILE]")]
    report: Vec<ReportFlag>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", add = completions::contexts())]
    context: Option<String>,
}

/// The source that is compared.
enum Compared {
    /// A directory that was read.
    Directory(String, SourceForCluster),
    /// The work tree of a clone, in which the sync says the directory.
    WorkTree(Box<UserClone>, PathBuf),
    /// A commit of a clone.
    Commit(Box<UserClone>, Commit),
}

/// The answers of the cluster.
enum Answer {
    /// The source has mistakes, so that nothing can be compared.
    Mistakes,
    /// All of it was compared.
    Changes(Changes),
}

/// Shows the differences.
pub(crate) fn run(args: &DiffArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let keys = args.age_key.as_deref().map(age_keys).transpose()?;
    let compared = compared(args, keys.as_ref(), &console.environment)?;
    let commit = match &compared {
        Compared::Commit(_, commit) => commit.to_string(),
        Compared::Directory(..) | Compared::WorkTree(..) => String::new(),
    };
    if let Compared::Directory(root, source) = &compared
        && let Some(compilation) = mistakes(args, source)
    {
        return show(args, (None, &commit), (root, compilation, Answer::Mistakes), console);
    }
    let cluster = contexts::cluster(kubeconfig, &console.environment, args.context.as_deref())?;
    let progress = console.begin(&format!("asking the cluster {}", cluster.context));
    let (sync, root, compilation, answer, doubt) = contexts::with(&cluster, async |client| {
        let (sync, object) = chosen(&cluster, &client, args.sync.as_ref()).await?;
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        let spec = supported(&sync, &annotations, &object.data["spec"], LocalRepositories::Allowed);
        let spec = spec.map_err(|finding| anyhow!("{}", text(&finding).trim_end()))?;
        let server = Cluster::connect(client.clone()).await.map_err(|error| cluster.failed(error))?;
        let doubt = compared.doubt(&sync, &spec, &object);
        let (root, source) = compared.source(&spec, keys.as_ref(), &console.environment)?;
        let compilation = compile(args, (&sync, &spec, source), (&cluster, &client, &server)).await?;
        let first = compilation.clusters.first().and_then(|found| found.compiled.declared.as_ref());
        let answer = match first {
            None => Answer::Mistakes,
            Some(declared) => {
                let done = Cell::new(0);
                let all = declared.objects.len();
                let work = changes((&cluster, &client, &server), &sync, (declared, keys.is_some()), &done);
                Answer::Changes(progress.counting(&done, all, "objects compared", work).await?)
            }
        };
        Ok((sync, root, compilation, answer, doubt))
    })?;
    drop(progress);
    if let Some(doubt) = doubt {
        console.note(&format!("warning: {doubt}\n"));
    }
    show(args, (Some(&sync), &commit), (&root, compilation, answer), console)
}

/// The source that the flags name. It is looked at before any cluster is asked.
fn compared(args: &DiffArgs, keys: Option<&AgeKeys>, environment: &Environment) -> anyhow::Result<Compared> {
    let current = environment.directory.as_deref().unwrap_or(Path::new("."));
    let directory = args.path.as_deref().map_or_else(|| current.to_owned(), |path| current.join(path));
    let named = args.path.as_deref().unwrap_or(current).display().to_string();
    std::fs::read_dir(&directory).with_context(|| format!("failed to read {named}"))?;
    let clone = UserClone::around(&directory);
    let Some(revision) = &args.commit else {
        let tree = clone.as_ref().and_then(UserClone::work_tree).map(Path::to_owned).filter(|_| args.path.is_none());
        return Ok(match clone.zip(tree) {
            Some((clone, tree)) => Compared::WorkTree(Box::new(clone), tree),
            None => {
                let source = SourceForCluster::of_directory(&directory, None, keys)?;
                Compared::Directory(report::root(&directory, environment), source)
            }
        });
    };
    let Some(clone) = clone else {
        bail!("{named} is in no git repository; run this in a clone of the sync's repository, or name one with --path");
    };
    let commit = clone.commit(revision).map_err(told)?;
    Ok(Compared::Commit(Box::new(clone), commit))
}

/// The mistakes of a source that no cluster and no setting of the sync makes right.
fn mistakes(args: &DiffArgs, source: &SourceForCluster) -> Option<Compilation> {
    let namespace = args.sync.as_ref().and_then(SyncId::scope);
    let formats: &[SourceFormat] = match namespace {
        Some(_) => &[SourceFormat::Unstructured],
        None if source.is_hierarchical() => &[SourceFormat::Hierarchy, SourceFormat::Unstructured],
        None => &[SourceFormat::Unstructured, SourceFormat::Hierarchy],
    };
    let options = CompileOptions {
        scope: namespace.map_or(RepoScope::Root, |namespace| RepoScope::Namespace(namespace.to_owned())),
        // Without a name it is a sync that no source declares.
        sync: Some(args.sync.clone().unwrap_or_else(|| SyncId::root(""))),
        ..CompileOptions::offline(SourceFormat::Unstructured)
    };
    source.blocked_everywhere(formats, &options, args.cluster_name.as_deref())
}

/// The words of a failure to read the clone.
fn told(GitError { message, hint, .. }: GitError) -> anyhow::Error {
    let hint = hint.map_or_else(String::new, |hint| format!("\n\nhint: {hint}"));
    anyhow!("{message}{hint}")
}

impl Compared {
    /// The files, and the path of their directory from the root of the repository: empty, or ending with a slash. They are read as the
    /// agent reads them, which renders nothing.
    fn source(
        self,
        spec: &SupportedSpec,
        keys: Option<&AgeKeys>,
        environment: &Environment,
    ) -> anyhow::Result<(String, SourceForCluster)> {
        let of_sync = spec.git.directory();
        match self {
            Self::Directory(root, source) => Ok((root, source)),
            Self::WorkTree(_, tree) => {
                let path = tree.join(&of_sync);
                let here =
                    "the working tree has no such directory, which the sync follows; name another one with --path";
                std::fs::read_dir(&path).with_context(|| format!("failed to read {}: {here}", path.display()))?;
                Ok((report::root(&path, environment), SourceForCluster::of_directory(&path, None, keys)?))
            }
            Self::Commit(clone, commit) => {
                let files = clone.files(commit, &of_sync, &mut ReadBudget::new()).map_err(told)?;
                let root = if of_sync == "." { String::new() } else { format!("{of_sync}/") };
                Ok((root, SourceForCluster::of_files(files, keys)?))
            }
        }
    }

    /// A sentence that the clone is probably not one of the sync's repository: it has no commit of it, and no remote is that repository.
    fn doubt(&self, sync: &SyncId, spec: &SupportedSpec, object: &DynamicObject) -> Option<String> {
        let (Self::WorkTree(clone, _) | Self::Commit(clone, _)) = self else { return None };
        let status = &object.data["status"];
        let commits = [&status["sync"]["commit"], &status["lastSyncedCommit"], &status["source"]["commit"]];
        let commits: Vec<Commit> = commits.into_iter().filter_map(|it| Commit::from_hex(it.as_str()?)).collect();
        let (url, name) = (&spec.git.repo, repository_name(&spec.git.repo));
        let is_it = |remote: &String| remote == url || name.is_some() && repository_name(remote) == name;
        // A repository on a disk has names that say nothing.
        let is_known = name.is_some() || !commits.is_empty();
        let fits = commits.iter().any(|commit| clone.has(*commit)) || clone.remotes().iter().any(is_it);
        (is_known && !fits).then(|| {
            format!(
                "this is probably no clone of {}, which {} follows: none of its remotes is that repository, and it has no commit that was in force",
                shown_url(url),
                shown(sync)
            )
        })
    }
}

/// Compiles the source as the agent would for this sync on this cluster.
async fn compile(
    args: &DiffArgs,
    (sync, spec, source): (&SyncId, &SupportedSpec, SourceForCluster),
    (cluster, client, server): (&ClusterContext, &Client, &Cluster),
) -> anyhow::Result<Compilation> {
    let name = match &args.cluster_name {
        Some(name) => name.clone(),
        None => query::cluster_name(client).await.map_err(|error| cluster.failed(error))?,
    };
    let scope = |namespaced| if namespaced { Scope::Namespaced } else { Scope::Cluster };
    let kinds = server.kinds().into_iter().map(|(kind, served)| (kind, scope(served.namespaced))).collect();
    let repo_scope = match sync.scope() {
        Some(namespace) => RepoScope::Namespace(namespace.to_owned()),
        None => RepoScope::Root,
    };
    let options = CompileOptions {
        scope: repo_scope,
        cluster_name: name,
        sync: Some(sync.clone()),
        namespaces: match spec.implicit_namespaces {
            true => NamespaceStrategy::Implicit,
            false => NamespaceStrategy::Explicit,
        },
        dynamic: DynamicSelectors::Live(namespaces(client).await.map_err(|error| cluster.failed(error))?),
        report_unknown_kinds: true,
        ..CompileOptions::offline(spec.format)
    };
    Ok(source.compiled(options, &kinds))
}

/// The labels of the Namespaces that stay.
async fn namespaces(client: &Client) -> kube::Result<NamespaceLabels> {
    let all: Api<Namespace> = Api::all(client.clone());
    let list = all.list_metadata(&ListParams::default()).await?;
    let staying = list.items.into_iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    Ok(staying.map(|it| (it.name_any(), it.metadata.labels.unwrap_or_default())).collect())
}

/// Prints the differences, and writes the reports.
fn show(
    args: &DiffArgs,
    (sync, commit): (Option<&SyncId>, &str),
    (root, compilation, answer): (&str, Compilation, Answer),
    console: &mut Console<'_>,
) -> anyhow::Result<u8> {
    let mut subject = Subject::of("nomos diff", root.to_owned(), &compilation);
    let (plain, coloured, note, differ) = match (&answer, sync) {
        (Answer::Mistakes, _) | (_, None) => {
            let text = compilation.text();
            (text.clone(), text, String::new(), true)
        }
        (Answer::Changes(changes), Some(sync)) => {
            let at = if commit.is_empty() { String::new() } else { format!(" at {}", &commit[..SHORT]) };
            // Objects of kinds that the cluster does not know, which are not compared.
            let mut note = compilation.text();
            note.push_str(&format!("{}{at}: {}", shown(sync), changes.summary()));
            let name = if commit.is_empty() { WORKING_TREE } else { commit };
            if let Some(held) = changes.held(sync, name) {
                note.push_str(&format!("The deletions would be held:\n{}\n", text(&held).trim_end()));
                subject.add(held);
            }
            subject.changes = changes.reported();
            subject.counts = Some(changes.counts());
            let differ = changes.differ() || compilation.found();
            (changes.text(Paint::default()) + &note, changes.text(console.paint), note, differ)
        }
    };
    if report::emit(&args.report, &subject, &plain, console)? {
        console.note(&compilation.warnings());
        match answer {
            Answer::Mistakes => console.note(&coloured),
            Answer::Changes(_) => console.page(&coloured),
        }
        console.note(&note);
    }
    Ok(if differ { FOUND } else { FINE })
}
