//! Connections with several ports: as manifests ask for them, as the status tells them, and over the death of the daemons.

use std::time::Duration;

use anyhow::{Context, Result};
use mesh_lab::{
    Lab,
    demo::{Network, check::pods, wireguard_pair},
    interrupt, traffic,
};

use crate::{keep_all_promises, programs};

const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
/// Of the first connection of a network.
const PORT: u16 = 51_840;

/// Gives both ends so many lanes.
fn set_lanes(network: &Network, lanes: u16) -> Result<()> {
    let ports: Vec<String> = (0..lanes).map(|lane| (PORT + 10 * lane).to_string()).collect();
    let ports = format!("ports: [{}]\n", ports.join(", "));
    let [a, b] = [&network.clusters[0], &network.clusters[1]];
    for (local, remote, manifest) in [
        (a, b, a.site.gateway_client(&b.site, mesh_lab::demo::Connection::Wireguard, PORT)),
        (b, a, b.site.gateway_server(&a.site, PORT)),
    ] {
        let node_ports = ports.replace("ports", "nodePorts");
        let manifest = manifest.replace(&format!("nodePort: {PORT}\n"), &node_ports);
        let manifest = manifest.replace(&format!("port: {PORT}\n"), &ports);
        local.node.put_manifest(&format!("gateway-{}", remote.id()), &manifest)?;
    }
    Ok(())
}

/// Waits until both ends have so many lanes, all live.
fn wait_for_lanes(network: &Network, lanes: usize) -> Result<()> {
    for cluster in &network.clusters {
        interrupt::wait_for("all lanes to be live", PATIENCE, PAUSE, || {
            let status = cluster.node.meshctl(&["status", "-o", "json"])?.stdout;
            let status: serde_json::Value = serde_json::from_str(&status).context("the status is JSON")?;
            let told = status["connections"][0]["lanes"].as_array().cloned().unwrap_or_default();
            let live = told.iter().filter(|lane| lane["state"] == "Live" && lane["endpoint"].is_string()).count();
            Ok((told.len() == lanes && live == lanes).then_some(()))
        })
        .with_context(|| network.tails())?;
    }
    Ok(())
}

#[test]
fn lanes_come_and_go_with_the_manifests() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    network.start()?;
    wait_for_lanes(&network, 1)?;
    set_lanes(&network, 3)?;
    wait_for_lanes(&network, 3)?;
    network.wait_connected(PATIENCE)?;
    keep_all_promises(&network)?;

    // The device of three queues is taken over, with its program, by daemons that want two.
    network.clusters.iter_mut().try_for_each(|cluster| cluster.node.kill())?;
    set_lanes(&network, 2)?;
    network.clusters.iter_mut().try_for_each(|cluster| cluster.node.start())?;
    wait_for_lanes(&network, 2)?;
    let direction = network.direction(0, 1, false)?;
    let (from, _, dial) = pods(&direction, &mut 12)?;
    traffic::ping(&from, dial)?;
    set_lanes(&network, 1)?;
    wait_for_lanes(&network, 1)?;
    traffic::ping(&from, dial)?;
    Ok(())
}
