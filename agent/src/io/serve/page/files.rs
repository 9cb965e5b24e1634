//! The files of the page, which are part of the program, and the headers of all that the page answers.

use axum::Router;
use axum::http::header::{self, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Only this server's own scripts and styles are used, and no other page shows this one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, type and content of each file.
const FILES: [(&str, &str, &str); 11] = [
    ("/ui/", "text/html; charset=utf-8", include_str!("files/index.html")),
    ("/ui/style.css", "text/css; charset=utf-8", include_str!("files/style.css")),
    ("/ui/icon.svg", "image/svg+xml", include_str!("files/icon.svg")),
    ("/ui/app.js", SCRIPT, include_str!("files/app.js")),
    ("/ui/connection.js", SCRIPT, include_str!("files/connection.js")),
    ("/ui/dom.js", SCRIPT, include_str!("files/dom.js")),
    ("/ui/words.js", SCRIPT, include_str!("files/words.js")),
    ("/ui/syncs.js", SCRIPT, include_str!("files/syncs.js")),
    ("/ui/sync.js", SCRIPT, include_str!("files/sync.js")),
    ("/ui/tree.js", SCRIPT, include_str!("files/tree.js")),
    ("/ui/timeline.js", SCRIPT, include_str!("files/timeline.js")),
];

/// The routes of the files.
pub(super) fn routes() -> Router {
    FILES.iter().fold(Router::new(), |router, &(path, kind, content)| {
        router.route(path, get(move || async move { secured([(header::CONTENT_TYPE, kind)], content) }))
    })
}

/// An answer with these headers and those that all answers have: a browser keeps nothing and takes nothing for another type.
pub(super) fn secured<const N: usize>(headers: [(HeaderName, &'static str); N], body: impl IntoResponse) -> Response {
    let common = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    (common, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of a cluster are text: nothing of the page makes markup of them, or loads anything from elsewhere.
    #[test]
    fn no_value_becomes_markup() {
        for (path, _, content) in FILES {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "createContextualFragment",
                "DOMParser",
                "srcdoc",
                "eval(",
                "Function(",
                "setHTML",
                "javascript:",
                "http://",
                "https://",
                " style=",
                "onclick=",
            ] {
                let content = content.replace("http://www.w3.org/2000/svg", "");
                assert!(!content.contains(word), "{path} has {word}");
            }
        }
    }

    #[test]
    fn every_script_is_served() {
        for (path, _, content) in FILES {
            for import in content.split("from \"./").skip(1).filter_map(|after| after.split('"').next()) {
                assert!(FILES.iter().any(|(served, ..)| *served == format!("/ui/{import}")), "{path} imports {import}");
            }
        }
        let bytes: usize = FILES.iter().map(|(_, _, content)| content.len()).sum();
        assert!(bytes < 80 << 10, "{bytes} bytes");
    }
}
