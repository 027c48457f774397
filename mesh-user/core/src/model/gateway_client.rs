//! The end of a connection that seeks the other: where that is, and whether there is a tunnel at all.

use std::net::{IpAddr, SocketAddr};

use super::{
    document::{Document, Place},
    gateway, gateway_server,
    problem::Problems,
    tree::Fields,
};

const WIREGUARD: &str = "wireguard-client";
const DIRECT: &str = "direct";

/// A `GatewayClient` manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayClient {
    pub place: Place,
    pub reach: Reach,
    pub mtu: u16,
}

/// How the remote gateway is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Through a tunnel; candidates in the order given, with the port of the first lane. Where there are more lanes, the
    /// ports of all are beside them.
    Wireguard { endpoints: Vec<SocketAddr>, lane_ports: Vec<u16> },
    /// Over the underlay, unencrypted: the underlay addresses of the remote gateway, at most one of each family.
    Direct { next_hops: Vec<IpAddr> },
}

impl Reach {
    /// How many UDP ports, and so how many lanes, the remote has.
    pub fn lanes(&self) -> usize {
        match self {
            Reach::Wireguard { lane_ports, .. } => lane_ports.len().max(1),
            Reach::Direct { .. } => 0,
        }
    }
}

impl GatewayClient {
    pub(crate) fn read(document: &Document, problems: &mut Problems) -> Option<GatewayClient> {
        document.spec(problems, |spec| {
            spec.ignore(&["secretRef"]);
            let hint = "write wireguard-client or direct";
            let template = gateway::template(spec, "clientTemplateRef", &[WIREGUARD, DIRECT], hint);
            let mtu = gateway::mtu(spec);
            let endpoint = spec.required_section("endpoint");
            let reach = match template? {
                DIRECT => next_hops(endpoint?),
                _ => endpoints(endpoint?),
            }?;
            Some(GatewayClient { place: document.place.clone(), reach, mtu })
        })
    }
}

fn endpoints(mut endpoint: Fields<'_>) -> Option<Reach> {
    let addresses = addresses(&mut endpoint, "give the address where the gateway server is reachable");
    let mut ports = gateway_server::ports(&mut endpoint, "port", "ports");
    if ports.is_empty() && endpoint.is_absent("port") && endpoint.is_absent("ports") {
        endpoint.report("port", "missing", "give the UDP port of the gateway server");
    }
    if let Some(other) = endpoint.text("protocol").filter(|protocol| *protocol != "UDP") {
        endpoint.report("protocol", format!("{other:?} is not known"), "write UDP");
    }
    endpoint.finish();
    let port = *ports.first()?;
    if ports.len() == 1 {
        ports.clear();
    }
    let endpoints = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    Some(Reach::Wireguard { endpoints, lane_ports: ports })
}

fn next_hops(mut endpoint: Fields<'_>) -> Option<Reach> {
    endpoint.ignore(&["port", "ports", "protocol"]);
    let addresses = addresses(&mut endpoint, "give the underlay address of the remote gateway: it is the next hop");
    for (index, address) in addresses.iter().enumerate() {
        if addresses[..index].iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            endpoint.report("addresses", "more than one next hop of a family", "give one");
        }
    }
    endpoint.finish();
    Some(Reach::Direct { next_hops: addresses })
}

fn addresses(endpoint: &mut Fields<'_>, hint: &str) -> Vec<IpAddr> {
    if endpoint.is_absent("addresses") {
        endpoint.report("addresses", "missing", hint);
    }
    let mut addresses = Vec::new();
    for text in endpoint.texts("addresses") {
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() || address.is_multicast() => {
                endpoint.report("addresses", format!("{address} is no address of one host"), hint);
            }
            Ok(address) => addresses.push(address),
            Err(_) => endpoint.report("addresses", format!("{text:?} is no IP address"), hint),
        }
    }
    if addresses.is_empty() && endpoint.is_empty_list("addresses") {
        endpoint.report("addresses", "empty", hint);
    }
    addresses
}
