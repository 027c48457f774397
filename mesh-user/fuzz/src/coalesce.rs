//! Packets of a peer that proved itself, and may still send anything inside.

use std::ops::Range;

use mesh_core::tunnel::{
    coalesce::Run,
    segment::{SLACK, Segments},
    vnet::Gso,
};

use crate::{Bytes, unpadded};

/// Packets, each after two bytes of its length. What was joined comes out the same when it is cut again, and nothing is
/// lost or added. The packets are not rewritten in between. All holds for a kernel that takes UDP super-packets and for one that does
/// not, which gets none.
pub fn coalesce(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let (mut buffer, mut packets) = (Vec::new(), Vec::new());
    while !bytes.is_empty() && packets.len() < 200 {
        let len = usize::from(u16::from_le_bytes(bytes.array()) & 0x7ff);
        let packet = bytes.take(len);
        if packet.is_empty() {
            continue;
        }
        packets.push(buffer.len()..buffer.len() + packet.len());
        buffer.extend_from_slice(packet);
    }
    for joins_udp in [true, false] {
        join(buffer.clone(), &packets, joins_udp);
    }
}

fn join(mut buffer: Vec<u8>, packets: &[Range<usize>], joins_udp: bool) {
    let before = buffer.clone();
    let mut run = Run::default();
    let mut first = 0;
    for (at, packet) in packets.iter().enumerate() {
        if !run.extend(&buffer, packet.clone()) {
            cut_again(&mut run, &mut buffer, &packets[first..at], &before, joins_udp);
            first = at;
            run.begin(&buffer, packet.clone(), joins_udp);
        }
    }
    cut_again(&mut run, &mut buffer, &packets[first..], &before, joins_udp);
}

fn cut_again(run: &mut Run, buffer: &mut [u8], packets: &[Range<usize>], before: &[u8], joins_udp: bool) {
    if run.is_empty() {
        return;
    }
    let header = run.finish(buffer);
    assert!(joins_udp || !matches!(header.gso, Some((Gso::Udp, _))), "the kernel takes no UDP super-packet");
    let mut joined: Vec<u8> = run.parts().iter().flat_map(|part| buffer[part.clone()].iter().copied()).collect();
    let len = joined.len();
    joined.resize(len + SLACK, 0);
    // A packet alone is as it came, whatever it is.
    if let [alone] = packets {
        assert_eq!(&joined[..len], &before[alone.clone()]);
        return;
    }
    let mut segments = Segments::new(&header, &mut joined, len).expect("what was joined can be cut");
    for packet in packets {
        let segment = segments.next(usize::MAX).expect("as many packets as were joined");
        assert_eq!(comparable(unpadded(segment)), comparable(&before[packet.clone()]));
    }
    assert!(segments.next(usize::MAX).is_none());
}

/// Without what nobody may rely on: an IPv4 packet that may not be fragmented needs no identification (RFC 6864), so it may
/// come out with another one, and the header checksum that goes with it.
fn comparable(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet.len() >= 20 && packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}
