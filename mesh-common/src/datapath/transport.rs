//! What follows an IP header, as far as a change of addresses concerns it, in packets and in quotes of packets.
//!
//! TCP, UDP and ICMPv6 cover the addresses with their checksum. ICMP does not, nor does SCTP (CRC32c); they, unknown
//! protocols and later fragments are rewritten by address only. Addresses in payloads (FTP, SIP) are not looked for.

use super::DropReason;
use crate::{
    frame::{Frame, L4Checksum},
    wire::{icmp, ipv4, ipv6, ipv6::extension, protocol, tcp, udp},
};

/// Extension headers before the transport. Real packets have two or three.
pub const MAX_EXTENSIONS: usize = 6;

/// The part of a packet behind its IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Nothing in it depends on the addresses.
    Opaque,
    /// The transport header is in another fragment.
    LaterFragment,
    /// A checksum covers the addresses.
    Summed(L4Checksum),
    /// An ICMP error with its checksum. The packet that it quotes starts at `quote` with a whole IP header, and its bytes
    /// end at `end`.
    Error { checksum: L4Checksum, quote: usize, end: usize },
}

/// The transport checksum of a quoted packet, where it covers the addresses and the quote reaches as far as that; else
/// [`L4Checksum::NONE`].
pub type Quoted = L4Checksum;

#[inline(always)]
pub fn of_ipv4<F: Frame>(frame: &F, l3: usize, header: &ipv4::Header) -> Result<Transport, DropReason> {
    let header_len = header.header_len();
    let end = l3 + packet_len_v4(frame, l3, header)?;
    if end > frame.len() {
        return Err(DropReason::Truncated);
    }
    if header.is_later_fragment() {
        return Ok(Transport::LaterFragment);
    }
    let l4 = l3 + header_len;
    if header.protocol() == protocol::ICMP {
        return of_icmp(frame, l4, end);
    }
    match covering(header.protocol(), l4) {
        Some(checksum) => present(frame, checksum, end).map(Transport::Summed).ok_or(DropReason::Truncated),
        None => Ok(Transport::Opaque),
    }
}

/// Bytes of header and payload.
#[inline(always)]
fn packet_len_v4<F: Frame>(frame: &F, l3: usize, header: &ipv4::Header) -> Result<usize, DropReason> {
    let (header_len, total_len) = (header.header_len(), header.total_len() as usize);
    if header_len < ipv4::LEN {
        return Err(DropReason::Malformed);
    }
    if total_len >= header_len {
        return Ok(total_len);
    }
    let len = frame.len().saturating_sub(l3);
    // A super-packet of more than 64 KiB (BIG TCP, Linux 6.3) has a total length of 0.
    if total_len == 0 && len > usize::from(u16::MAX) { Ok(len) } else { Err(DropReason::Malformed) }
}

/// ICMP over IPv4: only errors say anything about addresses.
#[inline(always)]
fn of_icmp<F: Frame>(frame: &F, l4: usize, end: usize) -> Result<Transport, DropReason> {
    let [kind] = within(frame, l4, end)?;
    if !icmp::v4::is_error(kind) {
        return Ok(Transport::Opaque);
    }
    let checksum = L4Checksum { at: l4 + icmp::CHECKSUM_AT, pseudo_header: false, zero_is_none: false };
    let quote = l4 + icmp::LEN;
    within::<{ ipv4::LEN }, F>(frame, quote, end)?;
    Ok(Transport::Error { checksum, quote, end })
}

#[inline(always)]
pub fn of_ipv6<F: Frame>(frame: &F, l3: usize, header: &ipv6::Header) -> Result<Transport, DropReason> {
    let mut end = l3 + ipv6::LEN + header.payload_len() as usize;
    // Jumbo payloads (BIG TCP) have a payload length of 0.
    if header.payload_len() == 0 && frame.len().saturating_sub(l3) > usize::from(u16::MAX) {
        end = frame.len();
    }
    if end > frame.len() {
        return Err(DropReason::Truncated);
    }
    let (protocol, l4) = match walk(frame, header.next_header(), l3 + ipv6::LEN, end).unpack()? {
        Chain::LaterFragment { .. } => return Ok(Transport::LaterFragment),
        Chain::Transport { protocol, at } => (protocol, at),
    };
    let Some(checksum) = covering_v6(protocol, l4) else { return Ok(Transport::Opaque) };
    let checksum = present(frame, checksum, end).ok_or(DropReason::Truncated)?;
    if protocol == protocol::ICMPV6 {
        let [kind] = within(frame, l4, end)?;
        if icmp::v6::is_error(kind) {
            let quote = l4 + icmp::LEN;
            within::<{ ipv6::LEN }, F>(frame, quote, end)?;
            return Ok(Transport::Error { checksum, quote, end });
        }
    }
    Ok(Transport::Summed(checksum))
}

/// Of a packet quoted at `l3` whose bytes end at `end`, anywhere behind its addresses.
#[inline(always)]
pub fn quoted_ipv4<F: Frame>(frame: &F, l3: usize, end: usize, header: &ipv4::Header) -> Quoted {
    if header.is_later_fragment() {
        return L4Checksum::NONE;
    }
    let checksum = covering(header.protocol(), l3 + header.header_len());
    checksum.and_then(|checksum| present(frame, checksum, end)).unwrap_or(L4Checksum::NONE)
}

/// As [`quoted_ipv4`].
#[inline(always)]
pub fn quoted_ipv6<F: Frame>(frame: &F, l3: usize, end: usize, header: &ipv6::Header) -> Quoted {
    // A chain that cannot be followed to its end leaves nothing to correct: the receiver cannot follow it either.
    let (protocol, at) = walk(frame, header.next_header(), l3 + ipv6::LEN, end).transport_or_nothing();
    let checksum = covering_v6(protocol, at);
    checksum.and_then(|checksum| present(frame, checksum, end)).unwrap_or(L4Checksum::NONE)
}

/// Which transport a packet has and where it starts, for who has to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// All that there is of it lies between `at` and `end`.
    Transport { protocol: u8, at: usize, end: usize },
    /// Behind the transport header, which is in another fragment.
    LaterFragment { protocol: u8 },
}

/// Of a whole packet; `of_quote`: of one of which the end may be cut off.
#[inline(always)]
pub fn payload_ipv4<F: Frame>(
    frame: &F,
    l3: usize,
    header: &ipv4::Header,
    of_quote: bool,
) -> Result<Payload, DropReason> {
    let mut end = l3 + packet_len_v4(frame, l3, header)?;
    if end > frame.len() {
        if !of_quote {
            return Err(DropReason::Truncated);
        }
        end = frame.len();
    }
    let protocol = header.protocol();
    if header.is_later_fragment() {
        return Ok(Payload::LaterFragment { protocol });
    }
    Ok(Payload::Transport { protocol, at: l3 + header.header_len(), end })
}

/// As [`payload_ipv4`].
#[inline(always)]
pub fn payload_ipv6<F: Frame>(
    frame: &F,
    l3: usize,
    header: &ipv6::Header,
    of_quote: bool,
) -> Result<Payload, DropReason> {
    let mut end = l3 + ipv6::LEN + header.payload_len() as usize;
    let is_jumbo = header.payload_len() == 0 && frame.len().saturating_sub(l3) > usize::from(u16::MAX);
    if is_jumbo || end > frame.len() {
        if !is_jumbo && !of_quote {
            return Err(DropReason::Truncated);
        }
        end = frame.len();
    }
    match walk(frame, header.next_header(), l3 + ipv6::LEN, end).unpack()? {
        Chain::LaterFragment { protocol } => Ok(Payload::LaterFragment { protocol }),
        Chain::Transport { protocol, at } => Ok(Payload::Transport { protocol, at, end }),
    }
}

/// Where a chain of extension headers ends.
enum Chain {
    Transport {
        protocol: u8,
        at: usize,
    },
    /// The protocol is what the fragment header says: that of the first header of the whole packet behind it.
    LaterFragment {
        protocol: u8,
    },
}

/// What [`walk`] found, in one number: its walk is a function of its own in a BPF program, which gives back no more.
struct PackedChain(u64);

impl PackedChain {
    #[inline(always)]
    const fn transport(protocol: u8, at: usize) -> PackedChain {
        PackedChain((protocol as u64) << 8 | (at as u64) << 16)
    }

    #[inline(always)]
    const fn later_fragment(protocol: u8) -> PackedChain {
        PackedChain(1 | (protocol as u64) << 8)
    }

    #[inline(always)]
    const fn drop(reason: DropReason) -> PackedChain {
        PackedChain(2 | (reason as u64) << 8)
    }

    /// Protocol and offset of the transport, or "no next header".
    #[inline(always)]
    fn transport_or_nothing(self) -> (u8, usize) {
        let protocol = if self.0 & 3 == 0 { (self.0 >> 8) as u8 } else { extension::NO_NEXT_HEADER };
        (protocol, (self.0 >> 16) as usize & 0x7fff)
    }

    #[inline(always)]
    fn unpack(self) -> Result<Chain, DropReason> {
        match self.0 & 3 {
            0 => Ok(Chain::Transport { protocol: (self.0 >> 8) as u8, at: (self.0 >> 16) as usize & 0x7fff }),
            1 => Ok(Chain::LaterFragment { protocol: (self.0 >> 8) as u8 }),
            _ if self.0 >> 8 == DropReason::SourceRouted as u64 => Err(DropReason::SourceRouted),
            _ if self.0 >> 8 == DropReason::Truncated as u64 => Err(DropReason::Truncated),
            _ => Err(DropReason::Malformed),
        }
    }
}

#[inline(never)]
fn walk<F: Frame>(frame: &F, first: u8, start: usize, end: usize) -> PackedChain {
    let (mut protocol, mut at) = (first, start);
    for _ in 0..=MAX_EXTENSIONS {
        let is_fragment = protocol == extension::FRAGMENT;
        let is_routing = protocol == extension::ROUTING;
        if !(is_fragment || is_routing || matches!(protocol, extension::HOP_BY_HOP | extension::DESTINATION)) {
            return PackedChain::transport(protocol, at);
        }
        let Ok(head) = within::<{ extension::FRAGMENT_LEN }, F>(frame, at, end) else {
            return PackedChain::drop(DropReason::Truncated);
        };
        let [next, units, _, segments_left, ..] = head;
        if is_fragment && extension::is_later(head) {
            return PackedChain::later_fragment(next);
        }
        if is_routing && segments_left != 0 {
            return PackedChain::drop(DropReason::SourceRouted);
        }
        protocol = next;
        at = frame.forget(at + if is_fragment { extension::FRAGMENT_LEN } else { extension::len(units) });
    }
    PackedChain::drop(DropReason::Malformed)
}

/// The checksum of a transport header at `l4` that covers the addresses.
#[inline(always)]
fn covering(protocol: u8, l4: usize) -> Option<L4Checksum> {
    let (offset, zero_is_none) = match protocol {
        protocol::TCP => (tcp::CHECKSUM_AT, false),
        protocol::UDP => (udp::CHECKSUM_AT, true),
        _ => return None,
    };
    Some(L4Checksum { at: l4 + offset, pseudo_header: true, zero_is_none })
}

#[inline(always)]
fn covering_v6(protocol: u8, l4: usize) -> Option<L4Checksum> {
    if protocol == protocol::ICMPV6 {
        return Some(L4Checksum { at: l4 + icmp::CHECKSUM_AT, pseudo_header: true, zero_is_none: false });
    }
    covering(protocol, l4)
}

/// `checksum` if both its bytes are before `end`.
#[inline(always)]
fn present<F: Frame>(frame: &F, checksum: L4Checksum, end: usize) -> Option<L4Checksum> {
    within::<2, F>(frame, checksum.at, end).ok().map(|_| checksum)
}

#[inline(always)]
fn within<const M: usize, F: Frame>(frame: &F, at: usize, end: usize) -> Result<[u8; M], DropReason> {
    if at + M > end {
        return Err(DropReason::Truncated);
    }
    frame.load(at).ok_or(DropReason::Truncated)
}
