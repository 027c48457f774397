//! Which tunnels the network groups need on this node: a device for each group and local peer.
//!
//! Total and deterministic, given the state of the groups and what this node runs in them. What did not change since the
//! previous plan is shared with it, so that one peer among thousands costs one new entry and one step.

pub(super) mod lines;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use ipnet::IpNet;
use mesh_common::ids::ConnectionId;

use super::{DEVICE_PREFIX, DeviceName, Policy, PublicKey, tunnels::fnv1a};
use crate::{
    model::group::{Endpoint, GroupId, MemberId, Peer, PeerId},
    registry::Group,
};

/// Keeps the mapping of a NAT between open (seconds); WireGuard's own advice for clients.
const KEEPALIVE_SECONDS: u16 = 25;
/// What the names of devices of groups begin with.
pub const GROUP_DEVICE_PREFIX: &str = "mesh-g";
/// Nobody, in the tables of allowed IPs.
const NOBODY: u16 = u16::MAX;

/// One WireGuard device of a network group: the end of one peer that this node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTunnel {
    pub group: GroupId,
    /// The local peer. Its private key is not in the plan: the daemon has it by this id.
    pub peer: PeerId,
    pub public_key: PublicKey,
    /// Network namespace that holds the device; `None`: that of the daemon. The UDP socket is always in the daemon's.
    pub netns: Option<PathBuf>,
    pub mtu: u16,
    pub listen_port: u16,
    /// The local peer's address, with the prefix length of the group.
    pub address: IpNet,
    pub peers: BTreeMap<PublicKey, Arc<GroupPeer>>,
    /// What may pass between which of them; `None`: everything.
    pub policy: Option<Arc<Policy>>,
}

/// Another peer of the group, as one device knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPeer {
    pub peer: PeerId,
    pub member: MemberId,
    /// Unique within the device. A peer keeps its number as long as it is there.
    pub number: ConnectionId,
    /// The only address that it may use as source, and that is routed to it.
    pub address: IpAddr,
    /// On the underlay; `None`: it calls us.
    pub endpoint: Option<SocketAddr>,
    pub keepalive_seconds: Option<u16>,
}

/// A peer that this node runs, with what no registry knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub group: GroupId,
    pub peer: PeerId,
    pub netns: Option<PathBuf>,
    pub listen_port: u16,
}

/// The tunnels of all groups, with what they were made from.
#[derive(Clone, Debug, Default)]
pub struct GroupPlan {
    pub tunnels: BTreeMap<DeviceName, Arc<GroupTunnel>>,
    sources: BTreeMap<DeviceName, Source>,
}

#[derive(Clone, Debug, PartialEq)]
struct Source {
    group: Arc<Group>,
    placement: Placement,
    siblings: Siblings,
    mtu: u16,
}

/// UDP ports of all peers of one group that this node runs.
type Siblings = BTreeMap<PeerId, u16>;

/// Device of one peer of one group: `mesh-g` and nine hex digits of a hash.
pub fn group_device_name(group: &GroupId, peer: &PeerId) -> DeviceName {
    debug_assert!(GROUP_DEVICE_PREFIX.starts_with(DEVICE_PREFIX), "cleanup knows ours by the prefix");
    let hash = fnv1a(format!("{group}/{peer}").as_bytes());
    DeviceName(format!("{GROUP_DEVICE_PREFIX}{:09x}", hash >> 28))
}

/// The tunnels of everything that this node runs. A placement whose peer no registry knows (yet) has none.
pub fn plan_groups(
    groups: &BTreeMap<GroupId, Arc<Group>>,
    placements: &[Placement],
    mtu: u16,
    previous: &GroupPlan,
) -> GroupPlan {
    let mut siblings: BTreeMap<&GroupId, Siblings> = BTreeMap::new();
    for placement in placements {
        siblings.entry(&placement.group).or_default().insert(placement.peer.clone(), placement.listen_port);
    }
    let mut plan = GroupPlan::default();
    for placement in placements {
        let Some(group) = groups.get(&placement.group) else { continue };
        let device = group_device_name(&placement.group, &placement.peer);
        let siblings = siblings.get(&placement.group).cloned().unwrap_or_default();
        let source = Source { group: Arc::clone(group), placement: placement.clone(), siblings, mtu };
        let before = previous.tunnels.get(&device);
        let tunnel = match before {
            Some(before) if previous.sources.get(&device).is_some_and(|known| known.is(&source)) => Arc::clone(before),
            _ => match tunnel(&source, before) {
                Some(tunnel) => tunnel,
                None => continue,
            },
        };
        plan.tunnels.insert(device.clone(), tunnel);
        plan.sources.insert(device, source);
    }
    plan
}

impl GroupPlan {
    /// Takes over a tunnel as it was planned before; says whether there was one.
    pub fn keep(&mut self, device: &DeviceName, previous: &GroupPlan) -> bool {
        let known = previous.tunnels.get(device).zip(previous.sources.get(device));
        if let Some((tunnel, source)) = known {
            self.tunnels.insert(device.clone(), Arc::clone(tunnel));
            self.sources.insert(device.clone(), source.clone());
        }
        known.is_some()
    }

    /// The groups that the tunnels are of.
    pub fn groups(&self) -> BTreeMap<&GroupId, &Arc<Group>> {
        self.sources.values().map(|source| (&source.placement.group, &source.group)).collect()
    }
}

impl Source {
    fn is(&self, other: &Source) -> bool {
        Arc::ptr_eq(&self.group, &other.group)
            && (&self.placement, &self.siblings, self.mtu) == (&other.placement, &other.siblings, other.mtu)
    }
}

fn tunnel(source: &Source, before: Option<&Arc<GroupTunnel>>) -> Option<Arc<GroupTunnel>> {
    let Source { group, placement, siblings, mtu } = source;
    let own = &group.peers.get(&placement.peer)?.object;
    let prefix_len = group.group.object.network_ip.prefix_len();
    let tunnel = GroupTunnel {
        group: placement.group.clone(),
        peer: placement.peer.clone(),
        public_key: own.public_key,
        netns: placement.netns.clone(),
        mtu: *mtu,
        listen_port: placement.listen_port,
        address: IpNet::new(own.endpoint.address(), prefix_len).ok()?,
        peers: peers(group, own, siblings, before.map(|before| &before.peers)),
        policy: policy(group, before.and_then(|before| before.policy.as_ref())),
    };
    // Most changes of a group (a tag, a description) are none of its tunnels.
    Some(match before {
        Some(before) if **before == tunnel => Arc::clone(before),
        _ => Arc::new(tunnel),
    })
}

fn policy(group: &Group, before: Option<&Arc<Policy>>) -> Option<Arc<Policy>> {
    let policy = Policy::of(group)?;
    Some(match before {
        Some(before) if **before == policy => Arc::clone(before),
        _ => Arc::new(policy),
    })
}

fn peers(
    group: &Group,
    own: &Peer,
    siblings: &Siblings,
    before: Option<&BTreeMap<PublicKey, Arc<GroupPeer>>>,
) -> BTreeMap<PublicKey, Arc<GroupPeer>> {
    let we_call = matches!(own.endpoint, Endpoint::ClientEndpoint(_));
    let mut numbers = Numbers::new(before);
    // Of two peers with one key WireGuard can have one only: the first by id.
    let mut known = BTreeSet::from([own.public_key]);
    let mut peers = Vec::with_capacity(group.peers.len());
    for stored in group.peers.values() {
        let peer = &*stored.object;
        if !known.insert(peer.public_key) {
            continue;
        }
        let sibling = siblings.get(&peer.id).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port)));
        let public = peer.endpoint.public().map(|term| SocketAddr::new(term.host, term.port));
        let view = View {
            peer,
            endpoint: sibling.or(public),
            keepalive_seconds: (we_call && sibling.is_none() && public.is_some()).then_some(KEEPALIVE_SECONDS),
        };
        let old = before.and_then(|before| before.get(&peer.public_key));
        let entry = match old {
            Some(old) if view.is(old) => Arc::clone(old),
            _ => {
                let Some(number) = old.map(|old| old.number).or_else(|| numbers.next()) else { continue };
                Arc::new(view.entry(number))
            }
        };
        peers.push((peer.public_key, entry));
    }
    peers.into_iter().collect()
}

/// What a device shall know of a peer, but for the number.
struct View<'a> {
    peer: &'a Peer,
    endpoint: Option<SocketAddr>,
    keepalive_seconds: Option<u16>,
}

impl View<'_> {
    fn is(&self, entry: &GroupPeer) -> bool {
        (&entry.peer, &entry.member, entry.address)
            == (&self.peer.id, &self.peer.parent_member, self.peer.endpoint.address())
            && (entry.endpoint, entry.keepalive_seconds) == (self.endpoint, self.keepalive_seconds)
    }

    fn entry(self, number: ConnectionId) -> GroupPeer {
        GroupPeer {
            peer: self.peer.id.clone(),
            member: self.peer.parent_member.clone(),
            number,
            address: self.peer.endpoint.address(),
            endpoint: self.endpoint,
            keepalive_seconds: self.keepalive_seconds,
        }
    }
}

/// Free numbers, lowest first. Those of the previous plan rest for one plan: packets under way may still carry them.
struct Numbers {
    taken: BTreeSet<u16>,
    next: u16,
}

impl Numbers {
    fn new(before: Option<&BTreeMap<PublicKey, Arc<GroupPeer>>>) -> Numbers {
        let taken = before.into_iter().flat_map(BTreeMap::values).map(|peer| peer.number.0).collect();
        Numbers { taken, next: 1 }
    }

    fn next(&mut self) -> Option<ConnectionId> {
        while self.next < NOBODY {
            let number = self.next;
            self.next += 1;
            if !self.taken.contains(&number) {
                return Some(ConnectionId(number));
            }
        }
        None
    }
}
