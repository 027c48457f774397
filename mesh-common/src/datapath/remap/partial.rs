//! What holds of every rewrite, over generated frames: the daemon's is that of a hook, and it knows partial checksums.

use super::*;
use crate::{
    checksum::{fold, pseudo_header},
    datapath::{
        forward::{self, KernelVerdict},
        route::{Onward, Route},
    },
    frame::{Checksum, SliceFrame},
    ids::IfIndex,
    testkit::{FixedFib, Generated, Generator, Kind, World},
};

#[test]
fn the_daemon_and_a_kernel_hook_decide_alike() {
    let world = World::new(IfIndex(4));
    let fib = FixedFib { mtu: u16::MAX, route: Route::NeedsKernel, onward: Onward::PassUp };
    let mut generator = Generator::new(&world, 3);
    let mut rewritten = 0;
    for number in 0..100_000 {
        let generated = generator.frame_for([Ingress::Workload, Ingress::Underlay(IfIndex(4))][number % 2]);
        let (mut bytes, mut hooked) = (generated.frame.clone(), generated.frame.clone());
        let verdict = remap(&mut SliceFrame::new(&mut bytes), generated.l3, generated.door, &world.tables);
        let frame = &mut SliceFrame::new(&mut hooked);
        let hook = forward::ingress(frame, generated.l3, generated.door, &world.tables, &fib);
        match (verdict, hook) {
            (Verdict::Pass, KernelVerdict::Pass) => assert_eq!(bytes, generated.frame, "{generated:?}"),
            (Verdict::Drop(reason), KernelVerdict::Drop(other)) if reason == other => {
                assert_eq!(bytes, generated.frame, "{generated:?}");
            }
            (Verdict::Accept { remap, .. }, KernelVerdict::PassRewritten { remap: other }) if remap == other => {
                assert_eq!(bytes, hooked, "{generated:?}");
                rewritten += 1;
            }
            // Only the hook counts hops; without room in front it cannot tell the sender.
            (Verdict::Accept { .. }, KernelVerdict::Drop(DropReason::TtlExpired)) => {}
            other => panic!("{other:?} of {generated:?}"),
        }
    }
    assert!(rewritten > 10_000, "only {rewritten} were rewritten");
}

/// Where the transport of a plain TCP or UDP packet and its checksum are.
fn transport_of(generated: &Generated) -> Option<(u8, usize, usize)> {
    let packet = &generated.frame[generated.l3..];
    let (protocol, at) = if generated.v6 { (packet[6], 40) } else { (packet[9], 4 * usize::from(packet[0] & 15)) };
    let at = at + generated.l3;
    match protocol {
        protocol::TCP => Some((protocol, at, at + 16)),
        protocol::UDP => Some((protocol, at, at + 6)),
        _ => None,
    }
}

fn pseudo_of(frame: &[u8], generated: &Generated, protocol: u8, len: u32) -> u16 {
    let packet = &frame[generated.l3..];
    let take = |at: usize| -> [u8; 4] { packet[at..at + 4].try_into().unwrap() };
    let take_v6 = |at: usize| -> [u8; 16] { packet[at..at + 16].try_into().unwrap() };
    fold(if generated.v6 {
        pseudo_header(take_v6(8), take_v6(24), protocol, len)
    } else {
        pseudo_header(take(12), take(16), protocol, len)
    })
}

#[test]
fn partial_checksums_stay_the_sum_of_the_pseudo_header() {
    let mut world = World::new(IfIndex(4));
    // Only addresses shall change.
    world.tables.remaps.values_mut().for_each(|remap| remap.mtu = 0);
    let mut generator = Generator::new(&world, 4);
    let mut rewritten = 0;
    for _ in 0..200_000 {
        let generated = generator.frame();
        if !matches!(generated.kind, Kind::Tcp | Kind::Udp | Kind::UdpWithoutChecksum | Kind::Options) {
            continue;
        }
        let Some((protocol, start, at)) = transport_of(&generated) else { continue };
        let mut bytes = generated.frame.clone();
        let len = (bytes.len() - start) as u32;
        let before = pseudo_of(&bytes, &generated, protocol, len);
        bytes[at..at + 2].copy_from_slice(&before.to_ne_bytes());
        let mut frame = SliceFrame::new(&mut bytes).checksum(Checksum::Partial { at });
        if !matches!(remap(&mut frame, generated.l3, generated.door, &world.tables), Verdict::Accept { .. }) {
            continue;
        }
        rewritten += 1;
        let after = u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let want = pseudo_of(&bytes, &generated, protocol, len);
        assert_eq!(after % 0xffff, want % 0xffff, "{generated:?}");
        assert_eq!(bytes[start..at], generated.frame[start..at]);
        assert_eq!(bytes[at + 2..], generated.frame[at + 2..]);
    }
    assert!(rewritten > 10_000, "only {rewritten} were rewritten");
}
