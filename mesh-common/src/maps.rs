//! Keys, values, names and capacities of every table that the data path reads, in BPF maps or in memory.
//!
//! Everything here is `repr(C)` without padding; addresses are byte arrays in network order.

use crate::ids::IfIndex;

/// What the owner of an address is to this cluster, and how a packet with it is rewritten.
///
/// One table classifies every prefix of the plan; the longest prefix wins. IPv4 is direct-indexed:
/// [`name::TOP_V4`] by the first 16 bits, then a chunk of 256 for each further byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C, align(4))]
pub struct Entry<const N: usize> {
    /// Network that the prefix becomes, host bits kept; for [`Role::CHUNK`] the chunk index as big-endian number.
    pub to: [u8; N],
    /// [`crate::ids::RemapId`] in native order: counters, and the index into the remap table.
    pub remap: u16,
    /// Bits of `to` that replace the address's own.
    pub len: u8,
    pub role: Role,
}

impl<const N: usize> Default for Entry<N> {
    fn default() -> Self {
        Entry { to: [0; N], remap: 0, len: 0, role: Role::NONE }
    }
}

impl Entry<4> {
    /// A slot of the IPv4 table, which is read and written as one word of 64 bits in native order.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        let [a, b, c, d, low, high, len, role] = word.to_ne_bytes();
        Entry { to: [a, b, c, d], remap: u16::from_ne_bytes([low, high]), len, role: Role(role) }
    }

    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        let [a, b, c, d] = self.to;
        let [low, high] = self.remap.to_ne_bytes();
        u64::from_ne_bytes([a, b, c, d, low, high, self.len, self.role.0])
    }
}

pub type Entry4 = Entry<4>;
pub type Entry6 = Entry<16>;

/// A set of facts about a prefix. The empty set is "not ours".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Role(pub u8);

impl Role {
    pub const NONE: Role = Role(0);
    /// Ours, as our own workloads use it. `to` is our mesh-wide presented prefix, or the prefix itself.
    pub const LOCAL: Role = Role(1);
    /// Ours, as the mesh calls it. `to` is the real prefix. May be the same prefix as `LOCAL`.
    pub const PRESENTED: Role = Role(2);
    /// A remote cluster's, as we call it, reached through a tunnel. `to` is what travels inside the tunnel.
    pub const TUNNEL: Role = Role(4);
    /// A remote cluster's mesh-wide presented prefix, reached over the underlay. Never rewritten.
    pub const DIRECT: Role = Role(8);
    /// With `TUNNEL`: our source travels as presented (mesh-wide prefixes inside a tunnel).
    /// With `LOCAL`: a host outside the cluster, whose source travels as `to` whatever the remote ([`Role::is_outside`]).
    pub const PRESENT_SOURCE: Role = Role(16);
    /// In a prefix of the plan, but no packet of any hook may carry it: always dropped.
    pub const BARRED: Role = Role(32);
    /// Our own reserved address (gateway, unknown source) in its presented form: delivered here without a rewrite.
    pub const RESERVED: Role = Role(64);
    /// IPv4 table only: the slot points to a chunk of 256 slots for the next byte.
    pub const CHUNK: Role = Role(128);

    pub const fn has(self, other: Role) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn with(self, other: Role) -> Role {
        Role(self.0 | other.0)
    }

    /// A host outside the cluster that remotes know by an address of our external CIDR, and by no other.
    #[inline(always)]
    pub const fn is_outside(self) -> bool {
        self.has(Role::LOCAL) && self.has(Role::PRESENT_SOURCE)
    }
}

/// What the data path knows of a remap beyond its prefixes, by [`crate::ids::RemapId`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Remap {
    /// `direct`: packets of the remote may enter by this interface only. 0: any.
    pub ingress: u32,
    /// [`crate::ids::ConnectionId`] in native order.
    pub connection: u16,
    /// What goes this way has to fit into so many bytes: TCP is told so when it opens a connection. 0: it is not.
    pub mtu: u16,
}

/// Key of the IPv6 table: a prefix, host bits zero. Lengths in use are tried longest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Prefix6 {
    pub network: [u8; 16],
    pub len: u32,
}

/// Addresses of this node that the data path uses as a source, and switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Node {
    /// Source of ICMP errors towards workloads; zero: none.
    pub gateway_v4: [u8; 4],
    /// The same as the mesh calls it, for errors towards `direct` remotes.
    pub gateway_v4_presented: [u8; 4],
    pub gateway_v6: [u8; 16],
    pub gateway_v6_presented: [u8; 16],
    /// Replaces the outer source of ICMP errors by routers that are not in our prefixes.
    pub unknown_v4: [u8; 4],
    pub unknown_v4_presented: [u8; 4],
    pub unknown_v6: [u8; 16],
    pub unknown_v6_presented: [u8; 16],
}

/// Packets and bytes, per CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counter {
    pub packets: u64,
    pub bytes: u64,
}

/// What a hook saw on one interface, per CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct InterfaceCounter {
    pub packets: u64,
    pub bytes: u64,
    /// Frames with a VLAN tag, which pass unread; counted in `packets` as well.
    pub tagged: u64,
}

/// The right to send ICMP errors, per CPU: a token bucket that holds what one second refills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct IcmpTokens {
    /// Nanoseconds since boot of the last refill.
    pub refilled: u64,
    pub tokens: u64,
}

impl IcmpTokens {
    /// Takes one token, if there is one at `now` (nanoseconds since boot) with `rate` new ones per second.
    #[inline(always)]
    pub fn take(&mut self, now: u64, rate: u32) -> bool {
        const SECOND: u64 = 1_000_000_000;
        let rate = rate as u64;
        let passed = now.saturating_sub(self.refilled).min(SECOND);
        let earned = passed * rate / SECOND;
        if earned > 0 {
            self.refilled = now;
            self.tokens = if self.tokens + earned < rate { self.tokens + earned } else { rate };
        }
        if self.tokens == 0 {
            return false;
        }
        self.tokens -= 1;
        true
    }
}

/// Remaps of a node: beyond, the data path has neither their facts nor their counters. The IPv6 table holds as many prefixes.
pub const REMAPS: u32 = 16_384;
/// Words of 64 bits with a bit for each UDP port.
pub const PORT_WORDS: u32 = 1_024;
/// Slots of the first 16 bits of an IPv4 address.
pub const TOP_SLOTS: usize = 65_536;
pub const CHUNK_SLOTS: usize = 256;
/// Different prefix lengths that the IPv6 table may hold at once.
pub const V6_LENGTHS: usize = 8;
/// Slots of the tables by interface.
pub const INTERFACE_SLOTS: usize = 1_024;

/// Interfaces whose indices are a multiple of [`INTERFACE_SLOTS`] apart share a slot.
#[inline(always)]
pub const fn interface_slot(interface: IfIndex) -> u32 {
    interface.0 % INTERFACE_SLOTS as u32
}

/// What a slot of [`name::LINK_ADDRESSES`] holds: an Ethernet address, and which of those that share the slot has it. 0: none.
/// `head` begins with the address, as a frame begins with that of its receiver; what follows makes no difference.
#[inline(always)]
pub const fn link_address(interface: IfIndex, head: [u8; 8]) -> u64 {
    let sharer = interface.0 / INTERFACE_SLOTS as u32 + 1;
    u64::from_le_bytes(head) << 16 | sharer as u16 as u64
}

/// Names of the BPF maps, as pinned under the pin directory.
pub mod name {
    pub const TOP_V4: &str = "TOP_V4";
    pub const CHUNKS_V4: &str = "CHUNKS_V4";
    pub const TABLE_V6: &str = "TABLE_V6";
    pub const LENGTHS_V6: &str = "LENGTHS_V6";
    pub const REMAPS: &str = "REMAPS";
    pub const NODE: &str = "NODE";
    pub const WIREGUARD_PORTS: &str = "WIREGUARD_PORTS";
    pub const LINK_ADDRESSES: &str = "LINK_ADDRESSES";
    pub const REDIRECTS: &str = "REDIRECTS";
    pub const DROPS: &str = "DROPS";
    pub const REMAP_COUNTERS: &str = "REMAP_COUNTERS";
    pub const INTERFACE_COUNTERS: &str = "INTERFACE_COUNTERS";
    pub const ICMP_TOKENS: &str = "ICMP_TOKENS";
}

const _: () = {
    assert!(size_of::<Entry4>() == 8);
    assert!(size_of::<Entry6>() == 20);
    assert!(size_of::<Remap>() == 8);
    assert!(size_of::<Prefix6>() == 20);
    assert!(size_of::<Node>() == 80);
    assert!(size_of::<Counter>() == 16);
    assert!(size_of::<InterfaceCounter>() == 24);
    assert!(size_of::<IcmpTokens>() == 16);
};

#[cfg(feature = "user")]
#[allow(unsafe_code)]
mod pod {
    use super::{Counter, Entry, IcmpTokens, InterfaceCounter, Node, Prefix6, Remap};

    // SAFETY: all are `repr(C)`, of integers and byte arrays only, and the sizes asserted above leave no padding.
    unsafe impl<const N: usize> aya::Pod for Entry<N> where Entry<N>: Copy + 'static {}
    // SAFETY: see above.
    unsafe impl aya::Pod for Remap {}
    // SAFETY: see above.
    unsafe impl aya::Pod for Prefix6 {}
    // SAFETY: see above.
    unsafe impl aya::Pod for Node {}
    // SAFETY: see above.
    unsafe impl aya::Pod for Counter {}
    // SAFETY: see above.
    unsafe impl aya::Pod for InterfaceCounter {}
    // SAFETY: see above.
    unsafe impl aya::Pod for IcmpTokens {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_entry_in_memory() {
        let entry = Entry4 { to: [10, 71, 0, 0], remap: 0x1234, len: 16, role: Role::TUNNEL };
        assert_eq!(Entry4::from_word(entry.to_word()), entry);
        assert_eq!(entry.to_word().to_ne_bytes()[..4], [10, 71, 0, 0]);
    }

    #[test]
    fn a_link_address_is_of_one_interface_and_no_other() {
        let interface = IfIndex(7);
        let own = link_address(interface, [2, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(link_address(interface, [2, 0, 0, 0, 0, 1, 0xff, 0xff]), own, "what follows is the sender's");
        for bit in 0..48 {
            let mut other = [2, 0, 0, 0, 0, 1, 0, 0];
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(link_address(interface, other), own);
        }
        let sharer = IfIndex(7 + INTERFACE_SLOTS as u32);
        assert_eq!(interface_slot(sharer), interface_slot(interface));
        assert_ne!(link_address(sharer, [2, 0, 0, 0, 0, 1, 0, 0]), own);
        assert_ne!(link_address(IfIndex(1), [0; 8]), 0, "that of the loopback device is not none");
    }

    #[test]
    fn tokens_are_earned_with_time_and_no_more_than_a_second_of_them() {
        let mut bucket = IcmpTokens::default();
        let hour = 3_600_000_000_000;
        let burst = (0..20).filter(|_| bucket.take(hour, 10)).count();
        assert_eq!(burst, 10);
        assert!(!bucket.take(hour + 99_999_999, 10));
        assert!(bucket.take(hour + 100_000_000, 10));
        assert!(!bucket.take(hour + 100_000_001, 10));
        assert!(!IcmpTokens::default().take(hour, 0));
    }
}
