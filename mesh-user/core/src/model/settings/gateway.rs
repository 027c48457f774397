//! `[gateway]`: whether this node carries the connections of its cluster, and who does it if not this one.

use std::net::IpAddr;

use toml::Spanned;

use super::{advertise::Advertise, file::GatewaySection, reading::Reading};
use crate::model::{cluster::Cluster, public_key::MAX_GATEWAYS};

/// The part of a node in the connections of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Tunnels end on this node. Otherwise it is a worker: what its pods send to remotes goes to the gateway nodes.
    pub enabled: bool,
    /// Number of this node among the gateway nodes of its cluster, less than [`MAX_GATEWAYS`]: says which reserved addresses
    /// are its own.
    pub index: u8,
    /// Where a worker reaches the gateway nodes, without a tunnel.
    pub nodes: Vec<IpAddr>,
    pub advertise: Advertise,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        GatewaySettings { enabled: true, index: 0, nodes: Vec::new(), advertise: Advertise::default() }
    }
}

impl Reading<'_> {
    pub(super) fn gateway(&mut self, section: &GatewaySection, cluster: Option<&Cluster>) -> GatewaySettings {
        let index = section.index.as_ref().map_or(0, |index| self.gateway_index(index, cluster));
        let hint = "write an address at which this node reaches a gateway node of its cluster";
        let nodes: Vec<IpAddr> =
            section.nodes.iter().filter_map(|text| self.parse(text, "gateway.nodes", hint)).collect();
        match section.nodes.first() {
            Some(first) if section.enabled => {
                let hint = "remove them, or set enabled = false: only a worker sends to other gateway nodes";
                self.refuse(first, "gateway.nodes", "this node is a gateway node itself", hint);
            }
            None if !section.enabled => {
                let problem = self.problem(None, "gateway.nodes", "a worker without gateway nodes".to_owned(), hint);
                self.problems.0.push(problem);
            }
            _ => {}
        }
        let advertise = self.advertise_of_gateways(section);
        GatewaySettings { enabled: section.enabled, index, nodes, advertise }
    }

    fn gateway_index(&mut self, index: &Spanned<u8>, cluster: Option<&Cluster>) -> u8 {
        let number = *index.get_ref();
        if number >= MAX_GATEWAYS {
            let hint = format!("write 0 to {}, another for each gateway node", MAX_GATEWAYS - 1);
            self.refuse(index, "gateway.index", number.to_string(), &hint);
        }
        let external = cluster.map(|cluster| cluster.external.cidrs.as_slice()).unwrap_or_default();
        // The addresses of the node and the last one, which some take for a broadcast.
        let needed = 3 * u32::from(number) + 4;
        let holds = |net: &&ipnet::IpNet| 1_u32.checked_shl((net.max_prefix_len() - net.prefix_len()).into());
        if let Some(net) = external.iter().find(|net| holds(net).is_some_and(|room| room < needed)) {
            let message = format!("{number}: {net} has no reserved addresses for that many gateway nodes");
            self.refuse(index, "gateway.index", message, "give a shorter cidr.external, such as a /24");
        }
        number.min(MAX_GATEWAYS - 1)
    }
}
