//! The source that a sync follows: the task that reads it. Another spec replaces it, and what it had on its way is dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::AgentContext;
use super::task::SyncTask;
use crate::api::{GitStatus, SHORTEST_PERIOD};
use crate::compile::declared::{DeclaredSet, Undeclared};
use crate::compile::kind_scopes::KindScopes;
use crate::compile::{ClosedFiles, CompileOptions, DynamicSelectors, RepoScope};
use crate::io::credentials::AgeKeySecret;
use crate::io::git::{Reach, Want};
use crate::io::source::{DefinedKinds, KeptSource, Source, SourceCluster, follow};
use crate::model::duration::format_duration;
use crate::sync::engine::{Event, SourceCommit};

/// Events of the source that may wait for the engine.
const BACKLOG: usize = 4;

/// A source that is being followed, until this is dropped.
pub(super) struct FollowedSource {
    /// Its events; closed when the task broke down.
    pub(super) events: mpsc::Receiver<Event>,
    /// Commits that are to be compiled although they are not the newest.
    pub(super) restores: mpsc::Sender<SourceCommit>,
    /// All that was read of it.
    pub(super) kept: KeptSource,
    _task: JoinSet<()>,
}

/// The source of a task, as an agent that stood by has read it.
pub(super) struct WarmSource {
    pub(super) task: Arc<SyncTask>,
    pub(super) kept: KeptSource,
}

impl FollowedSource {
    /// Begins to follow the source of the spec. To be called in the span of the sync.
    pub(super) fn new(context: &AgentContext, task: &SyncTask, defined: DefinedKinds) -> Self {
        if task.git.period_is_raised() {
            let (asked, period) = (&task.git.period, format_duration(SHORTEST_PERIOD));
            tracing::warn!(
                "spec.git.period is {asked}; the repository is polled every {period}, which is the shortest period"
            );
        }
        Self::again(context, KeptSource::new(source(context, task), Arc::clone(&context.repositories), defined))
    }

    /// Begins to follow a source of which something may have been read. To be called in the span of the sync.
    pub(super) fn again(context: &AgentContext, kept: KeptSource) -> Self {
        let (sender, events) = mpsc::channel(BACKLOG);
        let (restores, wanted) = mpsc::channel(1);
        let server =
            SourceCluster { cluster: Arc::clone(&context.cluster), namespaces: Arc::clone(&context.namespaces) };
        let repositories = Arc::clone(&context.repositories);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(kept.clone(), server, repositories, sender, wanted).in_current_span());
        Self { events, restores, kept, _task: tasks }
    }

    /// The source of a sync that goes: one commit, which declares nothing. No repository is read.
    pub(super) fn of_removal(
        context: &AgentContext,
        task: &SyncTask,
        (commit, undeclared): (String, Undeclared),
        defined: DefinedKinds,
    ) -> Self {
        let (sender, events) = mpsc::channel(BACKLOG);
        let declared = Some(Arc::new(DeclaredSet { undeclared, ..DeclaredSet::default() }));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // It fails when the sync has ended.
            let _ = sender.send(Event::Compiled { commit, declared, findings: Vec::new() }).await;
            sender.closed().await;
        });
        let kept = KeptSource::new(source(context, task), Arc::clone(&context.repositories), defined);
        Self { events, restores: mpsc::channel(1).0, kept, _task: tasks }
    }
}

/// Kinds that are known already, for a source that follows another one.
pub(super) fn known(kinds: BTreeSet<crate::model::object::GroupKind>) -> DefinedKinds {
    let (sender, receiver) = oneshot::channel();
    // It cannot fail: the receiver is there.
    let _ = sender.send(kinds);
    receiver
}

fn source(context: &AgentContext, task: &SyncTask) -> Source {
    let SyncTask { sync, git, cluster_name, format, .. } = task;
    let want = match git.revision.as_str() {
        "" | "HEAD" => Want::Branch(git.reference().to_owned()),
        revision => Want::Revision(revision.to_owned()),
    };
    Source {
        sync: sync.clone(),
        has_object: task.object.is_some(),
        git: git.clone(),
        keys: context
            .options
            .age_key_secret
            .clone()
            .map(|name| AgeKeySecret { namespace: sync.namespace.clone(), name }),
        reach: sync.scope().map_or(Reach::Everywhere, |_| context.options.tenants.clone()),
        want,
        dir: git.directory(),
        period: task.period,
        cache: context.options.cache.clone(),
        settings: CompileOptions {
            format: *format,
            scope: sync.scope().map_or(RepoScope::Root, |namespace| RepoScope::Namespace(namespace.to_owned())),
            cluster_name: cluster_name.clone(),
            sync: Some(sync.clone()),
            source_dir: git.directory(),
            namespaces: task.layout().namespaces,
            kinds: Ok(KindScopes::default()),
            report_unknown_kinds: true,
            previous_crds: BTreeSet::new(),
            max_objects: None,
            dynamic: DynamicSelectors::AsStatic,
            closed: ClosedFiles::Refused,
        },
    }
}

/// The value of the annotation `git-context`.
pub(super) fn git_context(git: &GitStatus) -> String {
    let mut context = serde_json::Map::new();
    context.insert("repo".to_owned(), git.repo.as_str().into());
    for (key, value) in [("branch", &git.branch), ("rev", &git.revision)] {
        if !value.is_empty() {
            context.insert(key.to_owned(), value.as_str().into());
        }
    }
    serde_json::Value::Object(context).to_string()
}
