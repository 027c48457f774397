//! How many handshakes does a program answer in a second of processor time?
//!
//! Peers that boringtun's library plays send one initiation each, and the answers are counted. They come in bursts that are
//! small enough to be no load for any program: under load all of them want a second round trip before they calculate.

use std::{
    fmt::Write,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use boringtun::{
    noise::{Tunn, TunnResult},
    x25519::{PublicKey, StaticSecret},
};
use mesh_lab::{
    Namespace,
    wireguard::{Program, Wireguard},
};

use super::{
    connection::{Cable, SERVER},
    cost,
    rounds::{Rounds, USUAL},
    samples::Samples,
};

/// Initiations in a burst. boringtun and gotatun count themselves under load from 100 a second on.
const BURST: usize = 45;
/// Longer than the second over which that is counted.
const PAUSE: Duration = Duration::from_millis(1_100);
/// For the answers to one burst.
const PATIENCE: Duration = Duration::from_secs(2);
/// Type and length of a handshake response.
const RESPONSE: (u8, usize) = (2, 92);

/// A device with many peers that have never been heard of.
struct Server {
    device: Wireguard,
    address: SocketAddr,
    key: PublicKey,
    peers: Vec<StaticSecret>,
}

pub(super) fn run(rounds: &Rounds<'_>, samples: &mut Samples) -> Result<()> {
    let cable = Cable::lay(rounds.lab, "greet", USUAL.cable)?;
    let [client, server] = &cable.hosts;
    let start = |(program, port): (&Program, u16)| Server::start(rounds, *program, server, port);
    let servers = rounds.programs.iter().zip(53_000..).map(start).collect::<Result<Vec<_>>>()?;
    for round in 0..rounds.rounds {
        thread::sleep(PAUSE);
        rounds.patience.wait()?;
        for server in &servers {
            let name = server.device.program().name();
            let rate = server.burst(client, round).with_context(|| format!("handshakes with {name}"))?;
            samples.add("handshakes answered, per core", "1/s", name, rate);
        }
    }
    println!("handshakes: {} rounds done", rounds.rounds);
    Ok(())
}

impl Server {
    fn start(rounds: &Rounds<'_>, program: Program, namespace: &Namespace, port: u16) -> Result<Server> {
        let device = Wireguard::start(rounds.lab, rounds.installed, program, namespace)?;
        device.configure(&["listen-port", &port.to_string()])?;
        device.up(&format!("10.98.{}.1/32", port % 100), USUAL.tunnel)?;
        let number = |peer: usize| u64::try_from(peer).expect("so many peers fit").to_le_bytes();
        let secret = |peer: usize| {
            let mut bytes = [0x5a; 32];
            // Not the first byte nor the last: some of their bits do not count in a key.
            bytes[8..16].copy_from_slice(&number(peer));
            StaticSecret::from(bytes)
        };
        let peers: Vec<_> = (0..rounds.rounds * BURST).map(secret).collect();
        let mut text = String::new();
        for (at, peer) in peers.iter().enumerate() {
            let key = STANDARD.encode(PublicKey::from(peer).as_bytes());
            let [low, high, ..] = number(at);
            writeln!(text, "[Peer]\nPublicKey = {key}\nAllowedIPs = 10.97.{high}.{low}/32")?;
        }
        device.add_configuration(&text)?;
        let key: [u8; 32] =
            STANDARD.decode(device.public_key())?.try_into().ok().context("a public key has 32 bytes")?;
        let address = SocketAddr::new(SERVER.parse::<Ipv4Addr>()?.into(), port);
        Ok(Server { device, address, key: key.into(), peers })
    }

    /// Answers per second of the program's processor time.
    fn burst(&self, client: &Namespace, round: usize) -> Result<f64> {
        let peers = &self.peers[round * BURST..][..BURST];
        let initiations = peers.iter().map(|peer| self.initiation(peer)).collect::<Result<Vec<_>>>()?;
        // Peers do not share an address: some programs connect a socket to each.
        let sockets = client.enter(|| {
            let socket = || -> Result<UdpSocket> {
                let socket = UdpSocket::bind(("0.0.0.0", 0))?;
                socket.connect(self.address)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            };
            (0..BURST).map(|_| socket()).collect::<Result<Vec<_>>>()
        })?;
        let before = cost::of_process(self.device.pid())?;
        for (socket, initiation) in sockets.iter().zip(&initiations) {
            socket.send(initiation)?;
        }
        let answered = answers(&sockets);
        let spent = cost::of_process(self.device.pid())?.saturating_sub(before);
        ensure!(
            answered * 10 >= BURST * 9,
            "of {BURST} initiations only {answered} were answered\n{}",
            self.device.tail()
        );
        Ok(answered as f64 / spent.as_secs_f64())
    }

    fn initiation(&self, peer: &StaticSecret) -> Result<Vec<u8>> {
        let mut tunn = Tunn::new(peer.clone(), self.key, None, None, 1, None);
        let mut buffer = [0; 148];
        match tunn.format_handshake_initiation(&mut buffer, false) {
            TunnResult::WriteToNetwork(initiation) => Ok(initiation.to_vec()),
            other => anyhow::bail!("no initiation: {other:?}"),
        }
    }
}

/// Waits until every socket has an answer, or patience is at its end.
fn answers(sockets: &[UdpSocket]) -> usize {
    let mut waiting: Vec<_> = sockets.iter().collect();
    let mut buffer = [0; 256];
    let end = Instant::now() + PATIENCE;
    while !waiting.is_empty() && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
        waiting.retain(|socket| !matches!(socket.recv(&mut buffer), Ok(length) if (buffer[0], length) == RESPONSE));
    }
    sockets.len() - waiting.len()
}
