//! The metadata that the system adds to declared objects.

use crate::compile::tree::depth_labels;
use crate::model::manifest_object::{AddedMetadata, ManifestObject};
use crate::model::metadata::{MANAGED_BY_VALUE, SPECIAL_NAMESPACES, SyncId, annotation, label};
use crate::model::object::ObjectId;

/// The facts that the added metadata of all objects of one compilation follows from.
#[derive(Debug, Default)]
pub(crate) struct SystemMetadata {
    /// The cluster that the objects are for; empty: no annotation `cluster-name`.
    pub(crate) cluster_name: String,
    /// The directory in the source that file paths are relative to.
    pub(crate) source_dir: String,
    /// `true` in a hierarchical repository: labels on a Namespace tell its depth in the directories.
    pub(crate) hierarchical: bool,
    /// `None`: the objects get no metadata of a sync.
    pub(crate) sync: Option<SyncMetadata>,
}

/// The label and annotation values that name a sync.
#[derive(Debug)]
pub(crate) struct SyncMetadata {
    part_of: String,
    manager: String,
    inventory: String,
}

impl SyncMetadata {
    /// The values of one sync.
    pub(crate) fn of(sync: &SyncId) -> Self {
        Self { part_of: sync.part_of(), manager: sync.manager(), inventory: sync.inventory_id() }
    }
}

impl SystemMetadata {
    /// The metadata to add to an object from the file `path`, which is applied as `id`.
    pub(crate) fn for_declared(&self, object: &ManifestObject, path: &str, id: &ObjectId) -> AddedMetadata {
        let mut added = AddedMetadata::default();
        added.label(label::DECLARED_VERSION, object.version());
        if !self.cluster_name.is_empty() {
            added.annotation(annotation::CLUSTER_NAME, &self.cluster_name);
        }
        added.annotation(annotation::SOURCE_PATH, self.source_path(path));
        if id.is_namespace() && object.version() == "v1" {
            self.add_for_namespace(object, path, &mut added);
        }
        self.add_for_sync(id, object.annotation(annotation::MANAGED), &mut added);
        added
    }

    /// The metadata to add to a Namespace that objects are in and that is not declared. The sync leaves it in the cluster when
    /// no object is in it any more.
    pub(crate) fn for_implicit(&self, id: &ObjectId) -> AddedMetadata {
        let mut added = AddedMetadata::default();
        added.annotation(annotation::DELETION, "detach");
        self.add_for_sync(id, None, &mut added);
        added
    }

    fn source_path(&self, path: &str) -> String {
        match self.source_dir.trim_matches('/') {
            "" | "." => path.to_owned(),
            directory => format!("{directory}/{path}"),
        }
    }

    fn add_for_namespace(&self, object: &ManifestObject, path: &str, added: &mut AddedMetadata) {
        if self.hierarchical {
            for (key, depth) in depth_labels(path) {
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

    fn add_for_sync(&self, id: &ObjectId, managed: Option<&str>, added: &mut AddedMetadata) {
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
