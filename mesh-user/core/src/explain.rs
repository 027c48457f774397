//! Why would this packet go where it goes: the data path, run over the tables in force with a packet made up for it.
//!
//! The stages are those that the packet would meet, by the door that its addresses choose. Nothing is sent.

mod group;
pub(crate) mod packet;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use mesh_common::{
    datapath::{Ingress, Verdict, remap::remap},
    frame::SliceFrame,
    ids::{ConnectionId, IfIndex},
    maps::Role,
};

use crate::{
    api::{Explanation, Stage, group::SCHEMA},
    plan::{
        Connection, Plan, Route, RouteTarget, TableEntry, Transport,
        display::{Line, roles},
        slots::Slots,
    },
};
pub use group::{CALLABLE, Question, explain_in_groups};
pub use packet::Sample;

/// Connections that do not work as they should, and why.
pub type Troubles = BTreeMap<ConnectionId, String>;

/// The path of a packet from `source` to `destination`, as both stand in it where it meets us first.
pub fn explain(plan: &Plan, tables: &Slots, troubles: &Troubles, source: IpAddr, destination: IpAddr) -> Explanation {
    let asking = Asking { plan, tables, troubles, table: tables.table(), source, destination };
    let (stages, verdict) = asking.answer();
    Explanation::new(source, destination, stages, verdict)
}

impl Explanation {
    fn new(source: IpAddr, destination: IpAddr, stages: Vec<Stage>, verdict: String) -> Explanation {
        let (source, destination) = (source.to_string(), destination.to_string());
        Explanation { schema: SCHEMA, source, destination, stages, verdict }
    }
}

struct Asking<'a> {
    plan: &'a Plan,
    tables: &'a Slots,
    troubles: &'a Troubles,
    table: BTreeMap<IpNet, TableEntry>,
    source: IpAddr,
    destination: IpAddr,
}

/// What became of the packet that was made up.
struct Outcome {
    verdict: Verdict,
    source: IpAddr,
    destination: IpAddr,
}

impl Asking<'_> {
    fn answer(&self) -> (Vec<Stage>, String) {
        if self.source.is_ipv4() != self.destination.is_ipv4() {
            return (Vec::new(), "no packet: the addresses are of two families".to_owned());
        }
        let role = |address| self.entry(address).map_or(Role::NONE, |(_, entry)| entry.role);
        let (from, to) = (role(self.source), role(self.destination));
        if to.has(Role::TUNNEL) {
            return self.leaves_by_tunnel();
        }
        if from.has(Role::DIRECT) {
            return self.sent_by_direct_remote();
        }
        if to.has(Role::LOCAL.with(Role::PRESENTED).with(Role::RESERVED)) {
            let announcing = self.announcing();
            if !announcing.is_empty() {
                return self.arrives_by_tunnels(&announcing);
            }
        }
        self.sent_by_workload()
    }

    /// A packet of ours for a tunnelled remote: the route leads to the shard.
    fn leaves_by_tunnel(&self) -> (Vec<Stage>, String) {
        let outcome = self.judge(Ingress::Tun);
        let mut stages = vec![self.route(self.destination), self.source_stage(), self.destination_stage()];
        stages.push(outcome.rewrite_stage(self));
        let Verdict::Accept { connection, .. } = outcome.verdict else { return (stages, dropped(outcome.verdict)) };
        stages.push(self.tunnel(connection));
        stages.push(stage("travels", None, format!("encrypted: {outcome}")));
        (stages, self.accepted(connection))
    }

    /// A packet that a workload sends: to a `direct` remote, to ourselves, or to nobody of ours.
    fn sent_by_workload(&self) -> (Vec<Stage>, String) {
        let outcome = self.judge(Ingress::Workload);
        let mut stages = vec![self.source_stage(), self.destination_stage(), outcome.rewrite_stage(self)];
        match outcome.verdict {
            Verdict::Accept { connection, .. } => {
                stages.push(self.route(self.destination));
                stages.push(stage("travels", None, format!("in clear: {outcome}")));
                (stages, self.accepted(connection))
            }
            Verdict::Pass => {
                stages.push(self.route(self.destination));
                (stages, "passed on as it is: the kernel's routes decide".to_owned())
            }
            verdict @ Verdict::Drop(_) => (stages, dropped(verdict)),
        }
    }

    /// A packet of a `direct` remote, by whichever interface it may use.
    fn sent_by_direct_remote(&self) -> (Vec<Stage>, String) {
        let outcome = self.judge(Ingress::Underlay(IfIndex(0)));
        let mut stages = vec![self.source_stage(), self.destination_stage(), outcome.rewrite_stage(self)];
        match outcome.verdict {
            Verdict::Accept { connection, .. } => {
                stages.push(stage("delivered", None, outcome.to_string()));
                (stages, self.accepted(connection))
            }
            Verdict::Pass => (stages, "passed up: an address of this node".to_owned()),
            verdict @ Verdict::Drop(_) => (stages, dropped(verdict)),
        }
    }

    /// A packet that comes out of a tunnel; several remotes may announce the same real prefix.
    fn arrives_by_tunnels(&self, announcing: &[(ConnectionId, IpNet, TableEntry)]) -> (Vec<Stage>, String) {
        let mut stages = Vec::new();
        let mut verdicts = Vec::new();
        for (connection, net, entry) in announcing {
            let outcome = self.judge(Ingress::Tunnel(*connection));
            stages.push(self.tunnel(*connection));
            stages.push(stage(
                "source",
                Some(format!("{net} announced, called {}", entry.to)),
                "may be used".to_owned(),
            ));
            stages.push(self.destination_stage());
            stages.push(outcome.rewrite_stage(self));
            verdicts.push(match outcome.verdict {
                Verdict::Accept { connection, .. } => {
                    stages.push(stage("delivered", None, outcome.to_string()));
                    self.accepted(connection)
                }
                verdict => dropped(verdict),
            });
        }
        (stages, verdicts.join("; "))
    }

    /// Runs the data path over a packet without payload.
    fn judge(&self, ingress: Ingress) -> Outcome {
        let mut packet = packet::datagram(self.source, self.destination);
        let verdict = remap(&mut SliceFrame::new(&mut packet), 0, ingress, self.tables);
        let (source, destination) = packet::addresses(&packet);
        Outcome { verdict, source, destination }
    }

    fn source_stage(&self) -> Stage {
        self.lookup("source", self.source)
    }

    fn destination_stage(&self) -> Stage {
        self.lookup("destination", self.destination)
    }

    fn lookup(&self, name: &str, address: IpAddr) -> Stage {
        match self.entry(address) {
            Some((net, entry)) => stage(name, Some(format!("{net} {}", Line(&entry))), self.owner(&entry)),
            None => stage(name, None, format!("{address} lies in no prefix of the plan")),
        }
    }

    /// The longest prefix of the tables in force that holds the address.
    fn entry(&self, address: IpAddr) -> Option<(IpNet, TableEntry)> {
        let holding = self.table.iter().filter(|(net, _)| net.contains(&address));
        holding.max_by_key(|(net, _)| net.prefix_len()).map(|(net, entry)| (*net, *entry))
    }

    fn owner(&self, entry: &TableEntry) -> String {
        let connection = self.plan.remaps.get(&entry.remap).and_then(|remap| remap.connection);
        match connection.and_then(|id| self.plan.connections.get(&id)) {
            Some(connection) => format!("of {} ({})", connection.remote, roles(entry.role)),
            None if entry.role.has(Role::BARRED) => match self.plan.blocked.get(&entry.to) {
                Some(member) => format!("of {member}, which is blocked"),
                None => "of a remote cluster without a connection".to_owned(),
            },
            None => format!("ours ({})", roles(entry.role)),
        }
    }

    /// Connections whose remote may use our source address, with the prefix that says so.
    fn announcing(&self) -> Vec<(ConnectionId, IpNet, TableEntry)> {
        let peers = self.plan.tunnels.values().flat_map(|tunnel| tunnel.peers.values());
        let by_peer = peers.filter_map(|peer| {
            let holding = peer.announced.iter().filter(|(net, _)| net.contains(&self.source));
            let (net, entry) = holding.max_by_key(|(net, _)| net.prefix_len())?;
            Some((peer.connection, *net, *entry))
        });
        by_peer.collect()
    }

    /// The route of the plan that the kernel takes for an address.
    fn route(&self, to: IpAddr) -> Stage {
        let holding = self.plan.routes.iter().filter(|route| route.destination.contains(&to));
        let best = holding.max_by_key(|route| (route.destination.prefix_len(), std::cmp::Reverse(route.metric)));
        match best {
            Some(route) => stage("route", Some(Line(route).to_string()), way(route)),
            None => stage("route", None, "none of ours: the host's own routes".to_owned()),
        }
    }

    fn tunnel(&self, id: ConnectionId) -> Stage {
        let Some((device, key, peer)) = self.plan.tunnels.iter().find_map(|(device, tunnel)| {
            tunnel.peers.iter().find(|(_, peer)| peer.connection == id).map(|(key, peer)| (device, key, peer))
        }) else {
            return stage("tunnel", None, format!("connection {} has no peer", id.0));
        };
        let end = peer.endpoints.first().map_or("learned from it".to_owned(), ToString::to_string);
        let connection = self.plan.connections.get(&id).map_or("?", |connection| connection.remote.as_str());
        stage("tunnel", Some(format!("{device}, peer {key}")), format!("remote {connection}, endpoint {end}"))
    }

    /// That it is accepted here does not say that it arrives.
    fn accepted(&self, id: ConnectionId) -> String {
        let accepted = match self.plan.connections.get(&id) {
            Some(Connection { remote, transport: Transport::Direct { .. }, .. }) => {
                format!("accepted, direct with {remote}")
            }
            Some(Connection { remote, .. }) => format!("accepted, tunnel with {remote}"),
            None => format!("accepted, connection {}", id.0),
        };
        match self.troubles.get(&id) {
            Some(trouble) => format!("{accepted}; it may be lost later: {trouble}"),
            None => accepted,
        }
    }
}

impl Outcome {
    fn rewrite_stage(&self, asking: &Asking<'_>) -> Stage {
        let mut changes = Vec::new();
        if self.source != asking.source {
            changes.push(format!("source becomes {}", self.source));
        }
        if self.destination != asking.destination {
            changes.push(format!("destination becomes {}", self.destination));
        }
        let outcome = match self.verdict {
            Verdict::Drop(_) => dropped(self.verdict),
            Verdict::Pass | Verdict::Accept { .. } if changes.is_empty() => "nothing to rewrite".to_owned(),
            Verdict::Pass | Verdict::Accept { .. } => changes.join(", "),
        };
        stage("rewrite", None, outcome)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {}", self.source, self.destination)
    }
}

fn stage(stage: &str, entry: Option<String>, outcome: String) -> Stage {
    Stage { stage: stage.to_owned(), entry, outcome }
}

fn dropped(verdict: Verdict) -> String {
    match verdict {
        Verdict::Drop(reason) => format!("dropped: {}", reason.as_str()),
        Verdict::Pass | Verdict::Accept { .. } => "passed".to_owned(),
    }
}

fn way(route: &Route) -> String {
    match &route.target {
        RouteTarget::Device { device, .. } => format!("into {device}"),
        RouteTarget::Via { next_hop, .. } => format!("to {next_hop}"),
        RouteTarget::Shared { next_hops } => {
            format!("to {}", next_hops.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))
        }
        RouteTarget::Unreachable => "nowhere: ICMP unreachable".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use mesh_common::maps;

    use super::*;
    use crate::{
        allocate::Allocations,
        model::fixtures::{CLIENT, CONFIGURATION, KEY, direct, facts, mesh_wide, valid},
        plan::plan,
    };

    fn text(manifests: &[&str], source: &str, destination: &str) -> String {
        told(manifests, &Troubles::new(), source, destination)
    }

    fn told(manifests: &[&str], troubles: &Troubles, source: &str, destination: &str) -> String {
        let (plan, _) = plan(&valid(manifests), &facts(), &Allocations::default()).unwrap();
        let (mut tables, _) = Slots::default().transition(&plan.table).unwrap();
        tables.set_node(plan.node);
        for (id, remap) in &plan.remaps {
            let connection = remap.connection.unwrap_or_default().0;
            tables.set_remap(*id, maps::Remap { ingress: 0, connection, mtu: 0 });
        }
        for peer in plan.tunnels.values().flat_map(|tunnel| tunnel.peers.values()) {
            tables.set_announced(peer.connection, &peer.announced).unwrap();
        }
        let answer = explain(&plan, &tables, troubles, source.parse().unwrap(), destination.parse().unwrap());
        let stages = answer.stages.iter().map(|stage| {
            let entry = stage.entry.as_ref().map_or(String::new(), |entry| format!(" [{entry}]"));
            format!("{}{entry}: {}\n", stage.stage, stage.outcome)
        });
        format!("{}{}", stages.collect::<String>(), answer.verdict)
    }

    #[test]
    fn a_broken_hop_is_told_with_the_verdict() {
        let troubles = Troubles::from([(ConnectionId(1), "not forwarded there".to_owned())]);
        let told = told(&[CONFIGURATION, CLIENT, KEY], &troubles, "10.243.1.5", "10.71.2.7");
        assert!(told.ends_with("accepted, tunnel with cl02; it may be lost later: not forwarded there"), "{told}");
    }

    #[test]
    fn into_a_tunnel() {
        let expected = "\
route [10.71.0.0/16 dev mesh-cl02 metric 100 src 10.70.0.2]: into mesh-cl02
source [10.243.0.0/16 local -> 10.243.0.0/16]: ours (local)
destination [10.71.0.0/16 tunnel -> 10.243.0.0/16 (remap 2)]: of cl02 (tunnel)
rewrite: destination becomes 10.243.2.7
tunnel [mesh-cl02, peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=]: remote cl02, endpoint 172.19.0.8:32009
travels: encrypted: 10.243.1.5 -> 10.243.2.7
accepted, tunnel with cl02";
        assert_eq!(text(&[CONFIGURATION, CLIENT, KEY], "10.243.1.5", "10.71.2.7"), expected);
    }

    #[test]
    fn out_of_a_tunnel() {
        let expected = "\
tunnel [mesh-cl02, peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=]: remote cl02, endpoint 172.19.0.8:32009
source [10.243.0.0/16 announced, called 10.71.0.0/16]: may be used
destination [10.243.0.0/16 local -> 10.243.0.0/16]: ours (local)
rewrite: source becomes 10.71.2.7
delivered: 10.71.2.7 -> 10.243.1.5
accepted, tunnel with cl02";
        assert_eq!(text(&[CONFIGURATION, CLIENT, KEY], "10.243.2.7", "10.243.1.5"), expected);
    }

    #[test]
    fn spoofed_and_foreign() {
        let manifests = [CONFIGURATION, CLIENT, KEY];
        let spoofed = text(&manifests, "192.0.2.77", "10.71.2.7");
        assert!(spoofed.ends_with("rewrite: dropped: spoofed-source\ndropped: spoofed-source"), "{spoofed}");
        assert!(text(&manifests, "10.243.1.5", "198.51.100.1").ends_with("the kernel's routes decide"));
        assert!(text(&manifests, "10.243.1.5", "fd00::1").ends_with("two families"));
        let waiting = text(&[CONFIGURATION, CLIENT], "10.243.1.5", "10.71.2.7");
        assert!(
            waiting.contains("of a remote cluster without a connection") && waiting.contains("dropped"),
            "{waiting}"
        );
    }

    #[test]
    fn direct_both_ways() {
        let configuration =
            mesh_wide(CONFIGURATION, ["10.60.0.0/16", "10.62.0.0/16"], ["10.61.0.0/16", "10.63.0.0/16"]);
        let hop = direct("192.0.2.2");
        let out = text(&[&configuration, &hop], "10.243.1.5", "10.61.2.7");
        assert!(out.ends_with("travels: in clear: 10.60.1.5 -> 10.61.2.7\naccepted, direct with cl02"), "{out}");
        let inbound = text(&[&configuration, &hop], "10.61.2.7", "10.60.1.5");
        assert!(inbound.ends_with("delivered: 10.61.2.7 -> 10.243.1.5\naccepted, direct with cl02"), "{inbound}");
        let hairpin = text(&[&configuration, &hop], "10.243.1.5", "10.60.2.7");
        assert!(hairpin.contains("nowhere: ICMP unreachable"), "{hairpin}");
    }
}
