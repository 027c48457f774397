//! How does the world become what the plan says: what is there, and what one step does to it.
//!
//! Which steps are needed, and in which order, is decided in `mesh_core::reconcile`. Each kind of thing has a file here
//! that observes and applies it. Only what is ours is seen and touched.

mod addresses;
mod blocks;
mod drivers;
mod groups;
mod maps;
mod nat;
mod neighbours;
mod notes;
mod peers;
mod programs;
mod secrets;
mod sysctls;
mod tables;
mod tunnels;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::Result;
use ipnet::IpNet;
use mesh_common::ids::{ConnectionId, IfIndex, RemapId};
use mesh_core::{
    plan::{Connection, DeviceAddress, DeviceName, NodeFacts, PROBE_DEVICE, Plan, Remap, Route, RouteTarget},
    reconcile::{Observed, Step},
    tunnel::StaticSecret,
};

use crate::{
    kernel::{
        bpf::Loaded,
        netlink::{Link, Links, Netlink},
        udp::UdpSockets,
        udp_ports,
    },
    shard::Shards,
    state::{GroupEndpoints, Record, StateDirectory},
};
use blocks::Premises;
use groups::LiveGroup;
pub(crate) use groups::delete_group;
pub use nat::NatRecord;
pub use programs::HookReport;
use programs::Programs;
pub(crate) use sysctls::restore as restore_sysctl;
use tables::Judgement;
use tunnels::LiveTunnel;

/// Everything that steps change: the kernel, the shards, and the record of what is ours.
#[derive(Debug)]
pub struct World {
    netlink: Netlink,
    shards: Arc<Shards>,
    /// Of this cluster, for every tunnel.
    secret: StaticSecret,
    /// Of gateways that name their own, as far as they were loaded.
    secrets: BTreeMap<String, StaticSecret>,
    state: StateDirectory,
    record: Record,
    /// As of the last observation, and kept in step with what we make and delete.
    links: Links,
    /// Addresses that are not ours, as of the last observation.
    foreign: BTreeSet<DeviceAddress>,
    tunnels: BTreeMap<DeviceName, LiveTunnel>,
    groups: BTreeMap<DeviceName, LiveGroup>,
    /// Of peers of groups that had a session with the run before, and were not called yet.
    resumed_endpoints: GroupEndpoints,
    /// Sessions of groups came or went since their endpoints were kept.
    has_new_sessions: bool,
    /// Bound before anything else is done, so that a port in use is found while nothing has changed.
    sockets: BTreeMap<(DeviceName, Vec<u16>), Vec<UdpSockets>>,
    tables: Judgement,
    /// Absent while no interface has a hook.
    programs: Option<Programs>,
    /// Interfaces that XDP may redirect to.
    redirects: BTreeSet<IfIndex>,
    /// What only this process holds.
    connections: BTreeMap<ConnectionId, Connection>,
    /// Of blocked members.
    premises: Premises,
    remaps: BTreeMap<RemapId, Remap>,
    /// Why the nftables table is not as it should be.
    nat_trouble: Option<anyhow::Error>,
}

impl World {
    /// `loaded`: the BPF object, if any interface has a hook.
    pub async fn open(
        netlink: Netlink,
        shards: Arc<Shards>,
        secret: StaticSecret,
        state: StateDirectory,
        loaded: Option<Loaded>,
    ) -> Result<Self> {
        let (record, resumed_endpoints) = (state.record()?, state.group_endpoints()?);
        let links = netlink.links().await?;
        let (programs, maps) = loaded.map(Programs::new).unzip();
        Ok(World {
            netlink,
            shards,
            secret,
            secrets: BTreeMap::new(),
            state,
            record,
            links,
            foreign: BTreeSet::new(),
            tunnels: BTreeMap::new(),
            groups: BTreeMap::new(),
            resumed_endpoints,
            has_new_sessions: false,
            sockets: BTreeMap::new(),
            tables: Judgement::new(maps),
            programs,
            redirects: BTreeSet::new(),
            connections: BTreeMap::new(),
            premises: Premises::default(),
            remaps: BTreeMap::new(),
            nat_trouble: None,
        })
    }

    pub fn state(&self) -> &StateDirectory {
        &self.state
    }

    /// What is found on this node and not ours to change.
    pub async fn facts(&mut self) -> Result<NodeFacts> {
        self.links = self.netlink.links().await?;
        let mut interfaces: BTreeMap<DeviceName, Vec<IpNet>> =
            self.links.keys().map(|name| (name.clone(), Vec::new())).collect();
        for DeviceAddress { device, address } in self.netlink.addresses(&self.links).await? {
            interfaces.entry(device).or_default().push(address);
        }
        let (routes, busy_ports) = (self.netlink.foreign_destinations().await?, udp_ports::bound()?);
        Ok(NodeFacts { interfaces, routes, busy_ports, ..NodeFacts::default() })
    }

    /// Gives the process its own part of `plan` at the start: what no kernel keeps over a restart (sessions, sockets,
    /// the shards' tables) begins as planned, for devices that an earlier run left. Returns how many tunnels and programs
    /// were adopted.
    pub fn resume(&mut self, plan: &Plan) -> Result<usize> {
        self.connections.clone_from(&plan.connections);
        let as_planned = self.resume_tables(plan)?;
        // Tunnels first: sessions are down, programs are not.
        let tunnels = self.resume_tunnels(plan, as_planned)?;
        self.tell_link_addresses(plan)?;
        Ok(tunnels + self.resume_programs()?)
    }

    /// Looks at everything that is ours. `plan` says which settings of others are of interest.
    pub async fn observe(&mut self, plan: &Plan) -> Result<Observed> {
        self.links = self.netlink.links().await?;
        let mut addresses = self.netlink.our_addresses(&self.links, &self.record.addresses).await?;
        self.foreign = self.netlink.addresses(&self.links).await?.difference(&addresses).cloned().collect();
        let tunnels = self.observe_tunnels(plan, &mut addresses);
        addresses.retain(|address| !self.record.groups.contains_key(&address.device));
        self.inspect_groups().await?;
        let groups = self.observe_groups(plan);
        self.tell_link_addresses(plan)?;
        self.prove_redirects(plan)?;
        Ok(Observed {
            tunnels,
            interfaces: self.observe_interfaces(plan),
            addresses,
            routes: self.planned_routes().await?,
            neighbours: self.netlink.our_neighbours(&self.links).await?,
            sysctls: self.observe_sysctls(plan)?,
            table: self.tables.slots.table(),
            remaps: self.observe_remaps(),
            connections: self.connections.clone(),
            node: self.observe_node(),
            nat: self.observe_nat(plan),
            groups,
        })
    }

    /// Those of the responder to probes are its own matter.
    async fn planned_routes(&self) -> Result<BTreeSet<Route>> {
        let mut routes = self.netlink.our_routes(&self.links).await?;
        let is_of_responder =
            |route: &Route| matches!(&route.target, RouteTarget::Device { device, .. } if device.0 == PROBE_DEVICE);
        routes.retain(|route| !is_of_responder(route));
        Ok(routes)
    }

    /// The device that the step needs is there. Tunnels are always possible: their devices are made by steps.
    pub fn is_possible(&self, step: &Step, plan: &Plan) -> bool {
        let is_here = |device: &DeviceName| plan.tunnels.contains_key(device) || self.links.contains_key(device);
        match step {
            Step::AddAddress(address) => is_here(&address.device),
            Step::AddNeighbour(neighbour) => is_here(&neighbour.device),
            Step::SetSysctl(sysctl, _) => is_here(&sysctl.device),
            Step::Attach(device, _) => is_here(device),
            Step::AddRoute(Route { target: RouteTarget::Via { next_hop, .. }, .. }) => {
                let mut hops = plan.neighbours.iter().filter(|neighbour| neighbour.address == *next_hop);
                hops.all(|neighbour| is_here(&neighbour.device))
            }
            _ => true,
        }
    }

    /// What can fail without a change of the world is done first, for all steps: sockets are bound, and what is about to
    /// become ours is noted.
    pub fn prepare(&mut self, steps: &[Step]) -> Result<()> {
        self.prepare_tunnels(steps)?;
        self.prepare_programs(steps)?;
        self.prepare_addresses(steps)?;
        self.note_new(steps)?;
        self.state.save_record(&self.record)
    }

    /// Forgets what [`World::prepare`] got ready and no step used.
    pub fn abandon(&mut self) {
        self.sockets.clear();
    }

    /// After the last step of a batch.
    pub fn settle(&mut self) -> Result<()> {
        self.sockets.clear();
        self.publish_tables()?;
        self.state.save_record(&self.record)?;
        self.nat_trouble()
    }

    pub async fn apply(&mut self, step: &Step) -> Result<()> {
        if !tables::is_table_step(step) {
            // What comes next may rely on the entries before it.
            self.publish_tables()?;
        }
        match step {
            Step::SetNode(node) => self.set_node(*node)?,
            Step::CreateTunnel(device, tunnel) => self.create_tunnel(device, tunnel).await?,
            Step::SetMtu(device, mtu) => self.set_tunnel_mtu(device, *mtu).await?,
            Step::SetListenPorts(device, ports) => self.set_listen_ports(device, ports)?,
            Step::RemoveTunnel(device) => self.remove_tunnel(device).await?,
            Step::AddTunnelAddress(device, address) => self.add_tunnel_address(device, *address).await?,
            Step::RemoveTunnelAddress(device, address) => self.remove_tunnel_address(device, *address).await?,
            Step::AddPeer(device, key, peer) => self.add_peer(device, *key, peer)?,
            Step::UpdatePeer(device, key, peer) => self.update_peer(device, *key, peer)?,
            Step::SetEndpoints(device, key, endpoints) => self.set_endpoints(device, *key, endpoints)?,
            Step::RemovePeer(device, key) => self.remove_peer(device, *key)?,
            Step::AddAddress(address) => self.add_address(address).await?,
            Step::RemoveAddress(address) => self.remove_address(address).await?,
            Step::AddRoute(route) => self.netlink.add_route(route, &self.links).await?,
            Step::RemoveRoute(route) => self.netlink.remove_route(route, &self.links).await?,
            Step::AddNeighbour(neighbour) => self.add_neighbour(neighbour).await?,
            Step::RemoveNeighbour(neighbour) => self.remove_neighbour(neighbour).await?,
            Step::SetSysctl(sysctl, value) => self.set_sysctl(sysctl, value)?,
            Step::RestoreSysctl(sysctl) => self.restore_sysctl(sysctl)?,
            Step::SetRemap(id, remap) => self.set_remap(*id, remap)?,
            Step::RemoveRemap(id) => self.remove_remap(*id)?,
            Step::SetEntry(prefix, entry) => self.set_entry(*prefix, *entry)?,
            Step::RemoveEntry(prefix) => self.remove_entry(*prefix)?,
            Step::Attach(device, attachment) => self.attach(device, *attachment)?,
            Step::Detach(device) => self.detach(device)?,
            Step::AddConnection(id, connection) => {
                self.connections.insert(*id, connection.clone());
            }
            Step::RemoveConnection(id) => {
                self.connections.remove(id);
            }
            Step::SetNat(nat) => self.set_nat(nat),
            Step::RemoveNat => self.remove_nat(),
            Step::AwaitShards => self.await_shards()?,
            Step::Group(device, step) => self.apply_group(device, std::slice::from_ref(step)).await?,
        }
        Ok(())
    }

    fn link(&self, device: &DeviceName) -> Option<&Link> {
        self.links.get(device)
    }

    fn index(&self, device: &DeviceName) -> Option<IfIndex> {
        self.link(device).map(|link| link.index)
    }
}
