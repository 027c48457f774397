//! One end of a tunnel for tests: a namespace, a TUN device and a shard, without the rest of the daemon.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use mesh_common::{
    ids::{ConnectionId, RemapId},
    maps::{Node, Remap, Role},
};
use mesh_core::{
    plan::{DeviceName, Peer, PublicKey, TableEntry, slots::Slots},
    tunnel::StaticSecret,
};
use mesh_lab::Namespace;
use meshd::{
    kernel::{
        tun::{GSO_MAX_SIZE, Tun},
        udp::UdpSockets,
    },
    shard::{Command, Event, PeerStatistics, Queue, Routing, Shards, Spread},
};

pub(crate) const MTU: u16 = 1_340;
/// Both ends use these addresses for themselves.
pub(crate) const REAL: [&str; 2] = ["10.243.0.0/16", "fd00:243::/32"];
pub(crate) const HOST: [&str; 2] = ["10.243.1.1", "fd00:243::1"];

/// What tells the two ends apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) name: &'static str,
    /// What the other end calls itself.
    pub(crate) remote_real: [&'static str; 2],
    /// What this end calls the other.
    pub(crate) remote: [&'static str; 2],
    pub(crate) remote_host: [&'static str; 2],
    pub(crate) underlay: &'static str,
    pub(crate) port: u16,
}

pub(crate) const A: Side = Side {
    name: "a",
    remote_real: REAL,
    remote: ["10.81.0.0/16", "fd00:81::/32"],
    remote_host: ["10.81.1.1", "fd00:81::1"],
    underlay: "192.0.2.1",
    port: 51_821,
};
pub(crate) const B: Side = Side {
    name: "b",
    remote_real: REAL,
    remote: ["10.82.0.0/16", "fd00:82::/32"],
    remote_host: ["10.82.1.1", "fd00:82::1"],
    underlay: "192.0.2.2",
    port: 51_822,
};

impl Side {
    pub(crate) fn secret(&self) -> StaticSecret {
        let mut bytes = [7; 32];
        bytes[1] = self.name.as_bytes()[0];
        StaticSecret::from_bytes(bytes)
    }

    pub(crate) fn key(&self) -> PublicKey {
        self.secret().public_key()
    }

    pub(crate) fn device(&self) -> DeviceName {
        DeviceName(format!("mesh-{}", self.name))
    }

    /// One for each lane.
    pub(crate) fn ports(&self, lanes: u8) -> Vec<u16> {
        (0..u16::from(lanes)).map(|lane| self.port + 10 * lane).collect()
    }

    pub(crate) fn endpoint(&self) -> SocketAddr {
        format!("{}:{}", self.underlay, self.port).parse().unwrap()
    }

    /// Addresses and routes of this end, for a device that exists.
    pub(crate) fn route(&self, namespace: &Namespace) -> Result<()> {
        let device = self.device().0;
        let gso = GSO_MAX_SIZE.to_string();
        namespace.ip(&["link", "set", &device, "mtu", &MTU.to_string(), "gso_max_size", &gso, "up"])?;
        for ((host, remote), len) in HOST.iter().zip(self.remote).zip(["32", "128"]) {
            namespace.ip(&["address", "replace", &format!("{host}/{len}"), "dev", "lo", "nodad"])?;
            namespace.ip(&["route", "replace", remote, "dev", &device, "src", host])?;
        }
        Ok(())
    }

    /// The plan's tables, as both ends have them but for the name of the other.
    pub(crate) fn tables(&self) -> Slots {
        let mut slots = Slots::default();
        let mut announced = BTreeMap::new();
        for (at, (local, (real, remote))) in REAL.iter().zip(self.remote_real.iter().zip(self.remote)).enumerate() {
            let [local, real, remote]: [IpNet; 3] = [local, real, &remote].map(|prefix| prefix.parse().unwrap());
            let remap = RemapId(at as u16 + 1);
            slots.set_remap(remap, Remap { connection: CONNECTION.0, ..Remap::default() });
            slots.set(local, TableEntry { to: local, remap: RemapId(0), role: Role::LOCAL }).unwrap();
            slots.set(remote, TableEntry { to: real, remap, role: Role::TUNNEL }).unwrap();
            announced.insert(real, TableEntry { to: remote, remap, role: Role::TUNNEL });
        }
        slots.set_announced(CONNECTION, &announced).unwrap();
        slots.set_node(Node { gateway_v4: [10, 243, 255, 2], unknown_v4: [10, 243, 255, 1], ..Node::default() });
        slots.set_wireguard_ports(BTreeSet::from([self.port]));
        slots
    }
}

pub(crate) const CONNECTION: ConnectionId = ConnectionId(1);

/// A running end.
pub(crate) struct Site {
    pub(crate) side: Side,
    pub(crate) namespace: Namespace,
    pub(crate) shards: Shards,
    pub(crate) events: Receiver<Event>,
    peer: PublicKey,
}

impl Site {
    /// Starts this end towards a peer; without endpoints it waits for the peer.
    pub(crate) fn start(
        side: Side,
        namespace: &Namespace,
        peer: PublicKey,
        endpoints: Vec<SocketAddr>,
    ) -> Result<Site> {
        let site = Site::new(side, namespace, peer, NonZeroUsize::MIN)?;
        site.open(peer, endpoints)?;
        Ok(site)
    }

    /// Starts this end with lanes to the ports of the other.
    pub(crate) fn start_lanes(
        side: Side,
        namespace: &Namespace,
        other: Side,
        endpoints: Vec<SocketAddr>,
        lanes: u8,
    ) -> Result<Site> {
        let site = Site::new(side, namespace, other.key(), NonZeroUsize::new(2).expect("two is not none"))?;
        site.open_lanes(other.key(), endpoints, &side.ports(lanes), other.ports(lanes))?;
        Ok(site)
    }

    fn new(side: Side, namespace: &Namespace, peer: PublicKey, shards: NonZeroUsize) -> Result<Site> {
        let (shards, events) = Shards::start(shards)?;
        shards.apply(Command::SetTables(Arc::new(side.tables())))?;
        Ok(Site { side, namespace: namespace.clone(), shards, events, peer })
    }

    /// Gives the shard its device, socket and peer.
    pub(crate) fn open(&self, peer: PublicKey, endpoints: Vec<SocketAddr>) -> Result<()> {
        self.open_lanes(peer, endpoints, &[self.side.port], Vec::new())
    }

    /// Gives the shards their device, a socket for each port, and the peer.
    pub(crate) fn open_lanes(
        &self,
        peer: PublicKey,
        endpoints: Vec<SocketAddr>,
        ports: &[u16],
        lane_ports: Vec<u16>,
    ) -> Result<()> {
        let Site { side, namespace, shards, .. } = self;
        let queues = namespace.enter(|| {
            let count = NonZeroUsize::new(ports.len()).context("a device has a port")?;
            let tuns = Tun::open(&side.device(), count)?.into_iter();
            let queue = |(tun, port): (Tun, &u16)| Ok(Queue { tun, sockets: UdpSockets::bind(*port)? });
            tuns.zip(ports).map(queue).collect::<Result<Vec<_>>>()
        })?;
        side.route(namespace)?;
        shards.apply(Command::AddTunnel {
            device: side.device(),
            mtu: MTU,
            secret: Some(side.secret()),
            spread: Spread::Lanes,
            queues,
            routing: Routing::Plan,
        })?;
        // Who has a keepalive calls at once.
        let keepalive_seconds = (!endpoints.is_empty()).then_some(25);
        let config = Peer {
            connection: CONNECTION,
            endpoints,
            lane_ports,
            keepalive_seconds,
            preshared_key: None,
            reserved: Vec::new(),
            announced: BTreeMap::new(),
        };
        shards.apply(Command::AddPeer(side.device(), peer, config))
    }

    pub(crate) fn peer(&self) -> PeerStatistics {
        let peers = self.shards.statistics().peers;
        peers.into_iter().find(|peer| peer.peer == self.peer).expect("the peer was added")
    }

    pub(crate) fn wait_connected(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(8);
        while Instant::now() < end {
            if self.peer().handshake_age.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{}: no handshake within 8 s: {:?}", self.side.name, self.shards.statistics())
    }
}
