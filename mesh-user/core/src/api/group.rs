//! Requests and replies about network groups. Groups are named by id or label, and every path lies below
//! `/v1/orgs/{org}` but where it says otherwise:
//!
//! | request | body | reply |
//! |---|---|---|
//! | `GET /v1/networkgroup/configuration` | | [`GroupConfiguration`] |
//! | `GET /networkgroups` | | [`GroupList`] |
//! | `POST /networkgroups` | [`CreateGroup`] | [`GroupReply`] |
//! | `GET, DELETE /networkgroups/{ng}` | | [`GroupReply`] |
//! | `PATCH /networkgroups/{ng}` | [`UpdateGroup`] | [`GroupReply`] |
//! | `POST /networkgroups/{ng}/members` | [`MemberSpec`] | [`MemberReply`] |
//! | `GET, DELETE /networkgroups/{ng}/members/{member}` | | [`MemberReply`] |
//! | `POST /networkgroups/{ng}/peers` | [`CreatePeer`] | [`PeerReply`] |
//! | `POST /networkgroups/{ng}/external-peers` | [`CreateExternalPeer`] | [`PeerReply`] |
//! | `GET, DELETE /networkgroups/{ng}/peers/{peer}` | | [`PeerReply`] |
//! | `PATCH /networkgroups/{ng}/peers/{peer}` | [`UpdatePeer`] | [`PeerReply`] |
//! | `GET /networkgroups/{ng}/peers/{peer}/configuration` | | [`PeerConfiguration`] |
//! | `GET /networkgroups/{ng}/peers/{peer}/configuration/watch` | | events `configuration` of [`PeerConfiguration`], id: its version; `deleted` ([`Gone`]) at the end |
//! | `GET /networkgroups/{ng}/watch` | | events `group` of [`GroupReply`], id: the group's version; `deleted` ([`Gone`]) at the end |
//! | `POST /networkgroups/{ng}/rules` | [`CreateRule`] | [`RuleReply`] |
//! | `GET /networkgroups/{ng}/rules` | | [`RuleList`] |
//! | `DELETE /networkgroups/{ng}/rules/{rule}` | | [`RuleReply`] |
//! | `GET /search?q=TEXT&type=KINDS` | | [`Found`] |
//! | `GET /resources/{id or label}?type=KINDS` | | [`Resource`], or 409 `ambiguous` |
//! | `GET /blocks` | | [`BlockList`] |
//! | `PUT, DELETE /members/{member}/block` | | [`BlockReply`] |
//! | `PUT /members/{member}/status` | [`ReportMember`] | [`MemberList`] |
//! | `PUT /v1/nodes/{node}/lease` | | [`NodeLeaseReply`] |
//! | `GET /v1/watch?org=&group=&member=&objects=` (the first three may stand several times) | | [`WatchEvent`] |
//! | `POST /v1/apply?dryRun=` | manifests as text ([`super::to_body`]) | [`super::ApplyReply`] |
//!
//! Every event stream sends a comment every 15 s. `Last-Event-ID`, or `?version=`, resumes it: what the reader has is not
//! sent again.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    model::group::{
        Access, AccessRule, Block, GroupId, Label, Member, MemberId, MemberStatus, NetworkGroup, NodeId, Peer, PeerId,
        PeerKind, PeerRole, Tag,
    },
    plan::PublicKey,
    registry::{MemberSpec, PeerSpec},
};

/// Of every reply; it changes with the meaning of a field, not with new fields.
pub const SCHEMA: u32 = 1;

/// A group with its members and peers, as lists and shown in the order of ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FullGroup {
    #[serde(flatten)]
    pub group: NetworkGroup,
    /// The label as it stands in domain names.
    pub dns_sanitized_label: String,
    pub members: Vec<Member>,
    pub peers: Vec<Peer>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupList {
    pub schema: u32,
    pub network_groups: Vec<FullGroup>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupReply {
    pub schema: u32,
    pub network_group: FullGroup,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberReply {
    pub schema: u32,
    pub ng_id: GroupId,
    pub member: Member,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerReply {
    pub schema: u32,
    pub ng_id: GroupId,
    pub peer_id: PeerId,
    pub peer: Peer,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleReply {
    pub schema: u32,
    pub ng_id: GroupId,
    pub rule: AccessRule,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleList {
    pub schema: u32,
    pub ng_id: GroupId,
    pub default_access: Access,
    pub rules: Vec<AccessRule>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockReply {
    pub schema: u32,
    pub block: Block,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockList {
    pub schema: u32,
    pub blocks: Vec<Block>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupConfiguration {
    pub schema: u32,
    pub dns_suffixes: Vec<String>,
}

/// What `search` finds; each list may be empty and none is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    pub schema: u32,
    pub network_groups: Vec<FullGroup>,
    pub members: Vec<FoundMember>,
    pub peers: Vec<FoundPeer>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundMember {
    pub ng_id: GroupId,
    pub ng_label: Label,
    #[serde(flatten)]
    pub member: Member,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundPeer {
    pub ng_id: GroupId,
    pub ng_label: Label,
    #[serde(flatten)]
    pub peer: Peer,
}

/// What has exactly this id or label. A member is in as many entries as it has groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    pub schema: u32,
    #[serde(flatten)]
    pub resource: ResourceKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ResourceKind {
    NetworkGroup(FullGroup),
    Member(Vec<FoundMember>),
    Peer(FoundPeer),
}

/// One member in each of its groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberList {
    pub schema: u32,
    pub members: Vec<FoundMember>,
}

/// A node lives, and so do the peers that it runs, for so many seconds from now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeLeaseReply {
    pub schema: u32,
    pub node: NodeId,
    /// Another one than before: the node was taken for dead in between, and its peers may have gone.
    pub lease: u64,
    pub seconds: u32,
    /// The revision in which it began.
    pub since: u64,
    /// One in which it was still there.
    pub revision: u64,
}

/// WireGuard's configuration of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerConfiguration {
    pub schema: u32,
    pub ng_id: GroupId,
    pub peer_id: PeerId,
    /// The group's version.
    pub version: u64,
    /// For wg-quick(8); its private key is the placeholder `<%PrivateKey%>`.
    pub conf: String,
}

/// The last event of a stream: what was watched is there no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gone {
    pub schema: u32,
    pub ng_id: GroupId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<PeerId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateGroup {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<GroupId>,
    pub label: Label,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default)]
    pub tags: BTreeSet<Tag>,
    #[serde(default)]
    pub members: Vec<MemberSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cidr: Option<IpNet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_length: Option<u8>,
    #[serde(default)]
    pub default_access: Access,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateGroup {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeSet<Tag>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_access: Option<Access>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReportMember {
    pub status: MemberStatus,
}

/// By a node that runs it, or by the platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreatePeer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<PeerId>,
    pub parent_member: MemberId,
    pub peer_kind: PeerKind,
    pub peer_role: PeerRole,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hv: Option<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[schema(value_type = String, pattern = "^[A-Za-z0-9+/]{43}=$")]
    pub public_key: PublicKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// An address of the group that it had before: it gets this one if nobody has it, else the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ng_ip: Option<IpAddr>,
}

impl From<CreatePeer> for PeerSpec {
    fn from(create: CreatePeer) -> PeerSpec {
        PeerSpec {
            id: create.id,
            kind: create.peer_kind,
            label: create.label,
            parent_member: Some(create.parent_member),
            role: create.peer_role,
            public_key: create.public_key,
            ip: create.ip,
            port: create.port,
            hostname: create.hostname,
            parent_event: None,
            hv: create.hv,
            address: create.ng_ip,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateExternalPeer {
    pub label: Label,
    /// Absent: a new external member is made with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_member: Option<MemberId>,
    #[serde(default)]
    pub peer_role: PeerRole,
    #[schema(value_type = String, pattern = "^[A-Za-z0-9+/]{43}=$")]
    pub public_key: PublicKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_event: Option<String>,
}

/// What a node says anew of its peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdatePeer {
    #[schema(value_type = String, pattern = "^[A-Za-z0-9+/]{43}=$")]
    pub public_key: PublicKey,
    /// Both, or neither: then it is a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateRule {
    /// A member id, or `*`.
    #[schema(pattern = r"^(\*|[A-Za-z0-9_-]{1,63})$")]
    pub from: String,
    #[schema(pattern = r"^(\*|[A-Za-z0-9_-]{1,63})$")]
    pub to: String,
    /// `any`, `icmp`, `tcp`, `udp`, `tcp/PORT`, `udp/FIRST-LAST`.
    #[schema(pattern = r"^(any|icmp|(tcp|udp)(/[0-9]+(-[0-9]+)?)?)$")]
    pub traffic: String,
}

/// One event of `/v1/watch`. The first is a `begin`; after it come the objects that the reader lacks, then `synced`, then
/// every change as it is committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum WatchEvent {
    /// `resumed`: what the reader has is still right as of the version that it gave; else it forgets all.
    Begin { resumed: bool },
    /// `value` as the store holds it ([`crate::registry::Object`]), `null` where the key was deleted.
    Object {
        key: String,
        modified: u64,
        #[schema(value_type = Object)]
        value: Option<serde_json::Value>,
    },
    /// Everything up to this revision was sent. Its number is the event's id.
    Synced { revision: u64 },
}
