//! A cluster of the demo: a gateway that runs the real `meshd`, and two hosts with pods.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};

use super::site::{self, Site};
use crate::{
    Lab, Namespace,
    link::{self, Port},
    node::{Node, Programs},
    pass_xdp::PassXdp,
    process,
    traffic::{self, End},
};

#[derive(Debug)]
pub struct Cluster {
    pub site: Site,
    pub node: Node,
    /// Namespaces with pods.
    pub hosts: [Namespace; 2],
    public_key: String,
    far_programs: Mutex<Vec<PassXdp>>,
}

/// What packets look like on the cables of a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cables {
    /// Offloads as the kernel sets them: segmentation and checksums are left to the far end.
    Virtual,
    /// As between machines: complete checksums, one segment a packet.
    Real,
}

impl Cables {
    /// `near` is the gateway's end.
    fn apply(self, near: Port, far: Port) -> Result<Option<PassXdp>> {
        match self {
            Cables::Virtual => Ok(None),
            Cables::Real => {
                [near, far].into_iter().try_for_each(link::as_on_a_wire)?;
                // A veth delivers what XDP_TX sends back only to an end with a program of its own, a wire to any.
                PassXdp::attach(far).map(Some)
            }
        }
    }
}

impl Cluster {
    /// Namespaces, addresses, settings and a key, all but the cable to the underlay; `meshd` does not run yet.
    pub(super) fn lay_out(lab: &Lab, site: Site, cables: Cables, programs: &Programs) -> Result<Cluster> {
        let id = site.id.clone();
        let gateway = lab.namespace(&format!("{id}-gw"))?;
        let hosts = [lab.namespace(&format!("{id}-a"))?, lab.namespace(&format!("{id}-b"))?];
        let mut far_programs = Vec::new();
        for (host, (number, device)) in hosts.iter().zip([(1, "pods1"), (2, "pods2")]) {
            let (inner, outer) = (Port::new(host, "eth0"), Port::new(&gateway, device));
            link::veth(inner, outer)?;
            connect_host(inner, outer, number, &site)?;
            far_programs.extend(cables.apply(outer, inner)?);
        }
        // A gateway is a router; what else it takes is up to the daemon.
        gateway.sysctl("net/ipv4/ip_forward", "1")?;
        gateway.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        let node = Node::new(lab, &format!("{id}-gw"), &gateway, programs)?;
        node.configure(&site.settings())?;
        let public_key = make_key(&node)?;
        Ok(Cluster { site, node, hosts, public_key, far_programs: Mutex::new(far_programs) })
    }

    /// Plugs `und0` of the gateway into a switch. Whatever the gateway has no route for leaves through it.
    pub(super) fn plug(&self, switch: Port, cables: Cables, mtu: u16) -> Result<()> {
        let (underlay, port) = (Port::new(self.gateway(), "und0"), Port::new(switch.namespace, self.id()));
        link::plug(underlay, switch, self.id())?;
        for end in [underlay, port] {
            link::mtu(end, mtu)?;
        }
        let program = cables.apply(underlay, port)?;
        self.far_programs.lock().unwrap_or_else(PoisonError::into_inner).extend(program);
        link::address(underlay, &[&format!("{}/24", self.site.underlay)])?;
        if let Some(v6) = self.site.underlay_v6 {
            link::address(underlay, &[&format!("{v6}/64")])?;
        }
        self.gateway().ip(&["route", "add", "default", "via", &site::DEFAULT_GATEWAY.to_string()])?;
        Ok(())
    }

    pub fn id(&self) -> &str {
        &self.site.id
    }

    pub fn gateway(&self) -> &Namespace {
        self.node.namespace()
    }

    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    /// A pod on one of the two hosts, as the random numbers fall.
    pub fn pod(&self, v6: bool, random: &mut u64) -> End {
        let host = traffic::random(random) % 2;
        self.pod_on(host as usize, v6, random)
    }

    /// A pod on host 0 or 1.
    pub fn pod_on(&self, host: usize, v6: bool, random: &mut u64) -> End {
        let address = site::pod_address(host as u8 + 1, v6, traffic::random(random));
        End::new(&self.hosts[host], address)
    }
}

/// Addresses and routes of one host and of the gateway's side of its cable.
fn connect_host(inner: Port, outer: Port, number: u8, site: &Site) -> Result<()> {
    for v6 in [false, true] {
        if v6 && !site.is_dual_stack() {
            continue;
        }
        let own = site::host_addresses(number, v6);
        link::address(outer, &[&format!("{}/{}", own.gateway, own.length)])?;
        link::address(inner, &[&format!("{}/{}", own.host, own.length)])?;
        if v6 {
            // IPv4 takes a local route for an address to bind to, IPv6 only an assigned address or this.
            inner.namespace.sysctl("net/ipv6/ip_nonlocal_bind", "1")?;
        }
        let pods = format!("{}/{}", own.pods, own.pods_length);
        let family = if v6 { "-6" } else { "-4" };
        // The whole range is local to the host: any pod of it can be dialled and can dial.
        inner.namespace.ip(&[family, "route", "add", "local", &pods, "dev", "lo"])?;
        inner.namespace.ip(&[family, "route", "add", "default", "via", &own.gateway.to_string()])?;
        outer.namespace.ip(&[family, "route", "add", &pods, "via", &own.host.to_string()])?;
    }
    Ok(())
}

/// A key pair by wg(8): the private key where the daemon looks for it, the public one returned.
pub fn make_key(node: &Node) -> Result<String> {
    let path = node.private_key_file();
    let private = process::output(Command::new("wg").arg("genkey"), Duration::from_secs(5))?;
    fs::write(&path, private)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let mut derive = Command::new("sh");
    derive.args(["-c", "wg pubkey < \"$0\""]).arg(&path);
    let public = process::output(&mut derive, Duration::from_secs(5)).context("wg pubkey")?;
    Ok(public.trim().to_owned())
}
