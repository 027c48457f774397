//! Manifests: what they declare, what that changes, and how they are wrong.

use crate::{
    api::{Action, Applied},
    model::{
        Manifest, Problems,
        group::{ManagedBy, Org},
    },
    registry::{Author, Command, Declaration, RefusalCode, declare, fixtures::*},
};

const SHOP: &str = r#"
apiVersion: mesh/v1
kind: AccessRule
metadata: { name: web-to-db }
spec: { group: shop, from: app_web, to: postgresql_db, traffic: tcp/5432 }
---
apiVersion: mesh/v1
kind: NetworkGroup
metadata: { name: shop }
spec:
  description: The shop
  tags: [prod, eu]
  defaultAccess: deny
  members:
    - app_web
    - { id: lb_1, kind: loadbalancer, domainName: shop.cc-ng.cloud }
---
apiVersion: mesh/v1
kind: Member
metadata: { name: postgresql_db }
spec: { group: shop, label: Orders }
---
apiVersion: mesh/v1
kind: Peer
metadata: { name: Laptop }
spec: { group: shop, publicKey: "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", role: server, ip: 192.0.2.7, port: 51820 }
"#;

fn read(text: &str) -> Result<Vec<Declaration>, Problems> {
    let manifest = Manifest { file: "shop.yaml".into(), text: text.into() };
    Declaration::read_all(&[manifest], &Org::default())
}

impl World {
    fn declare(&mut self, author: Author, text: &str, prune: bool) -> Result<Vec<Applied>, Problems> {
        let declarations = read(text)?;
        let mut ids = self.clone();
        let (registry, rules) = (self.registry.clone(), self.rules.clone());
        let (change, applied) = declare(&registry, &rules, author, &declarations, prune, &mut || ids.id())?;
        *self = ids;
        if !change.is_empty() {
            self.commit(change);
        }
        Ok(applied)
    }

    fn problems(&mut self, author: Author, text: &str) -> Vec<String> {
        let before = self.registry.clone();
        let problems = self.declare(author, text, false).unwrap_err();
        assert_eq!(self.registry, before);
        problems.0.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
    }
}

fn actions(applied: &[Applied]) -> Vec<(Action, &str, &str)> {
    applied.iter().map(|applied| (applied.action, applied.kind.as_str(), applied.name.as_str())).collect()
}

/// NG-50
#[test]
fn what_is_declared_is_made_in_one_change_and_then_is_there() {
    let mut world = World::default();
    let applied = world.declare(Author::Api, SHOP, false).unwrap();
    let names = [
        ("NetworkGroup", "shop"),
        ("Member", "shop/app_web"),
        ("Member", "shop/lb_1"),
        ("Member", "shop/postgresql_db"),
        ("Peer", "shop/Laptop"),
        ("AccessRule", "shop/web-to-db"),
    ];
    assert_eq!(actions(&applied), names.map(|(kind, name)| (Action::Created, kind, name)));
    let shop = world.group("shop");
    assert_eq!((shop.members.len(), shop.peers.len(), shop.rules.len(), shop.group.version), (4, 1, 1, 1));
    assert_eq!(shop.find_peer("Laptop").unwrap().endpoint.public().unwrap().port, 51820);

    let before = world.registry.clone();
    let again = world.declare(Author::Api, SHOP, false).unwrap();
    assert_eq!(actions(&again), names.map(|(kind, name)| (Action::Unchanged, kind, name)));
    assert_eq!(world.registry, before);
}

/// NG-50
#[test]
fn what_differs_is_changed_and_shown_field_by_field() {
    let mut world = World::default();
    world.declare(Author::Api, SHOP, false).unwrap();
    let edited = SHOP
        .replace("description: The shop", "description: Our shop")
        .replace("[prod, eu]", "[prod]")
        .replace("label: Orders", "label: Bills")
        .replace("port: 51820", "port: 51821")
        .replace("tcp/5432", "tcp/5433");
    let applied = world.declare(Author::Api, &edited, false).unwrap();
    let diffs: Vec<(&str, String)> = (applied.iter().filter(|applied| applied.action == Action::Changed))
        .map(|applied| (applied.name.as_str(), applied.diff.join("; ")))
        .collect();
    let expected = [
        ("shop", "description: The shop -> Our shop; tags: [eu, prod] -> [prod]"),
        ("shop/postgresql_db", "label: Orders -> Bills"),
        ("shop/Laptop", "endpoint.ngTerm.port: 51820 -> 51821; endpoint.publicTerm.port: 51820 -> 51821"),
        ("shop/web-to-db", "traffic: tcp/5432 -> tcp/5433"),
    ];
    assert_eq!(diffs, expected.map(|(name, diff)| (name, diff.to_owned())));
    assert_eq!(world.group("shop").group.version, 2);
}

/// NG-50
#[test]
fn all_problems_are_told_with_their_fields_and_nothing_is_done() {
    let mut world = World::default();
    let wrong = SHOP
        .replace("- app_web", "- x_web")
        .replace("group: shop, label", "group: none, label")
        .replace("ip: 192.0.2.7, ", "");
    let problems = world.problems(Author::Api, &wrong);
    let paths: Vec<&str> = problems.iter().map(|problem| problem.split_once(": ").unwrap().0).collect();
    assert_eq!(paths, ["spec.members[0].id", "spec.group", "spec.ip", "spec.from"]);
}

#[test]
fn fields_that_are_wrong_are_named() {
    let group = |rest: &str| format!("apiVersion: mesh/v1\nkind: NetworkGroup\n{rest}");
    let peer = "apiVersion: mesh/v1\nkind: Peer\nmetadata: { name: a }\nspec: ";
    for (text, paths) in [
        (group("metadata: { name: a, x: 1 }"), "metadata.x"),
        (group("metadata: { org: a/b }"), "metadata.org metadata.name"),
        (
            group("metadata: { name: a }\nspec: { tags: [a b], cidr: 10.0.0.1/8, colour: red }"),
            "spec.tags spec.cidr spec.colour",
        ),
        (
            group("metadata: { name: a }\nspec: { defaultAccess: no, prefixLength: 300 }"),
            "spec.prefixLength spec.defaultAccess",
        ),
        (
            group("metadata: { name: a }\nspec: { members: [7, {}, { id: app_1, kind: x, y: 1 }, 'a b'] }"),
            "spec.members[0] spec.members[1].id spec.members[2].kind spec.members[2].y spec.members[3]",
        ),
        (
            format!("{peer}{{ group: g, publicKey: x, role: boss, ip: y, port: 0 }}"),
            "spec.publicKey spec.role spec.ip spec.port",
        ),
        (format!("{peer}{{ type: CleverPeer }}"), "spec.group spec.publicKey"),
        ("apiVersion: mesh/v1\nkind: Pear\nmetadata: { name: a }\nspec: {}".into(), "kind"),
        ("apiVersion: mesh/v1\nkind: AccessRule\nmetadata: { name: r }".into(), "spec"),
        ("a: [".into(), ""),
    ] {
        let problems = read(&text).unwrap_err();
        let found: Vec<&str> = problems.0.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(found.join(" "), paths, "{text}\n{problems}");
        assert!(problems.0.iter().all(|problem| problem.file == "shop.yaml" && !problem.hint.is_empty()));
    }
    for others in ["apiVersion: networking.liqo.io/v1beta1\nkind: PublicKey", "7", "apiVersion: mesh/v2\nkind: Peer"] {
        assert_eq!(read(others).unwrap(), [], "somebody else reads them");
    }
}

#[test]
fn what_is_declared_twice_is_a_problem() {
    let mut world = World::default();
    let twice = format!("{SHOP}---{}", SHOP.split("---").nth(1).unwrap());
    let problems = world.problems(Author::Api, &twice);
    assert!(
        problems.iter().any(|problem| problem.contains("NetworkGroup default/shop (shop.yaml) already")),
        "{problems:?}"
    );
}

#[test]
fn what_never_changes_is_said() {
    let mut world = World::default();
    world.declare(Author::Api, SHOP, false).unwrap();
    let parent = world.group("shop").find_peer("Laptop").unwrap().parent_member.clone();
    let edited = SHOP
        .replace("description: The shop", "cidr: 10.9.0.0/16")
        .replace("role: server", "role: server, parentMember: app_web");
    let problems = world.problems(Author::Api, &edited);
    assert_eq!(
        problems,
        [
            "spec.cidr: the group has 10.255.0.0/16".to_owned(),
            format!("spec.parentMember: the peer is one of {parent}"),
        ]
    );
    let same =
        SHOP.replace("description: The shop", "description: The shop\n  cidr: 10.255.0.0/16\n  prefixLength: 16");
    assert!(
        world.declare(Author::Api, &same, false).unwrap().iter().all(|applied| applied.action == Action::Unchanged)
    );
}

#[test]
fn what_is_gone_from_the_directory_goes_and_nothing_else() {
    let mut world = World::default();
    world.create("mine", &["app_1"]);
    world.declare(Author::File, SHOP, true).unwrap();
    let shop = world.group("shop").id().clone();
    assert!(world.group("shop").members.values().all(|member| member.managed_by == ManagedBy::File));
    world.join(&shop, "app_web", 7);
    world.execute(link(&shop, "redis_1"));
    assert!(world.declare(Author::File, SHOP, true).unwrap().iter().all(|applied| applied.action == Action::Unchanged));

    let only_group = SHOP
        .split("---")
        .nth(1)
        .unwrap()
        .replace("    - { id: lb_1, kind: loadbalancer, domainName: shop.cc-ng.cloud }\n", "");
    let applied = world.declare(Author::File, &only_group, true).unwrap();
    let deleted: Vec<&str> = applied
        .iter()
        .filter(|applied| applied.action == Action::Deleted)
        .map(|applied| applied.kind.as_str())
        .collect();
    assert_eq!(deleted, ["AccessRule", "Peer", "Member", "Member", "Member"]);
    let left: Vec<&str> = world.group("shop").members.keys().map(|id| id.as_str()).collect();
    assert_eq!(
        (left, world.group("shop").peers.len(), world.group("shop").rules.len()),
        (vec!["app_web", "redis_1"], 1, 0)
    );

    let applied = world.declare(Author::File, "", true).unwrap();
    assert_eq!(actions(&applied), [(Action::Deleted, "NetworkGroup", "shop")]);
    assert_eq!(world.registry.groups.len(), 1);
}

#[test]
fn directory_and_api_do_not_take_over_each_others_objects() {
    let mut world = World::default();
    world.create("shop", &[]);
    let problems = world.problems(Author::File, SHOP);
    assert!(problems[0].contains("was made through the API"), "{problems:?}");
    let id = world.group("shop").id().clone();
    world.execute(Command::DeleteGroup { group: id });
    world.declare(Author::File, SHOP, true).unwrap();
    assert!(world.declare(Author::Api, SHOP, false).unwrap().iter().all(|applied| applied.action == Action::Unchanged));
    let problems = world.problems(Author::Api, &SHOP.replace("The shop", "Our shop"));
    assert!(problems[0].contains("stands in the manifest directory"), "{problems:?}");
}

/// NG-50
#[test]
fn what_is_shown_can_be_applied() {
    let mut world = World::default();
    world.declare(Author::Api, SHOP, false).unwrap();
    let shop = world.group("shop");
    let mut manifests = vec![shop.manifest()];
    manifests.extend(shop.members.values().map(|member| shop.member_manifest(member)));
    manifests.extend(shop.peers.values().map(|peer| shop.peer_manifest(peer)));
    manifests.extend(shop.rules.values().map(|rule| shop.rule_manifest(rule)));
    let texts: Vec<String> = manifests.iter().map(ToString::to_string).collect();
    let applied = world.declare(Author::Api, &texts.join("\n---\n"), false).unwrap();
    assert_eq!(applied.len(), 7);
    assert!(applied.iter().all(|applied| applied.action == Action::Unchanged), "{applied:?}");
}

/// Peers that nodes made are shown with the others, and left to their nodes.
#[test]
fn peers_of_nodes_are_skipped_and_are_nothing_for_the_directory() {
    let mut world = World::default();
    world.declare(Author::Api, SHOP, false).unwrap();
    let peer = "apiVersion: mesh/v1\nkind: Peer\nmetadata: { name: p1 }\nspec: { group: shop, type: CleverPeer, \
                parentMember: app_web, publicKey: \"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\" }\n";
    let before = world.registry.clone();
    assert_eq!(actions(&world.declare(Author::Api, peer, false).unwrap()), [(Action::Skipped, "Peer", "shop/p1")]);
    assert_eq!(world.registry, before);
    let problems = world.problems(Author::File, peer);
    assert!(problems.len() == 1 && problems[0].contains("spec.type"), "{problems:?}");
}

#[test]
fn a_declaration_is_refused_as_the_command_is() {
    let mut world = World::default();
    let group = world.create("shop", &["app_1"]);
    world.join(&group, "app_1", 1);
    let problems = world.problems(Author::Api, SHOP);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("spec.publicKey: the key AQEB"), "{problems:?}");
    assert_eq!(world.refused(create("shop", &[])).0, RefusalCode::Conflict);
}
