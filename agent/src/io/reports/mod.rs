//! Writes what a sync reports: the status of its RootSync, its ResourceGroups and Kubernetes Events.
//!
//! [`crate::sync::reporting`] decides what is written and when; the files here send its requests and return the answers.

mod notices;
mod pace;
mod resource_groups;
mod reporter;
mod status;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::kubernetes::client::ApiError;
use crate::api::Time;
use crate::sync::moment::Moment;
use crate::sync::reporting::ReportAnswer;

pub use notices::Announcer;
pub use pace::WriteBudget;
pub use reporter::{Reporter, ReporterEnd, write};
pub use resource_groups::{delete_inventory, read_inventory};
pub use status::{SyncObject, patch_sync_metadata, read_sync, read_sync_status, write_sync_status};

/// This moment.
pub fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Moment { instant: Instant::now(), time: Time::from_unix(since) }
}

/// The answer to a request for a document that failed.
fn failed(doing: &str, error: &ApiError) -> ReportAnswer {
    let again = error.is_transient();
    tracing::warn!(%error, again, "cannot {doing}");
    let why = format!("cannot {doing}: {error}");
    if again { ReportAnswer::Unavailable(why) } else { ReportAnswer::Refused(why) }
}
