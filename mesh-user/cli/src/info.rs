//! `meshctl info`: this cluster and its remote clusters, and how each of the connections is.

use clap::{Args, Subcommand};
use mesh_core::{
    api::ClusterReply,
    model::{ObjectKind, REMOTE_LABEL},
};
use serde_json::{Map, Value, json};

use crate::{
    daemon::{Endpoint, Parts},
    exit::{Exit, Failure},
    network::{Cluster, broken, condition, is_about, nets, text},
    output::{Form, Output, OutputArguments, json as print_json, yaml},
    table::{cell, pairs, render},
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Remote clusters, all or those that are named
    Peer {
        ids: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// Only this field, as in clusterid, network.podcidrs, network.cidr or network.gateway
    #[arg(long, value_name = "PATH")]
    get: Option<String>,
    #[command(flatten)]
    parts: Parts,
    #[command(flatten)]
    output: OutputArguments,
}

impl Arguments {
    pub(crate) fn form(&self) -> Form {
        self.common().output.output.form()
    }

    fn common(&self) -> &Common {
        match &self.verb {
            Some(Verb::Peer { common, .. }) => common,
            None => &self.common,
        }
    }
}

pub(crate) fn run(endpoint: &Endpoint, arguments: &Arguments) -> Result<String, Failure> {
    let common = arguments.common();
    let daemon = endpoint.daemon_of(&common.parts)?;
    let info = Cluster::info(&daemon)?;
    let objects = Objects::read(&daemon)?;
    let output = common.output.output;
    match &arguments.verb {
        None => {
            let peers: Vec<Value> = objects.remotes().iter().map(|remote| objects.peer(remote)).collect();
            let whole = own(&info, &peers);
            match &common.get {
                Some(path) => field(&whole, path, output),
                None => output.form().print(&whole, |_| match output {
                    Output::Name => format!("{}\n", info.cluster_id),
                    _ => about(&info, &peers),
                }),
            }
        }
        Some(Verb::Peer { ids, .. }) => peers(&objects, ids, common.get.as_deref(), output, &info.cluster_id),
    }
}

fn peers(objects: &Objects, ids: &[String], get: Option<&str>, output: Output, own: &str) -> Result<String, Failure> {
    let known = objects.remotes();
    if let Some(missing) = ids.iter().find(|id| !known.contains(id)) {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!("cluster {own} knows no cluster {missing}; known: {known}");
        return Err(Failure::new(Exit::NotFound, message, "`meshctl network connect` makes a connection"));
    }
    let wanted = if ids.is_empty() { &known } else { ids };
    let found: Vec<Value> = wanted.iter().map(|id| objects.peer(id)).collect();
    if let Some(path) = get {
        return match found.as_slice() {
            [one] => field(one, path, output),
            several => several
                .iter()
                .map(|peer| field(peer, path, output).map(|shown| format!("{}: {shown}", text(peer, "/clusterid"))))
                .collect(),
        };
    }
    let reply = json!({ "schema": mesh_core::api::group::SCHEMA, "peers": found });
    output.form().print(&reply, |_| match output {
        Output::Name => wanted.iter().map(|id| format!("{id}\n")).collect(),
        _ if found.is_empty() => "No remote clusters. `meshctl network connect` connects one.\n".to_owned(),
        _ => found.iter().map(about_peer).collect::<Vec<_>>().join("\n"),
    })
}

/// The objects of all remotes.
struct Objects {
    configurations: Vec<Value>,
    gateways: Vec<Value>,
    connections: Vec<Value>,
}

impl Objects {
    fn read(cluster: &dyn Cluster) -> Result<Objects, Failure> {
        let mut gateways = cluster.list(ObjectKind::GatewayServer)?;
        gateways.extend(cluster.list(ObjectKind::GatewayClient)?);
        let configurations = cluster.list(ObjectKind::Configuration)?;
        Ok(Objects { configurations, gateways, connections: cluster.list(ObjectKind::Connection)? })
    }

    fn remotes(&self) -> Vec<String> {
        let label = |object: &Value| {
            let labels = object.pointer("/metadata/labels").and_then(|labels| labels.get(REMOTE_LABEL));
            labels.and_then(Value::as_str).map(str::to_owned)
        };
        let all = self.configurations.iter().chain(&self.gateways).filter_map(label);
        let all: std::collections::BTreeSet<String> = all.collect();
        all.into_iter().collect()
    }

    fn peer(&self, remote: &str) -> Value {
        let find = |objects: &[Value]| objects.iter().find(|object| is_about(object, remote)).cloned();
        let gateway = find(&self.gateways);
        let connection = find(&self.connections);
        let (status, alerts) = judged(gateway.as_ref(), connection.as_ref());
        let mut network = Map::new();
        network.insert("status".to_owned(), json!(status));
        network.insert("alerts".to_owned(), json!(alerts));
        if let Some(configuration) = find(&self.configurations) {
            let prefixes = |pointer: &str| json!(nets(configuration.pointer(pointer)));
            let cidr = json!({
                "pod": prefixes("/spec/remote/cidr/pod"),
                "external": prefixes("/spec/remote/cidr/external"),
                "remapped": {
                    "pod": prefixes("/status/remote/cidr/pod"),
                    "external": prefixes("/status/remote/cidr/external"),
                },
            });
            network.insert("cidr".to_owned(), cidr);
        }
        if let Some(gateway) = gateway {
            network.insert("gateway".to_owned(), shown_gateway(&gateway));
        }
        if let Some(connection) = connection {
            let latency = text(&connection, "/status/latency/value");
            network.insert(
                "connection".to_owned(),
                json!({ "status": text(&connection, "/status/value"), "latency": latency }),
            );
        }
        json!({ "clusterid": remote, "network": network })
    }
}

fn shown_gateway(gateway: &Value) -> Value {
    let role = if text(gateway, "/kind") == ObjectKind::GatewayServer.as_str() { "Server" } else { "Client" };
    let mut shown = json!({
        "role": role,
        "namespace": text(gateway, "/metadata/namespace"),
        "name": text(gateway, "/metadata/name"),
    });
    let endpoint = gateway.pointer("/status/endpoint").or_else(|| gateway.pointer("/spec/endpoint"));
    for field in ["addresses", "port", "ports", "protocol"] {
        if let Some(value) = endpoint.and_then(|endpoint| endpoint.get(field)) {
            shown[field] = value.clone();
        }
    }
    shown
}

/// Healthy, Unhealthy or Disabled, and why.
fn judged(gateway: Option<&Value>, connection: Option<&Value>) -> (&'static str, Vec<String>) {
    let Some(gateway) = gateway else {
        return ("Disabled", vec!["there is no gateway: `meshctl network connect` makes one".to_owned()]);
    };
    let mut alerts: Vec<String> = broken(gateway);
    match connection {
        None => {
            let ready = condition(gateway, "Ready").map(|ready| ready.message).unwrap_or_default();
            alerts.push(format!("there is no Connection yet: {ready}"));
        }
        Some(connection) => {
            alerts.extend(broken(connection));
            let [value, detail] = ["/status/value", "/status/detail"].map(|pointer| text(connection, pointer));
            if value != "Connected" {
                let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
                alerts.push(format!("the connection is {value}{detail}"));
            }
        }
    }
    (if alerts.is_empty() { "Healthy" } else { "Unhealthy" }, alerts)
}

fn own(info: &ClusterReply, peers: &[Value]) -> Value {
    let network = &info.network;
    json!({
        "schema": mesh_core::api::group::SCHEMA,
        "clusterid": info.cluster_id,
        "nodeid": info.node_id,
        "version": info.version,
        "hub": info.hub,
        "publickey": info.public_key,
        "network": {
            "podcidrs": network.pod_cidrs,
            "servicecidrs": network.service_cidrs,
            "externalcidrs": network.external_cidrs,
            "internalcidrs": network.internal_cidrs,
            "reservedsubnets": network.reserved_subnets,
            "cidr": { "pod": network.pod_cidrs, "external": network.external_cidrs },
            "detail": network.detail,
        },
        "peers": peers,
    })
}

fn about(info: &ClusterReply, peers: &[Value]) -> String {
    let nets = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let network = &info.network;
    let mut shown = pairs(&[
        ("Cluster ID", info.cluster_id.clone()),
        ("Node", info.node_id.clone()),
        ("Version", info.version.clone()),
        ("Hub", info.hub.clone().unwrap_or_default()),
        ("Public key", info.public_key.clone()),
        ("Pod CIDR", nets(&network.pod_cidrs)),
        ("Service CIDR", nets(&network.service_cidrs)),
        ("External CIDR", nets(&network.external_cidrs)),
        ("Internal CIDR", nets(&network.internal_cidrs)),
        ("Reserved", nets(&network.reserved_subnets)),
        ("Detail", network.detail.clone()),
    ]);
    let row = |peer: &Value| {
        let alerts = nets_of(peer, "/network/alerts");
        let role = text(peer, "/network/gateway/role");
        vec![text(peer, "/clusterid").to_owned(), cell(role), text(peer, "/network/status").to_owned(), cell(&alerts)]
    };
    if !peers.is_empty() {
        shown += "\n";
        shown += &render(&["PEER", "ROLE", "NETWORK", "ALERTS"], &peers.iter().map(row).collect::<Vec<_>>());
    }
    shown
}

fn about_peer(peer: &Value) -> String {
    let shown = |pointer: &str| text(peer, pointer).to_owned();
    let endpoint = peer.pointer("/network/gateway").unwrap_or(&Value::Null);
    let ports = match (endpoint.get("port"), endpoint.get("ports")) {
        (Some(port), _) => port.to_string(),
        (None, Some(ports)) => ports.to_string(),
        (None, None) => String::new(),
    };
    pairs(&[
        ("Cluster ID", shown("/clusterid")),
        ("Network", shown("/network/status")),
        ("Alerts", nets_of(peer, "/network/alerts")),
        ("Role", shown("/network/gateway/role")),
        ("Gateway", nets_of(peer, "/network/gateway/addresses")),
        ("Port", ports),
        ("Connection", shown("/network/connection/status")),
        ("Latency", shown("/network/connection/latency")),
        ("Pod CIDR", nets_of(peer, "/network/cidr/pod")),
        ("Remapped pod CIDR", nets_of(peer, "/network/cidr/remapped/pod")),
        ("External CIDR", nets_of(peer, "/network/cidr/external")),
        ("Remapped external CIDR", nets_of(peer, "/network/cidr/remapped/external")),
    ])
}

fn nets_of(value: &Value, pointer: &str) -> String {
    nets(value.pointer(pointer)).join(", ")
}

/// One field by its path; in JSON or YAML where it has parts.
fn field(value: &Value, path: &str, output: Output) -> Result<String, Failure> {
    let mut found = value;
    for name in path.trim_start_matches('.').split('.') {
        let fields = found.as_object();
        let known = || {
            let names: Vec<&str> = fields.map(|fields| fields.keys().map(String::as_str).collect()).unwrap_or_default();
            let hint = if names.is_empty() {
                "it ends before".to_owned()
            } else {
                format!("known here: {}", names.join(", "))
            };
            Failure::new(Exit::NotFound, format!("there is no field {name:?} on the path {path:?}"), hint)
        };
        let same = |(field, _): &(&String, &Value)| field.eq_ignore_ascii_case(name);
        found = fields.and_then(|fields| fields.iter().find(same)).map(|(_, value)| value).ok_or_else(known)?;
    }
    match (output.form(), found) {
        (Form::Json, found) => print_json(found),
        (Form::Text | Form::Yaml, Value::String(text)) => Ok(format!("{text}\n")),
        (Form::Text, Value::Array(items)) if items.iter().all(Value::is_string) => {
            Ok(nets(Some(found)).iter().map(|item| format!("{item}\n")).collect())
        }
        (Form::Text | Form::Yaml, found) => yaml(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_by_their_paths() {
        let value = json!({ "clusterid": "cl01", "network": { "podcidrs": ["10.0.0.0/8", "fd00::/48"], "n": 3 } });
        let get = |path: &str| field(&value, path, Output::Table);
        assert_eq!(get("clusterid"), Ok("cl01\n".to_owned()));
        assert_eq!(get(".ClusterID"), Ok("cl01\n".to_owned()));
        assert_eq!(get("network.podcidrs"), Ok("10.0.0.0/8\nfd00::/48\n".to_owned()));
        assert_eq!(get("network.n"), Ok("3\n".to_owned()));
        assert_eq!(field(&value, "network.n", Output::Json), Ok("3\n".to_owned()));
        let failure = get("network.cidrs").unwrap_err();
        assert_eq!((failure.exit, failure.error.hint.as_str()), (Exit::NotFound, "known here: n, podcidrs"));
        assert_eq!(get("clusterid.x").unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn health_is_rolled_up() {
        let connection = |value: &str, condition: &str| {
            let condition = json!({ "type": "DataPath", "status": condition, "message": "no answer from cl02" });
            json!({ "status": { "value": value, "detail": "", "conditions": [condition] } })
        };
        let gateway = json!({});
        assert_eq!(judged(None, None).0, "Disabled");
        assert_eq!(judged(Some(&gateway), Some(&connection("Connected", "True"))), ("Healthy", Vec::new()));
        let (status, alerts) = judged(Some(&gateway), Some(&connection("Connected", "False")));
        assert_eq!((status, alerts), ("Unhealthy", vec!["DataPath: no answer from cl02".to_owned()]));
        let (status, alerts) = judged(Some(&gateway), Some(&connection("Error", "Unknown")));
        assert_eq!((status, alerts), ("Unhealthy", vec!["the connection is Error".to_owned()]));
    }
}
