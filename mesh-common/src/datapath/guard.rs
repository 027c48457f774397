//! What may reach a WireGuard port: messages of a known type and its length, and fragments, which only the kernel can judge.
//!
//! It keeps garbage from the daemon. Authentication is WireGuard's own.

use super::{Tables, address::Address, address::IpHeader};
use crate::{
    frame::Frame,
    wire::{protocol, udp, wireguard},
};

/// A UDP datagram to a WireGuard port that cannot be one of its messages. Whether the port is on this node is for the
/// caller to find out; of a super-packet the first message is judged.
#[inline(always)]
pub fn is_garbage<const N: usize, F: Frame, T: Tables>(
    frame: &F,
    l3: usize,
    header: &<[u8; N] as Address<N>>::Header,
    tables: &T,
) -> bool
where
    [u8; N]: Address<N>,
{
    if header.protocol() != protocol::UDP {
        return false;
    }
    let Some(l4) = header.plain_transport(l3) else { return false };
    let Some([_, _, p0, p1, l0, l1, _, _]) = frame.load::<{ udp::LEN }>(l4) else { return false };
    if !tables.is_wireguard_port(u16::from_be_bytes([p0, p1])) {
        return false;
    }
    // The length field of a super-packet is that of all its segments together.
    let claimed = usize::from(u16::from_be_bytes([l0, l1])).saturating_sub(udp::LEN);
    let segment = frame.segment_len(l3).saturating_sub(l4 - l3 + udp::LEN);
    match frame.load::<4>(l4 + udp::LEN) {
        Some(head) => !wireguard::is_message(head, claimed.min(segment)),
        None => true,
    }
}
