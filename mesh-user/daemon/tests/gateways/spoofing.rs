//! A peer with a good key sends from addresses that its cluster does not have.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab,
    demo::{Cables, Connection, Network, Site, UNDERLAY_MTU},
    interrupt,
    link::{self, Port},
    process::{self, Daemon},
    traffic::{self, End, spoof},
    wireguard::{Installed, Program},
};

use crate::site::{PATIENCE, PAUSE, programs, server};

#[test]
fn a_spoofing_peer_gets_nothing_through() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = Network::new(&lab, "wire", UNDERLAY_MTU)?;
    network.add(&lab, Site::new(2).with_hook("off"), Cables::Virtual, UNDERLAY_MTU, &programs()?)?;
    let remote = Site::new(1);
    let plain = lab.namespace("plain")?;
    link::plug(Port::new(&plain, "und0"), Port::new(&network.wire, "wire"), "plain")?;
    link::address(Port::new(&plain, "und0"), &["172.31.0.1/24"])?;
    let key = lab.directory().join("plain.key");
    fs::write(&key, process::output(Command::new("wg").arg("genkey"), PATIENCE)?)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let public = process::output(Command::new("sh").args(["-c", "wg pubkey < \"$0\""]).arg(&key), PATIENCE)?;
    let cluster = &network.clusters[0];
    cluster.node.put_manifest("configuration", &cluster.site.configuration(&remote, Connection::Wireguard))?;
    cluster.node.put_manifest("key", &remote.public_key(public.trim()))?;
    cluster.node.put_manifest("gateway", &server(&["port: 51840"], &[]))?;
    network.clusters[0].node.start()?;
    let cluster = &network.clusters[0];

    let program = Installed::beside(Path::new(env!("CARGO_BIN_EXE_meshd")))?.path(Program::WireguardGo);
    let mut command = plain.command(program);
    command.args(["--foreground", "wg0"]).env("LOG_LEVEL", "error");
    let _wireguard = Daemon::start("wireguard-go", command, &lab.directory().join("wireguard-go.log"))?;
    let key = key.to_str().context("the directory of a lab is UTF-8")?;
    let peer = ["peer", cluster.public_key(), "allowed-ips", "0.0.0.0/0", "endpoint", "172.31.0.2:51840"];
    interrupt::wait_for("wireguard-go", PATIENCE, PAUSE, || {
        Ok(plain.run("wg", &[&["set", "wg0", "private-key", key][..], &peer].concat()).is_ok().then_some(()))
    })?;
    link::address(Port::new(&plain, "wg0"), &["10.243.5.5/16"])?;
    plain.ip(&["link", "set", "dev", "wg0", "up"])?;

    let pod = cluster.pod(false, &mut 3);
    let honest = End::new(&plain, [10, 243, 5, 5]);
    interrupt::wait_for("an honest ping", PATIENCE, PAUSE, || {
        Ok(traffic::answers_ping(&honest, pod.address, 1)?.then_some(()))
    })
    .with_context(|| cluster.node.tail(20))?;

    let socket = pod.udp()?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let to = socket.local_addr()?;
    let before = cluster.node.status()?.dropped("spoofed-source");
    for source in ["192.0.2.99:1000", "10.80.0.9:1000", "10.71.5.5:1000", "172.31.0.1:1000"] {
        spoof::udp(&plain, source.parse()?, to, b"not mine", 3)?;
    }
    interrupt::wait_for("the drops to be counted", PATIENCE, PAUSE, || {
        Ok((cluster.node.status()?.dropped("spoofed-source") >= before + 12).then_some(()))
    })
    .with_context(|| format!("{:?}", cluster.node.status().map(|status| status.drops)))?;
    let mut buffer = [0; 64];
    ensure!(socket.recv_from(&mut buffer).is_err(), "a spoofed packet arrived");
    // The honest one still works.
    traffic::ping(&honest, pod.address)
}
