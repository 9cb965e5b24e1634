//! The part of a live object that our entry covers.

use serde_json::{Map, Value, json};

use super::built_in::SELECTORS;
use super::coverage::leaves_no_trace;
use super::entry::{ManagedFieldsEntry, Position, item_nodes, node_of};
use crate::model::built_in::is_built_in;
use crate::model::object::Object;

/// The part of a live object that our entry covers: two equal projections mean that no field of ours has changed its value. The order
/// of items does not count in lists that are owned item by item. Of declared maps of custom resources that leave no trace in an entry it
/// counts that they are there, and not their content.
pub fn projection(live: &Object, fields: &Map<String, Value>, declared: &Object) -> Value {
    Projection::new(declared, None).map(&live.0, fields, Some(&declared.0))
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
    Projection::new(declared, Some(entries)).map(&live.0, fields, Some(&declared.0))
}

struct Projection<'a> {
    /// See [`is_built_in`].
    typed: bool,
    /// Those of all managers; `None` if the content of maps and lists counts that are declared empty.
    entries: Option<&'a [ManagedFieldsEntry]>,
    at: Position,
}

impl<'a> Projection<'a> {
    fn new(declared: &Object, entries: Option<&'a [ManagedFieldsEntry]>) -> Self {
        Self { typed: is_built_in(declared.group()), entries, at: Position::default() }
    }

    fn map(
        &mut self,
        live: &Map<String, Value>,
        fields: &Map<String, Value>,
        declared: Option<&Map<String, Value>>,
    ) -> Value {
        let ours = live.iter().filter_map(|(name, value)| {
            let declared = declared.and_then(|declared| declared.get(name));
            let was = self.at.enter(name);
            let ours = match node_of(name, fields) {
                // An apply of a null leaves a map as it is.
                _ if declared.is_some_and(Value::is_null) && value.is_object() && self.keeps_nulls() => {
                    Some(Value::Null)
                }
                Some(node) if self.is_empty_to_us(name, value, node, declared) && value.is_array() => Some(json!([])),
                Some(node) if self.is_empty_to_us(name, value, node, declared) => Some(json!({})),
                Some(node) => Some(self.value(value, node, declared)),
                None => self.without_trace(value, declared),
            };
            self.at.leave(was);
            Some((name.clone(), ours?))
        });
        ours.collect::<Map<_, _>>().into()
    }

    /// The declared maps in a map of a custom resource that leaves no trace in our entry: they are there until another client removes
    /// them. Of a declared null, the value that is in its place.
    fn without_trace(&mut self, live: &Value, declared: Option<&Value>) -> Option<Value> {
        match declared.filter(|declared| self.keeps_nulls() && leaves_no_trace(declared))? {
            Value::Null => Some(live.clone()),
            declared => Some(self.map(live.as_object()?, &Map::new(), Some(declared.as_object()?))),
        }
    }

    /// `true` where the API server keeps nulls and empty lists.
    fn keeps_nulls(&self) -> bool {
        !(self.typed || self.at.path == ".status" || self.at.is_in_metadata())
    }

    /// `true` for a map or list that is declared empty and whose content is beside what is ours.
    fn is_empty_to_us(&self, name: &str, live: &Value, node: &Map<String, Value>, declared: Option<&Value>) -> bool {
        let Some(entries) = self.entries.filter(|_| node.is_empty()) else { return false };
        match (live, declared) {
            (Value::Object(_), Some(Value::Object(map))) => {
                map.is_empty() && !(self.typed && SELECTORS.contains(&name))
            }
            (Value::Array(live), Some(Value::Array(items))) => {
                items.is_empty() && self.at.are_beside(live, entries, self.typed) == Some(true)
            }
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
    use super::super::fixture::{fields, object, service};
    use super::*;

    #[test]
    fn a_projection_keeps_our_fields_only() {
        let live = object(json!({
            "metadata": {"labels": {"x": "1", "theirs": "2"}, "uid": "u"},
            "spec": {"selector": {"app": "a"}, "ports": [{"port": 53, "protocol": "UDP", "nodePort": 3}], "type": "ClusterIP"},
        }));
        assert_eq!(
            projection(&live, fields().as_object().expect("a map"), &object(service())),
            json!({
                "metadata": {"labels": {"x": "1"}},
                "spec": {"selector": {"app": "a"}, "ports": [{"port": 53, "protocol": "UDP"}]},
            })
        );
    }

    #[test]
    fn a_declared_map_that_leaves_no_trace_is_there_or_not() {
        let kind = |group: &str, spec: Value| {
            object(json!({"apiVersion": format!("{group}/v1"), "kind": "X", "spec": spec, "status": {"list": []}}))
        };
        let kept = |group: &str, spec: Value| {
            let declared = kind(group, json!({"n": 1, "a": {"list": []}, "b": {"c": {"list": []}}}));
            let fields = json!({"f:spec": {"f:n": {}}});
            let fields = fields.as_object().expect("a map");
            let live = kind(group, spec);
            let projection = projection(&live, fields, &declared);
            assert_eq!(projection, declared_projection(&live, fields, &[], &declared));
            assert!(projection.get("status").is_none());
            projection["spec"].clone()
        };
        let whole = kept("a.b", json!({"n": 1, "a": {"x": 1, "list": [1]}, "b": {"c": {"list": []}}, "x": {}}));
        assert_eq!(whole, json!({"n": 1, "a": {}, "b": {"c": {}}}));
        assert_eq!(kept("a.b", json!({"n": 1, "a": null, "b": {"x": 1}})), json!({"n": 1, "b": {}}));
        assert_eq!(kept("apps", json!({"n": 1, "a": {"x": 1}})), json!({"n": 1}), "it is not stored");
    }

    #[test]
    fn what_is_in_the_place_of_a_declared_null_counts() {
        let kept = |group: &str, live: Value| {
            let kind = |spec: Value| object(json!({"apiVersion": format!("{group}/v1"), "kind": "X", "spec": spec}));
            let declared = kind(json!({"n": 1, "proxy": null, "mine": null}));
            let fields = json!({"f:spec": {"f:n": {}, "f:mine": {}}});
            projection(&kind(live), fields.as_object().expect("a map"), &declared)["spec"].clone()
        };
        for spec in [json!({"n": 1, "proxy": null}), json!({"n": 1, "proxy": "evil"}), json!({"n": 1})] {
            assert_eq!(kept("a.b", spec.clone()), spec);
        }
        assert_eq!(kept("a.b", json!({"n": 1, "proxy": {"x": 1}})), json!({"n": 1, "proxy": null}));
        assert_eq!(kept("a.b", json!({"n": 1, "mine": {"x": 1}})), json!({"n": 1, "mine": null}));
        assert_eq!(kept("apps", json!({"n": 1, "proxy": "x"})), json!({"n": 1}));
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
