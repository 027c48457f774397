//! Linking, naming and unlinking members.

use crate::{
    model::group::{GroupId, MemberKind, MemberStatus, Org},
    registry::{Author, Command, MemberSpec, RefusalCode, fixtures::*},
};

fn unlink(group: &GroupId, id: &str) -> Command {
    Command::Unlink { group: group.clone(), member: id.parse().unwrap() }
}

fn named(id: &str, name: &str) -> MemberSpec {
    MemberSpec { domain_name: Some(name.parse().unwrap()), ..spec(id) }
}

/// NG-10
#[test]
fn the_kind_of_a_member_follows_from_its_id_or_is_said() {
    let mut world = World::default();
    let group = world.create("x", &[]);
    for id in ["app_1", "postgresql_1", "mysql_1", "redis_1", "mongodb_1", "elasticsearch_1", "external_1"] {
        world.execute(link(&group, id));
    }
    let kind = |world: &World, id: &str| world.group("x").members[&id.parse().unwrap()].kind;
    assert_eq!(kind(&world, "app_1"), MemberKind::Application);
    assert_eq!(kind(&world, "redis_1"), MemberKind::Addon);
    assert_eq!(kind(&world, "external_1"), MemberKind::External);
    let refusal = world.decide(Author::Api, &link(&group, "lb_1")).unwrap_err();
    assert_eq!((refusal.code, refusal.path.as_str()), (RefusalCode::Invalid, "id"));
    assert!(refusal.hint.contains("app_, elasticsearch_, external_"), "{}", refusal.hint);
    let said = MemberSpec { kind: Some(MemberKind::Loadbalancer), ..spec("lb_1") };
    world.execute(Command::Link { group: group.clone(), member: said });
    assert_eq!(kind(&world, "lb_1"), MemberKind::Loadbalancer);
    assert_eq!(world.refused(link(&group, group.as_str())), (RefusalCode::Invalid, "id".into()));
}

/// NG-14
#[test]
fn the_prefixes_of_ids_are_settings_and_the_legacy_one_is_explained() {
    let mut world = World::default();
    let group = world.create("x", &[]);
    assert_eq!(world.refused(link(&group, "kv_1")), (RefusalCode::Invalid, "id".into()));
    world.rules.kinds.insert("kv_".into(), MemberKind::Addon);
    world.execute(link(&group, "kv_1"));
    let legacy = MemberSpec { kind: Some(MemberKind::Addon), ..spec("addon_1") };
    let refusal = world.decide(Author::Api, &Command::Link { group, member: legacy }).unwrap_err();
    assert!(refusal.hint.contains("postgresql_"), "{refusal:?}");
}

/// NG-12
#[test]
fn what_is_linked_or_not_is_said_and_nothing_changes() {
    let mut world = World::default();
    let group = world.create("x", &["app_1"]);
    assert_eq!(world.refused(link(&group, "app_1")), (RefusalCode::AlreadyLinked, "id".into()));
    assert_eq!(world.refused(unlink(&group, "app_2")), (RefusalCode::NotMember, String::new()));
}

/// NG-11
#[test]
fn who_is_unlinked_goes_with_peers_and_rules() {
    let mut world = World::default();
    let group = world.create("x", &["app_1", "app_2"]);
    world.join(&group, "app_1", 1);
    world.join(&group, "app_1", 2);
    let stays = world.join(&group, "app_2", 3);
    let rule = |from: &str, to: &str| Command::AddRule {
        group: group.clone(),
        id: None,
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        traffic: "any".parse().unwrap(),
    };
    for (from, to) in [("app_1", "*"), ("app_2", "app_1"), ("app_2", "*")] {
        world.execute(rule(from, to));
    }
    world.execute(unlink(&group, "app_1"));
    let group = world.group("x");
    assert_eq!(group.peers.keys().collect::<Vec<_>>(), [&stays.id]);
    assert_eq!(group.rules.len(), 1);
    assert_eq!(group.peers_of(&"app_1".parse().unwrap()).count(), 0);
}

/// NG-15
#[test]
fn a_member_is_in_several_groups_with_a_name_in_each() {
    let mut world = World::default();
    let (one, two) = (world.create("one", &["app_1"]), world.create("two", &["app_1"]));
    for (label, id) in [("one", one), ("two", two)] {
        let member = world.group(label).members.values().next().unwrap();
        assert_eq!(member.domain_name.as_str(), format!("app_1.m.{id}.cc-ng.cloud"));
    }
}

/// NG-16
#[test]
fn a_member_has_any_number_of_peers() {
    let mut world = World::default();
    let group = world.create("x", &["app_1"]);
    let app = "app_1".parse().unwrap();
    assert_eq!(world.group("x").peers_of(&app).count(), 0);
    let peers = [1, 2, 3].map(|key| world.join(&group, "app_1", key));
    assert_eq!(world.group("x").peers_of(&app).count(), 3);
    for peer in peers {
        world.execute(Command::DeletePeer { group: group.clone(), peer: peer.id });
    }
    assert_eq!(world.group("x").peers_of(&app).count(), 0);
    assert!(world.group("x").members.contains_key(&app));
}

/// NG-18
#[test]
fn a_chosen_name_lies_below_an_allowed_suffix_and_is_nobody_elses() {
    let mut world = World::default();
    world.rules.suffixes.push("mesh.example".parse().unwrap());
    let group = world.create("x", &["app_0"]);
    let mut try_name = |id: &str, name: &str| {
        let link = Command::Link { group: group.clone(), member: named(id, name) };
        world.by(Author::Api, &link).map_err(|refusal| (refusal.code, refusal.path, refusal.hint))
    };
    assert_eq!(try_name("app_1", "db.cc-ng.cloud"), Ok(()));
    assert_eq!(try_name("app_2", "WEB.eu.mesh.example."), Ok(()));
    assert_eq!(try_name("app_3", "db.cc-ng.cloud").unwrap_err().0, RefusalCode::Conflict);
    for outside in ["db.example", "cc-ng.cloud", "dbcc-ng.cloud"] {
        let (code, path, hint) = try_name("app_3", outside).unwrap_err();
        assert_eq!((code, path.as_str()), (RefusalCode::Invalid, "domainName"));
        assert!(hint.contains("cc-ng.cloud, mesh.example"), "{hint}");
    }
    for anothers in [format!("app_9.m.{group}.cc-ng.cloud"), "x.p.y.cc-ng.cloud".into(), "a.b.m.y.mesh.example".into()]
    {
        assert_eq!(try_name("app_3", &anothers).unwrap_err().0, RefusalCode::Invalid, "{anothers}");
    }
    assert_eq!(try_name("app_3", &format!("app_3.m.{group}.mesh.example")), Ok(()));
}

/// NG-43
#[test]
fn a_deleted_member_is_shown_as_such_and_cleaned_by_unlinking() {
    let mut world = World::default();
    let (one, _) = (world.create("one", &["app_1", "app_2"]), world.create("two", &["app_1"]));
    let report = |id: &str, status| Command::ReportMember { org: Org::default(), member: id.parse().unwrap(), status };
    world.execute(report("app_1", MemberStatus::Deleted));
    for label in ["one", "two"] {
        let group = world.group(label);
        assert_eq!(group.members[&"app_1".parse().unwrap()].status, MemberStatus::Deleted);
        assert_eq!(group.group.version, 2);
    }
    assert!(world.decide(Author::Api, &report("app_1", MemberStatus::Deleted)).unwrap().is_empty());
    assert_eq!(world.group("one").members[&"app_2".parse().unwrap()].status, MemberStatus::Active);
    world.execute(unlink(&one, "app_1"));
    world.execute(report("app_1", MemberStatus::Active));
    assert_eq!(world.group("two").members[&"app_1".parse().unwrap()].status, MemberStatus::Active);
    assert_eq!(world.refused(report("app_9", MemberStatus::Deleted)), (RefusalCode::NotMember, String::new()));
}
