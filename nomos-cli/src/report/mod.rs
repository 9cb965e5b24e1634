//! What `nomos vet --report` writes: findings for programs, each form in a file.

mod github;
mod json;
mod junit;
mod sarif;

use std::borrow::Cow;
use std::fs;
use std::path::{Component, Path, PathBuf};

use agent::model::finding::{Finding, Location, Place, Warning};
use anyhow::Context as _;

use crate::source::{Compilation, SourceArgs};
use crate::{Console, Environment};

/// A form, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    form: Form,
    /// `None`: printed.
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

/// The forms, by the names that `--report` takes.
const FORMS: [(&str, Form); 5] = [
    ("text", Form::Text),
    ("json", Form::Json),
    ("sarif", Form::Sarif),
    ("junit", Form::Junit),
    ("github", Form::Github),
];

/// Reads `FORM` or `FORM=FILE`.
pub(crate) fn parse(text: &str) -> Result<Report, String> {
    let (name, file) = text.split_once('=').map_or((text, None), |(name, file)| (name, Some(file)));
    let Some((_, form)) = FORMS.iter().find(|(known, _)| *known == name) else {
        let known = FORMS.map(|(name, _)| name).join(", ");
        return Err(format!("{name:?} is none of {known}"));
    };
    match file {
        Some("") => Err(format!("{name}= names no file")),
        file => Ok(Report { form: *form, file: file.map(PathBuf::from) }),
    }
}

/// What a report is about.
struct Subject<'a> {
    /// Where the source is: empty or ending with a slash.
    root: String,
    clusters: Vec<(&'a str, Cow<'a, [Finding]>)>,
    warnings: &'a [Warning],
}

impl Subject<'_> {
    /// Every finding once, with the clusters it was found for.
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

/// The place that a program shows a finding at, and the others: one with a line if there is any.
fn main_place(finding: &Finding) -> (Option<&Place>, Vec<&Place>) {
    let has_line = |place: &&Place| place.location.as_ref().is_some_and(|at| at.line > 0);
    let main = finding.places.iter().find(has_line).or(finding.places.first());
    let others = finding.places.iter().filter(|place| main.is_some_and(|main| !std::ptr::eq(main, *place)));
    (main, others.collect())
}

/// The message and the hint.
fn words(finding: &Finding) -> String {
    let hint = finding.hint.as_ref().map_or_else(String::new, |hint| format!("\n\nhint: {hint}"));
    format!("{}{hint}", finding.message)
}

/// Writes the reports that were asked for. Unless one is printed, people are shown the findings on standard error.
pub(crate) fn write(
    reports: &[Report],
    args: &SourceArgs,
    compiled: &Compilation,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let clusters = compiled.clusters.iter().map(|it| (it.label(), compiled.on_disk(&it.compiled.findings))).collect();
    let subject = Subject { root: root(&args.path, &console.environment), clusters, warnings: &compiled.warnings };
    for report in reports {
        let text = match report.form {
            Form::Text => compiled.warnings() + &compiled.text(),
            Form::Json => json::text(&subject)?,
            Form::Sarif => sarif::text(&subject)?,
            Form::Junit => junit::text(&subject)?,
            Form::Github => github::text(&subject),
        };
        match &report.file {
            Some(file) => fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))?,
            None => console.print(&text),
        }
    }
    if reports.iter().all(|report| report.file.is_some()) {
        console.note(&compiled.warnings());
        compiled.show(args, console);
    }
    Ok(())
}

/// Where the source is from the root of the git repository around it, else from the current directory: what programs that
/// show findings beside the code know files by. Empty or ending with a slash.
fn root(source: &Path, environment: &Environment) -> String {
    let current = plain(environment.directory.as_deref().unwrap_or(Path::new("/")));
    let source = plain(&current.join(source));
    let repository = source.ancestors().find(|directory| directory.join(".git").exists()).unwrap_or(&current);
    let (source_parts, parts): (Vec<_>, Vec<_>) = (source.components().collect(), repository.components().collect());
    let same = source_parts.iter().zip(&parts).take_while(|(one, other)| one == other).count();
    let up = parts[same..].iter().map(|_| "..".into());
    let down = source_parts[same..].iter().map(|part| part.as_os_str().to_string_lossy());
    up.chain(down).map(|part| part + "/").collect()
}

/// The path without `.` and `..`.
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
