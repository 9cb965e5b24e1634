//! The part of a live object that our entry covers.

use serde_json::{Map, Value};

use super::built_in::{SELECTORS, is_built_in};
use super::entry::{ManagedFieldsEntry, Position, item_nodes};
use crate::model::object::Object;

/// The part of a live object that our entry covers: two equal projections mean that no field of ours has changed its value. The order
/// of items does not count in lists that are owned item by item.
pub fn projection(live: &Object, fields: &Map<String, Value>) -> Value {
    Projection::new(&[], &[]).map(&live.0, fields, None)
}

/// The [`projection`] without the content of maps that are declared empty, which the API server fills and others own fields in, and
/// without the items of others in such lists. Selectors of built-in kinds keep their content, because nothing fills them. `entries`
/// are those of all managers.
pub fn declared_projection(
    live: &Object,
    fields: &Map<String, Value>,
    entries: &[ManagedFieldsEntry],
    declared: &Object,
) -> Value {
    let selectors: &[&str] = if is_built_in(declared.group()) { &SELECTORS } else { &[] };
    Projection::new(selectors, entries).map(&live.0, fields, Some(&declared.0))
}

struct Projection<'a> {
    /// Maps that keep their content where they are declared empty.
    selectors: &'a [&'a str],
    entries: &'a [ManagedFieldsEntry],
    at: Position,
}

impl<'a> Projection<'a> {
    fn new(selectors: &'a [&'a str], entries: &'a [ManagedFieldsEntry]) -> Self {
        Self { selectors, entries, at: Position::default() }
    }

    fn map(
        &mut self,
        live: &Map<String, Value>,
        fields: &Map<String, Value>,
        declared: Option<&Map<String, Value>>,
    ) -> Value {
        let ours = live.iter().filter_map(|(name, value)| {
            let node = fields.get(&format!("f:{name}"))?.as_object()?;
            let declared = declared.and_then(|declared| declared.get(name));
            let was = self.at.enter(name);
            let value = if self.is_empty_to_us(name, value, node, declared) {
                if value.is_array() { Vec::<Value>::new().into() } else { Map::new().into() }
            } else {
                self.value(value, node, declared)
            };
            self.at.leave(was);
            Some((name.clone(), value))
        });
        ours.collect::<Map<_, _>>().into()
    }

    /// `true` for a map or list that is declared empty and whose content is beside what is ours.
    fn is_empty_to_us(&self, name: &str, live: &Value, node: &Map<String, Value>, declared: Option<&Value>) -> bool {
        match (live, declared) {
            _ if !node.is_empty() => false,
            (Value::Object(_), Some(Value::Object(map))) => map.is_empty() && !self.selectors.contains(&name),
            (Value::Array(_), Some(Value::Array(items))) => items.is_empty() && self.at.is_owned_in_parts(self.entries),
            _ => false,
        }
    }

    fn value(&mut self, live: &Value, fields: &Map<String, Value>, declared: Option<&Value>) -> Value {
        match live {
            _ if fields.is_empty() => live.clone(),
            Value::Object(map) => self.map(map, fields, declared.and_then(Value::as_object)),
            Value::Array(items) => {
                let declared: &[Value] = declared.and_then(Value::as_array).map_or(&[], Vec::as_slice);
                let ours = items.iter().filter_map(|item| {
                    let (element, node) = item_nodes(item, fields).next()?;
                    let one = Map::from_iter([(element.to_owned(), Value::Object(Map::new()))]);
                    let declared = declared.iter().find(|item| item_nodes(item, &one).next().is_some());
                    let was = self.at.enter_item("", element);
                    let ours = self.value(item, node, declared);
                    self.at.leave(was);
                    Some(ours)
                });
                let mut ours: Vec<Value> = ours.collect();
                ours.sort_by_cached_key(Value::to_string);
                ours.into()
            }
            _ => live.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{fields, object};
    use super::*;

    #[test]
    fn a_projection_keeps_our_fields_only() {
        let live = object(json!({
            "metadata": {"labels": {"x": "1", "theirs": "2"}, "uid": "u"},
            "spec": {"selector": {"app": "a"}, "ports": [{"port": 53, "protocol": "UDP", "nodePort": 3}], "type": "ClusterIP"},
        }));
        assert_eq!(
            projection(&live, fields().as_object().expect("a map")),
            json!({
                "metadata": {"labels": {"x": "1"}},
                "spec": {"selector": {"app": "a"}, "ports": [{"port": 53, "protocol": "UDP"}]},
            })
        );
    }

    #[test]
    fn the_content_of_maps_that_are_declared_empty_does_not_count() {
        let kind = |content: Value| {
            let items = json!([{"name": "a", "m": content}, {"name": "b", "m": {"x": 1}}]);
            let spec = json!({"ordinals": content, "podSelector": {"a": 1}, "whole": {"x": 1}, "items": items});
            object(json!({"apiVersion": "apps/v1", "kind": "X", "spec": spec}))
        };
        let declared = object(json!({"apiVersion": "apps/v1", "kind": "X", "spec": {
            "ordinals": {}, "podSelector": {}, "whole": {"x": 1}, "items": [{"name": "b", "m": {"x": 1}}, {"name": "a", "m": {}}],
        }}));
        let items =
            json!({"k:{\"name\":\"a\"}": {"f:name": {}, "f:m": {}}, "k:{\"name\":\"b\"}": {"f:name": {}, "f:m": {}}});
        let ours = json!({"f:spec": {"f:ordinals": {}, "f:podSelector": {}, "f:whole": {}, "f:items": items}});
        let kept = |content| declared_projection(&kind(content), ours.as_object().expect("a map"), &[], &declared);
        assert_eq!(kept(json!({"start": 0})), kept(json!({"start": 3})));
        assert_eq!(
            kept(json!({"start": 0})),
            json!({"spec": {
                "ordinals": {}, "podSelector": {"a": 1}, "whole": {"x": 1}, "items": [{"m": {"x": 1}, "name": "b"}, {"m": {}, "name": "a"}],
            }})
        );
        assert_ne!(kept(json!({"start": 0})), kept(Value::Null), "the map itself is ours");
    }

    #[test]
    fn the_items_of_others_in_a_list_that_is_declared_empty_do_not_count() {
        let widget = |list: Value| {
            object(json!({"apiVersion": "a.b/v1", "kind": "X", "spec": {"items": [{"name": "a", "list": list}]}}))
        };
        let of_item = |fields: Value| json!({"f:spec": {"f:items": {"k:{\"name\":\"a\"}": {"f:list": fields}}}});
        let ours = of_item(json!({}));
        let kept = |list: Value, theirs: Value| {
            let entry =
                serde_json::from_value(json!({"manager": "other", "fieldsV1": of_item(theirs)})).expect("an entry");
            declared_projection(&widget(list), ours.as_object().expect("a map"), &[entry], &widget(json!([])))
        };
        let empty = kept(json!([]), json!({}));
        assert_eq!(kept(json!([1]), json!({"v:1": {}})), empty);
        assert_ne!(kept(json!([1]), json!({})), empty, "it is in the place of ours");
    }
}
