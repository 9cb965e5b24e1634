//! Tests of every form of report: against its schema, with another reader, or as text.

use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::source::sealed_note;
use crate::tests::{FINE, TestDirectory, nomos, nomos_on, ran};

fn repository_file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).expect("a file of the repository")
}

fn schema(path: &str) -> Value {
    serde_json::from_str(&repository_file(path)).expect("JSON")
}

/// The published schema. One of its patterns is no valid regular expression, and is corrected here.
fn sarif_schema() -> Validator {
    let mut schema = schema("tests/schemas/sarif-2.1.0.json");
    for definition in ["run", "toolComponent"] {
        let pattern = &mut schema["definitions"][definition]["properties"]["language"]["pattern"];
        assert_eq!(*pattern, "^[a-zA-Z]{2}|^[a-zA-Z]{2}-[a-zA-Z]{2}]?$");
        *pattern = "^[a-zA-Z]{2}(-[a-zA-Z]{2})?$".into();
    }
    jsonschema::validator_for(&schema).expect("a schema")
}

/// A copy of the schema that refuses every field that it does not name.
fn strict(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(map) => {
            map.values_mut().for_each(|value| *value = strict(std::mem::take(value)));
            if map.get("type") == Some(&json!("object")) {
                map.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = strict(std::mem::take(item))),
        _ => {}
    }
    schema
}

fn valid(validator: &Validator, document: &Value) {
    let errors: Vec<String> =
        validator.iter_errors(document).map(|it| format!("{}: {it}", it.instance_path())).collect();
    assert!(errors.is_empty(), "{}\n{document:#}", errors.join("\n"));
}

/// The flags of `nomos vet` for a case of `tests/cases`.
fn flags(case: &Path) -> String {
    let settings = fs::read_to_string(case.join("case.yaml")).unwrap_or_default();
    let unstructured = if settings.contains("unstructured: true") { "--source-format=unstructured" } else { "" };
    format!("--path {} {unstructured} --no-api-server-check", case.join("repo").display())
}

fn junit(text: &str) -> quick_junit::Report {
    roxmltree::Document::parse(text).expect("XML");
    quick_junit::Report::deserialize_from_str(text).expect("JUnit")
}

#[test]
fn every_case_is_valid_in_every_form() {
    let json_schema = jsonschema::validator_for(&strict(schema("nomos-cli/report.schema.json"))).expect("a schema");
    let sarif_schema = sarif_schema();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases").canonicalize().expect("the cases");
    let out = TestDirectory::new();
    let mut seen = 0;
    for case in fs::read_dir(cases).expect("the cases") {
        let reports = "--report json=DIR/j --report sarif=DIR/s --report junit=DIR/x --report=github=DIR/g";
        nomos(&out, &format!("vet {} {reports}", flags(&case.expect("a case").path())));
        let read = |name: &str| serde_json::from_str::<Value>(&out.read(name)).expect("JSON");
        let (json, sarif, junit) = (read("j"), read("s"), junit(&out.read("x")));
        valid(&json_schema, &json);
        valid(&sarif_schema, &sarif);
        let clusters = json["clusters"].as_array().expect("clusters");
        let findings: usize = clusters.iter().map(|it| it["findings"].as_array().map_or(0, Vec::len)).sum();
        assert_eq!((junit.failures, junit.test_suites.len()), (findings, clusters.len()));
        let distinct = sarif["runs"][0]["results"].as_array().map_or(0, Vec::len);
        assert_eq!(out.read("g").lines().filter(|line| line.starts_with("::error ")).count(), distinct);
        assert!(distinct <= findings && (distinct > 0) == (findings > 0));
        seen += findings;
    }
    assert!(seen > 100, "{seen} findings in all cases");
}

#[test]
fn schemas_refuse_wrong_documents() {
    let json_schema = jsonschema::validator_for(&schema("nomos-cli/report.schema.json")).expect("a schema");
    let finding = |code: &str| json!({"code": code, "name": "X", "blocks": true, "message": "x", "places": [{}]});
    let document = |findings| json!({"version": 1, "root": "", "clusters": [{"name": "a", "findings": findings}]});
    assert!(json_schema.is_valid(&document(json!([]))));
    for wrong in [json!([finding("KNV1")]), json!([finding("KNV1029")]), json!({}), json!([{}])] {
        assert!(!json_schema.is_valid(&document(wrong)));
    }
    let sarif_schema = sarif_schema();
    assert!(!sarif_schema.is_valid(&json!({"version": "2.1.0", "runs": [{"results": []}]})));
}

const NAMED: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\n";

fn twice() -> TestDirectory {
    let directory = TestDirectory::with(&[("config/a.yaml", NAMED), ("config/b.yaml", NAMED)]);
    fs::create_dir(directory.path().join(".git")).expect("writable");
    directory
}

#[test]
fn a_report_on_standard_output_replaces_the_text() {
    let source = twice();
    let vet = |words: &str| nomos(&source, &format!("vet --path DIR/config --source-format=unstructured {words}"));
    let text = vet("").err;
    assert!(text.starts_with("KNV1029: "), "{text}");
    assert_eq!(vet("--report text"), ran(1, &text, ""));
    assert_eq!(vet("--report sarif=DIR/s"), ran(1, "", &text));
    let json = vet("--report json");
    assert_eq!((json.status, json.out.starts_with("{\n"), json.err.as_str()), (1, true, ""));
    assert_eq!(vet("--report json --report text"), ran(1, &(json.out.clone() + &text), ""));
    assert_eq!(vet("--report json --report text=DIR/t --report json=DIR/j"), ran(1, &json.out, ""));
    assert_eq!((source.read("t"), source.read("j")), (text.clone(), json.out));
    for wrong in ["--report yaml", "--report", "--report json="] {
        assert_eq!(vet(wrong).status, 2, "{wrong}");
    }
    let nowhere = vet("--report json=DIR/none/j");
    assert_eq!((nowhere.status, nowhere.err.starts_with("error: failed to write DIR/none/j: ")), (2, true));
}

#[test]
fn a_source_without_findings_is_reported_too() {
    let source = TestDirectory::with(&[("a.yaml", NAMED)]);
    let vet = |form: &str| nomos(&source, &format!("vet --path DIR --source-format=unstructured --report {form}")).out;
    let json: Value = serde_json::from_str(&vet("json")).expect("JSON");
    assert_eq!(
        json,
        json!({"version": 1, "root": "", "clusters": [{"name": "defaultcluster", "findings": []}], "warnings": []})
    );
    let sarif: Value = serde_json::from_str(&vet("sarif")).expect("JSON");
    assert_eq!(sarif["runs"][0]["results"], json!([]));
    let junit = junit(&vet("junit"));
    assert_eq!((junit.tests, junit.failures, junit.test_suites[0].test_cases.len()), (1, 0, 1));
    assert_eq!((vet("github"), vet("text")), (String::new(), String::new()));
}

#[test]
fn warnings_are_reported_beside_findings() {
    let source = TestDirectory::with(&[("config/a.yaml", &format!("{NAMED}data:\n  b: '1'\n  b: '2'\n"))]);
    fs::create_dir(source.path().join(".git")).expect("writable");
    let vet = |form: &str| {
        let ran = nomos(&source, &format!("vet --path DIR/config --source-format=unstructured --report {form}"));
        assert_eq!(ran.status, 0, "{}", ran.err);
        ran.out
    };
    let github = "::warning file=config/a.yaml,line=7,col=3::The key `b` is in one map 2 times. The last value is used.\
                  %0A%0Ahint: Remove the key in all places but one.%0Asee also: config/a.yaml:6:3\n";
    assert_eq!(vet("github"), github);
    let json: Value = serde_json::from_str(&vet("json")).expect("JSON");
    valid(&jsonschema::validator_for(&strict(schema("nomos-cli/report.schema.json"))).expect("a schema"), &json);
    assert_eq!(json["warnings"][0]["locations"][1], json!({"path": "a.yaml", "line": 7, "column": 3}));
}

#[test]
fn files_are_named_from_the_root_of_the_repository() {
    let source = twice();
    let vet = |form: &str| {
        nomos(&source, &format!("vet --path DIR/config/. --source-format=unstructured --report {form}")).out
    };
    let github = "::error title=KNV1029 NameCollision,file=config/a.yaml,line=4,col=9::There are 2 objects of the kind \
                  ConfigMap named `web` in the namespace `default`.%0A%0Ahint: Keep one of them, and rename or remove the others.%0A\
                  see also: config/b.yaml:4:9\n";
    assert_eq!(vet("github"), github);
    let json: Value = serde_json::from_str(&vet("json")).expect("JSON");
    assert_eq!(json["root"], "config/");
    assert_eq!(json["clusters"][0]["findings"][0]["places"][1]["location"]["path"], "b.yaml");
    let sarif: Value = serde_json::from_str(&vet("sarif")).expect("JSON");
    let result = &sarif["runs"][0]["results"][0];
    let at = |line| json!({"startLine": line, "startColumn": 9});
    assert_eq!((&result["ruleId"], &result["level"]), (&json!("KNV1029"), &json!("error")));
    assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "config/a.yaml");
    assert_eq!(result["locations"][0]["physicalLocation"]["region"], at(4));
    assert_eq!(result["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"], "config/b.yaml");
    assert_eq!(sarif["runs"][0]["tool"]["driver"]["rules"][0]["id"], "KNV1029");
    let junit = junit(&vet("junit"));
    let case = &junit.test_suites[0].test_cases[0];
    assert_eq!(case.name.as_str(), "KNV1029 NameCollision config/a.yaml:4:9");
    assert_eq!(case.classname.as_ref().map(|name| name.as_str()), Some("config/a.yaml"));
}

#[test]
fn a_source_outside_of_the_current_directory_has_a_path_with_dots() {
    let (source, here) = (twice(), TestDirectory::new());
    fs::remove_dir(source.path().join(".git")).expect("there");
    let words = "vet --path DIR/config --source-format=unstructured --report sarif";
    let directory = here.path().join("deep/er");
    let vet = nomos_on(&source, words, |console| console.environment.directory = Some(directory));
    let sarif: Value = serde_json::from_str(&vet.out).expect("JSON");
    let uri = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    let name = source.path().file_name().expect("a name").to_string_lossy();
    assert_eq!(uri, &format!("../../../{name}/config/a.yaml"));
}

#[test]
fn a_finding_of_several_clusters_is_reported_once() {
    let annotations = "  annotations: {configsync.gke.io/cluster-name-selector: 'prod,test'}\n";
    let both = format!("{NAMED}{annotations}");
    let other = format!("{NAMED}{}", annotations.replace("prod,test", "other"));
    let source = TestDirectory::with(&[("a.yaml", &both), ("b.yaml", &both), ("c.yaml", &other)]);
    let vet = |form: &str| nomos(&source, &format!("vet --path DIR --source-format=unstructured --report {form}")).out;
    let github = vet("github");
    assert!(github.lines().count() == 1 && github.ends_with("%0Aclusters: prod, test\n"), "{github}");
    let sarif: Value = serde_json::from_str(&vet("sarif")).expect("JSON");
    assert_eq!(sarif["runs"][0]["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(sarif["runs"][0]["results"][0]["properties"]["clusters"], json!(["prod", "test"]));
    assert_eq!(junit(&vet("junit")).failures, 2);
}

#[test]
fn odd_names_of_files_break_no_form() {
    let source = TestDirectory::with(&[("a b:%,é\u{1b}<\"&.yaml", "kind: [\n")]);
    let vet = |form: &str| nomos(&source, &format!("vet --path DIR --source-format=unstructured --report {form}")).out;
    let github = vet("github");
    let file = "file=a b%3A%25%2Cé\u{1b}<\"&.yaml,line=2,col=1::";
    assert!(github.lines().count() == 1 && github.contains(file), "{github}");
    let sarif: Value = serde_json::from_str(&vet("sarif")).expect("JSON");
    let uri = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(uri, "a%20b%3A%25%2C%C3%A9%1B%3C%22%26.yaml");
    let junit = junit(&vet("junit"));
    let class = junit.test_suites[0].test_cases[0].classname.as_ref().map(|name| name.as_str().to_owned());
    assert_eq!(class.as_deref(), Some("a b:%,é\u{fffd}<\"&.yaml"));
}

#[test]
fn control_characters_in_a_finding_break_no_xml() {
    let name = r#""\0\x01\b\t\n\v\f\r\e\x1f\x7f\x85\uFFFE\uFFFF]]>&amp;<a b=''>""#;
    let source = TestDirectory::with(&[("a.yaml", &NAMED.replace("web", name))]);
    let xml = nomos(&source, "vet --path DIR --source-format=unstructured --report junit").out;
    let document = roxmltree::Document::parse(&xml).expect("XML");
    let failure = document.descendants().find(|node| node.has_tag_name("failure")).expect("a finding");
    let replaced = |kept: &str| format!("\u{fffd}\u{fffd}\u{fffd}{kept}\u{7f}\u{85}\u{fffd}\u{fffd}]]>&amp;<a b=''>");
    let message = replaced("\t\n\u{fffd}\u{fffd}\r\u{fffd}\u{fffd}");
    assert!(failure.attribute("message").is_some_and(|it| it.contains(&message)), "{xml}");
    assert!(failure.text().is_some_and(|it| it.contains(&replaced("\t\n\u{fffd}\u{fffd}\u{fffd}\u{fffd}"))), "{xml}");
}

/// That values are not checked is told, and is no finding.
#[test]
fn sealed_values_are_told_of() {
    let sealed = include_str!("../../../agent/src/compile/parse/sealed/fixtures/secret.yaml");
    let source = TestDirectory::with(&[("a.yaml", sealed), ("b.yaml", NAMED)]);
    let vet = |words: &str| nomos(&source, &format!("vet --path DIR --source-format=unstructured {words}"));
    let sentence = "2 objects have values that SOPS sealed; these values are not checked";
    assert_eq!(vet(""), ran(0, "", &format!("note: {sentence}.\n{FINE}")));
    assert_eq!(vet("--report text").out, format!("note: {sentence}.\n"));
    assert_eq!(vet("--report github").out, format!("::notice ::{sentence}\n"));
    let document = |form: &str| serde_json::from_str::<Value>(&vet(&format!("--report {form}")).out).expect("JSON");
    let (json, log) = (document("json"), document("sarif"));
    valid(&jsonschema::validator_for(&strict(schema("nomos-cli/report.schema.json"))).expect("a schema"), &json);
    valid(&sarif_schema(), &log);
    assert_eq!(json["sealed"], 2);
    assert_eq!(log["runs"][0]["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"], sentence);
    assert_eq!(sealed_note(1), Some(sentence.replace("2 objects have", "1 object has")));
    assert_eq!(sealed_note(0), None);
}

/// A difference of each kind, in each form.
#[cfg(feature = "cluster")]
#[test]
fn differences_are_in_every_form() {
    use agent::model::finding::{Location, Place, Resource};

    use super::{ChangeCounts, ChangeEffect, ReportedChange, Subject, github, json, junit as xml, sarif};

    let resource = Resource {
        group: "apps".into(),
        version: "v1".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "web".into(),
    };
    let location = Location { path: "web.yaml".into(), line: 3, column: 1 };
    let change = |effect, location| ReportedChange {
        effect,
        place: Place { location, resource: Some(resource.clone()) },
        text: "--- a\n+++ a\n".into(),
        note: (effect == ChangeEffect::Create).then_some("it is not checked"),
    };
    let effects = [ChangeEffect::Create, ChangeEffect::Change, ChangeEffect::Fail, ChangeEffect::Unknown]
        .map(|effect| change(effect, Some(location.clone())));
    let subject = Subject {
        command: "nomos diff",
        root: "config/".into(),
        clusters: vec![("prod", Vec::new().into())],
        warnings: &[],
        sealed: 0,
        counts: Some(ChangeCounts { deleted: 1, unchecked: 1, ..ChangeCounts::default() }),
        changes: std::iter::once(change(ChangeEffect::Delete, None)).chain(effects).collect(),
    };
    let document = serde_json::from_str(&json::text(&subject).expect("JSON")).expect("JSON");
    valid(&jsonschema::validator_for(&strict(schema("nomos-cli/report.schema.json"))).expect("a schema"), &document);
    assert_eq!(document["changes"][0]["effect"], "delete");
    assert_eq!(document["changes"][1]["location"]["path"], "web.yaml");
    assert_eq!(
        (&document["changes"][1]["note"], &document["summary"]["unchecked"]),
        (&json!("it is not checked"), &json!(1))
    );
    let log = serde_json::from_str(&sarif::text(&subject).expect("JSON")).expect("JSON");
    valid(&sarif_schema(), &log);
    assert_eq!(log["runs"][0]["results"].as_array().map(Vec::len), Some(5));
    let tests = junit(&xml::text(&subject).expect("XML"));
    assert_eq!(
        (tests.tests, tests.failures, tests.name.as_ref().map(|name| name.as_str())),
        (5, 1, Some("nomos diff"))
    );
    let commands = github::text(&subject);
    let expected = "\
::warning title=Deployment.apps shop/web would be deleted::--- a%0A+++ a
::notice title=Deployment.apps shop/web would be made,file=config/web.yaml,line=3,col=1::--- a%0A+++ a%0A%0Anote: it is not checked
";
    assert!(commands.starts_with(expected), "{commands}");
    assert!(commands.contains("\n::error title=Deployment.apps shop/web cannot be applied,"), "{commands}");
}
