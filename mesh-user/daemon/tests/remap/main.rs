//! What an address becomes, where, and whether nothing of it stays: real daemons in network namespaces, real traffic between
//! them. Needs root.

mod changes;
mod outside;
mod reset;
mod segments;
mod unknown;

use std::{net::IpAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use mesh_lab::{
    Lab, Namespace,
    demo::{Cables, Connection, Network, Site, UNDERLAY_MTU},
    interrupt,
    link::{self, Port},
    node::{Node, Programs},
    status::Prefix,
    traffic::End,
};

const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
/// A host in no cluster, on a cable to the gateway of one.
const HOST: &str = "192.0.2.50";

/// Clusters 1 to `count`, all with the same CIDRs, and this at the end of the settings of each; not connected yet.
fn clusters(lab: &Lab, count: u8, settings: &str) -> Result<Network> {
    let programs = Programs::beside(env!("CARGO_BIN_EXE_meshd"))?;
    let mut network = Network::new(lab, "wire", UNDERLAY_MTU)?;
    for number in 1..=count {
        let site = Site::new(number);
        let text = format!("{}\n{settings}", site.settings());
        network.add(lab, site, Cables::Virtual, UNDERLAY_MTU, &programs)?.node.configure(&text)?;
    }
    Ok(network)
}

/// The first is client of the second; both run and are connected.
fn pair(lab: &Lab, settings: &str) -> Result<Network> {
    let mut network = clusters(lab, 2, settings)?;
    network.connect(0, 1, Connection::Wireguard)?;
    network.start()?;
    Ok(network)
}

/// [`HOST`], with a way back to everything behind the gateway or without.
fn host(lab: &Lab, gateway: &Namespace, with_way_back: bool) -> Result<End> {
    let outside = lab.namespace("outside")?;
    let (inner, outer) = (Port::new(&outside, "eth0"), Port::new(gateway, "lan0"));
    link::veth(inner, outer)?;
    link::address(outer, &["192.0.2.1/24"])?;
    link::address(inner, &[&format!("{HOST}/24")])?;
    if with_way_back {
        outside.ip(&["route", "add", "default", "via", "192.0.2.1"])?;
    }
    Ok(End::new(&outside, HOST.parse::<IpAddr>()?))
}

/// The manifest of an `IP` object.
fn ip_object(name: &str, address: &str, masquerade: bool) -> String {
    format!(
        "apiVersion: ipam.liqo.io/v1alpha1\nkind: IP\nmetadata:\n  name: {name}\nspec:\n  ip: {address}\n\
         \x20 masquerade: {masquerade}\n"
    )
}

/// What `meshctl get` says that the object was given, once it was.
fn given(node: &Node, kind: &str, name: &str, field: &str) -> Result<String> {
    interrupt::wait_for("the object to be given something", PATIENCE, PAUSE, || {
        let shown = node.meshctl(&["get", kind, name, "-o", "json"])?;
        let Ok(manifest) = serde_json::from_str::<serde_json::Value>(&shown.stdout) else { return Ok(None) };
        Ok(manifest["status"][field].as_str().map(str::to_owned))
    })
    .with_context(|| node.tail(20))
}

/// What `node` calls an address of the remote's real prefix.
fn called(node: &Node, remote: &str, real: &str, address: IpAddr) -> Result<IpAddr> {
    let status = node.status()?;
    let name = &status.connection(remote)?.name;
    let remap = status.remaps.iter().find(|remap| remap.connection == *name && remap.real == real);
    let presented = &remap.with_context(|| format!("{real} of {remote} has no name: {status:?}"))?.presented;
    Prefix::parse(presented)?.of(address).context("it is of another family")
}

/// The whole ruleset of nft(8) in a namespace.
fn ruleset(namespace: &Namespace) -> Result<String> {
    namespace.run("nft", &["--stateless", "list", "ruleset"])
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
