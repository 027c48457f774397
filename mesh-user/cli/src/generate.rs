//! `meshctl generate`: what the admin of a remote cluster is to apply there, in the name of this cluster.

use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use mesh_core::{api::ClusterReply, model::ObjectKind};
use serde_json::Value;

use crate::{
    daemon::{Daemon, Endpoint, Parts},
    exit::{Exit, Failure},
    manifest::{Metadata, configuration_spec, keys_of, mtu_of, public_key},
    network::{Cluster, name, text},
    output::{Form, json, yaml},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The prefixes of this cluster, as a Configuration
    Configuration(Common),
    /// The key that a gateway of this cluster proves itself with
    #[command(name = "publickey")]
    PublicKey {
        /// Whether the gateway is the server or the client of its connection
        #[arg(long, value_enum, default_value = "server")]
        gateway_type: GatewayType,
        /// Name of the gateway
        #[arg(long, value_name = "NAME")]
        gateway_name: String,
        /// Namespace of the gateway [default: any]
        #[arg(short, long)]
        namespace: Option<String>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    parts: Parts,
    /// Form of the manifest
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: ManifestForm,
    /// Writes it to this file (0600) instead of standard output
    #[arg(long, value_name = "PATH")]
    out_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GatewayType {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManifestForm {
    Yaml,
    Json,
}

impl Arguments {
    /// Of a failure: a manifest is for people too.
    pub(crate) fn form(&self) -> Form {
        match self.common().output {
            ManifestForm::Json => Form::Json,
            ManifestForm::Yaml => Form::Text,
        }
    }

    fn common(&self) -> &Common {
        match &self.verb {
            Verb::Configuration(common) | Verb::PublicKey { common, .. } => common,
        }
    }
}

pub(crate) fn run(endpoint: &Endpoint, arguments: &Arguments) -> Result<String, Failure> {
    let common = arguments.common();
    let daemon = endpoint.daemon_of(&common.parts)?;
    let info = Cluster::info(&daemon)?;
    let manifests = match &arguments.verb {
        Verb::Configuration(_) => vec![configuration(&info)?],
        Verb::PublicKey { gateway_type, gateway_name, namespace, .. } => {
            let kind = match gateway_type {
                GatewayType::Server => ObjectKind::GatewayServer,
                GatewayType::Client => ObjectKind::GatewayClient,
            };
            public_keys(&daemon, &info, kind, gateway_name, namespace.as_deref())?
        }
    };
    let text = common.output.print(&manifests)?;
    match &common.out_file {
        None => Ok(text),
        Some(path) => write(path, &text).map(|()| String::new()),
    }
}

impl ManifestForm {
    /// Several as a stream of documents, or as one list.
    pub(crate) fn print(self, manifests: &[Value]) -> Result<String, Failure> {
        match (self, manifests) {
            (ManifestForm::Json, [one]) => json(one),
            (ManifestForm::Json, several) => json(&several),
            (ManifestForm::Yaml, several) => Ok(several.iter().map(yaml).collect::<Result<Vec<_>, _>>()?.join("---\n")),
        }
    }
}

fn configuration(info: &ClusterReply) -> Result<Value, Failure> {
    let network = &info.network;
    if network.pod_cidrs.is_empty() {
        let message = format!("cluster {} has no pod CIDR: {}", info.cluster_id, network.detail);
        return Err(Failure::usage(message, "add [cidr] with pod = [...] to its settings"));
    }
    let spec = configuration_spec(&network.pod_cidrs, &network.external_cidrs);
    Ok(Metadata::of_remote(None, &info.cluster_id, &info.cluster_id).manifest(ObjectKind::Configuration, spec))
}

fn public_keys(
    daemon: &Daemon,
    info: &ClusterReply,
    kind: ObjectKind,
    wanted: &str,
    namespace: Option<&str>,
) -> Result<Vec<Value>, Failure> {
    let gateways = daemon.list(kind)?;
    let is_it = |gateway: &&Value| {
        let is_there = namespace.is_none_or(|namespace| text(gateway, "/metadata/namespace") == namespace);
        text(gateway, "/metadata/name") == wanted && is_there
    };
    let found: Vec<&Value> = gateways.iter().filter(is_it).collect();
    let gateway = match found.as_slice() {
        [gateway] => gateway,
        [] => {
            let known: Vec<String> = gateways.iter().map(name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!("there is no {kind} {wanted} in cluster {}; known: {known}", info.cluster_id);
            return Err(Failure::new(Exit::NotFound, message, "`meshctl create` and `meshctl apply -f` make one"));
        }
        several => {
            let names: Vec<String> = several.iter().map(|gateway| name(gateway)).collect();
            let message = format!("several are called {wanted}: {}", names.join(", "));
            return Err(Failure::new(Exit::Conflict, message, "-n names the namespace").with_code("ambiguous"));
        }
    };
    let keys = keys_of(gateway, &info.public_key);
    if keys.is_empty() {
        let message = format!("{kind} {} has no key yet", name(gateway));
        return Err(Failure::new(Exit::Conflict, message, "`meshctl get -o yaml` tells why; try again"));
    }
    Ok(keys.iter().map(|key| public_key(&info.cluster_id, None, key, mtu_of(gateway))).collect())
}

fn write(path: &PathBuf, text: &str) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display()), ""))
}
