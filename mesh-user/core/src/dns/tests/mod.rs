//! Which names are there, and what is known of them, as a client of DNS reads it?

mod messages;
mod random;

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
    serialize::binary::BinEncodable,
};
use serde_json::json;

use super::{LocalGroups, Options, Outcome, Transport, View, Zones, is_response, server_failure};
use crate::registry::{Group, Revision, Stored};

const A_ID: &str = "ng_11111111-1111-4111-8111-111111111111";
const B_ID: &str = "ng_22222222-2222-4222-8222-222222222222";
const SUFFIX: &str = "cc-ng.cloud";

fn stored<T: serde::de::DeserializeOwned>(object: serde_json::Value) -> Stored<T> {
    Stored { modified: Revision(1), object: Arc::new(serde_json::from_value(object).unwrap()) }
}

struct MemberFixture {
    id: String,
    label: Option<&'static str>,
    domain: Option<String>,
}

fn member(id: &str) -> MemberFixture {
    MemberFixture { id: id.to_owned(), label: None, domain: None }
}

/// A peer: id, label, parent, address.
type PeerFixture<'a> = (String, Option<&'a str>, &'a str, IpAddr);

fn peer(id: &str, parent: &'static str, address: &str) -> PeerFixture<'static> {
    (id.to_owned(), None, parent, address.parse().unwrap())
}

fn group(id: &str, label: &str, members: &[MemberFixture], peers: &[PeerFixture<'_>]) -> Arc<Group> {
    let members = members.iter().map(|member| {
        let given = format!("{}.m.{id}.{SUFFIX}", member.id.to_lowercase());
        let stored = stored(json!({
            "id": member.id, "label": member.label, "kind": "APPLICATION",
            "domainName": member.domain.as_ref().unwrap_or(&given),
        }));
        (member.id.parse().unwrap(), stored)
    });
    let peers = peers.iter().map(|(id, label, parent, address)| {
        let stored = stored(json!({
            "type": "CleverPeer", "id": id, "label": label, "hostname": "h", "parentMember": parent,
            "publicKey": "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=",
            "endpoint": { "type": "ClientEndpoint", "ngIp": address },
        }));
        (id.parse().unwrap(), stored)
    });
    let group = stored(json!({
        "id": id, "ownerId": "default", "label": label, "scope": "workloads",
        "networkIp": "10.105.0.0/16", "lastAllocatedIp": "10.105.0.9", "version": 1,
    }));
    Arc::new(Group::new(group, members.collect(), peers.collect(), BTreeMap::new()))
}

fn options(forwards: bool) -> Options {
    let suffixes = vec![SUFFIX.parse().unwrap(), "mesh.internal".parse().unwrap()];
    Options { suffixes, ttl: 5, servers: vec!["127.0.0.153".parse().unwrap()], forwards }
}

fn view_of(groups: Vec<Arc<Group>>, options: &Options) -> Arc<View> {
    let mut zones = Zones::new(options);
    zones.update(&LocalGroups { by_netns: [(None, groups)].into() });
    zones.view(&None)
}

/// Two groups; `app_web` is in both, `db` has no peer, one member has a name of its own.
fn view() -> Arc<View> {
    let first = group(
        A_ID,
        "my group_1",
        &[
            MemberFixture { label: Some("Web Shop"), ..member("app_web") },
            member("postgresql_db"),
            MemberFixture { domain: Some(format!("shop.front.{SUFFIX}")), ..member("app_Own") },
        ],
        &[
            peer("p1", "app_web", "10.105.0.5"),
            peer("p2", "app_web", "10.105.0.6"),
            peer("p3", "app_web", "10.105.0.7"),
            ("p4".to_owned(), Some("lap.top"), "app_Own", "10.105.0.8".parse().unwrap()),
        ],
    );
    let second = group(B_ID, "other", &[member("app_web")], &[peer("q1", "app_web", "fd00::5")]);
    view_of(vec![first, second], &options(false))
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, kind));
    message
}

fn with_edns(mut message: Message, size: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(size);
    message.set_edns(edns);
    message
}

fn send(view: &View, query: &[u8], transport: Transport) -> (Outcome, Vec<u8>) {
    let mut answer = vec![1, 2, 3];
    let outcome = view.answer(query, transport, &mut answer);
    (outcome, answer)
}

fn ask_with(view: &View, query: &Message, transport: Transport) -> Message {
    let (outcome, answer) = send(view, &query.to_vec().unwrap(), transport);
    assert_eq!(outcome, Outcome::Answer);
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!((answer.id, answer.message_type, answer.op_code), (query.id, MessageType::Response, query.op_code));
    answer
}

fn ask(view: &View, name: &str, kind: RecordType) -> Message {
    let query = question(name, kind);
    let answer = ask_with(view, &query, Transport::Datagram);
    assert_eq!(answer.queries, query.queries);
    answer
}

fn addresses(message: &Message) -> Vec<String> {
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(address.to_string()),
        RData::AAAA(address) => Some(address.to_string()),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}

/// NODATA or NXDOMAIN, with what a resolver needs to remember it.
fn assert_negative(message: &Message, code: ResponseCode) {
    assert_eq!((message.response_code, message.answers.len(), message.authoritative), (code, 0, true));
    let [authority] = &message.authorities[..] else { panic!("one start of authority: {message}") };
    let RData::SOA(soa) = &authority.data else { panic!("{authority}") };
    assert_eq!((authority.ttl, soa.minimum, soa.mname.to_ascii().as_str()), (5, 5, "ns.cc-ng.cloud."));
    assert_eq!(authority.name.to_ascii().to_lowercase(), "cc-ng.cloud.");
}

/// NG-17
#[test]
fn a_member_is_all_its_peers_and_each_answer_begins_at_another_one() {
    let (view, name) = (view(), format!("app_web.m.{A_ID}.{SUFFIX}"));
    let answer = ask(&view, &name, RecordType::A);
    assert_eq!(addresses(&answer), ["10.105.0.5", "10.105.0.6", "10.105.0.7"]);
    assert!(answer.authoritative && answer.recursion_desired && !answer.recursion_available && !answer.truncation);
    assert!(answer.answers.iter().all(|record| record.ttl == 5 && record.dns_class == DNSClass::IN));
    let first = |_| {
        // What is asked in between, as by a resolver that wants both families, does not count.
        ask(&view, &name, RecordType::AAAA);
        ask(&view, &format!("p1.p.{A_ID}.{SUFFIX}"), RecordType::A);
        let answer = ask(&view, &name, RecordType::A);
        assert_eq!(answer.answers.len(), 3);
        addresses(&answer)[0].clone()
    };
    let firsts: Vec<_> = (0..4).map(first).collect();
    assert_eq!(firsts, ["10.105.0.6", "10.105.0.7", "10.105.0.5", "10.105.0.6"]);
}

/// NG-17
#[test]
fn ids_and_labels_stand_for_groups_members_and_peers_below_each_suffix() {
    let view = view();
    for name in [
        format!("app_web.m.{A_ID}.mesh.internal"),
        format!("web-shop.m.my-group-1.{SUFFIX}"),
        format!("app_web.m.my-group-1.{SUFFIX}"),
    ] {
        assert_eq!(addresses(&ask(&view, &name, RecordType::A)).len(), 3, "{name}");
    }
    for name in ["p4", "lap-top"] {
        let name = format!("{name}.p.{A_ID}.{SUFFIX}");
        assert_eq!(addresses(&ask(&view, &name, RecordType::A)), ["10.105.0.8"], "{name}");
    }
}

/// NG-20
#[test]
fn a_peer_has_a_name_of_its_own() {
    let view = view();
    assert_eq!(addresses(&ask(&view, &format!("p2.p.{A_ID}.{SUFFIX}"), RecordType::A)), ["10.105.0.6"]);
    assert_negative(&ask(&view, &format!("p2.p.{B_ID}.{SUFFIX}"), RecordType::A), ResponseCode::NXDomain);
    assert_negative(&ask(&view, &format!("p2.m.{A_ID}.{SUFFIX}"), RecordType::A), ResponseCode::NXDomain);
}

/// NG-15
#[test]
fn a_member_of_two_groups_is_found_in_each_by_another_name() {
    let view = view();
    assert_eq!(addresses(&ask(&view, &format!("app_web.m.{B_ID}.{SUFFIX}"), RecordType::AAAA)), ["fd00::5"]);
    assert_negative(&ask(&view, &format!("app_web.m.{B_ID}.{SUFFIX}"), RecordType::A), ResponseCode::NoError);
    assert_negative(&ask(&view, &format!("app_web.m.{A_ID}.{SUFFIX}"), RecordType::AAAA), ResponseCode::NoError);
}

/// NG-16
#[test]
fn a_stopped_member_is_there_without_addresses_and_an_unknown_one_is_not() {
    let view = view();
    assert_negative(&ask(&view, &format!("postgresql_db.m.{A_ID}.{SUFFIX}"), RecordType::A), ResponseCode::NoError);
    for unknown in [
        format!("app_none.m.{A_ID}.{SUFFIX}"),
        format!("x.app_web.m.{A_ID}.{SUFFIX}"),
        format!("app_web.x.{A_ID}.{SUFFIX}"),
        format!("x.{SUFFIX}"),
        format!("m.{SUFFIX}"),
        format!("x.ns.{SUFFIX}"),
    ] {
        assert_negative(&ask(&view, &unknown, RecordType::A), ResponseCode::NXDomain);
    }
}

#[test]
fn names_above_others_are_there() {
    let view = view();
    for name in ["m.my-group-1.", "p.my-group-1.", "my-group-1.", "other.", "front.", ""] {
        let answer = ask(&view, &format!("{name}{SUFFIX}"), RecordType::A);
        assert_negative(&answer, ResponseCode::NoError);
    }
    for kind in [RecordType::TXT, RecordType::MX, RecordType::SRV, RecordType::HTTPS, RecordType::SOA, RecordType::NS] {
        assert_negative(&ask(&view, &format!("app_web.m.other.{SUFFIX}"), kind), ResponseCode::NoError);
    }
}

/// NG-18
#[test]
fn a_chosen_name_stands_for_the_peers_of_its_member() {
    let view = view();
    for name in [format!("shop.front.{SUFFIX}"), format!("app_own.m.{A_ID}.{SUFFIX}")] {
        assert_eq!(addresses(&ask(&view, &name, RecordType::A)), ["10.105.0.8"], "{name}");
    }
    assert_negative(&ask(&view, &format!("x.shop.front.{SUFFIX}"), RecordType::A), ResponseCode::NXDomain);
}

/// NG-18
#[test]
fn nobody_gets_a_name_of_another_groups_members() {
    let own = |id: &str, name: String| MemberFixture { domain: Some(name), ..member(id) };
    let shared = || format!("shared.{SUFFIX}");
    let groups = |second: &'static str| {
        let peers = [peer("p1", "app_a", "10.1.0.5"), peer("p2", "app_b", "10.1.0.6")];
        let first = group(A_ID, "first", &[own("app_a", shared()), own("app_b", shared())], &peers);
        let stolen = own("app_thief", format!("app_a.m.{A_ID}.{SUFFIX}"));
        let peers = [peer("q1", second, "10.2.0.5"), peer("q2", "app_thief", "10.2.0.6")];
        let second = group(B_ID, "second", &[own(second, shared()), stolen], &peers);
        (first, second)
    };
    let asked = |groups: Vec<Arc<Group>>, name: String| {
        addresses(&ask(&view_of(groups, &options(false)), &name, RecordType::A))
    };
    let (first, second) = groups("app_c");
    // Two members of one group share a name that they both have; with a stranger there, it is nobody's.
    assert_eq!(asked(vec![Arc::clone(&first)], shared()), ["10.1.0.5", "10.1.0.6"]);
    assert!(asked(vec![first.clone(), second.clone()], shared()).is_empty());
    assert_eq!(asked(vec![first, second], format!("app_a.m.{A_ID}.{SUFFIX}")), ["10.1.0.5"]);
}

#[test]
fn a_label_of_two_objects_stands_for_none_of_them_and_ids_come_first() {
    let labelled = |id: &str, label| MemberFixture { label: Some(label), ..member(id) };
    let members = [labelled("app_a", "twin"), labelled("app_b", "twin"), labelled("app_c", "app-d"), member("app-d")];
    let peers = [peer("p1", "app_a", "10.1.0.5"), peer("p3", "app_c", "10.1.0.7"), peer("p4", "app-d", "10.1.0.8")];
    let view = view_of(vec![group(A_ID, "g", &members, &peers)], &options(false));
    assert_negative(&ask(&view, &format!("twin.m.g.{SUFFIX}"), RecordType::A), ResponseCode::NXDomain);
    assert_eq!(addresses(&ask(&view, &format!("app-d.m.g.{SUFFIX}"), RecordType::A)), ["10.1.0.8"]);
}

#[test]
fn namespaces_see_their_own_groups_and_a_group_that_did_not_change_is_not_made_again() {
    let first = group(A_ID, "first", &[member("app_a")], &[peer("p1", "app_a", "10.1.0.5")]);
    let second = group(B_ID, "second", &[member("app_a")], &[peer("p1", "app_a", "10.2.0.5")]);
    let (host, inside) = (None, Some(PathBuf::from("/run/netns/x")));
    let mut zones = Zones::new(&options(false));
    let groups =
        |both: Vec<_>, one: Vec<_>| LocalGroups { by_netns: [(host.clone(), both), (inside.clone(), one)].into() };
    zones.update(&groups(vec![first.clone(), second.clone()], vec![second.clone()]));
    let (before, before_inside) = (zones.view(&host), zones.view(&inside));
    let code = |view: &View, group| ask(view, &format!("app_a.m.{group}.{SUFFIX}"), RecordType::A).response_code;
    assert_eq!((code(&before, "first"), code(&before, "second")), (ResponseCode::NoError, ResponseCode::NoError));
    assert_eq!(
        (code(&before_inside, "first"), code(&before_inside, "second")),
        (ResponseCode::NXDomain, ResponseCode::NoError)
    );

    let changed = group(A_ID, "first", &[member("app_a")], &[]);
    zones.update(&groups(vec![changed, second.clone()], vec![second]));
    assert!(before.shares_group(&zones.view(&host), B_ID) && !before.shares_group(&zones.view(&host), A_ID));
    assert!(Arc::ptr_eq(&before_inside, &zones.view(&inside)));
    assert_negative(&ask(&zones.view(&host), &format!("app_a.m.first.{SUFFIX}"), RecordType::A), ResponseCode::NoError);
    zones.update(&LocalGroups::default());
    assert_eq!(code(&zones.view(&host), "second"), ResponseCode::NXDomain);
}
