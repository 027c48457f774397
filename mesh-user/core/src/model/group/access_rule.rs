//! A rule that allows traffic inside a group whose default is to deny.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ManagedBy, MemberId, NotAllowed, RuleId};

/// `from` may begin conversations with `to`; what answers them comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessRule {
    pub id: RuleId,
    #[schema(value_type = String)]
    pub from: Party,
    #[schema(value_type = String)]
    pub to: Party,
    #[schema(value_type = String)]
    pub traffic: Traffic,
    #[serde(default)]
    pub managed_by: ManagedBy,
}

/// A member, or `*` for every one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Party {
    Any,
    Member(MemberId),
}

/// `any`, `icmp`, `tcp`, `udp`, `tcp/5432`, `udp/1000-2000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Traffic {
    pub protocol: Protocol,
    /// First and last destination port, of TCP and UDP.
    pub ports: Option<(u16, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Any,
    Icmp,
    Tcp,
    Udp,
}

impl std::str::FromStr for Party {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        if text == "*" { Ok(Party::Any) } else { text.parse().map(Party::Member) }
    }
}

impl TryFrom<String> for Party {
    type Error = NotAllowed;

    fn try_from(text: String) -> Result<Self, NotAllowed> {
        text.parse()
    }
}

impl From<Party> for String {
    fn from(party: Party) -> String {
        party.to_string()
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Any => f.write_str("*"),
            Party::Member(id) => write!(f, "{id}"),
        }
    }
}

impl std::str::FromStr for Traffic {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let refused = || NotAllowed::new("traffic", text, "any, icmp, tcp, udp, tcp/PORT or udp/FIRST-LAST");
        let (protocol, ports) = text.split_once('/').map_or((text, None), |(name, ports)| (name, Some(ports)));
        let protocol = match protocol {
            "any" => Protocol::Any,
            "icmp" => Protocol::Icmp,
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(refused()),
        };
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(refused);
        let ports = match ports {
            None => None,
            Some(_) if matches!(protocol, Protocol::Any | Protocol::Icmp) => return Err(refused()),
            Some(ports) => {
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last)
            }
        };
        if text.contains('/') && ports.is_none() { Err(refused()) } else { Ok(Traffic { protocol, ports }) }
    }
}

impl TryFrom<String> for Traffic {
    type Error = NotAllowed;

    fn try_from(text: String) -> Result<Self, NotAllowed> {
        text.parse()
    }
}

impl From<Traffic> for String {
    fn from(traffic: Traffic) -> String {
        traffic.to_string()
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.protocol {
            Protocol::Any => "any",
            Protocol::Icmp => "icmp",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })?;
        match self.ports {
            None => Ok(()),
            Some((first, last)) if first == last => write!(f, "/{first}"),
            Some((first, last)) => write!(f, "/{first}-{last}"),
        }
    }
}
