//! Templates of `-o jsonpath=`, as [kubectl has them](https://kubernetes.io/docs/reference/kubectl/jsonpath/).

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

/// A template: text, and paths in braces.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Jsonpath(Vec<TemplatePart>);

#[derive(Clone, Debug, PartialEq)]
enum TemplatePart {
    Text(String),
    Path(Vec<TemplateStep>),
    /// The parts between `{range …}` and `{end}`, for each value of the path.
    Range(Vec<TemplateStep>, Vec<TemplatePart>),
}

#[derive(Clone, Debug, PartialEq)]
enum TemplateStep {
    /// `.name` and `['name']`.
    Field(String),
    /// `.*` and `[*]`.
    All,
    /// `..name`: the fields of this name at any depth.
    Deep(String),
    /// `[1]`, `[-1]`.
    Index(i64),
    /// `[1:3]`.
    Slice(Option<i64>, Option<i64>),
    /// `[?(@.name=="x")]`, and without an operator the items that have the field.
    Filter(Vec<TemplateStep>, Option<(String, Value)>),
    /// `['a','b']`, `[0,2]`.
    Union(Vec<TemplateStep>),
}

type Input<'a> = Peekable<Chars<'a>>;

impl Jsonpath {
    /// Reads a template. One without braces is a path.
    ///
    /// # Errors
    ///
    /// If it is none; the text says why.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let path = || format!("{{{}{text}}}", if text.starts_with(['.', '[', '$']) { "" } else { "." });
        let text = if text.contains('{') { text.to_owned() } else { path() };
        let mut input = text.chars().peekable();
        let parts = parts(&mut input, false)?;
        Ok(Self(parts))
    }

    /// The text for a value. A path that leads to nothing gives none.
    pub(crate) fn text(&self, value: &Value) -> String {
        let mut out = String::new();
        add(&self.0, value, &mut out);
        out
    }
}

fn parts(input: &mut Input<'_>, in_range: bool) -> Result<Vec<TemplatePart>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    while let Some(letter) = input.next() {
        if letter != '{' {
            literal.push(letter);
            continue;
        }
        if !literal.is_empty() {
            parts.push(TemplatePart::Text(std::mem::take(&mut literal)));
        }
        let inner = inner(input)?;
        match inner.trim() {
            "end" if in_range => return Ok(parts),
            "end" => return Err("there is an {end} without a {range}".to_owned()),
            inner if inner.starts_with(['"', '\'']) => parts.push(TemplatePart::Text(quoted(inner)?)),
            inner => match inner.strip_prefix("range ") {
                Some(path) => parts.push(TemplatePart::Range(steps(path.trim())?, self::parts(input, true)?)),
                None => parts.push(TemplatePart::Path(steps(inner)?)),
            },
        }
    }
    if in_range {
        return Err("a {range} has no {end}".to_owned());
    }
    if !literal.is_empty() {
        parts.push(TemplatePart::Text(literal));
    }
    Ok(parts)
}

/// The text up to the brace that ends it.
fn inner(input: &mut Input<'_>) -> Result<String, String> {
    let (mut text, mut quote) = (String::new(), None);
    while let Some(letter) = input.next() {
        match (letter, quote) {
            ('}', None) => return Ok(text),
            ('\\', Some(_)) => {
                text.push(letter);
                text.extend(input.next());
                continue;
            }
            ('"' | '\'', None) => quote = Some(letter),
            (letter, Some(end)) if letter == end => quote = None,
            _ => {}
        }
        text.push(letter);
    }
    Err("a { has no }".to_owned())
}

/// The content of a text in quotes.
fn quoted(text: &str) -> Result<String, String> {
    let mark = text.chars().next().unwrap_or_default();
    let inner = text.strip_prefix(mark).and_then(|text| text.strip_suffix(mark));
    let mut letters = inner.ok_or_else(|| format!("{text} has no end"))?.chars();
    let mut out = String::new();
    while let Some(letter) = letters.next() {
        out.push(match letter {
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(letter) => letter,
                None => '\\',
            },
            letter => letter,
        });
    }
    Ok(out)
}

fn steps(text: &str) -> Result<Vec<TemplateStep>, String> {
    let mut input = text.chars().peekable();
    let mut steps = Vec::new();
    while let Some(letter) = input.next() {
        match letter {
            '$' | '@' if steps.is_empty() => {}
            '.' if input.next_if_eq(&'.').is_some() => steps.push(TemplateStep::Deep(name(&mut input))),
            '.' => match name(&mut input) {
                name if name == "*" => steps.push(TemplateStep::All),
                // `.` alone is the whole value, and so is the dot of `.[0]`.
                name if name.is_empty() => {}
                name => steps.push(TemplateStep::Field(name)),
            },
            '[' => steps.push(brackets(&bracketed(&mut input)?)?),
            _ => return Err(format!("{text:?} is no path: write it as {{.name.name}}")),
        }
    }
    Ok(steps)
}

/// The name of a field. A backslash makes a dot part of it.
fn name(input: &mut Input<'_>) -> String {
    let mut name = String::new();
    while let Some(letter) = input.next_if(|letter| !matches!(letter, '.' | '[')) {
        if letter == '\\' { name.extend(input.next()) } else { name.push(letter) }
    }
    name
}

/// The text up to the bracket that ends it.
fn bracketed(input: &mut Input<'_>) -> Result<String, String> {
    let (mut text, mut depth, mut quote) = (String::new(), 0, None);
    for letter in input {
        match (letter, quote) {
            (']', None) if depth == 0 => return Ok(text),
            (']', None) => depth -= 1,
            ('[', None) => depth += 1,
            ('"' | '\'', None) => quote = Some(letter),
            (letter, Some(end)) if letter == end => quote = None,
            _ => {}
        }
        text.push(letter);
    }
    Err("a [ has no ]".to_owned())
}

fn brackets(text: &str) -> Result<TemplateStep, String> {
    let text = text.trim();
    if let Some(condition) = text.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        return filter(condition.trim());
    }
    if text.contains(',') {
        return Ok(TemplateStep::Union(text.split(',').map(brackets).collect::<Result<_, _>>()?));
    }
    let number = |text: &str| match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("[{text}] is no number, name in quotes, or *")),
    };
    match text.split_once(':') {
        _ if text == "*" => Ok(TemplateStep::All),
        _ if text.starts_with(['"', '\'']) => Ok(TemplateStep::Field(quoted(text)?)),
        Some((from, to)) => Ok(TemplateStep::Slice(number(from)?, number(to)?)),
        None => Ok(TemplateStep::Index(number(text)?.ok_or("[] is empty")?)),
    }
}

fn filter(text: &str) -> Result<TemplateStep, String> {
    for operator in ["==", "!=", "<=", ">=", "<", ">"] {
        let Some((left, right)) = text.split_once(operator) else { continue };
        let right = right.trim();
        let value = match right.starts_with(['"', '\'']) {
            true => Value::String(quoted(right)?),
            false => serde_json::from_str(right).map_err(|_| format!("{right} is no number and no text in quotes"))?,
        };
        return Ok(TemplateStep::Filter(steps(left.trim())?, Some((operator.to_owned(), value))));
    }
    Ok(TemplateStep::Filter(steps(text)?, None))
}

/// Adds the text of the parts.
fn add(parts: &[TemplatePart], at: &Value, out: &mut String) {
    for part in parts {
        match part {
            TemplatePart::Text(text) => out.push_str(text),
            TemplatePart::Path(path) => {
                let texts: Vec<String> = found(path, at).into_iter().map(shown).collect();
                out.push_str(&texts.join(" "));
            }
            TemplatePart::Range(path, parts) => {
                found(path, at).into_iter().for_each(|value| add(parts, value, out));
            }
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => value.to_string(),
    }
}

/// The values to which a path leads.
fn found<'a>(path: &[TemplateStep], from: &'a Value) -> Vec<&'a Value> {
    path.iter().fold(vec![from], |values, step| values.into_iter().flat_map(|value| stepped(step, value)).collect())
}

fn stepped<'a>(step: &TemplateStep, value: &'a Value) -> Vec<&'a Value> {
    let items = || value.as_array().map(Vec::as_slice).unwrap_or_default();
    let at = |index: i64| match usize::try_from(index) {
        Ok(index) => index,
        Err(_) => items().len().saturating_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    match step {
        TemplateStep::Field(name) => value.get(name).into_iter().collect(),
        TemplateStep::All => match value {
            Value::Object(fields) => fields.values().collect(),
            _ => items().iter().collect(),
        },
        TemplateStep::Deep(name) => {
            let mut all = Vec::new();
            deep(name, value, &mut all);
            all
        }
        TemplateStep::Index(index) if index.unsigned_abs() as usize > items().len() => Vec::new(),
        TemplateStep::Index(index) => items().get(at(*index)).into_iter().collect(),
        TemplateStep::Slice(from, to) => {
            let to = to.map_or(items().len(), at).min(items().len());
            items().get(from.map_or(0, at)..to).unwrap_or_default().iter().collect()
        }
        TemplateStep::Filter(path, condition) => {
            items().iter().filter(|item| holds(path, condition.as_ref(), item)).collect()
        }
        TemplateStep::Union(steps) => steps.iter().flat_map(|step| stepped(step, value)).collect(),
    }
}

fn deep<'a>(name: &str, value: &'a Value, all: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            all.extend(fields.get(name));
            fields.values().for_each(|field| deep(name, field, all));
        }
        Value::Array(items) => items.iter().for_each(|item| deep(name, item, all)),
        _ => {}
    }
}

fn holds(path: &[TemplateStep], condition: Option<&(String, Value)>, item: &Value) -> bool {
    let left = found(path, item);
    let Some((operator, right)) = condition else { return !left.is_empty() };
    let order = left.first().and_then(|left| match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left.partial_cmp(&right),
        _ => Some(shown(left).cmp(&shown(right))),
    });
    match operator.as_str() {
        "==" => order.is_some_and(|order| order.is_eq()),
        "!=" => order.is_none_or(|order| order.is_ne()),
        "<" => order.is_some_and(|order| order.is_lt()),
        "<=" => order.is_some_and(|order| order.is_le()),
        ">" => order.is_some_and(|order| order.is_gt()),
        _ => order.is_some_and(|order| order.is_ge()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_are_those_of_kubectl() {
        let value = json!({
            "kind": "List",
            "items": [
                { "metadata": { "name": "a", "labels": { "x.io/y": "1" } }, "n": 1, "state": "SYNCED" },
                { "metadata": { "name": "b" }, "n": 22, "state": "ERROR" },
            ],
            "users": [{ "name": "me", "user": { "on": true } }],
        });
        for (template, expected) in [
            ("{.kind}", "List"),
            (".kind", "List"),
            ("kind", "List"),
            ("{$.kind}", "List"),
            ("kind is {.kind}!", "kind is List!"),
            ("{['kind']}", "List"),
            ("{.items[*].metadata.name}", "a b"),
            ("{.items[0].metadata.name}", "a"),
            ("{.items[-1].metadata.name}", "b"),
            ("{.items[-3].metadata.name}", ""),
            ("{.items[5].metadata.name}", ""),
            ("{.items[0:1].n}", "1"),
            ("{.items[1:].n}", "22"),
            ("{.items[*]['n','state']}", "1 SYNCED 22 ERROR"),
            ("{.items[0,1].n}", "1 22"),
            ("{..name}", "a b me"),
            (r"{.items[0].metadata.labels.x\.io/y}", "1"),
            (r#"{.items[?(@.state=="ERROR")].metadata.name}"#, "b"),
            ("{.items[?(@.n>1)].n}", "22"),
            ("{.items[?(@.n != 22)].n}", "1"),
            ("{.items[?(@.metadata.labels)].metadata.name}", "a"),
            (r#"{range .items[*]}{.metadata.name}{"\t"}{.n}{"\n"}{end}"#, "a\t1\nb\t22\n"),
            ("{.users[0].user}", r#"{"on":true}"#),
            ("{.users[0].user.on}", "true"),
            ("{.none.at.all}", ""),
            ("{@}", &value.to_string()),
        ] {
            let parsed = Jsonpath::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
            assert_eq!(parsed.text(&value), expected, "{template}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (template, said) in [
            ("{.a", "has no }"),
            ("{.a[0}", "has no ]"),
            ("{.a[x]}", "is no number"),
            ("{range .a}", "has no {end}"),
            ("{end}", "without a {range}"),
            ("{a}", "is no path"),
            ("{.a[?(@.b==c)]}", "is no number and no text"),
        ] {
            let error = Jsonpath::parse(template).expect_err(template);
            assert!(error.contains(said), "{template}: {error}");
        }
    }
}
