//! The devices, sockets and peers of tunnelled connections.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use mesh_common::ids::ConnectionId;

use super::{DEVICE_PREFIX, DeviceName, Peer, Tunnel, table::Announced};
use crate::model::{ClusterId, Gateway, GatewayClient, Reach, Remote};

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

/// The tunnel of a complete remote; `None` for `direct` or while the key is missing.
pub(super) fn tunnel(
    remote: &Remote,
    connection: ConnectionId,
    addresses: BTreeSet<IpNet>,
    announced: Announced,
) -> Option<Tunnel> {
    let (listen_ports, endpoints, lane_ports, keepalive_seconds) = match remote.gateway.as_ref()? {
        Gateway::Server(server) => (server.listen_ports.clone(), Vec::new(), Vec::new(), None),
        Gateway::Client(GatewayClient { reach: Reach::Wireguard { endpoints, lane_ports }, .. }) => {
            let any = vec![0; lane_ports.len().max(1)];
            (any, endpoints.clone(), lane_ports.clone(), Some(KEEPALIVE_SECONDS))
        }
        Gateway::Client(GatewayClient { reach: Reach::Direct { .. }, .. }) => return None,
    };
    let peer = Peer { connection, endpoints, lane_ports, keepalive_seconds, preshared_key: None, announced };
    let mtu = remote.gateway.as_ref()?.mtu();
    Some(Tunnel { mtu, listen_ports, addresses, peers: BTreeMap::from([(remote.key?, peer)]) })
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
