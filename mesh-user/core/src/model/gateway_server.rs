//! The end of a connection that waits for the other: on which ports it listens, one for each lane, and what it tells clients
//! of where it is.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{
    document::{Document, Place},
    gateway,
    listener::{Driver, Listener},
    problem::Problems,
    tree::Fields,
};
use crate::{
    template::{End, Templates},
    tunnel::MAX_LANES,
};

/// Port of a gateway server unless it says otherwise.
pub const DEFAULT_PORT: u16 = 51_840;

const SERVICE_TYPES: [(&str, ServiceType); 3] = [
    ("NodePort", ServiceType::NodePort),
    ("LoadBalancer", ServiceType::LoadBalancer),
    ("ClusterIP", ServiceType::ClusterIp),
];

/// A `GatewayServer` manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayServer {
    pub place: Place,
    pub listener: Listener,
    /// `None`: the ports are bound as they are, and clients are told the addresses of the node.
    pub service: Option<ServiceType>,
    /// UDP ports, one for each lane.
    pub ports: Vec<u16>,
    /// What a service of type NodePort binds in their place. Empty: ports that the node chooses.
    pub node_ports: Vec<u16>,
    /// Ports that clients are told; empty: those that are bound.
    pub advertised_ports: Vec<u16>,
    pub load_balancer_ip: Option<IpAddr>,
}

/// How clients reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// On a port of the node, at the node's own address.
    NodePort,
    /// At an address that leads to the node.
    LoadBalancer,
    /// From within the cluster alone.
    ClusterIp,
}

impl GatewayServer {
    pub(crate) fn read(document: &Document, templates: &Templates, problems: &mut Problems) -> Option<GatewayServer> {
        gateway::read(
            document,
            End::Server,
            templates,
            problems,
            |fields, _| Some(endpoint(fields)),
            |spec, listener| {
                if listener.driver == Driver::Direct {
                    spec.report("driver", "'direct' has no server", "give a GatewayClient on both sides");
                }
                let service = service(spec, "service");
                let ports = ports(spec, "port", "ports");
                let node_ports = ports_of_node(spec, service, ports.len());
                let advertised_ports = spec.ports("advertisedPorts");
                if !advertised_ports.is_empty() && advertised_ports.len() != ports.len() {
                    let message = format!("{} advertised ports for {} ports", advertised_ports.len(), ports.len());
                    spec.report("advertisedPorts", message, "give as many as there are ports");
                }
                if ports.is_empty() && spec.is_absent("ports") {
                    spec.report("ports", "missing", "give a UDP port for each lane");
                }
                let load_balancer_ip = load_balancer_ip(spec);
                let place = document.place.clone();
                Some(GatewayServer { place, listener, service, ports, node_ports, advertised_ports, load_balancer_ip })
            },
        )
    }

    /// The UDP ports that it binds whatever the node is like; `None`: the node chooses.
    pub fn fixed_ports(&self) -> Option<&[u16]> {
        match self.service {
            Some(ServiceType::NodePort) => (!self.node_ports.is_empty()).then_some(&self.node_ports),
            Some(ServiceType::LoadBalancer | ServiceType::ClusterIp) | None => Some(&self.ports),
        }
    }
}

/// The section with its defaults, as templates see it.
fn endpoint(mut fields: Fields<'_>) -> Map<String, Value> {
    let mut known = fields.all().clone();
    fields.ignore(&["allocateLoadBalancerNodePorts", "serviceClass"]);
    // Kept for templates and for whoever reads the object.
    fields.mapping("annotations");
    fields.mapping("labels");
    let mut ports = ports(&mut fields, "port", "ports");
    if ports.is_empty() {
        ports = vec![DEFAULT_PORT];
    }
    let service = service(&mut fields, "serviceType");
    let node_ports = ports_of_node(&mut fields, service, ports.len());
    load_balancer_ip(&mut fields);
    fields.finish();
    put_ports(&mut known, ["port", "ports"], &ports);
    put_ports(&mut known, ["nodePort", "nodePorts"], &node_ports);
    known
}

/// Both forms, so that templates may use either.
pub(super) fn put_ports(fields: &mut Map<String, Value>, [one, many]: [&str; 2], ports: &[u16]) {
    if let Some(first) = ports.first() {
        fields.insert(one.to_owned(), (*first).into());
        fields.insert(many.to_owned(), ports.into());
    }
}

fn service(fields: &mut Fields<'_>, field: &'static str) -> Option<ServiceType> {
    let word = fields.text(field)?;
    let known = SERVICE_TYPES.iter().find(|(name, _)| *name == word);
    if known.is_none() {
        let names: Vec<_> = SERVICE_TYPES.iter().map(|(name, _)| *name).collect();
        fields.report(field, format!("{word:?} is not known"), format!("write {}", names.join(", ")));
    }
    known.map(|(_, service)| *service)
}

/// As many as the service has.
fn ports_of_node(fields: &mut Fields<'_>, service: Option<ServiceType>, of_service: usize) -> Vec<u16> {
    let node_ports = ports(fields, "nodePort", "nodePorts");
    if !node_ports.is_empty() && of_service > 0 && node_ports.len() != of_service {
        let message = format!("{} node ports for {of_service} ports", node_ports.len());
        fields.report("nodePorts", message, "give as many as there are ports");
    }
    if !node_ports.is_empty() && service != Some(ServiceType::NodePort) {
        let hint = "remove it or set serviceType: NodePort";
        fields.report("nodePort", "only a service of type NodePort has one", hint);
    }
    node_ports
}

fn load_balancer_ip(fields: &mut Fields<'_>) -> Option<IpAddr> {
    let text = fields.text("loadBalancerIP").filter(|text| !text.is_empty())?;
    let address = text.parse::<IpAddr>().ok().filter(|address| !address.is_unspecified() && !address.is_multicast());
    if address.is_none() {
        fields.report("loadBalancerIP", format!("{text:?} is no address of one host"), "give the address clients call");
    }
    address
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
