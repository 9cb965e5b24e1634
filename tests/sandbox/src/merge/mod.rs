//! What a write makes of an object and of its `metadata.managedFields`.
