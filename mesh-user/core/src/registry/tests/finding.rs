//! What ids, labels and parts of texts find.

use crate::{
    api::group::ResourceKind,
    model::group::Org,
    registry::{Command, Kinds, PeerSpec, RefusalCode, fixtures::*},
};

fn world() -> World {
    let mut world = World::default();
    let one = world.create("one", &["app_1", "app_2"]);
    world.create("two", &["app_1"]);
    let id = Some("external_0f0e0d0c-0b0a-4908-8706-050403020100".parse().unwrap());
    let peer = PeerSpec { id, hostname: Some("laptop.local".into()), ..external("My laptop", 1) };
    world.execute(Command::CreatePeer { group: one.clone(), peer });
    let peer = PeerSpec { id: "instance-1".parse().ok(), label: "one".parse().ok(), ..clever("app_1", 2) };
    world.execute(Command::CreatePeer { group: one.clone(), peer });
    let tags = Some(["blue".parse().unwrap()].into());
    let described =
        Command::UpdateGroup { group: one, description: Some("Of the Shop".into()), tags, default_access: None };
    world.execute(described);
    world
}

fn find(world: &World, text: &str, kinds: &str) -> Result<ResourceKind, RefusalCode> {
    world.registry.find(&Org::default(), text, &kinds.parse().unwrap()).map_err(|refusal| refusal.code)
}

/// NG-29
#[test]
fn an_id_or_label_finds_exactly_one_thing_of_any_kind() {
    let world = world();
    let is_group = |found: Result<ResourceKind, RefusalCode>| matches!(found, Ok(ResourceKind::NetworkGroup(_)));
    let is_peer = |found: Result<ResourceKind, RefusalCode>| matches!(found, Ok(ResourceKind::Peer(_)));
    assert!(is_group(find(&world, "two", "")));
    assert!(is_group(find(&world, world.group("two").id().as_str(), "")));
    assert!(is_peer(find(&world, "My laptop", "")));
    assert!(is_peer(find(&world, "external_0f0e0d0c-0b0a-4908-8706-050403020100", "")));
    assert!(is_peer(find(&world, "instance-1", "Peer")));
    // NG-15
    let Ok(ResourceKind::Member(both)) = find(&world, "app_1", "") else { panic!("no member") };
    let labels: Vec<&str> = both.iter().map(|found| found.ng_label.as_str()).collect();
    assert_eq!(
        {
            let mut labels = labels;
            labels.sort_unstable();
            labels
        },
        ["one", "two"]
    );
}

/// NG-30
#[test]
fn the_type_narrows() {
    let world = world();
    assert_eq!(find(&world, "one", "").unwrap_err(), RefusalCode::Ambiguous);
    assert!(matches!(find(&world, "one", "networkgroup"), Ok(ResourceKind::NetworkGroup(_))));
    assert!(matches!(find(&world, "one", "CleverPeer"), Ok(ResourceKind::Peer(_))));
    assert_eq!(find(&world, "one", "ExternalPeer,Member").unwrap_err(), RefusalCode::NotFound);
    for bad in ["group", "Peer,", "x"] {
        assert!(bad.parse::<Kinds>().is_err(), "{bad}");
    }
    assert_eq!("Peer".parse::<Kinds>().unwrap().to_string(), "CleverPeer,ExternalPeer");
}

/// NG-31
#[test]
fn several_hits_are_listed() {
    let mut world = world();
    let two = world.group("two").id().clone();
    world.execute(Command::CreatePeer { group: two, peer: external("Parent of My laptop", 3) });
    let refusal = world.registry.find(&Org::default(), "Parent of My laptop", &Kinds::default()).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Ambiguous);
    assert!(refusal.message.contains(".cc-ng.cloud)") && refusal.message.contains("(peer in two)"), "{refusal}");
}

/// NG-32
#[test]
fn what_is_not_there_is_an_error() {
    for text in ["", "three", "app_", "App_1", "10.255.0.5", "lapto"] {
        assert_eq!(find(&world(), text, "").unwrap_err(), RefusalCode::NotFound, "{text:?}");
    }
}

/// NG-09
#[test]
fn nothing_of_another_org_is_found() {
    let world = world();
    let other: Org = "other".parse().unwrap();
    let id = world.group("one").id().clone();
    assert_eq!(world.registry.find_group(&other, id.as_str()).unwrap_err().code, RefusalCode::NotFound);
    assert_eq!(world.registry.find_group(&other, "one").unwrap_err().code, RefusalCode::NotFound);
    assert!(world.registry.find(&other, "app_1", &Kinds::default()).is_err());
    let found = world.registry.search(&other, "", &Kinds::default());
    assert!(found.network_groups.is_empty() && found.members.is_empty() && found.peers.is_empty());
}

/// NG-33
#[test]
fn a_search_looks_everywhere_in_whatever_case() {
    let world = world();
    let count = |text: &str, kinds: &str| {
        let found = world.registry.search(&Org::default(), text, &kinds.parse().unwrap());
        (found.network_groups.len(), found.members.len(), found.peers.len())
    };
    assert_eq!(count("", ""), (2, 4, 2));
    assert_eq!(count("nothing such", ""), (0, 0, 0));
    assert_eq!(count("SHOP", ""), (1, 0, 0));
    assert_eq!(count("blu", ""), (1, 0, 0));
    assert_eq!(count("APP_1", ""), (0, 2, 0));
    assert_eq!(count("laptop", ""), (0, 1, 1));
    assert_eq!(count("laptop.LOCAL", ""), (0, 0, 1));
    assert_eq!(count("10.255.0.", ""), (1, 0, 2));
    assert_eq!(count(".M.NG_", ""), (0, 4, 0));
    assert_eq!(count("", "Peer"), (0, 0, 2));
    assert_eq!(count("", "ExternalPeer"), (0, 0, 1));
}

#[test]
fn a_group_is_shown_with_all_in_it() {
    let world = world();
    let full = world.group("one").full();
    assert_eq!((full.members.len(), full.peers.len(), full.dns_sanitized_label.as_str()), (3, 2, "one"));
    let json = serde_json::to_value(&full).unwrap();
    assert_eq!(json["networkIp"], "10.255.0.0/16");
    assert_eq!(serde_json::from_value::<crate::api::group::FullGroup>(json).unwrap(), full);
}
