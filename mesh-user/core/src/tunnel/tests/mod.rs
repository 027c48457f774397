//! Devices that talk to each other without I/O: a node, a datagram, and the moves of a test.

mod batches;
mod doors;
mod exchange;
mod interop;
mod renewal;
mod rules;
mod simulation;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mesh_common::{datapath::DropReason, ids::ConnectionId};

use super::{Birth, Device, Limits, MESSAGE_ROOM, Opened, PeerSlot, Sealed, StaticSecret};
use crate::plan::{Peer, PublicKey};

const ROOM: usize = 2_048 + MESSAGE_ROOM;
const A: &str = "192.0.2.1:1001";
const B: &str = "192.0.2.2:1002";
/// Timers go off at most so much later than they should.
const TICK: Duration = Duration::from_millis(17);
/// Initiations are repeated up to so much later than the paper says.
const JITTER: Duration = Duration::from_millis(334);

/// A device at an address, and what it decrypted.
struct Node {
    device: Device,
    address: SocketAddr,
    received: Vec<Vec<u8>>,
    refused: Vec<DropReason>,
}

/// A datagram under way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn secret(number: u8) -> StaticSecret {
    StaticSecret::from_bytes([number; 32])
}

fn key(number: u8) -> PublicKey {
    secret(number).public_key()
}

fn peer(connection: u16, endpoints: &[&str]) -> Peer {
    Peer {
        connection: ConnectionId(connection),
        endpoints: endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect(),
        lane_ports: Vec::new(),
        keepalive_seconds: None,
        preshared_key: None,
        reserved: Vec::new(),
        announced: BTreeMap::new(),
    }
}

/// An IPv4 packet of `len` bytes that WireGuard takes for one.
fn packet(len: usize, content: u8) -> Vec<u8> {
    let mut packet = vec![content; len.max(20)];
    packet[0] = 0x45;
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet
}

impl Node {
    fn new(now: Instant, number: u8, address: &str) -> Node {
        Node::born(now, number, address, [number; 32], 1_700_000_000)
    }

    /// With a seed and a wall clock, in seconds since 1970.
    fn born(now: Instant, number: u8, address: &str, seed: [u8; 32], clock: u64) -> Node {
        let birth = Birth { shard: 0, now, since_epoch: secs(clock), seed };
        let device = Device::new(Some(secret(number)), &birth);
        Node { device, address: address.parse().unwrap(), received: Vec::new(), refused: Vec::new() }
    }

    fn slot(&self, number: u8) -> PeerSlot {
        self.device.slot(&key(number)).unwrap()
    }

    fn path(&self, number: u8) -> Option<SocketAddr> {
        self.device.path(self.slot(number)).map(|path| path.to)
    }

    fn is_live(&self, number: u8) -> bool {
        self.device.is_live(self.slot(number))
    }

    fn send(&mut self, now: Instant, connection: u16, packet: &[u8]) -> Vec<Datagram> {
        let peer = self.device.peer_of(ConnectionId(connection)).unwrap();
        let mut out = vec![0; ROOM];
        match self.device.seal(now, peer, packet, &mut out) {
            Ok(Sealed::Data(len) | Sealed::Handshake(len)) => {
                let to = self.device.path(peer).unwrap().to;
                vec![Datagram { from: self.address, to, bytes: out[..len].to_vec() }]
            }
            Ok(Sealed::Waiting) => Vec::new(),
            Err(reason) => {
                self.refused.push(reason);
                Vec::new()
            }
        }
    }

    fn hear(&mut self, now: Instant, datagram: &Datagram) -> Vec<Datagram> {
        let mut out = vec![0; datagram.bytes.len() + ROOM];
        let opened = self.device.open(now, datagram.from, Some(self.address.ip()), &datagram.bytes, &mut out);
        let mut answers = Vec::new();
        let mut answer = |bytes: &[u8]| {
            answers.push(Datagram { from: self.address, to: datagram.from, bytes: bytes.to_vec() });
        };
        let peer = match opened {
            Opened::Packet { peer, len } | Opened::Probe { peer, len } => {
                self.received.push(out[..len].to_vec());
                peer
            }
            Opened::Empty { peer } => peer,
            Opened::Reply { peer, len } => {
                answer(&out[..len]);
                peer
            }
            Opened::Cookie { len } => {
                answer(&out[..len]);
                return answers;
            }
            Opened::Refused(reason) => {
                self.refused.push(reason);
                return answers;
            }
        };
        if self.device.can_flush(peer) {
            while let Some(len) = self.device.flush(now, peer, &mut out) {
                answer(&out[..len]);
            }
        }
        answers
    }

    /// What time asks for, also where the timer goes off within the next tick.
    fn tick(&mut self, now: Instant) -> Vec<Datagram> {
        let mut out = vec![0; ROOM];
        let mut sent = Vec::new();
        while let Some(transmit) = self.device.poll_transmit(now + TICK, &mut out) {
            let to = self.device.path(transmit.peer).unwrap().to;
            sent.push(Datagram { from: self.address, to, bytes: out[..transmit.len].to_vec() });
        }
        sent
    }

    /// Lets time pass up to `until`, and collects what is sent into the void, with the time of each.
    fn sleep(&mut self, until: Instant) -> Vec<(Instant, Datagram)> {
        let mut sent = Vec::new();
        for _ in 0..100_000 {
            let Some(at) = self.device.poll_timeout().filter(|at| *at <= until) else { return sent };
            sent.extend(self.tick(at).into_iter().map(|datagram| (at, datagram)));
        }
        panic!("the node never sleeps");
    }
}

/// Delivers until nothing is under way.
fn settle(now: Instant, nodes: &mut [&mut Node], mut wire: Vec<Datagram>) {
    for _ in 0..2_000 {
        let Some(datagram) = (!wire.is_empty()).then(|| wire.remove(0)) else { return };
        for node in nodes.iter_mut().filter(|node| node.address == datagram.to) {
            wire.extend(node.hear(now, &datagram));
        }
    }
    panic!("the nodes do not stop to talk");
}

/// Lets time pass up to `until` for both, on a wire that loses nothing and takes no time. Gives how many messages of each
/// type were sent.
fn live(a: &mut Node, b: &mut Node, until: Instant) -> BTreeMap<u8, usize> {
    let mut types = BTreeMap::new();
    for _ in 0..100_000 {
        let next = [&*a, &*b].into_iter().filter_map(|node| node.device.poll_timeout()).min();
        let Some(now) = next.filter(|at| *at <= until) else { return types };
        let mut wire: Vec<_> = a.tick(now).into_iter().chain(b.tick(now)).collect();
        while !wire.is_empty() {
            let datagram = wire.remove(0);
            *types.entry(datagram.bytes[0]).or_default() += 1;
            let node = if datagram.to == a.address { &mut *a } else { &mut *b };
            wire.extend(node.hear(now, &datagram));
        }
    }
    panic!("the nodes never sleep");
}

/// Two nodes that know each other, `a` where `b` is. `a` numbers `b` connection 1, `b` numbers `a` connection 7.
fn strangers(now: Instant) -> (Node, Node) {
    let (mut a, mut b) = (Node::new(now, 1, A), Node::new(now, 2, B));
    a.device.add_peer(now, key(2), &peer(1, &[B])).unwrap();
    b.device.add_peer(now, key(1), &peer(7, &[])).unwrap();
    (a, b)
}

/// Two nodes with a session that `a` began at once, since it learned where `b` is.
fn pair(now: Instant) -> (Node, Node) {
    let (mut a, mut b) = (Node::new(now, 1, A), Node::new(now, 2, B));
    a.device.add_peer(now, key(2), &peer(1, &[])).unwrap();
    a.device.set_endpoints(now, &key(2), &[B.parse().unwrap()]).unwrap();
    b.device.add_peer(now, key(1), &peer(7, &[])).unwrap();
    let hello = a.tick(now);
    assert_eq!(hello.len(), 1);
    settle(now, &mut [&mut a, &mut b], hello);
    (a, b)
}

/// Limits that force another session after a few messages.
fn small_limits(node: &mut Node, messages: u64) {
    let reject_after_messages = messages * 4;
    node.device.set_limits(Limits { rekey_after_messages: messages, reject_after_messages, ..Limits::WIREGUARD });
}
