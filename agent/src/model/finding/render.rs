//! Findings as text: one alone, or several as a numbered list. `serde` writes them as data.

use super::{Code, Finding, Location, Place, Resource, Warning};

/// The full text of one finding, without a newline at the end: the code and message, the hint, the places, and the command that
/// explains the code.
pub fn text(finding: &Finding) -> String {
    let mut parts = vec![format!("{}: {}", finding.code, finding.message)];
    parts.extend(finding.hint.as_ref().map(|hint| format!("hint: {hint}")));
    parts.extend(paths(&finding.places));
    parts.extend(resources(finding));
    parts.push(format!("For more information, run: nomos explain {}", finding.code));
    parts.join("\n\n")
}

/// The full text of a warning, with a newline at the end.
pub fn warning(warning: &Warning) -> String {
    let paths: Vec<String> = warning.locations.iter().map(|location| format!("path: {}\n", location.point())).collect();
    format!("warning: {}\n\nhint: {}\n\n{}", warning.message, warning.hint, paths.concat())
}

/// One finding alone, or several as a count and a numbered list, sorted by text and without repeats. Empty if there is none.
pub fn numbered(findings: &[Finding]) -> String {
    let mut texts: Vec<String> = findings.iter().map(text).collect();
    texts.sort();
    texts.dedup();
    match texts.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        _ => {
            let head = format!("{} error(s)\n", texts.len());
            let items = texts.iter().enumerate().map(|(i, text)| format!("[{}] {text}\n", i + 1));
            std::iter::once(head).chain(items).collect::<Vec<_>>().join("\n\n")
        }
    }
}

/// One block with a line for each place that is a file or directory.
fn paths(places: &[Place]) -> Option<String> {
    let mut lines: Vec<String> = places
        .iter()
        .filter(|place| place.resource.is_none())
        .filter_map(|place| Some(format!("path: {}", place.location.as_ref()?.point())))
        .collect();
    lines.sort();
    lines.dedup();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// A block for each place that is an object, sorted. The message about held deletions names them, so that they have no blocks.
fn resources(finding: &Finding) -> Vec<String> {
    let is_shown = |place: &&Place| finding.code != Code::EmptySource || place.location.is_some();
    let shown = finding.places.iter().filter(is_shown);
    let mut blocks: Vec<String> =
        shown.filter_map(|place| Some(block(place.location.as_ref(), place.resource.as_ref()?))).collect();
    blocks.sort();
    blocks
}

fn block(location: Option<&Location>, resource: &Resource) -> String {
    let mut lines = Vec::new();
    lines.extend(location.map(|location| format!("source: {}", location.point())));
    if !resource.namespace.is_empty() {
        lines.push(format!("namespace: {}", resource.namespace));
    }
    for (name, value) in [
        ("metadata.name", &resource.name),
        ("group", &resource.group),
        ("version", &resource.version),
        ("kind", &resource.kind),
    ] {
        lines.push(format!("{name}: {value}").trim_end().to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Code;

    fn collision() -> Finding {
        let place = |line| Place {
            location: Some(Location { path: "namespaces/shop/a.yaml".into(), line, column: 3 }),
            resource: Some(Resource {
                group: String::new(),
                version: "v1".into(),
                kind: "ConfigMap".into(),
                namespace: "shop".into(),
                name: "web".into(),
            }),
        };
        Finding::new(Code::NameCollision, "declared twice").hint("remove one").at(place(9)).at(place(4))
    }

    #[test]
    fn one_finding_has_no_number() {
        let expected = "\
KNV1029: declared twice

hint: remove one

source: namespaces/shop/a.yaml:4:3
namespace: shop
metadata.name: web
group:
version: v1
kind: ConfigMap

source: namespaces/shop/a.yaml:9:3
namespace: shop
metadata.name: web
group:
version: v1
kind: ConfigMap

For more information, run: nomos explain KNV1029";
        assert_eq!(numbered(&[collision(), collision()]), expected);
    }

    #[test]
    fn several_findings_are_numbered() {
        let path = |code| Finding::new(code, "bad").at_path("b/").at_path("a.yaml");
        let expected = "\
2 error(s)


[1] KNV1017: bad

path: a.yaml
path: b/

For more information, run: nomos explain KNV1017


[2] KNV2001: bad

path: a.yaml
path: b/

For more information, run: nomos explain KNV2001
";
        assert_eq!(numbered(&[path(Code::Path), path(Code::MissingRepo)]), expected);
    }
}
