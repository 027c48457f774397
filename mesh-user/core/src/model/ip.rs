//! An outside host that gets an address of this cluster's external CIDR, by which peers reach it.

use std::net::IpAddr;

use super::{
    document::{Document, Place},
    object::{ObjectId, is_name, is_namespace},
    problem::Problems,
    tree::Fields,
};

/// An `IP` manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    pub place: Place,
    pub id: ObjectId,
    /// Of the outside host. It never changes: another host is another object.
    pub ip: IpAddr,
    /// The `Network` that the address is taken from; `None`: the external CIDR of the cluster.
    pub network: Option<ObjectId>,
    /// The host sees a gateway of this cluster as the source, not the peer.
    pub masquerade: bool,
}

impl Ip {
    pub(crate) fn read(document: &Document, problems: &mut Problems) -> Option<Ip> {
        document.spec(problems, |spec| {
            // The service of an IP is a matter of Kubernetes: its name is kept, and nothing is made of it.
            spec.ignore(&["serviceTemplate"]);
            let masquerade = spec.truth("masquerade").unwrap_or_default();
            let network = network(spec, &document.id);
            let ip = address(spec)?;
            Some(Ip { place: document.place.clone(), id: document.id.clone(), ip, network, masquerade })
        })
    }
}

fn address(spec: &mut Fields<'_>) -> Option<IpAddr> {
    let hint = "give the address of the outside host";
    let text = spec.text("ip");
    let Some(text) = text else {
        if spec.is_absent("ip") {
            spec.report("ip", "missing", hint);
        }
        return None;
    };
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() => {
            spec.report("ip", format!("{ip} is no address of an outside host"), hint);
            None
        }
        Ok(ip) => Some(ip),
        Err(_) => {
            spec.report("ip", format!("{text:?} is no IP address"), hint);
            None
        }
    }
}

fn network(spec: &mut Fields<'_>, own: &ObjectId) -> Option<ObjectId> {
    let mut reference = spec.section("networkRef")?;
    reference.ignore(&["apiVersion", "kind", "uid", "resourceVersion", "fieldPath"]);
    let name = reference.text("name");
    let namespace = reference.text("namespace").unwrap_or(&own.namespace);
    let is_one = name.is_some_and(is_name) && is_namespace(namespace);
    if !is_one {
        reference.report("name", "names no Network", "give the name of a Network, or leave networkRef out");
    }
    reference.finish();
    let kind = super::ObjectKind::Network;
    name.filter(|_| is_one).map(|name| ObjectId { kind, namespace: namespace.to_owned(), name: name.to_owned() })
}
