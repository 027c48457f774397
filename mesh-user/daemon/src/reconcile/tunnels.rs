//! Which tunnel devices are there, and how one is made, changed and deleted: the TUN device and its sockets.
//!
//! The device outlives the process. Its sockets and peers do not; [`LiveTunnel`] is what this process holds of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    num::NonZeroUsize,
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use mesh_common::ids::IfIndex;
use mesh_core::{
    model::ExecDriver,
    plan::{DeviceAddress, DeviceName, Peer, Plan, PublicKey, Tunnel},
    reconcile::Step,
};

use super::{World, drivers::Exec};
use crate::{
    kernel::{
        netlink::Link,
        sysctl,
        tun::{GSO_MAX_SIZE, Tun},
        udp::UdpSockets,
    },
    shard::{Command, Queue, Routing, Spread},
};

const TUN_DRIVER: &str = "/dev/net/tun";

/// A tunnel that the shards carry.
#[derive(Debug)]
pub(super) struct LiveTunnel {
    /// The device that the shards hold; another index under the same name is another device.
    index: IfIndex,
    /// As planned; 0 stands for any free port.
    pub(super) listen_ports: Vec<u16>,
    /// The ports that they became.
    ports: Vec<u16>,
    pub(super) bind: Vec<IpAddr>,
    /// Of the key pair; `None`: the node's own.
    pub(super) secret: Option<String>,
    /// A program carries it, and no shard knows of it.
    pub(super) exec: Option<Exec>,
    pub(super) peers: BTreeMap<PublicKey, Peer>,
}

impl LiveTunnel {
    pub(super) fn lanes(&self) -> usize {
        self.ports.len()
    }

    /// In what stays from the start of a tunnel to its end.
    fn is_as(&self, tunnel: &Tunnel) -> bool {
        self.bind == tunnel.bind && self.secret == tunnel.secret && self.program() == tunnel.exec.as_ref()
    }

    fn program(&self) -> Option<&ExecDriver> {
        self.exec.as_ref().map(|exec| &exec.program)
    }
}

impl World {
    /// Takes over the devices of the plan that an earlier run left, with new sockets, and with their peers if what these
    /// may send is in the tables. What else differs is left to the steps.
    pub(super) fn resume_tunnels(&mut self, plan: &Plan, with_peers: bool) -> Result<usize> {
        let mut adopted = 0;
        for (device, tunnel) in &plan.tunnels {
            if self.record.tunnels.contains(device) && self.link(device).is_some_and(Link::is_tun) {
                self.open_tunnel(device, tunnel)?;
                for (key, peer) in tunnel.peers.iter().filter(|_| with_peers) {
                    self.add_peer(device, *key, peer)?;
                }
                adopted += 1;
            }
        }
        self.publish_tables()?;
        Ok(adopted)
    }

    /// Tunnels whose device is up; their addresses are taken out of `addresses`. A device that is down, or that is not
    /// the one that the shards hold, counts as absent, so that the tunnel is made again.
    pub(super) fn observe_tunnels(
        &self,
        plan: &Plan,
        addresses: &mut BTreeSet<DeviceAddress>,
    ) -> BTreeMap<DeviceName, Tunnel> {
        let mut tunnels = BTreeMap::new();
        let mut of_devices: BTreeMap<DeviceName, BTreeSet<IpNet>> = BTreeMap::new();
        for DeviceAddress { device, address } in
            addresses.extract_if(.., |address| self.record.tunnels.contains(&address.device))
        {
            of_devices.entry(device).or_default().insert(address);
        }
        for device in &self.record.tunnels {
            let own = of_devices.remove(device).unwrap_or_default();
            let Some(link) = self.link(device).filter(|link| link.is_tun()) else { continue };
            let live = self.tunnels.get(device);
            let works = match live {
                Some(live) => {
                    let is_as_planned = plan.tunnels.get(device).is_none_or(|tunnel| live.is_as(tunnel));
                    live.index == link.index && link.up && is_as_planned
                }
                // What is left of an earlier run is there to be removed, or else to be made work.
                None => !plan.tunnels.contains_key(device),
            };
            if !works {
                continue;
            }
            let tunnel = Tunnel {
                mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
                listen_ports: live.map(|live| live.listen_ports.clone()).unwrap_or_default(),
                bind: live.map(|live| live.bind.clone()).unwrap_or_default(),
                secret: live.and_then(|live| live.secret.clone()),
                exec: live.and_then(|live| live.program().cloned()),
                addresses: own,
                peers: live.map(|live| live.peers.clone()).unwrap_or_default(),
            };
            tunnels.insert(device.clone(), tunnel);
        }
        tunnels
    }

    /// Binds the sockets that the steps will need, and sees that their devices can be made.
    pub(super) fn prepare_tunnels(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            if let Step::CreateTunnel(device, _) = step {
                self.check_device(device)?;
            }
            let (device, ports, addresses) = match step {
                Step::CreateTunnel(device, tunnel) if !self.tunnels.contains_key(device) && tunnel.exec.is_none() => {
                    (device, &tunnel.listen_ports, tunnel.bind.as_slice())
                }
                Step::SetListenPorts(device, ports)
                    if self.tunnels.get(device).is_none_or(|live| live.exec.is_none()) =>
                {
                    let bound = self.tunnels.get(device).map(|live| live.bind.as_slice());
                    (device, ports, bound.unwrap_or_default())
                }
                _ => continue,
            };
            // A port that moves between tunnels of ours is free when its step comes.
            let is_ours = |port: &u16| *port != 0 && self.tunnels.values().any(|live| live.listen_ports.contains(port));
            if !ports.iter().any(is_ours) {
                let sockets = bind(device, ports, addresses)?;
                self.sockets.insert((device.clone(), ports.clone()), sockets);
            }
        }
        Ok(())
    }

    fn check_device(&self, device: &DeviceName) -> Result<()> {
        if self.link(device).is_some_and(|link| !link.is_tun()) {
            bail!("a device {device} exists that is no tunnel of ours: rename or delete it (`ip link del {device}`)");
        }
        if !Path::new(TUN_DRIVER).exists() {
            bail!("there is no {TUN_DRIVER} to make {device} with: `modprobe tun`, or give the container that device");
        }
        Ok(())
    }

    /// Device, sockets, MTU, and up. Addresses and peers come by steps of their own.
    pub(super) async fn create_tunnel(&mut self, device: &DeviceName, tunnel: &Tunnel) -> Result<()> {
        let is_same = |live: &LiveTunnel| self.index(device) == Some(live.index) && live.is_as(tunnel);
        let same_device = self.tunnels.get(device).is_some_and(is_same);
        if !same_device {
            self.open_tunnel(device, tunnel)?;
            self.links = self.netlink.links().await?;
            let index = self.index(device).with_context(|| format!("{}: the device vanished", device))?;
            self.tunnel(device)?.index = index;
        }
        self.set_tunnel_mtu(device, tunnel.mtu).await?;
        self.remove_stale_addresses(device, tunnel).await?;
        let index = self.tunnel(device)?.index;
        sysctl::without_link_local(device)?;
        self.netlink.set_gso_max_size(index, GSO_MAX_SIZE).await.with_context(|| device.to_string())?;
        self.netlink.set_up(index).await.with_context(|| device.to_string())
    }

    /// An earlier run may have left the device with other addresses.
    async fn remove_stale_addresses(&mut self, device: &DeviceName, tunnel: &Tunnel) -> Result<()> {
        let ours = self.netlink.our_addresses(&self.links, &self.record.addresses).await?;
        let is_stale =
            |address: &DeviceAddress| address.device == *device && !tunnel.addresses.contains(&address.address);
        for address in ours.into_iter().filter(is_stale) {
            self.remove_address(&address).await?;
        }
        Ok(())
    }

    pub(super) async fn set_tunnel_mtu(&mut self, device: &DeviceName, mtu: u16) -> Result<()> {
        let index = self.tunnel(device)?.index;
        self.netlink.set_mtu(index, u32::from(mtu)).await.with_context(|| device.to_string())?;
        if let Some(exec) = &mut self.tunnel(device)?.exec {
            exec.mtu = mtu;
            return self.brief_driver(device);
        }
        self.shards.apply(Command::SetMtu(device.clone(), mtu))
    }

    /// Sessions live on, unless there are more or fewer lanes, or a port changes its lane: the queues of a device are the
    /// same from its start to its end, and a port is free only when all its sockets are closed.
    pub(super) fn set_listen_ports(&mut self, device: &DeviceName, ports: &[u16]) -> Result<()> {
        let live = self.tunnel(device)?;
        if live.exec.is_some() {
            live.listen_ports = ports.to_vec();
            return self.brief_driver(device);
        }
        let is_kept = |port: &u16| *port != 0 && live.listen_ports.contains(port);
        if live.ports.len() != ports.len() || ports.iter().any(is_kept) {
            return self.reopen_tunnel(device, ports);
        }
        let addresses = live.bind.clone();
        let sockets = self.sockets_for(device, ports, &addresses)?;
        let bound = sockets.iter().map(UdpSockets::port).collect();
        self.shards.apply(Command::SetSockets(device.clone(), sockets))?;
        let live = self.tunnel(device)?;
        live.listen_ports = ports.to_vec();
        live.ports = bound;
        self.update_wireguard_ports()
    }

    fn reopen_tunnel(&mut self, device: &DeviceName, ports: &[u16]) -> Result<()> {
        let mtu = self.link(device).map_or(0, |link| link.mtu);
        let live = self.tunnel(device)?;
        let peers = std::mem::take(&mut live.peers);
        let tunnel = Tunnel {
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            listen_ports: ports.to_vec(),
            bind: live.bind.clone(),
            secret: live.secret.clone(),
            exec: None,
            addresses: BTreeSet::new(),
            peers: BTreeMap::new(),
        };
        self.open_tunnel(device, &tunnel)?;
        peers.iter().try_for_each(|(key, peer)| self.add_peer(device, *key, peer))
    }

    pub(super) async fn remove_tunnel(&mut self, device: &DeviceName) -> Result<()> {
        if let Some(live) = self.tunnels.remove(device) {
            for peer in live.peers.values() {
                self.tables.slots.remove_announced(peer.connection);
            }
            self.shards.apply(Command::RemoveTunnel(device.clone()))?;
            self.update_wireguard_ports()?;
        }
        if let Some(link) = self.links.remove(device)
            && link.is_tun()
        {
            self.netlink.delete_link(link.index).await.with_context(|| device.to_string())?;
        }
        self.record.tunnels.remove(device);
        self.record.addresses.retain(|address| address.device != *device);
        Ok(())
    }

    pub(super) fn tunnel(&mut self, device: &DeviceName) -> Result<&mut LiveTunnel> {
        self.tunnels.get_mut(device).with_context(|| format!("{}: there is no such tunnel", device))
    }

    /// The ports that tunnels listen on.
    pub fn listen_ports(&self) -> BTreeMap<DeviceName, Vec<u16>> {
        let tunnels = self.tunnels.iter().map(|(device, live)| (device.clone(), live.ports.clone()));
        tunnels.chain(self.group_ports().map(|(device, port)| (device.clone(), vec![port]))).collect()
    }

    /// The shards no longer carry the tunnel: its next observation finds none, so that it is made again.
    pub fn forget_tunnel(&mut self, device: &DeviceName) {
        if let Some(live) = self.tunnels.get_mut(device) {
            live.index = IfIndex::default();
        }
    }

    /// Hands device and sockets to the shards.
    fn open_tunnel(&mut self, device: &DeviceName, tunnel: &Tunnel) -> Result<()> {
        if self.tunnels.remove(device).is_some() {
            // The device is gone, or gets other queues; its sockets hold the ports.
            self.shards.apply(Command::RemoveTunnel(device.clone()))?;
        }
        let ports = &tunnel.listen_ports;
        if let Some(program) = &tunnel.exec {
            let exec = Some(self.open_exec(device, tunnel, program)?);
            let (index, bind, secret) =
                (self.index(device).unwrap_or_default(), tunnel.bind.clone(), tunnel.secret.clone());
            let (ports, peers) = (Vec::new(), BTreeMap::new());
            let live =
                LiveTunnel { index, listen_ports: tunnel.listen_ports.clone(), ports, bind, secret, exec, peers };
            self.tunnels.insert(device.clone(), live);
            return Ok(());
        }
        let secret = self.secret_of(tunnel.secret.as_deref())?;
        let sockets = self.sockets_for(device, ports, &tunnel.bind)?;
        let bound = sockets.iter().map(UdpSockets::port).collect();
        let count = NonZeroUsize::new(ports.len()).with_context(|| format!("{device}: has no port"))?;
        let queues = Tun::open(device, count)?.into_iter().zip(sockets);
        let index = self.index(device).unwrap_or_default();
        self.shards.apply(Command::AddTunnel {
            device: device.clone(),
            mtu: tunnel.mtu,
            secret: Some(secret),
            spread: Spread::Lanes,
            queues: queues.map(|(tun, sockets)| Queue { tun, sockets }).collect(),
            routing: Routing::Plan,
        })?;
        let (bind, secret) = (tunnel.bind.clone(), tunnel.secret.clone());
        let live = LiveTunnel {
            index,
            listen_ports: ports.clone(),
            ports: bound,
            bind,
            secret,
            exec: None,
            peers: BTreeMap::new(),
        };
        self.tunnels.insert(device.clone(), live);
        self.update_wireguard_ports()
    }

    /// Those that were bound in advance, or new ones.
    fn sockets_for(&mut self, device: &DeviceName, ports: &[u16], addresses: &[IpAddr]) -> Result<Vec<UdpSockets>> {
        let prepared = self.sockets.remove(&(device.clone(), ports.to_vec()));
        prepared.map_or_else(|| bind(device, ports, addresses), Ok)
    }

    pub(super) fn update_wireguard_ports(&mut self) -> Result<()> {
        let ports = self
            .tunnels
            .values()
            .flat_map(|live| live.ports.iter().copied())
            .chain(self.group_ports().map(|(_, port)| port))
            .collect();
        let writes = self.tables.slots.set_wireguard_ports(ports);
        self.tables.changed(&writes)
    }
}

fn bind(device: &DeviceName, ports: &[u16], addresses: &[IpAddr]) -> Result<Vec<UdpSockets>> {
    let bind = |port: &u16| {
        UdpSockets::bind_to(*port, addresses).with_context(|| {
            format!(
                "the tunnel {device} cannot listen on UDP port {port}: `ss -ulpn sport = :{port}` shows who has it; stop \
                 that, or give the gateway another port"
            )
        })
    };
    ports.iter().map(bind).collect()
}
