//! One write after the other to one object.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use http::Method;
use sandbox::merge::{self, Refusal, Write};
use sandbox::schema::{self, Type};
use serde_json::{Value, json};

use crate::Server;
use crate::compare;
use crate::dice::Dice;
use crate::kinds::{self, Kind};

const JSON: &str = "application/json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const OPERATIONS: &str = "application/json-patch+json";

/// The object, and how to write to it.
pub(crate) struct Trial<'a> {
    server: &'a Server,
    kind: &'a Kind,
    ty: Type,
    /// The object's name.
    name: &'static str,
    pub(crate) path: String,
}

/// A request.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) media_type: &'static str,
    pub(crate) body: Value,
    pub(crate) manager: String,
    pub(crate) subresource: &'static str,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(server: &'a Server, kind: &'a Kind, name: &'static str) -> Result<Self> {
        let (group, version) = kind.api_version.split_once('/').unwrap_or(("", kind.api_version));
        let ty = match &kind.custom {
            Some(schema) => Type::of_crd(schema),
            None => schema::kind(group, version, kind.kind).context("a published kind")?,
        };
        Ok(Self { server, kind, ty, name, path: format!("{}/{name}", kind.collection()) })
    }

    pub(crate) fn send(&self, request: &Request) -> Result<(u16, Value)> {
        let body = if request.body.is_null() { Vec::new() } else { serde_json::to_vec(&request.body)? };
        let (status, text) = self.server.raw.send(&request.method, &request.path, request.media_type, JSON, body)?;
        Ok((status, serde_json::from_str(&text).with_context(|| text.clone())?))
    }

    /// Converts an object as the API server does when it reads one.
    fn read(&self, object: &mut Value) -> Result<()> {
        schema::decode(&self.ty, object).map_err(anyhow::Error::msg)?;
        schema::default(&self.ty, object);
        kinds::converted(object);
        Ok(())
    }

    pub(crate) fn live(&self) -> Result<Option<Value>> {
        let (status, text) = self.server.raw.send(&Method::GET, &self.path, "", JSON, Vec::new())?;
        Ok(if status == 200 { Some(serde_json::from_str(&text)?) } else { None })
    }

    /// Makes a write and returns whether it was accepted.
    pub(crate) fn step(&mut self, dice: &mut Dice) -> Result<bool> {
        let live = self.live()?;
        if live.is_some() && dice.one_in(25) {
            self.server.raw.send(&Method::DELETE, &self.path, "", JSON, Vec::new())?;
            return Ok(true);
        }
        let request = self.request(dice, live.as_ref());
        let (status, answer) = self.send(&request)?;
        if status == 409 && answer["message"].as_str().is_some_and(|message| message.contains("has been modified")) {
            // A controller was quicker.
            return Ok(false);
        }
        let told = format!("{} {} {}\n{}", request.method, request.path, request.media_type, request.body);
        self.check(&request, live.as_ref(), status, &answer).with_context(|| told)?;
        Ok(status < 300)
    }

    fn check(&self, request: &Request, live: Option<&Value>, status: u16, answer: &Value) -> Result<()> {
        let now = now(answer, live);
        let has_status = self.kind.status.is_some();
        let reset_fields = match (request.subresource, &self.kind.custom) {
            ("", _) if !has_status => &[],
            (subresource, Some(_)) => schema::reset_fields("custom", "", subresource),
            (subresource, None) => {
                let group = self.kind.api_version.split_once('/').map_or("", |(group, _)| group);
                schema::reset_fields(group, self.kind.kind, subresource)
            }
        };
        let write = Write {
            kind: &self.ty,
            api_version: self.kind.api_version,
            manager: &request.manager,
            subresource: request.subresource,
            now: &now,
            reset_fields,
            other_versions: &|_| None,
        };
        if request.media_type == APPLY {
            let force = request.path.contains("force=true");
            let ours = merge::apply(&write, live, &request.body, force);
            return self.check_apply(ours, live, status, answer, request.subresource);
        }
        self.check_update(&write, request, live, status, answer)
    }

    fn check_apply(
        &self,
        ours: Result<Value, Refusal>,
        live: Option<&Value>,
        status: u16,
        answer: &Value,
        subresource: &str,
    ) -> Result<()> {
        match ours {
            Err(refusal) => {
                let real = answer["message"].as_str().unwrap_or_default();
                ensure!(
                    status >= 300 && compare::messages(&refusal.message(), real),
                    "ours {:?}\nreal {answer}",
                    refusal.message()
                );
            }
            Ok(mut ours) => {
                if self.kind.custom.is_some() {
                    schema::default(&self.ty, &mut ours);
                } else {
                    self.read(&mut ours)?;
                }
                if subresource.is_empty() || status >= 300 {
                    self.check_causes(&ours, live, status, answer)?;
                }
                if status >= 300 {
                    return Ok(());
                }
                if let Some(live) = live {
                    merge::keep_times(&self.ty, live, &mut ours);
                }
                compare::managed(&ours, answer, live)?;
                schema::store(&self.ty, &mut ours).map_err(anyhow::Error::msg)?;
                if subresource.is_empty() {
                    self.check_values(&ours, answer, live)?;
                }
            }
        }
        Ok(())
    }

    /// Checks that the API server finds the same mistakes in a custom resource. For other kinds it has rules that no type states.
    fn check_causes(&self, ours: &Value, live: Option<&Value>, status: u16, answer: &Value) -> Result<()> {
        ensure!(status == 422 || status < 300, "real {answer}");
        let causes = answer.pointer("/details/causes").and_then(Value::as_array);
        let causes = causes.into_iter().flatten().map(|cause| {
            let text = |key: &str| cause[key].as_str().unwrap_or_default();
            format!("{} {}: {}", text("reason"), text("field"), text("message"))
        });
        let real: BTreeSet<String> = causes.collect();
        let own = schema::validate(&self.ty, ours, live);
        let own = own.iter().map(|cause| format!("{} {}: {}", cause.reason, cause.field, cause.message));
        let own: BTreeSet<String> = own.collect();
        ensure!(self.kind.custom.is_none() || own == real, "ours {own:#?}\nreal {real:#?}");
        Ok(())
    }

    /// Checks that the API server has the computed object. Each further field that it has must be a default.
    fn check_values(&self, ours: &Value, real: &Value, live: Option<&Value>) -> Result<()> {
        let mut kept = compare::values(ours, real, live)?;
        kept.retain(|path| !kinds::LATER.contains(&path.as_str()));
        if kept.is_empty() {
            return Ok(());
        }
        let mut probe = ours.clone();
        probe["metadata"] = json!({"name": "probe", "namespace": "default"});
        let path = format!("{}?dryRun=All", self.kind.collection());
        let (status, text) = self.server.raw.send(&Method::POST, &path, JSON, JSON, serde_json::to_vec(&probe)?)?;
        ensure!(status == 201, "{status} {text}");
        let defaulted: Value = serde_json::from_str(&text)?;
        for path in kept {
            ensure!(
                defaulted.pointer(&path).is_some() && defaulted.pointer(&path) == real.pointer(&path),
                "{path} is still there\n  ours {ours}"
            );
        }
        Ok(())
    }

    fn check_update(
        &self,
        write: &Write<'_>,
        request: &Request,
        live: Option<&Value>,
        status: u16,
        answer: &Value,
    ) -> Result<()> {
        let sent = match self.patched(request, live) {
            Err(refusal) => {
                ensure!(answer["message"] == refusal.message(), "ours {:?}\nreal {answer}", refusal.message());
                return Ok(());
            }
            Ok(sent) => sent,
        };
        if status >= 300 {
            let mut ours = sent;
            self.read(&mut ours)?;
            return self.check_causes(&ours, live, status, answer);
        }
        // A scale is not the object.
        let real = if request.subresource == "scale" { self.live()?.context("the object")? } else { answer.clone() };
        if real["metadata"]["resourceVersion"] != answer["metadata"]["resourceVersion"] {
            // A controller was quicker.
            return Ok(());
        }
        let mut new = real.clone();
        new["metadata"]["managedFields"] = Value::Null;
        if request.subresource != "scale" {
            let mut ours = sent.clone();
            self.read(&mut ours)?;
            if request.subresource.is_empty() {
                self.check_causes(&ours, live, status, answer)?;
                let mut stored = ours.clone();
                schema::store(&self.ty, &mut stored).map_err(anyhow::Error::msg)?;
                self.check_values(&stored, &real, live)?;
                compare::with_empty(&mut new, &ours);
            }
            let entries = ours["metadata"]["managedFields"].take();
            if self.kind.custom.is_some() {
                // Only schemas set values of custom resources.
                new = ours;
            }
            new["metadata"]["managedFields"] = entries;
        }
        if request.subresource.is_empty() {
            kinds::without_later_fields(&mut new, &sent);
        }
        let mut ours = match live {
            Some(live) if request.subresource == "scale" => merge::scale(write, live, new, &["spec", "replicas"]),
            _ => merge::update(write, live, new),
        };
        if let Some(live) = live {
            merge::keep_times(&self.ty, live, &mut ours);
        }
        compare::managed(&ours, &real, live)
    }

    /// The live object after the request.
    fn patched(&self, request: &Request, live: Option<&Value>) -> Result<Value, Refusal> {
        match (request.media_type, live) {
            (MERGE, Some(live)) => merge::json_merge(live, &request.body),
            (STRATEGIC, Some(live)) => merge::strategic(&self.ty, live, &request.body),
            (OPERATIONS, Some(live)) => merge::json_patch(live, &request.body),
            _ => Ok(request.body.clone()),
        }
    }

    pub(crate) fn request(&self, dice: &mut Dice, live: Option<&Value>) -> Request {
        let content = self.content(dice, live);
        let Some(live) = live else {
            return if dice.one_in(2) { self.create(dice, content) } else { self.apply(dice, content, "") };
        };
        match dice.below(14) {
            0..5 => self.apply(dice, content, ""),
            5..7 => self.put(dice, live, &content),
            7 | 8 => self.merge_patch(dice, content),
            9 | 10 => self.strategic_patch(dice, content),
            11 => self.operations(dice, live, &content),
            12 => self.status(dice, live).unwrap_or_else(|| self.put(dice, live, &content)),
            _ => self.scale(dice, live).unwrap_or_else(|| self.apply(dice, content, "")),
        }
    }

    /// The next random object to write.
    pub(crate) fn content(&self, dice: &mut Dice, live: Option<&Value>) -> Value {
        let mut content = dice.make(&self.kind.template);
        for owner in
            content.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut).into_iter().flatten()
        {
            let uid = self.server.owners.iter().find(|(name, _)| owner["name"] == name.as_str()).map(|(_, uid)| uid);
            owner["uid"] = uid.map(String::as_str).unwrap_or_default().into();
        }
        content["apiVersion"] = self.kind.api_version.into();
        content["kind"] = self.kind.kind.into();
        content["metadata"]["name"] = self.name.into();
        content["metadata"]["namespace"] = "default".into();
        if let Some(live) = live {
            content["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        }
        content
    }

    fn apply(&self, dice: &mut Dice, content: Value, subresource: &'static str) -> Request {
        let manager = (*dice.pick(&["a", "b", "kubectl"])).to_owned();
        let force = if dice.one_in(3) { "" } else { "&force=true" };
        let slash = if subresource.is_empty() { "" } else { "/" };
        let path = format!("{}{slash}{subresource}?fieldManager={manager}{force}", self.path);
        Request { method: Method::PATCH, path, media_type: APPLY, body: content, manager, subresource }
    }

    fn update(&self, dice: &mut Dice, media_type: &'static str, body: Value, subresource: &'static str) -> Request {
        let manager = if dice.one_in(4) { format!("m{}", dice.below(14)) } else { "u".to_owned() };
        let slash = if subresource.is_empty() { "" } else { "/" };
        let path = format!("{}{slash}{subresource}?fieldManager={manager}", self.path);
        let method = if media_type == JSON { Method::PUT } else { Method::PATCH };
        Request { method, path, media_type, body, manager, subresource }
    }

    fn create(&self, dice: &mut Dice, content: Value) -> Request {
        let made = self.update(dice, JSON, content, "");
        let path = format!("{}?fieldManager={}", self.kind.collection(), made.manager);
        Request { method: Method::POST, path, ..made }
    }

    fn put(&self, dice: &mut Dice, live: &Value, content: &Value) -> Request {
        let mut new = match dice.below(3) {
            0 => content.clone(),
            _ => merge::json_merge(live, content).unwrap_or_default(),
        };
        if dice.one_in(3) {
            remove(dice, &mut new);
        }
        match dice.below(20) {
            0 => new["metadata"]["managedFields"] = json!([{}]),
            1 => new["metadata"]["managedFields"] = json!([]),
            2 => new["metadata"]["managedFields"] = Value::Null,
            _ => {}
        }
        self.update(dice, JSON, new, "")
    }

    fn merge_patch(&self, dice: &mut Dice, mut patch: Value) -> Request {
        if dice.one_in(2) {
            nullify(dice, &mut patch);
        }
        self.update(dice, MERGE, patch, "")
    }

    fn strategic_patch(&self, dice: &mut Dice, mut patch: Value) -> Request {
        if self.kind.custom.is_some() {
            return self.merge_patch(dice, patch);
        }
        if dice.one_in(3) {
            nullify(dice, &mut patch);
        }
        if let (true, Some(containers)) =
            (dice.one_in(3), patch.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut))
        {
            let name = (*dice.pick(&["a", "b"])).to_owned();
            containers.retain(|container| container["name"] != name.as_str());
            containers.push(json!({"name": name, "$patch": "delete"}));
        }
        self.update(dice, STRATEGIC, patch, "")
    }

    fn operations(&self, dice: &mut Dice, live: &Value, content: &Value) -> Request {
        let mut operations = vec![
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}),
        ];
        let mut places = Vec::new();
        leaves("", content, &mut places);
        places.retain(|(path, _)| {
            let fixed = ["/apiVersion", "/kind", "/metadata/n", "/metadata/resourceVersion"];
            !fixed.iter().any(|fixed| path.starts_with(fixed))
        });
        for _ in 0..2 {
            let Some((path, value)) = places.get(dice.below(places.len())) else { continue };
            operations.push(match (live.pointer(path), dice.below(3)) {
                (Some(_), 0) => json!({"op": "remove", "path": path}),
                (Some(_), 1) => json!({"op": "replace", "path": path, "value": value}),
                _ => json!({"op": "add", "path": path, "value": value}),
            });
        }
        self.update(dice, OPERATIONS, Value::Array(operations), "")
    }

    fn status(&self, dice: &mut Dice, live: &Value) -> Option<Request> {
        let status = dice.make(self.kind.status.as_ref()?);
        let mut content = self.content(dice, Some(live));
        content["status"] = status;
        Some(match dice.below(3) {
            0 => self.apply(dice, content, "status"),
            1 => self.update(dice, MERGE, content, "status"),
            _ => {
                let new = merge::json_merge(live, &content).unwrap_or_default();
                self.update(dice, JSON, new, "status")
            }
        })
    }

    fn scale(&self, dice: &mut Dice, live: &Value) -> Option<Request> {
        let replicas = *dice.pick(&[1, 2, 3]);
        if !self.kind.scale || live.pointer("/spec/replicas").is_none() {
            return None;
        }
        let body = json!({
            "metadata": {"resourceVersion": live["metadata"]["resourceVersion"]},
            "spec": {"replicas": replicas},
        });
        Some(self.update(dice, MERGE, body, "scale"))
    }
}

/// The time of the write, as far as it can be seen: the newest one of an entry.
fn now(answer: &Value, live: Option<&Value>) -> String {
    let newest = |object: &Value| {
        let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        let times = entries.into_iter().flatten().filter_map(|entry| entry["time"].as_str());
        times.max().unwrap_or_default().to_owned()
    };
    newest(answer).max(live.map(newest).unwrap_or_default())
}

/// The fields of content that are no maps, by their pointers.
fn leaves(path: &str, content: &Value, found: &mut Vec<(String, Value)>) {
    match content {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                leaves(&format!("{path}/{}", name.replace('/', "~1")), value, found);
            }
        }
        other => found.push((path.to_owned(), other.clone())),
    }
}

/// Some field of the content, but for what names the object.
fn some_field<'v>(dice: &mut Dice, content: &'v mut Value) -> Option<(&'v mut serde_json::Map<String, Value>, String)> {
    let mut places = Vec::new();
    leaves("", content, &mut places);
    places.retain(|(path, _)| {
        let fixed = ["/apiVersion", "/kind", "/metadata/n", "/metadata/resourceVersion", "/metadata/uid", "/status"];
        !fixed.iter().any(|fixed| path.starts_with(fixed))
    });
    let (path, _) = places.get(dice.below(places.len()))?.clone();
    let (above, name) = path.rsplit_once('/')?;
    let name = name.replace("~1", "/");
    Some((content.pointer_mut(above)?.as_object_mut()?, name))
}

fn remove(dice: &mut Dice, content: &mut Value) {
    if let Some((fields, name)) = some_field(dice, content) {
        fields.remove(&name);
    }
}

fn nullify(dice: &mut Dice, content: &mut Value) {
    if let Some((fields, name)) = some_field(dice, content) {
        fields.insert(name, Value::Null);
    }
}
