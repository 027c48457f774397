//! From a valid intent to the plan: total, deterministic, no choice left open.

use std::net::IpAddr;

use ipnet::IpNet;
use mesh_common::{ids::ConnectionId, maps::Role};

use super::{
    Connection, DeviceName, InterfaceRole, NodeFacts, Plan, TableEntry, Transport,
    gateways::{self, Assigned},
    kernel::{self, Reserved},
    names,
    nat::Nat,
    outside::{self, Outside},
    paths::paths,
    slots::Slots,
    table::{self, Table},
    tunnels::{self, Ways},
};
use crate::{
    allocate::{Allocations, Share},
    model::{ClusterId, Gateway, GatewayClient, Problem, Problems, Reach, Remote, ValidIntent},
};

/// What this node shall hold, and what it gave out to get there; `previous` is what it had given out before.
///
/// Problems are what only this node can know: prefixes that clash with the host's or with what was given out, interfaces
/// that do not exist, next hops that are not on the same segment.
pub fn plan(intent: &ValidIntent, facts: &NodeFacts, previous: &Allocations) -> Result<(Plan, Allocations), Problems> {
    let mut problems = missing_interfaces(intent, facts);
    let names = match names::assign(intent, facts, previous) {
        Ok(names) => names,
        Err(more) => {
            problems.0.extend(more.0);
            return Err(problems);
        }
    };
    let assigned = gateways::assign(intent, facts, previous)?;
    let outside = outside::assign(intent, &names, previous)?;
    let (table, remaps) = table::build(intent, &names, previous)?;
    let external = table::own_pairs(intent, &names).split_off(intent.cluster.pod.len());
    let reserved = Reserved::of(external, intent.gateway.index);
    let mut building =
        Building { intent, facts, assigned: &assigned, reserved, plan: Plan::default(), table, problems };
    for (id, remote) in &intent.remotes {
        building.add_remote(id, remote, &names.remotes[id]);
    }
    let Building { plan, table, mut problems, .. } = building;
    let mut plan = finish(intent, plan, table, &reserved, &outside);
    plan.nat = Nat::of(intent, facts, &plan, &reserved, &outside);
    plan.gateways = assigned.endpoints(intent, facts);
    plan.addresses.extend(assigned.addresses(&plan.gateways));
    if let Err(error) = Slots::default().transition(&plan.table) {
        problems.0.push(settings_problem(intent, "", error.to_string(), "announce fewer or shorter prefixes"));
    }
    problems.or((
        plan,
        Allocations {
            own: names.own,
            remotes: names.remotes,
            remaps,
            node_ports: assigned.ports,
            load_balancers: assigned.load_balancers,
            outside: outside::shares(&outside),
            networks: names.networks,
        },
    ))
}

struct Building<'a> {
    intent: &'a ValidIntent,
    facts: &'a NodeFacts,
    assigned: &'a Assigned,
    reserved: Reserved,
    plan: Plan,
    table: Table,
    problems: Problems,
}

impl Building<'_> {
    fn add_remote(&mut self, id: &ClusterId, remote: &Remote, share: &Share) {
        self.plan.routes.extend(share.presented.values().map(|net| kernel::unreachable(*net)));
        let Some(gateway) = remote.gateway.as_ref().filter(|_| remote.is_complete()) else { return };
        let part = &self.intent.gateway;
        if !part.enabled {
            let silent = &self.facts.silent_gateways;
            let ways = share.presented.values().filter_map(|net| kernel::way_of_worker(*net, &part.nodes, silent));
            return self.plan.routes.extend(ways);
        }
        let connection = ConnectionId(share.connection);
        let Some(transport) = self.transport(id, remote, gateway) else { return };
        let announced = self.table.announced.remove(id).unwrap_or_default();
        let ways = Ways::of(id, gateway, (self.intent, self.facts), self.assigned);
        if let Some(tunnel) = tunnels::tunnel(remote, connection, ways, self.reserved.gateways(), announced) {
            let device = tunnels::device_name(id);
            if self.plan.tunnels.insert(device.clone(), tunnel).is_some() {
                let message = format!("another remote cluster has the device name {device} too");
                let hint = "give the remote cluster a shorter id";
                self.problems.0.push(gateway.place().problem("metadata.labels", message, hint));
            }
        }
        let ways = share.presented.values().filter_map(|net| kernel::way(*net, &transport, &self.reserved));
        self.plan.routes.extend(ways);
        let paths = paths(remote, share, &transport, &self.reserved);
        let probe = paths.first().map(|path| path.gateway);
        let (name, remote, thresholds) = (gateway.place().name(), id.to_string(), gateway.listener().thresholds);
        self.plan.connections.insert(connection, Connection { name, remote, transport, probe, paths, thresholds });
    }

    fn transport(&mut self, id: &ClusterId, remote: &Remote, gateway: &Gateway) -> Option<Transport> {
        match gateway {
            Gateway::Server(_) => Some(Transport::WireguardServer { device: tunnels::device_name(id) }),
            Gateway::Client(GatewayClient { reach: Reach::Wireguard { .. }, .. }) => {
                Some(Transport::WireguardClient { device: tunnels::device_name(id) })
            }
            Gateway::Client(GatewayClient { reach: Reach::Direct { next_hops }, place, .. }) => {
                let found = self.next_hop_device(remote, next_hops);
                match found {
                    Ok(device) => Some(Transport::Direct { next_hops: next_hops.clone(), device }),
                    Err((message, hint)) => {
                        self.problems.0.push(place.problem("spec.endpoint.addresses", message, hint));
                        None
                    }
                }
            }
        }
    }

    /// The underlay interface that reaches every next hop without a router.
    fn next_hop_device(&self, remote: &Remote, next_hops: &[IpAddr]) -> Result<DeviceName, (String, &'static str)> {
        for net in remote.configuration.real.iter() {
            if !next_hops.iter().any(|hop| hop.is_ipv4() == net.addr().is_ipv4()) {
                let hint = "add the underlay address of that family of the remote gateway";
                return Err((format!("no next hop of the family of {net}"), hint));
            }
        }
        let reaches = |addresses: &[IpNet]| {
            next_hops.iter().all(|hop| addresses.iter().any(|net| net.contains(hop) && net.addr() != *hop))
        };
        let is_underlay = |device: &DeviceName| {
            self.intent.interfaces.get(device).is_some_and(|attachment| attachment.role == InterfaceRole::Underlay)
        };
        let on_link = self.facts.interfaces.iter().filter(|(_, addresses)| reaches(addresses));
        let hops = next_hops.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
        // Underlay interfaces first: two may have the same segment, and a link-local next hop is on all.
        let Some((device, _)) = on_link.max_by_key(|(device, _)| is_underlay(device)) else {
            let message = format!("no interface has {hops} on its own segment, and 'direct' needs that");
            return Err((message, "give the underlay address of the remote gateway on a shared segment"));
        };
        if is_underlay(device) {
            return Ok(device.clone());
        }
        let message = format!("{hops} is reached by {device}, which is no underlay interface in the settings");
        Err((message, "add an [[interface]] with that name and role = \"underlay\""))
    }
}

/// What follows from all connections together.
fn finish(intent: &ValidIntent, mut plan: Plan, table: Table, reserved: &Reserved, outside: &[Outside]) -> Plan {
    plan.interfaces = intent.interfaces.clone();
    plan.remaps = table.remaps;
    plan.table = table.entries;
    kernel::add_direct(&mut plan, reserved);
    let has_direct = !plan.addresses.is_empty();
    if has_direct {
        add_reserved_entries(&mut plan, reserved);
    }
    outside::add_entries(&mut plan, outside, has_direct);
    let is_presented = intent.presented.is_some();
    plan.node = reserved.node(is_presented);
    let hairpins = plan.table.iter().filter(|(_, entry)| entry.role == Role::PRESENTED).map(|(net, _)| *net);
    plan.routes.extend(hairpins.map(kernel::unreachable));
    plan.sysctls = kernel::sysctls(&plan);
    if !intent.gateway.enabled {
        // The hooks of a worker let through what the gateway nodes will judge.
        plan.table.clear();
        plan.remaps.clear();
        plan.node = Default::default();
    }
    plan
}

/// Presented reserved addresses are delivered here as they are, since `lo` carries them.
fn add_reserved_entries(plan: &mut Plan, reserved: &Reserved) {
    for (presented, real) in reserved.iter().flat_map(|pair| pair.presented_and_real()) {
        if presented == real {
            continue;
        }
        let remap = plan.table.iter().find(|(net, _)| net.contains(&presented)).map(|(_, entry)| entry.remap);
        let role = Role::PRESENTED.with(Role::RESERVED);
        plan.table.insert(presented, TableEntry { to: real, remap: remap.unwrap_or(table::NO_REMAP), role });
    }
}

fn missing_interfaces(intent: &ValidIntent, facts: &NodeFacts) -> Problems {
    let missing = intent.interfaces.keys().filter(|name| !facts.interfaces.contains_key(name));
    let problem = |name: &DeviceName| {
        let hint = "create it, or correct the name ('ip link' lists them)";
        settings_problem(intent, "interface.name", format!("there is no interface {name}"), hint)
    };
    Problems(missing.map(problem).collect())
}

pub(super) fn settings_problem(intent: &ValidIntent, path: &str, message: String, hint: &str) -> Problem {
    let (file, path, hint) = (intent.settings_file.clone(), path.to_owned(), hint.to_owned());
    Problem { file, line: None, object: None, path, message, hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{
        CLIENT, CONFIGURATION, KEY, SERVER, SETTINGS, direct, facts, intent, mesh_wide, valid,
    };

    fn planned(manifests: &[&str]) -> Plan {
        plan(&valid(manifests), &facts(), &Allocations::default()).unwrap().0
    }

    #[test]
    fn a_client_of_a_cluster_with_the_same_prefixes() {
        let expected = "\
connection 1: default/client to cl02 by WireGuard, client, mesh-cl02, probe 10.70.0.2 -> 10.68.0.2
tunnel mesh-cl02: mtu 1340, any port, 10.70.0.2/32
peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= of mesh-cl02: connection 1, endpoints 172.19.0.8:32009, \
keepalive 25 s, announces 10.70.0.0/16 10.243.0.0/16
announced on connection 1: 10.70.0.0/16 is 10.68.0.0/16
announced on connection 1: 10.243.0.0/16 is 10.71.0.0/16
entry 10.68.0.0/16: tunnel -> 10.70.0.0/16 (remap 1)
entry 10.70.0.0/16: local -> 10.70.0.0/16
entry 10.71.0.0/16: tunnel -> 10.243.0.0/16 (remap 2)
entry 10.243.0.0/16: local -> 10.243.0.0/16
remap 1: 10.70.0.0/16 of connection 1 is 10.68.0.0/16
remap 2: 10.243.0.0/16 of connection 1 is 10.71.0.0/16
interface pods0: workload, hook auto
interface wan0: underlay, hook auto
route 10.68.0.0/16 dev mesh-cl02 metric 100 src 10.70.0.2
route 10.68.0.0/16 unreachable metric 4278198272
route 10.71.0.0/16 dev mesh-cl02 metric 100 src 10.70.0.2
route 10.71.0.0/16 unreachable metric 4278198272
sysctl net.ipv4.conf.mesh-cl02.forwarding = 1
sysctl net.ipv4.conf.pods0.forwarding = 1
nat to 10.68.0.0/16 10.71.0.0/16: sources that are no workloads are 10.70.0.1
";
        assert_eq!(planned(&[CONFIGURATION, CLIENT, KEY]).to_string(), expected);
    }

    #[test]
    fn a_server_listens_and_waits() {
        let plan = planned(&[CONFIGURATION, SERVER, KEY]);
        let tunnel = &plan.tunnels[&DeviceName("mesh-cl02".into())];
        assert!(gateways::NODE_PORTS.contains(&tunnel.listen_ports[0]), "{:?}", tunnel.listen_ports);
        let peer = tunnel.peers.values().next().unwrap();
        assert!(peer.endpoints.is_empty() && peer.keepalive_seconds.is_none());
    }

    #[test]
    fn what_is_not_connected_is_barred() {
        let plan = planned(&[CONFIGURATION, SERVER]);
        assert!(plan.connections.is_empty() && plan.tunnels.is_empty() && plan.sysctls.is_empty());
        let barred = |net: &str| plan.table[&net.parse().unwrap()].role == Role::BARRED;
        assert!(barred("10.71.0.0/16") && barred("10.68.0.0/16"));
        assert_eq!(plan.routes.len(), 2);
    }

    /// A key of a gateway node of the usual remote.
    fn key(node: &str, index: u8, byte: u8, addresses: &str) -> String {
        let key = crate::plan::PublicKey([byte; 32]);
        format!(
            "apiVersion: networking.liqo.io/v1beta1\nkind: PublicKey\nmetadata:\n  name: cl02-{node}-{byte}\n  labels:\n    \
             liqo.io/remote-cluster-id: cl02\n    mesh/gateway-node: {node}\n  annotations:\n    \
             mesh/gateway-index: \"{index}\"\n    mesh/gateway-addresses: \"{addresses}\"\nspec:\n  publicKey: {key}\n"
        )
    }

    #[test]
    fn each_gateway_node_of_a_remote_is_a_peer_of_the_one_connection() {
        let keys = [key("b1", 0, 7, "192.0.2.8"), key("b2", 1, 8, "192.0.2.9:5000, [2001:db8::9]:5001")];
        let both = planned(&[CONFIGURATION, CLIENT, &keys[0], &keys[1]]);
        assert_eq!((both.connections.len(), crate::plan::check(&both)), (1, Vec::new()));
        let peers: Vec<_> = both.tunnels.values().flat_map(|tunnel| tunnel.peers.values()).collect();
        let said = |at: usize| {
            let reserved: Vec<_> = peers[at].reserved.iter().map(ToString::to_string).collect();
            (peers[at].endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), reserved.join(" "))
        };
        assert_eq!(said(0), ("192.0.2.8:32009".to_owned(), "10.70.0.1 10.70.0.2 10.70.0.3".to_owned()));
        assert_eq!(
            said(1),
            ("192.0.2.9:5000 [2001:db8::9]:5001".to_owned(), "10.70.0.4 10.70.0.5 10.70.0.6".to_owned())
        );
        assert_eq!(peers[0].announced, peers[1].announced);
        // Nodes are told apart by name and by number.
        for twin in [key("b1", 2, 9, ""), key("b3", 0, 9, "")] {
            let refusal = intent(SETTINGS, &[CONFIGURATION, CLIENT, &keys[0], &twin]).validate().unwrap_err();
            assert!(refusal.to_string().contains("mesh/gateway-index"), "{refusal}");
        }
        let refusal = intent(SETTINGS, &[CONFIGURATION, CLIENT, &key("b1", 8, 7, "somewhere")]).validate().unwrap_err();
        assert_eq!(refusal.0.len(), 2, "{refusal}");
    }

    #[test]
    fn a_gateway_node_has_reserved_addresses_by_its_number() {
        let settings = format!("{SETTINGS}[gateway]\nindex = 2\n");
        let valid = intent(&settings, &[CONFIGURATION, CLIENT, KEY]).validate().unwrap();
        let (plan, _) = plan(&valid, &facts(), &Allocations::default()).unwrap();
        assert_eq!((plan.node.unknown_v4, plan.node.gateway_v4), ([10, 70, 0, 7], [10, 70, 0, 8]));
        let tunnel = plan.tunnels.values().next().unwrap();
        let addresses: Vec<_> = tunnel.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.70.0.2/32", "10.70.0.8/32"], "its own, and the one that all answer at");
    }

    #[test]
    fn a_worker_routes_to_the_gateway_nodes_that_answer() {
        let settings = format!("{SETTINGS}[gateway]\nenabled = false\nnodes = [\"10.1.0.1\", \"10.1.0.2\"]\n");
        let valid = intent(&settings, &[CONFIGURATION, CLIENT, KEY]).validate().unwrap();
        let routes = |silent: &[&str]| {
            let silent_gateways = silent.iter().map(|text| text.parse().unwrap()).collect();
            let facts = NodeFacts { silent_gateways, ..facts() };
            let (plan, _) = plan(&valid, &facts, &Allocations::default()).unwrap();
            assert!(plan.tunnels.is_empty() && plan.connections.is_empty() && plan.table.is_empty());
            plan.to_string().lines().filter(|line| line.contains("10.71")).collect::<Vec<_>>().join("\n")
        };
        let both = "route 10.71.0.0/16 via 10.1.0.1 or 10.1.0.2 metric 100\n\
                    route 10.71.0.0/16 unreachable metric 4278198272";
        assert_eq!(routes(&[]), both);
        assert_eq!(routes(&["10.1.0.1"]), both.replace("10.1.0.1 or ", ""));
        assert_eq!(routes(&["10.1.0.1", "10.1.0.2"]), both, "the questions may be filtered");
    }

    #[test]
    fn direct_presents_both_sides() {
        let configuration =
            mesh_wide(CONFIGURATION, ["10.60.0.0/16", "10.62.0.0/16"], ["10.61.0.0/16", "10.63.0.0/16"]);
        let expected = "\
connection 1: default/client to cl02 direct by 192.0.2.2 on wan0, probe 10.62.0.2 -> 10.63.0.2
entry 10.60.0.0/16: presented -> 10.243.0.0/16 (remap 1)
entry 10.61.0.0/16: direct -> 10.61.0.0/16 (remap 4)
entry 10.62.0.0/16: presented -> 10.70.0.0/16 (remap 2)
entry 10.62.0.1/32: presented+reserved -> 10.70.0.1/32 (remap 2)
entry 10.62.0.2/32: presented+reserved -> 10.70.0.2/32 (remap 2)
entry 10.63.0.0/16: direct -> 10.63.0.0/16 (remap 3)
entry 10.70.0.0/16: local -> 10.62.0.0/16 (remap 2)
entry 10.243.0.0/16: local -> 10.60.0.0/16 (remap 1)
remap 1: our 10.243.0.0/16 is 10.60.0.0/16
remap 2: our 10.70.0.0/16 is 10.62.0.0/16
remap 3: 10.70.0.0/16 of connection 1 is 10.63.0.0/16
remap 4: 10.243.0.0/16 of connection 1 is 10.61.0.0/16
interface pods0: workload, hook auto
interface wan0: underlay, hook auto
address 10.62.0.2/32 on lo
route 10.60.0.0/16 unreachable metric 4278198272
route 10.61.0.0/16 via 192.0.2.2 metric 100 src 10.62.0.2
route 10.61.0.0/16 unreachable metric 4278198272
route 10.62.0.0/16 unreachable metric 4278198272
route 10.63.0.0/16 via 192.0.2.2 metric 100 src 10.62.0.2
route 10.63.0.0/16 unreachable metric 4278198272
next hop 192.0.2.2 on wan0
sysctl net.ipv4.conf.all.rp_filter = 0
sysctl net.ipv4.conf.pods0.forwarding = 1
sysctl net.ipv4.conf.pods0.rp_filter = 0
sysctl net.ipv4.conf.wan0.forwarding = 1
nat to 10.61.0.0/16 10.63.0.0/16: sources that are no workloads are 10.62.0.1
nat to 10.61.0.0/16 10.63.0.0/16: 10.60.0.0/16 is not tracked
nat to 10.61.0.0/16 10.63.0.0/16: 10.70.0.0/16 is not tracked
nat to 10.61.0.0/16 10.63.0.0/16: 10.243.0.0/16 is not tracked
";
        assert_eq!(planned(&[&configuration, &direct("192.0.2.2")]).to_string(), expected);
    }

    #[test]
    fn direct_needs_the_same_segment() {
        let configuration =
            mesh_wide(CONFIGURATION, ["10.60.0.0/16", "10.62.0.0/16"], ["10.61.0.0/16", "10.63.0.0/16"]);
        let intent = valid(&[&configuration, &direct("198.51.100.2")]);
        let refusal = plan(&intent, &facts(), &Allocations::default()).unwrap_err().to_string();
        assert!(refusal.contains("no interface has 198.51.100.2 on its own segment"), "{refusal}");
    }

    #[test]
    fn more_than_the_tables_hold_is_refused() {
        let pods: Vec<String> = (40..=48).map(|len| format!("\"fd00:{len}::/{len}\"")).collect();
        let configuration = CONFIGURATION.replace("10.243.0.0/16", &format!("[{}]", pods.join(", ")));
        let refusal = plan(&valid(&[&configuration]), &facts(), &Allocations::default()).unwrap_err().to_string();
        assert!(refusal.contains("different ones that IPv6 prefixes may have"), "{refusal}");
    }

    #[test]
    fn unknown_interfaces_are_named() {
        let refusal = plan(&valid(&[]), &NodeFacts::default(), &Allocations::default()).unwrap_err();
        assert_eq!(refusal.0.len(), 2);
        assert!(refusal.to_string().starts_with("meshd.toml: interface.name: there is no interface pods0"));
    }
}
