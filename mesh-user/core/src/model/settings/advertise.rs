//! `advertise`, `advertise_command` and `load_balancer_pool` of `[gateway]`: at which address gateway servers are reached from
//! outside.

use ipnet::IpNet;

use super::{file::GatewaySection, reading::Reading};
use crate::model::host::Host;

/// Sources of the address of a service of type LoadBalancer, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertise {
    /// Said outright; also for services of other types, in place of the node's own address.
    pub addresses: Vec<Host>,
    /// Program and arguments that print the addresses; empty: none.
    pub command: Vec<String>,
    /// The node itself takes an address of these for each server.
    pub pool: Vec<IpNet>,
}

impl Reading<'_> {
    pub(super) fn advertise_of_gateways(&mut self, section: &GatewaySection) -> Advertise {
        let hint = "write an address or a DNS name at which clients reach this node";
        let addresses =
            section.advertise.iter().filter_map(|text| self.parse(text, "gateway.advertise", hint)).collect();
        let mut command = Vec::new();
        if let Some(words) = &section.advertise_command {
            command.clone_from(words.get_ref());
            if command.first().is_none_or(|program| !program.starts_with('/')) {
                let message = format!("{command:?} does not begin with the path of a program");
                let hint = "write a list: [\"/usr/local/bin/my-address\", \"argument\"]";
                self.refuse(words, "gateway.advertise_command", message, hint);
            }
        }
        let pool = self.cidrs("gateway.load_balancer_pool", &section.load_balancer_pool);
        Advertise { addresses, command, pool }
    }
}
