//! The WireGuard engine as a state machine: packets and time go in, datagrams, packets and the next time come out.
//!
//! No I/O happens here; the shards of the daemon own sockets and TUN queues and call in. `session` alone names the
//! library that speaks Noise.

mod session;

pub use session::StaticSecret;
