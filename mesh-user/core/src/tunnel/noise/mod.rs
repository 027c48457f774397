//! Noise_IKpsk2 as WireGuard has it (paper, section 5.4): three messages as bytes, and what both ends know after them.
//!
//! Who may shake hands, how often, and what becomes of the keys is decided elsewhere.

pub(super) mod curve;
mod initiator;
pub(super) mod primitives;
mod responder;
mod timestamp;
mod transcript;

pub(super) use initiator::{Acquaintance, Initiation};
pub(super) use responder::{Introduced, respond};
pub(super) use timestamp::Timestamp;
pub(super) use transcript::Prologue;

use primitives::Key;

use super::index::SessionIndex;

/// What both ends have after a handshake.
pub(super) struct Agreed {
    pub(super) sending: Key,
    pub(super) receiving: Key,
    /// What the peer names in its messages to us, and we in ours.
    pub(super) local: SessionIndex,
    pub(super) remote: u32,
}

/// Where things are in a handshake initiation; numbers are little-endian.
mod initiation {
    pub(super) const SENDER: usize = 4;
    pub(super) const EPHEMERAL: usize = 8;
    pub(super) const STATIC: usize = 40;
    pub(super) const TIMESTAMP: usize = 88;
    pub(super) const MAC1: usize = 116;
}

/// Where things are in a handshake response.
mod response {
    pub(super) const SENDER: usize = 4;
    pub(super) const RECEIVER: usize = 8;
    pub(super) const EPHEMERAL: usize = 12;
    pub(super) const EMPTY: usize = 44;
    pub(super) const MAC1: usize = 60;
}

fn number(message: &[u8], at: usize) -> u32 {
    message[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn key_at(message: &[u8], at: usize) -> [u8; 32] {
    message[at..].first_chunk().copied().unwrap_or_default()
}
