//! The verbs of `ng` that ask the daemon that holds the groups.

use std::slice::from_ref;

use insta::assert_snapshot;
use mesh_core::{
    api::group::{
        BlockList, BlockReply, Found, FoundMember, GroupList, MemberList, MemberReply, PeerConfiguration, Resource,
        ResourceKind, RuleList, RuleReply, SCHEMA,
    },
    model::group::{Access, AccessRule, Block, ManagedBy, MemberKind, MemberStatus, Org},
};

use crate::{
    replies::{GROUP, KEY, empty, found_member, found_peer, group_reply, laptop, member, peer_reply, shop},
    scripted::{Answer, transcript, transcript_in},
};

const CONFIGURATION: &str = "[Interface]\nPrivateKey = <%PrivateKey%>\nAddress = 10.255.0.7/16\n\n[Peer]\n\
    PublicKey = YgrU6lGpQZoLcLTUUVyTGbrAbPRt8lHqFcEHbaXWqRE=\nAllowedIPs = 10.255.0.5/32\n\
    Endpoint = 192.0.2.1:51820\nPersistentKeepalive = 25\n";

/// Each form of one verb.
fn forms(line: &str, answers: &[Answer]) -> String {
    let forms = ["", " -F json", " -F yaml"].map(|form| transcript(&format!("{line}{form}"), answers));
    forms.join("\n")
}

/// NG-07, NG-08, NG-09.
#[test]
fn list() {
    let other = empty("ng_0b8e7c52-1f5a-4a8e-9f25-5c9b4d1e7a02", "cache", "10.254.0.0/16");
    let list = GroupList { schema: SCHEMA, network_groups: vec![shop(), other] };
    let none = GroupList { schema: SCHEMA, network_groups: Vec::new() };
    let texts = [
        transcript("ng", &[Answer::ok(&list)]),
        transcript("ng list", &[Answer::ok(&none)]),
        transcript("ng -F json -o other", &[Answer::ok(&none)]),
        transcript("ng list --owner other --format yaml", &[Answer::ok(&none)]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-01, NG-02, NG-03.
#[test]
fn create() {
    let texts = [
        forms("ng create shop", &[Answer::ok(&group_reply(empty(GROUP, "shop", "10.255.0.0/16")))]),
        transcript(
            "ng create shop --link app_3f1c,postgresql_9a2b --description \"My first NG\" --tags test,ng --default-deny",
            &[Answer::ok(&group_reply(shop()))],
        ),
        transcript(
            "ng create shop --cidr 10.9.0.0/16",
            &[Answer::ok(&group_reply(empty(GROUP, "shop", "10.9.0.0/16")))],
        ),
        transcript(
            "ng create app_x --prefix-length 22 --org other",
            &[Answer::ok(&group_reply(empty(GROUP, "app_x", "10.255.252.0/22")))],
        ),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-03, NG-04, NG-08: what the daemon is not even asked, and what it refuses.
#[test]
fn create_is_refused() {
    let taken =
        Answer::refused(409, "conflict", "org default has a network group shop", "`meshctl ng get shop` shows it");
    let texts = [
        forms("ng create shop", &[taken]),
        forms("ng create shop --tags \"a b\"", &[]),
        transcript("ng create -- external", &[]),
        transcript("ng create external", &[]),
        transcript("ng create shop --cidr 10.9.0.0/16 --prefix-length 16", &[]),
        transcript("ng create", &[]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-50.
#[test]
fn update() {
    let texts = [
        transcript("ng update shop --description new --tags a,b", &[Answer::ok(&group_reply(shop()))]),
        transcript(
            "ng update shop --tags \"\" -F json",
            &[Answer::ok(&group_reply(empty(GROUP, "shop", "10.9.0.0/16")))],
        ),
        transcript("ng update shop", &[]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-05, NG-06: without a terminal and without `--yes` nothing is asked of the daemon but what there is.
#[test]
fn delete() {
    let texts = [
        forms("ng delete shop --yes", &[Answer::ok(&group_reply(shop()))]),
        forms("ng delete shop", &[Answer::ok(&group_reply(shop()))]),
        transcript("ng delete shop", &[Answer::ok(&group_reply(empty(GROUP, "shop", "10.9.0.0/16")))]),
        forms("ng delete nothing -y", &[Answer::refused(404, "not_found", "there is no network group nothing", "")]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-10, NG-12, NG-13, NG-18.
#[test]
fn link() {
    let reply = |member| MemberReply { schema: SCHEMA, ng_id: GROUP.parse().unwrap(), member };
    let linked = Answer::ok(&reply(member("app_3f1c", None, MemberKind::Application)));
    let already = Answer::refused(409, "already_linked", "app_3f1c is linked to shop", "");
    let texts = [
        forms("ng link app_3f1c shop", from_ref(&linked)),
        transcript("ng link app_3f1c shop --kind Add-On --domain db.cc-ng.cloud --label orders", &[linked]),
        forms("ng link app_3f1c shop", &[already]),
        transcript("ng link app_3f1c shop --kind thing", &[]),
        transcript("ng link \"app 3f1c\" shop", &[]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-11, NG-12.
#[test]
fn unlink() {
    let member = member("app_3f1c", None, MemberKind::Application);
    let reply = MemberReply { schema: SCHEMA, ng_id: GROUP.parse().unwrap(), member };
    let texts = [
        forms("ng unlink app_3f1c shop", &[Answer::ok(&reply)]),
        forms("ng unlink redis_1 shop", &[Answer::refused(404, "not_member", "redis_1 is no member of shop", "")]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-15, NG-29, NG-30; NG-43: a member that outlived what it stands for is shown as deleted.
#[test]
fn get() {
    let resource = |resource| Answer::ok(&Resource { schema: SCHEMA, resource });
    let database = || member("postgresql_9a2b", Some("orders"), MemberKind::Addon);
    let elsewhere = FoundMember {
        ng_id: "ng_0b8e7c52-1f5a-4a8e-9f25-5c9b4d1e7a02".parse().unwrap(),
        ng_label: "cache".parse().unwrap(),
        ..found_member(database())
    };
    let texts = [
        forms("ng get shop", &[resource(ResourceKind::NetworkGroup(shop()))]),
        forms("ng get orders", &[resource(ResourceKind::Member(vec![found_member(database()), elsewhere]))]),
        forms("ng get laptop --type ExternalPeer,Peer", &[resource(ResourceKind::Peer(found_peer(laptop())))]),
        transcript(
            "ng get 0d1f3d2c-57a5-4c3a-9d50-1b8f6e0a7c11",
            &[resource(ResourceKind::Peer(found_peer(shop().peers.remove(0))))],
        ),
        transcript("ng get shop --type Thing", &[]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-43: asked, and said anew.
#[test]
fn status_of_a_member() {
    let database = || found_member(member("postgresql_9a2b", Some("orders"), MemberKind::Addon));
    let asked = Answer::ok(&Resource { schema: SCHEMA, resource: ResourceKind::Member(vec![database()]) });
    let mut gone = database();
    gone.member.status = MemberStatus::Deleted;
    let said = Answer::ok(&MemberList { schema: SCHEMA, members: vec![gone] });
    let texts = [
        forms("ng status postgresql_9a2b", &[asked]),
        forms("ng status postgresql_9a2b --set deleted", &[said]),
        transcript("ng status postgresql_9a2b --set gone", &[]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-31, NG-32.
#[test]
fn get_is_refused() {
    let ambiguous = "laptop is the label of 2 peers: c7a1e8b4 in shop, 5b0c2f9e in cache";
    let texts = [
        forms("ng get nothing", &[Answer::refused(404, "not_found", "nothing has the id or label nothing", "")]),
        forms("ng get laptop", &[Answer::refused(409, "ambiguous", ambiguous, "name it by its id")]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-33: one shape whatever the number of hits.
#[test]
fn search() {
    let none = Found { schema: SCHEMA, ..Found::default() };
    let one = Found { peers: vec![found_peer(laptop())], ..none.clone() };
    let members = shop().members.into_iter().map(found_member).collect();
    let peers = shop().peers.into_iter().map(found_peer).collect();
    let many = Found { network_groups: vec![shop()], members, peers, ..none.clone() };
    let texts = [
        transcript("ng search x", &[Answer::ok(&many)]),
        forms("ng search Lap", &[Answer::ok(&one)]),
        forms("ng search \"a&b\" --type Member", &[Answer::ok(&none)]),
    ];
    assert_snapshot!(texts.join("\n"));
}

fn configuration() -> PeerConfiguration {
    PeerConfiguration {
        schema: SCHEMA,
        ng_id: GROUP.parse().unwrap(),
        peer_id: laptop().id,
        version: 7,
        conf: CONFIGURATION.to_owned(),
    }
}

/// NG-34, NG-35.
#[test]
fn get_config() {
    let texts = [
        forms("ng get-config laptop shop", &[Answer::ok(&configuration())]),
        transcript("ng get-config laptop shop --private-key-file [DIR]/absent", &[Answer::ok(&configuration())]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-34, NG-37: the key never leaves the machine, the file is its owner's.
#[test]
fn get_config_with_a_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    // Of the private key that RFC 7748 section 6.1 gives to Alice.
    std::fs::write(folder.path().join("alice"), "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n").unwrap();
    let public_key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=".parse().unwrap();
    let answers = [
        Answer::ok(&configuration()),
        Answer::ok(&peer_reply(mesh_core::model::group::Peer { public_key, ..laptop() })),
    ];
    let others = [Answer::ok(&configuration()), Answer::ok(&peer_reply(laptop()))];
    let line = "ng get-config laptop shop --private-key-file [DIR]/alice";
    let texts = [
        transcript_in(folder.path(), &format!("{line} --qr"), &answers),
        transcript_in(folder.path(), &format!("{line} --out-file [DIR]/wg0.conf"), &answers),
        transcript_in(folder.path(), line, &others),
    ];
    assert_snapshot!(texts.join("\n"));
    let path = folder.path().join("wg0.conf");
    let expected = CONFIGURATION.replace("<%PrivateKey%>", "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// NG-25, NG-26, NG-27, NG-28.
#[test]
fn external() {
    let made = Answer::ok(&peer_reply(laptop()));
    let run = mesh_core::model::group::Peer { kind: mesh_core::model::group::PeerKind::CleverPeer, ..laptop() };
    let server = format!(
        "ng create external laptop shop {KEY} --role server --ip 198.51.100.7 --port 51820 --member external_1 --hostname x"
    );
    let texts = [
        forms(&format!("ng create external laptop shop {KEY}"), from_ref(&made)),
        transcript(&server, from_ref(&made)),
        transcript("ng create external laptop shop nonsense -F json", &[]),
        forms("ng delete external laptop shop -y", &[made.clone(), made.clone()]),
        transcript("ng delete external web shop -y", &[Answer::ok(&peer_reply(run))]),
        transcript("ng delete external laptop shop", &[made, Answer::ok(&group_reply(shop()))]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-45.
#[test]
fn rules() {
    let rule = |id: &str, traffic: &str| AccessRule {
        id: id.parse().unwrap(),
        from: "*".parse().unwrap(),
        to: "postgresql_9a2b".parse().unwrap(),
        traffic: traffic.parse().unwrap(),
        managed_by: ManagedBy::Api,
    };
    let list = |rules: Vec<AccessRule>| {
        Answer::ok(&RuleList { schema: SCHEMA, ng_id: GROUP.parse().unwrap(), default_access: Access::Deny, rules })
    };
    let reply = Answer::ok(&RuleReply { schema: SCHEMA, ng_id: GROUP.parse().unwrap(), rule: rule("r1", "tcp/5432") });
    let two = list(vec![rule("r1", "tcp/5432"), rule("r2", "icmp")]);
    let open = Answer::ok(&RuleList {
        schema: SCHEMA,
        ng_id: GROUP.parse().unwrap(),
        default_access: Access::Allow,
        rules: Vec::new(),
    });
    let mut closed = shop();
    closed.group.default_access = Access::Deny;
    let texts = [
        forms("ng rule list shop", from_ref(&two)),
        transcript("ng rule list shop", &[list(Vec::new())]),
        transcript("ng rule add shop * postgresql_9a2b tcp/5432", &[reply.clone(), two.clone()]),
        transcript("ng rule add shop * postgresql_9a2b tcp/5432", &[reply.clone(), open]),
        transcript("ng rule add shop * postgresql_9a2b tcp/5432 -F json", from_ref(&reply)),
        transcript("ng rule add shop * postgresql_9a2b tcp/0", &[]),
        transcript("ng rule delete shop * postgresql_9a2b tcp/5432", &[two.clone(), reply.clone()]),
        transcript("ng rule delete shop * postgresql_9a2b", from_ref(&two)),
        transcript("ng rule delete shop * app_3f1c", &[two]),
        transcript("ng rule delete shop r1 -F json", &[reply]),
        transcript("ng rule default shop deny", &[Answer::ok(&group_reply(closed))]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-44.
#[test]
fn block() {
    let block = || Block { owner_id: Org::default(), member: "app_3f1c".parse().unwrap() };
    let reply = Answer::ok(&BlockReply { schema: SCHEMA, block: block() });
    let list = |blocks| Answer::ok(&BlockList { schema: SCHEMA, blocks });
    let texts = [
        forms("ng block app_3f1c", from_ref(&reply)),
        transcript("ng block", &[list(vec![block()])]),
        transcript("ng block", &[list(Vec::new())]),
        forms("ng unblock app_3f1c", &[reply]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-39, NG-40: a stream that breaks is resumed behind what was read.
#[test]
fn watch() {
    let event = |name: &str, id: u64, data: String| format!("id: {id}\nevent: {name}\ndata: {data}\n\n");
    let group = |full| serde_json::to_string(&group_reply(full)).unwrap();
    let first = Answer::events(format!(": hello\n\n{}", event("group", 7, group(shop()))));
    let mut changed = shop();
    changed.group.version = 8;
    changed.group.description = None;
    changed.peers.remove(2);
    changed.members[0].label = Some("front".to_owned());
    let second = Answer::events(event("group", 8, group(changed)) + &event("deleted", 9, "{}".to_owned()));
    let json = serde_json::to_string(&configuration()).unwrap();
    let peer = Answer::events(event("configuration", 7, json) + &event("deleted", 8, "{}".to_owned()));
    let texts = [
        transcript("ng watch shop", &[first.clone(), second.clone()]),
        transcript("ng watch shop -F json", &[first, second]),
        transcript("ng watch shop laptop", &[peer]),
        transcript("ng watch nothing", &[Answer::refused(404, "not_found", "there is no network group nothing", "")]),
    ];
    assert_snapshot!(texts.join("\n"));
}
