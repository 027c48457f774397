//! What the kernel's own tables shall hold: routes, addresses, next hops and settings of interfaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use mesh_common::maps::Node;

use super::{
    DeviceAddress, DeviceName, InterfaceRole, Neighbour, Plan, ROUTE_METRIC, Route, RouteTarget, Sysctl, SysctlKey,
    Transport, UNREACHABLE_METRIC,
};

/// The three reserved addresses of this node, of each family that its cluster has an external CIDR of.
#[derive(Clone, Copy, Default)]
pub(super) struct Reserved {
    pub(super) v4: Option<ReservedPair>,
    pub(super) v6: Option<ReservedPair>,
}

/// Each as we use it and as the mesh calls it (the same where nothing else was given).
#[derive(Clone, Copy)]
pub(super) struct ReservedPair {
    pub(super) unknown: [IpAddr; 2],
    pub(super) gateway: [IpAddr; 2],
    /// On no interface: packets to it are forwarded to the daemon.
    pub(super) responder: [IpAddr; 2],
    /// At which every gateway node of the cluster answers probes; that of the first one is its own.
    any_gateway: IpAddr,
    any_responder: IpAddr,
}

/// The gateway address of the first gateway node, from the network address.
pub(super) const GATEWAY: u8 = 2;
/// Of the responder to probes of the data path.
pub(super) const RESPONDER: u8 = 3;

/// Real and presented form.
const REAL: usize = 0;
const PRESENTED: usize = 1;

impl Reserved {
    /// Of the gateway node with this number, from pairs of external CIDR and presented prefix; the first of a family counts.
    pub(super) fn of(external: impl IntoIterator<Item = (IpNet, IpNet)>, index: u8) -> Self {
        let mut reserved = Reserved::default();
        for (real, presented) in external {
            let both = |offset| [nth(&real, offset), nth(&presented, offset)];
            let [unknown, gateway, responder] = offsets(index).map(both);
            let [any_gateway, any_responder] = [GATEWAY, RESPONDER].map(|offset| nth(&real, offset));
            let pair = ReservedPair { unknown, gateway, responder, any_gateway, any_responder };
            let slot = if matches!(real, IpNet::V4(_)) { &mut reserved.v4 } else { &mut reserved.v6 };
            slot.get_or_insert(pair);
        }
        reserved
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ReservedPair> {
        self.v4.into_iter().chain(self.v6)
    }

    fn of_family(&self, net: &IpNet) -> Option<ReservedPair> {
        if matches!(net, IpNet::V4(_)) { self.v4 } else { self.v6 }
    }

    /// The gateway address as local processes use it towards a tunnel.
    pub(super) fn gateway_for(&self, net: &IpNet) -> Option<IpAddr> {
        self.of_family(net).map(|pair| pair.gateway[REAL])
    }

    /// The gateway address as local processes use it towards a `direct` remote: nothing rewrites what they send.
    pub(super) fn presented_gateway_for(&self, net: &IpNet) -> Option<IpAddr> {
        self.of_family(net).map(|pair| pair.gateway[PRESENTED])
    }

    /// Our responder as it sends towards a tunnel or a `direct` remote, and as it is addressed after the remap: by its own
    /// address, and by that of every gateway node.
    pub(super) fn responder_for(&self, net: &IpNet, direct: bool) -> Option<(IpAddr, [IpAddr; 2])> {
        let pair = self.of_family(net)?;
        let both = pair.responder;
        Some((both[if direct { PRESENTED } else { REAL }], [both[REAL], pair.any_responder]))
    }

    pub(super) fn gateways(&self) -> BTreeSet<IpNet> {
        self.iter().flat_map(|pair| [pair.gateway[REAL], pair.any_gateway]).map(IpNet::from).collect()
    }

    pub(super) fn node(&self, is_presented: bool) -> Node {
        let mut node = Node::default();
        let v4 = |address: IpAddr| if let IpAddr::V4(v4) = address { v4.octets() } else { [0; 4] };
        let v6 = |address: IpAddr| if let IpAddr::V6(v6) = address { v6.octets() } else { [0; 16] };
        if let Some(pair) = self.v4 {
            (node.gateway_v4, node.unknown_v4) = (v4(pair.gateway[REAL]), v4(pair.unknown[REAL]));
            if is_presented {
                node.gateway_v4_presented = v4(pair.gateway[PRESENTED]);
                node.unknown_v4_presented = v4(pair.unknown[PRESENTED]);
            }
        }
        if let Some(pair) = self.v6 {
            (node.gateway_v6, node.unknown_v6) = (v6(pair.gateway[REAL]), v6(pair.unknown[REAL]));
            if is_presented {
                node.gateway_v6_presented = v6(pair.gateway[PRESENTED]);
                node.unknown_v6_presented = v6(pair.unknown[PRESENTED]);
            }
        }
        node
    }
}

impl ReservedPair {
    /// What stands for sources that remotes do not know, as it leaves.
    pub(super) fn unknown_towards(&self, is_direct: bool) -> IpAddr {
        self.unknown[if is_direct { PRESENTED } else { REAL }]
    }

    /// What this node itself speaks as, when it leaves.
    pub(super) fn speaking(&self, is_direct: bool) -> Vec<IpNet> {
        let form = if is_direct { PRESENTED } else { REAL };
        [self.gateway[form], self.responder[form], self.any_gateway].map(IpNet::from).to_vec()
    }

    /// Presented and real form of the addresses that an interface carries, as host prefixes.
    pub(super) fn presented_and_real(&self) -> [(IpNet, IpNet); 2] {
        [self.unknown, self.gateway].map(|both| (IpNet::from(both[PRESENTED]), IpNet::from(both[REAL])))
    }
}

/// Where the unknown source, the gateway address and the responder of a gateway node with this number stand in an external
/// CIDR.
pub(super) fn offsets(index: u8) -> [u8; 3] {
    [GATEWAY - 1, GATEWAY, RESPONDER].map(|first| first + 3 * index)
}

/// The address at `offset` from the network address.
pub(super) fn nth(net: &IpNet, offset: u8) -> IpAddr {
    match net {
        IpNet::V4(v4) => std::net::Ipv4Addr::from_bits(v4.network().to_bits() | u32::from(offset)).into(),
        IpNet::V6(v6) => std::net::Ipv6Addr::from_bits(v6.network().to_bits() | u128::from(offset)).into(),
    }
}

/// Nothing for this prefix ever takes the default route.
pub(super) fn unreachable(destination: IpNet) -> Route {
    Route { destination, metric: UNREACHABLE_METRIC, target: RouteTarget::Unreachable }
}

/// The route of a presented prefix of a connected remote.
pub(super) fn way(destination: IpNet, transport: &Transport, reserved: &Reserved) -> Option<Route> {
    let target = match transport {
        Transport::WireguardServer { device } | Transport::WireguardClient { device } => {
            // The MTU is the device's.
            RouteTarget::Device { device: device.clone(), source: reserved.gateway_for(&destination), mtu: None }
        }
        Transport::Direct { next_hops, .. } => {
            let next_hop = *next_hops.iter().find(|hop| hop.is_ipv4() == destination.addr().is_ipv4())?;
            RouteTarget::Via { next_hop, source: reserved.presented_gateway_for(&destination) }
        }
    };
    Some(Route { destination, metric: ROUTE_METRIC, target })
}

/// The route of a presented prefix on a worker: to the gateway nodes that answer, or to all where none does, since a filter
/// that stops only the questions must not stop the traffic.
pub(super) fn way_of_worker(destination: IpNet, nodes: &[IpAddr], silent: &BTreeSet<IpAddr>) -> Option<Route> {
    let of_family = || nodes.iter().filter(|node| node.is_ipv4() == destination.addr().is_ipv4()).copied();
    let mut next_hops: BTreeSet<IpAddr> = of_family().filter(|node| !silent.contains(node)).collect();
    if next_hops.is_empty() {
        next_hops.extend(of_family());
    }
    let first = *next_hops.first()?;
    let target = match next_hops.len() {
        1 => RouteTarget::Via { next_hop: first, source: None },
        _ => RouteTarget::Shared { next_hops },
    };
    Some(Route { destination, metric: ROUTE_METRIC, target })
}

/// Presented reserved addresses on `lo`, and next hops that stay resolved: both for `direct` only.
pub(super) fn add_direct(plan: &mut Plan, reserved: &Reserved) {
    let mut is_direct = false;
    for connection in plan.connections.values() {
        let Transport::Direct { next_hops, device } = &connection.transport else { continue };
        is_direct = true;
        plan.neighbours.extend(next_hops.iter().map(|hop| Neighbour { device: device.clone(), address: *hop }));
    }
    if is_direct {
        let lo = DeviceName("lo".to_owned());
        let addresses = reserved.iter().map(|pair| IpNet::from(pair.gateway[PRESENTED]));
        plan.addresses.extend(addresses.map(|address| DeviceAddress { device: lo.clone(), address }));
    }
}

/// Forwarding where packets of the plan come in; no reverse path filter where they come in rewritten.
pub(super) fn sysctls(plan: &Plan) -> BTreeMap<Sysctl, String> {
    let mut sysctls = BTreeMap::new();
    let mut set = |device: &DeviceName, key, value: &str| {
        sysctls.insert(Sysctl { device: device.clone(), key }, value.to_owned());
    };
    let is_direct = plan.connections.values().any(|one| matches!(one.transport, Transport::Direct { .. }));
    let by_role = |role| plan.interfaces.iter().filter(move |(_, one)| one.role == role).map(|(name, _)| name);
    let forwards = by_role(InterfaceRole::Workload).chain(by_role(InterfaceRole::Underlay).filter(|_| is_direct));
    let all = DeviceName("all".to_owned());
    for route in plan.routes.iter().filter(|route| matches!(route.target, RouteTarget::Shared { .. })) {
        /// By addresses and ports.
        const LAYER_4: &str = "1";
        let is_v4 = route.destination.addr().is_ipv4();
        set(&all, if is_v4 { SysctlKey::MultipathHashV4 } else { SysctlKey::MultipathHashV6 }, LAYER_4);
    }
    if !plan.connections.is_empty() {
        forwards.chain(plan.tunnels.keys()).for_each(|device| set(device, SysctlKey::ForwardingV4, "1"));
        if plan.table.keys().any(|net| matches!(net, IpNet::V6(_))) {
            // IPv6 forwards between interfaces only where all do (before kernel 6.17 there is no switch for one).
            set(&all, SysctlKey::ForwardingV6, "1");
        }
    }
    if is_direct {
        // A hook passes packets up with our presented source, whose route is `unreachable`; the greater of the
        // interface's value and that of `all` is in force.
        by_role(InterfaceRole::Workload).chain([&all]).for_each(|device| set(device, SysctlKey::RpFilter, "0"));
    }
    sysctls
}
