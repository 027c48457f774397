//! Why would this packet between two addresses of a network group go where it goes: the group, both members, the rule that
//! decides, and the tunnel that it takes from this node.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::{
    packet::{Sample, sample},
    stage,
};
use crate::{
    api::{Explanation, Stage},
    model::group::{Access, AccessRule, MemberId, Party, Peer},
    plan::{DeviceName, GroupTunnel, Policy},
    registry::Group,
};

/// What is asked: both addresses, and what is to begin between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// `None`: whatever may.
    pub what: Option<Sample>,
}

/// The path of a packet between peers of one of `groups`; `None`: none of them has the destination or the source in its
/// prefix. `tunnels`: those of this node.
pub fn explain_in_groups<'a>(
    groups: impl IntoIterator<Item = &'a Group>,
    tunnels: &BTreeMap<DeviceName, Arc<GroupTunnel>>,
    question: Question,
) -> Option<Explanation> {
    let Question { source, destination, .. } = question;
    let holds = |group: &&Group, address| group.group.object.network_ip.contains(&address);
    let groups: Vec<&Group> = groups.into_iter().collect();
    let by = |address| groups.iter().copied().find(|group| holds(group, address));
    let group = by(destination).or_else(|| by(source))?;
    let (stages, verdict) = Asking { group, tunnels, question }.answer();
    Some(Explanation::new(source, destination, stages, verdict))
}

/// What makes a client one that can be called.
pub const CALLABLE: &str = "one of two peers needs an endpoint: 'advertise' in the settings of its node, or --role server \
                            with --ip and --port for an external peer";

struct Asking<'a> {
    group: &'a Group,
    tunnels: &'a BTreeMap<DeviceName, Arc<GroupTunnel>>,
    question: Question,
}

impl Asking<'_> {
    fn answer(&self) -> (Vec<Stage>, String) {
        let Question { source, destination, .. } = self.question;
        let own = &self.group.group.object;
        let entry = format!("{} {} ({})", own.network_ip, own.label, own.id);
        let mut stages =
            vec![stage("group", Some(entry), format!("of {}, default {}", own.owner_id, word(own.default_access)))];
        let (from, to) = (self.group.peer_at(source), self.group.peer_at(destination));
        stages.push(self.end("source", source, from));
        stages.push(self.end("destination", destination, to));
        let (Some(from), Some(to)) = (from, to) else {
            return (stages, format!("dropped: a group carries packets between its peers only: {}", own.label));
        };
        let (access, passes) = self.access(&from.parent_member, &to.parent_member);
        stages.push(access);
        stages.extend(self.tunnel(from, to));
        let can_call = from.endpoint.public().is_some() || to.endpoint.public().is_some();
        if !can_call {
            stages.push(stage("calls", None, format!("neither can be called: {CALLABLE}")));
        }
        let verdict = match (passes, can_call) {
            (false, _) => "dropped: not-allowed".to_owned(),
            (true, false) => "dropped: no-session".to_owned(),
            (true, true) => format!("accepted, in {}", own.label),
        };
        (stages, verdict)
    }

    fn end(&self, name: &str, address: IpAddr, peer: Option<&Peer>) -> Stage {
        let Some(peer) = peer else {
            return stage(name, None, format!("no peer of the group has {address}"));
        };
        let by = peer.hv.as_ref().map_or("an external peer".to_owned(), |node| format!("run by {node}"));
        stage(name, Some(format!("peer {}", peer.id)), format!("{}, {by}", peer.parent_member))
    }

    /// The rule that lets the packet begin a conversation, and whether there is one.
    fn access(&self, from: &MemberId, to: &MemberId) -> (Stage, bool) {
        if self.group.group.object.default_access == Access::Allow {
            return (stage("access", None, "everything is allowed in this group".to_owned()), true);
        }
        let Some(what) = self.question.what else { return self.summary(from, to) };
        let Question { source, destination, .. } = self.question;
        let lets = |rule: &AccessRule, source, destination| {
            Policy::of_rule(self.group, rule).judge(&mut sample(source, destination, what)).is_ok()
        };
        let mut rules = self.group.rules.values().map(|rule| &*rule.object);
        match rules.find(|rule| lets(rule, source, destination)) {
            Some(rule) => (stage("access", Some(line(rule)), format!("allows {what}")), true),
            None => (stage("access", None, format!("no rule allows {what} from {from} to {to}")), false),
        }
    }

    /// All that may begin between the two.
    fn summary(&self, from: &MemberId, to: &MemberId) -> (Stage, bool) {
        let is = |party: &Party, member: &MemberId| match party {
            Party::Any => true,
            Party::Member(named) => named == member,
        };
        let rules = self.group.rules.values().map(|rule| &*rule.object);
        let rules: Vec<String> = rules
            .filter(|rule| is(&rule.from, from) && is(&rule.to, to))
            .map(|rule| rule.traffic.to_string())
            .collect();
        if rules.is_empty() {
            return (stage("access", None, format!("no rule allows anything from {from} to {to}")), false);
        }
        (stage("access", None, format!("{} from {from} to {to}", rules.join(", "))), true)
    }

    /// Where the packet leaves or enters this node.
    fn tunnel(&self, from: &Peer, to: &Peer) -> Vec<Stage> {
        let of = |peer: &Peer| self.tunnels.iter().find(|(_, tunnel)| tunnel.public_key == peer.public_key);
        let end = |name: &str, here: Option<(&DeviceName, &Arc<GroupTunnel>)>, far: &Peer| {
            let (device, tunnel) = here?;
            let netns = tunnel.netns.as_ref().map_or(String::new(), |netns| format!(" in {}", netns.display()));
            let endpoint = tunnel.peers.get(&far.public_key).and_then(|peer| peer.endpoint);
            let endpoint = endpoint.map_or("learned from it".to_owned(), |endpoint| endpoint.to_string());
            let entry = format!("{device}{netns}, peer {}", far.public_key);
            Some(stage(name, Some(entry), format!("encrypted, endpoint {endpoint}")))
        };
        let stages: Vec<Stage> =
            [end("leaves", of(from), to), end("arrives", of(to), from)].into_iter().flatten().collect();
        if stages.is_empty() {
            return vec![stage("tunnel", None, "neither end is on this node".to_owned())];
        }
        stages
    }
}

fn word(access: Access) -> &'static str {
    match access {
        Access::Allow => "allow",
        Access::Deny => "deny",
    }
}

fn line(rule: &AccessRule) -> String {
    format!("rule {}: {} -> {} {}", rule.id, rule.from, rule.to, rule.traffic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::group::{ClientEndpoint, Endpoint},
        plan::access::tests::group,
    };

    const PEERS: [(&str, &str); 3] =
        [("app_web", "10.101.0.5"), ("postgresql_db", "10.101.0.6"), ("app_web", "10.101.0.7")];

    fn text(access: Access, rules: &[&str], source: &str, destination: &str, what: Option<&str>) -> String {
        let group = group(access, &PEERS, rules);
        let what = what.map(|what| what.parse().unwrap());
        let question = Question { source: source.parse().unwrap(), destination: destination.parse().unwrap(), what };
        let Some(answer) = explain_in_groups([&group], &BTreeMap::new(), question) else {
            return "not here".to_owned();
        };
        let stages = answer.stages.iter().skip(1).map(|stage| {
            let entry = stage.entry.as_ref().map_or(String::new(), |entry| format!(" [{entry}]"));
            format!("{}{entry}: {}\n", stage.stage, stage.outcome)
        });
        format!("{}{}", stages.collect::<String>(), answer.verdict)
    }

    /// NG-45
    #[test]
    fn the_rule_that_allows_is_named() {
        let rules = ["app_web postgresql_db tcp/5432", "* * icmp"];
        let expected = "\
source [peer peer-0]: app_web, an external peer
destination [peer peer-1]: postgresql_db, an external peer
access [rule rule-0: app_web -> postgresql_db tcp/5432]: allows tcp/5432
tunnel: neither end is on this node
accepted, in shop";
        assert_eq!(text(Access::Deny, &rules, "10.101.0.5", "10.101.0.6", Some("tcp/5432")), expected);
        let ping = text(Access::Deny, &rules, "10.101.0.6", "10.101.0.5", Some("icmp"));
        assert!(ping.contains("access [rule rule-1: * -> * icmp]: allows icmp"), "{ping}");
    }

    /// NG-45
    #[test]
    fn what_the_default_denies_is_told() {
        let rules = ["app_web postgresql_db tcp/5432"];
        let denied = text(Access::Deny, &rules, "10.101.0.6", "10.101.0.5", Some("tcp/5432"));
        assert!(denied.contains("access: no rule allows tcp/5432 from postgresql_db to app_web"), "{denied}");
        assert!(denied.ends_with("dropped: not-allowed"), "{denied}");
        let all = text(Access::Deny, &rules, "10.101.0.5", "10.101.0.6", None);
        assert!(all.contains("access: tcp/5432 from app_web to postgresql_db"), "{all}");
        let none = text(Access::Deny, &rules, "10.101.0.5", "10.101.0.7", None);
        assert!(none.ends_with("dropped: not-allowed"), "{none}");
        let open = text(Access::Allow, &rules, "10.101.0.5", "10.101.0.7", Some("udp/1"));
        assert!(open.ends_with("accepted, in shop") && open.contains("everything is allowed"), "{open}");
    }

    #[test]
    fn two_clients_are_told_what_they_need() {
        let mut group = group(Access::Allow, &PEERS, &[]);
        for peer in group.peers.values_mut() {
            let ng_ip = peer.object.endpoint.address();
            Arc::make_mut(&mut peer.object).endpoint = Endpoint::ClientEndpoint(ClientEndpoint { ng_ip });
        }
        let question =
            Question { source: PEERS[0].1.parse().unwrap(), destination: PEERS[1].1.parse().unwrap(), what: None };
        let answer = explain_in_groups([&group], &BTreeMap::new(), question).unwrap();
        assert_eq!(answer.verdict, "dropped: no-session");
        let last = answer.stages.last().unwrap();
        assert!(last.stage == "calls" && last.outcome.contains("'advertise'"), "{last:?}");
    }

    #[test]
    fn only_peers_of_one_group_reach_each_other() {
        let stranger = text(Access::Allow, &[], "192.0.2.1", "10.101.0.6", None);
        assert!(stranger.contains("source: no peer of the group has 192.0.2.1"), "{stranger}");
        assert!(stranger.ends_with("between its peers only: shop"), "{stranger}");
        assert_eq!(text(Access::Allow, &[], "192.0.2.1", "192.0.2.2", None), "not here");
    }
}
