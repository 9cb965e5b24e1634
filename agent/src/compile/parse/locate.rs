//! The position of a field in a document, also of a field that an alias or a merge brings.

use super::spans::{DocumentSpans, SpanContent, SpanEntry, SpanNode};

/// The largest number of maps that are searched for one field. Merges of merges can be exponentially many.
const MAX_MAPS: usize = 1000;

/// The byte position of the deepest field of `path` that the document has: of its key if `key` is `true`, else of its value. The
/// position of a field that an alias brings is at the anchor.
pub(super) fn field(spans: &DocumentSpans, path: &[&str], key: bool) -> usize {
    let Some(root) = spans.nodes.first() else { return 0 };
    let (mut node, mut found, mut depth) = (root, (root.at, root.at), 0);
    for step in path {
        let Some((at, value)) = below(spans, target(spans, node), step) else { break };
        (node, found, depth) = (value, (at, value.at), depth + 1);
    }
    // If the field itself is missing, the key of the last field above it.
    if key || depth < path.len() { found.0 } else { found.1 }
}

/// The node that an alias repeats; every other node itself.
fn target<'a>(spans: &'a DocumentSpans, mut node: &'a SpanNode) -> &'a SpanNode {
    // This loop ends: an anchored node is before its aliases.
    while let SpanContent::Alias(to) = node.content {
        node = &spans.nodes[to];
    }
    node
}

/// The position of the key `step` in a node, and its value.
fn below<'a>(spans: &'a DocumentSpans, node: &SpanNode, step: &str) -> Option<(usize, &'a SpanNode)> {
    match &node.content {
        SpanContent::Map(entries) => entry(spans, entries, step, &mut 0),
        SpanContent::List(items) => {
            let item = &spans.nodes[*items.get(step.parse::<usize>().ok()?)?];
            Some((item.at, item))
        }
        SpanContent::Leaf | SpanContent::Alias(_) => None,
    }
}

/// The entry that decides about a key: the last of those that set it, merges included; in a list of merges the first.
fn entry<'a>(
    spans: &'a DocumentSpans,
    entries: &[SpanEntry],
    step: &str,
    looked: &mut usize,
) -> Option<(usize, &'a SpanNode)> {
    *looked += 1;
    if *looked > MAX_MAPS {
        return None;
    }
    entries.iter().rev().find_map(|entry| match entry.key.as_deref() {
        Some(key) => (key == step).then(|| (entry.at, &spans.nodes[entry.value])),
        None => merged(spans, &spans.nodes[entry.value], step, looked),
    })
}

fn merged<'a>(
    spans: &'a DocumentSpans,
    node: &'a SpanNode,
    step: &str,
    looked: &mut usize,
) -> Option<(usize, &'a SpanNode)> {
    let mut map = |node: &'a SpanNode| match &target(spans, node).content {
        SpanContent::Map(entries) => entry(spans, entries, step, looked),
        _ => None,
    };
    match &target(spans, node).content {
        SpanContent::List(items) => items.iter().find_map(|item| map(&spans.nodes[*item])),
        _ => map(node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of the document from the position of the field.
    fn at<'a>(document: &'a str, path: &str, key: bool) -> &'a str {
        let spans = DocumentSpans::of(document.as_bytes(), document.starts_with('{'));
        let path: Vec<&str> = path.split('.').filter(|step| !step.is_empty()).collect();
        &document[field(&spans, &path, key)..]
    }

    fn starts(document: &str, fields: &[(&str, &str)]) {
        for (path, expected) in fields {
            let (path, key) = path.strip_suffix('?').map_or((*path, false), |path| (path, true));
            let found = at(document, path, key);
            assert!(found.starts_with(expected), "{path} of\n{document}\nis at\n{found}");
        }
    }

    #[test]
    fn keys_and_values_are_found() {
        let document = "# c\na: 1\nb:\n  - x: 2\n  - &n !t y: {z: 3}\nb2: !!str 'q'\non: 4\na: 5\n";
        starts(
            document,
            &[
                ("", "a: 1"),
                ("a", "5"),
                ("a?", "a: 5"),
                ("b.0.x", "2"),
                ("b.1", "y: {"),
                ("b.1.y.z", "3}"),
                ("b.1.y.z?", "z: 3"),
                ("b2", "'q'"),
                ("true", "4"),
                ("b.1.y.none", "y: {"),
                ("b.7", "b:\n"),
            ],
        );
    }

    #[test]
    fn aliases_and_merges_lead_to_their_anchors() {
        let document = "\
base: &base {a: 1, b: 2}
other: &other
  b: 3
  c: 4
name: &name web
alias: *base
merge: {b: 5, <<: *base}
late: {<<: *base, b: 6}
list: {<<: [*other, *base]}
twice: {<<: {<<: *base, c: 7}}
scalar: *name
*name : 8
";
        starts(
            document,
            &[
                ("alias", "*base"),
                ("alias.a?", "a: 1"),
                ("merge.b", "2}"),
                ("merge.none", "merge"),
                ("late.b", "6}"),
                ("list.b", "3"),
                ("list.a", "1,"),
                ("twice.a", "1,"),
                ("twice.c", "7}"),
                ("scalar", "*name\n"),
                ("web", "8"),
            ],
        );
    }

    #[test]
    fn json_is_located_as_json() {
        let document =
            "{\n\t\"a\": {\"b\\u0063\": [1, \"x\\\\\\\"y\\ud83d\\ude00\", true]},\n\t\"d\": \"\\/\", \"e\": null}";
        starts(
            document,
            &[("a.bc?", "\"b\\u0063"), ("a.bc.2", "true"), ("a.bc.1", "\"x"), ("d", "\"\\/"), ("e", "null")],
        );
    }

    #[test]
    fn fields_before_a_mistake_are_located() {
        starts("a: {b: 1}\nc: [2\nd: 3\n", &[("a.b", "1}"), ("c.0", "2")]);
        starts("# c\n\n  %&\n", &[("a", "%&")]);
        let nested = format!("a: {}", "[".repeat(100_000));
        starts(&nested, &[("a.0.0", "[[[")]);
    }

    #[test]
    fn merges_of_merges_are_bounded() {
        let mut document = "a0: &a0 {x: 1}\n".to_owned();
        for level in 1..200 {
            document.push_str(&format!("a{level}: &a{level} {{<<: [*a{0}, *a{0}]}}\n", level - 1));
        }
        starts(&document, &[("a199.y", "a199")]);
    }
}
