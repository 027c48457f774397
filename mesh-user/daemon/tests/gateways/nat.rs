//! A router that translates addresses stands before one of the gateways.

use anyhow::{Result, ensure};
use mesh_lab::{
    Lab, Namespace,
    demo::Network,
    link::{self, Port},
};

use crate::site::{carry, client, pair, programs, server};

/// Puts a cluster's gateway behind a router: 198.51.100.2 behind 172.31.0.50.
fn put_behind_router(lab: &Lab, network: &Network, cluster: usize, rules: &str) -> Result<Namespace> {
    let router = lab.namespace("nat")?;
    network.unplug(cluster)?;
    let gateway = network.clusters[cluster].gateway();
    link::veth(Port::new(gateway, "und0"), Port::new(&router, "in0"))?;
    link::plug(Port::new(&router, "out0"), Port::new(&network.wire, "wire"), "nat")?;
    link::address(Port::new(gateway, "und0"), &["198.51.100.2/24"])?;
    link::address(Port::new(&router, "in0"), &["198.51.100.1/24"])?;
    link::address(Port::new(&router, "out0"), &["172.31.0.50/24"])?;
    gateway.ip(&["route", "add", "default", "via", "198.51.100.1"])?;
    router.sysctl("net/ipv4/ip_forward", "1")?;
    router.run("nft", &[rules])?;
    Ok(router)
}

#[test]
fn a_client_behind_a_router() -> Result<()> {
    let (lab, programs) = (Lab::new()?, programs()?);
    let mut network = pair(&lab, [&programs, &programs])?;
    let rules = "table ip nat {
        chain out {
            type nat hook postrouting priority 100; oifname out0 masquerade random;
        }
        chain pass {
            type filter hook forward priority 0; policy drop; ct state established,related accept; iifname in0 accept;
        }
    }";
    let _router = put_behind_router(&lab, &network, 0, rules)?;
    network.clusters[1].node.put_manifest("gateway", &server(&["port: 51840"], &[]))?;
    network.clusters[0].node.put_manifest("gateway", &client(&["addresses: [172.31.0.2]", "port: 51840"], &[]))?;
    network.clusters[1].node.start()?;
    network.clusters[0].node.start()?;
    carry(&network)?;
    let endpoint = network.clusters[1].node.status()?.connection("cl01")?.endpoint.clone().unwrap_or_default();
    ensure!(endpoint.starts_with("172.31.0.50:"), "the server sees {endpoint}, not the router");
    Ok(())
}

#[test]
fn a_server_behind_a_router_that_passes_a_port_on() -> Result<()> {
    let (lab, programs) = (Lab::new()?, programs()?);
    let mut network = pair(&lab, [&programs, &programs])?;
    let rules = "table ip nat {
        chain in {
            type nat hook prerouting priority -100; iifname out0 udp dport 40000 dnat to 198.51.100.2:31840;
        }
        chain out {
            type nat hook postrouting priority 100; oifname out0 masquerade;
        }
    }";
    let _router = put_behind_router(&lab, &network, 1, rules)?;
    network.clusters[1].node.put_manifest("gateway", &server(&["nodePort: 31840", "serviceType: NodePort"], &[]))?;
    // What the operator knows and no gateway can: the address and port of the mapping.
    network.clusters[0].node.put_manifest("gateway", &client(&["addresses: [172.31.0.50]", "port: 40000"], &[]))?;
    network.clusters[1].node.start()?;
    network.clusters[0].node.start()?;
    carry(&network)
}
