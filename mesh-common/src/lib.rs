//! The data path of mesh: every per-packet decision, as pure functions for the kernel and the daemon.
//!
//! `mesh-ebpf` compiles it for XDP and tc, `mesh-core` and `meshd` for the packets that they carry themselves.
//! No I/O, no clock, no allocation.
#![cfg_attr(not(any(test, feature = "testkit")), no_std)]
#![deny(unsafe_code)]

pub mod checksum;
pub mod datapath;
pub mod frame;
pub mod ids;
pub mod locate;
pub mod maps;
pub mod spread;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod wire;
