//! Every pair of places at every door.

use super::*;
use crate::{
    ids::ConnectionId,
    testkit::{Ip, Place, Random, World},
};

use DropReason::{NotOurDestination, SpoofedSource, Transit};
use Place::{
    Barred, Direct, Elsewhere, MeshWide, OtherDirect, Outside, OutsideAlias, Pod, PresentedPod, PresentedService,
    Reserved, Service, Tunnelled,
};
use Says::{Drop, ErrorsOnly, Rewrite, Untouched};

const WIRE: IfIndex = IfIndex(4);
const OTHER_WIRE: IfIndex = IfIndex(5);
const NOBODY: IfIndex = IfIndex(6);

/// What a door says, with places for addresses.
#[derive(Debug, PartialEq, Eq)]
enum Says {
    Untouched,
    /// Source and destination as they leave, and the remap.
    Rewrite(Place, Place, u16),
    /// Only ICMP errors, to this place.
    ErrorsOnly(Place),
    Drop(DropReason),
}

fn place(world: &World, address: [u8; 4]) -> Place {
    let lies_in = |place: &&Place| world.place_holds(**place, Ip::V4(address));
    // The reserved address lies in the presented prefix too: the longest counts.
    *[Reserved, OutsideAlias].iter().chain(&Place::ALL).find(lies_in).unwrap()
}

/// The answer of a door for some address of each place, the same in both families.
fn ask(door: Ingress, from: Place, to: Place) -> Says {
    let world = World::new(WIRE);
    let mut random = Random::new(9);
    let (Ip::V4(src), Ip::V4(dst)) = (world.address(from, false, &mut random), world.address(to, false, &mut random))
    else {
        panic!("asked for IPv4");
    };
    let (Ip::V6(src_v6), Ip::V6(dst_v6)) =
        (world.address(from, true, &mut random), world.address(to, true, &mut random))
    else {
        panic!("asked for IPv6");
    };
    let v6 = rule(door, src_v6, dst_v6, &world.tables);
    match rule(door, src, dst, &world.tables) {
        Rule::Untouched => {
            assert_eq!(v6, Rule::Untouched);
            Untouched
        }
        Rule::Drop(reason) => {
            assert_eq!(v6, Rule::Drop(reason));
            Drop(reason)
        }
        Rule::Rewrite(pair) => {
            let Rule::Rewrite(pair_v6) = v6 else { panic!("{v6:?} for IPv6") };
            assert_eq!((pair.remap, pair.presented), (pair_v6.remap, pair_v6.presented));
            assert_eq!(pair.src.is_some(), pair_v6.src.is_some());
            let to = place(&world, pair.dst);
            match pair.src {
                Some(src) => Rewrite(place(&world, src), to, pair.remap.0),
                None => ErrorsOnly(to),
            }
        }
    }
}

fn expect(door: Ingress, cases: &[(Place, Place, Says)]) {
    for (from, to, says) in cases {
        assert_eq!(&ask(door, *from, *to), says, "{door:?}: {from:?} -> {to:?}");
    }
}

#[test]
fn workloads_reach_direct_remotes_presented() {
    expect(
        Ingress::Workload,
        &[
            (Pod, Direct, Rewrite(PresentedPod, Direct, 4)),
            (Service, OtherDirect, Rewrite(PresentedService, OtherDirect, 5)),
            (Elsewhere, Direct, ErrorsOnly(Direct)),
            (Pod, Tunnelled, Untouched),
            (Pod, MeshWide, Untouched),
            (Pod, Service, Untouched),
            (Pod, Elsewhere, Untouched),
            (Elsewhere, Pod, Untouched),
            (Elsewhere, Elsewhere, Untouched),
            // The hairpin: its route is unreachable.
            (Pod, PresentedPod, Untouched),
            (Pod, Reserved, Untouched),
            (Pod, Barred, Drop(DropReason::Barred)),
            (PresentedPod, Direct, Drop(SpoofedSource)),
            (Tunnelled, Elsewhere, Drop(SpoofedSource)),
            (Direct, Pod, Drop(SpoofedSource)),
            (Reserved, Direct, Drop(SpoofedSource)),
            (Barred, Elsewhere, Drop(DropReason::Barred)),
        ],
    );
}

#[test]
fn the_underlay_lets_in_only_direct_remotes_by_their_interface() {
    expect(
        Ingress::Underlay(WIRE),
        &[
            (Direct, PresentedPod, Rewrite(Direct, Pod, 4)),
            (Direct, PresentedService, Rewrite(Direct, Service, 4)),
            (Direct, Reserved, Untouched),
            (Elsewhere, Reserved, Untouched),
            (Elsewhere, Elsewhere, Untouched),
            (Elsewhere, PresentedPod, ErrorsOnly(Pod)),
            (OtherDirect, PresentedPod, ErrorsOnly(Pod)),
            (OtherDirect, Reserved, Drop(SpoofedSource)),
            (PresentedPod, Reserved, Drop(SpoofedSource)),
            (Direct, OtherDirect, Drop(Transit)),
            (Direct, Tunnelled, Drop(Transit)),
            (Direct, Pod, Drop(NotOurDestination)),
            (Direct, Elsewhere, Drop(NotOurDestination)),
            (Elsewhere, Pod, Drop(NotOurDestination)),
            (Elsewhere, Direct, Drop(NotOurDestination)),
            (Elsewhere, Barred, Drop(DropReason::Barred)),
            (Pod, Elsewhere, Drop(SpoofedSource)),
            (PresentedPod, Elsewhere, Drop(SpoofedSource)),
            (Barred, Elsewhere, Drop(DropReason::Barred)),
            (Tunnelled, Direct, Drop(SpoofedSource)),
        ],
    );
    let other = [(OtherDirect, PresentedPod, Rewrite(OtherDirect, Pod, 5)), (Direct, PresentedPod, ErrorsOnly(Pod))];
    expect(Ingress::Underlay(OTHER_WIRE), &other);
    expect(Ingress::Underlay(NOBODY), &[(Direct, PresentedPod, ErrorsOnly(Pod))]);
}

#[test]
fn only_our_own_enter_a_tunnel_and_only_towards_its_remotes() {
    expect(
        Ingress::Tun,
        &[
            (Pod, Tunnelled, Rewrite(Pod, Pod, 2)),
            (Service, Tunnelled, Rewrite(Service, Pod, 2)),
            (Pod, MeshWide, Rewrite(PresentedPod, MeshWide, 3)),
            (Service, MeshWide, Rewrite(PresentedService, MeshWide, 3)),
            (Elsewhere, Tunnelled, ErrorsOnly(Pod)),
            (PresentedPod, Tunnelled, ErrorsOnly(Pod)),
            (Tunnelled, Tunnelled, ErrorsOnly(Pod)),
            (Pod, Direct, Drop(NotOurDestination)),
            (Pod, Pod, Drop(NotOurDestination)),
            (Pod, PresentedPod, Drop(NotOurDestination)),
            (Pod, Barred, Drop(NotOurDestination)),
            (Pod, Elsewhere, Drop(NotOurDestination)),
        ],
    );
}

#[test]
fn a_tunnel_brings_only_what_its_remote_announced_and_only_to_us() {
    expect(
        Ingress::Tunnel(ConnectionId(1)),
        &[
            (Pod, Pod, Rewrite(Tunnelled, Pod, 2)),
            (Pod, Service, Rewrite(Tunnelled, Service, 2)),
            (Pod, PresentedPod, Rewrite(Tunnelled, Pod, 2)),
            (Pod, Reserved, Rewrite(Tunnelled, Reserved, 2)),
            (MeshWide, Pod, ErrorsOnly(Pod)),
            (Elsewhere, Pod, ErrorsOnly(Pod)),
            (Pod, Direct, Drop(Transit)),
            (Pod, MeshWide, Drop(Transit)),
            (Pod, Barred, Drop(NotOurDestination)),
            (Pod, Elsewhere, Drop(NotOurDestination)),
            (Elsewhere, Elsewhere, Drop(SpoofedSource)),
            (MeshWide, Direct, Drop(SpoofedSource)),
        ],
    );
    let other = [
        (MeshWide, PresentedPod, Rewrite(MeshWide, Pod, 3)),
        (MeshWide, PresentedService, Rewrite(MeshWide, Service, 3)),
        (Pod, PresentedPod, ErrorsOnly(Pod)),
    ];
    expect(Ingress::Tunnel(ConnectionId(2)), &other);
    expect(Ingress::Tunnel(ConnectionId(9)), &[(Pod, Pod, ErrorsOnly(Pod))]);
}

/// LQ-25: a host outside the cluster speaks as its address of the external CIDR, and is reached by that alone.
#[test]
fn a_host_outside_is_known_by_its_alias_at_every_door() {
    let from_the_lan = [
        (Outside, Direct, Rewrite(OutsideAlias, Direct, 4)),
        (Outside, Tunnelled, Untouched),
        (Outside, Elsewhere, Untouched),
        (Elsewhere, Outside, Untouched),
    ];
    expect(Ingress::Workload, &from_the_lan);
    expect(Ingress::Underlay(WIRE), &from_the_lan);
    expect(
        Ingress::Underlay(WIRE),
        &[
            (Outside, Outside, Untouched),
            (Direct, OutsideAlias, Rewrite(Direct, Outside, 4)),
            (Direct, Outside, Drop(NotOurDestination)),
            // It has no more rights than others on the underlay.
            (Outside, Pod, Drop(SpoofedSource)),
            (Outside, PresentedPod, ErrorsOnly(Pod)),
            (Outside, Barred, Drop(DropReason::Barred)),
            (OutsideAlias, Direct, Drop(SpoofedSource)),
        ],
    );
    expect(
        Ingress::Tun,
        &[
            (Outside, Tunnelled, Rewrite(OutsideAlias, Pod, 2)),
            (Outside, MeshWide, Rewrite(OutsideAlias, MeshWide, 3)),
            (OutsideAlias, Tunnelled, ErrorsOnly(Pod)),
            (Pod, Outside, Drop(NotOurDestination)),
        ],
    );
    expect(
        Ingress::Tunnel(ConnectionId(1)),
        &[(Pod, OutsideAlias, Rewrite(Tunnelled, Outside, 2)), (Pod, Outside, Drop(NotOurDestination))],
    );
}
