//! WireGuard devices as `wg` knows them: the program `mesh-wg`, and the UAPI socket of any tunnel.
//!
//! `mesh-wg` is one WireGuard device on this daemon's shards, a drop-in for wireguard-go: [`process`] joins its parts.
//! [`socket`] and [`conversation`] serve the tunnels of `meshd` as well. What requests mean is for `mesh_core::uapi` to say.

mod background;
mod clock;
mod command_line;
mod conversation;
mod engine;
mod follow;
mod place;
mod process;
mod socket;
mod tunnels;

pub use command_line::{Arguments, Program, run};
pub use tunnels::{Tunnels, remove_sockets};
