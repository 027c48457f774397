//! The form of `meshd.toml`: which keys there are, and their defaults where these are plain. What they mean, and what is
//! refused, stands in the files beside this one.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::{
    model::DEFAULT_MTU,
    plan::{HookChoice, InterfaceRole},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) cluster_id: Option<Spanned<String>>,
    pub(super) node_id: Option<Spanned<String>>,
    pub(super) advertise: Option<Spanned<String>>,
    pub(super) org: Option<Spanned<String>>,
    pub(super) hub: Option<Spanned<String>>,
    #[serde(default = "default_contexts_file")]
    pub(super) contexts_file: PathBuf,
    pub(super) private_key_file: Option<PathBuf>,
    #[serde(default = "default_manifest_dir")]
    pub(super) manifest_dir: PathBuf,
    #[serde(default = "default_state_dir")]
    pub(super) state_dir: PathBuf,
    #[serde(default = "default_run_dir")]
    pub(super) run_dir: PathBuf,
    #[serde(default = "default_pin_dir")]
    pub(super) pin_dir: PathBuf,
    #[serde(default = "default_uapi_dir")]
    pub(super) uapi_dir: PathBuf,
    pub(super) shards: Option<Spanned<usize>>,
    #[serde(default)]
    pub(super) log_bpf: bool,
    pub(super) cidr: Option<Spanned<CidrSection>>,
    #[serde(default)]
    pub(super) gateway: GatewaySection,
    #[serde(default)]
    pub(super) interface: Vec<InterfaceSection>,
    #[serde(default)]
    pub(super) ng: GroupsSection,
    #[serde(default)]
    pub(super) dns: DnsSection,
    #[serde(default)]
    pub(super) remap: RemapSection,
    pub(super) api: Option<ApiSection>,
    pub(super) metrics: Option<MetricsSection>,
    #[serde(default)]
    pub(super) principal: Vec<PrincipalSection>,
    #[serde(default)]
    pub(super) instance: Vec<InstanceSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CidrSection {
    pub(super) pod: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) service: Vec<Spanned<String>>,
    pub(super) external: Option<Vec<Spanned<String>>>,
    pub(super) internal: Option<Vec<Spanned<String>>>,
    pub(super) pools: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) reserved: Vec<Spanned<String>>,
    pub(super) presented: Option<PresentedSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PresentedSection {
    pub(super) pod: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) external: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricsSection {
    pub(super) listen: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GatewaySection {
    pub(super) enabled: bool,
    pub(super) index: Option<Spanned<u8>>,
    pub(super) nodes: Vec<Spanned<String>>,
    pub(super) advertise: Vec<Spanned<String>>,
    pub(super) advertise_command: Option<Spanned<Vec<String>>>,
    pub(super) load_balancer_pool: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InterfaceSection {
    pub(super) name: Spanned<String>,
    pub(super) role: RoleWord,
    #[serde(default)]
    pub(super) hook: HookWord,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RoleWord {
    Workload,
    Underlay,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HookWord {
    #[default]
    Auto,
    Xdp,
    XdpGeneric,
    Tcx,
    Off,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GroupsSection {
    pub(super) pool: Option<Vec<Spanned<String>>>,
    pub(super) prefix_length: Option<Spanned<u8>>,
    pub(super) suffixes: Option<Vec<Spanned<String>>>,
    pub(super) ports: Option<Spanned<String>>,
    pub(super) mtu: Spanned<u16>,
    pub(super) lease_seconds: Option<Spanned<u32>>,
    pub(super) kinds: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DnsSection {
    pub(super) enabled: bool,
    pub(super) listen: Option<Vec<Spanned<String>>>,
    pub(super) forward: Vec<Spanned<String>>,
    pub(super) ttl: Spanned<u32>,
    pub(super) register: bool,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RemapSection {
    pub(super) unknown_source: Option<Spanned<bool>>,
    pub(super) full_masquerade: bool,
    pub(super) notrack: Option<Spanned<bool>>,
    pub(super) deny_direct_connections: bool,
    pub(super) mss_clamp: bool,
    pub(super) mss: Option<Spanned<u16>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiSection {
    pub(super) listen: Spanned<String>,
    pub(super) ca: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrincipalSection {
    pub(super) name: Spanned<String>,
    pub(super) roles: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InstanceSection {
    pub(super) member: Spanned<String>,
    pub(super) netns: Option<Spanned<PathBuf>>,
    pub(super) org: Option<Spanned<String>>,
}

impl Default for GatewaySection {
    fn default() -> Self {
        let (index, nodes, advertise, advertise_command, load_balancer_pool) = Default::default();
        GatewaySection { enabled: true, index, nodes, advertise, advertise_command, load_balancer_pool }
    }
}

impl Default for GroupsSection {
    fn default() -> Self {
        let mtu = Spanned::new(0..0, DEFAULT_MTU);
        let (pool, prefix_length, suffixes, ports, lease_seconds) = Default::default();
        GroupsSection { pool, prefix_length, suffixes, ports, mtu, lease_seconds, kinds: BTreeMap::new() }
    }
}

impl Default for DnsSection {
    fn default() -> Self {
        /// Seconds: clients see within this time that a peer came or went.
        const TTL: u32 = 5;
        DnsSection { enabled: true, listen: None, forward: Vec::new(), ttl: Spanned::new(0..0, TTL), register: true }
    }
}

impl Default for RemapSection {
    fn default() -> Self {
        RemapSection {
            unknown_source: None,
            full_masquerade: false,
            notrack: None,
            deny_direct_connections: true,
            mss_clamp: true,
            mss: None,
        }
    }
}

impl RoleWord {
    pub(super) fn role(&self) -> InterfaceRole {
        match self {
            RoleWord::Workload => InterfaceRole::Workload,
            RoleWord::Underlay => InterfaceRole::Underlay,
        }
    }
}

impl HookWord {
    pub(super) fn choice(&self) -> HookChoice {
        match self {
            HookWord::Auto => HookChoice::Auto,
            HookWord::Xdp => HookChoice::Xdp,
            HookWord::XdpGeneric => HookChoice::XdpGeneric,
            HookWord::Tcx => HookChoice::Tcx,
            HookWord::Off => HookChoice::Off,
        }
    }
}

fn default_contexts_file() -> PathBuf {
    "/etc/mesh/contexts.toml".into()
}

fn default_manifest_dir() -> PathBuf {
    "/etc/mesh/manifests".into()
}

fn default_state_dir() -> PathBuf {
    "/var/lib/mesh".into()
}

fn default_run_dir() -> PathBuf {
    "/run/mesh".into()
}

fn default_pin_dir() -> PathBuf {
    "/sys/fs/bpf/mesh".into()
}

fn default_uapi_dir() -> PathBuf {
    "/var/run/wireguard".into()
}
