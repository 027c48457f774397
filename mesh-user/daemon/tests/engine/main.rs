//! Shards with real TUN devices in namespaces carry real traffic, among themselves and with wireguard-go.
#![expect(clippy::unwrap_used, reason = "what a test cannot do ends it")]

mod access;
mod datagrams;
mod faults;
mod gateways;
mod interop;
mod lanes;
mod peers;
mod site;
mod traffic;

use anyhow::Result;
use mesh_lab::{Lab, Namespace, link};
use site::{A, B, Site};

/// Two namespaces and the wire between them.
fn underlay(lab: &Lab) -> Result<(Namespace, Namespace)> {
    let (a, b) = (lab.namespace("a")?, lab.namespace("b")?);
    link::veth(link::Port::new(&a, "eth0"), link::Port::new(&b, "eth0"))?;
    link::address(link::Port::new(&a, "eth0"), &["192.0.2.1/24"])?;
    link::address(link::Port::new(&b, "eth0"), &["192.0.2.2/24"])?;
    Ok((a, b))
}

/// Two shards with a session; `a` made the first step.
fn pair(lab: &Lab) -> Result<(Site, Site)> {
    let (a, b) = underlay(lab)?;
    let site_b = Site::start(B, &b, A.key(), Vec::new())?;
    let site_a = Site::start(A, &a, B.key(), vec![B.endpoint()])?;
    site_a.wait_connected()?;
    Ok((site_a, site_b))
}
