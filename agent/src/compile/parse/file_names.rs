//! The meaning of file names: files of kustomize, and files that other tools look for in a repository under a fixed name. Such a
//! file cannot be given another name, and a repository of manifests is synced from its root more often than not.

use crate::model::finding::{Code, Finding};

/// The names under which kustomize looks for a kustomization.
pub const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The largest number of places of the finding about kustomizations.
const MAX_PLACES: usize = 20;

/// Names with an extension of manifests, each with the tool that looks for it. A name with a directory is for that directory.
const OF_TOOLS: &[(&str, &[&str])] = &[
    ("pre-commit, with the hooks of nomos in it", &[".pre-commit-config.yaml", ".pre-commit-hooks.yaml"]),
    ("SOPS: the keys of encrypted files", &[".sops.yaml"]),
    ("Renovate", &["renovate.json", ".renovaterc.json"]),
    ("release-please", &["release-please-config.json", ".release-please-manifest.json"]),
    ("MkDocs: the pages about the repository", &["mkdocs.yml", "mkdocs.yaml"]),
    ("Read the Docs", &[".readthedocs.yaml", ".readthedocs.yml"]),
    ("yamllint", &[".yamllint.yaml", ".yamllint.yml"]),
    ("markdownlint", &[".markdownlint.yaml", ".markdownlint.yml", ".markdownlint.json"]),
    ("markdownlint-cli2", &[".markdownlint-cli2.yaml"]),
    ("Prettier", &[".prettierrc.yaml", ".prettierrc.yml", ".prettierrc.json"]),
    ("commitlint", &[".commitlintrc.yaml", ".commitlintrc.yml", ".commitlintrc.json"]),
    ("semantic-release", &[".releaserc.yaml", ".releaserc.yml", ".releaserc.json"]),
    ("MegaLinter", &[".mega-linter.yml"]),
    ("KubeLinter", &[".kube-linter.yaml", ".kube-linter.yml"]),
    ("Checkov", &[".checkov.yaml", ".checkov.yml"]),
    ("Codecov", &["codecov.yml", ".codecov.yml"]),
    ("Mergify", &[".mergify.yml"]),
    ("Task", &["Taskfile.yml", "Taskfile.yaml"]),
    ("Lefthook", &["lefthook.yml", ".lefthook.yml"]),
    ("npm: versions of the other tools", &["package.json", "package-lock.json"]),
    ("Travis CI", &[".travis.yml"]),
    ("CircleCI", &[".circleci/config.yml"]),
    ("Azure Pipelines", &["azure-pipelines.yml"]),
    ("Bitbucket Pipelines", &["bitbucket-pipelines.yml"]),
    (
        "Visual Studio Code",
        &[".vscode/settings.json", ".vscode/extensions.json", ".vscode/tasks.json", ".vscode/launch.json"],
    ),
    ("development containers", &[".devcontainer/devcontainer.json", ".devcontainer.json"]),
];

/// `true` if a file of this path is a kustomization, whatever is in it.
pub fn is_kustomization(path: &str) -> bool {
    KUSTOMIZATIONS.contains(&path.rsplit('/').next().unwrap_or_default())
}

/// `true` if a file of this path belongs to another tool. A file that states an API version and a kind is read all the same: no
/// object is lost because of the name of its file.
pub(super) fn is_of_another_tool(path: &str, content: &[u8]) -> bool {
    has_name_of_a_tool(path) && !(states(b"apiVersion", content) && states(b"kind", content))
}

/// `true` if another tool looks for a file of this name.
pub(super) fn has_name_of_a_tool(path: &str) -> bool {
    let named = |name: &&str| path.strip_suffix(*name).is_some_and(|before| before.is_empty() || before.ends_with('/'));
    OF_TOOLS.iter().flat_map(|(_, names)| names.iter()).any(named)
}

/// `true` if a text has this key, at any depth.
fn states(key: &[u8], content: &[u8]) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    content.windows(key.len()).enumerate().filter(|(_, word)| *word == key).any(|(at, _)| {
        let mut after = content[at + key.len()..].iter().skip_while(|byte| b"\"' \t\r\n".contains(byte));
        at.checked_sub(1).is_none_or(|before| !is_word(&content[before])) && after.next() == Some(&b':')
    })
}

/// The finding about the kustomizations of a source.
pub(crate) fn not_rendered(kustomizations: &[&str]) -> Finding {
    let files = match kustomizations {
        [one] => format!("The source has the kustomization {one}"),
        several => format!("The source has {} kustomizations", several.len()),
    };
    let message =
        format!("{files}. nomos-agent does not render with kustomize, and it does not apply the files as they are.");
    let hint =
        "Commit the output of `kustomize build` to a directory without a kustomization, and sync that directory.";
    let finding = Finding::new(Code::ActionableHydration, message).hint(hint);
    kustomizations.iter().take(MAX_PLACES).fold(finding, |finding, path| finding.at_path(*path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kustomizations_have_exact_names() {
        for path in ["Kustomization", "a/Kustomization", "kustomization.yaml", "a/b/kustomization.yml"] {
            assert!(is_kustomization(path), "{path}");
        }
        for path in
            ["kustomization", "Kustomization.yaml", "kustomization.json", "Kustomization/a.yaml", "my-Kustomization"]
        {
            assert!(!is_kustomization(path), "{path}");
        }
    }

    #[test]
    fn files_of_other_tools_have_exact_names() {
        for path in OF_TOOLS.iter().flat_map(|(_, names)| names.iter()) {
            let extension = [".yaml", ".yml", ".json"].iter().any(|extension| path.ends_with(extension));
            assert!(extension && is_of_another_tool(path, b"a: b"), "{path}");
            assert!(is_of_another_tool(&format!("team/{path}"), b"a: b"), "{path}");
            assert!(!is_of_another_tool(&format!("x{path}"), b"a: b"), "{path}");
            assert!(!is_of_another_tool(&path.to_uppercase(), b"a: b"), "{path}");
        }
        assert!(!is_of_another_tool("config.yml", b"a: b") && !is_of_another_tool(".vscode/a.json", b"{}"));
    }

    #[test]
    fn the_readme_lists_the_files_of_other_tools() {
        let readme = include_str!("../../../../README.md");
        for path in OF_TOOLS.iter().flat_map(|(_, names)| names.iter()) {
            let (stem, extension) = path.rsplit_once('.').expect("an extension");
            let (_, name) = path.rsplit_once('/').unwrap_or_default();
            let says = |text: &str| readme.contains(&format!("`{text}`"));
            assert!(says(path) || says(name) || says(stem) && says(&format!(".{extension}")), "{path}");
        }
    }

    #[test]
    fn a_file_of_that_name_with_an_object_is_read() {
        for text in
            ["kind: X", "a: b\n---\nkind: X", "\u{feff}kind : X", "{kind: X}", "{\"kind\"\n: \"X\"}", "'kind': X"]
        {
            assert!(states(b"kind", text.as_bytes()), "{text}");
        }
        for text in ["", "kind", "a: kind", "mankind: a", "kind-of: 1", "{\"node_modules/kind\": 1}", "kinds: []"] {
            assert!(!states(b"kind", text.as_bytes()), "{text}");
        }
        let tasks = r#"{"version": "2.0.0", "tasks": [{"label": "build", "group": {"kind": "build"}}]}"#;
        assert!(is_of_another_tool(".vscode/tasks.json", tasks.as_bytes()));
        assert!(!is_of_another_tool("mkdocs.yml", b"apiVersion: v1\nkind: X"));
    }
}
