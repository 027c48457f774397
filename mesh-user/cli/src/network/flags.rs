//! The flags of `meshctl network`, spelled as in Liqo, and what they wish for.

use std::{net::IpAddr, path::PathBuf, str::FromStr, time::Instant};

use clap::{Args, ValueEnum};
use mesh_core::model::ObjectKind;

use super::{
    cluster::Cluster,
    connect::{ClientWish, Wish},
    report::End,
    side::Side,
};
use crate::{
    daemon::{Daemon, Endpoint, Parts, RemoteEndpoint},
    exit::Failure,
    manifest::{ServerSpec, Service, TEMPLATE_NAMESPACE, TemplateKind, TemplateRef},
};

/// Which two clusters, and how what is made there is called.
#[derive(Debug, Args)]
pub(super) struct Both {
    #[command(flatten)]
    pub(super) parts: Parts,
    #[command(flatten)]
    remote: RemoteEndpoint,
    /// Exchange files with the other admin in this directory, and never ask the other daemon
    #[arg(long, value_name = "DIR", conflicts_with_all = ["remote_context", "remote_kubeconfig", "remote_socket"])]
    pub(super) remote_files: Option<PathBuf>,
    /// Id of the remote cluster, where only files are exchanged and several clusters are known
    #[arg(long, value_name = "ID")]
    pub(super) remote_cluster_id: Option<String>,
    /// Namespace of what is made here [default: liqo-tenant-REMOTE]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Namespace of what is made at the remote cluster [default: liqo-tenant-LOCAL]
    #[arg(long, value_name = "NAMESPACE")]
    remote_namespace: Option<String>,
    /// Labels of all that is made
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    global_labels: Vec<Text>,
    /// Annotations of all that is made
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    global_annotations: Vec<Text>,
    /// Also says which fields change
    #[arg(short, long)]
    verbose: bool,
}

/// `key=value`.
#[derive(Clone, Debug)]
struct Text(String, String);

#[derive(Debug, Args)]
pub(super) struct ConnectFlags {
    /// Until the connection is established
    #[arg(long)]
    wait: bool,
    /// How the port of the gateway server is made reachable
    #[arg(long, value_enum, ignore_case = true, default_value = "LoadBalancer", value_name = "TYPE")]
    gw_server_service_type: Service,
    /// UDP port of the gateway server's service; the first of them with --lanes
    #[arg(long, value_name = "PORT", default_value_t = 51_840, value_parser = clap::value_parser!(u16).range(1..))]
    gw_server_service_port: u16,
    /// Forces the port of a NodePort service [default: the daemon chooses one]
    #[arg(long, value_name = "PORT", value_parser = optional_port, default_value = "", hide_default_value = true)]
    gw_server_service_nodeport: OptionalPort,
    /// Forces the address of a LoadBalancer service [default: what is advertised]
    #[arg(long, value_name = "IP", value_parser = optional_address, default_value = "", hide_default_value = true)]
    gw_server_service_loadbalancerip: OptionalAddress,
    /// Which cluster has the gateway server: the remote one (Provider) or this one (Consumer)
    #[arg(
        long,
        visible_alias = "gw-server-gateway-location",
        value_enum,
        ignore_case = true,
        default_value = "Provider",
        value_name = "WHERE"
    )]
    gw_server_service_location: Location,
    /// Kind of the gateway server's template
    #[arg(long, value_name = "TYPE", default_value = "networking.liqo.io/v1beta1/wggatewayservertemplates")]
    gw_server_type: TemplateKind,
    #[arg(
        long,
        value_name = "NAME",
        default_value = "wireguard-server",
        help = "Name of the gateway server's template"
    )]
    gw_server_template_name: String,
    #[arg(long, value_name = "NAMESPACE", default_value = TEMPLATE_NAMESPACE, help = "Namespace of that template")]
    gw_server_template_namespace: String,
    /// Where the client finds the server, instead of where the server says that it is
    #[arg(long, value_name = "ADDRESS")]
    gw_client_address: Option<String>,
    /// The port that the client sends to, instead of the one that the server says
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    gw_client_port: Option<u16>,
    /// Kind of the gateway client's template
    #[arg(long, value_name = "TYPE", default_value = "networking.liqo.io/v1beta1/wggatewayclienttemplates")]
    gw_client_type: TemplateKind,
    #[arg(
        long,
        value_name = "NAME",
        default_value = "wireguard-client",
        help = "Name of the gateway client's template"
    )]
    gw_client_template_name: String,
    #[arg(long, value_name = "NAMESPACE", default_value = TEMPLATE_NAMESPACE, help = "Namespace of that template")]
    gw_client_template_namespace: String,
    /// MTU of the tunnel, the same at both ends
    #[arg(long, default_value_t = 1_340)]
    mtu: u16,
    /// Ports at both ends that carry the connection side by side
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    lanes: u16,
    /// Do not exchange the public keys
    #[arg(long)]
    disable_sharing_keys: bool,
    /// Do not check beforehand what the daemons would refuse
    #[arg(long)]
    skip_validation: bool,
    /// Nothing is asked by this verb
    #[arg(short = 'y', long = "yes", visible_alias = "skip-confirm")]
    _yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Location {
    /// The remote cluster
    #[value(name = "Provider")]
    Provider,
    /// This cluster
    #[value(name = "Consumer")]
    Consumer,
}

impl Both {
    pub(super) fn is_verbose(&self) -> bool {
        self.verbose
    }

    pub(super) fn remote_daemon(&self, endpoint: &Endpoint) -> Result<Option<Daemon>, Failure> {
        endpoint.remote(&self.remote)
    }

    /// Asks the cluster who it is.
    pub(super) fn side<'a>(&self, end: End, cluster: &'a dyn Cluster, deadline: Instant) -> Result<Side<'a>, Failure> {
        let texts = |texts: &[Text]| texts.iter().map(|Text(key, value)| (key.clone(), value.clone())).collect();
        let namespace = match end {
            End::Local => self.namespace.clone(),
            End::Remote => self.remote_namespace.clone(),
        };
        let (labels, annotations) = (texts(&self.global_labels), texts(&self.global_annotations));
        Ok(Side { namespace, labels, annotations, ..Side::alone(end, cluster, deadline)? })
    }
}

impl ConnectFlags {
    pub(super) fn wish(&self) -> Result<Wish, Failure> {
        let OptionalPort(node_port) = self.gw_server_service_nodeport;
        let OptionalAddress(load_balancer_ip) = self.gw_server_service_loadbalancerip;
        let service = self.gw_server_service_type;
        let hint = "see --gw-server-service-type";
        if node_port.is_some() && service != Service::NodePort {
            return Err(Failure::usage("--gw-server-service-nodeport is for services of type NodePort", hint));
        }
        if load_balancer_ip.is_some() && service != Service::LoadBalancer {
            let message = "--gw-server-service-loadbalancerip is for services of type LoadBalancer";
            return Err(Failure::usage(message, hint));
        }
        let template = |TemplateKind(kind): &TemplateKind, wanted: ObjectKind, name: &String, namespace: &String| {
            if *kind != wanted {
                return Err(Failure::usage(
                    format!("{kind} is not the kind of templates that is needed"),
                    format!("{wanted} is"),
                ));
            }
            Ok(TemplateRef { kind: *kind, name: name.clone(), namespace: namespace.clone() })
        };
        let server_kind = ObjectKind::WgGatewayServerTemplate;
        let (name, namespace) = (&self.gw_server_template_name, &self.gw_server_template_namespace);
        let server_template = template(&self.gw_server_type, server_kind, name, namespace)?;
        let client_kind = ObjectKind::WgGatewayClientTemplate;
        let (name, namespace) = (&self.gw_client_template_name, &self.gw_client_template_namespace);
        let client_template = template(&self.gw_client_type, client_kind, name, namespace)?;
        Ok(Wish {
            server_at: match self.gw_server_service_location {
                Location::Provider => End::Remote,
                Location::Consumer => End::Local,
            },
            server: ServerSpec {
                service,
                port: self.gw_server_service_port,
                node_port,
                load_balancer_ip,
                lanes: self.lanes,
                mtu: self.mtu,
                template: server_template,
            },
            client: ClientWish {
                address: self.gw_client_address.clone(),
                port: self.gw_client_port,
                template: client_template,
                mtu: self.mtu,
            },
            share_keys: !self.disable_sharing_keys,
            validate: !self.skip_validation,
            wait: self.wait,
        })
    }
}

pub(super) fn no_remote() -> Failure {
    let hint = "--remote-context NAME, --remote-kubeconfig FILE, --remote-socket PATH, or --remote-files DIR where only \
                files are exchanged";
    Failure::usage("no remote cluster was named", hint)
}

/// An empty value is none, as in Liqo.
#[derive(Clone, Copy, Debug)]
struct OptionalPort(Option<u16>);

#[derive(Clone, Copy, Debug)]
struct OptionalAddress(Option<IpAddr>);

fn optional_port(text: &str) -> Result<OptionalPort, String> {
    if text.is_empty() {
        return Ok(OptionalPort(None));
    }
    let port: Option<u16> = text.parse().ok().filter(|port| *port > 0);
    port.map(|port| OptionalPort(Some(port))).ok_or_else(|| "a port is from 1 to 65535".to_owned())
}

fn optional_address(text: &str) -> Result<OptionalAddress, String> {
    if text.is_empty() {
        return Ok(OptionalAddress(None));
    }
    text.parse().map(|address| OptionalAddress(Some(address))).map_err(|_| format!("{text:?} is no IP address"))
}

impl FromStr for Text {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("it is KEY=VALUE")?;
        Ok(Text(key.to_owned(), value.to_owned()))
    }
}
