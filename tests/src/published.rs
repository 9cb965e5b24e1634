//! The documents that an API server publishes of its types, in the form in which `tests/sandbox/published/` has them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use http::Method;
use serde_json::{Map, Value, json};

use crate::fresh;
use crate::raw::Raw;

const JSON: &str = "application/json";
/// The form of discovery that kubectl asks for.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The documents that one version of Kubernetes publishes.
pub struct Published {
    version: String,
    /// The documents by path, as in `sandbox::schema::Document`.
    documents: BTreeMap<String, String>,
    /// The objects of a new cluster.
    objects: Value,
    /// The columns of its tables.
    columns: Value,
    /// The output of `tests/controlplane/types`: properties by the names of definitions.
    unpublished: Value,
    /// The output of `tests/controlplane/messages`: the protocol buffer form of objects.
    messages: Value,
}

/// Asks a control plane that has nothing but what it starts with.
///
/// # Errors
/// When it does not start or answer.
pub fn of_a_new_control_plane() -> Result<Published> {
    let server = Raw::start()?;
    let mut documents = BTreeMap::new();
    let mut get = |path: &str, accept: &str| -> Result<Value> {
        let (status, text) = server.send(&Method::GET, path, "", accept, Vec::new())?;
        ensure!(status == 200, "{path}: {status} {text}");
        let document = serde_json::from_str(&text).with_context(|| path.to_owned())?;
        let form = if accept == AGGREGATED { ";as=APIGroupDiscoveryList" } else { "" };
        documents.insert(format!("{}{form}", path.split('?').next().unwrap_or(path)), text);
        Ok(document)
    };
    let version = word(&get("/version", JSON)?["gitVersion"]).to_owned();
    for path in ["/api", "/apis"] {
        get(path, AGGREGATED)?;
    }
    get("/api", JSON)?;
    get("/api/v1", JSON)?;
    for group in each(&get("/apis", JSON)?["groups"]) {
        get(&format!("/apis/{}", word(&group["name"])), JSON)?;
        for version in each(&group["versions"]) {
            get(&format!("/apis/{}", word(&version["groupVersion"])), JSON)?;
        }
    }
    get("/openapi/v2", JSON)?;
    for entry in get("/openapi/v3", JSON)?["paths"].as_object().context("an index of documents")?.values() {
        get(word(&entry["serverRelativeURL"]), JSON)?;
    }
    for text in documents.values_mut() {
        *text = without_addresses(text)?;
    }
    Ok(Published {
        version,
        documents,
        objects: fresh::objects(&server)?,
        columns: fresh::columns(&server)?,
        unpublished: printed("./types")?,
        messages: printed("./messages")?,
    })
}

/// The output of one of the programs in `tests/controlplane`: facts from Kubernetes' sources that no document has.
fn printed(program: &str) -> Result<Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane");
    let mut command = Command::new("go");
    command.args(["run", "-trimpath", program]).env("CGO_ENABLED", "0").current_dir(directory);
    let output = command.output().context("failed to run go")?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

impl Published {
    /// Names and content of the files, the same ones for the same documents.
    ///
    /// # Errors
    /// When a document is not what an API server publishes.
    pub fn files(&self) -> Result<[(&'static str, Vec<u8>); 6]> {
        let mut archive = Vec::new();
        let mut lines = Vec::new();
        for (path, text) in &self.documents {
            let document = gzip(text)?;
            lines.push(json!({"path": path, "start": archive.len(), "length": document.len()}).to_string());
            archive.extend(document);
        }
        let version = json!(self.version);
        let index = format!("{{\"version\":{version},\"documents\":[\n{}\n]}}\n", lines.join(",\n"));
        let types = gzip(&self.types()?.to_string())?;
        let objects = gzip(&self.objects.to_string())?;
        Ok([
            ("index.json", index.into_bytes()),
            ("documents.gz", archive),
            ("types.json.gz", types),
            ("objects.json.gz", objects),
            ("columns.json.gz", gzip(&self.columns.to_string())?),
            ("messages.json.gz", gzip(&self.messages.to_string())?),
        ])
    }

    /// The names of the stored files that say something else. How they are compressed does not count.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn outdated(&self) -> Result<Vec<&'static str>> {
        let mut outdated = Vec::new();
        for (name, content) in self.files()? {
            let stored = std::fs::read(directory().join(name)).with_context(|| name.to_owned())?;
            if said(name, &stored)? != said(name, &content)? {
                outdated.push(name);
            }
        }
        Ok(outdated)
    }

    /// Every schema of the OpenAPI documents once, and which kinds they describe.
    fn types(&self) -> Result<Value> {
        let mut definitions = BTreeMap::new();
        let mut kinds = BTreeSet::new();
        for (path, text) in self.documents.iter().filter(|(path, _)| path.starts_with("/openapi/v3/")) {
            let document: Value = serde_json::from_str(text).with_context(|| path.clone())?;
            let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
            for (name, schema) in schemas.into_iter().flatten() {
                for kind in each(&schema["x-kubernetes-group-version-kind"]) {
                    kinds.insert([&kind["group"], &kind["version"], &kind["kind"], &json!(name)].map(word_of));
                }
                let mut definition = undescribed(schema);
                let properties = definition.get_mut("properties").and_then(Value::as_object_mut);
                for (property, schema) in properties.into_iter().flatten() {
                    for (key, value) in self.unpublished[name][property].as_object().into_iter().flatten() {
                        schema[format!("x-{key}")] = value.clone();
                    }
                }
                definitions.insert(name.clone(), definition);
            }
        }
        Ok(json!({"definitions": definitions, "kinds": kinds}))
    }
}

/// Where the files are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sandbox/published")
}

/// The content of a file, without the positions of the documents in their archive.
fn said(name: &str, content: &[u8]) -> Result<String> {
    if name.ends_with(".gz") {
        let mut text = String::new();
        MultiGzDecoder::new(content).read_to_string(&mut text)?;
        return Ok(text);
    }
    let mut index: Value = serde_json::from_slice(content)?;
    for document in index["documents"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        document.retain(|key, _| key == "path");
    }
    Ok(index.to_string())
}

/// The port of a control plane is another one each time.
fn without_addresses(text: &str) -> Result<String> {
    if !text.contains("serverAddressByClientCIDRs") || text.contains("openapi") {
        return Ok(text.to_owned());
    }
    let mut document: Map<String, Value> = serde_json::from_str(text)?;
    document.remove("serverAddressByClientCIDRs");
    Ok(Value::Object(document).to_string())
}

/// A schema without what is said for readers, and without the kinds that it is the type of.
fn undescribed(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let kept = fields
                .iter()
                .filter(|(key, _)| !["description", "x-kubernetes-group-version-kind"].contains(&key.as_str()));
            let without = kept.map(|(key, value)| (key.clone(), named(key, value)));
            Value::Object(without.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(undescribed).collect()),
        scalar => scalar.clone(),
    }
}

/// The value of a key of a schema. A property may be called `description`.
fn named(key: &str, value: &Value) -> Value {
    match value {
        Value::Object(properties) if key == "properties" => {
            let properties = properties.iter().map(|(name, schema)| (name.clone(), undescribed(schema)));
            Value::Object(properties.collect())
        }
        other => undescribed(other),
    }
}

/// Without a time or a name in it.
fn gzip(text: &str) -> Result<Vec<u8>> {
    let mut writer = GzBuilder::new().write(Vec::new(), Compression::best());
    writer.write_all(text.as_bytes())?;
    Ok(writer.finish()?)
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn word_of(value: &Value) -> String {
    word(value).to_owned()
}
