//! WireGuard's configuration protocol as `wg` speaks it over a unix socket: what a request says, what it changes, and how
//! the reply reads.
//!
//! Source: <https://www.wireguard.com/xplatform/>. A request is read and checked as a whole before any of it counts.
//! Sockets do not live here.

mod configuration;
mod device;
mod parse;
mod print;
mod request;

pub use configuration::{Configuration, Live, MAX_PEERS, Session, Step};
pub use device::{Device, Peer};
pub use parse::{LINE_LIMIT, Outcome, Parser, REQUEST_LIMIT};
pub use print::{print, print_errno};
pub use request::{AllowedIpChange, Change, Errno, Existence, PeerChange, Refusal};
use zeroize::Zeroizing;

/// The private key of a device, as Curve25519 wants it. Erased when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Zeroizing<[u8; 32]>);

impl PrivateKey {
    /// Clamps the bytes (RFC 7748 section 5). `None`: all zeros, which stands for no key.
    pub fn new(bytes: &[u8; 32]) -> Option<PrivateKey> {
        let mut key = PrivateKey(Zeroizing::new(*bytes));
        if *key.bytes() == [0; 32] {
            return None;
        }
        key.0[0] &= 0xf8;
        key.0[31] = key.0[31] & 0x7f | 0x40;
        Some(key)
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey")
    }
}

#[cfg(test)]
mod tests;
