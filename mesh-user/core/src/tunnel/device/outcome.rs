//! What a device answers to a packet, a datagram, or time.

use mesh_common::datapath::DropReason;

use super::{super::noise::Introduced, PeerSlot};
use crate::plan::PublicKey;

/// What [`super::Device::seal`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// A data message of that many bytes.
    Data(usize),
    /// The packet waits for a session, and here is the message that asks for one.
    Handshake(usize),
    /// The packet waits for a session that was asked for before.
    Waiting,
}

/// What came out of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// An authentic IP packet; its source is not yet checked.
    Packet {
        peer: PeerSlot,
        len: usize,
    },
    /// Authentic content that is no IP packet: its first four bits are 0. The lanes of a connection talk so.
    Probe {
        peer: PeerSlot,
        len: usize,
    },
    /// An authentic message that carries nothing.
    Empty {
        peer: PeerSlot,
    },
    /// Send the output to where the datagram came from.
    Reply {
        peer: PeerSlot,
        len: usize,
    },
    /// Send the output to where the datagram came from: we are under load.
    Cookie {
        len: usize,
    },
    Refused(DropReason),
}

/// A message that time asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    pub peer: PeerSlot,
    pub len: usize,
}

/// An initiation whose sender is known by name, though not yet proved. What it takes to answer it goes with it, so that
/// a device on another shard need not compute it again.
pub struct Caller(pub(super) Introduced);

impl Caller {
    pub fn key(&self) -> &PublicKey {
        &self.0.peer
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Caller").field(self.key()).finish()
    }
}

/// What [`super::Device::identify`] found out.
#[derive(Debug)]
pub enum Identified {
    Caller(Box<Caller>),
    /// Send the output to where the datagram came from: we are under load.
    Cookie {
        len: usize,
    },
    Refused(DropReason),
}
