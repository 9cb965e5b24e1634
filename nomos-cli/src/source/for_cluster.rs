//! A source that was read and is compiled for one cluster, for `diff` and `export`.

use std::path::Path;

use agent::compile::kind_scopes::KindScopes;
use agent::compile::parse::{self, AgeKeys, ParsedFile, SourceFile};
use agent::compile::{self, CompileOptions, Compiled, SourceFormat};
use agent::io::budget::ReadBudget;
use agent::io::files;
use agent::model::finding::Warning;
use anyhow::{Context as _, bail};

use super::{Compilation, ForCluster, ReadSource, Wanted, add, for_each, parsed, read, read_files};
use crate::kinds;

/// The age keys in a file.
///
/// # Errors
///
/// If it cannot be read, or has none.
pub(crate) fn age_keys(file: &Path) -> anyhow::Result<AgeKeys> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {shown}"))?;
    match AgeKeys::read([(shown.to_string().as_str(), text.as_str())].into_iter(), shown.to_string()) {
        Ok(keys) => Ok(keys),
        Err(_) => bail!("{shown} is no file with age keys, as age-keygen writes it"),
    }
}

/// A source that was read, and is compiled for one cluster.
pub(crate) struct SourceForCluster {
    read: ReadSource,
    warnings: Vec<Warning>,
}

impl SourceForCluster {
    /// Reads a directory, in which kustomize is run if the layout of the source is `Some`. What SOPS sealed is opened with the keys, if
    /// there are any.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read, or its layout does not fit.
    pub(crate) fn of_directory(
        path: &Path,
        rendered: Option<SourceFormat>,
        keys: Option<&AgeKeys>,
    ) -> anyhow::Result<Self> {
        let parser = parser(keys);
        let mut read = match rendered {
            Some(format) => read(path, format, None, &parser)?,
            None => read_files(path, None, &parser)?,
        };
        let mut warnings = files::submodules(path, &read.submodules);
        warnings.append(&mut read.refused_links);
        Ok(Self { read, warnings })
    }

    /// Takes the files of a commit.
    ///
    /// # Errors
    ///
    /// If they pass a limit.
    pub(crate) fn of_files(files: files::Files, keys: Option<&AgeKeys>) -> anyhow::Result<Self> {
        Ok(Self { read: parsed(files, ReadBudget::new(), |_| true, &parser(keys))?, warnings: Vec::new() })
    }

    /// `true` if it has the directory that only a hierarchical repository has.
    pub(crate) fn is_hierarchical(&self) -> bool {
        self.read.parsed.iter().any(|file| file.path.starts_with("system/"))
    }

    /// The findings if some block whatever a cluster serves, in each of these layouts and for each name that a cluster may have. Those of
    /// the first layout are shown.
    pub(crate) fn blocked_everywhere(
        &self,
        formats: &[SourceFormat],
        options: &CompileOptions,
        name: Option<&str>,
    ) -> Option<Compilation> {
        let parsed = &self.read.parsed;
        let mut shown = None;
        for format in formats {
            let names = name.map_or_else(|| compile::clusters(parsed, *format), |name| vec![name.to_owned()]);
            for name in names {
                let options = CompileOptions { cluster_name: name.clone(), format: *format, ..options.clone() };
                let findings = compile::check(parsed, &options);
                if !findings.iter().any(|finding| finding.code.blocks()) {
                    return None;
                }
                shown.get_or_insert((name, findings));
            }
        }
        let (name, findings) = shown?;
        Some(Compilation {
            clusters: vec![ForCluster { name: name.clone(), compiled: Compiled { declared: None, findings } }],
            names: vec![name],
            warnings: self.warnings.clone(),
            sealed: 0,
            rendered: self.read.rendered.clone(),
        })
    }

    /// Compiles it with these options for a cluster that serves these kinds.
    pub(crate) fn compiled(self, options: CompileOptions, live: &kinds::ClusterKinds) -> Compilation {
        let Self { read: ReadSource { parsed, rendered, .. }, warnings } = self;
        let mut known = KindScopes::default();
        add(&mut known, live);
        let names = vec![options.cluster_name.clone()];
        let options = CompileOptions { kinds: Ok(known), ..options };
        let clusters = for_each(&names, &parsed, &options, Wanted::Objects);
        Compilation { clusters, names, warnings, sealed: 0, rendered }
    }
}

/// Parses a file, and opens what SOPS sealed if there are keys.
fn parser(keys: Option<&AgeKeys>) -> impl Fn(&SourceFile) -> ParsedFile + Sync + '_ {
    move |file| keys.map_or_else(|| parse::parse(file), |keys| parse::parse_opened(file, keys))
}
