//! `nomos export --check`: tells what is live and not in a repository.

use std::path::Path;

use agent::compile::declared::{DeclaredObject, DeclaredSet};
use agent::compile::{CompileOptions, DynamicSelectors, NamespaceStrategy, SourceFormat};
use agent::model::object::ObjectId;
use agent::sync::managed_fields::{Basis, differences};
use serde::Serialize;

use super::gather::{ExportAccount, ExportedObjects, LiveCluster};
use super::{ExportArgs, ExportFormat};
use crate::source::{Compilation, SourceForCluster, age_keys};
use crate::{Console, FINE, FOUND};

/// The parts of a cluster that a repository lacks.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Uncommitted {
    /// Objects that the repository does not declare.
    objects: Vec<String>,
    /// Objects that it declares with fewer fields, or with other values.
    fields: Vec<UncommittedFields>,
    /// Objects that are not compared, because SOPS sealed values of them, or because they take values of others.
    sealed: Vec<String>,
    /// The account of everything else.
    beside: ExportAccount,
}

/// Fields of one object.
#[derive(Debug, Serialize)]
struct UncommittedFields {
    object: String,
    /// As in `.spec.replicas`.
    fields: Vec<String>,
}

/// The repository, which is read before any cluster is asked.
pub(super) struct CheckedRepository {
    source: SourceForCluster,
    format: SourceFormat,
}

impl CheckedRepository {
    /// Reads the repository in a directory.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or the keys cannot.
    pub(super) fn read(args: &ExportArgs, directory: &Path) -> anyhow::Result<Self> {
        let is_hierarchy = match args.source_format {
            Some(format) => format == ExportFormat::Hierarchy,
            None => directory.join("system").is_dir(),
        };
        let format = if is_hierarchy { SourceFormat::Hierarchy } else { SourceFormat::Unstructured };
        let keys = args.age_key.as_deref().map(age_keys).transpose()?;
        let source = SourceForCluster::of_directory(directory, Some(format), keys.as_ref())?;
        Ok(Self { source, format })
    }

    /// The mistakes of the repository that no cluster makes right.
    pub(super) fn mistakes(&self, args: &ExportArgs) -> Option<Compilation> {
        let options = CompileOptions::offline(self.format);
        self.source.blocked_everywhere(&[self.format], &options, args.cluster_name.as_deref())
    }

    /// Compiles the repository for this cluster.
    async fn compiled(self, args: &ExportArgs, live: &LiveCluster<'_>) -> anyhow::Result<Compilation> {
        let options = CompileOptions {
            cluster_name: match &args.cluster_name {
                Some(name) => name.clone(),
                None => live.name().await?,
            },
            namespaces: NamespaceStrategy::Implicit,
            dynamic: DynamicSelectors::Live(live.labels()),
            ..CompileOptions::offline(self.format)
        };
        Ok(self.source.compiled(options, &live.kinds()))
    }
}

/// Compares, and prints what is missing.
pub(super) async fn run(
    args: &ExportArgs,
    repository: CheckedRepository,
    live: &LiveCluster<'_>,
    console: &mut Console<'_>,
) -> anyhow::Result<u8> {
    let compilation = repository.compiled(args, live).await?;
    let Some(declared) = compilation.clusters.first().and_then(|found| found.compiled.declared.as_ref()) else {
        console.note(&compilation.text());
        return Ok(FOUND);
    };
    let ExportedObjects { objects, account, .. } = live.gather(args, Some(declared), console).await?;
    let mut missing = Uncommitted::default();
    for (id, object) in &objects {
        match of_git(declared, id) {
            None => missing.objects.push(id.to_string()),
            Some(git) if is_closed(git, args) => {}
            Some(git) => {
                let fields = git.shown_fields(differences(object, &git.body(), &[], Basis::Answer));
                if !fields.is_empty() {
                    missing.fields.push(UncommittedFields { object: id.to_string(), fields });
                }
            }
        }
    }
    let closed = declared.objects.iter().filter(|(_, git)| is_closed(git, args));
    missing.sealed = closed.map(|(id, _)| id.to_string()).collect();
    let is_complete = missing.objects.is_empty() && missing.fields.is_empty() && account.incomplete.is_empty();
    missing.beside = account;
    match args.output {
        Some(data) => console.print_data(&data.text(&missing)?),
        None => console.print(&text(&missing, objects.len())),
    }
    Ok(if is_complete { FINE } else { FOUND })
}

/// `true` if values of the object are not in the repository as they are on the cluster.
fn is_closed(git: &DeclaredObject, args: &ExportArgs) -> bool {
    git.is_sealed() && args.age_key.is_none() || git.apply_time_mutation().is_some()
}

/// The object as the repository declares it; also one that it does not manage.
fn of_git<'a>(declared: &'a DeclaredSet, id: &ObjectId) -> Option<&'a DeclaredObject> {
    let found = declared.objects.get(id).filter(|declared| !declared.implicit);
    found.or_else(|| declared.withheld.get(id)).map(|declared| &**declared)
}

fn text(missing: &Uncommitted, compared: usize) -> String {
    let Uncommitted { objects, fields, sealed, beside } = missing;
    let mut out = String::new();
    for object in objects {
        out.push_str(&format!("{object} is not in the repository\n"));
    }
    for UncommittedFields { object, fields } in fields {
        let verb = if fields.len() == 1 { "is" } else { "are" };
        out.push_str(&format!("{object}: {} {verb} not in the repository, or with another value\n", fields.join(", ")));
    }
    out.push_str(&format!(
        "{compared} objects compared: {} not in the repository, {} different\n",
        objects.len(),
        fields.len()
    ));
    if !sealed.is_empty() {
        out.push_str(
            "Objects that are not compared, because SOPS sealed values of them (--age-key FILE compares these), or because they take \
             values of other objects:\n",
        );
        sealed.iter().for_each(|name| out.push_str(&format!("   {name}\n")));
    }
    out.push_str(&super::beside(beside));
    out
}
