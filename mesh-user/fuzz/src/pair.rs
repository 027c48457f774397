//! Two devices that have a session, as every target starts that needs one.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mesh_common::ids::ConnectionId;
use mesh_core::{
    plan::Peer,
    tunnel::{Birth, Device, MESSAGE_ROOM, Opened, PeerSlot, Sealed, StaticSecret},
};

/// Two devices that have a session; the second is the one that is tried.
pub(crate) struct Pair {
    start: Instant,
    pub(crate) now: Instant,
    pub(crate) sender: Device,
    pub(crate) receiver: Device,
    pub(crate) to_receiver: PeerSlot,
    pub(crate) of_sender: PeerSlot,
}

pub(crate) const SENDER: SocketAddr = address(1);
pub(crate) const RECEIVER: SocketAddr = address(2);

pub(crate) const fn address(last: u8) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, last)), 51_820)
}

const EPOCH: Duration = Duration::from_secs(1 << 30);
/// A packet and its message, or a handshake message.
const ROOM: usize = 2_048 + MESSAGE_ROOM;

impl Pair {
    pub(crate) fn new() -> Pair {
        let now = Instant::now();
        let (mut sender, mut receiver) = (device(1, now, EPOCH), device(2, now, EPOCH));
        let to_receiver = sender.add_peer(now, secret(2).public_key(), &peer(RECEIVER)).expect("there is room");
        let of_sender = receiver.add_peer(now, secret(1).public_key(), &peer(SENDER)).expect("there is room");
        let mut pair = Pair { start: now, now, sender, receiver, to_receiver, of_sender };
        pair.shake_hands();
        pair
    }

    fn shake_hands(&mut self) {
        let mut out = vec![0; ROOM];
        let Ok(Sealed::Handshake(len)) = self.sender.seal(self.now, self.to_receiver, &packet(40), &mut out) else {
            panic!("the first packet asks for a session");
        };
        let initiation = out[..len].to_vec();
        let Opened::Reply { len, .. } = self.receiver.open(self.now, SENDER, None, &initiation, &mut out) else {
            panic!("an initiation of a peer is answered");
        };
        let response = out[..len].to_vec();
        self.sender.open(self.now, RECEIVER, None, &response, &mut out);
        while let Some(len) = self.sender.flush(self.now, self.to_receiver, &mut out) {
            let message = out[..len].to_vec();
            let opened = self.receiver.open(self.now, SENDER, None, &message, &mut vec![0; ROOM]);
            assert!(matches!(opened, Opened::Packet { .. }), "{opened:?}");
        }
    }

    pub(crate) fn receive(&mut self, from: SocketAddr, message: &[u8]) -> (Opened, Vec<u8>) {
        let mut out = vec![0xcc; message.len() + ROOM];
        let opened = self.receiver.open(self.now, from, None, message, &mut out);
        (opened, out)
    }

    /// The initiation of a sender that began anew just now, for the `count`th time.
    pub(crate) fn initiation(&self, count: u8) -> Vec<u8> {
        let since_epoch = EPOCH + (self.now - self.start) + Duration::from_secs(count.into());
        let mut sender = device(1, self.now, since_epoch);
        let slot = sender.add_peer(self.now, secret(2).public_key(), &peer(RECEIVER)).expect("there is room");
        let mut out = vec![0; ROOM];
        let Ok(Sealed::Handshake(len)) = sender.seal(self.now, slot, &packet(40), &mut out) else {
            panic!("the first packet asks for a session");
        };
        out[..len].to_vec()
    }

    /// The message of a packet. `None`: the session has come to its end.
    pub(crate) fn seal(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; packet.len() + ROOM];
        match self.sender.seal(self.now, self.to_receiver, packet, &mut out) {
            Ok(Sealed::Data(len)) => Some(out[..len].to_vec()),
            Ok(Sealed::Handshake(_) | Sealed::Waiting) | Err(_) => None,
        }
    }
}

fn secret(number: u8) -> StaticSecret {
    StaticSecret::from_bytes([number; 32])
}

fn device(number: u8, now: Instant, since_epoch: Duration) -> Device {
    Device::new(Some(secret(number)), &Birth { shard: 0, now, since_epoch, seed: [number; 32] })
}

fn peer(endpoint: SocketAddr) -> Peer {
    Peer {
        connection: ConnectionId(1),
        endpoints: vec![endpoint],
        lane_ports: Vec::new(),
        keepalive_seconds: None,
        preshared_key: None,
        reserved: Vec::new(),
        announced: BTreeMap::new(),
    }
}

/// An IPv4 packet of `len` bytes, at least its header.
pub(crate) fn packet(len: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; len.max(20)];
    packet[0] = 0x45;
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet
}
