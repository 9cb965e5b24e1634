//! Steps that deal with the status or the scale of an object.

use serde_json::{Value, json};

use crate::edit::merge;
use crate::generate::{APPLY, JSON_PATCH, MANAGERS, MERGE, STRATEGIC, Writer};
use crate::kinds::Kind;
use crate::log::{Body, Request};
use crate::shape::{object, pick};

impl Writer {
    /// Writes the status of an object, if the kind has one.
    pub(crate) fn write_status(&mut self, kind: &Kind, name: &str) {
        let path = format!("{}/status", kind.path(name));
        let none = object([]);
        let shape = object([("status", 100, kind.status.clone().unwrap_or(none))]);
        if kind.status.is_none() && !self.seldom(8) {
            return self.apply(kind, name);
        }
        let request = Request::new("PATCH", path.clone());
        let request = match self.rng.u8(..8) {
            0..2 => {
                let mut manifest = kind.head(name);
                merge(&mut manifest, shape.part(&mut self.rng));
                if self.seldom(4) {
                    merge(&mut manifest, kind.body.part(&mut self.rng));
                }
                let manager = format!("fieldManager={}", pick(&mut self.rng, &MANAGERS));
                let request = request.json(manifest).of_type(APPLY).with(manager);
                let request = if self.rng.bool() { request.with("force=true") } else { request };
                return self.ask(kind, name, request);
            }
            2..5 => {
                let (pointer, place) = shape.place("", &mut self.rng);
                let mut edits = vec![(pointer, Some(place.value(&mut self.rng)))];
                if self.seldom(3) {
                    edits.extend(self.edits(kind));
                }
                let mut request = Request::new("PUT", path).json(Value::Null);
                request.body = Body::Seen { path: kind.path(name), edits };
                request
            }
            5 => request.json(shape.json_patch("", &mut self.rng)).of_type(JSON_PATCH),
            6 if kind.strategic => request.json(shape.strategic_patch(&mut self.rng)).of_type(STRATEGIC),
            _ => request.json(shape.merge_patch(&mut self.rng)).of_type(MERGE),
        };
        let request = self.parameters(request);
        self.ask(kind, name, request);
    }

    /// Reads or writes the scale of an object, if the kind has one.
    pub(crate) fn scale(&mut self, kind: &Kind, name: &str) {
        if !kind.scale && !self.seldom(8) {
            return self.update(kind, name);
        }
        let path = format!("{}/scale", kind.path(name));
        let replicas = *pick(&mut self.rng, &[0, 1, 2, 3, -1]);
        let patch = json!({"spec": {"replicas": replicas}});
        let request = match self.rng.u8(..6) {
            0 => Request::new("GET", path),
            1 => Request::new("PATCH", path).json(patch).of_type(MERGE),
            2 => {
                let patch = json!([{"op": "replace", "path": "/spec/replicas", "value": replicas}]);
                Request::new("PATCH", path).json(patch).of_type(JSON_PATCH)
            }
            3 => {
                self.ask(kind, name, Request::new("GET", path.clone()));
                let mut request = Request::new("PUT", path.clone()).json(Value::Null);
                request.body = Body::Seen { path, edits: vec![("/spec/replicas".into(), Some(replicas.into()))] };
                request
            }
            4 => {
                let mut scale =
                    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": kind.name(name)}});
                merge(&mut scale, patch);
                let request = Request::new("PATCH", path).json(scale).of_type(APPLY).with("fieldManager=scaler");
                let request = if self.rng.bool() { request.with("force=true") } else { request };
                return self.ask(kind, name, request);
            }
            _ => {
                let scale = json!({
                    "apiVersion": "autoscaling/v1", "kind": "Scale",
                    "metadata": {"name": kind.name(name), "namespace": "t-<tag>"}, "spec": {"replicas": replicas},
                });
                Request::new("PUT", path).json(scale)
            }
        };
        let request = if request.method == "GET" { request } else { self.parameters(request) };
        self.ask(kind, name, request);
    }
}
