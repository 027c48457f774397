//! The end of a connection that waits for the other: on which ports it listens, one for each lane.

use super::{
    document::{Document, Place},
    gateway,
    problem::Problems,
    tree::Fields,
};
use crate::tunnel::MAX_LANES;

/// Port of a gateway server unless it says otherwise.
pub const DEFAULT_PORT: u16 = 51_840;

const SERVICE_TYPES: [&str; 3] = ["NodePort", "LoadBalancer", "ClusterIP"];

/// A `GatewayServer` manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayServer {
    pub place: Place,
    /// UDP ports of this node, one for each lane.
    pub listen_ports: Vec<u16>,
    pub mtu: u16,
}

impl GatewayServer {
    pub(crate) fn read(document: &Document, problems: &mut Problems) -> Option<GatewayServer> {
        document.spec(problems, |spec| {
            spec.ignore(&["secretRef"]);
            let hint = "write wireguard-server; 'direct' is given as GatewayClient on both sides";
            gateway::template(spec, "serverTemplateRef", &["wireguard-server"], hint);
            let mtu = gateway::mtu(spec);
            let listen_ports = spec.required_section("endpoint").map(listen_ports)?;
            Some(GatewayServer { place: document.place.clone(), listen_ports, mtu })
        })
    }
}

/// Node ports are what the node listens on; without them it is the ports of the service.
fn listen_ports(mut endpoint: Fields<'_>) -> Vec<u16> {
    endpoint.ignore(&["allocateLoadBalancerNodePorts", "loadBalancerIP", "serviceClass"]);
    let ports = ports(&mut endpoint, "port", "ports");
    let node_ports = ports_of_node(&mut endpoint, ports.len());
    let service = endpoint.text("serviceType");
    if let Some(other) = service.filter(|service| !SERVICE_TYPES.contains(service)) {
        endpoint.report(
            "serviceType",
            format!("{other:?} is not known"),
            format!("write {}", SERVICE_TYPES.join(", ")),
        );
    }
    if !node_ports.is_empty() && service.is_some_and(|service| service != "NodePort") {
        endpoint.report(
            "nodePort",
            "only a service of type NodePort has one",
            "remove it or set serviceType: NodePort",
        );
    }
    endpoint.finish();
    let given = [node_ports, ports].into_iter().find(|ports| !ports.is_empty());
    given.unwrap_or_else(|| vec![DEFAULT_PORT])
}

/// As many as the service has, where both are given.
fn ports_of_node(endpoint: &mut Fields<'_>, of_service: usize) -> Vec<u16> {
    let node_ports = ports(endpoint, "nodePort", "nodePorts");
    if !node_ports.is_empty() && of_service > 1 && node_ports.len() != of_service {
        let message = format!("{} node ports for {of_service} ports", node_ports.len());
        endpoint.report("nodePorts", message, "give as many as there are ports");
    }
    node_ports
}

/// The ports of a pair of fields that exclude each other, one for each lane; none where neither is given.
pub(super) fn ports(endpoint: &mut Fields<'_>, one: &'static str, many: &'static str) -> Vec<u16> {
    let (single, several) = (endpoint.ports(one), endpoint.ports(many));
    if !endpoint.is_absent(one) && !endpoint.is_absent(many) {
        endpoint.report(many, format!("given beside {one}"), "give one of the two");
    }
    if endpoint.is_empty_list(many) {
        endpoint.report(many, "empty", "give a port for each lane, or leave it out");
    }
    if several.len() > MAX_LANES {
        let message = format!("{} ports", several.len());
        endpoint.report(many, message, format!("a connection has at most {MAX_LANES} lanes"));
    }
    for (at, port) in several.iter().enumerate() {
        if several[..at].contains(port) {
            endpoint.report(many, format!("{port} stands twice"), "give each lane a port of its own");
        }
    }
    if single.is_empty() { several } else { single }
}
