//! A small world: one cluster with its prefixes and remotes of every sort, in both families.

use std::{vec, vec::Vec};

use super::{MemoryTables, Random, tables::holds};
use crate::{
    datapath::Ingress,
    ids::{ConnectionId, IfIndex, RemapId},
    maps::{Entry, Node, Role},
};

/// An address of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip {
    V4([u8; 4]),
    V6([u8; 16]),
}

/// Where an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Our pods, and a second prefix of ours with a length of its own.
    Pod,
    Service,
    /// The same as the mesh calls them.
    PresentedPod,
    PresentedService,
    /// A remote behind a tunnel, as we call it; its own prefix is that of our pods.
    Tunnelled,
    /// A remote behind a tunnel that uses mesh-wide prefixes.
    MeshWide,
    /// Two remotes on the underlay, each behind an interface of its own.
    Direct,
    OtherDirect,
    /// In a prefix of the plan that nobody may use.
    Barred,
    /// Our gateway address as the mesh calls it.
    Reserved,
    /// One host outside the cluster, and what the mesh calls it.
    Outside,
    OutsideAlias,
    /// In no prefix of the plan.
    Elsewhere,
}

impl Place {
    pub const ALL: [Place; 13] = [
        Place::Pod,
        Place::Service,
        Place::PresentedPod,
        Place::PresentedService,
        Place::Tunnelled,
        Place::MeshWide,
        Place::Direct,
        Place::OtherDirect,
        Place::Barred,
        Place::Reserved,
        Place::Outside,
        Place::OutsideAlias,
        Place::Elsewhere,
    ];

    /// Network and length.
    pub(crate) const fn v4(self) -> ([u8; 4], u8) {
        match self {
            Place::Pod => ([10, 243, 0, 0], 16),
            Place::Service => ([10, 95, 16, 0], 20),
            Place::PresentedPod => ([10, 60, 0, 0], 16),
            Place::PresentedService => ([10, 64, 32, 0], 20),
            Place::Tunnelled => ([10, 71, 0, 0], 16),
            Place::MeshWide => ([10, 62, 0, 0], 16),
            Place::Direct => ([10, 61, 0, 0], 16),
            Place::OtherDirect => ([10, 63, 64, 0], 18),
            Place::Barred => ([10, 66, 7, 0], 24),
            Place::Reserved => ([10, 60, 255, 2], 32),
            Place::Outside => ([203, 0, 113, 50], 32),
            Place::OutsideAlias => ([10, 64, 32, 50], 32),
            Place::Elsewhere => ([192, 0, 2, 0], 24),
        }
    }

    pub(crate) const fn v6(self) -> ([u8; 16], u8) {
        const fn network(id: u8, len: u8) -> ([u8; 16], u8) {
            ([0xfd, 0, 0, 0, 0, id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], len)
        }
        match self {
            Place::Pod => network(243, 48),
            Place::Service => network(95, 52),
            Place::PresentedPod => network(60, 48),
            Place::PresentedService => network(64, 52),
            Place::Tunnelled => network(71, 48),
            Place::MeshWide => network(62, 56),
            Place::Direct => network(61, 64),
            Place::OtherDirect => network(63, 112),
            Place::Barred => network(66, 48),
            Place::Reserved => ([0xfd, 0, 0, 0, 0, 60, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 2], 128),
            Place::Outside => ([0x20, 1, 0x0d, 0xb8, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50], 128),
            Place::OutsideAlias => ([0xfd, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50], 128),
            Place::Elsewhere => ([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 40),
        }
    }

    /// What the table says of it: what it becomes, and how.
    const fn entry(self) -> Option<(Place, RemapId, Role)> {
        match self {
            Place::Pod => Some((Place::PresentedPod, RemapId(1), Role::LOCAL)),
            Place::Service => Some((Place::PresentedService, RemapId(6), Role::LOCAL)),
            Place::PresentedPod => Some((Place::Pod, RemapId(1), Role::PRESENTED)),
            Place::PresentedService => Some((Place::Service, RemapId(6), Role::PRESENTED)),
            Place::Tunnelled => Some((Place::Pod, RemapId(2), Role::TUNNEL)),
            Place::MeshWide => Some((Place::MeshWide, RemapId(3), Role::TUNNEL.with(Role::PRESENT_SOURCE))),
            Place::Direct => Some((Place::Direct, RemapId(4), Role::DIRECT)),
            Place::OtherDirect => Some((Place::OtherDirect, RemapId(5), Role::DIRECT)),
            Place::Barred => Some((Place::Barred, RemapId(0), Role::BARRED)),
            Place::Reserved => Some((Place::Reserved, RemapId(1), Role::RESERVED)),
            Place::Outside => Some((Place::OutsideAlias, RemapId(0), Role::LOCAL.with(Role::PRESENT_SOURCE))),
            Place::OutsideAlias => Some((Place::Outside, RemapId(0), Role::PRESENTED)),
            Place::Elsewhere => None,
        }
    }
}

/// The port of the node's WireGuard.
pub(super) const WIREGUARD_PORT: u16 = 51_840;
const TUNNEL: ConnectionId = ConnectionId(1);
const MESH_WIDE: ConnectionId = ConnectionId(2);
const DIRECT: ConnectionId = ConnectionId(3);
const OTHER_DIRECT: ConnectionId = ConnectionId(4);

/// The tables of the world, and the interfaces its doors are on.
#[derive(Clone, Debug)]
pub struct World {
    pub tables: MemoryTables,
    /// Where [`Place::Direct`] comes in. [`Place::OtherDirect`] comes in by the interface of the next higher index.
    pub underlay: IfIndex,
}

impl World {
    /// The Ethernet address of the interfaces of its kernel hooks.
    pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// What goes to [`Place::Tunnelled`] and [`Place::Direct`] has to fit into so many bytes.
    pub const MTU: u16 = 1_340;

    pub fn new(underlay: IfIndex) -> World {
        let mut tables = MemoryTables::default();
        tables.node = node();
        for place in Place::ALL {
            let Some((to, remap, role)) = place.entry() else { continue };
            let ((v4, len), (to_v4, _)) = (place.v4(), to.v4());
            tables.insert_v4(v4, len, Entry { to: to_v4, remap: remap.0, len, role });
            let ((v6, len), (to_v6, _)) = (place.v6(), to.v6());
            tables.insert_v6(v6, len, Entry { to: to_v6, remap: remap.0, len, role });
        }
        for (connection, real, ours, remap) in [
            (TUNNEL, Place::Pod, Place::Tunnelled, RemapId(2)),
            (MESH_WIDE, Place::MeshWide, Place::MeshWide, RemapId(3)),
        ] {
            let ((v4, len), (to, _)) = (real.v4(), ours.v4());
            tables.announce_v4(connection, v4, len, Entry { to, remap: remap.0, len, role: Role::NONE });
            let ((v6, len), (to, _)) = (real.v6(), ours.v6());
            tables.announce_v6(connection, v6, len, Entry { to, remap: remap.0, len, role: Role::NONE });
        }
        tables.insert_remap(RemapId(2), TUNNEL, 0);
        tables.insert_remap(RemapId(3), MESH_WIDE, 0);
        tables.insert_remap(RemapId(4), DIRECT, underlay.0);
        tables.insert_remap(RemapId(5), OTHER_DIRECT, underlay.0 + 1);
        // TCP is told of the tunnel and of the underlay.
        for id in [RemapId(2), RemapId(4)] {
            if let Some(remap) = tables.remaps.get_mut(&id.0) {
                remap.mtu = World::MTU;
            }
        }
        tables.wireguard_ports.insert(WIREGUARD_PORT);
        tables.icmp_tokens.set(u32::MAX);
        World { tables, underlay }
    }

    /// The doors of this world.
    pub fn doors(&self) -> [Ingress; 5] {
        [
            Ingress::Workload,
            Ingress::Underlay(self.underlay),
            Ingress::Tun,
            Ingress::Tunnel(TUNNEL),
            Ingress::Tunnel(MESH_WIDE),
        ]
    }

    /// Places from which and to which packets may pass this door.
    pub(super) fn welcome(&self, door: Ingress) -> (Vec<Place>, Vec<Place>) {
        let ours = || vec![Place::Pod, Place::Service];
        let speaking = || vec![Place::Pod, Place::Service, Place::Outside];
        let presented = || vec![Place::PresentedPod, Place::PresentedService, Place::OutsideAlias];
        match door {
            Ingress::Workload => (speaking(), vec![Place::Direct, Place::OtherDirect]),
            Ingress::Underlay(_) => (vec![Place::Direct], presented()),
            Ingress::Tun => (speaking(), vec![Place::Tunnelled, Place::MeshWide]),
            Ingress::Tunnel(TUNNEL) => (vec![Place::Pod], ours()),
            Ingress::Tunnel(_) => (vec![Place::MeshWide], presented()),
        }
    }

    /// Whether the prefix of a place holds the address.
    pub fn place_holds(&self, place: Place, address: Ip) -> bool {
        match address {
            Ip::V4(address) => {
                let (network, len) = place.v4();
                holds(&network, len, &address)
            }
            Ip::V6(address) => {
                let (network, len) = place.v6();
                holds(&network, len, &address)
            }
        }
    }

    /// Some address of a place.
    pub fn address(&self, place: Place, v6: bool, random: &mut Random) -> Ip {
        if v6 {
            let (network, len) = place.v6();
            Ip::V6(with_host(network, len, random))
        } else {
            let (network, len) = place.v4();
            Ip::V4(with_host(network, len, random))
        }
    }
}

fn with_host<const N: usize>(network: [u8; N], len: u8, random: &mut Random) -> [u8; N] {
    let mut address = network;
    let mut host = [0; N];
    random.fill(&mut host);
    for (i, byte) in address.iter_mut().enumerate() {
        let fixed = usize::from(len).saturating_sub(i * 8).min(8);
        *byte |= host[i] & 0xff_u8.checked_shr(fixed as u32).unwrap_or(0);
    }
    address
}

fn node() -> Node {
    let v6 = |id: u8, host: u8| [0xfd, 0, 0, 0, 0, id, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, host];
    Node {
        gateway_v4: [10, 243, 255, 2],
        gateway_v4_presented: [10, 60, 255, 2],
        gateway_v6: v6(243, 2),
        gateway_v6_presented: v6(60, 2),
        unknown_v4: [10, 243, 255, 1],
        unknown_v4_presented: [10, 60, 255, 1],
        unknown_v6: v6(243, 1),
        unknown_v6_presented: v6(60, 1),
    }
}
