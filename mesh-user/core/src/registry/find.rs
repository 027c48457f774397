//! Which object an id or label means.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use super::{Group, Refusal, RefusalCode, Registry};
use crate::{
    api::group::{FoundMember, FoundPeer, ResourceKind},
    model::group::{Label, Member, MemberId, NotAllowed, Org, Peer, PeerId, PeerKind},
};

/// What can be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    NetworkGroup,
    Member,
    CleverPeer,
    ExternalPeer,
}

/// A choice of kinds: a list with commas, in which `Peer` is both kinds of peer. An empty one is all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds(BTreeSet<Kind>);

impl Registry {
    /// The group of `org` that has this id or, exactly, this label.
    pub fn find_group(&self, org: &Org, text: &str) -> Result<&Arc<Group>, Refusal> {
        let by_id = text.parse().ok().and_then(|id| self.groups.get(&id));
        let by_label = || {
            let label: Label = text.parse().ok()?;
            let id = self.labels.get(&(org.clone(), label.slug()))?;
            self.groups.get(id).filter(|group| group.group.label == label)
        };
        by_id.filter(|group| group.group.owner_id == *org).or_else(by_label).ok_or_else(|| {
            let hint = "'meshctl ng' lists the groups of an org; --org names another one";
            Refusal::not_found("", format!("org {org} has no network group {text:?}"), hint)
        })
    }

    /// The groups of an org, in the order of ids.
    pub fn groups_of<'a>(&'a self, org: &'a Org) -> impl Iterator<Item = &'a Arc<Group>> {
        self.groups.values().filter(move |group| group.group.owner_id == *org)
    }

    /// What has this id; else what has exactly this label. Several things: refused with all of them.
    pub fn find(&self, org: &Org, text: &str, kinds: &Kinds) -> Result<ResourceKind, Refusal> {
        let text = text.trim();
        let by_id = self.matching(org, kinds, |id, _| id == text);
        let hits = if by_id.is_empty() { self.matching(org, kinds, |_, label| label == Some(text)) } else { by_id };
        one_of(org, text, hits)
    }

    fn matching(&self, org: &Org, kinds: &Kinds, fits: impl Fn(&str, Option<&str>) -> bool) -> Hits<'_> {
        let mut hits = Hits::default();
        for group in self.groups.values().filter(|group| group.group.owner_id == *org) {
            if kinds.has(Kind::NetworkGroup) && fits(group.id().as_str(), Some(group.group.label.as_str())) {
                hits.groups.push(group);
            }
            let members = group.members.values().filter(|_| kinds.has(Kind::Member));
            let members = members.filter(|member| fits(member.id.as_str(), member.label.as_deref()));
            hits.members.extend(members.map(|member| (&**group, &*member.object)));
            let peers = group.peers.values().filter(|peer| kinds.has(peer.kind.into()));
            let peers = peers.filter(|peer| fits(peer.id.as_str(), peer.label.as_ref().map(Label::as_str)));
            hits.peers.extend(peers.map(|peer| (&**group, &*peer.object)));
        }
        hits
    }
}

impl Group {
    /// The peer that has this id; else the only one that has this label.
    pub fn find_peer(&self, text: &str) -> Result<&Peer, Refusal> {
        if let Some(peer) = text.parse::<PeerId>().ok().and_then(|id| self.peers.get(&id)) {
            return Ok(peer);
        }
        let label: Option<Label> = text.parse().ok();
        let mut hits = self.labelled(label);
        match (hits.next(), hits.next()) {
            (Some(peer), None) => Ok(peer),
            (Some(first), Some(second)) => {
                let others: Vec<&str> = [first, second].into_iter().chain(hits).map(|peer| peer.id.as_str()).collect();
                Err(ambiguous(text, &others))
            }
            (None, _) => {
                let (label, hint) = (self.group.label.as_str(), "'meshctl ng get' of the group lists its peers");
                Err(Refusal::not_found("", format!("the network group {label:?} has no peer {text:?}"), hint))
            }
        }
    }

    /// The peers with this label, in the order of ids; none for `None`.
    pub(super) fn labelled(&self, label: Option<Label>) -> impl Iterator<Item = &Peer> {
        let ids = label.into_iter().flat_map(|label| {
            let begin = (label.clone(), PeerId::least());
            self.labelled.range(begin..).take_while(move |(other, _)| *other == label)
        });
        ids.filter_map(|(_, id)| self.peers.get(id)).map(|peer| &*peer.object)
    }

    pub fn find_member(&self, id: &MemberId) -> Result<&Member, Refusal> {
        self.members.get(id).map(|member| &*member.object).ok_or_else(|| {
            let message = format!("{id} is not a member of the network group {:?}", self.group.label.as_str());
            let hint = "'meshctl ng get' of the group lists its members";
            Refusal::new(RefusalCode::NotMember, "", message, hint)
        })
    }
}

#[derive(Default)]
struct Hits<'a> {
    groups: Vec<&'a Arc<Group>>,
    members: Vec<(&'a Group, &'a Member)>,
    peers: Vec<(&'a Group, &'a Peer)>,
}

impl Hits<'_> {
    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.members.is_empty() && self.peers.is_empty()
    }

    fn candidates(&self) -> Vec<String> {
        let groups = self.groups.iter().map(|group| format!("{} (network group {})", group.id(), group.group.label));
        let members = self.members.iter().map(|(_, member)| format!("{} ({})", member.id, member.domain_name));
        let peers = self.peers.iter().map(|(group, peer)| format!("{} (peer in {})", peer.id, group.group.label));
        groups.chain(members).chain(peers).collect()
    }
}

/// A member counts as one in however many groups it is.
fn one_of(org: &Org, text: &str, hits: Hits<'_>) -> Result<ResourceKind, Refusal> {
    let members: BTreeSet<&MemberId> = hits.members.iter().map(|(_, member)| &member.id).collect();
    match (hits.groups.as_slice(), members.len(), hits.peers.as_slice()) {
        ([], 0, []) => {
            let message = format!("org {org} has no network group, member or peer {text:?}");
            Err(Refusal::not_found("", message, "'meshctl ng search' looks for a part of it; --org names another org"))
        }
        ([group], 0, []) => Ok(ResourceKind::NetworkGroup(group.full())),
        ([], 1, []) => {
            Ok(ResourceKind::Member(hits.members.iter().map(|(group, member)| group.found_member(member)).collect()))
        }
        ([], 0, [(group, peer)]) => Ok(ResourceKind::Peer(group.found_peer(peer))),
        _ => {
            let candidates = hits.candidates();
            Err(ambiguous(text, &candidates.iter().map(String::as_str).collect::<Vec<_>>()))
        }
    }
}

fn ambiguous(text: &str, candidates: &[&str]) -> Refusal {
    let message = format!("{text:?} may be each of {}", candidates.join(", "));
    Refusal::new(RefusalCode::Ambiguous, "", message, "give an id, or a type (--type)")
}

impl Group {
    pub(super) fn found_member(&self, member: &Member) -> FoundMember {
        FoundMember { ng_id: self.id().clone(), ng_label: self.group.label.clone(), member: member.clone() }
    }

    pub(super) fn found_peer(&self, peer: &Peer) -> FoundPeer {
        FoundPeer { ng_id: self.id().clone(), ng_label: self.group.label.clone(), peer: peer.clone() }
    }
}

impl Kinds {
    pub fn has(&self, kind: Kind) -> bool {
        self.0.contains(&kind)
    }
}

impl Default for Kinds {
    fn default() -> Kinds {
        Kinds([Kind::NetworkGroup, Kind::Member, Kind::CleverPeer, Kind::ExternalPeer].into())
    }
}

impl From<PeerKind> for Kind {
    fn from(kind: PeerKind) -> Kind {
        match kind {
            PeerKind::CleverPeer => Kind::CleverPeer,
            PeerKind::ExternalPeer => Kind::ExternalPeer,
        }
    }
}

impl FromStr for Kinds {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Kinds, NotAllowed> {
        if text.trim().is_empty() {
            return Ok(Kinds::default());
        }
        let mut kinds = BTreeSet::new();
        for name in text.split(',').map(str::trim) {
            match name.to_ascii_lowercase().as_str() {
                "networkgroup" => drop(kinds.insert(Kind::NetworkGroup)),
                "member" => drop(kinds.insert(Kind::Member)),
                "cleverpeer" => drop(kinds.insert(Kind::CleverPeer)),
                "externalpeer" => drop(kinds.insert(Kind::ExternalPeer)),
                "peer" => kinds.extend([Kind::CleverPeer, Kind::ExternalPeer]),
                _ => {
                    let known = "one of NetworkGroup, Member, Peer, CleverPeer, ExternalPeer";
                    return Err(NotAllowed::new("type", name, known));
                }
            }
        }
        Ok(Kinds(kinds))
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, kind) in self.0.iter().enumerate() {
            write!(f, "{}{kind:?}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}
