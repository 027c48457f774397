//! Questions to the DNS server.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use mesh_core::{
    dns::{
        DATAGRAM_LIMIT, LocalGroups, Options, Outcome, STREAM_LIMIT, Transport, View, Zones, is_response,
        server_failure,
    },
    registry::{Group, Revision, Stored},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// More than a datagram has room for.
const PEERS: usize = 120;

/// An answer goes to who asked, is no longer than it may be, and is itself answered by nobody; what is forwarded or ignored
/// leaves nothing in the buffer.
pub fn dns(bytes: &[u8]) {
    let (mut answer, mut second) = (Vec::new(), Vec::new());
    for (transport, limit) in [(Transport::Datagram, DATAGRAM_LIMIT), (Transport::Stream, STREAM_LIMIT)] {
        match view().answer(bytes, transport, &mut answer) {
            Outcome::Answer => {
                assert!(answer.len() >= 12 && answer.len() <= limit, "{} bytes", answer.len());
                assert_eq!(answer[..2], bytes[..2], "the id");
                assert_eq!(view().answer(&answer, transport, &mut second), Outcome::Silence);
            }
            Outcome::Forward | Outcome::Silence => assert!(answer.is_empty()),
        }
    }
    if server_failure(bytes, &mut answer) {
        assert_eq!(answer[..2], bytes[..2], "the id");
    }
    assert!(!is_response(bytes, bytes) || bytes[2] & 0x80 != 0, "a question that answers itself");
}

/// A member with many peers, one without any, and one with a name of its own.
fn view() -> &'static View {
    static VIEW: OnceLock<Arc<View>> = OnceLock::new();
    VIEW.get_or_init(|| {
        let group = group().expect("the group of this target keeps all rules");
        let options = Options {
            suffixes: vec!["cc-ng.cloud".parse().expect("a name")],
            ttl: 5,
            servers: vec![IpAddr::from([127, 0, 0, 153])],
            forwards: true,
        };
        let mut zones = Zones::new(&options);
        zones.update(&LocalGroups { by_netns: [(None, vec![Arc::new(group)])].into() });
        zones.view(&None)
    })
}

fn group() -> Result<Group, serde_json::Error> {
    let network = stored(json!({
        "id": "ng_11111111-1111-4111-8111-111111111111", "ownerId": "default", "label": "g", "scope": "workloads",
        "networkIp": "10.105.0.0/16", "lastAllocatedIp": "10.105.0.4", "version": 1,
    }))?;
    let member = |id: &str, name: &str| stored(json!({ "id": id, "kind": "APPLICATION", "domainName": name }));
    let mut group = Group::new(network, BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (id, name) in
        [("app_web", "app_web.m.g.cc-ng.cloud"), ("app_off", "x.cc-ng.cloud"), ("app_own", "a.b.cc-ng.cloud")]
    {
        group.members.insert(serde_json::from_value(json!(id))?, member(id, name)?);
    }
    for number in 0..PEERS {
        let (id, parent) = (format!("p{number}"), if number == 0 { "app_own" } else { "app_web" });
        let address = if number % 8 == 1 { format!("fd00::{number:x}") } else { format!("10.105.1.{number}") };
        let peer = json!({
            "type": "CleverPeer", "id": id, "hostname": "h", "parentMember": parent,
            "publicKey": "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=",
            "endpoint": { "type": "ClientEndpoint", "ngIp": address },
        });
        group.peers.insert(serde_json::from_value(json!(id))?, stored(peer)?);
    }
    Ok(group)
}

fn stored<T: DeserializeOwned>(object: Value) -> Result<Stored<T>, serde_json::Error> {
    Ok(Stored { modified: Revision(1), object: Arc::new(serde_json::from_value(object)?) })
}
