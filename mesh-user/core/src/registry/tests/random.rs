//! Whatever is asked for in whatever order, by several at once, the store stays right.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::{
    model::{
        Manifest,
        group::{DomainName, MemberId, MemberStatus, Org, Party},
    },
    registry::{
        Author, Change, Command, Declaration, Entry, Group, Key, MemberSpec, NodeLease, Object, PeerSpec, Registry,
        Revision, Rules, decide, declare, fixtures::*,
    },
};

/// Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Act {
    Create { label: u8, org: u8, length: u8, members: Vec<u8> },
    DeleteGroup(u8),
    Link(u8, u8, Option<u8>),
    Unlink(u8, u8),
    Report(u8, bool),
    Join { group: u8, member: u8, key: u8, server: bool, external: bool },
    Move { group: u8, peer: u8, key: u8, server: bool },
    Leave(u8, u8),
    AddRule(u8, u8, u8),
    DeleteRule(u8, u8),
    Block(u8),
    Unblock(u8),
    Live,
    End(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let number = any::<u8>;
    let join = (number(), 0..5_u8, 1..30_u8, any::<bool>(), any::<bool>());
    prop_oneof![
        1 => (0..6_u8, 0..2_u8, 14..=30_u8, prop::collection::vec(0..5_u8, 0..3))
            .prop_map(|(label, org, length, members)| Act::Create { label, org, length, members }),
        1 => number().prop_map(Act::DeleteGroup),
        3 => (number(), 0..5_u8, prop::option::weighted(0.2, 0..4_u8)).prop_map(|(group, member, name)| Act::Link(group, member, name)),
        1 => (number(), 0..5_u8).prop_map(|(group, member)| Act::Unlink(group, member)),
        1 => (0..5_u8, any::<bool>()).prop_map(|(member, gone)| Act::Report(member, gone)),
        12 => join.prop_map(|(group, member, key, server, external)| Act::Join { group, member, key, server, external }),
        2 => (number(), number(), 1..30_u8, any::<bool>()).prop_map(|(group, peer, key, server)| Act::Move { group, peer, key, server }),
        5 => (number(), number()).prop_map(|(group, peer)| Act::Leave(group, peer)),
        2 => (number(), 0..6_u8, 0..6_u8).prop_map(|(group, from, to)| Act::AddRule(group, from, to)),
        1 => (number(), number()).prop_map(|(group, rule)| Act::DeleteRule(group, rule)),
        1 => (0..3_u8).prop_map(Act::Block),
        1 => (0..3_u8).prop_map(Act::Unblock),
        1 => Just(Act::Live),
        2 => number().prop_map(Act::End),
    ]
}

fn member(number: u8) -> MemberId {
    ["app_0", "app_1", "postgresql_2", "external_3", "lb_4"][usize::from(number) % 5].parse().unwrap()
}

fn pick<T>(number: u8, all: impl IntoIterator<Item = T>) -> Option<T> {
    let mut all: Vec<T> = all.into_iter().collect();
    (!all.is_empty()).then(|| all.swap_remove(usize::from(number) % all.len()))
}

impl Act {
    /// As a command about what `registry` has; `None`: there is nothing that it could be about.
    fn command(&self, registry: &Registry) -> Option<Command> {
        let group = |number: u8| pick(number, registry.groups.keys().cloned());
        let party = |number: u8| if number == 5 { Party::Any } else { Party::Member(member(number)) };
        Some(match self {
            Act::Create { label, org, length, members } => {
                let label = ["a.b", "a-b", "A_b", "web", "db", "external"][usize::from(*label)];
                let members: Vec<MemberId> = members.iter().map(|number| member(*number)).collect();
                let members: Vec<&str> = members.iter().map(MemberId::as_str).collect();
                let mut command = create(label, &members);
                if let Command::CreateGroup { org: of, prefix_length, .. } = &mut command {
                    *of = ["default", "other"][usize::from(*org)].parse().unwrap();
                    *prefix_length = Some(*length);
                }
                command
            }
            Act::DeleteGroup(number) => Command::DeleteGroup { group: group(*number)? },
            Act::Link(number, id, name) => {
                let chosen = |name: u8| -> DomainName { format!("n{name}.cc-ng.cloud").parse().unwrap() };
                let member = MemberSpec { domain_name: name.map(chosen), ..spec(member(*id).as_str()) };
                Command::Link { group: group(*number)?, member }
            }
            Act::Unlink(number, id) => Command::Unlink { group: group(*number)?, member: member(*id) },
            Act::Report(id, gone) => {
                let status = if *gone { MemberStatus::Deleted } else { MemberStatus::Active };
                Command::ReportMember { org: Org::default(), member: member(*id), status }
            }
            Act::Join { group: number, member: id, key, server: is_server, external: is_external } => {
                let peer = if *is_external { external("x", *key) } else { clever(member(*id).as_str(), *key) };
                let peer = if *is_server { server(peer, "192.0.2.1", 51820) } else { peer };
                let peer = PeerSpec { parent_member: peer.parent_member.filter(|_| *id != 4), ..peer };
                Command::CreatePeer { group: group(*number)?, peer }
            }
            Act::Move { group: number, peer, key, server } => {
                let group = group(*number)?;
                let peer = pick(*peer, registry.groups[&group].peers.keys().cloned())?;
                let public = server.then(|| ("2001:db8::1".parse().unwrap(), 51820));
                Command::UpdatePeer { group, peer, public_key: public_key(*key), public }
            }
            Act::Leave(number, peer) => {
                let group = group(*number)?;
                let peer = pick(*peer, registry.groups[&group].peers.keys().cloned())?;
                Command::DeletePeer { group, peer }
            }
            Act::AddRule(number, from, to) => {
                let (from, to, traffic) = (party(*from), party(*to), "tcp/80".parse().unwrap());
                Command::AddRule { group: group(*number)?, id: None, from, to, traffic }
            }
            Act::DeleteRule(number, rule) => {
                let group = group(*number)?;
                let rule = pick(*rule, registry.groups[&group].rules.keys().cloned())?;
                Command::DeleteRule { group, rule }
            }
            Act::Block(id) => Command::Block { org: Org::default(), member: member(*id) },
            Act::Unblock(id) => Command::Unblock { org: Org::default(), member: member(*id) },
            Act::Live => Command::BeginLease(NodeLease { node: "hv-2".parse().unwrap(), lease: 1, seconds: 60 }),
            // All peers are of hv-1.
            Act::End(number) => Command::EndPeers { group: group(*number)?, node: "hv-1".parse().unwrap() },
        })
    }
}

/// A store of texts, as a driver has it.
#[derive(Default)]
struct Texts {
    revision: Revision,
    entries: BTreeMap<String, (Revision, Vec<u8>)>,
}

impl Texts {
    /// Takes the change if its conditions hold; the entries that a watcher is told.
    fn commit(&mut self, change: &Change) -> Option<Vec<Entry>> {
        let modified = |key: &Key| self.entries.get(&key.to_string()).map(|(modified, _)| *modified);
        if change.conditions.iter().any(|condition| modified(&condition.key) != condition.modified) {
            return None;
        }
        self.revision.0 += 1;
        for key in &change.deletes {
            assert!(self.entries.remove(&key.to_string()).is_some(), "{key} was not there");
        }
        for (key, object) in &change.puts {
            self.entries.insert(key.to_string(), (self.revision, object.to_json()));
        }
        let written: BTreeSet<&Key> = change.puts.iter().map(|(key, _)| key).chain(&change.deletes).collect();
        assert_eq!(written.len(), change.puts.len() + change.deletes.len(), "one key, one write");
        Some(change.clone().into_entries(self.revision).collect())
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        let entries = self.entries.iter().map(|(key, (modified, value))| {
            let key: Key = key.parse().unwrap();
            Entry { object: Some(Object::from_json(&key, value).unwrap()), modified: *modified, key }
        });
        // In whatever order a listing comes.
        registry.apply(self.revision, entries.rev());
        registry
    }
}

fn check(registry: &Registry, rules: &Rules) {
    let mut labels = BTreeSet::new();
    let mut cidrs: Vec<_> = rules.taken.iter().map(|(net, _)| *net).collect();
    for (id, group) in &registry.groups {
        let own = &group.group;
        assert_eq!(own.id, *id);
        assert!(labels.insert((own.owner_id.clone(), own.label.slug())), "{} twice", own.label);
        assert_eq!(registry.find_group(&own.owner_id, own.label.as_str()).unwrap().id(), id);
        let net = own.network_ip;
        assert!(cidrs.iter().all(|other| !other.contains(&net) && !net.contains(other)), "{net} overlaps");
        cidrs.push(net);
        check_group(group);
    }
}

fn check_group(group: &Group) {
    let net = group.group.network_ip;
    let (mut addresses, mut keys, mut names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (id, peer) in &group.peers {
        let address = peer.endpoint.address();
        assert!(net.contains(&address) && address != net.network() && address != net.broadcast(), "{address}");
        assert!(addresses.insert(address), "{address} twice");
        assert!(keys.insert(peer.public_key));
        assert!(group.members.contains_key(&peer.parent_member));
        assert_eq!(group.peer_at(address).unwrap().id, *id);
        assert_eq!(group.peer_with_key(&peer.public_key).unwrap().id, *id);
        assert_eq!(group.labelled(peer.label.clone()).any(|peer| peer.id == *id), peer.label.is_some());
        assert_eq!(group.peers_of(&peer.parent_member).filter(|peer| peer.id == *id).count(), 1);
    }
    for member in group.members.values() {
        assert!(names.insert(member.domain_name.clone()), "{} twice", member.domain_name);
    }
    for rule in group.rules.values() {
        for party in [&rule.from, &rule.to] {
            assert!(
                matches!(party, Party::Any) || matches!(party, Party::Member(id) if group.members.contains_key(id))
            );
        }
    }
}

/// Each group that was written is one version further, and none went back.
fn check_versions(old: &Registry, new: &Registry) {
    for (id, group) in &new.groups {
        let before = old.groups.get(id);
        let same = before.is_some_and(|before| before == group);
        let expected = before.map_or(0, |before| before.group.version) + u64::from(!same);
        assert_eq!(group.group.version, expected);
    }
}

/// One object of a directory: kind, group, name, and what it says.
type Sketch = (u8, u8, u8, u8);

/// Each object once, and each with what it needs, as a manifest.
fn manifest(sketches: &[Sketch]) -> Manifest {
    let mut wanted: BTreeMap<(u8, u8, u8), u8> = BTreeMap::new();
    for &(kind, group, name, says) in sketches {
        wanted.insert((0, group, 0), says);
        let name = if kind == 0 { 0 } else { name };
        wanted.insert((kind, group, name), says);
    }
    let texts: Vec<String> = wanted
        .iter()
        .map(|(&(kind, group, name), &says)| {
            let (kind, name, spec) = match kind {
                0 => ("NetworkGroup", format!("g{group}"), format!("{{description: d{says}, tags: [t{says}]}}")),
                1 => ("Member", format!("app_{name}"), format!("{{group: g{group}, label: l{says}}}")),
                2 => {
                    let key = public_key(1 + name * 8 + says % 8);
                    ("Peer", format!("p{name}"), format!("{{group: g{group}, publicKey: {key}, hostname: h{says}}}"))
                }
                _ => (
                    "AccessRule",
                    format!("r{name}"),
                    format!("{{group: g{group}, from: '*', to: '*', traffic: tcp/{}}}", 1 + name),
                ),
            };
            format!("apiVersion: mesh/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
        })
        .collect();
    Manifest { file: "all.yaml".into(), text: texts.join("---\n") }
}

fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
    prop::collection::vec((0..4_u8, 0..3_u8, 0..4_u8, any::<u8>()), 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// NG-23, NG-38. Each decision is made on a registry that may be some commits old, as when several are made at once:
    /// the store takes it or it is made again. Nothing is taken that contradicts what was taken before.
    #[test]
    fn every_sequence_of_commands_keeps_the_store_right(
        acts in prop::collection::vec((act(), 0..3_usize, prop::bool::weighted(0.1)), 1..80),
    ) {
        let mut rules = Rules { pool: vec!["10.0.0.0/13".parse().unwrap()], ..Rules::default() };
        rules.taken.push(("10.7.0.0/17".parse().unwrap(), "a cluster".into()));
        rules.kinds.insert("lb_".into(), crate::model::group::MemberKind::Loadbalancer);
        let mut world = World::default();
        let mut store = Texts::default();
        let mut history = vec![Registry::default()];
        for (act, age, by_file) in acts {
            let author = if by_file { Author::File } else { Author::Api };
            let latest = history.last().unwrap().clone();
            let known = &history[history.len().saturating_sub(1 + age)];
            let Some(command) = act.command(known) else { continue };
            let stale = decide(known, &rules, author, &command, &mut || world.id()).ok();
            let stale = stale.filter(|change| !change.is_empty());
            let mut entries = stale.and_then(|change| store.commit(&change));
            if entries.is_none() {
                let again = decide(&latest, &rules, author, &command, &mut || world.id());
                let again = again.ok().filter(|change| !change.is_empty());
                entries = again.map(|change| store.commit(&change).expect("nobody came between"));
            }
            let Some(entries) = entries else { continue };
            let mut next = latest.clone();
            next.apply(store.revision, entries);
            check(&next, &rules);
            check_versions(&latest, &next);
            prop_assert_eq!(&next, &store.registry());
            let labels = store.entries.keys().filter(|key| key.starts_with("labels/")).count();
            prop_assert_eq!(labels, next.groups.len());
            history.push(next);
        }
    }

    /// NG-50. What was declared is there, and declaring it again changes nothing, whatever was there before.
    #[test]
    fn what_is_declared_twice_is_changed_once(
        directories in prop::collection::vec(sketches(), 1..5),
        joins in prop::collection::vec((0..3_u8, 200..250_u8), 0..10),
    ) {
        let rules = Rules::default();
        let (mut world, mut store, mut registry) = (World::default(), Texts::default(), Registry::default());
        for directory in directories {
            let manifest = manifest(&directory);
            let all = Declaration::read_all(&[manifest], &Org::default()).unwrap();
            let (change, applied) = declare(&registry, &rules, Author::File, &all, true, &mut || world.id()).unwrap();
            prop_assert!(applied.len() >= all.len());
            if !change.is_empty() {
                let mut next = registry.clone();
                next.apply(store.revision, store.commit(&change).expect("nobody came between"));
                check(&next, &rules);
                check_versions(&registry, &next);
                prop_assert_eq!(next.groups.values().map(|group| group.rules.len()).sum::<usize>(),
                    all.iter().filter(|declaration| declaration.declared.kind() == "AccessRule").count());
                registry = next;
            }
            let (again, _) = declare(&registry, &rules, Author::File, &all, true, &mut || world.id()).unwrap();
            prop_assert!(again.is_empty(), "{:?}", again);
            // What nodes do in between is none of the directory's business.
            for (number, key) in &joins {
                let Some(group) = pick(*number, registry.groups.keys().cloned()) else { continue };
                let peer = PeerSpec { parent_member: "external_node".parse().ok(), ..clever("app_0", *key) };
                let join = Command::CreatePeer { group, peer };
                let change = decide(&registry, &rules, Author::Api, &join, &mut || world.id());
                let Ok(change) = change else { continue };
                let entries = store.commit(&change).expect("nobody came between");
                registry.apply(store.revision, entries);
                check(&registry, &rules);
            }
            let (again, _) = declare(&registry, &rules, Author::File, &all, true, &mut || world.id()).unwrap();
            prop_assert!(again.is_empty(), "{:?}", again);
        }
    }
}
