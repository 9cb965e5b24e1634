//! YAML as Kubernetes reads it: random files go to kubectl and to our parser, and must mean the same; and what `nomos hydrate`
//! writes is read by kubectl as it was meant.
//!
//! A seed stands for some thousand files. `NOMOS_YAML_SEEDS=7` or `NOMOS_YAML_SEEDS=7..20` tries others than the usual ones.
//! Without a kubectl all is ignored, and says so; in CI it fails.
#![expect(clippy::disallowed_methods, reason = "this test runs kubectl on files")]

mod exceptions;
mod generate;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use agent::compile::parse::{SourceFile, parse};
use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::{Map, Value, json};
use tests::cluster::{Cluster, Kind};
use tests::kubectl;

/// Files of a seed.
const FILES: usize = 3000;
/// Objects of a seed that are written, and strings in each.
const OBJECTS: usize = 200;
const STRINGS: usize = 20;
/// Seeds that are tried every time.
const USUAL: Range<u64> = 1..3;

/// A test of one seed.
type SeedTest = fn(&Cluster, u64) -> Result<()>;

/// Two tests for each seed, and one of the exceptions.
fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let mut trials = vec![Trial::ignorable_test("exceptions_are_as_listed", || tell(exceptions::as_listed))];
    for seed in seeds()? {
        let tests: [(&str, SeedTest); 2] =
            [("kubectl_reads_the_same", reads), ("kubectl_reads_the_output_of_hydrate", written)];
        trials.extend(tests.map(|(name, test)| {
            let test = move |cluster: &Cluster| test(cluster, seed).with_context(|| format!("NOMOS_YAML_SEEDS={seed}"));
            Trial::ignorable_test(format!("{name}::seed_{seed}"), move || tell(test))
        }));
    }
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn tell(test: impl FnOnce(&Cluster) -> Result<()>) -> Result<Completion, Failed> {
    // A change must not pass because a build was forgotten.
    if std::env::var_os("CI").is_none() && kubectl::program().is_none() {
        return Ok(Completion::ignored_with("there is no kubectl: run `cargo control-plane`"));
    }
    match Cluster::start(Kind::Sandbox).and_then(|cluster| test(&cluster)) {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => Err(format!("{error:#}").into()),
    }
}

fn seeds() -> Result<Vec<u64>> {
    let Ok(text) = std::env::var("NOMOS_YAML_SEEDS") else {
        return Ok(USUAL.collect());
    };
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("NOMOS_YAML_SEEDS: {text:?} is no number"));
    Ok(match text.split_once("..") {
        Some((from, to)) => (number(from)?..number(to)?).collect(),
        None => vec![number(&text)?],
    })
}

/// The objects of each file, or what is wrong with it.
type Read = Vec<Result<Vec<Value>, String>>;

/// The objects that kubectl reads from each file.
fn by_kubectl(cluster: &Cluster, files: &[String]) -> Result<Read> {
    let directory = tempfile::tempdir()?;
    for (number, text) in files.iter().enumerate() {
        fs::write(directory.path().join(format!("{}.yaml", name(number))), text)?;
    }
    let path = directory.path().display().to_string();
    let words = ["create", "--dry-run=client", "--validate=false", "--output=json", "--filename", &path];
    let output = cluster.kubectl_command()?.args(words).output()?;
    let mut read: Read = vec![Ok(Vec::new()); files.len()];
    for object in serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>() {
        let mut object = object.context("kubectl prints JSON")?;
        doubles(&mut object);
        let number = object["metadata"]["name"].as_str().and_then(number).context("an object of a file")?;
        // kubectl says where it would go.
        object["metadata"].as_object_mut().context("metadata")?.remove("namespace");
        if let Ok(objects) = &mut read[number] {
            objects.push(object);
        }
    }
    let said = String::from_utf8_lossy(&output.stderr);
    for line in said.lines() {
        let file = line.split_once(&format!("{path}/")).and_then(|(_, rest)| rest.split_once(".yaml"));
        match file.and_then(|(name, _)| number(name)) {
            Some(number) => read[number] = Err(line.replace(&path, "")),
            None if line.starts_with("error") => bail!("kubectl: {line}"),
            None => {}
        }
    }
    Ok(read)
}

fn name(number: usize) -> String {
    format!("f{number}")
}

fn number(name: &str) -> Option<usize> {
    name.strip_prefix('f')?.parse().ok()
}

/// The objects that nomos reads from a file.
fn by_us(text: &str) -> Result<Vec<Value>, String> {
    let parsed = parse(&SourceFile { path: "x.yaml".to_owned(), content: Arc::from(text.as_bytes()) });
    match parsed.findings.first() {
        Some(finding) => Err(finding.message.clone()),
        None => Ok(parsed.manifests.iter().map(|manifest| Value::Object(manifest.whole().0)).collect()),
    }
}

/// Converts every number outside of `i64` to a double, which JSON writes in several ways.
fn doubles(value: &mut Value) {
    match value {
        Value::Number(number) if !number.is_i64() => *value = number.as_f64().into(),
        Value::Array(items) => items.iter_mut().for_each(doubles),
        Value::Object(fields) => fields.values_mut().for_each(doubles),
        _ => {}
    }
}

/// `true` if both read the same objects from a file, or both refuse it.
fn same(ours: &Result<Vec<Value>, String>, theirs: &Result<Vec<Value>, String>) -> bool {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

fn reads(cluster: &Cluster, seed: u64) -> Result<()> {
    let mut rng = Rng::with_seed(seed);
    let files: Vec<String> = (0..FILES).map(|i| generate::file(&mut rng).replace("NAME", &name(i))).collect();
    let theirs = by_kubectl(cluster, &files)?;
    let ours: Read = files.iter().map(|file| by_us(file)).collect();
    let different: Vec<String> = ours
        .iter()
        .enumerate()
        .filter(|(i, ours)| !same(ours, &theirs[*i]))
        .map(|(i, ours)| format!("{:?}\n  we read {}\n  kubectl reads {}", files[i], shown(ours), shown(&theirs[i])))
        .collect();
    ensure!(
        different.is_empty(),
        "{} of {FILES} files differ:\n{}",
        different.len(),
        different[..different.len().min(20)].join("\n")
    );
    let readable = ours.iter().filter(|it| it.is_ok()).count();
    ensure!((FILES / 2..FILES * 9 / 10).contains(&readable), "{readable} of {FILES} files are readable");
    Ok(())
}

fn shown(read: &Result<Vec<Value>, String>) -> String {
    match read {
        Ok(objects) => Value::Array(objects.clone()).to_string(),
        Err(error) => format!("nothing: {error}"),
    }
}

/// Objects from JSON, through `nomos hydrate`, to kubectl.
fn written(cluster: &Cluster, seed: u64) -> Result<()> {
    let mut rng = Rng::with_seed(seed);
    let objects: Vec<Value> = (0..OBJECTS).map(|number| object(&mut rng, number)).collect();
    let directory = tempfile::tempdir()?;
    let source = directory.path().join("source");
    fs::create_dir(&source)?;
    for (number, object) in objects.iter().enumerate() {
        fs::write(source.join(format!("{}.json", name(number))), object.to_string())?;
    }
    let files = hydrated(&source, &directory.path().join("compiled"), objects.len())?;
    let theirs = by_kubectl(cluster, &files)?;
    for ((object, theirs), text) in objects.iter().zip(theirs).zip(&files) {
        let theirs = theirs.map_err(|error| anyhow::anyhow!("kubectl does not read it: {error}\n{text}"))?;
        ensure!(theirs.len() == 1, "kubectl reads {} objects in\n{text}", theirs.len());
        let (is, meant) = (&theirs[0]["data"], &object["data"]);
        let differs = meant.as_object().and_then(|meant| meant.iter().find(|(key, value)| is.get(key) != Some(value)));
        ensure!(is == meant, "kubectl reads {is}\nfrom\n{text}\nmeant was {differs:?} of {meant}");
    }
    Ok(())
}

fn object(rng: &mut Rng, number: usize) -> Value {
    let mut data = Map::new();
    for i in 0..STRINGS {
        let text = generate::text(rng);
        let value = match i % 4 {
            0 => json!(text),
            1 => json!([text, {"a": generate::text(rng)}]),
            2 => json!({ generate::text(rng): text }),
            _ => json!({"z": [[text]]}),
        };
        data.insert(if i % 5 == 0 { generate::text(rng) } else { format!("k{i}") }, value);
    }
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name(number)}, "data": data})
}

/// The text of every file that hydrate writes for a source.
fn hydrated(source: &Path, output: &Path, objects: usize) -> Result<Vec<String>> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = nomos_cli::Console::new(&mut out, &mut err, nomos_cli::Environment::default());
    let (source, output) = (source.display().to_string(), output.display().to_string());
    let words = ["nomos", "hydrate", "--source-format=unstructured", "--path", &source, "--output", &output];
    let status = nomos_cli::run(words.map(Into::into), &mut console);
    ensure!(status == 0, "nomos hydrate: {}", String::from_utf8_lossy(&err));
    let file = |number| fs::read_to_string(format!("{output}/default/configmap_{}.yaml", name(number)));
    Ok((0..objects).map(file).collect::<std::io::Result<_>>()?)
}
