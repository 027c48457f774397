//! Named cases of the whole pipeline.

use super::*;
use crate::{
    checksum::{finish, sum},
    frame::SliceFrame,
    testkit::{FixedFib, Ip, Packet, World, sums},
    wire::protocol,
};

const WIRE: IfIndex = IfIndex(4);
const OUT: IfIndex = IfIndex(9);
const LINK: Link = Link { dst: [2, 0, 0, 0, 0, 9], src: [2, 0, 0, 0, 0, 8] };
const ONWARD: Route = Route::Redirect { interface: OUT, link: Some(LINK) };
const FRAME_LINK: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];

const POD: [u8; 4] = [10, 243, 1, 5];
const POD_PRESENTED: [u8; 4] = [10, 60, 1, 5];
const REMOTE: [u8; 4] = [10, 61, 2, 7];

fn pod_v6(prefix: u8) -> Ip {
    Ip::V6([0xfd, 0, 0, 0, 0, prefix, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5])
}

fn remote_v6() -> Ip {
    Ip::V6([0xfd, 0, 0, 0, 0, 61, 0, 0, 0, 0, 0, 0, 0, 0, 2, 7])
}

/// UDP of `len` bytes in all, behind an IPv4 header without options.
fn datagram(src: Ip, dst: Ip, len: usize) -> Packet {
    let mut transport = vec![7; len - 20];
    transport[..4].copy_from_slice(&[0x30, 0x39, 0, 53]);
    transport[4..6].copy_from_slice(&(len as u16 - 20).to_be_bytes());
    Packet::new(src, dst, protocol::UDP, transport)
}

fn outgoing(len: usize) -> Packet {
    datagram(Ip::V4(POD), Ip::V4(REMOTE), len)
}

/// A frame with room for an error in front.
struct Bench {
    world: World,
    buffer: Vec<u8>,
}

const HEADROOM: usize = 64;

impl Bench {
    fn new(packet: &[u8]) -> Bench {
        let mut link = FRAME_LINK;
        if packet[0] >> 4 == 6 {
            link[12..].copy_from_slice(&ethernet::IPV6);
        }
        Bench { world: World::new(WIRE), buffer: [&[0; HEADROOM][..], &link, packet].concat() }
    }

    fn run(&mut self, door: Ingress, route: Route, onward: Onward) -> (KernelVerdict, Vec<u8>) {
        let mut frame = SliceFrame::with_headroom(&mut self.buffer, HEADROOM);
        let fib = FixedFib { mtu: 1_300, route, onward };
        let verdict = ingress(&mut frame, ethernet::LEN, door, &self.world.tables, &fib);
        (verdict, frame.bytes().to_vec())
    }
}

fn run(packet: &[u8], door: Ingress, route: Route) -> (KernelVerdict, Vec<u8>) {
    Bench::new(packet).run(door, route, Onward::Redirect)
}

#[test]
fn a_redirected_packet_is_a_hop_older_and_on_its_link() {
    let (verdict, frame) = run(&outgoing(100).build(), Ingress::Workload, ONWARD);
    assert_eq!(verdict, KernelVerdict::Redirect { remap: RemapId(4), interface: OUT });
    let mut want = datagram(Ip::V4(POD_PRESENTED), Ip::V4(REMOTE), 100);
    want.ttl = 63;
    assert_eq!(frame[..14], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0]);
    assert_eq!(frame[14..], want.build());
}

#[test]
fn a_packet_passed_up_keeps_its_ttl_and_its_link() {
    let want = datagram(Ip::V4(POD_PRESENTED), Ip::V4(REMOTE), 100).build();
    for (route, onward) in [
        (Route::NeedsKernel, Onward::Redirect),
        (Route::Local, Onward::Redirect),
        (ONWARD, Onward::PassUp),
        // Too small to ask: not even an unreachable route is seen.
        (Route::Unreachable, Onward::PassUp),
    ] {
        let (verdict, frame) = Bench::new(&outgoing(100).build()).run(Ingress::Workload, route, onward);
        assert_eq!(verdict, KernelVerdict::PassRewritten { remap: RemapId(4) }, "{route:?} {onward:?}");
        assert_eq!(frame, [&FRAME_LINK[..], &want].concat());
    }
}

/// The error about `packet`, from our gateway to the pod, in IPv4.
fn error_v4(packet: &[u8], head: [u8; 8], quoted: usize) -> Vec<u8> {
    let transport = [&head[..], &packet[..quoted]].concat();
    let mut error = Packet::new(Ip::V4([10, 243, 255, 2]), Ip::V4(POD), protocol::ICMP, transport);
    error.dont_fragment = true;
    let mut bytes = error.build();
    // The type of service of the kernel's own errors, and no identification.
    bytes[1] = 0xc0;
    bytes[4..6].fill(0);
    bytes[10..12].fill(0);
    let sum = finish(sum(&bytes[..20]));
    bytes[10..12].copy_from_slice(&sum);
    bytes
}

#[test]
fn a_used_up_ttl_is_told_with_the_packet_as_it_came() {
    for ttl in [0, 1] {
        for (route, onward) in
            [(ONWARD, Onward::Redirect), (Route::NeedsKernel, Onward::Redirect), (ONWARD, Onward::PassUp)]
        {
            let mut packet = outgoing(100);
            packet.ttl = ttl;
            let packet = packet.build();
            let (verdict, frame) = Bench::new(&packet).run(Ingress::Workload, route, onward);
            assert_eq!(verdict, KernelVerdict::Reply(DropReason::TtlExpired));
            assert_eq!(frame[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0], "back where it came from");
            assert_eq!(frame[14..], error_v4(&packet, [11, 0, 0, 0, 0, 0, 0, 0], 40));
        }
    }
}

#[test]
fn what_is_delivered_here_may_have_used_up_its_ttl() {
    let mut packet = outgoing(100);
    packet.ttl = 1;
    let (verdict, _) = run(&packet.build(), Ingress::Workload, Route::Local);
    assert_eq!(verdict, KernelVerdict::PassRewritten { remap: RemapId(4) });
}

#[test]
fn too_big_with_df_is_told_and_without_left_to_the_kernel() {
    for onward in [Onward::Redirect, Onward::PassUp] {
        let mut packet = outgoing(1_301);
        packet.dont_fragment = true;
        let bytes = packet.build();
        let (verdict, frame) = Bench::new(&bytes).run(Ingress::Workload, ONWARD, onward);
        assert_eq!(verdict, KernelVerdict::Reply(DropReason::TooBig));
        assert_eq!(frame[14..], error_v4(&bytes, [3, 4, 0, 0, 0, 0, 0x05, 0x14], 40));

        packet.dont_fragment = false;
        let (verdict, frame) = Bench::new(&packet.build()).run(Ingress::Workload, ONWARD, onward);
        assert_eq!(verdict, KernelVerdict::PassRewritten { remap: RemapId(4) });
        assert_eq!(frame[14..], datagram(Ip::V4(POD_PRESENTED), Ip::V4(REMOTE), 1_301).build());
    }
}

#[test]
fn a_super_packet_is_as_long_as_its_segments() {
    let mut transport = vec![7; 8_000];
    transport[12] = 0x50;
    let mut packet = Packet::new(Ip::V4(POD), Ip::V4(REMOTE), protocol::TCP, transport);
    packet.dont_fragment = true;
    let mut bytes = [&FRAME_LINK[..], &packet.build()].concat();
    let tables = World::new(WIRE).tables;
    let fib = FixedFib { mtu: 1_300, route: ONWARD, onward: Onward::Redirect };
    for (gso_size, redirected) in [(1_260, true), (1_261, false)] {
        let mut bytes = bytes.clone();
        let mut frame = SliceFrame::new(&mut bytes).super_packet(gso_size);
        let verdict = ingress(&mut frame, 14, Ingress::Workload, &tables, &fib);
        assert_eq!(matches!(verdict, KernelVerdict::Redirect { .. }), redirected, "{verdict:?}");
    }
    let verdict = ingress(&mut SliceFrame::new(&mut bytes), 14, Ingress::Workload, &tables, &fib);
    assert_eq!(verdict, KernelVerdict::Drop(DropReason::TooBig), "no room for an error here");
}

#[test]
fn a_way_that_is_closed_is_told() {
    let packet = outgoing(100).build();
    let (verdict, frame) = run(&packet, Ingress::Workload, Route::Unreachable);
    assert_eq!(verdict, KernelVerdict::Reply(DropReason::NoRoute));
    assert_eq!(frame[14..], error_v4(&packet, [3, 1, 0, 0, 0, 0, 0, 0], 40));
    let (verdict, frame) = run(&packet, Ingress::Workload, Route::Prohibited);
    assert_eq!(verdict, KernelVerdict::Reply(DropReason::NotOurDestination));
    assert_eq!(frame[14..], error_v4(&packet, [3, 13, 0, 0, 0, 0, 0, 0], 40));
}

#[test]
fn ipv6_errors_have_their_own_types_and_always_tell_of_size() {
    let packet = Packet { ttl: 64, ..datagram(pod_v6(243), remote_v6(), 1_301) };
    let mut expired = packet.clone();
    expired.ttl = 1;
    let cases = [
        (&packet, ONWARD, [2, 0, 0, 0, 0, 0, 0x05, 0x14], DropReason::TooBig),
        (&expired, ONWARD, [3, 0, 0, 0, 0, 0, 0, 0], DropReason::TtlExpired),
        (&packet, Route::Unreachable, [1, 3, 0, 0, 0, 0, 0, 0], DropReason::NoRoute),
        (&packet, Route::Prohibited, [1, 1, 0, 0, 0, 0, 0, 0], DropReason::NotOurDestination),
    ];
    for (packet, route, head, reason) in cases {
        let bytes = packet.build();
        let (verdict, frame) = run(&bytes, Ingress::Workload, route);
        assert_eq!(verdict, KernelVerdict::Reply(reason));
        let gateway = Ip::V6([0xfd, 0, 0, 0, 0, 243, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 2]);
        let transport = [&head[..], &bytes[..88]].concat();
        let mut want = Packet::new(gateway, packet.src, protocol::ICMPV6, transport).build();
        want[0] = 0x6c;
        assert_eq!(frame[14..], want);
    }
}

#[test]
fn towards_the_underlay_errors_come_from_the_presented_gateway() {
    let mut packet = datagram(Ip::V4(REMOTE), Ip::V4(POD_PRESENTED), 60);
    packet.ttl = 1;
    let packet = packet.build();
    let (verdict, frame) = run(&packet, Ingress::Underlay(WIRE), ONWARD);
    assert_eq!(verdict, KernelVerdict::Reply(DropReason::TtlExpired));
    assert_eq!((&frame[26..30], &frame[30..34]), (&[10, 60, 255, 2][..], &REMOTE[..]));
    assert!(sums(&frame[14..], &packet[40..]).iter().all(|sum| sum.error == 0));
}

#[test]
fn nobody_is_told_of_errors_fragments_and_groups() {
    // An error whose own TTL is used up.
    let quote = datagram(Ip::V4(REMOTE), Ip::V4(POD), 60).build();
    let transport = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &quote].concat();
    let mut error = Packet::new(Ip::V4(POD), Ip::V4(REMOTE), protocol::ICMP, transport);
    error.ttl = 1;
    // A later fragment.
    let mut fragment = outgoing(100);
    fragment.ttl = 1;
    for bytes in [error.build(), fragment.fragment(8, 48)] {
        let (verdict, frame) = run(&bytes, Ingress::Workload, ONWARD);
        assert_eq!(verdict, KernelVerdict::Drop(DropReason::TtlExpired));
        assert_eq!(frame[14..], bytes);
    }
    // A frame to a group.
    let mut bench = Bench::new(&fragment.build());
    bench.buffer[HEADROOM] = 0x01;
    assert_eq!(bench.run(Ingress::Workload, ONWARD, Onward::Redirect).0, KernelVerdict::Drop(DropReason::TtlExpired));
}

#[test]
fn errors_are_made_only_with_a_token_and_a_gateway() {
    let mut packet = outgoing(100);
    packet.ttl = 1;
    let mut bench = Bench::new(&packet.build());
    bench.world.tables.icmp_tokens.set(0);
    assert_eq!(bench.run(Ingress::Workload, ONWARD, Onward::Redirect).0, KernelVerdict::Drop(DropReason::TtlExpired));
    bench.world.tables.icmp_tokens.set(1);
    bench.world.tables.node.gateway_v4 = [0; 4];
    assert_eq!(bench.run(Ingress::Workload, ONWARD, Onward::Redirect).0, KernelVerdict::Drop(DropReason::TtlExpired));
    assert_eq!(bench.world.tables.icmp_tokens.get(), 1, "no token is lost on an error that is not made");
}

#[test]
fn what_is_not_ip_or_is_tagged_passes() {
    let packet = outgoing(100).build();
    for ethertype in [ethernet::VLAN, [0x08, 0x06], ethernet::IPV6] {
        let mut bench = Bench::new(&packet);
        bench.buffer[HEADROOM + 12..HEADROOM + 14].copy_from_slice(&ethertype);
        let (verdict, _) = bench.run(Ingress::Workload, ONWARD, Onward::Redirect);
        assert_eq!(verdict, KernelVerdict::Pass, "{ethertype:?}");
    }
    for len in 0..20 {
        let (verdict, _) = run(&[&packet[..1], &packet[1..len.max(1)]].concat(), Ingress::Workload, ONWARD);
        assert_eq!(verdict, KernelVerdict::Pass, "{len} bytes");
    }
}

/// A datagram to the node's WireGuard port that starts with `head` and is `len` bytes long.
fn to_wireguard(head: [u8; 4], len: usize) -> Vec<u8> {
    let mut transport = vec![0; 8 + len];
    transport[..4].copy_from_slice(&[0x30, 0x39, 0xca, 0x80]);
    transport[4..6].copy_from_slice(&(8 + len as u16).to_be_bytes());
    transport[8..12].copy_from_slice(&head);
    Packet::new(Ip::V4([192, 0, 2, 1]), Ip::V4([192, 0, 2, 2]), protocol::UDP, transport).build()
}

#[test]
fn garbage_on_a_wireguard_port_of_this_node_is_dropped() {
    let garbage = KernelVerdict::Drop(DropReason::NotWireguard);
    let underlay = Ingress::Underlay(WIRE);
    for (head, len, want) in [
        ([1, 0, 0, 0], 148, KernelVerdict::Pass),
        ([4, 0, 0, 0], 32, KernelVerdict::Pass),
        ([4, 0, 0, 0], 1_372, KernelVerdict::Pass),
        ([1, 0, 0, 0], 149, garbage),
        ([4, 0, 0, 1], 64, garbage),
        ([4, 0, 0, 0], 31, garbage),
        ([0x16, 3, 1, 0], 200, garbage),
        ([0; 4], 4, garbage),
    ] {
        let packet = to_wireguard(head, len);
        assert_eq!(run(&packet, underlay, Route::Local).0, want, "{head:?} of {len} bytes");
        assert_eq!(run(&packet, underlay, ONWARD).0, KernelVerdict::Pass, "to another node");
        assert_eq!(run(&packet, Ingress::Workload, Route::Local).0, KernelVerdict::Pass, "from a workload");
    }
}

#[test]
fn the_guard_judges_the_first_message_of_a_super_packet_and_no_fragment() {
    let tables = World::new(WIRE).tables;
    let fib = FixedFib { mtu: 1_300, route: Route::Local, onward: Onward::Redirect };
    let underlay = Ingress::Underlay(WIRE);
    let mut bytes = [&FRAME_LINK[..], &to_wireguard([1, 0, 0, 0], 148 * 20)].concat();
    for (gso_size, want) in [(148, KernelVerdict::Pass), (149, KernelVerdict::Drop(DropReason::NotWireguard))] {
        let mut frame = SliceFrame::new(&mut bytes).super_packet(gso_size);
        assert_eq!(ingress(&mut frame, 14, underlay, &tables, &fib), want);
    }
    let mut fragment = to_wireguard([0; 4], 200);
    fragment[6] = 0x20;
    assert_eq!(run(&fragment, underlay, Route::Local).0, KernelVerdict::Pass);
}
