//! Writes compiled objects to files, for `hydrate` and `vet --keep-output`.
//!
//! A file of an earlier run is recognised without a record: its path and every byte of its text are those that `hydrate` would
//! write for the objects in it. The next run for the same clusters removes such a file if it does not write it again. It
//! removes no other file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use agent::compile::DEFAULT_CLUSTER;
use agent::compile::declared::{DeclaredSet, hydrated};
use agent::compile::parse::{self, SourceFile};
use agent::io::budget::ReadBudget;
use agent::io::files;
use agent::model::object::Object;
use agent::model::yaml;
use anyhow::{Context as _, bail};
use serde::Serialize as _;
use serde_json::{Value, json};

use crate::differences::Difference;
use crate::placed;

/// Flags of `vet` and `hydrate` that say where and how to write.
#[derive(clap::Args)]
pub(crate) struct OutputArgs {
    /// Directory to write to; with --flat, file to write to
    ///
    /// From the directory, nomos also removes each file that an earlier run wrote for the same clusters and this run does not
    /// write. It recognises these files by their path and text, which must be exactly what nomos writes for the objects in
    /// them. It removes no other files, and none at all if the directory contains the source.
    #[arg(long, default_value = "compiled", value_name = "PATH")]
    pub(crate) output: PathBuf,

    /// Format of the files
    #[arg(long, value_enum, default_value_t = ObjectFormat::Yaml, value_name = "FORMAT")]
    pub(crate) format: ObjectFormat,
}

/// The format in which objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ObjectFormat {
    /// YAML documents
    Yaml,
    /// A JSON object of kind List
    Json,
}

/// The objects that a source declares for a cluster, as `hydrate` writes them. Objects that the agent would not apply, such
/// as those with management disabled, are among them.
pub(crate) struct ClusterObjects {
    /// The directory of the cluster, if several clusters are written.
    directory: Option<String>,
    objects: Vec<Object>,
}

impl ClusterObjects {
    /// The objects of a declared set. `cluster` is the name of the cluster if several clusters are written, else `None`.
    pub(crate) fn new(cluster: Option<&str>, set: &DeclaredSet) -> Self {
        let declared = set.objects.values().chain(set.withheld.values());
        Self {
            directory: cluster.map(directory),
            objects: declared.map(|declared| hydrated(&declared.written())).collect(),
        }
    }

    /// An object whose `apiVersion` ends in a slash, if there is one. No API server would accept it.
    pub(crate) fn without_version(&self) -> Option<&Object> {
        self.objects.iter().find(|object| object.version().is_empty())
    }
}

/// The name of the directory of a cluster. A cluster without a name uses that of the default cluster.
fn directory(cluster: &str) -> String {
    if cluster.is_empty() { DEFAULT_CLUSTER.to_owned() } else { cluster.to_lowercase() }
}

/// The content that the output directory must have: a file for each object.
pub(crate) struct OutputDirectory<'a> {
    root: &'a Path,
    files: BTreeMap<PathBuf, String>,
    /// Files that an earlier run wrote and this run does not.
    stale: Vec<PathBuf>,
}

impl<'a> OutputDirectory<'a> {
    /// The files for the objects of these clusters.
    ///
    /// # Errors
    ///
    /// If a kind or a name would lead out of the directory.
    pub(crate) fn new(args: &'a OutputArgs, clusters: &[ClusterObjects]) -> anyhow::Result<Self> {
        let tree = Self { root: &args.output, files: layout(clusters, args.format), stale: Vec::new() };
        match tree.files.keys().find(|path| !is_inside(path)) {
            Some(outside) => {
                bail!("an object would be written to {}, outside of {}", outside.display(), tree.root.display())
            }
            None => Ok(tree),
        }
    }

    /// Also removes the files that an earlier run wrote for any of `clusters` and this run does not write. A directory that
    /// contains the source is not only for the output: nothing is removed from it.
    pub(crate) fn without_stale(mut self, source: &Path, clusters: &[String]) -> anyhow::Result<Self> {
        let root = self.root;
        let holds_source = || source.canonicalize().ok()?.starts_with(root.canonicalize().ok()?).then_some(());
        if !root.exists() || holds_source().is_some() {
            return Ok(self);
        }
        let directories: BTreeSet<String> = clusters.iter().map(|name| directory(name)).collect();
        let what = || format!("failed to read {}", root.display());
        let found = files::read_dir(root, &mut ReadBudget::new()).with_context(what)?;
        let stale = found.files.into_iter().filter(|file| {
            let own = file.path.split_once('/').filter(|(first, _)| directories.contains(*first));
            let mut paths = [Some(file.path.as_str()), own.map(|(_, path)| path)].into_iter().flatten();
            !self.files.contains_key(Path::new(&file.path)) && paths.any(|path| is_written(path, &file.content))
        });
        self.stale = stale.map(|file| PathBuf::from(file.path)).collect();
        Ok(self)
    }

    /// Removes the files of an earlier run and writes all files.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        // Nothing is written if one file cannot be.
        self.files.keys().try_for_each(|path| placed::check(self.root, path))?;
        self.stale.iter().try_for_each(|path| remove(self.root, path))?;
        self.files.iter().try_for_each(|(path, text)| placed::write(self.root, path, text))
    }

    /// The differences between the files on disk and those that [`OutputDirectory::write`] would leave.
    pub(crate) fn check(&self) -> anyhow::Result<Vec<Difference>> {
        let paths: BTreeSet<&PathBuf> = self.files.keys().chain(&self.stale).collect();
        let mut differences = Vec::new();
        for path in paths {
            differences.extend(difference(self.root, path, self.files.get(path))?);
        }
        Ok(differences)
    }
}

/// The difference between the file on disk and the one that [`write_flat`] would write.
pub(crate) fn check_flat(args: &OutputArgs, clusters: &[ClusterObjects]) -> anyhow::Result<Vec<Difference>> {
    let (root, path) = split(&args.output);
    Ok(difference(root, path, Some(&flat(clusters, args.format)))?.into_iter().collect())
}

/// The directory of a path, and its last name.
fn split(path: &Path) -> (&Path, &Path) {
    (path.parent().unwrap_or(Path::new("")), path.file_name().map_or(path, Path::new))
}

fn difference(root: &Path, path: &Path, wanted: Option<&String>) -> anyhow::Result<Option<Difference>> {
    let on_disk = placed::read(root, path)?;
    if on_disk.as_deref() == wanted.map(String::as_bytes) {
        return Ok(None);
    }
    let (path, wanted) = (root.join(path).display().to_string(), wanted.cloned());
    let on_disk = on_disk.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Some(Difference { path, on_disk, wanted, confidential: false }))
}

/// Writes all objects to one file.
pub(crate) fn write_flat(args: &OutputArgs, clusters: &[ClusterObjects]) -> anyhow::Result<()> {
    let output = &args.output;
    if output.is_dir() {
        bail!("{} is a directory; with --flat, --output must be a file", output.display());
    }
    let text = flat(clusters, args.format);
    // No repository has such a file, and a user may want /dev/stdout.
    if output.starts_with("/dev") {
        return fs::write(output, text).with_context(|| format!("failed to write {}", output.display()));
    }
    let (root, path) = split(output);
    placed::write(root, path, &text)
}

/// The output of an earlier run inside the source directory. It is not part of the source. Holds the path of the output from
/// the source, or `None` if the output is not inside.
pub(crate) struct Earlier(Option<PathBuf>);

impl Earlier {
    /// Compares the two directories.
    pub(crate) fn of(source: &Path, output: &Path) -> Self {
        let below = || {
            let (source, output) = (source.canonicalize().ok()?, output.canonicalize().ok()?);
            output.strip_prefix(source).ok().filter(|own| !own.as_os_str().is_empty()).map(Path::to_owned)
        };
        Self(below())
    }

    /// `true` if a file of the source is part of the output, for any cluster.
    pub(crate) fn holds(&self, file: &SourceFile) -> bool {
        let path = self.0.as_ref().and_then(|own| Path::new(&file.path).strip_prefix(own).ok()?.to_str());
        path.is_some_and(|path| {
            let of_cluster = path.split_once('/').map(|(_, path)| path);
            [Some(path), of_cluster].into_iter().flatten().any(|path| is_written(path, &file.content))
        })
    }
}

/// `true` if a run would write exactly this file for the objects in it. `path` is relative to the directory of a cluster.
fn is_written(path: &str, content: &Arc<[u8]>) -> bool {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (stem, format) = match name.rsplit_once('.') {
        Some((stem, "yaml")) => (stem, ObjectFormat::Yaml),
        Some((stem, "json")) => (stem, ObjectFormat::Json),
        _ => return false,
    };
    let parsed = parse::parse(&SourceFile { path: path.to_owned(), content: content.clone() });
    let objects: Vec<Object> = parsed.manifests.iter().map(|manifest| manifest.whole()).collect();
    let named = |object: &Object| stem == file_name(object, None) || stem == file_name(object, Some(object.group()));
    !objects.is_empty()
        && objects.iter().all(|object| object.namespace() == directory && named(object))
        && text(&objects.iter().collect::<Vec<_>>(), format).as_bytes() == &**content
}

/// `true` if a relative path does not lead out of the directory that it is relative to.
fn is_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// The text of each file, by its path in the output directory.
fn layout(clusters: &[ClusterObjects], format: ObjectFormat) -> BTreeMap<PathBuf, String> {
    let mut directories: BTreeMap<PathBuf, Vec<&Object>> = BTreeMap::new();
    for cluster in clusters {
        for object in &cluster.objects {
            let mut directory = PathBuf::from(cluster.directory.as_deref().unwrap_or_default());
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

/// `<kind>_<name>`, or `<kind>.<group>_<name>` with a group, for objects whose kind and name are the same.
fn file_name(object: &Object, group: Option<&str>) -> String {
    let group = group.map_or_else(String::new, |group| format!(".{group}"));
    format!("{}{group}_{}", object.kind(), object.name()).to_lowercase()
}

fn extension(format: ObjectFormat) -> &'static str {
    match format {
        ObjectFormat::Yaml => "yaml",
        ObjectFormat::Json => "json",
    }
}

/// The text of one file with these objects.
pub(crate) fn text(objects: &[&Object], format: ObjectFormat) -> String {
    match format {
        ObjectFormat::Yaml => objects.iter().map(|object| document(object)).collect(),
        ObjectFormat::Json => list(objects),
    }
}

fn flat(clusters: &[ClusterObjects], format: ObjectFormat) -> String {
    if format == ObjectFormat::Json {
        return list(&clusters.iter().flat_map(|cluster| &cluster.objects).collect::<Vec<_>>());
    }
    let mut out = String::new();
    for cluster in clusters {
        let note = cluster.directory.as_ref().map_or_else(String::new, |name| format!("# cluster: {name}\n"));
        for object in &cluster.objects {
            let document = document(object);
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

/// Removes a file, and then each parent directory that is empty.
fn remove(root: &Path, path: &Path) -> anyhow::Result<()> {
    let file = root.join(path);
    if !file.exists() {
        return Ok(());
    }
    fs::remove_file(&file).with_context(|| format!("failed to remove {}", file.display()))?;
    for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        // The directory is not empty.
        if fs::remove_dir(root.join(parent)).is_err() {
            break;
        }
    }
    Ok(())
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
        ClusterObjects { directory: (!name.is_empty()).then(|| name.to_lowercase()), objects }
    }

    fn paths(clusters: &[ClusterObjects]) -> Vec<String> {
        layout(clusters, ObjectFormat::Yaml).keys().map(|path| path.display().to_string().replace('\\', "/")).collect()
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
        assert_eq!(paths(&[cluster("", objects)]), expected);
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
        assert_eq!(flat(&clusters, ObjectFormat::Yaml), expected);
    }

    #[test]
    fn json_is_a_list() {
        let expected = "{\n\t\"apiVersion\": \"v1\",\n\t\"items\": [\n\t\t{\n\t\t\t\"apiVersion\": \"v1\",\n\t\t\t\
                        \"kind\": \"Namespace\",\n\t\t\t\"metadata\": {\n\t\t\t\t\"name\": \"shop\"\n\t\t\t}\n\t\t}\n\t],\n\t\
                        \"kind\": \"List\"\n}\n";
        assert_eq!(list(&[&object("v1", "Namespace", "", "shop")]), expected);
    }
}
