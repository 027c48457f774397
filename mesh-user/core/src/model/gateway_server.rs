//! The end of a connection that waits for the other: on which port it listens.

use super::{
    document::{Document, Place},
    gateway,
    problem::Problems,
    tree::Fields,
};

/// Port of a gateway server unless it says otherwise.
pub const DEFAULT_PORT: u16 = 51_840;

const SERVICE_TYPES: [&str; 3] = ["NodePort", "LoadBalancer", "ClusterIP"];

/// A `GatewayServer` manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayServer {
    pub place: Place,
    /// UDP port of this node.
    pub listen_port: u16,
    pub mtu: u16,
}

impl GatewayServer {
    pub(crate) fn read(document: &Document, problems: &mut Problems) -> Option<GatewayServer> {
        document.spec(problems, |spec| {
            spec.ignore(&["secretRef"]);
            let hint = "write wireguard-server; 'direct' is given as GatewayClient on both sides";
            gateway::template(spec, "serverTemplateRef", &["wireguard-server"], hint);
            let mtu = gateway::mtu(spec);
            let listen_port = spec.required_section("endpoint").and_then(listen_port)?;
            Some(GatewayServer { place: document.place.clone(), listen_port, mtu })
        })
    }
}

/// A node port is what the node listens on; without one it is the service port.
fn listen_port(mut endpoint: Fields<'_>) -> Option<u16> {
    endpoint.ignore(&["allocateLoadBalancerNodePorts", "loadBalancerIP", "serviceClass"]);
    let port = single(&mut endpoint, "port", "ports");
    let node_port = single(&mut endpoint, "nodePort", "nodePorts");
    let service = endpoint.text("serviceType");
    if let Some(other) = service.filter(|service| !SERVICE_TYPES.contains(service)) {
        endpoint.report(
            "serviceType",
            format!("{other:?} is not known"),
            format!("write {}", SERVICE_TYPES.join(", ")),
        );
    }
    if node_port.is_some() && service.is_some_and(|service| service != "NodePort") {
        endpoint.report(
            "nodePort",
            "only a service of type NodePort has one",
            "remove it or set serviceType: NodePort",
        );
    }
    endpoint.finish();
    Some(node_port.or(port).unwrap_or(DEFAULT_PORT))
}

/// The one port of a pair of fields that exclude each other.
pub(super) fn single(endpoint: &mut Fields<'_>, one: &'static str, many: &'static str) -> Option<u16> {
    let (single, several) = (endpoint.ports(one), endpoint.ports(many));
    if !endpoint.is_absent(one) && !endpoint.is_absent(many) {
        endpoint.report(many, format!("given beside {one}"), "give one of the two");
    }
    if several.len() > 1 {
        endpoint.report(many, "more than one port", "give one: a connection has one lane here");
    }
    single.into_iter().chain(several).next()
}
