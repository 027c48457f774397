//! Do commands from many sides at once, and a daemon that is killed meanwhile, leave a store as it must be?

#![allow(clippy::unwrap_used, reason = "a test that fails shall panic")]

mod declared;
mod kill;
mod large;
mod leases;
mod writers;

use std::collections::BTreeSet;

use ipnet::IpNet;
use mesh_core::{
    model::group::{Access, GroupId, Label, MemberId, Org, PeerKind, PeerRole},
    plan::PublicKey,
    registry::{Command, MemberSpec, PeerSpec, Registry, Rules},
};
use meshd::{
    registrar::Registrar,
    store::{RedbStore, Store as _},
};

/// Small groups, so that many fit.
fn rules() -> Rules {
    Rules { prefix_length: 24, ..Rules::default() }
}

async fn registrar(store: &RedbStore) -> Registrar {
    Registrar::start(store.clone(), rules()).await.unwrap()
}

fn create_group(label: &str) -> Command {
    Command::CreateGroup {
        id: None,
        org: Org::default(),
        label: label.parse().unwrap(),
        description: None,
        tags: BTreeSet::new(),
        members: vec![member("app_first")],
        cidr: None,
        prefix_length: None,
        default_access: Access::Allow,
    }
}

fn member(id: &str) -> MemberSpec {
    MemberSpec { id: id.parse().unwrap(), label: None, kind: None, domain_name: None }
}

/// With an external member of its own.
fn create_peer(group: &GroupId, label: &str, key: [u8; 32]) -> Command {
    let label: Label = label.parse().unwrap();
    let peer = PeerSpec {
        id: None,
        kind: PeerKind::ExternalPeer,
        label: Some(label),
        parent_member: None::<MemberId>,
        role: PeerRole::Client,
        public_key: PublicKey(key),
        ip: None,
        port: None,
        hostname: None,
        parent_event: None,
        hv: None,
        address: None,
    };
    Command::CreatePeer { group: group.clone(), peer }
}

/// What must hold of every store at any time.
async fn assert_sound(store: &RedbStore, registry: &Registry) {
    let entries: BTreeSet<String> = store.list("").await.unwrap().entries.into_iter().map(|entry| entry.key).collect();
    let mut expected = BTreeSet::from(["prefixes".to_owned()]);
    let mut networks: Vec<IpNet> = Vec::new();
    for (id, group) in &registry.groups {
        let network = group.group.network_ip;
        assert!(!networks.iter().any(|other| other.contains(&network) || network.contains(other)), "{network} twice");
        networks.push(network);
        expected.insert(format!("groups/{id}"));
        expected.insert(format!("labels/{}/{}", group.group.owner_id, group.group.label));
        expected.extend(group.members.keys().map(|member| format!("groups/{id}/members/{member}")));
        let mut addresses = BTreeSet::new();
        for (peer, stored) in &group.peers {
            expected.insert(format!("groups/{id}/peers/{peer}"));
            let address = stored.endpoint.address();
            assert!(addresses.insert(address) && network.contains(&address), "{address} of {peer} in {network}");
            assert!(group.members.contains_key(&stored.parent_member), "{peer} has no member");
        }
        for member in group.members.keys().filter(|member| member.as_str().starts_with(MemberId::EXTERNAL)) {
            assert!(group.peers_of(member).next().is_some(), "{member} was made without its peer");
        }
    }
    if registry.groups.is_empty() {
        expected.retain(|key| entries.contains(key));
    }
    assert_eq!(entries, expected);
}
