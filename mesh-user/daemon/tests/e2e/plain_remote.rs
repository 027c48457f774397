//! The remote is a plain WireGuard that knows nothing of remaps: what does it see inside the tunnel?

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab, Namespace,
    demo::{Cables, Cluster, Connection, Network, Site, UNDERLAY_MTU},
    interrupt,
    link::{self, Port},
    process::{self, Daemon},
    sniff::{self, Sniffer},
    traffic::{self, End, echo, echo::Fragmentation},
    wireguard::{Installed, Program},
};

use crate::programs;

const PATIENCE: Duration = Duration::from_secs(15);
/// A pod of the plain remote, by its real address.
const POD: [u8; 4] = [10, 243, 5, 5];

#[test]
fn a_plain_remote_sees_real_addresses() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = Network::new(&lab, "wire", UNDERLAY_MTU)?;
    network.add(&lab, Site::new(1), Cables::Virtual, UNDERLAY_MTU, &programs()?)?;
    let mut remote = Site::new(2);
    // Without an external CIDR there is no gateway address that could answer probes: the session counts.
    remote.external.clear();
    let plain = lab.namespace("plain")?;
    link::plug(Port::new(&plain, "und0"), Port::new(&network.wire, "wire"), "plain")?;
    link::address(Port::new(&plain, "und0"), &[&format!("{}/24", remote.underlay)])?;
    let key = lab.directory().join("plain.key");
    let public = make_key(&key)?;
    let node = &network.clusters[0].node;
    let local = &network.clusters[0].site;
    node.put_manifest("configuration", &local.configuration(&remote, Connection::Wireguard))?;
    node.put_manifest("gateway", &local.gateway_server(&remote, 51_840))?;
    node.put_manifest("key", &remote.public_key(&public))?;
    network.clusters[0].node.start()?;
    let _wireguard = start_wireguard(&lab, &plain, &network.clusters[0], &key)?;

    let cluster = &network.clusters[0];
    let pod = cluster.pod(false, &mut 3);
    let there = End::new(&plain, POD);
    let real = (pod.address, there.address);
    let inside = Sniffer::on(Port::new(&plain, "wg0"), move |packet| {
        sniff::addresses(packet).is_some_and(|pair| pair == real || pair == (real.1, real.0))
    })?;
    // The plain side speaks first: the server does not know where it is.
    interrupt::wait_for("the first answer from a pod", PATIENCE, Duration::from_millis(100), || {
        Ok(traffic::answers_ping(&there, pod.address, 1)?.then_some(()))
    })
    .with_context(|| cluster.node.tail(30))?;
    let dial = [10, 71, POD[2], POD[3]].into();
    traffic::ping(&pod, dial).with_context(|| cluster.node.tail(30))?;
    let seen = echo::tcp(&pod, &there, dial, 500_000, 1)?;
    ensure!(seen == pod.address, "the remote saw {seen}, not the pod's own {}", pod.address);
    echo::udp(&pod, &there, dial, &[1, 1_312], Fragmentation::Forbidden, 2)?;
    let (matched, seen) = (inside.matched()?, inside.seen()?);
    ensure!(matched > 6, "only {matched} of {seen} packets have real addresses");
    cluster.node.wait_connected("cl02", PATIENCE)
}

/// wireguard-go and wg(8), as any other WireGuard peer would be set up.
fn start_wireguard(lab: &Lab, plain: &Namespace, cluster: &Cluster, key: &Path) -> Result<Daemon> {
    let mut command = plain.command(wireguard_go()?);
    command.args(["--foreground", "wg0"]).env("LOG_LEVEL", "error");
    let daemon = Daemon::start("wireguard-go", command, &lab.directory().join("wireguard-go.log"))?;
    let endpoint = format!("{}:51840", cluster.site.underlay);
    let key = key.to_str().context("the directory of a lab is UTF-8")?;
    let peer = ["peer", cluster.public_key(), "allowed-ips", "10.243.0.0/16,10.70.0.0/16", "endpoint", &endpoint];
    interrupt::wait_for("wireguard-go", PATIENCE, Duration::from_millis(50), || {
        let set = plain.run("wg", &[&["set", "wg0", "private-key", key][..], &peer].concat());
        Ok(set.is_ok().then_some(()))
    })
    .with_context(|| daemon.tail(10))?;
    let device = Port::new(plain, "wg0");
    link::mtu(device, 1_340)?;
    link::address(device, &["10.243.5.5/16"])?;
    plain.ip(&["link", "set", "dev", "wg0", "up"])?;
    Ok(daemon)
}

fn make_key(path: &Path) -> Result<String> {
    fs::write(path, process::output(Command::new("wg").arg("genkey"), PATIENCE)?)?;
    let public = process::output(Command::new("sh").args(["-c", "wg pubkey < \"$0\""]).arg(path), PATIENCE)?;
    Ok(public.trim().to_owned())
}

/// What `cargo xtask setup` unpacked.
fn wireguard_go() -> Result<PathBuf> {
    Ok(Installed::beside(Path::new(env!("CARGO_BIN_EXE_meshd")))?.path(Program::WireguardGo))
}
