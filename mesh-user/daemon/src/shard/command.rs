//! What the control thread asks of the shards, and what a shard tells it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use mesh_core::{
    plan::{DeviceName, Peer, Policy, PublicKey, slots::Slots},
    tunnel::{AllowedIps, Lane, StaticSecret},
};

use crate::kernel::{tun::Tun, udp::UdpSockets};

/// One change of what the shards hold. Applying it twice is harmless, except that devices are handed over for good.
pub enum Command {
    /// A device with its queues and sockets, from now on the shards'. A device of the same name is replaced and loses its
    /// peers. Without a private key nobody can have a session with it.
    AddTunnel {
        device: DeviceName,
        mtu: u16,
        secret: Option<StaticSecret>,
        spread: Spread,
        /// At least one, at most [`mesh_core::tunnel::MAX_LANES`]: the one at place *i* is the TUN queue *i*.
        queues: Vec<Queue>,
        routing: Routing,
    },
    SetMtu(DeviceName, u16),
    /// Ends all sessions of the device.
    SetSecret(DeviceName, Option<StaticSecret>),
    /// Only for a device with [`Routing::AllowedIps`]. No packet meets the allowed IPs of one command and the admission
    /// of another.
    SetAllowedIps(DeviceName, Arc<AllowedIps>, Admission),
    /// The mark (`SO_MARK`) of what leaves, now and by later sockets. 0: none.
    SetMark(DeviceName, u32),
    /// Another listen port, or new sockets after an interface came back; as many as the device has queues. Sessions live
    /// on.
    SetSockets(DeviceName, Vec<UdpSockets>),
    /// Closes queues and sockets. A persistent TUN stays, down or up as it is.
    RemoveTunnel(DeviceName),
    AddPeer(DeviceName, PublicKey, Peer),
    /// Keys and session stay, the rest is replaced.
    UpdatePeer(DeviceName, PublicKey, Peer),
    /// Where to seek the peer; each lane has its own place.
    SetEndpoints(DeviceName, PublicKey, Lane, Vec<SocketAddr>),
    /// Where the peer is, whatever it was heard from; for a device with [`Routing::AllowedIps`].
    MovePeer(DeviceName, PublicKey, SocketAddr),
    RemovePeer(DeviceName, PublicKey),
    /// The tables that the next packet is judged by.
    SetTables(Arc<Slots>),
    /// Returns when every shard passed a turn: nothing read before is in use any more.
    Barrier,
}

/// What a device's queues and sockets stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Queue *i* is lane *i*: a port of its own here and at the remote, and a session of its own with every peer.
    Lanes,
    /// All sockets share one port, and each peer belongs to one queue.
    Peers,
}

/// One TUN queue and the sockets that go with it; a shard carries both.
#[derive(Debug)]
pub struct Queue {
    pub tun: Tun,
    pub sockets: UdpSockets,
}

/// How a packet finds its peer.
#[derive(Clone, Debug)]
pub enum Routing {
    /// By the tables of the plan, which also say what is rewritten.
    Plan,
    /// By WireGuard's allowed IPs; nothing is rewritten.
    AllowedIps(Arc<AllowedIps>, Admission),
}

/// What a device with allowed IPs lets pass; by default everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The only destination of what comes in. Without it the kernel would deliver to any address of the node: also to one
    /// that the node has in another group.
    pub own: Option<IpAddr>,
    /// Judges both directions.
    pub policy: Option<Arc<Policy>>,
}

/// What happened to a shard that the control thread has to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The TUN was deleted or its queue taken away; the shards no longer read it. Add the tunnel again.
    TunLost(DeviceName),
    /// A socket failed for good; the shard no longer reads it. Set new sockets.
    SocketLost(DeviceName),
    /// A session with the peer was made or ended, on one of its lanes.
    SessionChanged(DeviceName, PublicKey),
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Command::AddTunnel { device, mtu, queues, .. } => {
                let ports: Vec<_> = queues.iter().map(|queue| queue.sockets.port()).collect();
                write!(f, "AddTunnel({device}, MTU {mtu}, ports {ports:?})")
            }
            Command::SetMtu(device, mtu) => write!(f, "SetMtu({device}, {mtu})"),
            Command::SetSecret(device, _) => write!(f, "SetSecret({device})"),
            Command::SetAllowedIps(device, _, admission) => {
                write!(f, "SetAllowedIps({device}{})", if admission.policy.is_some() { ", with a policy" } else { "" })
            }
            Command::SetMark(device, mark) => write!(f, "SetMark({device}, {mark})"),
            Command::SetSockets(device, sockets) => {
                let ports: Vec<_> = sockets.iter().map(UdpSockets::port).collect();
                write!(f, "SetSockets({device}, ports {ports:?})")
            }
            Command::RemoveTunnel(device) => write!(f, "RemoveTunnel({device})"),
            Command::AddPeer(device, key, _) => write!(f, "AddPeer({device}, {key:?})"),
            Command::UpdatePeer(device, key, _) => write!(f, "UpdatePeer({device}, {key:?})"),
            Command::SetEndpoints(device, key, lane, to) => {
                write!(f, "SetEndpoints({device}, {key:?}, lane {}, {to:?})", lane.0)
            }
            Command::MovePeer(device, key, to) => write!(f, "MovePeer({device}, {key:?}, {to})"),
            Command::RemovePeer(device, key) => write!(f, "RemovePeer({device}, {key:?})"),
            Command::SetTables(_) => f.write_str("SetTables"),
            Command::Barrier => f.write_str("Barrier"),
        }
    }
}
