//! What the control thread asks of a shard, and what a shard tells it.

use std::{net::SocketAddr, sync::Arc};

use mesh_core::plan::{DeviceName, Peer, PublicKey, slots::Slots};

use crate::kernel::{tun::Tun, udp::UdpSockets};

/// One change of what a shard holds. Applying it twice is harmless, except that devices are handed over for good.
pub enum Command {
    /// A device and its sockets, from now on the shard's. A device of the same name is replaced and loses its peers.
    AddTunnel {
        device: DeviceName,
        mtu: u16,
        tun: Tun,
        sockets: UdpSockets,
    },
    SetMtu(DeviceName, u16),
    /// Another listen port, or new sockets after an interface came back. Sessions live on.
    SetSockets(DeviceName, UdpSockets),
    /// Closes queue and sockets. The TUN is persistent and stays, down or up as it is.
    RemoveTunnel(DeviceName),
    AddPeer(DeviceName, PublicKey, Peer),
    /// Keys and session stay, the rest is replaced.
    UpdatePeer(DeviceName, PublicKey, Peer),
    SetEndpoints(DeviceName, PublicKey, Vec<SocketAddr>),
    RemovePeer(DeviceName, PublicKey),
    /// The tables that the next packet is judged by.
    SetTables(Arc<Slots>),
    /// Returns when every shard passed a turn: nothing read before is in use any more.
    Barrier,
}

/// What happened to a shard that the control thread has to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The TUN was deleted or its queue taken away; the shard no longer reads it. Add the tunnel again.
    TunLost(DeviceName),
    /// A socket failed for good; the shard no longer reads it. Set new sockets.
    SocketLost(DeviceName),
    /// A session with the peer was made or ended.
    SessionChanged(DeviceName, PublicKey),
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Command::AddTunnel { device, mtu, sockets, .. } => {
                write!(f, "AddTunnel({}, MTU {mtu}, port {})", device.0, sockets.port())
            }
            Command::SetMtu(device, mtu) => write!(f, "SetMtu({}, {mtu})", device.0),
            Command::SetSockets(device, sockets) => write!(f, "SetSockets({}, port {})", device.0, sockets.port()),
            Command::RemoveTunnel(device) => write!(f, "RemoveTunnel({})", device.0),
            Command::AddPeer(device, key, _) => write!(f, "AddPeer({}, {key:?})", device.0),
            Command::UpdatePeer(device, key, _) => write!(f, "UpdatePeer({}, {key:?})", device.0),
            Command::SetEndpoints(device, key, to) => write!(f, "SetEndpoints({}, {key:?}, {to:?})", device.0),
            Command::RemovePeer(device, key) => write!(f, "RemovePeer({}, {key:?})", device.0),
            Command::SetTables(_) => f.write_str("SetTables"),
            Command::Barrier => f.write_str("Barrier"),
        }
    }
}
