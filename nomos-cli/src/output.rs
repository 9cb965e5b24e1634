//! Writes compiled objects to files: what `hydrate` and `vet --keep-output` do.
//!
//! The directory keeps a list of the files that were written, so that the next run removes those it does not write again and
//! nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use agent::compile::DEFAULT_CLUSTER;
use agent::declared::{DeclaredSet, hydrated};
use agent::object::Object;
use agent::yaml;
use anyhow::{Context as _, bail};
use serde::Serialize as _;
use serde_json::{Value, json};

use crate::differences::Difference;

/// List of the files that an earlier run wrote.
const INDEX: &str = ".nomos-hydrate";

/// Where and how to write.
#[derive(clap::Args)]
pub(crate) struct OutputArgs {
    /// Directory to write to; with --flat, the file
    #[arg(long, default_value = "compiled", value_name = "PATH")]
    pub(crate) output: PathBuf,

    /// How to write objects
    #[arg(long, value_enum, default_value_t = Format::Yaml, value_name = "FORMAT")]
    pub(crate) format: Format,
}

/// How objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// YAML documents.
    Yaml,
    /// A `List` of JSON.
    Json,
}

/// The objects that are declared for a cluster, as `hydrate` shows them: also those that are not applied.
pub(crate) struct ClusterObjects {
    cluster: String,
    objects: Vec<Object>,
}

impl ClusterObjects {
    /// The objects of a set.
    pub(crate) fn new(cluster: &str, set: &DeclaredSet) -> Self {
        let declared = set.objects.values().chain(set.withheld.values());
        Self { cluster: cluster.to_owned(), objects: declared.map(|declared| hydrated(&declared.written())).collect() }
    }
}

/// Writes a file for each object, and removes the files of an earlier run that are not written again.
pub(crate) fn write(args: &OutputArgs, clusters: &[ClusterObjects]) -> anyhow::Result<()> {
    let root = &args.output;
    let files = wanted(args, clusters);
    let earlier = read_index(root)?;
    for stale in earlier.iter().filter(|path| !files.contains_key(*path)) {
        remove(root, stale)?;
    }
    files.iter().try_for_each(|(path, text)| write_file(&root.join(path), text))
}

/// How the files on disk differ from what [`write`] would leave.
pub(crate) fn check(args: &OutputArgs, clusters: &[ClusterObjects]) -> anyhow::Result<Vec<Difference>> {
    let root = &args.output;
    let files = wanted(args, clusters);
    let earlier = read_index(root)?;
    let paths: BTreeSet<&PathBuf> = files.keys().chain(&earlier).collect();
    let mut differences = Vec::new();
    for path in paths {
        differences.extend(difference(&root.join(path), files.get(path))?);
    }
    Ok(differences)
}

/// The same of [`write_flat`].
pub(crate) fn check_flat(args: &OutputArgs, clusters: &[ClusterObjects]) -> anyhow::Result<Vec<Difference>> {
    Ok(difference(&args.output, Some(&flat(clusters, args.format)))?.into_iter().collect())
}

fn difference(path: &Path, wanted: Option<&String>) -> anyhow::Result<Option<Difference>> {
    let on_disk = match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
    };
    if on_disk.as_deref() == wanted.map(String::as_bytes) {
        return Ok(None);
    }
    let on_disk = on_disk.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Some(Difference { path: path.display().to_string(), on_disk, wanted: wanted.cloned() }))
}

/// Text of each file, the index included.
fn wanted(args: &OutputArgs, clusters: &[ClusterObjects]) -> BTreeMap<PathBuf, String> {
    let mut files = layout(clusters, args.format);
    let index = files.keys().map(|path| format!("{}\n", path.display())).collect();
    files.insert(PathBuf::from(INDEX), index);
    files
}

/// Writes all objects to one file.
pub(crate) fn write_flat(args: &OutputArgs, clusters: &[ClusterObjects]) -> anyhow::Result<()> {
    if args.output.is_dir() {
        bail!("{} is a directory; with --flat, --output names a file", args.output.display());
    }
    write_file(&args.output, &flat(clusters, args.format))
}

/// The output directory relative to the source, if it lies in there and was written by an earlier run: it is no source.
pub(crate) fn own_directory(source: &Path, output: &Path) -> Option<PathBuf> {
    output.join(INDEX).is_file().then_some(())?;
    let (source, output) = (source.canonicalize().ok()?, output.canonicalize().ok()?);
    output.strip_prefix(source).ok().filter(|own| !own.as_os_str().is_empty()).map(Path::to_owned)
}

/// Text of each file, by its path.
fn layout(clusters: &[ClusterObjects], format: Format) -> BTreeMap<PathBuf, String> {
    let many = clusters.len() > 1;
    let mut directories: BTreeMap<PathBuf, Vec<&Object>> = BTreeMap::new();
    for cluster in clusters {
        for object in &cluster.objects {
            let mut directory = if many { PathBuf::from(directory_name(&cluster.cluster)) } else { PathBuf::new() };
            directory.push(object.namespace());
            directories.entry(directory).or_default().push(object);
        }
    }
    let mut files: BTreeMap<PathBuf, Vec<&Object>> = BTreeMap::new();
    for (directory, objects) in &directories {
        let mut short: BTreeMap<String, Vec<&Object>> = BTreeMap::new();
        for object in objects {
            short.entry(file_name(object, None)).or_default().push(object);
        }
        for (name, objects) in short {
            let collide = objects.len() > 1;
            for object in objects {
                let name = if collide { file_name(object, Some(object.group())) } else { name.clone() };
                files.entry(directory.join(format!("{name}.{}", extension(format)))).or_default().push(object);
            }
        }
    }
    files.into_iter().map(|(path, objects)| (path, text(&objects, format))).collect()
}

/// A cluster without a name shares the directory of the default one.
fn directory_name(cluster: &str) -> String {
    if cluster.is_empty() { DEFAULT_CLUSTER.to_owned() } else { cluster.to_lowercase() }
}

/// `<kind>_<name>`, or `<kind>.<group>_<name>` where that would not be unique.
fn file_name(object: &Object, group: Option<&str>) -> String {
    let group = group.map_or_else(String::new, |group| format!(".{group}"));
    format!("{}{group}_{}", object.kind(), object.name()).to_lowercase()
}

fn extension(format: Format) -> &'static str {
    match format {
        Format::Yaml => "yaml",
        Format::Json => "json",
    }
}

fn text(objects: &[&Object], format: Format) -> String {
    match format {
        Format::Yaml => objects.iter().map(|object| document(object)).collect(),
        Format::Json => list(objects),
    }
}

fn flat(clusters: &[ClusterObjects], format: Format) -> String {
    if format == Format::Json {
        return list(&clusters.iter().flat_map(|cluster| &cluster.objects).collect::<Vec<_>>());
    }
    let many = clusters.len() > 1;
    let mut out = String::new();
    for cluster in clusters {
        for object in &cluster.objects {
            let document = document(object);
            let note = if many { format!("# cluster: {}\n", directory_name(&cluster.cluster)) } else { String::new() };
            let body = document.strip_prefix("---\n").unwrap_or(&document);
            out.push_str(&format!("---\n{note}{body}"));
        }
    }
    out
}

fn document(object: &Object) -> String {
    yaml::document(&Value::Object(object.0.clone()))
}

/// A v1 `List`, indented with tabs.
fn list(objects: &[&Object]) -> String {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let mut out = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    list.serialize(&mut serde_json::Serializer::with_formatter(&mut out, tabs))
        .expect("maps with string keys, into memory");
    String::from_utf8(out).expect("JSON is UTF-8") + "\n"
}

/// Files of an earlier run. Lines that lead out of the directory are not ours.
fn read_index(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let path = root.join(INDEX);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let inside = |path: &PathBuf| path.components().all(|part| matches!(part, Component::Normal(_)));
    Ok(text.lines().map(PathBuf::from).filter(inside).collect())
}

/// Removes a file and the directories that are empty without it.
fn remove(root: &Path, path: &Path) -> anyhow::Result<()> {
    let file = root.join(path);
    if !file.exists() {
        return Ok(());
    }
    fs::remove_file(&file).with_context(|| format!("failed to remove {}", file.display()))?;
    for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        // A directory that holds something stays.
        if fs::remove_dir(root.join(parent)).is_err() {
            break;
        }
    }
    Ok(())
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("failed to make {}", parent.display()))?;
    }
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> Object {
        let mut object = Object::default();
        object.0.insert("apiVersion".into(), api_version.into());
        object.0.insert("kind".into(), kind.into());
        object.metadata_mut().insert("name".into(), name.into());
        if !namespace.is_empty() {
            object.set_namespace(namespace);
        }
        object
    }

    fn cluster(name: &str, objects: Vec<Object>) -> ClusterObjects {
        ClusterObjects { cluster: name.into(), objects }
    }

    fn paths(clusters: &[ClusterObjects]) -> Vec<String> {
        layout(clusters, Format::Yaml).keys().map(|path| path.display().to_string().replace('\\', "/")).collect()
    }

    #[test]
    fn files_are_named_after_kind_and_name() {
        let objects = vec![
            object("v1", "Namespace", "", "shop"),
            object("v1", "Service", "shop", "web"),
            object("serving.knative.dev/v1", "Service", "shop", "web"),
            object("apps/v1", "Deployment", "shop", "web"),
        ];
        let expected = [
            "namespace_shop.yaml",
            "shop/deployment_web.yaml",
            "shop/service._web.yaml",
            "shop/service.serving.knative.dev_web.yaml",
        ];
        assert_eq!(paths(&[cluster("defaultcluster", objects)]), expected);
    }

    #[test]
    fn several_clusters_have_a_directory_each() {
        let objects = || vec![object("v1", "Namespace", "", "shop")];
        let clusters = [cluster("defaultcluster", objects()), cluster("PROD", objects())];
        assert_eq!(paths(&clusters), ["defaultcluster/namespace_shop.yaml", "prod/namespace_shop.yaml"]);
        let expected = "\
---
# cluster: defaultcluster
apiVersion: v1
kind: Namespace
metadata:
  name: shop
---
# cluster: prod
apiVersion: v1
kind: Namespace
metadata:
  name: shop
";
        assert_eq!(flat(&clusters, Format::Yaml), expected);
    }

    #[test]
    fn json_is_a_list() {
        let expected = "{\n\t\"apiVersion\": \"v1\",\n\t\"items\": [\n\t\t{\n\t\t\t\"apiVersion\": \"v1\",\n\t\t\t\
                        \"kind\": \"Namespace\",\n\t\t\t\"metadata\": {\n\t\t\t\t\"name\": \"shop\"\n\t\t\t}\n\t\t}\n\t],\n\t\
                        \"kind\": \"List\"\n}\n";
        assert_eq!(list(&[&object("v1", "Namespace", "", "shop")]), expected);
    }
}
