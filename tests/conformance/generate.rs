//! Logs drawn from a seed. The same seed always gives the same log.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::edit::{edit, merge};
use crate::family::family;
use crate::kinds::{self, Kind, Names};
use crate::lives;
use crate::log::{Body, JSON, METADATA, METADATA_LIST, Request, Step, Until, Watch};
use crate::shape::{Shape, pick};

pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// Those who write.
pub(crate) const MANAGERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// The object by which a watch sees the end of the log; every selector of a watch selects it.
const LAST: &str = "last";

/// A request about an object, and what the cluster needs to come to rest.
pub(crate) fn asked(kind: &Kind, name: &str, mut request: Request) -> impl Iterator<Item = Step> + use<> {
    request.body.name(name);
    let rest = kind.until.filter(|_| request.method != "GET").map(|until| Step::Await(until, kind.path(name)));
    std::iter::once(Step::Ask(request)).chain(rest)
}

/// A log of about `length` steps.
pub(crate) fn log(seed: u64, length: usize) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let all = kinds::all();
    let mut chosen = Vec::new();
    for _ in 0..2 {
        chosen.push(rng.usize(..all.len()));
    }
    // The versions of a kind are used together, or there would be no point.
    if chosen.iter().any(|&at| all[at].kind == "Gadget") {
        chosen = (0..all.len()).filter(|&at| all[at].kind == "Gadget").collect();
    }
    let chosen = chosen.into_iter().map(|at| &all[at]).collect::<Vec<_>>();
    let mut writer = Writer { rng, generated: BTreeSet::new(), steps: Vec::new() };
    for kind in &chosen {
        writer.watch(kind);
    }
    while writer.steps.len() < length {
        let kind = *pick(&mut writer.rng, &chosen);
        writer.step(kind);
    }
    for kind in chosen.iter().filter(|kind| !kind.api_version.ends_with("alpha1")) {
        writer.end(kind);
    }
    writer.steps
}

/// Writes a log.
pub(crate) struct Writer {
    pub(crate) rng: Rng,
    /// The kinds of which there is an object with a generated name.
    generated: BTreeSet<&'static str>,
    steps: Vec<Step>,
}

impl Writer {
    /// Asks something of an object, and lets the cluster come to rest.
    pub(crate) fn ask(&mut self, kind: &Kind, name: &str, request: Request) {
        self.steps.extend(asked(kind, name, request));
    }

    /// True once in `n` times.
    pub(crate) fn seldom(&mut self, n: u32) -> bool {
        self.rng.u32(..n) == 0
    }

    fn step(&mut self, kind: &Kind) {
        let name = *pick(&mut self.rng, &["a", "a", "b"]);
        match self.rng.u32(..100) {
            0..12 => self.create(kind, name),
            12..36 => self.apply(kind, name),
            36..48 => self.update(kind, name),
            48..56 => self.patch(kind, name, MERGE),
            56..64 => self.patch(kind, name, JSON_PATCH),
            64..72 => self.patch(kind, name, STRATEGIC),
            72..78 => self.delete(kind, name),
            78..82 => self.read(kind, name),
            82..91 => self.write_status(kind, name),
            91..96 => self.scale(kind, name),
            96 => self.watch(kind),
            97 => self.delete_collection(kind),
            98 => self.odd(kind, name),
            _ => {
                let steps = match self.rng.u8(..16) {
                    0 => lives::namespace(),
                    1..4 => lives::definition(),
                    _ => family(kind, &mut self.rng),
                };
                self.steps.extend(steps);
            }
        }
    }

    /// A whole object, seldom one that is wrong.
    fn manifest(&mut self, kind: &Kind, name: &str) -> Value {
        let mut manifest = kind.head(name);
        merge(&mut manifest, kind.body.value(&mut self.rng));
        merge(&mut manifest["metadata"], kinds::metadata().value(&mut self.rng));
        if let Some(status) = &kind.status
            && self.seldom(10)
        {
            manifest["status"] = status.value(&mut self.rng);
        }
        self.spoil(kind, &mut manifest);
        manifest
    }

    fn spoil(&mut self, kind: &Kind, manifest: &mut Value) {
        if self.seldom(15) {
            kind.body.spoil(manifest, &mut self.rng);
        }
        if self.seldom(60) {
            let odd: [(&str, Value); 7] = [
                ("/apiVersion", "v7".into()),
                ("/kind", "Other".into()),
                ("/metadata/name", "Not_A_Name-<tag>".into()),
                ("/metadata/namespace", "elsewhere".into()),
                ("/metadata/labels", json!({"a/b/c": "x"})),
                ("/metadata/resourceVersion", "7".into()),
                ("/metadata/unheardOf", 1.into()),
            ];
            let (pointer, value) = pick(&mut self.rng, &odd).clone();
            edit(manifest, pointer, Some(value));
        }
    }

    /// Says who writes, and what else a write can say.
    pub(crate) fn parameters(&mut self, request: Request) -> Request {
        let mut request = request;
        if !self.seldom(4) {
            request = request.with(format!("fieldManager={}", pick(&mut self.rng, &MANAGERS)));
        }
        if self.seldom(12) {
            request = request.with("dryRun=All");
        }
        if self.seldom(5) {
            let strictness = *pick(&mut self.rng, &["Strict", "Warn", "Ignore"]);
            request = request.with(format!("fieldValidation={strictness}"));
        }
        request
    }

    fn create(&mut self, kind: &Kind, name: &str) {
        let mut manifest = self.manifest(kind, name);
        let generated = self.seldom(12) && kind.names != Names::Definitions;
        if generated && let Some(metadata) = manifest["metadata"].as_object_mut() {
            metadata.remove("name");
            metadata.insert("generateName".into(), kind.name("made-").into());
        }
        let mut request = self.parameters(Request::new("POST", kind.collection()).json(manifest));
        // The order of several would be that of chance, also in the pages of a list.
        if generated && !request.query.contains("dryRun") && !self.generated.insert(kind.plural) {
            request = request.with("dryRun=All");
        }
        self.ask(kind, name, request);
    }

    pub(crate) fn apply(&mut self, kind: &Kind, name: &str) {
        let mut manifest = kind.head(name);
        merge(&mut manifest, kind.body.part(&mut self.rng));
        merge(&mut manifest["metadata"], kinds::metadata().part(&mut self.rng));
        self.spoil(kind, &mut manifest);
        if self.seldom(30) {
            manifest["metadata"]["uid"] = format!("<uid {}>", kind.path(name)).into();
        }
        if self.seldom(30) {
            let which = *pick(&mut self.rng, &["rv", "old rv"]);
            manifest["metadata"]["resourceVersion"] = format!("<{which} {}>", kind.path(name)).into();
        }
        let mut request = Request::new("PATCH", kind.path(name)).json(manifest).of_type(APPLY);
        if !self.seldom(40) {
            request = request.with(format!("fieldManager={}", pick(&mut self.rng, &MANAGERS)));
        }
        if self.seldom(2) {
            request = request.with("force=true");
        }
        if self.seldom(15) {
            request = request.with("dryRun=All");
        }
        self.ask(kind, name, request);
    }

    pub(crate) fn update(&mut self, kind: &Kind, name: &str) {
        let body = if self.seldom(4) {
            let mut manifest = self.manifest(kind, name);
            match self.rng.u8(..4) {
                0 => manifest["metadata"]["resourceVersion"] = format!("<old rv {}>", kind.path(name)).into(),
                1 => manifest["metadata"]["resourceVersion"] = format!("<rv {}>", kind.path(name)).into(),
                2 => manifest["metadata"]["uid"] = format!("<uid {}>", kind.path(name)).into(),
                _ => {}
            }
            Body::Json(manifest)
        } else {
            Body::Seen { path: kind.path(name), edits: self.edits(kind) }
        };
        let mut request = self.parameters(Request::new("PUT", kind.path(name)).json(Value::Null));
        request.body = body;
        self.ask(kind, name, request);
    }

    /// The changes that a client makes to an object that it has read.
    pub(crate) fn edits(&mut self, kind: &Kind) -> Vec<(String, Option<Value>)> {
        let mut edits = Vec::new();
        for _ in 0..self.rng.usize(1..4) {
            let metadata = kinds::metadata();
            let (root, shape) = if self.seldom(4) { ("/metadata", &metadata) } else { ("", &kind.body) };
            let (pointer, shape) = shape.place(root, &mut self.rng);
            let value = (!self.seldom(4)).then(|| shape.value(&mut self.rng));
            edits.push((pointer, value));
        }
        if self.seldom(6) {
            edits.push(("/metadata/resourceVersion".into(), None));
        }
        if self.seldom(25) {
            let emptied = [json!([]), json!([{}]), Value::Null];
            edits.push(("/metadata/managedFields".into(), Some(pick(&mut self.rng, &emptied).clone())));
        }
        if self.seldom(40) {
            edits.push(("/metadata/uid".into(), Some("11111111-2222-3333-4444-555555555555".into())));
        }
        edits
    }

    fn patch(&mut self, kind: &Kind, name: &str, content_type: &'static str) {
        // Custom resources refuse strategic patches; to be told so now and then is enough.
        let content_type =
            if content_type == STRATEGIC && !kind.strategic && !self.seldom(6) { MERGE } else { content_type };
        let body = self.patch_of(&kind.body, content_type, kind.path(name));
        let request = Request::new("PATCH", kind.path(name)).json(body).of_type(content_type);
        let request = self.parameters(request);
        self.ask(kind, name, request);
    }

    fn patch_of(&mut self, shape: &Shape, content_type: &str, path: String) -> Value {
        let metadata = kinds::metadata();
        let of_metadata = self.seldom(4);
        if content_type == JSON_PATCH {
            let (root, shape) = if of_metadata { ("/metadata", &metadata) } else { ("", shape) };
            let mut patch = shape.json_patch(root, &mut self.rng);
            if self.seldom(30) {
                patch = json!([{"op": "remove", "path": "/metadata/finalizers"}]);
            }
            return patch;
        }
        let draw = if content_type == STRATEGIC { Shape::strategic_patch } else { Shape::merge_patch };
        let mut patch = if of_metadata { json!({}) } else { draw(shape, &mut self.rng) };
        if of_metadata || self.seldom(5) {
            patch["metadata"] = draw(&metadata, &mut self.rng);
        }
        if self.seldom(20) {
            patch["metadata"]["finalizers"] = Value::Null;
        }
        if self.seldom(30) {
            let which = *pick(&mut self.rng, &["rv", "old rv"]);
            patch["metadata"]["resourceVersion"] = format!("<{which} {path}>").into();
        }
        if self.seldom(20) {
            shape.spoil(&mut patch, &mut self.rng);
        }
        patch
    }

    fn delete(&mut self, kind: &Kind, name: &str) {
        let path = kind.path(name);
        let mut request = Request::new("DELETE", path.clone());
        if self.seldom(2) {
            let mut options = json!({});
            if self.seldom(2) {
                let policies = ["Background", "Foreground", "Orphan", "Background", "Foreground", "Orphan", "Odd"];
                options["propagationPolicy"] = (*pick(&mut self.rng, &policies)).into();
            }
            if self.seldom(4) {
                let uids = [format!("<uid {path}>"), "11111111-2222-3333-4444-555555555555".into()];
                options["preconditions"]["uid"] = pick(&mut self.rng, &uids).clone().into();
            }
            if self.seldom(4) {
                let versions = [format!("<rv {path}>"), format!("<old rv {path}>")];
                options["preconditions"]["resourceVersion"] = pick(&mut self.rng, &versions).clone().into();
            }
            if self.seldom(6) {
                options["gracePeriodSeconds"] = (*pick(&mut self.rng, &[0, 5])).into();
            }
            if self.seldom(6) {
                options["orphanDependents"] = self.rng.bool().into();
            }
            request = request.json(options);
        } else if self.seldom(3) {
            request = request
                .with(*pick(&mut self.rng, &["propagationPolicy=Foreground", "gracePeriodSeconds=0", "dryRun=All"]));
        }
        self.ask(kind, name, request);
        self.steps.push(Step::Await(Until::Collected, path));
    }

    fn delete_collection(&mut self, kind: &Kind) {
        let selector = *pick(&mut self.rng, &["app%3Dweb", "app%3Dweb,tier", "app!%3Dweb"]);
        let own = if kind.namespaced() { "" } else { "run%3D<tag>," };
        self.ask(kind, "a", Request::new("DELETE", kind.collection()).with(format!("labelSelector={own}{selector}")));
    }

    fn read(&mut self, kind: &Kind, name: &str) {
        let mut request = match self.rng.u8(..6) {
            0..3 => Request::new("GET", kind.path(name)),
            _ if !kind.namespaced() => Request::new("GET", kind.collection()).with("labelSelector=run%3D<tag>"),
            3 => Request::new("GET", kind.collection()),
            4 => {
                let selectors = [
                    "app%3Dweb",
                    "app!%3Dweb,tier",
                    "!app",
                    "app%20in%20(web,db)",
                    "tier%20notin%20(web)",
                    "app%3D%3D",
                ];
                Request::new("GET", kind.collection())
                    .with(format!("labelSelector={}", pick(&mut self.rng, &selectors)))
            }
            _ => {
                let selectors =
                    ["metadata.name%3Da", "metadata.name!%3Da", "metadata.namespace%3Dt-<tag>", "spec.odd%3D1"];
                Request::new("GET", kind.collection())
                    .with(format!("fieldSelector={}", pick(&mut self.rng, &selectors)))
            }
        };
        if self.seldom(3) {
            request.accept = if request.path == kind.collection() { METADATA_LIST } else { METADATA };
        }
        // A page may be followed by objects of other logs.
        if self.seldom(4) && request.path == kind.collection() && kind.namespaced() {
            request = request.with("limit=1");
        }
        // With `resourceVersion=0` the answer may be older than the last write, so that is left out. What a client has seen in one
        // version of a kind may be older than a write in another version.
        if self.seldom(6) && request.path != kind.collection() && kind.kind != "Gadget" {
            request = request.with(format!("resourceVersion=<rv {}>", kind.path(name)));
        }
        self.ask(kind, name, request);
    }

    /// A request that no client should send.
    fn odd(&mut self, kind: &Kind, name: &str) {
        let manifest = self.manifest(kind, name);
        let text = manifest.to_string();
        let (collection, path) = (kind.collection(), kind.path(name));
        let request = match self.rng.u8(..10) {
            0 => Request::new("POST", collection).text(JSON, &text[..text.len() / 2]),
            1 => Request::new("POST", collection).text(JSON, ""),
            2 => Request::new("POST", collection).text(JSON, "[]"),
            // JSON is YAML.
            3 => Request::new("POST", collection).text("application/yaml", &text),
            4 => Request::new("POST", collection).text("text/plain", &text),
            5 => Request::new("PATCH", path).text(JSON, &text),
            6 => Request::new("PATCH", path).text(MERGE, "[1"),
            7 => Request::new("PATCH", path).text(APPLY, "a: [").with("fieldManager=alice"),
            8 => Request::new("PATCH", path).text(JSON_PATCH, r#"[{"op":"frob","path":"/spec"}]"#),
            _ => Request::new("GET", format!("{path}/frob")),
        };
        self.ask(kind, name, request);
    }

    fn watch(&mut self, kind: &Kind) {
        let mut query = vec!["watch=true".to_owned()];
        if !kind.namespaced() {
            query.push("labelSelector=run%3D<tag>".into());
        } else if !self.steps.is_empty() {
            query.push(format!(
                "labelSelector={}",
                pick(&mut self.rng, &["app%3Dweb", "!legacy", "app%20in%20(web,db)", "tier!%3Dx"])
            ));
        }
        let mut last = LAST;
        if !self.steps.is_empty() {
            match self.rng.u8(..6) {
                0..3 => query.push(format!("resourceVersion=<since {}>", kind.path("a"))),
                3 => query.push(format!("resourceVersion=<long since {}>", kind.path("a"))),
                4 if kind.namespaced() => {
                    query = vec!["watch=true".into(), format!("fieldSelector=metadata.name%3D{}", kind.name("a"))];
                    last = "a";
                }
                _ => {}
            }
        }
        let accept = if self.seldom(3) { METADATA } else { JSON };
        // The log ends in the newer version of a kind.
        let last = kind.path(last).replace("v1alpha1", "v1");
        let watch = Watch { path: kind.collection(), query: query.join("&"), accept, last };
        self.steps.push(Step::Watch(watch));
    }

    /// Makes what the watches wait for.
    fn end(&mut self, kind: &Kind) {
        for name in ["a", LAST] {
            let mut manifest = kind.head(name);
            merge(&mut manifest, kind.body.least());
            merge(&mut manifest["metadata"], json!({"labels": {"app": "web"}}));
            self.ask(kind, name, Request::new("POST", kind.collection()).json(manifest));
            let patch = json!({"metadata": {"annotations": {"end": self.steps.len().to_string()}}});
            self.ask(kind, name, Request::new("PATCH", kind.path(name)).json(patch).of_type(MERGE));
        }
    }
}
