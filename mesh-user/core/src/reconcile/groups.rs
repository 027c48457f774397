//! From the tunnels of network groups that are there to those that shall be.
//!
//! Every device is by itself: what goes is taken away first, what comes is put in place then, and what both agree on is
//! not even looked at where it is shared.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{GroupStep, Step};
use crate::plan::{DeviceName, GroupPeer, GroupTunnel, PublicKey};

type Tunnels = BTreeMap<DeviceName, Arc<GroupTunnel>>;
type Peers = BTreeMap<PublicKey, Arc<GroupPeer>>;

/// The steps from `old` to `new`, those of one device together.
pub fn group_steps(new: &Tunnels, old: &Tunnels) -> Vec<Step> {
    let mut steps = Vec::new();
    // Ports fall free before others want them.
    for device in old.keys().filter(|device| !new.contains_key(*device)) {
        steps.push(Step::Group(device.clone(), GroupStep::Remove));
    }
    for (device, tunnel) in new {
        match old.get(device) {
            Some(before) if Arc::ptr_eq(before, tunnel) => {}
            Some(before) if is_same_device(before, tunnel) => change(device, before, tunnel, &mut steps),
            Some(_) => {
                steps.push(Step::Group(device.clone(), GroupStep::Remove));
                create(device, tunnel, &mut steps);
            }
            None => create(device, tunnel, &mut steps),
        }
    }
    steps
}

/// A device stays where it is, with its address and key, from its start to its end.
fn is_same_device(a: &GroupTunnel, b: &GroupTunnel) -> bool {
    (&a.group, &a.peer, &a.public_key, &a.netns, a.address) == (&b.group, &b.peer, &b.public_key, &b.netns, b.address)
}

fn create(device: &DeviceName, tunnel: &Arc<GroupTunnel>, steps: &mut Vec<Step>) {
    steps.push(Step::Group(device.clone(), GroupStep::Create(Arc::clone(tunnel))));
    extend(device, &Peers::new(), &tunnel.peers, steps);
}

fn change(device: &DeviceName, old: &GroupTunnel, new: &GroupTunnel, steps: &mut Vec<Step>) {
    let first = steps.len();
    for key in old.peers.keys().filter(|key| !new.peers.contains_key(*key)) {
        steps.push(Step::Group(device.clone(), GroupStep::RemovePeer(*key)));
    }
    if steps.len() > first && is_number_given_anew(&old.peers, &new.peers) {
        steps.push(Step::Group(device.clone(), GroupStep::Route));
    }
    if old.mtu != new.mtu {
        steps.push(Step::Group(device.clone(), GroupStep::SetMtu(new.mtu)));
    }
    if old.listen_port != new.listen_port {
        steps.push(Step::Group(device.clone(), GroupStep::SetPort(new.listen_port)));
    }
    if old.policy != new.policy {
        steps.push(Step::Group(device.clone(), GroupStep::SetPolicy(new.policy.clone())));
    }
    extend(device, &old.peers, &new.peers, steps);
}

/// Addresses of a peer that goes would lead to one that comes.
fn is_number_given_anew(old: &Peers, new: &Peers) -> bool {
    let gone = old.iter().filter(|(key, _)| !new.contains_key(*key)).map(|(_, peer)| peer.number);
    let gone: BTreeSet<_> = gone.collect();
    new.iter().filter(|(key, _)| !old.contains_key(*key)).any(|(_, peer)| gone.contains(&peer.number))
}

fn extend(device: &DeviceName, old: &Peers, new: &Peers, steps: &mut Vec<Step>) {
    for (key, peer) in new {
        let step = match old.get(key) {
            None => GroupStep::AddPeer(*key, Arc::clone(peer)),
            Some(before) if Arc::ptr_eq(before, peer) || before == peer => continue,
            Some(_) => GroupStep::UpdatePeer(*key, Arc::clone(peer)),
        };
        steps.push(Step::Group(device.clone(), step));
    }
}
