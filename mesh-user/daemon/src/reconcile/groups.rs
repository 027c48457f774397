//! Which tunnels of network groups are there, and how one is made, changed and deleted.
//!
//! The device is in the network namespace of what uses it, its socket in the daemon's. Steps of one device come together
//! ([`World::apply_group`]): peers are told to the shards in one go, and what is routed to whom is swapped once, at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use mesh_common::ids::IfIndex;
use mesh_core::{
    plan::{DeviceAddress, DeviceName, GroupPeer, GroupTunnel, Peer, Plan, PublicKey},
    reconcile::{GroupStep, Step},
    tunnel::{AllowedIps, Lane, StaticSecret},
};

use super::World;
use crate::{
    kernel::{
        netlink::{Link, Netlink},
        netns::{self, Identity},
        sysctl,
        tun::{GSO_MAX_SIZE, Tun},
        udp::UdpSockets,
    },
    shard::{Admission, Command, Queue, Routing, Spread},
    state::GroupRecord,
};

/// A tunnel of a group that the shards carry.
#[derive(Debug)]
pub(super) struct LiveGroup {
    /// As the steps so far made it.
    tunnel: Arc<GroupTunnel>,
    index: IfIndex,
    /// The namespace that the device is in; the path may lead to another one by now. `None`: the daemon's.
    namespace: Option<Identity>,
    /// What the shards were not told yet.
    pending: Vec<Command>,
    /// What the shards route by. Held here too, so that no shard ever has to free it.
    allowed: Arc<AllowedIps>,
    /// They are older than `tunnel`.
    is_stale: bool,
}

impl World {
    /// Tunnels that the shards carry, and what an earlier run left and the plan has no use for. A tunnel whose namespace
    /// is gone is let go: its descriptors would keep the namespace alive.
    pub fn observe_groups(&mut self, plan: &Plan) -> BTreeMap<DeviceName, Arc<GroupTunnel>> {
        let has_moved = |live: &LiveGroup| live.tunnel.netns.as_deref().and_then(netns::identity) != live.namespace;
        let gone: Vec<DeviceName> =
            self.groups.iter().filter(|(_, live)| has_moved(live)).map(|(device, _)| device.clone()).collect();
        for device in gone {
            tracing::info!(device = device.0, "the network namespace of the tunnel is gone");
            self.release_group(&device);
        }
        let live = self.groups.iter().map(|(device, live)| (device.clone(), Arc::clone(&live.tunnel)));
        let is_left = |device: &DeviceName| !self.groups.contains_key(device) && !plan.groups.contains_key(device);
        let left = self.record.groups.iter().filter(|(device, _)| is_left(device));
        live.chain(left.map(|(device, record)| (device.clone(), Arc::new(record.tunnel())))).collect()
    }

    /// Looks at the devices themselves: one that somebody deleted, took down or took the address from is let go, so that it
    /// is made again.
    pub(super) async fn inspect_groups(&mut self) -> Result<()> {
        let places: BTreeSet<Option<PathBuf>> = self.groups.values().map(|live| live.tunnel.netns.clone()).collect();
        for place in places {
            // What cannot be entered is gone, which the next observation sees.
            let Ok(netlink) = netlink_in(&self.netlink, place.as_ref()) else { continue };
            let links = netlink.links().await?;
            let addresses = netlink.addresses(&links).await?;
            let works = |device: &DeviceName, live: &LiveGroup| {
                let address = DeviceAddress { device: device.clone(), address: live.tunnel.address };
                let link = links.get(device).filter(|link| link.index == live.index && link.up);
                link.is_some() && addresses.contains(&address)
            };
            let here = self.groups.iter().filter(|(_, live)| live.tunnel.netns == place);
            let broken: Vec<DeviceName> =
                here.filter(|(device, live)| !works(device, live)).map(|(device, _)| device.clone()).collect();
            for device in broken {
                tracing::warn!(device = device.0, "the tunnel is not as it was made; it is made again");
                self.release_group(&device);
            }
        }
        Ok(())
    }

    /// Notes devices as ours before they are made; says whether there is something new to be saved.
    pub(super) fn note_groups(&mut self, steps: &[Step]) -> bool {
        let mut is_new = false;
        for step in steps {
            if let Step::Group(device, GroupStep::Create(tunnel)) = step {
                let record = GroupRecord::of(tunnel);
                is_new |= self.record.groups.insert(device.clone(), record.clone()) != Some(record);
            }
        }
        is_new
    }

    /// Before steps that are of groups alone.
    pub fn prepare_groups(&mut self, steps: &[Step]) -> Result<()> {
        let is_new = |step: &Step| matches!(step, Step::Group(_, GroupStep::Create(_)));
        if !steps.iter().any(is_new) {
            return Ok(());
        }
        let before = self.record.clone();
        let saved = if self.note_groups(steps) { self.state.save_record(&self.record) } else { Ok(()) };
        if saved.is_err() {
            // What is not on disk is noted anew by the next attempt.
            self.record = before;
        }
        saved
    }

    /// All steps of one device, in their order.
    pub async fn apply_group(&mut self, device: &DeviceName, steps: &[GroupStep]) -> Result<()> {
        for step in steps {
            match step {
                GroupStep::Create(tunnel) => self.create_group(device, tunnel).await?,
                GroupStep::SetMtu(mtu) => self.set_group_mtu(device, *mtu).await?,
                GroupStep::SetPort(port) => self.set_group_port(device, *port)?,
                GroupStep::SetPolicy(policy) => {
                    let live = self.group(device)?;
                    Arc::make_mut(&mut live.tunnel).policy.clone_from(policy);
                    live.is_stale = true;
                }
                GroupStep::Remove => self.remove_group(device).await?,
                GroupStep::AddPeer(key, peer) => self.add_group_peer(device, *key, peer)?,
                GroupStep::UpdatePeer(key, peer) => self.group(device)?.update_peer(device, *key, peer),
                GroupStep::RemovePeer(key) => self.group(device)?.remove_peer(device, key),
                GroupStep::Route => self.route_group(device)?,
            }
        }
        self.route_group(device)
    }

    /// Where the peers of groups are now, kept for the next run, which calls those that had a session with this one.
    pub fn keep_group_endpoints(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.has_new_sessions) {
            return Ok(());
        }
        let peers = self.shards.statistics().peers;
        let live = peers.iter().filter(|peer| peer.handshake_age.is_some() && self.groups.contains_key(&peer.device));
        let mut endpoints: BTreeMap<DeviceName, BTreeMap<String, SocketAddr>> = BTreeMap::new();
        for peer in live {
            if let Some(endpoint) = peer.endpoint {
                endpoints.entry(peer.device.clone()).or_default().insert(peer.peer.to_string(), endpoint);
            }
        }
        // A device whose namespace is not there yet.
        let waiting = self.resumed_endpoints.iter().filter(|(device, _)| self.record.groups.contains_key(*device));
        for (device, known) in waiting {
            endpoints.entry(device.clone()).or_insert_with(|| known.clone());
        }
        self.state.save_group_endpoints(&endpoints)
    }

    pub fn live_groups(&self) -> BTreeSet<DeviceName> {
        self.groups.keys().cloned().collect()
    }

    pub fn is_group(&self, device: &DeviceName) -> bool {
        self.groups.contains_key(device)
    }

    pub fn note_session(&mut self) {
        self.has_new_sessions = true;
    }

    /// The shards no longer carry it; what is left of the device is found again by its name.
    pub fn release_group(&mut self, device: &DeviceName) {
        if self.groups.remove(device).is_some()
            && let Err(error) = self.shards.apply(Command::RemoveTunnel(device.clone()))
        {
            tracing::warn!(device = device.0, "{error:#}");
        }
    }

    async fn create_group(&mut self, device: &DeviceName, tunnel: &Arc<GroupTunnel>) -> Result<()> {
        self.release_group(device);
        let netns = tunnel.netns.as_ref();
        let namespace = netns.and_then(|path| netns::identity(path));
        let secret = StaticSecret::from_bytes(self.state.peer_key(&tunnel.peer)?);
        let sockets = bind(device, tunnel.listen_port)?;
        let tuns = netns::within(netns.map(PathBuf::as_path), || {
            let tuns = Tun::open(device, NonZeroUsize::MIN)?;
            sysctl::without_link_local(device)?;
            Ok(tuns)
        });
        let tuns = tuns.with_context(|| format!("in {}", netns::shown(netns)))?;
        let index = self.set_up_group(device, tunnel).await.with_context(|| device.to_string())?;
        self.shards.apply(Command::AddTunnel {
            device: device.clone(),
            mtu: tunnel.mtu,
            secret: Some(secret),
            spread: Spread::Peers,
            queues: tuns.into_iter().zip([sockets]).map(|(tun, sockets)| Queue { tun, sockets }).collect(),
            routing: Routing::AllowedIps(Arc::default(), Admission::default()),
        })?;
        let tunnel = Arc::new(GroupTunnel { peers: BTreeMap::new(), ..(**tunnel).clone() });
        let live = LiveGroup { tunnel, index, namespace, pending: Vec::new(), allowed: Arc::default(), is_stale: true };
        self.groups.insert(device.clone(), live);
        self.update_wireguard_ports()
    }

    /// MTU, address, up; addresses that an earlier run gave the device go.
    async fn set_up_group(&self, device: &DeviceName, tunnel: &GroupTunnel) -> Result<IfIndex> {
        let netlink = netlink_in(&self.netlink, tunnel.netns.as_ref())?;
        let links = netlink.links().await?;
        let index = links.get(device).context("the device vanished")?.index;
        self.refuse_overlap(tunnel, &netlink.addresses(&links).await?)?;
        netlink.set_mtu(index, u32::from(tunnel.mtu)).await?;
        let wanted = DeviceAddress { device: device.clone(), address: tunnel.address };
        let ours = netlink.our_addresses(&links, &BTreeSet::new()).await?;
        for stale in ours.iter().filter(|address| address.device == *device && **address != wanted) {
            netlink.remove_address(index, stale).await?;
        }
        netlink.add_address(index, &wanted).await?;
        netlink.set_gso_max_size(index, GSO_MAX_SIZE).await?;
        netlink.set_up(index).await?;
        Ok(index)
    }

    /// Of two who have the same prefix, packets would reach only one.
    fn refuse_overlap(&self, tunnel: &GroupTunnel, addresses: &BTreeSet<DeviceAddress>) -> Result<()> {
        let wanted = tunnel.address.trunc();
        let overlaps = |net: &IpNet| net.contains(&wanted) || wanted.contains(net);
        // Of the same group, perhaps of a peer that was here before.
        let is_same =
            |device: &DeviceName| self.record.groups.get(device).is_some_and(|record| record.group == tunnel.group);
        let theirs = addresses.iter().find(|one| overlaps(&one.address.trunc()) && !is_same(&one.device));
        let owner = match theirs {
            Some(DeviceAddress { device, address }) => format!("{address} of the interface {device}"),
            None if tunnel.netns.is_none() => match self.tables.slots.table().keys().find(|net| overlaps(net)) {
                Some(net) => format!("{net}, which connections of this node use"),
                None => return Ok(()),
            },
            None => return Ok(()),
        };
        bail!(
            "{wanted} of the group {} overlaps {owner} in {}: make the group with another --cidr, or run its member in a \
             network namespace of its own",
            tunnel.group,
            netns::shown(tunnel.netns.as_ref())
        )
    }

    async fn set_group_mtu(&mut self, device: &DeviceName, mtu: u16) -> Result<()> {
        let live = self.group(device)?;
        let (index, netns) = (live.index, live.tunnel.netns.clone());
        Arc::make_mut(&mut live.tunnel).mtu = mtu;
        let netlink = netlink_in(&self.netlink, netns.as_ref())?;
        netlink.set_mtu(index, u32::from(mtu)).await.with_context(|| device.to_string())?;
        self.shards.apply(Command::SetMtu(device.clone(), mtu))
    }

    fn set_group_port(&mut self, device: &DeviceName, port: u16) -> Result<()> {
        let sockets = bind(device, port)?;
        self.shards.apply(Command::SetSockets(device.clone(), vec![sockets]))?;
        Arc::make_mut(&mut self.group(device)?.tunnel).listen_port = port;
        self.update_wireguard_ports()
    }

    async fn remove_group(&mut self, device: &DeviceName) -> Result<()> {
        self.release_group(device);
        self.resumed_endpoints.remove(device);
        self.update_wireguard_ports()?;
        if let Some(record) = self.record.groups.get(device) {
            delete_group(&self.netlink, device, record).await?;
        }
        self.record.groups.remove(device);
        Ok(())
    }

    fn add_group_peer(&mut self, device: &DeviceName, key: PublicKey, peer: &Arc<GroupPeer>) -> Result<()> {
        let known = self.resumed_endpoints.get_mut(device).and_then(|known| known.remove(&key.to_string()));
        let live = self.group(device)?;
        live.add_peer(device, key, peer);
        if let Some(endpoint) = known {
            // Its sessions ended with the process that made them, and it takes 15 s to find out: it is called at once.
            live.pending.push(Command::SetEndpoints(device.clone(), key, Lane(0), vec![endpoint]));
        }
        Ok(())
    }

    /// Tells the shards everything that they do not know yet.
    fn route_group(&mut self, device: &DeviceName) -> Result<()> {
        let Some(live) = self.groups.get_mut(device) else { return Ok(()) };
        let before = Arc::clone(&live.allowed);
        if std::mem::take(&mut live.is_stale) {
            let prefixes = live.tunnel.peers.values().map(|peer| (IpNet::from(peer.address), peer.number));
            live.allowed = Arc::new(AllowedIps::new(prefixes));
            let admission = live.admission();
            live.pending.push(Command::SetAllowedIps(device.clone(), Arc::clone(&live.allowed), admission));
        }
        let told = self.shards.apply_all(live.pending.drain(..));
        drop(before);
        if told.is_err() {
            // What they know is not known: begin anew.
            self.release_group(device);
        }
        told
    }

    fn group(&mut self, device: &DeviceName) -> Result<&mut LiveGroup> {
        self.groups.get_mut(device).with_context(|| format!("{device}: there is no such tunnel of a group"))
    }

    pub(super) fn group_ports(&self) -> impl Iterator<Item = (&DeviceName, u16)> {
        self.groups.iter().map(|(device, live)| (device, live.tunnel.listen_port))
    }
}

impl LiveGroup {
    fn admission(&self) -> Admission {
        Admission { own: Some(self.tunnel.address.addr()), policy: self.tunnel.policy.clone() }
    }

    fn add_peer(&mut self, device: &DeviceName, key: PublicKey, peer: &Arc<GroupPeer>) {
        if self.tunnel.peers.contains_key(&key) {
            return self.update_peer(device, key, peer);
        }
        self.pending.push(Command::AddPeer(device.clone(), key, engine_peer(peer)));
        self.pending.extend(peer.endpoint.map(|to| Command::MovePeer(device.clone(), key, to)));
        self.put(key, peer);
    }

    /// A peer that roamed is left where it is, unless the plan moved it.
    fn update_peer(&mut self, device: &DeviceName, key: PublicKey, peer: &Arc<GroupPeer>) {
        let old = self.tunnel.peers.get(&key);
        let moved = peer.endpoint.filter(|to| old.is_none_or(|old| old.endpoint != Some(*to)));
        self.pending.push(Command::UpdatePeer(device.clone(), key, engine_peer(peer)));
        self.pending.extend(moved.map(|to| Command::MovePeer(device.clone(), key, to)));
        self.put(key, peer);
    }

    fn remove_peer(&mut self, device: &DeviceName, key: &PublicKey) {
        self.pending.push(Command::RemovePeer(device.clone(), *key));
        Arc::make_mut(&mut self.tunnel).peers.remove(key);
        self.is_stale = true;
    }

    fn put(&mut self, key: PublicKey, peer: &Arc<GroupPeer>) {
        Arc::make_mut(&mut self.tunnel).peers.insert(key, Arc::clone(peer));
        self.is_stale = true;
    }
}

/// Deletes the device, if its namespace and it are still there.
pub(crate) async fn delete_group(netlink: &Netlink, device: &DeviceName, record: &GroupRecord) -> Result<bool> {
    if record.netns.as_deref().is_some_and(|path| netns::identity(path).is_none()) {
        return Ok(false);
    }
    let netlink = netlink_in(netlink, record.netns.as_ref())?;
    let link = netlink.links().await?.remove(device).filter(Link::is_tun);
    let Some(link) = link else { return Ok(false) };
    netlink.delete_link(link.index).await.with_context(|| device.to_string())?;
    Ok(true)
}

fn netlink_in(here: &Netlink, netns: Option<&PathBuf>) -> Result<Netlink> {
    netns.map_or_else(|| Ok(here.clone()), |path| Netlink::open_in(path))
}

/// Where the peer is comes by a command of its own: candidates would be called without a packet for them, and there may
/// be thousands.
fn engine_peer(peer: &GroupPeer) -> Peer {
    Peer {
        connection: peer.number,
        endpoints: Vec::new(),
        lane_ports: Vec::new(),
        keepalive_seconds: peer.keepalive_seconds,
        preshared_key: None,
        reserved: Vec::new(),
        announced: BTreeMap::new(),
    }
}

fn bind(device: &DeviceName, port: u16) -> Result<UdpSockets> {
    UdpSockets::bind(port).with_context(|| {
        format!(
            "the tunnel {device} cannot listen on UDP port {port}: `ss -ulpn sport = :{port}` shows who has it; stop that, \
             or set other ng.ports"
        )
    })
}
