//! Files that SOPS 3.13.3 and 3.9.0 sealed (`fixtures`), and what it must read of ours is in the stories.

use serde_json::{Value, json};

use super::super::{ParsedFile, SourceFile, parse, parse_opened};
use super::*;
use crate::model::finding::text;

const ONE: &str = include_str!("fixtures/one.agekey");
const OTHER: &str = include_str!("fixtures/other.agekey");
const SECRET: &str = include_str!("fixtures/secret.yaml");
const TYPES: &str = include_str!("fixtures/types.yaml");
const SHARES: &str = include_str!("fixtures/shares.yaml");

fn keys(texts: &[&str]) -> AgeKeys {
    AgeKeys::read(texts.iter().map(|text| ("age.agekey", *text)), "the Secret n/sops-age").expect("keys")
}

fn file(path: &str, content: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), content: content.as_bytes().into() }
}

fn opened(path: &str, content: &str, texts: &[&str]) -> Result<Vec<Value>, String> {
    values(&parse_opened(&file(path, content), &keys(texts)))
}

fn values(parsed: &ParsedFile) -> Result<Vec<Value>, String> {
    match parsed.findings.first().or(parsed.closed.as_ref()) {
        Some(finding) => Err(text(finding)),
        None => Ok(parsed.manifests.iter().map(|manifest| Value::Object(manifest.whole().0)).collect()),
    }
}

/// The opened object of the fixtures with values of all types.
fn database(field: &str) -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Database", "metadata": { "name": "db", "namespace": "shop" },
        "plain": {
            "size": 3, "share": 1.5, "big": 1e21, "octal": 420, "day": "2024-01-02T00:00:00Z", "at": "2024-01-02T03:04:05Z",
            "on": true, "nothing": null, "version": "1.2.3", "empty": [], "text": "yes",
        },
        field: {
            "size": 3, "share": 1.5, "on": false, "day": "2024-01-02T00:00:00Z", "nothing": null,
            "list": ["first", { "name": "second", "value": "hidden-item" }],
            "quoted key": "a: b # c", "unicode": "h\u{fc}nter2 \u{2028}",
        },
    })
}

/// SOPS writes its field into each document of a file, also into one that has nothing.
#[test]
fn empty_documents_of_a_sealed_file_are_left_out() {
    let (_, field) = SECRET.split_once("\nsops:\n").expect("the field of SOPS");
    let field = field.split_once("\n---").map_or(field, |(field, _)| field);
    let both = opened("a.yaml", SECRET, &[ONE]);
    let after = format!("{SECRET}\n---\nsops:\n{field}\n");
    assert_eq!(opened("a.yaml", &after, &[ONE]), both);
    let before = format!("sops:\n{field}\n---\n{SECRET}");
    assert_eq!(opened("a.yaml", &before, &[ONE]), both);
}

/// Each value is bound to the names of all fields above it: a long one is not read again for each of a million values.
#[test]
fn names_of_fields_above_a_sealed_value_are_short() {
    let long = "a".repeat(5 << 10);
    let changed = SECRET.replacen("\ndata:\n", &format!("\n? {long}\n: [x, x]\ndata:\n"), 1);
    let told = opened("a.yaml", &changed, &[ONE]).expect_err("it is refused");
    assert!(told.contains("names of fields that are too long"), "{told}");
}

#[test]
fn files_of_sops_are_opened() {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": true,
        "metadata": { "name": "db", "namespace": "shop", "labels": { "app": "5" } },
        "data": { "password": "aHVudGVyMg==", "empty": "" },
        "stringData": { "note": "first line\nsecond line\n" },
    });
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings", "namespace": "shop" },
        "data": { "mode": "fast" },
    });
    let both = Ok(vec![settings, secret]);
    assert_eq!(opened("a.yaml", SECRET, &[ONE]), both);
    assert_eq!(opened("a.yaml", SECRET, &[OTHER, ONE]), both, "a key is rotated");
    assert_eq!(opened("a.yaml", SHARES, &[OTHER, ONE]), both, "each key has a share");
    for (content, field) in [
        (TYPES, "spec"),
        (include_str!("fixtures/mac-only.yaml"), "spec"),
        (include_str!("fixtures/unencrypted-regex.yaml"), "spec"),
        (include_str!("fixtures/encrypted-suffix.yaml"), "spec_sealed"),
    ] {
        assert_eq!(opened("a.yaml", content, &[ONE]), Ok(vec![database(field)]), "{content}");
    }
    // SOPS 3.9.0 wrote it. A comment of an item is an item, and is not in the checksum.
    let of_older = opened("a.yaml", include_str!("fixtures/list-comments.yaml"), &[ONE]).expect("opened");
    let list = json!(["first", { "name": "second", "value": "hidden-item" }]);
    assert_eq!(of_older[0]["spec"], json!({ "list": list, "args": ["a", "b"] }));
    let of_json = opened("a.json", include_str!("fixtures/secret.json"), &[ONE]).expect("opened");
    assert_eq!(of_json[0]["data"], json!({ "a": "aGlkZGVu", "b": "aHVudGVyMg==" }));
    assert!(opened("a.yaml", include_str!("fixtures/secret.json"), &[ONE]).is_ok());
}

#[test]
fn without_keys_placeholders_stand_for_the_values() {
    let read = parse(&file("a.yaml", TYPES));
    assert!(read.sealed && read.manifests.iter().all(|manifest| manifest.object.is_sealed()));
    let read = values(&read).expect("read");
    assert_eq!(read[0]["plain"], database("spec")["plain"]);
    assert_eq!(read[0]["sops"], Value::Null);
    let hidden = json!(PLACEHOLDER);
    assert_eq!(read[0]["spec"]["list"], json!([hidden, { "name": hidden, "value": hidden }]), "a comment is no item");
    assert!(!read[0].to_string().contains("ENC["), "{}", read[0]);
}

#[test]
fn a_file_that_cannot_be_opened_is_told_without_its_values() {
    let at_mac = "its checksum (`sops.mac`)";
    let moved = SECRET.replace("    password: ENC", "    user: ENC");
    let reordered = TYPES.replace("    size: 3\n    share: 1.5\n", "    share: 1.5\n    size: 3\n");
    for (content, texts, expected) in [
        (SECRET, &[OTHER][..], "SOPS sealed it for age1xkny"),
        (SHARES, &[ONE][..], "no key that opens it"),
        (&SECRET.replace("app: \"5\"", "app: \"6\""), &[ONE], at_mac),
        (&TYPES.replace("size: 3", "size: 4"), &[ONE], at_mac),
        (&reordered, &[ONE], at_mac),
        (&SECRET.replace("lastmodified: \"2026", "lastmodified: \"2025"), &[ONE], at_mac),
        (&SECRET.replace("    mac: ENC", "    mac: x # ENC"), &[ONE], at_mac),
        (&moved, &[ONE], "the value of `data.user` was changed, moved or renamed"),
        (&SECRET.replace("    empty: \"\"", "    empty: hunter2"), &[ONE], "`data.empty` does not have the form"),
        (&SECRET.replace("    empty: \"\"", "    empty: 5"), &[ONE], "`data.empty` is not sealed"),
        (&SECRET.replace("-----BEGIN AGE", "-----BEGIN"), &[ONE], "no key that opens it"),
        (&SECRET.replace("    encrypted_regex: ^", "    encrypted_regex: ^("), &[ONE], "cannot be read"),
        (&SECRET.replace("    version: 3.13.3", "    encrypted_suffix: x"), &[ONE], "several rules"),
        (&SECRET.replace("encrypted_regex", "encrypted_comment_regex"), &[ONE], "chosen by comments"),
        (&SECRET.replace("    age:", "    pgp:"), &[ONE], "for no age key"),
        (&SECRET.replace("data:\n", "data: &x\n"), &[ONE], "no anchors"),
    ] {
        let told = opened("a.yaml", content, texts).expect_err(expected);
        assert!(told.starts_with("KNV2001: ") && told.contains(expected), "{told}");
        assert!(told.contains("a.yaml:") && !told.contains("hunter2") && !told.contains("aHVu"), "{told}");
        assert!(!told.contains("AGE-SECRET-KEY"), "{told}");
    }
    let none = parse_opened(&file("a.yaml", SECRET), &AgeKeys::none("the agent was told of no age key", "Tell it."));
    assert!(none.sealed);
    assert!(values(&none).is_err_and(|told| told.contains("SOPS sealed it, and the agent was told of no age key")));
}

#[test]
fn what_says_which_object_it_is_must_not_be_sealed() {
    let everything = include_str!("fixtures/everything.yaml");
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {{metadata: {{name: \"{MARK}x]\"}}}}\n{}", tail(SECRET));
    let of_sync = SECRET.replace("v1\nkind: Secret", "configsync.gke.io/v1beta1\nkind: RootSync");
    for (content, expected, at) in [
        (everything, "`apiVersion` is sealed", "a.yaml:2:13"),
        (&list, "`items.0.metadata.name` is sealed", "a.yaml:4:21"),
        (&of_sync, "a RootSync has a sealed value", "a.yaml:"),
    ] {
        let told = values(&parse(&file("a.yaml", content))).expect_err(expected);
        assert!(told.contains(expected) && told.contains(at), "{told}");
    }
    let first = SECRET.split("\n---\n").next().expect("a document");
    let kind = first.lines().find(|line| line.starts_with("kind: ")).expect("a kind");
    for (group, name) in OPENED_LATER {
        let of_operator = |text: &str| {
            text.replacen("apiVersion: v1", &format!("apiVersion: {group}/v1"), 1).replacen(
                kind,
                &format!("kind: {name}"),
                1,
            )
        };
        let read = opened("a.yaml", &of_operator(first), &[OTHER]).expect("read");
        assert!(read[0]["sops"].is_object(), "the operator opens it on the cluster");
        assert!(read[0].to_string().contains(MARK) || !first.contains(MARK), "{}", read[0]);
        let beside = format!("{SECRET}\n---\n{}", of_operator(first));
        let told = opened("a.yaml", &beside, &[ONE]).expect_err("it would be opened");
        assert!(told.contains("a controller on the cluster opens one of its documents"), "{told}");
        let other = first.replacen("apiVersion: v1", &format!("apiVersion: {group}/v1"), 1);
        assert!(opened("a.yaml", &other, &[OTHER]).is_err(), "a ConfigMap of this group is no such object");
    }
    let second = format!("{}---\n{SECRET}", "apiVersion: v1\nkind: X\nmetadata: {name: x}\n");
    assert!(values(&parse(&file("a.yaml", &second))).is_err_and(|told| told.contains("not in the first document")));
}

/// The field of SOPS with all below it.
fn tail(content: &str) -> &str {
    let start = content.find("\nsops:").expect("sealed") + 1;
    content[start..].split("\n---\n").next().unwrap_or_default()
}

#[test]
fn no_byte_of_a_file_breaks_the_reader() {
    let one = keys(&[ONE]);
    for (at, byte) in SECRET.bytes().enumerate().step_by(7) {
        let mut content = SECRET.as_bytes().to_vec();
        content[at] = if byte == b'0' { b':' } else { b'0' };
        let read = parse_opened(&SourceFile { path: "a.yaml".to_owned(), content: content.into() }, &one);
        let told: String = read.findings.iter().map(text).collect();
        assert!(!told.contains("aHVu") && !told.contains("first line"), "byte {at}: {told}");
    }
}

#[test]
fn keys_are_told_apart_and_not_shown() {
    assert!(keys(&[ONE]) == keys(&[ONE]) && keys(&[ONE]) != keys(&[OTHER]) && AgeKeys::default() != keys(&[ONE]));
    assert_eq!(format!("{:?}", keys(&[ONE, OTHER])), "2 age keys");
    assert_eq!(AgeKeys::read([("a.agekey", "# nothing\n")].into_iter(), "x").err(), Some(Vec::new()));
    let wrong = AgeKeys::read([("a.agekey", "# x\nhunter2")].into_iter(), "x").err();
    assert_eq!(wrong, Some(vec![WrongLine { file: "a.agekey".to_owned(), line: 2 }]));
    let many = ONE.repeat(17);
    assert_eq!(AgeKeys::read([("a.agekey", many.as_str())].into_iter(), "x").err(), Some(Vec::new()));
    let beside = keys(&[ONE, "hunter2"]);
    let told = values(&parse_opened(&file("a.yaml", &sealed_for_other()), &beside)).expect_err("it has another key");
    assert!(told.contains("and line 1 of \"age.agekey\" is no age key") && !told.contains("hunter2"), "{told}");
}

#[test]
fn a_sealed_object_opens_again() {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "db", "annotations": { "n": "1", "text": "a\nb\n" } },
        "data": { "a": "aHVudGVyMg==", "empty": "", "number": "5" }, "immutable": true, "type": "Opaque",
    });
    let recipients = [ONE, OTHER].map(|text| {
        let public = text.lines().next().and_then(|line| line.rsplit(' ').next()).expect("age-keygen writes it");
        public.parse::<AgeRecipient>().expect("a public key")
    });
    let mut counter = 0;
    let mut random = || {
        counter += 1;
        [counter; 32]
    };
    let seal = |object: &Value, random: &mut dyn FnMut() -> [u8; 32]| {
        sealed(object, &recipients, "2026-01-02T03:04:05Z", SealRandomness(random))
    };
    let text = crate::model::yaml::text(&seal(&object, &mut random).expect("sealed"));
    assert!(!text.contains("aHVu") && text.contains("empty: \"\""), "{text}");
    for key in [ONE, OTHER] {
        assert_eq!(opened("a.yaml", &text, &[key]), Ok(vec![object.clone()]), "{text}");
    }
    let named = json!({ "metadata": { "labels": { "data": "x" } }, "data": { "a": "eA==" } });
    assert_eq!(seal(&named, &mut random), None);
    assert!("age1x".parse::<AgeRecipient>().is_err());
}

/// A file with a sealed value for the other key.
fn sealed_for_other() -> String {
    let object = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "db" }, "data": { "a": "eA==" } });
    let public = OTHER.lines().next().and_then(|line| line.rsplit(' ').next()).expect("age-keygen writes it");
    let mut random = || [7; 32];
    let sealed =
        sealed(&object, &[public.parse().expect("a key")], "2026-01-02T03:04:05Z", SealRandomness(&mut random));
    crate::model::yaml::text(&sealed.expect("sealed"))
}

/// The names are in clear text, so that it can be said which objects are declared.
#[test]
fn a_file_that_is_not_opened_has_objects_and_a_reason() {
    for (content, texts) in
        [(SECRET.to_owned(), OTHER), (SECRET.replace("    age:", "    pgp:"), ONE)].map(|(it, key)| (it, [key]))
    {
        let read = parse_opened(&file("a.yaml", &content), &keys(&texts));
        assert!(read.findings.is_empty() && read.closed.is_some() && read.sealed, "{:?}", read.findings);
        let names: Vec<&str> = read.manifests.iter().map(|manifest| manifest.object.name()).collect();
        assert_eq!(names, ["settings", "db"]);
        let shown = Value::Array(read.manifests.iter().map(|it| Value::Object(it.whole().0)).collect()).to_string();
        assert!(!shown.contains("aHVu") && shown.contains(PLACEHOLDER), "{shown}");
        let moved = read.in_file("b.yaml").closed.expect("closed");
        assert_eq!(moved.places[0].location.as_ref().map(|at| at.path.as_str()), Some("b.yaml"));
    }
}

/// A key opens it, and the file is not what SOPS wrote: an object that it had before may be missing.
#[test]
fn a_file_that_was_changed_has_no_objects() {
    let without_first = SECRET.split_once("\n---\n").map(|(_, second)| second.to_owned()).expect("two documents");
    for content in [
        SECRET.replace("app: \"5\"", "app: \"6\""),
        SECRET.replace("    password: ENC", "    user: ENC"),
        without_first,
    ] {
        let read = parse_opened(&file("a.yaml", &content), &keys(&[ONE]));
        assert!(read.manifests.is_empty() && read.closed.is_none() && read.findings.len() == 1, "{:?}", read.findings);
    }
}

#[test]
fn a_check_without_key_finds_what_the_agent_would_refuse() {
    let both = format!("{SECRET}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: added}}\n");
    let read = parse(&file("a.yaml", &both));
    assert!(read.closed.is_none() && read.warnings.len() == 1, "{:?}", read.warnings);
    assert!(read.warnings[0].message.contains("it was added since SOPS sealed the file"), "{:?}", read.warnings);
    assert!(opened("a.yaml", &both, &[ONE]).is_err());
    for content in [SECRET, TYPES, SHARES, include_str!("fixtures/mac-only.yaml"), include_str!("fixtures/secret.json")]
    {
        let read = parse(&file("a.yaml", content));
        assert!(read.closed.is_none() && read.warnings.is_empty(), "{:?} {:?}", read.closed, read.warnings);
    }
    for (content, expected) in [
        (SECRET.replace("data:\n", "data: &x\n"), "no anchors"),
        (SECRET.replace("    empty:", "    password: x\n    empty:"), "a key twice"),
    ] {
        for read in [parse(&file("a.yaml", &content)), parse_opened(&file("a.yaml", &content), &keys(&[ONE]))] {
            assert!(read.findings.iter().any(|it| it.message.contains(expected)), "{:?}", read.findings);
        }
    }
}

#[test]
fn a_time_in_another_form_is_the_same_time() {
    for form in ["Z", ".123Z", "+00:00"] {
        let end = SECRET.find("Z\"\n    mac:").expect("the time before the checksum");
        let changed = format!("{}{form}{}", &SECRET[..end], &SECRET[end + 1..]);
        assert!(opened("a.yaml", &changed, &[ONE]).is_ok(), "{form}");
    }
}

#[test]
fn objects_of_any_kind_are_sealed_with_all_their_values() {
    let object = json!({
        "apiVersion": "example.com/v1", "kind": "Database", "metadata": { "name": "db", "labels": { "app": "x" } },
        "spec": { "size": 3, "share": 1.5, "on": true, "off": false, "nothing": null, "list": ["a", { "b": "c" }], "empty": "" },
        "enabled": true,
    });
    let public = ONE.lines().next().and_then(|line| line.rsplit(' ').next()).expect("age-keygen writes it");
    let mut random = || [7; 32];
    let sealed =
        sealed(&object, &[public.parse().expect("a key")], "2026-01-02T03:04:05Z", SealRandomness(&mut random));
    let text = crate::model::yaml::text(&sealed.expect("sealed"));
    assert!(!text.contains("size: 3") && !text.contains("true") && text.contains("app: x"), "{text}");
    assert_eq!(opened("a.yaml", &text, &[ONE]), Ok(vec![object]), "{text}");
}
