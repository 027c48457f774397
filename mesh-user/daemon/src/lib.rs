//! The privileged daemon of a mesh node, as a library so that tests and benches reach its parts.
//!
//! Read [`kernel`] for the smallest wrappers over the operating system.

pub mod api;
pub mod kernel;
pub mod keys;
pub mod manifests;
pub mod probe;
pub mod reconcile;
pub mod shard;
pub mod state;
pub mod telemetry;
