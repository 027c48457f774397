//! IPv4: its header, its checksum, its tables.

use super::{Address, Change, IpHeader, given};
use crate::{
    checksum,
    datapath::{
        DropReason, Tables,
        icmp_error::{self, Error},
        route::family,
        transport::{self, Quoted, Transport},
    },
    frame::Frame,
    ids::ConnectionId,
    maps::{Entry, Node},
    wire::{ipv4, tcp},
};

impl IpHeader<4> for ipv4::Header {
    #[inline(always)]
    fn load<F: Frame>(frame: &F, l3: usize) -> Option<Self> {
        // One access: at tc each is a call of the kernel.
        frame.load::<{ ipv4::LEN }>(l3).map(ipv4::Header::from)
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
    const FAMILY: u8 = family::IPV4;

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
    fn words(self) -> [u32; 4] {
        [u32::from_ne_bytes(self), 0, 0, 0]
    }

    #[inline(always)]
    fn class(tos: u8) -> u32 {
        u32::from_ne_bytes([tos, 0, 0, 0])
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
