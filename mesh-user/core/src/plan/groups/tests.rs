//! Tunnels of groups: who calls whom, numbers that stay, and what one change costs.

use std::time::{Duration, Instant};

use super::*;
use crate::{
    model::group::{Access, ClientEndpoint, ManagedBy, NetworkGroup, Org, PeerKind, Scope, ServerEndpoint, Term},
    plan::Plan,
    reconcile::{GroupStep, Observed, Step, group_steps},
    registry::{Revision, Stored},
};

const MTU: u16 = 1340;

fn stored<T>(object: T) -> Stored<T> {
    Stored { modified: Revision(1), object: Arc::new(object) }
}

fn group_id(number: u32) -> GroupId {
    format!("ng_00000000-0000-4000-8000-{number:012x}").parse().unwrap()
}

fn peer_id(number: u32) -> PeerId {
    format!("00000000-0000-4000-9000-{number:012x}").parse().unwrap()
}

fn key(number: u32) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    PublicKey(bytes)
}

fn address(number: u32) -> IpAddr {
    IpAddr::from((0x0a65_0000 + number).to_be_bytes())
}

fn peer(number: u32, public: Option<&str>) -> Peer {
    let endpoint = match public {
        None => Endpoint::ClientEndpoint(ClientEndpoint { ng_ip: address(number) }),
        Some(public) => {
            let public: SocketAddr = public.parse().unwrap();
            Endpoint::ServerEndpoint(ServerEndpoint {
                ng_term: Term { host: address(number), port: public.port() },
                public_term: Term { host: public.ip(), port: public.port() },
            })
        }
    };
    Peer {
        kind: PeerKind::CleverPeer,
        id: peer_id(number),
        label: None,
        public_key: key(number),
        endpoint,
        hostname: format!("host{number}"),
        parent_member: "app_a".parse().unwrap(),
        parent_event: None,
        hv: None,
        managed_by: ManagedBy::Api,
    }
}

fn group(number: u32, peers: impl IntoIterator<Item = Peer>) -> Group {
    let group = NetworkGroup {
        id: group_id(number),
        owner_id: "default".parse::<Org>().unwrap(),
        label: "net".parse().unwrap(),
        description: None,
        tags: BTreeSet::new(),
        scope: Scope::Workloads,
        network_ip: "10.101.0.0/16".parse().unwrap(),
        last_allocated_ip: address(9),
        default_access: Access::Allow,
        version: 1,
        managed_by: ManagedBy::Api,
    };
    let peers = peers.into_iter().map(|peer| (peer.id.clone(), stored(peer))).collect();
    Group::new(stored(group), BTreeMap::new(), peers, BTreeMap::new())
}

fn placement(group: u32, peer: u32, listen_port: u16) -> Placement {
    Placement { group: group_id(group), peer: peer_id(peer), netns: None, listen_port }
}

fn planned(groups: &[Group], placements: &[Placement], previous: &GroupPlan) -> GroupPlan {
    let groups = groups.iter().map(|group| (group.group.object.id.clone(), Arc::new(group.clone()))).collect();
    plan_groups(&groups, placements, MTU, previous)
}

fn only(plan: &GroupPlan) -> &GroupTunnel {
    assert_eq!(plan.tunnels.len(), 1);
    plan.tunnels.values().next().unwrap()
}

#[test]
fn device_names_fit_linux_and_differ() {
    let names: BTreeSet<_> = (0..1000).map(|peer| group_device_name(&group_id(1), &peer_id(peer))).collect();
    assert_eq!(names.len(), 1000);
    assert!(names.iter().all(|name| name.0.len() == 15 && name.0.starts_with(GROUP_DEVICE_PREFIX)), "{names:?}");
}

/// NG-27
#[test]
fn clients_call_servers_and_keep_their_nat_open() {
    let groups = [group(1, [peer(1, None), peer(2, Some("192.0.2.2:51820")), peer(3, None)])];
    let client = planned(&groups, &[placement(1, 1, 51_820)], &GroupPlan::default());
    let to = |number| only(&client).peers[&key(number)].clone();
    assert_eq!(only(&client).address, "10.101.0.1/16".parse::<IpNet>().unwrap());
    assert_eq!((to(2).endpoint, to(2).keepalive_seconds), (Some("192.0.2.2:51820".parse().unwrap()), Some(25)));
    assert_eq!((to(3).endpoint, to(3).keepalive_seconds), (None, None), "two clients have no way to each other");
    assert!(!only(&client).peers.contains_key(&key(1)), "nobody is a peer of itself");
    let server = planned(&groups, &[placement(1, 2, 51_820)], &GroupPlan::default());
    assert_eq!(only(&server).peers[&key(1)].keepalive_seconds, None);
}

#[test]
fn peers_of_one_node_meet_on_its_loopback() {
    let groups = [group(1, [peer(1, None), peer(2, None)])];
    let plan = planned(&groups, &[placement(1, 1, 51_820), placement(1, 2, 51_821)], &GroupPlan::default());
    let ends: Vec<_> = plan.tunnels.values().flat_map(|tunnel| tunnel.peers.values()).collect();
    let ports: BTreeSet<_> = ends.iter().filter_map(|peer| peer.endpoint).collect();
    assert_eq!(ports, BTreeSet::from(["127.0.0.1:51820", "127.0.0.1:51821"].map(|text| text.parse().unwrap())));
    assert!(ends.iter().all(|peer| peer.keepalive_seconds.is_none()), "there is no NAT in between");
}

#[test]
fn a_placement_that_nobody_registered_has_no_tunnel() {
    let groups = [group(1, [peer(1, None)])];
    let plan = planned(&groups, &[placement(1, 2, 51_820), placement(2, 1, 51_821)], &GroupPlan::default());
    assert!(plan.tunnels.is_empty());
}

#[test]
fn a_peer_keeps_its_number_and_a_free_one_rests() {
    let all = [peer(1, None), peer(2, None), peer(3, None), peer(4, None)];
    let place = [placement(1, 1, 51_820)];
    let first = planned(&[group(1, all[..3].to_vec())], &place, &GroupPlan::default());
    let number = |plan: &GroupPlan, peer| only(plan).peers[&key(peer)].number.0;
    let (two, three) = (number(&first, 2), number(&first, 3));
    let second = planned(&[group(1, [all[0].clone(), all[2].clone(), all[3].clone()])], &place, &first);
    assert_eq!(number(&second, 3), three);
    assert_ne!(number(&second, 4), two, "packets under way may still carry it");
    let third = planned(&[group(1, all.to_vec())], &place, &second);
    assert_eq!(number(&third, 2), two);
}

/// NG-42
#[test]
fn a_change_is_the_steps_of_that_change() {
    let place = [placement(1, 1, 51_820)];
    let first = planned(&[group(1, [peer(1, None), peer(2, None)])], &place, &GroupPlan::default());
    let moved = peer(2, Some("192.0.2.2:51820"));
    let second = planned(&[group(1, [peer(1, None), moved, peer(3, None)])], &place, &first);
    let steps = group_steps(&second.tunnels, &first.tunnels);
    assert!(
        matches!(steps.as_slice(), [Step::Group(_, GroupStep::AddPeer(..)), Step::Group(_, GroupStep::UpdatePeer(..))])
            || matches!(
                steps.as_slice(),
                [Step::Group(_, GroupStep::UpdatePeer(..)), Step::Group(_, GroupStep::AddPeer(..))]
            ),
        "{steps:?}"
    );
    let plan = |plan: &GroupPlan| Plan { groups: plan.tunnels.clone(), ..Plan::default() };
    let mut world = Observed::from(&plan(&first));
    steps.iter().for_each(|step| world.record(step));
    assert_eq!(world.groups, second.tunnels);
    let diff = plan(&first).diff(&plan(&second));
    let device = second.tunnels.keys().next().unwrap();
    let expected = format!(
        "- group peer {two} of {device}: 10.101.0.2 is {id2} of app_a, number 1, calls us\n\
         + group peer {two} of {device}: 10.101.0.2 is {id2} of app_a, number 1, endpoint 192.0.2.2:51820, keepalive 25 s\n\
         + group peer {three} of {device}: 10.101.0.3 is {id3} of app_a, number 2, calls us\n",
        two = key(2),
        three = key(3),
        id2 = peer_id(2),
        id3 = peer_id(3),
    );
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(lines(&diff), lines(&expected));
    assert_eq!(group_steps(&first.tunnels, &second.tunnels).len(), 2);
}

#[test]
fn a_number_that_comes_back_at_once_is_routed_in_between() {
    let place = [placement(1, 1, 51_820)];
    let first = planned(&[group(1, [peer(1, None), peer(2, None)])], &place, &GroupPlan::default());
    // The plan in between was never applied.
    let between = planned(&[group(1, [peer(1, None)])], &place, &first);
    let last = planned(&[group(1, [peer(1, None), peer(3, None)])], &place, &between);
    let steps = group_steps(&last.tunnels, &first.tunnels);
    let [
        Step::Group(_, GroupStep::RemovePeer(..)),
        Step::Group(_, GroupStep::Route),
        Step::Group(_, GroupStep::AddPeer(..)),
    ] = steps.as_slice()
    else {
        panic!("{steps:?}")
    };
}

#[test]
fn another_address_is_another_device() {
    let place = [placement(1, 1, 51_820)];
    let first = planned(&[group(1, [peer(1, None), peer(2, None)])], &place, &GroupPlan::default());
    let mut moved = peer(1, None);
    moved.endpoint = Endpoint::ClientEndpoint(ClientEndpoint { ng_ip: address(9) });
    let second = planned(&[group(1, [moved, peer(2, None)])], &place, &first);
    let steps = group_steps(&second.tunnels, &first.tunnels);
    let [
        Step::Group(_, GroupStep::Remove),
        Step::Group(_, GroupStep::Create(..)),
        Step::Group(_, GroupStep::AddPeer(..)),
    ] = steps.as_slice()
    else {
        panic!("{steps:?}")
    };
    let gone = group_steps(&BTreeMap::new(), &first.tunnels);
    assert!(matches!(gone.as_slice(), [Step::Group(_, GroupStep::Remove)]), "{gone:?}");
}

/// A tag, say: the group's objects are new, the tunnels are not.
#[test]
fn what_is_not_about_tunnels_changes_none() {
    let place = [placement(1, 1, 51_820)];
    let groups = [group(1, [peer(1, None), peer(2, None)])];
    let first = planned(&groups, &place, &GroupPlan::default());
    let second = planned(&groups, &place, &first);
    assert!(Arc::ptr_eq(&first.tunnels.values().next().unwrap().clone(), second.tunnels.values().next().unwrap()));
    assert_eq!(group_steps(&second.tunnels, &first.tunnels), []);
}

/// NG-42: the 10,000th peer is one step, and quick.
#[test]
fn one_peer_among_ten_thousand_is_one_step() {
    let place = [placement(1, 1, 51_820)];
    let mut grown = group(1, (1..10_000).map(|number| peer(number, Some("192.0.2.2:51820"))));
    let first = planned(&[grown.clone()], &place, &GroupPlan::default());
    grown.peers.insert(peer_id(10_000), stored(peer(10_000, None)));
    let groups = BTreeMap::from([(group_id(1), Arc::new(grown))]);
    let begin = Instant::now();
    let second = plan_groups(&groups, &place, MTU, &first);
    let steps = group_steps(&second.tunnels, &first.tunnels);
    let took = begin.elapsed();
    assert!(matches!(steps.as_slice(), [Step::Group(_, GroupStep::AddPeer(..))]), "{} steps", steps.len());
    // The budget of `bench plan` is 20 ms in a release build.
    assert!(took < Duration::from_millis(500), "{took:?}");
}
