//! The parts of a request: method, path and query.

use crate::failure::About;
use crate::failure::{Cause, Failure};

/// The parameters of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what follows the question mark.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key, true), decode(value, true))
                })
                .collect(),
        )
    }

    /// The first value of a parameter; empty when it is not there.
    pub fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// `true` if a parameter is there.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// `true` if a parameter is set to anything but `0` and `false`, as the API server reads switches.
    pub fn is_on(&self, key: &str) -> bool {
        self.has(key) && !["0", "false"].contains(&self.get(key).to_lowercase().as_str())
    }

    /// A number, 0 when it is not there.
    ///
    /// # Errors
    /// When it is something else.
    pub fn number(&self, key: &str) -> Result<u64, Failure> {
        match self.get(key) {
            "" => Ok(0),
            text => text
                .parse()
                .map_err(|_| Failure::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        }
    }

    /// `true` if nothing may be stored.
    ///
    /// # Errors
    /// When the parameter has another value than `All`.
    pub fn dry_run(&self, options: &str) -> Result<bool, Failure> {
        match self.all("dryRun").find(|value| *value != "All") {
            None => Ok(self.has("dryRun")),
            Some("") => Ok(false),
            Some(other) => {
                let cause = Cause::unsupported("dryRun", &vec![other].into(), &["All"]);
                Err(Failure::invalid(options_about(options), &[cause]))
            }
        }
    }
}

/// Options as refusals speak of them.
pub fn options_about(options: &str) -> About<'_> {
    About { group: "meta.k8s.io", resource: options, name: "" }
}

/// Undoes the escapes of a URL; in a query a plus is a space.
pub fn decode(text: &str, query: bool) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let escaped = match bytes[at] {
            b'%' => text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        decoded.push(match (escaped, bytes[at]) {
            (Some(byte), _) => byte,
            (None, b'+') if query => b' ',
            (None, byte) => byte,
        });
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The parts of a path below `/api` or `/apis` that names a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Empty for the core group.
    pub group: String,
    /// As in `v1`.
    pub version: String,
    /// Empty for all namespaces and for what is cluster-scoped.
    pub namespace: String,
    /// The plural.
    pub resource: String,
    /// Empty for a collection.
    pub name: String,
    /// Empty for the object itself. What follows it is for the subresource and not kept.
    pub subresource: String,
}

impl Place {
    /// Reads a path such as `/apis/apps/v1/namespaces/shop/deployments/web/scale`. Nothing when it names no resource.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<String> = path.trim_matches('/').split('/').map(|part| decode(part, false)).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let of_namespace = |rest: &[&str]| rest.len() > 2 && !["status", "finalize"].contains(&rest[2]);
        let (namespace, rest) = match rest {
            ["namespaces", namespace, _, ..] if of_namespace(rest) => (*namespace, &rest[2..]),
            // `/api/v1/namespaces/shop` is an object of its own that RBAC sees within itself.
            _ => ("", rest),
        };
        let part = |at: usize| rest.get(at).copied().unwrap_or_default().to_owned();
        if rest.is_empty() || part(0).is_empty() {
            return None;
        }
        Some(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: namespace.to_owned(),
            resource: part(0),
            name: part(1),
            subresource: part(2),
        })
    }
}

/// The verb of a request on a resource, as RBAC and audit logs name it.
pub fn verb(method: &str, place: &Place, query: &Query) -> &'static str {
    let one = !place.name.is_empty();
    match method {
        "GET" | "HEAD" if !one && query.is_on("watch") => "watch",
        "GET" | "HEAD" if one => "get",
        "GET" | "HEAD" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if one => "delete",
        "DELETE" => "deletecollection",
        _ => "",
    }
}

/// The verb of a request on anything else.
pub fn other_verb(method: &str) -> String {
    method.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> String {
        let place = Place::parse(path).unwrap();
        [place.group, place.version, place.namespace, place.resource, place.name, place.subresource].join(" ")
    }

    #[test]
    fn paths_are_taken_apart() {
        assert_eq!(place("/api/v1/namespaces"), " v1  namespaces  ");
        assert_eq!(place("/api/v1/namespaces/shop"), " v1  namespaces shop ");
        assert_eq!(place("/api/v1/namespaces/shop/finalize"), " v1  namespaces shop finalize");
        assert_eq!(place("/api/v1/namespaces/shop/pods"), " v1 shop pods  ");
        assert_eq!(place("/apis/apps/v1/namespaces/shop/deployments/web/scale"), "apps v1 shop deployments web scale");
        assert_eq!(place("/apis/x.y/v1/things/a%3Ab"), "x.y v1  things a:b ");
        for none in ["/", "/api", "/api/v1", "/apis/apps/v1", "/apis/apps", "/healthz"] {
            assert_eq!(Place::parse(none), None, "{none}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("labelSelector=a%20in+(b%2Cc)&watch&dryRun=All&force=false");
        assert_eq!(query.get("labelSelector"), "a in (b,c)");
        assert!(query.is_on("watch") && !query.is_on("force") && !query.is_on("limit"));
        assert_eq!(query.dry_run("PatchOptions"), Ok(true));
        assert!(Query::parse("dryRun=x").dry_run("PatchOptions").is_err());
        assert!(Query::parse("limit=x").number("limit").is_err());
    }
}
