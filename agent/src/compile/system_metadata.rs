//! The metadata that the system adds to declared objects.

use crate::model::manifest_object::{Added, Written};
use crate::model::metadata::{DEPTH_SUFFIX, MANAGED_BY_VALUE, SPECIAL_NAMESPACES, SyncId, annotation, label};
use crate::model::object::ObjectId;

/// What is the same for all objects of a compilation.
#[derive(Debug, Default)]
pub(crate) struct Stamp {
    /// Cluster that it is compiled for; empty: none.
    pub(crate) cluster_name: String,
    /// Directory in the source that file paths are relative to.
    pub(crate) source_dir: String,
    /// In a hierarchical repository, the directory of Namespaces: they tell how far below it they are.
    pub(crate) tree: Option<&'static str>,
    /// Nothing of a sync is stamped without one.
    pub(crate) sync: Option<SyncStamp>,
}

/// What follows from a sync.
#[derive(Debug)]
pub(crate) struct SyncStamp {
    part_of: String,
    manager: String,
    inventory: String,
}

impl SyncStamp {
    /// The stamp of a sync.
    pub(crate) fn of(sync: &SyncId) -> Self {
        Self { part_of: sync.part_of(), manager: sync.manager(), inventory: sync.inventory_id() }
    }
}

impl Stamp {
    /// What is added to an object from the file `path`, as which `id` is applied.
    pub(crate) fn declared(&self, object: &Written, path: &str, id: &ObjectId) -> Added {
        let mut added = Added::default();
        added.label(label::DECLARED_VERSION, object.version());
        if !self.cluster_name.is_empty() {
            added.annotation(annotation::CLUSTER_NAME, &self.cluster_name);
        }
        added.annotation(annotation::SOURCE_PATH, self.source_path(path));
        if id.is_namespace() && object.version() == "v1" {
            self.namespace(object, path, &mut added);
        }
        self.sync_metadata(id, object.annotation(annotation::MANAGED), &mut added);
        added
    }

    /// What is added to a Namespace that is only used. It is left in place when nobody uses it any more.
    pub(crate) fn implicit(&self, id: &ObjectId) -> Added {
        let mut added = Added::default();
        added.annotation(annotation::DELETION, "detach");
        self.sync_metadata(id, None, &mut added);
        added
    }

    fn source_path(&self, path: &str) -> String {
        match self.source_dir.trim_matches('/') {
            "" | "." => path.to_owned(),
            directory => format!("{directory}/{path}"),
        }
    }

    fn namespace(&self, object: &Written, path: &str, added: &mut Added) {
        if let Some(tree) = self.tree {
            for (key, depth) in depth_labels(tree, path) {
                added.label(&key, depth);
            }
            if let Some(original) = object.annotation(annotation::HNC_MANAGED_BY).filter(|it| !it.is_empty()) {
                added.annotation(annotation::ORIGINAL_HNC_MANAGED_BY, original);
            }
            added.annotation(annotation::HNC_MANAGED_BY, MANAGED_BY_VALUE);
        }
        if SPECIAL_NAMESPACES.contains(&object.name()) {
            added.annotation(annotation::DELETION, "detach");
        }
    }

    fn sync_metadata(&self, id: &ObjectId, managed: Option<&str>, added: &mut Added) {
        let Some(sync) = &self.sync else { return };
        added.label(label::MANAGED_BY, MANAGED_BY_VALUE);
        added.label(label::PART_OF, &sync.part_of);
        added.annotation(annotation::MANAGER, &sync.manager);
        added.annotation(annotation::OWNING_INVENTORY, &sync.inventory);
        added.annotation(annotation::RESOURCE_ID, id.resource_id());
        if managed != Some("disabled") {
            added.annotation(annotation::MANAGED, "enabled");
        }
    }
}

/// Labels that say how far a Namespace in the file `path` is below each of the directories that lead to it from `tree`.
pub(crate) fn depth_labels(tree: &str, path: &str) -> impl Iterator<Item = (String, String)> {
    let below = path.rsplit_once('/').and_then(|(directory, _)| directory.strip_prefix(tree)?.strip_prefix('/'));
    let directories = below.into_iter().flat_map(|below| below.rsplit('/'));
    directories.enumerate().map(|(depth, name)| (format!("{name}{DEPTH_SUFFIX}"), depth.to_string()))
}
