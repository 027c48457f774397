//! Does a plan hold what every plan must hold? Written without a look at how plans are made.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use mesh_common::{
    ids::{ConnectionId, RemapId},
    maps::Role,
};

use super::{DeviceName, InterfaceRole, Neighbour, Plan, PublicKey, RouteTarget, TableEntry, Transport};

/// What a plan must not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("entries {0} and {1} overlap")]
    Overlap(IpNet, IpNet),
    #[error("entry {0} becomes {1}, which differs in length or family")]
    Unequal(IpNet, IpNet),
    #[error("entry {0} names remap {remap}, which is not that of its prefixes", remap = .1.0)]
    WrongRemap(IpNet, RemapId),
    #[error("{0} has no way out")]
    NoWay(IpNet),
    #[error("{0} may take the default route")]
    NotClosed(IpNet),
    #[error("two routes to {0} have metric {1}")]
    TwoRoutes(IpNet, u32),
    #[error("route to {0} leads to {1}, which is no tunnel")]
    NoSuchTunnel(IpNet, DeviceName),
    #[error("next hop {0} is not kept resolved on its underlay interface")]
    UnresolvedHop(IpAddr),
    #[error("connection {} has no peer on its device", .0.0)]
    NoPeer(ConnectionId),
    #[error("peer {0} belongs to no connection of its device")]
    StrayPeer(PublicKey),
    #[error("peer {0} stands twice")]
    TwinPeer(PublicKey),
    #[error("port {0} is wanted by two tunnels")]
    TwinPort(u16),
    #[error("{announced} announced by {peer} is not called {called} here")]
    NotCalled { peer: PublicKey, announced: IpNet, called: IpNet },
    #[error("connection {} probes from or to a foreign address", .0.0)]
    Probe(ConnectionId),
    #[error("device name {0} does not fit")]
    DeviceName(DeviceName),
}

/// Everything that is wrong with a plan.
pub fn check(plan: &Plan) -> Vec<Violation> {
    let mut violations = Vec::new();
    entries(plan, &mut violations);
    ways(plan, &mut violations);
    tunnels(plan, &mut violations);
    connections(plan, &mut violations);
    violations
}

fn entries(plan: &Plan, violations: &mut Vec<Violation>) {
    let nets: Vec<(&IpNet, &TableEntry)> = plan.table.iter().collect();
    for (index, (net, entry)) in nets.iter().enumerate() {
        let inside = nets[index + 1..].iter().filter(|(other, _)| net.contains(*other) || other.contains(*net));
        for (other, inner) in inside {
            // A reserved address stands out of the presented prefix that holds it, and a blocked one out of any.
            let is_alias = |entry: &TableEntry| plan.table.get(&entry.to).is_some_and(|host| host.role.is_outside());
            let is_outside = [entry, inner].into_iter().any(|one| one.role.is_outside() || is_alias(one));
            let is_blocked = plan.blocked.contains_key(*net) || plan.blocked.contains_key(*other);
            if !is_blocked && !is_outside && !inner.role.has(Role::RESERVED) && !entry.role.has(Role::RESERVED) {
                violations.push(Violation::Overlap(**net, **other));
            }
        }
        if net.prefix_len() != entry.to.prefix_len() || net.max_prefix_len() != entry.to.max_prefix_len() {
            violations.push(Violation::Unequal(**net, entry.to));
        }
        if !remap_fits(plan, net, entry) {
            violations.push(Violation::WrongRemap(**net, entry.remap));
        }
    }
}

fn remap_fits(plan: &Plan, net: &IpNet, entry: &TableEntry) -> bool {
    let remap = plan.remaps.get(&entry.remap);
    if entry.role.has(Role::TUNNEL.with(Role::DIRECT)) {
        let of_live = |id| plan.connections.contains_key(&id);
        return remap.is_some_and(|remap| {
            let travels = entry.to == remap.real || entry.to == remap.presented;
            remap.presented == *net && travels && remap.connection.is_some_and(of_live)
        });
    }
    match remap {
        Some(remap) => remap.connection.is_none() && [remap.real, remap.presented].iter().any(|one| one.contains(net)),
        None => entry.remap == RemapId(0),
    }
}

fn ways(plan: &Plan, violations: &mut Vec<Violation>) {
    for (net, entry) in &plan.table {
        let to = || plan.routes.iter().filter(|route| route.destination == *net);
        let is_closed = to().any(|route| route.target == RouteTarget::Unreachable);
        let is_remote = entry.role.has(Role::TUNNEL.with(Role::DIRECT));
        let must_close = is_remote || entry.role.has(Role::BARRED) || entry.role == Role::PRESENTED;
        // A blocked address is this node's to reach: its route is not ours.
        if must_close && !is_closed && !plan.blocked.contains_key(net) {
            violations.push(Violation::NotClosed(*net));
        }
        let leads_out = to().any(|route| match &route.target {
            RouteTarget::Device { .. } => entry.role.has(Role::TUNNEL),
            RouteTarget::Via { .. } => entry.role.has(Role::DIRECT),
            RouteTarget::Shared { .. } | RouteTarget::Unreachable => false,
        });
        if is_remote && !leads_out {
            violations.push(Violation::NoWay(*net));
        }
    }
    let mut places = BTreeSet::new();
    for route in &plan.routes {
        if !places.insert((route.destination, route.metric)) {
            violations.push(Violation::TwoRoutes(route.destination, route.metric));
        }
        if let RouteTarget::Device { device, .. } = &route.target
            && !plan.tunnels.contains_key(device)
        {
            violations.push(Violation::NoSuchTunnel(route.destination, device.clone()));
        }
    }
}

fn tunnels(plan: &Plan, violations: &mut Vec<Violation>) {
    let mut keys = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for (device, tunnel) in &plan.tunnels {
        if device.0.is_empty() || device.0.len() > 15 {
            violations.push(Violation::DeviceName(device.clone()));
        }
        for port in tunnel.listen_ports.iter().filter(|port| **port != 0) {
            if !ports.insert(*port) {
                violations.push(Violation::TwinPort(*port));
            }
        }
        for (key, peer) in &tunnel.peers {
            if !keys.insert(*key) {
                violations.push(Violation::TwinPeer(*key));
            }
            let home = plan.connections.get(&peer.connection).and_then(|connection| device_of(&connection.transport));
            if home != Some(device) {
                violations.push(Violation::StrayPeer(*key));
            }
            for (announced, entry) in &peer.announced {
                let called = plan.table.get(&entry.to);
                let is_called = called.is_some_and(|called| called.to == *announced && called.remap == entry.remap);
                let of_peer = plan.remaps.get(&entry.remap).and_then(|remap| remap.connection) == Some(peer.connection);
                if !is_called || !of_peer {
                    violations.push(Violation::NotCalled { peer: *key, announced: *announced, called: entry.to });
                }
            }
        }
    }
}

fn connections(plan: &Plan, violations: &mut Vec<Violation>) {
    for (id, connection) in &plan.connections {
        let mut own: Vec<IpAddr> = plan.addresses.iter().map(|address| address.address.addr()).collect();
        match &connection.transport {
            Transport::WireguardServer { device } | Transport::WireguardClient { device } => {
                let tunnel = plan.tunnels.get(device);
                if !tunnel.is_some_and(|tunnel| tunnel.peers.values().any(|peer| peer.connection == *id)) {
                    violations.push(Violation::NoPeer(*id));
                }
                own.extend(tunnel.iter().flat_map(|tunnel| &tunnel.addresses).map(IpNet::addr));
            }
            Transport::Direct { next_hops, device } => {
                let is_underlay = plan.interfaces.get(device).is_some_and(|one| one.role == InterfaceRole::Underlay);
                for hop in next_hops {
                    let neighbour = Neighbour { device: device.clone(), address: *hop };
                    if !is_underlay || !plan.neighbours.contains(&neighbour) {
                        violations.push(Violation::UnresolvedHop(*hop));
                    }
                }
            }
        }
        let Some(probe) = connection.probe else { continue };
        let theirs = plan.remaps.values().filter(|remap| remap.connection == Some(*id));
        if !own.contains(&probe.from) || !theirs.into_iter().any(|remap| remap.presented.contains(&probe.to)) {
            violations.push(Violation::Probe(*id));
        }
    }
}

fn device_of(transport: &Transport) -> Option<&DeviceName> {
    match transport {
        Transport::WireguardServer { device } | Transport::WireguardClient { device } => Some(device),
        Transport::Direct { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        allocate::Allocations,
        model::fixtures::{CLIENT, CONFIGURATION, KEY, facts, valid},
        plan::plan,
    };

    fn good() -> Plan {
        plan(&valid(&[CONFIGURATION, CLIENT, KEY]), &facts(), &Allocations::default()).unwrap().0
    }

    #[test]
    fn a_good_plan_passes_and_each_fault_is_found() {
        assert_eq!(check(&good()), []);
        let presented: IpNet = "10.71.0.0/16".parse().unwrap();
        let faults: [fn(&mut Plan, IpNet); 7] = [
            |plan, _| plan.routes.clear(),
            |plan, net| _ = plan.table.remove(&net),
            |plan, _| plan.remaps.clear(),
            |plan, _| plan.tunnels.clear(),
            |plan, _| plan.connections.clear(),
            |plan, net| plan.table.get_mut(&net).unwrap().to = "10.0.0.0/8".parse().unwrap(),
            |plan, net| {
                let entry = plan.table[&net];
                let half = net.subnets(17).unwrap().next().unwrap();
                plan.table.insert(half, TableEntry { to: half, ..entry });
            },
        ];
        for (index, fault) in faults.iter().enumerate() {
            let mut plan = good();
            fault(&mut plan, presented);
            assert_ne!(check(&plan), [], "fault {index}");
        }
    }
}
