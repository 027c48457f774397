//! What gateway servers and gateway clients have in common: template, MTU, and one gateway per remote cluster.

use std::net::{IpAddr, SocketAddr};

use super::{
    DEFAULT_MTU,
    document::Place,
    gateway_client::{GatewayClient, Reach},
    gateway_server::GatewayServer,
    tree::Fields,
};

/// Below this, IPv4 hosts need not take a datagram whole (RFC 791).
const MTU_MIN: u16 = 576;
/// The least that IPv6 runs over (RFC 8200, section 5).
const MTU_MIN_V6: u16 = 1_280;
/// Leaves room for what WireGuard and the underlay headers add.
const MTU_MAX: u16 = 65_000;

/// The one end of a connection that stands here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gateway {
    Server(GatewayServer),
    Client(GatewayClient),
}

impl Gateway {
    pub fn place(&self) -> &Place {
        match self {
            Gateway::Server(server) => &server.place,
            Gateway::Client(client) => &client.place,
        }
    }

    pub fn mtu(&self) -> u16 {
        match self {
            Gateway::Server(server) => server.mtu,
            Gateway::Client(client) => client.mtu,
        }
    }

    /// Where the remote gateway is reached on the underlay, as far as that was said.
    pub fn underlay_addresses(&self) -> Vec<IpAddr> {
        match self {
            Gateway::Server(_) => Vec::new(),
            Gateway::Client(GatewayClient { reach: Reach::Wireguard { endpoints, .. }, .. }) => {
                endpoints.iter().map(SocketAddr::ip).collect()
            }
            Gateway::Client(GatewayClient { reach: Reach::Direct { next_hops }, .. }) => next_hops.clone(),
        }
    }

    pub fn is_direct(&self) -> bool {
        matches!(self, Gateway::Client(GatewayClient { reach: Reach::Direct { .. }, .. }))
    }

    /// Why this MTU cannot carry what the connection carries.
    pub(crate) fn mtu_too_small(&self, v6: bool) -> Option<String> {
        let mtu = self.mtu();
        (v6 && !self.is_direct() && mtu < MTU_MIN_V6)
            .then(|| format!("{mtu} is too small: IPv6 needs at least {MTU_MIN_V6}"))
    }
}

/// `spec.mtu`, [`DEFAULT_MTU`] where it is not given.
pub(super) fn mtu(spec: &mut Fields<'_>) -> u16 {
    spec.number("mtu", MTU_MIN..=MTU_MAX).unwrap_or(DEFAULT_MTU)
}

/// Name of the template that `field` refers to, one of `known`; the first where nothing is said.
pub(super) fn template<'k>(
    spec: &mut Fields<'_>,
    field: &'static str,
    known: &[&'k str],
    hint: &str,
) -> Option<&'k str> {
    let Some(mut reference) = spec.section(field) else {
        return spec.is_absent(field).then_some(known[0]);
    };
    reference.ignore(&["apiVersion", "kind", "namespace"]);
    let name = reference.text("name");
    let template = known.iter().copied().find(|template| Some(*template) == name);
    if template.is_none() {
        let message = match name {
            Some(name) => format!("no template {name:?} for this kind"),
            None => "missing".to_owned(),
        };
        reference.report("name", message, hint);
    }
    reference.finish();
    template
}
