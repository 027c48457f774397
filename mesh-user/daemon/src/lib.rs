//! The privileged daemon of a mesh node, as a library so that tests and benches reach its parts.
//!
//! Read [`daemon`] first: it joins the parts. [`kernel`] has the smallest wrappers over the operating system.

pub mod agent;
pub mod api;
pub mod cleanup;
pub mod control;
pub mod daemon;
pub mod dns;
pub mod driver;
pub mod kernel;
pub mod keys;
pub mod manifests;
pub mod probe;
pub mod reconcile;
pub mod registrar;
pub mod run_directory;
pub mod settings;
pub mod shard;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod trial;
pub mod vigil;
pub mod wg;
pub mod whereabouts;
