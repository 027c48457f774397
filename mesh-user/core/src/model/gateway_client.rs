//! The end of a connection that seeks the other: where that is, and whether there is a tunnel at all.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{
    document::{Document, Place},
    gateway,
    gateway_server::{ports, put_ports},
    host::Host,
    listener::{Driver, Listener},
    problem::Problems,
    tree::Fields,
};
use crate::template::{End, Template, Templates};

const WHERE: &str = "give the address where the gateway server is reachable";
const NEXT_HOP: &str = "give the underlay address of the remote gateway: it is the next hop";

/// A `GatewayClient` manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayClient {
    pub place: Place,
    pub listener: Listener,
    pub reach: Reach,
}

/// How the remote gateway is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Through a tunnel; candidates in the order given, and the remote's UDP port of each lane, at least one.
    Wireguard { candidates: Vec<Host>, ports: Vec<u16> },
    /// Over the underlay, unencrypted: the underlay addresses of the remote gateway, at most one of each family.
    Direct { next_hops: Vec<IpAddr> },
}

impl Reach {
    /// How many UDP ports, and so how many lanes, the remote has.
    pub fn lanes(&self) -> usize {
        match self {
            Reach::Wireguard { ports, .. } => ports.len(),
            Reach::Direct { .. } => 0,
        }
    }
}

impl GatewayClient {
    pub(crate) fn read(document: &Document, templates: &Templates, problems: &mut Problems) -> Option<GatewayClient> {
        gateway::read(document, End::Client, templates, problems, endpoint, |spec, listener| {
            let reach = match listener.driver {
                Driver::Direct => next_hops(spec)?,
                Driver::Wireguard | Driver::Exec(_) => candidates(spec)?,
            };
            Some(GatewayClient { place: document.place.clone(), listener, reach })
        })
    }
}

/// The section with its defaults, as templates see it.
fn endpoint(mut fields: Fields<'_>, template: &Template) -> Option<Map<String, Value>> {
    let mut known = fields.all().clone();
    let hosts = hosts(&mut fields, if template.is_direct() { NEXT_HOP } else { WHERE });
    let ports = ports(&mut fields, "port", "ports");
    if ports.is_empty() && fields.is_absent("port") && fields.is_absent("ports") && !template.is_direct() {
        fields.report("port", "missing", "give the UDP port of the gateway server");
    }
    if let Some(other) = fields.text("protocol").filter(|protocol| *protocol != "UDP") {
        fields.report("protocol", format!("{other:?} is not known"), "write UDP");
    }
    if template.is_direct() {
        one_of_each_family(&addresses(&hosts, &fields), &fields);
    }
    fields.finish();
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    known.insert("addresses".to_owned(), hosts.into());
    known.insert("protocol".to_owned(), "UDP".into());
    put_ports(&mut known, ["port", "ports"], &ports);
    Some(known)
}

fn candidates(spec: &mut Fields<'_>) -> Option<Reach> {
    let candidates = hosts(spec, WHERE);
    let ports = ports(spec, "port", "ports");
    if ports.is_empty() && spec.is_absent("ports") && spec.is_absent("port") {
        spec.report("ports", "missing", "give the UDP port of each lane of the gateway server");
    }
    (!ports.is_empty()).then_some(Reach::Wireguard { candidates, ports })
}

fn next_hops(spec: &mut Fields<'_>) -> Option<Reach> {
    spec.ignore(&["port", "ports"]);
    let hosts = hosts(spec, NEXT_HOP);
    let next_hops = addresses(&hosts, spec);
    one_of_each_family(&next_hops, spec);
    Some(Reach::Direct { next_hops })
}

fn addresses(hosts: &[Host], fields: &Fields<'_>) -> Vec<IpAddr> {
    let address = |host: &Host| match host {
        Host::Address(address) => Some(*address),
        Host::Name(name) => {
            fields.report("addresses", format!("{name:?} is no IP address, and 'direct' needs one"), NEXT_HOP);
            None
        }
    };
    hosts.iter().filter_map(address).collect()
}

fn one_of_each_family(next_hops: &[IpAddr], fields: &Fields<'_>) {
    for (index, address) in next_hops.iter().enumerate() {
        if next_hops[..index].iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            fields.report("addresses", "more than one next hop of a family", "give one");
        }
    }
}

fn hosts(fields: &mut Fields<'_>, hint: &str) -> Vec<Host> {
    if fields.is_absent("addresses") {
        fields.report("addresses", "missing", hint);
    }
    let mut hosts = Vec::new();
    for text in fields.texts("addresses") {
        match text.parse() {
            Ok(host) if hosts.contains(&host) => {
                fields.report("addresses", format!("{host} stands twice"), "give each address once");
            }
            Ok(host) => hosts.push(host),
            Err(error) => fields.report("addresses", format!("{error}"), hint),
        }
    }
    if hosts.is_empty() && fields.is_empty_list("addresses") {
        fields.report("addresses", "empty", hint);
    }
    hosts
}
