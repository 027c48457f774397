//! What differs between IPv4 and IPv6, so that every rule is written once.

use super::{
    DropReason, Tables, apart,
    icmp_error::{self, Error},
    route::{Fib, Flow, Route},
    transport::{self, Quoted, Transport},
};
use crate::{
    checksum,
    frame::Frame,
    ids::ConnectionId,
    maps::{Entry, Node},
    wire::{ipv4, ipv6, tcp},
};

/// The fixed part of an IP header of either version.
pub trait IpHeader<const N: usize>: Copy {
    /// The header at `l3`; `None` when the frame is too short.
    fn load<F: Frame>(frame: &F, l3: usize) -> Option<Self>;

    fn src(&self) -> [u8; N];

    fn dst(&self) -> [u8; N];

    fn ttl(&self) -> u8;

    /// Type of service, or traffic class.
    fn tos(&self) -> u8;

    /// The protocol of the first header behind this one.
    fn protocol(&self) -> u8;

    /// Routers may cut the packet into fragments.
    fn may_be_fragmented(&self) -> bool;

    /// Where a transport header starts that follows this header directly; `None` in fragments.
    fn plain_transport(&self, l3: usize) -> Option<usize>;

    /// Bytes of the packet that an ICMP error quotes, a multiple of 4.
    fn quote_len(&self) -> usize;

    /// Where the transport header is and which of its bytes depend on the addresses, everything checked against the
    /// lengths that the headers claim.
    fn transport<F: Frame>(&self, frame: &F, l3: usize) -> Result<Transport, DropReason>;

    /// The packet of this header may be quoted by an ICMP error of the same version.
    fn is_quotable(&self) -> bool;

    /// The transport checksum of a packet quoted at `l3`, whose bytes end at `end`.
    fn quoted<F: Frame>(&self, frame: &F, l3: usize, end: usize) -> Quoted;
}

impl Change<2> {
    /// The same change of a field of 4 bytes.
    #[inline(always)]
    pub fn widened(self) -> Change<4> {
        let ([a, b], [c, d]) = (self.old, self.new);
        Change { old: [a, b, 0, 0], new: [c, d, 0, 0] }
    }
}

/// An address of `N` bytes in network order.
pub trait Address<const N: usize>: Copy + Eq {
    type Header: IpHeader<N>;

    const SRC_AT: usize;
    const DST_AT: usize;
    /// What an ICMP error stands behind: the largest [`IpHeader::quote_len`] is `QUOTE_WORDS` words.
    const HEADER_LEN: usize;
    const QUOTE_WORDS: usize;

    /// Runs a stage of the pipeline: apart where the addresses are too large to keep all stages in one stack frame.
    fn stage<R>(stage: impl FnOnce() -> R) -> R;

    fn locate<T: Tables>(self, tables: &T) -> Option<Entry<N>>;

    fn announced<T: Tables>(self, connection: ConnectionId, tables: &T) -> Option<Entry<N>>;

    /// The address with its first `entry.len` bits replaced by those of `entry.to`.
    fn moved_to(self, entry: &Entry<N>) -> Self;

    /// The source of ICMP errors whose own source may not be shown; `None` when the node has none.
    fn unknown(node: &Node, presented: bool) -> Option<Self>;

    /// The source of ICMP errors that this node makes; `None` when the node has none.
    fn gateway(node: &Node, presented: bool) -> Option<Self>;

    fn route<R: Fib>(fib: &R, flow: &Flow<N>) -> Route;

    /// An address of one interface, not of a group, of nobody or of the loopback.
    fn is_unicast(self) -> bool;

    /// Takes one from the TTL of the header at `l3`, which is not 0.
    fn age<F: Frame>(frame: &mut F, l3: usize, header: &Self::Header) -> Option<()>;

    /// Writes the headers of an ICMP error at `l3`, in front of its quote.
    fn store_error<F: Frame>(frame: &mut F, l3: usize, error: Error<N>) -> Option<()>;

    /// Keeps the header checksum of IPv4 true after `old` became `new` in the header at `l3`. Gives the change of that
    /// checksum, which an ICMP message that quotes the header covers too.
    fn reseal<const M: usize, F: Frame>(
        frame: &mut F,
        l3: usize,
        old: [u8; M],
        new: [u8; M],
    ) -> Option<Option<Change<2>>>;
}

/// A field before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Change<const N: usize> {
    pub old: [u8; N],
    pub new: [u8; N],
}

impl<const N: usize> Change<N> {
    #[inline(always)]
    pub fn is_none(&self) -> bool {
        self.old == self.new
    }
}

impl IpHeader<4> for ipv4::Header {
    #[inline(always)]
    fn load<F: Frame>(frame: &F, l3: usize) -> Option<Self> {
        Some(ipv4::Header {
            head: frame.load(l3)?,
            src: frame.load(l3 + ipv4::SRC_AT)?,
            dst: frame.load(l3 + ipv4::DST_AT)?,
        })
    }

    #[inline(always)]
    fn src(&self) -> [u8; 4] {
        ipv4::Header::src(self)
    }

    #[inline(always)]
    fn dst(&self) -> [u8; 4] {
        ipv4::Header::dst(self)
    }

    #[inline(always)]
    fn ttl(&self) -> u8 {
        ipv4::Header::ttl(self)
    }

    #[inline(always)]
    fn tos(&self) -> u8 {
        ipv4::Header::tos(self)
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        ipv4::Header::protocol(self)
    }

    #[inline(always)]
    fn may_be_fragmented(&self) -> bool {
        !self.dont_fragment()
    }

    #[inline(always)]
    fn plain_transport(&self, l3: usize) -> Option<usize> {
        (!self.is_fragment()).then_some(l3 + self.header_len())
    }

    /// RFC 792 asks for the header and 8 bytes. With 20 the checksum of TCP is among them: the kernel does not cut a packet
    /// in front of a checksum that is still to be finished.
    #[inline(always)]
    fn quote_len(&self) -> usize {
        (self.total_len() as usize).min(self.header_len() + tcp::LEN) & !3
    }

    #[inline(always)]
    fn transport<F: Frame>(&self, frame: &F, l3: usize) -> Result<Transport, DropReason> {
        transport::of_ipv4(frame, l3, self)
    }

    #[inline(always)]
    fn is_quotable(&self) -> bool {
        self.version() == 4 && self.header_len() >= ipv4::LEN
    }

    #[inline(always)]
    fn quoted<F: Frame>(&self, frame: &F, l3: usize, end: usize) -> Quoted {
        transport::quoted_ipv4(frame, l3, end, self)
    }
}

impl Address<4> for [u8; 4] {
    type Header = ipv4::Header;

    const SRC_AT: usize = ipv4::SRC_AT;
    const DST_AT: usize = ipv4::DST_AT;
    const HEADER_LEN: usize = ipv4::LEN;
    const QUOTE_WORDS: usize = (ipv4::MAX_LEN + tcp::LEN) / 4;

    #[inline(always)]
    fn stage<R>(stage: impl FnOnce() -> R) -> R {
        stage()
    }

    #[inline(always)]
    fn locate<T: Tables>(self, tables: &T) -> Option<Entry<4>> {
        tables.locate_v4(self)
    }

    #[inline(always)]
    fn announced<T: Tables>(self, connection: ConnectionId, tables: &T) -> Option<Entry<4>> {
        tables.announced_v4(connection, self)
    }

    #[inline(always)]
    fn moved_to(self, entry: &Entry<4>) -> Self {
        // One shift of 64 bits serves every length from 0 to 32.
        let network = (0xffff_ffff_0000_0000_u64 >> (entry.len & 63)) as u32;
        let bits = (u32::from_be_bytes(entry.to) & network) | (u32::from_be_bytes(self) & !network);
        bits.to_be_bytes()
    }

    #[inline(always)]
    fn unknown(node: &Node, presented: bool) -> Option<Self> {
        given(if presented { node.unknown_v4_presented } else { node.unknown_v4 })
    }

    #[inline(always)]
    fn gateway(node: &Node, presented: bool) -> Option<Self> {
        given(if presented { node.gateway_v4_presented } else { node.gateway_v4 })
    }

    #[inline(always)]
    fn store_error<F: Frame>(frame: &mut F, l3: usize, error: Error<4>) -> Option<()> {
        icmp_error::store_v4(frame, l3, error)
    }

    #[inline(always)]
    fn route<R: Fib>(fib: &R, flow: &Flow<4>) -> Route {
        fib.route_v4(flow)
    }

    #[inline(always)]
    fn is_unicast(self) -> bool {
        let [first, ..] = self;
        first != 0 && first != 127 && first < 224
    }

    #[inline(always)]
    fn age<F: Frame>(frame: &mut F, l3: usize, header: &ipv4::Header) -> Option<()> {
        let (old, new) = ([header.ttl(), header.protocol()], [header.ttl().wrapping_sub(1), header.protocol()]);
        frame.store(l3 + ipv4::TTL_AT, new)?;
        Self::reseal(frame, l3, old, new).map(|_| ())
    }

    #[inline(always)]
    fn reseal<const M: usize, F: Frame>(
        frame: &mut F,
        l3: usize,
        old: [u8; M],
        new: [u8; M],
    ) -> Option<Option<Change<2>>> {
        let before = frame.load::<2>(l3 + ipv4::CHECKSUM_AT)?;
        let after = checksum::replace(before, old, new);
        frame.store(l3 + ipv4::CHECKSUM_AT, after)?;
        Some(Some(Change { old: before, new: after }))
    }
}

impl IpHeader<16> for ipv6::Header {
    #[inline(always)]
    fn load<F: Frame>(frame: &F, l3: usize) -> Option<Self> {
        Some(ipv6::Header {
            head: frame.load(l3)?,
            src: frame.load(l3 + ipv6::SRC_AT)?,
            dst: frame.load(l3 + ipv6::DST_AT)?,
        })
    }

    #[inline(always)]
    fn src(&self) -> [u8; 16] {
        ipv6::Header::src(self)
    }

    #[inline(always)]
    fn dst(&self) -> [u8; 16] {
        ipv6::Header::dst(self)
    }

    #[inline(always)]
    fn ttl(&self) -> u8 {
        self.hop_limit()
    }

    #[inline(always)]
    fn tos(&self) -> u8 {
        self.traffic_class()
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.next_header()
    }

    #[inline(always)]
    fn may_be_fragmented(&self) -> bool {
        false
    }

    #[inline(always)]
    fn plain_transport(&self, l3: usize) -> Option<usize> {
        Some(l3 + ipv6::LEN)
    }

    #[inline(always)]
    fn quote_len(&self) -> usize {
        (ipv6::LEN + self.payload_len() as usize).min(ipv6::QUOTE_LEN) & !3
    }

    #[inline(always)]
    fn transport<F: Frame>(&self, frame: &F, l3: usize) -> Result<Transport, DropReason> {
        transport::of_ipv6(frame, l3, self)
    }

    #[inline(always)]
    fn is_quotable(&self) -> bool {
        self.version() == 6
    }

    #[inline(always)]
    fn quoted<F: Frame>(&self, frame: &F, l3: usize, end: usize) -> Quoted {
        transport::quoted_ipv6(frame, l3, end, self)
    }
}

impl Address<16> for [u8; 16] {
    type Header = ipv6::Header;

    const SRC_AT: usize = ipv6::SRC_AT;
    const DST_AT: usize = ipv6::DST_AT;
    const HEADER_LEN: usize = ipv6::LEN;
    const QUOTE_WORDS: usize = ipv6::QUOTE_LEN / 4;

    #[inline(always)]
    fn stage<R>(stage: impl FnOnce() -> R) -> R {
        apart(stage)
    }

    #[inline(always)]
    fn locate<T: Tables>(self, tables: &T) -> Option<Entry<16>> {
        tables.locate_v6(self)
    }

    #[inline(always)]
    fn announced<T: Tables>(self, connection: ConnectionId, tables: &T) -> Option<Entry<16>> {
        tables.announced_v6(connection, self)
    }

    #[inline(always)]
    fn moved_to(self, entry: &Entry<16>) -> Self {
        let len = u32::from(entry.len);
        let (host_high, host_low) = (host_bits(len), host_bits(len.saturating_sub(64)));
        let ([to_high, to_low], [high, low]) = (halves(entry.to), halves(self));
        let high = (to_high & !host_high) | (high & host_high);
        let low = if len <= 64 { low } else { (to_low & !host_low) | (low & host_low) };
        joined(high, low)
    }

    #[inline(always)]
    fn unknown(node: &Node, presented: bool) -> Option<Self> {
        given(if presented { node.unknown_v6_presented } else { node.unknown_v6 })
    }

    #[inline(always)]
    fn gateway(node: &Node, presented: bool) -> Option<Self> {
        given(if presented { node.gateway_v6_presented } else { node.gateway_v6 })
    }

    #[inline(always)]
    fn store_error<F: Frame>(frame: &mut F, l3: usize, error: Error<16>) -> Option<()> {
        icmp_error::store_v6(frame, l3, error)
    }

    #[inline(always)]
    fn route<R: Fib>(fib: &R, flow: &Flow<16>) -> Route {
        fib.route_v6(flow)
    }

    #[inline(always)]
    fn is_unicast(self) -> bool {
        let [high, low] = halves(self);
        high >> 56 != 0xff && (high != 0 || low > 1)
    }

    #[inline(always)]
    fn age<F: Frame>(frame: &mut F, l3: usize, header: &ipv6::Header) -> Option<()> {
        frame.store(l3 + ipv6::HOP_LIMIT_AT, [header.hop_limit().wrapping_sub(1)])
    }

    #[inline(always)]
    fn reseal<const M: usize, F: Frame>(_: &mut F, _: usize, _: [u8; M], _: [u8; M]) -> Option<Option<Change<2>>> {
        Some(None)
    }
}

/// Zero in the node's table means "none".
#[inline(always)]
fn given<const N: usize>(address: [u8; N]) -> Option<[u8; N]> {
    (address != [0; N]).then_some(address)
}

/// The bits of one 64-bit half that a prefix of `len` bits leaves to the host.
#[inline(always)]
fn host_bits(len: u32) -> u64 {
    u64::MAX.checked_shr(len).unwrap_or(0)
}

#[inline(always)]
const fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let bits = u128::from_be_bytes(bytes);
    [(bits >> 64) as u64, bits as u64]
}

#[inline(always)]
const fn joined(high: u64, low: u64) -> [u8; 16] {
    ((high as u128) << 64 | low as u128).to_be_bytes()
}

#[cfg(test)]
mod tests;
