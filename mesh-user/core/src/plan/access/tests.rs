//! Whether a compiled policy says what the rules of its group say. NG-45

use std::sync::Arc;

use super::*;
use crate::{
    explain::packet::{Sample, sample},
    model::group::{
        Endpoint, ManagedBy, Member, MemberKind, MemberStatus, NetworkGroup, Peer, PeerKind, Scope, ServerEndpoint,
        Term,
    },
    plan::PublicKey,
    registry::{Revision, Stored},
};

fn stored<T>(object: T) -> Stored<T> {
    Stored { modified: Revision(1), object: Arc::new(object) }
}

fn server(address: IpAddr) -> Endpoint {
    let public_term = Term { host: "192.0.2.1".parse().unwrap(), port: 51_820 };
    Endpoint::ServerEndpoint(ServerEndpoint { ng_term: Term { host: address, port: 51_820 }, public_term })
}

/// A group with such rules (`FROM TO TRAFFIC`), and a peer for each member and address.
pub(crate) fn group(default_access: Access, peers: &[(&str, &str)], rules: &[&str]) -> Group {
    let group = NetworkGroup {
        id: "ng_12345678-1234-4123-8123-123456789abc".parse().unwrap(),
        owner_id: "default".parse().unwrap(),
        label: "shop".parse().unwrap(),
        description: None,
        tags: BTreeSet::new(),
        scope: Scope::Workloads,
        network_ip: "10.101.0.0/16".parse().unwrap(),
        last_allocated_ip: "10.101.0.9".parse().unwrap(),
        default_access,
        version: 1,
        managed_by: ManagedBy::Api,
    };
    let member = |id: &str| Member {
        id: id.parse().unwrap(),
        label: None,
        domain_name: format!("{id}.m.shop.cc-ng.cloud").parse().unwrap(),
        kind: MemberKind::Application,
        status: MemberStatus::Active,
        managed_by: ManagedBy::Api,
        made_with_peer: false,
    };
    let peer = |(at, (member, address)): (usize, &(&str, &str))| Peer {
        kind: PeerKind::CleverPeer,
        id: format!("peer-{at}").parse().unwrap(),
        label: None,
        public_key: PublicKey([at as u8; 32]),
        endpoint: server(address.parse().unwrap()),
        hostname: "host".to_owned(),
        parent_member: member.parse().unwrap(),
        parent_event: None,
        hv: None,
        managed_by: ManagedBy::Api,
    };
    let rule = |(at, text): (usize, &&str)| {
        let [from, to, traffic] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}: three words") };
        AccessRule {
            id: format!("rule-{at}").parse().unwrap(),
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            traffic: traffic.parse().unwrap(),
            managed_by: ManagedBy::Api,
        }
    };
    let peers: Vec<_> = peers.iter().enumerate().map(peer).collect();
    let members = peers.iter().map(|peer| (peer.parent_member.clone(), stored(member(peer.parent_member.as_str()))));
    let rules = rules.iter().enumerate().map(rule).map(|rule| (rule.id.clone(), stored(rule)));
    let peers = peers.iter().map(|peer| (peer.id.clone(), stored(peer.clone())));
    Group::new(stored(group), members.collect(), peers.collect(), rules.collect())
}

const WEB: &str = "10.101.0.5";
const WEB_TOO: &str = "10.101.0.6";
const DB: &str = "10.101.0.7";
const CACHE: &str = "fd01::8";
const BATCH: &str = "fd01::9";
const PEERS: [(&str, &str); 5] =
    [("app_web", WEB), ("app_web", WEB_TOO), ("postgresql_db", DB), ("redis_cache", CACHE), ("app_batch", BATCH)];

/// Whether a conversation may begin.
fn begins(policy: &Policy, from: &str, to: &str, what: &str) -> bool {
    let what: Sample = what.parse().unwrap();
    policy.judge(&mut sample(from.parse().unwrap(), to.parse().unwrap(), what)).is_ok()
}

/// NG-45
#[test]
fn where_the_default_is_to_allow_there_is_no_policy() {
    assert_eq!(Policy::of(&group(Access::Allow, &PEERS, &["app_web postgresql_db tcp/5432"])), None);
    let closed = Policy::of(&group(Access::Deny, &PEERS, &[])).unwrap();
    for (from, to) in [(WEB, DB), (DB, WEB), (WEB, WEB_TOO), (CACHE, BATCH)] {
        assert!(!begins(&closed, from, to, "icmp"), "{from} -> {to}");
    }
}

/// NG-45
#[test]
fn rules_name_members_and_everybody() {
    let rules = ["app_web postgresql_db tcp/5432", "* redis_cache tcp/6379-6380", "app_batch * icmp"];
    let policy = Policy::of(&group(Access::Deny, &PEERS, &rules)).unwrap();
    for web in [WEB, WEB_TOO] {
        assert!(begins(&policy, web, DB, "tcp/5432"));
        assert!(!begins(&policy, web, DB, "tcp/5433") && !begins(&policy, DB, web, "tcp/5432"));
    }
    assert!(!begins(&policy, WEB, WEB_TOO, "tcp/5432"), "not even among themselves");
    assert!(begins(&policy, BATCH, CACHE, "tcp/6380") && begins(&policy, BATCH, CACHE, "icmp"));
    assert!(!begins(&policy, CACHE, BATCH, "icmp") && !begins(&policy, BATCH, CACHE, "udp/6380"));
    assert!(begins(&policy, CACHE, CACHE, "tcp/6379"));
}

/// NG-45
#[test]
fn what_is_no_peer_may_nothing() {
    let policy = Policy::of(&group(Access::Deny, &PEERS, &["* * any"])).unwrap();
    assert!(begins(&policy, WEB, DB, "udp/1") && begins(&policy, CACHE, BATCH, "tcp/1"));
    assert!(!begins(&policy, WEB, "10.101.0.99", "tcp/1") && !begins(&policy, "192.0.2.1", DB, "tcp/1"));
    assert_eq!(policy.judge(&mut [0x45, 0]), Err(DropReason::Truncated));
}

#[test]
fn equal_where_nothing_is_judged_otherwise() {
    let rules = ["app_web postgresql_db tcp/5432"];
    let before = group(Access::Deny, &PEERS, &rules);
    let mut after = before.clone();
    after.group =
        stored(NetworkGroup { version: 7, description: Some("new".to_owned()), ..(*after.group.object).clone() });
    assert_eq!(Policy::of(&before), Policy::of(&after));
    assert_ne!(Policy::of(&before), Policy::of(&group(Access::Deny, &PEERS[1..], &rules)));
    assert_ne!(Policy::of(&before), Policy::of(&group(Access::Deny, &PEERS, &["app_web postgresql_db tcp"])));
}
