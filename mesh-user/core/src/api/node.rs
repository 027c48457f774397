//! Requests about this node's own part in network groups. They are answered on the unix socket only.
//!
//! | request | body | reply |
//! |---|---|---|
//! | `GET /v1/node/joins` | | [`JoinList`] |
//! | `POST /v1/node/joins` | [`Join`] | [`JoinReply`], once the peer is up |
//! | `DELETE /v1/node/joins/{ng}?org=&member=` | | [`LeaveReply`] |
//! | `GET /v1/node/whoami` | | [`JoinList`], with the instances of the settings |

use std::{net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    model::group::{GroupId, Label, MemberId, NodeId, Org, PeerId},
    plan::PublicKey,
};

/// How another daemon's API is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `unix:///run/mesh/meshd.sock` or `https://HOST:PORT`.
    pub server: String,
    /// PEM files; needed with https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cert: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub key: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Join {
    pub org: Org,
    /// Id or label.
    pub group: String,
    /// An instance of this member; absent: a new external member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberId>,
    /// Of the external peer; else the node's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// A network namespace that the tunnel is put in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub netns: Option<PathBuf>,
    /// Absent: the hub of the settings, else this daemon's own store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<Server>,
    /// Seconds until a peer that is not up is an error (code `timeout`).
    pub patience: u64,
}

/// One peer that this node runs, or will.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalPeer {
    pub org: Org,
    pub ng_id: GroupId,
    pub ng_label: Label,
    pub member: MemberId,
    pub peer: PeerId,
    pub hv: NodeId,
    #[schema(value_type = String)]
    pub address: IpAddr,
    #[schema(value_type = String)]
    pub public_key: PublicKey,
    pub device: String,
    #[schema(value_type = Option<String>)]
    pub netns: Option<PathBuf>,
    /// Names that stand for it.
    pub names: Vec<String>,
    pub listen_port: u16,
    /// The tunnel is there and the hub knows the peer.
    pub up: bool,
    /// Why it is not, or what works worse than it could.
    pub detail: String,
    /// What the hub said last is in force; else what was kept of it.
    pub hub_reachable: bool,
    /// WireGuard peers, with what the engine knows of each.
    pub peers: Vec<RemotePeer>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemotePeer {
    pub peer: PeerId,
    pub member: MemberId,
    #[schema(value_type = String)]
    pub address: IpAddr,
    pub endpoint: Option<String>,
    pub handshake_age_s: Option<u64>,
    /// Round trip of the last handshake, which is renewed every two minutes while there is traffic: from our message to
    /// the answer, with the arithmetic of both ends in it (a fraction of a millisecond). Absent without a session, and
    /// where a message of the handshake was lost.
    #[serde(default)]
    pub latency_us: Option<u64>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JoinList {
    pub schema: u32,
    pub peers: Vec<LocalPeer>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JoinReply {
    pub schema: u32,
    pub peer: LocalPeer,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeaveReply {
    pub schema: u32,
    /// As it was; `null`: it was left before it had an address.
    pub peer: Option<LocalPeer>,
}
