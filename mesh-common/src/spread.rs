//! Which queue of a TUN device a packet goes to, and which socket of a port a message: the rules of the socket programs.
//!
//! A packet whose destination belongs to one queue goes there. Any other falls, by a hash of its flow, into one of
//! [`FLOW_SLOTS`] slots, and user space says which queue each slot is. So all packets of a flow take one queue, and user
//! space moves flows by writing slots. A message goes to the queue that its receiver index names.

use crate::wire::{
    ethernet, ipv4, ipv6, protocol, udp, version,
    wireguard::{COOKIE_REPLY, DATA, RESPONSE},
};

/// More queues of one device than this are not used: so many fit the top bits of a session index.
pub const MAX_QUEUES: u32 = 64;
/// Slots that flows fall into. Four for each queue when all are in use, so that no queue has much more than its share.
pub const FLOW_SLOTS: u32 = 256;
/// Destinations that can belong to a queue.
pub const OWNERS: u32 = 65_536;
/// Number of bits of a session index that are not the queue.
pub const INDEX_BITS: u32 = 26;

/// Names of the maps of the socket programs.
pub mod name {
    pub const QUEUES: &str = "QUEUES";
    pub const OWNERS: &str = "OWNERS";
    pub const SOCKETS: &str = "SOCKETS";
}

/// The bytes of a packet that is only looked at.
pub trait Peek {
    /// `None`: the packet is too short.
    fn peek<const N: usize>(&self, at: usize) -> Option<[u8; N]>;
}

/// Where a packet goes: the 16 bytes of the address as two words of the machine, an IPv4 address as the last four bytes
/// behind `::ffff:0:0` (RFC 4291, section 2.5.5.2).
#[inline(always)]
pub fn destination(packet: &impl Peek) -> [u64; 2] {
    match packet.peek::<1>(0).map(|[first]| version(first)) {
        Some(4) => {
            let [a, b, c, d] = packet.peek(ipv4::DST_AT).unwrap_or_default();
            [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])]
        }
        Some(6) => words(packet, ipv6::DST_AT).unwrap_or_default(),
        _ => [0; 2],
    }
}

/// Two words: the verifier of BPF programs follows no loop over bytes.
#[inline(always)]
fn words(packet: &impl Peek, at: usize) -> Option<[u64; 2]> {
    Some([u64::from_ne_bytes(packet.peek(at)?), u64::from_ne_bytes(packet.peek(at + 8)?)])
}

/// The slot of the packet's flow, less than [`FLOW_SLOTS`].
///
/// Of a fragment only the addresses count, since only the first has ports. A packet that is no whole IP packet is in slot 0.
#[inline(always)]
pub fn slot(packet: &impl Peek) -> u32 {
    let flow = match packet.peek::<1>(0).map(|[first]| version(first)) {
        Some(4) => flow_v4(packet),
        Some(6) => flow_v6(packet),
        _ => None,
    };
    flow.map_or(0, |(hash, ports_at)| {
        let ports = ports_at.and_then(|at| packet.peek(at)).unwrap_or_default();
        hash.wrapping_add(turn(ports)) >> 24
    })
}

/// A hash of the addresses, and where the ports are.
#[inline(always)]
fn flow_v4(packet: &impl Peek) -> Option<(u32, Option<usize>)> {
    let header = ipv4::Header::from(packet.peek(0)?);
    let addresses = u64::from_ne_bytes(packet.peek(ipv4::SRC_AT)?);
    let ports_at = (!header.is_fragment() && has_ports(header.protocol())).then_some(header.header_len());
    Some((finish(mix(header.protocol().into(), addresses)), ports_at))
}

#[inline(always)]
fn flow_v6(packet: &impl Peek) -> Option<(u32, Option<usize>)> {
    let [protocol] = packet.peek(ipv6::NEXT_HEADER_AT)?;
    let ([a, b], [c, d]) = (words(packet, ipv6::SRC_AT)?, words(packet, ipv6::DST_AT)?);
    let hash = mix(mix(mix(mix(protocol.into(), a), b), c), d);
    Some((finish(hash), has_ports(protocol).then_some(ipv6::LEN)))
}

#[inline(always)]
fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP)
}

/// Multiplication by an odd number carries each bit upwards, the shift carries it down again.
#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}

#[inline(always)]
fn finish(hash: u64) -> u32 {
    (mix(hash, 0) >> 32) as u32
}

/// Each port turns a wheel by an irrational part of its circle (the golden ratio; the root of two): ports that follow each
/// other in equal steps, as those of one program do, come to lie evenly around it, and so do few flows already.
#[inline(always)]
fn turn([a, b, c, d]: [u8; 4]) -> u32 {
    let [source, destination] = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])].map(u32::from);
    source.wrapping_mul(0x9e37_79b9).wrapping_add(destination.wrapping_mul(0x6a09_e667))
}

/// Where the socket of the queue is whose session a message is for: sockets of IPv6 come behind [`MAX_QUEUES`] of IPv4, since
/// they are a group of their own. Who asks for a session is for queue 0. `datagram` starts with its UDP header, `ethertype` is in network order.
#[inline(always)]
pub fn place(datagram: &impl Peek, ethertype: u16) -> u32 {
    queue_at(datagram, udp::LEN).unwrap_or(0) + if ethertype.to_ne_bytes() == ethernet::IPV6 { MAX_QUEUES } else { 0 }
}

/// The queue whose session a message is for. `None`: it names none, as who asks for a session.
#[inline(always)]
pub fn queue_of(message: &impl Peek) -> Option<u32> {
    queue_at(message, 0)
}

#[inline(always)]
fn queue_at(datagram: &impl Peek, message: usize) -> Option<u32> {
    let index_at = match datagram.peek(message)? {
        [RESPONSE, 0, 0, 0] => 8,
        [COOKIE_REPLY | DATA, 0, 0, 0] => 4,
        _ => return None,
    };
    Some(u32::from_le_bytes(datagram.peek(message + index_at)?) >> INDEX_BITS)
}

impl Peek for &[u8] {
    fn peek<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..)?.first_chunk().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(host: u8, protocol: u8, ports: [u8; 4], fragment: [u8; 2]) -> [u8; 24] {
        let [a, b] = fragment;
        let [p, q, r, s] = ports;
        [0x45, 0, 0, 24, 0, 1, a, b, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 81, 0, host, p, q, r, s]
    }

    fn v6(protocol: u8, ports: [u8; 4]) -> [u8; 44] {
        let mut packet = [0x20; 44];
        packet[0] = 0x60;
        packet[6] = protocol;
        packet[40..].copy_from_slice(&ports);
        packet
    }

    #[test]
    fn a_flow_has_one_slot_and_many_flows_fill_all() {
        for family in [4, 6] {
            let mut counts = [0; FLOW_SLOTS as usize];
            for port in 0..16_384_u16 {
                let [high, low] = port.to_be_bytes();
                let ports = [high, low, 0x14, 0x51];
                let slot = match family {
                    4 => slot(&&v4(1, 6, ports, [0x40, 0])[..]),
                    _ => slot(&&v6(6, ports)[..]),
                };
                counts[slot as usize] += 1;
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(*least > 24 && *most < 128, "IPv{family}: {least} to {most} of 64");
        }
    }

    #[test]
    fn few_neighbouring_flows_are_shared_evenly() {
        // As programs open them: one port after the other, or every second one.
        for (first, step) in [(20_000_u16, 1), (33_334, 2), (45_000, 2), (51_234, 1), (60_010, 2)] {
            for reversed in [false, true] {
                let lower = (0..16).filter(|nth| {
                    let ([a, b], [c, d]) = ((first + step * nth).to_be_bytes(), 5_201_u16.to_be_bytes());
                    let ports = if reversed { [c, d, a, b] } else { [a, b, c, d] };
                    slot(&&v4(1, 6, ports, [0x40, 0])[..]) < FLOW_SLOTS / 2
                });
                let lower = lower.count();
                assert!((6..=10).contains(&lower), "{lower} of 16 from port {first} in steps of {step}, {reversed}");
            }
        }
    }

    #[test]
    fn fragments_of_one_datagram_stay_together() {
        let first = v4(1, 17, [1, 2, 3, 4], [0x20, 0]);
        let second = v4(1, 17, [9, 9, 9, 9], [0, 185]);
        assert_eq!(slot(&&first[..]), slot(&&second[..]));
        assert_ne!(slot(&&first[..]), slot(&&v4(1, 17, [1, 2, 3, 4], [0, 0])[..]), "a whole one goes by its ports too");
    }

    #[test]
    fn ports_count_where_there_are_any() {
        let icmp = |ports| slot(&&v4(1, 1, ports, [0, 0])[..]);
        assert_eq!(icmp([8, 0, 1, 1]), icmp([8, 0, 7, 7]), "the bytes of an echo are no ports");
        assert_ne!(slot(&&v6(17, [1, 2, 3, 4])[..]), slot(&&v6(17, [1, 2, 3, 5])[..]));
        assert_eq!(slot(&&v6(44, [1, 2, 3, 4])[..]), slot(&&v6(44, [1, 2, 3, 5])[..]), "a fragment header");
    }

    #[test]
    fn what_is_no_packet_is_in_slot_0() {
        for bytes in [&[][..], &[0x45], &[0x60; 39], &[0x15; 60]] {
            assert_eq!(slot(&bytes), 0);
        }
    }

    #[test]
    fn an_ipv4_destination_is_mapped() {
        let bytes = |packet: &[u8]| destination(&packet).map(u64::to_ne_bytes).concat();
        assert_eq!(bytes(&v4(9, 6, [0; 4], [0, 0])), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 81, 0, 9]);
        assert_eq!(bytes(&v6(6, [0; 4])), [0x20; 16]);
        assert_eq!(bytes(&[0; 4]), [0; 16]);
    }

    #[test]
    fn a_message_names_its_queue_or_is_for_queue_0() {
        let datagram = |head: [u8; 4], words: [u32; 2]| {
            let mut bytes = vec![0xaa; 8];
            bytes.extend(head);
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            assert_eq!(queue_of(&&bytes[8..]).unwrap_or(0), place(&&bytes[..], 0));
            place(&&bytes[..], 0)
        };
        let index = |queue: u32| queue << INDEX_BITS | 0x0123_4567 & ((1 << INDEX_BITS) - 1);
        assert_eq!(datagram([DATA, 0, 0, 0], [index(63), 0]), 63);
        assert_eq!(datagram([COOKIE_REPLY, 0, 0, 0], [index(5), 0]), 5);
        assert_eq!(datagram([RESPONSE, 0, 0, 0], [index(7), index(2)]), 2, "the receiver comes second");
        assert_eq!(datagram([1, 0, 0, 0], [index(9), index(9)]), 0, "an initiation");
        assert_eq!(datagram([DATA, 0, 0, 1], [index(9), index(9)]), 0, "no message");
        assert_eq!(queue_of(&&[DATA, 0, 0, 0, 1, 2][..]), None);
        assert_eq!(place(&&[0_u8; 13][..], u16::from_ne_bytes(ethernet::IPV6)), MAX_QUEUES);
    }
}
