//! Paths and queries of requests to the API server, every part of them percent-encoded.
//!
//! Names are not always plain: a ClusterRole may be called `team platform (read)` or `ops#1`. The methods of the crate `kube`
//! put names into a URL as they are, which cuts the URL off or makes it invalid, so requests about single objects get their
//! paths here.

use kube::discovery::ApiResource;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Bytes that are escaped in a segment of a path: all but letters, digits and `-`, `.`, `_`, `~`, `:`
/// ([RFC 3986](https://www.rfc-editor.org/rfc/rfc3986#section-3.3)).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Bytes that are escaped in a parameter of a query.
const PARAMETER: &AsciiSet = &SEGMENT.add(b':');

/// The path of all objects of a kind, or of those in one Namespace. An empty `namespace` means all of them, as does a kind
/// whose objects live in no Namespace.
pub fn collection(resource: &ApiResource, version: &str, namespace: &str) -> String {
    let root =
        if resource.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", segment(&resource.group)) };
    let namespace = match namespace {
        "" => String::new(),
        namespace => format!("/namespaces/{}", segment(namespace)),
    };
    format!("{root}/{}{namespace}/{}", segment(version), segment(&resource.plural))
}

/// The path of an object in the collection at `collection`.
///
/// # Errors
/// When the name is empty, `.` or `..`: the path could be taken for that of another object or of the whole collection. The
/// text is for users.
pub fn object(collection: &str, name: &str) -> Result<String, String> {
    Ok(format!("{collection}/{}", segment(checked(name)?)))
}

/// Refuses a name that is not that of one segment of a path.
///
/// # Errors
/// See [`object`].
pub fn checked(name: &str) -> Result<&str, String> {
    match name {
        "" | "." | ".." => Err(format!("{name:?} cannot be a name")),
        name => Ok(name),
    }
}

/// A path with the parameters of a query, in order.
pub fn with_query(path: &str, parameters: &[(&str, &str)]) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, PARAMETER).to_string();
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    format!("{path}?{}", pairs.join("&"))
}

/// The field selector for the object of this name, as the value of the parameter `fieldSelector`.
pub fn name_selector(name: &str) -> String {
    // https://pkg.go.dev/k8s.io/apimachinery/pkg/fields#EscapeValue
    let escaped = name.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
    format!("metadata.name={escaped}")
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &str, plural: &str) -> ApiResource {
        ApiResource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            api_version: String::new(),
            kind: String::new(),
            plural: plural.to_owned(),
        }
    }

    #[test]
    fn collections_are_below_their_group_and_namespace() {
        let pods = resource("", "pods");
        assert_eq!(collection(&pods, "v1", ""), "/api/v1/pods");
        assert_eq!(collection(&pods, "v1", "shop"), "/api/v1/namespaces/shop/pods");
        let roles = resource("rbac.authorization.k8s.io", "roles");
        assert_eq!(
            collection(&roles, "v1beta1", "a/b"),
            "/apis/rbac.authorization.k8s.io/v1beta1/namespaces/a%2Fb/roles"
        );
    }

    #[test]
    fn a_name_is_one_segment_whatever_is_in_it() {
        for (name, encoded) in [
            ("web-1.example", "web-1.example"),
            ("system:node", "system:node"),
            ("team platform (read)", "team%20platform%20%28read%29"),
            ("ops#1", "ops%231"),
            ("what?x=y&z", "what%3Fx%3Dy%26z"),
            ("100%", "100%25"),
            ("a/b", "a%2Fb"),
            ("größe", "gr%C3%B6%C3%9Fe"),
        ] {
            let path = object("/api/v1/x", name).expect("a name");
            assert_eq!(path, format!("/api/v1/x/{encoded}"));
            let uri: http::Uri = path.parse().expect("a valid URI");
            assert_eq!((uri.path(), uri.query()), (path.as_str(), None));
        }
        for name in ["", ".", ".."] {
            assert_eq!(object("/api/v1/x", name), Err(format!("{name:?} cannot be a name")));
        }
    }

    #[test]
    fn parameters_are_encoded() {
        let selector = "applyset.kubernetes.io/part-of=applyset-a_b";
        let path = with_query("/api/v1/pods", &[("labelSelector", selector), ("continue", "eyJ2&+/=\"#")]);
        let expected = "/api/v1/pods?labelSelector=applyset.kubernetes.io%2Fpart-of%3Dapplyset-a_b\
                        &continue=eyJ2%26%2B%2F%3D%22%23";
        assert_eq!(path, expected);
        assert!(path.parse::<http::Uri>().is_ok());
    }

    #[test]
    fn a_name_in_a_field_selector_is_escaped() {
        assert_eq!(name_selector("a,b=c\\d"), "metadata.name=a\\,b\\=c\\\\d");
    }
}
