//! A router in between translates addresses, and forgets who is quiet: a keepalive keeps the way open.

use std::time::Duration;

use anyhow::{Result, ensure};
use mesh_lab::{
    Lab, Namespace,
    link::{self, Port},
    traffic,
    wireguard::Program,
};

use super::{
    ends::{Tunnel, carry},
    for_each_rival,
};

for_each_rival!(we_are_behind_it, they_are_behind_it);

/// How long the router remembers, which is longer than a keepalive's interval.
const MEMORY: Duration = Duration::from_secs(2);

/// `inside` - router - `outside`, which has the address 192.0.2.2.
fn lay_out(lab: &Lab) -> Result<[Namespace; 3]> {
    let [inside, router, outside] = [lab.namespace("in")?, lab.namespace("nat")?, lab.namespace("out")?];
    link::veth(Port::new(&inside, "eth0"), Port::new(&router, "in0"))?;
    link::veth(Port::new(&outside, "eth0"), Port::new(&router, "out0"))?;
    link::address(Port::new(&inside, "eth0"), &["198.51.100.2/24"])?;
    link::address(Port::new(&router, "in0"), &["198.51.100.1/24"])?;
    link::address(Port::new(&router, "out0"), &["192.0.2.1/24"])?;
    link::address(Port::new(&outside, "eth0"), &["192.0.2.2/24"])?;
    inside.ip(&["route", "add", "default", "via", "198.51.100.1"])?;
    router.sysctl("net/ipv4/ip_forward", "1")?;
    let rules = "table ip nat {
        chain out { type nat hook postrouting priority 100; oifname out0 udp dport 51822 masquerade to :30000-39999 random; }
        chain pass { type filter hook forward priority 0; policy drop;
            ct state established,related accept; iifname in0 accept; }
    }";
    router.run("nft", &[rules])?;
    for key in ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"] {
        router.sysctl(&format!("net/netfilter/{key}"), &MEMORY.as_secs().to_string())?;
    }
    Ok([inside, router, outside])
}

fn we_are_behind_it(rival: Program) -> Result<()> {
    behind(Program::MeshWg, rival)
}

fn they_are_behind_it(rival: Program) -> Result<()> {
    behind(rival, Program::MeshWg)
}

fn behind(inside: Program, outside: Program) -> Result<()> {
    let lab = Lab::new()?;
    let [inner, _router, outer] = lay_out(&lab)?;
    let (inside, outside) = (Tunnel::start(&lab, inside, &inner, 1)?, Tunnel::start(&lab, outside, &outer, 2)?);
    outside.join(&inside, &[])?;
    inside.join(&outside, &["endpoint", "192.0.2.2:51822", "persistent-keepalive", "1"])?;
    carry(&inside, &outside)?;
    let seen = outside.peer("endpoints")?;
    ensure!(seen.starts_with("192.0.2.1:3"), "{seen} is not the router");

    // Only keepalives are on the way meanwhile.
    std::thread::sleep(MEMORY * 2);
    ensure!(traffic::answers_ping(&outside.end(), inside.inner.into(), 1)?, "the way in is no longer open");
    Ok(())
}
