//! Our session layer and boringtun's talk to each other: each begins, both carry packets, with and without a preshared key.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use boringtun::{
    noise::{Tunn, TunnResult, errors::WireGuardError},
    x25519,
};
use mesh_common::ids::ConnectionId;

use crate::{
    plan::{Peer, PresharedKey, PublicKey},
    tunnel::{Birth, Device, MESSAGE_ROOM, Opened, PeerSlot, Sealed, StaticSecret},
};

const OURS: [u8; 32] = [11; 32];
const THEIRS: [u8; 32] = [22; 32];
const THERE: &str = "192.0.2.2:51820";

struct Pair {
    now: Instant,
    device: Device,
    peer: PeerSlot,
    tunn: Tunn,
}

fn packet(len: usize, content: u8) -> Vec<u8> {
    let mut packet = vec![content; len];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet
}

impl Pair {
    fn new(preshared: Option<[u8; 32]>) -> Pair {
        let now = Instant::now();
        let birth = Birth { shard: 3, now, since_epoch: Duration::from_secs(1_700_000_000), seed: [1; 32] };
        let mut device = Device::new(Some(StaticSecret::from_bytes(OURS)), &birth);
        let secret = x25519::StaticSecret::from(THEIRS);
        let there: SocketAddr = THERE.parse().unwrap();
        let config = Peer {
            connection: ConnectionId(1),
            endpoints: vec![there],
            lane_ports: Vec::new(),
            keepalive_seconds: None,
            preshared_key: preshared.map(PresharedKey),
            reserved: Vec::new(),
            announced: BTreeMap::new(),
        };
        let key = PublicKey(x25519::PublicKey::from(&secret).to_bytes());
        let peer = device.add_peer(now, key, &config).unwrap();
        let ours = x25519::PublicKey::from(StaticSecret::from_bytes(OURS).public_key().0);
        Pair { now, device, peer, tunn: Tunn::new(secret, ours, preshared, None, 7, None) }
    }

    fn seal(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; packet.len() + MESSAGE_ROOM];
        match self.device.seal(self.now, self.peer, packet, &mut out).unwrap() {
            Sealed::Data(len) | Sealed::Handshake(len) => Some(out[..len].to_vec()),
            Sealed::Waiting => None,
        }
    }

    fn seal_there(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; packet.len() + MESSAGE_ROOM];
        match self.tunn.encapsulate(packet, &mut out) {
            TunnResult::WriteToNetwork(message) => Some(message.to_vec()),
            TunnResult::Done => None,
            other => panic!("{other:?}"),
        }
    }

    /// What a datagram makes of us: an answer, or packets.
    fn open(&mut self, datagram: &[u8], received: &mut Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut out = vec![0; datagram.len() + 2_048];
        let mut answers = Vec::new();
        // Two initiations are never answered within 20 ms.
        self.now += Duration::from_millis(25);
        match self.device.open(self.now, THERE.parse().unwrap(), None, datagram, &mut out) {
            Opened::Packet { len, .. } => received.push(out[..len].to_vec()),
            Opened::Reply { len, .. } => answers.push(out[..len].to_vec()),
            Opened::Empty { .. } => {}
            other => panic!("{other:?}"),
        }
        while self.device.can_flush(self.peer) {
            let len = self.device.flush(self.now, self.peer, &mut out).unwrap();
            answers.push(out[..len].to_vec());
        }
        answers
    }

    fn open_there(&mut self, datagram: &[u8], received: &mut Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut out = vec![0; datagram.len() + 2_048];
        let mut answers = Vec::new();
        let mut input = datagram;
        loop {
            match self.tunn.decapsulate(None, input, &mut out) {
                TunnResult::WriteToNetwork(message) => answers.push(message.to_vec()),
                TunnResult::WriteToTunnelV4(packet, _) => {
                    received.push(packet.to_vec());
                    return answers;
                }
                // It gives up its own handshake for one that we began.
                TunnResult::Done | TunnResult::Err(WireGuardError::UnexpectedPacket) => return answers,
                other => panic!("{other:?}"),
            }
            input = &[];
        }
    }

    /// Delivers until nothing is under way: first what goes there, then what comes from there, in turns.
    fn settle(&mut self, mut there: Vec<Vec<u8>>, mut here: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut received, mut received_there) = (Vec::new(), Vec::new());
        while !there.is_empty() || !here.is_empty() {
            for datagram in std::mem::take(&mut there) {
                here.extend(self.open_there(&datagram, &mut received_there));
            }
            for datagram in std::mem::take(&mut here) {
                there.extend(self.open(&datagram, &mut received));
            }
        }
        (received, received_there)
    }

    fn carries_packets(&mut self) {
        for len in [20, 21, 1_420] {
            let sealed = self.seal(&packet(len, 1)).unwrap();
            assert_eq!(self.settle(vec![sealed], Vec::new()).1, [packet(len, 1)]);
            let sealed = self.seal_there(&packet(len, 2)).unwrap();
            assert_eq!(self.settle(Vec::new(), vec![sealed]).0, [packet(len, 2)]);
        }
    }
}

#[test]
fn we_begin() {
    for preshared in [None, Some([5; 32])] {
        let mut pair = Pair::new(preshared);
        let initiation = pair.seal(&packet(100, 7)).unwrap();
        assert_eq!(initiation.len(), 148);
        assert_eq!(pair.settle(vec![initiation], Vec::new()), (vec![], vec![packet(100, 7)]));
        pair.carries_packets();
    }
}

#[test]
fn they_begin() {
    for preshared in [None, Some([5; 32])] {
        let mut pair = Pair::new(preshared);
        let initiation = pair.seal_there(&packet(100, 7)).unwrap();
        assert_eq!(pair.settle(Vec::new(), vec![initiation]), (vec![packet(100, 7)], vec![]));
        pair.carries_packets();
    }
}

#[test]
fn both_begin_at_once() {
    let mut pair = Pair::new(None);
    let (there, here) = (pair.seal(&packet(50, 1)).unwrap(), pair.seal_there(&packet(50, 2)).unwrap());
    assert_eq!(pair.settle(vec![there], vec![here]), (vec![packet(50, 2)], vec![packet(50, 1)]));
    pair.carries_packets();
}

#[test]
fn another_preshared_key_gives_no_session() {
    let mut pair = Pair::new(Some([5; 32]));
    let ours = x25519::PublicKey::from(StaticSecret::from_bytes(OURS).public_key().0);
    pair.tunn = Tunn::new(x25519::StaticSecret::from(THEIRS), ours, Some([6; 32]), None, 7, None);
    let initiation = pair.seal(&packet(100, 7)).unwrap();
    let response = pair.open_there(&initiation, &mut Vec::new()).remove(0);
    let opened = pair.device.open(pair.now, THERE.parse().unwrap(), None, &response, &mut [0; 512]);
    assert_eq!(opened, Opened::Refused(mesh_common::datapath::DropReason::Unauthenticated));
}
