//! What holds a text somewhere, and how objects are shown.

use super::{Group, Kind, Kinds, Registry};
use crate::{
    api::group::{Found, FullGroup, SCHEMA},
    model::group::{Label, Member, NetworkGroup, Org, Peer, Tag},
};

impl Registry {
    /// Everything of `org` that has `text` in its id, label, description, tags, domain name, host name or address, in
    /// whatever case.
    pub fn search(&self, org: &Org, text: &str, kinds: &Kinds) -> Found {
        let text = text.trim().to_lowercase();
        let mut found = Found { schema: SCHEMA, ..Found::default() };
        for group in self.groups_of(org) {
            if kinds.has(Kind::NetworkGroup) && group.mentions(&text) {
                found.network_groups.push(group.full());
            }
            let members = group.members.values().filter(|member| kinds.has(Kind::Member) && mentions(member, &text));
            found.members.extend(members.map(|member| group.found_member(member)));
            let peers = group.peers.values().filter(|peer| kinds.has(peer.kind.into()) && is_about(peer, &text));
            found.peers.extend(peers.map(|peer| group.found_peer(peer)));
        }
        found
    }
}

impl Group {
    /// The group with its members and peers, as it is shown.
    pub fn full(&self) -> FullGroup {
        FullGroup {
            group: NetworkGroup::clone(&self.group),
            dns_sanitized_label: self.group.label.sanitized(),
            members: self.members.values().map(|member| Member::clone(member)).collect(),
            peers: self.peers.values().map(|peer| Peer::clone(peer)).collect(),
        }
    }

    fn mentions(&self, text: &str) -> bool {
        let group = &self.group;
        let description = group.description.iter().map(String::as_str);
        let texts = [group.id.as_str(), group.label.as_str()].into_iter().chain(description);
        texts.chain(group.tags.iter().map(Tag::as_str)).any(|own| holds(own, text))
            || holds(&group.network_ip.to_string(), text)
    }
}

fn mentions(member: &Member, text: &str) -> bool {
    let label = member.label.iter().map(String::as_str);
    [member.id.as_str(), member.domain_name.as_str()].into_iter().chain(label).any(|own| holds(own, text))
}

fn is_about(peer: &Peer, text: &str) -> bool {
    let label = peer.label.iter().map(Label::as_str);
    let public = peer.endpoint.public().map(|term| term.host.to_string());
    [peer.id.as_str(), peer.hostname.as_str()].into_iter().chain(label).any(|own| holds(own, text))
        || holds(&peer.endpoint.address().to_string(), text)
        || public.is_some_and(|host| holds(&host, text))
}

/// `text` is in lower case.
fn holds(own: &str, text: &str) -> bool {
    own.to_lowercase().contains(text)
}
