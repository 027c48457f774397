//! Plans at random, of things that one node can hold at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use mesh_common::{
    ids::{ConnectionId, RemapId},
    maps::Role,
};
use mesh_core::{
    plan::{
        Connection, DeviceAddress, DeviceName, Neighbour, Peer, Plan, PresharedKey, PublicKey, ROUTE_METRIC, Remap,
        Route, RouteTarget, Sysctl, SysctlKey, TableEntry, Transport, Tunnel, UNREACHABLE_METRIC,
    },
    probe::Thresholds,
};

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True in `of` of ten cases.
    fn chance(&mut self, of: u64) -> bool {
        self.below(10) < of
    }
}

/// Something between nothing and everything.
pub(crate) fn plan(random: &mut Random) -> Plan {
    let likely = random.below(11);
    build(random, likely)
}

/// Everything.
pub(crate) fn full(random: &mut Random) -> Plan {
    build(random, 10)
}

fn build(random: &mut Random, likely: u64) -> Plan {
    let mut plan = Plan::default();
    for number in 1..=3_u8 {
        if random.chance(likely) {
            add_remote(&mut plan, random, number, likely);
        }
    }
    if random.chance(likely) {
        add_direct(&mut plan, random);
    }
    for key in [SysctlKey::ForwardingV4, SysctlKey::ForwardingV6, SysctlKey::RpFilter] {
        if random.chance(likely) {
            let value = if key == SysctlKey::RpFilter { random.below(3) } else { random.below(2) };
            plan.sysctls.insert(Sysctl { device: device("u0"), key }, value.to_string());
        }
    }
    plan.node.gateway_v4 = [10, 70, 0, random.below(4) as u8];
    plan
}

/// A tunnel with a peer, or only the `unreachable` routes of a remote that waits for its gateway.
fn add_remote(plan: &mut Plan, random: &mut Random, number: u8, likely: u64) {
    let presented = [net(&format!("10.8{number}.0.0/16")), net(&format!("fd00:8{number}::/32"))];
    let unreachable = presented.map(|destination| Route {
        destination,
        metric: UNREACHABLE_METRIC,
        target: RouteTarget::Unreachable,
    });
    plan.routes.extend(unreachable);
    if !random.chance(likely.max(5)) {
        return;
    }
    let name = device(&format!("mesh-t{number}"));
    let id = ConnectionId(u16::from(number));
    // A device that loses its last IPv4 address loses its IPv4 routes too; real plans always have one.
    let mut addresses = BTreeSet::from([net(["10.70.0.2/32", "10.70.0.3/32"][random.below(2) as usize])]);
    if random.chance(likely.max(5)) {
        addresses.insert(net("fd00:70::2/128"));
    }
    for destination in presented {
        let source =
            addresses.iter().map(IpNet::addr).find(|address| address.is_ipv4() == destination.addr().is_ipv4());
        // The kernel moves the MTU of an IPv6 route along with that of its device.
        let mtu = (destination.addr().is_ipv4() && random.chance(5)).then_some(1_300);
        let target = RouteTarget::Device { device: name.clone(), source, mtu };
        plan.routes.insert(Route { destination, metric: ROUTE_METRIC, target });
    }
    let announced = add_entries(plan, id, presented);
    let peer = Peer {
        connection: id,
        endpoints: vec![format!("192.0.2.2:{}", 51_000 + random.below(3)).parse().unwrap()],
        lane_ports: Vec::new(),
        keepalive_seconds: random.chance(5).then_some(25),
        preshared_key: random.chance(5).then_some(PresharedKey([number; 32])),
        reserved: Vec::new(),
        announced,
    };
    // The second tunnel has one lane or two, on ports that overlap with those of another plan.
    let first = 51_842 + random.below(2) as u16;
    let listen_ports = match (number, random.chance(4)) {
        (2, true) => vec![first, first + 1],
        (2, false) => vec![first],
        _ => vec![0],
    };
    let mtu = 1_300 + random.below(3) as u16 * 20;
    let peers = BTreeMap::from([(PublicKey([number; 32]), peer)]);
    plan.tunnels.insert(
        name.clone(),
        Tunnel { mtu, listen_ports, bind: Vec::new(), secret: None, exec: None, addresses, peers },
    );
    plan.connections.insert(id, connection(number, name));
}

fn connection(number: u8, device: DeviceName) -> Connection {
    Connection {
        name: format!("default/t{number}"),
        remote: format!("t{number}"),
        transport: Transport::WireguardServer { device },
        probe: None,
        paths: Vec::new(),
        thresholds: Thresholds::default(),
    }
}

fn add_entries(plan: &mut Plan, id: ConnectionId, presented: [IpNet; 2]) -> BTreeMap<IpNet, TableEntry> {
    let mut announced = BTreeMap::new();
    for (index, (presented, real)) in
        presented.into_iter().zip([net("10.243.0.0/16"), net("fd00:243::/32")]).enumerate()
    {
        let remap = RemapId(id.0 * 2 + index as u16);
        plan.remaps.insert(remap, Remap { connection: Some(id), real, presented, mtu: 0 });
        plan.table.insert(presented, TableEntry { to: real, remap, role: Role::TUNNEL });
        announced.insert(real, TableEntry { to: presented, remap, role: Role::TUNNEL });
    }
    announced
}

/// What `direct` needs of the kernel: routes by next hop, managed neighbours, an address on `lo`.
fn add_direct(plan: &mut Plan, random: &mut Random) {
    let lo = DeviceAddress { device: device("lo"), address: net("10.70.1.1/32") };
    for (destination, hop) in [("10.91.0.0/16", "192.0.2.2"), ("fd00:91::/32", "2001:db8::2")] {
        let next_hop: IpAddr = hop.parse().unwrap();
        let source = (next_hop.is_ipv4() && random.chance(5)).then_some(lo.address.addr());
        let target = RouteTarget::Via { next_hop, source };
        plan.routes.insert(Route { destination: net(destination), metric: ROUTE_METRIC, target });
        plan.neighbours.insert(Neighbour { device: device("u0"), address: next_hop });
    }
    plan.addresses.insert(lo);
}

fn device(name: &str) -> DeviceName {
    DeviceName(name.to_owned())
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}
