//! Peers: their addresses, roles, parents and configurations.

use crate::{
    model::group::{Label, MemberKind, Party, PeerId, PeerRole},
    registry::{Author, Command, PeerSpec, RefusalCode, configuration, fixtures::*},
};

fn peer(world: &World, label: &str) -> crate::model::group::Peer {
    world.group("x").find_peer(label).unwrap().clone()
}

/// NG-23
#[test]
fn addresses_go_up_and_none_is_given_twice() {
    let mut world = World::default();
    let group = world.create("x", &["app_1"]);
    let peers = [1, 2, 3].map(|key| world.join(&group, "app_1", key));
    let addresses = peers.clone().map(|peer| peer.endpoint.address().to_string());
    assert_eq!(addresses, ["10.255.0.5", "10.255.0.6", "10.255.0.7"]);
    world.execute(Command::DeletePeer { group: group.clone(), peer: peers[2].id.clone() });
    assert_eq!(world.join(&group, "app_1", 4).endpoint.address().to_string(), "10.255.0.8");
    assert_eq!(world.group("x").group.last_allocated_ip.to_string(), "10.255.0.8");
}

/// NG-23
#[test]
fn a_full_group_says_so_and_takes_back_what_is_freed() {
    let mut world = World::default();
    let mut small = create("x", &["app_1"]);
    if let Command::CreateGroup { prefix_length, .. } = &mut small {
        *prefix_length = Some(28);
    }
    world.execute(small);
    let group = world.group("x").id().clone();
    let peers: Vec<_> = (1..=10).map(|key| world.join(&group, "app_1", key)).collect();
    let more = Command::CreatePeer { group: group.clone(), peer: clever("app_1", 11) };
    assert_eq!(world.refused(more.clone()), (RefusalCode::Exhausted, String::new()));
    world.execute(Command::DeletePeer { group: group.clone(), peer: peers[4].id.clone() });
    world.execute(more);
    assert!(world.group("x").peer_at(peers[4].endpoint.address()).is_some());
}

/// NG-25
#[test]
fn an_external_peer_comes_with_its_parent() {
    let mut world = World::default();
    let group = world.create("x", &[]);
    world.execute(Command::CreatePeer { group: group.clone(), peer: external("My laptop", 1) });
    let laptop = peer(&world, "My laptop");
    let parent = world.group("x").find_member(&laptop.parent_member).unwrap();
    assert!(parent.id.as_str().starts_with("external_"));
    assert_eq!((parent.label.as_deref(), parent.kind), (Some("Parent of My laptop"), MemberKind::External));
    assert_eq!((laptop.hostname.as_str(), laptop.endpoint.public(), laptop.hv), ("my-laptop", None, None));
    assert_eq!(world.group("x").group.version, 2);
    let twin = Command::CreatePeer { group, peer: external("other", 1) };
    assert_eq!(world.refused(twin), (RefusalCode::Conflict, "publicKey".into()));
}

/// NG-26, NG-28
#[test]
fn an_external_parent_goes_with_its_last_peer() {
    let mut world = World::default();
    let group = world.create("x", &["app_1"]);
    world.execute(Command::CreatePeer { group: group.clone(), peer: external("a", 1) });
    let parent = peer(&world, "a").parent_member;
    let second = PeerSpec { parent_member: Some(parent.clone()), ..external("b", 2) };
    world.execute(Command::CreatePeer { group: group.clone(), peer: second });
    let delete = |peer: PeerId| Command::DeletePeer { group: group.clone(), peer };
    let (a, b) = (peer(&world, "a").id, peer(&world, "b").id);
    world.execute(delete(a.clone()));
    assert!(world.group("x").members.contains_key(&parent));
    world.execute(delete(b));
    assert!(!world.group("x").members.contains_key(&parent));
    assert_eq!(world.refused(delete(a)), (RefusalCode::NotFound, String::new()));
}

#[test]
fn a_member_that_was_linked_outlives_its_peers_with_its_rules() {
    let mut world = World::default();
    let group = world.create("x", &["app_1", "external_mine"]);
    let (from, to) = (Party::Member("external_mine".parse().unwrap()), Party::Any);
    world.execute(Command::AddRule { group: group.clone(), id: None, from, to, traffic: "any".parse().unwrap() });
    let laptop = PeerSpec { parent_member: "external_mine".parse().ok(), ..external("a", 1) };
    world.execute(Command::CreatePeer { group: group.clone(), peer: laptop });
    world.execute(Command::DeletePeer { group: group.clone(), peer: peer(&world, "a").id });
    let left = world.group("x");
    assert_eq!((left.members.len(), left.peers.len(), left.rules.len()), (2, 0, 1));
}

#[test]
fn a_parent_is_a_member_or_external() {
    let mut world = World::default();
    let group = world.create("x", &[]);
    let create = |peer: PeerSpec| Command::CreatePeer { group: group.clone(), peer };
    assert_eq!(world.refused(create(clever("app_1", 1))), (RefusalCode::NotMember, "parentMember".into()));
    world.execute(create(clever("external_mine", 1)));
    assert_eq!(world.group("x").members.values().next().unwrap().kind, MemberKind::External);
    let without_parent = PeerSpec { parent_member: None, ..clever("app_1", 2) };
    world.execute(create(without_parent));
    assert_eq!(world.group("x").members.len(), 2);
}

/// NG-27
#[test]
fn a_server_has_an_address_and_a_client_has_none() {
    let mut world = World::default();
    let group = world.create("x", &[]);
    let create = |peer: PeerSpec| Command::CreatePeer { group: group.clone(), peer };
    let made = |role, ip: Option<&str>, port| {
        let ip = ip.map(|ip| ip.parse().unwrap());
        create(PeerSpec { role, ip, port, ..external("a", 1) })
    };
    let (server, client, ip) = (PeerRole::Server, PeerRole::Client, Some("192.0.2.1"));
    for (command, path) in [
        (made(server, None, Some(1)), "ip"),
        (made(server, ip, None), "port"),
        (made(server, ip, Some(0)), "port"),
        (made(server, Some("0.0.0.0"), Some(1)), "ip"),
        (made(server, Some("10.255.7.7"), Some(1)), "ip"),
        (made(server, Some("224.0.0.1"), Some(1)), "ip"),
        (made(client, ip, None), "ip"),
        (made(client, None, Some(1)), "port"),
        (create(PeerSpec { hv: None, ..clever("external_1", 1) }), "hv"),
        (create(PeerSpec { hv: "hv-1".parse().ok(), ..external("a", 1) }), "hv"),
    ] {
        assert_eq!(world.refused(command), (RefusalCode::Invalid, path.into()));
    }
    world.execute(made(server, ip, Some(51820)));
    let term = peer(&world, "a").endpoint.public().cloned().unwrap();
    assert_eq!((term.host.to_string().as_str(), term.port), ("192.0.2.1", 51820));
}

#[test]
fn a_node_says_anew_where_its_peer_is() {
    let mut world = World::default();
    let group = world.create("x", &["app_1"]);
    let [mine, other] = [1, 2].map(|key| world.join(&group, "app_1", key));
    let update = |key: u8, public: Option<(&str, u16)>| Command::UpdatePeer {
        group: group.clone(),
        peer: mine.id.clone(),
        public_key: public_key(key),
        public: public.map(|(ip, port)| (ip.parse().unwrap(), port)),
    };
    assert!(world.decide(Author::Api, &update(1, None)).unwrap().is_empty());
    assert_eq!(world.refused(update(2, None)), (RefusalCode::Conflict, "publicKey".into()));
    assert_eq!(world.refused(update(1, Some(("0.0.0.0", 1)))), (RefusalCode::Invalid, "ip".into()));
    world.execute(update(3, Some(("2001:db8::1", 51820))));
    let now = world.group("x").peer_with_key(&public_key(3)).unwrap();
    assert_eq!(now.endpoint.address(), mine.endpoint.address());
    assert!(now.endpoint.public().is_some() && world.group("x").peer_with_key(&public_key(1)).is_none());
    assert_eq!(world.group("x").peer_at(other.endpoint.address()).unwrap().id, other.id);
}

/// NG-34, NG-36
#[test]
fn every_peer_has_a_configuration_for_wg_quick() {
    let mut world = World::default();
    let group = world.create("x", &["app_1"]);
    let id = |text: &str| Some(text.parse().unwrap());
    let create = |peer: PeerSpec| Command::CreatePeer { group: group.clone(), peer };
    world.execute(create(PeerSpec { id: id("a"), ..server(clever("app_1", 1), "192.0.2.1", 51820) }));
    world.execute(create(PeerSpec { id: id("b"), ..server(clever("app_1", 2), "2001:db8::1", 51821) }));
    world.execute(create(PeerSpec {
        id: id("c"),
        parent_member: "external_1".parse().ok(),
        ..external("my laptop", 3)
    }));
    let of = |id: &str| configuration(world.group("x"), world.group("x").find_peer(id).unwrap());
    let laptop = "\
[Interface]
PrivateKey = <%PrivateKey%>
Address = 10.255.0.7/16

[Peer]
# a of app_1
PublicKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=
AllowedIPs = 10.255.0.5/32
PersistentKeepalive = 25
Endpoint = 192.0.2.1:51820

[Peer]
# b of app_1
PublicKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
AllowedIPs = 10.255.0.6/32
PersistentKeepalive = 25
Endpoint = [2001:db8::1]:51821
";
    assert_eq!(of("my laptop"), laptop);
    let server = of("a");
    assert!(
        server.starts_with("[Interface]\nPrivateKey = <%PrivateKey%>\nAddress = 10.255.0.5/16\nListenPort = 51820\n")
    );
    assert!(server.contains("# my laptop of external_1\n") && !server.contains('\r'));
    assert_eq!(server.matches("[Peer]").count(), 2);
}

#[test]
fn a_label_that_two_peers_have_is_ambiguous() {
    let mut world = World::default();
    let group = world.create("x", &["app_1"]);
    let label: Label = "instance".parse().unwrap();
    for key in [1, 2] {
        let peer = PeerSpec { label: Some(label.clone()), ..clever("app_1", key) };
        world.execute(Command::CreatePeer { group: group.clone(), peer });
    }
    let refusal = world.group("x").find_peer("instance").unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Ambiguous);
    assert!(world.group("x").peers.keys().all(|id| refusal.message.contains(id.as_str())));
    assert_eq!(world.group("x").find_peer("none").unwrap_err().code, RefusalCode::NotFound);
}
