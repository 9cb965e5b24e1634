//! Whether an object fits a known type.
