//! What must hold of bytes from outside, whatever they are? One function per door that bytes come through.
//!
//! `cargo fuzz` searches for bytes that break one; `tests/replay.rs` runs all that were ever found worth keeping, in
//! `corpus/NAME`. Each function panics where what must hold does not.

mod coalesce;
mod datagram;
mod dns;
mod manifest;
mod pair;
mod remap;
mod segment;
mod uapi;

pub use coalesce::coalesce;
pub use datagram::datagram;
pub use dns::dns;
pub use manifest::manifest;
pub use remap::remap;
pub use segment::segment;
pub use uapi::uapi;

/// A function of this crate.
pub type Target = fn(&[u8]);

/// Each by the name of its corpus.
pub const TARGETS: [(&str, Target); 7] = [
    ("coalesce", coalesce),
    ("datagram", datagram),
    ("dns", dns),
    ("manifest", manifest),
    ("remap", remap),
    ("segment", segment),
    ("uapi", uapi),
];

/// Bytes that are used up from the front; where they end, zeros follow.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        std::array::from_fn(|at| head.get(at).copied().unwrap_or_default())
    }

    fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// At most `len` bytes.
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The IP packet at the front of a padded one, by its own length field.
fn unpadded(packet: &[u8]) -> &[u8] {
    let len = ip_len(packet).unwrap_or(packet.len());
    &packet[..len.min(packet.len())]
}

/// What the length field of an IP packet says; `None`: it has none.
fn ip_len(packet: &[u8]) -> Option<usize> {
    match packet {
        [first, _, a, b, ..] if first >> 4 == 4 => Some(usize::from(u16::from_be_bytes([*a, *b]))),
        [first, _, _, _, a, b, ..] if first >> 4 == 6 => Some(40 + usize::from(u16::from_be_bytes([*a, *b]))),
        _ => None,
    }
}
