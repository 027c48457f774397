//! The promise of [`super::steps`], tried on random plans: after every prefix of the steps a packet meets its old verdict,
//! its new verdict or a drop.
//!
//! The world is in memory: the data path over the tables as the steps leave them, routes by longest prefix and metric, and
//! peers by the connection that an entry leads to. So a number that changes its meaning too early shows as a packet in
//! another remote's session.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use mesh_common::{
    datapath::{Ingress, Tables, Verdict, remap::remap},
    frame::SliceFrame,
    ids::{ConnectionId, IfIndex, RemapId},
    maps,
};
use proptest::prelude::*;

use super::{Observed, Step, steps};
use crate::{
    allocate::Allocations,
    explain::packet,
    plan::{
        DeviceName, Plan, PublicKey, RouteTarget, Transport, plan,
        random::{World, facts, world},
        slots::Slots,
    },
};

/// Interface index of the one underlay interface.
const UNDERLAY: IfIndex = IfIndex(7);

/// Each case tries every so-manieth packet, beginning with another one.
const SAMPLES: usize = 5;

/// Where a packet enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Workload,
    /// By a `direct` remote or a stranger on the same segment.
    Underlay,
    /// Waits in the queue of a tunnel device.
    Queue,
    /// Out of the session with this peer.
    Session(PublicKey),
}

type Packet = (Door, IpAddr, IpAddr);

/// Where it is in the end, and with which addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Dropped,
    /// Encrypted for this peer.
    Sealed(PublicKey, IpAddr, IpAddr),
    /// In clear to a next hop of ours.
    Sent(IpAddr, IpAddr, IpAddr),
    /// To a workload, or on by the host's own routes.
    Host(IpAddr, IpAddr),
}

/// What the kernel and the shards hold, step by step.
struct Node {
    observed: Observed,
    tables: Slots,
    /// What a reader found that is slower than any step, as long as nobody waits for it.
    read_before: Slots,
}

/// A reader that found its entries some steps ago and follows them now.
struct SlowReader<'a> {
    before: &'a Slots,
    now: &'a Slots,
}

impl Tables for SlowReader<'_> {
    fn node(&self) -> Option<maps::Node> {
        self.now.node()
    }

    fn locate_v4(&self, address: [u8; 4]) -> Option<maps::Entry4> {
        self.before.locate_v4(address)
    }

    fn locate_v6(&self, address: [u8; 16]) -> Option<maps::Entry6> {
        self.before.locate_v6(address)
    }

    fn announced_v4(&self, connection: ConnectionId, address: [u8; 4]) -> Option<maps::Entry4> {
        self.now.announced_v4(connection, address)
    }

    fn announced_v6(&self, connection: ConnectionId, address: [u8; 16]) -> Option<maps::Entry6> {
        self.now.announced_v6(connection, address)
    }

    fn remap(&self, id: RemapId) -> Option<maps::Remap> {
        self.now.remap(id)
    }

    fn is_wireguard_port(&self, port: u16) -> bool {
        self.now.is_wireguard_port(port)
    }

    fn icmp_token(&self) -> bool {
        self.now.icmp_token()
    }
}

impl Node {
    fn holding(plan: &Plan) -> Node {
        let mut node = Node { observed: Observed::default(), tables: Slots::default(), read_before: Slots::default() };
        steps(plan, &Observed::default()).iter().for_each(|step| node.apply(step));
        assert_eq!(node.observed, Observed::from(plan));
        node.read_before = node.tables.clone();
        node
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::SetEntry(net, entry) => _ = self.tables.set(*net, *entry).unwrap(),
            Step::RemoveEntry(net) => _ = self.tables.remove(*net),
            Step::SetRemap(id, remap) => {
                let transport = remap.connection.and_then(|id| self.observed.connections.get(&id));
                let is_direct = transport.is_some_and(|one| matches!(one.transport, Transport::Direct { .. }));
                let ingress = if is_direct { UNDERLAY.0 } else { 0 };
                let connection = remap.connection.unwrap_or_default().0;
                self.tables.set_remap(*id, maps::Remap { ingress, connection, mtu: 0 });
            }
            Step::RemoveRemap(id) => _ = self.tables.remove_remap(*id),
            Step::SetNode(node) => _ = self.tables.set_node(*node),
            Step::AddPeer(_, _, peer) | Step::UpdatePeer(_, _, peer) => {
                self.tables.set_announced(peer.connection, &peer.announced).unwrap();
            }
            Step::RemovePeer(device, key) => {
                self.tables.remove_announced(self.observed.tunnels[device].peers[key].connection);
            }
            Step::AwaitShards => {
                self.tables.barrier();
                self.read_before = self.tables.clone();
            }
            _ => {}
        }
        self.observed.record(step);
    }

    /// For a reader of these tables; routes and peers are those of now.
    fn fate(&self, tables: &impl Tables, (door, source, destination): Packet) -> Fate {
        let ingress = match door {
            Door::Workload => self.is_attached("pods0").then_some(Ingress::Workload),
            Door::Underlay => self.is_attached("wan0").then_some(Ingress::Underlay(UNDERLAY)),
            Door::Queue => return self.sealed(tables, source, destination),
            Door::Session(key) => match self.peers().find(|(_, one, _)| *one == key) {
                Some((_, _, connection)) => Some(Ingress::Tunnel(connection)),
                None => return Fate::Dropped,
            },
        };
        let Some(ingress) = ingress else { return self.routed(tables, source, destination) };
        match judge(tables, ingress, source, destination) {
            (Verdict::Drop(_), ..) => Fate::Dropped,
            // Out of a tunnel a packet is delivered to where it was addressed, which the data path has made one of ours.
            (Verdict::Accept { .. }, source, destination) if !matches!(door, Door::Workload) => {
                Fate::Host(source, destination)
            }
            (Verdict::Pass | Verdict::Accept { .. }, source, destination) => self.routed(tables, source, destination),
        }
    }

    /// What the kernel's routes and, behind a tunnel device, the shard make of a packet.
    fn routed(&self, tables: &impl Tables, source: IpAddr, destination: IpAddr) -> Fate {
        let holding = self.observed.routes.iter().filter(|route| route.destination.contains(&destination));
        let best = holding.max_by_key(|route| (route.destination.prefix_len(), std::cmp::Reverse(route.metric)));
        match best.map(|route| &route.target) {
            None => Fate::Host(source, destination),
            Some(RouteTarget::Unreachable) => Fate::Dropped,
            // Plans of workers are not made here.
            Some(RouteTarget::Shared { .. }) => Fate::Dropped,
            Some(RouteTarget::Via { next_hop, .. }) => Fate::Sent(*next_hop, source, destination),
            Some(RouteTarget::Device { .. }) => self.sealed(tables, source, destination),
        }
    }

    fn sealed(&self, tables: &impl Tables, source: IpAddr, destination: IpAddr) -> Fate {
        let (verdict, source, destination) = judge(tables, Ingress::Tun, source, destination);
        let Verdict::Accept { connection, .. } = verdict else { return Fate::Dropped };
        let peer = self.peers().find(|(_, _, one)| *one == connection);
        peer.map_or(Fate::Dropped, |(_, key, _)| Fate::Sealed(key, source, destination))
    }

    fn peers(&self) -> impl Iterator<Item = (&DeviceName, PublicKey, ConnectionId)> {
        self.observed
            .tunnels
            .iter()
            .flat_map(|(device, tunnel)| tunnel.peers.iter().map(move |(key, peer)| (device, *key, peer.connection)))
    }

    fn is_attached(&self, name: &str) -> bool {
        self.observed.interfaces.contains_key(&DeviceName(name.to_owned()))
    }
}

fn judge(tables: &impl Tables, ingress: Ingress, source: IpAddr, destination: IpAddr) -> (Verdict, IpAddr, IpAddr) {
    let mut packet = packet::datagram(source, destination);
    let verdict = remap(&mut SliceFrame::new(&mut packet), 0, ingress, tables);
    let (source, destination) = packet::addresses(&packet);
    (verdict, source, destination)
}

/// An address within every prefix that either plan knows, each reserved one, and one that is nobody's.
fn addresses(plans: [&Plan; 2]) -> Vec<IpAddr> {
    let mut nets: BTreeSet<IpNet> = BTreeSet::new();
    for plan in plans {
        nets.extend(plan.table.keys());
        nets.extend(plan.remaps.values().map(|remap| remap.real));
    }
    let within = |net: &IpNet| match net {
        IpNet::V4(v4) => {
            IpAddr::from(std::net::Ipv4Addr::from_bits(v4.network().to_bits() | 0x0105 & v4.hostmask().to_bits()))
        }
        IpNet::V6(v6) => {
            IpAddr::from(std::net::Ipv6Addr::from_bits(v6.network().to_bits() | 0x0105 & v6.hostmask().to_bits()))
        }
    };
    let strangers = ["203.0.113.9".parse().unwrap(), "2001:db8:ffff::9".parse().unwrap()];
    nets.iter().map(within).chain(strangers).collect()
}

/// Every packet that could tell a difference.
fn packets(old: &Node, new: &Node, addresses: &[IpAddr]) -> Vec<Packet> {
    let keys: BTreeSet<PublicKey> = old.peers().chain(new.peers()).map(|(_, key, _)| key).collect();
    let doors: Vec<Door> =
        [Door::Workload, Door::Underlay, Door::Queue].into_iter().chain(keys.into_iter().map(Door::Session)).collect();
    let mut packets = Vec::new();
    for door in doors {
        for source in addresses {
            let same_family = addresses.iter().filter(|destination| destination.is_ipv4() == source.is_ipv4());
            packets.extend(same_family.map(|destination| (door, *source, *destination)));
        }
    }
    packets
}

fn stays_safe(old_plan: &Plan, new_plan: &Plan, sample: usize) -> Result<(), TestCaseError> {
    let (mut node, new) = (Node::holding(old_plan), Node::holding(new_plan));
    let packets = packets(&node, &new, &addresses([old_plan, new_plan]));
    let packets: Vec<Packet> = packets.into_iter().skip(sample).step_by(SAMPLES).collect();
    let judged = |node: &Node| packets.iter().map(|packet| node.fate(&node.tables, *packet)).collect::<Vec<Fate>>();
    let (before, after) = (judged(&node), judged(&new));
    let steps = steps(new_plan, &node.observed);
    for (index, step) in steps.iter().enumerate() {
        node.apply(step);
        if !touches_packets(step) {
            continue;
        }
        let slow = SlowReader { before: &node.read_before, now: &node.tables };
        for (packet, (old, new)) in packets.iter().zip(before.iter().zip(&after)) {
            // Between a hook and the kernel's routes there is nobody to wait for; a shard is waited for.
            let is_shard = matches!(packet.0, Door::Queue | Door::Session(_));
            let late = is_shard.then(|| node.fate(&slow, *packet));
            for fate in [node.fate(&node.tables, *packet)].into_iter().chain(late) {
                prop_assert!(
                    fate == Fate::Dropped || fate == *old || fate == *new,
                    "after step {index} ({step}) {packet:?} is {fate:?}, before {old:?}, in the end {new:?}"
                );
            }
        }
    }
    prop_assert_eq!(&node.observed, &Observed::from(new_plan));
    prop_assert_eq!(judged(&node), after);
    prop_assert_eq!(super::steps(new_plan, &node.observed), vec![]);
    Ok(())
}

fn touches_packets(step: &Step) -> bool {
    match step {
        Step::SetNode(_) | Step::SetRemap(..) | Step::RemoveRemap(_) | Step::SetEntry(..) | Step::RemoveEntry(_) => {
            true
        }
        Step::AddPeer(..) | Step::UpdatePeer(..) | Step::RemovePeer(..) | Step::RemoveTunnel(_) => true,
        Step::AddRoute(_) | Step::RemoveRoute(_) | Step::Attach(..) | Step::Detach(_) | Step::AwaitShards => true,
        Step::CreateTunnel(..) | Step::SetMtu(..) | Step::SetListenPorts(..) | Step::SetEndpoints(..) => false,
        Step::AddTunnelAddress(..) | Step::RemoveTunnelAddress(..) | Step::AddAddress(_) | Step::RemoveAddress(_) => {
            false
        }
        Step::AddNeighbour(_) | Step::RemoveNeighbour(_) | Step::SetSysctl(..) | Step::RestoreSysctl(_) => false,
        Step::AddConnection(..) | Step::RemoveConnection(_) | Step::Group(..) => false,
        Step::SetNat(_) | Step::RemoveNat => false,
    }
}

fn planned(world: &World, previous: &Allocations) -> Option<(Plan, Allocations)> {
    plan(&world.intent(), &facts(), previous).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// As it happens: what was given out stays.
    #[test]
    fn a_reload_is_safe(first in world(), second in world(), sample in 0..SAMPLES) {
        let (old, given) = planned(&first, &Allocations::default()).unwrap();
        let Some((new, _)) = planned(&second, &given) else { return Ok(()) };
        stays_safe(&old, &new, sample)?;
    }

    /// Nothing is remembered, so that every number and every name may mean something else.
    #[test]
    fn numbers_and_names_that_change_their_meaning_are_safe(first in world(), second in world(), sample in 0..SAMPLES) {
        let (old, _) = planned(&first, &Allocations::default()).unwrap();
        let (new, _) = planned(&second, &Allocations::default()).unwrap();
        stays_safe(&old, &new, sample)?;
    }
}
