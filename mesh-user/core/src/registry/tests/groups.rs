//! Making, changing and deleting groups.

use crate::{
    model::group::{Access, ManagedBy, Org},
    registry::{Author, Command, Condition, Key, Object, RefusalCode, fixtures::*},
};

fn with_cidr(label: &str, given: &str) -> Command {
    let Command::CreateGroup { id, org, label, description, tags, members, prefix_length, default_access, .. } =
        create(label, &[])
    else {
        unreachable!()
    };
    let cidr = Some(given.parse().unwrap());
    Command::CreateGroup { id, org, label, description, tags, members, cidr, prefix_length, default_access }
}

fn with_length(label: &str, length: u8) -> Command {
    let mut command = create(label, &[]);
    if let Command::CreateGroup { prefix_length, .. } = &mut command {
        *prefix_length = Some(length);
    }
    command
}

/// NG-01
#[test]
fn a_group_gets_an_id_and_the_highest_free_16() {
    let mut world = World::default();
    let id = world.create("one", &[]);
    assert!(id.as_str().starts_with("ng_") && id.as_str()[17..].starts_with('4'), "{id}");
    let group = &world.group("one").group;
    assert_eq!(group.version, 1);
    assert_eq!(group.network_ip.to_string(), "10.255.0.0/16");
    assert_eq!(group.last_allocated_ip.to_string(), "10.255.0.4");
    world.create("two", &[]);
    assert_eq!(world.group("two").group.network_ip.to_string(), "10.254.0.0/16");
    world.execute(Command::DeleteGroup { group: id });
    world.create("three", &[]);
    assert_eq!(world.group("three").group.network_ip.to_string(), "10.255.0.0/16");
}

/// NG-02
#[test]
fn a_group_is_made_with_all_its_members_or_not_at_all() {
    let mut world = World::default();
    assert_eq!(world.refused(create("x", &["app_1", "x_2"])), (RefusalCode::Invalid, "members[1].id".into()));
    assert_eq!(world.refused(create("x", &["app_1", "app_1"])), (RefusalCode::AlreadyLinked, "members[1].id".into()));
    world.create("x", &["app_1", "postgresql_2"]);
    let names: Vec<&str> = world.group("x").members.values().map(|member| member.id.as_str()).collect();
    assert_eq!(names, ["app_1", "postgresql_2"]);
    assert_eq!(world.group("x").group.version, 1);
}

/// NG-04
#[test]
fn a_label_is_unique_in_its_org_as_dns_has_it() {
    let mut world = World::default();
    world.create("my.NG", &[]);
    for twin in ["my.NG", "my_ng", "My ng", "my,ng"] {
        assert_eq!(world.refused(create(twin, &[])), (RefusalCode::Conflict, "label".into()), "{twin}");
    }
    let mut elsewhere = create("my.NG", &[]);
    if let Command::CreateGroup { org, .. } = &mut elsewhere {
        *org = "other".parse().unwrap();
    }
    world.execute(elsewhere);
    world.create("myng", &[]);
    let id = world.group("my.NG").id().clone();
    world.execute(Command::DeleteGroup { group: id.clone() });
    world.create("my_ng", &[]);
    for reserved in ["external", "External", id.as_str()] {
        assert_eq!(world.refused(create(reserved, &[])), (RefusalCode::Invalid, "label".into()));
    }
    // What only looks like the beginning of an id is a label as any other.
    world.create("app_store", &[]);
}

/// NG-24
#[test]
fn a_given_cidr_is_taken_unless_it_is_somebodys() {
    let mut world = World::default();
    world.rules.taken.push(("10.70.0.0/16".parse().unwrap(), "cluster cl01 (external)".into()));
    world.execute(with_cidr("one", "192.168.7.0/24"));
    assert_eq!(world.group("one").group.network_ip.to_string(), "192.168.7.0/24");
    for taken in ["10.70.3.0/24", "10.0.0.0/8", "192.168.0.0/16", "192.168.7.128/28"] {
        assert_eq!(world.refused(with_cidr("x", taken)), (RefusalCode::Conflict, "cidr".into()), "{taken}");
    }
    for wrong in ["192.168.8.1/24", "127.0.0.0/16", "192.168.8.0/29", "fd00::/32", "224.0.0.0/16"] {
        assert_eq!(world.refused(with_cidr("x", wrong)), (RefusalCode::Invalid, "cidr".into()), "{wrong}");
    }
    let refusal = world.decide(Author::Api, &with_cidr("two", "10.70.0.0/24")).unwrap_err();
    let both = "10.70.0.0/24 for the new group overlaps 10.70.0.0/16 of cluster cl01 (external)";
    assert_eq!(refusal.message, both);
    world.execute(with_cidr("six", "fd42::/64"));
}

/// NG-24
#[test]
fn the_pool_and_the_length_are_settings() {
    let mut world = World::default();
    world.rules.pool = vec!["10.8.0.0/21".parse().unwrap()];
    world.rules.prefix_length = 22;
    let cidr = |world: &World, label: &str| world.group(label).group.network_ip.to_string();
    world.create("one", &[]);
    assert_eq!(cidr(&world, "one"), "10.8.4.0/22");
    world.execute(with_length("two", 28));
    assert_eq!(cidr(&world, "two"), "10.8.3.240/28");
    assert_eq!(world.refused(create("three", &[])), (RefusalCode::Exhausted, "prefixLength".into()));
    for wrong in [0, 15, 29, 32, 255] {
        assert_eq!(world.refused(with_length("four", wrong)), (RefusalCode::Invalid, "prefixLength".into()));
    }
}

/// NG-05
#[test]
fn a_group_goes_with_everything_in_it() {
    let mut world = World::default();
    let group = world.create("x", &["app_1", "app_2"]);
    world.join(&group, "app_1", 1);
    world.execute(Command::CreatePeer { group: group.clone(), peer: external("laptop", 2) });
    let any = |text: &str| text.parse().unwrap();
    world.execute(Command::AddRule {
        group: group.clone(),
        id: None,
        from: any("app_1"),
        to: any("*"),
        traffic: "any".parse().unwrap(),
    });
    let change = world.decide(Author::Api, &Command::DeleteGroup { group: group.clone() }).unwrap();
    let deleted = change.deletes.iter().map(Key::to_string);
    assert_eq!(deleted.filter(|key| key.starts_with(&format!("groups/{group}"))).count(), 1 + 3 + 2 + 1);
    assert!(change.deletes.contains(&Key::Label(Org::default(), "x".parse().unwrap())));
    world.commit(change);
    assert!(world.registry.groups.is_empty());
    assert_eq!(world.refused(Command::DeleteGroup { group }), (RefusalCode::NotFound, String::new()));
}

/// NG-38
#[test]
fn every_change_is_one_version_and_no_change_is_none() {
    let mut world = World::default();
    let group = world.create("x", &[]);
    let version = |world: &World| world.group("x").group.version;
    world.execute(link(&group, "app_1"));
    assert_eq!(version(&world), 2);
    let described = Command::UpdateGroup {
        group: group.clone(),
        description: Some("db and web".into()),
        tags: Some(["prod".parse().unwrap()].into()),
        default_access: Some(Access::Deny),
    };
    world.execute(described.clone());
    assert_eq!(version(&world), 3);
    assert!(world.decide(Author::Api, &described).unwrap().is_empty());
    let nothing = Command::UpdateGroup { group: group.clone(), description: None, tags: None, default_access: None };
    assert!(world.decide(Author::Api, &nothing).unwrap().is_empty());
    let undescribed =
        Command::UpdateGroup { group, description: Some(String::new()), tags: None, default_access: None };
    world.execute(undescribed);
    let group = &world.group("x").group;
    assert_eq!((group.description.as_deref(), group.tags.len(), group.default_access), (None, 1, Access::Deny));
}

/// NG-03
#[test]
fn a_description_has_a_length() {
    let mut world = World::default();
    let group = world.create("x", &[]);
    let described = |text: String| Command::UpdateGroup {
        group: group.clone(),
        description: Some(text),
        tags: None,
        default_access: None,
    };
    assert_eq!(world.refused(described("x".repeat(1_025))), (RefusalCode::Invalid, "description".into()));
    assert_eq!(world.refused(described("a\u{7}".into())), (RefusalCode::Invalid, "description".into()));
    world.execute(described("é".repeat(1_024)));
}

#[test]
fn what_a_manifest_says_is_changed_there_alone() {
    let mut world = World::default();
    world.by(Author::File, &create("x", &["app_1"])).unwrap();
    let group = world.group("x").id().clone();
    let managed = |(code, _): (RefusalCode, String)| assert_eq!(code, RefusalCode::ManagedByFile);
    managed(world.refused(Command::DeleteGroup { group: group.clone() }));
    managed(world.refused(Command::Unlink { group: group.clone(), member: "app_1".parse().unwrap() }));
    let update =
        Command::UpdateGroup { group: group.clone(), description: Some("x".into()), tags: None, default_access: None };
    managed(world.refused(update));
    // What runs in it is no matter of the manifest.
    world.join(&group, "app_1", 1);
    world.execute(link(&group, "app_2"));
    assert_eq!(
        world
            .by(Author::File, &Command::Unlink { group: group.clone(), member: "app_2".parse().unwrap() })
            .unwrap_err()
            .code,
        RefusalCode::Conflict
    );
    world.by(Author::File, &Command::DeleteGroup { group }).unwrap();
    assert!(world.registry.groups.is_empty());

    let group = world.create("y", &[]);
    world.by(Author::File, &link(&group, "app_1")).unwrap();
    assert_eq!(world.group("y").members.values().next().unwrap().managed_by, ManagedBy::File);
    managed(world.refused(Command::DeleteGroup { group }));
}

/// Two creates of one label at once: the conditions of the second fail.
#[test]
fn who_creates_at_once_notices() {
    let mut world = World::default();
    let first = world.decide(Author::Api, &create("my.ng", &[])).unwrap();
    let second = world.decide(Author::Api, &create("my_ng", &[])).unwrap();
    world.commit(first.clone());
    let label = Key::Label(Org::default(), "my-ng".parse().unwrap());
    for change in [&first, &second] {
        assert!(change.conditions.contains(&Condition { key: label.clone(), modified: None }));
        assert!(change.conditions.contains(&Condition { key: Key::Prefixes, modified: None }));
        assert!(change.puts.iter().any(|(key, _)| *key == label));
    }
    let third = world.decide(Author::Api, &create("other", &[])).unwrap();
    assert!(third.conditions.contains(&Condition { key: Key::Prefixes, modified: Some(world.registry.revision) }));
    assert!(third.puts.contains(&(Key::Prefixes, Object::Prefixes(2))));
}
