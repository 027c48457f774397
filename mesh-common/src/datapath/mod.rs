//! What happens to one packet: read this top-down.
//!
//! A packet enters by one of four doors ([`Ingress`]); its two addresses are classified by one table ([`Tables`]);
//! the pair of roles decides. What is not ours passes untouched; what is ours and wrong is dropped with a reason.
//!
//! [`remap`] serves the daemon, which carries packets between its TUN and its tunnels. [`forward`] is the whole pipeline
//! of a kernel hook around the same decision: [`guard`], remap, route, [`icmp_error`]. Steering of one service address to
//! many replicas will stand between guard and remap, in a module `steer` of its own. [`access`] judges what goes between
//! members of a network group, in the daemon.

pub mod access;
pub mod address;
mod doors;
pub mod forward;
pub mod guard;
pub mod hook;
pub mod icmp_error;
pub mod mss;
pub mod remap;
pub mod route;
pub mod transport;

use crate::{
    ids::{ConnectionId, IfIndex, RemapId},
    maps::{Entry4, Entry6, Node, Remap},
};

/// The door by which a packet came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// Kernel hook on an interface towards our workloads. Tunnelled destinations pass: their route leads to the TUN.
    Workload,
    /// Kernel hook on an interface that `direct` remotes share.
    Underlay(IfIndex),
    /// Read from a TUN device: a packet of ours that leaves through a tunnel.
    Tun,
    /// Decrypted on this connection.
    Tunnel(ConnectionId),
}

/// The look-ups that the data path makes. BPF maps and the daemon's memory both provide it.
pub trait Tables {
    fn node(&self) -> Option<Node>;
    /// The longest prefix of the plan that holds the address.
    fn locate_v4(&self, address: [u8; 4]) -> Option<Entry4>;
    fn locate_v6(&self, address: [u8; 16]) -> Option<Entry6>;
    /// What the remote of this connection announced: the longest of its real prefixes that holds the address, and what
    /// we call it. Kernel hooks have none.
    fn announced_v4(&self, _connection: ConnectionId, _address: [u8; 4]) -> Option<Entry4> {
        None
    }
    fn announced_v6(&self, _connection: ConnectionId, _address: [u8; 16]) -> Option<Entry6> {
        None
    }
    fn remap(&self, id: RemapId) -> Option<Remap>;
    /// This UDP port on an address of ours carries WireGuard.
    fn is_wireguard_port(&self, port: u16) -> bool;
    /// Takes one of the tokens that limit how many ICMP errors this node makes.
    fn icmp_token(&self) -> bool;
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not ours: untouched.
    Pass,
    /// Ours and rewritten. The caller sends it on: the shard into the tunnel of `connection` or to the TUN, a kernel hook
    /// by redirect or by passing it up.
    Accept {
        remap: RemapId,
        connection: ConnectionId,
    },
    Drop(DropReason),
}

/// Why a packet of ours goes no further. The order is the index of the drop counters: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// A header says more bytes than there are.
    Truncated,
    /// A header contradicts itself.
    Malformed,
    /// The source is not one that may come in by this door.
    SpoofedSource,
    /// The destination is not one that may be reached by this door.
    NotOurDestination,
    /// From one remote to another: no transit.
    Transit,
    /// TTL or hop limit used up.
    TtlExpired,
    /// Longer than the way out takes, and may not be fragmented.
    TooBig,
    /// On a WireGuard port, but no WireGuard message.
    NotWireguard,
    /// The quoted packet of an ICMP error does not belong to this connection.
    ForeignQuote,
    /// No live session with the remote.
    NoSession,
    /// Could not be decrypted or was replayed.
    Unauthenticated,
    /// An inner packet that is neither IPv4 nor IPv6.
    UnknownVersion,
    /// The queue of the next stage is full.
    Congested,
    /// A routing header names further hops: the destination is not the one that the checksum covers.
    SourceRouted,
    /// The routing table says that there is no way to the destination.
    NoRoute,
    /// No rule of a network group whose default is to deny allows it.
    NotAllowed,
    /// A fragment without ports, between members whose rules are about ports.
    FragmentWithoutPorts,
    /// From or to an address that is closed: of a remote without a connection, or of a blocked member of network groups.
    Barred,
}

impl DropReason {
    pub const ALL: [DropReason; 18] = [
        DropReason::Truncated,
        DropReason::Malformed,
        DropReason::SpoofedSource,
        DropReason::NotOurDestination,
        DropReason::Transit,
        DropReason::TtlExpired,
        DropReason::TooBig,
        DropReason::NotWireguard,
        DropReason::ForeignQuote,
        DropReason::NoSession,
        DropReason::Unauthenticated,
        DropReason::UnknownVersion,
        DropReason::Congested,
        DropReason::SourceRouted,
        DropReason::NoRoute,
        DropReason::NotAllowed,
        DropReason::FragmentWithoutPorts,
        DropReason::Barred,
    ];

    /// The label in counters and status.
    pub const fn as_str(self) -> &'static str {
        match self {
            DropReason::Truncated => "truncated",
            DropReason::Malformed => "malformed",
            DropReason::SpoofedSource => "spoofed-source",
            DropReason::NotOurDestination => "not-our-destination",
            DropReason::Transit => "transit",
            DropReason::TtlExpired => "ttl-expired",
            DropReason::TooBig => "too-big",
            DropReason::NotWireguard => "not-wireguard",
            DropReason::ForeignQuote => "foreign-quote",
            DropReason::NoSession => "no-session",
            DropReason::Unauthenticated => "unauthenticated",
            DropReason::UnknownVersion => "unknown-version",
            DropReason::Congested => "congested",
            DropReason::SourceRouted => "source-routed",
            DropReason::NoRoute => "no-route",
            DropReason::NotAllowed => "not-allowed",
            DropReason::FragmentWithoutPorts => "fragment-without-ports",
            DropReason::Barred => "barred",
        }
    }
}

/// Runs a stage in a stack frame of its own, of which BPF has 512 bytes for a whole chain of calls: for what is rare, and
/// for what does not fit beside the rest.
#[inline(never)]
fn apart<R>(stage: impl FnOnce() -> R) -> R {
    stage()
}
