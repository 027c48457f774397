//! Packets that cross the engine from one end to the other, in a process of its own whose instructions are counted.
//!
//! What a daemon does between its system calls for packets that come together, without segmentation and checksums: look the
//! destination up, seal, open, look the source up, ask for timers. It says by two signals when it begins and when it is done.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use mesh_common::{datapath::DropReason, ids::ConnectionId};
use mesh_core::{
    plan::{Peer, PublicKey},
    tunnel::{AllowedIps, BATCH, Birth, DATA_HEADER, Device, MESSAGE_ROOM, Opened, PeerSlot, Sealed, StaticSecret},
};
use mesh_lab::traffic;

/// Packets between the two signals.
pub(super) const PACKETS: usize = 2 * TOGETHER;
/// Packets that the kernel hands over together.
const TOGETHER: usize = 8;
/// Bytes of each: a multiple of 16, which needs no padding.
const LENGTH: usize = 1_408;
/// Header, packet and tag.
const MESSAGE: usize = DATA_HEADER + LENGTH + 16;
/// Before the instructions are the same every time.
const WARM_UP: usize = 8;
/// Between two bursts.
const STEP: Duration = Duration::from_micros(100);

/// The process that is counted.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Peers of each end, one of which talks
    #[arg(long)]
    peers: u16,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut crossing = Crossing::new(arguments.peers)?;
    for _ in 0..WARM_UP {
        crossing.burst()?;
    }
    mark(libc::SIGUSR1);
    for _ in 0..PACKETS / TOGETHER {
        crossing.burst()?;
    }
    mark(libc::SIGUSR2);
    Ok(())
}

fn mark(signal: libc::c_int) {
    // SAFETY: one system call; whoever traces this process takes the signal away.
    unsafe { libc::raise(signal) };
}

/// One end: its device, and what each peer may use.
struct End {
    device: Device,
    allowed: AllowedIps,
    address: SocketAddr,
}

struct Crossing {
    sender: End,
    receiver: End,
    now: Instant,
    packet: Vec<u8>,
    /// Where the messages of a burst are, and their bytes.
    messages: Vec<Range<usize>>,
    wire: Vec<u8>,
}

const SECRETS: [[u8; 32]; 2] = [[0x11; 32], [0x22; 32]];

impl End {
    /// The talking peer is the last of so many.
    fn new(at: usize, now: Instant, peers: u16) -> Result<End> {
        let secret = |at: usize| StaticSecret::from_bytes(SECRETS[at]);
        let birth = Birth { shard: 0, now, since_epoch: Duration::from_secs(1 << 30), seed: [at as u8; 32] };
        let mut device = Device::new(Some(secret(at)), &birth);
        let address = |at: usize| SocketAddr::from(([192, 0, 2, at as u8 + 1], 51_820));
        let mut prefixes = Vec::new();
        for number in 1..=peers {
            let talks = number == peers;
            let key = if talks { secret(1 - at).public_key() } else { PublicKey(random_key(number)) };
            let connection = ConnectionId(number);
            let config = Peer {
                connection,
                endpoints: if talks { vec![address(1 - at)] } else { Vec::new() },
                lane_ports: Vec::new(),
                keepalive_seconds: None,
                preshared_key: None,
                reserved: Vec::new(),
                announced: BTreeMap::new(),
            };
            device.add_peer(now, key, &config)?;
            let inner = if talks { inner(1 - at) } else { [10, 1, number.to_be_bytes()[0], number.to_be_bytes()[1]] };
            prefixes.push((ipnet::IpNet::new(inner.into(), 32)?, connection));
        }
        Ok(End { device, allowed: AllowedIps::new(prefixes), address: address(at) })
    }
}

/// The address of an end inside the tunnel.
fn inner(at: usize) -> [u8; 4] {
    [10, 2, 0, at as u8 + 1]
}

fn random_key(number: u16) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(&traffic::noise(u64::from(number), 32));
    key
}

impl Crossing {
    /// Two ends with a session.
    fn new(peers: u16) -> Result<Crossing> {
        let now = Instant::now();
        let mut packet = traffic::noise(1, LENGTH);
        packet[..4].copy_from_slice(&[0x45, 0, (LENGTH >> 8) as u8, LENGTH as u8]);
        packet[12..16].copy_from_slice(&inner(0));
        packet[16..20].copy_from_slice(&inner(1));
        let messages = (0..TOGETHER).map(|at| at * MESSAGE..(at + 1) * MESSAGE).collect();
        let (sender, receiver) = (End::new(0, now, peers)?, End::new(1, now, peers)?);
        let mut crossing = Crossing { sender, receiver, now, packet, messages, wire: vec![0; TOGETHER * MESSAGE] };
        crossing.greet()?;
        Ok(crossing)
    }

    /// A handshake, and the packet that waited for it.
    fn greet(&mut self) -> Result<()> {
        let Crossing { sender, receiver, now, packet, .. } = self;
        let (mut message, mut answer) = (vec![0; MESSAGE + MESSAGE_ROOM], vec![0; MESSAGE + MESSAGE_ROOM]);
        let slot = sender.device.peers().map(|(_, slot)| slot).find(|slot| sender.device.path(*slot).is_some());
        let slot = slot.context("nobody to talk to")?;
        let Ok(Sealed::Handshake(len)) = sender.device.seal(*now, slot, packet, &mut message) else {
            bail!("the first packet asks for no handshake");
        };
        let answered = receiver.device.open(*now, sender.address, None, &message[..len], &mut answer);
        let Opened::Reply { len, .. } = answered else { bail!("no answer to the initiation: {answered:?}") };
        sender.device.open(*now, receiver.address, None, &answer[..len], &mut message);
        let len = sender.device.flush(*now, slot, &mut message).context("the packet does not wait")?;
        let came = receiver.device.open(*now, sender.address, None, &message[..len], &mut answer);
        ensure!(matches!(came, Opened::Packet { len: LENGTH, .. }), "{came:?}");
        Ok(())
    }

    fn burst(&mut self) -> Result<()> {
        self.now += STEP;
        let slot = self.send()?;
        let Crossing { sender, now, messages, wire, .. } = self;
        let sealed = sender.device.seal_batch(*now, slot, wire, messages);
        ensure!(sealed == TOGETHER, "there is no session");
        self.receive()?;
        for end in [&mut self.sender, &mut self.receiver] {
            if end.device.poll_timeout().is_some_and(|at| at <= self.now) {
                while end.device.poll_transmit(self.now, &mut self.wire).is_some() {}
            }
        }
        Ok(())
    }

    /// Puts the packets where they are sealed, and says for whom they are.
    fn send(&mut self) -> Result<PeerSlot> {
        let mut to = None;
        for message in &self.messages {
            let packet = &mut self.wire[message.clone()][DATA_HEADER..][..LENGTH];
            packet.copy_from_slice(&self.packet);
            let connection = self.sender.allowed.lookup_v4(address(packet, 16));
            to = connection.and_then(|connection| self.sender.device.peer_of(connection));
        }
        to.context("nobody has the destination")
    }

    fn receive(&mut self) -> Result<()> {
        let Crossing { sender, receiver, now, messages, wire, .. } = self;
        let mut opened = [Opened::Refused(DropReason::NoSession); BATCH];
        let count = receiver.device.open_batch(*now, sender.address, None, wire, messages, &mut opened);
        ensure!(count == TOGETHER, "the session is another one's");
        for (opened, message) in opened.iter().zip(messages) {
            let Opened::Packet { peer, len: LENGTH } = *opened else { bail!("no packet: {opened:?}") };
            let from = receiver.allowed.lookup_v4(address(&wire[message.clone()][DATA_HEADER..], 12));
            ensure!(from.is_some() && from == receiver.device.connection(peer), "the source is another peer's");
        }
        Ok(())
    }
}

fn address(packet: &[u8], at: usize) -> [u8; 4] {
    [packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_cross_between_ends_with_many_peers() {
        let mut crossing = Crossing::new(300).unwrap();
        for _ in 0..100 {
            crossing.burst().unwrap();
        }
        assert_eq!(crossing.wire[DATA_HEADER..][..LENGTH], crossing.packet);
    }
}
