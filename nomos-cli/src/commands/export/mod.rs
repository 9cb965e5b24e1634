//! `nomos export`: makes a repository of what is live on a cluster.

mod candidates;
mod check;
mod default_tables;
mod defaults;
mod files;
mod gather;
mod makers;
mod meant;
mod requests;
mod shared;
mod tables;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use agent::compile::SourceFormat;
use agent::compile::parse::AgeRecipient;
use agent::io::sealing;
use agent::model::object::{Object, ObjectId};
use anyhow::bail;
use clap::ArgAction;
use serde_json::Value;

use crate::columns::{Data, table};
use crate::contexts;
use crate::{Console, FINE, FOUND, boolean, completions};
use check::CheckedRepository;
use files::ExportedFile;
use gather::{ExportAccount, LiveCluster};

/// Write what is live on a cluster to a repository
///
/// Writes a file for each object that people made, and in it what they meant: no status, no default values, nothing that a controller
/// made or the cluster assigned, no system Namespaces. In the layout hierarchy an object that is the same in all Namespaces of a group is
/// written once, in a directory above them; a group is the Namespaces with the same label team or app.kubernetes.io/part-of, or else
/// with the same first word of their names, such as shop of shop-test, or all Namespaces of the cluster. Changes nothing on the cluster: it asks for
/// default values by dry runs. Secrets, and what SOPS sealed, are not exported without --secrets, contents of volumes never. With
/// --namespace the rights of a user of that Namespace, such as those of the role admin, are enough; what the user may not read is listed. With
/// --check, tells what is live and not in a repository. Exit status: 0 the export is complete, 1 a kind could not be read or, with --check, something is not in the
/// repository, 2 the command could not run.
#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// Directory to write to; it may have hidden files, such as .git, and no others
    #[arg(long, default_value = ".", value_name = "DIR")]
    path: PathBuf,

    /// Write nothing; tell which objects and fields are live and not in the repository in DIR
    #[arg(long, value_name = "DIR", conflicts_with = "path")]
    check: Option<PathBuf>,

    /// Layout of the repository [default: hierarchy, or unstructured if a Namespace of --namespace cannot be read; with --check,
    /// unstructured if DIR has no directory system]
    #[arg(long, value_enum, value_name = "FORMAT")]
    source_format: Option<ExportFormat>,

    /// Write each object into the directory of its Namespace, also one that all Namespaces of a group share
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = boolean, value_name = "BOOL", conflicts_with = "check")]
    flat: bool,

    /// Export this Namespace and the objects in it, also one of the cluster itself, such as kube-system. Can be used several times
    #[arg(short, long, value_name = "NAMESPACE", add = completions::namespaces())]
    namespace: Vec<String>,

    /// Export only objects with these labels, written as for kubectl, such as app=web
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,

    /// Export only objects of this kind, such as deployment or databases.example.com. Can be used several times
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,

    /// Also export the objects of Helm releases
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    helm: bool,

    /// The form in which Secrets are exported
    #[arg(long, value_enum, default_value_t = SecretForm::None, value_name = "FORM")]
    secrets: SecretForm,

    /// Confirm --secrets=plain: who can read the repository can read the Secrets
    #[arg(long, requires = "secrets")]
    plain_secrets_in_git: bool,

    /// Public key of age for which --secrets=sops seals, such as that of the agent's key. Can be used several times
    #[arg(long, value_name = "RECIPIENT", required_if_eq("secrets", "sops"), conflicts_with = "check")]
    age: Vec<AgeRecipient>,

    /// File with age keys, as age-keygen writes it: with --check, compares what SOPS sealed too
    #[arg(long, value_name = "FILE", requires = "check")]
    age_key: Option<PathBuf>,

    /// With --check: name of the cluster, for cluster selectors [default: that of its ConfigManagement]
    #[arg(long, value_name = "NAME", requires = "check")]
    cluster_name: Option<String>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", add = completions::contexts())]
    context: Option<String>,

    /// Print the account of the export in this data format instead of as text
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Data>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ExportFormat {
    /// Directories have a meaning, as in examples/hierarchy
    Hierarchy,
    /// Each object says where it belongs
    Unstructured,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SecretForm {
    /// They are left out, and listed
    None,
    /// Sealed as by SOPS, for the keys in --age; the agent opens them with --age-key-secret
    Sops,
    /// As they are, for everyone to read; needs --plain-secrets-in-git
    Plain,
}

impl ExportArgs {
    fn format(&self, live: &LiveCluster<'_>) -> anyhow::Result<SourceFormat> {
        let unread = live.unread.iter().next();
        let is_hierarchy = match self.source_format {
            Some(format) => format == ExportFormat::Hierarchy,
            None => unread.is_none(),
        };
        if let Some((name, why)) = unread.filter(|_| is_hierarchy) {
            bail!(
                "the layout hierarchy declares every Namespace, and {name} cannot be read: {why}\n\n\
                 hint: --source-format=unstructured exports the objects in it, for a RepoSync"
            );
        }
        Ok(if is_hierarchy { SourceFormat::Hierarchy } else { SourceFormat::Unstructured })
    }

    /// `true` if no flag chooses a part of the cluster.
    fn is_whole(&self) -> bool {
        self.namespace.is_empty() && self.selector.is_none() && self.kind.is_empty()
    }

    /// `true` if Secrets are exported, or compared.
    fn takes_secrets(&self) -> bool {
        self.secrets != SecretForm::None || self.check.is_some()
    }

    /// The text of an object in a file, with the values of a confidential one sealed if that is asked for; `None` if they cannot be.
    fn in_file(&self, object: Object, confidential: bool) -> Option<Value> {
        let object = Value::Object(object.0);
        let is_sealed = self.secrets == SecretForm::Sops && confidential;
        if is_sealed { sealing::seal(&object, &self.age) } else { Some(object) }
    }
}

/// Writes the files, or compares.
pub(crate) fn run(args: &ExportArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    if args.secrets == SecretForm::Plain && !args.plain_secrets_in_git {
        bail!(
            "--secrets=plain lets everyone who can read the repository read the Secrets; add --plain-secrets-in-git if that is meant"
        );
    }
    if args.secrets != SecretForm::Sops && !args.age.is_empty() {
        bail!("--age is for --secrets=sops; Secrets are not sealed otherwise");
    }
    let repository = match &args.check {
        None => {
            files::check_empty(&args.path)?;
            None
        }
        Some(directory) => Some(CheckedRepository::read(args, directory)?),
    };
    if let Some(mistakes) = repository.as_ref().and_then(|repository| repository.mistakes(args)) {
        console.note(&mistakes.text());
        return Ok(FOUND);
    }
    let cluster = contexts::cluster(kubeconfig, &console.environment, args.context.as_deref())?;
    contexts::with(&cluster, async |client| {
        let live = LiveCluster::connect(&cluster, client, &args.namespace).await?;
        if let Some(repository) = repository {
            return check::run(args, repository, &live, console).await;
        }
        let format = args.format(&live)?;
        let mut gathered = live.gather(args, None, console).await?;
        let placed = if format == SourceFormat::Hierarchy && !args.flat {
            shared::placed(&gathered, args.is_whole(), &live.kinds())
        } else {
            files::each(&gathered.objects)
        };
        let in_file = |id: &ObjectId, object| args.in_file(object, gathered.confidential.contains(id));
        let (files, unsealed) = files::texts(&gathered.objects, &placed, format, in_file);
        let has_text = |file: &&ExportedFile| !file.ids.iter().any(|id| unsealed.contains(id));
        for file in placed.iter().filter(|file| file.ids.len() > 1).filter(has_text) {
            *gathered.account.inherited.entry(file.directory.clone()).or_default() += 1;
        }
        for id in unsealed {
            let why = format!(
                "{id}: it has a label or an annotation named as a field that is sealed, such as data, which SOPS would seal too"
            );
            gathered.account.incomplete.push(why);
        }
        files::write(&args.path, &files)?;
        match args.output {
            Some(data) => console.print_data(&data.text(&gathered.account)?),
            None => console.print(&text(&gathered.account, &args.path.display().to_string())),
        }
        Ok(if gathered.account.incomplete.is_empty() { FINE } else { FOUND })
    })
}

/// The account of an export for people.
fn text(account: &ExportAccount, directory: &str) -> String {
    let mut out = format!("{directory}: {} objects\n", account.objects.len());
    out.push_str(&beside(account));
    out
}

/// The account of all that is not exported.
fn beside(account: &ExportAccount) -> String {
    let ExportAccount {
        objects: _,
        secrets,
        confidential,
        releases,
        inherited,
        left_out,
        claims,
        with_defaults,
        unread,
        incomplete,
    } = account;
    let mut out = String::new();
    let counted = |(what, count): (&String, &usize)| vec![count.to_string(), what.clone()];
    let named = |what: &String| vec![what.clone()];
    section(
        &mut out,
        "Written once, in a directory from which all Namespaces below inherit it, also those that you add; --flat writes it for each",
        inherited.iter().map(counted),
    );
    section(
        &mut out,
        "Left out, because people did not make it (-n NAMESPACE exports a Namespace that is named here)",
        left_out.iter().map(|(reason, left)| vec![left.objects.to_string(), format!("{reason}{}", left.places())]),
    );
    section(&mut out, "Secrets, which are not exported", secrets.iter().map(named));
    section(
        &mut out,
        "Objects with values that SOPS sealed or that are of other objects, which are not exported without --secrets",
        confidential.iter().map(named),
    );
    section(
        &mut out,
        "Helm releases, whose objects are exported with --helm alone",
        releases.iter().map(|(name, objects)| vec![name.clone(), format!("{} objects", objects.len())]),
    );
    section(
        &mut out,
        "Objects with all of their default values, because a dry run was refused",
        with_defaults.iter().map(counted),
    );
    if *claims > 0 {
        let _ = writeln!(
            out,
            "{claims} PersistentVolumeClaims: their contents are not in the export; a backup tool such as Velero is for these"
        );
    }
    section(&mut out, "You may not read these, and the export does without them", unread.iter().map(named));
    section(&mut out, "The export is not complete; these could not be read, or written", incomplete.iter().map(named));
    out
}

/// Adds a heading with a table below it, if that has rows.
fn section(out: &mut String, heading: &str, rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.map(|row| [vec![String::new()], row].concat()).collect();
    if !rows.is_empty() {
        let _ = writeln!(out, "{heading}:");
        out.push_str(&table(&rows));
    }
}
