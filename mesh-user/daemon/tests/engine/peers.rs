//! Many peers behind one port on several shards: each message comes to the shard of its session, whatever the kernel does.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    num::NonZeroUsize,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use mesh_common::ids::ConnectionId;
use mesh_core::{
    plan::Peer,
    tunnel::{AllowedIps, Birth, Device, Opened, PeerSlot, Sealed, StaticSecret},
};
use mesh_lab::{
    Lab, Namespace,
    link::{self, Port},
};
use meshd::{
    kernel::{
        tun::Tun,
        udp::{Transmit, UdpSockets},
    },
    shard::{Admission, Command, Event, Queue, Routing, Shards, Spread},
};

use super::{
    site::{A, B, HOST, MTU},
    underlay,
};

const PEERS: usize = 2;
/// Inner packets of one length, so that the kernel may join their datagrams.
const LEN: usize = 600;
const UDP_HEADERS: usize = 28;

fn secret(number: usize) -> StaticSecret {
    StaticSecret::from_bytes([0x40 + number as u8; 32])
}

fn peer(connection: usize, endpoints: Vec<SocketAddr>) -> Peer {
    Peer {
        connection: ConnectionId(connection as u16),
        // Who is to call does so at once.
        keepalive_seconds: (!endpoints.is_empty()).then_some(25),
        endpoints,
        lane_ports: Vec::new(),
        preshared_key: None,
        reserved: Vec::new(),
        announced: BTreeMap::new(),
    }
}

/// Two shards with one device, whose peer *n* has 10.*n*.0.0/16.
fn hub(namespace: &Namespace) -> Result<(Shards, std::sync::mpsc::Receiver<Event>)> {
    let queues = NonZeroUsize::new(2).context("two is not none")?;
    let (shards, events) = Shards::start(queues)?;
    let (tuns, sockets) =
        namespace.enter(|| Ok((Tun::open(&B.device(), queues)?, UdpSockets::bind_shared(B.port, 2)?)))?;
    shards.apply(Command::AddTunnel {
        device: B.device(),
        mtu: MTU,
        secret: Some(B.secret()),
        spread: Spread::Peers,
        queues: tuns.into_iter().zip(sockets).map(|(tun, sockets)| Queue { tun, sockets }).collect(),
        routing: Routing::AllowedIps(Arc::default(), Admission::default()),
    })?;
    for number in 0..PEERS {
        shards.apply(Command::AddPeer(B.device(), secret(number).public_key(), peer(number, Vec::new())))?;
    }
    let allowed =
        (0..PEERS).map(|number| (format!("10.{number}.0.0/16").parse().unwrap(), ConnectionId(number as u16)));
    shards.apply(Command::SetAllowedIps(B.device(), Arc::new(AllowedIps::new(allowed)), Admission::default()))?;
    let device = B.device().0;
    namespace.ip(&["link", "set", &device, "mtu", &MTU.to_string(), "up"])?;
    namespace.ip(&["address", "replace", &format!("{}/32", HOST[0]), "dev", "lo"])?;
    for number in 0..PEERS {
        namespace.ip(&["route", "replace", &format!("10.{number}.0.0/16"), "dev", &device, "src", HOST[0]])?;
    }
    Ok((shards, events))
}

/// Several peers that share one socket, which no two WireGuards do, but a NAT that forgets or a restarted one may.
struct Callers {
    sockets: UdpSockets,
    devices: Vec<Device>,
    buffer: Vec<u8>,
}

impl Callers {
    fn new(namespace: &Namespace) -> Result<Callers> {
        let sockets = namespace.enter(|| UdpSockets::bind(A.port))?;
        let now = Instant::now();
        let device = |number: usize| {
            let birth =
                Birth { shard: number as u8, now, since_epoch: Duration::from_secs(1), seed: [number as u8; 32] };
            let mut device = Device::new(Some(secret(number)), &birth);
            device.add_peer(now, B.key(), &peer(0, vec![B.endpoint()]))?;
            Ok(device)
        };
        let devices = (0..PEERS).map(device).collect::<Result<_>>()?;
        Ok(Callers { sockets, devices, buffer: vec![0; 70_000] })
    }

    fn slot(&self, number: usize) -> PeerSlot {
        self.devices[number].slot(&B.key()).unwrap()
    }

    fn send(&self, payload: &[u8], segment: Option<u16>) -> Result<()> {
        let transmit = Transmit { to: B.endpoint(), from: None, tos: 0, segment, payload };
        self.sockets.towards(&B.endpoint()).context("a socket")?.send(&transmit).context("send to the hub")
    }

    /// What the hub sent, opened by whomever it is for: the inner packets, by caller.
    fn hear(&mut self) -> Result<Vec<(usize, Vec<u8>)>> {
        let now = Instant::now();
        let mut heard = Vec::new();
        let mut wire = vec![0; 65_536];
        while let Ok(received) = self.sockets.towards(&B.endpoint()).context("a socket")?.receive(&mut wire) {
            for datagram in wire[..received.len].chunks(received.segment.max(1)) {
                let mut answers = Vec::new();
                for (number, device) in self.devices.iter_mut().enumerate() {
                    match device.open(now, received.from, received.to, datagram, &mut self.buffer) {
                        Opened::Packet { len, .. } => heard.push((number, self.buffer[..len].to_vec())),
                        Opened::Reply { len, .. } => answers.push(self.buffer[..len].to_vec()),
                        _ => {}
                    }
                }
                answers.iter().try_for_each(|answer| self.send(answer, None))?;
            }
        }
        Ok(heard)
    }

    fn connect(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(8);
        loop {
            for number in 0..PEERS {
                let now = Instant::now();
                while let Some(transmit) = self.devices[number].poll_transmit(now, &mut self.buffer) {
                    let message = self.buffer[..transmit.len].to_vec();
                    self.send(&message, None)?;
                }
            }
            self.hear()?;
            while self.devices.iter_mut().any(|device| device.poll_event().is_some()) {}
            if (0..PEERS).all(|number| self.devices[number].is_live(self.slot(number))) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "no session within 8 s");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn seal(&mut self, number: usize, packet: &[u8]) -> Result<Vec<u8>> {
        let slot = self.slot(number);
        match self.devices[number].seal(Instant::now(), slot, packet, &mut self.buffer) {
            Ok(Sealed::Data(len)) => Ok(self.buffer[..len].to_vec()),
            other => anyhow::bail!("caller {number}: {other:?}"),
        }
    }
}

/// A UDP packet from a caller to a socket of the hub's node, with a number in it.
fn inner(caller: usize, port: u16, number: u32) -> Vec<u8> {
    let mut packet = vec![0; LEN];
    packet[..4].copy_from_slice(&[0x45, 0, (LEN >> 8) as u8, LEN as u8]);
    packet[8..10].copy_from_slice(&[64, 17]);
    packet[12..16].copy_from_slice(&[10, caller as u8, 0, 1]);
    packet[16..20].copy_from_slice(&[10, 243, 1, 1]);
    let sum = mesh_common::checksum::finish(mesh_common::checksum::sum(&packet[..20]));
    packet[10..12].copy_from_slice(&sum);
    packet[20..22].copy_from_slice(&7_000_u16.to_be_bytes());
    packet[22..24].copy_from_slice(&port.to_be_bytes());
    packet[24..26].copy_from_slice(&((LEN - 20) as u16).to_be_bytes());
    packet[UDP_HEADERS] = caller as u8;
    packet[UDP_HEADERS + 1..UDP_HEADERS + 5].copy_from_slice(&number.to_be_bytes());
    packet
}

/// As on a NIC: no segments from the sender, packets joined by a thread of the kernel.
fn like_a_nic(namespace: &Namespace) -> Result<()> {
    let port = Port::new(namespace, "eth0");
    link::offload(port, &[("tso", false), ("gso", false), ("gro", true)])?;
    let script =
        "mount -t sysfs sysfs /sys && echo 1 > /sys/class/net/eth0/threaded && cat /sys/class/net/eth0/threaded";
    let threaded = namespace.run("unshare", &["-m", "sh", "-c", script])?;
    ensure!(threaded.trim() == "1", "threaded NAPI is {threaded:?}");
    Ok(())
}

#[test]
fn sessions_that_share_ports_lose_nothing() {
    let lab = Lab::new().unwrap();
    let (a, b) = underlay(&lab).unwrap();
    [&a, &b].into_iter().for_each(|namespace| like_a_nic(namespace).unwrap());
    let (shards, _events) = hub(&b).unwrap();
    let mut callers = Callers::new(&a).unwrap();
    callers.connect().unwrap();
    let shard_of: Vec<_> = shards.statistics().peers.iter().map(|peer| peer.lanes[0].shard).collect();
    assert!(shard_of.contains(&0) && shard_of.contains(&1), "{shard_of:?}");

    let receiver = b.enter(|| Ok(UdpSocket::bind((HOST[0], 0))?)).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let port = receiver.local_addr().unwrap().port();
    let mut came = vec![Vec::new(); PEERS];
    let (mut number, mut content) = (0, [0; 2_000]);
    for _ in 0..20 {
        // Sixteen datagrams of equal length in one send, of one session and the other in turn.
        let mut batch = Vec::new();
        for _ in 0..8 {
            for caller in 0..PEERS {
                batch.extend(callers.seal(caller, &inner(caller, port, number)).unwrap());
            }
            number += 1;
        }
        let segment = batch.len() / 16;
        callers.send(&batch, Some(segment as u16)).unwrap();
        for _ in 0..16 {
            let (len, from) = receiver.recv_from(&mut content).expect("nothing is lost");
            assert_eq!((len, from.ip().to_string()), (LEN - UDP_HEADERS, format!("10.{}.0.1", content[0])));
            came[usize::from(content[0])].push(u32::from_be_bytes(content[1..5].try_into().unwrap()));
        }
    }
    let expected: Vec<u32> = (0..number).collect();
    assert!(came.iter().all(|came| *came == expected), "{came:?}");
    let statistics = shards.statistics();
    assert!(statistics.handed_over > 0, "the kernel joined no datagrams of the two: {statistics:?}");
    assert!(statistics.peers.iter().all(|peer| peer.received.packets > u64::from(number)), "{statistics:?}");

    // And back: each packet is read where its peer is.
    let mut heard = Vec::new();
    for caller in 0..PEERS {
        receiver.send_to(b"to you", (format!("10.{caller}.0.9"), 7_000)).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(2);
    while heard.len() < PEERS && Instant::now() < end {
        heard.extend(callers.hear().unwrap());
    }
    heard.sort();
    let to: Vec<_> = heard.iter().map(|(caller, packet)| (*caller, packet[17])).collect();
    assert_eq!(to, [(0, 0), (1, 1)], "{:?}", shards.statistics());
}
