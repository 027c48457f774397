//! Packets that cross the engine from one end to the other, in a process of its own whose instructions are counted.
//!
//! What a daemon does for a packet between its system calls and without checksums: look the destination up, seal, open, look
//! the source up, ask for timers. It says by two signals when it begins and when it is done.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use mesh_common::ids::ConnectionId;
use mesh_core::{
    plan::{Peer, PublicKey},
    tunnel::{AllowedIps, Birth, Device, MESSAGE_ROOM, Opened, Sealed, StaticSecret},
};
use mesh_lab::traffic;

/// Packets between the two signals.
pub(super) const PACKETS: u64 = 16;
/// Bytes of each.
const LENGTH: usize = 1_400;
/// Before the instructions of a packet are the same every time.
const WARM_UP: u64 = 64;
/// Between two packets.
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
        crossing.packet()?;
    }
    mark(libc::SIGUSR1);
    for _ in 0..PACKETS {
        crossing.packet()?;
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
    message: Vec<u8>,
    opened: Vec<u8>,
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
        let room = || vec![0; LENGTH + 32 + 2 * MESSAGE_ROOM];
        let (sender, receiver) = (End::new(0, now, peers)?, End::new(1, now, peers)?);
        let mut crossing = Crossing { sender, receiver, now, packet, message: room(), opened: room() };
        crossing.greet()?;
        Ok(crossing)
    }

    fn greet(&mut self) -> Result<()> {
        let Crossing { sender, receiver, now, packet, message, opened } = self;
        let slot = sender.device.peers().map(|(_, slot)| slot).find(|slot| sender.device.path(*slot).is_some());
        let slot = slot.context("nobody to talk to")?;
        let Ok(Sealed::Handshake(len)) = sender.device.seal(*now, slot, packet, message) else {
            bail!("the first packet asks for no handshake");
        };
        let Opened::Reply { len, .. } = receiver.device.open(*now, sender.address, None, &message[..len], opened)
        else {
            bail!("the initiation is not answered");
        };
        sender.device.open(*now, receiver.address, None, &opened[..len], message);
        let len = sender.device.flush(*now, slot, message).context("the packet does not wait")?;
        let came = receiver.device.open(*now, sender.address, None, &message[..len], opened);
        ensure!(matches!(came, Opened::Packet { len: LENGTH.., .. }), "{came:?}");
        Ok(())
    }

    fn packet(&mut self) -> Result<()> {
        let Crossing { sender, receiver, now, packet, message, opened } = self;
        *now += STEP;
        let to = sender.allowed.lookup_v4([packet[16], packet[17], packet[18], packet[19]]);
        let slot = to.and_then(|connection| sender.device.peer_of(connection)).context("nobody has the destination")?;
        let Ok(Sealed::Data(len)) = sender.device.seal(*now, slot, packet, message) else {
            bail!("there is no session");
        };
        let came = receiver.device.open(*now, sender.address, None, &message[..len], opened);
        let Opened::Packet { peer, .. } = came else { bail!("no packet: {came:?}") };
        let from = receiver.allowed.lookup_v4([opened[12], opened[13], opened[14], opened[15]]);
        ensure!(from.is_some() && from == receiver.device.connection(peer), "the source is another peer's");
        for end in [sender, receiver] {
            if end.device.poll_timeout().is_some_and(|at| at <= *now) {
                while end.device.poll_transmit(*now, message).is_some() {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_cross_between_ends_with_many_peers() {
        let mut crossing = Crossing::new(300).unwrap();
        for _ in 0..100 {
            crossing.packet().unwrap();
        }
        assert_eq!(crossing.opened[..LENGTH], crossing.packet);
    }
}
