//! The owners of the fields of an object after a write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::Value;

use super::check::check;
use super::compare::{Comparison, compare, fields};
use super::managed::{Managed, Operation, Owned, Owner};
use super::path::Path;
use super::set::Set;
use super::values::{merged, removed};
use super::{Conflict, Refusal, Write};
use crate::schema::{Ref, Type};

/// Fields that no entry holds.
const UNOWNED: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

static UNOWNED_SET: LazyLock<Set> = LazyLock::new(|| Set::of(&UNOWNED));

impl Write<'_> {
    /// The type of an entry's version. None if the kind has no such version any more.
    fn of_version(&self, api_version: &str) -> Option<Type> {
        if api_version == self.api_version { Some(self.kind.clone()) } else { (self.other_versions)(api_version) }
    }

    fn reset(&self) -> Set {
        Set::of(self.reset_fields)
    }

    /// The changes of a write in terms of a type, but for the fields that the endpoint resets.
    fn changes(&self, kind: &Ref, live: &Value, new: &Value) -> Comparison {
        let found = compare(kind, live, new);
        if self.reset_fields.is_empty() { found } else { found.without(&self.reset()) }
    }

    /// The entries whose version is known, in terms of what the type says today.
    pub(crate) fn known(&self, managed: Managed) -> Managed {
        let known = managed.into_iter().filter_map(|(owner, owned)| {
            let kind = self.of_version(&owned.api_version)?;
            let set = super::retype::retyped(&kind.root, &owned.set);
            Some((owner, Owned { set, ..owned }))
        });
        known.collect()
    }

    /// Takes from all but `who` what a write changes. `Err` has the fields that they own and the write changes, unless
    /// `force` is set.
    fn take(
        &self,
        live: &Value,
        new: &Value,
        managed: &mut Managed,
        who: &Owner,
        force: bool,
    ) -> Result<Comparison, Vec<(Owner, Path)>> {
        let own = self.changes(&self.kind.root, live, new);
        let mut comparisons = BTreeMap::from([(self.api_version.to_owned(), own)]);
        let mut conflicts = Vec::new();
        let mut left = Managed::new();
        for (owner, owned) in managed.iter() {
            if owner == who {
                left.insert(owner.clone(), owned.clone());
                continue;
            }
            if !comparisons.contains_key(&owned.api_version) {
                let Some(kind) = self.of_version(&owned.api_version) else { continue };
                let found = self.changes(&kind.root, live, new);
                comparisons.insert(owned.api_version.clone(), found);
            }
            let Some(found) = comparisons.get(&owned.api_version) else { continue };
            let contested = owned.set.intersection(&found.modified.union(&found.added));
            conflicts.extend(contested.paths().into_iter().map(|path| (owner.clone(), path)));
            let set = owned.set.difference(&contested).difference(&found.removed);
            if !set.is_empty() {
                left.insert(owner.clone(), Owned { set, ..owned.clone() });
            }
        }
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        *managed = left;
        Ok(comparisons.remove(self.api_version).unwrap_or_default())
    }

    /// The entries after an update from `live` to `new`.
    pub(crate) fn updated(&self, live: &Value, new: &Value, managed: Managed, manager: &str) -> Managed {
        let mut managed = self.known(managed);
        // Another name than any entry has: what a manager changes it loses first, like all others.
        let none = Owner { manager: String::new(), ..Owner::new("", Operation::Update, "", "") };
        let found = self.take(live, new, &mut managed, &none, true).unwrap_or_default();
        let changed = found.modified.union(&found.added).without(&self.reset()).difference(&UNOWNED_SET);
        if !changed.is_empty() {
            let who = Owner::new(manager, Operation::Update, self.api_version, self.subresource);
            let before = managed.get(&who).map(|owned| owned.set.clone()).unwrap_or_default();
            let set = changed.union(&before);
            managed.insert(who, self.owned(set, Some(self.now.to_owned())));
        }
        managed
    }

    fn owned(&self, set: Set, time: Option<String>) -> Owned {
        Owned { api_version: self.api_version.to_owned(), time, set }
    }

    /// `true` if an object can be converted to the versions of all entries but that of `who`: each has every field of the
    /// object, and no item occurs twice.
    pub(crate) fn fit(&self, managed: &Managed, who: Option<&Owner>, object: &Value) -> bool {
        let others = managed.iter().filter(|(owner, _)| Some(*owner) != who).map(|(_, owned)| &owned.api_version);
        let versions = others.filter(|version| **version != self.api_version).collect::<BTreeSet<_>>();
        versions
            .into_iter()
            .filter_map(|version| self.of_version(version))
            .all(|kind| check(&kind.root, object).is_ok())
    }

    /// The object and the entries after `config` is applied. No object if it stays as it is.
    pub(crate) fn applied(
        &self,
        live: &Value,
        config: &Value,
        managed: Managed,
        force: bool,
    ) -> Result<(Option<Value>, Managed), Refusal> {
        let mut managed = self.known(managed);
        let who = Owner::new(self.manager, Operation::Apply, self.api_version, self.subresource);
        let unfit = |object| Refusal::Failed(format!("failed to convert {object} object to another version"));
        if !self.fit(&managed, None, live) {
            return Err(unfit("old"));
        }
        let last = managed.get(&who).cloned();
        let set = fields(&self.kind.root, config).without(&self.reset());
        let is_of_one_version = managed.values().all(|owned| owned.api_version == self.api_version);
        let time = last.as_ref().and_then(|last| last.time.clone());
        managed.insert(who.clone(), self.owned(set.clone(), time));
        let new = merged(&self.kind.root, live, config);
        let new = match &last {
            // Who gives no field up has none to take out.
            Some(last) if is_of_one_version && last.set.difference(&set).is_empty() => new,
            Some(last) if !last.set.is_empty() => {
                let mut versions = managed.clone();
                versions.insert(Owner { manager: String::new(), ..who.clone() }, last.clone());
                // Once it has been in another version, it comes back to its own in the same way.
                let elsewhere = |version: &str| version != self.api_version && self.of_version(version).is_some();
                let comes_back = versions.values().any(|owned| elsewhere(&owned.api_version));
                let fits = |object: &Value| !comes_back || check(&self.kind.root, object).is_ok();
                if !self.fit(&versions, None, &new) || (elsewhere(&last.api_version) && !fits(&new)) {
                    return Err(unfit("merged"));
                }
                let pruned = self.pruned(new, &managed, last);
                if !fits(&pruned) {
                    return Err(unfit("pruned"));
                }
                pruned
            }
            _ => new,
        };
        if !self.fit(&managed, Some(&who), &new) {
            return Err(unfit("new"));
        }
        self.take(live, &new, &mut managed, &who, force).map_err(|conflicts| {
            Refusal::Conflicts(conflicts.into_iter().map(|(owner, path)| Conflict { owner, path }).collect())
        })?;
        let new = Some(new).filter(|new| !super::path::same(live, new));
        if let Some(owned) = managed.get_mut(&who) {
            owned.set = owned.set.difference(&UNOWNED_SET);
            if new.is_some() {
                owned.time = Some(self.now.to_owned());
            }
        }
        managed.retain(|_, owned| !owned.set.is_empty());
        Ok((new, managed))
    }

    /// The merged object without the fields that the applier has applied `last`, does not apply now, and owns alone.
    fn pruned(&self, merged: Value, managed: &Managed, last: &Owned) -> Value {
        let Some(kind) = self.of_version(&last.api_version) else { return merged };
        let kind = &kind.root;
        let last_set = last.set.with_named(Some(kind));
        let mut pruned = removed(Some(kind), &merged, &last_set);
        let mut versions: BTreeMap<&str, Set> = BTreeMap::new();
        for owned in managed.values() {
            let set = versions.entry(&owned.api_version).or_default();
            *set = set.union(&owned.set);
        }
        // The version of the entry first, then the others.
        if let Some(set) = versions.remove(last.api_version.as_str()) {
            pruned = with_owned(kind, &merged, &pruned, &set);
        }
        for (version, set) in versions {
            if let Some(kind) = self.of_version(version) {
                pruned = with_owned(&kind.root, &merged, &pruned, &set);
            }
        }
        // Fields that the applier never applied stay.
        let left = fields(kind, &pruned).with_named(Some(kind));
        let all = fields(kind, &merged).with_named(Some(kind));
        removed(Some(kind), &merged, &all.difference(&left).intersection(&last_set))
    }
}

/// `pruned` with what `owned` holds of `merged`.
fn with_owned(kind: &Ref, merged: &Value, pruned: &Value, owned: &Set) -> Value {
    let all = fields(kind, merged).with_named(Some(kind));
    let kept = fields(kind, pruned).with_named(Some(kind)).union(&owned.with_named(Some(kind)));
    removed(Some(kind), merged, &all.difference(&kept))
}
