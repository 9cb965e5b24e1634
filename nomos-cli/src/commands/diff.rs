//! `nomos diff`: shows what a working tree would change on a cluster, by dry runs of the API server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use agent::api::{LocalRepositories, ResourceGroupSpec, SupportedSpec, supported};
use agent::compile::declared::{DeclaredObject, DeclaredSet};
use agent::compile::kind_scopes::Scope;
use agent::compile::parse;
use agent::compile::{CompileOptions, DynamicSelectors, NamespaceLabels, NamespaceStrategy, RepoScope};
use agent::io::kubernetes::client::{ApiError, Cluster};
use agent::io::kubernetes::dry_run::{dry_run, take_off_marks};
use agent::model::finding::text;
use agent::model::metadata::SyncId;
use agent::model::object::{GroupKind, Object, ObjectId};
use agent::model::yaml;
use agent::sync::live::{Live, Observed};
use agent::sync::plan::guard::{HeldPrune, Prune, approve_by_annotation};
use agent::sync::plan::recent::RecentPrunes;
use agent::sync::plan::{Action, Declared, decide};
use anyhow::{Context as _, anyhow};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, ListParams, ResourceExt as _};
use kube::core::gvk::GroupVersionKind;
use serde::Deserialize as _;
use serde_json::Value;

use super::status::query::belongs;
use crate::contexts::{self, ClusterContext};
use crate::differences::Difference;
use crate::source::{Compilation, compiled_for};
use crate::syncs::{read, sync_id};
use crate::{Console, FINE, FOUND};

/// Requests in flight.
const IN_FLIGHT: usize = 16;
/// Stands for the commit of the working tree.
const WORKING_TREE: &str = "of the working tree";

/// Show what a working tree would change on a cluster
///
/// Compiles the source and asks the API server by dry runs, so that defaults and admission count; nothing is changed. Shows the
/// objects that would be deleted, then the differences in the form of kubectl diff; values of Secrets are masked, and objects with
/// values that SOPS sealed are named and not compared. Exit status: 0 nothing would change, 1 something would, or the source has
/// mistakes, 2 the command could not run.
#[derive(clap::Args)]
pub(crate) struct DiffArgs {
    /// NAME of a RootSync, or NAMESPACE:NAME of a RepoSync, as nomos status shows it
    #[arg(value_name = "SYNC", value_parser = sync_id, default_value = "root-sync")]
    sync: SyncId,

    /// The directory that the sync follows (spec.git.dir), in a working tree
    #[arg(long, default_value = ".", value_name = "DIR")]
    path: PathBuf,

    /// Name of the cluster, for cluster selectors [default: that of its ConfigManagement]
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
}

/// Shows the differences.
pub(crate) fn run(args: &DiffArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let cluster = contexts::cluster(kubeconfig, &console.environment, args.context.as_deref())?;
    contexts::with(&cluster, async |client| {
        let object = read(&cluster, &client, &args.sync).await?;
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        let spec = supported(&args.sync, &annotations, &object.data["spec"], LocalRepositories::Allowed);
        let spec = spec.map_err(|finding| anyhow!("{}", text(&finding).trim_end()))?;
        let server = Cluster::connect(client.clone()).await.map_err(|error| cluster.failed(error))?;
        let compilation = compile(args, &spec, &client, &server).await?;
        let Some(declared) = compilation.clusters.first().and_then(|found| found.compiled.declared.as_ref()) else {
            console.note(&compilation.text());
            return Ok(FOUND);
        };
        let recorded = recorded(&cluster, &client, &args.sync).await?;
        let prune = deletions(&cluster, &server, args, declared, &recorded).await?;
        for (id, _) in &prune.deletions {
            console.print(&console.paint.bad(&format!("delete {id}\n")));
        }
        let changes: Vec<Change> = stream::iter(&declared.objects)
            .map(|(_, declared)| change(&server, declared))
            .buffered(IN_FLIGHT)
            .try_filter_map(|change| std::future::ready(Ok(change)))
            .try_collect()
            .await
            .map_err(|error| cluster.failed(error))?;
        for change in &changes {
            console.print(&match change {
                Change::Made(difference) | Change::Changed(difference) => difference.text(console.paint),
                Change::Fails(text) => console.paint.bad(&format!("{text}\n")),
                Change::Unknown(text) => format!("{text}\n"),
            });
        }
        summary(args, &changes, &prune, console);
        let differs = changes.iter().any(|change| !matches!(change, Change::Unknown(_)));
        Ok(if differs || !prune.deletions.is_empty() { FOUND } else { FINE })
    })
}

/// Compiles the source as the agent would for this sync on this cluster.
async fn compile(
    args: &DiffArgs,
    spec: &SupportedSpec,
    client: &Client,
    server: &Cluster,
) -> anyhow::Result<Compilation> {
    let name = match &args.cluster_name {
        Some(name) => name.clone(),
        None => super::status::query::cluster_name(client).await?,
    };
    let scope = |namespaced| if namespaced { Scope::Namespaced } else { Scope::Cluster };
    let kinds = server.kinds().into_iter().map(|(kind, served)| (kind, scope(served.namespaced))).collect();
    let repo_scope = match args.sync.scope() {
        Some(namespace) => RepoScope::Namespace(namespace.to_owned()),
        None => RepoScope::Root,
    };
    let options = CompileOptions {
        scope: repo_scope,
        cluster_name: name,
        sync: Some(args.sync.clone()),
        namespaces: match spec.implicit_namespaces {
            true => NamespaceStrategy::Implicit,
            false => NamespaceStrategy::Explicit,
        },
        dynamic: DynamicSelectors::Live(namespaces(client).await?),
        ..CompileOptions::offline(spec.format)
    };
    compiled_for(&args.path, options, &kinds, &parse::parse)
}

/// The labels of the Namespaces that stay.
async fn namespaces(client: &Client) -> kube::Result<NamespaceLabels> {
    let all: Api<Namespace> = Api::all(client.clone());
    let list = all.list_metadata(&ListParams::default()).await?;
    let staying = list.items.into_iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    Ok(staying.map(|it| (it.name_any(), it.metadata.labels.unwrap_or_default())).collect())
}

/// The objects in the record of a sync.
async fn recorded(cluster: &ClusterContext, client: &Client, sync: &SyncId) -> anyhow::Result<BTreeSet<ObjectId>> {
    let kind = GroupVersionKind::gvk("kpt.dev", "v1alpha1", "ResourceGroup");
    let groups = contexts::objects(client, Some(&sync.namespace), kind, "").await;
    let groups = groups.map_err(|error| cluster.failed(error))?.unwrap_or_default();
    let mut recorded = BTreeSet::new();
    for group in groups.iter().filter(|group| belongs(group, sync)) {
        let spec = ResourceGroupSpec::deserialize(&group.data["spec"]).context("the record cannot be read")?;
        let ids = spec.resources.into_iter().map(|resource| {
            ObjectId::new(&GroupKind::new(&resource.group, &resource.kind), &resource.namespace, &resource.name)
        });
        recorded.extend(ids);
    }
    Ok(recorded)
}

/// The objects of the sync that would be deleted.
async fn deletions(
    cluster: &ClusterContext,
    server: &Cluster,
    args: &DiffArgs,
    declared: &DeclaredSet,
    recorded: &BTreeSet<ObjectId>,
) -> anyhow::Result<Prune> {
    let is_declared = |id: &&ObjectId| declared.objects.contains_key(*id);
    let kept = recorded.iter().filter(is_declared).collect();
    let mut prune =
        Prune { inventory: recorded.iter().collect(), recorded: recorded.iter().collect(), kept, ..Prune::default() };
    let gone = recorded.iter().filter(|id| !is_declared(id));
    let lives: Vec<(&ObjectId, Option<Object>)> = stream::iter(gone)
        .map(async |id| Ok((id, live(server, id, "").await?)))
        .buffered(IN_FLIGHT)
        .try_collect()
        .await
        .map_err(|error: ApiError| cluster.failed(error))?;
    for (id, live) in lives {
        let Some(object) = live else { continue };
        let seen = Observed::of(&object);
        let live = Live::observe(&seen, id, &args.sync, None, None);
        if decide(Declared::of(declared, id), Some(&live), &args.sync) == Action::Delete {
            prune.deletions.insert((id.clone(), live.uid.clone()));
        }
    }
    Ok(prune)
}

/// The effect of a declared object on the cluster.
enum Change {
    /// It would be made.
    Made(Difference),
    /// It would be changed.
    Changed(Difference),
    /// The API server refuses it.
    Fails(String),
    /// It cannot be said before it is applied.
    Unknown(String),
}

/// The effect of a declared object; `None` if it changes nothing.
async fn change(server: &Cluster, declared: &DeclaredObject) -> Result<Option<Change>, ApiError> {
    let id = &declared.id;
    if declared.apply_time_mutation().is_some() {
        return Ok(Some(Change::Unknown(format!("{id} is not compared: it takes values of other objects"))));
    }
    let live = live(server, id, declared.version()).await?;
    if declared.is_sealed() {
        return Ok(Some(sealed_change(declared, live.is_some())));
    }
    if live.is_some() && (declared.implicit || declared.ignores_mutation()) {
        return Ok(None);
    }
    let after = match dry_run(server, declared).await {
        Ok(after) => after,
        // Its Namespace or its kind comes with the same commit.
        Err(error) if error.is_not_found() && live.is_none() => declared.body(),
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => {
            // The words about a Secret may have its values.
            let why = if declared.is_confidential() { "the API server refuses it".into() } else { error.to_string() };
            let at = declared.place().location.map_or_else(String::new, |location| format!("{}: ", location.point()));
            return Ok(Some(Change::Fails(format!("{at}{id} cannot be applied: {why}"))));
        }
    };
    let document = |object: &Object| yaml::document(&Value::Object(shown(object.clone()).0));
    let (before, after) = (live.as_ref().map(document), document(&after));
    if before.as_ref() == Some(&after) {
        return Ok(None);
    }
    let path = path(declared);
    let difference = Difference { path, on_disk: before, wanted: Some(after) };
    Ok(Some(if live.is_some() { Change::Changed(difference) } else { Change::Made(difference) }))
}

/// The effect of an object with sealed values, which the API server would take for the values themselves.
fn sealed_change(declared: &DeclaredObject, is_live: bool) -> Change {
    if is_live {
        return Change::Unknown(format!("{} is not compared: SOPS sealed values of it", declared.id));
    }
    let wanted = yaml::document(&Value::Object(shown(declared.written()).0));
    Change::Made(Difference { path: path(declared), on_disk: None, wanted: Some(wanted) })
}

/// The object as it is; `None` if it, or its kind, is not there.
async fn live(server: &Cluster, id: &ObjectId, version: &str) -> Result<Option<Object>, ApiError> {
    let path = match server.path(id, version).await {
        Err(error) if error.is_not_found() => return Ok(None),
        path => path?,
    };
    match server.get(&path).await {
        Err(error) if error.is_not_found() => Ok(None),
        answer => answer.map(Some),
    }
}

/// The name of an object as kubectl diff has it, such as `apps.v1.Deployment.shop.web`.
fn path(declared: &DeclaredObject) -> String {
    let id = &declared.id;
    let parts = [id.group(), declared.version(), id.kind(), id.namespace(), id.name()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
}

/// The object without what changes with every write, or only with the commit.
fn shown(mut object: Object) -> Object {
    object.0.remove("status");
    let given = ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"];
    given.iter().for_each(|field| _ = object.metadata_mut().remove(*field));
    take_off_marks(&mut object);
    object
}

/// Says how much would change, and whether the guard would hold the commit.
fn summary(args: &DiffArgs, changes: &[Change], prune: &Prune, console: &mut Console<'_>) {
    let count = |is: fn(&Change) -> bool| changes.iter().filter(|change| is(change)).count();
    let made = count(|change| matches!(change, Change::Made(_)));
    let changed = count(|change| matches!(change, Change::Changed(_)));
    let failed = count(|change| matches!(change, Change::Fails(_)));
    let failed = if failed > 0 { format!(", {failed} would fail") } else { String::new() };
    console.note(&format!(
        "{}: {} would be deleted, {made} made, {changed} changed{failed}\n",
        crate::syncs::shown(&args.sync),
        prune.deletions.len()
    ));
    if prune.is_large(RecentPrunes::default().left(prune.inventory.objects, Instant::now())) {
        let SyncId { kind, namespace, name } = &args.sync;
        let finding = prune.finding(&HeldPrune {
            commit: WORKING_TREE,
            in_force: false,
            dynamic: false,
            recent: 0,
            approval: "COMMIT.DIGEST",
            refused: None,
            how_to_approve: &approve_by_annotation(&kind.to_string(), namespace, name),
        });
        console.note(&format!("The deletions would be held:\n{}\n", text(&finding).trim_end()));
    }
}
