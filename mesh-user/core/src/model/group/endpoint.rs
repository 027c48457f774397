//! Where a peer is: its address in the group and, for a server, its address outside.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// With `type` as `ServerEndpoint` or `ClientEndpoint` on output; on input it may be left out, and a term may be a string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type")]
pub enum Endpoint {
    ServerEndpoint(ServerEndpoint),
    ClientEndpoint(ClientEndpoint),
}

/// Can be called by others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerEndpoint {
    /// In the group.
    pub ng_term: Term,
    /// On the underlay.
    pub public_term: Term,
}

/// Calls others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientEndpoint {
    #[schema(value_type = String)]
    pub ng_ip: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Term {
    #[schema(value_type = String)]
    pub host: IpAddr,
    pub port: u16,
}

impl Endpoint {
    /// The peer's address in its group.
    pub fn address(&self) -> IpAddr {
        match self {
            Endpoint::ServerEndpoint(server) => server.ng_term.host,
            Endpoint::ClientEndpoint(client) => client.ng_ip,
        }
    }

    pub fn public(&self) -> Option<&Term> {
        match self {
            Endpoint::ServerEndpoint(server) => Some(&server.public_term),
            Endpoint::ClientEndpoint(_) => None,
        }
    }
}
