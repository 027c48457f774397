//! Making, changing and deleting peers of a network group.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Edit, Ids, may_change, may_declare, member, not_member};
use crate::{
    model::group::{
        ClientEndpoint, Endpoint, Label, Member, MemberId, MemberKind, Peer, PeerId, PeerKind, PeerRole,
        ServerEndpoint, Term,
    },
    plan::PublicKey,
    registry::{
        Author, Change, Group, Key, MemberSpec, Object, PeerSpec, Refusal, RefusalCode, Rules, Stored, addresses,
        rules::plain_text,
    },
};

pub(super) fn create(
    group: &Group,
    rules: &Rules,
    author: Author,
    spec: &PeerSpec,
    ids: Ids<'_>,
) -> Result<Change, Refusal> {
    check_spec(group, spec)?;
    let id = spec.id.clone().unwrap_or_else(|| PeerId::new(ids()));
    if group.peers.contains_key(&id) {
        let hint = "leave the id out, or delete that peer first";
        return Err(Refusal::conflict("id", format!("the peer {id} is there already"), hint));
    }
    check_key(group, &id, spec.public_key)?;
    let mut edit = Edit::of(group);
    let parent_member = parent(&mut edit, rules, author, spec, ids)?;
    let address = match spec.address.filter(|address| is_free(group, *address)) {
        Some(address) => address,
        None => {
            let next = addresses::next(&group.group.network_ip, group.group.last_allocated_ip, &group.addresses);
            edit.next.last_allocated_ip = next.ok_or_else(|| exhausted(group))?;
            edit.next.last_allocated_ip
        }
    };
    let peer = Peer {
        kind: spec.kind,
        label: spec.label.clone(),
        public_key: spec.public_key,
        endpoint: endpoint(address, spec.ip.zip(spec.port)),
        hostname: hostname(spec, &id),
        parent_member,
        parent_event: spec.parent_event.clone(),
        hv: spec.hv.clone(),
        managed_by: author,
        id: id.clone(),
    };
    edit.put(Key::Peer(group.id().clone(), id), Object::Peer(peer));
    Ok(edit.finish())
}

pub(super) fn update(
    group: &Group,
    author: Author,
    id: &PeerId,
    public_key: PublicKey,
    public: Option<(IpAddr, u16)>,
) -> Result<Change, Refusal> {
    let old = existing(group, id)?;
    may_change(author, old.managed_by, format_args!("the peer {id}"))?;
    check_key(group, id, public_key)?;
    if let Some((ip, port)) = public {
        check_public(group, ip, port)?;
    }
    let peer = Peer { public_key, endpoint: endpoint(old.endpoint.address(), public), ..old.clone() };
    if peer == *old {
        return Ok(Change::default());
    }
    let mut edit = Edit::of(group);
    edit.put(Key::Peer(group.id().clone(), id.clone()), Object::Peer(peer));
    Ok(edit.finish())
}

/// The external peer with this label as it shall be, made if it is not there.
pub(in crate::registry) fn set(
    group: &Group,
    rules: &Rules,
    author: Author,
    spec: &PeerSpec,
    ids: Ids<'_>,
) -> Result<Change, Refusal> {
    let mut named = group.labelled(spec.label.clone()).filter(|peer| peer.kind == spec.kind);
    let Some(old) = named.next() else { return create(group, rules, author, spec, ids) };
    if let Some(other) = named.next() {
        let message = format!("the peers {} and {} both have this label", old.id, other.id);
        return Err(Refusal::new(RefusalCode::Ambiguous, "label", message, "delete one of them"));
    }
    check_spec(group, spec)?;
    check_key(group, &old.id, spec.public_key)?;
    if spec.parent_member.as_ref().is_some_and(|parent| *parent != old.parent_member) {
        let message = format!("the peer is one of {}", old.parent_member);
        return Err(Refusal::conflict("parentMember", message, "it never changes: delete the peer and make it anew"));
    }
    let new = Peer {
        public_key: spec.public_key,
        endpoint: endpoint(old.endpoint.address(), spec.ip.zip(spec.port)),
        hostname: hostname(spec, &old.id),
        parent_event: spec.parent_event.clone(),
        ..old.clone()
    };
    let same = new == *old;
    may_declare(author, old.managed_by, same, format_args!("the peer {}", old.id))?;
    if same {
        return Ok(Change::default());
    }
    let mut edit = Edit::of(group);
    edit.put(Key::Peer(group.id().clone(), new.id.clone()), Object::Peer(new));
    Ok(edit.finish())
}

/// A member that was made with a peer goes with its last one, unless a manifest has it.
pub(in crate::registry) fn delete(group: &Group, author: Author, id: &PeerId) -> Result<Change, Refusal> {
    let peer = existing(group, id)?;
    may_change(author, peer.managed_by, format_args!("the peer {id}"))?;
    Ok(remove(group, &BTreeSet::from([id])))
}

/// These peers, with the members that are there for them alone.
pub(super) fn remove(group: &Group, peers: &BTreeSet<&PeerId>) -> Change {
    let mut edit = Edit::of(group);
    let parents: BTreeSet<&MemberId> =
        peers.iter().filter_map(|id| group.peers.get(*id)).map(|peer| &peer.object.parent_member).collect();
    for parent in parents {
        let (gone, left): (Vec<&Peer>, Vec<&Peer>) = group.peers_of(parent).partition(|peer| peers.contains(&peer.id));
        let goes = |parent: &Stored<Member>| parent.made_with_peer && parent.managed_by == Author::Api;
        if left.is_empty() && group.members.get(parent).is_some_and(goes) {
            member::delete_member(&mut edit, parent);
            continue;
        }
        for peer in gone {
            edit.delete(Key::Peer(group.id().clone(), peer.id.clone()));
        }
    }
    edit.finish()
}

fn is_free(group: &Group, address: IpAddr) -> bool {
    addresses::is_usable(&group.group.network_ip, address) && !group.addresses.contains_key(&address)
}

fn existing<'a>(group: &'a Group, id: &PeerId) -> Result<&'a Peer, Refusal> {
    group.peers.get(id).map(|peer| &*peer.object).ok_or_else(|| {
        let message = format!("the network group {:?} has no peer {id}", group.group.label.as_str());
        Refusal::not_found("", message, "'meshctl ng get' of the group lists its peers")
    })
}

/// What can be told without the other peers.
fn check_spec(group: &Group, spec: &PeerSpec) -> Result<(), Refusal> {
    let invalid = |path: &str, message: &str, hint: &str| Err(Refusal::invalid(path, message, hint));
    match (spec.role, spec.ip, spec.port) {
        (PeerRole::Server, Some(ip), Some(port)) => check_public(group, ip, port)?,
        (PeerRole::Server, None, _) => {
            return invalid("ip", "a server without address", "say where it is called (--ip)");
        }
        (PeerRole::Server, _, None) => {
            return invalid("port", "a server without port", "say where it is called (--port)");
        }
        (PeerRole::Client, None, None) => {}
        (PeerRole::Client, Some(_), _) => return invalid("ip", "a client is not called", "make it a server (--role)"),
        (PeerRole::Client, _, Some(_)) => {
            return invalid("port", "a client is not called", "make it a server (--role)");
        }
    }
    match (spec.kind, &spec.hv) {
        (PeerKind::CleverPeer, None) => return invalid("hv", "missing", "name the node that runs the peer"),
        (PeerKind::ExternalPeer, Some(_)) => return invalid("hv", "no node runs an external peer", "leave it out"),
        (PeerKind::CleverPeer, Some(_)) | (PeerKind::ExternalPeer, None) => {}
    }
    if let Some(hostname) = &spec.hostname {
        plain_text("hostname", "host name", hostname, 253)?;
    }
    if let Some(event) = &spec.parent_event {
        plain_text("parentEvent", "event", event, 253)?;
    }
    Ok(())
}

/// Whether others can call the peer there.
fn check_public(group: &Group, ip: IpAddr, port: u16) -> Result<(), Refusal> {
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
        return Err(Refusal::invalid("ip", format!("{ip} is no address of one host"), "say where the peer is called"));
    }
    if group.group.network_ip.contains(&ip) {
        let message = format!("{ip} lies in the group's own {}", group.group.network_ip);
        return Err(Refusal::invalid("ip", message, "give the peer's address outside the group"));
    }
    if port == 0 {
        return Err(Refusal::invalid("port", "0 is no port", "give 1 to 65535"));
    }
    Ok(())
}

fn check_key(group: &Group, id: &PeerId, key: PublicKey) -> Result<(), Refusal> {
    match group.peer_with_key(&key).filter(|other| other.id != *id) {
        None => Ok(()),
        Some(other) => {
            let label = other.label.as_ref().map_or("", Label::as_str);
            let message = format!("the key {key} is that of the peer {} {label:?} of this group already", other.id);
            let hint = "use that peer as it is, or make a key of its own for each peer";
            Err(Refusal::conflict("publicKey", message, hint))
        }
    }
}

/// The member that the peer is one of; an external one is made if it is not there.
fn parent(
    edit: &mut Edit<'_>,
    rules: &Rules,
    author: Author,
    spec: &PeerSpec,
    ids: Ids<'_>,
) -> Result<MemberId, Refusal> {
    let id = match &spec.parent_member {
        Some(id) if edit.group.members.contains_key(id) => return Ok(id.clone()),
        Some(id) if id.as_str().starts_with(MemberId::EXTERNAL) => id.clone(),
        Some(id) => return Err(not_member(edit.group, id, "parentMember")),
        None => MemberId::external(ids()),
    };
    let label = spec.label.as_ref().map(|label| format!("Parent of {label}"));
    let made = MemberSpec { id, label, kind: Some(MemberKind::External), domain_name: None };
    let made = rules.member(edit.group.id(), &made, author, "parentMember.")?;
    let made = Member { made_with_peer: true, ..made };
    let id = made.id.clone();
    edit.put(Key::Member(edit.group.id().clone(), id.clone()), Object::Member(made));
    Ok(id)
}

fn endpoint(address: IpAddr, public: Option<(IpAddr, u16)>) -> Endpoint {
    match public {
        Some((host, port)) => Endpoint::ServerEndpoint(ServerEndpoint {
            ng_term: Term { host: address, port },
            public_term: Term { host, port },
        }),
        None => Endpoint::ClientEndpoint(ClientEndpoint { ng_ip: address }),
    }
}

/// Of the peer's choice; else its label, else its id.
fn hostname(spec: &PeerSpec, id: &PeerId) -> String {
    let label = || spec.label.as_ref().map(|label| label.slug().to_string());
    spec.hostname.clone().or_else(label).unwrap_or_else(|| id.to_string())
}

fn exhausted(group: &Group) -> Refusal {
    let message =
        format!("{} of the network group {:?} has no free address", group.group.network_ip, group.group.label.as_str());
    Refusal::new(RefusalCode::Exhausted, "", message, "delete peers, or make a group with a larger CIDR (--cidr)")
}
