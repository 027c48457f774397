//! Headers as they are on the wire: byte arrays with typed getters, and the constants that go with them.

pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;
pub mod wireguard;

/// IP protocol numbers that the data path tells apart.
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
    pub const SCTP: u8 = 132;
}

/// The IP version that a packet's first byte names.
#[inline(always)]
pub const fn version(first: u8) -> u8 {
    first >> 4
}
