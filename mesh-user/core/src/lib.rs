//! Everything of mesh that needs no I/O and no clock.
//!
//! `Intent -> ValidIntent -> plan -> steps`: the control plane is a compiler. The tunnel engine is a state machine that
//! takes time as an argument. The daemon is the shell around both.
#![forbid(unsafe_code)]
// A test has no other way to get its first instant.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod allocate;
pub mod api;
pub mod dns;
pub mod explain;
pub mod model;
pub mod plan;
pub mod probe;
pub mod reconcile;
pub mod registry;
pub mod shown;
pub mod template;
pub mod tunnel;
pub mod uapi;
pub mod vigil;
