//! Where a peer is: its address in the group and, for a server, its address outside.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::NotAllowed;

/// With `type` as `ServerEndpoint` or `ClientEndpoint` on output; on input it may be left out, and a term may be a string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", try_from = "Form")]
pub enum Endpoint {
    ServerEndpoint(ServerEndpoint),
    ClientEndpoint(ClientEndpoint),
}

/// Can be called by others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerEndpoint {
    /// In the group.
    pub ng_term: Term,
    /// On the underlay.
    pub public_term: Term,
}

/// Calls others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientEndpoint {
    #[schema(value_type = String)]
    pub ng_ip: IpAddr,
}

/// On input also as `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "TermForm")]
pub struct Term {
    #[schema(value_type = String)]
    pub host: IpAddr,
    pub port: u16,
}

/// Every way in which an endpoint is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Form {
    #[serde(rename = "type")]
    kind: Option<String>,
    ng_term: Option<Term>,
    public_term: Option<Term>,
    ng_ip: Option<IpAddr>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TermForm {
    Text(String),
    Fields { host: IpAddr, port: u16 },
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

impl TryFrom<Form> for Endpoint {
    type Error = NotAllowed;

    fn try_from(form: Form) -> Result<Endpoint, NotAllowed> {
        let is = |name: &str| form.kind.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case(name));
        match (form.ng_term, form.public_term, form.ng_ip) {
            (Some(ng_term), Some(public_term), None) if is("ServerEndpoint") => {
                Ok(Endpoint::ServerEndpoint(ServerEndpoint { ng_term, public_term }))
            }
            (None, None, Some(ng_ip)) if is("ClientEndpoint") => Ok(Endpoint::ClientEndpoint(ClientEndpoint { ng_ip })),
            _ => {
                let kind = form.kind.as_deref().unwrap_or("endpoint");
                let wanted = "a ServerEndpoint has ngTerm and publicTerm, a ClientEndpoint has ngIp";
                Err(NotAllowed::new("endpoint", kind, wanted))
            }
        }
    }
}

impl TryFrom<TermForm> for Term {
    type Error = NotAllowed;

    fn try_from(form: TermForm) -> Result<Term, NotAllowed> {
        match form {
            TermForm::Fields { host, port } => Ok(Term { host, port }),
            TermForm::Text(text) => {
                let refused = |_| NotAllowed::new("term of an endpoint", &text, "HOST:PORT, or [HOST]:PORT with IPv6");
                let address: SocketAddr = text.parse().map_err(refused)?;
                Ok(Term { host: address.ip(), port: address.port() })
            }
        }
    }
}
