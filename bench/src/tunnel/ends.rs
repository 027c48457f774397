//! The two tunnels that are compared, between the same two gateways.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use mesh_lab::{
    Lab, Namespace,
    demo::{Network, TUNNEL_MTU, wireguard_pair},
    node::Programs,
    process::{self, Daemon},
    status::Prefix,
};

use super::stream::Ends;

/// Two connected clusters; the stream goes from the second gateway to the first.
pub(super) struct Rivals {
    network: Network,
}

impl Rivals {
    pub(super) fn lay_out(lab: &Lab, programs: &Programs) -> Result<Rivals> {
        let mut network = wireguard_pair(lab, programs)?;
        network.start()?;
        Ok(Rivals { network })
    }

    fn gateways(&self) -> [&Namespace; 2] {
        [0, 1].map(|at| self.network.clusters[at].gateway())
    }

    /// The tunnel of meshd. The gateway of a cluster has the second address of its external prefix.
    pub(super) fn ours(&self) -> Result<Ends<'_>> {
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
        Ok(Ends { client: client.gateway(), server: server.gateway(), to, daemons: [pid(0)?, pid(1)?] })
    }
}

/// wireguard-go on both gateways, until it is dropped.
pub(super) struct WireguardGo {
    daemons: [Daemon; 2],
}

const PORT: u16 = 51_999;
const ADDRESSES: [&str; 2] = ["10.99.0.1", "10.99.0.2"];

impl WireguardGo {
    pub(super) fn start(rivals: &Rivals, lab: &Lab, program: &Path) -> Result<WireguardGo> {
        let keys = [make_key()?, make_key()?];
        let mut daemons = Vec::new();
        for (at, gateway) in rivals.gateways().into_iter().enumerate() {
            // The sockets that wg(8) talks to are in one directory for all namespaces.
            let device = format!("wgo{}-{at}", std::process::id());
            let device = device.as_str();
            let mut command = gateway.command(program);
            command.args(["-f", device]).env("LOG_LEVEL", "error");
            let log = lab.directory().join(format!("wireguard-go-{at}.log"));
            let mut daemon = Daemon::start("wireguard-go", command, &log)?;
            let socket = Path::new("/var/run/wireguard").join(format!("{device}.sock"));
            daemon.wait_for_socket(&socket, Duration::from_secs(10))?;
            daemons.push(daemon);
            let file = lab.directory().join(format!("wireguard-go-{at}.key"));
            fs::write(&file, &keys[at].private)?;
            let other = 1 - at;
            let endpoint = format!("{}:{PORT}", rivals.network.clusters[other].site.underlay);
            let port = PORT.to_string();
            let file = file.display().to_string();
            let set = ["set", device, "listen-port", &port, "private-key", &file, "peer", &keys[other].public];
            gateway.run("wg", &[&set[..], &["allowed-ips", "10.99.0.0/24", "endpoint", &endpoint]].concat())?;
            gateway.ip(&["address", "add", &format!("{}/24", ADDRESSES[at]), "dev", device])?;
            gateway.ip(&["link", "set", device, "mtu", &TUNNEL_MTU.to_string(), "up"])?;
        }
        let daemons = daemons.try_into().ok().context("two gateways have two daemons")?;
        rivals.gateways()[0].run("ping", &["-c", "3", "-i", "0.2", "-W", "3", ADDRESSES[1]])?;
        Ok(WireguardGo { daemons })
    }

    pub(super) fn ends<'a>(&self, rivals: &'a Rivals) -> Ends<'a> {
        let [client, server] = rivals.gateways();
        let to = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 2));
        Ends { client, server, to, daemons: [0, 1].map(|at: usize| self.daemons[at].pid()) }
    }
}

impl Drop for WireguardGo {
    /// Asked to end, it takes its socket away, which is in a directory that outlives the lab.
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            // Who does not end is killed next.
            let _ = daemon.terminate();
        }
    }
}

struct Key {
    private: String,
    public: String,
}

fn make_key() -> Result<Key> {
    let patience = Duration::from_secs(5);
    let private = process::output(Command::new("wg").arg("genkey"), patience)?;
    let mut derive = Command::new("sh");
    derive.args(["-c", "echo \"$0\" | wg pubkey", private.trim()]);
    let public = process::output(&mut derive, patience)?.trim().to_owned();
    Ok(Key { private, public })
}
