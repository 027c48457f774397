//! Clusters on one underlay, and the connections between them.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use super::{
    cluster::{Cables, Cluster},
    site::{self, Connection, Site},
};
use crate::{
    Lab, Namespace,
    link::{self, Port},
    node::Programs,
    status::Prefix,
};

/// UDP port of the first gateway server of a node; the others follow.
const FIRST_PORT: u16 = 51_840;
/// The bridge in the namespace of the underlay.
const SWITCH: &str = "wire";

/// Fields are dropped in order: daemons end before their namespaces.
#[derive(Debug)]
pub struct Network {
    pub clusters: Vec<Cluster>,
    /// The namespace of the switch that all gateways are plugged into; the port of a cluster has its id as name.
    pub wire: Namespace,
    connections: Vec<(usize, usize, Connection)>,
}

/// From the pods of one cluster to those of another, in one family.
#[derive(Clone, Copy, Debug)]
pub struct Direction<'a> {
    pub network: &'a Network,
    pub from: &'a Cluster,
    pub to: &'a Cluster,
    pub connection: Connection,
    pub v6: bool,
    /// What `from` calls the pods of `to`.
    pub there: Prefix,
    /// What `to` calls the pods of `from`.
    pub here: Prefix,
}

impl Network {
    /// A switch with nobody on it.
    pub fn new(lab: &Lab, name: &str, mtu: u16) -> Result<Network> {
        let wire = lab.namespace(name)?;
        link::switch(&wire, SWITCH)?;
        let switch = Port::new(&wire, SWITCH);
        link::mtu(switch, mtu)?;
        link::address(switch, &[&format!("{}/24", site::DEFAULT_GATEWAY)])?;
        Ok(Network { clusters: Vec::new(), wire, connections: Vec::new() })
    }

    /// Adds a cluster whose daemon does not run yet. The MTU of its underlay is that of the switch.
    pub fn add(&mut self, lab: &Lab, site: Site, cables: Cables, mtu: u16, programs: &Programs) -> Result<&Cluster> {
        let cluster = Cluster::lay_out(lab, site, cables, programs)?;
        cluster.plug(Port::new(&self.wire, SWITCH), cables, mtu)?;
        self.clusters.push(cluster);
        Ok(self.clusters.last().expect("one was just pushed"))
    }

    /// Writes the manifests that connect two clusters, on both. `server` matters to WireGuard only.
    pub fn connect(&mut self, client: usize, server: usize, connection: Connection) -> Result<()> {
        let port = FIRST_PORT + self.connections.len() as u16;
        let (a, b) = (&self.clusters[client], &self.clusters[server]);
        for (local, remote) in [(a, b), (b, a)] {
            local.node.put_manifest(
                &format!("configuration-{}", remote.id()),
                &local.site.configuration(&remote.site, connection),
            )?;
        }
        let to_server = a.site.gateway_client(&b.site, connection, port);
        a.node.put_manifest(&format!("gateway-{}", b.id()), &to_server)?;
        let to_client = match connection {
            Connection::Wireguard => b.site.gateway_server(&a.site, port),
            Connection::Direct => b.site.gateway_client(&a.site, connection, port),
        };
        b.node.put_manifest(&format!("gateway-{}", a.id()), &to_client)?;
        if connection == Connection::Wireguard {
            a.node.put_manifest(&format!("key-{}", b.id()), &b.site.public_key(b.public_key()))?;
            b.node.put_manifest(&format!("key-{}", a.id()), &a.site.public_key(a.public_key()))?;
        }
        self.connections.push((client, server, connection));
        Ok(())
    }

    /// They are connected by other means than the manifests of this network: by an operator.
    pub fn joined(&mut self, client: usize, server: usize) {
        self.connections.push((client, server, Connection::Wireguard));
    }

    /// The cable that plugs the gateway of a cluster into the switch is cut: both of its ends are gone.
    pub fn unplug(&self, cluster: usize) -> Result<()> {
        self.clusters[cluster].gateway().ip(&["link", "delete", "dev", "und0"])?;
        Ok(())
    }

    /// A new cable instead of one that was cut, with the addresses and the MTU of the old one.
    pub fn plug(&self, cluster: usize, cables: Cables, mtu: u16) -> Result<()> {
        self.clusters[cluster].plug(Port::new(&self.wire, SWITCH), cables, mtu)
    }

    /// Starts every daemon and waits until every connection is connected at both ends.
    pub fn start(&mut self) -> Result<()> {
        // Servers, which stand second, first: a client that calls too early tries again after five seconds only.
        for cluster in self.clusters.iter_mut().rev() {
            cluster.node.start()?;
        }
        self.wait_connected(Duration::from_secs(20))
    }

    pub fn wait_connected(&self, patience: Duration) -> Result<()> {
        for (a, b, _) in &self.connections {
            let (a, b) = (&self.clusters[*a], &self.clusters[*b]);
            a.node.wait_connected(b.id(), patience)?;
            b.node.wait_connected(a.id(), patience)?;
        }
        Ok(())
    }

    /// Both directions of every connection, in every family that both ends have.
    pub fn directions(&self) -> Result<Vec<Direction<'_>>> {
        let mut all = Vec::new();
        for (a, b, _) in &self.connections {
            for (from, to) in [(*a, *b), (*b, *a)] {
                for v6 in [false, true] {
                    let dual_stack = self.clusters[from].site.is_dual_stack() && self.clusters[to].site.is_dual_stack();
                    if !v6 || dual_stack {
                        all.push(self.direction(from, to, v6)?);
                    }
                }
            }
        }
        Ok(all)
    }

    pub fn direction(&self, from: usize, to: usize, v6: bool) -> Result<Direction<'_>> {
        let connection = self.connections.iter().find(|(a, b, _)| (*a, *b) == (from, to) || (*b, *a) == (from, to));
        let (.., connection) = connection.context("these clusters are not connected")?;
        let (from, to) = (&self.clusters[from], &self.clusters[to]);
        let (there, here) = match connection {
            Connection::Wireguard => (called(from, to, v6)?, called(to, from, v6)?),
            Connection::Direct => {
                let index = usize::from(v6);
                (Prefix::parse(&to.site.presented_pods[index])?, Prefix::parse(&from.site.presented_pods[index])?)
            }
        };
        Ok(Direction { network: self, from, to, connection: *connection, v6, there, here })
    }

    /// The logs of all daemons, their ends.
    pub fn tails(&self) -> String {
        self.clusters.iter().map(|cluster| cluster.node.tail(30)).collect::<Vec<_>>().join("\n")
    }
}

impl Direction<'_> {
    /// `cl01 -> cl02`, with the family where there are two.
    pub fn name(&self) -> String {
        let family = if self.v6 { " (IPv6)" } else { "" };
        format!("{} -> {}{family}", self.from.id(), self.to.id())
    }

    /// What a pod of `from` dials to reach this pod of `to`.
    pub fn dial(&self, pod: IpAddr) -> Result<IpAddr> {
        self.there.of(pod).with_context(|| format!("{pod} is not of the family of {:?}", self.there))
    }

    /// What `to` must see of a pod of `from`.
    pub fn seen(&self, pod: IpAddr) -> Result<IpAddr> {
        self.here.of(pod).with_context(|| format!("{pod} is not of the family of {:?}", self.here))
    }

    pub fn mtu(&self) -> usize {
        match self.connection {
            Connection::Wireguard => super::TUNNEL_MTU.into(),
            Connection::Direct => super::DIRECT_MTU.into(),
        }
    }

    /// Headers of a UDP packet: IP and UDP.
    pub fn headers(&self) -> usize {
        if self.v6 { 48 } else { 28 }
    }
}

/// What a cluster calls the pods of another, by its own word.
fn called(local: &Cluster, remote: &Cluster, v6: bool) -> Result<Prefix> {
    let status = local.node.status()?;
    let connection = &status.connection(remote.id())?.name;
    let real = &remote.site.pods[usize::from(v6)];
    let Some(remap) = status.remaps.iter().find(|remap| remap.connection == *connection && remap.real == *real) else {
        bail!("{} lists no remap of {real} for {connection}: {:?}", local.id(), status.remaps)
    };
    ensure!(remap.presented != *local.site.pods[usize::from(v6)], "{} calls {real} like its own", local.id());
    Prefix::parse(&remap.presented)
}
