//! What a step does to the world, as far as it can be told without the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{GroupStep, Observed, Step};
use crate::plan::{DeviceName, GroupTunnel, Plan, RouteTarget, Tunnel};

impl From<&Plan> for Observed {
    /// The world in which the plan is in force.
    fn from(plan: &Plan) -> Self {
        Observed {
            tunnels: plan.tunnels.clone(),
            interfaces: plan.interfaces.clone(),
            addresses: plan.addresses.clone(),
            routes: plan.routes.clone(),
            neighbours: plan.neighbours.clone(),
            sysctls: plan.sysctls.clone(),
            table: plan.table.clone(),
            remaps: plan.remaps.clone(),
            connections: plan.connections.clone(),
            node: plan.node,
            nat: plan.nat.clone(),
            groups: plan.groups.clone(),
        }
    }
}

impl Observed {
    /// Takes note of a step that was applied.
    pub fn record(&mut self, step: &Step) {
        match step.clone() {
            Step::CreateTunnel(device, tunnel) => {
                let bare = Tunnel { addresses: BTreeSet::new(), peers: BTreeMap::new(), ..tunnel };
                self.tunnels.insert(device, bare);
            }
            Step::RemoveTunnel(device) => self.remove_tunnel(&device),
            Step::SetMtu(device, mtu) => self.change(&device, |tunnel| tunnel.mtu = mtu),
            Step::SetListenPorts(device, ports) => self.change(&device, |tunnel| tunnel.listen_ports = ports),
            Step::AddTunnelAddress(device, net) => self.change(&device, |tunnel| _ = tunnel.addresses.insert(net)),
            Step::RemoveTunnelAddress(device, net) => self.change(&device, |tunnel| _ = tunnel.addresses.remove(&net)),
            Step::AddPeer(device, key, peer) | Step::UpdatePeer(device, key, peer) => {
                self.change(&device, |tunnel| _ = tunnel.peers.insert(key, peer));
            }
            Step::SetEndpoints(device, key, endpoints) => self.change(&device, |tunnel| {
                if let Some(peer) = tunnel.peers.get_mut(&key) {
                    peer.endpoints = endpoints;
                }
            }),
            Step::RemovePeer(device, key) => self.change(&device, |tunnel| _ = tunnel.peers.remove(&key)),
            Step::SetNode(node) => self.node = node,
            Step::AddAddress(address) => _ = self.addresses.insert(address),
            Step::RemoveAddress(address) => _ = self.addresses.remove(&address),
            Step::AddRoute(route) => {
                self.routes.retain(|other| (other.destination, other.metric) != (route.destination, route.metric));
                self.routes.insert(route);
            }
            Step::RemoveRoute(route) => _ = self.routes.remove(&route),
            Step::AddNeighbour(neighbour) => _ = self.neighbours.insert(neighbour),
            Step::RemoveNeighbour(neighbour) => _ = self.neighbours.remove(&neighbour),
            Step::SetSysctl(sysctl, value) => _ = self.sysctls.insert(sysctl, value),
            Step::RestoreSysctl(sysctl) => _ = self.sysctls.remove(&sysctl),
            Step::SetRemap(id, remap) => _ = self.remaps.insert(id, remap),
            Step::RemoveRemap(id) => _ = self.remaps.remove(&id),
            Step::SetEntry(net, entry) => _ = self.table.insert(net, entry),
            Step::RemoveEntry(net) => _ = self.table.remove(&net),
            Step::Attach(device, attachment) => _ = self.interfaces.insert(device, attachment),
            Step::Detach(device) => _ = self.interfaces.remove(&device),
            Step::AddConnection(id, connection) => _ = self.connections.insert(id, connection),
            Step::RemoveConnection(id) => _ = self.connections.remove(&id),
            Step::SetNat(nat) => self.nat = Some(*nat),
            Step::RemoveNat => self.nat = None,
            Step::AwaitShards => {}
            Step::Group(device, step) => self.record_group(device, step),
        }
    }

    /// The kernel removes the routes of a device that goes.
    fn remove_tunnel(&mut self, gone: &DeviceName) {
        self.tunnels.remove(gone);
        self.routes.retain(|route| !matches!(&route.target, RouteTarget::Device { device, .. } if device == gone));
    }

    fn record_group(&mut self, device: DeviceName, step: GroupStep) {
        match step {
            GroupStep::Create(tunnel) => {
                let bare = GroupTunnel { peers: BTreeMap::new(), ..(*tunnel).clone() };
                self.groups.insert(device, Arc::new(bare));
            }
            GroupStep::SetMtu(mtu) => self.change_group(&device, |tunnel| tunnel.mtu = mtu),
            GroupStep::SetPort(port) => self.change_group(&device, |tunnel| tunnel.listen_port = port),
            GroupStep::SetPolicy(policy) => self.change_group(&device, |tunnel| tunnel.policy = policy),
            GroupStep::Remove => _ = self.groups.remove(&device),
            GroupStep::AddPeer(key, peer) | GroupStep::UpdatePeer(key, peer) => {
                self.change_group(&device, |tunnel| _ = tunnel.peers.insert(key, peer));
            }
            GroupStep::RemovePeer(key) => self.change_group(&device, |tunnel| _ = tunnel.peers.remove(&key)),
            GroupStep::Route => {}
        }
    }

    fn change_group(&mut self, device: &DeviceName, change: impl FnOnce(&mut GroupTunnel)) {
        if let Some(tunnel) = self.groups.get_mut(device) {
            change(Arc::make_mut(tunnel));
        }
    }

    fn change(&mut self, device: &DeviceName, change: impl FnOnce(&mut Tunnel)) {
        if let Some(tunnel) = self.tunnels.get_mut(device) {
            change(tunnel);
        }
    }
}
