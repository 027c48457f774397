//! Which names exist for those who ask from one network namespace?
//!
//! Below each suffix: `<member>.m.<group>`, `<peer>.p.<group>`, the names that members were given by hand, `ns` for the
//! server itself, and all the names above them. Each of these parts may be an id or a label.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use hickory_proto::rr::Name;

use super::{
    LocalGroups,
    group_names::{Chosen, GroupNames, Kind, LabelKey, Node, by_id_or_label},
    name::{Key, Labels},
};
use crate::model::group::{DomainName, GroupId};

/// What does not change while a server runs.
#[derive(Clone, Debug)]
pub struct Options {
    pub suffixes: Vec<DomainName>,
    /// Seconds, of answers and of what is not there.
    pub ttl: u32,
    /// Addresses of the server, which `ns.<suffix>` stands for.
    pub servers: Vec<IpAddr>,
    /// Names outside the suffixes are somebody else's to answer; else they are refused.
    pub forwards: bool,
}

/// The views of all network namespaces.
#[derive(Debug)]
pub struct Zones {
    options: Arc<Served>,
    views: BTreeMap<Option<PathBuf>, Arc<View>>,
    serial: u32,
}

/// What is seen from one network namespace.
#[derive(Debug)]
pub struct View {
    pub(super) served: Arc<Served>,
    pub(super) serial: u32,
    /// By id and by label.
    groups: BTreeMap<LabelKey, Arc<GroupNames>>,
    /// The names that were chosen and those above them, which have no address.
    chosen: BTreeMap<Key, Arc<Node>>,
    /// The groups by id, to be used again.
    parts: BTreeMap<GroupId, Arc<GroupNames>>,
}

#[derive(Debug)]
pub(super) struct Served {
    pub(super) suffixes: Vec<Suffix>,
    pub(super) ttl: u32,
    pub(super) forwards: bool,
    names: Vec<DomainName>,
    servers: Arc<Node>,
    nobody: Arc<Node>,
}

/// Apex of a zone.
#[derive(Debug)]
pub(super) struct Suffix {
    key: Key,
    pub(super) name: Name,
    pub(super) server: Name,
    pub(super) mailbox: Name,
}

/// What a name is.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// Below none of our suffixes.
    Elsewhere,
    /// Below a suffix, but not there.
    Nothing(&'a Suffix),
    Apex(&'a Suffix, &'a Node),
    /// There, perhaps without any address.
    Node(&'a Suffix, &'a Node),
}

impl Zones {
    /// A suffix that is no name of DNS (longer than one can be with `ns.` before it) is left out.
    pub fn new(options: &Options) -> Zones {
        let mut suffixes: Vec<Suffix> = options.suffixes.iter().filter_map(Suffix::new).collect();
        // The longest first: a name belongs to the nearest apex above it.
        suffixes.sort_by_key(|suffix| std::cmp::Reverse(suffix.key.as_bytes().len()));
        let servers = options.servers.iter().copied().filter(|address| !address.is_unspecified());
        let served = Served {
            suffixes,
            ttl: options.ttl,
            forwards: options.forwards,
            names: options.suffixes.clone(),
            servers: Arc::new(Node::new(servers.collect::<Vec<_>>())),
            nobody: Arc::default(),
        };
        Zones { options: Arc::new(served), views: BTreeMap::new(), serial: 0 }
    }

    /// Makes anew what belongs to a group that is another [`Arc`] than before, and nothing else.
    pub fn update(&mut self, groups: &LocalGroups) {
        let serial = self.serial.wrapping_add(1);
        let known: BTreeMap<GroupId, Arc<GroupNames>> = self
            .views
            .values()
            .flat_map(|view| view.parts.iter().map(|(id, names)| (id.clone(), Arc::clone(names))))
            .collect();
        let mut made = known;
        let mut views = BTreeMap::new();
        for (netns, groups) in &groups.by_netns {
            let parts: BTreeMap<GroupId, Arc<GroupNames>> = groups
                .iter()
                .map(|group| {
                    let id = group.group.object.id.clone();
                    let names = match made.get(&id) {
                        Some(names) if Arc::ptr_eq(&names.group, group) => Arc::clone(names),
                        _ => Arc::new(GroupNames::new(group, &self.options.names)),
                    };
                    made.insert(id.clone(), Arc::clone(&names));
                    (id, names)
                })
                .collect();
            let view = match self.views.get(netns) {
                Some(view) if view.is_made_of(&parts) => Arc::clone(view),
                _ => Arc::new(View::new(&self.options, serial, parts)),
            };
            views.insert(netns.clone(), view);
        }
        (self.views, self.serial) = (views, serial);
    }

    /// Where no group is, only the suffixes are known.
    pub fn view(&self, netns: &Option<PathBuf>) -> Arc<View> {
        let empty = || Arc::new(View::new(&self.options, self.serial, BTreeMap::new()));
        self.views.get(netns).map_or_else(empty, Arc::clone)
    }
}

impl View {
    fn new(served: &Arc<Served>, serial: u32, parts: BTreeMap<GroupId, Arc<GroupNames>>) -> View {
        let groups =
            by_id_or_label(parts.iter().map(|(id, names)| (id.as_str(), names.label.clone(), Arc::clone(names))));
        let chosen = chosen(served, parts.values().flat_map(|names| &names.chosen));
        View { served: Arc::clone(served), serial, groups, chosen, parts }
    }

    fn is_made_of(&self, parts: &BTreeMap<GroupId, Arc<GroupNames>>) -> bool {
        self.parts.len() == parts.len()
            && self.parts.iter().zip(parts).all(|((_, mine), (_, theirs))| Arc::ptr_eq(mine, theirs))
    }

    #[cfg(test)]
    pub(super) fn shares_group(&self, other: &View, id: &str) -> bool {
        let id: GroupId = id.parse().unwrap();
        Arc::ptr_eq(&self.parts[&id], &other.parts[&id])
    }

    pub(super) fn look_up(&self, name: &Name) -> Found<'_> {
        let Some(labels) = Labels::of_name(name) else { return Found::Elsewhere };
        let served = &*self.served;
        let place = served.suffixes.iter().find_map(|suffix| Some((suffix, labels.below(&suffix.key)?)));
        let Some((suffix, below)) = place else { return Found::Elsewhere };
        let chosen = self.chosen.get(labels.as_bytes());
        if below == 0 {
            return Found::Apex(suffix, chosen.unwrap_or(&served.nobody));
        }
        let group = self.groups.get(labels.label(below - 1));
        let kind = below.checked_sub(2).and_then(|at| Kind::of(labels.label(at)));
        let found = match (group, kind, below) {
            (Some(group), Some(kind), 3) => group.of(kind, labels.label(0)),
            (Some(_), Some(_), 2) => Some(&served.nobody),
            // What stands below `m.<group>` belongs to the group, whoever else has chosen such a name.
            (Some(_), Some(_), _) => None,
            (Some(_), None, 1) => chosen.or(Some(&served.nobody)),
            _ => chosen,
        };
        let is_server = below == 1 && labels.label(0) == b"ns";
        match found {
            Some(node) if !(is_server && node.addresses().is_empty()) => Found::Node(suffix, node),
            _ if is_server => Found::Node(suffix, &served.servers),
            _ => Found::Nothing(suffix),
        }
    }
}

/// Members of one group that have chosen the same name share it, and so does one member in several groups. Else it stands for
/// nobody: a group must not answer for a member of another one.
fn chosen<'a>(served: &Served, all: impl Iterator<Item = &'a Chosen>) -> BTreeMap<Key, Arc<Node>> {
    let mut by_name: BTreeMap<&Key, Vec<&Chosen>> = BTreeMap::new();
    for chosen in all {
        by_name.entry(&chosen.name).or_default().push(chosen);
    }
    let mut nodes = BTreeMap::new();
    for (name, sharers) in by_name {
        let Some(suffix) = served.suffixes.iter().find(|suffix| suffix.holds(name)) else { continue };
        let same_group = sharers.iter().all(|sharer| sharer.group == sharers[0].group);
        let same_member = sharers.iter().all(|sharer| sharer.member == sharers[0].member);
        if !(same_group || same_member) {
            continue;
        }
        for above in name.up_to(&suffix.key).skip(1) {
            if !nodes.contains_key(above) {
                nodes.insert(Key::from_bytes(above), Arc::clone(&served.nobody));
            }
        }
        let addresses: Vec<_> = sharers.iter().flat_map(|sharer| sharer.node.addresses()).copied().collect();
        nodes.insert(name.clone(), Arc::new(Node::new(addresses)));
    }
    nodes
}

impl Suffix {
    fn new(name: &DomainName) -> Option<Suffix> {
        let apex = Name::from_ascii(format!("{name}.")).ok()?;
        let server = Name::from_ascii(format!("ns.{name}.")).ok()?;
        let mailbox = Name::from_ascii(format!("hostmaster.{name}.")).ok()?;
        Some(Suffix { key: Key::new(name), name: apex, server, mailbox })
    }

    fn holds(&self, name: &Key) -> bool {
        *name == self.key || name.is_below(&self.key)
    }
}
