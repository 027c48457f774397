//! The WireGuard engine as a state machine: packets and time go in, datagrams, packets and the next time come out.
//!
//! No I/O happens here; the shards of the daemon own sockets and TUN queues and call in. A [`Device`] knows peers and
//! sessions, [`segment`] and [`coalesce`] know super-packets, [`ecn`] the two congestion bits. `session` alone names the
//! library that speaks Noise.

mod allowed_ips;
pub mod coalesce;
mod device;
pub mod ecn;
#[cfg(test)]
mod exchange;
pub mod flow;
pub mod lane;
mod peer;
#[cfg(test)]
mod roundtrip;
pub mod segment;
mod session;
pub mod vnet;

pub use allowed_ips::AllowedIps;
pub use device::{Device, DeviceError, Opened, PeerSlot, Timeout, Transmit};
pub use lane::{Lane, MAX_LANES};
pub use peer::Path;
pub use session::{MESSAGE_ROOM, Sealed, StaticSecret};
