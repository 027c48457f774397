//! The devices, sockets and peers of tunnelled connections.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use mesh_common::ids::ConnectionId;

use super::{DEVICE_PREFIX, DeviceName, Peer, Tunnel, kernel, table::Announced};
use crate::model::{ClusterId, Gateway, GatewayClient, Reach, Remote, RemoteKey};

/// Keeps the mapping of a NAT between open (seconds); WireGuard's own advice for clients.
const KEEPALIVE_SECONDS: u16 = 25;
const DEVICE_NAME_MAX: usize = 15;

/// Device of the tunnel to a remote: `mesh-ID`, or `mesh-` and ten letters of a hash where that is too long for Linux.
pub fn device_name(remote: &ClusterId) -> DeviceName {
    let plain = format!("{DEVICE_PREFIX}{remote}");
    if plain.len() <= DEVICE_NAME_MAX {
        return DeviceName(plain);
    }
    let mut rest = fnv1a(remote.as_str().as_bytes());
    let letters = (0..DEVICE_NAME_MAX - DEVICE_PREFIX.len()).map(|_| {
        let letter = b"abcdefghijklmnopqrstuvwxyz234567"[(rest & 31) as usize];
        rest >>= 5;
        char::from(letter)
    });
    DeviceName(DEVICE_PREFIX.chars().chain(letters).collect())
}

/// The tunnel of a complete remote, with a peer for each of its gateway nodes; `None` for `direct` or while no key is there.
pub(super) fn tunnel(
    remote: &Remote,
    connection: ConnectionId,
    addresses: BTreeSet<IpNet>,
    announced: Announced,
) -> Option<Tunnel> {
    let gateway = remote.gateway.as_ref().filter(|gateway| !gateway.is_direct() && !remote.keys.is_empty())?;
    let listen_ports = match gateway {
        Gateway::Server(server) => server.listen_ports.clone(),
        Gateway::Client(client) => vec![0; client.reach.lanes()],
    };
    let externals: Vec<IpNet> =
        announced.iter().filter(|(net, entry)| is_external(remote, net, &entry.to)).map(|(net, _)| *net).collect();
    let peer = |key: &RemoteKey| {
        let (endpoints, lane_ports, keepalive_seconds) = match gateway {
            Gateway::Client(GatewayClient { reach: Reach::Wireguard { endpoints, lane_ports }, .. }) => {
                (endpoints_of(key, endpoints), lane_ports.clone(), Some(KEEPALIVE_SECONDS))
            }
            _ => Default::default(),
        };
        let reserved = if remote.keys.len() > 1 { own_addresses(&externals, key.index) } else { Vec::new() };
        let announced = announced.clone();
        let peer =
            Peer { connection, endpoints, lane_ports, keepalive_seconds, preshared_key: None, reserved, announced };
        (key.key, peer)
    };
    Some(Tunnel { mtu: gateway.mtu(), listen_ports, addresses, peers: remote.keys.iter().map(peer).collect() })
}

/// Where a gateway node of the remote is sought: at its own addresses, or at all that the client was told.
fn endpoints_of(key: &RemoteKey, all: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(port) = all.first().map(SocketAddr::port).filter(|_| !key.addresses.is_empty()) else {
        return all.to_vec();
    };
    key.addresses.iter().map(|(address, own)| SocketAddr::new(*address, own.unwrap_or(port))).collect()
}

/// The first external CIDR of its family holds the reserved addresses.
fn is_external(remote: &Remote, travels: &IpNet, presented: &IpNet) -> bool {
    let names = &remote.configuration;
    let first = |nets: &[IpNet]| nets.iter().find(|net| net.addr().is_ipv4() == travels.addr().is_ipv4()).copied();
    let wide = names.presented.as_ref().and_then(|wide| first(&wide.remote.external));
    first(&names.real.external) == Some(*travels) || wide.is_some_and(|wide| wide == *presented && wide == *travels)
}

fn own_addresses(externals: &[IpNet], index: u8) -> Vec<IpAddr> {
    let of = |net: &IpNet| kernel::offsets(index).map(|offset| kernel::nth(net, offset));
    externals.iter().flat_map(of).collect()
}

/// FNV-1a, 64 bits (draft-eastlake-fnv): short, stable over releases, and nobody's secret.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_fit_linux() {
        let name = |id: &str| device_name(&id.parse().unwrap()).0;
        assert_eq!(name("cl01"), "mesh-cl01");
        assert_eq!(name("abcdefghij"), "mesh-abcdefghij");
        let long = name("a-rather-long-cluster-name");
        assert_eq!(long.len(), DEVICE_NAME_MAX);
        assert_ne!(long, name("a-rather-long-cluster-name-2"));
    }
}
