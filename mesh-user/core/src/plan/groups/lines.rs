//! The tunnels of network groups as lines of a plan, and what differs between two plans.
//!
//! Only what is not shared is written out: a group of 10,000 peers costs nothing here while one of them comes.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{GroupPeer, GroupTunnel};
use crate::plan::{DeviceName, PublicKey, display::Line};

type Tunnels = BTreeMap<DeviceName, Arc<GroupTunnel>>;

pub(in crate::plan) fn group_lines(device: &DeviceName, tunnel: &GroupTunnel) -> Vec<String> {
    let peers = tunnel.peers.iter().map(|(key, peer)| peer_line(device, key, peer));
    std::iter::once(tunnel_line(device, tunnel)).chain(peers).collect()
}

/// `-` what goes, `+` what comes, a device after the other.
pub(in crate::plan) fn group_diff(old: &Tunnels, new: &Tunnels) -> String {
    let mut text = String::new();
    for (device, before) in old {
        match new.get(device) {
            None => group_lines(device, before).iter().for_each(|line| text += &format!("- {line}\n")),
            Some(after) if Arc::ptr_eq(before, after) => {}
            Some(after) => text += &device_diff(device, before, after),
        }
    }
    for (device, tunnel) in new.iter().filter(|(device, _)| !old.contains_key(*device)) {
        group_lines(device, tunnel).iter().for_each(|line| text += &format!("+ {line}\n"));
    }
    text
}

fn device_diff(device: &DeviceName, old: &GroupTunnel, new: &GroupTunnel) -> String {
    let (before, after) = (tunnel_line(device, old), tunnel_line(device, new));
    let (mut gone, mut come) = (String::new(), String::new());
    if before != after {
        gone += &format!("- {before}\n");
        come += &format!("+ {after}\n");
    }
    let is_kept = |peer: &Arc<GroupPeer>, other: Option<&Arc<GroupPeer>>| {
        other.is_some_and(|other| Arc::ptr_eq(peer, other) || peer == other)
    };
    for (key, peer) in old.peers.iter().filter(|(key, peer)| !is_kept(peer, new.peers.get(*key))) {
        gone += &format!("- {}\n", peer_line(device, key, peer));
    }
    for (key, peer) in new.peers.iter().filter(|(key, peer)| !is_kept(peer, old.peers.get(*key))) {
        come += &format!("+ {}\n", peer_line(device, key, peer));
    }
    gone + &come
}

fn tunnel_line(device: &DeviceName, tunnel: &GroupTunnel) -> String {
    format!("group tunnel {device}: {}", Line(tunnel))
}

fn peer_line(device: &DeviceName, key: &PublicKey, peer: &GroupPeer) -> String {
    format!("group peer {key} of {device}: {}", Line(peer))
}

impl fmt::Display for Line<'_, GroupTunnel> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupTunnel { group, peer, mtu, listen_port, address, netns, policy, .. } = self.0;
        write!(f, "{address} for peer {peer} of {group}, mtu {mtu}, port {listen_port}")?;
        if let Some(netns) = netns {
            write!(f, ", in {}", netns.display())?;
        }
        match policy {
            Some(_) => f.write_str(", by access rules"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Line<'_, GroupPeer> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupPeer { peer, member, number, address, endpoint, keepalive_seconds } = self.0;
        write!(f, "{address} is {peer} of {member}, number {}", number.0)?;
        match endpoint {
            Some(endpoint) => write!(f, ", endpoint {endpoint}"),
            None => f.write_str(", calls us"),
        }?;
        match keepalive_seconds {
            Some(seconds) => write!(f, ", keepalive {seconds} s"),
            None => Ok(()),
        }
    }
}
