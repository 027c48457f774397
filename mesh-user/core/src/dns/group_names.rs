//! Which names does one group have, and which addresses?

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::name::Key;
use crate::{
    model::group::{DomainName, GroupId, Label, MemberId, Peer},
    registry::Group,
};

/// A label of a name, in lower case.
pub(super) type LabelKey = Box<[u8]>;

/// The addresses of a name, and with which of them the next answer begins.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// In the order of the peers' ids.
    addresses: Box<[IpAddr]>,
    turn: AtomicUsize,
}

/// What does not depend on the suffix, and so is shared by all of them.
#[derive(Debug)]
pub(super) struct GroupNames {
    pub(super) group: Arc<Group>,
    /// What may stand for the group beside its id.
    pub(super) label: Option<LabelKey>,
    members: BTreeMap<LabelKey, Arc<Node>>,
    peers: BTreeMap<LabelKey, Arc<Node>>,
    /// Names that an operator has chosen.
    pub(super) chosen: Vec<Chosen>,
}

#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) name: Key,
    pub(super) group: GroupId,
    pub(super) member: MemberId,
    pub(super) node: Arc<Node>,
}

/// What the second label of a name below a group may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Member,
    Peer,
}

impl Node {
    pub(super) fn new(addresses: impl Into<Box<[IpAddr]>>) -> Node {
        Node { addresses: addresses.into(), turn: AtomicUsize::new(0) }
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Each name counts for itself: what is asked in between does not matter.
    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

impl Kind {
    pub(super) fn of(label: &[u8]) -> Option<Kind> {
        match label {
            b"m" => Some(Kind::Member),
            b"p" => Some(Kind::Peer),
            _ => None,
        }
    }
}

impl GroupNames {
    pub(super) fn new(group: &Arc<Group>, suffixes: &[DomainName]) -> GroupNames {
        let mut by_parent: BTreeMap<&MemberId, Vec<IpAddr>> = BTreeMap::new();
        for peer in group.peers.values() {
            by_parent.entry(&peer.object.parent_member).or_default().push(peer.object.endpoint.address());
        }
        let members: Vec<(&MemberId, Arc<Node>)> = group
            .members
            .keys()
            .map(|id| (id, Arc::new(Node::new(by_parent.remove(id).unwrap_or_default()))))
            .collect();
        let peers: Vec<(&Peer, Arc<Node>)> = group
            .peers
            .values()
            .map(|peer| (&*peer.object, Arc::new(Node::new([peer.object.endpoint.address()]))))
            .collect();
        GroupNames {
            group: Arc::clone(group),
            label: host_label(&group.group.object.label.sanitized()),
            chosen: chosen(group, &members, suffixes),
            members: by_id_or_label(members.into_iter().map(|(id, addresses)| {
                let label = group.members[id].object.label.as_ref().and_then(|label| label.parse::<Label>().ok());
                (id.as_str(), label.and_then(|label| host_label(&label.sanitized())), addresses)
            })),
            peers: by_id_or_label(peers.into_iter().map(|(peer, addresses)| {
                let label = peer.label.as_ref().and_then(|label| host_label(&label.sanitized()));
                (peer.id.as_str(), label, addresses)
            })),
        }
    }

    pub(super) fn of(&self, kind: Kind, label: &[u8]) -> Option<&Arc<Node>> {
        match kind {
            Kind::Member => self.members.get(label),
            Kind::Peer => self.peers.get(label),
        }
    }
}

/// An id always stands for its own object; a label that several objects have stands for none of them.
pub(super) fn by_id_or_label<'a, T: Clone>(
    objects: impl Iterator<Item = (&'a str, Option<LabelKey>, T)>,
) -> BTreeMap<LabelKey, T> {
    let (mut ids, mut labels) = (BTreeMap::new(), BTreeMap::new());
    for (id, label, what) in objects {
        if let Some(label) = label {
            labels.entry(label).and_modify(|known| *known = None).or_insert(Some(what.clone()));
        }
        ids.insert(lower(id), what);
    }
    for (label, what) in labels {
        if let (Some(what), false) = (what, ids.contains_key(&label)) {
            ids.insert(label, what);
        }
    }
    ids
}

fn chosen(group: &Group, members: &[(&MemberId, Arc<Node>)], suffixes: &[DomainName]) -> Vec<Chosen> {
    let id = &group.group.object.id;
    let own = |member: &MemberId, name: &DomainName| {
        suffixes.iter().any(|suffix| {
            let given = format!("{member}.m.{id}.{suffix}");
            given.eq_ignore_ascii_case(name.as_str())
        })
    };
    let named = members.iter().map(|(member, node)| (*member, &group.members[*member].object.domain_name, node));
    named
        .filter(|(member, name, _)| !own(member, name))
        .map(|(member, name, node)| Chosen {
            name: Key::new(name),
            group: id.clone(),
            member: member.clone(),
            node: Arc::clone(node),
        })
        .collect()
}

/// A text that can be a label of a host name; what is too long or has other letters is reached by its id alone.
fn host_label(text: &str) -> Option<LabelKey> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    ((1..=63).contains(&text.len()) && text.bytes().all(allowed)).then(|| lower(text))
}

fn lower(text: &str) -> LabelKey {
    text.to_ascii_lowercase().into_bytes().into()
}
