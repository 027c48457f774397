//! How groups, members, peers and rules are shown to people.

use mesh_core::{
    api::group::{FoundMember, FoundPeer, FullGroup},
    model::group::{Access, AccessRule, ManagedBy, Member, MemberStatus, Peer, PeerKind},
};

use crate::table::{cell, pairs, render};

pub(super) fn groups(groups: &[FullGroup]) -> String {
    let row = |(index, full): (usize, &FullGroup)| {
        vec![
            index.to_string(),
            full.group.id.to_string(),
            full.group.label.to_string(),
            full.group.network_ip.to_string(),
            full.members.len().to_string(),
            full.peers.len().to_string(),
        ]
    };
    let rows: Vec<_> = groups.iter().enumerate().map(row).collect();
    render(&["(index)", "ID", "Label", "Network CIDR", "Members", "Peers"], &rows)
}

/// All of a group.
pub(super) fn group(full: &FullGroup) -> String {
    let group = &full.group;
    let tags: Vec<&str> = group.tags.iter().map(|tag| tag.as_str()).collect();
    let mut rows = vec![
        ("ID", group.id.to_string()),
        ("Label", group.label.to_string()),
        ("Description", group.description.clone().unwrap_or_default()),
        ("Tags", tags.join(", ")),
        ("Org", group.owner_id.to_string()),
        ("Network", group.network_ip.to_string()),
        ("Default access", access(group.default_access).to_owned()),
        ("Members/Peers", format!("{}/{}", full.members.len(), full.peers.len())),
        ("Version", group.version.to_string()),
    ];
    if group.managed_by == ManagedBy::File {
        rows.push(("Managed by", "a manifest file".to_owned()));
    }
    let mut text = pairs(&rows);
    if !full.members.is_empty() {
        text += "\nMembers\n";
        text += &members(full);
    }
    if !full.peers.is_empty() {
        text += "\nPeers\n";
        text += &peers(&full.peers);
    }
    text
}

/// With the number of peers that each has now.
pub(super) fn members(full: &FullGroup) -> String {
    let row = |member: &Member| {
        let peers = full.peers.iter().filter(|peer| peer.parent_member == member.id).count();
        vec![
            member.id.to_string(),
            cell(member.label.as_deref().unwrap_or("")),
            kind(member),
            status(member).to_owned(),
            peers.to_string(),
            member.domain_name.to_string(),
        ]
    };
    let rows: Vec<_> = full.members.iter().map(row).collect();
    render(&["ID", "Label", "Kind", "Status", "Peers", "Domain"], &rows)
}

fn peers(peers: &[Peer]) -> String {
    let rows: Vec<_> = peers.iter().map(peer_row).collect();
    render(&["Parent Member", "ID", "Label", "Type", "Address"], &rows)
}

fn peer_row(peer: &Peer) -> Vec<String> {
    vec![
        peer.parent_member.to_string(),
        peer.id.to_string(),
        label(peer),
        peer_kind(peer.kind).to_owned(),
        peer.endpoint.address().to_string(),
    ]
}

/// One member: once for each of its groups.
pub(super) fn member(found: &[FoundMember]) -> String {
    let Some(first) = found.first() else { return String::new() };
    let member = &first.member;
    let head = pairs(&[
        ("ID", member.id.to_string()),
        ("Label", member.label.clone().unwrap_or_default()),
        ("Kind", kind(member)),
        ("Status", status(member).to_owned()),
    ]);
    let row = |found: &FoundMember| {
        vec![found.ng_label.to_string(), found.ng_id.to_string(), found.member.domain_name.to_string()]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    format!("{head}\nGroups\n{}", render(&["Label", "ID", "Domain"], &rows))
}

pub(super) fn peer(found: &FoundPeer) -> String {
    let peer = &found.peer;
    let public = peer.endpoint.public().map(|term| std::net::SocketAddr::new(term.host, term.port).to_string());
    let mut rows = vec![
        ("ID", peer.id.to_string()),
        ("Label", peer.label.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("Type", peer_kind(peer.kind).to_owned()),
        ("Group", format!("{} ({})", found.ng_label, found.ng_id)),
        ("Parent Member", peer.parent_member.to_string()),
        ("Hostname", peer.hostname.clone()),
        ("Address", peer.endpoint.address().to_string()),
        ("Public Term", public.unwrap_or_default()),
        ("Public Key", peer.public_key.to_string()),
    ];
    if let Some(hv) = &peer.hv {
        rows.push(("Node", hv.to_string()));
    }
    pairs(&rows)
}

pub(super) fn found_members(found: &[FoundMember]) -> String {
    let row = |found: &FoundMember| {
        vec![
            found.ng_label.to_string(),
            found.member.id.to_string(),
            cell(found.member.label.as_deref().unwrap_or("")),
            kind(&found.member),
            status(&found.member).to_owned(),
            found.member.domain_name.to_string(),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    render(&["Group", "ID", "Label", "Kind", "Status", "Domain"], &rows)
}

pub(super) fn found_peers<'a>(found: impl Iterator<Item = &'a FoundPeer>) -> String {
    let row = |found: &FoundPeer| [vec![found.ng_label.to_string()], peer_row(&found.peer)].concat();
    let rows: Vec<_> = found.map(row).collect();
    render(&["Group", "Parent Member", "ID", "Label", "Type", "Address"], &rows)
}

pub(super) fn rules(rules: &[AccessRule]) -> String {
    let row = |rule: &AccessRule| {
        vec![rule.from.to_string(), rule.to.to_string(), rule.traffic.to_string(), rule.id.to_string()]
    };
    let rows: Vec<_> = rules.iter().map(row).collect();
    render(&["From", "To", "Traffic", "ID"], &rows)
}

pub(super) fn access(access: Access) -> &'static str {
    match access {
        Access::Allow => "allow",
        Access::Deny => "deny",
    }
}

pub(super) fn peer_kind(kind: PeerKind) -> &'static str {
    match kind {
        PeerKind::CleverPeer => "CleverPeer",
        PeerKind::ExternalPeer => "ExternalPeer",
    }
}

/// The label, else the id.
pub(super) fn name(peer: &Peer) -> String {
    peer.label.as_ref().map_or_else(|| peer.id.to_string(), ToString::to_string)
}

/// `1 peer`, `2 peers`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn label(peer: &Peer) -> String {
    cell(&peer.label.as_ref().map(ToString::to_string).unwrap_or_default())
}

/// A member can outlive what it stands for.
pub(super) fn status(member: &Member) -> &'static str {
    match member.status {
        MemberStatus::Active => "active",
        MemberStatus::Deleted => "deleted",
    }
}

fn kind(member: &Member) -> String {
    format!("{:?}", member.kind).to_uppercase()
}
