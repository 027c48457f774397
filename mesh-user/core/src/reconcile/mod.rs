//! From what is to what shall be: the ordered steps between the two.

mod display;
mod groups;
mod order;
mod record;
#[cfg(test)]
mod safety;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use ipnet::IpNet;
use mesh_common::{ids::ConnectionId, ids::RemapId, maps::Node};

use crate::plan::{
    Attachment, Connection, DeviceAddress, DeviceName, GroupPeer, GroupTunnel, Nat, Neighbour, Peer, Policy, PublicKey,
    Remap, Route, Sysctl, TableEntry, Tunnel,
};

pub use groups::group_steps;
pub use order::steps;

/// What was found that is ours, in the words of the plan. What cannot be read back is what was applied last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    pub tunnels: BTreeMap<DeviceName, Tunnel>,
    pub interfaces: BTreeMap<DeviceName, Attachment>,
    pub addresses: BTreeSet<DeviceAddress>,
    pub routes: BTreeSet<Route>,
    pub neighbours: BTreeSet<Neighbour>,
    pub sysctls: BTreeMap<Sysctl, String>,
    pub table: BTreeMap<IpNet, TableEntry>,
    pub remaps: BTreeMap<RemapId, Remap>,
    pub connections: BTreeMap<ConnectionId, Connection>,
    pub node: Node,
    pub nat: Option<Nat>,
    pub groups: BTreeMap<DeviceName, Arc<GroupTunnel>>,
}

/// One change of the world. Applying a step twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    SetNode(Node),
    /// Device and socket with MTU and port; the addresses and peers named here come by steps of their own.
    CreateTunnel(DeviceName, Tunnel),
    SetMtu(DeviceName, u16),
    SetListenPorts(DeviceName, Vec<u16>),
    RemoveTunnel(DeviceName),
    AddTunnelAddress(DeviceName, IpNet),
    RemoveTunnelAddress(DeviceName, IpNet),
    AddPeer(DeviceName, PublicKey, Peer),
    /// Keys stay, the session lives on; only what the fields say changes.
    UpdatePeer(DeviceName, PublicKey, Peer),
    SetEndpoints(DeviceName, PublicKey, Vec<SocketAddr>),
    RemovePeer(DeviceName, PublicKey),
    AddAddress(DeviceAddress),
    RemoveAddress(DeviceAddress),
    /// Takes the place of a route with the same destination and metric.
    AddRoute(Route),
    RemoveRoute(Route),
    AddNeighbour(Neighbour),
    RemoveNeighbour(Neighbour),
    SetSysctl(Sysctl, String),
    RestoreSysctl(Sysctl),
    SetRemap(RemapId, Remap),
    RemoveRemap(RemapId),
    SetEntry(IpNet, TableEntry),
    RemoveEntry(IpNet),
    Attach(DeviceName, Attachment),
    Detach(DeviceName),
    /// Takes the place of what the number stood for.
    AddConnection(ConnectionId, Connection),
    RemoveConnection(ConnectionId),
    /// The whole table, in one transaction.
    SetNat(Box<Nat>),
    RemoveNat,
    /// Every shard passed a turn: what it read before is out of use, so that an index can be given out again.
    AwaitShards,
    /// Of one device of a network group; it depends on no step of anything else.
    Group(DeviceName, GroupStep),
}

/// One change of a device of a network group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupStep {
    /// Device and socket, with MTU and address; its peers come by steps of their own.
    Create(Arc<GroupTunnel>),
    SetMtu(u16),
    SetPort(u16),
    /// In force with the device's last step.
    SetPolicy(Option<Arc<Policy>>),
    Remove,
    /// Nothing is routed to the peer before the device's last step.
    AddPeer(PublicKey, Arc<GroupPeer>),
    /// The session lives on.
    UpdatePeer(PublicKey, Arc<GroupPeer>),
    RemovePeer(PublicKey),
    /// What is routed to whom is as the steps before say: a number may get another meaning.
    Route,
}
