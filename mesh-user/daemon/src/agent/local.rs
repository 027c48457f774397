//! What this node's part in network groups is now, for those who ask and for those who act on it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mesh_core::{
    api::{
        GroupTunnel,
        group::SCHEMA,
        node::{JoinList, LocalPeer, RemotePeer},
    },
    explain::CALLABLE,
    model::group::{DomainName, NodeId},
    plan::{self, DeviceName, PublicKey},
    registry::Group,
};

use super::ledger::Kept;
use crate::{
    api::Snapshot,
    shard::{PeerStatistics, Traffic},
};

/// A session older than this is dead: WireGuard's REJECT_AFTER_TIME.
pub(crate) const SESSION_LIFE: Duration = Duration::from_secs(180);

/// One peer that this node runs, or is about to.
#[derive(Clone, Debug)]
pub struct Local {
    pub kept: Kept,
    /// By request, and not as an instance.
    pub is_joined: bool,
    pub hv: NodeId,
    pub public_key: PublicKey,
    pub device: DeviceName,
    /// As the registry has it; `None`: it does not have it, or not yet.
    pub group: Option<Arc<Group>>,
    /// The registry has the peer, as it should be.
    pub is_registered: bool,
    /// What is in the way.
    pub detail: String,
    pub hub_reachable: bool,
}

impl Local {
    /// It is registered, and its device carries packets.
    pub fn is_up(&self, snapshot: &Snapshot) -> bool {
        self.is_registered && snapshot.live_groups.contains(&self.device)
    }

    /// What is still missing.
    pub fn missing(&self, snapshot: &Snapshot) -> String {
        if !self.detail.is_empty() {
            return self.detail.clone();
        }
        let trouble = snapshot.problems.iter().find(|line| line.contains(&self.device.0)).cloned();
        match (self.is_registered, self.is_up(snapshot)) {
            (false, _) => "the peer is not registered yet".to_owned(),
            (true, false) => trouble.unwrap_or_else(|| format!("the tunnel {} is not there yet", self.device)),
            (true, true) => String::new(),
        }
    }

    /// The same, or whom an up tunnel does not reach.
    fn detail(&self, snapshot: &Snapshot) -> String {
        let missing = self.missing(snapshot);
        let own = self.group.as_ref().and_then(|group| group.peers.get(&self.kept.peer));
        let tunnel = snapshot.plan.groups.get(&self.device);
        let (true, Some(own), Some(tunnel)) = (missing.is_empty(), own, tunnel) else { return missing };
        let clients = tunnel.peers.values().filter(|peer| peer.endpoint.is_none()).count();
        if clients == 0 || own.endpoint.public().is_some() {
            return missing;
        }
        format!("{clients} of {} peers can be called as little as this one: {CALLABLE}", tunnel.peers.len())
    }

    fn state(&self, snapshot: &Snapshot, peers: &[&PeerStatistics]) -> GroupTunnel {
        let purpose = &self.kept.purpose;
        let known = self.group.as_ref().and_then(|group| group.peers.get(&self.kept.peer));
        let label = self.group.as_ref().map(|group| group.group.label.to_string());
        let (received, sent) = (peers.iter().map(|peer| peer.received), peers.iter().map(|peer| peer.sent));
        let (received, sent): (Traffic, Traffic) = (received.sum(), sent.sum());
        GroupTunnel {
            group: label.unwrap_or_else(|| purpose.group.to_string()),
            group_id: purpose.group.to_string(),
            org: purpose.org.to_string(),
            member: purpose.member.to_string(),
            peer: self.kept.peer.to_string(),
            device: self.device.to_string(),
            netns: purpose.netns.as_ref().map(|path| path.display().to_string()),
            address: known.map(|peer| peer.endpoint.address().to_string()),
            listen_port: self.kept.listen_port,
            up: self.is_up(snapshot),
            detail: self.detail(snapshot),
            hub: purpose.home.shown().to_owned(),
            hub_reachable: self.hub_reachable,
            peers: snapshot.plan.groups.get(&self.device).map_or(0, |tunnel| tunnel.peers.len()),
            sessions: peers.iter().filter(|peer| peer.handshake_age.is_some_and(|age| age < SESSION_LIFE)).count(),
            latency_us: peers.iter().filter_map(|peer| latency_us(peer)).max(),
            rx_bytes: received.bytes,
            tx_bytes: sent.bytes,
            rx_packets: received.packets,
            tx_packets: sent.packets,
        }
    }

    /// `None`: nobody knows its address yet.
    pub fn shown(
        &self,
        snapshot: &Snapshot,
        statistics: &BTreeMap<(DeviceName, PublicKey), PeerStatistics>,
        suffix: Option<&DomainName>,
    ) -> Option<LocalPeer> {
        let group = self.group.as_ref()?;
        let peer = &group.peers.get(&self.kept.peer)?.object;
        let member = group.members.get(&peer.parent_member);
        let own = suffix.map(|suffix| format!("{}.p.{}.{suffix}", peer.id, group.id()));
        let names = member.map(|member| member.domain_name.to_string()).into_iter().chain(own);
        let tunnel = snapshot.plan.groups.get(&self.device);
        Some(LocalPeer {
            org: self.kept.purpose.org.clone(),
            ng_id: group.id().clone(),
            ng_label: group.group.label.clone(),
            member: peer.parent_member.clone(),
            peer: peer.id.clone(),
            hv: self.hv.clone(),
            address: peer.endpoint.address(),
            public_key: self.public_key,
            device: self.device.0.clone(),
            netns: self.kept.purpose.netns.clone(),
            names: names.collect(),
            listen_port: self.kept.listen_port,
            up: self.is_up(snapshot),
            detail: self.detail(snapshot),
            hub_reachable: self.hub_reachable,
            peers: tunnel.map(|tunnel| remote_peers(&self.device, tunnel, statistics)).unwrap_or_default(),
        })
    }
}

/// How each is, whether or not it has an address.
pub fn states(locals: &[Arc<Local>], snapshot: &Snapshot, statistics: &[PeerStatistics]) -> Vec<GroupTunnel> {
    let mut by_device: BTreeMap<&DeviceName, Vec<&PeerStatistics>> = BTreeMap::new();
    for peer in statistics {
        by_device.entry(&peer.device).or_default().push(peer);
    }
    let state = |local: &Arc<Local>| local.state(snapshot, by_device.get(&local.device).map_or(&[], Vec::as_slice));
    locals.iter().map(state).collect()
}

/// All of them that have an address.
pub fn list(
    locals: &[Arc<Local>],
    snapshot: &Snapshot,
    statistics: Vec<PeerStatistics>,
    suffix: Option<&DomainName>,
) -> JoinList {
    let statistics = by_peer(statistics);
    let shown = locals.iter().filter_map(|local| local.shown(snapshot, &statistics, suffix));
    JoinList { schema: SCHEMA, peers: shown.collect() }
}

pub fn by_peer(statistics: Vec<PeerStatistics>) -> BTreeMap<(DeviceName, PublicKey), PeerStatistics> {
    statistics.into_iter().map(|peer| ((peer.device.clone(), peer.peer), peer)).collect()
}

fn remote_peers(
    device: &DeviceName,
    tunnel: &plan::GroupTunnel,
    statistics: &BTreeMap<(DeviceName, PublicKey), PeerStatistics>,
) -> Vec<RemotePeer> {
    let remote = |(key, peer): (&PublicKey, &Arc<plan::GroupPeer>)| {
        let known = statistics.get(&(device.clone(), *key));
        let endpoint = known.and_then(|known| known.endpoint).or(peer.endpoint);
        RemotePeer {
            peer: peer.peer.clone(),
            member: peer.member.clone(),
            address: peer.address,
            endpoint: endpoint.map(|endpoint| endpoint.to_string()),
            handshake_age_s: known.and_then(|known| known.handshake_age).map(|age| age.as_secs()),
            latency_us: known.and_then(latency_us),
            rx_bytes: known.map_or(0, |known| known.received.bytes),
            tx_bytes: known.map_or(0, |known| known.sent.bytes),
        }
    };
    tunnel.peers.iter().map(remote).collect()
}

fn latency_us(peer: &PeerStatistics) -> Option<u64> {
    let is_live = peer.handshake_age.is_some_and(|age| age < SESSION_LIFE);
    peer.round_trip.filter(|_| is_live).map(|time| time.as_micros() as u64)
}
