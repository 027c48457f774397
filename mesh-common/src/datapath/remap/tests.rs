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
