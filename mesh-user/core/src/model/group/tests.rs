//! The forms in which other programs write groups, members and peers are read, and written in one form.

use serde_json::json;

use super::*;

const SERVER: &str = r#"{
    "type": "CleverPeer", "id": "4c2f9d1e-0d6f-4f6e-9d9b-6d9f0f1f2a3b", "label": "instance-0",
    "publicKey": "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=", "hostname": "instance-0", "hv": "hv-par0-001",
    "parentMember": "app_1",
    "endpoint": {
        "ngTerm": { "host": "10.105.0.5", "port": 41234 }, "publicTerm": { "host": "192.0.2.7", "port": 41234 }
    }
}"#;

/// NG-27
#[test]
fn an_endpoint_is_read_with_terms_as_objects_and_as_texts() {
    let peer: Peer = serde_json::from_str(SERVER).unwrap();
    let written = json!({
        "type": "ServerEndpoint",
        "ngTerm": { "host": "10.105.0.5", "port": 41234 }, "publicTerm": { "host": "192.0.2.7", "port": 41234 },
    });
    assert_eq!(serde_json::to_value(&peer.endpoint).unwrap(), written);
    for same in [
        written,
        json!({ "ngTerm": "10.105.0.5:41234", "publicTerm": "192.0.2.7:41234" }),
        json!({ "type": "serverendpoint", "ngTerm": "10.105.0.5:41234", "publicTerm": { "host": "192.0.2.7", "port": 41234 } }),
    ] {
        assert_eq!(serde_json::from_value::<Endpoint>(same).unwrap(), peer.endpoint);
    }
    let v6: Term = serde_json::from_value(json!("[2001:db8::1]:51820")).unwrap();
    assert_eq!((v6.host.to_string().as_str(), v6.port), ("2001:db8::1", 51820));
    let client: Endpoint = serde_json::from_value(json!({ "ngIp": "10.105.0.6" })).unwrap();
    assert_eq!(serde_json::to_value(client).unwrap(), json!({ "type": "ClientEndpoint", "ngIp": "10.105.0.6" }));
}

#[test]
fn an_endpoint_that_is_neither_is_refused() {
    for bad in [
        json!({}),
        json!({ "type": "ServerEndpoint", "ngIp": "10.105.0.6" }),
        json!({ "type": "ClientEndpoint" }),
        json!({ "ngTerm": "10.105.0.5:1" }),
        json!({ "ngTerm": "10.105.0.5:1", "publicTerm": "192.0.2.7:1", "ngIp": "10.105.0.5" }),
        json!({ "ngTerm": "10.105.0.5", "publicTerm": "192.0.2.7:1" }),
        json!({ "ngTerm": "10.105.0.5:70000", "publicTerm": "192.0.2.7:1" }),
        json!({ "ngIp": "x" }),
        json!({ "ngIp": "10.105.0.6", "more": 1 }),
        json!("10.105.0.6"),
    ] {
        assert!(serde_json::from_value::<Endpoint>(bad.clone()).is_err(), "{bad}");
    }
}

/// NG-13
#[test]
fn kinds_are_read_in_whatever_case() {
    let kinds = ["application", "Application", "APPLICATION", "addon", "add-on", "ADDON", "External", "LoadBalancer"];
    let written: Vec<_> = kinds
        .iter()
        .map(|kind| {
            let member = json!({ "id": "x_1", "domainName": "x.cc-ng.cloud", "type": kind });
            serde_json::to_value(serde_json::from_value::<Member>(member).unwrap()).unwrap()["kind"].clone()
        })
        .collect();
    let wanted = ["APPLICATION", "APPLICATION", "APPLICATION", "ADDON", "ADDON", "ADDON", "EXTERNAL", "LOADBALANCER"];
    assert_eq!(written, wanted);
    assert_eq!("externalpeer".parse(), Ok(PeerKind::ExternalPeer));
    assert_eq!(serde_json::from_value::<PeerRole>(json!("Server")).unwrap(), PeerRole::Server);
    for bad in ["", "cluster", "app"] {
        assert!(
            bad.parse::<MemberKind>().is_err() && bad.parse::<PeerKind>().is_err() && bad.parse::<PeerRole>().is_err()
        );
    }
}

/// NG-38
#[test]
fn a_group_is_read_as_others_write_it() {
    let group: NetworkGroup = serde_json::from_value(json!({
        "id": "ng_d5f0c3ab-1b2c-4d3e-8f90-a1b2c3d4e5f6", "ownerId": "orga_1", "label": "myNG",
        "networkIp": "10.105.0.0/16", "lastAllocatedIp": "10.105.0.9", "tags": ["test", "ng"], "version": 12,
    }))
    .unwrap();
    assert_eq!((group.version, group.scope, group.default_access), (12, Scope::Workloads, Access::Allow));
    assert_eq!(group.managed_by, ManagedBy::Api);
}

/// NG-25
#[test]
fn a_key_of_the_wrong_form_is_refused() {
    for key in ["", "x", "q6urq6ur", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
        let text = SERVER.replace("q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=", key);
        assert!(serde_json::from_str::<Peer>(&text).unwrap_err().to_string().contains("is"), "{key}");
    }
}

/// NG-03
#[test]
fn tags_have_neither_comma_nor_space() {
    for bad in ["", "a,b", "a b", "a\tb"] {
        assert!(bad.parse::<Tag>().is_err(), "{bad:?}");
    }
    assert_eq!("prod/eu".parse::<Tag>().unwrap().as_str(), "prod/eu");
}
