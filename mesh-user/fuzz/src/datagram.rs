//! Datagrams at the socket of a device, from strangers and from a peer whose messages somebody changed on the way.

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

use crate::Bytes;

const ROOM: usize = 2_048 + MESSAGE_ROOM;
const LONGEST: usize = 600;

/// Acts, each a byte that says which and what it needs. A packet comes out only of a message that the peer sealed, once,
/// and exactly as it went in; nothing else moves the peer.
pub fn datagram(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut pair = Pair::new();
    for _ in 0..64 {
        if bytes.is_empty() {
            return;
        }
        match bytes.byte() % 5 {
            0 => {
                let len = usize::from(u16::from_le_bytes(bytes.array())) % LONGEST;
                pair.stranger(bytes.take(len).to_vec());
            }
            1 => {
                let (kind, len) = (bytes.byte() % 5, usize::from(bytes.byte()));
                let content = bytes.take(len);
                pair.forged(kind, content);
            }
            2 => {
                let (at, mask) = (u16::from_le_bytes(bytes.array()), bytes.byte());
                pair.changed(usize::from(at), mask.max(1));
            }
            3 => pair.repeated(usize::from(bytes.byte())),
            _ => pair.wait(Duration::from_millis(u16::from_le_bytes(bytes.array()).into())),
        }
    }
}

/// Two devices that have a session; the second is the one that is tried.
struct Pair {
    now: Instant,
    sender: Device,
    receiver: Device,
    to_receiver: PeerSlot,
    of_sender: PeerSlot,
}

const SENDER: SocketAddr = address(1);
const RECEIVER: SocketAddr = address(2);
const STRANGER: SocketAddr = address(3);

const fn address(last: u8) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, last)), 51_820)
}

impl Pair {
    fn new() -> Pair {
        let now = Instant::now();
        let secret = |number| StaticSecret::from_bytes([number; 32]);
        let device = |number| {
            let birth = Birth { shard: 0, now, since_epoch: Duration::from_secs(1 << 30), seed: [number; 32] };
            Device::new(Some(secret(number)), &birth)
        };
        let (mut sender, mut receiver) = (device(1), device(2));
        let to_receiver = sender.add_peer(now, secret(2).public_key(), &peer(RECEIVER)).expect("there is room");
        let of_sender = receiver.add_peer(now, secret(1).public_key(), &peer(SENDER)).expect("there is room");
        let mut pair = Pair { now, sender, receiver, to_receiver, of_sender };
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

    fn receive(&mut self, from: SocketAddr, message: &[u8]) -> (Opened, Vec<u8>) {
        let mut out = vec![0xcc; message.len() + ROOM];
        let opened = self.receiver.open(self.now, from, None, message, &mut out);
        (opened, out)
    }

    /// Any bytes from anywhere.
    fn stranger(&mut self, message: Vec<u8>) {
        let (opened, _) = self.receive(STRANGER, &message);
        assert!(!delivers(opened), "{opened:?} came of {message:02x?}");
        self.is_where_it_was();
    }

    /// A well-formed header for the session in force, and content of the forger's choice.
    fn forged(&mut self, kind: u8, content: &[u8]) {
        let Some(genuine) = self.seal(40) else { return };
        let mut message = genuine[..16.min(genuine.len())].to_vec();
        message[0] = kind;
        message.extend_from_slice(content);
        message.resize(message.len().max(32), 0);
        self.stranger(message);
    }

    /// A genuine message with other bits somewhere.
    fn changed(&mut self, at: usize, mask: u8) {
        let Some(mut message) = self.seal(100) else { return };
        let at = at % message.len();
        message[at] ^= mask;
        self.stranger(message);
    }

    /// A genuine message, then the same again from elsewhere.
    fn repeated(&mut self, len: usize) {
        let Some(message) = self.seal(len) else { return };
        let (opened, out) = self.receive(SENDER, &message);
        let Opened::Packet { len: got, .. } = opened else { panic!("{opened:?} of a genuine message") };
        assert_eq!(out[..got], packet(len)[..], "a packet comes out as it went in");
        self.stranger(message);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let mut out = vec![0; ROOM];
        for device in [&mut self.sender, &mut self.receiver] {
            for _ in 0..100 {
                if device.poll_transmit(self.now, &mut out).is_none() {
                    break;
                }
            }
        }
    }

    /// `None`: the session has come to its end.
    fn seal(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut out = vec![0; ROOM];
        match self.sender.seal(self.now, self.to_receiver, &packet(len), &mut out) {
            Ok(Sealed::Data(len)) => Some(out[..len].to_vec()),
            Ok(Sealed::Handshake(_) | Sealed::Waiting) | Err(_) => None,
        }
    }

    fn is_where_it_was(&self) {
        assert_eq!(self.receiver.path(self.of_sender).map(|path| path.to), Some(SENDER), "a stranger moved the peer");
    }
}

fn delivers(opened: Opened) -> bool {
    match opened {
        Opened::Packet { .. } | Opened::Probe { .. } | Opened::Empty { .. } | Opened::Reply { .. } => true,
        Opened::Cookie { .. } | Opened::Refused(_) => false,
    }
}

fn peer(endpoint: SocketAddr) -> Peer {
    Peer {
        connection: ConnectionId(1),
        endpoints: vec![endpoint],
        lane_ports: Vec::new(),
        keepalive_seconds: None,
        preshared_key: None,
        announced: BTreeMap::new(),
    }
}

/// An IPv4 packet of `len` bytes, at least its header.
fn packet(len: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; len.max(20)];
    packet[0] = 0x45;
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet
}
