//! A peer: one running instance of a member.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, Label, ManagedBy, MemberId, NodeId, NotAllowed, PeerId};
use crate::plan::PublicKey;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Peer {
    #[serde(rename = "type")]
    pub kind: PeerKind,
    pub id: PeerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    #[schema(value_type = String)]
    pub public_key: PublicKey,
    pub endpoint: Endpoint,
    pub hostname: String,
    pub parent_member: MemberId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_event: Option<String>,
    /// The node that runs it; absent for external peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hv: Option<NodeId>,
    #[serde(default)]
    pub managed_by: ManagedBy,
}

/// Case does not matter on input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
pub enum PeerKind {
    /// Run by a meshd.
    CleverPeer,
    /// Any other WireGuard.
    ExternalPeer,
}

/// Case does not matter on input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", rename_all = "UPPERCASE")]
pub enum PeerRole {
    /// Behind NAT, or not to be called: calls the servers.
    #[default]
    Client,
    /// Has an address and port that others call.
    Server,
}

impl std::str::FromStr for PeerKind {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        match text.to_ascii_lowercase().as_str() {
            "cleverpeer" | "clever" => Ok(PeerKind::CleverPeer),
            "externalpeer" | "external" => Ok(PeerKind::ExternalPeer),
            _ => Err(NotAllowed::new("kind of peer", text, "one of CleverPeer, ExternalPeer")),
        }
    }
}

impl std::str::FromStr for PeerRole {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        match text.to_ascii_lowercase().as_str() {
            "client" => Ok(PeerRole::Client),
            "server" => Ok(PeerRole::Server),
            _ => Err(NotAllowed::new("role of a peer", text, "one of CLIENT, SERVER")),
        }
    }
}

impl TryFrom<String> for PeerKind {
    type Error = NotAllowed;

    fn try_from(text: String) -> Result<Self, NotAllowed> {
        text.parse()
    }
}

impl TryFrom<String> for PeerRole {
    type Error = NotAllowed;

    fn try_from(text: String) -> Result<Self, NotAllowed> {
        text.parse()
    }
}
