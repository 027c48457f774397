//! Is a connection alive, how far away is it, what does its path carry, and which hop is broken: state machines fed by
//! messages and time.
//!
//! Four kinds of probes say where a packet is lost. Between the gateways themselves nothing is forwarded; a *responder*
//! behind a gateway (an address of the external CIDR that leads to a device of the daemon) is reached only by packets that
//! the gateway's kernel forwards, as those of pods are. [`Health`] holds what is known of one connection. Sockets, devices
//! and the clock are the daemon's.

mod chronicle;
mod datagram;
mod health;
mod judge;
mod latencies;
mod message;
mod path_mtu;
mod prober;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use chronicle::{Chronicle, ConditionKind, Statement};
pub use datagram::Datagram;
pub use health::{Health, Outgoing};
pub use judge::{Judgement, Session, Surroundings};
pub use latencies::{BOUNDS_US, Latencies};
pub use message::{Faults, Kind, Leg, MESSAGE_LENGTH, Message};
pub use path_mtu::{Carried, SizeSearch};
pub use prober::Prober;

/// When a connection is probed and when it counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Without probes a connection counts as connected, and nothing is known of it.
    pub enabled: bool,
    /// A probe is sent this often.
    pub interval: Duration,
    /// So many probes in a row without a reply are an error; at least 1.
    pub loss: u16,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { enabled: true, interval: Duration::from_secs(2), loss: 5 }
    }
}
