//! The ICMP errors that the data path makes itself, in the place of the packet that they are about.
//!
//! They quote the packet as it came, before any rewrite: the kernel would quote addresses that the sender never used, and
//! the sender would not know its own packet again.

use super::{
    DropReason, Tables,
    address::{Address, IpHeader},
};
use crate::{
    checksum,
    frame::Frame,
    wire::{ethernet, icmp, ipv4, ipv6, protocol},
};

/// What the sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    TtlExpired,
    /// Packets of up to `mtu` bytes fit.
    TooBig {
        mtu: u16,
    },
    Prohibited,
    Unreachable,
}

impl Problem {
    #[inline(always)]
    pub(super) const fn to_number(self) -> u32 {
        match self {
            Problem::TtlExpired => 0,
            Problem::Prohibited => 1,
            Problem::Unreachable => 2,
            Problem::TooBig { mtu } => 1 << 16 | mtu as u32,
        }
    }

    /// The opposite of [`Problem::to_number`].
    #[inline(always)]
    pub(super) const fn from_number(number: u32) -> Problem {
        match number {
            0 => Problem::TtlExpired,
            1 => Problem::Prohibited,
            2 => Problem::Unreachable,
            _ => Problem::TooBig { mtu: number as u16 },
        }
    }

    #[inline(always)]
    pub const fn reason(self) -> DropReason {
        match self {
            Problem::TtlExpired => DropReason::TtlExpired,
            Problem::TooBig { .. } => DropReason::TooBig,
            Problem::Prohibited => DropReason::NotOurDestination,
            Problem::Unreachable => DropReason::NoRoute,
        }
    }

    /// Type, code, checksum still zero, and the four bytes by type.
    #[inline(always)]
    const fn head_v4(self) -> [u8; icmp::LEN] {
        match self {
            Problem::TtlExpired => [icmp::v4::TIME_EXCEEDED, 0, 0, 0, 0, 0, 0, 0],
            Problem::TooBig { mtu } => {
                let [high, low] = mtu.to_be_bytes();
                [icmp::v4::UNREACHABLE, icmp::v4::FRAGMENTATION_NEEDED, 0, 0, 0, 0, high, low]
            }
            Problem::Prohibited => [icmp::v4::UNREACHABLE, icmp::v4::PROHIBITED, 0, 0, 0, 0, 0, 0],
            Problem::Unreachable => [icmp::v4::UNREACHABLE, icmp::v4::HOST_UNREACHABLE, 0, 0, 0, 0, 0, 0],
        }
    }

    #[inline(always)]
    const fn head_v6(self) -> [u8; icmp::LEN] {
        match self {
            Problem::TtlExpired => [icmp::v6::TIME_EXCEEDED, 0, 0, 0, 0, 0, 0, 0],
            Problem::TooBig { mtu } => {
                let [high, low] = mtu.to_be_bytes();
                [icmp::v6::TOO_BIG, 0, 0, 0, 0, 0, high, low]
            }
            Problem::Prohibited => [icmp::v6::UNREACHABLE, icmp::v6::PROHIBITED, 0, 0, 0, 0, 0, 0],
            Problem::Unreachable => [icmp::v6::UNREACHABLE, icmp::v6::ADDRESS_UNREACHABLE, 0, 0, 0, 0, 0, 0],
        }
    }
}

/// Replaces the packet at `l3` by the error about it, from the gateway address that its sender knows. `None` when there
/// may be none; then the frame is untouched, or useless.
#[inline(always)]
pub fn replace_by_error<const N: usize, F: Frame, T: Tables>(
    frame: &mut F,
    l3: usize,
    header: &<[u8; N] as Address<N>>::Header,
    problem: Problem,
    presented: bool,
    tables: &T,
) -> Option<()>
where
    [u8; N]: Address<N>,
{
    if !header.src().is_unicast() || !header.dst().is_unicast() {
        return None;
    }
    let source = <[u8; N]>::gateway(&tables.node()?, presented)?;
    let link = if l3 == ethernet::LEN { Some(back(frame.load(0).map(ethernet::Header)?)?) } else { None };
    if !tables.icmp_token() {
        return None;
    }
    let quote_len = header.quote_len();
    let room = <[u8; N]>::HEADER_LEN + icmp::LEN;
    frame.reshape(room, l3 + room + quote_len)?;
    let quote = sum_words::<F>(frame, l3 + room, quote_len, <[u8; N]>::QUOTE_WORDS)?;
    if let Some(link) = link {
        frame.store(0, link.0)?;
    }
    <[u8; N]>::store_error(frame, l3, Error { source, destination: header.src(), problem, quote_len, quote })
}

/// What an error says, ready to be written in front of its quote.
#[derive(Clone, Copy, Debug)]
pub struct Error<const N: usize> {
    source: [u8; N],
    destination: [u8; N],
    problem: Problem,
    quote_len: usize,
    /// The sum of the quoted bytes, not folded.
    quote: u64,
}

/// The way back; `None` for a frame to a group.
#[inline(always)]
fn back(header: ethernet::Header) -> Option<ethernet::Header> {
    let dst = header.dst();
    let [first, ..] = dst;
    (!ethernet::is_group(first)).then_some(ethernet::Header::new(header.src(), dst, header.ethertype()))
}

/// The sum of `len` bytes at `at`, which are whole words and at most `most` of them.
#[inline(always)]
fn sum_words<F: Frame>(frame: &F, at: usize, len: usize, most: usize) -> Option<u64> {
    let mut sum = 0;
    for word in 0..most {
        if word * 4 >= len {
            break;
        }
        sum += checksum::words(frame.load::<4>(at + word * 4)?);
    }
    Some(sum)
}

/// Precedence "internetwork control", as the kernel's own errors have.
const TOS: u8 = 0xc0;
const TTL: u8 = 64;

#[inline(always)]
pub(super) fn store_v4<F: Frame>(frame: &mut F, l3: usize, error: Error<4>) -> Option<()> {
    let len = (ipv4::LEN + icmp::LEN + error.quote_len) as u16;
    let header = ipv4::Header::new(TOS, len, TTL, protocol::ICMP, error.source, error.destination);
    frame.store(l3, header.head)?;
    frame.store(l3 + ipv4::SRC_AT, header.src)?;
    frame.store(l3 + ipv4::DST_AT, header.dst)?;
    let head = error.problem.head_v4();
    let sum = checksum::finish(checksum::words(head) + error.quote);
    frame.store(l3 + ipv4::LEN, with_checksum(head, sum))
}

#[inline(always)]
pub(super) fn store_v6<F: Frame>(frame: &mut F, l3: usize, error: Error<16>) -> Option<()> {
    let len = (icmp::LEN + error.quote_len) as u16;
    let header = ipv6::Header::new(TOS, len, protocol::ICMPV6, TTL, error.source, error.destination);
    frame.store(l3, header.head)?;
    frame.store(l3 + ipv6::SRC_AT, header.src)?;
    frame.store(l3 + ipv6::DST_AT, header.dst)?;
    let head = error.problem.head_v6();
    let pseudo = checksum::pseudo_header(error.source, error.destination, protocol::ICMPV6, u32::from(len));
    let sum = checksum::finish(pseudo + checksum::words(head) + error.quote);
    frame.store(l3 + ipv6::LEN, with_checksum(head, sum))
}

#[inline(always)]
const fn with_checksum(head: [u8; icmp::LEN], sum: [u8; 2]) -> [u8; icmp::LEN] {
    let [kind, code, _, _, a, b, c, d] = head;
    let [high, low] = sum;
    [kind, code, high, low, a, b, c, d]
}
