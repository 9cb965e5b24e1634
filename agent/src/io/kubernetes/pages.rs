//! Lists of a kind, page by page: neither the size of the kind nor that of its objects fills memory.
//!
//! The number of objects in a page follows from the size of those before, and a page that is too large all the same is given up
//! and asked for again in smaller pieces. The items of a page are text: its reader decodes one after the other and keeps what it
//! needs.

use kube::runtime::watcher;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{ApiError, Cluster, Served, collection};
use super::path::with_query;
use crate::model::metadata::label;

/// Number of objects in the first page.
const FIRST: usize = 50;
/// The largest number of objects in a page.
const MOST: usize = 500;
/// The size in bytes that a page should have.
const TARGET: usize = 1 << 20;
/// The largest size of a page; of a page with one object it is eight times that.
const LARGEST: usize = 16 << 20;

/// The largest number of syncs that a selector names, so that no proxy finds the URL too long.
pub const NAMED: usize = 50;

/// The selector of the objects whose label `part-of` has one of these values.
pub fn part_of_one(values: &[&str]) -> String {
    match values {
        [one] => format!("{}={one}", label::PART_OF),
        values => format!("{} in ({})", label::PART_OF, values.join(",")),
    }
}

/// The watch, through kube, of objects that other clients make as large as they like: kube has a whole page in memory.
pub fn small_pages() -> watcher::Config {
    watcher::Config::default().page_size(FIRST as u32)
}

/// The form of the objects in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListForm {
    /// As they are.
    Whole,
    /// `metadata` alone: never a spec or the data of a Secret.
    Metadata,
}

impl ListForm {
    /// The media type of a list.
    fn accept(self) -> &'static str {
        match self {
            Self::Whole => super::client::JSON,
            Self::Metadata => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        }
    }
}

/// A list that is being read.
pub struct Pages {
    path: String,
    selector: String,
    form: ListForm,
    limit: PageLimit,
    /// Where the next page begins; `None` after the last one.
    next: Option<String>,
}

/// One page.
pub struct Page {
    /// The resource version of the whole list.
    pub version: String,
    /// The objects, each as JSON.
    pub items: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct PageBody {
    #[serde(default)]
    metadata: PageMetadata,
    // A list without items can have a null here.
    #[serde(default)]
    items: Option<Vec<Box<RawValue>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMetadata {
    resource_version: String,
    /// Empty on the last page.
    #[serde(rename = "continue")]
    next: String,
}

impl Pages {
    /// The list of the objects of a kind in a Namespace (empty: in all) that `selector` takes, a label selector.
    pub fn new(served: &Served, namespace: &str, selector: String, form: ListForm) -> Self {
        let path = collection(served, namespace);
        Self { path, selector, form, limit: PageLimit(FIRST), next: Some(String::new()) }
    }

    /// The next page, or `None` after the last one.
    ///
    /// # Errors
    /// When the API server refuses it or cannot be reached, or when a single object is too large. The list cannot be gone on
    /// with then.
    pub async fn next(&mut self, cluster: &Cluster) -> Result<Option<Page>, ApiError> {
        let Some(next) = self.next.take() else { return Ok(None) };
        loop {
            let limit = self.limit.0.to_string();
            let query = [("limit", &*limit), ("labelSelector", &self.selector), ("continue", &next)];
            let query = if next.is_empty() { &query[..2] } else { &query[..] };
            let path = with_query(&self.path, query);
            let Some(body) = cluster.read(&path, self.form.accept(), self.limit.largest()).await? else {
                if !self.limit.shrink() {
                    return Err(ApiError::Unreachable("the answer is too large to be read".to_owned()));
                }
                continue;
            };
            let page: PageBody = serde_json::from_slice(&body)
                .map_err(|error| ApiError::Unreachable(format!("a list that cannot be read: {error}")))?;
            let items = page.items.unwrap_or_default();
            self.limit.learn(body.len(), items.len());
            self.next = Some(page.metadata.next).filter(|next| !next.is_empty());
            return Ok(Some(Page { version: page.metadata.resource_version, items }));
        }
    }
}

/// Number of objects in the next page.
struct PageLimit(usize);

impl PageLimit {
    /// The size at which a page is given up.
    fn largest(&self) -> usize {
        if self.0 == 1 { 8 * LARGEST } else { LARGEST }
    }

    /// Takes in the size of a page.
    fn learn(&mut self, bytes: usize, items: usize) {
        let fitting = TARGET / (bytes / items.max(1)).max(1);
        self.0 = fitting.clamp(1, (self.0 * 4).min(MOST));
    }

    /// A page was too large. `false` if there is no smaller one.
    fn shrink(&mut self) -> bool {
        let smaller = self.0 > 1;
        self.0 = (self.0 / 8).max(1);
        smaller
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_as_many_objects_as_fit_into_its_size() {
        let mut limit = PageLimit(FIRST);
        let mut pages = Vec::new();
        for object in [2_000, 2_000, 2_000, 1_000_000, 2_000, 5_000_000] {
            limit.learn(object * limit.0, limit.0);
            pages.push(limit.0);
        }
        assert_eq!(pages, [200, 500, 500, 1, 4, 1]);
    }

    #[test]
    fn a_page_that_is_too_large_is_asked_for_in_smaller_pieces_down_to_one_object() {
        let mut limit = PageLimit(MOST);
        let mut pages = Vec::new();
        while limit.shrink() {
            pages.push(limit.0);
        }
        assert_eq!(pages, [62, 7, 1]);
        assert!(limit.largest() > LARGEST);
    }
}
