//! The metadata that the system adds to declared objects.

use crate::declared::DeclaredObject;
use crate::metadata::{DEPTH_SUFFIX, MANAGED_BY_VALUE, SPECIAL_NAMESPACES, SyncId, annotation, label};
use crate::object::Object;
use crate::parse::{Known, Manifest};
use crate::scope::{Draft, Scope};
use crate::settings::{Settings, SourceFormat};
use crate::tree::ROOT;

/// What is the same for all objects of a sync.
pub(crate) struct Stamp<'a> {
    settings: &'a Settings,
    sync: Option<SyncStamp>,
}

struct SyncStamp {
    part_of: String,
    manager: String,
    inventory: String,
}

impl SyncStamp {
    fn of(sync: &SyncId) -> Self {
        Self { part_of: sync.part_of(), manager: sync.manager(), inventory: sync.inventory_id() }
    }
}

impl<'a> Stamp<'a> {
    pub(crate) fn new(settings: &'a Settings) -> Self {
        Self { settings, sync: settings.sync.as_ref().map(SyncStamp::of) }
    }

    /// A draft as it is applied.
    pub(crate) fn declared(&self, draft: &Draft) -> DeclaredObject {
        let manifest = &draft.manifest;
        let mut object = manifest.object.clone();
        if let Some(namespace) = &draft.placed {
            object.set_namespace(namespace);
        }
        let version = object.version().to_owned();
        object.set_label(label::DECLARED_VERSION, version);
        if !self.settings.cluster_name.is_empty() {
            object.set_annotation(annotation::CLUSTER_NAME, &self.settings.cluster_name);
        }
        object.set_annotation(annotation::SOURCE_PATH, self.source_path(manifest));
        if draft.scope == Scope::Unknown {
            object.set_annotation(annotation::UNKNOWN_SCOPE, "true");
        }
        if manifest.is(Known::Namespace) {
            self.namespace(manifest, &mut object);
        }
        self.sync_metadata(&mut object);
        DeclaredObject::new(object, Some(manifest.start()), false)
    }

    /// A Namespace that is only used. It is left in place when nobody uses it any more.
    pub(crate) fn implicit_namespace(&self, name: &str) -> DeclaredObject {
        let mut object = Object::default();
        object.0.insert("apiVersion".to_owned(), "v1".into());
        object.0.insert("kind".to_owned(), "Namespace".into());
        object.metadata_mut().insert("name".to_owned(), name.into());
        object.set_annotation(annotation::DELETION, "detach");
        self.sync_metadata(&mut object);
        DeclaredObject::new(object, None, true)
    }

    fn source_path(&self, manifest: &Manifest) -> String {
        match self.settings.source_dir.trim_matches('/') {
            "" | "." => manifest.path().to_owned(),
            directory => format!("{directory}/{}", manifest.path()),
        }
    }

    fn namespace(&self, manifest: &Manifest, object: &mut Object) {
        if self.settings.format == SourceFormat::Hierarchy {
            for (key, value) in depth_labels(manifest, self.settings.format) {
                object.set_label(&key, value);
            }
            if let Some(original) = manifest.object.annotation(annotation::HNC_MANAGED_BY).filter(|it| !it.is_empty()) {
                object.set_annotation(annotation::ORIGINAL_HNC_MANAGED_BY, original);
            }
            object.set_annotation(annotation::HNC_MANAGED_BY, MANAGED_BY_VALUE);
        }
        if SPECIAL_NAMESPACES.contains(&object.name()) {
            object.set_annotation(annotation::DELETION, "detach");
        }
    }

    fn sync_metadata(&self, object: &mut Object) {
        let Some(sync) = &self.sync else { return };
        object.set_label(label::MANAGED_BY, MANAGED_BY_VALUE);
        object.set_label(label::PART_OF, &sync.part_of);
        object.set_annotation(annotation::MANAGER, &sync.manager);
        object.set_annotation(annotation::OWNING_INVENTORY, &sync.inventory);
        let resource_id = object.id().resource_id();
        object.set_annotation(annotation::RESOURCE_ID, resource_id);
        if object.annotation(annotation::MANAGED) != Some("disabled") {
            object.set_annotation(annotation::MANAGED, "enabled");
        }
    }
}

/// Labels that say how far a Namespace is below each of the directories that lead to it.
pub(crate) fn depth_labels(manifest: &Manifest, format: SourceFormat) -> Vec<(String, String)> {
    let below = manifest.directory().strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/'));
    let below = below.filter(|_| format == SourceFormat::Hierarchy);
    let directories = below.into_iter().flat_map(|below| below.rsplit('/'));
    directories.enumerate().map(|(depth, name)| (format!("{name}{DEPTH_SUFFIX}"), depth.to_string())).collect()
}
