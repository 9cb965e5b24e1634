//! The age keys for sealed files, from the Secret that the agent was told of. It is watched by its name, so that a rotated key is used
//! without a restart.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use tokio::sync::watch;

use super::reason;
use super::secret::SecretState;
use crate::compile::parse::AgeKeys;

/// The end of the names of keys in the Secret.
const SUFFIX: &str = ".agekey";

/// A Secret with age keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgeKeySecret {
    /// The namespace of the sync: the keys of one tenant, or of the platform, open no file of another.
    pub namespace: String,
    /// Its name, which is that of the flag `--age-key-secret` in all namespaces.
    pub name: String,
}

/// Tells of the keys, at first and whenever they change. It does not end.
pub async fn follow_keys(
    client: kube::Client,
    secret: Option<&AgeKeySecret>,
    told: &watch::Sender<Option<AgeKeys>>,
) -> std::convert::Infallible {
    let Some(secret) = secret else {
        told.send_replace(Some(no_secret()));
        return std::future::pending().await;
    };
    let secrets: Api<Secret> = Api::namespaced(client, &secret.namespace);
    let mut seen = std::pin::pin!(watch_object(secrets, &secret.name).default_backoff());
    loop {
        let state = match seen.next().await {
            Some(Ok(found)) => SecretState::of(found),
            Some(Err(error)) => {
                let (why, secret) = (reason(&error), &secret.name);
                tracing::warn!(secret, why, "the watch on the Secret with age keys broke off and starts again");
                // Keys that were seen are used on.
                match why.filter(|_| told.borrow().is_none()) {
                    Some(why) => SecretState::Refused(why),
                    None => continue,
                }
            }
            None => std::future::pending().await,
        };
        let keys = keys(secret, &state);
        let wrong: Vec<String> = keys.wrong_lines().iter().map(ToString::to_string).collect();
        let keys = Some(keys);
        let differs = told.send_if_modified(|before| {
            let differs = *before != keys;
            *before = keys;
            differs
        });
        if differs && !wrong.is_empty() {
            let (AgeKeySecret { namespace, name }, lines) = (secret, wrong.join(", "));
            tracing::warn!("{lines} in the Secret {namespace}/{name} is no age key; the others are used");
        }
    }
}

fn no_secret() -> AgeKeys {
    AgeKeys::none(
        "the agent was told of no age key",
        "Make a Secret with the key and tell the agent its name: kubectl create secret generic sops-age -n config-management-system \
         --from-file=age.agekey=KEYFILE, then nomos install with --age-key-secret sops-age.",
    )
}

/// The keys in a Secret, or the reason why there are none. It has no value.
fn keys(AgeKeySecret { namespace, name }: &AgeKeySecret, state: &SecretState) -> AgeKeys {
    let shown = format!("the Secret {namespace}/{name}");
    let create = format!("kubectl create secret generic {name} -n {namespace} --from-file=age{SUFFIX}=KEYFILE");
    let none = |why: String, hint: String| AgeKeys::none(why, format!("{hint} The sync goes on by itself."));
    let data = match state {
        SecretState::There(data) => data,
        SecretState::Missing => {
            return none(format!("{shown} with the age key does not exist"), format!("Create it: {create}."));
        }
        SecretState::Refused(why) => {
            let hint = "Let the agent get, list and watch this Secret.".to_owned();
            return none(format!("{shown} with the age key cannot be read: {why}"), hint);
        }
    };
    let files = data.iter().filter(|(key, _)| key.ends_with(SUFFIX));
    let files = files.map(|(key, value)| (key.as_str(), std::str::from_utf8(value).unwrap_or("no text")));
    AgeKeys::read(files, shown.clone()).unwrap_or_else(|wrong| {
        let hint = format!("Write what age-keygen wrote into a key of it that ends in {SUFFIX}: {create}.");
        let why = match wrong.first() {
            Some(line) => format!("{shown} has no age key: {line} is none (AGE-SECRET-KEY-1…)"),
            None => format!("{shown} has no age key in keys that end in {SUFFIX}, or more than it may have"),
        };
        none(why, hint)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ONE: &str = include_str!("../../compile/parse/sealed/fixtures/one.agekey");

    #[test]
    fn keys_are_read_from_the_files_of_age_keygen_alone() {
        let secret = AgeKeySecret { namespace: "n".to_owned(), name: "sops-age".to_owned() };
        let of = |data: &[(&str, &[u8])]| {
            let data: BTreeMap<_, _> = data.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect();
            keys(&secret, &SecretState::There(data))
        };
        let one = of(&[("a.agekey", ONE.as_bytes())]);
        assert_eq!(format!("{one:?}"), "1 age keys");
        assert!(of(&[("a.agekey", ONE.as_bytes()), ("note", b"hunter2")]) == one, "other keys are left alone");
        let beside = format!("# two\n\nhunter2\n{ONE}");
        let beside = of(&[("a.agekey", beside.as_bytes()), ("b.agekey", &[0xff])]);
        assert_eq!(format!("{beside:?}"), "1 age keys", "a wrong line spoils no other");
        let wrong: Vec<String> = beside.wrong_lines().iter().map(ToString::to_string).collect();
        assert_eq!(wrong, ["line 3 of \"a.agekey\"", "line 1 of \"b.agekey\""]);
        for (state, expected) in [
            (keys(&secret, &SecretState::Missing), "the Secret n/sops-age with the age key does not exist"),
            (keys(&secret, &SecretState::Refused("no".to_owned())), "cannot be read: no"),
            (of(&[("a", ONE.as_bytes())]), "no age key in keys that end in .agekey"),
            (of(&[("a.agekey", b"hunter2")]), "the Secret n/sops-age has no age key: line 1 of \"a.agekey\" is none"),
            (of(&[("a.agekey", &[0xff])]), "line 1 of \"a.agekey\" is none"),
        ] {
            let told = state.why_none().expect("no keys");
            assert!(told.contains(expected) && !told.contains("hunter2"), "{told}");
        }
    }
}
