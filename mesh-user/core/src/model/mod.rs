//! What the operator says: the settings of this node and the manifests, one noun per file with its rules beside it.
//!
//! `Intent` (texts) becomes [`ValidIntent`] or *all* of its [`Problems`]. What the kernel shall hold lives in
//! [`crate::plan`].

mod cluster;
mod cluster_id;
mod configuration;
pub(crate) mod document;
#[cfg(test)]
pub(crate) mod fixtures;
mod gateway;
mod gateway_client;
mod gateway_server;
pub mod group;
mod host;
mod intent;
mod ip;
mod listener;
mod network;
mod object;
mod parsed;
pub(crate) mod prefix;
mod problem;
mod public_key;
mod role;
mod settings;
pub(crate) mod tree;

pub use cluster::{Cluster, Wish};
pub use cluster_id::{ClusterId, NotAClusterId};
pub use configuration::{Configuration, MeshWide, Prefixes};
pub use document::{API_VERSION, GROUPS_API_VERSION, Place, REMOTE_LABEL};
pub use gateway::Gateway;
pub use gateway_client::{GatewayClient, Reach};
pub use gateway_server::{DEFAULT_PORT, GatewayServer, ServiceType};
pub use host::{Host, NotAHost};
pub use intent::{Intent, Manifest, Placed, Remote, STORE, ValidIntent};
pub use ip::Ip;
pub use listener::{Driver, ExecDriver, Listener};
pub use network::Network;
pub use object::{ClusterObject, NotAKind, ObjectId, ObjectKind, is_name, is_namespace};
pub use parsed::Parsed;
pub use prefix::parse_cidr;
pub use problem::{ObjectName, Problem, Problems};
pub use public_key::{
    GATEWAY_ADDRESSES, GATEWAY_INDEX, GATEWAY_NODE_LABEL, MAX_GATEWAYS, MTU_ANNOTATION, NotAPublicKey, RemoteKey,
};
pub use role::Role;
pub use settings::{
    Advertise, ApiListener, Directories, DnsSettings, GatewaySettings, GroupSettings, Instance, MssClamp,
    PrincipalName, RemapSettings, Settings,
};

/// MTU of a tunnel device unless its gateway object says otherwise; bytes, equal on both sides.
pub const DEFAULT_MTU: u16 = 1_340;
