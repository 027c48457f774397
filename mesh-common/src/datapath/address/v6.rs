//! IPv6: addresses in two words of 64 bits, for the BPF target's sake.

use super::{Address, Change, IpHeader, given};
use crate::{
    datapath::{
        DropReason, Tables, apart,
        icmp_error::{self, Error},
        route::family,
        transport::{self, Quoted, Transport},
    },
    frame::Frame,
    ids::ConnectionId,
    maps::{Entry, Node},
    wire::ipv6,
};

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
    const FAMILY: u8 = family::IPV6;

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
    fn words(self) -> [u32; 4] {
        let bits = u128::from_ne_bytes(self);
        [bits as u32, (bits >> 32) as u32, (bits >> 64) as u32, (bits >> 96) as u32]
    }

    #[inline(always)]
    fn class(tos: u8) -> u32 {
        (u32::from(tos) << 20).to_be()
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
