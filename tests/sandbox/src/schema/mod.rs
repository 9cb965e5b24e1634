//! The types of objects, from published OpenAPI documents and from CustomResourceDefinitions.
