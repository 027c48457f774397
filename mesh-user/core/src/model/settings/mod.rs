//! What `meshd.toml` says, one section per file; [`mod@file`] has the form of all of them.

mod access;
mod advertise;
mod cluster;
mod dns;
mod file;
mod gateway;
mod groups;
mod instance;
mod reading;
mod remap;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
};

use toml::Spanned;

use self::{file::File, reading::Reading};
use super::{
    cluster::Cluster,
    cluster_id::ClusterId,
    group::{NodeId, Org},
    problem::Problems,
    role::Role,
};
use crate::{
    plan::{Attachment, DeviceName},
    tunnel::MAX_LANES,
};

pub use access::{ApiListener, PrincipalName};
pub use advertise::Advertise;
pub use dns::DnsSettings;
pub use gateway::GatewaySettings;
pub use groups::GroupSettings;
pub use instance::Instance;
pub use remap::{MssClamp, RemapSettings};

/// The settings of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file they came from, for messages.
    pub file: String,
    pub cluster: Cluster,
    names_cluster: bool,
    /// What this node is called in network groups; `None`: after the host ([`NodeId::of_host`]).
    pub node_id: Option<NodeId>,
    /// Underlay address that other nodes call; `None`: the peers of this node call others.
    pub advertise: Option<IpAddr>,
    /// Of the instances that do not say theirs.
    pub org: Org,
    /// The context (in [`Directories::contexts`]) of the daemon whose store this node follows; `None`: its own.
    pub hub: Option<String>,
    pub groups: GroupSettings,
    pub dns: DnsSettings,
    pub remap: RemapSettings,
    /// Beside the unix socket.
    pub api: Option<ApiListener>,
    /// Where Prometheus asks on TCP.
    pub metrics: Option<SocketAddr>,
    pub principals: BTreeMap<PrincipalName, Vec<Role>>,
    pub instances: Vec<Instance>,
    pub interfaces: BTreeMap<DeviceName, Attachment>,
    pub gateway: GatewaySettings,
    pub directories: Directories,
    /// In the format of wg(8); made at first start.
    pub private_key_file: PathBuf,
    /// Threads that carry tunnelled packets; `None`: one for each core.
    pub shards: Option<NonZeroUsize>,
    /// Level of the log lines of the BPF programs: off unless asked.
    pub log_bpf: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    pub manifests: PathBuf,
    pub state: PathBuf,
    pub run: PathBuf,
    pub pins: PathBuf,
    pub uapi: PathBuf,
    /// A file: how other daemons are reached.
    pub contexts: PathBuf,
}

impl Settings {
    /// Reads the text of `file`; a problem of form ends the reading, problems of content are collected.
    pub fn parse(file: &str, text: &str) -> Result<Settings, Problems> {
        let mut reading = Reading::new(file, text);
        let parsed: File = match toml::from_str(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                let hint = "correct the line; docs/operations.md lists all settings";
                reading.report(error.span().map(|span| span.start), "", error.message(), hint);
                return Err(reading.problems);
            }
        };
        match reading.settings(parsed) {
            Some(settings) => reading.problems.or(settings),
            None => Err(reading.problems),
        }
    }

    /// On a host of this name: the node is called after it where the file does not say otherwise, and a cluster without a
    /// name is called after the node.
    #[must_use]
    pub fn on_host(mut self, name: &str) -> Settings {
        let node = self.node_id.get_or_insert_with(|| NodeId::of_host(name));
        if !self.names_cluster {
            self.cluster.id = ClusterId::of_node(node);
        }
        self
    }
}

impl Reading<'_> {
    /// `None` where it cannot be said at all; then there are problems.
    fn settings(&mut self, file: File) -> Option<Settings> {
        let interfaces = self.interfaces(&file.interface);
        let shards = file.shards.as_ref().and_then(|shards| self.shards(shards));
        let cluster = self.cluster(&file);
        let org = self.parse_given(file.org.as_ref(), "org", "write a short name").unwrap_or_default();
        let metrics = file.metrics.as_ref().and_then(|section| self.metrics(section));
        let api = file.api.as_ref().and_then(|section| self.api(section));
        Some(Settings {
            file: self.file.to_owned(),
            names_cluster: file.cluster_id.is_some(),
            node_id: self.parse_given(file.node_id.as_ref(), "node_id", "write a name that no other node has"),
            advertise: self.advertise(file.advertise.as_ref()),
            hub: self.hub(file.hub.as_ref()),
            groups: self.groups(&file.ng),
            dns: self.dns(&file.dns),
            remap: self.remap(&file.remap),
            principals: self.principals(&file.principal, file.api.is_some()),
            instances: self.instances(&file.instance, &org),
            org,
            api,
            metrics,
            interfaces,
            gateway: self.gateway(&file.gateway, cluster.as_ref()),
            private_key_file: file.private_key_file.unwrap_or_else(|| file.state_dir.join("private.key")),
            directories: Directories {
                manifests: file.manifest_dir,
                state: file.state_dir,
                run: file.run_dir,
                pins: file.pin_dir,
                uapi: file.uapi_dir,
                contexts: file.contexts_file,
            },
            shards,
            log_bpf: file.log_bpf,
            cluster: cluster?,
        })
    }

    fn shards(&mut self, shards: &Spanned<usize>) -> Option<NonZeroUsize> {
        if !(1..=MAX_LANES).contains(shards.get_ref()) {
            let hint = format!("write 1 to {MAX_LANES}, or leave it out: one for each core");
            self.refuse(shards, "shards", format!("{} shards", shards.get_ref()), &hint);
        }
        NonZeroUsize::new(*shards.get_ref())
    }

    fn advertise(&mut self, text: Option<&Spanned<String>>) -> Option<IpAddr> {
        let text = text?;
        let hint = "write the address at which other nodes reach this one, without port";
        let address: IpAddr = self.parse(text, "advertise", hint)?;
        if address.is_unspecified() || address.is_multicast() {
            self.refuse(text, "advertise", format!("{address} is no address of one machine"), hint);
        }
        Some(address)
    }

    fn hub(&mut self, name: Option<&Spanned<String>>) -> Option<String> {
        let name = name?;
        if name.get_ref().trim().is_empty() {
            self.refuse(name, "hub", "no name", "write the name of a context, or leave it out to be a hub");
        }
        Some(name.get_ref().clone())
    }
}
