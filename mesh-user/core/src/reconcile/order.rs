//! In which order the world is changed, so that no packet ever meets a mixture.
//!
//! After every prefix of the steps a packet meets its old verdict, its new verdict or a drop. Three phases:
//!
//! 1. **retract**: what changes its meaning is barred or taken away, so that only what old and new agree on works;
//! 2. **extend**: everything new is put in place, from the way out to the way in;
//! 3. **release**: what is of no use any more goes, the `unreachable` routes last.
//!
//! Between the first two every shard passes a turn: what it read before is out of use, and a number (connection, remap)
//! may get another meaning.
//! What both plans agree on is not touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use ipnet::IpNet;
use mesh_common::{
    ids::{ConnectionId, RemapId},
    maps::Role,
};

use super::{Observed, Step, group_steps};
use crate::plan::{Connection, DeviceName, Peer, Plan, PublicKey, Route, RouteTarget, TableEntry, Tunnel};

/// The steps from what was found to what is planned; none where they agree.
pub fn steps(plan: &Plan, observed: &Observed) -> Vec<Step> {
    let change = Change::between(plan, observed);
    let mut steps = Vec::new();
    change.retract(&mut steps);
    change.extend(&mut steps);
    change.release(&mut steps);
    steps.extend(group_steps(&plan.groups, &observed.groups));
    steps
}

struct Change<'a> {
    new: &'a Plan,
    old: &'a Observed,
    /// Numbers that stand for something else from now on.
    connections: BTreeSet<ConnectionId>,
    remaps: BTreeSet<RemapId>,
    /// Entries that must not be seen while things change.
    barred: BTreeSet<IpNet>,
}

impl<'a> Change<'a> {
    fn between(new: &'a Plan, old: &'a Observed) -> Self {
        let is_other = |id: &ConnectionId, connection: &Connection| {
            old.connections.get(id).is_some_and(|before| before.remote != connection.remote)
        };
        let connections: BTreeSet<ConnectionId> =
            new.connections.iter().filter(|(id, one)| is_other(id, one)).map(|(id, _)| *id).collect();
        let remaps = new.remaps.iter().filter(|(id, remap)| {
            let before = old.remaps.get(id);
            before.is_some_and(|before| before != *remap) || remap.connection.is_some_and(|c| connections.contains(&c))
        });
        let remaps = remaps.map(|(id, _)| *id).collect();
        let mut change = Change { new, old, connections, remaps, barred: BTreeSet::new() };
        change.barred = old.table.keys().filter(|net| change.must_bar(net)).copied().collect();
        change
    }

    /// An entry is replaced in one go only if it is our own and nothing comes or goes within or around it.
    fn must_bar(&self, net: &IpNet) -> bool {
        let before = self.old.table[net];
        let Some(after) = self.new.table.get(net) else { return true };
        if before == *after {
            return self.remaps.contains(&before.remap);
        }
        let is_own = |entry: &TableEntry| !entry.role.has(REMOTE) && !self.remaps.contains(&entry.remap);
        if !is_own(&before) || !is_own(after) {
            return true;
        }
        let mut neighbours = self.old.table.keys().chain(self.new.table.keys()).filter(|other| overlap(net, other));
        let is_steady = |other: &IpNet| self.old.table.contains_key(other) && self.new.table.contains_key(other);
        !neighbours.all(is_steady)
    }

    fn retract(&self, steps: &mut Vec<Step>) {
        for net in &self.barred {
            let barred = TableEntry { to: *net, remap: RemapId(0), role: Role::BARRED };
            if self.old.table[net] != barred {
                steps.push(Step::SetEntry(*net, barred));
            }
        }
        // A way that goes or leads elsewhere is cut while its prefix is barred: a hook that no longer rewrites and a
        // route that still leads out would let packets through as they are.
        steps.extend(self.cut_ways().cloned().map(Step::RemoveRoute));
        for (device, tunnel) in &self.old.tunnels {
            for (key, peer) in &tunnel.peers {
                match self.agreed(device, key, peer) {
                    None => steps.push(Step::RemovePeer(device.clone(), *key)),
                    Some(agreed) if agreed != *peer => steps.push(Step::UpdatePeer(device.clone(), *key, agreed)),
                    Some(_) => {}
                }
            }
        }
        self.free_ports(steps);
        steps.extend(self.connections.iter().map(|id| Step::RemoveConnection(*id)));
        if !steps.is_empty() || !self.remaps.is_empty() {
            steps.push(Step::AwaitShards);
        }
    }

    fn cut_ways(&self) -> impl Iterator<Item = &'a Route> {
        let gone = self.old.routes.iter().filter(|route| !is_unreachable(route) && !self.new.routes.contains(route));
        gone.filter(|route| self.barred.contains(&route.destination))
    }

    /// What old and new say alike of a peer; `None` where it is another peer or goes.
    fn agreed(&self, device: &DeviceName, key: &PublicKey, peer: &Peer) -> Option<Peer> {
        let after = self.new.tunnels.get(device)?.peers.get(key)?;
        if after.connection != peer.connection || self.connections.contains(&peer.connection) {
            return None;
        }
        let is_touched = |net: &IpNet, entry: &TableEntry| {
            after.announced.get(net) != Some(entry) || self.remaps.contains(&entry.remap)
        };
        let touched: Vec<IpNet> =
            peer.announced.iter().filter(|(net, entry)| is_touched(net, entry)).map(|(net, _)| *net).collect();
        let mut agreed = peer.clone();
        agreed.announced.retain(|net, _| !touched.iter().any(|other| overlap(net, other)));
        Some(agreed)
    }

    /// Sockets that hold a port which another tunnel gets.
    fn free_ports(&self, steps: &mut Vec<Step>) {
        for (device, tunnel) in &self.old.tunnels {
            let holds = |port: &u16| *port != 0 && tunnel.listen_ports.contains(port);
            let wanted = |(other, new): (&DeviceName, &Tunnel)| other != device && new.listen_ports.iter().any(holds);
            if !self.new.tunnels.iter().any(wanted) {
                continue;
            }
            steps.push(if self.new.tunnels.contains_key(device) {
                Step::SetListenPorts(device.clone(), vec![0; tunnel.listen_ports.len()])
            } else {
                Step::RemoveTunnel(device.clone())
            });
        }
    }

    fn extend(&self, steps: &mut Vec<Step>) {
        for (id, connection) in &self.new.connections {
            if self.old.connections.get(id) != Some(connection) {
                steps.push(Step::AddConnection(*id, connection.clone()));
            }
        }
        self.extend_tunnels(steps);
        for (sysctl, value) in &self.new.sysctls {
            if self.old.sysctls.get(sysctl) != Some(value) {
                steps.push(Step::SetSysctl(sysctl.clone(), value.clone()));
            }
        }
        steps.extend(self.new.addresses.difference(&self.old.addresses).cloned().map(Step::AddAddress));
        steps.extend(self.new.neighbours.difference(&self.old.neighbours).cloned().map(Step::AddNeighbour));
        // Fail closed before anything opens.
        steps.extend(self.new_routes(true));
        for (id, remap) in &self.new.remaps {
            if self.old.remaps.get(id) != Some(remap) || self.remaps.contains(id) || self.has_moved(remap.connection) {
                steps.push(Step::SetRemap(*id, *remap));
            }
        }
        self.extend_table(steps);
        self.extend_peers(steps);
        if self.new.node != self.old.node {
            steps.push(Step::SetNode(self.new.node));
        }
        for (device, attachment) in &self.new.interfaces {
            if self.old.interfaces.get(device) != Some(attachment) {
                steps.push(Step::Attach(device.clone(), *attachment));
            }
        }
        // The first packet of a flow says how all of it is translated: none may leave before.
        if let Some(nat) = self.new.nat.as_ref().filter(|nat| self.old.nat.as_ref() != Some(nat)) {
            steps.push(Step::SetNat(Box::new(nat.clone())));
        }
        steps.extend(self.new_routes(false));
    }

    /// The remap stays, but packets of its connection come in another way.
    fn has_moved(&self, connection: Option<ConnectionId>) -> bool {
        connection.is_some_and(|id| match (self.old.connections.get(&id), self.new.connections.get(&id)) {
            (Some(before), Some(after)) => before.transport != after.transport,
            _ => false,
        })
    }

    fn extend_tunnels(&self, steps: &mut Vec<Step>) {
        for (device, tunnel) in &self.new.tunnels {
            let before = self.old.tunnels.get(device);
            match before {
                None => steps.push(Step::CreateTunnel(device.clone(), tunnel.clone())),
                Some(before) => {
                    if before.mtu != tunnel.mtu {
                        steps.push(Step::SetMtu(device.clone(), tunnel.mtu));
                    }
                    if before.listen_ports != tunnel.listen_ports {
                        steps.push(Step::SetListenPorts(device.clone(), tunnel.listen_ports.clone()));
                    }
                }
            }
            let had = |net: &IpNet| before.is_some_and(|before| before.addresses.contains(net));
            let added = tunnel.addresses.iter().filter(|net| !had(net));
            steps.extend(added.map(|net| Step::AddTunnelAddress(device.clone(), *net)));
        }
    }

    /// Ours first, so that what travels is presented rightly from the first packet; the more specific first.
    fn extend_table(&self, steps: &mut Vec<Step>) {
        let changed =
            |net: &IpNet, entry: &TableEntry| self.old.table.get(net) != Some(entry) || self.barred.contains(net);
        let changed: BTreeMap<&IpNet, &TableEntry> =
            self.new.table.iter().filter(|(net, entry)| changed(net, entry)).collect();
        let mut order: Vec<(&IpNet, &TableEntry)> = changed.into_iter().collect();
        order.sort_by_key(|(net, entry)| (entry.role.has(REMOTE), std::cmp::Reverse(net.prefix_len())));
        steps.extend(order.into_iter().map(|(net, entry)| Step::SetEntry(*net, *entry)));
    }

    fn extend_peers(&self, steps: &mut Vec<Step>) {
        for (device, tunnel) in &self.new.tunnels {
            let before = self.old.tunnels.get(device);
            for (key, peer) in &tunnel.peers {
                let before = before.and_then(|tunnel| tunnel.peers.get(key));
                let before = before.and_then(|before| self.agreed(device, key, before));
                let (device, key) = (device.clone(), *key);
                match before {
                    None => steps.push(Step::AddPeer(device, key, peer.clone())),
                    Some(before) if before == *peer => {}
                    Some(before) if before.clone().with_endpoints(&peer.endpoints) == *peer => {
                        steps.push(Step::SetEndpoints(device, key, peer.endpoints.clone()));
                    }
                    Some(_) => steps.push(Step::UpdatePeer(device, key, peer.clone())),
                }
            }
        }
    }

    fn new_routes(&self, unreachable: bool) -> impl Iterator<Item = Step> {
        let routes = self.new.routes.iter().filter(move |route| is_unreachable(route) == unreachable);
        routes.filter(|route| !self.old.routes.contains(route)).cloned().map(Step::AddRoute)
    }

    fn release(&self, steps: &mut Vec<Step>) {
        steps.extend(self.old_routes(false));
        if self.new.nat.is_none() && self.old.nat.is_some() {
            steps.push(Step::RemoveNat);
        }
        let gone = self.old.interfaces.keys().filter(|device| !self.new.interfaces.contains_key(*device));
        steps.extend(gone.map(|device| Step::Detach(device.clone())));
        steps.extend(self.old_routes(true));
        let gone: Vec<&IpNet> = self.barred.iter().filter(|net| !self.new.table.contains_key(net)).collect();
        steps.extend(gone.iter().map(|net| Step::RemoveEntry(**net)));
        if !gone.is_empty() {
            // Slots that fell free may be used again.
            steps.push(Step::AwaitShards);
        }
        let gone = self.old.remaps.keys().filter(|id| !self.new.remaps.contains_key(id));
        steps.extend(gone.map(|id| Step::RemoveRemap(*id)));
        steps.extend(self.old.addresses.difference(&self.new.addresses).cloned().map(Step::RemoveAddress));
        steps.extend(self.old.neighbours.difference(&self.new.neighbours).cloned().map(Step::RemoveNeighbour));
        let gone = self.old.sysctls.keys().filter(|sysctl| !self.new.sysctls.contains_key(sysctl));
        steps.extend(gone.cloned().map(Step::RestoreSysctl));
        self.release_tunnels(steps);
        let gone = self.old.connections.keys().filter(|id| !self.new.connections.contains_key(id));
        steps.extend(gone.map(|id| Step::RemoveConnection(*id)));
    }

    fn release_tunnels(&self, steps: &mut Vec<Step>) {
        for (device, before) in &self.old.tunnels {
            match self.new.tunnels.get(device) {
                Some(after) => {
                    let gone = before.addresses.difference(&after.addresses);
                    steps.extend(gone.map(|net| Step::RemoveTunnelAddress(device.clone(), *net)));
                }
                None if steps.contains(&Step::RemoveTunnel(device.clone())) => {}
                None => steps.push(Step::RemoveTunnel(device.clone())),
            }
        }
    }

    /// Routes that go; one whose place was taken is gone already.
    fn old_routes(&self, unreachable: bool) -> impl Iterator<Item = Step> {
        let place = |route: &Route| (route.destination, route.metric);
        let taken: BTreeSet<(IpNet, u32)> = self.new.routes.iter().map(place).collect();
        let cut: BTreeSet<&Route> = self.cut_ways().collect();
        let routes = self.old.routes.iter().filter(move |route| is_unreachable(route) == unreachable);
        let gone = routes.filter(move |route| !taken.contains(&place(route)) && !cut.contains(route));
        gone.cloned().map(Step::RemoveRoute)
    }
}

/// Roles of what belongs to a remote.
const REMOTE: Role = Role(Role::TUNNEL.0 | Role::DIRECT.0 | Role::PRESENT_SOURCE.0 | Role::BARRED.0);

impl Peer {
    fn with_endpoints(self, endpoints: &[SocketAddr]) -> Peer {
        Peer { endpoints: endpoints.to_vec(), ..self }
    }
}

fn is_unreachable(route: &Route) -> bool {
    route.target == RouteTarget::Unreachable
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        allocate::Allocations,
        model::fixtures::{CLIENT, CONFIGURATION, KEY, facts, of, valid},
        plan::plan,
    };

    fn planned(manifests: &[&str], previous: &Allocations) -> (Plan, Allocations) {
        plan(&valid(manifests), &facts(), previous).unwrap()
    }

    fn text(steps: &[Step]) -> String {
        steps.iter().map(|step| format!("{step}\n")).collect()
    }

    #[test]
    fn from_nothing_and_then_nothing() {
        let (plan, _) = planned(&[CONFIGURATION, CLIENT, KEY], &Allocations::default());
        let mut world = Observed::default();
        let found = steps(&plan, &world);
        let expected = "\
add connection 1: default/client to cl02 by WireGuard, client, mesh-cl02, probe 10.70.0.2 -> 10.68.0.2
create tunnel mesh-cl02: mtu 1340, any port
add address 10.70.0.2/32 to mesh-cl02
set net.ipv4.conf.mesh-cl02.forwarding = 1
set net.ipv4.conf.pods0.forwarding = 1
add route 10.68.0.0/16 unreachable metric 4278198272
add route 10.71.0.0/16 unreachable metric 4278198272
set remap 1: 10.70.0.0/16 of connection 1 is 10.68.0.0/16
set remap 2: 10.243.0.0/16 of connection 1 is 10.71.0.0/16
set entry 10.70.0.0/16: local -> 10.70.0.0/16
set entry 10.243.0.0/16: local -> 10.243.0.0/16
set entry 10.68.0.0/16: tunnel -> 10.70.0.0/16 (remap 1)
set entry 10.71.0.0/16: tunnel -> 10.243.0.0/16 (remap 2)
add peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= to mesh-cl02: connection 1, endpoints 172.19.0.8:32009, \
keepalive 25 s, announces 10.70.0.0/16 10.243.0.0/16
set reserved addresses
attach pods0: workload, hook auto
attach wan0: underlay, hook auto
set address translation
add route 10.68.0.0/16 dev mesh-cl02 metric 100 src 10.70.0.2
add route 10.71.0.0/16 dev mesh-cl02 metric 100 src 10.70.0.2
";
        assert_eq!(text(&found), expected);
        found.iter().for_each(|step| world.record(step));
        assert_eq!(world, Observed::from(&plan));
        assert_eq!(steps(&plan, &world), []);
    }

    #[test]
    fn another_connection_is_not_touched() {
        let (first, given) = planned(&[CONFIGURATION, CLIENT, KEY], &Allocations::default());
        let more = [of("cl03", CONFIGURATION), of("cl03", CLIENT), of("cl03", KEY).replace("BwcH", "BwgH")];
        let mut manifests = vec![CONFIGURATION, CLIENT, KEY];
        manifests.extend(more.iter().map(String::as_str));
        let (second, _) = planned(&manifests, &given);
        let there_and_back = [steps(&second, &Observed::from(&first)), steps(&first, &Observed::from(&second))];
        for steps in there_and_back {
            assert!(!steps.is_empty());
            let words = text(&steps);
            assert!(!words.contains("mesh-cl02") && !words.contains("10.71.0.0/16"), "{words}");
        }
    }

    #[test]
    fn a_moved_endpoint_is_one_step() {
        let (old, given) = planned(&[CONFIGURATION, CLIENT, KEY], &Allocations::default());
        let moved = CLIENT.replace("172.19.0.8", "172.19.0.9");
        let (new, _) = planned(&[CONFIGURATION, &moved, KEY], &given);
        let steps = steps(&new, &Observed::from(&old));
        assert!(matches!(steps.as_slice(), [Step::SetEndpoints(_, _, endpoints)] if endpoints.len() == 1), "{steps:?}");
    }
}
