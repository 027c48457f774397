//! Which names does one group have, and which addresses?

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::name::Key;
use crate::{
    model::group::{DomainName, GroupId, MemberId, Peer},
    registry::Group,
};

/// A label of a name, in lower case.
pub(super) type LabelKey = Box<[u8]>;

/// In the order of the peers' ids.
pub(super) type Addresses = Arc<[IpAddr]>;

/// What does not depend on the suffix, and so is shared by all of them.
#[derive(Debug)]
pub(super) struct GroupNames {
    pub(super) group: Arc<Group>,
    /// What may stand for the group beside its id.
    pub(super) label: Option<LabelKey>,
    members: BTreeMap<LabelKey, Addresses>,
    peers: BTreeMap<LabelKey, Addresses>,
    /// Names that an operator has chosen.
    pub(super) chosen: Vec<Chosen>,
}

#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) name: Key,
    pub(super) group: GroupId,
    pub(super) member: MemberId,
    pub(super) addresses: Addresses,
}

/// What the second label of a name below a group may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Member,
    Peer,
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
        let members: Vec<(&MemberId, Addresses)> =
            group.members.keys().map(|id| (id, by_parent.remove(id).unwrap_or_default().into())).collect();
        let peers: Vec<(&Peer, Addresses)> =
            group.peers.values().map(|peer| (&*peer.object, [peer.object.endpoint.address()].into())).collect();
        GroupNames {
            group: Arc::clone(group),
            label: host_label(&group.group.object.label.sanitized()),
            chosen: chosen(group, &members, suffixes),
            members: by_id_or_label(members.into_iter().map(|(id, addresses)| {
                let label = group.members[id].object.label.as_ref();
                (id.as_str(), label.and_then(|label| host_label(&sanitized(label))), addresses)
            })),
            peers: by_id_or_label(peers.into_iter().map(|(peer, addresses)| {
                let label = peer.label.as_ref().and_then(|label| host_label(&label.sanitized()));
                (peer.id.as_str(), label, addresses)
            })),
        }
    }

    pub(super) fn of(&self, kind: Kind, label: &[u8]) -> Option<&Addresses> {
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

fn chosen(group: &Group, members: &[(&MemberId, Addresses)], suffixes: &[DomainName]) -> Vec<Chosen> {
    let id = &group.group.object.id;
    let own = |member: &MemberId, name: &DomainName| {
        suffixes.iter().any(|suffix| {
            let given = format!("{member}.m.{id}.{suffix}");
            given.eq_ignore_ascii_case(name.as_str())
        })
    };
    let named =
        members.iter().map(|(member, addresses)| (*member, &group.members[*member].object.domain_name, addresses));
    named
        .filter(|(member, name, _)| !own(member, name))
        .map(|(member, name, addresses)| Chosen {
            name: Key::new(name),
            group: id.clone(),
            member: member.clone(),
            addresses: Arc::clone(addresses),
        })
        .collect()
}

/// As [`crate::model::group::Label::sanitized`], of a text that need not be a label.
fn sanitized(text: &str) -> String {
    text.trim().replace([',', ' ', '.', '_'], "-")
}

/// A text that can be a label of a host name; what is too long or has other letters is reached by its id alone.
fn host_label(text: &str) -> Option<LabelKey> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    ((1..=63).contains(&text.len()) && text.bytes().all(allowed)).then(|| lower(text))
}

fn lower(text: &str) -> LabelKey {
    text.to_ascii_lowercase().into_bytes().into()
}
