//! The body of a webhook: JSON with placeholders as in `{{ .commit }}`, which stand in texts.

use serde_json::Value;

use crate::sync::notifications::CommitNews;

/// The body without a template of its own.
const DEFAULT: &str = r#"{
  "cluster": "{{ .cluster }}", "kind": "{{ .kind }}", "namespace": "{{ .namespace }}", "name": "{{ .name }}",
  "repository": "{{ .repository }}", "branch": "{{ .branch }}", "revision": "{{ .revision }}", "directory": "{{ .directory }}",
  "commit": "{{ .commit }}", "state": "{{ .state }}", "code": "{{ .code }}", "description": "{{ .description }}", "context": "{{ .context }}"
}"#;

/// The names of the placeholders.
const FIELDS: [&str; 13] = [
    "cluster",
    "kind",
    "namespace",
    "name",
    "repository",
    "branch",
    "revision",
    "directory",
    "commit",
    "state",
    "code",
    "description",
    "context",
];

/// A template: a text, then each placeholder with the text after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    first: String,
    rest: Vec<(&'static str, String)>,
}

impl Template {
    /// Reads a template, or the default one.
    ///
    /// # Errors
    /// When a placeholder is not known, or the body is no JSON.
    pub(super) fn read(text: Option<&str>) -> Result<Self, String> {
        let mut parts = text.unwrap_or(DEFAULT).split("{{");
        let (first, mut rest) = (parts.next().unwrap_or_default().to_owned(), Vec::new());
        for part in parts {
            let (name, after) = part.split_once("}}").ok_or("a placeholder in template does not end")?;
            let known = FIELDS.into_iter().find(|known| name.trim().strip_prefix('.') == Some(known));
            let known =
                known.ok_or_else(|| format!("template has {{{{{name}}}}}; there are .{}", FIELDS.join(", .")))?;
            rest.push((known, after.to_owned()));
        }
        let template = Self { first, rest };
        // A value with a quote that does not stand in a text is no JSON.
        match serde_json::from_str::<Value>(&template.filled(|_| "a \"b\"".to_owned())) {
            Ok(_) => Ok(template),
            Err(error) => {
                Err(format!("template is no JSON with its placeholders in texts, as in \"{{{{ .commit }}}}\": {error}"))
            }
        }
    }

    /// The body about a state of a commit.
    pub(super) fn body(&self, news: &CommitNews, context: &str) -> String {
        self.filled(|field| match field {
            "cluster" => news.cluster.clone(),
            "kind" => news.sync.kind.to_string(),
            "namespace" => news.sync.namespace.clone(),
            "name" => news.sync.name.clone(),
            "repository" => crate::model::url::shown(&news.git.repo).into_owned(),
            "branch" => news.git.branch.clone(),
            "revision" => news.git.revision.clone(),
            "directory" => news.git.dir.clone(),
            "commit" => news.commit.clone(),
            "state" => news.state.name().to_owned(),
            "code" => news.code.map(|code| code.to_string()).unwrap_or_default(),
            "description" => news.description.clone(),
            _ => context.to_owned(),
        })
    }

    fn filled(&self, value: impl Fn(&str) -> String) -> String {
        let mut body = self.first.clone();
        for (field, after) in &self.rest {
            let quoted = Value::from(value(field)).to_string();
            body.push_str(&quoted[1..quoted.len() - 1]);
            body.push_str(after);
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::api::GitStatus;
    use crate::model::metadata::SyncId;

    fn news() -> CommitNews {
        let git = GitStatus {
            repo: "https://user:hunter2@git.example/a/b".to_owned(),
            branch: "a\"b\\".to_owned(),
            ..GitStatus::default()
        };
        CommitNews::pending(&SyncId::root("a"), "prod", "1f", &Arc::new(git), 3)
    }

    #[test]
    fn values_are_texts_of_json_whatever_is_in_them() {
        let template =
            Template::read(Some(r#"{"text": "{{.commit}} of {{ .branch }} {", "n": 1}"#)).expect("a template");
        let body: Value = serde_json::from_str(&template.body(&news(), "c")).expect("JSON");
        assert_eq!(body, json!({"text": "1f of a\"b\\ {", "n": 1}));
        let body = Template::read(None).expect("a template").body(&news(), "nomos/prod/a");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        for (field, value) in
            [("repository", "https://git.example/a/b"), ("state", "pending"), ("context", "nomos/prod/a")]
        {
            assert_eq!(body[field], value);
        }
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(FIELDS.len()), "all fields are in the default");
        // A value with braces is not read again.
        let braces = CommitNews { description: "{{ .commit }}".to_owned(), ..news() };
        let template = Template::read(Some(r#"["{{ .description }}"]"#)).expect("a template");
        assert_eq!(template.body(&braces, ""), r#"["{{ .commit }}"]"#);
    }

    #[test]
    fn a_template_that_is_wrong_is_refused() {
        for (text, why) in [
            ("{\"a\": \"{{ .commit\"}", "does not end"),
            ("{\"a\": \"{{ .secret }}\"}", "template has {{ .secret }}; there are .cluster, .kind,"),
            ("{\"a\": \"{{ commit }}\"}", "template has {{ commit }}"),
            ("{\"a\": {{ .commit }}}", "no JSON with its placeholders in texts"),
            ("commit", "no JSON"),
        ] {
            let told = Template::read(Some(text)).expect_err(text);
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
