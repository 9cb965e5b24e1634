//! Warnings about manifests that do not fit together: an object that depends on one that is not there, a cycle of dependencies,
//! replicas beside an autoscaler. And about a Job that ends by going, and so is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::compile::parse::{Manifest, ParsedFile, is_unopened, may_have_unopened};
use crate::compile::substitutions::{SUBSTITUTION_FORM, Substitution, checked};
use crate::model::finding::{Place, Warning};
use crate::model::metadata::annotation::{APPLY_TIME_MUTATION, DEPENDS_ON, MANAGED};
use crate::model::object::{GroupKind, ObjectId};
use crate::model::references::{REFERENCE_FORM, references};

/// The manifests by the identity in their files; the first of each.
type ById<'a> = BTreeMap<&'a ObjectId, usize>;

/// The warnings about all manifests of these files.
pub(super) fn warnings(files: &[&Arc<ParsedFile>]) -> Vec<Warning> {
    let manifests: Vec<&Arc<Manifest>> = files.iter().flat_map(|file| &file.manifests).collect();
    let mut warnings: Vec<Warning> = manifests.iter().filter_map(|manifest| with_text_of_sops(manifest)).collect();
    warnings.extend(manifests.iter().filter_map(|manifest| runs_again(manifest)));
    let concerns = |manifest: &&Arc<Manifest>| {
        [DEPENDS_ON, APPLY_TIME_MUTATION].iter().any(|key| manifest.object.annotation(key).is_some())
            || is_autoscaler(manifest)
    };
    if !manifests.iter().any(concerns) {
        return warnings;
    }
    let mut by_id = ById::new();
    for (at, manifest) in manifests.iter().enumerate() {
        by_id.entry(&manifest.object.id).or_insert(at);
    }
    warnings.extend(of_dependencies(&manifests, &by_id));
    warnings.extend(manifests.iter().filter_map(|manifest| beside_an_autoscaler(manifest, &manifests, &by_id)));
    warnings
}

/// A warning if a value is applied as the text that SOPS made of it. For a Secret it is a finding.
fn with_text_of_sops(manifest: &Manifest) -> Option<Warning> {
    let object = &manifest.object;
    // An operator opens objects with the field on the cluster.
    let is_opened = object.is_sealed() || object.has("sops") || object.is_kind("", "Secret");
    if is_opened || !object.payload().any(|(_, text)| may_have_unopened(text)) {
        return None;
    }
    let whole = manifest.whole();
    let field = whole.0.iter().find_map(|(field, value)| has_unopened(value).then_some(field))?;
    let message = format!(
        "{} has in `{field}` a text of SOPS in the place of a value, and no field `sops` with which it can be opened: it is applied so.",
        object.id
    );
    Some(warning(message, "Write the file anew with `sops encrypt`.", vec![manifest.at_value(&[field])]))
}

/// A warning if the manifest is a Job that the cluster deletes when it has ended.
fn runs_again(manifest: &Manifest) -> Option<Warning> {
    const FIELD: &str = "ttlSecondsAfterFinished";
    let id = &manifest.object.id;
    if !manifest.object.is_kind("batch", "Job") {
        return None;
    }
    let whole = manifest.whole();
    let spec = whole.0.get("spec")?;
    // One that is suspended does not end, and one that is not managed is not made again.
    let never = spec.get("suspend") == Some(&Value::Bool(true)) || whole.annotation(MANAGED) == Some("disabled");
    let seconds = spec.get(FIELD)?.as_i64().filter(|_| !never)?;
    let message =
        format!("{id} is deleted {seconds} s after its end ({FIELD}), and made again then: it runs again and again.");
    let hint = "Remove the field, so that the Job runs once, or make it a CronJob.";
    Some(warning(message, hint, vec![manifest.at_key(&["spec", FIELD])]))
}

fn has_unopened(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().any(has_unopened),
        Value::Array(items) => items.iter().any(has_unopened),
        Value::String(text) => is_unopened(text),
        _ => false,
    }
}

fn is_autoscaler(manifest: &Manifest) -> bool {
    manifest.object.is_kind("autoscaling", "HorizontalPodAutoscaler")
}

fn warning(message: String, hint: &str, places: Vec<Place>) -> Warning {
    let locations = places.into_iter().filter_map(|place| place.location).collect();
    Warning { message, hint: hint.to_owned(), locations }
}

fn of_dependencies(manifests: &[&Arc<Manifest>], by_id: &ById<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut edges: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, manifest) in manifests.iter().enumerate() {
        let id = &manifest.object.id;
        let mut warn =
            |key, message, hint: &'static str| warnings.push(warning(message, hint, vec![manifest.at_annotation(key)]));
        for reference in depends_on(manifest, &mut warn) {
            match by_id.get(&reference) {
                Some(found) => edges.entry(at).or_default().push(*found),
                // The namespace of a manifest may follow from its directory.
                None if by_id.contains_key(&reference.in_namespace("")) => {}
                None => warn(
                    DEPENDS_ON,
                    format!("{id} depends on {reference}, which is not declared here."),
                    "It waits until the other object is ready on the cluster.",
                ),
            }
        }
        for substitution in substitutions(manifest, &mut warn) {
            let source = &substitution.source;
            match substitution.candidates(id.namespace()).iter().find_map(|source| by_id.get(source)) {
                Some(found) => edges.entry(at).or_default().push(*found),
                // The namespace of a manifest may follow from its directory.
                None if by_id.contains_key(&source.in_namespace("")) || id.namespace().is_empty() => {}
                None => warn(
                    APPLY_TIME_MUTATION,
                    format!("{id} takes a value of {source}, which is not declared here."),
                    "It waits until the same sync declares the other object.",
                ),
            }
        }
    }
    warnings.extend(cycle(&edges).map(|cycle| {
        let names: Vec<String> = cycle.iter().map(|at| manifests[*at].object.id.to_string()).collect();
        let places = cycle.iter().map(|at| manifests[*at].at_annotation(key(manifests[*at]))).collect();
        let message =
            format!("These objects depend on each other, so that the sync refuses them: {}.", names.join(", "));
        warning(message, "Remove one of the annotations.", places)
    }));
    warnings
}

/// The annotation by which a manifest depends on others.
fn key(manifest: &Manifest) -> &'static str {
    if manifest.object.annotation(DEPENDS_ON).is_some() { DEPENDS_ON } else { APPLY_TIME_MUTATION }
}

/// The objects that the annotation `depends-on` names, or a warning.
fn depends_on(manifest: &Manifest, warn: &mut impl FnMut(&'static str, String, &'static str)) -> Vec<ObjectId> {
    let Some(text) = manifest.object.annotation(DEPENDS_ON) else { return Vec::new() };
    references(text).unwrap_or_else(|reason| {
        warn(DEPENDS_ON, format!("{DEPENDS_ON} of {}: {reason}.", manifest.object.id), REFERENCE_FORM);
        Vec::new()
    })
}

/// The values that are copied into the object when it is applied, or a warning.
fn substitutions(manifest: &Manifest, warn: &mut impl FnMut(&'static str, String, &'static str)) -> Vec<Substitution> {
    let (id, Some(text)) = (&manifest.object.id, manifest.object.annotation(APPLY_TIME_MUTATION)) else {
        return Vec::new();
    };
    checked(text, id, &manifest.whole()).unwrap_or_else(|reason| {
        warn(APPLY_TIME_MUTATION, format!("{APPLY_TIME_MUTATION} of {id}: {reason}."), SUBSTITUTION_FORM);
        Vec::new()
    })
}

/// One cycle, if there is any.
fn cycle(edges: &BTreeMap<usize, Vec<usize>>) -> Option<Vec<usize>> {
    let mut done = BTreeSet::new();
    for start in edges.keys() {
        // A stack of objects with what is left to look at below each: deep chains are no problem.
        let below = |at: &usize| edges.get(at).cloned().unwrap_or_default();
        let mut stack = vec![(*start, below(start))];
        let mut on_way = BTreeSet::from([*start]);
        while let Some((at, left)) = stack.last_mut() {
            match left.pop() {
                Some(next) if done.contains(&next) => {}
                Some(next) if on_way.insert(next) => stack.push((next, below(&next))),
                Some(next) => return Some(stack.into_iter().map(|(at, _)| at).skip_while(|at| *at != next).collect()),
                None => {
                    on_way.remove(at);
                    done.insert(*at);
                    stack.pop();
                }
            }
        }
    }
    None
}

/// A warning if the manifest is an autoscaler of an object that declares its replicas.
fn beside_an_autoscaler(manifest: &Manifest, manifests: &[&Arc<Manifest>], by_id: &ById<'_>) -> Option<Warning> {
    if !is_autoscaler(manifest) {
        return None;
    }
    let autoscaler = manifest.whole();
    let target = autoscaler.0.get("spec")?.get("scaleTargetRef")?;
    let text = |field: &str| target.get(field).and_then(Value::as_str);
    let group = text("apiVersion").and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
    let kind = GroupKind::new(group, text("kind")?);
    let target = manifests[*by_id.get(&ObjectId::new(&kind, manifest.object.namespace(), text("name")?))?];
    target.whole().0.get("spec")?.get("replicas")?.as_i64()?;
    let id = &target.object.id;
    let message = format!("{id} has an autoscaler and declares `replicas`, so that each undoes the other's work.");
    let hint = "Remove `replicas`: the number that runs stays.";
    Some(warning(message, hint, vec![target.at_key(&["spec", "replicas"]), manifest.at_name()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::parse::{SourceFile, parse};

    fn messages(text: &str) -> Vec<String> {
        let file = Arc::new(parse(&SourceFile { path: "a.yaml".to_owned(), content: Arc::from(text.as_bytes()) }));
        warnings(&[&file])
            .into_iter()
            .map(|warning| {
                assert!(warning.locations.iter().all(|at| at.line > 0), "{warning:?}");
                warning.message
            })
            .collect()
    }

    #[test]
    fn a_text_of_sops_is_no_value() {
        let map = |more: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: b}}\n{more}");
        let sealed = "ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]";
        for (text, expected) in [
            (map(&format!("data:\n  a: {sealed}\n")), 1),
            (map("data:\n  a: <sealed by SOPS>\n"), 1),
            (map(&format!("data:\n  a: 'x {sealed}'\n")), 0),
            (map("data:\n  a: ENC[x]\n"), 0),
            (map(&format!("data:\n  a: {sealed}\n")).replace("ConfigMap", "Secret"), 0),
        ] {
            let told = messages(&text);
            assert_eq!(told.len(), expected, "{text}: {told:?}");
            assert!(told.iter().all(|it| it.contains("configmap/b/a has in `data` a text of SOPS")), "{told:?}");
        }
    }

    #[test]
    fn a_job_that_goes_at_its_end_runs_again() {
        let job = |kind: &str, spec: &str| {
            format!("apiVersion: batch/v1\nkind: {kind}\nmetadata: {{name: a, namespace: b}}\nspec:\n{spec}")
        };
        let told = messages(&job("Job", "  ttlSecondsAfterFinished: 60\n"));
        assert!(told.len() == 1 && told[0].starts_with("job.batch/b/a is deleted 60 s after its end"), "{told:?}");
        for spec in ["  parallelism: 1\n", "  ttlSecondsAfterFinished: 60\n  suspend: true\n"] {
            assert_eq!(messages(&job("Job", spec)), [""; 0]);
        }
        assert_eq!(messages(&job("CronJob", "  ttlSecondsAfterFinished: 60\n")), [""; 0]);
    }

    fn config_map(name: &str, on: &str) -> String {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: shop\n  \
             annotations: {{config.kubernetes.io/depends-on: \"{on}\"}}\n---\n"
        )
    }

    #[test]
    fn references_that_lead_nowhere_are_told() {
        assert!(
            messages(&(config_map("a", "/namespaces/shop/ConfigMap/b") + &config_map("b", "/Namespace/shop")))
                .iter()
                .eq(["configmap/shop/b depends on namespace/shop, which is not declared here."].iter())
        );
        let malformed = messages(&config_map("a", "nonsense"));
        assert_eq!(
            malformed,
            ["config.kubernetes.io/depends-on of configmap/shop/a: \"nonsense\" is no reference to an object."]
        );
        let on = |name: &str| format!("/namespaces/shop/ConfigMap/{name}");
        let cyclic = messages(&(config_map("a", &on("b")) + &config_map("b", &on("c")) + &config_map("c", &on("b"))));
        assert_eq!(
            cyclic,
            ["These objects depend on each other, so that the sync refuses them: configmap/shop/b, configmap/shop/c."]
        );
    }

    /// A ConfigMap that takes a value of an object.
    fn taker(name: &str, source: &str, path: &str) -> String {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: shop\n  annotations:\n    \
             config.kubernetes.io/apply-time-mutation: |\n      - sourceRef: {source}\n        sourcePath: $.data.a\n        \
             targetPath: {path}\ndata: {{a: placeholder}}\n---\n"
        )
    }

    #[test]
    fn values_of_other_objects_that_cannot_be_copied_are_told() {
        let path = "$.data.a";
        let of = |name: &str| format!("{{kind: ConfigMap, name: {name}}}");
        let told = messages(&(taker("a", &of("b"), "$.data.c") + &taker("b", &of("c"), path)));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].ends_with("names no field of the object; write a placeholder there."), "{told:?}");
        assert_eq!(told[1], "configmap/shop/b takes a value of configmap/c, which is not declared here.");
        let cyclic = messages(&(taker("a", &of("b"), path) + &config_map("b", "/namespaces/shop/ConfigMap/a")));
        assert!(cyclic.len() == 1 && cyclic[0].starts_with("These objects depend on each other"), "{cyclic:?}");
        assert!(messages(&(taker("a", &of("b"), path) + &config_map("b", "/namespaces/shop/ConfigMap/c"))).len() == 1);
    }

    #[test]
    fn replicas_beside_an_autoscaler_are_told() {
        let text = |replicas: &str| {
            format!(
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: shop}}\nspec:\n  paused: true\n{replicas}---\n\
                 apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: web, namespace: shop}}\n\
                 spec: {{scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}}}\n"
            )
        };
        let told = messages(&text("  replicas: 2\n"));
        assert!(told.len() == 1 && told[0].starts_with("deployment.apps/shop/web has an autoscaler"), "{told:?}");
        assert!(messages(&text("")).is_empty());
    }
}
