//! Nodes that live, and peers that end with them.

use std::time::{Duration, Instant};

use crate::{
    model::group::{GroupId, NodeId},
    registry::{
        Absences, Author, Command, Condition, Entry, Key, NodeLease, PeerSpec, Registry, Revision, fixtures::*,
    },
};

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn lease(name: &str, lease: u64) -> NodeLease {
    NodeLease { node: node(name), lease, seconds: 60 }
}

fn of_node(name: &str, member: &str, key: u8) -> PeerSpec {
    PeerSpec { hv: Some(node(name)), ..clever(member, key) }
}

fn make(world: &mut World, group: &GroupId, peer: PeerSpec) {
    world.execute(Command::CreatePeer { group: group.clone(), peer });
}

fn gone(registry: &mut Registry, name: &str) {
    let revision = Revision(registry.revision.0 + 1);
    registry.apply(revision, [Entry { key: Key::Node(node(name)), modified: revision, object: None }]);
}

/// NG-16
#[test]
fn the_peers_of_a_dead_node_end_in_one_change() {
    let mut world = World::default();
    let group = world.create("x", &["app_1", "app_2"]);
    world.execute(Command::BeginLease(lease("a", 1)));
    for (key, name, member) in [(1, "a", "app_1"), (2, "a", "app_2"), (3, "b", "app_1")] {
        make(&mut world, &group, of_node(name, member, key));
    }
    make(&mut world, &group, external("laptop", 4));
    let end = Command::EndPeers { group: group.clone(), node: node("a") };
    assert!(world.decide(Author::Api, &end).unwrap().is_empty(), "the node lives");
    gone(&mut world.registry, "a");
    let change = world.decide(Author::Api, &end).unwrap();
    assert!(change.conditions.contains(&Condition { key: Key::Node(node("a")), modified: None }));
    let version = world.group("x").group.version;
    world.commit(change);
    let left = world.group("x");
    let keys: Vec<u8> = left.peers.values().map(|peer| peer.public_key.0[0]).collect();
    assert_eq!((left.group.version, left.members.len()), (version + 1, 3));
    assert!(keys.contains(&3) && keys.contains(&4) && keys.len() == 2, "{keys:?}");
    assert!(world.decide(Author::Api, &end).unwrap().is_empty(), "nothing is left to end");
}

#[test]
fn a_node_has_one_lease() {
    let mut world = World::default();
    world.execute(Command::BeginLease(lease("a", 1)));
    world.execute(Command::BeginLease(lease("a", 2)));
    assert_eq!(world.registry.nodes[&node("a")].lease, 1);
    gone(&mut world.registry, "a");
    world.execute(Command::BeginLease(lease("a", 3)));
    assert_eq!(world.registry.nodes[&node("a")].lease, 3);
}

#[test]
fn an_address_that_is_free_can_be_asked_for() {
    let mut world = World::default();
    let group = world.create("x", &["app_1"]);
    let ask = |address: &str, key| PeerSpec { address: Some(address.parse().unwrap()), ..clever("app_1", key) };
    let mut address = |peer: PeerSpec, key: u8| {
        make(&mut world, &group, peer);
        world.group("x").peer_with_key(&public_key(key)).unwrap().endpoint.address().to_string()
    };
    assert_eq!(address(ask("10.255.0.9", 1), 1), "10.255.0.9");
    assert_eq!(address(ask("10.255.0.9", 2), 2), "10.255.0.5", "somebody has it");
    assert_eq!(address(ask("10.255.0.1", 3), 3), "10.255.0.6", "no peer gets it");
    assert_eq!(address(ask("192.0.2.1", 4), 4), "10.255.0.7", "of another network");
}

/// NG-16
#[test]
fn who_was_never_heard_is_given_the_time_of_a_lease() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut world = World::default();
    let group = world.create("x", &["app_1"]);
    make(&mut world, &group, of_node("a", "app_1", 1));
    make(&mut world, &group, of_node("b", "app_1", 2));
    let (mut absences, begin) = (Absences::default(), Instant::now());
    let due = |absences: &Absences, at: Instant| -> Vec<String> {
        absences.due(at).map(|(node, of)| (node.to_string(), *of == group).0).collect()
    };
    absences.look(&world.registry, begin, PATIENCE);
    assert!(due(&absences, begin + PATIENCE / 2).is_empty());
    assert_eq!(due(&absences, begin + PATIENCE), ["a", "b"]);
    // One is heard, and not any more: then nothing is waited for.
    world.execute(Command::BeginLease(lease("a", 1)));
    absences.look(&world.registry, begin + PATIENCE / 2, PATIENCE);
    assert!(due(&absences, begin + PATIENCE / 2).is_empty());
    assert_eq!(due(&absences, begin + PATIENCE), ["b"]);
    gone(&mut world.registry, "a");
    let later = begin + PATIENCE / 2 + Duration::from_secs(1);
    absences.look(&world.registry, later, PATIENCE);
    assert_eq!(due(&absences, later), ["a"]);
    // A node without peers is of no concern.
    world.execute(Command::DeleteGroup { group: group.clone() });
    absences.look(&world.registry, later, PATIENCE);
    assert!(due(&absences, begin + PATIENCE * 2).is_empty());
}
