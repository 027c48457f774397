//! What differs between IPv4 and IPv6, so that every rule is written once.

mod v4;
mod v6;

use super::{
    DropReason, Tables,
    icmp_error::Error,
    transport::{Quoted, Transport},
};
use crate::{
    frame::Frame,
    ids::ConnectionId,
    maps::{Entry, Node},
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

/// An address of `N` bytes in network order.
pub trait Address<const N: usize>: Copy + Eq {
    type Header: IpHeader<N>;

    const SRC_AT: usize;
    const DST_AT: usize;
    /// What an ICMP error stands behind: the largest [`IpHeader::quote_len`] is `QUOTE_WORDS` words.
    const HEADER_LEN: usize;
    const QUOTE_WORDS: usize;
    /// One of [`super::route::family`].
    const FAMILY: u8;

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

    /// As the kernel's structures have an address: words in network order, of IPv4 only the first.
    fn words(self) -> [u32; 4];

    /// Type of service or traffic class, as [`super::route::Flow::class`] has it.
    fn class(tos: u8) -> u32;

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

/// Zero in the node's table means "none".
#[inline(always)]
fn given<const N: usize>(address: [u8; N]) -> Option<[u8; N]> {
    (address != [0; N]).then_some(address)
}

#[cfg(test)]
mod tests;
