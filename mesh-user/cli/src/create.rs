//! `meshctl create`: one object of a connection, made, or printed as the manifest that would make it.

use std::{net::IpAddr, time::Instant};

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use mesh_core::{
    api::{Action, ApplyReply},
    model::{ClusterId, ObjectKind},
    plan::PublicKey,
};
use serde_json::{Value, json};

use crate::{
    daemon::{Daemon, Endpoint, Parts},
    exit::Failure,
    generate::ManifestForm,
    manifest::{
        ClientSpec, GATEWAY_RESOURCE_LABEL, MTU_ANNOTATION, Metadata, ServerSpec, Service, TEMPLATE_NAMESPACE,
        TemplateKind, TemplateRef, configuration_spec, consecutive,
    },
    network::{Cluster, End, Report, Side},
    output::Form,
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The end of a connection that waits for the other
    #[command(name = "gatewayserver")]
    GatewayServer(Server),
    /// The end of a connection that seeks the other
    #[command(name = "gatewayclient")]
    GatewayClient(Client),
    /// The prefixes of a remote cluster
    Configuration(Configuration),
    /// The key of a remote cluster
    #[command(name = "publickey")]
    PublicKey(Key),
    /// An address of the external CIDR for a host outside
    Ip(Ip),
    /// A prefix of the pools
    Network(Network),
}

#[derive(Debug, Args)]
struct Server {
    #[command(flatten)]
    remote: Remote,
    /// How the port is made reachable
    #[arg(long, value_enum, ignore_case = true, default_value = "LoadBalancer", value_name = "TYPE")]
    service_type: Service,
    /// UDP port of the service; the first of them with --lanes
    #[arg(long, default_value_t = 51_840, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Forces the port of a NodePort service
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    node_port: Option<u16>,
    /// Forces the address of a LoadBalancer service
    #[arg(long, value_name = "IP")]
    load_balancer_ip: Option<IpAddr>,
    /// Ports that carry the connection side by side
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    lanes: u16,
    /// Kind of the template
    #[arg(long = "type", value_name = "TYPE", default_value = "networking.liqo.io/v1beta1/wggatewayservertemplates")]
    kind: TemplateKind,
    #[arg(long, value_name = "NAME", default_value = "wireguard-server", help = "Name of the template")]
    template_name: String,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Debug, Args)]
struct Client {
    #[command(flatten)]
    remote: Remote,
    /// Addresses or DNS names of the server, tried in turn
    #[arg(long, required = true, value_name = "ADDRESS,...", value_delimiter = ',')]
    addresses: Vec<String>,
    /// UDP port of the server; the first of them with --lanes
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Ports of the server that carry the connection side by side
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    lanes: u16,
    /// There is one only
    #[arg(long, value_enum, ignore_case = true, default_value = "UDP")]
    protocol: Protocol,
    /// Kind of the template
    #[arg(long = "type", value_name = "TYPE", default_value = "networking.liqo.io/v1beta1/wggatewayclienttemplates")]
    kind: TemplateKind,
    #[arg(long, value_name = "NAME", default_value = "wireguard-client", help = "Name of the template")]
    template_name: String,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Debug, Args)]
struct Configuration {
    #[command(flatten)]
    remote: Remote,
    /// Pod CIDRs of the remote cluster
    #[arg(long, visible_alias = "remote-pod-cidr", required = true, value_name = "CIDR,...", value_delimiter = ',')]
    pod_cidr: Vec<IpNet>,
    /// External CIDRs of the remote cluster
    #[arg(long, visible_alias = "remote-external-cidr", value_name = "CIDR,...", value_delimiter = ',')]
    external_cidr: Vec<IpNet>,
    /// Until its prefixes have names here
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Key {
    #[command(flatten)]
    remote: Remote,
    /// In base64
    #[arg(long, value_name = "KEY")]
    public_key: PublicKey,
    /// MTU of the remote gateway, which must be that of ours
    #[arg(long)]
    mtu: Option<u16>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Ip {
    name: String,
    /// Address of the host outside
    #[arg(long, value_name = "IP")]
    ip: IpAddr,
    /// Its packets come from an address of this cluster
    #[arg(long)]
    masquerade: bool,
    /// A Network that the address is taken from [default: the external CIDR]
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    network: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Network {
    name: String,
    /// What is wished for; another of the same size where it is taken
    #[arg(long)]
    cidr: IpNet,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Remote {
    name: String,
    /// Id of the remote cluster (`meshctl info --get clusterid` there)
    #[arg(long, value_name = "ID")]
    remote_cluster_id: ClusterId,
}

/// What both ends have.
#[derive(Debug, Args)]
struct Gateway {
    #[arg(long, value_name = "NAMESPACE", default_value = TEMPLATE_NAMESPACE, help = "Namespace of the template")]
    template_namespace: String,
    /// MTU of the tunnel, the same at both ends
    #[arg(long, default_value_t = 1_340)]
    mtu: u16,
    /// Until the gateway is ready, and a server has an address and a port
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    parts: Parts,
    #[arg(short, long, default_value = "default", help = "Namespace of the object")]
    namespace: String,
    /// Prints the manifest in this form and changes nothing
    #[arg(short, long, value_enum)]
    output: Option<ManifestForm>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    #[value(name = "UDP")]
    Udp,
}

impl Arguments {
    pub(crate) fn form(&self) -> Form {
        match self.common().output {
            Some(ManifestForm::Json) => Form::Json,
            Some(ManifestForm::Yaml) | None => Form::Text,
        }
    }

    fn common(&self) -> &Common {
        match &self.verb {
            Verb::GatewayServer(server) => &server.gateway.common,
            Verb::GatewayClient(client) => &client.gateway.common,
            Verb::Configuration(configuration) => &configuration.common,
            Verb::PublicKey(key) => &key.common,
            Verb::Ip(ip) => &ip.common,
            Verb::Network(network) => &network.common,
        }
    }
}

pub(crate) fn run(endpoint: &Endpoint, arguments: &Arguments) -> Result<String, Failure> {
    let common = arguments.common();
    let manifest = manifest(&arguments.verb)?;
    if let Some(form) = common.output {
        return form.print(&[manifest]);
    }
    let daemon = endpoint.daemon_of(&common.parts)?;
    let reply = daemon.apply(&[manifest], false)?;
    wait(endpoint, &daemon, &arguments.verb)?;
    Ok(made(&reply))
}

fn manifest(verb: &Verb) -> Result<Value, Failure> {
    match verb {
        Verb::GatewayServer(server) => server.manifest(),
        Verb::GatewayClient(client) => client.manifest(),
        Verb::Configuration(Configuration { remote, pod_cidr, external_cidr, common, .. }) => {
            Ok(remote.metadata(common).manifest(ObjectKind::Configuration, configuration_spec(pod_cidr, external_cidr)))
        }
        Verb::PublicKey(Key { remote, public_key, mtu, common }) => {
            let mut metadata = remote.metadata(common);
            metadata.labels.insert(GATEWAY_RESOURCE_LABEL.to_owned(), "true".to_owned());
            metadata.annotations.extend(mtu.map(|mtu| (MTU_ANNOTATION.to_owned(), mtu.to_string())));
            Ok(metadata.manifest(ObjectKind::PublicKey, json!({ "publicKey": public_key.to_string() })))
        }
        Verb::Ip(Ip { name, ip, masquerade, network, common }) => {
            let mut spec = json!({ "ip": ip });
            if *masquerade {
                spec["masquerade"] = json!(true);
            }
            if let Some(network) = network {
                let (namespace, name) = network.split_once('/').unwrap_or((&common.namespace, network));
                spec["networkRef"] = json!({ "name": name, "namespace": namespace });
            }
            Ok(common.metadata(name).manifest(ObjectKind::Ip, spec))
        }
        Verb::Network(Network { name, cidr, common }) => {
            Ok(common.metadata(name).manifest(ObjectKind::Network, json!({ "cidr": cidr })))
        }
    }
}

impl Server {
    fn manifest(&self) -> Result<Value, Failure> {
        let usage = |message: String| Failure::usage(message, "see --service-type, --port and --lanes");
        if self.node_port.is_some() && self.service_type != Service::NodePort {
            return Err(usage("--node-port is for services of type NodePort".to_owned()));
        }
        let spec = ServerSpec {
            service: self.service_type,
            port: self.port,
            node_port: self.node_port,
            load_balancer_ip: self.load_balancer_ip,
            lanes: self.lanes,
            mtu: self.gateway.mtu,
            template: self.gateway.template(&self.kind, &self.template_name),
        };
        let metadata = self.remote.metadata(&self.gateway.common);
        Ok(metadata.manifest(ObjectKind::GatewayServer, spec.value().map_err(usage)?))
    }
}

impl Client {
    fn manifest(&self) -> Result<Value, Failure> {
        let Protocol::Udp = self.protocol;
        let usage = |message: String| Failure::usage(message, "see --port and --lanes");
        let spec = ClientSpec {
            addresses: self.addresses.clone(),
            ports: consecutive(self.port, self.lanes).map_err(usage)?,
            mtu: self.gateway.mtu,
            template: self.gateway.template(&self.kind, &self.template_name),
        };
        Ok(self.remote.metadata(&self.gateway.common).manifest(ObjectKind::GatewayClient, spec.value()))
    }
}

impl Gateway {
    fn template(&self, TemplateKind(kind): &TemplateKind, name: &str) -> TemplateRef {
        TemplateRef { kind: *kind, name: name.to_owned(), namespace: self.template_namespace.clone() }
    }
}

impl Remote {
    fn metadata(&self, common: &Common) -> Metadata {
        Metadata::of_remote(Some(&common.namespace), &self.name, self.remote_cluster_id.as_str())
    }
}

impl Common {
    fn metadata(&self, name: &str) -> Metadata {
        Metadata { namespace: Some(self.namespace.clone()), name: name.to_owned(), ..Metadata::default() }
    }
}

fn wait(endpoint: &Endpoint, daemon: &Daemon, verb: &Verb) -> Result<(), Failure> {
    let (remote, kind) = match verb {
        Verb::GatewayServer(server) if server.gateway.wait => (&server.remote, ObjectKind::GatewayServer),
        Verb::GatewayClient(client) if client.gateway.wait => (&client.remote, ObjectKind::GatewayClient),
        Verb::Configuration(configuration) if configuration.wait => (&configuration.remote, ObjectKind::Configuration),
        _ => return Ok(()),
    };
    let remote = remote.remote_cluster_id.as_str();
    let mut report = Report::new(Form::Text, false);
    let side = Side::alone(End::Local, daemon, Instant::now() + endpoint.patience())?;
    match kind {
        ObjectKind::GatewayServer => {
            side.wait_endpoint(remote, &mut report)?;
            side.wait_ready(kind, remote, &mut report)
        }
        ObjectKind::GatewayClient => side.wait_ready(kind, remote, &mut report),
        _ => side.wait_remapped(remote, &mut report).map(drop),
    }
}

/// As `apply` says it.
fn made(reply: &ApplyReply) -> String {
    let verb = |action: Action| match action {
        Action::Created => "created",
        Action::Changed => "changed",
        Action::Unchanged => "unchanged",
        Action::Skipped => "left to its node, which makes it",
        Action::Deleted => "deleted",
    };
    let line = |kind: &str, name: &str, verb: &str| format!("{}/{name} {verb}\n", kind.to_ascii_lowercase());
    reply.changes.iter().map(|change| line(&change.kind, &change.name, verb(change.action))).collect()
}
