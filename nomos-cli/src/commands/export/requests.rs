//! Requests to the API server of a cluster that is exported.

use std::time::Duration;

use agent::io::kubernetes::client::{ApiError, Cluster, Served};
use agent::io::kubernetes::pages::{ListForm, Pages};
use agent::model::object::{GroupKind, Object, ObjectId};

/// The HTTP status of an answer to a user without the right to ask.
const FORBIDDEN: u16 = 403;
/// Times that a request is repeated that is likely to work a while later.
const RETRIES: usize = 5;
/// Time before such a request is repeated.
const PAUSE: Duration = Duration::from_secs(1);

/// `true` if the user lacks a right.
pub(super) fn is_forbidden(error: &ApiError) -> bool {
    error.code() == FORBIDDEN
}

/// Repeats a request that is likely to work a while later, such as one that the API server was too busy for.
pub(super) async fn patiently<T>(request: impl AsyncFn() -> Result<T, ApiError>) -> Result<T, ApiError> {
    repeated(PAUSE, request).await
}

/// [`patiently`], with this pause.
async fn repeated<T>(pause: Duration, request: impl AsyncFn() -> Result<T, ApiError>) -> Result<T, ApiError> {
    for _ in 0..RETRIES {
        match request().await {
            Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    request().await
}

/// All objects of a kind in a Namespace (empty: in all) that have these labels.
pub(super) async fn list(
    server: &Cluster,
    kind: &GroupKind,
    served: &Served,
    namespace: &str,
    selector: &str,
) -> Result<Vec<Object>, ApiError> {
    patiently(async || {
        let mut pages = Pages::new(served, namespace, selector.to_owned(), ListForm::Whole);
        let mut objects = Vec::new();
        while let Some(page) = pages.next(server).await? {
            for item in page.items {
                let object = serde_json::from_str::<Object>(item.get());
                let unreadable = |error| ApiError::Unreachable(format!("a {kind} that cannot be read: {error}"));
                let mut object = object.map_err(unreadable)?;
                // The items of a list do not say it.
                object.0.insert("apiVersion".to_owned(), served.resource.api_version.clone().into());
                object.0.insert("kind".to_owned(), served.resource.kind.clone().into());
                objects.push(object);
            }
        }
        Ok(objects)
    })
    .await
}

/// The object in this version; `None` if it is gone, or not served so.
pub(super) async fn in_version(server: &Cluster, id: &ObjectId, version: &str) -> Result<Option<Object>, ApiError> {
    let path = server.path(id, version).await;
    match path {
        Ok(path) => match server.get(&path).await {
            Err(error) if error.is_not_found() => Ok(None),
            answer => answer.map(Some),
        },
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The number of requests, and the last answer, of an API server that has no time for the first requests.
    fn asked(busy: usize, error: &ApiError) -> (usize, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let requests = Cell::new(0);
        let answer = runtime.block_on(repeated(Duration::ZERO, async || {
            requests.set(requests.get() + 1);
            if requests.get() > busy { Ok(()) } else { Err(error.clone()) }
        }));
        (requests.get(), answer.is_ok())
    }

    #[test]
    fn a_busy_server_is_asked_again_and_a_refusal_is_final() {
        let slow = ApiError::Slow(PAUSE);
        assert_eq!(asked(2, &slow), (3, true));
        assert_eq!(asked(100, &slow), (RETRIES + 1, false));
        assert_eq!(asked(2, &ApiError::Unsendable("a name".to_owned())), (1, false));
    }
}
