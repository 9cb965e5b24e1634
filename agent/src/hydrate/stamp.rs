//! The metadata that the system adds to declared objects.

use serde_json::{Value, json};

use crate::declared::DeclaredObject;
use crate::metadata::{DEPTH_SUFFIX, MANAGED_BY_VALUE, SPECIAL_NAMESPACES, SyncId, annotation, label};
use crate::object::{GroupKind, Object, ObjectId};
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
        let object = &manifest.object;
        let mut added = Added::default();
        added.label(label::DECLARED_VERSION, object.version());
        if !self.settings.cluster_name.is_empty() {
            added.annotation(annotation::CLUSTER_NAME, &self.settings.cluster_name);
        }
        added.annotation(annotation::SOURCE_PATH, self.source_path(manifest));
        if draft.scope == Scope::Unknown {
            added.annotation(annotation::UNKNOWN_SCOPE, "true");
        }
        if manifest.is(Known::Namespace) {
            self.namespace(manifest, &mut added);
        }
        let disabled = object.annotation(annotation::MANAGED) == Some("disabled");
        let id = draft.id();
        self.sync_metadata(&id, disabled, &mut added);
        let mut metadata = object.0.get("metadata").cloned().unwrap_or_default();
        added.add_to(&mut metadata, draft.placed.as_deref());
        DeclaredObject::merged(id, object, &manifest.payload, &metadata, Some(manifest.start()))
    }

    /// A Namespace that is only used. It is left in place when nobody uses it any more.
    pub(crate) fn implicit_namespace(&self, name: &str) -> DeclaredObject {
        let mut added = Added::default();
        added.annotation(annotation::DELETION, "detach");
        self.sync_metadata(&ObjectId::new(&GroupKind::new("", "Namespace"), "", name), false, &mut added);
        let mut metadata = json!({ "name": name });
        added.add_to(&mut metadata, None);
        let fields = [("apiVersion", "v1".into()), ("kind", "Namespace".into()), ("metadata", metadata)];
        let object = Object(fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect());
        DeclaredObject::new(object, None, true)
    }

    fn source_path(&self, manifest: &Manifest) -> String {
        match self.settings.source_dir.trim_matches('/') {
            "" | "." => manifest.path().to_owned(),
            directory => format!("{directory}/{}", manifest.path()),
        }
    }

    fn namespace(&self, manifest: &Manifest, added: &mut Added) {
        if self.settings.format == SourceFormat::Hierarchy {
            added.labels.extend(depth_labels(manifest, self.settings.format));
            if let Some(original) = manifest.object.annotation(annotation::HNC_MANAGED_BY).filter(|it| !it.is_empty()) {
                added.annotation(annotation::ORIGINAL_HNC_MANAGED_BY, original);
            }
            added.annotation(annotation::HNC_MANAGED_BY, MANAGED_BY_VALUE);
        }
        if SPECIAL_NAMESPACES.contains(&manifest.object.name()) {
            added.annotation(annotation::DELETION, "detach");
        }
    }

    fn sync_metadata(&self, id: &ObjectId, disabled: bool, added: &mut Added) {
        let Some(sync) = &self.sync else { return };
        added.label(label::MANAGED_BY, MANAGED_BY_VALUE);
        added.label(label::PART_OF, &sync.part_of);
        added.annotation(annotation::MANAGER, &sync.manager);
        added.annotation(annotation::OWNING_INVENTORY, &sync.inventory);
        added.annotation(annotation::RESOURCE_ID, id.resource_id());
        if !disabled {
            added.annotation(annotation::MANAGED, "enabled");
        }
    }
}

/// Annotations and labels to add. They override an object's own.
#[derive(Default)]
struct Added {
    annotations: Vec<(String, String)>,
    labels: Vec<(String, String)>,
}

impl Added {
    fn annotation(&mut self, key: &str, value: impl Into<String>) {
        self.annotations.push((key.to_owned(), value.into()));
    }

    fn label(&mut self, key: &str, value: impl Into<String>) {
        self.labels.push((key.to_owned(), value.into()));
    }

    fn add_to(self, metadata: &mut Value, namespace: Option<&str>) {
        let Value::Object(metadata) = metadata else { return };
        for (field, added) in [("annotations", self.annotations), ("labels", self.labels)] {
            let added = added.into_iter().map(|(key, value)| (key, Value::String(value)));
            match metadata.get_mut(field) {
                Some(Value::Object(own)) => own.extend(added),
                _ => {
                    metadata.insert(field.to_owned(), Value::Object(added.collect()));
                }
            }
        }
        if let Some(namespace) = namespace {
            metadata.insert("namespace".to_owned(), namespace.into());
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
