//! How meshctl writes the manifests of a connection: the same for `generate`, `create` and `network connect`.

use std::{collections::BTreeMap, net::IpAddr, str::FromStr};

use clap::ValueEnum;
use ipnet::IpNet;
pub(crate) use mesh_core::model::REMOTE_LABEL;
use mesh_core::model::{GATEWAY_ADDRESSES, GATEWAY_INDEX, GATEWAY_NODE_LABEL, ObjectKind};
use serde_json::{Map, Value, json};

pub(crate) const GATEWAY_RESOURCE_LABEL: &str = "networking.liqo.io/gateway-resource";
/// The MTU of the gateway that a key is of: both sides must have the same.
pub(crate) const MTU_ANNOTATION: &str = "mesh/mtu";
/// Where the built-in templates are.
pub(crate) const TEMPLATE_NAMESPACE: &str = "liqo";

pub(crate) type Texts = BTreeMap<String, String>;

/// What stands in `metadata`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) labels: Texts,
    pub(crate) annotations: Texts,
}

impl Metadata {
    /// Of an object about this remote cluster.
    pub(crate) fn of_remote(namespace: Option<&str>, name: &str, remote: &str) -> Metadata {
        let labels = Texts::from([(REMOTE_LABEL.to_owned(), remote.to_owned())]);
        Metadata { namespace: namespace.map(str::to_owned), name: name.to_owned(), labels, annotations: Texts::new() }
    }

    pub(crate) fn manifest(&self, kind: ObjectKind, spec: Value) -> Value {
        let mut metadata = Map::new();
        let mut texts = |field: &str, texts: &Texts| {
            if !texts.is_empty() {
                metadata.insert(field.to_owned(), json!(texts));
            }
        };
        texts("annotations", &self.annotations);
        texts("labels", &self.labels);
        metadata.insert("name".to_owned(), json!(self.name));
        if let Some(namespace) = &self.namespace {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
        json!({ "apiVersion": kind.api_version(), "kind": kind.as_str(), "metadata": metadata, "spec": spec })
    }
}

/// How the port of a gateway server is made reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    /// A UDP port of the node
    #[value(name = "NodePort")]
    NodePort,
    /// An address that is advertised: given, from a pool, or from a command
    #[value(name = "LoadBalancer")]
    LoadBalancer,
    /// A private address
    #[value(name = "ClusterIP")]
    ClusterIp,
}

/// A kind of templates as Liqo's flags spell it: `networking.liqo.io/v1beta1/wggatewayservertemplates`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateKind(pub(crate) ObjectKind);

impl FromStr for TemplateKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (version, plural) = text.rsplit_once('/').unwrap_or(("", text));
        let kind: ObjectKind = plural.parse().map_err(|error| format!("{error}"))?;
        let is_template = matches!(kind, ObjectKind::WgGatewayServerTemplate | ObjectKind::WgGatewayClientTemplate);
        if !is_template {
            return Err(format!(
                "{kind} is no kind of templates: wggatewayservertemplates or wggatewayclienttemplates"
            ));
        }
        if !version.is_empty() && version != kind.api_version() {
            return Err(format!("{version} is not known: {} is", kind.api_version()));
        }
        Ok(TemplateKind(kind))
    }
}

/// Which template a gateway is rendered from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateRef {
    pub(crate) kind: ObjectKind,
    pub(crate) name: String,
    pub(crate) namespace: String,
}

impl TemplateRef {
    fn value(&self) -> Value {
        let TemplateRef { kind, name, namespace } = self;
        json!({ "apiVersion": kind.api_version(), "kind": kind.as_str(), "name": name, "namespace": namespace })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerSpec {
    pub(crate) service: Service,
    /// The first of them, where there are several lanes.
    pub(crate) port: u16,
    pub(crate) node_port: Option<u16>,
    pub(crate) load_balancer_ip: Option<IpAddr>,
    pub(crate) lanes: u16,
    pub(crate) mtu: u16,
    pub(crate) template: TemplateRef,
}

impl ServerSpec {
    pub(crate) fn value(&self) -> Result<Value, String> {
        let mut endpoint = Map::new();
        put_ports(&mut endpoint, "port", "ports", self.port, self.lanes)?;
        if let Some(node_port) = self.node_port {
            put_ports(&mut endpoint, "nodePort", "nodePorts", node_port, self.lanes)?;
        }
        let service = self.service.to_possible_value();
        let service = service.as_ref().map_or("", |value| value.get_name()).to_owned();
        endpoint.insert("serviceType".to_owned(), Value::String(service));
        if let Some(address) = self.load_balancer_ip {
            endpoint.insert("loadBalancerIP".to_owned(), json!(address));
        }
        Ok(json!({ "endpoint": endpoint, "mtu": self.mtu, "serverTemplateRef": self.template.value() }))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientSpec {
    /// Addresses or DNS names, tried in turn.
    pub(crate) addresses: Vec<String>,
    /// One for each lane.
    pub(crate) ports: Vec<u16>,
    pub(crate) mtu: u16,
    pub(crate) template: TemplateRef,
}

impl ClientSpec {
    pub(crate) fn value(&self) -> Value {
        let mut endpoint = Map::new();
        endpoint.insert("addresses".to_owned(), json!(self.addresses));
        match self.ports.as_slice() {
            [port] => endpoint.insert("port".to_owned(), json!(port)),
            ports => endpoint.insert("ports".to_owned(), json!(ports)),
        };
        endpoint.insert("protocol".to_owned(), json!("UDP"));
        json!({ "clientTemplateRef": self.template.value(), "endpoint": endpoint, "mtu": self.mtu })
    }
}

/// What a remote cluster is to be told of these prefixes.
pub(crate) fn configuration_spec(pod: &[IpNet], external: &[IpNet]) -> Value {
    let mut cidr = Map::new();
    for (name, nets) in [("external", external), ("pod", pod)] {
        match nets {
            [] => {}
            [net] => drop(cidr.insert(name.to_owned(), json!(net))),
            nets => drop(cidr.insert(name.to_owned(), json!(nets))),
        }
    }
    json!({ "remote": { "cidr": cidr } })
}

/// A public key, for the clusters that its gateway talks to.
pub(crate) fn public_key(owner: &str, namespace: Option<&str>, key: &NodeKey, mtu: Option<u16>) -> Value {
    let name = key.node.as_ref().map_or_else(|| owner.to_owned(), |node| format!("{owner}-{node}"));
    let mut metadata = Metadata::of_remote(namespace, &name, owner);
    metadata.labels.insert(GATEWAY_RESOURCE_LABEL.to_owned(), "true".to_owned());
    if let Some(node) = &key.node {
        metadata.labels.insert(GATEWAY_NODE_LABEL.to_owned(), node.clone());
    }
    if let Some(index) = key.index {
        metadata.annotations.insert(GATEWAY_INDEX.to_owned(), index.to_string());
    }
    if !key.addresses.is_empty() {
        metadata.annotations.insert(GATEWAY_ADDRESSES.to_owned(), key.addresses.join(","));
    }
    if let Some(mtu) = mtu {
        metadata.annotations.insert(MTU_ANNOTATION.to_owned(), mtu.to_string());
    }
    metadata.manifest(ObjectKind::PublicKey, json!({ "publicKey": key.key }))
}

/// What a gateway proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeKey {
    /// Where a cluster has several gateway nodes, each with a key of its own.
    pub(crate) node: Option<String>,
    /// The number of that node among them.
    pub(crate) index: Option<u64>,
    pub(crate) key: String,
    pub(crate) addresses: Vec<String>,
}

/// The keys of a gateway; none as long as the daemon has not made them. `node_key` is that of the daemon's node.
pub(crate) fn keys_of(gateway: &Value, node_key: &str) -> Vec<NodeKey> {
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let plain = |key: String| vec![NodeKey { node: None, index: None, key, addresses: Vec::new() }];
    let several = gateway.pointer("/status/publicKeys").and_then(Value::as_array);
    let several: Vec<NodeKey> = several
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let addresses = entry.get("addresses").and_then(Value::as_array).into_iter().flatten();
            let addresses = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
            let index = entry.get("index").and_then(Value::as_u64);
            Some(NodeKey { node: text(entry, "node"), index, key: text(entry, "publicKey")?, addresses })
        })
        .collect();
    match several.as_slice() {
        [] => {}
        // Nothing is to be told apart.
        [only] => return plain(only.key.clone()),
        _ => return several,
    }
    if let Some(key) = gateway.get("status").and_then(|status| text(status, "publicKey")) {
        return plain(key);
    }
    let has_own_key = gateway.pointer("/spec/secretRef/name").is_some();
    if has_own_key { Vec::new() } else { plain(node_key.to_owned()) }
}

pub(crate) fn mtu_of(gateway: &Value) -> Option<u16> {
    gateway.pointer("/spec/mtu").and_then(Value::as_u64).and_then(|mtu| u16::try_from(mtu).ok())
}

/// `port`, or a list of consecutive ones, one for each lane.
fn put_ports(fields: &mut Map<String, Value>, one: &str, many: &str, first: u16, lanes: u16) -> Result<(), String> {
    match lanes {
        0 | 1 => fields.insert(one.to_owned(), json!(first)),
        lanes => fields.insert(many.to_owned(), json!(consecutive(first, lanes)?)),
    };
    Ok(())
}

pub(crate) fn consecutive(first: u16, lanes: u16) -> Result<Vec<u16>, String> {
    let last = first.checked_add(lanes.saturating_sub(1));
    let last = last.ok_or_else(|| format!("{lanes} ports from {first} on end beyond 65535"))?;
    Ok((first..=last).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(kind: ObjectKind, name: &str) -> TemplateRef {
        TemplateRef { kind, name: name.to_owned(), namespace: TEMPLATE_NAMESPACE.to_owned() }
    }

    #[test]
    fn a_server_has_a_port_or_one_for_each_lane() {
        let mut spec = ServerSpec {
            service: Service::NodePort,
            port: 51_840,
            node_port: None,
            load_balancer_ip: None,
            lanes: 1,
            mtu: 1_340,
            template: template(ObjectKind::WgGatewayServerTemplate, "wireguard-server"),
        };
        let expected = json!({
            "endpoint": { "port": 51_840, "serviceType": "NodePort" },
            "mtu": 1_340,
            "serverTemplateRef": {
                "apiVersion": "networking.liqo.io/v1beta1", "kind": "WgGatewayServerTemplate",
                "name": "wireguard-server", "namespace": "liqo",
            },
        });
        assert_eq!(spec.value(), Ok(expected));
        spec = ServerSpec { lanes: 3, node_port: Some(32_000), ..spec };
        let value = spec.value().unwrap();
        let expected = json!({
            "ports": [51_840, 51_841, 51_842], "nodePorts": [32_000, 32_001, 32_002], "serviceType": "NodePort",
        });
        assert_eq!(value["endpoint"], expected);
        assert!(ServerSpec { port: 65_534, ..spec }.value().is_err(), "there is no port 65536");
    }

    #[test]
    fn prefixes_are_a_scalar_or_a_list() {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let spec = configuration_spec(&nets(&["10.243.0.0/16"]), &nets(&["10.70.0.0/16", "fd00::/48"]));
        let expected = json!({ "pod": "10.243.0.0/16", "external": ["10.70.0.0/16", "fd00::/48"] });
        assert_eq!(spec["remote"]["cidr"], expected);
        assert_eq!(configuration_spec(&nets(&["10.0.0.0/8"]), &[])["remote"]["cidr"], json!({ "pod": "10.0.0.0/8" }));
    }

    #[test]
    fn kinds_of_templates() {
        let read = |text: &str| text.parse::<TemplateKind>().map(|kind| kind.0);
        let server = Ok(ObjectKind::WgGatewayServerTemplate);
        assert_eq!(read("networking.liqo.io/v1beta1/wggatewayservertemplates"), server);
        assert_eq!(read("wggatewayservertemplates"), server);
        for wrong in ["networking.liqo.io/v1/wggatewayservertemplates", "configurations", "pods", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_of_one_and_of_several_nodes() {
        let keys = |status: Value| keys_of(&json!({ "spec": {}, "status": status }), "N=");
        let plain = |key: &str| vec![NodeKey { node: None, index: None, key: key.to_owned(), addresses: Vec::new() }];
        assert_eq!(keys(json!({})), plain("N="));
        assert_eq!(keys(json!({ "publicKey": "G=" })), plain("G="));
        let one = json!({ "node": "a", "index": 1, "publicKey": "A=", "addresses": ["192.0.2.1"] });
        assert_eq!(keys(json!({ "publicKeys": [one] })), plain("A="));
        let two = keys(json!({ "publicKeys": [one, { "node": "b", "publicKey": "B=" }] }));
        assert_eq!(two.len(), 2);
        let manifest = public_key("cl02", None, &two[0], Some(1_340));
        let expected = json!({
            "name": "cl02-a",
            "labels": {
                "liqo.io/remote-cluster-id": "cl02", "networking.liqo.io/gateway-resource": "true",
                "mesh/gateway-node": "a",
            },
            "annotations": { "mesh/mtu": "1340", "mesh/gateway-addresses": "192.0.2.1", "mesh/gateway-index": "1" },
        });
        assert_eq!(manifest["metadata"], expected);
        let waits = json!({ "spec": { "secretRef": { "name": "own" } } });
        assert_eq!(keys_of(&waits, "N="), Vec::new(), "a key of its own is not the node's");
    }
}
