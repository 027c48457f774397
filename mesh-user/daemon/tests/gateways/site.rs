//! Two clusters on one underlay of which the gateways are still to be given, and what is asked of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab,
    demo::{Cables, Cluster, Connection, Network, Site, UNDERLAY_MTU},
    interrupt,
    node::Programs,
    status::Prefix,
    traffic,
};
use serde_json::Value;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn programs() -> Result<Programs> {
    Programs::beside(env!("CARGO_BIN_EXE_meshd"))
}

/// cl01 and cl02 at 172.31.0.1 and 172.31.0.2, with the Configurations and keys of each other; nothing runs.
pub(crate) fn pair(lab: &Lab, [first, second]: [&Programs; 2]) -> Result<Network> {
    let mut network = Network::new(lab, "wire", UNDERLAY_MTU)?;
    for (number, programs) in [(1, first), (2, second)] {
        network.add(lab, Site::new(number).with_hook("off"), Cables::Virtual, UNDERLAY_MTU, programs)?;
    }
    let [a, b] = [&network.clusters[0], &network.clusters[1]];
    for (local, remote) in [(a, b), (b, a)] {
        let configuration = local.site.configuration(&remote.site, Connection::Wireguard);
        local.node.put_manifest("configuration", &configuration)?;
        local.node.put_manifest("key", &remote.site.public_key(remote.public_key()))?;
    }
    Ok(network)
}

/// Of cl02, for cl01, with these lines in its endpoint and these in its spec.
pub(crate) fn server(endpoint: &[&str], spec: &[&str]) -> String {
    gateway("GatewayServer", "cl01", endpoint, spec)
}

/// Of cl01, to cl02.
pub(crate) fn client(endpoint: &[&str], spec: &[&str]) -> String {
    gateway("GatewayClient", "cl02", endpoint, spec)
}

fn gateway(kind: &str, remote: &str, endpoint: &[&str], spec: &[&str]) -> String {
    let endpoint: String = endpoint.iter().map(|line| format!("    {line}\n")).collect();
    let spec: String = spec.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: networking.liqo.io/v1beta1\nkind: {kind}\nmetadata:\n  name: gw\n  labels:\n    \
         liqo.io/remote-cluster-id: {remote}\nspec:\n  endpoint:\n{endpoint}{spec}"
    )
}

/// What `get` says of the gateway.
pub(crate) fn shown(cluster: &Cluster, kind: &str) -> Result<Value> {
    let finished = cluster.node.meshctl(&["get", kind, "gw", "-n", "default", "-o", "json"])?;
    ensure!(finished.status.success(), "{}: {}", finished.line, finished.stderr);
    serde_json::from_str(&finished.stdout).context("the object is JSON")
}

/// Waits until `get` says something of the gateway's status.
pub(crate) fn wait_for<T>(
    cluster: &Cluster,
    kind: &str,
    what: &str,
    mut read: impl FnMut(&Value) -> Option<T>,
) -> Result<T> {
    let mut last = Value::Null;
    let found = interrupt::wait_for(what, PATIENCE, PAUSE, || {
        // It may not be there yet.
        last = shown(cluster, kind).map_or(Value::Null, |shown| shown["status"].clone());
        Ok(read(&last))
    });
    found.with_context(|| format!("{last:#}\n{}", cluster.node.tail(20)))
}

/// The port that clients of the server are told.
pub(crate) fn told_port(cluster: &Cluster) -> Result<u16> {
    let port = |status: &Value| u16::try_from(status["endpoint"]["port"].as_u64()?).ok();
    wait_for(cluster, "gatewayserver", "the port of the server", port)
}

/// Both ends are connected, and a pod reaches one of the other cluster.
pub(crate) fn carry(network: &Network) -> Result<()> {
    carry_within(network, PATIENCE)
}

pub(crate) fn carry_within(network: &Network, patience: Duration) -> Result<()> {
    let [a, b] = [&network.clusters[0], &network.clusters[1]];
    a.node.wait_connected("cl02", patience).with_context(|| network.tails())?;
    b.node.wait_connected("cl01", patience).with_context(|| network.tails())?;
    let there = b.pod(false, &mut 5).address;
    let presented = a
        .node
        .status()?
        .remaps
        .iter()
        .find(|remap| remap.real == "10.243.0.0/16" && !remap.connection.is_empty())
        .map(|remap| remap.presented.clone());
    let dial = Prefix::parse(&presented.context("cl01 lists no remap")?)?.of(there).context("of one family")?;
    let pod = a.pod(false, &mut 3);
    // An end that was connected before calls itself so for some seconds.
    interrupt::wait_for("a ping", patience, PAUSE, || Ok(traffic::answers_ping(&pod, dial, 1)?.then_some(())))
        .with_context(|| network.tails())
}
