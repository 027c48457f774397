//! Which kinds of objects a cluster has beside network groups, and what each is called.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The kinds of the inter-cluster network, spelled as in Liqo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    Configuration,
    GatewayServer,
    GatewayClient,
    PublicKey,
    /// Made by the daemon for each gateway: it is read, and never applied.
    Connection,
    WgGatewayServerTemplate,
    WgGatewayClientTemplate,
    Network,
    #[serde(rename = "IP")]
    Ip,
}

/// A word that is no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind {0:?}")]
pub struct NotAKind(pub String);

impl ObjectKind {
    pub const ALL: [ObjectKind; 9] = [
        ObjectKind::Configuration,
        ObjectKind::GatewayServer,
        ObjectKind::GatewayClient,
        ObjectKind::PublicKey,
        ObjectKind::Connection,
        ObjectKind::WgGatewayServerTemplate,
        ObjectKind::WgGatewayClientTemplate,
        ObjectKind::Network,
        ObjectKind::Ip,
    ];

    /// As `kind` says it in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectKind::Configuration => "Configuration",
            ObjectKind::GatewayServer => "GatewayServer",
            ObjectKind::GatewayClient => "GatewayClient",
            ObjectKind::PublicKey => "PublicKey",
            ObjectKind::Connection => "Connection",
            ObjectKind::WgGatewayServerTemplate => "WgGatewayServerTemplate",
            ObjectKind::WgGatewayClientTemplate => "WgGatewayClientTemplate",
            ObjectKind::Network => "Network",
            ObjectKind::Ip => "IP",
        }
    }

    /// In lower case, as keys and command lines have it.
    pub fn plural(self) -> &'static str {
        match self {
            ObjectKind::Configuration => "configurations",
            ObjectKind::GatewayServer => "gatewayservers",
            ObjectKind::GatewayClient => "gatewayclients",
            ObjectKind::PublicKey => "publickeys",
            ObjectKind::Connection => "connections",
            ObjectKind::WgGatewayServerTemplate => "wggatewayservertemplates",
            ObjectKind::WgGatewayClientTemplate => "wggatewayclienttemplates",
            ObjectKind::Network => "networks",
            ObjectKind::Ip => "ips",
        }
    }

    pub fn short(self) -> &'static str {
        match self {
            ObjectKind::Configuration => "conf",
            ObjectKind::GatewayServer => "gws",
            ObjectKind::GatewayClient => "gwc",
            ObjectKind::PublicKey => "pk",
            ObjectKind::Connection => "conn",
            ObjectKind::WgGatewayServerTemplate => "wgst",
            ObjectKind::WgGatewayClientTemplate => "wgct",
            ObjectKind::Network => "nw",
            ObjectKind::Ip => "ip",
        }
    }

    /// The part of `apiVersion` before the `/`, which also stands behind the plural: `connections.networking.liqo.io`.
    pub fn group(self) -> &'static str {
        match self {
            ObjectKind::Network | ObjectKind::Ip => "ipam.liqo.io",
            _ => "networking.liqo.io",
        }
    }

    pub fn api_version(self) -> &'static str {
        match self {
            ObjectKind::Network | ObjectKind::Ip => "ipam.liqo.io/v1alpha1",
            _ => "networking.liqo.io/v1beta1",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In any case: kind, plural, short name, and the plural with its group.
impl FromStr for ObjectKind {
    type Err = NotAKind;

    fn from_str(text: &str) -> Result<Self, NotAKind> {
        let word = text.to_ascii_lowercase();
        let is_called = |kind: &ObjectKind| {
            let with_group =
                |name: &str| word.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) == Some(kind.group());
            let singular = kind.as_str().to_ascii_lowercase();
            word == singular
                || word == kind.plural()
                || word == kind.short()
                || with_group(kind.plural())
                || with_group(&singular)
        };
        ObjectKind::ALL.into_iter().find(is_called).ok_or_else(|| NotAKind(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_one_kind_only() {
        for kind in ObjectKind::ALL {
            for word in [
                kind.as_str().to_owned(),
                kind.plural().to_owned(),
                kind.short().to_owned(),
                format!("{}.{}", kind.plural(), kind.group()),
                kind.plural().to_uppercase(),
            ] {
                assert_eq!(word.parse(), Ok(kind), "{word}");
            }
        }
        for word in ["", "pods", "connections.ipam.liqo.io", "connections."] {
            assert!(word.parse::<ObjectKind>().is_err(), "{word}");
        }
    }
}
