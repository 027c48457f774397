//! What gateway objects must be like beside each other, and beside the keys and Configurations of their remotes.

use std::collections::BTreeMap;

use super::Objects;
use crate::model::{
    cluster_id::ClusterId, document::Place, gateway::Gateway, group::NodeId, public_key::MTU_ANNOTATION,
};

impl Objects {
    pub(super) fn check_ports(&mut self) {
        let mut seen: BTreeMap<u16, &Place> = BTreeMap::new();
        let servers = self.gateways.values().filter_map(|gateway| match gateway {
            Gateway::Server(server) => Some(server),
            Gateway::Client(_) => None,
        });
        for server in servers {
            for port in server.fixed_ports().unwrap_or_default() {
                // Twice in one list is told where it is read.
                if let Some(other) = seen.insert(*port, &server.place).filter(|other| **other != server.place) {
                    let message = format!("port {port} is taken by {other}");
                    let hint = "give each gateway server ports of its own";
                    self.problems.0.push(server.place.problem("spec.endpoint", message, hint));
                }
            }
        }
    }

    /// Both ends of a tunnel have the same MTU: the remote's is told along with its key.
    pub(super) fn check_mtus(&mut self) {
        for (id, gateway) in &self.gateways {
            let keys = self.keys.get(id).into_iter().flatten();
            for key in keys.filter(|key| key.mtu.is_some_and(|mtu| mtu != gateway.mtu())) {
                let message = format!(
                    "the MTU of {id} is {}, and that of {} is {}: the larger packets would be lost",
                    key.mtu.unwrap_or_default(),
                    gateway.place(),
                    gateway.mtu()
                );
                let hint = format!("give spec.mtu the same value in the gateways of both clusters ({MTU_ANNOTATION})");
                let path = format!("metadata.annotations.{MTU_ANNOTATION}");
                self.problems.0.push(key.place.problem(&path, message, hint));
            }
        }
    }

    pub(super) fn check_gateways(&mut self) {
        for (id, gateway) in &self.gateways {
            let Some(configuration) = self.configurations.get(id) else { continue };
            if let Some(message) = gateway.mtu_too_small(configuration.real.has_v6()) {
                self.problems.0.push(gateway.place().problem("spec.mtu", message, "give at least 1280 on both sides"));
            }
            if gateway.is_direct() && configuration.presented.is_none() {
                let message = "'direct' needs mesh-wide presented prefixes: nothing else says who sent a packet";
                let hint = format!("give spec.local.presented and spec.remote.presented in {}", configuration.place);
                self.problems.0.push(gateway.place().problem("spec.clientTemplateRef.name", message, hint));
            }
        }
    }

    /// Gateways that other nodes of the cluster run, one line each.
    pub(super) fn leave_to_others(&mut self, node: Option<&NodeId>) -> Vec<String> {
        let others = self.gateways.extract_if(.., |_, gateway| !gateway.listener().is_on(node));
        let line = |(_, gateway): (ClusterId, Gateway)| {
            let nodes: Vec<_> = gateway.listener().nodes.iter().map(ToString::to_string).collect();
            format!("{}: runs on the nodes {}, not on this one", gateway.place(), nodes.join(", "))
        };
        others.map(line).collect()
    }
}
