//! Properties of cutting and joining: what is cut is right, what is joined is what was cut, and what differs in anything
//! that matters is never joined.

use mesh_common::{checksum, wire::protocol};
use proptest::{collection::vec, prelude::*};

use super::{
    coalesce::{MAX_PARTS, Run},
    flow::{self, Shape},
    segment::{SLACK, Segments},
    vnet::{Gso, Header, LEN, Partial},
};

const MTU: usize = 1_500;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

/// A super-packet as the kernel writes it to a TUN queue.
#[derive(Clone, Debug)]
struct Super {
    is_v4: bool,
    is_tcp: bool,
    tos: u8,
    dont_fragment: bool,
    identification: u16,
    sequence: u32,
    flags: u8,
    options: Vec<u8>,
    size: u16,
    payload: Vec<u8>,
}

fn supers() -> impl Strategy<Value = Super> {
    let header = (any::<bool>(), any::<bool>(), any::<u8>(), any::<bool>(), any::<u16>(), any::<u32>());
    let flags = prop_oneof![4 => Just(ACK), 2 => Just(ACK | PSH), 1 => any::<u8>()];
    let options = (0..=10_usize).prop_flat_map(|words| vec(any::<u8>(), words * 4));
    (header, flags, options, 1..=1_400_u16, vec(any::<u8>(), 1..6_000)).prop_map(
        |((is_v4, is_tcp, tos, dont_fragment, identification, sequence), flags, options, size, payload)| Super {
            is_v4,
            is_tcp,
            tos,
            dont_fragment,
            identification,
            sequence,
            flags,
            options: if is_tcp { options } else { Vec::new() },
            size,
            payload,
        },
    )
}

impl Super {
    fn transport(&self) -> usize {
        if self.is_v4 { 20 } else { 40 }
    }

    fn headers_len(&self) -> usize {
        self.transport() + if self.is_tcp { 20 + self.options.len() } else { 8 }
    }

    fn header(&self) -> Header {
        let gso = match (self.is_tcp, self.is_v4) {
            (true, true) => Gso::TcpV4,
            (true, false) => Gso::TcpV6,
            (false, _) => Gso::Udp,
        };
        let offset = if self.is_tcp { 16 } else { 6 };
        Header {
            partial: Some(Partial { start: self.transport() as u16, offset }),
            gso: Some((gso, self.size)),
            header_len: self.headers_len() as u16,
        }
    }

    /// The packet with an unfinished transport checksum.
    fn bytes(&self) -> Vec<u8> {
        let len = self.headers_len() + self.payload.len();
        let number = if self.is_tcp { protocol::TCP } else { protocol::UDP };
        let mut packet = self.ip(len, number);
        if self.is_tcp {
            packet.extend([0x30, 0x39, 0x14, 0x51]);
            packet.extend(self.sequence.to_be_bytes());
            packet.extend([1, 2, 3, 4, ((20 + self.options.len()) * 4) as u8, self.flags, 0x20, 0, 0, 0, 0, 0]);
            packet.extend(&self.options);
        } else {
            packet.extend([0x30, 0x39, 0x14, 0x51]);
            packet.extend(((len - self.transport()) as u16).to_be_bytes());
            packet.extend([0, 0]);
        }
        packet.extend(&self.payload);
        let sum = checksum::fold(flow::pseudo_header(&packet, self.is_v4, number, len - self.transport()));
        let at = self.transport() + if self.is_tcp { 16 } else { 6 };
        packet[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
        packet
    }

    fn ip(&self, len: usize, number: u8) -> Vec<u8> {
        if self.is_v4 {
            let [id_a, id_b] = self.identification.to_be_bytes();
            let [len_a, len_b] = (len as u16).to_be_bytes();
            let fragment = u8::from(self.dont_fragment) << 6;
            let mut header = vec![0x45, self.tos, len_a, len_b, id_a, id_b, fragment, 0, 63, number, 0, 0];
            header.extend([10, 0, 0, 1, 10, 0, 0, 2]);
            let sum = checksum::finish(checksum::sum(&header));
            header[10..12].copy_from_slice(&sum);
            return header;
        }
        let [len_a, len_b] = ((len - 40) as u16).to_be_bytes();
        let mut header = vec![0x60 | self.tos >> 4, self.tos << 4 | 3, 7, 9, len_a, len_b, number, 63];
        header.extend([0x20; 32]);
        header
    }

    /// The packets that it stands for, without padding.
    fn cut(&self) -> Vec<Vec<u8>> {
        let mut buffer = self.bytes();
        let len = buffer.len();
        buffer.resize(len + SLACK, 0xee);
        let mut segments = Segments::new(&self.header(), &mut buffer, len).unwrap();
        let count = segments.count();
        let mut packets = Vec::new();
        while let Some(padded) = segments.next(MTU) {
            let len = ip_len(padded);
            assert!(padded[len..].iter().all(|byte| *byte == 0));
            assert!(padded.len() % 16 == 0 || padded.len() == MTU);
            packets.push(padded[..len].to_vec());
        }
        assert_eq!(packets.len(), count);
        packets
    }
}

fn ip_len(packet: &[u8]) -> usize {
    match packet[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([packet[2], packet[3]])),
        _ => 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])),
    }
}

/// Packets as they lie in the buffer that they were decrypted to.
struct Decrypted {
    buffer: Vec<u8>,
    at: Vec<std::ops::Range<usize>>,
}

fn decrypted(packets: &[Vec<u8>]) -> Decrypted {
    let mut buffer = vec![0xaa; 64];
    let mut at = Vec::new();
    for packet in packets {
        at.push(buffer.len()..buffer.len() + packet.len());
        buffer.extend(packet);
        buffer.extend([0xbb; 16]);
    }
    Decrypted { buffer, at }
}

/// Joins all packets that can be, for a kernel that takes every super-packet; gives super-packets and their headers.
fn join(packets: &[Vec<u8>]) -> Vec<(Header, Vec<u8>)> {
    join_for(packets, true)
}

/// The same for a kernel that may not take UDP super-packets.
fn join_for(packets: &[Vec<u8>], joins_udp: bool) -> Vec<(Header, Vec<u8>)> {
    let Decrypted { mut buffer, at } = decrypted(packets);
    let mut joined = Vec::new();
    let mut run = Run::default();
    let mut close = |run: &mut Run, buffer: &mut Vec<u8>| {
        if !run.is_empty() {
            let header = run.finish(buffer);
            joined.push((header, run.parts().iter().flat_map(|part| buffer[part.clone()].to_vec()).collect()));
        }
    };
    for at in at {
        if !run.extend(&buffer, at.clone()) {
            close(&mut run, &mut buffer);
            run.begin(&buffer, at, joins_udp);
        }
    }
    close(&mut run, &mut buffer);
    joined
}

fn finish_ip(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        packet[10..12].fill(0);
        let sum = checksum::finish(checksum::sum(&packet[..20]));
        packet[10..12].copy_from_slice(&sum);
    }
}

/// Makes the checksums of a changed packet right again.
fn finish(packet: &mut [u8]) {
    finish_ip(packet);
    let is_v4 = packet[0] >> 4 == 4;
    let (start, number) = if is_v4 { (20, packet[9]) } else { (40, packet[6]) };
    let at = start + if number == protocol::TCP { 16 } else { 6 };
    packet[at..at + 2].fill(0);
    let sum = flow::pseudo_header(packet, is_v4, number, packet.len() - start) + checksum::sum(&packet[start..]);
    let sum = match checksum::finish(sum) {
        [0, 0] => [0xff, 0xff],
        sum => sum,
    };
    packet[at..at + 2].copy_from_slice(&sum);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn what_is_cut_is_right(whole in supers()) {
        let packets = whole.cut();
        let transport = whole.transport();
        let last = packets.len() - 1;
        let mut payload = Vec::new();
        for (at, packet) in packets.iter().enumerate() {
            let shape = Shape::of(packet).unwrap();
            prop_assert!(shape.is_intact(packet), "packet {at}");
            payload.extend_from_slice(&packet[shape.payload..]);
            prop_assert!(at == last || shape.len - shape.payload == usize::from(whole.size));
            if whole.is_v4 {
                prop_assert_eq!(checksum::fold(checksum::sum(&packet[..20])), 0xffff);
                let identification = u16::from_be_bytes([packet[4], packet[5]]);
                prop_assert_eq!(identification, whole.identification.wrapping_add(at as u16));
            }
            if whole.is_tcp {
                let sequence = u32::from_be_bytes(packet[transport + 4..transport + 8].try_into().unwrap());
                prop_assert_eq!(sequence, whole.sequence.wrapping_add((at * usize::from(whole.size)) as u32));
                let mut flags = whole.flags;
                flags &= if at < last { !(FIN | PSH) } else { !0 };
                flags &= if at > 0 { !CWR } else { !0 };
                prop_assert_eq!(packet[transport + 13], flags);
            }
        }
        prop_assert_eq!(payload, whole.payload);
    }

    #[test]
    fn what_is_joined_is_what_was_cut(whole in supers(), joins_udp in any::<bool>()) {
        let packets = whole.cut();
        let joined = join_for(&packets, joins_udp);
        if !joins_udp && !whole.is_tcp {
            let alone: Vec<_> = packets.iter().map(|packet| (Header::default(), packet.clone())).collect();
            prop_assert_eq!(joined, alone);
            return Ok(());
        }
        let is_plain = !whole.is_tcp || whole.flags & !(PSH | ECE) == ACK;
        if is_plain && packets.len() > 1 {
            prop_assert_eq!(joined.len(), packets.len().div_ceil(MAX_PARTS));
        }
        if is_plain && (2..=MAX_PARTS).contains(&packets.len()) {
            prop_assert_eq!(&joined[0].0, &whole.header());
            prop_assert_eq!(&joined[0].1, &whole.bytes());
        }
        // Whatever was joined comes out as the same packets again.
        let mut again = Vec::new();
        for (header, mut bytes) in joined {
            let len = bytes.len();
            bytes.resize(len + SLACK, 0);
            let mut segments = Segments::new(&header, &mut bytes, len).unwrap();
            while let Some(packet) = segments.next(MTU) {
                again.push(packet[..ip_len(packet)].to_vec());
            }
        }
        prop_assert_eq!(again, packets);
    }

    /// One bit of the second packet's headers is another one, and the checksums are right.
    #[test]
    fn packets_that_differ_are_not_joined(whole in supers(), byte in 0..100_usize, bit in 0..8_u8) {
        let whole = Super { flags: ACK, dont_fragment: false, size: 100, ..whole };
        prop_assume!(whole.payload.len() >= 200);
        let mut packets = whole.cut();
        packets.truncate(2);
        prop_assert_eq!(join(&packets).len(), 1);
        let byte = byte % whole.headers_len();
        packets[1][byte] ^= 1 << bit;
        let at = whole.transport();
        let checksum_at = at + if whole.is_tcp { 16 } else { 6 };
        let is_derived = (checksum_at..checksum_at + 2).contains(&byte) || whole.is_v4 && (10..12).contains(&byte);
        let is_push = whole.is_tcp && byte == at + 13 && 1 << bit == PSH;
        prop_assume!(!is_derived);
        if !packet_is_cut_short(&packets[1]) {
            finish(&mut packets[1]);
        }
        prop_assert_eq!(join(&packets).len(), if is_push { 1 } else { 2 }, "byte {} bit {}", byte, bit);
    }

    #[test]
    fn a_wrong_checksum_is_not_joined_and_not_mended(whole in supers(), which in 0..2_usize, of_ip in any::<bool>()) {
        let whole = Super { flags: ACK, size: 100, ..whole };
        prop_assume!(whole.payload.len() >= 200);
        let mut packets = whole.cut();
        packets.truncate(2);
        let at = if of_ip && whole.is_v4 { 10 } else { packets[which].len() - 1 };
        packets[which][at] ^= 1;
        let joined: Vec<_> = join(&packets).into_iter().map(|(_, bytes)| bytes).collect();
        prop_assert_eq!(joined, packets);
    }

    #[test]
    fn no_bytes_make_it_panic(
        header in any::<[u8; LEN]>(),
        packet in vec(any::<u8>(), 0..300),
        mtu in 0..2_000_usize,
        joins_udp in any::<bool>(),
    ) {
        let mut buffer = packet.clone();
        buffer.resize(packet.len() + SLACK, 0);
        if let Ok(header) = Header::parse(header)
            && let Ok(mut segments) = Segments::new(&header, &mut buffer, packet.len())
        {
            while let Some(segment) = segments.next(mtu) {
                prop_assert!(segment.len() <= packet.len() + SLACK);
            }
        }
        join_for(&[packet.clone(), packet], joins_udp);
    }
}

/// The change made a length field or a type so that [`finish`] cannot find the checksum.
fn packet_is_cut_short(packet: &[u8]) -> bool {
    let (start, number) = match packet[0] {
        0x45 => (20, packet[9]),
        first if first >> 4 == 6 => (40, packet[6]),
        _ => return true,
    };
    packet.len() < start + 18 || ![protocol::TCP, protocol::UDP].contains(&number)
}

#[test]
fn flags_that_mean_one_packet_are_not_joined() {
    let base = Super {
        is_v4: true,
        is_tcp: true,
        tos: 0,
        dont_fragment: true,
        identification: 0,
        sequence: 0xffff_ffff,
        flags: ACK,
        options: Vec::new(),
        size: 10,
        payload: vec![1; 30],
    };
    assert_eq!(join(&base.cut()).len(), 1);
    assert_eq!(join(&Super { flags: ACK | ECE, ..base.clone() }.cut()).len(), 1);
    for flags in [ACK | FIN, ACK | SYN, ACK | RST, ACK | URG, ACK | CWR, 0] {
        let mut packets = base.cut();
        for packet in &mut packets {
            packet[33] = flags;
            finish(packet);
        }
        assert_eq!(join(&packets).len(), 3, "flags {flags:#x}");
    }
    // A pushed packet ends a super-packet, and the next one begins another.
    let mut packets = base.cut();
    packets[1][33] |= PSH;
    finish(&mut packets[1]);
    let joined = join(&packets);
    assert_eq!(joined.len(), 2);
    assert_eq!(joined[0].1[33], ACK | PSH);
}
