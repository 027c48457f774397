//! The demo: two clusters with the same pod CIDR that talk, once through WireGuard and once in the kernel alone.

pub mod check;
mod cluster;
mod network;
pub mod show;
mod site;

pub use cluster::{Cables, Cluster, make_key};
pub use network::{Direction, Network};
pub use show::Scene;
pub use site::{Connection, Site};

/// MTU of a tunnel, as manifests have it by default.
pub const TUNNEL_MTU: u16 = 1_340;
/// MTU of the underlay of the `direct` scene: less than that of the pods' cables, so that packets can be too big.
pub const DIRECT_MTU: u16 = 1_400;
/// MTU of the underlay of the WireGuard scene.
pub const UNDERLAY_MTU: u16 = 1_500;

/// What `cargo xtask run` shows.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "wireguard",
        about: "two clusters with the same pod CIDR, encrypted through a tunnel",
        lay_out: wireguard_pair,
    },
    Scene {
        name: "direct",
        about: "two more of them, rewritten and forwarded in native XDP, without a tunnel",
        lay_out: direct_pair,
    },
];

use anyhow::Result;

use crate::{Lab, node::Programs};

/// Two clusters, cl01 and cl02, connected by WireGuard.
pub fn wireguard_pair(lab: &Lab, programs: &Programs) -> Result<Network> {
    let mut network = Network::new(lab, "wire1", UNDERLAY_MTU)?;
    for number in [1, 2] {
        network.add(lab, Site::new(number).dual_stack(), Cables::Virtual, UNDERLAY_MTU, programs)?;
    }
    network.connect(0, 1, Connection::Wireguard)?;
    Ok(network)
}

/// Two clusters, cl03 and cl04, connected by `direct` through native XDP.
pub fn direct_pair(lab: &Lab, programs: &Programs) -> Result<Network> {
    let mut network = Network::new(lab, "wire2", DIRECT_MTU)?;
    for number in [3, 4] {
        network.add(lab, Site::new(number).dual_stack().with_hook("xdp"), Cables::Real, DIRECT_MTU, programs)?;
    }
    network.connect(0, 1, Connection::Direct)?;
    Ok(network)
}
