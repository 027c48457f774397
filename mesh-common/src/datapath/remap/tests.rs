//! What the rewrite keeps, and what it refuses, case by case.

use super::*;
use crate::{
    checksum::{finish, fold, pseudo_header, sum},
    frame::{Checksum, SliceFrame},
    ids::{ConnectionId, IfIndex},
    maps::{Entry4, Role},
    testkit::MemoryTables,
};

const LOCAL: RemapId = RemapId(1);
const REMOTE: RemapId = RemapId(2);
const MESH_WIDE: RemapId = RemapId(3);
const TUNNEL: ConnectionId = ConnectionId(7);
const DIRECT: ConnectionId = ConnectionId(8);
const WIRE: IfIndex = IfIndex(4);

fn entry(to: [u8; 4], remap: RemapId, role: Role) -> Entry4 {
    Entry4 { to, remap: remap.0, len: 16, role }
}

/// Our pods 10.243/16 are presented as 10.60/16. A tunnelled remote with the same pods is 10.71/16 here; a `direct` one
/// is 10.61/16 to everybody; a second tunnelled one is 10.62/16 to everybody.
fn tables() -> MemoryTables {
    let mut tables = MemoryTables::default();
    tables.insert_v4([10, 243, 0, 0], 16, entry([10, 60, 0, 0], LOCAL, Role::LOCAL));
    tables.insert_v4([10, 60, 0, 0], 16, entry([10, 243, 0, 0], LOCAL, Role::PRESENTED));
    tables.insert_v4([10, 71, 0, 0], 16, entry([10, 243, 0, 0], REMOTE, Role::TUNNEL));
    tables.insert_v4([10, 61, 0, 0], 16, entry([10, 61, 0, 0], MESH_WIDE, Role::DIRECT));
    tables.insert_v4([10, 62, 0, 0], 16, entry([10, 62, 0, 0], REMOTE, Role::TUNNEL.with(Role::PRESENT_SOURCE)));
    tables.announce_v4(TUNNEL, [10, 243, 0, 0], 16, entry([10, 71, 0, 0], REMOTE, Role::NONE));
    tables.insert_remap(REMOTE, TUNNEL, 0);
    tables.insert_remap(MESH_WIDE, DIRECT, WIRE.0);
    tables.node.unknown_v4 = [10, 70, 0, 1];
    tables.node.unknown_v4_presented = [10, 80, 0, 1];
    tables
}

/// An IPv4 packet with true checksums.
fn packet(src: [u8; 4], dst: [u8; 4], protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0_u8; 20];
    bytes.extend_from_slice(body);
    bytes[0] = 0x45;
    let len = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    bytes[8] = 64;
    bytes[9] = protocol;
    bytes[12..16].copy_from_slice(&src);
    bytes[16..20].copy_from_slice(&dst);
    let header = finish(sum(&bytes[..20]));
    bytes[10..12].copy_from_slice(&header);
    let pseudo = pseudo_header(src, dst, protocol, body.len() as u32);
    let (at, start) = match protocol {
        6 => (36, pseudo),
        17 => (26, pseudo),
        1 => (22, 0),
        _ => return bytes,
    };
    let sum = finish(start + sum(&bytes[20..]));
    bytes[at..at + 2].copy_from_slice(&sum);
    bytes
}

fn run(bytes: &mut [u8], ingress: Ingress) -> Verdict {
    remap(&mut SliceFrame::new(bytes), 0, ingress, &tables())
}

const POD: [u8; 4] = [10, 243, 1, 5];
const PEER: [u8; 4] = [10, 71, 2, 7];

#[test]
fn a_tunnelled_packet_is_rewritten_on_both_sides() {
    for (protocol, len) in [(6, 40), (17, 21), (1, 64), (132, 12), (200, 0)] {
        let body: Vec<u8> = if protocol == 1 { [&[8, 0, 0, 0][..], &[7; 60]].concat() } else { (0..len).collect() };
        let mut bytes = packet(POD, PEER, protocol, &body);
        let verdict = run(&mut bytes, Ingress::Tun);
        assert_eq!(verdict, Verdict::Accept { remap: REMOTE, connection: TUNNEL });
        assert_eq!(bytes, packet(POD, [10, 243, 2, 7], protocol, &body), "protocol {protocol} leaves");
        let verdict = run(&mut bytes, Ingress::Tunnel(TUNNEL));
        assert_eq!(verdict, Verdict::Accept { remap: REMOTE, connection: TUNNEL });
        assert_eq!(bytes, packet([10, 71, 1, 5], [10, 243, 2, 7], protocol, &body), "protocol {protocol} arrives");
    }
}

#[test]
fn only_our_pods_enter_a_tunnel() {
    let mut bytes = packet([10, 99, 0, 1], PEER, 17, &[0; 8]);
    assert_eq!(run(&mut bytes, Ingress::Tun), Verdict::Drop(DropReason::SpoofedSource));
    let mut bytes = packet(POD, [10, 99, 0, 1], 17, &[0; 8]);
    assert_eq!(run(&mut bytes, Ingress::Tun), Verdict::Drop(DropReason::NotOurDestination));
}

#[test]
fn a_remote_sends_only_from_what_it_announced_and_only_to_us() {
    let cases = [
        ([10, 99, 0, 1], POD, DropReason::SpoofedSource),
        (POD, [10, 61, 0, 1], DropReason::Transit),
        (POD, [8, 8, 8, 8], DropReason::NotOurDestination),
    ];
    for (src, dst, reason) in cases {
        let mut bytes = packet(src, dst, 17, &[0; 8]);
        assert_eq!(run(&mut bytes, Ingress::Tunnel(TUNNEL)), Verdict::Drop(reason));
        assert_eq!(bytes, packet(src, dst, 17, &[0; 8]), "a drop writes nothing");
    }
}

#[test]
fn a_direct_packet_leaves_and_enters_presented() {
    let body = [9; 32];
    let mut bytes = packet(POD, [10, 61, 2, 7], 6, &body);
    assert!(matches!(run(&mut bytes, Ingress::Workload), Verdict::Accept { connection: DIRECT, .. }));
    assert_eq!(bytes, packet([10, 60, 1, 5], [10, 61, 2, 7], 6, &body));
    let mut bytes = packet([10, 61, 2, 7], [10, 60, 1, 5], 6, &body);
    assert!(matches!(run(&mut bytes, Ingress::Underlay(WIRE)), Verdict::Accept { connection: DIRECT, .. }));
    assert_eq!(bytes, packet([10, 61, 2, 7], POD, 6, &body));
    let elsewhere = Ingress::Underlay(IfIndex(5));
    let mut bytes = packet([10, 61, 2, 7], [10, 60, 1, 5], 6, &body);
    assert_eq!(run(&mut bytes, elsewhere), Verdict::Drop(DropReason::SpoofedSource));
}

#[test]
fn a_partial_checksum_stays_the_sum_of_the_pseudo_header() {
    for (protocol, at) in [(6, 36), (17, 26)] {
        let mut bytes = packet(POD, PEER, protocol, &[1; 40]);
        let before = fold(pseudo_header(POD, PEER, protocol, 40)).to_ne_bytes();
        bytes[at..at + 2].copy_from_slice(&before);
        let mut frame = SliceFrame::new(&mut bytes).checksum(Checksum::Partial { at });
        assert!(matches!(remap(&mut frame, 0, Ingress::Tun, &tables()), Verdict::Accept { .. }));
        let after = fold(pseudo_header(POD, [10, 243, 2, 7], protocol, 40)).to_ne_bytes();
        assert_eq!(bytes[at..at + 2], after);
    }
}

#[test]
fn later_fragments_are_rewritten_by_address_only() {
    let mut bytes = packet(POD, PEER, 6, &[5; 40]);
    let body = bytes[20..].to_vec();
    bytes[6..8].copy_from_slice(&[0x00, 0x10]);
    bytes[10..12].fill(0);
    let header = finish(sum(&bytes[..20]));
    bytes[10..12].copy_from_slice(&header);
    assert!(matches!(run(&mut bytes, Ingress::Tun), Verdict::Accept { .. }));
    assert_eq!(bytes[20..], body);
    assert_eq!(fold(sum(&bytes[..20])), 0xffff);
}

#[test]
fn an_error_is_rewritten_with_its_quote() {
    // Our pod answers "port unreachable" to a datagram of the remote: 28 bytes are quoted.
    let datagram = packet(PEER, POD, 17, &[1; 30]);
    let error = |src, quote: &[u8]| packet(src, PEER, 1, &[&[3, 3, 0, 0, 0, 0, 0, 0][..], quote].concat());
    let mut bytes = error(POD, &datagram[..28]);
    assert_eq!(run(&mut bytes, Ingress::Tun), Verdict::Accept { remap: REMOTE, connection: TUNNEL });
    let there = packet([10, 243, 2, 7], POD, 17, &[1; 30]);
    let want = packet(POD, [10, 243, 2, 7], 1, &[&[3, 3, 0, 0, 0, 0, 0, 0][..], &there[..28]].concat());
    assert_eq!(bytes, want);
    // A router of ours says the same, without an address that the remote may see.
    let mut bytes = error([192, 168, 0, 1], &datagram[..28]);
    assert!(matches!(run(&mut bytes, Ingress::Tun), Verdict::Accept { .. }));
    let want = packet([10, 70, 0, 1], [10, 243, 2, 7], 1, &[&[3, 3, 0, 0, 0, 0, 0, 0][..], &there[..28]].concat());
    assert_eq!(bytes, want);
}

#[test]
fn a_foreign_quote_goes_nowhere() {
    let datagram = packet(PEER, [10, 99, 0, 1], 17, &[1; 8]);
    let mut bytes = packet(POD, PEER, 1, &[&[3, 3, 0, 0, 0, 0, 0, 0][..], &datagram].concat());
    assert_eq!(run(&mut bytes, Ingress::Tun), Verdict::Drop(DropReason::ForeignQuote));
    let mut bytes = packet([192, 168, 0, 1], PEER, 1, &[&[3, 3, 0, 0, 0, 0, 0, 0][..], &datagram].concat());
    assert_eq!(run(&mut bytes, Ingress::Tun), Verdict::Drop(DropReason::SpoofedSource));
}

#[test]
fn a_direct_remote_reports_only_on_its_own_packets() {
    let mut tables = tables();
    tables.insert_v4([10, 63, 0, 0], 16, entry([10, 63, 0, 0], RemapId(5), Role::DIRECT));
    tables.insert_remap(RemapId(5), ConnectionId(9), WIRE.0);
    let presented = [10, 60, 1, 5];
    let report = |on: [u8; 4]| {
        let datagram = packet(presented, on, 17, &[1; 8]);
        let mut bytes = packet([10, 61, 2, 7], presented, 1, &[&[3, 3, 0, 0, 0, 0, 0, 0][..], &datagram].concat());
        remap(&mut SliceFrame::new(&mut bytes), 0, Ingress::Underlay(WIRE), &tables)
    };
    assert_eq!(report([10, 61, 9, 9]), Verdict::Accept { remap: MESH_WIDE, connection: DIRECT });
    assert_eq!(report([10, 63, 9, 9]), Verdict::Drop(DropReason::ForeignQuote));
}

#[test]
fn an_error_from_elsewhere_needs_an_address_that_may_be_shown() {
    let mut tables = tables();
    tables.node.unknown_v4 = [0; 4];
    let datagram = packet(PEER, POD, 17, &[1; 8]);
    let mut bytes = packet([192, 168, 0, 1], PEER, 1, &[&[11, 0, 0, 0, 0, 0, 0, 0][..], &datagram].concat());
    let verdict = remap(&mut SliceFrame::new(&mut bytes), 0, Ingress::Tun, &tables);
    assert_eq!(verdict, Verdict::Drop(DropReason::SpoofedSource));
}

#[test]
fn a_remap_that_was_just_taken_away_lets_nothing_through() {
    let mut tables = tables();
    tables.remaps.clear();
    let mut bytes = packet(POD, PEER, 17, &[1; 8]);
    let verdict = remap(&mut SliceFrame::new(&mut bytes), 0, Ingress::Tun, &tables);
    assert_eq!(verdict, Verdict::Drop(DropReason::NotOurDestination));
    assert_eq!(bytes, packet(POD, PEER, 17, &[1; 8]));
}

#[test]
fn headers_that_claim_too_much_or_too_little_are_dropped() {
    let good = packet(POD, PEER, 6, &[0; 40]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        run(&mut bytes, Ingress::Tun)
    };
    assert_eq!(with(3, 61), Verdict::Drop(DropReason::Truncated), "longer than the frame");
    assert_eq!(with(3, 37), Verdict::Drop(DropReason::Truncated), "shorter than its checksum's place");
    assert_eq!(with(3, 19), Verdict::Drop(DropReason::Malformed), "shorter than its header");
    assert_eq!(with(0, 0x44), Verdict::Drop(DropReason::Malformed), "a header of 16 bytes");
    assert_eq!(with(0, 0x4f), Verdict::Drop(DropReason::Truncated), "options instead of a transport");
    assert_eq!(with(0, 0x55), Verdict::Drop(DropReason::UnknownVersion));
    assert_eq!(run(&mut good[..19].to_vec(), Ingress::Tun), Verdict::Drop(DropReason::Truncated));
    assert_eq!(run(&mut [], Ingress::Tun), Verdict::Drop(DropReason::Truncated));
    assert_eq!(run(&mut [], Ingress::Workload), Verdict::Pass, "nobody's");
}

mod v6 {
    use super::*;
    use crate::testkit::{Ip, Packet, World, sums};

    const TUNNELLED: Ip = Ip::V6([0xfd, 0, 0, 0, 0, 71, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    const THERE: Ip = Ip::V6([0xfd, 0, 0, 0, 0, 243, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    const POD: Ip = Ip::V6([0xfd, 0, 0, 0, 0, 243, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5]);
    const ROUTER: Ip = Ip::V6([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    const UNKNOWN: Ip = Ip::V6([0xfd, 0, 0, 0, 0, 243, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1]);

    fn leave(bytes: &mut [u8]) -> Verdict {
        remap(&mut SliceFrame::new(bytes), 0, Ingress::Tun, &World::new(WIRE).tables)
    }

    #[test]
    fn every_transport_is_rewritten() {
        for protocol in [6, 17, 58, 132, 200] {
            let body: Vec<u8> = (128..190).collect();
            let mut bytes = Packet::new(POD, TUNNELLED, protocol, body.clone()).build();
            assert!(matches!(leave(&mut bytes), Verdict::Accept { .. }), "protocol {protocol}");
            assert_eq!(bytes, Packet::new(POD, THERE, protocol, body).build(), "protocol {protocol}");
        }
    }

    #[test]
    fn extension_headers_are_walked_and_no_more_than_six() {
        for count in 0..=8 {
            let build = |dst| {
                let mut packet = Packet::new(POD, dst, 6, vec![3; 40]);
                packet.options = [0; 8].repeat(count);
                packet.build()
            };
            let mut bytes = build(TUNNELLED);
            let verdict = leave(&mut bytes);
            if count <= 6 {
                assert!(matches!(verdict, Verdict::Accept { .. }), "{count} extensions: {verdict:?}");
                assert_eq!(bytes, build(THERE));
            } else {
                assert_eq!(verdict, Verdict::Drop(DropReason::Malformed), "{count} extensions");
                assert_eq!(bytes, build(TUNNELLED));
            }
        }
    }

    #[test]
    fn a_routing_header_with_hops_left_is_refused() {
        for (left, accepted) in [(0, true), (1, false)] {
            let mut packet = Packet::new(POD, TUNNELLED, 43, [&[6, 0, 4, left, 0, 0, 0, 0][..], &[3; 40]].concat());
            packet.no_checksum = true;
            let mut bytes = packet.build();
            let verdict = leave(&mut bytes);
            assert_eq!(matches!(verdict, Verdict::Accept { .. }), accepted, "{verdict:?}");
            assert_eq!(verdict == Verdict::Drop(DropReason::SourceRouted), !accepted, "{verdict:?}");
        }
    }

    #[test]
    fn fragments_change_their_checksum_only_in_the_first() {
        let (before, after) = (Packet::new(POD, TUNNELLED, 17, vec![3; 80]), Packet::new(POD, THERE, 17, vec![3; 80]));
        for (start, end) in [(0, 40), (40, 80)] {
            let mut bytes = before.fragment(start, end);
            assert!(matches!(leave(&mut bytes), Verdict::Accept { .. }));
            assert_eq!(bytes, after.fragment(start, end));
        }
    }

    #[test]
    fn an_error_is_rewritten_with_its_quote_wherever_that_ends() {
        let (came, went) = (Packet::new(TUNNELLED, POD, 17, vec![3; 30]), Packet::new(THERE, POD, 17, vec![3; 30]));
        for (source, shown) in [(POD, POD), (ROUTER, UNKNOWN)] {
            for kept in 40..=70 {
                let error = |src, dst, quote: &[u8]| {
                    Packet::new(src, dst, 58, [&[1, 4, 0, 0, 0, 0, 0, 0][..], &quote[..kept]].concat()).build()
                };
                let mut bytes = error(source, TUNNELLED, &came.build());
                assert!(matches!(leave(&mut bytes), Verdict::Accept { .. }), "{kept} bytes quoted");
                // A quote of 47 bytes ends within the checksum, which then cannot follow.
                if kept != 47 {
                    assert_eq!(bytes, error(shown, THERE, &went.build()), "{kept} bytes quoted");
                }
                assert!(sums(&bytes, &went.build()[kept..]).iter().all(|sum| sum.error == 0));
            }
        }
    }
}
