//! Strategic merge patches: merge patches that know the lists whose items have a key.

use std::cmp::Ordering;

use serde_json::{Map as Fields, Value};

use super::Refusal;
use super::check::{printed, type_name};
use super::path::same;
use crate::schema::{Patch, Ref, Type};

type Object = Fields<String, Value>;

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// `live` as `patch` changes it.
///
/// # Errors
/// When the patch is none that fits, in the words of the API server.
pub fn strategic(kind: &Type, live: &Value, patch: &Value) -> Result<Value, Refusal> {
    if kind.custom.is_some() {
        return Err(bad("strategic merge patch format is not supported"));
    }
    let object = |value: &Value| value.as_object().cloned().unwrap_or_default();
    merge_map(Some(&kind.root), object(live), object(patch)).map(Value::Object)
}

fn merge_map(kind: Option<&Ref>, mut live: Object, mut patch: Object) -> Result<Object, Refusal> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(unknown_directive(&patch)),
        };
    }
    retain_keys(&mut live, &mut patch)?;
    order_lists(kind, &mut live, &mut patch)?;
    for (name, value) in patch {
        let (name, deletes) = match name.strip_prefix(DELETE) {
            Some(name) => (name.to_owned(), true),
            None => (name, false),
        };
        match (live.get_mut(&name).map(Value::take), value) {
            (_, Value::Null) => {
                live.remove(&name);
            }
            (Some(Value::Object(old)), Value::Object(new)) => {
                let field = field(kind, &name)?;
                let merged = if strategy(field).replace { new } else { merge_map(field, old, new)? };
                live.insert(name, Value::Object(merged));
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let field = field(kind, &name)?;
                let merged = merge_list(field, old, new, deletes)?;
                live.insert(name, Value::Array(merged));
            }
            (Some(old), _) if deletes => {
                live.insert(name, old);
            }
            (None, _) if deletes => {}
            (_, mut new) => {
                without_nulls(&mut new);
                match without_directives(new) {
                    Some(new) => live.insert(name, new),
                    None => live.remove(&name),
                };
            }
        }
    }
    Ok(live)
}

/// The type of a field that is merged: only a field with a name of its own is.
fn field<'a>(kind: Option<&'a Ref>, name: &str) -> Result<Option<&'a Ref>, Refusal> {
    let fields =
        kind.and_then(|kind| kind.node().map.as_ref()).map(|map| &map.fields).filter(|fields| !fields.is_empty());
    let Some(fields) = fields else {
        return Err(failed("merging an object in json but data type is not struct, instead is: map"));
    };
    let missing = || failed(&format!("unable to find api field in struct for the json field {name:?}"));
    fields.get(name).map(Some).ok_or_else(missing)
}

fn strategy(field: Option<&Ref>) -> Patch {
    field.and_then(|field| field.patch.clone()).unwrap_or_default()
}

/// With the directive, only the keys that it lists stay.
fn retain_keys(live: &mut Object, patch: &mut Object) -> Result<(), Refusal> {
    let Some(keys) = patch.remove(RETAIN) else { return Ok(()) };
    let malformed = || bad("invalid patch format of retainKeys");
    let keys = keys.as_array().ok_or_else(malformed)?;
    let kept = |name: &str| keys.iter().any(|key| key == name);
    let named = |name: &str| name.starts_with(DELETE) || name.starts_with(ORDER);
    if patch.iter().any(|(name, value)| !value.is_null() && !named(name) && !kept(name)) {
        return Err(malformed());
    }
    live.retain(|name, _| kept(name));
    Ok(())
}

/// Merges the lists whose order the patch states, and takes them out of it.
fn order_lists(kind: Option<&Ref>, live: &mut Object, patch: &mut Object) -> Result<(), Refusal> {
    let orders: Vec<String> = patch.keys().filter(|name| name.starts_with(ORDER)).cloned().collect();
    for directive in orders {
        let Some(order) = patch.remove(&directive) else { continue };
        let Value::Array(order) = order else {
            return Err(bad_type("[]interface {}", &order));
        };
        let name = &directive[ORDER.len()..];
        let list = |object: &Object| match object.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items.clone())),
            Some(other) => Err(bad_type("[]interface {}", other)),
        };
        let (old, new) = (list(live)?, list(patch)?);
        let field = field(kind, name)?;
        let key = strategy(field).key;
        check_order(new.as_deref().unwrap_or_default(), &order, key.as_deref())?;
        let merged = match (&old, new) {
            (None, None) => continue,
            (Some(old), None) => old.clone(),
            (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
            (Some(old), Some(new)) => merge_list(field, old.clone(), new, false)?,
        };
        let old = old.unwrap_or_default();
        let sorted = sorted(merged, &order, &old, key.as_deref())?;
        live.insert(name.to_owned(), Value::Array(sorted));
        patch.remove(name);
    }
    Ok(())
}

/// Checks that the items of the patch have the order that `$setElementOrder` states.
fn check_order(items: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Refusal> {
    if order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter().peekable();
    for item in items.iter().filter(|item| key.is_none() || item.get(DIRECTIVE).is_none_or(|it| it != "delete")) {
        // Other directives are passed over too, but for those after the last item.
        if item.get(DIRECTIVE).is_some() && rest.peek().is_some() {
            continue;
        }
        if let Some(key) = key.filter(|key| item.get(*key).is_none()) {
            return Err(no_key(item, key));
        }
        if !rest.any(|ordered| equal(item, ordered, key)) {
            let [items, order] = [items, order].map(|list| printed(&Value::Array(list.to_vec())));
            return Err(failed(&format!(
                "The order in patch list:\n{items}\n doesn't match $setElementOrder list:\n{order}\n"
            )));
        }
    }
    Ok(())
}

fn merge_list(field: Option<&Ref>, old: Vec<Value>, new: Vec<Value>, deletes: bool) -> Result<Vec<Value>, Refusal> {
    let Patch { merge, key, .. } = strategy(field);
    if !merge && !deletes {
        return Ok(new);
    }
    let Some(first) = old.first().or_else(|| new.first()) else { return Ok(old) };
    if !first.is_object() && deletes {
        return Ok(old.into_iter().filter(|item| !new.iter().any(|gone| same(item, gone))).collect());
    }
    if !first.is_object() {
        let mut both: Vec<Value> = Vec::new();
        for item in old.iter().chain(&new) {
            if !both.iter().any(|known| same(known, item)) {
                both.push(item.clone());
            }
        }
        return sorted(both, &new, &old, None);
    }
    let Some(key) = key else { return Err(failed("cannot merge lists without merge key for struct")) };
    let (old, new) = directed(old, new, &key)?;
    let items = field.and_then(|field| field.node().list.as_ref()).map(|list| &list.items);
    let mut merged = old.clone();
    for item in &new {
        let Some(value) = item.get(&key) else { return Err(no_key(item, &key)) };
        let known = merged.iter_mut().find(|known| known.get(&key).is_some_and(|known| same(known, value)));
        match (known, item) {
            (Some(known), Value::Object(item)) => {
                let before = known.as_object().cloned().unwrap_or_default();
                *known = Value::Object(merge_map(items, before, item.clone())?);
            }
            _ => merged.push(item.clone()),
        }
    }
    sorted(merged, &new, &old, Some(&key))
}

/// Carries out the directives among the items of a patch.
fn directed(mut old: Vec<Value>, new: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>), Refusal> {
    let mut plain = Vec::new();
    let mut replace = false;
    for item in new {
        match item.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
            None => plain.push(item),
            Some("delete") => {
                let Some(value) = item.get(key) else { return Err(no_key(&item, key)) };
                old.retain(|known| !known.get(key).is_some_and(|known| same(known, value)));
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(failed("merging lists cannot yet be specified in the patch")),
            Some(_) => return Err(unknown_directive(&item.as_object().cloned().unwrap_or_default())),
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (old, plain) })
}

/// The items of `order` in that order, and among them the others in the order and at the places of `before`.
fn sorted(items: Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) -> Result<Vec<Value>, Refusal> {
    if let Some(key) = key {
        let keyless = items.iter().chain(order).find(|item| item.get(key).is_none());
        if let Some(item) = keyless {
            return Err(no_key(item, key));
        }
    }
    let at = |list: &[Value], item: &Value| list.iter().position(|other| equal(item, other, key));
    let (mut ordered, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| at(order, item).is_some());
    let by = |list: &[Value], a: &Value, b: &Value| match (at(list, a), at(list, b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => Ordering::Equal,
    };
    ordered.sort_by(|a, b| by(order, a, b));
    others.sort_by(|a, b| by(before, a, b));
    let mut all = Vec::new();
    let mut others = others.into_iter().peekable();
    for item in ordered {
        while let Some(other) = others.next_if(
            |other| matches!((at(before, other), at(before, &item)), (Some(other), Some(item)) if other < item),
        ) {
            all.push(other);
        }
        all.push(item);
    }
    all.extend(others);
    Ok(all)
}

/// `true` if two items are the same one.
fn equal(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => matches!((a.get(key), b.get(key)), (Some(a), Some(b)) if same(a, b)),
        None => same(a, b),
    }
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// A new value without its directives: there is nothing yet that they could change.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => {
            let kept = fields.into_iter().filter_map(|(name, value)| Some((name, without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        scalar => Some(scalar),
    }
}

fn unknown_directive(patch: &Object) -> Refusal {
    let directive = patch.get(DIRECTIVE).and_then(Value::as_str).unwrap_or_default();
    failed(&format!("unknown patch type: {directive} in map: {}", printed(&Value::Object(patch.clone()))))
}

fn no_key(item: &Value, key: &str) -> Refusal {
    failed(&format!("map: {} does not contain declared merge key: {key}", printed(item)))
}

fn bad_type(expected: &str, value: &Value) -> Refusal {
    failed(&format!("expected a {expected}, but received a {}", type_name(value)))
}

fn bad(message: &str) -> Refusal {
    Refusal::BadRequest(message.to_owned())
}

fn failed(message: &str) -> Refusal {
    Refusal::Failed(message.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema;

    fn patched(live: &Value, patch: &Value) -> Value {
        let kind = schema::kind("", "v1", "Pod").unwrap();
        strategic(&kind, &json!({"spec": live}), &json!({"spec": patch})).unwrap()["spec"].take()
    }

    #[test]
    fn lists_are_merged_by_their_key() {
        let live = json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]});
        let patch = json!({"containers": [{"name": "b", "image": "b:2"}, {"name": "c"}]});
        let merged =
            json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2"}, {"name": "c"}]});
        assert_eq!(patched(&live, &patch), merged);
        let patch = json!({"containers": [{"name": "a", "$patch": "delete"}]});
        assert_eq!(patched(&live, &patch), json!({"containers": [{"name": "b", "image": "b:1"}]}));
        let patch = json!({"containers": [{"$patch": "replace"}, {"name": "c"}]});
        assert_eq!(patched(&live, &patch), json!({"containers": [{"name": "c"}]}));
    }

    #[test]
    fn an_order_is_kept() {
        let live = json!({"containers": [{"name": "a"}, {"name": "x"}, {"name": "b"}]});
        let patch = json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]});
        assert_eq!(patched(&live, &patch), json!({"containers": [{"name": "x"}, {"name": "b"}, {"name": "a"}]}));
    }

    #[test]
    fn primitive_lists_lose_the_listed_values() {
        let kind = schema::kind("", "v1", "Pod").unwrap();
        let live = json!({"metadata": {"finalizers": ["a", "b"]}});
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}});
        let merged = strategic(&kind, &live, &patch).unwrap();
        assert_eq!(merged, json!({"metadata": {"finalizers": ["c", "b"]}}));
    }

    #[test]
    fn only_retained_keys_stay() {
        let live = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
        let patch = json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]});
        assert_eq!(patched(&live, &patch), json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}));
    }
}
