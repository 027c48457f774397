//! Connections whose packets a program carries: wireguard-go as the driver of two clusters with the same CIDRs. Needs root.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab,
    demo::{Connection, Network, check::CHECKS, wireguard_pair},
    interrupt,
    node::Programs,
    wireguard::{Installed, Program},
};
use rustix::process::{Pid, Signal, kill_process};

const EXAMPLE: &str = include_str!("../../../../docs/examples/networking/exec-wireguard-go.yaml");
const PATIENCE: Duration = Duration::from_secs(30);
/// Of the server.
const PORT: u16 = 51_840;
const PAUSE: Duration = Duration::from_millis(100);

/// The example of the documentation, with the wireguard-go of the tests.
fn exec_pair(lab: &Lab) -> Result<Network> {
    let programs = Programs::beside(env!("CARGO_BIN_EXE_meshd"))?;
    let mut network = wireguard_pair(lab, &programs)?;
    let wireguard_go = Installed::beside(Path::new(env!("CARGO_BIN_EXE_meshd")))?.path(Program::WireguardGo);
    let templates = EXAMPLE.replace("wireguard-go --foreground", &format!("{} --foreground", wireguard_go.display()));
    for (cluster, remote) in [(0, 1), (1, 0)] {
        let (local, remote) = (&network.clusters[cluster], &network.clusters[remote]);
        local.node.put_manifest("templates", &templates)?;
        let gateway = match cluster {
            0 => local.site.gateway_client(&remote.site, Connection::Wireguard, PORT),
            _ => local.site.gateway_server(&remote.site, PORT),
        };
        let gateway = gateway.replace("name: wireguard-", "name: wireguard-go-");
        let gateway = gateway.replace("namespace: liqo", "namespace: default");
        ensure!(gateway.contains("wireguard-go-"), "{gateway}");
        local.node.put_manifest(&format!("gateway-{}", remote.id()), &gateway)?;
    }
    network.start()?;
    Ok(network)
}

fn keep_all_promises(network: &Network) -> Result<()> {
    let mut random = 42;
    for direction in network.directions()? {
        for check in CHECKS {
            (check.run)(&direction, &mut random)
                .with_context(|| format!("{}: {}\n{}", direction.name(), check.name, network.tails()))?;
        }
    }
    Ok(())
}

/// The process of the driver of a cluster.
fn program_of(network: &Network, cluster: usize) -> Result<Option<u32>> {
    let remote = network.clusters[1 - cluster].id();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
        let ours = environment.split('\0').any(|one| one == format!("MESH_DEVICE=exec-{remote}"));
        if ours && arguments.contains("--foreground") && !arguments.contains("-ec") && is_of(network, cluster, pid) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

/// Another test may run the same scene.
fn is_of(network: &Network, cluster: usize, pid: u32) -> bool {
    let inside = |path: &str| fs::read_link(path).ok();
    let own = network.clusters[cluster].gateway().enter(|| Ok(inside("/proc/thread-self/ns/net")));
    own.is_ok_and(|own| own.is_some() && own == inside(&format!("/proc/{pid}/ns/net")))
}

/// One scene for all, since the sockets by which wireguard-go is configured have their names from the whole machine.
#[test]
fn wireguard_go_as_a_driver_keeps_all_promises_dies_and_ends_with_its_connection() -> Result<()> {
    let lab = Lab::new()?;
    let network = exec_pair(&lab)?;
    keep_all_promises(&network)?;
    // The device of the program is nowhere where the host could route by it.
    for cluster in &network.clusters {
        let links = cluster.gateway().ip(&["-o", "link", "show"])?;
        ensure!(!links.contains("exec-"), "{links}");
    }
    let status = network.clusters[0].node.status()?;
    let connection = status.connections.first().context("no connection")?;
    ensure!(connection.rx_packets > 0 && connection.tx_packets > 0, "{connection:?}");

    let pid = program_of(&network, 0)?.context("no driver runs")?;
    let victim = Pid::from_raw(pid.cast_signed()).context("no process has the number 0")?;
    kill_process(victim, Signal::KILL)?;
    let again = interrupt::wait_for("another driver", PATIENCE, PAUSE, || {
        Ok(program_of(&network, 0)?.filter(|other| *other != pid))
    })?;
    ensure!(again != pid, "the same process");
    network.clusters[0].node.wait_connected("cl02", PATIENCE)?;
    keep_all_promises(&network)?;

    network.clusters[0].node.remove_manifest("gateway-cl02")?;
    interrupt::wait_for("the driver to end", PATIENCE, PAUSE, || Ok(program_of(&network, 0)?.is_none().then_some(())))?;
    let links = network.clusters[0].gateway().ip(&["-o", "link", "show"])?;
    ensure!(!links.contains("mesh-cl02"), "{links}");
    Ok(())
}
