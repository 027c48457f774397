//! The tunnels that are compared: each between the same two namespaces, over the same cable.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use mesh_lab::{
    Lab, Namespace,
    demo::{Network, TUNNEL_MTU, wireguard_pair},
    link::{self, Port},
    node::Programs,
    status::Prefix,
    wireguard::{Installed, Program, Wireguard},
};

/// A tunnel that is up.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) name: &'static str,
    pub(super) client: Namespace,
    pub(super) server: Namespace,
    /// The server's address inside the tunnel.
    pub(super) to: IpAddr,
    pub(super) mtu: u16,
    /// The daemons of both ends.
    pub(super) daemons: [u32; 2],
}

/// Two hosts and a virtual cable between them.
#[derive(Debug)]
pub(super) struct Cable {
    pub(super) hosts: [Namespace; 2],
}

/// Underlay address of the second host.
pub(super) const SERVER: &str = "192.0.2.2";
const HOSTS: [&str; 2] = ["192.0.2.1", SERVER];

impl Cable {
    pub(super) fn lay(lab: &Lab, name: &str, mtu: u16) -> Result<Cable> {
        let hosts = [lab.namespace(&format!("{name}1"))?, lab.namespace(&format!("{name}2"))?];
        link::veth(Port::new(&hosts[0], "eth0"), Port::new(&hosts[1], "eth0"))?;
        for (host, address) in hosts.iter().zip(HOSTS) {
            let port = Port::new(host, "eth0");
            link::mtu(port, mtu)?;
            link::address(port, &[&format!("{address}/24")])?;
        }
        Ok(Cable { hosts })
    }
}

/// The same program at both ends of a cable, configured by wg(8); ended when dropped.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) ends: [Wireguard; 2],
    to: Ipv4Addr,
    mtu: u16,
}

impl Pair {
    /// `number` tells the tunnels on one cable apart.
    pub(super) fn start(
        lab: &Lab,
        installed: &Installed,
        program: Program,
        cable: &Cable,
        (number, mtu): (u8, u16),
    ) -> Result<Pair> {
        let start = |at: usize| Wireguard::start(lab, installed, program, &cable.hosts[at]);
        let ends = [start(0)?, start(1)?];
        let port = |at: usize| (52_000 + u16::from(number) * 2 + at as u16).to_string();
        for (at, end) in ends.iter().enumerate() {
            let other = 1 - at;
            let endpoint = format!("{}:{}", HOSTS[other], port(other));
            let address = format!("10.99.{number}.{}/32", other + 1);
            let peer = ["peer", ends[other].public_key(), "allowed-ips", &address, "endpoint", &endpoint];
            end.configure(&[&["listen-port", &port(at)], &peer[..]].concat())?;
            end.up(&format!("10.99.{number}.{}/24", at + 1), mtu)?;
        }
        Ok(Pair { ends, to: Ipv4Addr::new(10, 99, number, 2), mtu })
    }

    /// The connection, once packets get through.
    pub(super) fn connection(&self) -> Result<Connection> {
        let [client, server] = &self.ends;
        let to = self.to.to_string();
        let greeted = client.namespace().run("ping", &["-c", "3", "-i", "0.2", "-W", "3", &to]);
        greeted.with_context(|| format!("{}\n{}", client.tail(), server.tail()))?;
        Ok(Connection {
            name: client.program().name(),
            client: client.namespace().clone(),
            server: server.namespace().clone(),
            to: self.to.into(),
            mtu: self.mtu,
            daemons: [client.pid(), server.pid()],
        })
    }
}

/// Two connected clusters with `meshd` on their gateways: the second gateway is called from the first.
pub(super) struct Clusters {
    network: Network,
}

impl Clusters {
    pub(super) fn lay_out(lab: &Lab, programs: &Programs) -> Result<Clusters> {
        let mut network = wireguard_pair(lab, programs)?;
        network.start()?;
        Ok(Clusters { network })
    }

    /// The gateway of a cluster has the second address of its external prefix.
    pub(super) fn connection(&self) -> Result<Connection> {
        let [client, server] = [0, 1].map(|at| &self.network.clusters[at]);
        let external = &server.site.external[0];
        let status = client.node.status()?;
        let called = status.remaps.iter().find(|remap| remap.real == *external);
        let called = called.with_context(|| format!("{} has no remap of {external}", client.id()))?;
        let second = IpAddr::V4(Ipv4Addr::new(0, 0, 0, 2));
        let to = Prefix::parse(&called.presented)?.of(second).context("the first external prefix is of IPv4")?;
        let pid = |at: usize| {
            let node = &self.network.clusters[at].node;
            node.pid().with_context(|| format!("meshd of {} does not run", node.host()))
        };
        let (daemons, server) = ([pid(0)?, pid(1)?], server.gateway().clone());
        let client = client.gateway().clone();
        Ok(Connection { name: "meshd", client, server, to, mtu: TUNNEL_MTU, daemons })
    }
}
