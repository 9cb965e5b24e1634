//! The types that every other stage uses: objects, their identity and references to them, the objects of manifests, metadata
//! keys, findings, YAML text, durations, text and URLs as they may be shown, the limits of what is read, and values that threads
//! share.

pub mod object;
pub mod built_in;
pub mod references;
pub mod manifest_object;
pub mod yaml;
pub mod metadata;
pub mod finding;
pub mod duration;
pub mod url;
pub mod shortened;
pub mod visible;
pub mod backoff;
pub mod limits;
pub mod error_chain;
pub mod hex;
pub mod shared;
