//! Tunnels of which a program carries the packets: what the program is told, and when it is run.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use mesh_core::{
    model::ExecDriver,
    plan::{DeviceName, Peer, PublicKey, Tunnel},
};

use super::{World, tunnels::LiveTunnel};
use crate::{
    driver::{Driver, Job, program_device},
    kernel::tun::Tun,
};

/// The program of a tunnel.
#[derive(Debug)]
pub(super) struct Exec {
    pub(super) program: ExecDriver,
    driver: Driver,
    pub(super) mtu: u16,
}

impl World {
    /// Our device with one queue; the program is started when there is a peer.
    pub(super) fn open_exec(&mut self, device: &DeviceName, tunnel: &Tunnel, program: &ExecDriver) -> Result<Exec> {
        let queue = Tun::open(device, std::num::NonZeroUsize::MIN)?.pop();
        let queue = queue.with_context(|| format!("{device}: has no queue"))?;
        let driver = Driver::start(device, queue, self.tables.follow(), &self.shards)?;
        Ok(Exec { program: program.clone(), driver, mtu: tunnel.mtu })
    }

    /// Tells the driver of the device what there is to do now; nothing where the shards carry it.
    pub(super) fn brief_driver(&mut self, device: &DeviceName) -> Result<()> {
        let secret = self.tunnel(device)?.secret.clone();
        let secret = self.secret_of(secret.as_deref())?;
        let live = self.tunnel(device)?;
        let Some(exec) = &live.exec else { return Ok(()) };
        let job = live.peers.values().next().map(|peer| Job {
            command: exec.program.command.clone(),
            environment: environment(device, live, exec),
            secret,
            connection: peer.connection,
            mtu: exec.mtu,
        });
        exec.driver.assign(job, live.peers.keys().copied().collect());
        Ok(())
    }

    /// What keeps programs from carrying their tunnels, a line each.
    pub fn driver_troubles(&self) -> Vec<String> {
        let trouble = |(device, live): (&DeviceName, &LiveTunnel)| {
            let trouble = live.exec.as_ref()?.driver.trouble()?;
            Some(format!("the tunnel {device} is down: {trouble}"))
        };
        self.tunnels.iter().filter_map(trouble).collect()
    }
}

/// As `docs/exec-driver.md` says. What the template gives comes last, so that it may say otherwise.
fn environment(device: &DeviceName, live: &LiveTunnel, exec: &Exec) -> BTreeMap<String, String> {
    let first = live.peers.iter().next();
    let is_server = first.is_some_and(|(_, peer)| peer.endpoints.is_empty());
    let words = |words: &mut dyn Iterator<Item = String>| words.collect::<Vec<_>>().join(" ");
    let variables = [
        ("MESH_DEVICE", program_device(device).0),
        ("MESH_MTU", exec.mtu.to_string()),
        ("MESH_ROLE", if is_server { "server" } else { "client" }.to_owned()),
        ("MESH_LISTEN_PORTS", words(&mut live.listen_ports.iter().filter(|port| **port != 0).map(u16::to_string))),
        ("MESH_BIND", words(&mut live.bind.iter().map(ToString::to_string))),
        ("MESH_PEER_KEY", first.map(|(key, _)| key.to_string()).unwrap_or_default()),
        (
            "MESH_PEER_ENDPOINT",
            first.and_then(|(_, peer)| Some(peer.endpoints.first()?.to_string())).unwrap_or_default(),
        ),
        ("MESH_PEERS", live.peers.iter().map(|(key, peer)| line(key, peer)).collect::<Vec<_>>().join("\n")),
    ];
    let ours = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
    ours.chain(exec.program.environment.clone()).collect()
}

/// The key, and the candidates where it can be called.
fn line(key: &PublicKey, peer: &Peer) -> String {
    let words = std::iter::once(key.to_string()).chain(peer.endpoints.iter().map(ToString::to_string));
    words.collect::<Vec<_>>().join(" ")
}
