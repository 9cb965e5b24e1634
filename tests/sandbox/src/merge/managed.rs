//! The entries of `metadata.managedFields`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::set::Set;
use crate::object;

/// The operation of an entry. Entries are sorted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

/// The owner of an entry. Each owner has one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) manager: String,
    pub(crate) operation: Operation,
    /// The version of updates. Applies of all versions share one entry, so it is empty for them.
    pub(crate) api_version: String,
    pub(crate) subresource: String,
}

impl Ord for Owner {
    /// In the order in which conflicts name them: the object itself comes after its subresources.
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.manager.cmp(&other.manager).then_with(|| self.operation.cmp(&other.operation));
        let order = order.then_with(|| self.api_version.cmp(&other.api_version));
        let order = order.then_with(|| self.subresource.is_empty().cmp(&other.subresource.is_empty()));
        order.then_with(|| self.subresource.cmp(&other.subresource))
    }
}

impl PartialOrd for Owner {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The rest of an entry.
#[derive(Debug, Clone)]
pub(crate) struct Owned {
    pub(crate) api_version: String,
    pub(crate) time: Option<String>,
    pub(crate) set: Set,
}

/// All entries.
pub(crate) type Managed = BTreeMap<Owner, Owned>;

/// The maximum number of entries of updates. Further ones are merged into the oldest.
const UPDATES: usize = 10;

impl Owner {
    pub(crate) fn new(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        let manager = if manager.is_empty() { "unknown" } else { manager };
        Self {
            manager: manager.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    /// As a conflict names it.
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            text += &format!(" using {}", self.api_version);
        }
        text
    }
}

/// The entries of an object; none if it has none. `Err` says what is wrong with them.
pub(crate) fn decode(object: &Value) -> Result<Managed, String> {
    let entries = object::at(object, "/metadata/managedFields").and_then(Value::as_array);
    let decoded = entries.into_iter().flatten().enumerate().map(|(index, entry)| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        if text("apiVersion").is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {index}")),
        }
        let fields = entry.get("fieldsV1").filter(|fields| !fields.is_null());
        let set = fields.map_or_else(|| Some(Set::default()), Set::from_fields);
        let set = set.ok_or_else(|| format!("error decoding set of managed fields entry {index}"))?;
        let owner = Owner {
            manager: text("manager").to_owned(),
            ..Owner::new("", operation, text("apiVersion"), text("subresource"))
        };
        let time = entry.get("time").and_then(Value::as_str).map(ToOwned::to_owned);
        Ok((owner, Owned { api_version: text("apiVersion").to_owned(), time, set }))
    });
    decoded.collect()
}

/// `true` if a client asks to forget all entries: an empty list, or a list of one empty entry.
pub(crate) fn is_reset(object: &Value) -> bool {
    match object::at(object, "/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// A copy of an object without its entries, which are the larger part of many objects.
pub(crate) fn stripped(object: &Value) -> Value {
    object::copy_without(object, &[], &["managedFields"])
}

/// Takes the entries off an object.
pub(crate) fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Puts entries on an object.
pub(crate) fn encode(object: &mut Value, managed: Managed) {
    strip(object);
    let mut managed: Vec<(Owner, Owned)> = managed.into_iter().collect();
    if managed.is_empty() {
        return;
    }
    managed.sort_by(|(a, x), (b, y)| {
        let order = a.operation.cmp(&b.operation).then_with(|| x.time.cmp(&y.time));
        let order = order.then_with(|| a.manager.cmp(&b.manager)).then_with(|| x.api_version.cmp(&y.api_version));
        order.then_with(|| a.subresource.cmp(&b.subresource))
    });
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"]["managedFields"] = managed.iter().map(entry).collect();
}

fn entry((owner, owned): &(Owner, Owned)) -> Value {
    let mut entry = object::of([
        ("operation", if owner.operation == Operation::Apply { "Apply" } else { "Update" }.into()),
        ("apiVersion", owned.api_version.as_str().into()),
        ("fieldsType", "FieldsV1".into()),
        ("fieldsV1", owned.set.to_fields()),
    ]);
    for (key, text) in
        [("manager", Some(&owner.manager)), ("subresource", Some(&owner.subresource)), ("time", owned.time.as_ref())]
    {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            entry[key] = text.as_str().into();
        }
    }
    entry
}

/// Puts the oldest updates together, one entry for each version, until there are few enough of them.
pub(crate) fn cap(managed: &mut Managed) {
    let mut updates: Vec<Owner> =
        managed.keys().filter(|owner| owner.operation == Operation::Update).cloned().collect();
    updates.sort_by(|a, b| managed[a].time.cmp(&managed[b].time).then_with(|| a.cmp(b)));
    let mut left = updates.len();
    let mut first_of: BTreeMap<String, Owner> = BTreeMap::new();
    for owner in updates {
        if left <= UPDATES {
            return;
        }
        let version = managed[&owner].api_version.clone();
        let Some(first) = first_of.get(&version) else {
            first_of.insert(version, owner);
            continue;
        };
        let bucket = Owner::new("ancient-changes", Operation::Update, &version, "");
        if !managed.contains_key(&bucket)
            && let Some(owned) = managed.remove(first)
        {
            managed.insert(bucket.clone(), owned);
        }
        if let (Some(owned), Some(together)) = (managed.remove(&owner), managed.get_mut(&bucket)) {
            together.set = together.set.union(&owned.set);
            together.time = owned.time;
        }
        left -= 1;
    }
}
