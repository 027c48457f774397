//! The devices, sockets and peers of tunnelled connections.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use mesh_common::ids::ConnectionId;

use super::{
    DEVICE_PREFIX, DeviceName, NodeFacts, PROBE_DEVICE, Peer, Tunnel,
    gateways::{Assigned, bind_of, candidates_of},
    kernel,
    table::Announced,
};
use crate::model::{ClusterId, Driver, Gateway, GatewayClient, Reach, Remote, RemoteKey, ValidIntent};

/// Keeps the mapping of a NAT between open (seconds); WireGuard's own advice for clients.
const KEEPALIVE_SECONDS: u16 = 25;
const DEVICE_NAME_MAX: usize = 15;

/// Device of the tunnel to a remote: `mesh-ID`, or `mesh-` and ten letters of a hash where that is too long for Linux.
pub fn device_name(remote: &ClusterId) -> DeviceName {
    let plain = format!("{DEVICE_PREFIX}{remote}");
    if plain.len() <= DEVICE_NAME_MAX && plain != PROBE_DEVICE {
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

/// What a tunnel binds, and where it calls.
pub(super) struct Ways {
    listen_ports: Vec<u16>,
    /// Empty: all addresses.
    bind: Vec<IpAddr>,
    endpoints: Vec<SocketAddr>,
    /// The remote's, where there are several.
    lane_ports: Vec<u16>,
    /// The remote's of the first lane.
    port: u16,
    keepalive_seconds: Option<u16>,
}

impl Ways {
    /// `None` for `direct`.
    pub(super) fn of(
        id: &ClusterId,
        gateway: &Gateway,
        (intent, facts): (&ValidIntent, &NodeFacts),
        assigned: &Assigned,
    ) -> Option<Ways> {
        match gateway {
            Gateway::Server(server) => Some(Ways {
                listen_ports: assigned.listen_ports(id, server),
                bind: bind_of(server, intent, facts),
                endpoints: Vec::new(),
                lane_ports: Vec::new(),
                port: 0,
                keepalive_seconds: None,
            }),
            Gateway::Client(GatewayClient { reach: Reach::Wireguard { candidates, ports }, listener, .. }) => {
                let port = *ports.first()?;
                let addresses = candidates_of(candidates, facts).into_iter();
                Some(Ways {
                    listen_ports: vec![0; ports.len()],
                    bind: listener.bind.clone(),
                    endpoints: addresses.map(|address| SocketAddr::new(address, port)).collect(),
                    lane_ports: if ports.len() > 1 { ports.clone() } else { Vec::new() },
                    port,
                    keepalive_seconds: Some(KEEPALIVE_SECONDS),
                })
            }
            Gateway::Client(GatewayClient { reach: Reach::Direct { .. }, .. }) => None,
        }
    }

    /// Where a gateway node of the remote is sought: at its own addresses, or at all that the client was told.
    fn endpoints_of(&self, key: &RemoteKey) -> Vec<SocketAddr> {
        if key.addresses.is_empty() || self.port == 0 {
            return self.endpoints.clone();
        }
        key.addresses.iter().map(|(address, own)| SocketAddr::new(*address, own.unwrap_or(self.port))).collect()
    }
}

/// The tunnel of a complete remote, with a peer for each of its gateway nodes; `None` for `direct` or while no key is there.
pub(super) fn tunnel(
    remote: &Remote,
    connection: ConnectionId,
    ways: Option<Ways>,
    addresses: BTreeSet<IpNet>,
    announced: Announced,
) -> Option<Tunnel> {
    let gateway = remote.gateway.as_ref().filter(|_| !remote.keys.is_empty())?;
    let ways = ways?;
    let externals: Vec<IpNet> =
        announced.iter().filter(|(net, entry)| is_external(remote, net, &entry.to)).map(|(net, _)| *net).collect();
    let peer = |key: &RemoteKey| {
        let reserved = if remote.keys.len() > 1 { own_addresses(&externals, key.index) } else { Vec::new() };
        let peer = Peer {
            connection,
            endpoints: ways.endpoints_of(key),
            lane_ports: ways.lane_ports.clone(),
            keepalive_seconds: ways.keepalive_seconds,
            preshared_key: None,
            reserved,
            announced: announced.clone(),
        };
        (key.key, peer)
    };
    let peers = remote.keys.iter().map(peer).collect();
    let secret = gateway.listener().secret.clone();
    let exec = match &gateway.listener().driver {
        Driver::Exec(program) => Some(program.clone()),
        Driver::Wireguard | Driver::Direct => None,
    };
    let Ways { listen_ports, bind, .. } = ways;
    Some(Tunnel { mtu: gateway.mtu(), listen_ports, bind, secret, exec, addresses, peers })
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
        assert_ne!(name("probe"), PROBE_DEVICE);
        assert_eq!(long.len(), DEVICE_NAME_MAX);
        assert_ne!(long, name("a-rather-long-cluster-name-2"));
    }
}
