//! Two clusters, each of several gateway nodes and a worker with a pod, on one underlay.
//!
//! Inside a cluster the nodes share a network, on which the gateway nodes have a route to the pods of the worker: the
//! cluster's own routing. Both clusters use the same prefixes for everything.

use std::{fs, net::IpAddr, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use mesh_lab::{
    Lab, Namespace, interrupt,
    link::{self, Port},
    node::{Node, Programs},
    process,
    traffic::End,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const PAUSE: Duration = Duration::from_millis(50);
/// Of the gateway servers.
const PORT: u16 = 51_840;
const SWITCH: &str = "wire";
const POD: &str = "10.243.7.2";
const POD_ROUTER: &str = "10.243.7.1";
const POD_NET: &str = "10.243.7.0/24";
const WORKER: &str = "192.168.50.100";

/// Fields are dropped in order: daemons end before their namespaces.
pub(crate) struct Cluster {
    pub(crate) id: String,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) worker: Node,
    pod: Namespace,
    _inside: Namespace,
}

pub(crate) struct Gateway {
    pub(crate) node: Node,
    index: u8,
    key: String,
    /// On the underlay.
    address: String,
}

/// The client cluster and the server cluster.
pub(crate) struct Pair {
    pub(crate) clusters: [Cluster; 2],
    _underlay: Namespace,
}

impl Pair {
    /// Connected, with so many gateway nodes on each side.
    pub(crate) fn start(lab: &Lab, gateways: [u8; 2]) -> Result<Pair> {
        let programs = Programs::beside(env!("CARGO_BIN_EXE_meshd"))?;
        let underlay = lab.namespace("wire")?;
        link::switch(&underlay, SWITCH)?;
        let client = Cluster::lay_out(lab, 1, gateways[0], &underlay, &programs)?;
        let server = Cluster::lay_out(lab, 2, gateways[1], &underlay, &programs)?;
        client.connect(&server, &client.gateway_client(&server))?;
        server.connect(&client, &server.gateway_server(&client))?;
        let mut pair = Pair { clusters: [client, server], _underlay: underlay };
        for cluster in pair.clusters.iter_mut().rev() {
            cluster.gateways.iter_mut().try_for_each(|gateway| gateway.node.start())?;
            cluster.worker.start()?;
        }
        pair.wait_connected()?;
        Ok(pair)
    }

    /// Every gateway node has a session with every one of the other side.
    pub(crate) fn wait_connected(&self) -> Result<()> {
        let [a, b] = &self.clusters;
        for (local, remote) in [(a, b), (b, a)] {
            for gateway in &local.gateways {
                interrupt::wait_for("sessions with all gateway nodes", PATIENCE, PAUSE, || {
                    let lanes = gateway.lanes()?;
                    let is_live =
                        |key: &str| lanes.iter().any(|lane| lane["gateway"] == key && lane["state"] == "Live");
                    Ok(remote.gateways.iter().all(|gateway| is_live(&gateway.key)).then_some(()))
                })
                .with_context(|| self.tails())?;
                gateway.node.wait_connected(&remote.id, PATIENCE)?;
            }
        }
        Ok(())
    }

    pub(crate) fn tails(&self) -> String {
        let nodes = self.clusters.iter().flat_map(|cluster| {
            cluster.gateways.iter().map(|gateway| &gateway.node).chain([&cluster.worker]).map(|node| node.tail(30))
        });
        nodes.collect::<Vec<_>>().join("\n")
    }
}

impl Cluster {
    fn lay_out(lab: &Lab, number: u8, gateways: u8, underlay: &Namespace, programs: &Programs) -> Result<Cluster> {
        let id = format!("cl{number:02}");
        let inside = lab.namespace(&format!("{id}-inside"))?;
        link::switch(&inside, SWITCH)?;
        let (host, pod) = (lab.namespace(&format!("{id}-worker"))?, lab.namespace(&format!("{id}-pod"))?);
        link::plug(Port::new(&host, "int0"), Port::new(&inside, SWITCH), "worker")?;
        link::address(Port::new(&host, "int0"), &[&format!("{WORKER}/24")])?;
        link::veth(Port::new(&pod, "eth0"), Port::new(&host, "pods1"))?;
        link::address(Port::new(&pod, "eth0"), &[&format!("{POD}/24")])?;
        link::address(Port::new(&host, "pods1"), &[&format!("{POD_ROUTER}/24")])?;
        pod.ip(&["route", "add", "default", "via", POD_ROUTER])?;
        host.sysctl("net/ipv4/ip_forward", "1")?;
        let gateways: Vec<Gateway> = (0..gateways)
            .map(|index| Gateway::lay_out(lab, &id, number, index, [underlay, &inside], programs))
            .collect::<Result<_>>()?;
        let worker = Node::new(lab, &format!("{id}-worker"), &host, programs)?;
        let nodes: Vec<String> =
            gateways.iter().map(|gateway| format!("\"{}\"", inside_address(gateway.index))).collect();
        let part = format!("enabled = false\nnodes = [{}]\n", nodes.join(", "));
        worker.configure(&settings(&id, &part, &[("pods1", "workload"), ("int0", "workload")]))?;
        Ok(Cluster { id, gateways, worker, pod, _inside: inside })
    }

    /// The same manifests on every node.
    fn connect(&self, remote: &Cluster, gateway: &str) -> Result<()> {
        let head = |kind: &str, name: &str| head(kind, &remote.id, name);
        let configuration = format!(
            "{}spec:\n  remote:\n    cidr: {{ pod: 10.243.0.0/16, external: 10.70.0.0/16 }}\n",
            head("Configuration", &remote.id)
        );
        let key = |gateway: &Gateway| {
            format!(
                "{}    mesh/gateway-node: gw{1}\n  annotations:\n    mesh/gateway-index: \"{1}\"\n    \
                 mesh/gateway-addresses: {2}\nspec:\n  publicKey: {3}\n",
                head("PublicKey", &format!("{}-{}", remote.id, gateway.index)),
                gateway.index,
                gateway.address,
                gateway.key
            )
        };
        let keys: Vec<String> = remote.gateways.iter().map(key).collect();
        for node in self.gateways.iter().map(|gateway| &gateway.node).chain([&self.worker]) {
            let text = [configuration.as_str(), gateway].into_iter().chain(keys.iter().map(String::as_str));
            node.put_manifest(&remote.id, &text.collect::<Vec<_>>().join("---\n"))?;
        }
        Ok(())
    }

    fn gateway_server(&self, client: &Cluster) -> String {
        format!("{}spec:\n  endpoint: {{ port: {PORT} }}\n", head("GatewayServer", &client.id, &client.id))
    }

    fn gateway_client(&self, server: &Cluster) -> String {
        let addresses: Vec<&str> = server.gateways.iter().map(|gateway| gateway.address.as_str()).collect();
        format!(
            "{}spec:\n  endpoint: {{ addresses: [{}], port: {PORT}, protocol: UDP }}\n",
            head("GatewayClient", &server.id, &server.id),
            addresses.join(", ")
        )
    }

    pub(crate) fn pod(&self) -> Result<End> {
        Ok(End::new(&self.pod, POD.parse::<IpAddr>()?))
    }

    pub(crate) fn pod_namespace(&self) -> &Namespace {
        &self.pod
    }

    /// What a pod of the other cluster dials to reach the pod of this one.
    pub(crate) fn dial() -> Result<IpAddr> {
        Ok("10.71.7.2".parse()?)
    }

    /// SIGKILL for the daemon of a gateway node, and its cables are dead.
    pub(crate) fn kill(&mut self, index: usize) -> Result<()> {
        let node = &mut self.gateways[index].node;
        for device in ["und0", "int0"] {
            node.namespace().ip(&["link", "set", "dev", device, "down"])?;
        }
        node.kill()
    }

    /// The node is there again, as after a reboot.
    pub(crate) fn revive(&mut self, index: usize) -> Result<()> {
        let gateway = &mut self.gateways[index];
        for device in ["und0", "int0"] {
            gateway.node.namespace().ip(&["link", "set", "dev", device, "up"])?;
        }
        gateway.route_to_pods()?;
        gateway.node.start()
    }
}

impl Gateway {
    fn lay_out(
        lab: &Lab,
        id: &str,
        number: u8,
        index: u8,
        [underlay, inside]: [&Namespace; 2],
        programs: &Programs,
    ) -> Result<Gateway> {
        let host = lab.namespace(&format!("{id}-gw{index}"))?;
        let address = format!("172.31.0.{}", 10 * number + index + 1);
        link::plug(Port::new(&host, "und0"), Port::new(underlay, SWITCH), &format!("{id}-gw{index}"))?;
        link::address(Port::new(&host, "und0"), &[&format!("{address}/24")])?;
        link::plug(Port::new(&host, "int0"), Port::new(inside, SWITCH), &format!("gw{index}"))?;
        link::address(Port::new(&host, "int0"), &[&format!("{}/24", inside_address(index))])?;
        host.sysctl("net/ipv4/ip_forward", "1")?;
        let node = Node::new(lab, &format!("{id}-gw{index}"), &host, programs)?;
        let part = format!("index = {index}\n");
        node.configure(&settings(id, &part, &[("und0", "underlay"), ("int0", "workload")]))?;
        let key = make_key(&node)?;
        let gateway = Gateway { node, index, key, address };
        gateway.route_to_pods()?;
        Ok(gateway)
    }

    /// The cluster's own routing.
    fn route_to_pods(&self) -> Result<()> {
        self.node.namespace().ip(&["route", "replace", POD_NET, "via", WORKER])?;
        Ok(())
    }

    /// Of its only connection, as the status tells them: one for each gateway node of the remote.
    pub(crate) fn lanes(&self) -> Result<Vec<serde_json::Value>> {
        let status = self.node.meshctl(&["status", "-o", "json"])?.stdout;
        let status: serde_json::Value = serde_json::from_str(&status).context("the status is JSON")?;
        Ok(status["connections"][0]["lanes"].as_array().cloned().unwrap_or_default())
    }

    /// Packets that it sent to a gateway node of the remote.
    pub(crate) fn sent(&self, to: &Gateway) -> Result<u64> {
        let lanes = self.lanes()?;
        let lane = lanes.iter().find(|lane| lane["gateway"] == to.key.as_str()).context("no lane to that node")?;
        lane["tx_packets"].as_u64().context("a lane counts what it sent")
    }
}

fn inside_address(index: u8) -> String {
    format!("192.168.50.{}", index + 1)
}

fn settings(id: &str, part: &str, interfaces: &[(&str, &str)]) -> String {
    let mut text = format!(
        "cluster_id = \"{id}\"\n[cidr]\npod = [\"10.243.0.0/16\"]\nexternal = [\"10.70.0.0/16\"]\n[gateway]\n{part}\
         [dns]\nenabled = false\n"
    );
    for (name, role) in interfaces {
        text += &format!("[[interface]]\nname = \"{name}\"\nrole = \"{role}\"\n");
    }
    text
}

fn head(kind: &str, remote: &str, name: &str) -> String {
    format!(
        "apiVersion: networking.liqo.io/v1beta1\nkind: {kind}\nmetadata:\n  name: {name}\n  labels:\n    \
         liqo.io/remote-cluster-id: {remote}\n"
    )
}

/// A key pair by wg(8): the private key where the daemon looks for it, the public one returned.
fn make_key(node: &Node) -> Result<String> {
    let path = node.private_key_file();
    fs::write(&path, process::output(Command::new("wg").arg("genkey"), Duration::from_secs(5))?)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let mut derive = Command::new("sh");
    derive.args(["-c", "wg pubkey < \"$0\""]).arg(&path);
    Ok(process::output(&mut derive, Duration::from_secs(5))?.trim().to_owned())
}
