//! The number by which a peer names one of our sessions: which shard, which peer, which of its sessions.
//!
//! A datagram finds its session without a search, and a program of the kernel its shard.

/// Bits for the shard, at the top.
const SHARD_BITS: u32 = 6;
/// Bits for the place of the peer.
const SLOT_BITS: u32 = 18;
/// Bits for the sessions of a place, one after the other, whoever the peer there is.
const GENERATION_BITS: u32 = 8;

const _: () = assert!(SHARD_BITS + SLOT_BITS + GENERATION_BITS == u32::BITS);

/// Peers that one device can hold.
pub(super) const MAX_SLOTS: usize = 1 << SLOT_BITS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionIndex(pub(super) u32);

impl SessionIndex {
    /// What does not fit is cut off; callers hold the limits.
    pub(super) fn new(shard: u8, slot: u32, generation: u8) -> SessionIndex {
        let slot = slot & (MAX_SLOTS as u32 - 1);
        SessionIndex(u32::from(shard) << (u32::BITS - SHARD_BITS) | slot << GENERATION_BITS | u32::from(generation))
    }

    pub(super) fn shard(self) -> u8 {
        (self.0 >> (u32::BITS - SHARD_BITS)) as u8
    }

    pub(super) fn slot(self) -> u32 {
        (self.0 >> GENERATION_BITS) & (MAX_SLOTS as u32 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_bits() {
        for (shard, slot, generation) in [(0, 0, 0), (63, MAX_SLOTS as u32 - 1, 255), (5, 100_000, 7)] {
            let index = SessionIndex::new(shard, slot, generation);
            assert_eq!((index.shard(), index.slot(), index.0 as u8), (shard, slot, generation));
        }
        assert_eq!(SessionIndex::new(1, 0, 0).0, 1 << 26);
    }
}
