//! Sessions that are renewed after a few messages, and peers that forget theirs.
//!
//! The limits of a real device cannot be changed: a state machine with small ones plays our end here, over a real socket.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mesh_common::ids::ConnectionId;
use mesh_core::{
    plan::{Peer, PublicKey},
    tunnel::{Birth, Device, Limits, MESSAGE_ROOM, Opened, PeerSlot, Sealed, StaticSecret},
};
use mesh_lab::{Lab, traffic, wireguard::Program};

use super::{
    ends::{Tunnel, carry, hosts, join},
    for_each_rival,
};

for_each_rival!(we_renew_again_and_again, they_begin_anew, we_begin_anew);

const OURS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// After so many messages we ask for a new key.
const FEW: u64 = 50;
const ECHOES: u16 = 1_000;
/// Between two echoes: handshakes are limited by time as well.
const PAUSE: Duration = Duration::from_millis(1);

/// Our end of a tunnel, in this thread.
struct Ours {
    device: Device,
    slot: PeerSlot,
    socket: UdpSocket,
    to: SocketAddr,
    began: Vec<Instant>,
}

impl Ours {
    fn new(secret: StaticSecret, peer: PublicKey, socket: UdpSocket, to: SocketAddr) -> Result<Ours> {
        let now = Instant::now();
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let mut device = Device::new(Some(secret), &Birth { shard: 0, now, since_epoch, seed: [3; 32] });
        device.set_limits(Limits {
            rekey_after_messages: FEW,
            // Less than the others want between two initiations of one peer would be refused.
            rekey_timeout: Duration::from_millis(100),
            ..Limits::WIREGUARD
        });
        let config = Peer {
            connection: ConnectionId(1),
            endpoints: vec![to],
            lane_ports: Vec::new(),
            keepalive_seconds: None,
            preshared_key: None,
            reserved: Vec::new(),
            announced: Default::default(),
        };
        let slot = device.add_peer(now, peer, &config)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(Ours { device, slot, socket, to, began: Vec::new() })
    }

    /// Sends one packet.
    fn send(&mut self, packet: &[u8]) -> Result<()> {
        let mut out = vec![0; packet.len() + 32 + MESSAGE_ROOM];
        let sealed = self.device.seal(Instant::now(), self.slot, packet, &mut out);
        match sealed.ok().context("the packet was dropped")? {
            Sealed::Data(len) | Sealed::Handshake(len) => self.socket.send_to(&out[..len], self.to).map(drop)?,
            Sealed::Waiting => {}
        }
        self.transmit()
    }

    /// Takes one datagram; gives the packet that was in it. Sends what that or time asks for.
    fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let (mut datagram, mut out) = ([0; 2_048], [0; 2_048 + MESSAGE_ROOM]);
        let mut packet = None;
        if let Ok((len, from)) = self.socket.recv_from(&mut datagram) {
            match self.device.open(Instant::now(), from, None, &datagram[..len], &mut out) {
                Opened::Packet { len, .. } => packet = Some(out[..len].to_vec()),
                Opened::Reply { len, .. } | Opened::Cookie { len } => {
                    self.socket.send_to(&out[..len], from)?;
                }
                Opened::Empty { .. } | Opened::Probe { .. } | Opened::Refused(_) => {}
            }
        }
        self.transmit()?;
        Ok(packet)
    }

    fn transmit(&mut self) -> Result<()> {
        let mut out = [0; 2_048 + MESSAGE_ROOM];
        while let Some(len) = self.device.flush(Instant::now(), self.slot, &mut out) {
            self.socket.send_to(&out[..len], self.to)?;
        }
        while let Some(transmit) = self.device.poll_transmit(Instant::now(), &mut out) {
            self.socket.send_to(&out[..transmit.len], self.to)?;
        }
        let last = self.device.last_handshake(self.slot);
        if last.is_some() && last != self.began.last().copied() {
            self.began.extend(last);
        }
        Ok(())
    }

    /// One ICMP echo, and its answer.
    fn echo(&mut self, number: u16) -> Result<bool> {
        std::thread::sleep(PAUSE);
        self.send(&echo_request(number))?;
        let end = Instant::now() + Duration::from_millis(400);
        while Instant::now() < end {
            let Some(answer) = self.receive()? else { continue };
            // Type 0 from the other end, with our number.
            if answer.len() == 28
                && answer[12..16] == THEIRS.octets()
                && answer[20] == 0
                && answer[26..] == number.to_be_bytes()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// IPv4 and ICMP headers (RFC 792), without content.
fn echo_request(number: u16) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 1, 0, 0];
    packet.extend(OURS.octets());
    packet.extend(THEIRS.octets());
    let [high, low] = number.to_be_bytes();
    packet.extend([8, 0, 0, 0, 0, 1, high, low]);
    let header = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&header);
    let message = checksum(&packet[20..]);
    packet[22..24].copy_from_slice(&message);
    packet
}

/// RFC 1071.
fn checksum(words: &[u8]) -> [u8; 2] {
    let mut sum: u32 = words.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn we_renew_again_and_again(rival: Program) -> Result<()> {
    let lab = Lab::new()?;
    let [a, b] = hosts(&lab)?;
    let theirs = Tunnel::start(&lab, rival, &b, 2)?;
    let secret = StaticSecret::from_bytes([0x42; 32]);
    let key = STANDARD.encode(secret.public_key().0);
    theirs.wireguard.configure(&["listen-port", "51822", "peer", &key, "allowed-ips", "10.9.0.1/32"])?;
    theirs.wireguard.up("10.9.0.2/24", 1_420)?;
    let public: [u8; 32] = STANDARD.decode(theirs.wireguard.public_key())?.try_into().ok().context("32 bytes")?;
    let socket = a.enter(|| Ok(UdpSocket::bind("192.0.2.1:51821")?))?;
    let mut ours = Ours::new(secret, PublicKey(public), socket, "192.0.2.2:51822".parse()?)?;

    let answered = (0..ECHOES).filter_map(|number| ours.echo(number).map(|came| came.then_some(())).transpose());
    let answered = answered.collect::<Result<Vec<_>>>()?.len();
    ensure!(answered == usize::from(ECHOES), "of {ECHOES} echoes {answered} came back");
    let renewals = ours.began.len() - 1;
    ensure!(renewals >= 3, "the session was renewed {renewals} times");
    Ok(())
}

fn they_begin_anew(rival: Program) -> Result<()> {
    let lab = Lab::new()?;
    let [a, b] = hosts(&lab)?;
    let ours = Tunnel::start(&lab, Program::MeshWg, &a, 1)?;
    let mut theirs = Tunnel::start(&lab, rival, &b, 2)?;
    join(&theirs, &ours, "192.0.2.1", &[])?;
    carry(&theirs, &ours)?;
    theirs.wireguard.start_anew(&lab)?;
    theirs.join(&ours, &["endpoint", "192.0.2.1:51821"])?;
    traffic::ping(&theirs.end(), ours.inner.into())?;
    carry(&ours, &theirs)
}

fn we_begin_anew(rival: Program) -> Result<()> {
    let lab = Lab::new()?;
    let [a, b] = hosts(&lab)?;
    let mut ours = Tunnel::start(&lab, Program::MeshWg, &a, 1)?;
    let theirs = Tunnel::start(&lab, rival, &b, 2)?;
    join(&ours, &theirs, "192.0.2.2", &[])?;
    carry(&ours, &theirs)?;
    ours.wireguard.start_anew(&lab)?;
    ours.join(&theirs, &["endpoint", "192.0.2.2:51822"])?;
    traffic::ping(&ours.end(), theirs.inner.into())?;
    carry(&theirs, &ours)
}
