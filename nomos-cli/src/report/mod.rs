//! `--report` of `nomos vet` and `nomos diff`: findings and differences in forms that other programs read. Each form has a file here.

mod github;
mod json;
mod junit;
mod sarif;

use std::borrow::Cow;
use std::fs;
use std::path::{Component, Path, PathBuf};

use agent::model::finding::{Finding, Location, Place, Warning};
use anyhow::Context as _;
use serde::Serialize;

use crate::source::{Compilation, SourceArgs};
use crate::{Console, Environment};

/// A value of `--report`: a form, and the file for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReportFlag {
    form: Form,
    /// `None` for standard output.
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Sarif,
    Junit,
    Github,
}

/// The forms, with their names in `--report`.
const FORMS: [(&str, Form); 5] = [
    ("text", Form::Text),
    ("json", Form::Json),
    ("sarif", Form::Sarif),
    ("junit", Form::Junit),
    ("github", Form::Github),
];

/// Reads `FORM` or `FORM=FILE`.
pub(crate) fn parse(text: &str) -> Result<ReportFlag, String> {
    let (name, file) = text.split_once('=').map_or((text, None), |(name, file)| (name, Some(file)));
    let Some((_, form)) = FORMS.iter().find(|(known, _)| *known == name) else {
        let known = FORMS.map(|(name, _)| name).join(", ");
        return Err(format!("{name:?} is not one of {known}"));
    };
    match file {
        Some("") => Err(format!("a file name must follow {name}=")),
        file => Ok(ReportFlag { form: *form, file: file.map(PathBuf::from) }),
    }
}

/// A difference that `nomos diff` found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ReportedChange {
    pub(crate) effect: ChangeEffect,
    /// The manifest and the object. An object that would be deleted has no manifest.
    #[serde(flatten)]
    pub(crate) place: Place,
    /// The difference, or a sentence.
    pub(crate) text: String,
    /// A doubt about it, as a sentence without full stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<&'static str>,
}

/// The numbers of objects that `nomos diff` found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeCounts {
    pub(crate) deleted: usize,
    pub(crate) made: usize,
    pub(crate) changed: usize,
    pub(crate) failed: usize,
    /// Those of the made ones that the API server could not check.
    pub(crate) unchecked: usize,
    /// Objects with sealed values that were not compared.
    pub(crate) sealed: usize,
}

/// The effect of a commit on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only nomos diff finds them"))]
pub(crate) enum ChangeEffect {
    /// It would be deleted.
    Delete,
    /// It would be made.
    Create,
    /// It would be changed.
    Change,
    /// The API server refuses it.
    Fail,
    /// Only an apply shows it.
    Unknown,
}

impl ReportedChange {
    /// The object and its effect, in one sentence.
    fn sentence(&self) -> String {
        let object = self.place.resource.as_ref().map_or_else(String::new, |resource| {
            let namespace = if resource.namespace.is_empty() { "" } else { "/" };
            let group = if resource.group.is_empty() { "" } else { "." };
            format!("{}{group}{} {}{namespace}{}", resource.kind, resource.group, resource.namespace, resource.name)
        });
        let effect = match self.effect {
            ChangeEffect::Delete => "would be deleted",
            ChangeEffect::Create => "would be made",
            ChangeEffect::Change => "would be changed",
            ChangeEffect::Fail => "cannot be applied",
            ChangeEffect::Unknown => "is not compared",
        };
        format!("{object} {effect}")
    }

    /// The difference and what is not sure about it.
    fn words(&self) -> String {
        let note = self.note.map(|note| format!("note: {note}"));
        let parts = [Some(self.text.trim_end().to_owned()), note];
        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
    }
}

/// The content of a report, the same for every form.
pub(crate) struct Subject<'a> {
    /// The command that found it.
    command: &'static str,
    /// The directory of the source, as in [`root`]: empty, or ending with a slash.
    root: String,
    /// The name of each cluster and its findings.
    clusters: Vec<(&'a str, Cow<'a, [Finding]>)>,
    warnings: &'a [Warning],
    /// Number of objects with sealed values that `nomos vet` did not check.
    sealed: usize,
    /// The differences; only those of `nomos diff`.
    pub(crate) changes: Vec<ReportedChange>,
    /// Their numbers.
    pub(crate) counts: Option<ChangeCounts>,
}

impl<'a> Subject<'a> {
    /// The findings of a compilation.
    pub(crate) fn of(command: &'static str, root: String, compiled: &'a Compilation) -> Self {
        let clusters = compiled.clusters.iter();
        let clusters = clusters.map(|it| (it.label(), compiled.on_disk(&it.compiled.findings))).collect();
        let (warnings, sealed) = (&compiled.warnings, compiled.sealed);
        Self { command, root, clusters, warnings, sealed, changes: Vec::new(), counts: None }
    }

    /// Adds a finding about the first cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn add(&mut self, finding: Finding) {
        if let Some((_, findings)) = self.clusters.first_mut() {
            findings.to_mut().push(finding);
        }
    }

    /// Every finding once, with the names of the clusters that have it.
    fn distinct(&self) -> Vec<(&Finding, Vec<&str>)> {
        let mut distinct: Vec<(&Finding, Vec<&str>)> = Vec::new();
        let mut all: Vec<(&Finding, usize)> =
            self.clusters.iter().enumerate().flat_map(|(i, (_, found))| found.iter().map(move |it| (it, i))).collect();
        all.sort_by_key(|(finding, cluster)| (finding.code, &finding.places, *finding, *cluster));
        for (finding, cluster) in all {
            let name = self.clusters[cluster].0;
            match distinct.last_mut() {
                Some((last, clusters)) if *last == finding => clusters.push(name),
                _ => distinct.push((finding, vec![name])),
            }
        }
        distinct
    }

    /// The path of a file of the source, from the root of the repository.
    fn file(&self, location: &Location) -> String {
        format!("{}{}", self.root, location.path)
    }

    /// `path:line:column`
    fn point(&self, location: &Location) -> String {
        format!("{}{}", self.root, location.point())
    }
}

/// The place at which a program shows a finding, and its other places. The first is the first place with a line, if any has
/// one.
fn main_place(finding: &Finding) -> (Option<&Place>, Vec<&Place>) {
    let has_line = |place: &&Place| place.location.as_ref().is_some_and(|at| at.line > 0);
    let main = finding.places.iter().find(has_line).or(finding.places.first());
    let others = finding.places.iter().filter(|place| main.is_some_and(|main| !std::ptr::eq(main, *place)));
    (main, others.collect())
}

/// The message and the hint of a finding.
fn words(finding: &Finding) -> String {
    let hint = finding.hint.as_ref().map_or_else(String::new, |hint| format!("\n\nhint: {hint}"));
    format!("{}{hint}", finding.message)
}

/// Writes each report about a source to its file or to standard output. If none goes to standard output, the findings also go to
/// standard error as text for people.
pub(crate) fn write(
    reports: &[ReportFlag],
    args: &SourceArgs,
    compiled: &Compilation,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let subject = Subject::of("nomos vet", root(&args.path, &console.environment), compiled);
    let note = compiled.sealed_note();
    if emit(reports, &subject, &(compiled.warnings() + &compiled.text() + &note), console)? {
        console.note(&compiled.warnings());
        compiled.show(args, console);
        console.note(&note);
    }
    Ok(())
}

/// Writes each report to its file or to standard output; `text` is that for people. `true` if none goes to standard output.
pub(crate) fn emit(
    reports: &[ReportFlag],
    subject: &Subject<'_>,
    text: &str,
    console: &mut Console<'_>,
) -> anyhow::Result<bool> {
    for report in reports {
        let text = match report.form {
            Form::Text => text.to_owned(),
            Form::Json => json::text(subject)?,
            Form::Sarif => sarif::text(subject)?,
            Form::Junit => junit::text(subject)?,
            Form::Github => github::text(subject),
        };
        match &report.file {
            Some(file) => fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))?,
            None => match report.form {
                Form::Text => console.print(&text),
                Form::Json | Form::Sarif | Form::Junit | Form::Github => console.print_data(&text),
            },
        }
    }
    Ok(reports.iter().all(|report| report.file.is_some()))
}

/// The path of the source from the root of its git repository, or from the current directory if it is in none. Programs that
/// show findings beside the code look files up by such paths. It is empty or ends with a slash.
pub(crate) fn root(source: &Path, environment: &Environment) -> String {
    let current = plain(environment.directory.as_deref().unwrap_or(Path::new("/")));
    let source = plain(&current.join(source));
    let repository = source.ancestors().find(|directory| directory.join(".git").exists()).unwrap_or(&current);
    let (source_parts, parts): (Vec<_>, Vec<_>) = (source.components().collect(), repository.components().collect());
    let same = source_parts.iter().zip(&parts).take_while(|(one, other)| one == other).count();
    let up = parts[same..].iter().map(|_| "..".into());
    let down = source_parts[same..].iter().map(|part| part.as_os_str().to_string_lossy());
    up.chain(down).map(|part| part + "/").collect()
}

/// The path without `.` and `..`. Symbolic links are not followed.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests;
