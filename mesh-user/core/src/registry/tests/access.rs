//! Access rules and blocks.

use crate::{
    model::group::{GroupId, Org},
    registry::{Command, RefusalCode, fixtures::*},
};

fn rule(group: &GroupId, id: &str, from: &str, to: &str, traffic: &str) -> Command {
    Command::AddRule {
        group: group.clone(),
        id: id.parse().ok(),
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        traffic: traffic.parse().unwrap(),
    }
}

/// NG-45
#[test]
fn rules_name_members_and_say_a_thing_once() {
    let mut world = World::default();
    let group = world.create("x", &["app_1", "redis_1"]);
    world.execute(rule(&group, "r1", "app_1", "redis_1", "tcp/6379"));
    assert_eq!(
        world.refused(rule(&group, "r2", "app_1", "redis_1", "tcp/6379")),
        (RefusalCode::Conflict, String::new())
    );
    assert_eq!(world.refused(rule(&group, "r1", "app_1", "redis_1", "icmp")), (RefusalCode::Conflict, "id".into()));
    assert_eq!(world.refused(rule(&group, "r2", "app_2", "*", "any")), (RefusalCode::NotMember, "from".into()));
    assert_eq!(world.refused(rule(&group, "r2", "*", "app_2", "any")), (RefusalCode::NotMember, "to".into()));
    world.execute(rule(&group, "", "*", "*", "udp/1000-2000"));
    assert_eq!((world.group("x").rules.len(), world.group("x").group.version), (2, 3));
    let delete = |id: &str| Command::DeleteRule { group: group.clone(), rule: id.parse().unwrap() };
    world.execute(delete("r1"));
    assert_eq!(world.refused(delete("r1")), (RefusalCode::NotFound, String::new()));
}

/// NG-44
#[test]
fn a_member_is_blocked_once_and_unblocked_once() {
    let mut world = World::default();
    let org = Org::default();
    let block = Command::Block { org: org.clone(), member: "app_1".parse().unwrap() };
    assert_eq!(world.refused(block.clone()), (RefusalCode::NotFound, String::new()), "in no group");
    let group = world.create("x", &["app_1"]);
    let stranger = Command::Block { org: "other".parse().unwrap(), member: "app_1".parse().unwrap() };
    assert_eq!(world.refused(stranger), (RefusalCode::NotFound, String::new()), "in no group of that org");
    world.execute(block.clone());
    assert_eq!(world.registry.blocks.len(), 1);
    assert!(world.decide(crate::registry::Author::Api, &block).unwrap().is_empty());
    world.execute(Command::Unlink { group, member: "app_1".parse().unwrap() });
    let unblock = Command::Unblock { org, member: "app_1".parse().unwrap() };
    world.execute(unblock.clone());
    assert!(world.registry.blocks.is_empty());
    assert_eq!(world.refused(unblock), (RefusalCode::NotFound, String::new()));
}
