//! What the kernel and the shards of this node shall hold, with no choice left open.
//!
//! The same types describe what was found ([`crate::reconcile::Observed`]), so that a diff of the two is the work to do.

pub mod access;
pub mod block;
mod check;
mod compile;
pub(crate) mod display;
mod gateways;
mod groups;
mod kernel;
mod names;
mod nat;
mod outside;
mod paths;
#[cfg(test)]
pub(crate) mod random;
pub mod slots;
mod table;
mod taken;
mod tunnels;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use mesh_common::{
    ids::{ConnectionId, RemapId},
    maps::{Node, Role},
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    model::{ExecDriver, Host, ObjectName, group::MemberId},
    probe::Thresholds,
    tunnel::Lane,
};
pub use access::Policy;
pub use check::{Violation, check};
pub use compile::plan;
pub use gateways::{GatewayEndpoint, NODE_PORTS};
pub use groups::{GROUP_DEVICE_PREFIX, GroupPeer, GroupPlan, GroupTunnel, Placement, group_device_name, plan_groups};
pub use nat::{Family as NatFamily, Leaving, Nat, Unknown};
pub use taken::taken;
pub use tunnels::{device_name, fnv1a};

/// Protocol number of every route, rule and neighbour that is ours (`/etc/iproute2/rt_protos`).
pub const ROUTE_PROTOCOL: u8 = 177;
/// What the names of our tunnel devices begin with.
pub const DEVICE_PREFIX: &str = "mesh-";
/// The device of the responder to probes of the data path. It comes and goes with the daemon, and so do its routes.
pub const PROBE_DEVICE: &str = "mesh-probe";
/// Metric of the routes of presented prefixes.
pub const ROUTE_METRIC: u32 = 100;
/// Metric of the `unreachable` routes behind them: whatever else the host routes there wins, the default route does not.
pub const UNREACHABLE_METRIC: u32 = 4_278_198_272;
/// Our nftables table, of the family inet.
pub const NAT_TABLE: &str = "mesh";
/// UDP port of the probe responder on the gateway address, as in Liqo.
pub const PROBE_PORT: u16 = 12_345;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub connections: BTreeMap<ConnectionId, Connection>,
    pub tunnels: BTreeMap<DeviceName, Tunnel>,
    pub interfaces: BTreeMap<DeviceName, Attachment>,
    /// Addresses on devices that are not tunnels: the presented reserved addresses, on `lo`.
    pub addresses: BTreeSet<DeviceAddress>,
    pub routes: BTreeSet<Route>,
    /// Next hops that the kernel must keep resolved, since XDP never refreshes them.
    pub neighbours: BTreeSet<Neighbour>,
    pub sysctls: BTreeMap<Sysctl, String>,
    pub table: BTreeMap<IpNet, TableEntry>,
    pub remaps: BTreeMap<RemapId, Remap>,
    pub node: Node,
    /// `None`: no connection needs it.
    pub nat: Option<Nat>,
    /// Addresses that the table bars, and for which blocked member.
    pub blocked: BTreeMap<IpNet, MemberId>,
    /// Where gateways are reached, by the objects that they come from.
    pub gateways: BTreeMap<ObjectName, GatewayEndpoint>,
    /// Of network groups; what did not change is shared with the plan before.
    pub groups: BTreeMap<DeviceName, Arc<GroupTunnel>>,
}

/// Name of a network device, 1 to 15 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceName(pub String);

/// What is found on this node and not ours to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Interfaces with their addresses, host bits included. Devices that are ours may be among them.
    pub interfaces: BTreeMap<DeviceName, Vec<IpNet>>,
    /// Destinations of the host's routes, but for ours.
    pub routes: BTreeSet<IpNet>,
    /// CIDRs of the network groups in this node's store, with the names of the groups.
    pub groups: Vec<(IpNet, String)>,
    /// What DNS names of gateways stand for now.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// UDP ports that others have.
    pub busy_ports: BTreeSet<u16>,
    /// What the command of `[gateway]` said of this node's address; `None`: it did not end yet, or there is none.
    pub advertised: Option<Result<Vec<Host>, String>>,
    /// Gateway nodes of the cluster that do not answer, where this node is a worker.
    pub silent_gateways: BTreeSet<IpAddr>,
}

/// One connection to one remote cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `namespace/name` of the gateway object that it comes from.
    pub name: String,
    pub remote: String,
    pub transport: Transport,
    /// Gateway address of the remote as we call it, and the address of ours that the probe is sent from.
    pub probe: Option<Probe>,
    /// Of each family that both sides have an external CIDR of.
    pub paths: Vec<PathProbe>,
    pub thresholds: Thresholds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub from: IpAddr,
    pub to: IpAddr,
}

/// Between which addresses it is tried whether packets are forwarded: gateways, and the responders behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathProbe {
    pub gateway: Probe,
    pub responder: Probe,
    /// Our responder as it is addressed here, after any remap.
    pub answers_at: IpAddr,
    /// Of the responder of the first gateway node, at which every one answers.
    pub answers_also_at: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    WireguardServer {
        device: DeviceName,
    },
    WireguardClient {
        device: DeviceName,
    },
    /// At most one next hop of each family; packets of the remote enter by `device` only.
    Direct {
        next_hops: Vec<IpAddr>,
        device: DeviceName,
    },
}

/// One WireGuard device: a TUN interface, a UDP socket for each lane, and its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    pub mtu: u16,
    /// One for each lane. 0: any free port, as a client has it.
    pub listen_ports: Vec<u16>,
    /// Addresses of the node that the ports are bound to, at most one of each family. Empty: all.
    pub bind: Vec<IpAddr>,
    /// The secret with the key pair; `None`: the node's own.
    pub secret: Option<String>,
    /// A program carries the packets instead of the shards.
    pub exec: Option<ExecDriver>,
    /// Host addresses of the device: the gateway addresses.
    pub addresses: BTreeSet<IpNet>,
    pub peers: BTreeMap<PublicKey, Peer>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// 32 secret bytes that both ends of a tunnel know. Erased when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey(pub [u8; 32]);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub connection: ConnectionId,
    /// Candidates, in order. Empty: the remote is a client and is learned by roaming.
    pub endpoints: Vec<SocketAddr>,
    /// The remote's UDP port of each lane. Empty: there is one lane, to the port of the endpoint.
    pub lane_ports: Vec<u16>,
    pub keepalive_seconds: Option<u16>,
    /// Mixed into every handshake, against an attacker who may one day break Curve25519.
    pub preshared_key: Option<PresharedKey>,
    /// Addresses of the remote that are this gateway node's own among several, as they travel; empty where it is the only one.
    pub reserved: Vec<IpAddr>,
    /// Real prefixes that the remote may use as source, and what each is called here.
    pub announced: BTreeMap<IpNet, TableEntry>,
}

/// A [`mesh_common::maps::Entry`] of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Network of the prefix that the address becomes; its length equals that of the key.
    pub to: IpNet,
    pub remap: RemapId,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remap {
    pub connection: Option<ConnectionId>,
    pub real: IpNet,
    pub presented: IpNet,
    /// TCP connections that are opened this way are told to fit into packets of so many bytes; 0: they are not told.
    pub mtu: u16,
}

/// Which program runs on an interface, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub role: InterfaceRole,
    pub hook: HookChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterfaceRole {
    Workload,
    Underlay,
}

/// What the settings ask for; what `Auto` becomes is known only where the kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookChoice {
    Auto,
    Xdp,
    XdpGeneric,
    Tcx,
    Off,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceAddress {
    pub device: DeviceName,
    pub address: IpNet,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub destination: IpNet,
    pub metric: u32,
    pub target: RouteTarget,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteTarget {
    /// Into a tunnel. `source`: what local processes use as their address.
    Device { device: DeviceName, source: Option<IpAddr>, mtu: Option<u32> },
    /// To the next hop of a `direct` remote.
    Via { next_hop: IpAddr, source: Option<IpAddr> },
    /// To the gateway nodes of this cluster, at least two, each flow to one of them.
    Shared { next_hops: BTreeSet<IpAddr> },
    /// Nothing of ours ever takes the default route.
    Unreachable,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    pub device: DeviceName,
    pub address: IpAddr,
}

/// A kernel setting of one interface, `net.ipv4.conf.DEVICE.KEY`; its old value is remembered and restored by `cleanup`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sysctl {
    pub device: DeviceName,
    pub key: SysctlKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SysctlKey {
    ForwardingV4,
    ForwardingV6,
    RpFilter,
    /// Of all interfaces: how flows are told apart that a route with several next hops shares out.
    MultipathHashV4,
    MultipathHashV6,
}

impl Peer {
    /// The peer as one lane seeks it.
    pub fn on_lane(&self, lane: Lane) -> Peer {
        let mut peer = self.clone();
        if let Some(port) = self.lane_ports.get(lane.index()) {
            peer.endpoints.iter_mut().for_each(|endpoint| endpoint.set_port(*port));
        }
        peer
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PresharedKey")
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
