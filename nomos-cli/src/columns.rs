//! Text in columns, and data as JSON or YAML, for all commands that print a list.

use agent::model::visible::{visible, visible_json};
use agent::model::yaml;
use serde::Serialize;

use crate::jsonpath::Jsonpath;

/// The format of a list that is printed as data instead of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Data {
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

impl Data {
    /// The value in this format. It ends with a newline.
    pub(crate) fn text<T: Serialize>(self, value: &T) -> anyhow::Result<String> {
        Ok(match self {
            Self::Json => visible_json(&serde_json::to_string_pretty(value)?).into_owned() + "\n",
            Self::Yaml => {
                let document = yaml::document(&serde_json::to_value(value)?);
                document.strip_prefix("---\n").unwrap_or(&document).to_owned()
            }
        })
    }
}

/// The form of a listing in place of text for people.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OutputForm {
    Data(Data),
    /// The names alone, a line for each.
    Name,
    /// The text of a template.
    Jsonpath(Jsonpath),
}

impl OutputForm {
    /// The listing in this form.
    pub(crate) fn text<T: Serialize>(&self, value: &T, names: &[String]) -> anyhow::Result<String> {
        Ok(match self {
            Self::Data(data) => data.text(value)?,
            Self::Name => names.iter().map(|name| format!("{}\n", visible(name))).collect(),
            Self::Jsonpath(template) => {
                let text = template.text(&serde_json::to_value(value)?);
                text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
            }
        })
    }
}

/// Reads the value of `-o` of a listing.
pub(crate) fn output_form(text: &str) -> Result<OutputForm, String> {
    match text.split_once('=') {
        None if text == "json" => Ok(OutputForm::Data(Data::Json)),
        None if text == "yaml" => Ok(OutputForm::Data(Data::Yaml)),
        None if text == "name" => Ok(OutputForm::Name),
        Some(("jsonpath", template)) => Ok(OutputForm::Jsonpath(Jsonpath::parse(template)?)),
        _ => Err("write json, yaml, name or jsonpath=TEMPLATE, such as jsonpath='{.clusters[*].context}'".to_owned()),
    }
}

/// Spaces between two columns.
const GAP: usize = 3;

/// The width of each column in characters: that of its longest cell, without the gap.
pub(crate) fn widths<S: AsRef<str>>(rows: &[Vec<S>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    (0..columns)
        .map(|i| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.as_ref().chars().count()).max().unwrap_or(0))
        .collect()
}

/// One line of cells, each padded to the width of its column. It has no trailing space and no newline.
pub(crate) fn line<S: AsRef<str>>(cells: &[S], widths: &[usize]) -> String {
    let mut out = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let cell = cell.as_ref();
        let pad = width.saturating_sub(cell.chars().count()) + GAP;
        out.push_str(cell);
        out.extend(std::iter::repeat_n(' ', pad));
    }
    out.truncate(out.trim_end().len());
    out
}

/// Rows below a row of titles, which is left out if `headers` is `false`.
pub(crate) fn titled<S: AsRef<str>>(rows: &[Vec<S>], headers: bool) -> String {
    table(if headers { rows } else { rows.get(1..).unwrap_or_default() })
}

/// Rows as lines of aligned columns, each with a newline.
pub(crate) fn table<S: AsRef<str>>(rows: &[Vec<S>]) -> String {
    let widths = widths(rows);
    rows.iter().map(|row| line(row, &widths) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_have_the_forms_of_kubectl() {
        let value = serde_json::json!({ "a": [{ "b": "x" }] });
        let text = |form: &str| output_form(form).expect("a form").text(&value, &["n/a".into()]).expect("text");
        assert_eq!(text("name"), "n/a\n");
        assert_eq!(text("jsonpath={.a[*].b}"), "x");
        assert_eq!(text("yaml"), "a:\n- b: x\n");
        assert!(text("json").starts_with("{\n"));
        for wrong in ["", "wide", "jsonpath", "jsonpath={", "name=x"] {
            assert!(output_form(wrong).is_err(), "{wrong}");
        }
        let rows = [vec!["NAME"], vec!["a"]];
        assert_eq!((titled(&rows, true).as_str(), titled(&rows, false).as_str()), ("NAME\na\n", "a\n"));
    }

    #[test]
    fn columns_line_up_without_trailing_space() {
        let rows = [vec!["NAME", "STATUS"], vec!["äöü-long", ""], vec!["x", "ok"]];
        assert_eq!(table(&rows), "NAME       STATUS\näöü-long\nx          ok\n");
    }
}
