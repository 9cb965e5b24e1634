//! From a declared set to decisions about a cluster, without touching one. A module uses only modules listed above it.

pub mod moment;
pub mod election;
pub mod accounts;
pub mod managed_fields;
pub mod health;
pub mod live;
pub mod plan;
pub mod engine;
pub mod inventory;
pub mod status;
pub mod reporting;
pub mod notifications;
pub mod diff;
