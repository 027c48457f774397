//! A reader that follows by entries ends with exactly what its view shows of the registry.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    model::{
        ClusterObject, ObjectId, ObjectKind, Role,
        group::{
            Access, Block, ClientEndpoint, Endpoint, ManagedBy, Member, MemberKind, MemberStatus, Peer, PeerId,
            PeerKind, Scope,
        },
    },
    plan::PublicKey,
};

/// What a reader keeps.
#[derive(Clone, Debug, Default, PartialEq)]
struct Mirror(BTreeMap<String, Object>);

impl Mirror {
    fn take(&mut self, entries: Vec<Entry>) {
        for Entry { key, object, .. } in entries {
            match (&key, object) {
                (_, Some(object)) => {
                    self.0.insert(key.to_string(), object);
                }
                (Key::Group(_), None) => {
                    let below = key.to_string();
                    self.0.retain(|known, _| *known != below && !known.starts_with(&format!("{below}/")));
                }
                (_, None) => {
                    self.0.remove(&key.to_string());
                }
            }
        }
    }

    /// What the view shows, found without it: by the texts of the filter.
    fn of(
        registry: &Registry,
        shows: impl Fn(&Group) -> bool,
        blocks: impl Fn(&Block) -> bool,
        objects: bool,
    ) -> Mirror {
        let mut mirror = Mirror::default();
        for (id, stored) in registry.objects.iter().filter(|_| objects) {
            mirror.0.insert(Key::Object(id.clone()).to_string(), Object::Cluster((*stored.object).clone()));
        }
        for (id, group) in registry.groups.iter().filter(|(_, group)| shows(group)) {
            let mut put = |key: Key, object: Object| mirror.0.insert(key.to_string(), object);
            put(Key::Group(id.clone()), Object::Group((*group.group.object).clone()));
            for (member, stored) in &group.members {
                put(Key::Member(id.clone(), member.clone()), Object::Member((*stored.object).clone()));
            }
            for (peer, stored) in &group.peers {
                put(Key::Peer(id.clone(), peer.clone()), Object::Peer((*stored.object).clone()));
            }
        }
        for ((org, member), stored) in registry.blocks.iter().filter(|(_, stored)| blocks(&stored.object)) {
            let block = Object::Block((*stored.object).clone());
            mirror.0.insert(Key::Block(org.clone(), member.clone()).to_string(), block);
        }
        mirror
    }
}

/// A change at random: of which of three groups, two members, two peers.
#[derive(Clone, Copy, Debug)]
enum Act {
    Create(u8),
    Delete(u8),
    Link(u8, u8),
    Unlink(u8, u8),
    Peer(u8, u8),
    PeerGone(u8, u8),
    Block(u8),
    Unblock(u8),
    Object(u8),
    ObjectGone(u8),
}

const ORGS: [&str; 2] = ["north", "south"];

fn org(group: u8) -> Org {
    ORGS[usize::from(group % 2)].parse().expect("an org")
}

fn group_id(group: u8) -> GroupId {
    format!("ng_00000000-0000-4000-8000-00000000000{group}").parse().expect("an id")
}

fn member_id(member: u8) -> MemberId {
    format!("app_{member}").parse().expect("an id")
}

fn noun(group: u8, version: u64) -> NetworkGroup {
    NetworkGroup {
        id: group_id(group),
        owner_id: org(group),
        label: format!("group {group}").parse().expect("a label"),
        description: None,
        tags: BTreeSet::new(),
        scope: Scope::Workloads,
        network_ip: format!("10.{group}.0.0/16").parse().expect("a prefix"),
        last_allocated_ip: format!("10.{group}.0.5").parse().expect("an address"),
        default_access: Access::Allow,
        version,
        managed_by: ManagedBy::Api,
    }
}

fn member(id: MemberId) -> Member {
    let domain_name = "a.example".parse().expect("a name");
    Member {
        id,
        label: None,
        domain_name,
        kind: MemberKind::Application,
        status: MemberStatus::Active,
        managed_by: ManagedBy::Api,
        made_with_peer: false,
    }
}

fn object(number: u8, generation: u64) -> ClusterObject {
    let kind = ObjectKind::Network;
    let id = ObjectId { kind, namespace: "default".to_owned(), name: format!("net-{number}") };
    ClusterObject {
        uid: id.derived_uid(),
        id,
        created: 0,
        generation,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        spec: serde_json::json!({ "cidr": "10.50.0.0/16" }),
        managed_by: ManagedBy::Api,
    }
}

fn peer(id: PeerId, revision: u64) -> Peer {
    Peer {
        kind: PeerKind::CleverPeer,
        id,
        label: None,
        public_key: PublicKey([revision as u8; 32]),
        endpoint: Endpoint::ClientEndpoint(ClientEndpoint { ng_ip: "10.0.0.5".parse().expect("an address") }),
        hostname: String::new(),
        parent_member: member_id(0),
        parent_event: None,
        hv: None,
        managed_by: ManagedBy::Api,
    }
}

/// The registry one revision later.
fn after(registry: &Registry, act: Act) -> Registry {
    let mut next = registry.clone();
    next.revision = Revision(registry.revision.0 + 1);
    let modified = next.revision;
    fn stored<T>(modified: Revision, object: T) -> Stored<T> {
        Stored { modified, object: Arc::new(object) }
    }
    let mut change = |group: u8, change: &dyn Fn(&mut Group)| {
        if let Some(known) = next.groups.get_mut(&group_id(group)) {
            let known = Arc::make_mut(known);
            known.group = stored(modified, noun(group, known.group.object.version + 1));
            change(known);
        }
    };
    match act {
        Act::Create(group) => {
            let made = || {
                let group = stored(modified, noun(group, 1));
                Arc::new(Group::new(group, BTreeMap::new(), BTreeMap::new(), BTreeMap::new()))
            };
            next.groups.entry(group_id(group)).or_insert_with(made);
        }
        Act::Delete(group) => drop(next.groups.remove(&group_id(group))),
        Act::Link(group, id) => change(group, &|group| {
            group.members.entry(member_id(id)).or_insert_with(|| stored(modified, member(member_id(id))));
        }),
        Act::Unlink(group, id) => change(group, &|group| drop(group.members.remove(&member_id(id)))),
        Act::Peer(group, id) => change(group, &|group| {
            let id: PeerId = format!("peer{id}").parse().expect("an id");
            group.peers.insert(id.clone(), stored(modified, peer(id, modified.0)));
        }),
        Act::PeerGone(group, id) => change(group, &|group| {
            drop(group.peers.remove(&format!("peer{id}").parse().expect("an id")));
        }),
        Act::Block(id) => {
            let block = Block { owner_id: org(id), member: member_id(id) };
            next.blocks.entry((org(id), member_id(id))).or_insert_with(|| stored(modified, block));
        }
        Act::Object(id) => {
            let object = object(id, modified.0);
            Arc::make_mut(&mut next.objects).insert(object.id.clone(), stored(modified, object));
        }
        Act::ObjectGone(id) => drop(Arc::make_mut(&mut next.objects).remove(&object(id, 1).id)),
        Act::Unblock(id) => drop(next.blocks.remove(&(org(id), member_id(id)))),
    }
    next
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => (0..3_u8).prop_map(Act::Create),
        1 => (0..3_u8).prop_map(Act::Delete),
        3 => (0..3_u8, 0..2_u8).prop_map(|(group, member)| Act::Link(group, member)),
        2 => (0..3_u8, 0..2_u8).prop_map(|(group, member)| Act::Unlink(group, member)),
        2 => (0..3_u8, 0..2_u8).prop_map(|(group, peer)| Act::Peer(group, peer)),
        1 => (0..3_u8, 0..2_u8).prop_map(|(group, peer)| Act::PeerGone(group, peer)),
        1 => (0..2_u8).prop_map(Act::Block),
        1 => (0..2_u8).prop_map(Act::Unblock),
        2 => (0..2_u8).prop_map(Act::Object),
        1 => (0..2_u8).prop_map(Act::ObjectGone),
    ];
    prop::collection::vec(act, 1..40)
}

/// Views, each with what it shows, said once more.
type Shows = fn(&Group) -> bool;
type Blocks = fn(&Block) -> bool;

fn views() -> Vec<(View, Shows, Blocks)> {
    let north = || ORGS[0].parse::<Org>().expect("an org");
    let all = || View::all(Rights::All);
    let member_of = Rights::Roles(vec![
        Role::Member { org: north(), group: "group 2".to_owned() },
        Role::Admin("x".parse().expect("an org")),
    ]);
    vec![
        (all(), |_| true, |_| true),
        (View::all(Rights::Roles(vec![Role::Read])), |_| true, |_| true),
        (View::all(Rights::Roles(vec![])), |_| false, |_| false),
        (View { objects: false, ..all() }, |_| true, |_| true),
        (
            View { orgs: [north()].into(), ..all() },
            |group| group.group.object.owner_id.as_str() == "north",
            |block| block.owner_id.as_str() == "north",
        ),
        (
            View::all(Rights::Roles(vec![Role::Admin(north())])),
            |group| group.group.object.owner_id.as_str() == "north",
            |block| block.owner_id.as_str() == "north",
        ),
        (
            View::all(member_of),
            |group| group.group.object.label.as_str() == "group 2",
            |block| block.owner_id.as_str() == "north",
        ),
        (
            View { members: [member_id(1)].into(), ..all() },
            |group| group.members.contains_key(&member_id(1)),
            |block| block.member == member_id(1),
        ),
        (
            View { groups: ["group 0".to_owned()].into(), members: [member_id(0), member_id(1)].into(), ..all() },
            |group| group.group.object.label.as_str() == "group 0" || !group.members.is_empty(),
            |_| true,
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// NG-39: at every step, and from any step on in one go, whatever the reader asked for.
    #[test]
    fn following_and_resuming_lead_to_what_is_there(acts in acts(), left in 0..40_usize) {
        for (view, shows, blocks) in views() {
            let mut registry = Registry::default();
            let mut deletions = Deletions::new(registry.revision);
            let mut mirror = Mirror::default();
            let mut kept = (registry.revision, mirror.clone());
            for (step, act) in acts.iter().enumerate() {
                let next = after(&registry, *act);
                deletions.note(&registry, &next);
                mirror.take(view.changes(&registry, &next));
                registry = next;
                prop_assert_eq!(&mirror, &Mirror::of(&registry, shows, blocks, view.objects));
                if step + 1 == left % acts.len() {
                    kept = (registry.revision, mirror.clone());
                }
            }
            let (since, mut resumed) = kept;
            resumed.take(view.since(since, &deletions, &registry).expect("nothing is forgotten yet"));
            prop_assert_eq!(&resumed, &mirror);
            let mut anew = Mirror::default();
            anew.take(view.entries(&registry));
            prop_assert_eq!(&anew, &mirror);
        }
    }
}

#[test]
fn nobody_resumes_from_what_is_forgotten_or_not_yet_there() {
    let mut deletions = Deletions::new(Revision(1));
    let mut registry = Registry { revision: Revision(1), ..Registry::default() };
    let view = View::all(Rights::All);
    assert_eq!(view.since(Revision(0), &deletions, &registry), None);
    assert_eq!(view.since(Revision(2), &deletions, &registry), None);
    assert_eq!(view.since(Revision(1), &deletions, &registry), Some(vec![]));
    for _ in 0..=REMEMBERED {
        for act in [Act::Create(0), Act::Delete(0)] {
            let next = after(&registry, act);
            deletions.note(&registry, &next);
            registry = next;
        }
    }
    assert_eq!(view.since(Revision(1), &deletions, &registry), None);
    assert!(view.since(Revision(3), &deletions, &registry).is_some());
}

#[test]
fn an_event_has_key_and_value_as_the_store_has_them() {
    let made = after(&Registry::default(), Act::Create(0));
    let events: Vec<_> = View::all(Rights::All).entries(&made).into_iter().map(WatchEvent::from).collect();
    let [WatchEvent::Object { key, modified: 1, value: Some(value) }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((key.as_str(), &value["label"]), ("groups/ng_00000000-0000-4000-8000-000000000000", &"group 0".into()));
}
