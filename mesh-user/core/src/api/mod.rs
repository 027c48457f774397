//! Requests and replies on the daemon's socket, shared by daemon and command line.
//!
//! JSON over HTTP on `RUN_DIR/meshd.sock`: `GET /v1/status`, `GET /v1/health/{live|ready|startup}`,
//! `GET /v1/explain?source=A&destination=B`.

mod apply;
mod condition;
pub mod group;
mod info;
pub mod node;
pub mod trial;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use apply::{Action, Applied, ApplyReply, ObjectList, of_body, to_body};
pub use condition::{Change, Condition, ConditionStatus};
pub use info::{ClusterNetwork, ClusterReply};

/// `GET /v1/status`: this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// [`group::SCHEMA`].
    pub schema: u32,
    pub version: String,
    pub cluster: String,
    pub public_key: String,
    pub interfaces: Vec<Interface>,
    pub connections: Vec<Connection>,
    pub remaps: Vec<Remap>,
    /// Peers of network groups that this node runs, or is about to.
    #[serde(default)]
    pub groups: Vec<GroupTunnel>,
    /// Packets dropped, by reason, since the counters were made.
    pub drops: BTreeMap<String, u64>,
    /// What is wrong with the manifests that were not taken, one line a problem. Empty: all are in force.
    pub problems: Vec<String>,
    /// What works worse than it could here and why.
    pub notices: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    pub name: String,
    pub role: String,
    /// What was asked for: `auto`, `xdp`, `xdp-generic`, `tcx`, `off`.
    pub wanted: String,
    /// What runs: `xdp`, `xdp-generic`, `tcx`, `shard` or `off`.
    pub hook: String,
    pub why: String,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    pub name: String,
    pub remote: String,
    /// `Server`, `Client` or `Direct`.
    pub kind: String,
    pub state: ConnectionState,
    /// Round trip of the last probe that was answered.
    pub latency_us: Option<u64>,
    /// Why it is not connected, or what it trusts.
    pub detail: String,
    pub device: Option<String>,
    pub endpoint: Option<String>,
    pub listen_port: Option<u16>,
    pub handshake_age_s: Option<u64>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_packets: u64,
    pub tx_packets: u64,
    /// None for `direct`.
    pub lanes: Vec<Lane>,
    /// `Handshake`, `TunnelProbe`, `DataPath`, `MTU`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The last 32 changes of the conditions, oldest first, since the daemon started.
    #[serde(default)]
    pub history: Vec<Change>,
    /// Of the tunnel. Absent for `direct`.
    #[serde(default)]
    pub mtu: Option<u16>,
    /// The longest packet that reached the remote gateway, up to the MTU; absent until that was tried.
    #[serde(default)]
    pub path_mtu: Option<u16>,
}

/// One way of a tunnelled connection: a UDP port at each end, with a session of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lane {
    /// Public key of the gateway node of the remote that it leads to.
    pub gateway: String,
    /// Our UDP port.
    pub port: u16,
    pub shard: usize,
    pub state: LaneState,
    pub endpoint: Option<String>,
    pub handshake_age_s: Option<u64>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_packets: u64,
    pub tx_packets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum LaneState {
    /// No session.
    Idle,
    Live,
    /// What leaves does not arrive; the others carry its share.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ConnectionState {
    Connecting,
    Connected,
    Error,
}

/// One peer of a network group that this node runs, and its tunnel. `GET /v1/node/whoami` has more of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GroupTunnel {
    /// Label of the group; its id as long as nothing more is known.
    pub group: String,
    pub group_id: String,
    pub org: String,
    pub member: String,
    pub peer: String,
    pub device: String,
    pub netns: Option<String>,
    /// In the group; absent until it is registered.
    pub address: Option<String>,
    pub listen_port: u16,
    /// The tunnel is there and the hub knows the peer.
    pub up: bool,
    /// Why it is not, or what works worse than it could.
    pub detail: String,
    /// Where the peer is registered.
    pub hub: String,
    pub hub_reachable: bool,
    /// Other peers of the group, and those of them that there is a session with.
    pub peers: usize,
    pub sessions: usize,
    /// The longest round trip to one of them ([`node::RemotePeer::latency_us`]).
    #[serde(default)]
    pub latency_us: Option<u64>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_packets: u64,
    pub tx_packets: u64,
}

/// One prefix of a remote (or, for `direct`, of ours) and what it is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Remap {
    pub connection: String,
    pub real: String,
    pub presented: String,
    pub packets: u64,
    pub bytes: u64,
}

/// `GET /v1/explain`: the path of a packet from `source` to `destination`, stage by stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// [`group::SCHEMA`].
    pub schema: u32,
    pub source: String,
    pub destination: String,
    pub stages: Vec<Stage>,
    pub verdict: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stage {
    pub stage: String,
    /// The table entry that decided, if any.
    pub entry: Option<String>,
    pub outcome: String,
}

/// Every reply that is not a success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorReply {
    pub error: Error,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Error {
    /// In snake case: those of [`crate::registry::RefusalCode`], and `unavailable`, `unhealthy`, `timeout`, `too_large`,
    /// `unsupported_media_type`, `method_not_allowed`.
    pub code: String,
    pub message: String,
    pub hint: String,
}
