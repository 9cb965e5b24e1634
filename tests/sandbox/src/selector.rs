//! Label and field selectors: their text form, and what they select.

use serde_json::{Map, Value};

use crate::failure::Failure;

/// Requirements that all have to hold. Without any it selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Exists,
    Absent,
    In,
    NotIn,
    Greater,
    Less,
}

impl Requirement {
    fn holds(&self, labels: Option<&Map<String, Value>>) -> bool {
        let value = labels.and_then(|labels| labels.get(&self.key)).and_then(Value::as_str);
        let listed = |value: &str| self.values.iter().any(|one| one == value);
        let number = |value: &str| Some((value.parse::<i64>().ok()?, self.values.first()?.parse::<i64>().ok()?));
        match self.operator {
            Operator::Exists => value.is_some(),
            Operator::Absent => value.is_none(),
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Greater => value.and_then(number).is_some_and(|(label, bound)| label > bound),
            Operator::Less => value.and_then(number).is_some_and(|(label, bound)| label < bound),
        }
    }
}

impl Labels {
    /// Reads the form of the query parameter `labelSelector`, as in `app=web,tier in (a, b),!old`.
    ///
    /// # Errors
    /// When that is not what the text is.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut tokens = Tokens { left: text };
        let mut requirements = Vec::new();
        if tokens.peek().is_empty() {
            return Ok(Self::default());
        }
        loop {
            requirements.push(requirement(&mut tokens)?);
            match tokens.next() {
                "" => return Ok(Self(requirements)),
                "," => {}
                other => return Err(unexpected(other, "',' or 'end of string'")),
            }
        }
    }

    /// The selector of a controller, with `matchLabels` and `matchExpressions`. Without any it selects everything.
    pub fn from_object(selector: &Value) -> Self {
        let equal = crate::object::map(selector, "/matchLabels");
        let mut selector_of_map = equal.map_or_else(Self::default, Self::from_map);
        for expression in crate::object::list(selector, "/matchExpressions") {
            let operator = match crate::object::text(expression, "/operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                _ => Operator::Absent,
            };
            let values = crate::object::list(expression, "/values").iter().filter_map(Value::as_str);
            selector_of_map.0.push(Requirement {
                key: crate::object::text(expression, "/key").to_owned(),
                operator,
                values: values.map(ToOwned::to_owned).collect(),
            });
        }
        selector_of_map
    }

    /// Selects what has all these labels.
    pub fn from_map(labels: &Map<String, Value>) -> Self {
        let equal = |(key, value): (&String, &Value)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.as_str().unwrap_or_default().to_owned()],
        };
        Self(labels.iter().map(equal).collect())
    }

    /// `true` if an object is selected.
    pub fn select(&self, object: &Value) -> bool {
        self.select_labels(crate::object::map(object, "/metadata/labels"))
    }

    /// `true` if something with these labels is selected.
    pub fn select_labels(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }

    /// `true` if everything is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

struct Tokens<'a> {
    left: &'a str,
}

impl<'a> Tokens<'a> {
    fn peek(&self) -> &'a str {
        let text = self.left.trim_start();
        let special = |c: char| "=!,()<>".contains(c);
        let end = match text.chars().next() {
            None => 0,
            Some('=' | '!') => {
                text.char_indices().find(|(at, c)| *at > 0 && *c != '=').map_or(text.len(), |(at, _)| at).min(2)
            }
            Some(c) if special(c) => 1,
            Some(_) => text.find(|c: char| special(c) || c.is_whitespace()).unwrap_or(text.len()),
        };
        &text[..end]
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.left = &self.left.trim_start()[token.len()..];
        token
    }
}

fn unexpected(found: &str, expected: &str) -> Failure {
    Failure::bad_request(format!("unable to parse requirement: found '{found}', expected: {expected}"))
}

fn is_word(token: &str) -> bool {
    !token.is_empty() && !"=!,()<>".contains(&token[..1])
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, Failure> {
    let mut key = tokens.next();
    let absent = key == "!";
    if absent {
        key = tokens.next();
    }
    if !is_word(key) {
        return Err(unexpected(key, "!, identifier, or 'end of string'"));
    }
    let made = |operator, values| Requirement { key: key.to_owned(), operator, values };
    if absent {
        return Ok(made(Operator::Absent, Vec::new()));
    }
    if ["", ","].contains(&tokens.peek()) {
        return Ok(made(Operator::Exists, Vec::new()));
    }
    match tokens.next() {
        "=" | "==" => Ok(made(Operator::In, vec![one_value(tokens)?])),
        "!=" => Ok(made(Operator::NotIn, vec![one_value(tokens)?])),
        ">" | "gt" => Ok(made(Operator::Greater, vec![one_value(tokens)?])),
        "<" | "lt" => Ok(made(Operator::Less, vec![one_value(tokens)?])),
        "in" => Ok(made(Operator::In, values(tokens)?)),
        "notin" => Ok(made(Operator::NotIn, values(tokens)?)),
        other => Err(unexpected(other, "in, notin, =, ==, !=, gt, lt")),
    }
}

fn one_value(tokens: &mut Tokens<'_>) -> Result<String, Failure> {
    match tokens.peek() {
        "" | "," => Ok(String::new()),
        token if is_word(token) => Ok(tokens.next().to_owned()),
        other => Err(unexpected(other, "identifier")),
    }
}

fn values(tokens: &mut Tokens<'_>) -> Result<Vec<String>, Failure> {
    match tokens.next() {
        "(" => {}
        other => return Err(unexpected(other, "'('")),
    }
    let mut values = Vec::new();
    loop {
        values.push(one_value(tokens)?);
        match tokens.next() {
            "," => {}
            ")" => return Ok(values),
            other => return Err(unexpected(other, "',' or ')'")),
        }
    }
}

/// A field selector: paths, the values they are compared with, and whether they must be equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, bool, String)>);

impl Fields {
    /// Reads the form of the query parameter `fieldSelector`, as in `metadata.name=web,status.phase!=Failed`.
    ///
    /// # Errors
    /// When that is not what the text is, or a field is not among those that `known` are for the kind.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self, Failure> {
        let mut requirements = Vec::new();
        for term in split(text).into_iter().filter(|term| !term.is_empty()) {
            let operator = ["!=", "==", "="].into_iter().filter_map(|sign| Some((term.find(sign)?, sign)));
            // The first sign that occurs, the longest of those that begin there.
            let Some((at, sign)) = operator.min_by_key(|(at, sign)| (*at, 2 - sign.len())) else {
                return Err(Failure::bad_request(format!("invalid selector: '{text}'; can't understand '{term}'")));
            };
            let (path, value) = (&term[..at], unescape(&term[at + sign.len()..]));
            if !known.contains(&path) {
                return Err(unknown(path, known));
            }
            requirements.push((path.to_owned(), sign != "!=", value));
        }
        Ok(Self(requirements))
    }

    /// `true` if no two objects of a namespace can be selected.
    pub fn name_one(&self) -> bool {
        self.0.iter().any(|(path, equal, _)| path == "metadata.name" && *equal)
    }

    /// `true` if an object is selected.
    pub fn select(&self, object: &Value) -> bool {
        self.0.iter().all(|(path, equal, value)| (shown(object, path) == *value) == *equal)
    }

    /// The name that `metadata.name=…` asks for.
    pub fn name(&self) -> Option<&str> {
        self.0.iter().find(|(path, equal, _)| path == "metadata.name" && *equal).map(|(_, _, value)| value.as_str())
    }
}

fn unknown(path: &str, known: &[&str]) -> Failure {
    let message = if known.len() > 2 {
        format!("field label not supported: {path}")
    } else {
        format!("{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    };
    Failure::bad_request(message)
}

/// The value of a field as selectors compare it.
fn shown(object: &Value, path: &str) -> String {
    match object.pointer(&format!("/{}", path.replace('.', "/"))) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => default(path).to_owned(),
        Some(other) => other.to_string(),
    }
}

/// The value that stands for a missing field.
fn default(path: &str) -> &'static str {
    match path {
        "spec.unschedulable" | "spec.hostNetwork" => "false",
        "status.successful" | "status.replicas" => "0",
        _ => "",
    }
}

/// The terms between commas that no backslash precedes.
fn split(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            ',' if !escaped => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => escaped = false,
        }
    }
    terms.push(&text[start..]);
    terms
}

fn unescape(text: &str) -> String {
    let mut escaped = false;
    text.chars()
        .filter(|c| {
            escaped = *c == '\\' && !escaped;
            !escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(selector: &str, labels: Value) -> bool {
        Labels::parse(selector).unwrap().select(&json!({"metadata": {"labels": labels}}))
    }

    #[test]
    fn labels_are_selected_by_every_operator() {
        let labels = || json!({"app": "web", "n": "5"});
        for yes in
            ["", "app", "app=web", "app==web", "app!=db", "app in (db, web)", "!old", "n>4", "n<6,app", "x notin (y)"]
        {
            assert!(selects(yes, labels()), "{yes}");
        }
        for no in ["old", "app=db", "app!=web", "app in (db)", "!app", "n>5", "app notin (web)", "app=web,old", "app="]
        {
            assert!(!selects(no, labels()), "{no}");
        }
    }

    #[test]
    fn text_that_is_no_label_selector_is_refused() {
        let said = |text| Labels::parse(text).unwrap_err().message;
        assert_eq!(said("a b"), "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
        assert_eq!(said("a in (x"), "unable to parse requirement: found '', expected: ',' or ')'");
        assert!(Labels::parse(",").is_err());
    }

    #[test]
    fn fields_are_selected() {
        let object = json!({"metadata": {"name": "a,b"}, "spec": {}});
        let known = ["metadata.name", "metadata.namespace", "spec.unschedulable"];
        let selects = |text| Fields::parse(text, &known).unwrap().select(&object);
        assert!(selects(r"metadata.name=a\,b"));
        assert!(selects("metadata.name!=c,metadata.namespace=,spec.unschedulable==false"));
        assert!(!selects("metadata.name=c"));
        assert_eq!(Fields::parse("metadata.name=c", &known).unwrap().name(), Some("c"));
        assert!(Fields::parse("spec.x=c", &known).is_err());
        assert!(Fields::parse("metadata.name", &known).is_err());
    }
}
