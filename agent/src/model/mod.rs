//! The words that every other stage uses: objects and their identity, metadata keys, findings, YAML text.

pub mod object;
pub mod yaml;
pub mod metadata;
pub mod finding;
pub mod duration;
pub mod backoff;
pub mod manifest_object;
