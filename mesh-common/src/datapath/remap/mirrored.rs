//! Two clusters that mirror each other: is what arrives at the other end, and what comes back of it, the packet that was sent?
//!
//! The one is the world of the testkit. The other is each of its remotes in turn, with tables of its own and other names.

use std::collections::BTreeMap;

use super::*;
use crate::{
    frame::SliceFrame,
    ids::IfIndex,
    maps::{Entry, Role},
    testkit::{Generated, Generator, Ip, Kind, MemoryTables, Place, World, sums},
};

const FRAMES: u64 = 1_000_000;
const WIRE: IfIndex = IfIndex(4);
const THEIR_WIRE: IfIndex = IfIndex(7);
const THEIR_CONNECTION: ConnectionId = ConnectionId(5);
/// Of ours, what may go through a connection.
const OURS: [Place; 2] = [Place::Pod, Place::Service];

/// A prefix, and one of IPv6 for the same thing.
#[derive(Clone, Copy, Debug)]
struct Prefix {
    v4: ([u8; 4], u8),
    v6: ([u8; 16], u8),
}

impl Prefix {
    fn of(place: Place) -> Prefix {
        Prefix { v4: place.v4(), v6: place.v6() }
    }

    /// Another one of the same lengths.
    fn renamed(self, id: u8) -> Prefix {
        let v6 = [0xfd, 0, 0, 0, 0, id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Prefix { v4: ([10, id, 0, 0], self.v4.1), v6: (v6, self.v6.1) }
    }

    /// The same host in this prefix.
    fn host(self, address: Ip) -> Ip {
        match address {
            Ip::V4(address) => {
                let (network, len) = self.v4;
                let host = u32::MAX.checked_shr(len.into()).unwrap_or(0);
                Ip::V4((u32::from_be_bytes(network) | u32::from_be_bytes(address) & host).to_be_bytes())
            }
            Ip::V6(address) => {
                let (network, len) = self.v6;
                let host = u128::MAX.checked_shr(len.into()).unwrap_or(0);
                Ip::V6((u128::from_be_bytes(network) | u128::from_be_bytes(address) & host).to_be_bytes())
            }
        }
    }
}

/// One end of a connection.
#[derive(Clone, Debug)]
struct End {
    tables: MemoryTables,
    sends: Ingress,
    receives: Ingress,
}

impl End {
    fn rewrite(&self, door: Ingress, generated: &Generated, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let verdict = remap(&mut SliceFrame::new(&mut bytes), generated.l3, door, &self.tables);
        matches!(verdict, Verdict::Accept { .. }).then_some(bytes)
    }
}

/// What two addresses are at one stage of the way: one of ours (pods, services), and the remote's.
#[derive(Clone, Copy, Debug)]
struct Names {
    ours: [Prefix; 2],
    theirs: Prefix,
}

/// A remote, as both sides see it.
#[derive(Clone, Debug)]
struct Relation {
    place: Place,
    here: End,
    there: End,
    between: Names,
    /// As the remote's own workloads see them.
    delivered: Names,
}

impl Relation {
    /// Each has real names of its own; only what is between has to be the same.
    fn plain(world: &World) -> Relation {
        let between = Names { ours: OURS.map(Prefix::of), theirs: Prefix::of(Place::Pod) };
        let called = [between.ours[0].renamed(81), between.ours[1].renamed(82)];
        let delivered = Names { ours: called, theirs: between.theirs };
        let mut tables = MemoryTables::default();
        insert(&mut tables, delivered.theirs, delivered.theirs, 9, Role::LOCAL);
        for (remap, (called, real)) in (1..).zip(called.into_iter().zip(between.ours)) {
            insert(&mut tables, called, real, remap, Role::TUNNEL);
            announce(&mut tables, real, called, remap);
        }
        let there = End { tables, sends: Ingress::Tun, receives: Ingress::Tunnel(THEIR_CONNECTION) };
        let here = End { tables: world.tables.clone(), sends: Ingress::Tun, receives: world.doors()[3] };
        Relation { place: Place::Tunnelled, here, there, between, delivered }
    }

    /// With names that the whole mesh uses, through a tunnel or over the underlay.
    fn presented(world: &World, place: Place, here: [Ingress; 2], there: [Ingress; 2], role: Role) -> Relation {
        let ours = [Place::PresentedPod, Place::PresentedService].map(Prefix::of);
        let between = Names { ours, theirs: Prefix::of(place) };
        let delivered = Names { ours, theirs: between.theirs.renamed(200) };
        let mut tables = MemoryTables::default();
        insert(&mut tables, delivered.theirs, between.theirs, 9, Role::LOCAL);
        insert(&mut tables, between.theirs, delivered.theirs, 9, Role::PRESENTED);
        let ingress = if role.has(Role::DIRECT) { THEIR_WIRE.0 } else { 0 };
        for (remap, prefix) in (1..).zip(ours) {
            insert(&mut tables, prefix, prefix, remap, role);
            announce(&mut tables, prefix, prefix, remap);
            tables.insert_remap(RemapId(remap), THEIR_CONNECTION, ingress);
        }
        let end = |tables, [sends, receives]: [Ingress; 2]| End { tables, sends, receives };
        Relation { place, here: end(world.tables.clone(), here), there: end(tables, there), between, delivered }
    }

    fn all(world: &World) -> [Relation; 3] {
        let [_, underlay, _, _, mesh_wide] = world.doors();
        let tunnel = Ingress::Tunnel(THEIR_CONNECTION);
        let in_tunnel = Role::TUNNEL.with(Role::PRESENT_SOURCE);
        let wire = [Ingress::Workload, Ingress::Underlay(THEIR_WIRE)];
        [
            Relation::plain(world),
            Relation::presented(world, Place::MeshWide, [Ingress::Tun, mesh_wide], [Ingress::Tun, tunnel], in_tunnel),
            Relation::presented(world, Place::Direct, [Ingress::Workload, underlay], wire, Role::DIRECT),
        ]
    }
}

fn insert(tables: &mut MemoryTables, prefix: Prefix, to: Prefix, remap: u16, role: Role) {
    tables.insert_v4(prefix.v4.0, prefix.v4.1, Entry { to: to.v4.0, remap, len: to.v4.1, role });
    tables.insert_v6(prefix.v6.0, prefix.v6.1, Entry { to: to.v6.0, remap, len: to.v6.1, role });
    tables.insert_remap(RemapId(remap), THEIR_CONNECTION, 0);
}

fn announce(tables: &mut MemoryTables, prefix: Prefix, to: Prefix, remap: u16) {
    let role = Role::NONE;
    let v4 = Entry { to: to.v4.0, remap, len: to.v4.1, role };
    tables.announce_v4(THEIR_CONNECTION, prefix.v4.0, prefix.v4.1, v4);
    let v6 = Entry { to: to.v6.0, remap, len: to.v6.1, role };
    tables.announce_v6(THEIR_CONNECTION, prefix.v6.0, prefix.v6.1, v6);
}

/// Source and destination of the packet at `l3`.
fn addresses(frame: &[u8], l3: usize) -> Option<(Ip, Ip)> {
    let take = |at: usize| frame.get(l3 + at..)?.first_chunk::<4>().copied().map(Ip::V4);
    let take_v6 = |at: usize| frame.get(l3 + at..)?.first_chunk::<16>().copied().map(Ip::V6);
    match frame.get(l3)? >> 4 {
        4 => Some((take(12)?, take(16)?)),
        6 => Some((take_v6(8)?, take_v6(24)?)),
        _ => None,
    }
}

/// Where the packet is that an ICMP error quotes. Generated ones have no options.
fn quote_of(generated: &Generated) -> Option<usize> {
    let header = if generated.v6 { 40 } else { 20 };
    matches!(generated.kind, Kind::Error | Kind::ErrorCut).then_some(generated.l3 + header + 8)
}

/// The answer: the same between the same two in the other direction, which changes no checksum.
fn answer(generated: &Generated, frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    for l3 in [Some(generated.l3), quote_of(generated)].into_iter().flatten() {
        let (at, width) = if generated.v6 { (l3 + 8, 16) } else { (l3 + 12, 4) };
        let (src, dst) = bytes[at..at + 2 * width].split_at_mut(width);
        src.swap_with_slice(dst);
    }
    bytes
}

/// The packet has these names at this stage, in its quote the other way round, and its checksums are as good as they were.
fn check(world: &World, generated: &Generated, frame: &[u8], names: Names) {
    let named = |address: Ip| {
        if world.place_holds(Place::Outside, address) {
            return Some(alias(address));
        }
        Some(names.ours[place_of(world, address)?].host(address))
    };
    let (src, dst) = addresses(&generated.frame, generated.l3).unwrap();
    // A router that is none of ours reports under an address that stands for all such.
    let node = world.tables.node;
    let unknown = if generated.v6 { Ip::V6(node.unknown_v6) } else { Ip::V4(node.unknown_v4) };
    let src = named(src).or_else(|| named(unknown)).unwrap();
    assert_eq!(addresses(frame, generated.l3), Some((src, names.theirs.host(dst))), "{generated:?}");
    if let Some(quote) = quote_of(generated) {
        let (src, dst) = addresses(&generated.frame, quote).unwrap();
        let want = (names.theirs.host(src), named(dst).unwrap());
        assert_eq!(addresses(frame, quote), Some(want), "in the quote of {generated:?}");
    }
    let before = sums(&generated.frame[generated.l3..], &generated.rest);
    let after = sums(&frame[generated.l3..], &generated.rest);
    assert_eq!(before.len(), after.len(), "{generated:?}");
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.of, before.error), (after.of, after.error), "{generated:?}");
        if generated.true_sums {
            assert_eq!(after.found, after.computed, "{after:?} of {generated:?}");
        }
    }
}

/// Which of our prefixes holds it.
fn place_of(world: &World, address: Ip) -> Option<usize> {
    OURS.iter().position(|place| world.place_holds(*place, address))
}

/// What the mesh calls the host outside.
fn alias(outside: Ip) -> Ip {
    match outside {
        Ip::V4(_) => Ip::V4(Place::OutsideAlias.v4().0),
        Ip::V6(_) => Ip::V6(Place::OutsideAlias.v6().0),
    }
}

/// The packet, or the one that it quotes, is of the host outside.
fn is_of_outside(world: &World, generated: &Generated) -> bool {
    let src = addresses(&generated.frame, generated.l3).map(|(src, _)| src);
    let quoted = quote_of(generated).and_then(|quote| addresses(&generated.frame, quote)).map(|(_, dst)| dst);
    [src, quoted].into_iter().flatten().any(|address| world.place_holds(Place::Outside, address))
}

/// What comes of the packet at the other end can be sent back: its answer is for the one that sent it.
fn is_answerable(world: &World, generated: &Generated) -> bool {
    let src = addresses(&generated.frame, generated.l3).map(|(src, _)| src);
    // An error by a router between us: its source is not known there, and its quote is of another host of ours.
    let quoted = quote_of(generated).map_or(src, |quote| addresses(&generated.frame, quote).map(|(_, dst)| dst));
    // What is for our gateway stays as the mesh calls it.
    let node = world.tables.node;
    let gateway = if generated.v6 { Ip::V6(node.gateway_v6) } else { Ip::V4(node.gateway_v4) };
    // Nobody has the address of ours that the host outside was given.
    let given = Prefix::of(Place::Service).host(alias(gateway));
    src == quoted
        && src != Some(gateway)
        && src != Some(given)
        && src.is_some_and(|src| place_of(world, src).is_some() || world.place_holds(Place::Outside, src))
}

#[test]
fn what_is_sent_arrives_and_its_answer_comes_back() {
    let mut world = World::new(WIRE);
    // What is told to TCP stays told: it would not come back as it was.
    world.tables.remaps.values_mut().for_each(|remap| remap.mtu = 0);
    let relations = Relation::all(&world);
    let mut generator = Generator::new(&world, 2);
    let mut seen: BTreeMap<(usize, bool, Kind), [u64; 2]> = BTreeMap::new();
    for number in 0..FRAMES {
        let generated = generator.frame_for([Ingress::Tun, Ingress::Workload][number as usize % 2]);
        let Some((_, dst)) = addresses(&generated.frame, generated.l3) else { continue };
        let Some(to) = relations.iter().position(|relation| world.place_holds(relation.place, dst)) else { continue };
        // Random bytes may be read in more than one way.
        if generated.kind == Kind::Garbage {
            continue;
        }
        // The world's alias is mesh-wide, and this relation is not.
        if relations[to].place == Place::Tunnelled && is_of_outside(&world, &generated) {
            continue;
        }
        let Relation { here, there, between, delivered, .. } = &relations[to];
        let Some(carried) = here.rewrite(here.sends, &generated, generated.frame.clone()) else { continue };
        check(&world, &generated, &carried, *between);
        let received = there.rewrite(there.receives, &generated, carried.clone());
        let received = received.unwrap_or_else(|| panic!("refused at the other end: {generated:?}"));
        check(&world, &generated, &received, *delivered);
        let [sent, answered] = seen.entry((to, generated.v6, generated.kind)).or_default();
        *sent += 1;
        if !is_answerable(&world, &generated) {
            continue;
        }
        *answered += 1;
        let returned = there.rewrite(there.sends, &generated, answer(&generated, &received));
        assert_eq!(returned, Some(answer(&generated, &carried)), "the answer on its way: {generated:?}");
        let back = here.rewrite(here.receives, &generated, answer(&generated, &carried));
        assert_eq!(back, Some(answer(&generated, &generated.frame)), "{generated:?}");
    }
    covers(&relations, &seen);
}

/// Every kind went through every connection in both versions, and came back.
fn covers(relations: &[Relation], seen: &BTreeMap<(usize, bool, Kind), [u64; 2]>) {
    for (number, relation) in relations.iter().enumerate() {
        for (v6, kind) in Kind::ALL.into_iter().flat_map(|kind| [(false, kind), (true, kind)]) {
            let [sent, answered] = seen.get(&(number, v6, kind)).copied().unwrap_or_default();
            match kind {
                // No packets. Tagged frames pass the hooks untouched.
                Kind::Garbage | Kind::Truncated => {}
                Kind::Vlan if relation.place == Place::Direct => {}
                _ => assert!(sent > 1_000 && answered > 1_000, "{:?}, {v6}, {kind:?}: {seen:?}", relation.place),
            }
        }
    }
}
