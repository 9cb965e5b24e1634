//! Reads a source on disk and compiles it for each of its clusters, for `vet` and `hydrate`.

#[cfg(feature = "cluster")]
mod for_cluster;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent::compile::kind_scopes::{KindScopes, Scope};
use agent::compile::parse::{self, ParsedFile, SourceFile};
use agent::compile::{self, CompileOptions, Compiled, RepoScope, SourceFormat};
use agent::io::budget::ReadBudget;
use agent::io::files;
use agent::model::finding::{self, Code, Finding, Location, Warning, numbered};
use agent::model::metadata::annotation;
use agent::model::object::GroupKind;
use anyhow::{Context as _, bail};
use clap::ArgAction;

#[cfg(feature = "cluster")]
pub(crate) use for_cluster::{SourceForCluster, age_keys};

use crate::kustomize::{self, Rendered};
use crate::output::{self, ClusterObjects, OutputDirectory};
use crate::snippet::{self, Lines};
use crate::{Console, Paint, boolean, duration, kinds};

/// The limit of [`work`] for all clusters together. It takes about a minute.
const MAX_WORK: usize = 1 << 34;

/// Flags of `vet` and `hydrate`.
#[derive(clap::Args)]
pub(crate) struct SourceArgs {
    /// Root directory of the source
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(crate) path: PathBuf,

    /// Layout of the source [default: hierarchy; unstructured with --namespace]
    #[arg(long, value_enum, value_name = "FORMAT")]
    source_format: Option<SourceFormatChoice>,

    /// Names of the clusters to compile for, separated by commas [default: all clusters that the source names; "" for none]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    clusters: Option<Vec<String>>,

    /// Do not connect to a cluster to look up kinds that the source does not define
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    no_api_server_check: bool,

    /// Longest time to wait for the cluster
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "DURATION")]
    api_server_timeout: Duration,

    #[command(flatten)]
    pub(crate) output: output::OutputArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SourceFormatChoice {
    Hierarchy,
    Unstructured,
    /// An empty value: the default.
    #[value(name = "", hide = true)]
    Default,
}

/// The wishes of one command about the source.
#[derive(Default)]
pub(crate) struct SourceRequest<'a> {
    /// The source belongs to a RepoSync in this namespace; `None` for a RootSync.
    pub(crate) namespace: Option<&'a str>,
    /// The source may declare at most so many objects; `None` for no limit.
    pub(crate) max_objects: Option<usize>,
    /// The results that the command needs.
    pub(crate) result: Wanted,
}

/// The results of compiling that a command needs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The findings, and the objects of each cluster for which no finding blocks.
    #[default]
    Objects,
    /// Only the findings, which takes less time.
    Findings,
}

/// The parser of a file.
pub(crate) type FileParser<'a> = &'a (dyn Fn(&SourceFile) -> ParsedFile + Sync);

/// The source, compiled for each requested cluster.
pub(crate) struct Compilation {
    /// The clusters, each once.
    pub(crate) clusters: Vec<ForCluster>,
    /// The names of the requested clusters. The default cluster is in it twice if the source names it too.
    names: Vec<String>,
    /// Probable mistakes in the source that are no findings.
    pub(crate) warnings: Vec<Warning>,
    /// Number of manifests with a value that SOPS sealed, which was not opened.
    pub(crate) sealed: usize,
    /// The output of kustomize, if it was compiled instead of the files on disk.
    rendered: Option<Rendered>,
}

/// The source compiled for one cluster.
pub(crate) struct ForCluster {
    /// The name of the cluster.
    pub(crate) name: String,
    /// The declared objects and the findings.
    pub(crate) compiled: Compiled,
}

/// Reads the source and compiles it for each requested cluster.
///
/// # Errors
///
/// If the source directory cannot be read, the flags do not fit the source, or the cluster that knows its kinds does not answer.
pub(crate) fn compiled(
    args: &SourceArgs,
    limits: &SourceRequest<'_>,
    kubeconfig: Option<&Path>,
    console: &Console<'_>,
) -> anyhow::Result<Compilation> {
    let _progress = console.begin(&format!("reading {}", args.path.display()));
    let format = format(args, limits)?;
    let written = (limits.result == Wanted::Objects).then_some(&*args.output.output);
    let ReadSource { parsed, rendered, submodules, refused_links } = read(&args.path, format, written, &parse::parse)?;
    let names = names(args, &parsed, format)?;
    if names.len().saturating_mul(work(&parsed)) > MAX_WORK {
        bail!(
            "the source names {} clusters, and to compile it for all of them takes too long; choose some with --clusters",
            names.len()
        );
    }
    let mut settings = CompileOptions {
        scope: limits.namespace.map_or(RepoScope::Root, |namespace| RepoScope::Namespace(namespace.to_owned())),
        max_objects: limits.max_objects,
        kinds: api_resources(&args.path),
        report_unknown_kinds: !args.no_api_server_check && kinds::CAN_ASK,
        ..CompileOptions::offline(format)
    };
    let clusters = for_each(&names, &parsed, &settings, limits.result);
    let mut warnings = files::submodules(&args.path, &submodules);
    warnings.extend(refused_links);
    match &rendered {
        Some(rendered) => warnings.push(rendered.warning()),
        None => warnings.extend(compile::warnings(&parsed, format)),
    }
    let sealed = compile::sealed(&parsed, format);
    let compiled = Compilation { clusters, names, warnings, sealed, rendered };
    let unknown = compiled.unknown_kinds();
    if unknown.is_empty() {
        return Ok(compiled);
    }
    let live = kinds::live(kubeconfig, &console.environment, args.api_server_timeout).with_context(|| {
        let unknown = unknown.iter().map(GroupKind::to_string).collect::<Vec<_>>().join(", ");
        format!("the source does not define {unknown}, so a cluster must be asked (not with --no-api-server-check)")
    })?;
    match (live, &mut settings.kinds) {
        (Some(live), Ok(kinds)) => add(kinds, &live),
        _ => return Ok(compiled),
    }
    Ok(Compilation { clusters: for_each(&compiled.names, &parsed, &settings, limits.result), ..compiled })
}

impl ForCluster {
    /// The name of the cluster for a user; `unregistered_cluster` if it has none.
    pub(crate) fn label(&self) -> &str {
        if self.name.is_empty() { "unregistered_cluster" } else { &self.name }
    }
}

impl Compilation {
    /// The objects of each cluster for which no finding blocks. Their paths are the same if another cluster is blocked.
    pub(crate) fn objects(&self) -> Vec<ClusterObjects> {
        let several = self.names.len() > 1;
        let clusters = self.names.iter().filter_map(|name| self.clusters.iter().find(|cluster| cluster.name == *name));
        let declared =
            clusters.filter_map(|cluster| Some((cluster.name.as_str(), cluster.compiled.declared.as_ref()?)));
        declared.map(|(name, set)| ClusterObjects::new(several.then_some(name), set)).collect()
    }

    /// The kinds whose scope is unknown, from the findings.
    fn unknown_kinds(&self) -> BTreeSet<GroupKind> {
        let findings = self.clusters.iter().flat_map(|cluster| &cluster.compiled.findings);
        let places = findings.filter(|it| it.code == Code::UnknownKind).flat_map(|it| &it.places);
        let resources = places.filter_map(|place| place.resource.as_ref());
        resources.map(|it| GroupKind { group: it.group.clone(), kind: it.kind.clone() }).collect()
    }

    /// The output directory. If a finding blocks any cluster, no file of an earlier run will be removed.
    pub(crate) fn tree<'a>(&self, args: &'a SourceArgs) -> anyhow::Result<OutputDirectory<'a>> {
        let tree = OutputDirectory::new(&args.output, &self.objects())?;
        let complete = !self.names.is_empty() && self.clusters.iter().all(|it| it.compiled.declared.is_some());
        if complete { tree.without_stale(&args.path, &self.names) } else { Ok(tree) }
    }

    /// `true` if there is any finding.
    pub(crate) fn found(&self) -> bool {
        self.clusters.iter().any(|cluster| !cluster.compiled.findings.is_empty())
    }

    /// The findings with places that are on disk: those in the output of kustomize are moved to the kustomization file.
    pub(crate) fn on_disk<'a>(&self, findings: &'a [Finding]) -> Cow<'a, [Finding]> {
        let Some(Rendered { from, file }) = &self.rendered else { return Cow::Borrowed(findings) };
        let mut findings = findings.to_vec();
        for finding in &mut findings {
            let locations = finding.places.iter_mut().filter_map(|place| place.location.as_mut());
            for location in locations.filter(|location| location.path == file.path) {
                *location = Location { path: (*from).to_owned(), line: 0, column: 0 };
            }
            finding.places.dedup();
        }
        Cow::Owned(findings)
    }

    /// The findings of each cluster as plain text.
    pub(crate) fn text(&self) -> String {
        let text = |findings: &[Finding]| numbered(&self.on_disk(findings)).trim_end().to_owned() + "\n";
        self.each_cluster(text, Paint { on: false })
    }

    /// The warnings as plain text.
    pub(crate) fn warnings(&self) -> String {
        self.warnings.iter().map(|it| finding::warning(it) + "\n").collect()
    }

    /// The note about values that are not checked; empty if there are none.
    pub(crate) fn sealed_note(&self) -> String {
        sealed_note(self.sealed).map_or_else(String::new, |note| format!("note: {note}.\n"))
    }

    /// Prints the findings for people to standard error, on a terminal with the lines of the source.
    pub(crate) fn show(&self, args: &SourceArgs, console: &mut Console<'_>) {
        let text = if console.snippets {
            let mut lines = Lines::new(&args.path, self.rendered.as_ref().map(|rendered| &rendered.file));
            self.each_cluster(|findings| with_lines(findings, &mut lines, console.note_paint), console.note_paint)
        } else {
            self.text()
        };
        console.note(&text);
    }

    /// The text of the findings of each cluster, after a line with the name of the cluster. The default cluster has no such line.
    fn each_cluster(&self, mut text: impl FnMut(&[Finding]) -> String, paint: Paint) -> String {
        let wrong = self.clusters.iter().filter(|cluster| !cluster.compiled.findings.is_empty());
        let of_cluster = |cluster: &ForCluster| {
            let name = cluster.label();
            let head = paint.bold(&format!("errors for cluster {name:?}:"));
            let head = if name == compile::DEFAULT_CLUSTER { String::new() } else { head + "\n" };
            head + &text(&cluster.compiled.findings)
        };
        wrong.map(of_cluster).collect::<Vec<_>>().join("\n")
    }
}

/// The sentence, without full stop, about so many objects with sealed values that nothing opened; `None` for none.
pub(crate) fn sealed_note(objects: usize) -> Option<String> {
    let (have, objects) = match objects {
        0 => return None,
        1 => ("object has", 1),
        more => ("objects have", more),
    };
    Some(format!("{objects} {have} values that SOPS sealed; these values are not checked"))
}

/// The text of each finding with its lines, then the number of findings if there are several.
fn with_lines(findings: &[Finding], lines: &mut Lines<'_>, paint: Paint) -> String {
    let mut texts: Vec<String> = findings.iter().map(|finding| snippet::text(finding, lines, paint)).collect();
    texts.dedup();
    if texts.len() > 1 {
        texts.push(paint.bold(&format!("{} error(s)", texts.len())) + "\n");
    }
    texts.join("\n")
}

fn format(args: &SourceArgs, limits: &SourceRequest<'_>) -> anyhow::Result<SourceFormat> {
    let format = args.source_format.filter(|format| *format != SourceFormatChoice::Default);
    Ok(match (format, limits.namespace) {
        (Some(SourceFormatChoice::Hierarchy), Some(_)) => {
            bail!(
                "--namespace is for the source of a RepoSync, which is always unstructured; remove --source-format=hierarchy"
            )
        }
        (Some(SourceFormatChoice::Unstructured), _) | (Some(SourceFormatChoice::Default) | None, Some(_)) => {
            SourceFormat::Unstructured
        }
        (Some(SourceFormatChoice::Hierarchy | SourceFormatChoice::Default) | None, None) => SourceFormat::Hierarchy,
    })
}

/// A source as it was read.
#[derive(Default)]
struct ReadSource {
    parsed: Vec<Arc<ParsedFile>>,
    /// The output of kustomize, if that was parsed.
    rendered: Option<Rendered>,
    /// Directories that are submodules.
    submodules: Vec<String>,
    /// A warning for each link with which the agent refuses a commit.
    refused_links: Vec<Warning>,
}

/// Parses every manifest file. A file that cannot be read becomes a parsed file with one finding.
///
/// A command that writes objects does not read those that an earlier run wrote to `output`. Any other command reads the same files
/// as the agent.
fn read(
    root: &Path,
    format: SourceFormat,
    output: Option<&Path>,
    parser: FileParser<'_>,
) -> anyhow::Result<ReadSource> {
    if let Some(kustomization) = kustomize::kustomization(root) {
        if format == SourceFormat::Hierarchy {
            bail!("{} holds a kustomization; such a source needs --source-format=unstructured", root.display());
        }
        // Without the program the files are read as the agent reads them: compilation finds the kustomization.
        match kustomize::build(root, kustomization)? {
            Some(Ok(rendered)) => {
                let parsed = parse_all(std::slice::from_ref(&rendered.file), ReadBudget::new(), parser)?;
                return Ok(ReadSource { parsed, rendered: Some(rendered), ..ReadSource::default() });
            }
            Some(Err(refused)) => return Ok(ReadSource { parsed: vec![Arc::new(refused)], ..ReadSource::default() }),
            None => {}
        }
    }
    read_files(root, output, parser)
}

/// Parses the files in a directory as they are.
fn read_files(root: &Path, output: Option<&Path>, parser: FileParser<'_>) -> anyhow::Result<ReadSource> {
    let mut budget = ReadBudget::new();
    let found = files::read_source(root, &mut budget).with_context(|| format!("failed to read {}", root.display()))?;
    let written = output.map(|output| output::Earlier::of(root, output));
    parsed(found, budget, |file| !written.as_ref().is_some_and(|written| written.holds(file)), parser)
}

/// Parses the files that are part of the source.
fn parsed(
    found: files::Files,
    budget: ReadBudget,
    is_source: impl Fn(&SourceFile) -> bool,
    parser: FileParser<'_>,
) -> anyhow::Result<ReadSource> {
    if let Some(over) = found.over_limit {
        return Err(over_limit(&over));
    }
    let files: Vec<SourceFile> =
        found.files.into_iter().filter(|file| parse::reads(&file.path) && is_source(file)).collect();
    let mut parsed = parse_all(&files, budget, parser)?;
    for finding in found.findings {
        parsed.push(unreadable(finding)?);
    }
    Ok(ReadSource { parsed, rendered: None, submodules: found.submodules, refused_links: found.refused_links })
}

/// The cost of compiling files for one cluster, in compared bytes: the name of the cluster is compared with every name in
/// every cluster-name-selector annotation.
fn work(parsed: &[Arc<ParsedFile>]) -> usize {
    let objects = parsed.iter().flat_map(|file| &file.manifests).map(|manifest| &manifest.object);
    objects.map(|object| 100 + object.annotation(annotation::CLUSTER_NAME_SELECTOR).map_or(0, str::len)).sum()
}

/// A parsed file that holds only a finding.
///
/// # Errors
///
/// If the finding is about no file.
fn unreadable(finding: Finding) -> anyhow::Result<Arc<ParsedFile>> {
    let location = finding.places.first().and_then(|place| place.location.as_ref());
    let Some(path) = location.map(|location| location.path.clone()) else { bail!("{}", finding.message) };
    Ok(Arc::new(ParsedFile { path, findings: vec![finding], ..ParsedFile::default() }))
}

/// Parses all files.
///
/// # Errors
///
/// If they pass a limit together.
fn parse_all(files: &[SourceFile], budget: ReadBudget, parser: FileParser<'_>) -> anyhow::Result<Vec<Arc<ParsedFile>>> {
    let state = Mutex::new((budget, None));
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let parsed = parallel(files, |file| {
        // Nothing more is needed once a limit is passed.
        if lock().1.is_some() {
            return Arc::default();
        }
        let parsed = Arc::new(parser(file));
        let (budget, over) = &mut *lock();
        *over = over.take().or_else(|| budget.objects(&parsed, false).err());
        parsed
    });
    let over = lock().1.take();
    over.map_or(Ok(parsed), |over| Err(over_limit(&over)))
}

/// A source that passes a limit. No file of it is checked.
fn over_limit(finding: &Finding) -> anyhow::Error {
    anyhow::Error::msg(finding::text(finding))
}

/// The names of the requested clusters.
///
/// A file that cannot be read may be the only one that names a cluster. If there is such a file, an unknown name is no error:
/// the source is compiled for the default cluster, and the finding about the file is shown.
fn names(args: &SourceArgs, parsed: &[Arc<ParsedFile>], format: SourceFormat) -> anyhow::Result<Vec<String>> {
    let known = compile::clusters(parsed, format);
    let Some(wanted) = &args.clusters else { return Ok(known) };
    let wanted: Vec<&String> = wanted.iter().filter(|name| !name.is_empty()).collect();
    let unknown: Vec<&str> = wanted.iter().filter(|name| !known.contains(name)).map(|name| name.as_str()).collect();
    if unknown.is_empty() {
        return Ok(known.into_iter().filter(|name| wanted.contains(&name)).collect());
    }
    if parsed.iter().any(|file| !file.findings.is_empty()) {
        return Ok(vec![compile::DEFAULT_CLUSTER.to_owned()]);
    }
    bail!("the source does not name the cluster {}; it names {}", unknown.join(", "), known.join(", "))
}

fn for_each(
    names: &[String],
    parsed: &[Arc<ParsedFile>],
    settings: &CompileOptions,
    result: Wanted,
) -> Vec<ForCluster> {
    let mut seen = BTreeSet::new();
    let names: Vec<&String> = names.iter().filter(|name| seen.insert(*name)).collect();
    parallel(&names, |name| {
        let settings = CompileOptions { cluster_name: (*name).clone(), ..settings.clone() };
        let compiled = match result {
            Wanted::Objects => compile::compile(parsed, &settings),
            Wanted::Findings => Compiled { declared: None, findings: compile::check(parsed, &settings) },
        };
        ForCluster { name: (*name).clone(), compiled }
    })
}

fn api_resources(root: &Path) -> Result<KindScopes, Finding> {
    match files::read_api_resources(root) {
        Ok(None) => Ok(KindScopes::default()),
        Ok(Some(file)) => KindScopes::from_api_resources(&file.path, &String::from_utf8_lossy(&file.content)),
        Err(error) => {
            let message = format!("The file api-resources.txt cannot be read: {error}.");
            let hint = "Write it again with: kubectl api-resources > api-resources.txt";
            Err(Finding::new(Code::InvalidAPIResources, message).hint(hint).at_path("api-resources.txt"))
        }
    }
}

/// Adds the kinds of a cluster to those that are known without it.
fn add(kinds: &mut KindScopes, live: &kinds::ClusterKinds) {
    for (kind, scope) in live {
        if kinds.get(&kind.group, &kind.kind) == Scope::Unknown {
            kinds.insert(&kind.group, &kind.kind, *scope);
        }
    }
}

/// Calls a function with every item, on all processors. The results have the order of the items.
fn parallel<T: Sync, R: Send>(items: &[T], function: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let function = &function;
    std::thread::scope(|scope| {
        let workers: Vec<_> = items
            .chunks(items.len().div_ceil(threads).max(1))
            .map(|chunk| scope.spawn(move || chunk.iter().map(function).collect::<Vec<_>>()))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::report;
    use crate::tests::TestDirectory;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        source: SourceArgs,
    }

    #[test]
    fn findings_in_rendered_manifests_are_at_the_kustomization() {
        let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\n---\n".repeat(2);
        let file = SourceFile { path: "rendered.yaml".to_owned(), content: twice.as_bytes().into() };
        let names = vec![compile::DEFAULT_CLUSTER.to_owned()];
        let settings = CompileOptions::offline(SourceFormat::Unstructured);
        let clusters = for_each(
            &names,
            &parse_all(std::slice::from_ref(&file), ReadBudget::new(), &parse::parse).expect("small"),
            &settings,
            Wanted::Findings,
        );
        let rendered = Some(Rendered { from: "kustomization.yaml", file });
        let compilation = Compilation { clusters, names, warnings: Vec::new(), sealed: 0, rendered };

        let directory = TestDirectory::new();
        let args = Line::parse_from(["vet".as_ref(), "--path".as_ref(), directory.path().as_os_str()]).source;
        let report = |form: &str| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut console = Console::new(&mut out, &mut err, crate::Environment::default());
            report::write(&[report::parse(form).expect("a form")], &args, &compilation, &mut console).expect("printed");
            String::from_utf8(out).expect("UTF-8")
        };
        for (form, place) in [
            ("text", "\nsource: kustomization.yaml\n"),
            ("github", "/kustomization.yaml::There are 2"),
            ("json", "\"path\": \"kustomization.yaml\""),
            ("junit", "/kustomization.yaml\">"),
            ("sarif", "/kustomization.yaml\""),
        ] {
            let text = report(form);
            assert!(text.contains(place) && !text.contains("rendered.yaml") && !text.contains("startLine"), "{text}");
        }
    }
}
