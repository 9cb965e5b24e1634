//! The JSON paths of columns: fields, items, and the item whose field has a value.

use serde_json::Value;

/// The first value that a path such as `.status.conditions[?(@.type=="Ready")].status` leads to.
pub(super) fn find<'a>(path: &str, object: &'a Value) -> Option<&'a Value> {
    let mut found = object;
    let mut left = path.trim_start_matches('$');
    while !left.is_empty() {
        if let Some(rest) = left.strip_prefix('[') {
            let (inside, after) = rest.split_once(']')?;
            found = item(inside, found)?;
            left = after;
        } else {
            let (key, after) = field(left.trim_start_matches('.'));
            found = found.get(&key)?;
            left = after;
        }
    }
    Some(found)
}

/// A name up to the next dot or bracket that no backslash precedes.
fn field(text: &str) -> (String, &str) {
    let (mut name, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '.' | '[' if !escaped => return (name, &text[at..]),
            c => {
                name.push(c);
                escaped = false;
            }
        }
    }
    (name, "")
}

fn item<'a>(inside: &str, list: &'a Value) -> Option<&'a Value> {
    if let Some(condition) = inside.strip_prefix("?(@.") {
        let (key, value) = condition.trim_end_matches(')').split_once("==")?;
        let value = value.trim().trim_matches(['"', '\'']);
        return list.as_array()?.iter().find(|item| item.get(key.trim()).is_some_and(|found| found == value));
    }
    match inside.trim_matches(['"', '\'']) {
        "*" => list.get(0),
        text => text.parse::<usize>().map_or_else(|_| list.get(text), |at| list.get(at)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_found() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "l"}},
            "status": {"conditions": [{"type": "A", "status": "no"}, {"type": "Ready", "status": "yes"}]},
        });
        assert_eq!(find(".status.conditions[?(@.type==\"Ready\")].status", &object).unwrap(), "yes");
        assert_eq!(find(".status.conditions[0].status", &object).unwrap(), "no");
        assert_eq!(find(r".metadata.labels.a\.b/c", &object).unwrap(), "l");
        assert_eq!(find(".metadata.labels['a.b/c']", &object).unwrap(), "l");
        assert_eq!(find(".spec.x", &object), None);
    }
}
