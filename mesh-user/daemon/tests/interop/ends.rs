//! The two ends of a tunnel, and what must get through it.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, ensure};
use mesh_lab::{
    Lab, Namespace,
    link::{self, Port},
    traffic::{
        self, End,
        echo::{self, Fragmentation},
    },
    wireguard::{Installed, Program, Wireguard},
};

pub(crate) const MTU: u16 = 1_420;

pub(crate) fn installed() -> Result<Installed> {
    Installed::beside(env!("CARGO_BIN_EXE_meshd").as_ref())
}

/// Two hosts and a cable.
pub(crate) fn hosts(lab: &Lab) -> Result<[Namespace; 2]> {
    let hosts = [lab.namespace("a")?, lab.namespace("b")?];
    link::veth(Port::new(&hosts[0], "eth0"), Port::new(&hosts[1], "eth0"))?;
    for (host, address) in hosts.iter().zip(["192.0.2.1/24", "192.0.2.2/24"]) {
        link::address(Port::new(host, "eth0"), &[address])?;
    }
    Ok(hosts)
}

/// A device with its address inside the tunnel and its UDP port.
pub(crate) struct Tunnel {
    pub(crate) wireguard: Wireguard,
    pub(crate) inner: Ipv4Addr,
    pub(crate) port: u16,
}

impl Tunnel {
    /// `number` is 1 or 2.
    pub(crate) fn start(lab: &Lab, program: Program, host: &Namespace, number: u8) -> Result<Tunnel> {
        let wireguard = Wireguard::start(lab, &installed()?, program, host)?;
        Ok(Tunnel { wireguard, inner: Ipv4Addr::new(10, 9, 0, number), port: 51_820 + u16::from(number) })
    }

    /// Gives the device its key, port and peer, `more` about the peer, and brings it up.
    pub(crate) fn join(&self, other: &Tunnel, more: &[&str]) -> Result<()> {
        let (port, allowed) = (self.port.to_string(), format!("{}/32", other.inner));
        let begin = ["listen-port", &port, "peer", other.wireguard.public_key(), "allowed-ips", &allowed];
        self.wireguard.configure(&[&begin[..], more].concat())?;
        self.wireguard.up(&format!("{}/24", self.inner), MTU)
    }

    pub(crate) fn end(&self) -> End {
        End::new(self.wireguard.namespace(), self.inner)
    }

    /// What wg(8) says of the only peer.
    pub(crate) fn peer(&self, what: &str) -> Result<String> {
        let shown = self.wireguard.show(what)?;
        let value = shown.trim().split_once('\t').map(|(_, value)| value.to_owned());
        Ok(value.unwrap_or_default())
    }
}

/// Both ends, `from` of which calls the other at `to`, and says `more` about it; the other waits.
pub(crate) fn join(from: &Tunnel, to: &Tunnel, address: &str, more: &[&str]) -> Result<()> {
    let endpoint = format!("{address}:{}", to.port);
    to.join(from, more)?;
    from.join(to, &[&["endpoint", &endpoint], more].concat())
}

/// Pings, TCP and UDP, each in both directions, every byte compared.
pub(crate) fn carry(first: &Tunnel, second: &Tunnel) -> Result<()> {
    traffic::ping(&first.end(), second.inner.into())?;
    for (client, server) in [(first, second), (second, first)] {
        let (client, dial) = (client.end(), IpAddr::from(server.inner));
        traffic::ping(&client, dial)?;
        let seen = echo::tcp(&client, &server.end(), dial, 300_000, 1)?;
        ensure!(seen == client.address, "{seen} called {dial}, and not {}", client.address);
        let lengths = [0, 1, 15, 16, 17, 1_000, usize::from(MTU) - 28, 4_000];
        echo::udp(&client, &server.end(), dial, &lengths, Fragmentation::Allowed, 2)?;
    }
    // boringtun and gotatun know only of handshakes that they began.
    for end in [first, second].into_iter().filter(|end| end.wireguard.program() == Program::MeshWg) {
        let handshake = end.peer("latest-handshakes")?;
        ensure!(handshake.parse::<u64>()? > 0, "no handshake");
    }
    Ok(())
}
