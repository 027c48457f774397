//! A group as a daemon would tell of it.

use mesh_core::{
    api::{
        group::{FoundMember, FoundPeer, FullGroup, GroupReply, PeerReply, SCHEMA},
        node::{LocalPeer, RemotePeer},
    },
    model::group::{
        Access, ClientEndpoint, Endpoint, ManagedBy, Member, MemberKind, MemberStatus, NetworkGroup, Org, Peer,
        PeerKind, Scope, ServerEndpoint, Term,
    },
};

pub(crate) const GROUP: &str = "ng_6a6ef9ec-6a8b-4d9e-a2c4-0d4d0a2e11b1";
pub(crate) const KEY: &str = "YgrU6lGpQZoLcLTUUVyTGbrAbPRt8lHqFcEHbaXWqRE=";
const EXTERNAL: &str = "external_51ba6a65-2e7f-4b4b-9b37-6e3a3f8f2a10";

pub(crate) fn empty(id: &str, label: &str, network: &str) -> FullGroup {
    let group = NetworkGroup {
        id: id.parse().unwrap(),
        owner_id: Org::default(),
        label: label.parse().unwrap(),
        description: None,
        tags: Default::default(),
        scope: Scope::Workloads,
        network_ip: network.parse().unwrap(),
        last_allocated_ip: network.split('/').next().unwrap().parse().unwrap(),
        default_access: Access::Allow,
        version: 1,
        managed_by: ManagedBy::Api,
    };
    FullGroup { group, dns_sanitized_label: label.to_owned(), members: Vec::new(), peers: Vec::new() }
}

/// Three members: two instances of an application, one of a database that is stopped, a laptop.
pub(crate) fn shop() -> FullGroup {
    let mut full = empty(GROUP, "shop", "10.255.0.0/16");
    full.group.description = Some("My first NG".to_owned());
    full.group.tags = ["test", "ng"].map(|tag| tag.parse().unwrap()).into();
    full.group.version = 7;
    full.members = vec![
        member("app_3f1c", None, MemberKind::Application),
        member(EXTERNAL, Some("Parent of laptop"), MemberKind::External),
        member("postgresql_9a2b", Some("orders"), MemberKind::Addon),
    ];
    full.members[2].status = MemberStatus::Deleted;
    full.peers = vec![
        clever("0d1f3d2c-57a5-4c3a-9d50-1b8f6e0a7c11", "10.255.0.5", "192.0.2.1", "hv-a"),
        clever("5b0c2f9e-30d4-4f06-8a35-92c1d7e4ab22", "10.255.0.6", "192.0.2.2", "hv-b"),
        laptop(),
    ];
    full
}

pub(crate) fn member(id: &str, label: Option<&str>, kind: MemberKind) -> Member {
    Member {
        id: id.parse().unwrap(),
        label: label.map(str::to_owned),
        domain_name: format!("{id}.m.{GROUP}.cc-ng.cloud").parse().unwrap(),
        kind,
        status: MemberStatus::Active,
        managed_by: ManagedBy::Api,
        made_with_peer: false,
    }
}

fn clever(id: &str, address: &str, public: &str, node: &str) -> Peer {
    Peer {
        kind: PeerKind::CleverPeer,
        id: id.parse().unwrap(),
        label: None,
        public_key: KEY.parse().unwrap(),
        endpoint: Endpoint::ServerEndpoint(ServerEndpoint {
            ng_term: Term { host: address.parse().unwrap(), port: 51_820 },
            public_term: Term { host: public.parse().unwrap(), port: 51_820 },
        }),
        hostname: node.to_owned(),
        parent_member: "app_3f1c".parse().unwrap(),
        parent_event: None,
        hv: Some(node.parse().unwrap()),
        managed_by: ManagedBy::Api,
    }
}

pub(crate) fn laptop() -> Peer {
    Peer {
        kind: PeerKind::ExternalPeer,
        id: "c7a1e8b4-6f2d-4e90-b1c3-5d8f90a2e733".parse().unwrap(),
        label: Some("laptop".parse().unwrap()),
        public_key: KEY.parse().unwrap(),
        endpoint: Endpoint::ClientEndpoint(ClientEndpoint { ng_ip: "10.255.0.7".parse().unwrap() }),
        hostname: "laptop".to_owned(),
        parent_member: EXTERNAL.parse().unwrap(),
        parent_event: None,
        hv: None,
        managed_by: ManagedBy::Api,
    }
}

pub(crate) fn group_reply(network_group: FullGroup) -> GroupReply {
    GroupReply { schema: SCHEMA, network_group }
}

pub(crate) fn peer_reply(peer: Peer) -> PeerReply {
    PeerReply { schema: SCHEMA, ng_id: GROUP.parse().unwrap(), peer_id: peer.id.clone(), peer }
}

pub(crate) fn found_member(member: Member) -> FoundMember {
    FoundMember { ng_id: GROUP.parse().unwrap(), ng_label: "shop".parse().unwrap(), member }
}

pub(crate) fn found_peer(peer: Peer) -> FoundPeer {
    FoundPeer { ng_id: GROUP.parse().unwrap(), ng_label: "shop".parse().unwrap(), peer }
}

pub(crate) fn local_peer() -> LocalPeer {
    let shop = shop();
    let peer = &shop.peers[0];
    LocalPeer {
        org: Org::default(),
        ng_id: shop.group.id.clone(),
        ng_label: shop.group.label.clone(),
        member: peer.parent_member.clone(),
        peer: peer.id.clone(),
        hv: "hv-a".parse().unwrap(),
        address: peer.endpoint.address(),
        public_key: peer.public_key,
        device: "mesh-g0123456789".to_owned(),
        netns: None,
        names: vec![shop.members[0].domain_name.to_string()],
        listen_port: 51_820,
        up: true,
        detail: String::new(),
        hub_reachable: true,
        peers: vec![RemotePeer {
            peer: shop.peers[1].id.clone(),
            member: shop.peers[1].parent_member.clone(),
            address: shop.peers[1].endpoint.address(),
            endpoint: Some("192.0.2.2:51820".to_owned()),
            handshake_age_s: Some(7),
            latency_us: Some(480),
            rx_bytes: 148,
            tx_bytes: 92,
        }],
    }
}
