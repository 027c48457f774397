//! The WireGuard engine as a state machine: packets and time go in, datagrams, packets and the next time come out.
//!
//! No I/O happens here; the shards of the daemon own sockets and TUN queues and call in. A [`Device`] knows peers and
//! sessions, [`segment`] and [`coalesce`] know super-packets, [`ecn`] the two congestion bits.
//!
//! Inside, from the wire up: `noise` makes and reads the handshake, `keypair` and `replay` data messages, `cookie` and
//! `load` guard the door (`gate`), `session` and `timers` follow the rules of the protocol over time, `peer` and
//! `handshake` know one peer, and `device` all of them.

mod allowed_ips;
pub mod coalesce;
mod cookie;
mod device;
pub mod ecn;
pub mod flow;
mod gate;
mod handshake;
mod index;
mod keypair;
mod keys;
pub mod lane;
mod limits;
mod load;
mod noise;
mod peer;
mod random;
mod replay;
#[cfg(test)]
mod roundtrip;
pub mod segment;
mod session;
#[cfg(test)]
mod tests;
mod timers;
pub mod vnet;
mod waiting;
mod wheel;

pub use allowed_ips::AllowedIps;
pub use device::{
    BATCH, Birth, Caller, DATA_HEADER, Device, DeviceError, Identified, Opened, PeerSlot, Sealed, Transmit,
};
pub use lane::{Lane, MAX_LANES};
pub use limits::Limits;
pub use noise::curve::StaticSecret;
pub use peer::Path;
pub use session::MESSAGE_ROOM;
