//! Where each gateway of this node is reached, and which ports and addresses servers have that were left to the node.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

use ipnet::IpNet;

use super::{DEVICE_PREFIX, DeviceAddress, DeviceName, InterfaceRole, NodeFacts, names, tunnels::fnv1a};
use crate::{
    allocate::Allocations,
    model::{
        ClusterId, Gateway, GatewayClient, GatewayServer, Host, ObjectName, Problems, Reach, ServiceType, ValidIntent,
    },
};

/// Where ports for services of type NodePort come from, as in Kubernetes.
pub const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

/// Of the pool for load balancers.
const POOL_SEARCHED: usize = 4_096;
/// What is said where no source has an address for a load balancer.
const NO_SOURCE: &str = "nothing says at which address clients reach this server: set advertise, advertise_command or \
    load_balancer_pool in the [gateway] section of meshd.toml, or spec.endpoint.loadBalancerIP, or take the node's own \
    address by serviceType: NodePort (meshctl network connect: --gw-server-service-type NodePort)";

/// Where a gateway is reached: of a server what its clients are told, of a client what it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayEndpoint {
    /// Addresses and DNS names, in the order in which they are tried. Empty for a server: see `unassigned`.
    pub addresses: Vec<Host>,
    /// UDP ports, one for each lane; a `direct` gateway has none.
    pub ports: Vec<u16>,
    /// Where a server is reached from within its cluster.
    pub internal: Option<SocketAddr>,
    /// Why nobody can be told where it is, and what to do.
    pub unassigned: Option<String>,
    /// The secret with the key pair of the gateway; `None`: the node's own.
    pub secret: Option<String>,
}

/// What servers bind, and the addresses of a pool that they have.
#[derive(Clone, Debug, Default)]
pub(super) struct Assigned {
    pub(super) ports: BTreeMap<ClusterId, Vec<u16>>,
    pub(super) load_balancers: BTreeMap<ClusterId, IpAddr>,
}

/// The ports of every server: those it says, those it was given before, or new ones.
pub(super) fn assign(intent: &ValidIntent, facts: &NodeFacts, previous: &Allocations) -> Result<Assigned, Problems> {
    let mut problems = Problems::default();
    let fixed: BTreeMap<u16, &GatewayServer> = servers(intent)
        .flat_map(|(_, server)| server.fixed_ports().unwrap_or_default().iter().map(move |port| (*port, server)))
        .collect();
    let mut ports: BTreeMap<ClusterId, Vec<u16>> = BTreeMap::new();
    for (id, kept) in previous.node_ports.iter().filter(|(id, _)| intent.remotes.contains_key(id)) {
        let is_chosen = servers(intent).any(|(other, server)| other == id && server.fixed_ports().is_none());
        for port in kept.iter().filter(|_| is_chosen) {
            if let Some(server) = fixed.get(port) {
                let message = format!("port {port} was given to the gateway server of {id}");
                problems.0.push(server.place.problem("spec.endpoint", message, "give another port"));
            }
        }
        ports.insert(id.clone(), kept.clone());
    }
    let mut taken: BTreeSet<u16> = facts.busy_ports.clone();
    taken.extend(fixed.keys());
    taken.extend(ports.values().flatten());
    for (id, server) in servers(intent).filter(|(_, server)| server.fixed_ports().is_none()) {
        let given = ports.entry(id.clone()).or_default();
        let mut free = candidates(intent.cluster.id.as_str(), id.as_str()).filter(|port| !taken.contains(port));
        while given.len() < server.ports.len() {
            let Some(port) = free.next() else {
                let message = format!("no port from {} to {} is free", NODE_PORTS.start(), NODE_PORTS.end());
                problems.0.push(server.place.problem("spec.endpoint", message, "give nodePort yourself"));
                break;
            };
            given.push(port);
        }
        taken.extend(given.iter());
    }
    let load_balancers = load_balancers(intent, facts, previous);
    problems.or(Assigned { ports, load_balancers })
}

/// An address of the pool for each server that has no other source. Those that were given stay, as long as they are in it.
fn load_balancers(intent: &ValidIntent, facts: &NodeFacts, previous: &Allocations) -> BTreeMap<ClusterId, IpAddr> {
    let advertise = &intent.gateway.advertise;
    let wants = |server: &GatewayServer| {
        let others =
            server.load_balancer_ip.is_some() || !advertise.addresses.is_empty() || !advertise.command.is_empty();
        server.service == Some(ServiceType::LoadBalancer) && !others
    };
    let is_pooled = |address: &IpAddr| advertise.pool.iter().any(|net| net.contains(address));
    let kept =
        previous.load_balancers.iter().filter(|(id, given)| intent.remotes.contains_key(*id) && is_pooled(given));
    let mut given: BTreeMap<ClusterId, IpAddr> = kept.map(|(id, address)| (id.clone(), *address)).collect();
    let on_node: BTreeSet<IpAddr> = facts.interfaces.values().flatten().map(IpNet::addr).collect();
    for (id, _) in servers(intent).filter(|(_, server)| wants(server)) {
        if given.contains_key(id) {
            continue;
        }
        let taken = |address: &IpAddr| on_node.contains(address) || given.values().any(|other| other == address);
        let free = advertise.pool.iter().flat_map(IpNet::hosts).take(POOL_SEARCHED).find(|address| !taken(address));
        given.extend(free.map(|address| (id.clone(), address)));
    }
    given
}

fn servers(intent: &ValidIntent) -> impl Iterator<Item = (&ClusterId, &GatewayServer)> {
    intent.remotes.iter().filter_map(|(id, remote)| match &remote.gateway {
        Some(Gateway::Server(server)) => Some((id, server)),
        Some(Gateway::Client(_)) | None => None,
    })
}

/// All ports of the range, from one that the two clusters' names pick: the nodes of a cluster pick the same.
fn candidates(own: &str, remote: &str) -> impl Iterator<Item = u16> {
    let count = NODE_PORTS.len() as u64;
    let first = fnv1a(format!("{own} {remote}").as_bytes()) % count;
    (0..count).map(move |step| NODE_PORTS.start() + u16::try_from((first + step) % count).unwrap_or_default())
}

impl Assigned {
    /// What the server of this remote binds.
    pub(super) fn listen_ports(&self, remote: &ClusterId, server: &GatewayServer) -> Vec<u16> {
        match server.fixed_ports() {
            Some(ports) => ports.to_vec(),
            None => {
                let given = self.ports.get(remote).map(Vec::as_slice).unwrap_or_default();
                given.iter().take(server.ports.len()).copied().collect()
            }
        }
    }

    /// Addresses of the pool are the node's while a server has them: whoever routes them to it finds its sockets.
    pub(super) fn addresses(&self, told: &BTreeMap<ObjectName, GatewayEndpoint>) -> BTreeSet<DeviceAddress> {
        let is_told = |address: &&IpAddr| {
            told.values()
                .any(|endpoint| endpoint.internal.is_some() && endpoint.addresses == [Host::Address(**address)])
        };
        let on_lo = |address| DeviceAddress { device: DeviceName("lo".to_owned()), address: IpNet::from(address) };
        self.load_balancers.values().filter(is_told).copied().map(on_lo).collect()
    }

    /// Where every gateway is reached.
    pub(super) fn endpoints(&self, intent: &ValidIntent, facts: &NodeFacts) -> BTreeMap<ObjectName, GatewayEndpoint> {
        let endpoint = |(id, remote): (&ClusterId, &crate::model::Remote)| {
            let gateway = remote.gateway.as_ref()?;
            let endpoint = match gateway {
                Gateway::Server(server) => self.of_server(id, server, intent, facts),
                Gateway::Client(client) => of_client(client),
            };
            Some((gateway.place().object.clone()?, endpoint))
        };
        intent.remotes.iter().filter_map(endpoint).collect()
    }

    fn of_server(
        &self,
        id: &ClusterId,
        server: &GatewayServer,
        intent: &ValidIntent,
        facts: &NodeFacts,
    ) -> GatewayEndpoint {
        let bound = self.listen_ports(id, server);
        let inside = addresses(intent, facts, InterfaceRole::Workload);
        let outside = addresses(intent, facts, InterfaceRole::Underlay);
        let node = if outside.is_empty() { unnamed(intent, facts) } else { outside };
        let internal = server.listener.bind.first().or(inside.first()).or(node.first());
        let told = match server.service {
            Some(ServiceType::NodePort) | None => Ok(of_node(intent, &node)),
            Some(ServiceType::ClusterIp) => {
                let inside = if inside.is_empty() { &node } else { &inside };
                Ok(inside.iter().copied().map(Host::Address).collect())
            }
            Some(ServiceType::LoadBalancer) => self.load_balancer(id, server, intent, facts),
        };
        let (addresses, unassigned) = match told {
            Ok(addresses) => (addresses, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let is_node_port = server.service == Some(ServiceType::NodePort);
        let advertised = Some(&server.advertised_ports).filter(|ports| !is_node_port && !ports.is_empty());
        GatewayEndpoint {
            addresses,
            ports: advertised.unwrap_or(&bound).clone(),
            internal: internal.zip(bound.first()).map(|(ip, port)| SocketAddr::new(*ip, *port)),
            unassigned,
            secret: server.listener.secret.clone(),
        }
    }

    fn load_balancer(
        &self,
        id: &ClusterId,
        server: &GatewayServer,
        intent: &ValidIntent,
        facts: &NodeFacts,
    ) -> Result<Vec<Host>, String> {
        let advertise = &intent.gateway.advertise;
        if let Some(address) = server.load_balancer_ip {
            return Ok(vec![Host::Address(address)]);
        }
        if !advertise.addresses.is_empty() {
            return Ok(advertise.addresses.clone());
        }
        if !advertise.command.is_empty() {
            let waits = || Err("gateway.advertise_command did not end yet".to_owned());
            return facts.advertised.clone().unwrap_or_else(waits);
        }
        match self.load_balancers.get(id) {
            Some(address) => Ok(vec![Host::Address(*address)]),
            None if advertise.pool.is_empty() => Err(NO_SOURCE.to_owned()),
            None => Err("gateway.load_balancer_pool has no free address: add a prefix".to_owned()),
        }
    }
}

/// What clients are told of a server on a port of the node: what the settings say, or else its own addresses.
fn of_node(intent: &ValidIntent, node: &[IpAddr]) -> Vec<Host> {
    match (intent.gateway.advertise.addresses.as_slice(), intent.node_address) {
        ([], Some(address)) => vec![Host::Address(address)],
        ([], None) => node.iter().copied().map(Host::Address).collect(),
        (told, _) => told.to_vec(),
    }
}

/// Where the ports of a server are bound: within the cluster alone, where its service is of that type.
pub(super) fn bind_of(server: &GatewayServer, intent: &ValidIntent, facts: &NodeFacts) -> Vec<IpAddr> {
    if !server.listener.bind.is_empty() || server.service != Some(ServiceType::ClusterIp) {
        return server.listener.bind.clone();
    }
    let inside = addresses(intent, facts, InterfaceRole::Workload);
    let first = |v4: bool| inside.iter().find(|address| address.is_ipv4() == v4).copied();
    [first(true), first(false)].into_iter().flatten().collect()
}

fn of_client(client: &GatewayClient) -> GatewayEndpoint {
    let (addresses, ports) = match &client.reach {
        Reach::Wireguard { candidates, ports } => (candidates.clone(), ports.clone()),
        Reach::Direct { next_hops } => (next_hops.iter().copied().map(Host::Address).collect(), Vec::new()),
    };
    GatewayEndpoint { addresses, ports, secret: client.listener.secret.clone(), ..GatewayEndpoint::default() }
}

/// Of the interfaces with a role, in the order of their names.
fn addresses(intent: &ValidIntent, facts: &NodeFacts, role: InterfaceRole) -> Vec<IpAddr> {
    let has_role = |device: &DeviceName| intent.interfaces.get(device).is_some_and(|interface| interface.role == role);
    routable(facts, has_role)
}

/// Of the interfaces that the settings do not name and that are not ours.
fn unnamed(intent: &ValidIntent, facts: &NodeFacts) -> Vec<IpAddr> {
    let is_foreign = |device: &DeviceName| {
        !intent.interfaces.contains_key(device) && !device.0.starts_with(DEVICE_PREFIX) && device.0 != "lo"
    };
    routable(facts, is_foreign)
}

fn routable(facts: &NodeFacts, wanted: impl Fn(&DeviceName) -> bool) -> Vec<IpAddr> {
    let all = facts.interfaces.iter().filter(|(device, _)| wanted(device)).flat_map(|(_, addresses)| addresses);
    all.filter(|address| names::is_routable(address)).map(IpNet::addr).collect()
}

/// The candidates of a client as they can be called now: names as they are resolved.
pub(super) fn candidates_of(hosts: &[Host], facts: &NodeFacts) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for host in hosts {
        let addresses = match host {
            Host::Address(address) => std::slice::from_ref(address),
            Host::Name(name) => facts.names.get(name).map(Vec::as_slice).unwrap_or_default(),
        };
        for address in addresses {
            if !found.contains(address) {
                found.push(*address);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
