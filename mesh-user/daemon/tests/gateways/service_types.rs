//! On which port a server listens, and where its clients are told to find it.

use anyhow::{Context, Result, ensure};
use mesh_lab::{Lab, demo::Cluster, interrupt};
use serde_json::Value;

use crate::site::{PATIENCE, PAUSE, carry, client, pair, programs, server, told_port, wait_for};

const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// The sockets of a gateway, as `ss` lists them.
fn listens(cluster: &Cluster, port: u16) -> Result<String> {
    cluster.gateway().run("ss", &["-uln", "sport", "=", &format!(":{port}")])
}

fn assigned(status: &Value) -> Option<(bool, String)> {
    let conditions = status["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == "EndpointAssigned")?;
    Some((condition["status"] == "True", condition["message"].as_str()?.to_owned()))
}

#[test]
fn a_node_port_is_chosen_once_and_stays() -> Result<()> {
    let (lab, programs) = (Lab::new()?, programs()?);
    let mut network = pair(&lab, [&programs, &programs])?;
    network.clusters[1].node.put_manifest("gateway", &server(&["port: 51840", "serviceType: NodePort"], &[]))?;
    network.clusters[1].node.start()?;
    let port = told_port(&network.clusters[1])?;
    ensure!(NODE_PORTS.contains(&port), "{port}");
    let told = client(&["addresses: [172.31.0.2]", &format!("port: {port}")], &[]);
    network.clusters[0].node.put_manifest("gateway", &told)?;
    network.clusters[0].node.start()?;
    carry(&network)?;
    let sockets = listens(&network.clusters[1], port)?;
    ensure!(sockets.contains(&format!("0.0.0.0:{port}")), "{sockets}");

    // Over a restart, and over a time without the gateway.
    let server_node = &mut network.clusters[1].node;
    server_node.kill()?;
    server_node.remove_manifest("gateway")?;
    server_node.start()?;
    server_node.put_manifest("gateway", &server(&["port: 51840", "serviceType: NodePort"], &[]))?;
    ensure!(told_port(&network.clusters[1])? == port);
    carry(&network)?;

    // A port that is given takes its place.
    network.clusters[1].node.put_manifest("gateway", &server(&["nodePort: 31777", "serviceType: NodePort"], &[]))?;
    wait_for(&network.clusters[1], "gatewayserver", "the given port", |status| {
        (status["endpoint"]["port"] == 31_777).then_some(())
    })?;
    network.clusters[0].node.put_manifest("gateway", &client(&["addresses: [172.31.0.2]", "port: 31777"], &[]))?;
    carry(&network)
}

#[test]
fn a_load_balancer_needs_a_source_of_its_address() -> Result<()> {
    let (lab, programs) = (Lab::new()?, programs()?);
    let mut network = pair(&lab, [&programs, &programs])?;
    let settings = network.clusters[1].site.settings();
    let with = |section: &str| format!("{settings}\n[gateway]\n{section}\n");
    let node = &mut network.clusters[1].node;
    node.put_manifest("gateway", &server(&["port: 51840", "serviceType: LoadBalancer"], &[]))?;
    node.start()?;
    let (is_assigned, message) = wait_for(&network.clusters[1], "gatewayserver", "the condition", assigned)?;
    ensure!(
        !is_assigned && message.contains("advertise") && message.contains("--gw-server-service-type NodePort"),
        "{message}"
    );

    // Said by a command.
    let node = &mut network.clusters[1].node;
    node.terminate()?;
    node.configure(&with("advertise_command = [\"/bin/echo\", \"gw.example\", \"172.31.0.2\"]"))?;
    node.start()?;
    let told = |status: &Value| {
        (status["endpoint"]["addresses"] == serde_json::json!(["gw.example", "172.31.0.2"])).then_some(())
    };
    wait_for(&network.clusters[1], "gatewayserver", "the addresses of the command", told)?;

    // Out of a pool, which the node itself answers for.
    let node = &mut network.clusters[1].node;
    node.terminate()?;
    node.configure(&with("load_balancer_pool = [\"172.31.0.64/28\"]"))?;
    node.start()?;
    let address = wait_for(&network.clusters[1], "gatewayserver", "an address of the pool", |status| {
        Some(status["endpoint"]["addresses"][0].as_str()?.to_owned())
    })?;
    ensure!(address.starts_with("172.31.0.6"), "{address}");
    network.clusters[0]
        .node
        .put_manifest("gateway", &client(&[&format!("addresses: [{address}]"), "port: 51840"], &[]))?;
    network.clusters[0].node.start()?;
    carry(&network)?;
    let on_lo = network.clusters[1].gateway().ip(&["-o", "address", "show", "dev", "lo"])?;
    ensure!(on_lo.contains(&address), "{on_lo}");
    network.clusters[1].node.remove_manifest("gateway")?;
    interrupt::wait_for("the address to go", PATIENCE, PAUSE, || {
        let on_lo = network.clusters[1].gateway().ip(&["-o", "address", "show", "dev", "lo"])?;
        Ok((!on_lo.contains(&address)).then_some(()))
    })
    .context("an address of the pool stays")
}

#[test]
fn a_private_server_is_not_reached_from_outside() -> Result<()> {
    let (lab, programs) = (Lab::new()?, programs()?);
    let mut network = pair(&lab, [&programs, &programs])?;
    network.clusters[1].node.put_manifest("gateway", &server(&["port: 51840", "serviceType: ClusterIP"], &[]))?;
    network.clusters[1].node.start()?;
    ensure!(told_port(&network.clusters[1])? == 51_840);
    let sockets = listens(&network.clusters[1], 51_840)?;
    ensure!(sockets.contains("10.243.1.1:51840") && !sockets.contains("0.0.0.0:51840"), "{sockets}");
    // Made public, it is bound anew.
    network.clusters[1].node.put_manifest("gateway", &server(&["port: 51840"], &[]))?;
    network.clusters[0].node.put_manifest("gateway", &client(&["addresses: [172.31.0.2]", "port: 51840"], &[]))?;
    network.clusters[0].node.start()?;
    carry(&network)
}
